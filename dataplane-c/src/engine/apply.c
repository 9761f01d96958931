/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a snapshot to what runs. Everything that can fail comes first and leaves no trace:
 *
 *   scan ─▶ unpack and check what differs ─▶ claims (who has which port) ─▶ sockets ─▶ [ reasons? undo, refuse ]
 *        ─▶ publish ─▶ close what is gone ─▶ grace period ─▶ drains ─▶ reply
 *
 * A service is the same as before when its packed bytes are; then nothing of it is touched or even unpacked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lb/geo.h"
#include "listen.h"
#include "runtime_internal.h"
#include "upstream/outlier.h"

#define PREFIX_NOT_LOCAL \
	" (the node takes in no packets for these addresses; give it the prefix: ip route add local PREFIX dev lo)"

/* A worker that has not passed a quiescent state by then is hung; the supervisor will see to it. */
#define GRACE_TIMEOUT_MS 5000
/* Above this many an event for each would push others out of the ring. */
#define LISTENER_EVENTS_MAX 512

struct apply {
	struct runtime *runtime;
	struct snapshot snapshot;
	struct reasons reasons;
	Marcher__Engine__V1__Node *node;
	struct geoip *geoip;
	bool tolerate;
	bool draining; /* the node will be */
	struct draft *drafts, **last;
	size_t ndrafts;
	struct claim **closing; /* claims of replaced and removed services that nobody took over */
	size_t nclosing, closing_capacity;
	size_t nfresh;
};

static uint64_t clock_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void check_generation(struct apply *apply)
{
	const struct snapshot *snapshot = &apply->snapshot;
	uint64_t running = apply->runtime->generation;
	if (snapshot->generation <= running)
		reasons_add(&apply->reasons, NULL, "generation", "is %llu; expected more than %llu, which runs",
		            (unsigned long long)snapshot->generation, (unsigned long long)running);
	if (snapshot->base_generation && snapshot->base_generation != running)
		reasons_add(&apply->reasons, NULL, "base_generation",
		            "is %llu but %llu runs: the change cannot be applied; send a complete snapshot",
		            (unsigned long long)snapshot->base_generation, (unsigned long long)running);
}

/* What the snapshot names, and what of it differs. */
static void read_services(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	for (size_t i = 0; i < apply->snapshot.nservices && !apply->reasons.no_memory; i++) {
		struct slice packed = apply->snapshot.services[i];
		struct slice name = snapshot_service_name(packed);
		struct service_entry *entry = runtime_entry(runtime, (const char *)name.data, name.length);
		if (entry && entry->seen == runtime->apply_serial) {
			char path[48];
			snprintf(path, sizeof(path), "services[%zu].name", i);
			reasons_add(&apply->reasons, entry->id.name, path,
			            "\"%s\" is already the name of another service", entry->id.name);
			continue;
		}
		uint64_t hash = table_hash(packed.data, packed.length);
		if (entry && entry->current && entry->current->pub.config_hash == hash &&
		    entry->current->packed_length == packed.length) {
			entry->seen = runtime->apply_serial;
			continue;
		}
		size_t before = apply->reasons.count + apply->reasons.omitted;
		Marcher__Engine__V1__Service *message = snapshot_service(packed, i, &apply->reasons);
		if (!message)
			continue;
		bool valid = apply->reasons.count + apply->reasons.omitted == before && !apply->reasons.no_memory;
		if (!entry && valid)
			entry = runtime_entry_new(runtime, message->name);
		struct draft *draft = NULL;
		if (entry)
			entry->seen = runtime->apply_serial;
		if (entry && valid)
			draft = draft_new(runtime, entry, i, message, hash, packed.length);
		if (draft) {
			entry->draft = draft;
			*apply->last = draft;
			apply->last = &draft->next;
			apply->ndrafts++;
		} else if (valid) {
			apply->reasons.no_memory = true;
		}
		marcher__engine__v1__service__free_unpacked(message, NULL);
	}
}

