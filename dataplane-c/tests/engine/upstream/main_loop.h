/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main thread's loop for tests of upstream/: a real poller and real timers, and in place of the runtime and the
 * statistics file something that records what it was told. Included by one source per test program.
 */
#ifndef TEST_MAIN_LOOP_H
#define TEST_MAIN_LOOP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine.h"
#include "runtime.h"

#define EVENTS_MAX 256
#define SLOTS_MAX 64

static struct engine engine;
static struct service service;
static struct marcher_event events[EVENTS_MAX];
static unsigned nevents, changes;
static struct backend *resolved_backend;
static struct addr resolved[128];
static size_t nresolved;
static unsigned resolutions;
static struct stats_slot slots[SLOTS_MAX];

void runtime_backend_changed(struct runtime *runtime, struct backend *backend)
{
	(void)runtime;
	(void)backend;
	changes++;
}

struct service *runtime_service_of(struct runtime *runtime, const struct backend *backend)
{
	(void)runtime;
	(void)backend;
	return &service;
}

void runtime_backend_resolved(struct runtime *runtime, struct backend *backend, const struct addr *addrs, size_t count)
{
	(void)runtime;
	resolved_backend = backend;
	resolutions++;
	assert_true(count <= 128);
	nresolved = count;
	memcpy(resolved, addrs, count * sizeof(*addrs));
}

void endpoint_ref(struct endpoint *endpoint)
{
	atomic_fetch_add(&endpoint->refs, 1);
}

void endpoint_unref(struct endpoint *endpoint)
{
	assert_true(atomic_fetch_sub(&endpoint->refs, 1) > 0);
}

struct marcher_event *stats_event(struct stats_row *row, enum marcher_event_kind kind)
{
	(void)row;
	if (nevents == EVENTS_MAX)
		return NULL;
	memset(&events[nevents], 0, sizeof(events[nevents]));
	events[nevents].kind = kind;
	return &events[nevents];
}

void stats_event_push(struct stats_row *row)
{
	(void)row;
	nevents++;
}

/* Not 0: the time, which moves by a millisecond with each turn. For tests that wait for nothing but timers, and so are
 * the same on a busy machine. */
static uint64_t turns_ms;

static uint64_t clock_ms(void)
{
	struct timespec now;
	if (turns_ms)
		return turns_ms;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct service_id service_identity = {.name = (char *)"web"};

static void engine_set_up(void)
{
	log_threshold = getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR;
	memset(&engine, 0, sizeof(engine));
	memset(&service, 0, sizeof(service));
	memset(slots, 0, sizeof(slots));
	nevents = changes = resolutions = 0;
	nresolved = 0;
	resolved_backend = NULL;
	service.id = &service_identity;
	service.slot = 1;
	engine.now_ms = clock_ms();
	engine.poller = poller_new();
	engine.timers = timer_wheel_new(engine.now_ms);
	engine.row.slots = slots;
	engine.random = 88172645463325252ull;
	assert_non_null(engine.poller);
	assert_non_null(engine.timers);
}

static void engine_tear_down(void)
{
	/* What was to be freed at the end of a turn. */
	timer_wheel_advance(engine.timers, engine.now_ms + 1);
	assert_int_equal(timer_wheel_next(engine.timers, engine.now_ms), -1);
	timer_wheel_free(engine.timers);
	poller_free(engine.poller);
}

/* One loop turn, as the main thread's. */
static void loop_turn(void)
{
	int timeout = timer_wheel_next(engine.timers, engine.now_ms);
	if (timeout < 0 || timeout > 5)
		timeout = 5;
	poller_wait(engine.poller, turns_ms ? 0 : timeout);
	turns_ms += turns_ms != 0;
	engine.now_ms = clock_ms();
	timer_wheel_advance(engine.timers, engine.now_ms);
}

static void loop_for(unsigned ms)
{
	engine.now_ms = clock_ms();
	for (uint64_t end = engine.now_ms + ms; engine.now_ms < end;)
		loop_turn();
}

/* Turns until the condition holds; fails the test after 30 seconds: a machine may be busy. */
#define loop_until(condition)                                                \
	do {                                                                 \
		engine.now_ms = clock_ms();                                  \
		uint64_t loop_end = engine.now_ms + 30000;                   \
		while (!(condition)) {                                       \
			if (engine.now_ms > loop_end)                        \
				fail_msg("not within 30 s: %s", #condition); \
			loop_turn();                                         \
		}                                                            \
	} while (0)

#endif
