/* SPDX-License-Identifier: Apache-2.0 */
#include "resolver.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "../engine.h"

#define QUERY_TIMEOUT_MS 1000 /* doubled with each try: 7 s in all */
#define QUERY_TRIES 3
#define READS_PER_TURN 64
#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_CHECK_MS 5000u

/* A socket of c-ares. */
struct resolver_socket {
	struct poll_source source;
	struct resolver *resolver;
	struct resolver_socket *next;
	bool wants_write;
};

struct resolver {
	struct engine *engine;
	char *servers;
	ares_channel files;   /* looks into /etc/hosts only; never has a socket */
	ares_channel channel; /* asks the name servers only */
	bool open;            /* the latter */
	struct resolver_socket *sockets, *closed;
	struct timer timeout; /* c-ares' own */
	struct timer turn;    /* frees closed sockets, writes */
	struct stat resolv_conf;
	uint64_t resolv_conf_checked_ms;
};

static void turn_soon(struct resolver *resolver);

static void timeout_due(struct timer *timer, uint64_t now_ms)
{
	struct resolver *resolver = (struct resolver *)((char *)timer - offsetof(struct resolver, timeout));
	(void)now_ms;
	if (resolver->open)
		ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	resolver_arm(resolver);
}

void resolver_arm(struct resolver *resolver)
{
	struct timeval tv;
	if (!resolver->open || !ares_timeout(resolver->channel, NULL, &tv)) {
		timer_disarm(resolver->engine->timers, &resolver->timeout);
		return;
	}
	uint64_t ms = (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1;
	timer_arm(resolver->engine->timers, &resolver->timeout, resolver->engine->now_ms + ms, timeout_due);
}

static void socket_ready(struct poll_source *source, uint32_t events)
{
	struct resolver_socket *sock =
	        (struct resolver_socket *)((char *)source - offsetof(struct resolver_socket, source));
	struct resolver *resolver = sock->resolver;
	/* c-ares reads a TCP stream piece by piece, the poller reports it once: go on while bytes are there. The
	 * callback may close the socket (fd becomes -1) or the whole channel. */
	for (unsigned i = 0; source->fd >= 0 && resolver->open; i++) {
		int fd = source->fd, left = 0;
		bool readable = events & (POLL_READ | POLL_ERROR);
		bool writable = events & (POLL_WRITE | POLL_ERROR);
		ares_process_fd(resolver->channel, readable ? fd : ARES_SOCKET_BAD, writable ? fd : ARES_SOCKET_BAD);
		events = POLL_READ;
		if (source->fd < 0 || ioctl(fd, FIONREAD, &left) != 0 || left == 0)
			break;
		if (i == READS_PER_TURN) { /* a server that floods gets its turn with the others */
			sock->wants_write = true;
			turn_soon(resolver);
			break;
		}
	}
	resolver_arm(resolver);
}

/* c-ares opened, closed or wants to write on a socket. */
static void socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = data;
	struct resolver_socket **link = &resolver->sockets;
	while (*link && (*link)->source.fd != fd)
		link = &(*link)->next;
	struct resolver_socket *sock = *link;
	if (!readable && !writable) {
		if (!sock)
			return;
		poller_remove(resolver->engine->poller, &sock->source);
		sock->source.fd = -1;
		*link = sock->next;
		sock->next = resolver->closed;
		resolver->closed = sock;
		turn_soon(resolver);
		return;
	}
	if (sock) {
		if (writable) { /* it may be writable already, and then no edge will tell */
			sock->wants_write = true;
			turn_soon(resolver);
		}
		return;
	}
	sock = calloc(1, sizeof(*sock));
	if (!sock)
		return; /* the query times out and is tried again */
	sock->source = (struct poll_source){.handler = socket_ready, .fd = fd};
	sock->resolver = resolver;
	if (poller_add(resolver->engine->poller, &sock->source) != 0) {
		free(sock);
		return;
	}
	sock->next = resolver->sockets;
	resolver->sockets = sock;
}

static int channel_open(struct resolver *resolver)
{
	struct ares_options options = {
	        .timeout = QUERY_TIMEOUT_MS,
	        .tries = QUERY_TRIES,
	        .sock_state_cb = socket_state,
	        .sock_state_cb_data = resolver,
	        .lookups = (char *)"b",
	};
	int status = ares_init_options(&resolver->channel, &options,
	                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS);
	if (status != ARES_SUCCESS) {
		log_line(LOG_ERROR, "dns: the resolver cannot be set up from " RESOLV_CONF " reason=\"%s\"",
		         ares_strerror(status));
		return -EINVAL;
	}
	if (resolver->servers &&
	    (status = ares_set_servers_ports_csv(resolver->channel, resolver->servers)) != ARES_SUCCESS) {
		log_line(LOG_ERROR, "dns: not a list of name servers servers=%s reason=\"%s\"", resolver->servers,
		         ares_strerror(status));
		ares_destroy(resolver->channel);
		return -EINVAL;
	}
	resolver->open = true;
	if (stat(RESOLV_CONF, &resolver->resolv_conf) != 0)
		memset(&resolver->resolv_conf, 0, sizeof(resolver->resolv_conf));
	return 0;
}

