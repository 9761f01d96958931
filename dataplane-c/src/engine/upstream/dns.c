/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is watched is a name with its TTL bounds; each has rounds, and a round asks for A and AAAA as two lookups, so
 * that one family that is slow or broken neither delays nor removes the other:
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
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <xxhash.h>

#include "../runtime.h"
#include "dns_answer.h"
#include "resolver.h"
#include "spread.h"

#define ROUNDS_MAX 100u  /* in flight: 200 queries, which fit into a name server's receive buffer */
#define TTL_FLOOR_MS 50u /* whatever the configuration says */
#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 30000u
#define SECOND_FAMILY_MS 50u /* how long the first answer waits for the other family (RFC 8305 section 3) */

enum { V4, V6, FAMILIES };

enum outcome {
	OUTCOME_NONE,
	OUTCOME_ANSWERED,
	OUTCOME_TAKEN, /* answered, and in good already */
	OUTCOME_NO_RECORD,
	OUTCOME_FAILED,
};

struct dns_name;

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

struct dns {
	struct engine *engine;
	struct resolver *resolver;
	struct dns_name **buckets;
	size_t nbuckets, nnames; /* buckets: a power of two */
	struct name_list waiting;
	unsigned rounds;
	struct timer turn; /* starts rounds that wait */
};

static void turn_soon(struct dns *dns);
static void name_due(struct timer *timer, uint64_t now_ms);

/* ---- Answers ---- */

static void take_answer(struct dns_name *name, int family, const struct ares_addrinfo *info)
{
	uint64_t ttl_ms;
	if (dns_answer_take(info, family == V4 ? AF_INET : AF_INET6, &name->fresh[family], &ttl_ms) != 0) {
		name->outcome[family] = OUTCOME_FAILED;
		name->status[family] = ARES_ENOMEM;
		return;
	}
	bool any = name->fresh[family].count > 0;
	name->outcome[family] = any ? OUTCOME_ANSWERED : OUTCOME_NO_RECORD;
	if (any && ttl_ms < name->ttl_ms)
		name->ttl_ms = ttl_ms;
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
	struct addr addrs[DNS_ADDRESSES_MAX];
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
	struct addr set[DNS_ADDRESSES_MAX];
	unsigned count = 0;
	/* Both families keep a share when together they are too many. */
	const struct addr_list *good = name->good;
	unsigned v6 = good[V6].count < DNS_ADDRESSES_MAX / 2 ? good[V6].count : DNS_ADDRESSES_MAX / 2;
	unsigned v4 = good[V4].count < DNS_ADDRESSES_MAX - v6 ? good[V4].count : DNS_ADDRESSES_MAX - v6;
	v6 = good[V6].count < DNS_ADDRESSES_MAX - v4 ? good[V6].count : DNS_ADDRESSES_MAX - v4;
	for (unsigned i = 0; i < v4; i++)
		set[count++] = good[V4].at[i];
	for (unsigned i = 0; i < v6; i++)
		set[count++] = good[V6].at[i];
	bool same = count == name->published.count;
	for (unsigned i = 0; same && i < count; i++)
		same = addr_compare(&set[i], &name->published.at[i]) == 0;
	if ((same && name->answered) || !addr_list_set(&name->published, set, count))
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
		if (addr_list_set(&name->fresh[family], &loopback[family], 1))
			name->outcome[family] = OUTCOME_ANSWERED;
	}
}

/* /etc/hosts first, as everyone expects, and when it has the name for one family it answers for both, as in glibc. */
static bool look_into_files(struct dns_name *name)
{
	resolver_look_into_files(name->dns->resolver, name->host, files_done, name);
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
		addr_list_set(&name->fresh[family], NULL, 0);
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
		if (lookup) {
			*lookup = (struct lookup){.name = name, .family = family};
			name->lookups[family] = lookup;
			if (resolver_ask(dns->resolver, name->host, family == V4 ? AF_INET : AF_INET6, lookup_done,
			                 lookup))
				continue;
			name->lookups[family] = NULL;
		}
		name->status[family] = lookup ? ARES_ENOTINITIALIZED : ARES_ENOMEM;
		free(lookup);
		name->outcome[family] = OUTCOME_FAILED;
		if (--name->pending == 0)
			timer_arm(dns->engine->timers, &name->timer, dns->engine->now_ms, name_due);
	}
	resolver_arm(dns->resolver);
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
		if (dns->rounds == 0)
			resolver_follow(dns->resolver);
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
	struct dns *dns = calloc(1, sizeof(*dns));
	if (!dns)
		return NULL;
	dns->engine = engine;
	TAILQ_INIT(&dns->waiting);
	dns->nbuckets = 64;
	dns->buckets = calloc(dns->nbuckets, sizeof(*dns->buckets));
	if (dns->buckets)
		dns->resolver = resolver_new(engine, servers);
	if (!dns->resolver) {
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
	resolver_free(dns->resolver);
	timer_disarm(dns->engine->timers, &dns->turn);
	free(dns->buckets);
	free(dns);
}
