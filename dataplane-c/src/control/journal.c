/* SPDX-License-Identifier: Apache-2.0 */
#include "journal.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/frame.h"

#define FRAMES "snapshot.frames"
#define FRAMES_NEW "snapshot.frames.new"
#define FRAMES_COMPACT "snapshot.frames.compact"
#define FRAMES_PREVIOUS "snapshot.previous"
#define FRAMES_ASIDE "snapshot.aside"

static int write_all(int fd, const void *data, size_t length, uint64_t offset)
{
	const uint8_t *at = data;

	while (length) {
		ssize_t n = pwrite(fd, at, length, (off_t)offset);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -ENOSPC;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int read_all(int fd, void *data, size_t length, uint64_t offset)
{
	uint8_t *at = data;

	while (length) {
		ssize_t n = pread(fd, at, length, (off_t)offset);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -EBADMSG;
		at += n;
		offset += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}

static int write_frame(int fd, const uint8_t *data, size_t length, uint64_t offset)
{
	uint64_t header = htole64(length);
	int error = write_all(fd, &header, sizeof(header), offset);

	return error ? error : write_all(fd, data, length, offset + sizeof(header));
}

static int copy_range(int from, int to, uint64_t offset, uint64_t length)
{
	uint8_t *buffer = malloc(1 << 16);
	int error = buffer ? 0 : -ENOMEM;

	while (length && !error) {
		size_t part = length < 1 << 16 ? (size_t)length : 1 << 16;
		error = read_all(from, buffer, part, offset);
		if (!error)
			error = write_all(to, buffer, part, offset);
		offset += part;
		length -= part;
	}
	free(buffer);
	return error;
}

struct scan {
	uint64_t length, base_length, last_offset, generation;
	unsigned deltas;
};

/* Walks the frames of fd up to the first one that is torn, malformed or does not continue the one before. Returns 0, or
 * -errno when the file could not be read to that point: then what follows may be good. */
static int scan_frames(int fd, struct scan *scan)
{
	struct stat st;
	uint64_t header;
	struct snapshot_head head;

	*scan = (struct scan){0};
	if (fstat(fd, &st) < 0 || st.st_size < 0)
		return -errno;
	uint64_t size = (uint64_t)st.st_size, offset = 0;
	while (size - offset > sizeof(header)) {
		int error = read_all(fd, &header, sizeof(header), offset);
		if (error)
			return error;
		uint64_t length = le64toh(header);
		if (length > IPC_SNAPSHOT_MAX || length > size - offset - sizeof(header))
			return 0;
		uint8_t *frame = malloc(length ? (size_t)length : 1);
		if (!frame)
			return -ENOMEM;
		error = read_all(fd, frame, (size_t)length, offset + sizeof(header));
		bool good = !error && !snapshot_head_read(frame, (size_t)length, &head);
		free(frame);
		if (error)
			return error;
		if (!good || !head.generation ||
		    (offset ? head.base_generation != scan->generation : head.base_generation != 0))
			return 0;
		scan->last_offset = offset;
		offset += sizeof(header) + length;
		scan->length = offset;
		scan->generation = head.generation;
		if (scan->base_length)
			scan->deltas++;
		else
			scan->base_length = offset;
	}
	return 0;
}

static void take_scan(struct journal *journal, const struct scan *scan)
{
	journal->length = scan->length;
	journal->base_length = scan->base_length;
	journal->last_offset = scan->last_offset;
	journal->generation = scan->generation;
	journal->deltas = scan->deltas;
}

static void replace_fd(int *fd, int with)
{
	if (*fd >= 0)
		close(*fd);
	*fd = with;
}

static void close_unless_none(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int open_fresh(struct journal *journal, const char *name)
{
	/* Unlinked first: an unfinished file of that name may still be the one that is in use. */
	unlinkat(journal->dir_fd, name, 0);
	int fd = openat(journal->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static int open_memory(void)
{
	int fd = memfd_create("marcher-snapshot-frames", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void off_disk(struct journal *journal, int error, const char *what)
{
	journal->on_disk = journal->at_path = journal->needs_sync = false;
	journal->retry_ms = 0;
	snprintf(journal->problem, sizeof(journal->problem),
	         "the last good snapshot is kept in memory only: %s in the run directory: %s; free space there", what,
	         strerror(-error));
}

/* The file is there and its first snapshot is not, or it cannot be read: a disk that fails. It is kept, and the
 * complete snapshot before it taken, which journal_maintain writes anew under its name. */
static void open_previous(struct journal *journal)
{
	struct scan scan;

	renameat(journal->dir_fd, FRAMES, journal->dir_fd, FRAMES_ASIDE);
	int fd = openat(journal->dir_fd, FRAMES_PREVIOUS, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	/* Cut off what is torn: an engine reads to the end. */
	if (fd >= 0 && (scan_frames(fd, &scan) || !scan.length || ftruncate(fd, (off_t)scan.length) < 0)) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0) {
		take_scan(journal, &scan);
		journal->fd = fd;
	}
	snprintf(journal->problem, sizeof(journal->problem),
	         "the last good snapshot is unreadable (a failing disk?) and was moved to snapshot.aside; generation "
	         "%llu is used instead",
	         (unsigned long long)journal->generation);
}

int journal_open(struct journal *journal, int dir_fd)
{
	struct scan scan;

	*journal = (struct journal){.dir_fd = dir_fd, .fd = -1, .previous_fd = -1};
	pthread_mutex_init(&journal->lock, NULL);
	/* Left by an agent that died before it was synced: whether it is whole cannot be told. */
	unlinkat(dir_fd, FRAMES_NEW, 0);
	unlinkat(dir_fd, FRAMES_COMPACT, 0);
	int fd = openat(dir_fd, FRAMES, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int unread = scan_frames(fd, &scan);
	if (unread || !scan.length) {
		close(fd);
		if (unread == -ENOMEM)
			return unread;
		open_previous(journal);
		return 0;
	}
	take_scan(journal, &scan);
	journal->fd = fd;
	journal->on_disk = journal->at_path = true;
	if (ftruncate(fd, (off_t)scan.length) < 0) {
		/* An engine would refuse the whole file for the tail that cannot be cut off. */
		int error = -errno, memory = open_memory();
		if (memory < 0 || copy_range(fd, memory, 0, scan.length)) {
			close_unless_none(memory);
			return error;
		}
		replace_fd(&journal->fd, memory);
		off_disk(journal, error, "cutting off a torn change failed");
	}
	journal->previous_fd = openat(dir_fd, FRAMES_PREVIOUS, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	return 0;
}

void journal_close(struct journal *journal)
{
	journal_maintain(journal, UINT64_MAX);
	replace_fd(&journal->fd, -1);
	replace_fd(&journal->previous_fd, -1);
	pthread_mutex_destroy(&journal->lock);
}

static int accept_complete(struct journal *journal, const uint8_t *data, size_t length)
{
	bool disk = true;
	int fd = open_fresh(journal, FRAMES_NEW);
	int error = fd < 0 ? fd : write_frame(fd, data, length, 0);

	if (error) {
		if (fd >= 0) {
			close(fd);
			unlinkat(journal->dir_fd, FRAMES_NEW, 0);
		}
		int why = error;
		disk = false;
		fd = open_memory();
		error = fd < 0 ? fd : write_frame(fd, data, length, 0);
		if (error) {
			if (fd >= 0)
				close(fd);
			return -ENOMEM;
		}
		off_disk(journal, why, "writing it failed");
	}
	if (journal->fd >= 0) {
		replace_fd(&journal->previous_fd, journal->fd);
		journal->fd = -1;
	}
	journal->fd = fd;
	journal->serial++;
	journal->last_offset = 0;
	journal->deltas = 0;
	journal->base_length = journal->length = sizeof(uint64_t) + length;
	if (disk) {
		journal->on_disk = journal->needs_sync = true;
		journal->at_path = false;
		journal->problem[0] = '\0';
	}
	return 0;
}

static int accept_delta(struct journal *journal, const uint8_t *data, size_t length)
{
	int error = write_frame(journal->fd, data, length, journal->length);

	if (error && journal->on_disk) {
		/* The file keeps the state before, whole. */
		if (ftruncate(journal->fd, (off_t)journal->length) < 0)
			unlinkat(journal->dir_fd, FRAMES, 0);
		int why = error;
		int fd = open_memory();
		if (fd < 0)
			return -ENOMEM;
		error = copy_range(journal->fd, fd, 0, journal->length);
		if (!error)
			error = write_frame(fd, data, length, journal->length);
		if (error) {
			close(fd);
			return -ENOMEM;
		}
		replace_fd(&journal->fd, fd);
		journal->serial++;
		off_disk(journal, why, "writing a change to it failed");
	} else if (error) {
		return -ENOMEM;
	} else if (journal->on_disk) {
		journal->needs_sync = true;
	}
	journal->last_offset = journal->length;
	journal->length += sizeof(uint64_t) + length;
	journal->deltas++;
	return 0;
}

int journal_accept(struct journal *journal, const struct snapshot_head *head, const uint8_t *data, size_t length)
{
	int error;

	pthread_mutex_lock(&journal->lock);
	if (!head->base_generation)
		error = accept_complete(journal, data, length);
	else if (journal->fd < 0 || journal->generation != head->base_generation)
		error = -ESTALE;
	else
		error = accept_delta(journal, data, length);
	if (!error)
		journal->generation = head->generation;
	pthread_mutex_unlock(&journal->lock);
	return error;
}

int journal_frames(struct journal *journal, bool *at_path)
{
	pthread_mutex_lock(&journal->lock);
	int fd = journal->fd < 0 ? -ENOENT : fcntl(journal->fd, F_DUPFD_CLOEXEC, 3);
	if (fd == -1)
		fd = -errno;
	struct stat file, path;
	*at_path = fd >= 0 && journal->at_path && !fstat(fd, &file) &&
	           !fstatat(journal->dir_fd, FRAMES, &path, AT_SYMLINK_NOFOLLOW) && file.st_ino == path.st_ino &&
	           file.st_dev == path.st_dev;
	pthread_mutex_unlock(&journal->lock);
	return fd;
}

uint64_t journal_generation(struct journal *journal)
{
	pthread_mutex_lock(&journal->lock);
	uint64_t generation = journal->generation;
	pthread_mutex_unlock(&journal->lock);
	return generation;
}

/* For whoever investigates; nothing depends on it. */
static void keep_aside(struct journal *journal)
{
	int aside = open_fresh(journal, FRAMES_ASIDE);

	if (aside < 0)
		return;
	if (copy_range(journal->fd, aside, 0, journal->length))
		unlinkat(journal->dir_fd, FRAMES_ASIDE, 0);
	close(aside);
}

uint64_t journal_step_back(struct journal *journal)
{
	struct scan scan = {0};

	pthread_mutex_lock(&journal->lock);
	if (journal->fd < 0)
		goto out;
	keep_aside(journal);
	journal->serial++;
	if (journal->deltas && !ftruncate(journal->fd, (off_t)journal->last_offset)) {
		scan_frames(journal->fd, &scan);
	} else {
		if (journal->at_path)
			unlinkat(journal->dir_fd, FRAMES, 0);
		else
			unlinkat(journal->dir_fd, FRAMES_NEW, 0);
		replace_fd(&journal->fd, journal->previous_fd);
		journal->previous_fd = -1;
		journal->on_disk = journal->at_path = journal->needs_sync = false;
		if (journal->fd >= 0) {
			scan_frames(journal->fd, &scan);
			/* Written anew under its name by journal_maintain. */
			journal->retry_ms = 0;
		}
	}
	take_scan(journal, &scan);
	if (!scan.length)
		replace_fd(&journal->fd, -1);
out:;
	uint64_t generation = journal->generation;
	pthread_mutex_unlock(&journal->lock);
	return generation;
}

/* A synced copy of the first length bytes of from in a new file of that name. */
static int copy_to_disk(struct journal *journal, const char *name, int from, uint64_t length)
{
	int fd = open_fresh(journal, name);

	if (fd < 0)
		return fd;
	int error = copy_range(from, fd, 0, length);
	if (!error && fsync(fd) < 0)
		error = -errno;
	if (error) {
		close(fd);
		unlinkat(journal->dir_fd, name, 0);
		return error;
	}
	return fd;
}

/* From memory back to the disk. Under the lock, which it lets go while it writes. */
static void return_to_disk(struct journal *journal, uint64_t now_ms)
{
	int from = fcntl(journal->fd, F_DUPFD_CLOEXEC, 3);
	uint64_t serial = journal->serial, length = journal->length;

	journal->retry_ms = now_ms + JOURNAL_DISK_RETRY_MS;
	if (from < 0)
		return;
	pthread_mutex_unlock(&journal->lock);
	int fd = copy_to_disk(journal, FRAMES_NEW, from, length);
	close(from);
	pthread_mutex_lock(&journal->lock);
	if (fd < 0)
		return;
	if (serial != journal->serial || copy_range(journal->fd, fd, length, journal->length - length)) {
		close(fd);
		journal->retry_ms = now_ms;
		return;
	}
	replace_fd(&journal->fd, fd);
	journal->serial++;
	journal->on_disk = journal->needs_sync = true;
	journal->at_path = false;
	journal->problem[0] = '\0';
}

/* Syncs the file and gives a new one its name. Under the lock, which it lets go while it syncs. */
static void settle(struct journal *journal)
{
	int fd = fcntl(journal->fd, F_DUPFD_CLOEXEC, 3);
	uint64_t serial = journal->serial;
	bool rename = !journal->at_path;

	if (fd < 0)
		return;
	journal->needs_sync = false;
	pthread_mutex_unlock(&journal->lock);
	int error = (rename ? fsync(fd) : fdatasync(fd)) < 0 ? -errno : 0;
	close(fd);
	pthread_mutex_lock(&journal->lock);
	if (serial != journal->serial)
		return; /* another one by now */
	if (!error && rename) {
		unlinkat(journal->dir_fd, FRAMES_PREVIOUS, 0);
		if (linkat(journal->dir_fd, FRAMES, journal->dir_fd, FRAMES_PREVIOUS, 0) < 0 && errno != ENOENT)
			error = -errno;
		if (renameat(journal->dir_fd, FRAMES_NEW, journal->dir_fd, FRAMES) < 0)
			error = -errno;
		else
			journal->at_path = true;
		if (!error && fsync(journal->dir_fd) < 0)
			error = -errno;
	}
	if (error && !journal->at_path) {
		int memory = open_memory();
		if (memory >= 0 && !copy_range(journal->fd, memory, 0, journal->length)) {
			replace_fd(&journal->fd, memory);
			journal->serial++;
		} else if (memory >= 0) {
			close(memory);
		}
		off_disk(journal, error, "syncing it failed");
	} else if (error) {
		snprintf(journal->problem, sizeof(journal->problem), "syncing the last good snapshot failed: %s",
		         strerror(-error));
	}
}

/* Merges all but the last frame, so that there is still one to step back from. */
static int merge_file(int from, uint64_t length, uint64_t last_offset, unsigned deltas, uint8_t **merged,
                      size_t *merged_length)
{
	uint8_t *all = malloc((size_t)length);
	struct bytes *frames = calloc(deltas ? deltas : 1, sizeof(*frames));
	int error = all && frames ? read_all(from, all, (size_t)length, 0) : -ENOMEM;

	size_t count = 0;
	for (uint64_t offset = 0; !error && offset < last_offset;) {
		uint64_t header;
		memcpy(&header, all + offset, sizeof(header));
		uint64_t size = le64toh(header);
		offset += sizeof(header);
		if (size > last_offset - offset || count == deltas) {
			error = -EBADMSG;
			break;
		}
		frames[count++] = (struct bytes){all + offset, (size_t)size};
		offset += size;
	}
	if (!error)
		error = snapshot_merge(frames, count, merged, merged_length);
	free(frames);
	free(all);
	return error;
}

static void compact(struct journal *journal, uint64_t now_ms)
{
	int from = fcntl(journal->fd, F_DUPFD_CLOEXEC, 3);
	uint64_t serial = journal->serial, length = journal->length, last = journal->last_offset;
	unsigned deltas = journal->deltas;
	bool disk = journal->on_disk;
	uint8_t *merged = NULL;
	size_t merged_length = 0;
	uint64_t base = 0;

	journal->retry_ms = now_ms + JOURNAL_DISK_RETRY_MS;
	if (from < 0)
		return;
	pthread_mutex_unlock(&journal->lock);
	int error = merge_file(from, length, last, deltas, &merged, &merged_length);
	int fd = error ? -1 : disk ? open_fresh(journal, FRAMES_COMPACT) : open_memory();
	if (fd >= 0) {
		base = sizeof(uint64_t) + merged_length;
		error = write_frame(fd, merged, merged_length, 0);
	}
	free(merged);
	pthread_mutex_lock(&journal->lock);
	/* From here on few bytes: the last delta and those that came meanwhile. */
	uint64_t tail = journal->length - last;
	uint8_t *rest = malloc((size_t)tail);
	if (fd < 0 || error || !rest || serial != journal->serial || read_all(journal->fd, rest, (size_t)tail, last) ||
	    write_all(fd, rest, (size_t)tail, base))
		goto drop;
	if (disk) {
		pthread_mutex_unlock(&journal->lock);
		error = fsync(fd) < 0 ? -errno : 0;
		pthread_mutex_lock(&journal->lock);
		/* Deltas may have come during the sync; those are few and synced by the next round. */
		uint64_t more = journal->length - last - tail;
		uint8_t *late = malloc(more ? (size_t)more : 1);
		bool good = !error && late && serial == journal->serial &&
		            !read_all(journal->fd, late, (size_t)more, last + tail) &&
		            !write_all(fd, late, (size_t)more, base + tail) &&
		            !renameat(journal->dir_fd, FRAMES_COMPACT, journal->dir_fd, FRAMES);
		free(late);
		if (!good)
			goto drop;
		journal->needs_sync = true;
	}
	replace_fd(&journal->fd, fd);
	fd = -1;
	journal->serial++;
	struct scan scan;
	scan_frames(journal->fd, &scan);
	take_scan(journal, &scan);
drop:
	if (fd >= 0) {
		close(fd);
		if (disk)
			unlinkat(journal->dir_fd, FRAMES_COMPACT, 0);
	}
	free(rest);
	close(from);
}

unsigned journal_maintain(struct journal *journal, uint64_t now_ms)
{
	bool closing = now_ms == UINT64_MAX;
	unsigned again = 0;

	pthread_mutex_lock(&journal->lock);
	if (journal->fd < 0)
		goto out;
	if (!journal->on_disk && (closing || now_ms >= journal->retry_ms))
		return_to_disk(journal, closing ? 0 : now_ms);
	if (journal->needs_sync && journal->at_path && !journal->sync_due_ms)
		journal->sync_due_ms = now_ms + JOURNAL_SYNC_DELAY_MS;
	bool late = journal->at_path && journal->sync_due_ms && !closing && now_ms < journal->sync_due_ms;
	/* Twice at most: what came during the first sync is synced by the second or by the next call. */
	for (int i = 0; i < 2 && journal->on_disk && !late && (journal->needs_sync || !journal->at_path); i++)
		settle(journal);
	if (!late)
		journal->sync_due_ms = 0;
	uint64_t delta_bytes = journal->length - journal->base_length;
	if (!closing && (journal->at_path || !journal->on_disk) && journal->deltas > 1 && now_ms >= journal->retry_ms &&
	    (journal->deltas > JOURNAL_DELTAS_MAX ||
	     (delta_bytes > JOURNAL_DELTA_BYTES_MIN && delta_bytes > journal->base_length)))
		compact(journal, now_ms);
	if (journal->needs_sync)
		again = late ? (unsigned)(journal->sync_due_ms - now_ms) : 1;
	else if (!journal->on_disk)
		again = JOURNAL_DISK_RETRY_MS;
out:
	pthread_mutex_unlock(&journal->lock);
	return again;
}
