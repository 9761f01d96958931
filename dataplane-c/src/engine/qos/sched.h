/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Order among what is ready on one worker: connections, sessions and listening sockets, by class of their service.
 *
 * As long as no service has a priority other than the default, events are worked off as they come, and this only holds
 * connections that have used up their share of a turn: each of those runs once per turn.
 *
 * With priorities (active) everything that is ready queues here. A turn does at most TURN_WORK, the highest class
 * first, and then looks for new events; each lower class that waits has a small guaranteed part of every turn on top
 * (deficit round robin: what one item does beyond the part is taken off the next turns'), so that none starves.
 */
#ifndef ENGINE_SCHED_H
#define ENGINE_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../timer.h"
#include "qos.h"

struct worker;

/* Embedded in what is ready; all zero: not queued. */
struct sched_item {
	struct sched_item *next, **pprev;
	size_t (*run)(struct sched_item *item); /* returns the bytes that it moved */
	uint8_t class;                          /* enum qos_class */
};

struct sched {
	struct sched_list {
		struct sched_item *first, **last; /* last NULL: never used */
		int64_t credit; /* bytes that the class may still move although the turn's work is done */
	} lists[QOS_CLASSES];
	struct sched_list turn; /* of the class that runs now */
	struct timer timer;
	bool active;
};

/* While priorities are in use an item moves at most so much per run. */
#define SCHED_ITEM_BYTES (64u * 1024)

/* Runs the item, once, in this turn or the next. One that is queued already stays where it is. */
void sched_queue(struct worker *worker, struct sched_item *item);
void sched_remove(struct sched_item *item);
static inline bool sched_queued(const struct sched_item *item)
{
	return item->pprev != NULL;
}

#endif