static bool files_open(struct resolver *resolver)
{
	struct ares_options options = {.lookups = (char *)"f"};
	return ares_init_options(&resolver->files, &options, ARES_OPT_LOOKUPS) == ARES_SUCCESS;
}

static void channel_close(struct resolver *resolver)
{
	if (!resolver->open)
		return;
	resolver->open = false;
	ares_destroy(resolver->channel); /* calls back every lookup with ARES_EDESTRUCTION and closes the sockets */
}

void resolver_follow(struct resolver *resolver)
{
	struct stat now;
	if (resolver->servers ||
	    (resolver->open && resolver->engine->now_ms - resolver->resolv_conf_checked_ms < RESOLV_CONF_CHECK_MS))
		return;
	resolver->resolv_conf_checked_ms = resolver->engine->now_ms;
	if (stat(RESOLV_CONF, &now) != 0)
		memset(&now, 0, sizeof(now));
	if (resolver->open && now.st_ino == resolver->resolv_conf.st_ino &&
	    now.st_size == resolver->resolv_conf.st_size &&
	    now.st_mtim.tv_sec == resolver->resolv_conf.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == resolver->resolv_conf.st_mtim.tv_nsec)
		return;
	if (resolver->open)
		log_line(LOG_INFO, "dns: " RESOLV_CONF " has changed and is read again");
	channel_close(resolver);
	channel_open(resolver);
}

static void free_sockets(struct resolver_socket *sockets)
{
	while (sockets) {
		struct resolver_socket *sock = sockets;
		sockets = sock->next;
		free(sock);
	}
}

static void turn(struct timer *timer, uint64_t now_ms)
{
	struct resolver *resolver = (struct resolver *)((char *)timer - offsetof(struct resolver, turn));
	(void)now_ms;
	free_sockets(resolver->closed);
	resolver->closed = NULL;
	for (struct resolver_socket *sock = resolver->sockets; sock;) {
		if (!sock->wants_write) {
			sock = sock->next;
			continue;
		}
		sock->wants_write = false;
		socket_ready(&sock->source, POLL_READ | POLL_WRITE);
		sock = resolver->sockets; /* the list may have changed; every turn of this loop clears one mark */
	}
}

static void turn_soon(struct resolver *resolver)
{
	if (!timer_armed(&resolver->turn))
		timer_arm(resolver->engine->timers, &resolver->turn, resolver->engine->now_ms, turn);
}

bool resolver_ask(struct resolver *resolver, const char *host, int family, ares_addrinfo_callback done, void *arg)
{
	struct ares_addrinfo_hints hints = {
	        .ai_family = family, .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
	if (!resolver->open)
		return false;
	ares_getaddrinfo(resolver->channel, host, NULL, &hints, done, arg);
	return true;
}

void resolver_look_into_files(struct resolver *resolver, const char *host, ares_addrinfo_callback done, void *arg)
{
	struct ares_addrinfo_hints hints = {
	        .ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
	ares_getaddrinfo(resolver->files, host, NULL, &hints, done, arg);
}

struct resolver *resolver_new(struct engine *engine, const char *servers)
{
	static bool initialised;
	if (!initialised && ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return NULL;
	initialised = true;
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	if (!resolver)
		return NULL;
	resolver->engine = engine;
	bool has_servers = servers && *servers;
	if (has_servers && !(resolver->servers = strdup(servers))) {
		free(resolver);
		return NULL;
	}
	/* A resolv.conf that cannot be read today may be readable tomorrow; a bad list of servers stays bad. */
	bool has_files = files_open(resolver);
	if (!has_files || (channel_open(resolver) != 0 && has_servers)) {
		if (has_files)
			ares_destroy(resolver->files);
		free(resolver->servers);
		free(resolver);
		return NULL;
	}
	return resolver;
}

void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	channel_close(resolver);
	ares_destroy(resolver->files);
	timer_disarm(resolver->engine->timers, &resolver->timeout);
	timer_disarm(resolver->engine->timers, &resolver->turn);
	free_sockets(resolver->closed);
	free_sockets(resolver->sockets);
	free(resolver->servers);
	free(resolver);
}
