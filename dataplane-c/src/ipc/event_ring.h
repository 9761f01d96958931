/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event rings: one single-producer single-consumer ring per worker and one for the main thread, in one memfd that
 * both sides map writable (the consumer index is in it, so that a new agent continues where the last one stopped).
 * A full ring drops the event and counts it; the producer never waits. The producer trusts nothing that it reads
 * from the consumer's index beyond "ring is full".
 *
 *   offset 0        struct event_file_header
 *   4096 + i * event_ring_bytes(capacity)   struct event_ring i, then capacity events
 */
#ifndef MARCHER_IPC_EVENT_RING_H
#define MARCHER_IPC_EVENT_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "marcher.h"

#define EVENT_RING_MAGIC 0x3153544e4556454dull /* "MEVENTS1" */
#define EVENT_RING_VERSION 1u
#define EVENT_RING_CAPACITY 8192u /* events per ring; a power of two */

struct event_file_header {
	uint64_t magic;
	uint32_t version;
	uint32_t rings;
	uint32_t capacity;
	uint32_t reserved;
};

struct event_ring {
	_Alignas(64) uint64_t head; /* next to write; producer */
	_Alignas(64) uint64_t tail; /* next to read; consumer */
	_Alignas(64) struct marcher_event events[];
};

static inline uint64_t event_ring_bytes(uint32_t capacity)
{
	return sizeof(struct event_ring) + (uint64_t)capacity * sizeof(struct marcher_event);
}

/* The i-th ring of a mapped file. */
struct event_ring *event_ring_at(void *file, uint32_t index);

/* Producer: a place for the next event, or NULL when the ring is full; then event_ring_push publishes it. */
struct marcher_event *event_ring_reserve(struct event_ring *ring, uint32_t capacity);
void event_ring_push(struct event_ring *ring);

/* Consumer: copies up to max events; returns how many. */
uint32_t event_ring_read(struct event_ring *ring, uint32_t capacity, struct marcher_event *out, uint32_t max);

#endif
