/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <urcu-qsbr.h>

#include "lb/affinity.h"
#include "lb/geo.h"
#include "listen.h"
#include "mux/tunnel.h"
#include "mux/udp.h"
#include "runtime_internal.h"
#include "upstream/dns.h"
#include "upstream/health.h"
#include "upstream/outlier.h"

#define TICK_MS 1000

static void tick(struct timer *timer, uint64_t now_ms)
{
	struct runtime *runtime = (struct runtime *)((char *)timer - offsetof(struct runtime, tick));
	claims_retry(runtime);
	for (struct shared_affinity *shared = runtime->affinities; shared; shared = shared->next)
		affinity_collect(shared->table, now_ms);
	elsewhere_expire(runtime, now_ms);
	timer_arm(runtime->engine->timers, timer, now_ms + TICK_MS, tick);
}

struct runtime *runtime_new(struct engine *engine)
{
	struct runtime *runtime = calloc(1, sizeof(*runtime));
	if (!runtime)
		return NULL;
	runtime->engine = engine;
	objects_init(runtime);
	timer_arm(engine->timers, &runtime->tick, engine->now_ms + TICK_MS, tick);
	return runtime;
}

/* After the workers have ended: nothing else reads any of it. */
void runtime_free(struct runtime *runtime)
{
	if (!runtime)
		return;
	timer_disarm(runtime->engine->timers, &runtime->tick);
	for (uint32_t i = 0; i < runtime->claims.size;) {
		struct claim *claim = runtime->claims.slots[i].value;
		if (!claim) {
			i++;
			continue;
		}
		claim_discard(runtime, claim);
		claim_free(runtime, claim); /* may move another one here */
	}
	for (uint32_t i = 0; i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (entry && entry->current)
			runtime_remove_service(runtime, entry);
	}
	for (size_t i = 0; i < runtime->ndrains; i++) {
		if (runtime->drains[i].service)
			service_unref(runtime->drains[i].service);
		else
			endpoint_unref(runtime->drains[i].endpoint);
	}
	/* What is given up can bring more to give up. */
	for (int i = 0; i < 16 && (runtime->reclaim_count || atomic_load(&runtime->dead)); i++) {
		uint64_t ticket = grace_request();
		runtime_collect(runtime);
		grace_wait(ticket + 1, 1000);
		runtime_collect(runtime);
	}
	objects_init(NULL);
	table_free(&runtime->claims);
	table_free(&runtime->names);
	free(runtime->drains);
	free(runtime->reclaim);
	free(runtime->free_indices);
	free(runtime->geoip_path);
	free(runtime);
}

uint64_t runtime_generation(const struct runtime *runtime)
{
	return runtime->generation;
}

void runtime_turn(struct runtime *runtime)
{
	while (runtime->dirty) {
		struct service_entry *entry = runtime->dirty;
		runtime->dirty = entry->next_dirty;
		entry->dirty = false;
		entry->next_dirty = NULL;
		view_rebuild(runtime, entry);
		runtime_entry_release(entry);
	}
	runtime_collect(runtime);
}

void runtime_service_changed(struct runtime *runtime, struct service *service)
{
	struct service_entry *entry = ((struct service_object *)service)->entry;
	if (entry->dirty || !entry->current)
		return;
	entry->dirty = true;
	entry->next_dirty = runtime->dirty;
	runtime->dirty = entry;
}

void runtime_backend_changed(struct runtime *runtime, struct backend *backend)
{
	struct service *service = runtime_service_of(runtime, backend);
	if (service)
		runtime_service_changed(runtime, service);
}

struct service *runtime_service_of(struct runtime *runtime, const struct backend *backend)
{
	const struct backend_object *object = (const struct backend_object *)backend;
	(void)runtime;
	return object->current ? &object->current->pub : NULL;
}

/* DNS */

