/* SPDX-License-Identifier: Apache-2.0 */
/* What the packet tiers have done, read out of the programs' counters. Under table_lock. */
#include "packet.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/lib/layout_names.h"
#include "packet_guard.h"
#include "packet_migrate.h"
#include "packet_policy.h"
#include "packet_shape.h"

typedef Marcher__Packet__V1__Status Status;
typedef Marcher__Packet__V1__Interface Interface;
typedef Marcher__Packet__V1__Traffic Traffic;
typedef Marcher__Packet__V1__ServiceTraffic ServiceTraffic;
typedef Marcher__Packet__V1__BackendTraffic BackendTraffic;
typedef Marcher__Packet__V1__Drop Drop;

/* All that a reply needs besides the state: one allocation per kind. Strings are the state's. */
struct reply {
	Status status;
	Interface *interfaces;
	ServiceTraffic *services;
	BackendTraffic *backends;
	Traffic *traffic;                      /* of services, then of backends */
	Traffic *fast;                         /* of services */
	Drop *failures;                        /* of services, FAILURES of each */
	struct packet_policy_status *policies; /* as many as services */
	Drop drops[DROP_REASONS];
	void **pointers; /* the lists of pointers that messages have, one after the other */
	size_t npointers;
};

static void *list(struct reply *reply, size_t count)
{
	void *at = reply->pointers + reply->npointers;

	reply->npointers += count;
	return at;
}

/* Whose counters: this layout's, or while packets are still forwarded by another one, that one's. */
struct counted {
	const struct packet_state *state;
	const int *maps;
	const struct packet_layout *layout;
};

static struct counted counted_by(const struct marcher_packet *handle)
{
	const struct packet_migration *old = handle->migration;

	return old ? (struct counted){&old->state, old->maps, old->layout}
	           : (struct counted){&handle->state, handle->maps, packet_layout_current()};
}

/* Sum over the CPUs, and what was carried before; false and errno when it cannot be read. */
static bool read_traffic(const struct counted *counted, enum packet_map map, uint32_t index, int cpus,
                         const struct traffic *carried, struct traffic *values, Traffic *out)
{
	struct traffic total = *carried;

	/* A layout whose counters cannot be read has none. */
	if (counted->maps[map] >= 0) {
		if (bpf_map_lookup_elem(counted->maps[map], &index, values))
			return false;
		packet_layout_add_traffic(counted->layout, values, cpus, &total);
	}
	marcher__packet__v1__traffic__init(out);
	out->packets = total.packets;
	out->bytes = total.bytes;
	out->returned_packets = total.returned_packets;
	out->returned_bytes = total.returned_bytes;
	return true;
}

static bool add_drops(const struct marcher_packet *handle, struct reply *reply, int cpus, uint64_t *values)
{
	reply->status.drops = list(reply, DROP_REASONS);
	for (uint32_t reason = DROP_NONE + 1; reason < DROP_REASONS; reason++) {
		Drop *drop = &reply->drops[reason];
		char key[PACKET_RECORD_KEY] = "";
		struct drop_record record = {0};
		snprintf(key, sizeof(key), "%s", drop_reason_names[reason]);
		if (bpf_map_lookup_elem(handle->maps[MAP_DROPS], &reason, values) ||
		    (bpf_map_lookup_elem(handle->maps[MAP_DROP_RECORDS], key, &record) && errno != ENOENT))
			return false;
		marcher__packet__v1__drop__init(drop);
		drop->reason = (char *)drop_reason_names[reason];
		drop->packets = record.carried;
		for (int cpu = 0; cpu < cpus; cpu++)
			drop->packets += values[cpu];
		reply->status.drops[reply->status.n_drops++] = drop;
	}
	return true;
}

