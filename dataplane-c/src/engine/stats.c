/* SPDX-License-Identifier: Apache-2.0 */
#include "stats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE 4096u
#define SLOT_FREED UINT32_MAX /* in the index: a place whose key was taken out */

/* Slot 0 is never used, so all zero is an empty place. The hash spares a look at the directory, which is large. */
struct index_place {
	uint32_t hash;
	uint32_t slot;
};

_Static_assert(sizeof(struct stats_directory_entry) == 256, "the entry's size is part of the layout");
_Static_assert(sizeof(struct stats_slot) == 512, "the slot's size is part of the layout");
_Static_assert(sizeof(struct stats_header) <= PAGE, "the header is one page");

struct stats {
	unsigned rows;
	int fd, events_fd;
	uint64_t bytes, events_bytes;
	struct stats_header *header;
	struct stats_directory_entry *directory;
	char *counters;
	struct event_file_header *events;

	/* Main thread's: who has which slot. References are counted, because a backend that is replaced by one of the
	 * same name lives on beside it until its connections have ended. */
	uint32_t *refs;       /* per slot */
	uint32_t *free_slots; /* a stack */
	uint32_t nfree;
	struct index_place *index;       /* open addressing, by (kind, service, name) */
	uint32_t index_size, index_used; /* used counts freed places too */
};

/* A memfd of this size, mapped. NULL and errno on failure. */
static void *new_file(const char *name, uint64_t bytes, int seals, int *fd)
{
	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	void *map = MAP_FAILED;
	if (ftruncate(*fd, (off_t)bytes) == 0)
		map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
	/* After our own mapping: FUTURE_WRITE leaves it writable and lets nobody make another. */
	if (map != MAP_FAILED && fcntl(*fd, F_ADD_SEALS, seals) == 0)
		return map;
	int error = errno;
	if (map != MAP_FAILED)
		munmap(map, bytes);
	close(*fd);
	*fd = -1;
	errno = error;
	return NULL;
}

struct stats *stats_new(unsigned workers)
{
	if (workers == 0 || workers > 255) {
		errno = EINVAL;
		return NULL;
	}
	struct stats *stats = calloc(1, sizeof(*stats));
	if (!stats)
		return NULL;
	stats->rows = workers + 1;
	stats->fd = stats->events_fd = -1;
	uint64_t directory = PAGE, counters = directory + (uint64_t)STATS_SLOTS_MAX * sizeof(*stats->directory);
	stats->bytes = counters + (uint64_t)stats->rows * STATS_SLOTS_MAX * sizeof(struct stats_slot);
	stats->events_bytes = PAGE + (uint64_t)stats->rows * event_ring_bytes(EVENT_RING_CAPACITY);
	stats->header = new_file("marcher-stats", stats->bytes,
	                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL, &stats->fd);
	stats->events = new_file("marcher-events", stats->events_bytes, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
	                         &stats->events_fd);
	stats->index_size = 1024;
	stats->index = calloc(stats->index_size, sizeof(*stats->index));
	/* Large and mostly untouched: calloc of this size costs memory only where it is used. */
	stats->refs = calloc(STATS_SLOTS_MAX, sizeof(*stats->refs));
	stats->free_slots = calloc(STATS_SLOTS_MAX, sizeof(*stats->free_slots));
	if (!stats->header || !stats->events || !stats->index || !stats->refs || !stats->free_slots) {
		int error = errno;
		stats_free(stats);
		errno = error;
		return NULL;
	}
	stats->directory = (struct stats_directory_entry *)((char *)stats->header + directory);
	stats->counters = (char *)stats->header + counters;
	stats->header->magic = STATS_MAGIC;
	stats->header->version = STATS_VERSION;
	stats->header->workers = workers;
	stats->header->slots = STATS_SLOTS_MAX;
	stats->header->slots_used = 1;
	stats->header->directory_offset = directory;
	stats->header->counters_offset = counters;
	stats->events->magic = EVENT_RING_MAGIC;
	stats->events->version = EVENT_RING_VERSION;
	stats->events->rings = stats->rows;
	stats->events->capacity = EVENT_RING_CAPACITY;
	return stats;
}

