/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c-ares in the main thread's loop. What is watched is a name with its TTL bounds; each has rounds, and a round asks
 * for A and AAAA as two lookups, so that one family that is slow or broken neither delays nor removes the other:
 *
 *   IDLE ─ refresh due ─▶ WAITING (a bounded number of rounds at a time) ─▶ ASKING ─▶ IDLE
 *
 * At the end of a round a family that was answered is replaced. One that has no such record is emptied when the other
 * one was answered, and kept when nothing was (NXDOMAIN for a name that worked a minute ago is an accident more often
 * than an intention, and an empty backend helps nobody). One that failed is kept.
 */
#include "dns.h"

#include <ares.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "../runtime.h"
#include "spread.h"

#define ADDRESSES_MAX 64u /* of one name, both families together */
#define ROUNDS_MAX 100u   /* in flight: 200 queries, which fit into a name server's receive buffer */
#define TTL_FLOOR_MS 50u  /* whatever the configuration says */
#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 30000u
#define SECOND_FAMILY_MS 50u  /* how long the first answer waits for the other family (RFC 8305 section 3) */
#define QUERY_TIMEOUT_MS 1000 /* doubled with each try: 7 s in all */
#define QUERY_TRIES 3
#define READS_PER_TURN 64
#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_CHECK_MS 5000u

enum { V4, V6, FAMILIES };

enum outcome {
	OUTCOME_NONE,
	OUTCOME_ANSWERED,
	OUTCOME_TAKEN, /* answered, and in good already */
	OUTCOME_NO_RECORD,
	OUTCOME_FAILED,
};

struct dns_name;

/* Sorted, no address twice; memory for just as many as there are (there may be a hundred thousand names). */
struct addr_list {
	struct addr *at;
	unsigned count;
};

/* One lookup of a round. Outlives its name when that goes in the middle. */
struct lookup {
	struct dns_name *name; /* NULL: nobody wants the answer */
	int family;            /* V4, V6 */
};

struct dns_name {
	struct dns_name *chain; /* of the hash bucket */
	TAILQ_ENTRY(dns_name) queue;
	struct dns *dns;
	uint64_t hash;
	char *host;
	uint32_t min_ttl_ms, max_ttl_ms;
	struct backend **backends;
	size_t nbackends, backends_capacity;

	enum { IDLE, WAITING, ASKING } state;
	struct lookup *lookups[FAMILIES];
	unsigned pending;
	enum outcome outcome[FAMILIES];
	int status[FAMILIES]; /* of c-ares */
	uint64_t ttl_ms;      /* the shortest of this round */
	struct addr_list fresh[FAMILIES];
	struct addr_list good[FAMILIES];
	struct addr_list published; /* what the backends were told */
	bool answered;              /* there is a good answer */
	unsigned failures;          /* rounds in a row without an answer */
	unsigned holds;             /* being published: not to be freed */
	bool dropped;
	struct timer timer; /* refresh, or patience with the second family */
};

TAILQ_HEAD(name_list, dns_name);

/* A socket of c-ares. */
struct dns_socket {
	struct poll_source source;
	struct dns *dns;
	struct dns_socket *next;
	bool wants_write;
};

struct dns {
	struct engine *engine;
	char *servers;
	ares_channel files;   /* looks into /etc/hosts only; never has a socket */
	ares_channel channel; /* asks the name servers only */
	bool channel_open;
	struct dns_name **buckets;
	size_t nbuckets, nnames; /* buckets: a power of two */
	struct name_list waiting;
	unsigned rounds;
	struct dns_socket *sockets, *closed;
	struct timer timeout; /* c-ares' own */
	struct timer turn;    /* frees closed sockets, writes, starts rounds that wait */
	struct stat resolv_conf;
	uint64_t resolv_conf_checked_ms;
};

static void turn_soon(struct dns *dns);
static void name_due(struct timer *timer, uint64_t now_ms);

/* ---- c-ares and the loop ---- */

static void arm_timeout(struct dns *dns);

static void timeout_due(struct timer *timer, uint64_t now_ms)
{
	struct dns *dns = (struct dns *)((char *)timer - offsetof(struct dns, timeout));
	(void)now_ms;
	if (dns->channel_open)
		ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm_timeout(dns);
}

