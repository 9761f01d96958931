/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine's life as the library sees it: start, adopt, end, retire.
 *
 * After an end that nobody asked for the engine is started again at once; when it keeps ending, after 100 ms, doubling
 * to 5 s, until it has been healthy for a minute. A snapshot on which it crashed (or hung) three times in a row, each
 * time within ten seconds, or could not start, is set aside and the one before is taken. A SIGKILL from outside is no
 * crash: neither the out-of-memory killer nor an operator says anything about the snapshot. Nor does an engine that
 * cannot start without any snapshot either: that is tried before a snapshot is blamed for it.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "spawn.h"

#define HEALTHY_MS 60000u
#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS 5000u
#define SUSPECT_WINDOW_MS 10000u
#define SUSPECT_CRASHES 3u
#define KILL_GRACE_MS 5000u /* after the drain time */

static void plan_restart(struct marcher *handle)
{
	uint64_t now = control_now_ms();
	unsigned n = handle->watch.failures++;

	if (n == 0) {
		handle->watch.next_start_ms = now;
		return;
	}
	uint64_t delay = n > 7 ? BACKOFF_MAX_MS : (uint64_t)BACKOFF_FIRST_MS << (n - 1);
	handle->watch.next_start_ms = now + (delay < BACKOFF_MAX_MS ? delay : BACKOFF_MAX_MS);
}

/* Books a crash on the last good snapshot, after ran_ms on it. True when it is the third in a row. */
static bool suspect_snapshot(struct marcher *handle, uint64_t ran_ms)
{
	uint64_t generation = journal_generation(&handle->journal);

	if (!generation)
		return false;
	if (generation != handle->watch.suspect_generation || ran_ms > SUSPECT_WINDOW_MS) {
		handle->watch.suspect_generation = generation;
		handle->watch.suspect_crashes = 0;
	}
	return ran_ms <= SUSPECT_WINDOW_MS && ++handle->watch.suspect_crashes >= SUSPECT_CRASHES;
}

static void set_aside(struct marcher *handle, const char *why)
{
	uint64_t bad = journal_generation(&handle->journal);
	uint64_t good = journal_step_back(&handle->journal);

	pthread_mutex_lock(&handle->state_lock);
	handle->status.set_aside_generation = bad;
	pthread_mutex_unlock(&handle->state_lock);
	handle->watch.suspect_crashes = 0;
	handle->watch.failures = 0;
	handle->watch.next_start_ms = control_now_ms();
	control_publish_journal(handle);
	control_notice(
	        handle,
	        "snapshot %llu ended the engine %u times in a row (%.90s) and was set aside in snapshot.aside; the "
	        "engine runs generation %llu",
	        (unsigned long long)bad, SUSPECT_CRASHES, why, (unsigned long long)good);
}

/* Can an engine start at all, without a snapshot? */
static bool starts_empty(struct marcher *handle)
{
	char path[128], why[256];
	struct spawned spawned;
	struct link link;

	snprintf(path, sizeof(path), "%s/engine.%d.sock", handle->options.run_dir, (int)getpid());
	unlink(path);
	if (spawn_engine(&handle->options, NULL, path, -1, false, false, &spawned, why, sizeof(why)))
		return false;
	int error = spawn_wait(&handle->options, &spawned, path, handle->close_fd, handle->request_timeout_ms, &link,
	                       why, sizeof(why));
	unlink(path);
	if (error)
		return false;
	spawn_end(&link);
	return true;
}

