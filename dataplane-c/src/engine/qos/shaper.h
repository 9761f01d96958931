/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of streams, held to the limits of their connection and their service by reading no more than may go on: what is
 * not read stays in the socket, and TCP slows its sender down.
 *
 * Before it reads, a direction takes; what it took and did not read it gives back. When there is nothing to take it
 * waits on the timer wheel: alone for its own limit, and for the service's in a lane, which is the worker's queue for
 * that service and direction. A lane lets its connections have one quantum each in turn. Workers share the service's
 * rate by how many connections wait on each: a lane earns that part of it as credit, so that it makes no difference
 * which worker wakes up first. The bucket that all of them take from is exact by itself.
 */
#ifndef ENGINE_SHAPER_H
#define ENGINE_SHAPER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../timer.h"
#include "qos.h"

/* One direction of a connection. */
struct shaper_flow {
	struct qos *qos;
	void (*resume)(struct shaper_flow *flow); /* it may try to take again */
	_Atomic uint64_t tat;                     /* of the connection's own limit */
	struct shaper_flow *next, **pprev;        /* in its lane */
	struct timer timer;                       /* while it waits for its own limit */
	uint64_t since_us;                        /* it waits, or did until it was resumed */
	uint64_t throttled_us, throttled_bytes;   /* since they were last collected */
	uint8_t direction;
	bool waits, waited;
	bool turn;      /* its lane has let it go on, and pays for the next that it takes */
	bool on_credit; /* what it took last was paid so */
};

/* At most want bytes that may be read now. 0: none; resume is called when there may be some. While it waits: 0. */
size_t shaper_take(struct shaper_flow *flow, size_t want);
/* Of what was taken, bytes that were not read. */
void shaper_give(struct shaper_flow *flow, size_t bytes);
/* The policy allows this direction quanta of at least so many bytes, as often as it likes. */
bool shaper_allows(const struct shaper_flow *flow, size_t quantum);
/* It waits no more: the connection ends, or its policy is another one. Returns whether it did wait. */
bool shaper_leave(struct shaper_flow *flow);

#endif