/* After everything that may have begun or ended a query. */
static void arm_timeout(struct dns *dns)
{
	struct timeval tv;
	if (!dns->channel_open || !ares_timeout(dns->channel, NULL, &tv)) {
		timer_disarm(dns->engine->timers, &dns->timeout);
		return;
	}
	uint64_t ms = (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 + 1;
	timer_arm(dns->engine->timers, &dns->timeout, dns->engine->now_ms + ms, timeout_due);
}

static void socket_ready(struct poll_source *source, uint32_t events)
{
	struct dns_socket *sock = (struct dns_socket *)((char *)source - offsetof(struct dns_socket, source));
	struct dns *dns = sock->dns;
	/* c-ares reads a TCP stream piece by piece, the poller reports it once: go on while bytes are there. The
	 * callback may close the socket (fd becomes -1) or the whole channel. */
	for (unsigned i = 0; source->fd >= 0 && dns->channel_open; i++) {
		int fd = source->fd, left = 0;
		bool readable = events & (POLL_READ | POLL_ERROR);
		bool writable = events & (POLL_WRITE | POLL_ERROR);
		ares_process_fd(dns->channel, readable ? fd : ARES_SOCKET_BAD, writable ? fd : ARES_SOCKET_BAD);
		events = POLL_READ;
		if (source->fd < 0 || ioctl(fd, FIONREAD, &left) != 0 || left == 0)
			break;
		if (i == READS_PER_TURN) { /* a server that floods gets its turn with the others */
			sock->wants_write = true;
			turn_soon(dns);
			break;
		}
	}
	arm_timeout(dns);
}

/* c-ares opened, closed or wants to write on a socket. */
static void socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct dns *dns = data;
	struct dns_socket **link = &dns->sockets;
	while (*link && (*link)->source.fd != fd)
		link = &(*link)->next;
	struct dns_socket *sock = *link;
	if (!readable && !writable) {
		if (!sock)
			return;
		poller_remove(dns->engine->poller, &sock->source);
		sock->source.fd = -1;
		*link = sock->next;
		sock->next = dns->closed;
		dns->closed = sock;
		turn_soon(dns);
		return;
	}
	if (sock) {
		if (writable) { /* it may be writable already, and then no edge will tell */
			sock->wants_write = true;
			turn_soon(dns);
		}
		return;
	}
	sock = calloc(1, sizeof(*sock));
	if (!sock)
		return; /* the query times out and is tried again */
	sock->source = (struct poll_source){.handler = socket_ready, .fd = fd};
	sock->dns = dns;
	if (poller_add(dns->engine->poller, &sock->source) != 0) {
		free(sock);
		return;
	}
	sock->next = dns->sockets;
	dns->sockets = sock;
}

static int channel_open(struct dns *dns)
{
	struct ares_options options = {
	        .timeout = QUERY_TIMEOUT_MS,
	        .tries = QUERY_TRIES,
	        .sock_state_cb = socket_state,
	        .sock_state_cb_data = dns,
	        .lookups = (char *)"b",
	};
	int status = ares_init_options(&dns->channel, &options,
	                               ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS);
	if (status != ARES_SUCCESS) {
		log_line(LOG_ERROR, "dns: the resolver cannot be set up from " RESOLV_CONF " reason=\"%s\"",
		         ares_strerror(status));
		return -EINVAL;
	}
	if (dns->servers && (status = ares_set_servers_ports_csv(dns->channel, dns->servers)) != ARES_SUCCESS) {
		log_line(LOG_ERROR, "dns: not a list of name servers servers=%s reason=\"%s\"", dns->servers,
		         ares_strerror(status));
		ares_destroy(dns->channel);
		return -EINVAL;
	}
	dns->channel_open = true;
	if (stat(RESOLV_CONF, &dns->resolv_conf) != 0)
		memset(&dns->resolv_conf, 0, sizeof(dns->resolv_conf));
	return 0;
}

static bool files_open(struct dns *dns)
{
	struct ares_options options = {.lookups = (char *)"f"};
	return ares_init_options(&dns->files, &options, ARES_OPT_LOOKUPS) == ARES_SUCCESS;
}

static void channel_close(struct dns *dns)
{
	if (!dns->channel_open)
		return;
	dns->channel_open = false;
	ares_destroy(dns->channel); /* calls back every lookup with ARES_EDESTRUCTION and closes the sockets */
}

/* c-ares 1.18 reads resolv.conf once. On a node whose servers change (DHCP, VPN) that would be the end of DNS. Not to
 * be called from within a callback of c-ares. */
