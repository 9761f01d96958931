/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service of a snapshot that differs from what runs is built as a new object beside the old one. Backends that stay
 * what they are (same name, target, PROXY header and source) are shared, so their counters, health and addresses carry
 * over; what else is set on them changes only when the draft is committed.
 */
#include <stdio.h>
#include <string.h>

#include "filter/source_limit.h"
#include "lb/affinity.h"
#include "marcher.h"
#include "qos/qos.h"
#include "runtime_internal.h"
#include "steered.h"
#include "upstream/dns.h"
#include "upstream/health.h"
#include "upstream/outlier.h"

#define SOURCES_MAX 65536u

static bool backend_named(const void *value, const void *key)
{
	return strcmp(((const struct backend *)value)->name, key) == 0;
}

/* The backends of what runs, by name. */
static bool index_backends(const struct service_entry *entry, struct table *table)
{
	if (!entry->current)
		return true;
	const struct service *service = &entry->current->pub;
	if (!table_reserve(table, service->nbackends))
		return false;
	for (uint32_t i = 0; i < service->nbackends; i++)
		table_insert(table, table_hash(service->backends[i]->name, strlen(service->backends[i]->name)),
		             service->backends[i]);
	return true;
}

static void source_of(const Marcher__Engine__V1__Backend *message, struct addr *source)
{
	if (!addr_from_bytes(source, message->source_address.data, message->source_address.len, 0))
		memset(source, 0, sizeof(*source));
}

static bool same_backend(const struct backend *backend, const Marcher__Engine__V1__Backend *message)
{
	struct addr addr;
	source_of(message, &addr);
	if (backend->send_proxy != (uint8_t)message->send_proxy || !addr_equal(&backend->source, &addr))
		return false;
	switch (message->target_case) {
	case MARCHER__ENGINE__V1__BACKEND__TARGET_IP:
		return backend->target == TARGET_IP &&
		       addr_from_bytes(&addr, message->ip->address.data, message->ip->address.len,
		                       (uint16_t)message->ip->port) &&
		       addr_equal(&backend->target_addr, &addr);
	case MARCHER__ENGINE__V1__BACKEND__TARGET_DNS:
		return backend->target == TARGET_DNS && backend->dns_port == message->dns->port &&
		       strcmp(backend->dns_host, message->dns->host) == 0;
	case MARCHER__ENGINE__V1__BACKEND__TARGET_UNIX_PATH:
		return backend->target == TARGET_UNIX && strcmp(backend->target_addr.path, message->unix_path) == 0;
	default:
		return false;
	}
}

static struct backend *backend_new(struct runtime *runtime, struct service_entry *entry,
                                   const Marcher__Engine__V1__Backend *message)
{
	struct backend_object *object = calloc(1, sizeof(*object));
	if (!object)
		return NULL;
	struct backend *backend = &object->pub;
	atomic_init(&backend->refs, 1);
	backend->id = &entry->id;
	entry->id.refs++;
	backend->name = strdup(message->name);
	backend->send_proxy = (uint8_t)message->send_proxy;
	source_of(message, &backend->source);
	bool complete = backend->name != NULL;
	switch (message->target_case) {
	case MARCHER__ENGINE__V1__BACKEND__TARGET_DNS:
		backend->target = TARGET_DNS;
		backend->dns_port = (uint16_t)message->dns->port;
		backend->dns_host = strdup(message->dns->host);
		complete &= backend->dns_host != NULL;
		break;
	case MARCHER__ENGINE__V1__BACKEND__TARGET_UNIX_PATH:
		backend->target = TARGET_UNIX;
		backend->target_addr.family = AF_UNIX;
		backend->target_addr.path = strdup(message->unix_path);
		complete &= backend->target_addr.path != NULL;
		break;
	default:
		backend->target = TARGET_IP;
		addr_from_bytes(&backend->target_addr, message->ip->address.data, message->ip->address.len,
		                (uint16_t)message->ip->port);
		break;
	}
	if (complete && backend->target != TARGET_DNS) {
		struct endpoint_object *endpoint = endpoint_new(backend, &backend->target_addr);
		backend->endpoints = malloc(sizeof(*backend->endpoints));
		if (endpoint && backend->endpoints) {
			backend->endpoints[0] = &endpoint->pub;
			backend->nendpoints = 1;
		} else {
			if (endpoint)
				endpoint_unref(&endpoint->pub);
			complete = false;
		}
	}
	if (complete)
		backend->slot =
		        stats_slot_acquire(runtime->engine->stats, MARCHER_SLOT_BACKEND, entry->id.name, backend->name);
	if (!complete) {
		backend_unref(runtime, backend);
		return NULL;
	}
	return backend;
}

