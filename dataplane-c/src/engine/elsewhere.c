/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What other nodes of a mesh have open to backends, as the agent was told (LoadElsewhereRequest). It stands in
 * endpoints, where lb.c reads it: no view is rebuilt and no generation made for it. What the agent says not again in
 * time is forgotten, so that a node whose agent has ended goes back to what it knows itself.
 */
#include <string.h>

#include "runtime_internal.h"

typedef Marcher__Engine__V1__ServiceLoadElsewhere ServiceLoad;

/* Endpoints of a name with several addresses share what is said of the backend, as they share its weight. */
static void share(const struct backend *backend, uint32_t connections)
{
	for (uint32_t i = 0; i < backend->nendpoints; i++) {
		uint32_t own = connections / backend->nendpoints + (i < connections % backend->nendpoints);
		atomic_store_explicit(&backend->endpoints[i]->elsewhere, own, memory_order_relaxed);
	}
}

/* said NULL: nothing. Returns whether anything is open elsewhere. */
static bool set(const struct service *service, const ServiceLoad *said)
{
	size_t count = said ? said->n_backends : 0, next = 0;
	bool any = false;
	for (uint32_t i = 0; i < service->nbackends; i++) {
		uint32_t connections = 0;
		for (size_t k = 0; k < count; k++) {
			size_t at = (next + k) % count;
			if (strcmp(said->backends[at]->backend, service->backends[i]->name) != 0)
				continue;
			connections = said->backends[at]->connections;
			next = at + 1;
			break;
		}
		share(service->backends[i], connections);
		any |= connections > 0;
	}
	return any;
}

static void keep_until(struct service_entry *entry, uint64_t until_ms)
{
	entry->runtime->nelsewhere += (until_ms > 0) - (entry->elsewhere_until_ms > 0);
	entry->elsewhere_until_ms = until_ms;
}

uint32_t runtime_load_elsewhere(struct runtime *runtime, const Marcher__Engine__V1__LoadElsewhereRequest *request)
{
	uint32_t running = 0;
	for (size_t i = 0; i < request->n_services; i++) {
		const ServiceLoad *said = request->services[i];
		struct service_entry *entry = runtime_entry(runtime, said->service, strlen(said->service));
		if (!entry || !entry->current)
			continue;
		running++;
		bool any = set(&entry->current->pub, said);
		keep_until(entry, any ? runtime->engine->now_ms + request->valid_ms : 0);
	}
	return running;
}

void elsewhere_expire(struct runtime *runtime, uint64_t now_ms)
{
	for (uint32_t i = 0; runtime->nelsewhere && i < runtime->names.size; i++) {
		struct service_entry *entry = runtime->names.slots[i].value;
		if (!entry || !entry->elsewhere_until_ms || entry->elsewhere_until_ms > now_ms)
			continue;
		if (entry->current)
			set(&entry->current->pub, NULL);
		keep_until(entry, 0);
	}
}