static void follow_resolv_conf(struct dns *dns)
{
	struct stat now;
	if (dns->servers || dns->rounds > 0 ||
	    (dns->channel_open && dns->engine->now_ms - dns->resolv_conf_checked_ms < RESOLV_CONF_CHECK_MS))
		return;
	dns->resolv_conf_checked_ms = dns->engine->now_ms;
	if (stat(RESOLV_CONF, &now) != 0)
		memset(&now, 0, sizeof(now));
	if (dns->channel_open && now.st_ino == dns->resolv_conf.st_ino && now.st_size == dns->resolv_conf.st_size &&
	    now.st_mtim.tv_sec == dns->resolv_conf.st_mtim.tv_sec &&
	    now.st_mtim.tv_nsec == dns->resolv_conf.st_mtim.tv_nsec)
		return;
	if (dns->channel_open)
		log_line(LOG_INFO, "dns: " RESOLV_CONF " has changed and is read again");
	channel_close(dns);
	channel_open(dns);
}

/* ---- Answers ---- */

/* false when out of memory: the list is as it was. */
static bool list_set(struct addr_list *list, const struct addr *addrs, unsigned count)
{
	struct addr *copy = NULL;
	if (count) {
		copy = malloc(count * sizeof(*copy));
		if (!copy)
			return false;
		memcpy(copy, addrs, count * sizeof(*copy));
	}
	free(list->at);
	list->at = copy;
	list->count = count;
	return true;
}

static int compare_addrs(const void *a, const void *b)
{
	const struct addr *x = a, *y = b;
	if (x->family != y->family)
		return x->family == AF_INET ? -1 : 1;
	return memcmp(x->ip, y->ip, sizeof(x->ip));
}

/* Nothing that a backend can live on: connecting to 0.0.0.0 would reach this very node. */
static bool is_unusable(const struct addr *addr)
{
	static const uint8_t zero[16];
	size_t length = addr->family == AF_INET ? 4 : 16;
	return memcmp(addr->ip, zero, length) == 0 ||
	       (addr->family == AF_INET ? addr->ip[0] >= 224 && addr->ip[0] < 240 : addr->ip[0] == 0xff);
}

static void take_answer(struct dns_name *name, int family, const struct ares_addrinfo *info)
{
	uint64_t ttl = UINT64_MAX;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next) {
		if (cname->ttl >= 0 && (uint64_t)cname->ttl < ttl)
			ttl = (uint64_t)cname->ttl;
	}
	struct addr out[ADDRESSES_MAX] = {0};
	unsigned count = 0;
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		struct addr addr;
		bool ok = false;
		if (node->ai_family == AF_INET && node->ai_addrlen >= (ares_socklen_t)sizeof(struct sockaddr_in))
			ok = addr_from_bytes(&addr, (const uint8_t *)&((struct sockaddr_in *)node->ai_addr)->sin_addr,
			                     4, 0);
		else if (node->ai_family == AF_INET6 && node->ai_addrlen >= (ares_socklen_t)sizeof(struct sockaddr_in6))
			ok = addr_from_bytes(&addr, (const uint8_t *)&((struct sockaddr_in6 *)node->ai_addr)->sin6_addr,
			                     16, 0);
		/* A mapped IPv4 address in an AAAA record is a mistake, and would be in the list twice. */
		if (!ok || addr.family != (family == V4 ? AF_INET : AF_INET6) || is_unusable(&addr))
			continue;
		if (node->ai_ttl >= 0 && (uint64_t)node->ai_ttl < ttl)
			ttl = (uint64_t)node->ai_ttl;
		/* Insertion keeps the smallest addresses: of an answer that is too long always the same ones. */
		unsigned at = 0;
		while (at < count && compare_addrs(&out[at], &addr) < 0)
			at++;
		if (at < count && compare_addrs(&out[at], &addr) == 0)
			continue;
		if (at == ADDRESSES_MAX)
			continue;
		unsigned kept = count < ADDRESSES_MAX ? count : ADDRESSES_MAX - 1;
		memmove(&out[at + 1], &out[at], (kept - at) * sizeof(*out));
		out[at] = addr;
		count = kept + 1;
	}
	if (!list_set(&name->fresh[family], out, count)) {
		name->outcome[family] = OUTCOME_FAILED;
		name->status[family] = ARES_ENOMEM;
		return;
	}
	name->outcome[family] = count ? OUTCOME_ANSWERED : OUTCOME_NO_RECORD;
	uint64_t ms = ttl > UINT32_MAX ? UINT32_MAX : ttl * 1000;
	if (count && ms < name->ttl_ms)
		name->ttl_ms = ms;
}