/* A backend that was never published, or is not any more: endpoints point to it, so they have to go first. */
static void retire_endpoints(struct runtime *runtime, struct backend *backend)
{
	for (uint32_t i = 0; i < backend->nendpoints; i++)
		endpoint_retire(runtime, backend->endpoints[i]);
	backend->nendpoints = 0;
}

static struct shared_affinity *affinity_for(struct runtime *runtime, const struct service_entry *entry,
                                            const struct service *service, const Marcher__Engine__V1__Affinity *message)
{
	struct service_object *old = entry->current;
	/* Other prefixes are other keys: the table begins anew. */
	if (old && old->affinity && old->affinity->ttl_ms == message->ttl_ms &&
	    old->affinity->max_entries == message->max_entries &&
	    old->pub.affinity_v4_bits == service->affinity_v4_bits &&
	    old->pub.affinity_v6_bits == service->affinity_v6_bits) {
		old->affinity->refs++;
		return old->affinity;
	}
	struct shared_affinity *shared = calloc(1, sizeof(*shared));
	if (!shared)
		return NULL;
	shared->table = affinity_new(message->ttl_ms, message->max_entries);
	if (!shared->table) {
		free(shared);
		return NULL;
	}
	shared->refs = 1;
	shared->ttl_ms = message->ttl_ms;
	shared->max_entries = message->max_entries;
	shared->next = runtime->affinities;
	shared->pprev = &runtime->affinities;
	if (shared->next)
		shared->next->pprev = &shared->next;
	runtime->affinities = shared;
	return shared;
}

static struct shared_source_limit *source_limit_for(const struct service_entry *entry, const struct service *service)
{
	struct service_object *old = entry->current;
	if (old && old->source_limit && old->pub.source_v4_bits == service->source_v4_bits &&
	    old->pub.source_v6_bits == service->source_v6_bits) {
		old->source_limit->refs++;
		return old->source_limit;
	}
	struct shared_source_limit *shared = calloc(1, sizeof(*shared));
	if (!shared)
		return NULL;
	shared->table = source_limit_new(SOURCES_MAX);
	if (!shared->table) {
		free(shared);
		return NULL;
	}
	shared->refs = 1;
	return shared;
}

static bool copy_settings(struct runtime *runtime, struct service_object *object,
                          const Marcher__Engine__V1__Service *message)
{
	struct service *service = &object->pub;
	struct service_entry *entry = object->entry;
	service->algorithm = (enum algorithm)message->algorithm;
	service->max_connections = message->max_connections;
	service->connect_timeout_ms = message->connect_timeout_ms;
	service->idle_timeout_ms = message->idle_timeout_ms;
	service->udp_idle_timeout_ms = message->udp_idle_timeout_ms;
	service->half_closed_timeout_ms = message->half_closed_timeout_ms;
	service->drain_timeout_ms = message->drain_timeout_ms;
	service->panic_threshold_percent = message->panic_threshold_percent;
	service->slow_start_ms = message->slow_start_ms;
	service->maglev_table_size = message->maglev_table_size;
	service->udp_max_sessions = message->udp_max_sessions;
	service->dns_min_ttl_ms = message->dns_min_ttl_ms;
	service->dns_max_ttl_ms = message->dns_max_ttl_ms;
	service->max_connections_per_source = message->max_connections_per_source;
	service->source_v4_bits = (uint8_t)message->source_ipv4_prefix;
	service->source_v6_bits = (uint8_t)message->source_ipv6_prefix;
	if (message->outlier) {
		service->has_outlier = true;
		service->outlier_failures = message->outlier->consecutive_failures;
		service->outlier_base_ms = message->outlier->base_ejection_ms;
		service->outlier_max_ms = message->outlier->max_ejection_ms;
		service->outlier_max_percent = message->outlier->max_ejected_percent;
	}
	if (message->affinity) {
		service->affinity_v4_bits = (uint8_t)message->affinity->ipv4_prefix;
		service->affinity_v6_bits = (uint8_t)message->affinity->ipv6_prefix;
		object->affinity = affinity_for(runtime, entry, service, message->affinity);
		if (!object->affinity)
			return false;
		service->affinity = object->affinity->table;
	}
	if (message->max_connections_per_source) {
		object->source_limit = source_limit_for(entry, service);
		if (!object->source_limit)
			return false;
		service->source_limit = object->source_limit->table;
	}
	return true;
}