static void read_removed(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	if (!apply->snapshot.base_generation) {
		for (uint32_t i = 0; i < runtime->names.size; i++) {
			struct service_entry *entry = runtime->names.slots[i].value;
			if (entry && entry->current && entry->seen != runtime->apply_serial)
				entry->removing = true;
		}
		return;
	}
	for (size_t i = 0; i < apply->snapshot.nremoved; i++) {
		struct slice name = apply->snapshot.removed[i];
		struct service_entry *entry = runtime_entry(runtime, (const char *)name.data, name.length);
		char path[48];
		snprintf(path, sizeof(path), "removed_services[%zu]", i);
		if (!entry || (!entry->current && entry->seen != runtime->apply_serial))
			reasons_add(&apply->reasons, NULL, path,
			            "\"%.*s\" does not run: the sender's idea of generation %llu is wrong; send a "
			            "complete snapshot",
			            (int)(name.length < 64 ? name.length : 64), (const char *)name.data,
			            (unsigned long long)runtime->generation);
		else if (entry->seen == runtime->apply_serial)
			reasons_add(&apply->reasons, entry->id.name, path,
			            "\"%s\" is also in services; expected one of both", entry->id.name);
		else
			entry->removing = true;
	}
}

static void read_node(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	apply->draining = runtime->draining;
	if (!apply->snapshot.has_node) {
		if (!apply->snapshot.base_generation)
			apply->draining = false;
		return;
	}
	size_t before = apply->reasons.count;
	apply->node = snapshot_node(apply->snapshot.node, &apply->reasons);
	if (!apply->node || apply->reasons.count != before)
		return;
	apply->draining = apply->node->draining;
	const char *path = runtime->geoip_path ? runtime->geoip_path : "";
	if (apply->node->geoip_path[0] && strcmp(path, apply->node->geoip_path) != 0) {
		char error[256] = "";
		apply->geoip = geoip_open(apply->node->geoip_path, error, sizeof(error));
		if (!apply->geoip && !apply->tolerate)
			reasons_add(&apply->reasons, NULL, "node.geoip_path", "%s", error);
		else if (!apply->geoip)
			log_line(LOG_ERROR, "geo: clients' countries are unknown path=%s error=\"%s\"",
			         apply->node->geoip_path, error);
	}
}

static bool stays(const struct service_entry *owner)
{
	return owner->current && !owner->draft && !owner->removing;
}

/* Notes that the draft wants this port. */
static void claim_port(struct apply *apply, struct draft *draft, size_t index, const struct addr *addr,
                       size_t *capacity)
{
	struct runtime *runtime = apply->runtime;
	struct draft_listener *listener = &draft->listeners[index];
	struct service_object *service = draft->service;
	char path[80], text[CLAIM_TEXT_MAX];
	snprintf(path, sizeof(path), "services[%zu].listeners[%zu]", draft->index, index);

	struct claim *claim = claim_find(runtime, listener, addr);
	if (claim && claim->draft) {
		reasons_add(&apply->reasons, draft->entry->id.name, path,
		            "%s is also claimed by services[%zu].listeners[%zu] (%s); one listener has one service",
		            claim_text(claim, text), claim->draft->index, claim->draft_listener,
		            claim->draft->entry->id.name);
		return;
	}
	if (claim && claim->owner && claim->owner != draft->entry && stays(claim->owner)) {
		reasons_add(&apply->reasons, draft->entry->id.name, path,
		            "%s is the listener of service %s; one listener has one service", claim_text(claim, text),
		            claim->owner->id.name);
		return;
	}
	if (!claim) {
		claim = claim_new(runtime, listener, addr);
		if (!claim) {
			apply->reasons.no_memory = true;
			return;
		}
		claim->fresh = true;
		claim->backlog = listener->backlog;
	}
	if (service->nclaims == *capacity) {
		size_t wanted = *capacity ? *capacity * 2 : 1;
		struct claim **claims = realloc(service->claims, wanted * sizeof(struct claim *));
		if (!claims) {
			if (claim->fresh)
				claim_free(runtime, claim);
			apply->reasons.no_memory = true;
			return;
		}
		service->claims = claims;
		*capacity = wanted;
	}
	claim->draft = draft;
	claim->draft_listener = index;
	service->claims[service->nclaims++] = claim;
	apply->nfresh += claim->fresh;
}