static void lookup_done(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *lookup = arg;
	struct dns_name *name = lookup->name;
	int family = lookup->family;
	(void)timeouts;
	free(lookup);
	if (name) {
		name->lookups[family] = NULL;
		name->status[family] = status;
		if (status == ARES_SUCCESS && info)
			take_answer(name, family, info);
		else if (status == ARES_ENOTFOUND || status == ARES_ENODATA)
			name->outcome[family] = OUTCOME_NO_RECORD;
		else
			name->outcome[family] = OUTCOME_FAILED;
		if (--name->pending == 0) {
			/* Not from here: c-ares is in the middle of its lists. */
			timer_arm(name->dns->engine->timers, &name->timer, name->dns->engine->now_ms, name_due);
		} else if (name->outcome[family] == OUTCOME_ANSWERED) {
			timer_arm(name->dns->engine->timers, &name->timer, name->dns->engine->now_ms + SECOND_FAMILY_MS,
			          name_due);
		}
	}
	if (info)
		ares_freeaddrinfo(info);
}

static void free_name(struct dns_name *name)
{
	for (int family = V4; family < FAMILIES; family++) {
		free(name->fresh[family].at);
		free(name->good[family].at);
	}
	free(name->published.at);
	free(name->backends);
	free(name->host);
	free(name);
}

static void tell_backend(const struct dns_name *name, struct backend *backend)
{
	struct addr addrs[ADDRESSES_MAX];
	unsigned count = name->published.count;
	for (unsigned i = 0; i < count; i++) {
		addrs[i] = name->published.at[i];
		addrs[i].port = backend->dns_port;
	}
	runtime_backend_resolved(name->dns->engine->runtime, backend, addrs, count);
}

static void push_event(struct dns_name *name, const struct backend *backend, const char *message)
{
	struct engine *engine = name->dns->engine;
	struct marcher_event *event = stats_event(&engine->row, MARCHER_EVENT_DNS_CHANGED);
	if (!event)
		return;
	struct service *service = runtime_service_of(engine->runtime, backend);
	event->service_slot = service ? service->slot : 0;
	event->backend_slot = backend->slot;
	snprintf(event->message, sizeof(event->message), "%s", message);
	stats_event_push(&engine->row);
}

/* The union of both families, when it differs from what the backends were told. */
static void publish(struct dns_name *name)
{
	struct addr set[ADDRESSES_MAX];
	unsigned count = 0;
	/* Both families keep a share when together they are too many. */
	const struct addr_list *good = name->good;
	unsigned v6 = good[V6].count < ADDRESSES_MAX / 2 ? good[V6].count : ADDRESSES_MAX / 2;
	unsigned v4 = good[V4].count < ADDRESSES_MAX - v6 ? good[V4].count : ADDRESSES_MAX - v6;
	v6 = good[V6].count < ADDRESSES_MAX - v4 ? good[V6].count : ADDRESSES_MAX - v4;
	for (unsigned i = 0; i < v4; i++)
		set[count++] = good[V4].at[i];
	for (unsigned i = 0; i < v6; i++)
		set[count++] = good[V6].at[i];
	bool same = count == name->published.count;
	for (unsigned i = 0; same && i < count; i++)
		same = compare_addrs(&set[i], &name->published.at[i]) == 0;
	if ((same && name->answered) || !list_set(&name->published, set, count))
		return;
	name->answered = true;

	char message[120];
	int length = snprintf(message, sizeof(message), "%s: ", name->host);
	for (unsigned i = 0; i < count && length > 0 && (size_t)length < sizeof(message); i++) {
		char text[ADDR_TEXT_MAX];
		/* Port 0 is left out: "192.0.2.1:0" reads like a mistake. */
		addr_text(&set[i], text);
		char *port = strrchr(text, ':');
		if (port && strcmp(port, ":0") == 0)
			*port = '\0';
		length += snprintf(message + length, sizeof(message) - (size_t)length, "%s%s", i ? ", " : "", text);
	}
	log_line(LOG_INFO, "dns: addresses have changed %s", message);
	name->holds++;
	for (size_t i = name->nbackends; i-- > 0;) {
		if (i >= name->nbackends) /* telling one may have made others go */
			continue;
		struct backend *backend = name->backends[i];
		push_event(name, backend, message);
		tell_backend(name, backend);
	}
	if (--name->holds == 0 && name->dropped)
		free_name(name);
}

