/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last good snapshot: what the engine is restarted on. run_dir/snapshot.frames is one complete snapshot followed by
 * deltas, each as (u64 little-endian length, packed Snapshot).
 *
 * An apply only writes to the page cache; syncing, renaming and compacting happen in journal_maintain, on the
 * supervisor's thread. That is enough: a write survives the death of agent and engine, and after the death of the
 * machine the agent applies from its own store, which is synced. A new complete snapshot is written beside the old file
 * (snapshot.frames.new), synced, and renamed over it; the old one stays as snapshot.previous, to step back to.
 * When the disk takes no more, the journal moves to a memfd (the engine can be restarted on that just as well), says
 * so, and returns to the disk when that is possible again.
 */
#ifndef CONTROL_JOURNAL_H
#define CONTROL_JOURNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot_wire.h"

/* Compacted when the deltas are this many, or as large as the complete snapshot and more than a little. */
#define JOURNAL_DELTAS_MAX 256u
#define JOURNAL_DELTA_BYTES_MIN (1u << 20)
#define JOURNAL_DISK_RETRY_MS 5000u
/* Deltas of so long share a sync: one for each costs more than the delta, and nothing waits for it. */
#define JOURNAL_SYNC_DELAY_MS 1000u

struct journal {
	pthread_mutex_t lock;
	int dir_fd;
	int fd;               /* the frames; -1: none yet */
	int previous_fd;      /* the frames before the last complete snapshot; -1: none */
	uint64_t serial;      /* changes whenever fd becomes another file or is cut */
	uint64_t length;      /* whole frames only */
	uint64_t base_length; /* of the first frame */
	uint64_t last_offset; /* where the last frame begins */
	unsigned deltas;
	uint64_t generation; /* of the last frame; 0: none */
	bool on_disk;        /* fd is a file, not a memfd */
	bool at_path;        /* and that file is snapshot.frames */
	bool needs_sync;
	uint64_t sync_due_ms; /* 0: no delta waits for it */
	uint64_t retry_ms;
	char problem[160]; /* why the last good snapshot is not on disk; empty: it is */
};

/* Reads what is there; a torn tail is cut off, and a file that cannot be used set aside for the one before. Returns 0
 * or -errno. */
int journal_open(struct journal *journal, int dir_fd);
void journal_close(struct journal *journal);

/* Takes over an accepted snapshot. Returns 0, or -ESTALE when it is a delta to another generation than the journal's:
 * then nothing is changed. A full disk is no error (see problem). -ENOMEM only when there is neither disk nor memory.
 */
int journal_accept(struct journal *journal, const struct snapshot_head *head, const uint8_t *data, size_t length);

/* A descriptor of the frames for a new engine (caller closes), -ENOENT when there is none, or -errno. *at_path: they
 * are also in the file snapshot.frames. */
int journal_frames(struct journal *journal, bool *at_path);

/* Sets the last snapshot aside (in snapshot.aside, for whoever investigates) and returns to the one before. Returns the
 * generation that is now the last, 0 when there is none. */
uint64_t journal_step_back(struct journal *journal);

/* What takes time: syncs, renames, compaction, return to the disk. Returns in how many ms to call again, 0: no need. */
unsigned journal_maintain(struct journal *journal, uint64_t now_ms);

uint64_t journal_generation(struct journal *journal);

#endif