int lifecycle_start(struct marcher *handle, bool *again, char *why, size_t why_size)
{
	struct spawned spawned;
	struct link link = LINK_NONE;
	struct engine_memory *memory = NULL;
	bool at_path = false;

	*again = false;
	int frames = journal_frames(&handle->journal, &at_path);
	if (frames < 0 && frames != -ENOENT) {
		/* There is one: an engine without it would come up and serve nothing. */
		snprintf(why, why_size, "opening the last good snapshot for the engine: %s", link_error(frames));
		control_notice(handle, "%s", why);
		plan_restart(handle);
		return frames;
	}
	/* The path is ours (the run directory is locked) and its engine has ended. */
	unlink(handle->socket_path);
	int error = spawn_engine(&handle->options, NULL, handle->socket_path, frames, at_path, handle->bank.count > 0,
	                         &spawned, why, why_size);
	if (frames >= 0)
		close(frames);
	bool ran = !error;
	if (!error && spawned.inherit_fd >= 0) {
		/* A failure shows in spawn_wait: the engine has ended, or lacks sockets and binds new ones. */
		bank_send(&handle->bank, spawned.inherit_fd, spawned.pidfd, handle->request_timeout_ms);
		close(spawned.inherit_fd);
	}
	if (!error)
		error = spawn_wait(&handle->options, &spawned, handle->socket_path, handle->close_fd,
		                   handle->request_timeout_ms, &link, why, why_size);
	if (!error) {
		memory = lifecycle_map(&link, false, why, why_size);
		if (!memory) {
			spawn_end(&link);
			error = -EPROTO;
		}
	}
	if (!error)
		lifecycle_adopt(handle, &link, memory, false);
	if (!error || error == -ECANCELED)
		return error;
	control_notice(handle, "%s", why);
	plan_restart(handle);
	/* Only what the engine did itself says something about the snapshot: neither this process's lack of
	 * descriptors nor an engine of another build does. */
	if (ran && frames >= 0 && (error == -ECHILD || error == -ETIMEDOUT)) {
		*again = true;
		if (suspect_snapshot(handle, 0)) {
			if (starts_empty(handle))
				set_aside(handle, why);
			else
				*again = false;
		}
	}
	return error;
}

/* Says so when the engine runs another generation than it would be restarted on. */
static void unsaved_notice(struct marcher *handle)
{
	uint64_t saved = journal_generation(&handle->journal);

	if (saved != handle->generation)
		control_notice(handle,
		               "the engine runs generation %llu and the last good snapshot in the run directory is "
		               "generation %llu: the next complete snapshot brings it up to date",
		               (unsigned long long)handle->generation, (unsigned long long)saved);
}

struct engine_memory *lifecycle_map(struct link *link, bool adopted, char *why, size_t why_size)
{
	char reason[ERROR_TEXT_MAX - 64];
	struct engine_memory *memory = memory_map(link->stats_fd, link->events_fd, adopted, reason, sizeof(reason));

	link->stats_fd = link->events_fd = -1;
	if (!memory)
		snprintf(why, why_size, "engine %d: %s", (int)link->pid, reason);
	return memory;
}

void lifecycle_adopt(struct marcher *handle, struct link *link, struct engine_memory *memory, bool adopted)
{
	pthread_mutex_lock(&handle->memory_lock);
	memory_add(&handle->memories, memory);
	pthread_mutex_unlock(&handle->memory_lock);

	apply_forget_late(handle); /* that was another connection's */
	/* What an engine that ran before wrote until now cannot be told from what others did. */
	if (adopted)
		link->log_offset = spawn_log_size(&handle->options);
	link->stray = apply_late_reply;
	link->stray_arg = handle;
	handle->link = *link;
	*link = LINK_NONE;
	handle->generation = handle->link.generation;
	handle->bank_stale = true;
	handle->bank_stale_since_ms = control_now_ms();
	handle->bank.version = 0; /* another engine's count */
	handle->steer_version = 0;
	uint64_t now = control_now_ms();
	handle->watch.started_ms = handle->watch.snapshot_since_ms = now;
	handle->watch.next_ping_ms = now + handle->heartbeat_ms;
	handle->watch.missed_pings = handle->watch.still_pings = 0;
	handle->watch.nturns = 0;
	handle->watch.killed_by_us = false;

	pthread_mutex_lock(&handle->state_lock);
	struct marcher_engine_status *status = &handle->status;
	status->running = 1;
	status->pid = handle->link.pid;
	status->workers = handle->link.workers;
	status->adopted = adopted;
	status->generation = handle->generation;
	status->started_unix_ms = handle->link.started_unix_ms;
	snprintf(status->version, sizeof(status->version), "%s", handle->link.version);
	snprintf(status->build_id, sizeof(status->build_id), "%s", handle->link.build_id);
	pthread_mutex_unlock(&handle->state_lock);
	if (adopted)
		unsaved_notice(handle);
	pthread_cond_broadcast(&handle->changed);
}

