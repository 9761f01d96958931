/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker: one pinned thread with its own poller, timers, memory and counters. It serves the connections that its own
 * listening sockets accepted and shares with other workers only what model.h marks as atomic or RCU.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"
#include "model.h"
#include "poll.h"
#include "qos/sched.h"
#include "stats.h"
#include "timer.h"
#include "topology.h"

struct engine;
struct lb_state; /* lb/lb.h */
struct geoip;    /* lb/geo.h */
struct worker;

#define WORKER_SCRATCH_BYTES (64u * 1024)

/* Something to free or run at the end of the loop turn, when no handler can still hold it. Embedded in its owner. */
struct worker_deferred {
	struct worker_deferred *next;
	void (*run)(struct worker_deferred *);
};

/* Something that another thread asks this worker to run on its own thread. Owned by the receiver once posted. */
struct worker_message {
	struct worker_message *next;
	void (*run)(struct worker *worker, struct worker_message *message);
};

struct worker {
	unsigned index;
	struct engine *engine;
	pthread_t thread;
	struct worker_place place;
	struct poller *poller;
	struct timer_wheel *timers;
	uint64_t now_ms; /* CLOCK_MONOTONIC, taken once per loop turn */
	uint64_t now_us;
	struct stats_row stats;
	struct lb_state *lb;
	struct sched sched;
	uint64_t random; /* state of worker_random() */
	uint64_t next_connection_id;
	uint8_t *scratch; /* WORKER_SCRATCH_BYTES; valid inside one handler */
	struct worker_deferred *deferred;
	atomic_ullong turns;

	struct tunnel_worker *tunnel; /* mux/tunnel.c: TCP relay */
	struct udp_worker *udp;       /* mux/udp.c: UDP relay */

	/* worker.c's own. */
	_Atomic(struct worker_message *) mailbox;
	struct poll_source wake; /* eventfd */
	atomic_uint connections; /* TCP connections and UDP sessions, as of the last turn; for other threads */
	bool stopping;
	/* listen.c's own. */
	int reserve_fd; /* given up to shed a connection when descriptors run out; -1: none */
	uint64_t accept_complained_ms;
};

#define WORKERS_MAX 254u

/* Main thread. Makes the worker and its thread, pinned and with memory on its node (all of it: even its own struct is
 * made by its thread); returns when it is ready to take connections. NULL and errno on failure. */
struct worker *worker_start(struct engine *engine, unsigned index, const struct worker_place *place);
/* Ends the thread; what connections it still has are cut. */
void worker_stop(struct worker *worker);

/* The worker whose thread this is; NULL on others. */
extern _Thread_local struct worker *this_worker;

/* xorshift: fast, not for secrets. */
uint64_t worker_random(struct worker *worker);

/* Runs at the end of this loop turn. */
void worker_defer(struct worker *worker, struct worker_deferred *deferred, void (*run)(struct worker_deferred *));

/* From any thread: queues and wakes. */
void worker_post(struct worker *worker, struct worker_message *message);

#endif
