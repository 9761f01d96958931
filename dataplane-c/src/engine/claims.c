/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listeners as they are configured. A claim is a (transport, address, port) that some service has; it has a listener
 * (with sockets) unless these could not be made, or the node drains. Another service's claim to it moves the binding
 * alone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "listen.h"
#include "marcher.h"
#include "runtime_internal.h"
#include "steered.h"

#define RETRIES_PER_TICK 256u

struct claim_key {
	const struct draft_listener *listener;
	const struct addr *addr;
};

static bool claim_is(const void *value, const void *key)
{
	const struct claim *claim = value;
	const struct claim_key *want = key;
	return claim->transport == want->listener->transport && claim->steered == want->listener->steered &&
	       claim->prefix_length == want->listener->prefix_length && addr_equal(&claim->addr, want->addr);
}

static uint64_t claim_hash(enum transport transport, const struct addr *addr)
{
	return addr_hash(addr, (uint64_t)transport << 32 | addr->port);
}

struct claim *claim_find(const struct runtime *runtime, const struct draft_listener *listener, const struct addr *addr)
{
	struct claim_key key = {listener, addr};
	return table_find(&runtime->claims, claim_hash(listener->transport, addr), claim_is, &key);
}

struct claim *claim_new(struct runtime *runtime, const struct draft_listener *listener, const struct addr *addr)
{
	struct claim *claim = calloc(1, sizeof(*claim));
	if (!claim || !table_reserve(&runtime->claims, 1)) {
		free(claim);
		return NULL;
	}
	claim->transport = listener->transport;
	claim->addr = *addr;
	claim->steered = listener->steered;
	claim->prefix_length = listener->prefix_length;
	claim->port_last = (uint16_t)listener->port_last;
	claim->hash = claim_hash(listener->transport, addr);
	table_insert(&runtime->claims, claim->hash, claim);
	return claim;
}

static void unmark_unbound(struct claim *claim)
{
	if (!claim->pprev_unbound)
		return;
	*claim->pprev_unbound = claim->next_unbound;
	if (claim->next_unbound)
		claim->next_unbound->pprev_unbound = claim->pprev_unbound;
	claim->next_unbound = NULL;
	claim->pprev_unbound = NULL;
}

void claim_mark_unbound(struct runtime *runtime, struct claim *claim)
{
	if (claim->pprev_unbound)
		return;
	claim->next_unbound = runtime->unbound;
	claim->pprev_unbound = &runtime->unbound;
	if (claim->next_unbound)
		claim->next_unbound->pprev_unbound = &claim->next_unbound;
	runtime->unbound = claim;
}

void claim_free(struct runtime *runtime, struct claim *claim)
{
	unmark_unbound(claim);
	if (claim->slot)
		runtime_reclaim_slot(runtime, claim->slot);
	table_remove(&runtime->claims, claim->hash, claim);
	free(claim->prefixes);
	free(claim);
}

const char *claim_text(const struct claim *claim, char text[CLAIM_TEXT_MAX])
{
	char addr[ADDR_TEXT_MAX], prefix[8] = "", last[8] = "";
	const char *transport = claim->transport == TRANSPORT_TCP ? "tcp" : "udp";
	addr_text(&claim->addr, addr);
	char *port = strrchr(addr, ':');
	if (!claim->steered || !port) {
		snprintf(text, CLAIM_TEXT_MAX, "%s:%s", transport, addr);
		return text;
	}
	if (claim->prefix_length < steered_whole(&claim->addr))
		snprintf(prefix, sizeof(prefix), "/%u", claim->prefix_length);
	if (claim->port_last != claim->addr.port)
		snprintf(last, sizeof(last), "-%u", claim->port_last);
	snprintf(text, CLAIM_TEXT_MAX, "%s:%.*s%s%s%s", transport, (int)(port - addr), addr, prefix, port, last);
	return text;
}

int claim_open(struct runtime *runtime, struct claim *claim, bool shared)
{
	struct listener_object *object = calloc(1, sizeof(*object));
	if (!object) {
		claim->error = ENOMEM;
		return -ENOMEM;
	}
	struct listener *listener = &object->pub;
	object->dead.kind = DEAD_LISTENER;
	atomic_init(&listener->refs, 1);
	listener->transport = claim->transport;
	listener->addr = claim->addr;
	listener->steered = claim->steered;
	listener->prefix_length = claim->prefix_length;
	listener->port_last = claim->port_last;
	listener->slot = claim->slot;
	int error = listen_open(runtime->engine, listener, claim->backlog, shared);
	listener->bind_error = claim->error = -error;
	if (error) {
		free(object);
		return error;
	}
	claim->listener = listener;
	return 0;
}

/* The listener's name under its present owner. A new owner has counters of its own. */
static void give_slot(struct runtime *runtime, struct claim *claim)
{
	char text[CLAIM_TEXT_MAX];
	uint32_t before = claim->slot;
	claim->slot = stats_slot_acquire(runtime->engine->stats, MARCHER_SLOT_LISTENER, claim->owner->id.name,
	                                 claim_text(claim, text));
	if (before)
		runtime_reclaim_slot(runtime, before);
	if (claim->listener)
		atomic_store_explicit(&claim->listener->slot, claim->slot, memory_order_release);
}