static void add_interfaces(const struct marcher_packet *handle, struct reply *reply)
{
	reply->status.interfaces = list(reply, handle->ninterfaces);
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		Interface *interface = &reply->interfaces[i];
		marcher__packet__v1__interface__init(interface);
		interface->name = handle->interfaces[i].name;
		interface->index = handle->interfaces[i].index;
		interface->mode = (char *)handle->interfaces[i].mode;
		interface->reason = handle->interfaces[i].reason;
		interface->tc = (char *)handle->interfaces[i].tc.mode;
		interface->tc_reason = handle->interfaces[i].tc.reason;
		if (handle->state.ndecapsulated)
			interface->decapsulation = (char *)(handle->interfaces[i].link_fd >= 0    ? "xdp"
			                                    : *handle->interfaces[i].tc.mode != 0 ? "tc"
			                                                                          : "");
		interface->shaping = (char *)packet_shape_kind(handle, i);
		interface->shaping_reason = (char *)packet_shape_reason(handle, i);
		interface->nat = (char *)packet_nat_fast_kind(handle, &handle->interfaces[i]);
		interface->nat_reason = handle->interfaces[i].nat_reason;
		interface->send_errors = handle->interfaces[i].send_errors;
		reply->status.interfaces[reply->status.n_interfaces++] = interface;
	}
}

/* Of a service that has a policy, by the programs of this layout. */
static bool add_policy(const struct marcher_packet *handle, struct reply *reply, int cpus,
                       const struct packet_service *held, ServiceTraffic *service)
{
	if (handle->migration || !(held->entry.flags & SERVICE_POLICY))
		return true;
	struct packet_policy_status *policy = &reply->policies[service - reply->services];
	int error = packet_policy_status(handle, held->index, cpus, policy);
	service->policy = &policy->message;
	errno = -error;
	return !error;
}

/* Of a service that is forwarded by NAT, by the programs of this layout. */
static bool add_fast(const struct marcher_packet *handle, const struct counted *counted, struct reply *reply, int cpus,
                     struct traffic *values, const struct packet_service *held, ServiceTraffic *service)
{
	const struct traffic none = {0};

	if (handle->migration || held->entry.forwarding != FORWARDING_NAT)
		return true;
	service->fast = &reply->fast[service - reply->services];
	return read_traffic(counted, MAP_NAT_COUNTERS, held->index, cpus, &none, values, service->fast);
}

static const enum drop_reason failure_reasons[FAILURES] = {[FAILURE_NO_ROUTE] = DROP_NO_ROUTE,
                                                           [FAILURE_NO_NEIGHBOUR] = DROP_NO_NEIGHBOUR,
                                                           [FAILURE_FORWARDING_OFF] = DROP_FORWARDING_OFF,
                                                           [FAILURE_NO_HEADROOM] = DROP_NO_HEADROOM};

/* Those that there were, by the programs of this layout. */
static bool add_failures(const struct marcher_packet *handle, struct reply *reply, uint32_t index,
                         ServiceTraffic *service)
{
	struct service_failures failures;
	Drop *drops = &reply->failures[(service - reply->services) * FAILURES];

	if (handle->migration)
		return true;
	if (bpf_map_lookup_elem(handle->maps[MAP_SERVICE_FAILURES], &index, &failures))
		return false;
	service->failures = list(reply, FAILURES);
	for (uint32_t i = 0; i < FAILURES; i++) {
		if (!failures.packets[i])
			continue;
		marcher__packet__v1__drop__init(&drops[i]);
		drops[i].reason = (char *)drop_reason_names[failure_reasons[i]];
		drops[i].packets = failures.packets[i];
		service->failures[service->n_failures++] = &drops[i];
	}
	return true;
}

