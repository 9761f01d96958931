/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handle, and which lock guards what.
 *
 * - link_lock: the connection to the running engine and everything that starts, replaces or ends it. Held for a whole
 *   request, so a second caller waits. Taken by callers of [blocks] functions and by the supervisor.
 * - journal.lock: the last good snapshot (journal.h)
 * - memory_lock: the engines' statistics and event rings (memory.h)
 * - state_lock: what status and last_error show; innermost, held for a few copies only
 *
 * Order: link_lock, then one of journal.lock and memory_lock, then state_lock.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bank.h"
#include "journal.h"
#include "link.h"
#include "marcher.h"
#include "memory.h"
#include "steer.h"

#define RETIRING_MAX 8
#define ERROR_TEXT_MAX 512

/* What is needed to start an engine; strings are owned. */
struct engine_options {
	char *engine_path;
	char *run_dir; /* absolute */
	char *cpus;
	char *log_level;
	uint32_t workers;
};

/* An engine that was replaced or stopped and still drains. */
struct retiring {
	int pidfd; /* -1: free */
	pid_t pid;
	bool child;
	uint64_t deadline_ms; /* after it the engine is killed */
	struct engine_memory *memory;
};

struct marcher {
	struct engine_options options;
	uint32_t request_timeout_ms;
	uint32_t heartbeat_ms;
	char *socket_path; /* run_dir/engine.sock */
	int lock_fd;

	pthread_mutex_t link_lock;
	pthread_cond_t changed;   /* with link_lock: an engine runs, or never will again */
	struct link link;         /* link.sock is -1 while no engine runs */
	_Atomic unsigned waiting; /* callers that want link_lock; the supervisor yields to them */
	bool stopped;             /* by marcher_stop: not restarted */
	uint64_t generation;      /* of the running engine */
	struct bank bank;
	bool bank_stale;
	struct steer *steer;    /* NULL: nothing is steered */
	uint64_t steer_version; /* of the bank that it is in step with; 0: of none */
	uint64_t bank_stale_since_ms;
	struct retiring retiring[RETIRING_MAX];
	/* An apply whose answer did not come in time; it may still. */
	struct {
		uint64_t request_id; /* 0: none */
		int fd;
		struct snapshot_head head;
	} late;

	/* Supervisor; under link_lock. */
	struct {
		uint64_t started_ms; /* of the engine that runs or ran last */
		uint64_t next_start_ms;
		uint64_t next_ping_ms;
		unsigned failures; /* in a row, reset by a minute of health */
		unsigned missed_pings;
		unsigned still_pings;
		uint64_t still_since_ms;
		uint64_t turns[256];
		size_t nturns;
		bool killed_by_us;          /* because it hung */
		uint64_t snapshot_since_ms; /* since when this engine runs this snapshot */
		uint64_t suspect_generation;
		unsigned suspect_crashes; /* on it, in a row */
	} watch;
	pthread_t supervisor;
	bool supervisor_runs;
	int wake_fd;  /* eventfd: work for the supervisor */
	int close_fd; /* eventfd: readable once the handle is closing */
	_Atomic bool closing;

	struct journal journal;
	bool journal_open;

	pthread_mutex_t memory_lock;
	struct memory_set memories;

	pthread_mutex_t state_lock;
	struct marcher_engine_status status;
	char notice[256]; /* of the supervision */
	char journal_problem[160];
	char error[ERROR_TEXT_MAX]; /* of the last call that failed */
};

uint64_t control_now_ms(void);

/* The sentence for marcher_last_error; returns code, so that a failing path is one line. handle NULL: marcher_open. */
int control_fail(struct marcher *handle, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What status.last_error shows until something else happens. */
void control_notice(struct marcher *handle, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* link_lock for callers; the supervisor gives way to those that wait. */
void control_lock(struct marcher *handle);
void control_unlock(struct marcher *handle);
/* Waits, under link_lock, until an engine runs. Returns MARCHER_OK or the failure, reported. */
int control_await_engine(struct marcher *handle);
/* The failure of a call to the engine as marcher_error, reported. */
int control_call_failed(struct marcher *handle, int error, const char *what);
/* Copies the journal's state to what status shows. */
void control_publish_journal(struct marcher *handle);

/* lifecycle.c; all under link_lock. */
/* Starts the engine on the last good snapshot. Returns 0 or -errno and a reason. *again: another attempt now may help,
 * since a snapshot was set aside or is under suspicion. */
int lifecycle_start(struct marcher *handle, bool *again, char *why, size_t why_size);
/* Maps the memory that came with the engine's Hello. Returns NULL and a reason when it cannot be read. *link stays the
 * caller's, but for the two descriptors. */
struct engine_memory *lifecycle_map(struct link *link, bool adopted, char *why, size_t why_size);
/* Makes a connected engine the current one: memory, status, the watch. Takes over *link and memory. */
void lifecycle_adopt(struct marcher *handle, struct link *link, struct engine_memory *memory, bool adopted);
/* The current engine has ended: reaps it, says so, plans the restart. */
void lifecycle_ended(struct marcher *handle);
/* Has the current engine's process ended? Waits up to wait_ms for it. */
bool lifecycle_has_ended(const struct marcher *handle, unsigned wait_ms);
/* The engine has closed the connection: books its end, or, when it lives, connects again. Returns 0 when it is
 * connected again, -ESRCH when it has ended, or another -errno. */
int lifecycle_disconnected(struct marcher *handle);
/* Tells an engine to drain and puts it on the list of those that do. Takes over *link. Returns 0 or -errno. */
int lifecycle_retire(struct marcher *handle, struct link *link, struct engine_memory *memory, uint32_t drain_ms);
/* Puts an engine that drains already on that list, to be killed when it has not ended within drain_ms and a little.
 * Takes over *link. */
void lifecycle_let_drain(struct marcher *handle, struct link *link, struct engine_memory *memory, uint32_t drain_ms);
/* The current engine was told to end by somebody else: lets it drain, and has another one started. */
void lifecycle_left(struct marcher *handle, uint32_t drain_ms);
/* Reaps those that have ended and kills those whose time is over. */
void lifecycle_reap_retired(struct marcher *handle);

/* supervisor.c */
int supervisor_start(struct marcher *handle);
void supervisor_stop(struct marcher *handle);
void supervisor_wake(struct marcher *handle);

/* upgrade.c, under link_lock: ends what an agent that died in the middle of an upgrade has left in the run directory.
 */
void upgrade_end_leftovers(struct marcher *handle);

/* apply.c */
/* struct link's stray: an answer to an apply that was given up on. */
void apply_late_reply(void *handle, const EngineReply *reply);
/* No such answer can come any more. */
void apply_forget_late(struct marcher *handle);

#endif
