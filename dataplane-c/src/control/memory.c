/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/event_ring.h"
#include "ipc/stats_layout.h"

#define EVENTS_OFFSET 4096u
#define ROWS_MAX 257u

/* A file that its owner could shorten would turn a read here into SIGBUS in the agent. */
static bool cannot_shrink(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals >= 0 && (seals & F_SEAL_SHRINK);
}

static bool stats_check(struct engine_memory *memory)
{
	struct stats_header header;

	if (memory->stats_size < sizeof(header))
		return false;
	memcpy(&header, memory->stats, sizeof(header));
	memory->rows = header.workers + 1;
	memory->slots = header.slots;
	memory->directory_offset = header.directory_offset;
	memory->counters_offset = header.counters_offset;
	if (header.magic != STATS_MAGIC || header.version != STATS_VERSION || header.workers >= ROWS_MAX - 1 ||
	    !header.slots || header.slots > STATS_SLOTS_MAX || header.directory_offset % 8 ||
	    header.counters_offset % 8 || header.directory_offset > memory->stats_size ||
	    header.counters_offset > memory->stats_size)
		return false;
	uint64_t directory = (uint64_t)header.slots * sizeof(struct stats_directory_entry);
	uint64_t counters = (uint64_t)memory->rows * header.slots * sizeof(struct stats_slot);
	return directory <= memory->stats_size - header.directory_offset &&
	       counters <= memory->stats_size - header.counters_offset;
}

static bool events_check(struct engine_memory *memory)
{
	struct event_file_header header;

	if (memory->events_size < EVENTS_OFFSET)
		return false;
	memcpy(&header, memory->events, sizeof(header));
	memory->rings = header.rings;
	memory->capacity = header.capacity;
	if (header.magic != EVENT_RING_MAGIC || header.version != EVENT_RING_VERSION || !header.rings ||
	    header.rings > ROWS_MAX || !header.capacity || header.capacity > 1u << 20 ||
	    (header.capacity & (header.capacity - 1)))
		return false;
	return header.rings * event_ring_bytes(header.capacity) <= memory->events_size - EVENTS_OFFSET;
}

/* Which of the two files it is, and what it says of itself. */
static void describe_refusal(const struct engine_memory *memory, bool stats_good, char *why, size_t why_size)
{
	struct stats_header stats = {0};
	struct event_file_header events = {0};

	if (memory->stats_size >= sizeof(stats))
		memcpy(&stats, memory->stats, sizeof(stats));
	if (memory->events_size >= sizeof(events))
		memcpy(&events, memory->events, sizeof(events));
	bool known = stats_good ? events.magic == EVENT_RING_MAGIC : stats.magic == STATS_MAGIC;
	uint32_t version = stats_good ? events.version : stats.version;
	uint32_t expected = stats_good ? EVENT_RING_VERSION : STATS_VERSION;
	const char *what = stats_good ? "event" : "statistics";

	if (known && version != expected)
		snprintf(why, why_size,
		         "its %s file has another layout, version %u; this library reads version %u: use the engine "
		         "build that belongs to this library",
		         what, version, expected);
	else
		snprintf(why, why_size,
		         "its %s file has another layout than version %u has, or is damaged: use the engine build "
		         "that belongs to this library",
		         what, expected);
}

static uint64_t dropped_now(const struct engine_memory *memory)
{
	const struct stats_header *header = (const void *)memory->stats;
	uint64_t dropped = 0;

	for (uint32_t row = 0; row < memory->rows && row < 256; row++)
		dropped += __atomic_load_n(&header->events_dropped[row], __ATOMIC_RELAXED);
	return dropped;
}

struct engine_memory *memory_map(int stats_fd, int events_fd, bool adopted, char *why, size_t why_size)
{
	struct engine_memory *memory = calloc(1, sizeof(*memory));
	struct stat stats, events;

	if (!memory) {
		close(stats_fd);
		close(events_fd);
		snprintf(why, why_size, "no memory");
		return NULL;
	}
	memory->stats_fd = stats_fd;
	if (fstat(stats_fd, &stats) < 0 || fstat(events_fd, &events) < 0 || !cannot_shrink(stats_fd) ||
	    !cannot_shrink(events_fd)) {
		snprintf(why, why_size, "its statistics or event file is not sealed against shrinking");
		goto fail;
	}
	void *map = mmap(NULL, (size_t)stats.st_size, PROT_READ, MAP_SHARED, stats_fd, 0);
	if (map == MAP_FAILED) {
		snprintf(why, why_size, "mapping its statistics (%lld bytes): %s", (long long)stats.st_size,
		         strerror(errno));
		goto fail;
	}
	memory->stats = map;
	memory->stats_size = (size_t)stats.st_size;
	map = mmap(NULL, (size_t)events.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, events_fd, 0);
	if (map == MAP_FAILED) {
		snprintf(why, why_size, "mapping its event rings (%lld bytes): %s", (long long)events.st_size,
		         strerror(errno));
		goto fail;
	}
	memory->events = map;
	memory->events_size = (size_t)events.st_size;
	bool stats_good = stats_check(memory);
	if (!stats_good || !events_check(memory)) {
		describe_refusal(memory, stats_good, why, why_size);
		goto fail;
	}
	if (adopted)
		memory->dropped_before = dropped_now(memory);
	close(events_fd);
	return memory;
fail:
	close(events_fd);
	memory_free(memory);
	return NULL;
}