static bool add_services(const struct marcher_packet *handle, const struct counted *counted, struct reply *reply,
                         int cpus, struct traffic *values)
{
	const struct packet_state *state = counted->state;
	uint32_t *counts = calloc(SERVICES_MAX, sizeof(*counts)), traffic = 0, backends = 0;
	ServiceTraffic **by_index = calloc(SERVICES_MAX, sizeof(ServiceTraffic *));
	bool ok = counts && by_index;

	reply->status.services = list(reply, state->nservices);
	for (uint32_t i = 0; ok && i < BACKENDS_MAX; i++)
		if (state->backends[i] && state->backends[i]->service < SERVICES_MAX)
			counts[state->backends[i]->service]++;
	for (uint32_t i = 0; ok && i < SERVICES_MAX; i++) {
		if (!state->services[i])
			continue;
		ServiceTraffic *service = by_index[i] = &reply->services[reply->status.n_services];
		marcher__packet__v1__service_traffic__init(service);
		service->name = state->services[i]->record.name;
		service->traffic = &reply->traffic[traffic++];
		service->backends = list(reply, counts[i]);
		reply->status.services[reply->status.n_services++] = service;
		ok = read_traffic(counted, MAP_SERVICE_COUNTERS, i, cpus, &state->services[i]->record.carried, values,
		                  service->traffic) &&
		     add_fast(handle, counted, reply, cpus, values, state->services[i], service) &&
		     add_failures(handle, reply, i, service) &&
		     add_policy(handle, reply, cpus, state->services[i], service);
	}
	for (uint32_t i = 0; ok && i < BACKENDS_MAX; i++) {
		const struct packet_backend *held = state->backends[i];
		ServiceTraffic *service = held && held->service < SERVICES_MAX ? by_index[held->service] : NULL;
		if (!service)
			continue;
		BackendTraffic *backend = &reply->backends[backends++];
		marcher__packet__v1__backend_traffic__init(backend);
		backend->name = (char *)held->name;
		backend->path_mtu = held->path_mtu;
		backend->traffic = &reply->traffic[traffic++];
		service->backends[service->n_backends++] = backend;
		ok = read_traffic(counted, MAP_BACKEND_COUNTERS, i, cpus, &held->carried, values, backend->traffic);
	}
	free(counts);
	free(by_index);
	return ok;
}

int packet_status(struct marcher_packet *handle, uint8_t **out, size_t *length)
{
	const struct counted counted = counted_by(handle);
	const struct packet_state *state = counted.state;
	int cpus = libbpf_num_possible_cpus();
	struct reply reply = {.npointers = 0};
	struct guard_status *guard = NULL;
	int code = MARCHER_OK;

	if (cpus < 0)
		return packet_fail_system(handle, -cpus, "counting the CPUs");
	if (!state->services || !state->backends)
		return packet_fail(handle, MARCHER_E_SYSTEM,
		                   "the maps could not be read after a failed write: the next apply tries again");
	struct traffic *values = calloc((size_t)cpus, sizeof(*values));
	reply.interfaces = calloc(handle->ninterfaces + 1, sizeof(*reply.interfaces));
	reply.services = calloc(state->nservices + 1, sizeof(*reply.services));
	reply.policies = calloc(state->nservices + 1, sizeof(*reply.policies));
	reply.fast = calloc(state->nservices + 1, sizeof(*reply.fast));
	reply.failures = calloc((size_t)state->nservices * FAILURES + 1, sizeof(*reply.failures));
	reply.backends = calloc(state->nbackends + 1, sizeof(*reply.backends));
	reply.traffic = calloc((size_t)state->nservices + state->nbackends + 1, sizeof(*reply.traffic));
	reply.pointers = calloc((size_t)handle->ninterfaces + (1 + FAILURES) * (size_t)state->nservices +
	                                state->nbackends + DROP_REASONS + 1,
	                        sizeof(void *));
	if (!values || !reply.interfaces || !reply.services || !reply.backends || !reply.policies || !reply.traffic ||
	    !reply.fast || !reply.failures || !reply.pointers) {
		code = packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
		goto out;
	}
	marcher__packet__v1__status__init(&reply.status);
	reply.status.pin_dir = handle->pin_dir;
	reply.status.layout_version = LAYOUT_VERSION;
	reply.status.adopted = handle->adopted;
	add_interfaces(handle, &reply);
	errno = ENOMEM;
	if (!add_services(handle, &counted, &reply, cpus, values) ||
	    !add_drops(handle, &reply, cpus, (uint64_t *)values)) {
		code = packet_fail_system(handle, errno, "reading the counters");
		goto out;
	}
	guard = packet_guard_status(handle, cpus);
	if (!guard && errno) {
		code = packet_fail_system(handle, errno, "reading the guard's counters");
		goto out;
	}
	reply.status.guard = guard ? packet_guard_status_message(guard) : NULL;
	*length = marcher__packet__v1__status__get_packed_size(&reply.status);
	*out = malloc(*length ? *length : 1);
	if (*out)
		marcher__packet__v1__status__pack(&reply.status, *out);
	else
		code = packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
out:
	free(values);
	free(reply.interfaces);
	free(reply.services);
	free(reply.policies);
	free(reply.fast);
	free(reply.failures);
	free(reply.backends);
	free(reply.traffic);
	free(reply.pointers);
	packet_guard_status_free(guard);
	return code;
}
