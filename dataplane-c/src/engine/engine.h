/* SPDX-License-Identifier: Apache-2.0 */
/* The process: the main thread's loop and everything that is there once. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "model.h"
#include "poll.h"
#include "stats.h"
#include "timer.h"
#include "topology.h"
#include "worker.h"

struct runtime; /* runtime.h */
struct prober;  /* upstream/health.h */
struct dns;     /* upstream/dns.h */
struct geoip;   /* lb/geo.h */

/* The main thread's loop: control socket, DNS, health probes, ejections, view rebuilding. No traffic. */
struct engine {
	struct poller *poller;
	struct timer_wheel *timers;
	uint64_t now_ms;
	struct stats *stats;
	struct stats_row row; /* the main thread's */
	struct worker **workers;
	unsigned nworkers;
	struct topology topology;
	struct runtime *runtime;
	struct prober *prober;
	struct dns *dns;
	struct geoip *_Atomic geoip; /* RCU; NULL: none */
	uint64_t random;
	char region[32];          /* the node's own; main thread */
	atomic_uint region_index; /* region_intern(region), for workers (lb_request.node_region) */
	uint16_t country;

	/* engine.c's own. */
	_Atomic(struct engine_message *) mailbox;
	struct poll_source wake; /* eventfd */
	atomic_bool stopping;
	uint64_t now_us;
};

/* Something that another thread asks the main thread to run. Owned by the receiver once posted. */
struct engine_message {
	struct engine_message *next;
	void (*run)(struct engine *engine, struct engine_message *message);
};

/* From any thread: queues and wakes. */
void engine_post(struct engine *engine, struct engine_message *message);
/* Main thread: sets up poller, timers, wake-up and random state. 0 or -errno. */
int engine_loop_start(struct engine *engine);
void engine_loop_stop(struct engine *engine);
/* One turn: waits at most so long, runs what is due. false: the engine has retired and is to end. */
bool engine_turn(struct engine *engine, int max_wait_ms);
void engine_run_messages(struct engine *engine);

/* Main thread. Gives the listening sockets up to a successor (or to nobody), drains, and ends the process when the last
 * connection has ended or the time is over. */
void engine_retire(struct engine *engine, uint32_t drain_ms);
/* 0: it does not retire; else in how many ms it ends at the latest, at least 1. */
uint32_t engine_retiring_ms(const struct engine *engine);
/* Connections and UDP sessions over all workers, as of their last turns. */
uint64_t engine_connections(const struct engine *engine);
/* From any thread: one more turn of the main thread's loop. */
void engine_wake(struct engine *engine);

/* Logging to stderr, one line each: level, what, key=value. Never called per connection. */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
extern enum log_level log_threshold;
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