void stats_free(struct stats *stats)
{
	if (!stats)
		return;
	if (stats->header)
		munmap(stats->header, stats->bytes);
	if (stats->events)
		munmap(stats->events, stats->events_bytes);
	if (stats->fd >= 0)
		close(stats->fd);
	if (stats->events_fd >= 0)
		close(stats->events_fd);
	free(stats->refs);
	free(stats->free_slots);
	free(stats->index);
	free(stats);
}

int stats_fd(const struct stats *stats)
{
	return stats->fd;
}

int stats_events_fd(const struct stats *stats)
{
	return stats->events_fd;
}

uint64_t stats_bytes(const struct stats *stats)
{
	return stats->bytes;
}

uint64_t stats_events_bytes(const struct stats *stats)
{
	return stats->events_bytes;
}

static uint32_t key_hash(uint32_t kind, const char *service, const char *name)
{
	return (uint32_t)XXH3_64bits_withSeed(name, strlen(name), XXH3_64bits_withSeed(service, strlen(service), kind));
}

static bool index_grow(struct stats *stats)
{
	uint32_t live = 0;
	for (uint32_t i = 0; i < stats->index_size; i++)
		live += stats->index[i].slot != 0 && stats->index[i].slot != SLOT_FREED;
	uint32_t size = 1024;
	while (size < live * 4)
		size *= 2;
	struct index_place *index = calloc(size, sizeof(*index));
	if (!index)
		return false;
	for (uint32_t i = 0; i < stats->index_size; i++) {
		struct index_place place = stats->index[i];
		if (place.slot == 0 || place.slot == SLOT_FREED)
			continue;
		uint32_t at = place.hash & (size - 1);
		while (index[at].slot)
			at = (at + 1) & (size - 1);
		index[at] = place;
	}
	free(stats->index);
	stats->index = index;
	stats->index_size = size;
	stats->index_used = live;
	return true;
}

/* Where the key is, or the first place where it could be put; *slot 0 when it is not there. */
static uint32_t index_find(const struct stats *stats, uint32_t hash, uint32_t kind, const char *service,
                           const char *name, uint32_t *slot)
{
	uint32_t mask = stats->index_size - 1, freed = UINT32_MAX;
	*slot = 0;
	for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
		struct index_place place = stats->index[at];
		if (place.slot == 0)
			return freed != UINT32_MAX ? freed : at;
		if (place.slot == SLOT_FREED) {
			if (freed == UINT32_MAX)
				freed = at;
			continue;
		}
		const struct stats_directory_entry *entry = &stats->directory[place.slot];
		if (place.hash == hash && entry->kind == kind && strcmp(entry->service, service) == 0 &&
		    strcmp(entry->name, name) == 0) {
			*slot = place.slot;
			return at;
		}
	}
}

static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = strnlen(from, size - 1);
	memcpy(to, from, length);
	memset(to + length, 0, size - length);
}

