/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_rig.h"

static uint8_t *make_file(size_t size, int *fd)
{
	*fd = memfd_create("memory-rig", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, (off_t)size), 0);
	assert_int_equal(fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	return map;
}

void memory_rig_make(struct memory_rig *rig)
{
	uint64_t directory = 4096, counters = directory + MEMORY_RIG_SLOTS * sizeof(struct stats_directory_entry);

	rig->stats_size = counters + (size_t)MEMORY_RIG_ROWS * MEMORY_RIG_SLOTS * sizeof(struct stats_slot);
	rig->events_size = 4096 + MEMORY_RIG_ROWS * event_ring_bytes(MEMORY_RIG_CAPACITY);
	rig->stats = make_file(rig->stats_size, &rig->stats_fd);
	rig->events = make_file(rig->events_size, &rig->events_fd);
	rig->header = (void *)rig->stats;
	rig->file = (void *)rig->events;
	*rig->header = (struct stats_header){
	        .magic = STATS_MAGIC,
	        .version = STATS_VERSION,
	        .workers = MEMORY_RIG_WORKERS,
	        .slots = MEMORY_RIG_SLOTS,
	        .slots_used = 1,
	        .directory_offset = directory,
	        .counters_offset = counters,
	};
	*rig->file = (struct event_file_header){
	        .magic = EVENT_RING_MAGIC, .version = 1, .rings = MEMORY_RIG_ROWS, .capacity = MEMORY_RIG_CAPACITY};
}

void memory_rig_free(struct memory_rig *rig)
{
	munmap(rig->stats, rig->stats_size);
	munmap(rig->events, rig->events_size);
	close(rig->stats_fd);
	close(rig->events_fd);
}

struct engine_memory *memory_rig_map(const struct memory_rig *rig, bool adopted, char *why)
{
	char unread[256];

	return memory_map(fcntl(rig->stats_fd, F_DUPFD_CLOEXEC, 0), fcntl(rig->events_fd, F_DUPFD_CLOEXEC, 0), adopted,
	                  why ? why : unread, 256);
}

struct stats_directory_entry *memory_rig_entry(const struct memory_rig *rig, uint32_t slot)
{
	return (struct stats_directory_entry *)(void *)(rig->stats + 4096) + slot;
}

struct stats_slot *memory_rig_cell(const struct memory_rig *rig, uint32_t row, uint32_t slot)
{
	struct stats_slot *cells =
	        (void *)(rig->stats + 4096 + MEMORY_RIG_SLOTS * sizeof(struct stats_directory_entry));

	return &cells[row * MEMORY_RIG_SLOTS + slot];
}

void memory_rig_name(const struct memory_rig *rig, uint32_t slot, const char *service, const char *name)
{
	struct stats_directory_entry *entry = memory_rig_entry(rig, slot);

	entry->sequence++;
	entry->kind = *name ? MARCHER_SLOT_BACKEND : MARCHER_SLOT_SERVICE;
	snprintf(entry->service, sizeof(entry->service), "%s", service);
	snprintf(entry->name, sizeof(entry->name), "%s", name);
	entry->sequence++;
	if (rig->header->slots_used <= slot)
		rig->header->slots_used = slot + 1;
}

bool memory_rig_event(const struct memory_rig *rig, uint32_t worker, uint32_t slot, uint64_t connection)
{
	struct event_ring *ring = event_ring_at(rig->events, worker);
	struct marcher_event *event = event_ring_reserve(ring, MEMORY_RIG_CAPACITY);

	if (!event) {
		rig->header->events_dropped[worker]++;
		return false;
	}
	*event = (struct marcher_event){.kind = MARCHER_EVENT_CONNECTION_CLOSED,
	                                .service_slot = slot,
	                                .worker = (uint8_t)worker,
	                                .connection_id = connection};
	event_ring_push(ring);
	return true;
}