static bool is_answered(const struct dns_name *name)
{
	for (int family = V4; family < FAMILIES; family++) {
		if (name->outcome[family] == OUTCOME_ANSWERED || name->outcome[family] == OUTCOME_TAKEN)
			return true;
	}
	return false;
}

/* Replaces the families that the round has settled so far. */
static void settle(struct dns_name *name)
{
	bool any = is_answered(name);
	for (int family = V4; any && family < FAMILIES; family++) {
		if (name->outcome[family] != OUTCOME_ANSWERED && name->outcome[family] != OUTCOME_NO_RECORD)
			continue;
		free(name->good[family].at);
		name->good[family] = name->fresh[family];
		name->fresh[family] = (struct addr_list){0};
		if (name->outcome[family] == OUTCOME_ANSWERED)
			name->outcome[family] = OUTCOME_TAKEN;
	}
	if (any)
		publish(name);
}

/* ---- Rounds ---- */

static uint64_t retry_delay(struct dns_name *name)
{
	unsigned shift = name->failures ? name->failures - 1 : 0;
	uint64_t delay = shift > 5 ? RETRY_MAX_MS : (uint64_t)RETRY_MIN_MS << shift;
	if (delay > RETRY_MAX_MS)
		delay = RETRY_MAX_MS;
	return delay - delay / 4 + spread_below(name->dns->engine, delay / 2 + 1);
}

/* When to ask again after an answer: a tenth of the TTL before it ends (so that the old answer is not used beyond it
 * while the new one is under way), moved a little, but not before the floor. */
static uint64_t refresh_delay(struct dns_name *name)
{
	uint64_t ttl = name->ttl_ms;
	if (ttl > name->max_ttl_ms)
		ttl = name->max_ttl_ms;
	uint64_t delay = ttl - ttl / 10 - spread_below(name->dns->engine, ttl / 20 + 1);
	uint64_t floor = name->min_ttl_ms > TTL_FLOOR_MS ? name->min_ttl_ms : TTL_FLOOR_MS;
	return delay < floor ? floor : delay;
}

static void report_failure(struct dns_name *name)
{
	bool negative = name->outcome[V4] == OUTCOME_NO_RECORD && name->outcome[V6] == OUTCOME_NO_RECORD;
	int status = name->outcome[V4] == OUTCOME_FAILED ? name->status[V4] : name->status[V6];
	const char *why =
	        negative ? "the name has no address (NXDOMAIN or no A and AAAA records)" : ares_strerror(status);
	const char *then = name->answered ? "the last good answer is kept" : "the backend is out until it resolves";
	/* Once per outage; the retries are for whoever debugs. */
	log_line(name->failures == 1 ? LOG_WARN : LOG_DEBUG,
	         "dns: resolution failed name=%s reason=\"%s\" attempt=%u: %s", name->host, why, name->failures, then);
	if (name->failures != 1)
		return;
	char message[120];
	snprintf(message, sizeof(message), "%s: %s; %s", name->host, negative ? "no such name" : ares_strerror(status),
	         then);
	for (size_t i = 0; i < name->nbackends; i++)
		push_event(name, name->backends[i], message);
}

static void round_end(struct dns_name *name)
{
	struct dns *dns = name->dns;
	bool any = is_answered(name);
	bool failed = name->outcome[V4] == OUTCOME_FAILED || name->outcome[V6] == OUTCOME_FAILED;
	bool cancelled = name->status[V4] == ARES_EDESTRUCTION || name->status[V6] == ARES_EDESTRUCTION;
	uint64_t delay;

	name->state = IDLE;
	dns->rounds--;
	if (!TAILQ_EMPTY(&dns->waiting))
		turn_soon(dns);
	if (any) {
		if (name->failures && !failed)
			log_line(LOG_INFO, "dns: resolution works again name=%s", name->host);
		name->failures = failed ? name->failures + 1 : 0;
		delay = refresh_delay(name);
		if (failed) { /* half an answer: ask for the other half sooner */
			uint64_t retry = retry_delay(name);
			delay = retry < delay ? retry : delay;
		}
	} else if (cancelled) {
		delay = spread_below(dns->engine, RETRY_MIN_MS);
	} else {
		name->failures++;
		report_failure(name);
		delay = retry_delay(name);
	}
	timer_arm(dns->engine->timers, &name->timer, dns->engine->now_ms + delay, name_due);
	if (any)
		settle(name); /* last: may lead to dns_unwatch */
}