void lifecycle_ended(struct marcher *handle)
{
	char how[96], last[160];
	int by_signal;
	uint64_t now = control_now_ms();
	bool hung = handle->watch.killed_by_us;

	spawn_reap(handle->link.pidfd, handle->link.child, &by_signal, how, sizeof(how));
	pid_t pid = handle->link.pid;
	spawn_log_tail(&handle->options, handle->link.log_offset, pid, last, sizeof(last));
	link_close(&handle->link);
	handle->watch.killed_by_us = false;

	pthread_mutex_lock(&handle->memory_lock);
	if (handle->memories.current)
		memory_ended(&handle->memories, handle->memories.current);
	pthread_mutex_unlock(&handle->memory_lock);
	pthread_mutex_lock(&handle->state_lock);
	handle->status.running = 0;
	pthread_mutex_unlock(&handle->state_lock);
	apply_forget_late(handle);
	control_notice(handle, "engine %d %s%s; its last words: %s", (int)pid, hung ? "hung and " : "", how,
	               *last ? last : "none");
	if (now - handle->watch.started_ms >= HEALTHY_MS)
		handle->watch.failures = 0;
	plan_restart(handle);
	bool crash = hung || (by_signal > 0 && by_signal != SIGKILL && by_signal != SIGTERM && by_signal != SIGINT);
	if (crash && suspect_snapshot(handle, now - handle->watch.snapshot_since_ms))
		set_aside(handle, hung ? "a worker hung" : how);
}

bool lifecycle_has_ended(const struct marcher *handle, unsigned wait_ms)
{
	struct pollfd gone = {.fd = handle->link.pidfd, .events = POLLIN};

	return handle->link.pidfd >= 0 && poll(&gone, 1, (int)wait_ms) > 0;
}

int lifecycle_disconnected(struct marcher *handle)
{
	char why[ERROR_TEXT_MAX];
	struct link again;

	/* A process that ends closes its sockets a moment before its end can be seen. */
	if (lifecycle_has_ended(handle, 200)) {
		lifecycle_ended(handle);
		supervisor_wake(handle);
		return -ESRCH;
	}
	int error = link_connect(&again, handle->socket_path);
	if (!error)
		error = link_hello(&again, true, handle->request_timeout_ms, why, sizeof(why));
	if (!error && again.pid != handle->link.pid)
		error = -EBUSY;
	if (error) {
		link_close(&again);
		return error;
	}
	/* The same process and the same shared memory: only the socket is new. */
	close(handle->link.sock);
	handle->link.sock = again.sock;
	handle->link.next_id = again.next_id;
	again.sock = -1;
	apply_forget_late(handle);
	if (again.generation != handle->generation) {
		/* An apply went through whose answer was lost with the connection. */
		handle->generation = again.generation;
		pthread_mutex_lock(&handle->state_lock);
		handle->status.generation = again.generation;
		pthread_mutex_unlock(&handle->state_lock);
		unsaved_notice(handle);
	}
	link_close(&again);
	return 0;
}

static void count_retiring(struct marcher *handle)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < RETIRING_MAX; i++)
		count += handle->retiring[i].pidfd >= 0;
	pthread_mutex_lock(&handle->state_lock);
	handle->status.retiring = count;
	pthread_mutex_unlock(&handle->state_lock);
}

static void retired_ended(struct marcher *handle, struct retiring *engine)
{
	char how[96];
	int by_signal;

	spawn_reap(engine->pidfd, engine->child, &by_signal, how, sizeof(how));
	close(engine->pidfd);
	engine->pidfd = -1;
	pthread_mutex_lock(&handle->memory_lock);
	memory_ended(&handle->memories, engine->memory);
	pthread_mutex_unlock(&handle->memory_lock);
}