static void too_many_ports(struct apply *apply)
{
	reasons_add(&apply->reasons, NULL, "services",
	            "more than %u ports over all services; use fewer or smaller ranges", SNAPSHOT_PORTS_MAX);
}

static void claim_ports(struct apply *apply)
{
	uint64_t ports = 0;
	for (struct draft *draft = apply->drafts; draft; draft = draft->next) {
		for (size_t i = 0; i < draft->nlisteners; i++)
			ports += draft->listeners[i].steered
			                 ? 1
			                 : draft->listeners[i].port_last - draft->listeners[i].port_first + 1;
	}
	if (ports > SNAPSHOT_PORTS_MAX) {
		too_many_ports(apply);
		return;
	}
	for (struct draft *draft = apply->drafts; draft; draft = draft->next) {
		size_t capacity = 0;
		for (size_t i = 0; i < draft->nlisteners && !apply->reasons.no_memory; i++) {
			struct addr addr = draft->listeners[i].addr;
			uint32_t last = draft->listeners[i].steered ? draft->listeners[i].port_first
			                                            : draft->listeners[i].port_last;
			for (uint32_t port = draft->listeners[i].port_first; port <= last; port++) {
				addr.port = (uint16_t)port;
				claim_port(apply, draft, i, &addr, &capacity);
			}
		}
	}
}

static bool note_closing(struct apply *apply, struct claim *claim)
{
	if (apply->nclosing == apply->closing_capacity) {
		size_t capacity = apply->closing_capacity ? apply->closing_capacity * 2 : 16;
		struct claim **closing = realloc(apply->closing, capacity * sizeof(struct claim *));
		if (!closing) {
			apply->reasons.no_memory = true;
			return false;
		}
		apply->closing = closing;
		apply->closing_capacity = capacity;
	}
	apply->closing[apply->nclosing++] = claim;
	return true;
}

static void find_closing(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	bool removals = !apply->snapshot.base_generation || apply->snapshot.nremoved;
	for (struct draft *draft = apply->drafts; draft; draft = draft->next) {
		const struct service_object *old = draft->entry->current;
		for (uint32_t i = 0; old && i < old->nclaims; i++) {
			if (!old->claims[i]->draft && !note_closing(apply, old->claims[i]))
				return;
		}
	}
	for (uint32_t n = 0; removals && n < runtime->names.size; n++) {
		const struct service_entry *entry = runtime->names.slots[n].value;
		if (!entry || !entry->removing)
			continue;
		for (uint32_t i = 0; i < entry->current->nclaims; i++) {
			if (!entry->current->claims[i]->draft && !note_closing(apply, entry->current->claims[i]))
				return;
		}
	}
}