/* Called within ares_getaddrinfo: a file does not keep one waiting. */
static void files_done(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_name *name = arg;
	(void)timeouts;
	if (status == ARES_SUCCESS && info) {
		for (int family = V4; family < FAMILIES; family++)
			take_answer(name, family, info);
	}
	if (info)
		ares_freeaddrinfo(info);
}

static bool is_localhost(const char *host)
{
	static const char suffix[] = ".localhost";
	size_t length = strlen(host), tail = sizeof(suffix) - 1;
	return strcasecmp(host, suffix + 1) == 0 || (length > tail && strcasecmp(host + length - tail, suffix) == 0);
}

/* Never asked of a server, also where /etc/hosts lacks it (RFC 6761, section 6.3). */
static void answer_localhost(struct dns_name *name)
{
	static const struct addr loopback[FAMILIES] = {
	        [V4] = {.family = AF_INET, .ip = {127, 0, 0, 1}},
	        [V6] = {.family = AF_INET6, .ip = {[15] = 1}},
	};
	for (int family = V4; family < FAMILIES; family++) {
		if (list_set(&name->fresh[family], &loopback[family], 1))
			name->outcome[family] = OUTCOME_ANSWERED;
	}
}

/* /etc/hosts first, as everyone expects, and when it has the name for one family it answers for both, as in glibc. */
static bool look_into_files(struct dns_name *name)
{
	struct ares_addrinfo_hints hints = {
	        .ai_family = AF_UNSPEC, .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM};
	ares_getaddrinfo(name->dns->files, name->host, NULL, &hints, files_done, name);
	if (name->outcome[V4] != OUTCOME_ANSWERED && name->outcome[V6] != OUTCOME_ANSWERED && is_localhost(name->host))
		answer_localhost(name);
	return name->outcome[V4] == OUTCOME_ANSWERED || name->outcome[V6] == OUTCOME_ANSWERED;
}

static void start_round(struct dns_name *name)
{
	struct dns *dns = name->dns;
	name->state = ASKING;
	name->ttl_ms = UINT64_MAX;
	name->pending = FAMILIES;
	dns->rounds++;
	for (int family = V4; family < FAMILIES; family++) {
		list_set(&name->fresh[family], NULL, 0);
		name->outcome[family] = OUTCOME_NONE;
		name->status[family] = ARES_SUCCESS;
		name->lookups[family] = NULL;
	}
	if (look_into_files(name)) {
		name->pending = 0;
		timer_arm(dns->engine->timers, &name->timer, dns->engine->now_ms, name_due);
		return;
	}
	/* Callbacks may run within the calls (a bad name): they only note and arm the timer. */
	for (int family = V4; family < FAMILIES; family++) {
		struct lookup *lookup = calloc(1, sizeof(*lookup));
		struct ares_addrinfo_hints hints = {.ai_family = family == V4 ? AF_INET : AF_INET6,
		                                    .ai_flags = ARES_AI_NOSORT,
		                                    .ai_socktype = SOCK_STREAM};
		if (!lookup || !dns->channel_open) {
			name->status[family] = lookup ? ARES_ENOTINITIALIZED : ARES_ENOMEM;
			free(lookup);
			name->outcome[family] = OUTCOME_FAILED;
			if (--name->pending == 0)
				timer_arm(dns->engine->timers, &name->timer, dns->engine->now_ms, name_due);
			continue;
		}
		lookup->name = name;
		lookup->family = family;
		name->lookups[family] = lookup;
		ares_getaddrinfo(dns->channel, name->host, NULL, &hints, lookup_done, lookup);
	}
	arm_timeout(dns);
}

/* A refresh is due, a round has ended, or one family has been waited for long enough. */
static void name_due(struct timer *timer, uint64_t now_ms)
{
	struct dns_name *name = (struct dns_name *)((char *)timer - offsetof(struct dns_name, timer));
	struct dns *dns = name->dns;
	(void)now_ms;
	switch (name->state) {
	case ASKING:
		if (name->pending == 0) {
			round_end(name);
		} else {
			settle(name);
		}
		break;
	case IDLE:
		follow_resolv_conf(dns);
		if (dns->rounds < ROUNDS_MAX && TAILQ_EMPTY(&dns->waiting)) {
			start_round(name);
		} else {
			name->state = WAITING;
			TAILQ_INSERT_TAIL(&dns->waiting, name, queue);
		}
		break;
	case WAITING:
		break;
	}
}

