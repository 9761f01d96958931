/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's loop. One turn:
 *
 *   wait for events (outside of RCU: a grace period never waits for an idle worker) -> take the time -> handlers ->
 * timers -> messages -> deferred -> turns + 1: quiescent, no pointer from before is held without a reference
 */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <urcu-qsbr.h>

#include "engine.h"
#include "lb/lb.h"
#include "mux/tunnel.h"
#include "mux/udp.h"

/* An idle worker still turns this often, so that one that stands still can be told from one with nothing to do. */
#define TURN_MAX_MS 500

_Thread_local struct worker *this_worker;

uint64_t worker_random(struct worker *worker)
{
	/* xorshift64* (Vigna 2016). */
	uint64_t x = worker->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	worker->random = x;
	return x * 0x2545f4914f6cdd1dull;
}

void worker_defer(struct worker *worker, struct worker_deferred *deferred, void (*run)(struct worker_deferred *))
{
	deferred->run = run;
	deferred->next = worker->deferred;
	worker->deferred = deferred;
}

void worker_post(struct worker *worker, struct worker_message *message)
{
	/* Once published it is the reader's and may be gone: nothing of it is read after that. */
	struct worker_message *before = atomic_load_explicit(&worker->mailbox, memory_order_relaxed);
	do
		message->next = before;
	while (!atomic_compare_exchange_weak_explicit(&worker->mailbox, &before, message, memory_order_release,
	                                              memory_order_relaxed));
	/* Only the first in an empty box has to wake: the reader takes all. */
	if (!before) {
		uint64_t one = 1;
		ssize_t n = write(worker->wake.fd, &one, sizeof(one)); /* fails only when it is set already */
		(void)n;
	}
}

static void woken(struct poll_source *source, uint32_t events)
{
	uint64_t count;
	(void)events;
	ssize_t n = read(source->fd, &count, sizeof(count));
	(void)n;
}

static void run_messages(struct worker *worker)
{
	if (!atomic_load_explicit(&worker->mailbox, memory_order_relaxed))
		return;
	struct worker_message *newest = atomic_exchange_explicit(&worker->mailbox, NULL, memory_order_acquire);
	struct worker_message *oldest = NULL;
	while (newest) { /* the box is a stack: turn it round */
		struct worker_message *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct worker_message *next = oldest->next; /* running it may free it */
		oldest->run(worker, oldest);
		oldest = next;
	}
}

static void run_deferred(struct worker *worker)
{
	while (worker->deferred) {
		struct worker_deferred *deferred = worker->deferred;
		worker->deferred = NULL;
		while (deferred) {
			struct worker_deferred *next = deferred->next;
			deferred->run(deferred);
			deferred = next;
		}
	}
}

static void take_time(struct worker *worker)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	worker->now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	worker->now_ms = worker->now_us / 1000;
}

static void before_wait(void *context)
{
	(void)context;
	rcu_thread_offline();
}

static void after_wait(void *context)
{
	rcu_thread_online();
	take_time(context);
}

/* What worker_start waits for. */
struct start {
	struct engine *engine;
	unsigned index;
	const struct worker_place *place;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool ready;
	struct worker *worker; /* NULL: error says why */
	int error;
};

static void dispose(struct worker *worker)
{
	if (worker->wake.fd >= 0)
		close(worker->wake.fd);
	if (worker->reserve_fd >= 0)
		close(worker->reserve_fd);
	if (worker->lb)
		lb_state_free(worker->lb);
	if (worker->timers)
		timer_wheel_free(worker->timers);
	poller_free(worker->poller);
	free(worker->scratch);
	free(worker);
}

static void take_place(const struct start *start)
{
	char name[16];
	snprintf(name, sizeof(name), "worker-%u", start->index);
	prctl(PR_SET_NAME, name);

	/* Placement is for speed: a container that forbids it still gets served. */
	int error = topology_pin(start->place);
	if (error)
		log_line(LOG_WARN, "worker: not pinned worker=%u cpu=%d error=\"%s\"", start->index, start->place->cpu,
		         strerror(-error));
	error = topology_bind_memory(&start->engine->topology, start->place);
	if (error)
		log_line(LOG_WARN, "worker: memory not bound worker=%u node=%d error=\"%s\"", start->index,
		         start->place->node, strerror(-error));
}

/* On the worker's thread once that is in its place: memory is of the node where it is touched first. NULL and errno on
 * failure. */
