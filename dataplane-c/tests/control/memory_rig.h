/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's shared memory without an engine: both files, to write into and to spoil. */
#ifndef TESTS_CONTROL_MEMORY_RIG_H
#define TESTS_CONTROL_MEMORY_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "control/memory.h"
#include "ipc/event_ring.h"
#include "ipc/stats_layout.h"

#define MEMORY_RIG_WORKERS 2u
#define MEMORY_RIG_ROWS (MEMORY_RIG_WORKERS + 1)
#define MEMORY_RIG_SLOTS 64u
#define MEMORY_RIG_CAPACITY 8u

struct memory_rig {
	int stats_fd, events_fd; /* this side's */
	size_t stats_size, events_size;
	uint8_t *stats, *events;
	struct stats_header *header;
	struct event_file_header *file;
};

/* Sound and empty, sealed against shrinking. */
void memory_rig_make(struct memory_rig *rig);
void memory_rig_free(struct memory_rig *rig);

/* Maps it as the library does; why (may be NULL) has room for 256 bytes. */
struct engine_memory *memory_rig_map(const struct memory_rig *rig, bool adopted, char *why);

struct stats_directory_entry *memory_rig_entry(const struct memory_rig *rig, uint32_t slot);
struct stats_slot *memory_rig_cell(const struct memory_rig *rig, uint32_t row, uint32_t slot);
/* Gives the slot an owner and moves the high-water mark. */
void memory_rig_name(const struct memory_rig *rig, uint32_t slot, const char *service, const char *name);
/* An event of that connection in a worker's ring; false when the ring is full, which is counted as the engine does. */
bool memory_rig_event(const struct memory_rig *rig, uint32_t worker, uint32_t slot, uint64_t connection);

#endif