static void turn(struct timer *timer, uint64_t now_ms)
{
	struct dns *dns = (struct dns *)((char *)timer - offsetof(struct dns, turn));
	(void)now_ms;
	while (dns->closed) {
		struct dns_socket *sock = dns->closed;
		dns->closed = sock->next;
		free(sock);
	}
	for (struct dns_socket *sock = dns->sockets; sock;) {
		if (!sock->wants_write) {
			sock = sock->next;
			continue;
		}
		sock->wants_write = false;
		socket_ready(&sock->source, POLL_READ | POLL_WRITE);
		sock = dns->sockets; /* the list may have changed; every turn of this loop clears one mark */
	}
	struct dns_name *name;
	while (dns->rounds < ROUNDS_MAX && (name = TAILQ_FIRST(&dns->waiting))) {
		TAILQ_REMOVE(&dns->waiting, name, queue);
		start_round(name);
	}
}

static void turn_soon(struct dns *dns)
{
	if (!timer_armed(&dns->turn))
		timer_arm(dns->engine->timers, &dns->turn, dns->engine->now_ms, turn);
}

/* ---- Watching ---- */

static uint64_t hash_name(const char *host, uint32_t min_ttl_ms, uint32_t max_ttl_ms)
{
	char folded[256]; /* longer ones are no names; they may share a bucket */
	size_t length = 0;
	for (; host[length] && length < sizeof(folded); length++)
		folded[length] = (char)tolower((unsigned char)host[length]);
	return XXH3_64bits_withSeed(folded, length, (uint64_t)min_ttl_ms << 32 | max_ttl_ms);
}

static bool is_name(const struct dns_name *name, const char *host, uint32_t min_ttl_ms, uint32_t max_ttl_ms)
{
	return name->min_ttl_ms == min_ttl_ms && name->max_ttl_ms == max_ttl_ms && strcasecmp(name->host, host) == 0;
}

/* Doubles the table; goes on with long chains when there is no memory. */
static void grow_table(struct dns *dns)
{
	struct dns_name **buckets = calloc(dns->nbuckets * 2, sizeof(*buckets));
	if (!buckets)
		return;
	for (size_t i = 0; i < dns->nbuckets; i++) {
		for (struct dns_name *name = dns->buckets[i], *chain; name; name = chain) {
			chain = name->chain;
			size_t bucket = name->hash & (dns->nbuckets * 2 - 1);
			name->chain = buckets[bucket];
			buckets[bucket] = name;
		}
	}
	free(dns->buckets);
	dns->buckets = buckets;
	dns->nbuckets *= 2;
}

static struct dns_name *add_name(struct dns *dns, const char *host, uint32_t min_ttl_ms, uint32_t max_ttl_ms)
{
	struct dns_name *name = calloc(1, sizeof(*name));
	if (!name || !(name->host = strdup(host))) {
		free(name);
		return NULL;
	}
	name->dns = dns;
	name->min_ttl_ms = min_ttl_ms;
	name->max_ttl_ms = max_ttl_ms;
	name->hash = hash_name(host, min_ttl_ms, max_ttl_ms);
	if (dns->nnames >= dns->nbuckets)
		grow_table(dns);
	struct dns_name **bucket = &dns->buckets[name->hash & (dns->nbuckets - 1)];
	name->chain = *bucket;
	*bucket = name;
	dns->nnames++;
	timer_arm(dns->engine->timers, &name->timer, dns->engine->now_ms, name_due);
	return name;
}

static void remove_name(struct dns_name *name)
{
	struct dns *dns = name->dns;
	struct dns_name **link = &dns->buckets[name->hash & (dns->nbuckets - 1)];
	while (*link != name)
		link = &(*link)->chain;
	*link = name->chain;
	dns->nnames--;
	timer_disarm(dns->engine->timers, &name->timer);
	if (name->state == WAITING)
		TAILQ_REMOVE(&dns->waiting, name, queue);
	if (name->state == ASKING) {
		dns->rounds--;
		for (int family = V4; family < FAMILIES; family++) {
			if (name->lookups[family])
				name->lookups[family]->name = NULL;
		}
		if (!TAILQ_EMPTY(&dns->waiting))
			turn_soon(dns);
	}
	if (name->holds)
		name->dropped = true;
	else
		free_name(name);
}

