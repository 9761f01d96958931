/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The prober: when to probe, and what the results mean.
 *
 *   endpoint ─┐
 *   endpoint ─┼─▶ health_probe (one per address and settings) ──▶ queue ──▶ probe_attempt (probe.c), a bounded number
 *   endpoint ─┘        ▲ unknown ─ first result ─▶ healthy | unhealthy        at a time
 *                      └ healthy ─ fall failures in a row ─▶ unhealthy ─ rise passes in a row ─▶ healthy
 *
 * The first result decides alone, as in HAProxy and Envoy: a node that has just started must not send traffic to a dead
 * backend for fall more intervals.
 */
#include "health.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <xxhash.h>

#include "../runtime.h"
#include "probe.h"
#include "spread.h"

#define ATTEMPTS_MAX 1024u
#define INTERVAL_MIN_MS 10u

struct health_probe {
	struct health_probe *chain; /* of the hash bucket */
	TAILQ_ENTRY(health_probe) queue;
	bool queued;
	uint64_t hash;
	uint8_t *key;
	size_t key_length;
	struct prober *prober;
	struct probe_settings settings;
	Marcher__Engine__V1__HealthCheck *check; /* owned; the service's may go with its snapshot */
	char *path;                              /* owns settings.addr.path for Unix */
	struct timer timer;
	struct probe_attempt *attempt; /* NULL: none in flight */
	uint64_t started_ms;
	enum health state;
	uint32_t in_a_row; /* results that speak against state */
	char reason[PROBE_REASON_MAX];
	struct endpoint **watchers;
	size_t nwatchers, watchers_capacity;
};

TAILQ_HEAD(probe_queue, health_probe);

struct prober {
	struct engine *engine;
	struct health_probe **buckets;
	size_t nbuckets; /* a power of two */
	size_t nprobes;
	size_t nunknown; /* probes without a result yet: what first probes are spread by */
	struct probe_queue waiting;
	unsigned in_flight, in_flight_max;
	struct probe_attempt *finished; /* freed at the next turn of the timers, when no event can refer to them */
	struct timer turn;
	uint64_t shortage_logged_ms;
};

static void turn_soon(struct prober *prober);

/* ---- Results ---- */

static void tell_endpoint(struct prober *prober, struct endpoint *endpoint, enum health state, const char *reason)
{
	struct engine *engine = prober->engine;
	enum health before = atomic_load_explicit(&endpoint->health, memory_order_relaxed);
	char text[ADDR_TEXT_MAX];

	snprintf(endpoint->health_reason, sizeof(endpoint->health_reason), "%s", reason);
	if (before == state)
		return;
	if (state == HEALTH_HEALTHY && before == HEALTH_UNHEALTHY)
		endpoint->healthy_since_ms = engine->now_ms;
	atomic_store_explicit(&endpoint->health, state, memory_order_relaxed);

	struct backend *backend = endpoint->backend;
	struct service *service = runtime_service_of(engine->runtime, backend);
	struct marcher_event *event = stats_event(&engine->row, MARCHER_EVENT_HEALTH_CHANGED);
	if (event) {
		event->service_slot = service ? service->slot : 0;
		event->backend_slot = backend->slot;
		event->reason = state == HEALTH_HEALTHY;
		event->upstream.family = endpoint->addr.family;
		event->upstream.port = endpoint->addr.port;
		if (endpoint->addr.family != AF_UNIX)
			memcpy(event->upstream.address, endpoint->addr.ip, sizeof(event->upstream.address));
		snprintf(event->message, sizeof(event->message), "%s", reason);
		stats_event_push(&engine->row);
	}
	/* A thousand backends that are found healthy at the start are not news. */
	enum log_level level = state == HEALTH_UNHEALTHY ? LOG_WARN : before == HEALTH_UNKNOWN ? LOG_DEBUG : LOG_INFO;
	log_line(level, "health: backend is %s service=%s backend=%s address=%s reason=\"%s\"",
	         state == HEALTH_HEALTHY ? "healthy" : "unhealthy", backend->id->name, backend->name,
	         addr_text(&endpoint->addr, text), reason);
	runtime_backend_changed(engine->runtime, backend);
}

