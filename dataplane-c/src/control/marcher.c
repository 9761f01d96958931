/* SPDX-License-Identifier: Apache-2.0 */
/* The handle: open, close, status, errors, and the calls that only read shared memory. */
#include "marcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "ipc/frame.h"
#include "spawn.h"

#define LOCK_FILE "agent.lock"
#define LONGEST_SOCKET "/engine.2147483647.sock"
#define DEFAULT_TIMEOUT_MS 10000u
#define DEFAULT_HEARTBEAT_MS 1000u
#define LEASE_PATIENCE_MS 2000u /* until an engine has noticed that the agent before is gone */
#define START_ATTEMPTS 12u

#ifndef MARCHER_VERSION
#define MARCHER_VERSION "0.0.0"
#endif

/* The FFI reads these by offset. */
_Static_assert(sizeof(struct marcher_slot_stats) == 712 && offsetof(struct marcher_slot_stats, counters) == 200 &&
                       offsetof(struct marcher_slot_stats, connect_us) == 456,
               "agent/src/adapters/outbound/dataplane/layout.ts has this layout");
_Static_assert(sizeof(struct marcher_event) == 256 && offsetof(struct marcher_event, message) == 136,
               "agent/src/adapters/outbound/dataplane/layout.ts has this layout");

/* Error of calls without a handle. */
static pthread_mutex_t open_error_lock = PTHREAD_MUTEX_INITIALIZER;
static char open_error[ERROR_TEXT_MAX];

uint32_t marcher_abi_version(void)
{
	return MARCHER_ABI_VERSION;
}

const char *marcher_library_version(void)
{
	return MARCHER_VERSION;
}

const char *marcher_error_name(int error)
{
	switch (error) {
	case MARCHER_OK:
		return "ok";
	case MARCHER_E_INVALID:
		return "invalid";
	case MARCHER_E_SYSTEM:
		return "system";
	case MARCHER_E_NO_ENGINE:
		return "no-engine";
	case MARCHER_E_TIMEOUT:
		return "timeout";
	case MARCHER_E_PROTOCOL:
		return "protocol";
	case MARCHER_E_REFUSED:
		return "refused";
	case MARCHER_E_BUSY:
		return "busy";
	case MARCHER_E_NO_MEMORY:
		return "no-memory";
	case MARCHER_E_CLOSED:
		return "closed";
	default:
		return "unknown";
	}
}

uint64_t control_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int control_fail(struct marcher *handle, int code, const char *format, ...)
{
	pthread_mutex_t *lock = handle ? &handle->state_lock : &open_error_lock;
	char text[ERROR_TEXT_MAX];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(lock);
	memcpy(handle ? handle->error : open_error, text, sizeof(text));
	pthread_mutex_unlock(lock);
	return code;
}

void control_notice(struct marcher *handle, const char *format, ...)
{
	char text[sizeof(handle->notice)];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&handle->state_lock);
	memcpy(handle->notice, text, sizeof(text));
	pthread_mutex_unlock(&handle->state_lock);
}

const char *marcher_last_error(struct marcher *handle)
{
	/* Per thread, so that another thread's failure does not change the text while it is read. */
	static _Thread_local char text[ERROR_TEXT_MAX];
	pthread_mutex_t *lock = handle ? &handle->state_lock : &open_error_lock;

	pthread_mutex_lock(lock);
	memcpy(text, handle ? handle->error : open_error, sizeof(text));
	pthread_mutex_unlock(lock);
	return text;
}

void control_lock(struct marcher *handle)
{
	atomic_fetch_add(&handle->waiting, 1);
	pthread_mutex_lock(&handle->link_lock);
	atomic_fetch_sub(&handle->waiting, 1);
}

void control_unlock(struct marcher *handle)
{
	pthread_mutex_unlock(&handle->link_lock);
}