void dns_watch(struct dns *dns, struct backend *backend, uint32_t min_ttl_ms, uint32_t max_ttl_ms)
{
	if (max_ttl_ms < min_ttl_ms)
		max_ttl_ms = min_ttl_ms;
	if (backend->dns) {
		if (is_name(backend->dns, backend->dns_host, min_ttl_ms, max_ttl_ms))
			return;
		dns_unwatch(dns, backend);
	}
	uint64_t hash = hash_name(backend->dns_host, min_ttl_ms, max_ttl_ms);
	struct dns_name *name = dns->buckets[hash & (dns->nbuckets - 1)];
	while (name && !is_name(name, backend->dns_host, min_ttl_ms, max_ttl_ms))
		name = name->chain;
	if (!name)
		name = add_name(dns, backend->dns_host, min_ttl_ms, max_ttl_ms);
	if (name && name->nbackends == name->backends_capacity) {
		size_t capacity = name->backends_capacity ? name->backends_capacity * 2 : 1;
		struct backend **backends = realloc(name->backends, capacity * sizeof(struct backend *));
		if (backends) {
			name->backends = backends;
			name->backends_capacity = capacity;
		} else if (name->nbackends == 0) {
			remove_name(name);
			name = NULL;
		} else {
			name = NULL;
		}
	}
	if (!name) {
		log_line(LOG_ERROR, "dns: out of memory, the backend is not resolved backend=%s name=%s", backend->name,
		         backend->dns_host);
		return;
	}
	name->backends[name->nbackends++] = backend;
	backend->dns = name;
	if (name->answered)
		tell_backend(name, backend);
}

void dns_unwatch(struct dns *dns, struct backend *backend)
{
	struct dns_name *name = backend->dns;
	(void)dns;
	if (!name)
		return;
	backend->dns = NULL;
	for (size_t i = 0; i < name->nbackends; i++) {
		if (name->backends[i] == backend) {
			name->backends[i] = name->backends[--name->nbackends];
			break;
		}
	}
	if (name->nbackends == 0)
		remove_name(name);
}

struct dns *dns_new(struct engine *engine, const char *servers)
{
	static bool initialised;
	if (!initialised && ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return NULL;
	initialised = true;
	struct dns *dns = calloc(1, sizeof(*dns));
	if (!dns)
		return NULL;
	dns->engine = engine;
	dns->nbuckets = 64;
	dns->buckets = calloc(dns->nbuckets, sizeof(*dns->buckets));
	TAILQ_INIT(&dns->waiting);
	bool has_servers = servers && *servers;
	if (has_servers)
		dns->servers = strdup(servers);
	if (!dns->buckets || (has_servers && !dns->servers)) {
		free(dns->servers);
		free(dns->buckets);
		free(dns);
		return NULL;
	}
	/* A resolv.conf that cannot be read today may be readable tomorrow; a bad list of servers stays bad. */
	bool has_files = files_open(dns);
	if (!has_files || (channel_open(dns) != 0 && dns->servers)) {
		if (has_files)
			ares_destroy(dns->files);
		free(dns->servers);
		free(dns->buckets);
		free(dns);
		return NULL;
	}
	return dns;
}

void dns_free(struct dns *dns)
{
	if (!dns)
		return;
	for (size_t i = 0; i < dns->nbuckets; i++) {
		for (struct dns_name *name = dns->buckets[i], *chain; name; name = chain) {
			chain = name->chain;
			for (size_t k = 0; k < name->nbackends; k++)
				name->backends[k]->dns = NULL;
			remove_name(name);
		}
	}
	channel_close(dns);
	ares_destroy(dns->files);
	timer_disarm(dns->engine->timers, &dns->timeout);
	timer_disarm(dns->engine->timers, &dns->turn);
	while (dns->closed) {
		struct dns_socket *sock = dns->closed;
		dns->closed = sock->next;
		free(sock);
	}
	while (dns->sockets) {
		struct dns_socket *sock = dns->sockets;
		dns->sockets = sock->next;
		free(sock);
	}
	free(dns->buckets);
	free(dns->servers);
	free(dns);
}