int lifecycle_retire(struct marcher *handle, struct link *link, struct engine_memory *memory, uint32_t drain_ms)
{
	Marcher__Engine__V1__RetireRequest retire = MARCHER__ENGINE__V1__RETIRE_REQUEST__INIT;
	EngineRequest request = MARCHER__ENGINE__V1__REQUEST__INIT;
	EngineReply *reply = NULL;

	retire.drain_timeout_ms = drain_ms;
	request.kind_case = MARCHER__ENGINE__V1__REQUEST__KIND_RETIRE;
	request.retire = &retire;
	int error = link_call(link, &request, NULL, 0, handle->request_timeout_ms, &reply, NULL, NULL);
	if (!error && reply->kind_case != MARCHER__ENGINE__V1__REPLY__KIND_RETIRE)
		error = -EPROTO;
	link_reply_free(reply);
	/* One that cannot be told would hold its ports for ever: also one that closed the connection and did not end.
	 */
	struct pollfd ended = {.fd = link->pidfd, .events = POLLIN};
	if (error && (error != -EPIPE || poll(&ended, 1, 200) <= 0))
		pidfd_send_signal(link->pidfd, SIGKILL, NULL, 0);
	lifecycle_let_drain(handle, link, memory, drain_ms);
	return error;
}

void lifecycle_let_drain(struct marcher *handle, struct link *link, struct engine_memory *memory, uint32_t drain_ms)
{
	struct retiring *place = &handle->retiring[0];
	for (unsigned i = 0; i < RETIRING_MAX; i++) {
		if (handle->retiring[i].pidfd < 0) {
			place = &handle->retiring[i];
			break;
		}
		if (handle->retiring[i].deadline_ms < place->deadline_ms)
			place = &handle->retiring[i];
	}
	if (place->pidfd >= 0) {
		/* More engines drain than are kept track of: the one that is due first goes now. */
		struct pollfd gone = {.fd = place->pidfd, .events = POLLIN};
		pidfd_send_signal(place->pidfd, SIGKILL, NULL, 0);
		poll(&gone, 1, 1000);
		retired_ended(handle, place);
	}
	*place = (struct retiring){
	        .pidfd = link->pidfd,
	        .pid = link->pid,
	        .child = link->child,
	        .deadline_ms = control_now_ms() + drain_ms + KILL_GRACE_MS,
	        .memory = memory,
	};
	link->pidfd = -1;
	link_close(link);
	count_retiring(handle);
}

void lifecycle_left(struct marcher *handle, uint32_t drain_ms)
{
	pthread_mutex_lock(&handle->memory_lock);
	struct engine_memory *memory = handle->memories.current;
	pthread_mutex_unlock(&handle->memory_lock);
	control_notice(handle,
	               "engine %d was told to end by somebody else (SIGTERM?) and drains: another one is started",
	               (int)handle->link.pid);
	lifecycle_let_drain(handle, &handle->link, memory, drain_ms);
	pthread_mutex_lock(&handle->state_lock);
	handle->status.running = 0;
	pthread_mutex_unlock(&handle->state_lock);
	apply_forget_late(handle);
	handle->watch.next_start_ms = control_now_ms();
}

void lifecycle_reap_retired(struct marcher *handle)
{
	uint64_t now = control_now_ms();
	bool any = false;

	for (unsigned i = 0; i < RETIRING_MAX; i++) {
		struct retiring *engine = &handle->retiring[i];
		struct pollfd gone = {.fd = engine->pidfd, .events = POLLIN};
		if (engine->pidfd < 0)
			continue;
		if (poll(&gone, 1, 0) > 0) {
			retired_ended(handle, engine);
			any = true;
		} else if (now >= engine->deadline_ms) {
			pidfd_send_signal(engine->pidfd, SIGKILL, NULL, 0);
			engine->deadline_ms = now + KILL_GRACE_MS;
		}
	}
	if (any)
		count_retiring(handle);
}
