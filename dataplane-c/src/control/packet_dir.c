/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of pins. It has to be on bpffs, below the mount point, and belongs to one process at a time.
 *
 * The lock is a flock on the folder itself: bpffs lets directories be opened, and a flock needs nothing of the file
 * system. After it is taken the folder is looked up again, since the holder before may have removed it.
 */
#include "packet.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef BPF_FS_MAGIC
#define BPF_FS_MAGIC 0xcafe4a11
#endif

#define PIN_PATH_MAX 4096
#define PIN_DIR_MAX 3800 /* leaves room for the names below it */
#define LOCK_ATTEMPTS 8

void packet_dir_path(const struct marcher_packet *handle, char path[PIN_PATH_MAX], const char *kind, const char *name)
{
	snprintf(path, PIN_PATH_MAX, "%.*s/v%d%s%s%s%s", PIN_DIR_MAX, handle->pin_dir, LAYOUT_VERSION, kind ? "/" : "",
	         kind ? kind : "", name ? "/" : "", name ? name : "");
}

static int not_bpffs(struct marcher_packet *handle, const char *pin_dir, const char *existing)
{
	return packet_fail(
	        handle, MARCHER_E_INVALID,
	        "the pin directory %s is not on a BPF file system (%s is on another one): mount one (mkdir -p "
	        "/sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf) and name a directory below it, such as "
	        "/sys/fs/bpf/marcher",
	        pin_dir, existing);
}

/* Makes what is missing of the path once its existing part is known to be on bpffs. */
static int make_path(struct marcher_packet *handle, const char *pin_dir, bool make, bool *missing)
{
	char path[PIN_PATH_MAX];
	size_t length = strlen(pin_dir);
	struct statfs fs;
	struct stat st;

	*missing = false;
	if (pin_dir[0] != '/' || length > PIN_DIR_MAX)
		return packet_fail(handle, MARCHER_E_INVALID,
		                   "the pin directory %s: expected an absolute path of at most %d bytes", pin_dir,
		                   PIN_DIR_MAX);
	memcpy(path, pin_dir, length + 1);
	while (length > 1 && path[length - 1] == '/')
		path[--length] = '\0';
	handle->pin_dir = strdup(path);
	if (!handle->pin_dir)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	/* The deepest part that is there. */
	while (stat(path, &st) < 0) {
		char *slash = strrchr(path, '/');
		if (errno == EPERM && strchr(slash, '.'))
			return packet_fail(handle, MARCHER_E_INVALID,
			                   "the pin directory %s: names on a BPF file system must not have a dot",
			                   pin_dir);
		if (errno != ENOENT)
			return packet_fail_system(handle, errno, "the pin directory %s", pin_dir);
		*missing = true;
		if (strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
			return packet_fail(handle, MARCHER_E_INVALID,
			                   "the pin directory %s goes through a directory that is "
			                   "not there",
			                   pin_dir);
		slash[slash == path] = '\0';
	}
	if (statfs(path, &fs) < 0)
		return packet_fail_system(handle, errno, "the file system of %s", path);
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC)
		return *missing && !make ? MARCHER_OK : not_bpffs(handle, pin_dir, path);
	if (!*missing || !make)
		return MARCHER_OK;
	for (size_t end = strlen(path); end < length;) {
		const char *next = strchr(handle->pin_dir + end + 1, '/');
		end = next ? (size_t)(next - handle->pin_dir) : length;
		memcpy(path, handle->pin_dir, end);
		path[end] = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return packet_fail_system(handle, errno, "creating the pin directory %s", path);
	}
	return MARCHER_OK;
}

/* The process that holds the lock, from /proc/locks; 0: not told (another PID namespace). */
static int lock_holder(const struct stat *st)
{
	char line[256], type[16], inode[64], want[64];
	int holder = 0, pid;
	FILE *locks = fopen("/proc/locks", "re");

	snprintf(want, sizeof(want), "%02x:%02x:%lu", major(st->st_dev), minor(st->st_dev), (unsigned long)st->st_ino);
	while (locks && !holder && fgets(line, sizeof(line), locks))
		if (sscanf(line, "%*s %15s %*s %*s %d %63s", type, &pid, inode) == 3 && !strcmp(type, "FLOCK") &&
		    !strcmp(inode, want))
			holder = pid;
	if (locks)
		fclose(locks);
	return holder > 0 ? holder : 0;
}

