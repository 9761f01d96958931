/* SPDX-License-Identifier: Apache-2.0 */
#include "listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "mux/tunnel.h"
#include "mux/udp.h"
#include "qos/qos.h"
#include "runtime_internal.h"
#include "steered.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Connections that one socket may hand over in a turn: a flood of new ones must not starve those that are open. */
#define ACCEPTS_PER_TURN 64
#define ACCEPTS_AT_CLOSE 65536
/* The same while services have priorities, and what accepting one counts for beside moving bytes. */
#define ACCEPTS_PER_ITEM 8
#define ACCEPT_WORK 8192u
#define SHED_PER_TURN 16
#define SHORTAGE_PAUSE_MS 100
#define UDP_BUFFER_BYTES (4 * 1024 * 1024)
#define BACKLOG_MAX 65535
#define DUPLICATES_LIVE_S 10u

/* One worker's end of a listening socket. */
struct listen_end {
	struct poll_source source; /* first; fd -1: closed */
	struct worker_message message;
	struct timer resume;     /* accepting was suspended for want of descriptors */
	struct sched_item ready; /* others go first */
	struct listen_source *listen;
	struct worker *worker;
};

struct listen_source {
	struct listener *listener;
	struct engine *engine;
	bool shared; /* one socket for all workers */
	bool leave;  /* a successor has the sockets */
	bool started;
	uint64_t deadline_ms;
	atomic_uint open;
	struct engine_message closed;
	unsigned count;
	struct listen_end ends[];
};

struct inherited {
	struct inherited *next;
	int fd;
	char key[LISTEN_KEY_MAX];
};

static struct {
	struct table inherited; /* by key */
	uint64_t version;
	size_t sockets; /* open listening descriptors */
	/* Listeners of our own per transport and port, and those that closed but live on (UDP sessions reply through
	 * the socket): an address in use may be our own, and that is no conflict. */
	uint16_t ours[2][65536];
	/* When the last of them went (s, never 0). The agent holds duplicates of our sockets and lets go of them only
	 * when it has heard of it. */
	uint32_t freed_s[2][65536];
} state = {.version = 1};

uint64_t listen_version(void)
{
	return state.version;
}

static uint16_t *ours(const struct listener *listener)
{
	return &state.ours[listener->transport == TRANSPORT_UDP][listener->addr.port];
}

static uint32_t clock_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint32_t)now.tv_sec + 1;
}

/* Whether a socket in the way may be our own. */
static bool may_be_ours(const struct listener *listener)
{
	uint32_t freed = state.freed_s[listener->transport == TRANSPORT_UDP][listener->addr.port];
	return *ours(listener) || (freed && clock_s() - freed <= DUPLICATES_LIVE_S);
}