static void settings_from(struct backend_settings *settings, const Marcher__Engine__V1__Backend *message)
{
	settings->weight = message->weight;
	settings->soft_limit = message->soft_limit;
	settings->hard_limit = message->hard_limit;
	settings->country = country_code(message->country);
	settings->drain = message->drain;
	snprintf(settings->region, sizeof(settings->region), "%s", message->region);
}

static bool copy_backends(struct runtime *runtime, struct draft *draft, const Marcher__Engine__V1__Service *message)
{
	struct service *service = &draft->service->pub;
	struct table old = {0};
	service->nbackends = 0;
	service->backends = calloc(message->n_backends ? message->n_backends : 1, sizeof(*service->backends));
	draft->settings = calloc(message->n_backends ? message->n_backends : 1, sizeof(*draft->settings));
	bool complete = service->backends && draft->settings && index_backends(draft->entry, &old);
	for (size_t i = 0; complete && i < message->n_backends; i++) {
		const Marcher__Engine__V1__Backend *from = message->backends[i];
		struct backend *backend =
		        table_find(&old, table_hash(from->name, strlen(from->name)), backend_named, from->name);
		if (backend && same_backend(backend, from))
			atomic_fetch_add_explicit(&backend->refs, 1, memory_order_relaxed);
		else
			backend = backend_new(runtime, draft->entry, from);
		complete = backend != NULL;
		if (backend) {
			settings_from(&draft->settings[service->nbackends], from);
			service->backends[service->nbackends++] = backend;
		}
	}
	table_free(&old);
	return complete;
}

static bool copy_listeners(struct draft *draft, const Marcher__Engine__V1__Service *message)
{
	draft->listeners = calloc(message->n_listeners ? message->n_listeners : 1, sizeof(*draft->listeners));
	if (!draft->listeners)
		return false;
	draft->nlisteners = message->n_listeners;
	for (size_t i = 0; i < message->n_listeners; i++) {
		const Marcher__Engine__V1__Listener *from = message->listeners[i];
		struct draft_listener *listener = &draft->listeners[i];
		listener->transport = from->transport == MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_UDP ? TRANSPORT_UDP
		                                                                                       : TRANSPORT_TCP;
		addr_from_bytes(&listener->addr, from->address.data, from->address.len, 0);
		listener->port_first = from->port_first;
		listener->port_last = from->port_last;
		listener->steered = from->steered;
		if (from->steered)
			listener->prefix_length =
			        from->prefix_length ? (uint8_t)from->prefix_length : steered_whole(&listener->addr);
		listener->max_connections = from->max_connections;
		listener->backlog = from->backlog ? from->backlog : SNAPSHOT_BACKLOG_DEFAULT;
		if (!from->n_accept_proxy_from)
			continue;
		listener->prefixes = calloc(from->n_accept_proxy_from, sizeof(*listener->prefixes));
		if (!listener->prefixes)
			return false;
		for (size_t k = 0; k < from->n_accept_proxy_from; k++) {
			const Marcher__Engine__V1__Prefix *prefix = from->accept_proxy_from[k];
			struct addr addr;
			addr_from_bytes(&addr, prefix->address.data, prefix->address.len, 0);
			struct prefix *out = &listener->prefixes[listener->nprefixes++];
			out->family = (uint8_t)addr.family;
			memcpy(out->ip, addr.ip, sizeof(out->ip));
			/* A mapped prefix became IPv4, as clients' addresses do: ::ffff:10.0.0.0/104 is 10.0.0.0/8. */
			uint32_t length = prefix->length;
			if (addr.family == AF_INET && prefix->address.len == 16)
				length = length > 96 ? length - 96 : 0;
			out->length = (uint8_t)length;
		}
	}
	return true;
}

