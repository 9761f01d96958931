/* SPDX-License-Identifier: Apache-2.0 */
/* The main thread's loop: wake-ups and messages from other threads, turns, and ending when all connections have. */
#include "engine.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "runtime_internal.h"

#define RETIRED_CHECK_MS 100

static struct {
	struct engine *engine;
	bool retired, over;
	uint64_t deadline_ms;
	uint64_t turns[WORKERS_MAX]; /* of the workers when it began */
	struct timer check;
} retiring;

/* Messages to the main thread */

void engine_wake(struct engine *engine)
{
	uint64_t one = 1;
	ssize_t n = write(engine->wake.fd, &one, sizeof(one)); /* fails only when it is set already */
	(void)n;
}

void engine_post(struct engine *engine, struct engine_message *message)
{
	/* Once published it is the reader's and may be gone: nothing of it is read after that. */
	struct engine_message *before = atomic_load_explicit(&engine->mailbox, memory_order_relaxed);
	do
		message->next = before;
	while (!atomic_compare_exchange_weak_explicit(&engine->mailbox, &before, message, memory_order_release,
	                                              memory_order_relaxed));
	if (!before)
		engine_wake(engine);
}

void engine_run_messages(struct engine *engine)
{
	struct engine_message *newest = atomic_exchange_explicit(&engine->mailbox, NULL, memory_order_acquire);
	struct engine_message *oldest = NULL;
	while (newest) {
		struct engine_message *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct engine_message *next = oldest->next;
		oldest->run(engine, oldest);
		oldest = next;
	}
}

static void woken(struct poll_source *source, uint32_t events)
{
	uint64_t count;
	(void)events;
	ssize_t n = read(source->fd, &count, sizeof(count));
	(void)n;
}

static void take_time(void *context)
{
	struct engine *engine = context;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	engine->now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
	engine->now_ms = engine->now_us / 1000;
}

/* Retiring */

uint64_t engine_connections(const struct engine *engine)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < engine->nworkers; i++)
		sum += atomic_load_explicit(&engine->workers[i]->connections, memory_order_relaxed);
	return sum;
}

/* Counts are as of a worker's last turn: each has to turn before they are believed. */
static bool all_turned(const struct engine *engine)
{
	for (unsigned i = 0; i < engine->nworkers; i++) {
		if (atomic_load_explicit(&engine->workers[i]->turns, memory_order_relaxed) <= retiring.turns[i] + 1)
			return false;
	}
	return true;
}

static void check_retired(struct timer *timer, uint64_t now_ms)
{
	struct engine *engine = retiring.engine;
	/* A little more than the drain time, in which workers close what is left and tell why. */
	if ((engine_connections(engine) == 0 && all_turned(engine)) || now_ms >= retiring.deadline_ms + 500)
		retiring.over = true;
	else
		timer_arm(engine->timers, timer, now_ms + RETIRED_CHECK_MS, check_retired);
}

void engine_retire(struct engine *engine, uint32_t drain_ms)
{
	uint64_t deadline_ms = engine->now_ms + drain_ms;
	if (retiring.retired) { /* told again: the sooner counts */
		if (deadline_ms < retiring.deadline_ms)
			retiring.deadline_ms = deadline_ms;
		return;
	}
	log_line(LOG_INFO, "engine: retiring connections=%llu drain_ms=%u",
	         (unsigned long long)engine_connections(engine), drain_ms);
	retiring.retired = true;
	retiring.deadline_ms = deadline_ms;
	for (unsigned i = 0; i < engine->nworkers; i++)
		retiring.turns[i] = atomic_load_explicit(&engine->workers[i]->turns, memory_order_relaxed);
	retiring.engine = engine;
	runtime_retire(engine->runtime, drain_ms);
	timer_arm(engine->timers, &retiring.check, engine->now_ms + RETIRED_CHECK_MS, check_retired);
}

uint32_t engine_retiring_ms(const struct engine *engine)
{
	if (!retiring.retired)
		return 0;
	uint64_t left = retiring.deadline_ms > engine->now_ms ? retiring.deadline_ms - engine->now_ms : 1;
	return left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
}

/* The loop */

int engine_loop_start(struct engine *engine)
{
	memset(&retiring, 0, sizeof(retiring));
	take_time(engine);
	engine->poller = poller_new();
	engine->timers = timer_wheel_new(engine->now_ms);
	engine->wake = (struct poll_source){.handler = woken, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	if (!engine->poller || engine->wake.fd < 0)
		return -errno;
	if (!engine->timers)
		return -ENOMEM;
	int error = poller_add_level(engine->poller, &engine->wake, false);
	if (error)
		return error;
	if (getrandom(&engine->random, sizeof(engine->random), 0) != sizeof(engine->random) || !engine->random)
		engine->random = engine->now_us | 1;
	poller_around_wait(engine->poller, NULL, take_time, engine);
	return 0;
}

void engine_loop_stop(struct engine *engine)
{
	if (engine->timers)
		timer_wheel_free(engine->timers);
	if (engine->wake.fd >= 0)
		close(engine->wake.fd);
	poller_free(engine->poller);
}

bool engine_turn(struct engine *engine, int max_wait_ms)
{
	int timeout = timer_wheel_next(engine->timers, engine->now_ms);
	if (timeout < 0 || timeout > max_wait_ms)
		timeout = max_wait_ms;
	if (atomic_load_explicit(&engine->mailbox, memory_order_relaxed))
		timeout = 0;
	poller_wait(engine->poller, timeout);
	timer_wheel_advance(engine->timers, engine->now_ms);
	engine_run_messages(engine);
	if (engine->runtime)
		runtime_turn(engine->runtime);
	return !retiring.over;
}