void runtime_backend_resolved(struct runtime *runtime, struct backend *backend, const struct addr *addrs, size_t count)
{
	struct backend_object *object = (struct backend_object *)backend;
	if (!object->current)
		return;
	struct service *service = &object->current->pub;
	struct endpoint **endpoints = calloc(count ? count : 1, sizeof(struct endpoint *));
	if (!endpoints)
		return; /* the old addresses stay; the next answer comes */
	uint32_t n = 0;
	bool changed = false;
	for (size_t i = 0; i < count; i++) {
		struct addr addr = addrs[i];
		if (addr.port == 0)
			addr.port = backend->dns_port;
		bool twice = false;
		for (uint32_t k = 0; k < n && !twice; k++)
			twice = addr_equal(&endpoints[k]->addr, &addr);
		if (twice)
			continue;
		struct endpoint *endpoint = NULL;
		for (uint32_t k = 0; k < backend->nendpoints && !endpoint; k++) {
			if (backend->endpoints[k] && addr_equal(&backend->endpoints[k]->addr, &addr)) {
				endpoint = backend->endpoints[k];
				backend->endpoints[k] = NULL;
			}
		}
		if (!endpoint) {
			struct endpoint_object *made = endpoint_new(backend, &addr);
			if (!made)
				continue;
			changed = true;
			endpoint = &made->pub;
		}
		endpoints[n++] = endpoint;
	}
	struct endpoint **before = backend->endpoints;
	uint32_t nbefore = backend->nendpoints;
	backend->endpoints = endpoints;
	backend->nendpoints = n;
	for (uint32_t k = 0; k < nbefore; k++) {
		if (before[k]) {
			endpoint_retire(runtime, before[k]);
			changed = true;
		}
	}
	free(before);
	for (uint32_t k = 0; k < n; k++) {
		struct endpoint_object *endpoint = (struct endpoint_object *)endpoints[k];
		if (service->has_health && !endpoint->watched) {
			endpoint->watched = true;
			prober_watch(runtime->engine->prober, &endpoint->pub, service);
		}
	}
	if (changed) {
		outlier_process(runtime->engine); /* lets go of those that are gone */
		runtime_service_changed(runtime, service);
	}
}

/* Draining */

/* An old generation may have lost its last reference already and wait to be freed: it must not be brought back. */
static bool try_ref(atomic_uint *refs)
{
	unsigned count = atomic_load_explicit(refs, memory_order_relaxed);
	while (count) {
		if (atomic_compare_exchange_weak_explicit(refs, &count, count + 1, memory_order_relaxed,
		                                          memory_order_relaxed))
			return true;
	}
	return false;
}

void runtime_drain_later(struct runtime *runtime, struct service *service, struct endpoint *endpoint,
                         uint64_t deadline_ms)
{
	if (runtime->ndrains == runtime->drains_capacity) {
		size_t capacity = runtime->drains_capacity ? runtime->drains_capacity * 2 : 64;
		struct drain_order *drains = realloc(runtime->drains, capacity * sizeof(*drains));
		if (!drains) {
			log_line(LOG_ERROR, "drain: out of memory, connections stay until they end service=%s",
			         service ? service->id->name : endpoint->backend->id->name);
			return;
		}
		runtime->drains = drains;
		runtime->drains_capacity = capacity;
	}
	if (!try_ref(service ? &service->refs : &endpoint->refs))
		return;
	runtime->drains[runtime->ndrains++] = (struct drain_order){service, endpoint, deadline_ms};
}

static void drop_order(const struct drain_order *order)
{
	if (order->service)
		service_unref(order->service);
	if (order->endpoint)
		endpoint_unref(order->endpoint);
}

struct drain_batch {
	struct worker_message message;
	size_t count;
	struct drain_order orders[];
};

static void drain_on_worker(struct worker *worker, struct worker_message *message)
{
	struct drain_batch *batch = (struct drain_batch *)message;
	for (size_t i = 0; i < batch->count; i++) {
		const struct drain_order *order = &batch->orders[i];
		tunnel_drain(worker, order->service, order->endpoint, order->deadline_ms);
		udp_drain(worker, order->service, order->endpoint, order->deadline_ms);
		drop_order(order);
	}
	free(batch);
}

static bool in_use(const struct drain_order *order)
{
	return atomic_load(order->service ? order->service->active : &order->endpoint->active) > 0;
}

