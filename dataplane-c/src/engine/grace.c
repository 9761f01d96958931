/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grace periods. liburcu 0.13 has no way to ask whether one has passed, and a worker that hangs must not hang the main
 * thread, which answers the supervisor; so a thread of its own waits for them, any number of requests at a time.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <time.h>
#include <urcu-qsbr.h>

#include "runtime_internal.h"

static struct {
	struct engine *engine;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wanted, passed;
	uint64_t requested, done;
	bool stopping, running;
} grace = {.lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};

static void *wait_for_grace(void *context)
{
	(void)context;
	prctl(PR_SET_NAME, "grace");
	pthread_mutex_lock(&grace.lock);
	for (;;) {
		while (grace.requested == grace.done && !grace.stopping)
			pthread_cond_wait(&grace.wanted, &grace.lock);
		if (grace.requested == grace.done)
			break;
		uint64_t ticket = grace.requested;
		pthread_mutex_unlock(&grace.lock);
		synchronize_rcu();
		pthread_mutex_lock(&grace.lock);
		grace.done = ticket;
		pthread_cond_broadcast(&grace.passed);
		engine_wake(grace.engine);
	}
	pthread_mutex_unlock(&grace.lock);
	return NULL;
}

int grace_start(struct engine *engine)
{
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&grace.passed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	grace.engine = engine;
	grace.stopping = false;
	int error = pthread_create(&grace.thread, NULL, wait_for_grace, NULL);
	grace.running = error == 0;
	return -error;
}

void grace_stop(void)
{
	if (!grace.running)
		return;
	pthread_mutex_lock(&grace.lock);
	grace.stopping = true;
	pthread_cond_signal(&grace.wanted);
	pthread_mutex_unlock(&grace.lock);
	pthread_join(grace.thread, NULL);
	pthread_cond_destroy(&grace.passed);
	grace.running = false;
}

uint64_t grace_request(void)
{
	pthread_mutex_lock(&grace.lock);
	uint64_t ticket = ++grace.requested;
	pthread_cond_signal(&grace.wanted);
	pthread_mutex_unlock(&grace.lock);
	return ticket;
}

/* What a worker read before its turn ended happened before what is freed after the grace period. liburcu guarantees it;
 * these loads tell it to ThreadSanitizer, too, and cost nothing. */
static void order_after_workers(void)
{
	for (unsigned i = 0; i < grace.engine->nworkers; i++) {
		if (grace.engine->workers[i])
			(void)atomic_load_explicit(&grace.engine->workers[i]->turns, memory_order_acquire);
	}
}

bool grace_done(uint64_t ticket)
{
	pthread_mutex_lock(&grace.lock);
	bool done = grace.done >= ticket;
	pthread_mutex_unlock(&grace.lock);
	if (done)
		order_after_workers();
	return done;
}

bool grace_wait(uint64_t ticket, unsigned timeout_ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&grace.lock);
	int error = 0;
	while (grace.done < ticket && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&grace.passed, &grace.lock, &until);
	bool done = grace.done >= ticket;
	pthread_mutex_unlock(&grace.lock);
	if (done)
		order_after_workers();
	return done;
}