/* The state that the result leads to. */
static enum health judge(struct health_probe *probe, bool passed)
{
	enum health says = passed ? HEALTH_HEALTHY : HEALTH_UNHEALTHY;
	if (probe->state == HEALTH_UNKNOWN)
		return says;
	if (probe->state == says) {
		probe->in_a_row = 0;
		return says;
	}
	uint32_t needed = passed ? probe->check->rise : probe->check->fall;
	return ++probe->in_a_row >= needed ? says : probe->state;
}

static void arm_next(struct health_probe *probe)
{
	struct engine *engine = probe->prober->engine;
	uint64_t interval = probe->check->interval_ms;
	uint64_t jitter = interval * (probe->check->jitter_percent < 100 ? probe->check->jitter_percent : 100) / 100;
	uint64_t next = probe->started_ms + interval - jitter + spread_below(engine, 2 * jitter + 1);
	timer_arm(engine->timers, &probe->timer, next > engine->now_ms ? next : engine->now_ms + 1,
	          probe->timer.handler);
}

static void attempt_done(struct probe_attempt *attempt, enum probe_result result, const char *reason)
{
	struct health_probe *probe = attempt->owner;
	struct prober *prober = probe->prober;
	struct engine *engine = prober->engine;

	probe->attempt = NULL;
	prober->in_flight--;
	attempt->next = prober->finished;
	prober->finished = attempt;
	turn_soon(prober);
	arm_next(probe);
	if (result == PROBE_VOID) {
		if (engine->now_ms - prober->shortage_logged_ms >= 10000 || prober->shortage_logged_ms == 0) {
			prober->shortage_logged_ms = engine->now_ms;
			log_line(LOG_ERROR,
			         "health: probes cannot be sent, states are kept; raise the limit of open files or "
			         "free memory on this node reason=\"%s\"",
			         reason);
		}
		return;
	}
	bool passed = result == PROBE_PASSED;
	enum health state = judge(probe, passed);
	if (state != probe->state) {
		if (probe->state == HEALTH_UNKNOWN)
			prober->nunknown--;
		probe->state = state;
		probe->in_a_row = 0;
	}
	/* While failures in a row are still too few the reason of the state stands. */
	if (passed == (state == HEALTH_HEALTHY))
		snprintf(probe->reason, sizeof(probe->reason), "%s", reason);
	for (size_t i = 0; i < probe->nwatchers; i++) {
		struct endpoint *endpoint = probe->watchers[i];
		stats_add(&engine->row, endpoint->backend->slot, passed ? MARCHER_HEALTH_PASSED : MARCHER_HEALTH_FAILED,
		          1);
		tell_endpoint(prober, endpoint, probe->state, probe->reason);
	}
}

/* ---- Schedule ---- */

static void start_attempt(struct health_probe *probe)
{
	struct prober *prober = probe->prober;
	struct probe_attempt *attempt = calloc(1, sizeof(*attempt));

	probe->started_ms = prober->engine->now_ms;
	if (!attempt) {
		arm_next(probe);
		return;
	}
	attempt->engine = prober->engine;
	attempt->settings = &probe->settings;
	attempt->done = attempt_done;
	attempt->owner = probe;
	probe->attempt = attempt;
	prober->in_flight++;
	probe_start(attempt);
}

/* Frees what has finished and starts what waits. In a timer of its own, so that attempts that end at once do not nest.
 */
static void turn(struct timer *timer, uint64_t now_ms)
{
	struct prober *prober = (struct prober *)((char *)timer - offsetof(struct prober, turn));
	(void)now_ms;
	while (prober->finished) {
		struct probe_attempt *attempt = prober->finished;
		prober->finished = attempt->next;
		free(attempt);
	}
	/* As many as there is room for now; those that fail at once make room for the next turn. */
	unsigned room = prober->in_flight_max - prober->in_flight;
	struct health_probe *probe;
	while (room > 0 && (probe = TAILQ_FIRST(&prober->waiting))) {
		TAILQ_REMOVE(&prober->waiting, probe, queue);
		probe->queued = false;
		start_attempt(probe);
		room--;
	}
}

