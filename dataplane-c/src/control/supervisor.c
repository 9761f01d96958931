/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that watches the engine: its end (pidfd), its answers (ping), its workers (turn counters), and that does
 * what must not delay a caller: filling the socket bank, settling the journal, the log.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "control.h"
#include "spawn.h"

#define MISSED_PINGS_MAX 3u
/* A worker may sleep this long between two turns when it has nothing to do. */
#define STILL_MS_MIN 3000u
#define BANK_PATIENCE_MS 250u
#define BANK_RETRY_MS 1000u

void supervisor_wake(struct marcher *handle)
{
	eventfd_write(handle->wake_fd, 1);
}

static void kill_hung(struct marcher *handle, const char *what)
{
	control_notice(handle, "engine %d: %s; it is killed and restarted", (int)handle->link.pid, what);
	handle->watch.killed_by_us = true;
	pidfd_send_signal(handle->link.pidfd, SIGKILL, NULL, 0);
	struct pollfd gone = {.fd = handle->link.pidfd, .events = POLLIN};
	poll(&gone, 1, 2000);
}

/* A worker whose counter did not move since the first of these pings hangs. */
static void check_turns(struct marcher *handle, const Marcher__Engine__V1__PingReply *reply)
{
	uint64_t now = control_now_ms();
	size_t n = reply->n_worker_turns < 256 ? reply->n_worker_turns : 256;
	bool still = n && n == handle->watch.nturns, any_still = false;

	for (size_t i = 0; still && i < n; i++)
		any_still |= reply->worker_turns[i] == handle->watch.turns[i];
	if (!any_still) {
		handle->watch.still_pings = 0;
		handle->watch.still_since_ms = now;
		if (n)
			memcpy(handle->watch.turns, reply->worker_turns, n * sizeof(handle->watch.turns[0]));
		handle->watch.nturns = n;
		return;
	}
	/* Of the others the first count stays: what matters is the one that has not moved since. */
	if (++handle->watch.still_pings >= MISSED_PINGS_MAX && now - handle->watch.still_since_ms >= STILL_MS_MIN)
		kill_hung(handle, "a worker has not turned its loop over three pings");
}

static void ping(struct marcher *handle)
{
	Marcher__Engine__V1__PingRequest message = MARCHER__ENGINE__V1__PING_REQUEST__INIT;
	EngineRequest request = MARCHER__ENGINE__V1__REQUEST__INIT;
	EngineReply *reply = NULL;
	uint32_t retiring_ms = 0;

	request.kind_case = MARCHER__ENGINE__V1__REQUEST__KIND_PING;
	request.ping = &message;
	int error = link_call(&handle->link, &request, NULL, 0, handle->heartbeat_ms, &reply, NULL, NULL);
	handle->watch.next_ping_ms = control_now_ms() + handle->heartbeat_ms;
	if (error == -EPIPE) {
		error = lifecycle_disconnected(handle);
		if (error && error != -ESRCH)
			kill_hung(handle, "it closed the control connection and takes no new one");
		return;
	}
	if (error || reply->kind_case != MARCHER__ENGINE__V1__REPLY__KIND_PING) {
		if (++handle->watch.missed_pings >= MISSED_PINGS_MAX)
			kill_hung(handle, "three pings in a row were not answered");
		else
			handle->watch.next_ping_ms = control_now_ms(); /* it has had its time already */
	} else {
		handle->watch.missed_pings = 0;
		retiring_ms = reply->ping->retiring_ms;
		check_turns(handle, reply->ping);
	}
	link_reply_free(reply);
	if (retiring_ms)
		lifecycle_left(handle, retiring_ms);
}

static bool someone_waits(void *arg)
{
	struct marcher *handle = arg;

	return (atomic_load(&handle->waiting) && control_now_ms() - handle->bank_stale_since_ms < BANK_PATIENCE_MS) ||
	       atomic_load(&handle->closing);
}

/* What is kept open, whether the engine's list could be fetched or not. */
static void publish_bank(struct marcher *handle)
{
	pthread_mutex_lock(&handle->state_lock);
	if (!handle->bank_stale)
		handle->status.listening_sockets = handle->bank.wanted;
	handle->status.banked_sockets = (uint32_t)handle->bank.count;
	pthread_mutex_unlock(&handle->state_lock);
}

/* The steered sockets alone, of more than the bank keeps: an incomplete list would take from listeners what they have.
 */
static int steer_few(struct marcher *handle, size_t limit, char *why, size_t why_size)
{
	struct bank few;
	int error = bank_choose(&few, &handle->link, handle->heartbeat_ms, limit, steer_needs, someone_waits, handle);

	if (error) {
		snprintf(why, why_size, "fetching them: %s", link_error(error));
		return error;
	}
	error = few.version == handle->bank.version ? steer_sync(handle->steer, &few, why, why_size) : -EAGAIN;
	bank_clear(&few);
	return error;
}

/* New connections go to what the engine listens on. Returns in how many ms to try again; 0: done. */
static unsigned steer(struct marcher *handle, size_t limit)
{
	char why[ERROR_TEXT_MAX];

	if (!handle->steer || (handle->bank.version && handle->steer_version == handle->bank.version))
		return 0;
	int error = handle->bank.count < handle->bank.wanted
	                    ? steer_few(handle, limit, why, sizeof(why))
	                    : steer_sync(handle->steer, &handle->bank, why, sizeof(why));
	if (!error) {
		handle->steer_version = handle->bank.version;
		return 0;
	}
	handle->bank_stale = true;
	if (error == -EAGAIN)
		return 1;
	control_notice(handle, "steering connections to the engine's sockets: %s", why);
	handle->bank.version = 0;
	return BANK_RETRY_MS;
}

