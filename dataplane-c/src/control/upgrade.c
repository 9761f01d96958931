/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replacing the engine by another build, and stopping it.
 *
 * Upgrade: the successor is started on a socket of its own, gets every listening socket and the last good snapshot, and
 * has to answer with the generation that runs and to have statistics that this library can read. From then on both
 * accept, on the same sockets. Only then its control socket is renamed over engine.sock, and the old engine told to
 * retire. Until that rename nothing of the old one was touched, so any failure ends with the new one killed; after it
 * nothing can fail. An agent that dies in the middle leaves two engines on the same sockets; the one that is not
 * engine.sock has a name with a number then, and the next agent ends it (upgrade_end_leftovers).
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "ipc/frame.h"
#include "spawn.h"

#define LEFTOVER_PATIENCE_MS 1000u
#define LEFTOVER_DRAIN_MS 30000u

/* All sockets at once would need as many descriptors here as the engine has; they go through in packets. */
static int relay_listeners(struct marcher *handle, const struct spawned *spawned, struct bank *first)
{
	int error = 0;
	uint32_t sent = 0, total = first->wanted;
	uint64_t version = first->version;

	while (!error && sent < total) {
		struct bank packet = {0};
		if (!sent) {
			packet = *first;
			*first = (struct bank){0};
		} else {
			error = bank_fetch_packet(&packet, &handle->link, sent, handle->request_timeout_ms);
		}
		/* The engine opens and closes listeners of its own accord too: those it could not bind. */
		if (!error && (packet.wanted != total || packet.version != version))
			error = -EAGAIN;
		if (!error && !packet.count)
			error = -EPROTO;
		if (!error)
			error = bank_send_packet(&packet, total, sent, spawned->inherit_fd, spawned->pidfd,
			                         handle->request_timeout_ms);
		sent += (uint32_t)packet.count;
		bank_clear(&packet);
	}
	return error;
}

/* Starts the successor, hands everything over and maps its memory. On failure nothing is left of it. */
static int start_successor(struct marcher *handle, const char *executable, const char *path, struct link *next,
                           struct engine_memory **memory)
{
	char why[ERROR_TEXT_MAX];
	struct spawned spawned;
	struct bank first = {0};
	bool at_path = false;

	int error = bank_fetch_packet(&first, &handle->link, 0, handle->request_timeout_ms);
	if (error)
		return control_call_failed(handle, error, "fetching the listening sockets");
	int frames = journal_frames(&handle->journal, &at_path);
	if (frames < 0 && frames != -ENOENT) {
		bank_clear(&first);
		return control_fail(handle, MARCHER_E_SYSTEM,
		                    "opening the last good snapshot: %s; the running engine was not touched",
		                    link_error(frames));
	}
	unlink(path);
	error = spawn_engine(&handle->options, executable, path, frames, at_path, first.wanted > 0, &spawned, why,
	                     sizeof(why));
	if (frames >= 0)
		close(frames);
	if (error) {
		bank_clear(&first);
		return control_fail(handle, MARCHER_E_NO_ENGINE, "%s; the running engine was not touched", why);
	}
	int relayed = 0;
	if (spawned.inherit_fd >= 0) {
		relayed = relay_listeners(handle, &spawned, &first);
		close(spawned.inherit_fd);
	}
	bank_clear(&first);
	if (relayed && relayed != -EPIPE)
		next->pidfd = spawned.pidfd; /* nothing to wait for */
	else
		error = spawn_wait(&handle->options, &spawned, path, handle->close_fd, handle->request_timeout_ms, next,
		                   why, sizeof(why));
	if (!error && relayed) {
		snprintf(why, sizeof(why), "handing over the listening sockets: %s",
		         relayed == -EAGAIN ? "they changed meanwhile; try again" : link_error(relayed));
		spawn_end(next);
		error = relayed;
	}
	if (!error && next->generation != handle->generation) {
		snprintf(why, sizeof(why), "the new engine came up with generation %llu instead of %llu",
		         (unsigned long long)next->generation, (unsigned long long)handle->generation);
		spawn_end(next);
		error = -EPROTO;
	}
	int code = error == -ETIMEDOUT ? MARCHER_E_TIMEOUT : MARCHER_E_NO_ENGINE;
	if (!error) {
		*memory = lifecycle_map(next, false, why, sizeof(why));
		if (!*memory) {
			spawn_end(next);
			error = -EPROTO;
			code = MARCHER_E_PROTOCOL;
		}
	}
	if (error) {
		unlink(path);
		return control_fail(handle, code, "%s; the running engine was not touched", why);
	}
	return MARCHER_OK;
}