static struct worker *make(const struct start *start)
{
	struct worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
	if (!worker)
		return NULL;
	memset(worker, 0, sizeof(*worker));
	worker->index = start->index;
	worker->engine = start->engine;
	worker->thread = pthread_self();
	worker->place = *start->place;
	worker->reserve_fd = -1;
	worker->wake = (struct poll_source){.handler = woken, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	worker->poller = poller_new();
	if (worker->wake.fd < 0 || !worker->poller || poller_add_level(worker->poller, &worker->wake, false) < 0)
		goto failed;
	stats_row_init(worker->engine->stats, worker->index, &worker->stats);
	if (getrandom(&worker->random, sizeof(worker->random), 0) != sizeof(worker->random) || !worker->random)
		worker->random = (uint64_t)(uintptr_t)worker | 1;
	/* Unique over workers and restarts of the engine: seconds, worker, running number. */
	worker->next_connection_id = ((uint64_t)time(NULL) & 0xffffff) << 40 | (uint64_t)worker->index << 32;

	take_time(worker);
	worker->timers = timer_wheel_new(worker->now_ms);
	worker->lb = lb_state_new();
	worker->scratch = aligned_alloc(4096, WORKER_SCRATCH_BYTES);
	if (!worker->timers || !worker->lb || !worker->scratch) {
		errno = ENOMEM;
		goto failed;
	}
	int error = tunnel_worker_init(worker);
	if (!error) {
		error = udp_worker_init(worker);
		if (error)
			tunnel_worker_free(worker);
	}
	if (!error)
		return worker;
	errno = -error;
failed:;
	int saved = errno;
	dispose(worker);
	errno = saved;
	return NULL;
}

static void run(struct worker *worker)
{
	poller_around_wait(worker->poller, before_wait, after_wait, worker);
	while (!worker->stopping) {
		int timeout = timer_wheel_next(worker->timers, worker->now_ms);
		if (timeout < 0 || timeout > TURN_MAX_MS)
			timeout = TURN_MAX_MS;
		if (atomic_load_explicit(&worker->mailbox, memory_order_relaxed))
			timeout = 0;
		poller_wait(worker->poller, timeout);
		timer_wheel_advance(worker->timers, worker->now_ms);
		run_messages(worker);
		run_deferred(worker);
		atomic_store_explicit(&worker->connections, (unsigned)(tunnel_count(worker) + udp_count(worker)),
		                      memory_order_relaxed);
		atomic_store_explicit(&worker->turns, atomic_load_explicit(&worker->turns, memory_order_relaxed) + 1,
		                      memory_order_release);
		rcu_quiescent_state();
	}
}

static void *worker_main(void *context)
{
	struct start *start = context;
	rcu_register_thread();
	take_place(start);
	struct worker *worker = make(start);
	this_worker = worker;

	pthread_mutex_lock(&start->lock);
	start->worker = worker;
	start->error = worker ? 0 : errno;
	start->ready = true;
	pthread_cond_signal(&start->changed);
	pthread_mutex_unlock(&start->lock); /* start is gone from here on */

	if (worker) {
		run(worker);
		udp_worker_free(worker);
		tunnel_worker_free(worker);
		run_deferred(worker);
	}
	rcu_unregister_thread();
	return NULL;
}

struct worker *worker_start(struct engine *engine, unsigned index, const struct worker_place *place)
{
	struct start start = {.engine = engine,
	                      .index = index,
	                      .place = place,
	                      .lock = PTHREAD_MUTEX_INITIALIZER,
	                      .changed = PTHREAD_COND_INITIALIZER};
	struct memory_policy ours;
	pthread_t thread;
	/* The first page of a thread's stack, where its thread-local variables are, is written by who creates it. That
	 * it cannot be placed is said by the thread itself. */
	topology_save_memory(&ours);
	topology_bind_memory(&engine->topology, place);
	int error = pthread_create(&thread, NULL, worker_main, &start);
	topology_restore_memory(&ours);
	if (error) {
		errno = error;
		return NULL;
	}
	pthread_mutex_lock(&start.lock);
	while (!start.ready)
		pthread_cond_wait(&start.changed, &start.lock);
	pthread_mutex_unlock(&start.lock);
	if (!start.worker) {
		pthread_join(thread, NULL);
		errno = start.error;
	}
	return start.worker;
}

static void stop(struct worker *worker, struct worker_message *message)
{
	(void)message;
	worker->stopping = true;
}

void worker_stop(struct worker *worker)
{
	struct worker_message message = {.run = stop};
	worker_post(worker, &message);
	pthread_join(worker->thread, NULL);
	dispose(worker);
}
