/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/event_ring.h"

#include <string.h>

_Static_assert(sizeof(struct marcher_event) == 256, "the event's size is part of the contract");
_Static_assert((EVENT_RING_CAPACITY & (EVENT_RING_CAPACITY - 1)) == 0, "a power of two");

struct event_ring *event_ring_at(void *file, uint32_t index)
{
	const struct event_file_header *header = file;
	return (struct event_ring *)((char *)file + 4096 + (uint64_t)index * event_ring_bytes(header->capacity));
}

struct marcher_event *event_ring_reserve(struct event_ring *ring, uint32_t capacity)
{
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_RELAXED);
	uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
	/* Unsigned: a tail ahead of head (a broken consumer) counts as full too. */
	if (head - tail >= capacity)
		return NULL;
	return &ring->events[head & (capacity - 1)];
}

void event_ring_push(struct event_ring *ring)
{
	__atomic_store_n(&ring->head, __atomic_load_n(&ring->head, __ATOMIC_RELAXED) + 1, __ATOMIC_RELEASE);
}

uint32_t event_ring_read(struct event_ring *ring, uint32_t capacity, struct marcher_event *out, uint32_t max)
{
	uint64_t tail = __atomic_load_n(&ring->tail, __ATOMIC_RELAXED);
	uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	/* An index that cannot be: begin again at what the producer writes next, so that the ring is usable again. */
	if (head - tail > capacity) {
		__atomic_store_n(&ring->tail, head, __ATOMIC_RELEASE);
		return 0;
	}
	uint64_t available = head - tail;
	uint32_t count = available < max ? (uint32_t)available : max;
	for (uint32_t i = 0; i < count; i++)
		memcpy(&out[i], &ring->events[(tail + i) & (capacity - 1)], sizeof(*out));
	__atomic_store_n(&ring->tail, tail + count, __ATOMIC_RELEASE);
	return count;
}