void runtime_send_drains(struct runtime *runtime)
{
	struct engine *engine = runtime->engine;
	size_t used = 0;
	/* Workers walk over their connections once per order: only for what has some. */
	for (size_t i = 0; i < runtime->ndrains; i++) {
		if (in_use(&runtime->drains[i]))
			runtime->drains[used++] = runtime->drains[i];
		else
			drop_order(&runtime->drains[i]);
	}
	for (unsigned w = 0; used && w < engine->nworkers; w++) {
		struct drain_batch *batch = malloc(sizeof(*batch) + used * sizeof(batch->orders[0]));
		if (!batch) {
			log_line(LOG_ERROR, "drain: out of memory, connections stay until they end worker=%u", w);
			continue;
		}
		batch->message.run = drain_on_worker;
		batch->count = used;
		memcpy(batch->orders, runtime->drains, used * sizeof(batch->orders[0]));
		for (size_t i = 0; i < used; i++) {
			if (batch->orders[i].service)
				service_ref(batch->orders[i].service);
			if (batch->orders[i].endpoint)
				endpoint_ref(batch->orders[i].endpoint);
		}
		worker_post(engine->workers[w], &batch->message);
	}
	for (size_t i = 0; i < used; i++)
		drop_order(&runtime->drains[i]);
	free(runtime->drains);
	runtime->drains = NULL;
	runtime->ndrains = runtime->drains_capacity = 0;
}

/* The node */

void runtime_set_node(struct runtime *runtime, const Marcher__Engine__V1__Node *node, struct geoip *geoip)
{
	struct engine *engine = runtime->engine;
	snprintf(engine->region, sizeof(engine->region), "%s", node->region);
	engine->country = country_code(node->country);
	atomic_store(&engine->region_index,
	             engine->region[0] ? region_intern(engine->region) : region_of_country(engine->country));
	const char *path = runtime->geoip_path ? runtime->geoip_path : "";
	if (strcmp(path, node->geoip_path) == 0)
		return;
	if (!geoip && node->geoip_path[0])
		return; /* cannot be read: the one before stays, and the next snapshot tries again */
	char *copy = strdup(node->geoip_path);
	struct geoip *before = atomic_exchange(&engine->geoip, geoip);
	runtime_reclaim(runtime, RECLAIM_GEOIP, before);
	free(runtime->geoip_path);
	runtime->geoip_path = copy;
}

static void stop_listening(struct runtime *runtime, bool leave, uint64_t deadline_ms)
{
	for (uint32_t i = 0; i < runtime->claims.size; i++) {
		struct claim *claim = runtime->claims.slots[i].value;
		if (!claim || !claim->listener)
			continue;
		uint64_t deadline = deadline_ms;
		if (!deadline)
			deadline = runtime->engine->now_ms + claim->owner->current->pub.drain_timeout_ms;
		claim_close(runtime, claim, deadline, leave);
		claim->error = 0;
		claim_mark_unbound(runtime, claim);
	}
}

void runtime_set_draining(struct runtime *runtime, bool draining)
{
	if (draining == runtime->draining || runtime->retired)
		return;
	runtime->draining = draining;
	log_line(LOG_INFO, "node: %s", draining ? "draining, no listener accepts" : "back in service");
	if (!draining) {
		claims_open_all(runtime);
		return;
	}
	stop_listening(runtime, false, 0);
	for (uint32_t i = 0; i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (!entry || !entry->current)
			continue;
		for (struct service_object *service = entry->generations; service; service = service->older)
			runtime_drain_later(runtime, &service->pub, NULL,
			                    runtime->engine->now_ms + entry->current->pub.drain_timeout_ms);
	}
}

struct drain_all {
	struct worker_message message;
	uint64_t deadline_ms;
};

static void drain_everything(struct worker *worker, struct worker_message *message)
{
	struct drain_all *all = (struct drain_all *)message;
	tunnel_drain(worker, NULL, NULL, all->deadline_ms);
	udp_drain(worker, NULL, NULL, all->deadline_ms);
	free(all);
}

void runtime_retire(struct runtime *runtime, uint32_t drain_ms)
{
	struct engine *engine = runtime->engine;
	uint64_t deadline_ms = engine->now_ms + drain_ms;
	runtime->retired = true;
	stop_listening(runtime, true, deadline_ms);
	for (unsigned w = 0; w < engine->nworkers; w++) {
		struct drain_all *all = calloc(1, sizeof(*all));
		if (!all)
			continue; /* cut when the process ends */
		all->message.run = drain_everything;
		all->deadline_ms = deadline_ms;
		worker_post(engine->workers[w], &all->message);
	}
}

/* What others ask */

void runtime_each_listener(struct runtime *runtime, void (*visit)(struct listener *listener, void *context),
                           void *context)
{
	for (uint32_t i = 0; i < runtime->claims.size; i++) {
		struct claim *claim = runtime->claims.slots[i].value;
		if (claim && claim->listener)
			visit(claim->listener, context);
	}
}