struct draft *draft_new(struct runtime *runtime, struct service_entry *entry, size_t index,
                        const Marcher__Engine__V1__Service *message, uint64_t hash, size_t packed_length)
{
	struct draft *draft = calloc(1, sizeof(*draft));
	struct service_object *object = calloc(1, sizeof(*object));
	if (!draft || !object) {
		free(draft);
		free(object);
		return NULL;
	}
	draft->index = index;
	draft->entry = entry;
	draft->service = object;
	object->dead.kind = DEAD_SERVICE;
	object->entry = entry;
	object->packed_length = packed_length;
	object->pub.id = &entry->id;
	entry->id.refs++;
	object->pub.active = &entry->active;
	object->pub.config_hash = hash;
	atomic_init(&object->pub.refs, 1);
	object->pub.slot = stats_slot_acquire(runtime->engine->stats, MARCHER_SLOT_SERVICE, entry->id.name, "");
	if (!copy_settings(runtime, object, message) || !copy_backends(runtime, draft, message) ||
	    !copy_listeners(draft, message)) {
		draft_free(runtime, draft);
		return NULL;
	}
	if (message->traffic_policy) {
		draft->policy = qos_policy_new(message->traffic_policy);
		if (!draft->policy || !policies_reserve(runtime, entry)) {
			draft_free(runtime, draft);
			return NULL;
		}
	}
	if (message->health && message->health->type != MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UNSPECIFIED) {
		size_t size = marcher__engine__v1__health_check__get_packed_size(message->health);
		uint8_t *packed = malloc(size ? size : 1);
		if (packed) {
			marcher__engine__v1__health_check__pack(message->health, packed);
			object->health = marcher__engine__v1__health_check__unpack(NULL, size, packed);
			free(packed);
		}
		if (!object->health) {
			draft_free(runtime, draft);
			return NULL;
		}
		object->pub.health = object->health;
		object->pub.has_health = true;
	}
	return draft;
}

void draft_done(struct draft *draft)
{
	for (size_t i = 0; i < draft->nlisteners; i++)
		free(draft->listeners[i].prefixes);
	free(draft->listeners);
	free(draft->settings);
	free(draft->policy);
	free(draft);
}

void draft_free(struct runtime *runtime, struct draft *draft)
{
	struct service *service = &draft->service->pub;
	struct service_entry *entry = draft->entry;
	for (uint32_t i = 0; service->backends && i < service->nbackends; i++) {
		struct backend_object *backend = (struct backend_object *)service->backends[i];
		if (!backend->current)
			retire_endpoints(runtime, &backend->pub);
	}
	entry->draft = NULL;
	service_destroy(runtime, draft->service); /* nobody else has seen it; may free the entry */
	draft_done(draft);
}

static void apply_settings(struct backend *backend, const struct backend_settings *settings)
{
	backend->weight = settings->weight;
	backend->soft_limit = settings->soft_limit;
	backend->hard_limit = settings->hard_limit;
	backend->country = settings->country;
	backend->drain = settings->drain;
	memcpy(backend->region, settings->region, sizeof(backend->region));
}

static void watch_endpoint(struct runtime *runtime, struct endpoint *endpoint, struct service *service)
{
	struct endpoint_object *object = (struct endpoint_object *)endpoint;
	if (service->has_health) {
		object->watched = true;
		prober_watch(runtime->engine->prober, endpoint, service);
	} else if (object->watched) {
		object->watched = false;
		prober_unwatch(runtime->engine->prober, endpoint);
	}
}

static void backend_remove(struct runtime *runtime, struct backend_object *backend, uint64_t deadline_ms)
{
	backend->current = NULL;
	if (backend->watched_dns) {
		backend->watched_dns = false;
		dns_unwatch(runtime->engine->dns, &backend->pub);
	}
	for (uint32_t i = 0; i < backend->pub.nendpoints; i++) {
		if (deadline_ms)
			runtime_drain_later(runtime, NULL, backend->pub.endpoints[i], deadline_ms);
	}
	retire_endpoints(runtime, &backend->pub);
}

static bool same_health(const struct service *a, const struct service *b)
{
	if (!a->has_health || !b->has_health)
		return a->has_health == b->has_health;
	size_t length = marcher__engine__v1__health_check__get_packed_size(a->health);
	if (length != marcher__engine__v1__health_check__get_packed_size(b->health))
		return false;
	uint8_t *packed = malloc(2 * length + 1);
	if (!packed)
		return false;
	marcher__engine__v1__health_check__pack(a->health, packed);
	marcher__engine__v1__health_check__pack(b->health, packed + length);
	bool same = memcmp(packed, packed + length, length) == 0;
	free(packed);
	return same;
}

