/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life and death of what model.h describes:
 *
 *   published ──▶ unpublished, grace period asked for ──▶ over: the publication's reference is given back
 *             ──▶ last reference gone (a connection's, on any thread) ──▶ queue of the dead ──▶ freed by the main
 * thread
 *
 * Whoever still has a reference may take more; nobody else can find the object any more.
 */
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <urcu-qsbr.h>

#include "filter/source_limit.h"
#include "lb/affinity.h"
#include "lb/geo.h"
#include "lb/lb.h"
#include "listen.h"
#include "runtime_internal.h"
#include "upstream/dns.h"
#include "upstream/health.h"

/* References are counted down on any thread, and there is one running configuration in a process. */
static struct runtime *the_runtime;

void objects_init(struct runtime *runtime)
{
	the_runtime = runtime;
}

static void bury(struct dead *dead)
{
	struct runtime *runtime = the_runtime;
	/* Once published it is the reader's and may be gone: nothing of it is read after that. */
	struct dead *before = atomic_load_explicit(&runtime->dead, memory_order_relaxed);
	do
		dead->next = before;
	while (!atomic_compare_exchange_weak_explicit(&runtime->dead, &before, dead, memory_order_release,
	                                              memory_order_relaxed));
	/* The main thread looks at the end of its turn anyway. */
	if (this_worker && !before)
		engine_wake(runtime->engine);
}

static bool count_down(atomic_uint *refs)
{
	return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

void service_ref(struct service *service)
{
	atomic_fetch_add_explicit(&service->refs, 1, memory_order_relaxed);
}

void service_unref(struct service *service)
{
	if (count_down(&service->refs))
		bury(&((struct service_object *)service)->dead);
}

void endpoint_ref(struct endpoint *endpoint)
{
	atomic_fetch_add_explicit(&endpoint->refs, 1, memory_order_relaxed);
}

void endpoint_unref(struct endpoint *endpoint)
{
	if (count_down(&endpoint->refs))
		bury(&((struct endpoint_object *)endpoint)->dead);
}

void listener_ref(struct listener *listener)
{
	atomic_fetch_add_explicit(&listener->refs, 1, memory_order_relaxed);
}

void listener_unref(struct listener *listener)
{
	if (count_down(&listener->refs))
		bury(&((struct listener_object *)listener)->dead);
}

/* Reclaiming */

static void give_up(struct runtime *runtime, enum reclaim_kind kind, void *object)
{
	switch (kind) {
	case RECLAIM_FREE:
		free(object);
		break;
	case RECLAIM_VIEW:
		view_free(object);
		break;
	case RECLAIM_BINDING: {
		struct binding *binding = object;
		runtime_binding_gone(runtime, (struct service_object *)binding->service);
		service_unref(binding->service);
		free(binding->accept_proxy);
		free(binding);
		break;
	}
	case RECLAIM_SERVICE:
		service_unref(object);
		break;
	case RECLAIM_ENDPOINT:
		endpoint_unref(object);
		break;
	case RECLAIM_LISTENER:
		listener_unref(object);
		break;
	case RECLAIM_SLOT:
		stats_slot_release(runtime->engine->stats, (uint32_t)(uintptr_t)object);
		break;
	case RECLAIM_GEOIP:
		geoip_close(object);
		break;
	}
}

static bool grow_reclaim(struct runtime *runtime)
{
	uint32_t size = runtime->reclaim_size ? runtime->reclaim_size * 2 : 256;
	struct reclaim_item *items = malloc(size * sizeof(*items));
	if (!items)
		return false;
	for (uint32_t i = 0; i < runtime->reclaim_count; i++)
		items[i] = runtime->reclaim[(runtime->reclaim_head + i) & (runtime->reclaim_size - 1)];
	free(runtime->reclaim);
	runtime->reclaim = items;
	runtime->reclaim_size = size;
	runtime->reclaim_head = 0;
	return true;
}

void runtime_reclaim(struct runtime *runtime, enum reclaim_kind kind, void *object)
{
	if (!object)
		return;
	if (runtime->reclaim_count == runtime->reclaim_size && !grow_reclaim(runtime)) {
		synchronize_rcu();
		give_up(runtime, kind, object);
		return;
	}
	runtime->reclaim[(runtime->reclaim_head + runtime->reclaim_count++) & (runtime->reclaim_size - 1)] =
	        (struct reclaim_item){.kind = kind, .object = object};
}

void runtime_reclaim_slot(struct runtime *runtime, uint32_t slot)
{
	/* 0, when all were in use, is nobody's; as a pointer it is dropped. */
	runtime_reclaim(runtime, RECLAIM_SLOT, (void *)(uintptr_t)slot);
}

static void endpoint_destroy(struct runtime *runtime, struct endpoint_object *object)
{
	struct endpoint *endpoint = &object->pub;
	struct backend *backend = endpoint->backend;
	/* Its address may become another endpoint's: no table may still remember it. */
	struct service_entry *entry = (struct service_entry *)backend->id;
	for (struct service_object *service = entry->generations; service; service = service->older) {
		if (service->affinity && (!service->older || service->older->affinity != service->affinity))
			affinity_forget(service->affinity->table, endpoint);
	}
	free(endpoint->path);
	free(object);
	backend_unref(runtime, backend);
}

static void listener_destroy(struct runtime *runtime, struct listener_object *object)
{
	if (object->owns_slot)
		runtime_reclaim_slot(runtime, object->pub.slot);
	listen_freed(&object->pub);
	free(object);
}

static void bury_all(struct runtime *runtime)
{
	struct dead *dead;
	while ((dead = atomic_exchange_explicit(&runtime->dead, NULL, memory_order_acquire))) {
		while (dead) {
			struct dead *next = dead->next;
			switch (dead->kind) {
			case DEAD_SERVICE:
				service_destroy(runtime,
				                (struct service_object *)((char *)dead -
				                                          offsetof(struct service_object, dead)));
				break;
			case DEAD_ENDPOINT:
				endpoint_destroy(runtime,
				                 (struct endpoint_object *)((char *)dead -
				                                            offsetof(struct endpoint_object, dead)));
				break;
			case DEAD_LISTENER:
				listener_destroy(runtime,
				                 (struct listener_object *)((char *)dead -
				                                            offsetof(struct listener_object, dead)));
				break;
			}
			dead = next;
		}
	}
}

void runtime_collect(struct runtime *runtime)
{
	/* New ones are at the end: one grace period for all of them. */
	uint64_t ticket = 0;
	for (uint32_t i = runtime->reclaim_count; i > 0; i--) {
		struct reclaim_item *item =
		        &runtime->reclaim[(runtime->reclaim_head + i - 1) & (runtime->reclaim_size - 1)];
		if (item->ticket)
			break;
		if (!ticket)
			ticket = grace_request();
		item->ticket = ticket;
	}
	uint64_t done = 0;
	bool large = runtime->reclaim_count > 16384;
	while (runtime->reclaim_count) {
		struct reclaim_item item = runtime->reclaim[runtime->reclaim_head];
		if (!item.ticket || (item.ticket > done && !grace_done(item.ticket)))
			break; /* giving up a listed object can queue another: those wait for the next turn */
		done = item.ticket;
		runtime->reclaim_head = (runtime->reclaim_head + 1) & (runtime->reclaim_size - 1);
		runtime->reclaim_count--;
		give_up(runtime, item.kind, item.object);
	}
	if (!runtime->reclaim_count && runtime->reclaim_size > 4096) {
		free(runtime->reclaim);
		runtime->reclaim = NULL;
		runtime->reclaim_size = runtime->reclaim_head = 0;
	}
	bury_all(runtime);
	/* The C library keeps what was freed; after a large configuration has gone that is most of the process. */
	if (large && runtime->reclaim_count <= 16384)
		malloc_trim(0);
}

/* Names */

static bool entry_named(const void *value, const void *key)
{
	const struct slice *name = key;
	const char *have = ((const struct service_entry *)value)->id.name;
	return strlen(have) == name->length && memcmp(have, name->data, name->length) == 0;
}

struct service_entry *runtime_entry(const struct runtime *runtime, const char *name, size_t length)
{
	struct slice key = {(const uint8_t *)name, length};
	return table_find(&runtime->names, table_hash(name, length), entry_named, &key);
}

struct service_entry *runtime_entry_new(struct runtime *runtime, const char *name)
{
	struct service_entry *entry = calloc(1, sizeof(*entry));
	char *copy = strdup(name);
	if (!entry || !copy || !table_reserve(&runtime->names, 1)) {
		free(entry);
		free(copy);
		return NULL;
	}
	entry->id.name = copy;
	entry->id.index =
	        runtime->nfree_indices ? runtime->free_indices[--runtime->nfree_indices] : runtime->next_index++;
	entry->runtime = runtime;
	table_insert(&runtime->names, table_hash(name, strlen(name)), entry);
	return entry;
}

/* Workers forget what they kept under an index; then it may be given out again. */
struct forget {
	struct forget_message {
		struct worker_message message; /* first */
		struct forget *forget;
	} * messages;
	struct engine_message done;
	struct engine *engine;
	atomic_uint left;
	uint32_t index;
};

static void forgotten(struct engine *engine, struct engine_message *message)
{
	struct forget *forget = (struct forget *)((char *)message - offsetof(struct forget, done));
	struct runtime *runtime = engine->runtime;
	if (runtime && runtime->nfree_indices == runtime->indices_capacity) {
		uint32_t capacity = runtime->indices_capacity ? runtime->indices_capacity * 2 : 64;
		uint32_t *indices = realloc(runtime->free_indices, capacity * sizeof(*indices));
		if (indices) {
			runtime->free_indices = indices;
			runtime->indices_capacity = capacity;
		}
	}
	if (runtime && runtime->nfree_indices < runtime->indices_capacity)
		runtime->free_indices[runtime->nfree_indices++] = forget->index;
	free(forget->messages);
	free(forget);
}

static void forget_on_worker(struct worker *worker, struct worker_message *message)
{
	struct forget *forget = ((struct forget_message *)message)->forget;
	lb_state_forget(worker->lb, forget->index);
	if (atomic_fetch_sub_explicit(&forget->left, 1, memory_order_acq_rel) == 1)
		engine_post(forget->engine, &forget->done);
}

static void forget_index(struct engine *engine, uint32_t index)
{
	struct forget *forget = calloc(1, sizeof(*forget));
	struct forget_message *messages = calloc(engine->nworkers, sizeof(*messages));
	if (!forget || !messages || engine->nworkers == 0) { /* the index is lost: no harm */
		free(forget);
		free(messages);
		return;
	}
	forget->messages = messages;
	forget->engine = engine;
	forget->index = index;
	forget->done.run = forgotten;
	atomic_init(&forget->left, engine->nworkers);
	for (unsigned i = 0; i < engine->nworkers; i++) {
		messages[i].message.run = forget_on_worker;
		messages[i].forget = forget;
		worker_post(engine->workers[i], &messages[i].message);
	}
}

void runtime_entry_release(struct service_entry *entry)
{
	struct runtime *runtime = entry->runtime;
	if (entry->current || entry->generations || entry->id.refs || entry->draft || entry->dirty)
		return;
	timer_disarm(runtime->engine->timers, &entry->ramp);
	runtime->nelsewhere -= entry->elsewhere_until_ms > 0;
	table_remove(&runtime->names, table_hash(entry->id.name, strlen(entry->id.name)), entry);
	forget_index(runtime->engine, entry->id.index);
	policies_forget(runtime, entry);
	free(entry->id.name);
	free(entry);
}

/* Services, backends, endpoints */

void service_destroy(struct runtime *runtime, struct service_object *object)
{
	struct service_entry *entry = object->entry;
	struct service *service = &object->pub;
	for (struct service_object **link = &entry->generations; *link; link = &(*link)->older) {
		if (*link == object) {
			*link = object->older;
			break;
		}
	}
	/* Its view belongs to all generations; with the last it goes. */
	if (!entry->generations)
		runtime_reclaim(runtime, RECLAIM_VIEW, service->view);
	for (uint32_t i = 0; i < service->nbackends; i++)
		backend_unref(runtime, service->backends[i]);
	free(service->backends);
	if (object->affinity && --object->affinity->refs == 0) {
		*object->affinity->pprev = object->affinity->next;
		if (object->affinity->next)
			object->affinity->next->pprev = object->affinity->pprev;
		affinity_free(object->affinity->table);
		free(object->affinity);
	}
	if (object->source_limit && --object->source_limit->refs == 0) {
		source_limit_free(object->source_limit->table);
		free(object->source_limit);
	}
	if (object->health)
		marcher__engine__v1__health_check__free_unpacked(object->health, NULL);
	free(object->claims);
	runtime_reclaim_slot(runtime, service->slot);
	free(object);
	entry->id.refs--;
	runtime_entry_release(entry);
}

void backend_unref(struct runtime *runtime, struct backend *backend)
{
	if (!count_down(&backend->refs))
		return;
	struct service_entry *entry = (struct service_entry *)backend->id;
	runtime_reclaim_slot(runtime, backend->slot);
	free(backend->name);
	free(backend->dns_host);
	if (backend->target_addr.family == AF_UNIX)
		free((char *)(uintptr_t)backend->target_addr.path);
	free(backend->endpoints);
	free(backend);
	entry->id.refs--;
	runtime_entry_release(entry);
}

struct endpoint_object *endpoint_new(struct backend *backend, const struct addr *addr)
{
	struct endpoint_object *object = calloc(1, sizeof(*object));
	if (!object)
		return NULL;
	object->dead.kind = DEAD_ENDPOINT;
	atomic_init(&object->pub.refs, 1);
	object->pub.backend = backend;
	object->pub.addr = *addr;
	if (addr->family == AF_UNIX) {
		object->pub.path = strdup(addr->path);
		if (!object->pub.path) {
			free(object);
			return NULL;
		}
		object->pub.addr.path = object->pub.path;
	}
	atomic_fetch_add_explicit(&backend->refs, 1, memory_order_relaxed);
	return object;
}

void endpoint_retire(struct runtime *runtime, struct endpoint *endpoint)
{
	struct endpoint_object *object = (struct endpoint_object *)endpoint;
	endpoint->gone = true;
	if (object->watched) {
		prober_unwatch(runtime->engine->prober, endpoint);
		object->watched = false;
	}
	runtime_reclaim(runtime, RECLAIM_ENDPOINT, endpoint);
}