static char *health_text(const struct endpoint *endpoint)
{
	switch ((enum health)atomic_load_explicit(&endpoint->health, memory_order_relaxed)) {
	case HEALTH_HEALTHY:
		return strdup("healthy");
	case HEALTH_UNHEALTHY:
		return strdup("unhealthy");
	default:
		return strdup("unknown");
	}
}

static Marcher__Engine__V1__EndpointState *endpoint_state(const struct endpoint *endpoint)
{
	Marcher__Engine__V1__EndpointState *state = malloc(sizeof(*state));
	char text[ADDR_TEXT_MAX];
	if (!state)
		return NULL;
	marcher__engine__v1__endpoint_state__init(state);
	state->address = strdup(addr_text(&endpoint->addr, text));
	state->health = health_text(endpoint);
	state->reason = strdup(endpoint->health_reason);
	state->ejected = atomic_load_explicit(&endpoint->ejected, memory_order_relaxed);
	state->connections = atomic_load_explicit(&endpoint->active, memory_order_relaxed);
	if (state->address && state->health && state->reason)
		return state;
	marcher__engine__v1__endpoint_state__free_unpacked(state, NULL);
	return NULL;
}

static Marcher__Engine__V1__BackendState *backend_state(const struct backend *backend)
{
	Marcher__Engine__V1__BackendState *state = malloc(sizeof(*state));
	if (!state)
		return NULL;
	marcher__engine__v1__backend_state__init(state);
	state->service = strdup(backend->id->name);
	state->backend = strdup(backend->name);
	state->endpoints = calloc(backend->nendpoints ? backend->nendpoints : 1, sizeof(*state->endpoints));
	state->weight = backend->weight;
	state->draining = backend->drain;
	state->connections = atomic_load_explicit(&backend->active, memory_order_relaxed);
	for (uint32_t i = 0; i < backend->nendpoints; i++)
		state->elsewhere += atomic_load_explicit(&backend->endpoints[i]->elsewhere, memory_order_relaxed);
	bool complete = state->service && state->backend && state->endpoints;
	for (uint32_t i = 0; complete && i < backend->nendpoints; i++) {
		state->endpoints[i] = endpoint_state(backend->endpoints[i]);
		complete = state->endpoints[i] != NULL;
		state->n_endpoints += complete;
	}
	if (complete)
		return state;
	marcher__engine__v1__backend_state__free_unpacked(state, NULL);
	return NULL;
}

/* stats NULL: without counters. */
static int append_backends(const struct service *service, const struct stats *stats,
                           Marcher__Engine__V1__BackendsReply *reply, size_t *capacity)
{
	if (reply->n_backends + service->nbackends > *capacity) {
		size_t wanted = (reply->n_backends + service->nbackends) * 2;
		void *grown = realloc(reply->backends, wanted * sizeof(reply->backends[0]));
		if (!grown)
			return -ENOMEM;
		reply->backends = grown;
		*capacity = wanted;
	}
	for (uint32_t i = 0; i < service->nbackends; i++) {
		Marcher__Engine__V1__BackendState *state = backend_state(service->backends[i]);
		if (!state)
			return -ENOMEM;
		if (stats)
			state->opened = stats_sum(stats, service->backends[i]->slot, MARCHER_CONNECTIONS_OPENED);
		reply->backends[reply->n_backends++] = state;
	}
	return 0;
}

int runtime_backends(struct runtime *runtime, const char *service, Marcher__Engine__V1__BackendsReply *reply)
{
	size_t capacity = 0;
	if (service && *service) {
		struct service_entry *entry = runtime_entry(runtime, service, strlen(service));
		return entry && entry->current
		               ? append_backends(&entry->current->pub, runtime->engine->stats, reply, &capacity)
		               : 0;
	}
	for (uint32_t i = 0; i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (entry && entry->current && append_backends(&entry->current->pub, NULL, reply, &capacity) != 0)
			return -ENOMEM;
	}
	return 0;
}

void runtime_reply_free(Marcher__Engine__V1__ApplyReply *reply)
{
	reasons_free_items(reply->reasons, reply->n_reasons);
	reasons_free_items(reply->unbound, reply->n_unbound);
	marcher__engine__v1__apply_reply__init(reply);
}