/* Sockets for new claims, and another try for those without. */
static void open_sockets(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	if (apply->draining || runtime->retired)
		return;
	bool shared = listen_wants_shared(runtime->engine, apply->nfresh);
	for (struct draft *draft = apply->drafts; draft; draft = draft->next) {
		for (uint32_t i = 0; i < draft->service->nclaims; i++) {
			struct claim *claim = draft->service->claims[i];
			if (claim->listener)
				continue;
			int error = claim_open(runtime, claim, shared);
			/* One that was unbound before does not stand in the way of other changes to its service. */
			if (error && claim->fresh && !apply->tolerate) {
				char path[80], text[CLAIM_TEXT_MAX];
				snprintf(path, sizeof(path), "services[%zu].listeners[%zu]", draft->index,
				         claim->draft_listener);
				reasons_add(
				        &apply->reasons, draft->entry->id.name, path, "cannot listen on %s: %s%s",
				        claim_text(claim, text), strerror(-error),
				        error == -EADDRINUSE ? " (another process has it; end that process or choose "
				                               "another port)"
				        : error == -EACCES   ? " (ports below net.ipv4.ip_unprivileged_port_start need "
				                               "CAP_NET_BIND_SERVICE)"
				        : error == -EADDRNOTAVAIL && claim->steered ? PREFIX_NOT_LOCAL
				        : error == -EADDRNOTAVAIL ? " (no interface of this node has the address)"
				                                  : "");
			}
		}
	}
}

static void undo(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	while (apply->drafts) {
		struct draft *draft = apply->drafts;
		apply->drafts = draft->next;
		for (uint32_t i = 0; i < draft->service->nclaims; i++) {
			struct claim *claim = draft->service->claims[i];
			claim->draft = NULL;
			if (claim->listener && !claim->listener->binding)
				claim_discard(runtime, claim);
			if (claim->fresh)
				claim_free(runtime, claim);
		}
		draft_free(runtime, draft);
	}
	for (uint32_t i = 0; i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (entry)
			entry->removing = false;
	}
	if (apply->geoip)
		geoip_close(apply->geoip);
}

/* The claim's settings as the draft has them. */
static void settle_claim(struct claim *claim, const struct draft_listener *listener)
{
	struct prefix *prefixes = NULL;
	if (listener->nprefixes) {
		size_t bytes = listener->nprefixes * sizeof(*prefixes);
		prefixes = malloc(bytes);
		if (prefixes)
			memcpy(prefixes, listener->prefixes, bytes);
		else
			log_line(LOG_ERROR, "listener: out of memory, no PROXY header is believed port=%u",
			         claim->addr.port);
	}
	free(claim->prefixes);
	claim->prefixes = prefixes;
	claim->nprefixes = prefixes ? listener->nprefixes : 0;
	claim->max_connections = listener->max_connections;
	if (claim->steered && claim->port_last != listener->port_last) {
		claim->port_last = (uint16_t)listener->port_last;
		if (claim->listener)
			listen_set_last(claim->listener, claim->port_last);
	}
	if (claim->backlog != listener->backlog) {
		claim->backlog = listener->backlog;
		if (claim->listener)
			listen_set_backlog(claim->listener, listener->backlog);
	}
}

static void publish(struct apply *apply)
{
	struct runtime *runtime = apply->runtime;
	for (struct draft *draft = apply->drafts; draft; draft = draft->next) {
		struct service_entry *entry = draft->entry;
		const struct service_object *service = draft->service;
		runtime->nservices += entry->current == NULL;
		draft_commit(runtime, draft);
		for (uint32_t i = 0; i < service->nclaims; i++) {
			struct claim *claim = service->claims[i];
			bool starts = claim->listener && !claim->listener->binding;
			claim->owner = entry;
			settle_claim(claim, &draft->listeners[claim->draft_listener]);
			claim_bind(runtime, claim);
			if (!claim->listener) {
				claim_mark_unbound(runtime, claim);
				if (claim->error && claim->fresh)
					claim_event(runtime, claim, claim->error);
			} else if (starts && apply->nfresh <= LISTENER_EVENTS_MAX) {
				claim_event(runtime, claim, 0);
			}
			claim->fresh = false;
		}
	}
	for (size_t i = 0; i < apply->nclosing; i++) {
		struct claim *claim = apply->closing[i];
		const struct service *service = &claim->owner->current->pub;
		claim_close(runtime, claim, runtime->engine->now_ms + service->drain_timeout_ms, false);
		claim_free(runtime, claim);
	}
	for (uint32_t i = 0; i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (!entry || !entry->removing)
			continue;
		entry->removing = false;
		runtime->nservices--;
		runtime_remove_service(runtime, entry);
	}
	while (apply->drafts) {
		struct draft *draft = apply->drafts;
		apply->drafts = draft->next;
		for (uint32_t i = 0; i < draft->service->nclaims; i++)
			draft->service->claims[i]->draft = NULL;
		draft_done(draft);
	}
}

