/* SPDX-License-Identifier: Apache-2.0 */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Descriptors of the new process; those above are closed. */
enum { CHILD_INHERIT = 3, CHILD_FRAMES = 4, CHILD_FDS = 5 };

static int open_log(const struct engine_options *options, uint64_t *offset)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" ENGINE_LOG, options->run_dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	*offset = fd >= 0 && !fstat(fd, &st) && st.st_size > 0 ? (uint64_t)st.st_size : 0;
	return fd;
}

/*
 * The packet tiers' capabilities are the agent's, and would be the engine's when a unit gives them
 * (AmbientCapabilities=): what is exposed to clients must not be able to redirect any traffic. They are put away for
 * what this thread starts, and stay with what it has. CAP_NET_ADMIN alone, without CAP_BPF, was meant for the engine's
 * socket buffers.
 */
static void keep_packet_capabilities(void)
{
	static const int capabilities[] = {CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_BPF, 0, 0) != 1)
		return;
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, capabilities[i], 0, 0);
}

static int run(const char *executable, char *const argv[], int log_fd, int inherit_fd, int frames_fd, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int error = posix_spawn_file_actions_init(&files);

	if (error)
		return -error;
	error = posix_spawnattr_init(&attributes);
	if (error) {
		posix_spawn_file_actions_destroy(&files);
		return -error;
	}
	sigemptyset(&none);
	sigfillset(&all);
	sigdelset(&all, SIGKILL);
	sigdelset(&all, SIGSTOP);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	error = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
	if (!error)
		error = posix_spawn_file_actions_adddup2(&files, 0, 1);
	if (!error)
		error = posix_spawn_file_actions_adddup2(&files, log_fd, 2);
	/* Ours are all at CHILD_FDS or above (see above_child_fds), so no dup2 can overwrite the next one's source. */
	if (!error && inherit_fd >= 0)
		error = posix_spawn_file_actions_adddup2(&files, inherit_fd, CHILD_INHERIT);
	if (!error && frames_fd >= 0)
		error = posix_spawn_file_actions_adddup2(&files, frames_fd, CHILD_FRAMES);
	if (!error && inherit_fd < 0)
		error = posix_spawn_file_actions_addopen(&files, CHILD_INHERIT, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	if (!error && frames_fd < 0)
		error = posix_spawn_file_actions_addopen(&files, CHILD_FRAMES, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
	if (!error)
		error = posix_spawn_file_actions_addclosefrom_np(&files, CHILD_FDS);
	if (!error)
		error = posix_spawn_file_actions_addchdir_np(&files, "/");
	if (!error)
		keep_packet_capabilities();
	if (!error)
		error = posix_spawn(pid, executable, &files, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return -error;
}

/* The same descriptor, at CHILD_FDS or above. Closes the other. */
static int above_child_fds(int fd)
{
	if (fd < 0 || fd >= CHILD_FDS)
		return fd;
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, CHILD_FDS);
	close(fd);
	return moved;
}

/* What an operator can do about it. */
static const char *start_hint(const char *executable, int error)
{
	struct stat st;
	bool there = !stat(executable, &st);

	switch (error) {
	case ENOENT:
		return there ? " (the file is there, but the dynamic linker or interpreter that it names is not: is it "
		               "built for another system? install the build for this one)"
		             : " (no file is there: is the engine's path right, and the engine installed?)";
	case ENOTDIR:
		return " (a part of the path is no directory: is the engine's path right?)";
	case EACCES:
		return !there                ? " (a directory of the path may not be searched by this user)"
		       : S_ISDIR(st.st_mode) ? " (this is a directory: give the path of the engine's executable)"
		       : st.st_mode & 0111
		               ? " (this user may not execute it, or its file system is mounted noexec)"
		               : " (the file is not executable: chmod +x it, or is the engine's path right?)";
	case ENOEXEC:
		return " (not an executable for this machine: is it built for another architecture, or cut short? "
		       "install the engine build for this one)";
	case ETXTBSY:
		return " (something still writes to the file: wait until it is copied, and replace an engine by "
		       "renaming "
		       "a whole copy over it)";
	case EMFILE:
		return " (this process is at its limit on open files: raise LimitNOFILE)";
	case ENFILE:
		return " (the machine is at its limit on open files: raise fs.file-max)";
	case EAGAIN:
		return " (at a limit on processes: raise TasksMax, LimitNPROC or kernel.pid_max)";
	case ENOMEM:
		return " (no memory for another process: free some, or raise the memory limit)";
	default:
		return "";
	}
}

int spawn_engine(const struct engine_options *options, const char *executable, const char *socket_path, int frames_fd,
                 bool at_path, bool inherit, struct spawned *spawned, char *why, size_t why_size)
{
	char workers[16], frames[4200];
	const char *argv[24];
	int pair[2] = {-1, -1}, error = 0;
	unsigned n = 0;

	*spawned = (struct spawned){.pidfd = -1, .inherit_fd = -1};
	executable = executable ? executable : options->engine_path;
	argv[n++] = executable;
	argv[n++] = "--socket";
	argv[n++] = socket_path;
	if (options->workers) {
		snprintf(workers, sizeof(workers), "%u", options->workers);
		argv[n++] = "--workers";
		argv[n++] = workers;
	}
	if (options->cpus) {
		argv[n++] = "--cpus";
		argv[n++] = options->cpus;
	}
	if (options->log_level) {
		argv[n++] = "--log-level";
		argv[n++] = options->log_level;
	}
	if (frames_fd >= 0) {
		if (at_path)
			snprintf(frames, sizeof(frames), "%s/snapshot.frames", options->run_dir);
		else
			snprintf(frames, sizeof(frames), "/proc/self/fd/%d", CHILD_FRAMES);
		argv[n++] = "--snapshot-file";
		argv[n++] = frames;
	}
	if (inherit) {
		argv[n++] = "--inherit-fd";
		argv[n++] = "3";
	}
	argv[n] = NULL;

	int log_fd = above_child_fds(open_log(options, &spawned->log_offset));
	int given = frames_fd >= 0 && !at_path ? fcntl(frames_fd, F_DUPFD_CLOEXEC, CHILD_FDS) : -1;
	if (inherit && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		error = -errno;
	pair[1] = above_child_fds(pair[1]);
	if (log_fd < 0 || (frames_fd >= 0 && !at_path && given < 0) || (inherit && pair[1] < 0))
		error = error ? error : -EMFILE;
	if (!error)
		error = run(executable, (char *const *)argv, log_fd, pair[1], given, &spawned->pid);
	if (!error) {
		/* Its parent is this process, so the number cannot be another's before it is reaped. */
		spawned->pidfd = pidfd_open(spawned->pid, 0);
		if (spawned->pidfd < 0) {
			error = -errno;
			kill(spawned->pid, SIGKILL);
			waitpid(spawned->pid, NULL, 0);
		}
	}
	if (error) {
		snprintf(why, why_size, "starting %s: %s%s", executable, strerror(-error),
		         start_hint(executable, -error));
		if (pair[0] >= 0)
			close(pair[0]);
	} else {
		spawned->inherit_fd = pair[0];
	}
	int done[] = {log_fd, given, pair[1]};
	for (size_t i = 0; i < sizeof(done) / sizeof(done[0]); i++)
		if (done[i] >= 0)
			close(done[i]);
	return error;
}

void spawn_reap(int pidfd, bool child, int *by_signal, char *text, size_t size)
{
	siginfo_t info = {0};

	*by_signal = -1;
	if (!child || waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0 || !info.si_pid) {
		snprintf(text, size, "has ended");
	} else if (info.si_code == CLD_EXITED) {
		*by_signal = 0;
		snprintf(text, size, "exited with status %d", info.si_status);
	} else {
		*by_signal = info.si_status;
		snprintf(text, size, "was killed by signal %d (%s)", info.si_status, strsignal(info.si_status));
	}
}

/* "2026-01-31T12:00:00.000Z error [1234] ...": whether another engine than pid wrote it. */
static bool is_of_another(const char *line, pid_t pid)
{
	const char *tag = strstr(line, " [");
	char *end;

	if (!tag || tag - line > 40)
		return false;
	long writer = strtol(tag + 2, &end, 10);
	return *end == ']' && writer > 0 && writer != pid;
}

void spawn_log_tail(const struct engine_options *options, uint64_t offset, pid_t pid, char *line, size_t size)
{
	char path[4096], text[2048];
	struct stat st;

	*line = '\0';
	snprintf(path, sizeof(path), "%s/" ENGINE_LOG, options->run_dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	bool sized = !fstat(fd, &st) && st.st_size > 0;
	/* Cut since, by us or by the operator's log rotation: what is there was written after that. */
	if (sized && (uint64_t)st.st_size < offset)
		offset = 0;
	if (sized && (uint64_t)st.st_size > offset) {
		bool cut = (uint64_t)st.st_size - offset > sizeof(text) - 1;
		if (cut)
			offset = (uint64_t)st.st_size - (sizeof(text) - 1);
		ssize_t n = pread(fd, text, sizeof(text) - 1, (off_t)offset);
		while (n > 0) {
			while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
				n--;
			text[n] = '\0';
			while (n > 0 && text[n - 1] != '\n')
				n--;
			/* What is left of a line that begins before the window does not tell whose it is. */
			if (text[n] && !(cut && !n) && !is_of_another(text + n, pid)) {
				snprintf(line, size, "%s", text + n);
				break;
			}
		}
	}
	close(fd);
}

uint64_t spawn_log_size(const struct engine_options *options)
{
	char path[4096];
	struct stat st;

	snprintf(path, sizeof(path), "%s/" ENGINE_LOG, options->run_dir);
	return !lstat(path, &st) && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

bool spawn_log_rotate(const struct engine_options *options)
{
	char path[4096], old[4096];
	bool cut = false;
	struct stat st;

	snprintf(path, sizeof(path), "%s/" ENGINE_LOG, options->run_dir);
	if (stat(path, &st) < 0 || st.st_size <= (off_t)ENGINE_LOG_MAX)
		return false;
	/* Copied and cut rather than renamed: the engine has the file open and appends. Lines that come between the
	 * copy and the cut are lost, which is the price. */
	snprintf(old, sizeof(old), "%s/" ENGINE_LOG ".1", options->run_dir);
	int from = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	int to = open(old, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (from >= 0) {
		static const size_t PART = 1 << 16;
		char *buffer = malloc(PART);
		ssize_t n;
		off_t offset = st.st_size - (off_t)ENGINE_LOG_MAX;
		while (buffer && to >= 0 && (n = pread(from, buffer, PART, offset)) > 0 &&
		       write(to, buffer, (size_t)n) == n)
			offset += n;
		free(buffer);
		cut = !ftruncate(from, 0); /* else tried again at the next round */
		close(from);
	}
	if (to >= 0)
		close(to);
	return cut;
}

/* True and -ECHILD's reason once the process has ended. */
static bool ended(const struct engine_options *options, const struct spawned *spawned, char *why, size_t why_size)
{
	struct pollfd gone = {.fd = spawned->pidfd, .events = POLLIN};
	char how[96], last[256];
	int by_signal;

	if (poll(&gone, 1, 0) <= 0)
		return false;
	spawn_reap(spawned->pidfd, true, &by_signal, how, sizeof(how));
	spawn_log_tail(options, spawned->log_offset, spawned->pid, last, sizeof(last));
	snprintf(why, why_size, "engine %d %s%s%s", spawned->pid, how, *last ? ": " : "", last);
	return true;
}

static void kill_and_reap(int pidfd)
{
	siginfo_t info;

	pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) < 0 && errno == EINTR)
		;
}

void spawn_end(struct link *link)
{
	kill_and_reap(link->pidfd);
	link_close(link);
}

int spawn_wait(const struct engine_options *options, struct spawned *spawned, const char *socket_path, int stop_fd,
               unsigned timeout_ms, struct link *link, char *why, size_t why_size)
{
	uint64_t deadline = control_now_ms() + timeout_ms;
	unsigned pause_ms = 1;
	int error;

	*link = LINK_NONE;
	for (;;) {
		uint64_t now = control_now_ms();
		error = link_connect(link, socket_path);
		if (!error) {
			link->pidfd = spawned->pidfd;
			link->child = true;
			error = link_hello(link, true, deadline > now ? (unsigned)(deadline - now) : 1, why, why_size);
			if (!error && link->pid != spawned->pid) {
				snprintf(why, why_size, "process %d listens on %s, not the engine %d that was started",
				         link->pid, socket_path, spawned->pid);
				error = -EPROTO;
			}
			if (!error) {
				link->log_offset = spawned->log_offset;
				spawned->pidfd = -1;
				return 0;
			}
			link->pidfd = -1; /* stays spawned's */
			link_close(link);
			*link = LINK_NONE;
			if (error != -EPIPE)
				break;
		} else if (error != -ENOENT && error != -ECONNREFUSED && error != -EAGAIN) {
			snprintf(why, why_size, "connecting to %s: %s", socket_path, link_error(error));
			break;
		}
		/* Nobody tells when a Unix socket begins to listen, so it is asked, ever less often, while the
		 * process's end is noticed at once. */
		struct pollfd wait[2] = {{.fd = spawned->pidfd, .events = POLLIN}, {.fd = stop_fd, .events = POLLIN}};
		poll(wait, stop_fd >= 0 ? 2 : 1, (int)pause_ms);
		pause_ms = pause_ms < 8 ? pause_ms * 2 : 8;
		if (ended(options, spawned, why, why_size)) {
			close(spawned->pidfd);
			spawned->pidfd = -1;
			return -ECHILD;
		}
		if (stop_fd >= 0 && (wait[1].revents & POLLIN)) {
			snprintf(why, why_size, "the handle is closing");
			close(spawned->pidfd);
			spawned->pidfd = -1;
			return -ECANCELED;
		}
		if (control_now_ms() >= deadline) {
			snprintf(why, why_size, "engine %d did not listen on %s within %u ms", spawned->pid,
			         socket_path, timeout_ms);
			error = -ETIMEDOUT;
			break;
		}
	}
	if (!ended(options, spawned, why, why_size))
		kill_and_reap(spawned->pidfd);
	else
		error = -ECHILD;
	close(spawned->pidfd);
	spawned->pidfd = -1;
	return error;
}