void listen_key(const struct listener *listener, unsigned index, char key[LISTEN_KEY_MAX])
{
	char hex[33] = "*";
	size_t bytes = listener->addr.family == AF_INET ? 4 : listener->addr.family == AF_INET6 ? 16 : 0;
	for (size_t i = 0; i < bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", listener->addr.ip[i]);
	const char *transport = listener->transport == TRANSPORT_TCP ? "tcp" : "udp";
	if (listener->steered)
		snprintf(key, LISTEN_KEY_MAX, "%s|%s/%u|%u-%u|%u", transport, hex, listener->prefix_length,
		         listener->addr.port, listener->port_last, index);
	else
		snprintf(key, LISTEN_KEY_MAX, "%s|%s|%u|%u", transport, hex, listener->addr.port, index);
}

/* Inherited sockets */

static bool inherited_keyed(const void *value, const void *key)
{
	return strcmp(((const struct inherited *)value)->key, key) == 0;
}

void listen_inherit(struct engine *engine, const char *key, int fd)
{
	(void)engine;
	struct inherited *inherited = calloc(1, sizeof(*inherited));
	size_t length = strlen(key);
	if (!inherited || length >= LISTEN_KEY_MAX || !table_reserve(&state.inherited, 1) ||
	    table_find(&state.inherited, table_hash(key, length), inherited_keyed, key)) {
		free(inherited);
		close(fd);
		return;
	}
	memcpy(inherited->key, key, length + 1);
	inherited->fd = fd;
	table_insert(&state.inherited, table_hash(key, length), inherited);
}

void listen_inherit_finish(struct engine *engine)
{
	(void)engine;
	unsigned unused = 0;
	for (uint32_t i = 0; i < state.inherited.size; i++) {
		struct inherited *inherited = state.inherited.slots[i].value;
		if (!inherited)
			continue;
		close(inherited->fd);
		free(inherited);
		unused++;
	}
	table_free(&state.inherited);
	if (unused)
		log_line(LOG_INFO, "listener: inherited sockets that no service asked for are closed count=%u", unused);
}

static int take_inherited(const struct listener *listener, unsigned index)
{
	char key[LISTEN_KEY_MAX];
	if (!state.inherited.used)
		return -1;
	listen_key(listener, index, key);
	uint64_t hash = table_hash(key, strlen(key));
	struct inherited *inherited = table_find(&state.inherited, hash, inherited_keyed, key);
	if (!inherited)
		return -1;
	int fd = inherited->fd;
	table_remove(&state.inherited, hash, inherited);
	free(inherited);
	return fd;
}

/* Making sockets */

static void set_int(int fd, int level, int name, int value)
{
	/* Each of these improves a socket that works without it. */
	setsockopt(fd, level, name, &value, sizeof(value));
}

static int new_socket(const struct listener *listener, int *family)
{
	int type = (listener->transport == TRANSPORT_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
	*family = listener->addr.family == AF_INET ? AF_INET : AF_INET6;
	int fd = socket(*family, type, 0);
	/* Any address on a node without IPv6 is any IPv4 address. */
	if (fd < 0 && errno == EAFNOSUPPORT && listener->addr.family == AF_UNSPEC) {
		*family = AF_INET;
		fd = socket(*family, type, 0);
	}
	return fd < 0 ? -errno : fd;
}

static void set_options(int fd, const struct listener *listener, int family)
{
	if (family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, listener->addr.family == AF_INET6);
	if (listener->transport == TRANSPORT_TCP) {
		set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1); /* these two are inherited by accepted sockets */
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
		return;
	}
	if (family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else
		set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (listener->steered) {
		/* The port that they were sent to is in none of the others. Of IPv4 on a dual-stack socket the first.
		 */
		set_int(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
		if (family == AF_INET6)
			set_int(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
	}
	set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
	int bytes = UDP_BUFFER_BYTES;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, bytes);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

/*
 * The first socket of a listener is bound without SO_REUSEPORT: with it, a foreign process of the same user that
 * listens with SO_REUSEPORT too would silently get a share of the connections, where an operator expects "in use". The
 * option is set afterwards, so that the others of the group can join. Sockets of our own on the same port (another
 * address) are in the way of that; then the first one binds like the others.
 */
static int make_socket(const struct listener *listener, uint32_t backlog, bool first)
{
	int family, fd = new_socket(listener, &family);
	if (fd < 0)
		return fd;
	set_options(fd, listener, family);
	if (!first)
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);

	struct addr addr = listener->addr;
	struct sockaddr_storage sa;
	if (addr.family == AF_UNSPEC)
		addr.family = (uint16_t)family;
	socklen_t length = addr_to_sockaddr(&addr, false, &sa);
	int error = 0;
	if (listener->steered) {
		error = first ? -steered_check(listener, listener->transport == TRANSPORT_TCP) : 0;
		if (!error)
			error = -steered_bind(fd, family, listener->addr.family == AF_UNSPEC,
			                      first ? -1 : listener->fds[0]);
	} else if (bind(fd, (struct sockaddr *)&sa, length) < 0) {
		error = errno;
		if (error == EADDRINUSE && first && may_be_ours(listener)) {
			set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
			error = bind(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;
		}
	}
	if (!error && first)
		set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (!error && listener->transport == TRANSPORT_TCP &&
	    listen(fd, backlog < BACKLOG_MAX ? (int)backlog : BACKLOG_MAX) < 0)
		error = errno;
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}

bool listen_wants_shared(const struct engine *engine, size_t more)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	return state.sockets + (more + 1) * engine->nworkers > limit.rlim_cur / 2;
}

static void close_sockets(struct listener *listener)
{
	for (uint32_t i = 0; i < listener->nfds; i++)
		close(listener->fds[i]);
	state.sockets -= listener->nfds;
	state.version++;
	free(listener->fds);
	free(listener->sources);
	listener->fds = NULL;
	listener->nfds = 0;
	listener->sources = NULL;
}

static void woken(struct poll_source *source, uint32_t events);
static size_t run_ready(struct sched_item *item);

/* Which worker polls which socket. */
static struct listen_source *new_ends(struct engine *engine, struct listener *listener, bool shared)
{
	unsigned count = shared && listener->transport == TRANSPORT_TCP ? engine->nworkers : listener->nfds;
	struct listen_source *listen = calloc(1, sizeof(*listen) + count * sizeof(listen->ends[0]));
	if (!listen)
		return NULL;
	listen->listener = listener;
	listen->engine = engine;
	listen->shared = shared && listener->transport == TRANSPORT_TCP;
	listen->count = count;
	/* Datagrams of one client must reach one worker: a lone UDP socket belongs to one, spread by port. */
	unsigned first = listener->nfds == 1 && !listen->shared ? listener->addr.port % engine->nworkers : 0;
	for (unsigned i = 0; i < count; i++) {
		listen->ends[i].source.handler = woken;
		listen->ends[i].source.fd = listener->fds[listen->shared ? 0 : i];
		listen->ends[i].ready.run = run_ready;
		listen->ends[i].listen = listen;
		listen->ends[i].worker = engine->workers[(first + i) % engine->nworkers];
	}
	return listen;
}

int listen_open(struct engine *engine, struct listener *listener, uint32_t backlog, bool shared)
{
	if (!engine->nworkers) /* they have ended: nobody would poll it */
		return -ESHUTDOWN;
	/* A group is taken over whole, whatever number of workers the predecessor had: connections that the kernel
	 * assigns to a member nobody polls would be lost. */
	unsigned want = shared ? 1 : engine->nworkers, capacity = want > 256 ? want : 256;
	listener->fds = calloc(capacity, sizeof(int));
	if (!listener->fds)
		return -ENOMEM;
	listener->nfds = 0;
	int fd;
	while (listener->nfds < capacity && (fd = take_inherited(listener, listener->nfds)) >= 0)
		listener->fds[listener->nfds++] = fd;
	if (listener->nfds > 1)
		shared = false;
	int error = 0;
	while (!error && listener->nfds < want) {
		fd = make_socket(listener, backlog, listener->nfds == 0);
		if (fd >= 0)
			listener->fds[listener->nfds++] = fd;
		else
			error = fd;
	}
	state.sockets += listener->nfds;
	if (!error) {
		int *fitting = realloc(listener->fds, listener->nfds * sizeof(int));
		if (fitting)
			listener->fds = fitting;
		listener->sources = new_ends(engine, listener, shared);
		if (!listener->sources)
			error = -ENOMEM;
	}
	if (error) {
		close_sockets(listener);
		return error;
	}
	state.version++;
	++*ours(listener);
	return 0;
}

int listen_start(struct engine *engine, struct listener *listener)
{
	struct listen_source *listen = listener->sources;
	(void)engine;
	for (unsigned i = 0; i < listen->count; i++) {
		int error = poller_add_level(listen->ends[i].worker->poller, &listen->ends[i].source, listen->shared);
		if (error) {
			while (i-- > 0)
				poller_remove(listen->ends[i].worker->poller, &listen->ends[i].source);
			return error;
		}
	}
	listen->started = true;
	return 0;
}

void listen_discard(struct engine *engine, struct listener *listener)
{
	(void)engine;
	close_sockets(listener);
}

void listen_freed(const struct listener *listener)
{
	if (--*ours(listener) == 0)
		state.freed_s[listener->transport == TRANSPORT_UDP][listener->addr.port] = clock_s();
}

void listen_set_backlog(struct listener *listener, uint32_t backlog)
{
	if (listener->transport != TRANSPORT_TCP)
		return;
	for (uint32_t i = 0; i < listener->nfds; i++)
		listen(listener->fds[i], backlog < BACKLOG_MAX ? (int)backlog : BACKLOG_MAX);
}

void listen_set_last(struct listener *listener, uint16_t last)
{
	__atomic_store_n(&listener->port_last, last, __ATOMIC_RELAXED);
	state.version++;
}

/* Accepting, on a worker */

static void resume(struct timer *timer, uint64_t now_ms)
{
	struct listen_end *end = (struct listen_end *)((char *)timer - offsetof(struct listen_end, resume));
	if (end->source.fd < 0)
		return;
	if (poller_add_level(end->worker->poller, &end->source, end->listen->shared) < 0)
		timer_arm(end->worker->timers, &end->resume, now_ms + SHORTAGE_PAUSE_MS, resume);
}

/*
 * No descriptors or memory for another connection. Leaving it in the queue would make a level-triggered socket spin, so
 * the spare descriptor is given up to take and reset it: a client that is refused at once can go elsewhere. Without the
 * spare the socket is left alone for a while.
 */
static bool shed(struct worker *worker, struct listener *listener, int fd)
{
	if (worker->reserve_fd < 0)
		return false;
	close(worker->reserve_fd);
	worker->reserve_fd = -1;
	int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	bool taken = connection >= 0;
	if (taken) {
		struct linger reset = {.l_onoff = 1};
		setsockopt(connection, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(connection);
		stats_add(&worker->stats, listener->slot, MARCHER_REJECTED, 1);
	}
	worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return taken;
}

static void shortage(struct listen_end *end, int error)
{
	struct worker *worker = end->worker;
	if (worker->now_ms - worker->accept_complained_ms >= 1000) {
		worker->accept_complained_ms = worker->now_ms;
		log_line(LOG_ERROR,
		         "listener: new connections are refused; raise the limit of open files (LimitNOFILE) or "
		         "lower maxConnections port=%u error=\"%s\"",
		         end->listen->listener->addr.port, strerror(error));
	}
	int n = 0;
	if (error == EMFILE || error == ENFILE) {
		while (n < SHED_PER_TURN && shed(worker, end->listen->listener, end->source.fd))
			n++;
	}
	if (n == 0) {
		poller_remove(worker->poller, &end->source);
		timer_arm(worker->timers, &end->resume, worker->now_ms + SHORTAGE_PAUSE_MS, resume);
	}
}

/* Returns how many came. */
static int accept_some(struct listen_end *end, int limit)
{
	struct worker *worker = end->worker;
	struct listener *listener = end->listen->listener;
	/* Held ready from the first accept on, while there are descriptors. */
	if (worker->reserve_fd < 0)
		worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int i;
	for (i = 0; i < limit; i++) {
		struct sockaddr_storage peer;
		socklen_t length = sizeof(peer);
		int fd = accept4(end->source.fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			tunnel_accepted(worker, listener, fd, &peer);
			continue;
		}
		if (errno == EAGAIN)
			break;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			shortage(end, errno);
			break;
		}
		if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK)
			break;
		/* Else it is the connection's own trouble (accept(2): gone already, network down, firewall). */
	}
	return i;
}

/* The turn of its class has come. */
static size_t run_ready(struct sched_item *item)
{
	struct listen_end *end = (struct listen_end *)((char *)item - offsetof(struct listen_end, ready));
	if (end->listen->listener->transport == TRANSPORT_TCP)
		return (size_t)accept_some(end, ACCEPTS_PER_ITEM) * ACCEPT_WORK;
	return udp_readable(end->worker, end->listen->listener, end->source.fd);
}

static enum qos_class class_of(const struct listener *listener)
{
	const struct binding *binding = listener_binding((struct listener *)listener);
	return binding ? qos_class_of(service_qos(binding->service)) : QOS_CLASS_DEFAULT;
}

static void woken(struct poll_source *source, uint32_t events)
{
	struct listen_end *end = (struct listen_end *)source;
	(void)events;
	if (end->worker->sched.active) {
		/* Level-triggered: what its item leaves is told again. */
		if (!sched_queued(&end->ready))
			end->ready.class = (uint8_t)class_of(end->listen->listener);
		sched_queue(end->worker, &end->ready);
	} else if (end->listen->listener->transport == TRANSPORT_TCP)
		accept_some(end, ACCEPTS_PER_TURN);
	else
		udp_readable(end->worker, end->listen->listener, source->fd);
}

/* Closing */

static void all_closed(struct engine *engine, struct engine_message *message)
{
	struct listen_source *listen =
	        (struct listen_source *)((char *)message - offsetof(struct listen_source, closed));
	struct listener *listener = listen->listener;
	state.sockets -= listener->nfds;
	state.version++;
	free(listener->fds);
	listener->fds = NULL;
	listener->nfds = 0;
	listener->sources = NULL;
	free(listen);
	runtime_listener_closed(engine->runtime, listener);
}

/*
 * A UDP socket whose listener is gone still sends replies for its sessions. It must not take datagrams from a listener
 * that is configured on the port again meanwhile: connected to a peer that never sends, the kernel passes it over.
 */
static void deafen(const struct listener *listener, int fd)
{
	struct addr nobody = {.port = 9}; /* discard, of loopback */
	struct sockaddr_storage local = {.ss_family = AF_UNSPEC}, sa;
	socklen_t length = sizeof(local);
	if (getsockname(fd, (struct sockaddr *)&local, &length) < 0)
		return;
	if (listener->addr.family == AF_INET6) {
		nobody.family = AF_INET6;
		nobody.ip[15] = 1;
	} else {
		nobody.family = AF_INET;
		nobody.ip[0] = 127;
		nobody.ip[3] = 1;
	}
	length = addr_to_sockaddr(&nobody, local.ss_family == AF_INET6, &sa);
	if (connect(fd, (struct sockaddr *)&sa, length) < 0)
		log_line(LOG_DEBUG, "listener: closing UDP socket stays open to its port port=%u error=\"%s\"",
		         listener->addr.port, strerror(errno));
}

/* The control library keeps duplicates of listening sockets over a crash of ours, so closing alone would leave the port
 * open and connections to it unanswered: shutdown ends listening on all of them. */
static void end_tcp(const struct listen_source *listen, int fd)
{
	if (!listen->leave)
		shutdown(fd, SHUT_RD);
	close(fd);
}

static void close_on_worker(struct worker *worker, struct worker_message *message)
{
	struct listen_end *end = (struct listen_end *)((char *)message - offsetof(struct listen_end, message));
	struct listen_source *listen = end->listen;
	struct listener *listener = listen->listener;
	int fd = end->source.fd;

	timer_disarm(worker->timers, &end->resume);
	sched_remove(&end->ready);
	poller_remove(worker->poller, &end->source);
	if (!listen->leave) {
		if (listener->transport == TRANSPORT_TCP)
			accept_some(end, ACCEPTS_AT_CLOSE);
		else
			udp_readable(worker, listener, fd);
		timer_disarm(worker->timers, &end->resume);
	}
	if (listener->transport == TRANSPORT_TCP)
		tunnel_drain_listener(worker, listener, listen->deadline_ms);
	end->source.fd = -1;
	if (listener->transport == TRANSPORT_UDP) {
		if (!listen->leave)
			deafen(listener, fd);
		udp_listener_closing(worker, listener, fd, listen->deadline_ms); /* closes it in its time */
	} else if (!listen->shared) {
		end_tcp(listen, fd);
	}
	if (atomic_fetch_sub_explicit(&listen->open, 1, memory_order_acq_rel) == 1) {
		if (listen->shared)
			end_tcp(listen, fd);
		engine_post(listen->engine, &listen->closed);
	}
}

static void begin_close(struct engine *engine, struct listener *listener, uint64_t deadline_ms, bool leave)
{
	struct listen_source *listen = listener->sources;
	(void)engine;
	atomic_store(&listener->closing, true);
	listen->leave = leave;
	listen->deadline_ms = deadline_ms;
	listen->closed.run = all_closed;
	unsigned count = listen->count;
	atomic_store(&listen->open, count);
	for (unsigned i = 0; i < count; i++) {
		listen->ends[i].message.run = close_on_worker;
		worker_post(listen->ends[i].worker, &listen->ends[i].message);
	}
}

void listen_close(struct engine *engine, struct listener *listener, uint64_t drain_deadline_ms)
{
	begin_close(engine, listener, drain_deadline_ms, false);
}

void listen_leave(struct engine *engine, struct listener *listener, uint64_t drain_deadline_ms)
{
	begin_close(engine, listener, drain_deadline_ms, true);
}
