/* SPDX-License-Identifier: Apache-2.0 */
/* Whose turn comes next: a binary heap whose top is served and put back with a later time. Equal times go by index. */
#ifndef ENGINE_TURN_HEAP_H
#define ENGINE_TURN_HEAP_H

#include <stdbool.h>
#include <stdint.h>

struct turn {
	uint64_t at;
	uint32_t index;
	uint32_t period; /* free for the owner */
};

static inline bool turn_before(const struct turn *a, const struct turn *b)
{
	return a->at != b->at ? a->at < b->at : a->index < b->index;
}

static inline void turn_sift_down(struct turn *heap, uint32_t count, uint32_t i)
{
	struct turn moved = heap[i];
	for (;;) {
		uint64_t child = 2ull * i + 1;
		if (child >= count)
			break;
		if (child + 1 < count && turn_before(&heap[child + 1], &heap[child]))
			child++;
		if (!turn_before(&heap[child], &moved))
			break;
		heap[i] = heap[child];
		i = (uint32_t)child;
	}
	heap[i] = moved;
}

static inline void turn_heapify(struct turn *heap, uint32_t count)
{
	for (uint32_t i = count / 2; i-- > 0;)
		turn_sift_down(heap, count, i);
}

/* Gives the top its next time, which is not before the present one. */
static inline void turn_postpone(struct turn *heap, uint32_t count, uint64_t at)
{
	heap[0].at = at;
	turn_sift_down(heap, count, 0);
}

#endif