/* Listeners that are configured and have no sockets. */
static void list_unbound(struct apply *apply, Marcher__Engine__V1__ApplyReply *reply)
{
	struct reasons unbound = {0};
	char text[CLAIM_TEXT_MAX];
	for (struct claim *claim = apply->runtime->unbound; claim; claim = claim->next_unbound) {
		if (claim->error)
			reasons_add(&unbound, claim->owner->id.name, "", "cannot listen on %s: %s%s",
			            claim_text(claim, text), strerror(claim->error),
			            claim->error == EADDRNOTAVAIL && claim->steered ? PREFIX_NOT_LOCAL : "");
	}
	reasons_take(&unbound, &reply->unbound, &reply->n_unbound);
}

static void refuse(struct apply *apply, Marcher__Engine__V1__ApplyReply *reply)
{
	undo(apply);
	if (apply->reasons.no_memory) {
		apply->reasons.no_memory = false;
		reasons_add(&apply->reasons, NULL, "", "the engine is out of memory");
	}
	reply->accepted = false;
	reasons_take(&apply->reasons, &reply->reasons, &reply->n_reasons);
}

void runtime_apply(struct runtime *runtime, const void *packed, size_t length, bool tolerate_bind_errors,
                   Marcher__Engine__V1__ApplyReply *reply)
{
	struct apply apply = {.runtime = runtime, .tolerate = tolerate_bind_errors};
	uint64_t start_us = clock_us();
	apply.last = &apply.drafts;
	marcher__engine__v1__apply_reply__init(reply);
	runtime->apply_serial++;

	if (runtime->retired)
		reasons_add(&apply.reasons, NULL, "", "this engine has retired: its successor runs");
	else if (snapshot_scan(packed, length, &apply.snapshot, &apply.reasons)) {
		check_generation(&apply);
		if (!reasons_any(&apply.reasons)) {
			read_node(&apply);
			read_services(&apply);
			read_removed(&apply);
		}
		if (!apply.reasons.no_memory)
			claim_ports(&apply);
		if (!reasons_any(&apply.reasons))
			find_closing(&apply);
		if (runtime->claims.used - apply.nclosing > SNAPSHOT_PORTS_MAX)
			too_many_ports(&apply);
		if (!reasons_any(&apply.reasons))
			open_sockets(&apply);
	}
	if (reasons_any(&apply.reasons)) {
		refuse(&apply, reply);
	} else {
		if (apply.draining && !runtime->draining)
			runtime_set_draining(runtime, true);
		publish(&apply);
		if (apply.node)
			runtime_set_node(runtime, apply.node, apply.geoip);
		if (!apply.draining && runtime->draining)
			runtime_set_draining(runtime, false);
		outlier_process(runtime->engine); /* lets go of endpoints that are gone */
		runtime->generation = apply.snapshot.generation;
		reply->accepted = true;
		list_unbound(&apply, reply);
		if (!grace_wait(grace_request(), GRACE_TIMEOUT_MS))
			log_line(LOG_ERROR,
			         "apply: a worker has not seen the new snapshot within %u ms generation=%llu",
			         GRACE_TIMEOUT_MS, (unsigned long long)runtime->generation);
		runtime_send_drains(runtime);
		policies_tell(runtime);
	}
	if (apply.node)
		marcher__engine__v1__node__free_unpacked(apply.node, NULL);
	free(apply.closing);
	snapshot_free(&apply.snapshot);
	reasons_free(&apply.reasons);
	reply->generation = runtime->generation;
	reply->apply_us = clock_us() - start_us;
}