int control_await_engine(struct marcher *handle)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += handle->request_timeout_ms / 1000;
	until.tv_nsec += (long)(handle->request_timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (handle->link.sock < 0) {
		if (atomic_load(&handle->closing))
			return control_fail(handle, MARCHER_E_CLOSED, "the handle is closing");
		if (handle->stopped)
			return control_fail(handle, MARCHER_E_NO_ENGINE,
			                    "the engine was stopped by marcher_stop; open a new handle to start one");
		if (pthread_cond_timedwait(&handle->changed, &handle->link_lock, &until) == ETIMEDOUT &&
		    handle->link.sock < 0) {
			char notice[sizeof(handle->notice)];
			pthread_mutex_lock(&handle->state_lock);
			memcpy(notice, handle->notice, sizeof(notice));
			pthread_mutex_unlock(&handle->state_lock);
			return control_fail(handle, MARCHER_E_NO_ENGINE,
			                    "no engine runs, and none could be started within %u ms: %s",
			                    handle->request_timeout_ms, notice);
		}
	}
	return MARCHER_OK;
}

int control_call_failed(struct marcher *handle, int error, const char *what)
{
	int code = error == -ETIMEDOUT ? MARCHER_E_TIMEOUT
	           : error == -EPIPE   ? MARCHER_E_NO_ENGINE
	           : error == -EPROTO  ? MARCHER_E_PROTOCOL
	           : error == -ENOMEM  ? MARCHER_E_NO_MEMORY
	                               : MARCHER_E_SYSTEM;

	return control_fail(handle, code, "%s: engine %d: %s%s", what, (int)handle->link.pid, link_error(error),
	                    error == -EPIPE ? "; it is being restarted on the last good snapshot" : "");
}

void control_publish_journal(struct marcher *handle)
{
	char problem[sizeof(handle->journal_problem)];

	pthread_mutex_lock(&handle->journal.lock);
	uint64_t generation = handle->journal.generation;
	memcpy(problem, handle->journal.problem, sizeof(problem));
	pthread_mutex_unlock(&handle->journal.lock);
	pthread_mutex_lock(&handle->state_lock);
	handle->status.saved_generation = generation;
	memcpy(handle->journal_problem, problem, sizeof(problem));
	pthread_mutex_unlock(&handle->state_lock);
}

