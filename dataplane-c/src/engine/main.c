/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marcher-engine: carries the traffic. Started, supervised and told what to do by libmarcher over its control socket;
 * goes on without it.
 *
 * Exit codes: 0 ended as asked (SIGTERM, SIGINT, retire), 1 could not start or go on (the last line on stderr says
 * why), 2 the command line is wrong, 3 another engine answers on the control socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_link.h"
#include "ipc/frame.h"
#include "lb/geo.h"
#include "listen.h"
#include "runtime_internal.h"
#include "upstream/dns.h"
#include "upstream/health.h"
#include "upstream/outlier.h"

enum { EXIT_USAGE = 2, EXIT_SOCKET_TAKEN = 3 };

#define TURN_MAX_MS 1000
#define INHERIT_TIMEOUT_MS 10000
#define SIGTERM_DRAIN_MS 10000
#define SHUTDOWN_TIMEOUT_S 10

struct options {
	const char *socket_path, *cpus, *dns_servers, *snapshot_path;
	unsigned workers;
	int inherit_fd;
	bool successor;
};

struct signals {
	struct poll_source source; /* first */
	struct engine *engine;
	unsigned taken;
};

static void signalled(struct poll_source *source, uint32_t events)
{
	struct signals *signals = (struct signals *)source;
	struct signalfd_siginfo info;
	(void)events;
	while (read(source->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			continue; /* a terminal that went away is no reason */
		log_line(LOG_INFO, "engine: signal %u from pid=%u", info.ssi_signo, info.ssi_pid);
		/* Asked twice: at once. */
		engine_retire(signals->engine, signals->taken++ ? 0 : SIGTERM_DRAIN_MS);
	}
}

/* Command line */

static const char usage[] =
        "usage: marcher-engine --socket PATH [options]\n"
        "\n"
        "  --socket PATH         control socket to listen on\n"
        "  --workers N           worker threads (default: one per allowed CPU)\n"
        "  --cpus LIST           CPUs for the workers, such as 0-3,8 (default: all allowed)\n"
        "  --log-level LEVEL     error, warn, info (default) or debug\n"
        "  --dns-servers LIST    in place of resolv.conf: 127.0.0.1:5353,[::1]:53\n"
        "  --snapshot-file PATH  snapshots to begin with (u64 little endian length, packed Snapshot; one complete, "
        "then deltas)\n"
        "  --inherit-fd N        SEQPACKET socket on which a predecessor's listening sockets come\n"
        "  --successor           refuse to start without --inherit-fd\n"
        "  --version             print the version and exit\n"
        "  --help                print this and exit\n"
        "\n"
        "exit codes: 0 ended as asked, 1 could not start or go on, 2 wrong usage, 3 another engine has the socket\n";

static int usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int usage_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("marcher-engine: ", stderr);
	vfprintf(stderr, format, args);
	fputs("\ntry marcher-engine --help\n", stderr);
	va_end(args);
	return EXIT_USAGE;
}