void memory_free(struct engine_memory *memory)
{
	if (!memory)
		return;
	if (memory->stats)
		munmap((void *)(uintptr_t)memory->stats, memory->stats_size);
	if (memory->events)
		munmap(memory->events, memory->events_size);
	if (memory->stats_fd >= 0)
		close(memory->stats_fd);
	free(memory);
}

static void drop_at(struct memory_set *set, unsigned index)
{
	struct engine_memory *memory = set->items[index];

	set->dropped_gone += dropped_now(memory) - memory->dropped_before;
	if (set->current == memory)
		set->current = NULL;
	memmove(&set->items[index], &set->items[index + 1], (set->count - index - 1) * sizeof(set->items[0]));
	set->count--;
	memory_free(memory);
}

void memory_add(struct memory_set *set, struct engine_memory *memory)
{
	/* So many engines within seconds: unread events of the oldest that has ended are given up. Those that live on
	 * are known elsewhere. */
	if (set->count == MEMORIES_MAX) {
		unsigned at = 0;
		while (at + 1 < set->count && !set->items[at]->ended)
			at++;
		drop_at(set, at);
	}
	memory->epoch = set->next_epoch++ % SLOT_EPOCHS;
	set->items[set->count++] = memory;
	set->current = memory;
}

void memory_ended(struct memory_set *set, struct engine_memory *memory)
{
	for (unsigned i = 0; i < set->count; i++)
		if (set->items[i] == memory)
			memory->ended = true;
	if (set->current == memory)
		set->current = NULL;
}

void memory_sweep(struct memory_set *set, uint64_t now_ms)
{
	for (unsigned i = set->count; i-- > 0;) {
		const struct engine_memory *memory = set->items[i];
		if (now_ms == UINT64_MAX ||
		    (memory->ended && memory->drained_ms && now_ms - memory->drained_ms >= MEMORY_LINGER_MS))
			drop_at(set, i);
	}
}

uint64_t memory_dropped(const struct memory_set *set)
{
	uint64_t dropped = set->dropped_gone;

	for (unsigned i = 0; i < set->count; i++)
		dropped += dropped_now(set->items[i]) - set->items[i]->dropped_before;
	return dropped;
}

/* Copies a directory entry as it was at one moment. False when the slot is free, or keeps changing. */
static bool entry_read(const struct engine_memory *memory, uint32_t slot, struct marcher_slot_stats *out)
{
	const struct stats_directory_entry *entry =
	        (const void *)(memory->stats + memory->directory_offset + (uint64_t)slot * sizeof(*entry));

	for (int attempt = 0; attempt < 16; attempt++) {
		uint32_t before = __atomic_load_n(&entry->sequence, __ATOMIC_ACQUIRE);
		if (before & 1)
			continue;
		out->kind = __atomic_load_n(&entry->kind, __ATOMIC_RELAXED);
		if (out->kind != MARCHER_SLOT_FREE) {
			memcpy(out->service, entry->service, sizeof(out->service));
			memcpy(out->name, entry->name, sizeof(out->name));
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&entry->sequence, __ATOMIC_RELAXED) != before)
			continue;
		out->service[sizeof(out->service) - 1] = '\0';
		out->name[sizeof(out->name) - 1] = '\0';
		out->slot = memory->epoch << SLOT_BITS | slot;
		return out->kind != MARCHER_SLOT_FREE;
	}
	return false;
}

/* Where a row has pages at all: [data, hole). Reading a hole through the mapping would allocate it. */
struct extent {
	off_t data, hole;
};

static bool page_present(const struct engine_memory *memory, struct extent *extent, uint64_t offset)
{
	off_t page = (off_t)(offset & ~4095ull);

	if (page >= extent->data && page < extent->hole)
		return true;
	if (page < extent->data)
		return false; /* the next data begins behind it */
	off_t data = lseek(memory->stats_fd, page, SEEK_DATA);
	if (data < 0)
		data = (off_t)memory->stats_size;
	off_t hole = data < (off_t)memory->stats_size ? lseek(memory->stats_fd, data, SEEK_HOLE) : data;
	extent->data = data & ~4095ll;
	extent->hole = hole < 0 ? (off_t)memory->stats_size : hole;
	return page >= extent->data && page < extent->hole;
}

/* Sums the rows. True when anything was ever counted. */
static bool slot_sum(const struct engine_memory *memory, struct extent *extents, uint32_t slot,
                     struct marcher_slot_stats *out)
{
	uint64_t any = 0;