static int busy(struct marcher_packet *handle, int pid, bool make)
{
	char who[32] = "another process", how[64] = "systemctl stop marcherd";

	if (pid == (int)getpid())
		snprintf(who, sizeof(who), "this process");
	else if (pid)
		snprintf(who, sizeof(who), "process %d", pid);
	if (pid && pid != (int)getpid())
		snprintf(how, sizeof(how), "systemctl stop marcherd, or kill %d", pid);
	return packet_fail(handle, MARCHER_E_BUSY, "%s has the pin directory %s open: end that agent first (%s)%s", who,
	                   handle->pin_dir, how, make ? ", or give this one a directory of its own" : "");
}

/* Not where others pin, too. */
static int check_place(struct marcher_packet *handle, const struct stat *st)
{
	char parent[PIN_PATH_MAX + 8];
	struct stat above;

	snprintf(parent, sizeof(parent), "%s/..", handle->pin_dir);
	if (stat(parent, &above) < 0)
		return packet_fail_system(handle, errno, "the directory above %s", handle->pin_dir);
	if (above.st_dev != st->st_dev)
		return packet_fail(
		        handle, MARCHER_E_INVALID,
		        "the pin directory %s is the root of a BPF file system, which others may pin in, too: "
		        "name a directory below it, such as %s/marcher",
		        handle->pin_dir, handle->pin_dir);
	return MARCHER_OK;
}

static int check_owner(struct marcher_packet *handle, const struct stat *st)
{
	if ((st->st_uid != geteuid() && st->st_uid != 0) || (st->st_mode & 022))
		return packet_fail(
		        handle, MARCHER_E_INVALID,
		        "the pin directory %s can be written by others (owner %u, mode %04o): whoever can do that "
		        "controls the traffic; chown it to this user and chmod go-w",
		        handle->pin_dir, st->st_uid, st->st_mode & 07777);
	return MARCHER_OK;
}

int packet_dir_open(struct marcher_packet *handle, const char *pin_dir, bool make)
{
	struct stat held, now;
	bool missing;

	for (int attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
		free(handle->pin_dir);
		handle->pin_dir = NULL;
		int code = make_path(handle, pin_dir, make, &missing);
		if (code || (missing && !make))
			return code;
		int fd = open(handle->pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &held) < 0) {
			code = errno;
			if (fd >= 0)
				close(fd);
			if (code == ENOENT)
				continue;
			return packet_fail_system(handle, code, "opening the pin directory %s", pin_dir);
		}
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			code = errno == EWOULDBLOCK
			               ? busy(handle, lock_holder(&held), make)
			               : packet_fail_system(handle, errno, "locking the pin directory %s", pin_dir);
			close(fd);
			return code;
		}
		if (stat(handle->pin_dir, &now) == 0 && now.st_ino == held.st_ino && now.st_dev == held.st_dev) {
			handle->dir_fd = fd;
			code = check_place(handle, &held);
			/* Whoever may remove it may also when it is another user's: root after an agent that was not.
			 */
			return code || !make ? code : check_owner(handle, &held);
		}
		close(fd);
	}
	return packet_fail(handle, MARCHER_E_BUSY, "the pin directory %s is removed again and again by another process",
	                   pin_dir);
}

bool packet_dir_held(int fd, struct packet_dir_holder *holder)
{
	struct stat st;

	*holder = (struct packet_dir_holder){.held = false};
	/* For a moment only: an agent that starts right then tries again. */
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		flock(fd, LOCK_UN);
	else if (errno == EWOULDBLOCK)
		*holder = (struct packet_dir_holder){.held = true, .pid = fstat(fd, &st) ? 0 : lock_holder(&st)};
	return holder->held;
}

int packet_dir_busy(struct marcher_packet *handle, const struct packet_dir_holder *holder)
{
	return busy(handle, holder->pid, false);
}

int packet_dir_look(struct marcher_packet *handle, const char *pin_dir, struct packet_dir_holder *holder)
{
	struct stat st;
	bool missing;
	int code = make_path(handle, pin_dir, false, &missing);

	*holder = (struct packet_dir_holder){.held = false};
	if (code || missing)
		return code;
	int fd = open(handle->pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return MARCHER_OK;
	if (fd < 0 || fstat(fd, &st) < 0) {
		code = packet_fail_system(handle, errno, "opening the pin directory %s", handle->pin_dir);
		if (fd >= 0)
			close(fd);
		return code;
	}
	handle->dir_fd = fd;
	packet_dir_held(fd, holder);
	return check_place(handle, &st);
}