/* Readers retry while the sequence is odd or has changed (stats_layout.h). */
static void entry_write(struct stats_directory_entry *entry, uint32_t kind, const char *service, const char *name)
{
	uint32_t sequence = entry->sequence;
	__atomic_store_n(&entry->sequence, sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	entry->kind = kind;
	copy_text(entry->service, sizeof(entry->service), service);
	copy_text(entry->name, sizeof(entry->name), name);
	__atomic_store_n(&entry->sequence, sequence + 2, __ATOMIC_RELEASE);
}

uint32_t stats_slot_acquire(struct stats *stats, uint32_t kind, const char *service, const char *name)
{
	char key_service[sizeof(stats->directory->service)], key_name[sizeof(stats->directory->name)];
	uint32_t slot;
	/* As they will stand in the directory, or a longer one would never be found again. */
	copy_text(key_service, sizeof(key_service), service);
	copy_text(key_name, sizeof(key_name), name);
	if (stats->index_used >= stats->index_size / 4 * 3 && !index_grow(stats))
		return 0;
	uint32_t hash = key_hash(kind, key_service, key_name);
	uint32_t at = index_find(stats, hash, kind, key_service, key_name, &slot);
	if (slot) {
		stats->refs[slot]++;
		return slot;
	}
	if (stats->nfree)
		slot = stats->free_slots[--stats->nfree];
	else if (stats->header->slots_used < STATS_SLOTS_MAX)
		slot = stats->header->slots_used;
	else
		return 0;
	entry_write(&stats->directory[slot], kind, key_service, key_name);
	if (slot == stats->header->slots_used)
		__atomic_store_n(&stats->header->slots_used, slot + 1, __ATOMIC_RELEASE);
	stats->index_used += stats->index[at].slot == 0;
	stats->index[at] = (struct index_place){hash, slot};
	stats->refs[slot] = 1;
	return slot;
}

static struct stats_slot *row_slots(const struct stats *stats, unsigned row)
{
	return (struct stats_slot *)stats->counters + (size_t)row * STATS_SLOTS_MAX;
}

/* Reading a page through the mapping would allocate it; reading the file does not. */
static void zero_counters(struct stats *stats, uint32_t slot)
{
	static const struct stats_slot zero;
	for (unsigned row = 0; row < stats->rows; row++) {
		struct stats_slot *counters = &row_slots(stats, row)[slot];
		struct stats_slot copy;
		off_t offset = (off_t)((char *)counters - (char *)stats->header);
		if (pread(stats->fd, &copy, sizeof(copy), offset) != sizeof(copy) ||
		    memcmp(&copy, &zero, sizeof(copy)) != 0) {
			for (size_t i = 0; i < sizeof(*counters) / sizeof(uint64_t); i++)
				__atomic_store_n(&((uint64_t *)counters)[i], 0, __ATOMIC_RELAXED);
		}
	}
}

void stats_slot_release(struct stats *stats, uint32_t slot)
{
	if (slot == 0 || slot >= STATS_SLOTS_MAX || stats->refs[slot] == 0 || --stats->refs[slot] > 0)
		return;
	struct stats_directory_entry *entry = &stats->directory[slot];
	uint32_t hash = key_hash(entry->kind, entry->service, entry->name);
	uint32_t found, at = index_find(stats, hash, entry->kind, entry->service, entry->name, &found);
	if (found == slot)
		stats->index[at].slot = SLOT_FREED;
	entry_write(entry, MARCHER_SLOT_FREE, "", "");
	zero_counters(stats, slot);
	stats->free_slots[stats->nfree++] = slot;
}

void stats_row_init(struct stats *stats, unsigned row, struct stats_row *out)
{
	out->slots = row_slots(stats, row);
	out->ring = event_ring_at(stats->events, row);
	out->events_dropped = &stats->header->events_dropped[row];
	out->worker = row + 1 == stats->rows ? 255 : (uint8_t)row;
}

uint64_t stats_sum(const struct stats *stats, uint32_t slot, enum marcher_counter counter)
{
	uint64_t sum = 0;
	for (unsigned row = 0; row < stats->rows; row++)
		sum += __atomic_load_n(&row_slots(stats, row)[slot].counters[counter], __ATOMIC_RELAXED);
	return sum;
}

struct marcher_event *stats_event(struct stats_row *row, enum marcher_event_kind kind)
{
	struct marcher_event *event = event_ring_reserve(row->ring, EVENT_RING_CAPACITY);
	if (!event) {
		__atomic_store_n(row->events_dropped, *row->events_dropped + 1, __ATOMIC_RELAXED);
		return NULL;
	}
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	memset(event, 0, sizeof(*event));
	event->time_unix_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	event->kind = (uint16_t)kind;
	event->worker = row->worker;
	return event;
}

void stats_event_push(struct stats_row *row)
{
	event_ring_push(row->ring);
}