	memset(out->counters, 0, sizeof(out->counters));
	memset(out->connect_us, 0, sizeof(out->connect_us));
	for (uint32_t row = 0; row < memory->rows; row++) {
		uint64_t offset =
		        memory->counters_offset + ((uint64_t)row * memory->slots + slot) * sizeof(struct stats_slot);
		if (!page_present(memory, &extents[row], offset))
			continue;
		const struct stats_slot *cell = (const void *)(memory->stats + offset);
		for (unsigned i = 0; i < MARCHER_COUNTERS; i++) {
			uint64_t n = __atomic_load_n(&cell->counters[i], __ATOMIC_RELAXED);
			any |= n;
			out->counters[i] += n;
		}
		for (unsigned i = 0; i < MARCHER_HISTOGRAM_BUCKETS; i++)
			out->connect_us[i] += __atomic_load_n(&cell->connect_us[i], __ATOMIC_RELAXED);
	}
	return any != 0;
}

int memory_stats_read(const struct memory_set *set, uint32_t *cursor, bool active_only, struct marcher_slot_stats *out,
                      uint32_t max)
{
	const struct engine_memory *memory = set->current;
	uint32_t copied = 0;

	if (!memory)
		return 0;
	const struct stats_header *header = (const void *)memory->stats;
	uint32_t used = __atomic_load_n(&header->slots_used, __ATOMIC_ACQUIRE);
	if (used > memory->slots)
		used = memory->slots;
	/* A cursor of an engine that is gone begins again with the one that runs. */
	uint32_t slot = *cursor >> SLOT_BITS == memory->epoch ? *cursor & ((1u << SLOT_BITS) - 1) : 0;
	struct extent extents[ROWS_MAX] = {0};
	for (slot = slot ? slot : 1; slot < used && copied < max; slot++) {
		struct marcher_slot_stats *at = &out[copied];
		bool active;
		if (active_only) {
			active = slot_sum(memory, extents, slot, at);
			if (!active || !entry_read(memory, slot, at))
				continue;
		} else {
			if (!entry_read(memory, slot, at))
				continue;
			slot_sum(memory, extents, slot, at);
		}
		copied++;
	}
	*cursor = memory->epoch << SLOT_BITS | (slot < 1u << SLOT_BITS ? slot : (1u << SLOT_BITS) - 1);
	return (int)copied;
}

int memory_slot_name(const struct memory_set *set, uint32_t slot, struct marcher_slot_stats *out)
{
	for (unsigned i = set->count; i-- > 0;) {
		const struct engine_memory *memory = set->items[i];
		uint32_t index = slot & ((1u << SLOT_BITS) - 1);
		if (memory->epoch != slot >> SLOT_BITS)
			continue;
		memset(out, 0, sizeof(*out));
		return index && index < memory->slots && entry_read(memory, index, out) ? MARCHER_OK
		                                                                        : MARCHER_E_INVALID;
	}
	return MARCHER_E_INVALID;
}

static uint32_t rings_read(struct engine_memory *memory, struct marcher_event *out, uint32_t max)
{
	uint32_t copied = 0;

	/* Round robin, each ring a share first, so that a busy worker does not starve the others' events. */
	uint32_t share = max / memory->rings + 1;
	for (uint32_t turn = 0; turn < 2 * memory->rings && copied < max; turn++) {
		uint32_t want = max - copied;
		if (turn < memory->rings && want > share)
			want = share;
		/* By the capacity that was checked: the header is the engine's, which may have gone astray since. */
		struct event_ring *ring = (void *)(memory->events + EVENTS_OFFSET +
		                                   memory->next_ring * event_ring_bytes(memory->capacity));
		memory->next_ring = (memory->next_ring + 1) % memory->rings;
		copied += event_ring_read(ring, memory->capacity, out + copied, want);
	}
	for (uint32_t i = 0; i < copied; i++) {
		struct marcher_event *event = &out[i];
		uint32_t mask = (1u << SLOT_BITS) - 1;
		if (event->service_slot)
			event->service_slot = memory->epoch << SLOT_BITS | (event->service_slot & mask);
		if (event->backend_slot)
			event->backend_slot = memory->epoch << SLOT_BITS | (event->backend_slot & mask);
		event->message[sizeof(event->message) - 1] = '\0';
	}
	return copied;
}

int memory_events_read(struct memory_set *set, struct marcher_event *out, uint32_t max, uint64_t now_ms)
{
	uint32_t copied = 0;

	for (unsigned i = 0; i < set->count && copied < max; i++) {
		struct engine_memory *memory = set->items[i];
		uint32_t n = rings_read(memory, out + copied, max - copied);
		if (memory->ended && (!memory->drained_ms || n) && copied + n < max)
			memory->drained_ms = now_ms;
		copied += n;
	}
	return (int)copied;
}
