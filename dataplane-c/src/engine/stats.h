/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's side of the statistics file and the event rings (layouts: ipc/stats_layout.h, ipc/event_ring.h). */
#ifndef ENGINE_STATS_H
#define ENGINE_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/event_ring.h"
#include "ipc/stats_layout.h"

struct stats; /* process-wide */

/* Makes both memfds for workers + 1 rows. NULL and errno on failure. */
struct stats *stats_new(unsigned workers);
void stats_free(struct stats *stats);
int stats_fd(const struct stats *stats); /* sealed against writable mappings by others */
int stats_events_fd(const struct stats *stats);
uint64_t stats_bytes(const struct stats *stats);
uint64_t stats_events_bytes(const struct stats *stats);

/* Main thread only. Returns the slot of (kind, service, name), new or existing; 0 when all are used. */
uint32_t stats_slot_acquire(struct stats *stats, uint32_t kind, const char *service, const char *name);
/* After the grace period that follows its last use. */
void stats_slot_release(struct stats *stats, uint32_t slot);

/* One thread's row. */
struct stats_row {
	struct stats_slot *slots;
	struct event_ring *ring;
	uint64_t *events_dropped;
	uint8_t worker; /* 255: main */
};
void stats_row_init(struct stats *stats, unsigned row, struct stats_row *out);

/* Over all rows. A row's page that nothing was counted on takes memory from here on. */
uint64_t stats_sum(const struct stats *stats, uint32_t slot, enum marcher_counter counter);

static inline void stats_add(struct stats_row *row, uint32_t slot, enum marcher_counter counter, uint64_t n)
{
	uint64_t *cell = &row->slots[slot].counters[counter];
	__atomic_store_n(cell, *cell + n, __ATOMIC_RELAXED);
}

static inline void stats_connect_time(struct stats_row *row, uint32_t slot, uint64_t us)
{
	unsigned bucket = us < 2 ? 0 : 63u - (unsigned)__builtin_clzll(us);
	if (bucket >= MARCHER_HISTOGRAM_BUCKETS)
		bucket = MARCHER_HISTOGRAM_BUCKETS - 1;
	uint64_t *cell = &row->slots[slot].connect_us[bucket];
	__atomic_store_n(cell, *cell + 1, __ATOMIC_RELAXED);
	stats_add(row, slot, MARCHER_CONNECT_US_SUM, us);
}

/* A zeroed event with time, kind and worker filled in, or NULL (counted as dropped); then stats_event_push. */
struct marcher_event *stats_event(struct stats_row *row, enum marcher_event_kind kind);
void stats_event_push(struct stats_row *row);

#endif