static struct binding *binding_new(const struct claim *claim)
{
	struct binding *binding = calloc(1, sizeof(*binding));
	if (!binding)
		return NULL;
	if (claim->nprefixes) {
		binding->accept_proxy = malloc(claim->nprefixes * sizeof(*binding->accept_proxy));
		if (!binding->accept_proxy) {
			free(binding);
			return NULL;
		}
		memcpy(binding->accept_proxy, claim->prefixes, claim->nprefixes * sizeof(*binding->accept_proxy));
		binding->naccept_proxy = claim->nprefixes;
	}
	binding->max_connections = claim->max_connections;
	binding->service = &claim->owner->current->pub;
	claim->owner->current->bindings++;
	service_ref(binding->service);
	return binding;
}

int claim_bind(struct runtime *runtime, struct claim *claim)
{
	give_slot(runtime, claim);
	if (!claim->listener)
		return 0;
	struct listener *listener = claim->listener;
	struct binding *binding = binding_new(claim), *before = listener->binding;
	if (!binding)
		return -ENOMEM;
	__atomic_store_n(&listener->binding, binding, __ATOMIC_RELEASE);
	runtime_reclaim(runtime, RECLAIM_BINDING, before);
	policies_mark(claim);
	if (before)
		return 0;
	int error = listen_start(runtime->engine, listener);
	if (error) {
		claim->error = -error;
		claim_discard(runtime, claim);
		claim_mark_unbound(runtime, claim);
		return error;
	}
	unmark_unbound(claim);
	return 0;
}

void claim_close(struct runtime *runtime, struct claim *claim, uint64_t deadline_ms, bool leave)
{
	struct listener *listener = claim->listener;
	if (!listener)
		return;
	claim->listener = NULL;
	/* Its connections go on counting. */
	((struct listener_object *)listener)->owns_slot = true;
	claim->slot = 0;
	atomic_store(&listener->drain_until_ms, deadline_ms ? deadline_ms : 1);
	if (leave)
		listen_leave(runtime->engine, listener, deadline_ms);
	else
		listen_close(runtime->engine, listener, deadline_ms);
}

void claim_discard(struct runtime *runtime, struct claim *claim)
{
	struct listener *listener = claim->listener;
	if (!listener)
		return;
	claim->listener = NULL;
	listen_discard(runtime->engine, listener);
	struct binding *binding = listener->binding;
	listener->binding = NULL;
	runtime_reclaim(runtime, RECLAIM_BINDING, binding);
	listener_unref(listener);
}

void runtime_listener_closed(struct runtime *runtime, struct listener *listener)
{
	struct binding *binding = listener->binding;
	__atomic_store_n(&listener->binding, NULL, __ATOMIC_RELEASE);
	runtime_reclaim(runtime, RECLAIM_BINDING, binding);
	runtime_reclaim(runtime, RECLAIM_LISTENER, listener);
}

void claim_event(struct runtime *runtime, const struct claim *claim, int error)
{
	char text[CLAIM_TEXT_MAX];
	claim_text(claim, text);
	if (error)
		log_line(LOG_WARN,
		         "listener: cannot listen, tried again every second listener=%s service=%s error=\"%s\"", text,
		         claim->owner->id.name, strerror(error));
	else
		log_line(LOG_DEBUG, "listener: bound listener=%s service=%s", text, claim->owner->id.name);
	struct marcher_event *event = stats_event(&runtime->engine->row, MARCHER_EVENT_LISTENER_CHANGED);
	if (!event)
		return;
	event->service_slot = claim->owner->current ? claim->owner->current->pub.slot : 0;
	event->reason = error == 0;
	event->transport = (uint8_t)claim->transport;
	event->local.family = claim->addr.family;
	event->local.port = claim->addr.port;
	memcpy(event->local.address, claim->addr.ip, sizeof(event->local.address));
	if (error)
		snprintf(event->message, sizeof(event->message), "%.60s: %.50s", text, strerror(error));
	else
		snprintf(event->message, sizeof(event->message), "%.119s", text);
	stats_event_push(&runtime->engine->row);
}

/* Whether it has sockets now. Tells when the outcome differs from the last time. */
static bool try_again(struct runtime *runtime, struct claim *claim)
{
	int before = claim->error;
	if (claim_open(runtime, claim, listen_wants_shared(runtime->engine, 0)) == 0 &&
	    claim_bind(runtime, claim) == 0) {
		claim_event(runtime, claim, 0);
		return true;
	}
	if (claim->error != before)
		claim_event(runtime, claim, claim->error);
	return false;
}

void claims_retry(struct runtime *runtime)
{
	if (runtime->draining || runtime->retired)
		return;
	struct claim *failed = NULL, **last = &failed;
	/* Those that fail go behind the others, so that no number of them keeps one from its turn. */
	for (unsigned tried = 0; runtime->unbound && tried < RETRIES_PER_TICK; tried++) {
		struct claim *claim = runtime->unbound;
		unmark_unbound(claim);
		if (try_again(runtime, claim))
			continue;
		unmark_unbound(claim); /* claim_bind may have entered it again */
		*last = claim;
		claim->next_unbound = NULL;
		last = &claim->next_unbound;
	}
	struct claim **end = &runtime->unbound;
	while (*end)
		end = &(*end)->next_unbound;
	while (failed) {
		struct claim *claim = failed;
		failed = claim->next_unbound;
		claim->next_unbound = NULL;
		claim->pprev_unbound = end;
		*end = claim;
		end = &claim->next_unbound;
	}
}

void claims_open_all(struct runtime *runtime)
{
	struct claim *next;
	for (struct claim *claim = runtime->unbound; claim; claim = next) {
		next = claim->next_unbound;
		try_again(runtime, claim);
	}
}