/* A number from min to max and nothing else. */
static bool parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *out)
{
	char *end;
	errno = 0;
	*out = strtoul(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && *out >= min && *out <= max;
}

static int set_option(struct options *options, const char *name, const char *value)
{
	unsigned long number;
	if (strcmp(name, "--socket") == 0) {
		options->socket_path = value;
	} else if (strcmp(name, "--cpus") == 0) {
		options->cpus = value;
	} else if (strcmp(name, "--dns-servers") == 0) {
		options->dns_servers = value;
	} else if (strcmp(name, "--snapshot-file") == 0) {
		options->snapshot_path = value;
	} else if (strcmp(name, "--workers") == 0) {
		if (!parse_number(value, 1, WORKERS_MAX, &number))
			return usage_error("--workers %s: expected a number from 1 to %u", value, WORKERS_MAX);
		options->workers = (unsigned)number;
	} else if (strcmp(name, "--inherit-fd") == 0) {
		if (!parse_number(value, 0, 1u << 20, &number))
			return usage_error("--inherit-fd %s: expected the number of an open descriptor", value);
		options->inherit_fd = (int)number;
	} else if (strcmp(name, "--log-level") == 0) {
		static const char *const levels[] = {"error", "warn", "info", "debug"};
		for (unsigned i = 0; i < 4; i++) {
			if (strcmp(value, levels[i]) == 0) {
				log_threshold = (enum log_level)i;
				return 0;
			}
		}
		return usage_error("--log-level %s: expected error, warn, info or debug", value);
	} else {
		return usage_error("unknown option %s", name);
	}
	return 0;
}

static bool takes_value(const char *name)
{
	static const char *const names[] = {"--socket",  "--cpus",       "--dns-servers", "--snapshot-file",
	                                    "--workers", "--inherit-fd", "--log-level"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *options)
{
	*options = (struct options){.inherit_fd = -1};
	for (int i = 1; i < argc; i++) {
		char name[64];
		const char *equals = strchr(argv[i], '=');
		size_t length = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
		snprintf(name, sizeof(name), "%.*s", (int)(length < sizeof(name) ? length : sizeof(name) - 1), argv[i]);
		if (strcmp(argv[i], "--version") == 0) {
			puts("marcher-engine " MARCHER_VERSION);
			return 0;
		}
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (strcmp(argv[i], "--successor") == 0) {
			options->successor = true;
			continue;
		}
		if (!takes_value(name))
			return usage_error("unknown option %s", argv[i]);
		if (!equals && i + 1 == argc)
			return usage_error("%s needs a value", name);
		int code = set_option(options, name, equals ? equals + 1 : argv[++i]);
		if (code)
			return code;
	}
	if (!options->socket_path)
		return usage_error("--socket PATH is missing");
	if (options->successor && options->inherit_fd < 0)
		return usage_error("--successor needs --inherit-fd: the sockets come by it");
	if (options->inherit_fd >= 0 && fcntl(options->inherit_fd, F_GETFD) < 0)
		return usage_error("--inherit-fd %d: the descriptor is not open", options->inherit_fd);
	return -1;
}

/* Beginning */

static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start_workers(struct engine *engine, const struct options *options)
{
	cpu_set_t allowed;
	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0) {
		log_line(LOG_ERROR, "engine: sched_getaffinity: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (options->cpus) {
		cpu_set_t wanted, both;
		if (!topology_parse_cpus(options->cpus, &wanted))
			return usage_error("--cpus %s: expected a list such as 0-3,8", options->cpus);
		CPU_AND(&both, &wanted, &allowed);
		if (CPU_COUNT(&both) == 0)
			return usage_error("--cpus %s: this process may run on none of these", options->cpus);
		allowed = both;
	}
	int error = topology_read("/sys", &allowed, &engine->topology);
	if (error) {
		log_line(LOG_ERROR, "engine: the CPUs cannot be read from /sys: %s", strerror(-error));
		return EXIT_FAILURE;
	}
	unsigned count = options->workers ? options->workers : engine->topology.ncpus;
	if (count == 0)
		count = 1;
	if (count > WORKERS_MAX)
		count = WORKERS_MAX;
	engine->stats = stats_new(count);
	engine->workers = calloc(count, sizeof(struct worker *));
	struct worker_place *places = calloc(count, sizeof(*places));
	if (!engine->stats || !engine->workers || !places) {
		log_line(LOG_ERROR, "engine: no memory for statistics: %s", strerror(errno));
		free(places);
		return EXIT_FAILURE;
	}
	stats_row_init(engine->stats, count, &engine->row);
	topology_place(&engine->topology, count, places);
	for (unsigned i = 0; i < count; i++) {
		engine->workers[i] = worker_start(engine, i, &places[i]);
		if (!engine->workers[i]) {
			log_line(LOG_ERROR, "engine: worker %u cannot be started: %s", i, strerror(errno));
			free(places);
			return EXIT_FAILURE;
		}
		engine->nworkers = i + 1;
	}
	free(places);
	return 0;
}

/* Reads a whole file. NULL and errno on failure. */
static uint8_t *read_file(const char *path, size_t *length)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	uint8_t *data = NULL;
	size_t got = 0;
	if (fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size <= IPC_SNAPSHOT_MAX * 2ull &&
	    (data = malloc((size_t)st.st_size + 1))) {
		/* By position: the descriptor may be shared with the one who gave it. */
		while (got < (size_t)st.st_size) {
			ssize_t n = pread(fd, data + got, (size_t)st.st_size - got, (off_t)got);
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0)
				break;
			got += (size_t)n;
		}
	}
	close(fd);
	*length = got;
	return data;
}

/* Applies the frames of the file. What is wrong with one ends it there: the agent sends what is right. */
static void apply_file(struct engine *engine, const char *path)
{
	size_t length = 0, at = 0;
	unsigned frames = 0;
	uint8_t *data = read_file(path, &length);
	if (!data) {
		log_line(LOG_ERROR, "snapshot-file: %s: %s; waiting for the agent", path, strerror(errno));
		return;
	}
	while (length - at >= 8) {
		uint64_t size = 0;
		for (unsigned i = 0; i < 8; i++)
			size |= (uint64_t)data[at + i] << (8 * i);
		at += 8;
		if (size > length - at)
			break;
		Marcher__Engine__V1__ApplyReply reply;
		runtime_apply(engine->runtime, data + at, (size_t)size, true, &reply);
		runtime_turn(engine->runtime);
		bool accepted = reply.accepted;
		for (size_t i = 0; i < reply.n_reasons; i++)
			log_line(LOG_ERROR, "snapshot-file: refused frame=%u path=%s reason=\"%s\"", frames,
			         reply.reasons[i]->path, reply.reasons[i]->reason);
		runtime_reply_free(&reply);
		if (!accepted)
			break;
		at += (size_t)size;
		frames++;
	}
	if (at != length)
		log_line(LOG_ERROR,
		         "snapshot-file: %s: %zu of %zu bytes are not a frame or were refused; generation %llu runs",
		         path, length - at, length, (unsigned long long)runtime_generation(engine->runtime));
	log_line(LOG_INFO, "snapshot-file: applied frames=%u generation=%llu", frames,
	         (unsigned long long)runtime_generation(engine->runtime));
	free(data);
}