static void turn_soon(struct prober *prober)
{
	if (!timer_armed(&prober->turn))
		timer_arm(prober->engine->timers, &prober->turn, prober->engine->now_ms, turn);
}

static void probe_due(struct timer *timer, uint64_t now_ms)
{
	struct health_probe *probe = (struct health_probe *)((char *)timer - offsetof(struct health_probe, timer));
	struct prober *prober = probe->prober;
	(void)now_ms;
	if (prober->in_flight < prober->in_flight_max && TAILQ_EMPTY(&prober->waiting)) {
		start_attempt(probe);
		return;
	}
	TAILQ_INSERT_TAIL(&prober->waiting, probe, queue);
	probe->queued = true;
	if (prober->in_flight < prober->in_flight_max)
		turn_soon(prober);
}

/* ---- Probes and their watchers ---- */

static size_t append(uint8_t *out, size_t at, const void *data, size_t length)
{
	memcpy(out + at, data, length);
	return at + length;
}

static size_t append_addr(uint8_t *out, size_t at, const struct addr *addr)
{
	at = append(out, at, &addr->family, sizeof(addr->family));
	at = append(out, at, &addr->port, sizeof(addr->port));
	if (addr->family == AF_UNIX)
		return append(out, at, addr->path, strlen(addr->path) + 1);
	if (addr->family == AF_UNSPEC)
		return at;
	at = append(out, at, &addr->scope, sizeof(addr->scope));
	return append(out, at, addr->ip, sizeof(addr->ip));
}

/* Everything that makes two probes the same: address, source, PROXY header, settings. NULL when out of memory. */
static uint8_t *make_key(const struct addr *addr, const struct backend *backend, uint8_t proxy,
                         const Marcher__Engine__V1__HealthCheck *check, size_t *length)
{
	size_t packed = marcher__engine__v1__health_check__get_packed_size(check);
	size_t path = addr->family == AF_UNIX ? strlen(addr->path) + 1 : 0;
	uint8_t *key = malloc(packed + path + 2 * sizeof(struct addr) + 8);
	if (!key)
		return NULL;
	size_t at = append_addr(key, 0, addr);
	at = append_addr(key, at, &backend->source);
	key[at++] = proxy;
	at += marcher__engine__v1__health_check__pack(check, key + at);
	*length = at;
	return key;
}

static struct health_probe *find_probe(const struct prober *prober, uint64_t hash, const uint8_t *key, size_t length)
{
	struct health_probe *probe = prober->buckets[hash & (prober->nbuckets - 1)];
	while (probe && !(probe->hash == hash && probe->key_length == length && memcmp(probe->key, key, length) == 0))
		probe = probe->chain;
	return probe;
}

/* Doubles the table; goes on with long chains when there is no memory. */
static void grow_table(struct prober *prober)
{
	struct health_probe **buckets = calloc(prober->nbuckets * 2, sizeof(*buckets));
	if (!buckets)
		return;
	for (size_t i = 0; i < prober->nbuckets; i++) {
		for (struct health_probe *probe = prober->buckets[i], *chain; probe; probe = chain) {
			chain = probe->chain;
			size_t bucket = probe->hash & (prober->nbuckets * 2 - 1);
			probe->chain = buckets[bucket];
			buckets[bucket] = probe;
		}
	}
	free(prober->buckets);
	prober->buckets = buckets;
	prober->nbuckets *= 2;
}

static void free_probe(struct health_probe *probe)
{
	if (probe->check)
		marcher__engine__v1__health_check__free_unpacked(probe->check, NULL);
	free(probe->settings.request);
	free(probe->path);
	free(probe->watchers);
	free(probe->key);
	free(probe);
}