/* Takes the lock of the run directory. */
static int take_lock(struct marcher *handle)
{
	char path[4096], holder[32] = "";

	snprintf(path, sizeof(path), "%s/" LOCK_FILE, handle->options.run_dir);
	handle->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (handle->lock_fd < 0)
		return control_fail(NULL, MARCHER_E_SYSTEM, "opening %s: %s", path, strerror(errno));
	if (flock(handle->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		int error = errno;
		ssize_t n = pread(handle->lock_fd, holder, sizeof(holder) - 1, 0);
		holder[n > 0 ? strspn(holder, "0123456789") : 0] = '\0';
		if (error == EWOULDBLOCK)
			return control_fail(
			        NULL, MARCHER_E_BUSY,
			        "another agent (process %s) holds the run directory %s: stop it, or give this one "
			        "a directory of its own",
			        *holder ? holder : "unknown", handle->options.run_dir);
		return control_fail(NULL, MARCHER_E_SYSTEM, "locking %s: %s", path, strerror(error));
	}
	int n = snprintf(holder, sizeof(holder), "%d\n", (int)getpid());
	/* For the message above only; a full disk leaves it empty. */
	if (ftruncate(handle->lock_fd, 0) < 0 || pwrite(handle->lock_fd, holder, (size_t)n, 0) != n)
		return MARCHER_OK;
	return MARCHER_OK;
}

static int make_run_dir(struct marcher *handle, const char *run_dir, int *dir_fd)
{
	struct stat st;

	if (mkdir(run_dir, 0700) < 0 && errno != EEXIST)
		return control_fail(NULL, MARCHER_E_SYSTEM, "creating the run directory %s: %s", run_dir,
		                    strerror(errno));
	handle->options.run_dir = realpath(run_dir, NULL);
	if (!handle->options.run_dir)
		return control_fail(NULL, MARCHER_E_SYSTEM, "the run directory %s: %s", run_dir, strerror(errno));
	size_t room = sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof(LONGEST_SOCKET);
	if (strlen(handle->options.run_dir) > room)
		return control_fail(
		        NULL, MARCHER_E_INVALID,
		        "the run directory's path %s is too long for a Unix socket in it: at most %zu bytes",
		        handle->options.run_dir, room);
	*dir_fd = open(handle->options.run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*dir_fd < 0 || fstat(*dir_fd, &st) < 0)
		return control_fail(NULL, MARCHER_E_SYSTEM, "the run directory %s: %s", run_dir, strerror(errno));
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
		return control_fail(
		        NULL, MARCHER_E_INVALID,
		        "the run directory %s can be written by others (owner %u, mode %04o): whoever can do that "
		        "controls the engine; chown it to this user and chmod go-w",
		        run_dir, st.st_uid, st.st_mode & 07777);
	if (asprintf(&handle->socket_path, "%s/" IPC_SOCKET_NAME, handle->options.run_dir) < 0) {
		handle->socket_path = NULL;
		return control_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	}
	return MARCHER_OK;
}

/* Ends an engine that listens but does not answer. */
static void kill_silent(struct link *link)
{
	struct pollfd gone = {.fd = link->pidfd, .events = POLLIN};

	if (link->pidfd >= 0 && !pidfd_send_signal(link->pidfd, SIGKILL, NULL, 0))
		poll(&gone, 1, 2000);
}

/* An engine has closed the connection: its process, which ends a moment after its sockets, is still there. */
static bool lives_on(const struct link *link)
{
	struct pollfd gone = {.fd = link->pidfd, .events = POLLIN};

	return link->pidfd >= 0 && poll(&gone, 1, 200) == 0;
}

/* Adopts the engine that runs in the directory. MARCHER_OK, MARCHER_E_NO_ENGINE when none does, or a failure. */
static int adopt(struct marcher *handle)
{
	uint64_t deadline = control_now_ms() + LEASE_PATIENCE_MS;
	char why[ERROR_TEXT_MAX] = "";
	struct link link;

	for (;;) {
		int error = link_connect(&link, handle->socket_path);
		if (error == -ENOENT || error == -ECONNREFUSED)
			return MARCHER_E_NO_ENGINE;
		if (error == -EAGAIN) {
			error = -EBUSY; /* its accept queue is full */
			snprintf(why, sizeof(why),
			         "the engine on %s accepts no control connection: it hangs, or too many processes ask "
			         "at "
			         "once; when it stays so, end it (kill -KILL)",
			         handle->socket_path);
		} else if (error) {
			return control_fail(NULL, MARCHER_E_SYSTEM, "connecting to %s: %s", handle->socket_path,
			                    strerror(-error));
		} else {
			error = link_hello(&link, true, handle->request_timeout_ms, why, sizeof(why));
		}
		struct engine_memory *memory = error ? NULL : lifecycle_map(&link, true, why, sizeof(why));
		if (memory) {
			uint32_t retiring_ms = link.retiring_ms;
			lifecycle_adopt(handle, &link, memory, true);
			if (!retiring_ms)
				return MARCHER_OK;
			/* It serves nobody new: it may finish, and its statistics count, beside the one to come. */
			lifecycle_left(handle, retiring_ms);
			return MARCHER_E_NO_ENGINE;
		}
		if (error == -ETIMEDOUT)
			kill_silent(&link);
		if (error == -EPIPE && lives_on(&link)) {
			/* Another one beside it would share its ports, and nobody would ever end this one. */
			error = -EBUSY;
			snprintf(why, sizeof(why),
			         "engine %d closes every control connection: too many processes are connected to it; "
			         "end "
			         "those, or the engine (kill -TERM %d)",
			         (int)link.pid, (int)link.pid);
		}
		link_close(&link);
		if (error == -ETIMEDOUT || error == -EPIPE)
			return MARCHER_E_NO_ENGINE;
		if (error != -EBUSY)
			return control_fail(
			        NULL, MARCHER_E_PROTOCOL,
			        error ? "adopting the running engine: %s"
			              : "adopting the running engine: %s, or end that engine (kill -TERM) and "
			                "this agent starts its own",
			        why);
		if (control_now_ms() >= deadline)
			return control_fail(NULL, MARCHER_E_BUSY, "%s", why);
		poll(NULL, 0, 10);
	}
}

static int start(struct marcher *handle)
{
	char why[ERROR_TEXT_MAX] = "";
	bool again = true;

	for (unsigned i = 0; again && i < START_ATTEMPTS; i++)
		if (!lifecycle_start(handle, &again, why, sizeof(why)))
			return MARCHER_OK;
	return control_fail(NULL, MARCHER_E_NO_ENGINE, "%s", why);
}

static char *copy_or_null(const char *text)
{
	return text && *text ? strdup(text) : NULL;
}

static int open_handle(struct marcher *handle, const struct marcher_options *options)
{
	pthread_condattr_t attributes;
	int dir_fd = -1;

	pthread_mutex_init(&handle->link_lock, NULL);
	pthread_mutex_init(&handle->memory_lock, NULL);
	pthread_mutex_init(&handle->state_lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&handle->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	handle->request_timeout_ms = options->request_timeout_ms ? options->request_timeout_ms : DEFAULT_TIMEOUT_MS;
	handle->heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : DEFAULT_HEARTBEAT_MS;

	int code = make_run_dir(handle, options->run_dir, &dir_fd);
	if (!code)
		code = take_lock(handle);
	if (code) {
		if (dir_fd >= 0)
			close(dir_fd);
		return code;
	}
	int error = journal_open(&handle->journal, dir_fd);
	if (error) {
		close(dir_fd);
		return control_fail(NULL, MARCHER_E_SYSTEM, "reading the last good snapshot in %s: %s",
		                    handle->options.run_dir, strerror(-error));
	}
	handle->journal_open = true;
	if (*handle->journal.problem)
		control_notice(handle, "%s", handle->journal.problem); /* outlives the problem */
	/* Absolute: the engine's directory is "/". One that is not there yet may be when it is needed. */
	char *absolute = realpath(options->engine_path, NULL);
	handle->options.engine_path = absolute ? absolute : strdup(options->engine_path);
	handle->options.cpus = copy_or_null(options->cpus);
	handle->options.log_level = copy_or_null(options->log_level);
	handle->options.workers = options->workers;
	handle->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	handle->close_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!handle->options.engine_path || handle->wake_fd < 0 || handle->close_fd < 0)
		return control_fail(NULL, MARCHER_E_SYSTEM, "eventfd: %s", strerror(errno));

	control_publish_journal(handle);
	code = adopt(handle);
	if (code == MARCHER_E_NO_ENGINE)
		code = start(handle);
	if (code)
		return code;
	error = supervisor_start(handle);
	return error ? control_fail(NULL, MARCHER_E_SYSTEM, "starting the supervisor thread: %s", strerror(-error))
	             : MARCHER_OK;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void free_handle(struct marcher *handle)
{
	supervisor_stop(handle);
	/* A caller that is inside a call leaves it first; the FFI lets nobody call after close. */
	pthread_mutex_lock(&handle->link_lock);
	pthread_cond_broadcast(&handle->changed);
	pthread_mutex_unlock(&handle->link_lock);
	if (handle->journal_open)
		journal_close(&handle->journal);
	bank_clear(&handle->bank);
	steer_close(handle->steer);
	link_close(&handle->link);
	if (handle->late.request_id)
		close(handle->late.fd);
	for (unsigned i = 0; i < RETIRING_MAX; i++)
		close_if_open(handle->retiring[i].pidfd);
	memory_sweep(&handle->memories, UINT64_MAX);
	close_if_open(handle->wake_fd);
	close_if_open(handle->close_fd);
	close_if_open(handle->lock_fd);
	free(handle->socket_path);
	free(handle->options.engine_path);
	free(handle->options.run_dir);
	free(handle->options.cpus);
	free(handle->options.log_level);
	pthread_cond_destroy(&handle->changed);
	pthread_mutex_destroy(&handle->link_lock);
	pthread_mutex_destroy(&handle->memory_lock);
	pthread_mutex_destroy(&handle->state_lock);
	free(handle);
}

int marcher_open(const struct marcher_options *options, struct marcher **out)
{
	if (!options || !out)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_open: an argument is NULL");
	*out = NULL;
	if (options->size != sizeof(*options))
		return control_fail(
		        NULL, MARCHER_E_INVALID,
		        "marcher_open: options have %u bytes, not %zu: the caller was built for another library",
		        options->size, sizeof(*options));
	if (!options->run_dir || !*options->run_dir || !options->engine_path || !*options->engine_path)
		return control_fail(NULL, MARCHER_E_INVALID, "marcher_open: engine_path and run_dir are needed");
	struct marcher *handle = calloc(1, sizeof(*handle));
	if (!handle)
		return control_fail(NULL, MARCHER_E_NO_MEMORY, "no memory");
	handle->lock_fd = handle->wake_fd = handle->close_fd = -1;
	handle->link = LINK_NONE;
	for (unsigned i = 0; i < RETIRING_MAX; i++)
		handle->retiring[i].pidfd = -1;
	int code = open_handle(handle, options);
	if (code)
		free_handle(handle);
	else
		*out = handle;
	return code;
}

void marcher_close(struct marcher *handle)
{
	if (handle)
		free_handle(handle);
}

/* Resident set of a process, 0 when it cannot be read. */
static uint64_t resident_bytes(int32_t pid)
{
	char path[64], text[128] = "";
	unsigned long long total, resident = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) > 0 && sscanf(text, "%llu %llu", &total, &resident) != 2)
		resident = 0;
	close(fd);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

int marcher_engine_status(struct marcher *handle, struct marcher_engine_status *status)
{
	if (!handle || !status)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_engine_status: an argument is NULL");
	pthread_mutex_lock(&handle->state_lock);
	*status = handle->status;
	/* What is wrong now before what was. */
	snprintf(status->last_error, sizeof(status->last_error), "%s",
	         *handle->journal_problem ? handle->journal_problem : handle->notice);
	pthread_mutex_unlock(&handle->state_lock);
	pthread_mutex_lock(&handle->memory_lock);
	status->events_dropped = memory_dropped(&handle->memories);
	pthread_mutex_unlock(&handle->memory_lock);
	status->memory_bytes = status->running ? resident_bytes(status->pid) : 0;
	return MARCHER_OK;
}

int marcher_stats_read(struct marcher *handle, uint32_t *cursor, uint32_t active_only, struct marcher_slot_stats *out,
                       uint32_t max)
{
	if (!handle || !cursor || (!out && max))
		return control_fail(handle, MARCHER_E_INVALID, "marcher_stats_read: an argument is NULL");
	pthread_mutex_lock(&handle->memory_lock);
	int copied =
	        memory_stats_read(&handle->memories, cursor, active_only != 0, out, max < INT32_MAX ? max : INT32_MAX);
	pthread_mutex_unlock(&handle->memory_lock);
	return copied;
}

int marcher_slot_name(struct marcher *handle, uint32_t slot, struct marcher_slot_stats *out)
{
	if (!handle || !out)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_slot_name: an argument is NULL");
	pthread_mutex_lock(&handle->memory_lock);
	int code = memory_slot_name(&handle->memories, slot, out);
	pthread_mutex_unlock(&handle->memory_lock);
	return code ? control_fail(handle, code, "slot %u is free", slot) : code;
}

int marcher_events_read(struct marcher *handle, struct marcher_event *out, uint32_t max, uint64_t *dropped)
{
	if (!handle || (!out && max))
		return control_fail(handle, MARCHER_E_INVALID, "marcher_events_read: an argument is NULL");
	pthread_mutex_lock(&handle->memory_lock);
	int copied = memory_events_read(&handle->memories, out, max < INT32_MAX ? max : INT32_MAX, control_now_ms());
	if (dropped)
		*dropped = memory_dropped(&handle->memories);
	pthread_mutex_unlock(&handle->memory_lock);
	return copied;
}

int marcher_unsteer(struct marcher *handle, const char *pin_dir)
{
	if (!handle || !pin_dir)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_unsteer: the handle or pin_dir is NULL");
	control_lock(handle);
	steer_close(handle->steer);
	handle->steer = NULL;
	int error = steer_remove(pin_dir);
	control_unlock(handle);
	if (error)
		return control_fail(handle, MARCHER_E_SYSTEM, "removing sk_lookup from %s: %s", pin_dir,
		                    strerror(-error));
	return MARCHER_OK;
}

int marcher_steer(struct marcher *handle, const char *pin_dir)
{
	char why[ERROR_TEXT_MAX];
	int error = 0;

	if (!handle || !pin_dir)
		return control_fail(handle, MARCHER_E_INVALID, "marcher_steer: the handle or pin_dir is NULL");
	control_lock(handle);
	if (!handle->steer) {
		handle->steer = steer_open(pin_dir, &error, why, sizeof(why));
		handle->steer_version = 0;
		handle->bank_stale = handle->steer || handle->bank_stale;
		handle->bank.version = handle->steer ? 0 : handle->bank.version;
	}
	control_unlock(handle);
	if (error)
		return control_fail(handle, error == -ENOMEM ? MARCHER_E_NO_MEMORY : MARCHER_E_SYSTEM, "%s", why);
	supervisor_wake(handle);
	return MARCHER_OK;
}
