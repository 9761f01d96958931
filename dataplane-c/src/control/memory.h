/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engines' shared memory as the library reads it: statistics (ipc/stats_layout.h) and event rings
 * (ipc/event_ring.h). More than one engine at a time is here: those that drain, and those that have ended and whose
 * last events were not read yet. Slot numbers that leave the library carry the engine's epoch in their upper bits, so
 * an event of an engine that has ended is never given a name from the directory of its successor.
 */
#ifndef CONTROL_MEMORY_H
#define CONTROL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "marcher.h"

#define MEMORIES_MAX 16         /* more than RETIRING_MAX and the current one: when it is full, some have ended */
#define MEMORY_LINGER_MS 10000u /* after the last event of an engine that has ended was read */
#define SLOT_BITS 18
#define SLOT_EPOCHS (1u << (32 - SLOT_BITS))

struct engine_memory {
	uint32_t epoch;
	int stats_fd;
	const uint8_t *stats;
	size_t stats_size;
	uint32_t rows; /* workers + 1 */
	uint32_t slots;
	uint64_t directory_offset, counters_offset;
	uint8_t *events;
	size_t events_size;
	uint32_t rings, capacity;
	uint32_t next_ring;
	uint64_t dropped_before; /* of an adopted engine */
	bool ended;
	uint64_t drained_ms; /* 0: not yet */
};

struct memory_set {
	struct engine_memory *items[MEMORIES_MAX]; /* oldest first */
	unsigned count;
	struct engine_memory *current; /* NULL while no engine runs */
	uint32_t next_epoch;
	uint64_t dropped_gone; /* by engines that are no longer here */
	unsigned turn;
};

/* Maps both files after checking layout and bounds; takes over the descriptors. Returns NULL and a reason. */
struct engine_memory *memory_map(int stats_fd, int events_fd, bool adopted, char *why, size_t why_size);
void memory_free(struct engine_memory *memory);

/* The set's functions are called under the handle's memory_lock. */
void memory_add(struct memory_set *set, struct engine_memory *memory);
void memory_ended(struct memory_set *set, struct engine_memory *memory);
/* Frees what has ended, was read, and has lingered. now_ms UINT64_MAX: everything. */
void memory_sweep(struct memory_set *set, uint64_t now_ms);
uint64_t memory_dropped(const struct memory_set *set);

int memory_stats_read(const struct memory_set *set, uint32_t *cursor, bool active_only, struct marcher_slot_stats *out,
                      uint32_t max);
int memory_slot_name(const struct memory_set *set, uint32_t slot, struct marcher_slot_stats *out);
int memory_events_read(struct memory_set *set, struct marcher_event *out, uint32_t max, uint64_t now_ms);

#endif
