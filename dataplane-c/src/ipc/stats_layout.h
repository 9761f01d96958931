/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The statistics memfd: written by the engine, mapped read-only by libmarcher. Sparse: a page costs memory only after
 * something was counted on it, so the file is as large as the largest possible number of slots from the start.
 *
 *   offset 0                     struct stats_header
 *   directory_offset             struct stats_directory_entry [slots]
 *   counters_offset              struct stats_slot [workers + 1][slots]   (the last row is the main thread's)
 *
 * Each row has one writer, so counters are plain 64-bit stores (relaxed atomics); readers sum the rows. A directory
 * entry is guarded by a sequence number: odd while it is written, changed whenever the slot changes its owner. When a
 * slot is freed and given to a new owner its counters are zeroed first, in the grace period after its last use.
 * Slot 0 is never used.
 */
#ifndef MARCHER_IPC_STATS_LAYOUT_H
#define MARCHER_IPC_STATS_LAYOUT_H

#include <stdint.h>

#include "marcher.h"

#define STATS_MAGIC 0x315354415453414dull /* "MASTATS1" */
#define STATS_VERSION 1u
#define STATS_SLOTS_MAX (1u << 18)

struct stats_header {
	uint64_t magic;
	uint32_t version;
	uint32_t workers;
	uint32_t slots;      /* capacity */
	uint32_t slots_used; /* high-water mark, atomic: no directory entry at or above it is in use */
	uint64_t directory_offset;
	uint64_t counters_offset;
	uint64_t events_dropped[256]; /* per worker, main thread last */
};

struct stats_directory_entry {
	uint32_t sequence;
	uint32_t kind; /* enum marcher_slot_kind */
	char service[64];
	char name[MARCHER_NAME_MAX];
	uint64_t reserved[7];
}; /* 256 bytes */

struct stats_slot {
	uint64_t counters[MARCHER_COUNTERS];
	uint64_t connect_us[MARCHER_HISTOGRAM_BUCKETS];
}; /* 512 bytes */

#endif