static int upgrade(struct marcher *handle, const char *executable, uint32_t drain_ms)
{
	char path[128], old_path[128];
	struct link next = LINK_NONE;
	struct engine_memory *next_memory = NULL;
	int code = control_await_engine(handle);

	if (code)
		return code;
	uint64_t saved = journal_generation(&handle->journal);
	if (saved != handle->generation)
		return control_fail(
		        handle, MARCHER_E_INVALID,
		        "the engine runs generation %llu but the last good snapshot is %llu: apply a complete "
		        "snapshot, then upgrade",
		        (unsigned long long)handle->generation, (unsigned long long)saved);
	snprintf(path, sizeof(path), "%s/engine.%d.sock", handle->options.run_dir, (int)getpid());
	code = start_successor(handle, executable, path, &next, &next_memory);
	if (code)
		return code;
	/* The old one keeps a name until it was told: should this process die in between, the next one finds it. */
	snprintf(old_path, sizeof(old_path), "%s/engine.%d.sock", handle->options.run_dir, (int)handle->link.pid);
	unlink(old_path);
	bool named = !link(handle->socket_path, old_path);
	if (rename(path, handle->socket_path) < 0) {
		int error = errno;
		if (named)
			unlink(old_path);
		memory_free(next_memory);
		spawn_end(&next);
		unlink(path);
		return control_fail(handle, MARCHER_E_SYSTEM,
		                    "renaming %s to %s: %s; the running engine was not touched", path,
		                    handle->socket_path, strerror(error));
	}
	struct link old = handle->link;
	pthread_mutex_lock(&handle->memory_lock);
	struct engine_memory *memory = handle->memories.current;
	pthread_mutex_unlock(&handle->memory_lock);
	lifecycle_adopt(handle, &next, next_memory, false);
	int error = lifecycle_retire(handle, &old, memory, drain_ms);
	if (named)
		unlink(old_path);
	if (error)
		control_notice(handle, "the engine that was replaced could not be told to drain: %s",
		               link_error(error));
	if (executable && strcmp(executable, handle->options.engine_path) != 0) {
		/* What is restarted after a crash is what runs now. */
		char *copy = strdup(executable);
		if (copy) {
			free(handle->options.engine_path);
			handle->options.engine_path = copy;
		}
	}
	return MARCHER_OK;
}

/* "engine.4711.sock" */
static bool is_temporary(const char *name)
{
	unsigned number;
	int end = 0;

	return sscanf(name, "engine.%10u.sock%n", &number, &end) == 1 && end && !name[end];
}

static void end_leftover(struct marcher *handle, const char *path)
{
	char why[ERROR_TEXT_MAX];
	struct link link;
	unsigned patience =
	        handle->request_timeout_ms < LEFTOVER_PATIENCE_MS ? handle->request_timeout_ms : LEFTOVER_PATIENCE_MS;

	int error = link_connect(&link, path);
	if (error && error != -ECONNREFUSED)
		return; /* another time */
	unlink(path);
	if (error)
		return;
	error = link_hello(&link, true, patience, why, sizeof(why));
	pid_t pid = link.pid;
	if (link.pidfd < 0 || pid == handle->link.pid) {
		link_close(&link);
	} else if (error) {
		pidfd_send_signal(link.pidfd, SIGKILL, NULL, 0);
		link_close(&link);
		control_notice(handle,
		               "engine %d, left by an upgrade that was cut short, did not answer and was killed",
		               (int)pid);
	} else {
		lifecycle_retire(handle, &link, NULL, LEFTOVER_DRAIN_MS);
		control_notice(handle,
		               "engine %d, left by an upgrade that was cut short, was told to drain within %u s",
		               (int)pid, LEFTOVER_DRAIN_MS / 1000);
	}
}

void upgrade_end_leftovers(struct marcher *handle)
{
	DIR *dir = opendir(handle->options.run_dir);
	struct dirent *entry;
	char path[256];

	while (dir && (entry = readdir(dir)))
		if (is_temporary(entry->d_name)) {
			snprintf(path, sizeof(path), "%s/%.32s", handle->options.run_dir, entry->d_name);
			end_leftover(handle, path);
		}
	if (dir)
		closedir(dir);
}

int marcher_upgrade(struct marcher *handle, const char *engine_path, uint32_t drain_ms)
{
	if (!handle)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_upgrade: the handle is NULL");
	char *absolute = engine_path ? realpath(engine_path, NULL) : NULL;
	if (engine_path && !absolute)
		return control_fail(handle, MARCHER_E_INVALID, "%s: %s; the running engine was not touched",
		                    engine_path, strerror(errno));
	control_lock(handle);
	int code = upgrade(handle, absolute, drain_ms);
	control_unlock(handle);
	supervisor_wake(handle);
	free(absolute);
	return code;
}

int marcher_stop(struct marcher *handle, uint32_t drain_ms)
{
	if (!handle)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_stop: the handle is NULL");
	int code = MARCHER_OK, error = 0;

	control_lock(handle);
	handle->stopped = true;
	if (handle->link.sock >= 0) {
		pthread_mutex_lock(&handle->memory_lock);
		struct engine_memory *memory = handle->memories.current;
		handle->memories.current = NULL;
		pthread_mutex_unlock(&handle->memory_lock);
		struct link old = handle->link;
		handle->link = LINK_NONE;
		error = lifecycle_retire(handle, &old, memory, drain_ms);
		/* While it drains it still answers there: whoever opens the directory next is to start an engine, not
		 * to adopt this one. The path is this handle's, and the engine leaves one alone that is not its own. */
		unlink(handle->socket_path);
	}
	pthread_mutex_lock(&handle->state_lock);
	handle->status.running = 0;
	handle->status.banked_sockets = handle->status.listening_sockets = 0;
	pthread_mutex_unlock(&handle->state_lock);
	/* The ports are to be free. */
	bank_clear(&handle->bank);
	handle->bank_stale = false;
	if (error && error != -EPIPE)
		code = control_call_failed(handle, error, "telling the engine to retire (it was killed instead)");
	pthread_cond_broadcast(&handle->changed);
	control_unlock(handle);
	supervisor_wake(handle);
	return code;
}