void draft_commit(struct runtime *runtime, struct draft *draft)
{
	struct service_entry *entry = draft->entry;
	struct service_object *object = draft->service, *old = entry->current;
	struct service *service = &object->pub;
	struct engine *engine = runtime->engine;
	bool health_changed = !old || !same_health(&old->pub, service);
	bool ttl_changed = old && (old->pub.dns_min_ttl_ms != service->dns_min_ttl_ms ||
	                           old->pub.dns_max_ttl_ms != service->dns_max_ttl_ms);

	entry->draft = NULL;
	entry->current = object;
	object->older = entry->generations;
	entry->generations = object;
	for (uint32_t i = 0; i < service->nbackends; i++) {
		struct backend_object *backend = (struct backend_object *)service->backends[i];
		apply_settings(&backend->pub, &draft->settings[i]);
		if (!backend->current || health_changed) {
			backend->current = object;
			for (uint32_t k = 0; k < backend->pub.nendpoints; k++)
				watch_endpoint(runtime, backend->pub.endpoints[k], service);
		}
		backend->current = object;
	}
	if (old) {
		uint64_t deadline_ms = engine->now_ms + service->drain_timeout_ms;
		for (uint32_t i = 0; i < old->pub.nbackends; i++) {
			struct backend_object *backend = (struct backend_object *)old->pub.backends[i];
			if (backend->current == old)
				backend_remove(runtime, backend, deadline_ms ? deadline_ms : 1);
		}
		runtime_reclaim(runtime, RECLAIM_SERVICE, old);
	}
	policies_publish(runtime, entry, draft->policy);
	draft->policy = NULL;
	view_rebuild(runtime, entry);
	/* Answers at hand come back at once, into a service that is in place by now. */
	for (uint32_t i = 0; i < service->nbackends; i++) {
		struct backend_object *backend = (struct backend_object *)service->backends[i];
		if (backend->pub.target != TARGET_DNS || (backend->watched_dns && !ttl_changed))
			continue;
		if (backend->watched_dns)
			dns_unwatch(engine->dns, &backend->pub);
		backend->watched_dns = true;
		dns_watch(engine->dns, &backend->pub, service->dns_min_ttl_ms, service->dns_max_ttl_ms);
	}
}

/* No connection can begin on it any more, so its backends can go. */
static void finish_removal(struct runtime *runtime, struct service_object *old)
{
	old->leaving = false;
	for (uint32_t i = 0; i < old->pub.nbackends; i++) {
		struct backend_object *backend = (struct backend_object *)old->pub.backends[i];
		if (backend->current == old)
			backend_remove(runtime, backend, 0); /* the service's own drain covers its connections */
	}
	if (!old->entry->current)
		view_rebuild(runtime, old->entry);
	runtime_reclaim(runtime, RECLAIM_SERVICE, old);
}

void runtime_binding_gone(struct runtime *runtime, struct service_object *service)
{
	if (--service->bindings == 0 && service->leaving)
		finish_removal(runtime, service);
}

/*
 * Workers may be accepting for it this very moment, and are about to take what waits at listeners that close: until
 * they have let go of its bindings such connections find its backends in place, as if they had come a moment earlier.
 */
void runtime_remove_service(struct runtime *runtime, struct service_entry *entry)
{
	struct service_object *old = entry->current;
	uint64_t deadline_ms = runtime->engine->now_ms + old->pub.drain_timeout_ms;
	entry->current = NULL;
	timer_disarm(runtime->engine->timers, &entry->ramp);
	for (struct service_object *service = entry->generations; service; service = service->older) {
		atomic_store(&service->pub.drain_until_ms, deadline_ms);
		atomic_store(&service->pub.removed, true);
		runtime_drain_later(runtime, &service->pub, NULL, deadline_ms);
	}
	for (uint32_t i = 0; i < old->pub.nbackends; i++) {
		struct backend_object *backend = (struct backend_object *)old->pub.backends[i];
		/* The view is not rebuilt any more: its endpoints have to stay what they are. */
		if (backend->current == old && backend->watched_dns) {
			backend->watched_dns = false;
			dns_unwatch(runtime->engine->dns, &backend->pub);
		}
	}
	if (old->bindings)
		old->leaving = true;
	else
		finish_removal(runtime, old);
}