static Marcher__Engine__V1__HealthCheck *copy_check(const Marcher__Engine__V1__HealthCheck *check)
{
	size_t length = marcher__engine__v1__health_check__get_packed_size(check);
	uint8_t *packed = malloc(length ? length : 1);
	if (!packed)
		return NULL;
	marcher__engine__v1__health_check__pack(check, packed);
	Marcher__Engine__V1__HealthCheck *copy = marcher__engine__v1__health_check__unpack(NULL, length, packed);
	free(packed);
	if (!copy)
		return NULL;
	/* The agent fills these in and validation bounds them; a zero that came through must not become a busy loop. */
	if (copy->interval_ms < INTERVAL_MIN_MS)
		copy->interval_ms = INTERVAL_MIN_MS;
	if (copy->timeout_ms == 0)
		copy->timeout_ms = copy->interval_ms;
	if (copy->fall == 0)
		copy->fall = 1;
	if (copy->rise == 0)
		copy->rise = 1;
	return copy;
}

/* Takes key. NULL when out of memory. */
static struct health_probe *add_probe(struct prober *prober, uint64_t hash, uint8_t *key, size_t key_length,
                                      const struct addr *addr, const struct endpoint *endpoint, uint8_t proxy,
                                      const Marcher__Engine__V1__HealthCheck *check)
{
	struct health_probe *probe = calloc(1, sizeof(*probe));
	if (!probe) {
		free(key);
		return NULL;
	}
	probe->key = key;
	probe->key_length = key_length;
	probe->hash = hash;
	probe->prober = prober;
	probe->check = copy_check(check);
	if (addr->family == AF_UNIX)
		probe->path = strdup(addr->path);
	probe->settings.addr = *addr;
	if (addr->family == AF_UNIX)
		probe->settings.addr.path = probe->path;
	probe->settings.source = endpoint->backend->source;
	probe->settings.check = probe->check;
	if (!probe->check || (addr->family == AF_UNIX && !probe->path) ||
	    (probe->check->type == MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP &&
	     probe_http_prepare(&probe->settings, proxy) != 0)) {
		free_probe(probe);
		return NULL;
	}
	/* New settings for an endpoint that was probed before: goes on from what is known. */
	probe->state = atomic_load_explicit(&endpoint->health, memory_order_relaxed);
	snprintf(probe->reason, sizeof(probe->reason), "%s", endpoint->health_reason);
	if (probe->state == HEALTH_UNKNOWN)
		prober->nunknown++;
	if (prober->nprobes >= prober->nbuckets)
		grow_table(prober);
	struct health_probe **bucket = &prober->buckets[hash & (prober->nbuckets - 1)];
	probe->chain = *bucket;
	*bucket = probe;
	prober->nprobes++;

	/* One alone is probed at once; many at a rate of about one per millisecond, over an interval at most. */
	uint64_t spread = prober->nunknown < probe->check->interval_ms ? prober->nunknown : probe->check->interval_ms;
	timer_arm(prober->engine->timers, &probe->timer,
	          prober->engine->now_ms + spread_below(prober->engine, spread ? spread : 1), probe_due);
	return probe;
}

static void remove_probe(struct health_probe *probe)
{
	struct prober *prober = probe->prober;
	struct health_probe **link = &prober->buckets[probe->hash & (prober->nbuckets - 1)];
	while (*link != probe)
		link = &(*link)->chain;
	*link = probe->chain;
	prober->nprobes--;
	if (probe->state == HEALTH_UNKNOWN)
		prober->nunknown--;
	timer_disarm(prober->engine->timers, &probe->timer);
	if (probe->queued)
		TAILQ_REMOVE(&prober->waiting, probe, queue);
	if (probe->attempt) {
		probe_cancel(probe->attempt);
		probe->attempt->next = prober->finished;
		prober->finished = probe->attempt;
		prober->in_flight--;
		turn_soon(prober);
	}
	free_probe(probe);
}

static void detach(struct endpoint *endpoint)
{
	struct health_probe *probe = endpoint->probe;
	endpoint->probe = NULL;
	for (size_t i = 0; i < probe->nwatchers; i++) {
		if (probe->watchers[i] == endpoint) {
			probe->watchers[i] = probe->watchers[--probe->nwatchers];
			break;
		}
	}
	if (probe->nwatchers == 0)
		remove_probe(probe);
}