/* Returns in how many ms to try again; 0: done. */
static unsigned fill_bank(struct marcher *handle)
{
	size_t limit = bank_limit();

	if (someone_waits(handle))
		return 1;
	int error = bank_fetch(&handle->bank, &handle->link, handle->heartbeat_ms, limit, someone_waits, handle);
	handle->bank_stale = error != 0;
	publish_bank(handle);
	if (error == -EAGAIN)
		return 1;
	if (error == -EPIPE || error == -ETIMEDOUT) {
		/* It has ended, or hangs: the ping finds out, and what there is goes to the next. */
		handle->watch.next_ping_ms = 0;
		return BANK_RETRY_MS;
	}
	if (error) {
		control_notice(handle, "fetching the listening sockets: %s", link_error(error));
		return BANK_RETRY_MS;
	}
	if (handle->bank.wanted > limit)
		control_notice(
		        handle,
		        "%u listening sockets are not kept open over a crash of the engine: more than half of the "
		        "limit on open files; raise it (LimitNOFILE) above %u",
		        handle->bank.wanted, 2 * handle->bank.wanted);
	return steer(handle, limit);
}

static void wait_for_work(struct marcher *handle, unsigned timeout_ms)
{
	struct pollfd fds[3 + RETIRING_MAX];
	nfds_t n = 0;
	eventfd_t value;

	fds[n++] = (struct pollfd){.fd = handle->wake_fd, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = handle->close_fd, .events = POLLIN};
	/* Only this thread closes these descriptors while it runs, but for marcher_upgrade and marcher_stop, which wake
	 * it: then at worst it looks once too often. */
	pthread_mutex_lock(&handle->link_lock);
	fds[n++] = (struct pollfd){.fd = handle->link.pidfd, .events = POLLIN};
	for (unsigned i = 0; i < RETIRING_MAX; i++)
		fds[n++] = (struct pollfd){.fd = handle->retiring[i].pidfd, .events = POLLIN};
	pthread_mutex_unlock(&handle->link_lock);
	if (poll(fds, n, (int)timeout_ms) > 0 && fds[0].revents)
		eventfd_read(handle->wake_fd, &value);
}

static unsigned sooner(unsigned a, uint64_t when, uint64_t now)
{
	uint64_t b = when > now ? when - now : 0;

	return b < a ? (unsigned)b : a;
}

/* One round under link_lock. Returns in how many ms the next one is due. */
static unsigned watch_engine(struct marcher *handle)
{
	char why[ERROR_TEXT_MAX];
	unsigned next = 1000;
	bool again;

	if (lifecycle_has_ended(handle, 0))
		lifecycle_ended(handle);
	lifecycle_reap_retired(handle);
	if (handle->link.sock < 0 && !handle->stopped && !atomic_load(&handle->closing)) {
		if (control_now_ms() >= handle->watch.next_start_ms) {
			if (!lifecycle_start(handle, &again, why, sizeof(why))) {
				pthread_mutex_lock(&handle->state_lock);
				handle->status.restarts++;
				pthread_mutex_unlock(&handle->state_lock);
			}
		}
	}
	uint64_t now = control_now_ms();
	if (handle->link.sock < 0)
		return handle->stopped ? next : sooner(next, handle->watch.next_start_ms, now);
	if (handle->bank_stale) {
		unsigned wait = fill_bank(handle);
		if (wait)
			next = sooner(next, now + wait, now);
	}
	if (now >= handle->watch.next_ping_ms)
		ping(handle);
	if (handle->link.sock < 0 || lifecycle_has_ended(handle, 0))
		return 0;
	return sooner(next, handle->watch.next_ping_ms, control_now_ms());
}

static void *supervise(void *arg)
{
	struct marcher *handle = arg;
	unsigned timeout = 0;
	uint64_t next_tidy_ms = 0;

	while (!atomic_load(&handle->closing)) {
		wait_for_work(handle, timeout);
		if (atomic_load(&handle->closing))
			break;
		pthread_mutex_lock(&handle->link_lock);
		timeout = watch_engine(handle);
		pthread_mutex_unlock(&handle->link_lock);

		uint64_t now = control_now_ms();
		unsigned again = journal_maintain(&handle->journal, now);
		control_publish_journal(handle);
		if (again)
			timeout = sooner(timeout, now + again, now);
		if (now >= next_tidy_ms) {
			pthread_mutex_lock(&handle->link_lock);
			upgrade_end_leftovers(handle);
			pthread_mutex_unlock(&handle->link_lock);
			if (spawn_log_rotate(&handle->options)) {
				pthread_mutex_lock(&handle->link_lock);
				handle->link.log_offset = 0;
				pthread_mutex_unlock(&handle->link_lock);
			}
			next_tidy_ms = now + 10000;
		}
		pthread_mutex_lock(&handle->memory_lock);
		memory_sweep(&handle->memories, now);
		pthread_mutex_unlock(&handle->memory_lock);
	}
	return NULL;
}

int supervisor_start(struct marcher *handle)
{
	sigset_t all, before;

	/* Signals are the agent's main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&handle->supervisor, NULL, supervise, handle);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		pthread_setname_np(handle->supervisor, "marcher-watch");
	handle->supervisor_runs = !error;
	return -error;
}

void supervisor_stop(struct marcher *handle)
{
	atomic_store(&handle->closing, true);
	eventfd_write(handle->close_fd, 1);
	if (handle->supervisor_runs)
		pthread_join(handle->supervisor, NULL);
	handle->supervisor_runs = false;
}
