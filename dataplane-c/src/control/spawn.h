/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting an engine process. It gets a session of its own, "/" as its directory, /dev/null as stdin and stdout, and
 * run_dir/engine.log as stderr: the engine outlives the agent, so its log must not hang on the agent's terminal, nor on
 * a pipe that nobody empties any longer (a full one would stop the engine's main thread). The supervisor keeps the file
 * below ENGINE_LOG_MAX by moving it to engine.log.1. No descriptor goes along but those intended.
 */
#ifndef CONTROL_SPAWN_H
#define CONTROL_SPAWN_H

#include "control.h"

#define ENGINE_LOG "engine.log"
#define ENGINE_LOG_MAX (4u << 20)

struct spawned {
	pid_t pid;
	int pidfd;
	int inherit_fd;      /* our end of the socket for listening sockets; -1: none */
	uint64_t log_offset; /* where this engine's part of the log begins */
};

/* Starts executable (NULL: the options') on socket_path, with the frames in frames_fd (-1: none; at_path: they are also
 * in run_dir/snapshot.frames). Returns 0 or -errno and a reason. */
int spawn_engine(const struct engine_options *options, const char *executable, const char *socket_path, int frames_fd,
                 bool at_path, bool inherit, struct spawned *spawned, char *why, size_t why_size);

/* Waits until the engine answers Hello on socket_path, or ends, or time is over, or stop_fd becomes readable. Takes
 * over spawned (pidfd moves to link). Returns 0 or -errno (-ECHILD: it has ended, reaped; -ECANCELED: stop_fd) and a
 * reason, with what the engine itself wrote last. Unless it ended or was cancelled, a failed engine is killed and
 * reaped. */
int spawn_wait(const struct engine_options *options, struct spawned *spawned, const char *socket_path, int stop_fd,
               unsigned timeout_ms, struct link *link, char *why, size_t why_size);

/* How a child ended, in words ("was killed by signal 11 (Segmentation fault)"). Reaps. *by_signal: its number, 0: it
 * exited, -1: not our child, nobody knows. */
void spawn_reap(int pidfd, bool child, int *by_signal, char *text, size_t size);

/* Kills a child, reaps it and closes the connection to it. */
void spawn_end(struct link *link);

/* The last line that engine pid wrote after offset, without its newline; empty when there is none. Of a log that has
 * become shorter than offset everything was written later. */
void spawn_log_tail(const struct engine_options *options, uint64_t offset, pid_t pid, char *line, size_t size);

uint64_t spawn_log_size(const struct engine_options *options);

/* Moves a log that has grown too large to engine.log.1. The engine's descriptor stays valid (it appends). True when it
 * was cut: offsets into it begin at 0 again. */
bool spawn_log_rotate(const struct engine_options *options);

#endif