static bool attach(struct health_probe *probe, struct endpoint *endpoint)
{
	if (probe->nwatchers == probe->watchers_capacity) {
		size_t capacity = probe->watchers_capacity ? probe->watchers_capacity * 2 : 1;
		struct endpoint **watchers = realloc(probe->watchers, capacity * sizeof(struct endpoint *));
		if (!watchers)
			return false;
		probe->watchers = watchers;
		probe->watchers_capacity = capacity;
	}
	probe->watchers[probe->nwatchers++] = endpoint;
	endpoint->probe = probe;
	return true;
}

void prober_watch(struct prober *prober, struct endpoint *endpoint, struct service *service)
{
	const Marcher__Engine__V1__HealthCheck *check = service->health;
	struct addr addr = endpoint->addr;

	if (!service->has_health || !check || check->type == MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UNSPECIFIED) {
		prober_unwatch(prober, endpoint);
		return;
	}
	if (check->port && addr.family != AF_UNIX)
		addr.port = (uint16_t)check->port;
	if (addr.family == AF_UNSPEC || (addr.port == 0 && addr.family != AF_UNIX)) {
		/* "The port that the client came to" is no port to probe. */
		prober_unwatch(prober, endpoint);
		return;
	}
	/* A port of its own for probes (a management port) does not expect the header, as in HAProxy. */
	uint8_t proxy = check->port ? 0 : endpoint->backend->send_proxy;
	size_t length;
	uint8_t *key = make_key(&addr, endpoint->backend, proxy, check, &length);
	if (!key) {
		log_line(LOG_ERROR, "health: out of memory, backend is not probed backend=%s", endpoint->backend->name);
		return;
	}
	uint64_t hash = XXH3_64bits(key, length);
	struct health_probe *probe = find_probe(prober, hash, key, length);
	if (probe)
		free(key);
	else
		probe = add_probe(prober, hash, key, length, &addr, endpoint, proxy, check);
	if (probe && probe == endpoint->probe)
		return;
	if (endpoint->probe)
		detach(endpoint);
	if (!probe || !attach(probe, endpoint)) {
		log_line(LOG_ERROR, "health: out of memory, backend is not probed backend=%s", endpoint->backend->name);
		if (probe && probe->nwatchers == 0)
			remove_probe(probe);
		return;
	}
	if (probe->state != HEALTH_UNKNOWN)
		tell_endpoint(prober, endpoint, probe->state, probe->reason);
}

void prober_unwatch(struct prober *prober, struct endpoint *endpoint)
{
	(void)prober;
	if (endpoint->probe)
		detach(endpoint);
	atomic_store_explicit(&endpoint->health, HEALTH_UNKNOWN, memory_order_relaxed);
	endpoint->healthy_since_ms = 0;
	endpoint->health_reason[0] = '\0';
}

struct prober *prober_new(struct engine *engine)
{
	struct prober *prober = calloc(1, sizeof(*prober));
	if (!prober)
		return NULL;
	prober->engine = engine;
	prober->nbuckets = 64;
	prober->buckets = calloc(prober->nbuckets, sizeof(*prober->buckets));
	if (!prober->buckets) {
		free(prober);
		return NULL;
	}
	TAILQ_INIT(&prober->waiting);
	/* Probes may take an eighth of the descriptors: the rest is for traffic. */
	struct rlimit files;
	prober->in_flight_max = ATTEMPTS_MAX;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 8 < ATTEMPTS_MAX)
		prober->in_flight_max = files.rlim_cur / 8 < 8 ? 8 : (unsigned)(files.rlim_cur / 8);
	return prober;
}

void prober_free(struct prober *prober)
{
	if (!prober)
		return;
	for (size_t i = 0; i < prober->nbuckets; i++) {
		for (struct health_probe *probe = prober->buckets[i], *chain; probe; probe = chain) {
			chain = probe->chain;
			for (size_t k = 0; k < probe->nwatchers; k++)
				probe->watchers[k]->probe = NULL;
			remove_probe(probe);
		}
	}
	timer_disarm(prober->engine->timers, &prober->turn);
	while (prober->finished) {
		struct probe_attempt *attempt = prober->finished;
		prober->finished = attempt->next;
		free(attempt);
	}
	free(prober->buckets);
	free(prober);
}