static bool take_signals(struct engine *engine, struct signals *signals)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL); /* inherited by all threads: only the signalfd takes them */
	signal(SIGPIPE, SIG_IGN);
	signals->engine = engine;
	signals->source.handler = signalled;
	signals->source.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return signals->source.fd >= 0 && poller_add_level(engine->poller, &signals->source, false) == 0;
}

static int start(struct engine *engine, const struct options *options, struct signals *signals)
{
	raise_descriptor_limit();
	int error = engine_loop_start(engine);
	if (!error && !take_signals(engine, signals))
		error = -errno;
	if (!error)
		error = grace_start(engine);
	if (!error)
		error = outlier_start(engine);
	if (error) {
		log_line(LOG_ERROR, "engine: the main thread cannot be set up: %s", strerror(-error));
		return EXIT_FAILURE;
	}
	region_init();
	engine->prober = prober_new(engine);
	engine->dns = dns_new(engine, options->dns_servers);
	engine->runtime = runtime_new(engine);
	if (!engine->prober || !engine->dns || !engine->runtime) {
		log_line(LOG_ERROR, "engine: %s",
		         !engine->dns ? "the resolver cannot be set up (is --dns-servers a list such as "
		                        "127.0.0.1:53,[::1]:53?)"
		                      : "out of memory");
		return EXIT_FAILURE;
	}
	int code = start_workers(engine, options);
	if (code)
		return code;
	if (options->inherit_fd >= 0) {
		fcntl(options->inherit_fd, F_SETFD, FD_CLOEXEC);
		int got = agent_link_inherit(engine, options->inherit_fd, INHERIT_TIMEOUT_MS);
		close(options->inherit_fd);
		if (got < 0) {
			/* Serving without them would take half of the connections and drop the rest. */
			log_line(LOG_ERROR, "engine: inheriting the listening sockets: %s", strerror(-got));
			return EXIT_FAILURE;
		}
		log_line(LOG_INFO, "engine: inherited listening sockets count=%d", got);
	}
	if (options->snapshot_path)
		apply_file(engine, options->snapshot_path);
	listen_inherit_finish(engine);
	return 0;
}

static void stop(struct engine *engine, struct agent_link *link, struct signals *signals)
{
	/* A worker that hangs must not keep the process: SIGALRM ends it. */
	alarm(SHUTDOWN_TIMEOUT_S);
	agent_link_free(link);
	unsigned nworkers = engine->nworkers;
	for (unsigned i = 0; i < nworkers; i++)
		worker_stop(engine->workers[i]);
	engine->nworkers = 0;
	engine_run_messages(engine);
	outlier_stop();
	if (engine->runtime)
		runtime_free(engine->runtime);
	engine->runtime = NULL;
	if (engine->dns)
		dns_free(engine->dns);
	if (engine->prober)
		prober_free(engine->prober);
	grace_stop();
	if (engine->geoip)
		geoip_close(engine->geoip);
	stats_free(engine->stats);
	free(engine->workers);
	close(signals->source.fd);
	engine_loop_stop(engine);
}

int main(int argc, char **argv)
{
	struct options options;
	int code = parse(argc, argv, &options);
	if (code >= 0)
		return code;
	static struct engine engine;
	static struct signals signals;
	prctl(PR_SET_NAME, "marcher-engine");
	code = start(&engine, &options, &signals);
	if (code)
		return code;
	struct agent_link *link = agent_link_new(&engine, options.socket_path);
	if (!link) {
		log_line(LOG_ERROR, "engine: --socket %s: %s", options.socket_path,
		         errno == EADDRINUSE ? "another engine answers there, or it is not a socket" : strerror(errno));
		return errno == EADDRINUSE ? EXIT_SOCKET_TAKEN : EXIT_FAILURE;
	}
	log_line(LOG_INFO, "engine: ready version=%s pid=%d workers=%u generation=%llu", MARCHER_VERSION, (int)getpid(),
	         engine.nworkers, (unsigned long long)runtime_generation(engine.runtime));
	while (engine_turn(&engine, TURN_MAX_MS))
		;
	log_line(LOG_INFO, "engine: ends connections=%llu", (unsigned long long)engine_connections(&engine));
	stop(&engine, link, &signals);
	return 0;
}
