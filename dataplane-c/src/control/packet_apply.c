/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a valid table to the maps, by differences.
 *
 * What a packet follows is vips -> services and rings -> backends. So what is new is written from the end to the
 * beginning, and what goes is taken away from the beginning to the end, after all that is new is there: a packet meets
 * the old table or the new one, service by service. An index that is given up is not given out again by the same apply,
 * unless there is no room otherwise.
 *
 * When a write fails the maps are somewhere on the way; the state is read anew from them before the next apply.
 */
#include "packet.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "packet_apply.h"
#include "packet_guard.h"
#include "packet_policy.h"
#include "packet_ring.h"
#include "packet_shape.h"

#define RINGS_AT_ONCE 64   /* each outer update waits for a grace period of the kernel's: many in one */
#define RING_CHUNK 65536u  /* slots per write */
#define NO_BATCH_ERRNO 524 /* ENOTSUPP, which the kernel lets out and <errno.h> does not name */
#define SOURCE_PORT_ANY 9  /* discard: nothing is sent there, the kernel is only asked for a route */

struct pending_ring {
	uint32_t service;
	int fd;
	uint64_t fingerprint; /* 0: of a service that goes */
};

struct applying {
	struct marcher_packet *handle;
	struct packet_state *state;
	struct packet_wanted *wanted;
	int sockets[2]; /* IPv4, IPv6; -1: not opened yet */
	void *zero;     /* of one per-CPU element */
	int no_ring;    /* a ring without backends, made when it is needed */
	struct pending_ring pending[RINGS_AT_ONCE];
	uint32_t npending;
};

int packet_apply_put(struct marcher_packet *handle, enum packet_map map, const void *key, const void *value)
{
	int error = packet_put(handle, map, key, value);

	return error ? packet_fail_system(handle, -error, "writing the map %s", packet_map_names[map]) : MARCHER_OK;
}

int packet_apply_drop(struct marcher_packet *handle, enum packet_map map, const void *key)
{
	int error = packet_drop(handle, map, key);

	return error ? packet_fail_system(handle, -error, "deleting from the map %s", packet_map_names[map])
	             : MARCHER_OK;
}

static int put(const struct applying *a, enum packet_map map, const void *key, const void *value)
{
	return packet_apply_put(a->handle, map, key, value);
}

static int drop(const struct applying *a, enum packet_map map, const void *key)
{
	return packet_apply_drop(a->handle, map, key);
}

static int no_memory(const struct applying *a)
{
	return packet_fail(a->handle, MARCHER_E_NO_MEMORY, "no memory");
}

/* NULL for what a death in the middle of an apply has left. */
static const struct packet_service *service_of(const struct packet_state *state, const struct packet_backend *backend)
{
	return backend->service < SERVICES_MAX ? state->services[backend->service] : NULL;
}

/* Which is which: what the table names and the maps have already. */

static int service_name_compare(const void *a, const void *b)
{
	const struct packet_service *const *x = a, *const *y = b;

	return strcmp((*x)->record.name, (*y)->record.name);
}

static int backend_identity_compare(const void *a, const void *b)
{
	const struct packet_backend *x = *(const struct packet_backend *const *)a;
	const struct packet_backend *y = *(const struct packet_backend *const *)b;

	if (x->service != y->service)
		return x->service < y->service ? -1 : 1;
	int order = strcmp(x->name, y->name);
	return order ? order : packet_address_compare(&x->entry.address, &y->entry.address);
}

static void match_backends(const struct packet_wanted *wanted, const struct packet_wanted_service *service,
                           struct packet_backend **sorted, uint32_t count)
{
	/* Both in the same order: one walk. The service's backends stand together. */
	uint32_t low = 0, high = count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (sorted[middle]->service < service->index)
			low = middle + 1;
		else
			high = middle;
	}
	for (uint32_t i = 0; i < service->count; i++) {
		struct packet_wanted_backend *backend = &wanted->backends[service->first + i];
		for (; low < count && sorted[low]->service == service->index; low++) {
			int order = strcmp(sorted[low]->name, backend->name);
			if (!order)
				order = packet_address_compare(&sorted[low]->entry.address, &backend->address);
			if (order > 0)
				break;
			if (!order) {
				sorted[low]->wanted = true;
				backend->index = sorted[low]->index;
			}
		}
	}
}

static int match(struct applying *a)
{
	struct packet_state *state = a->state;
	struct packet_service **services = calloc(state->nservices + 1, sizeof(struct packet_service *));
	struct packet_backend **backends = calloc(state->nbackends + 1, sizeof(struct packet_backend *));
	uint32_t nservices = 0, nbackends = 0;

	if (!services || !backends) {
		free(services);
		free(backends);
		return no_memory(a);
	}
	for (uint32_t i = 0; i < SERVICES_MAX; i++)
		if (state->services[i]) {
			state->services[i]->wanted = false;
			services[nservices++] = state->services[i];
		}
	for (uint32_t i = 0; i < BACKENDS_MAX; i++)
		if (state->backends[i]) {
			state->backends[i]->wanted = false;
			backends[nbackends++] = state->backends[i];
		}
	qsort(services, nservices, sizeof(struct packet_service *), service_name_compare);
	qsort(backends, nbackends, sizeof(struct packet_backend *), backend_identity_compare);
	for (uint32_t i = 0, at = 0; i < a->wanted->nservices; i++) {
		struct packet_wanted_service *service = &a->wanted->services[i];
		int order = -1;
		while (at < nservices && (order = strcmp(services[at]->record.name, service->name)) < 0)
			at++;
		if (at == nservices || order)
			continue;
		services[at]->wanted = true;
		service->index = services[at]->index;
		match_backends(a->wanted, service, backends, nbackends);
	}
	free(services);
	free(backends);
	return MARCHER_OK;
}

/* How many entries of the first list are not in the second; both sorted. */
static uint32_t only_in(const void *one, uint32_t none, const void *two, uint32_t ntwo, size_t size,
                        int (*compare)(const void *, const void *))
{
	uint32_t count = 0;

	for (uint32_t i = 0, at = 0; i < none; i++) {
		const char *entry = (const char *)one + i * size;
		while (at < ntwo && compare((const char *)two + at * size, entry) < 0)
			at++;
		count += at == ntwo || compare((const char *)two + at * size, entry) != 0;
	}
	return count;
}

/* Does the new fit beside what goes? If not, *crowded: what goes has to go first. Reasons: not even then. */
static void check_room(const struct applying *a, bool *crowded, struct packet_reasons *reasons)
{
	const struct packet_state *state = a->state;
	const struct packet_wanted *wanted = a->wanted;
	uint32_t new_services = 0, new_backends = 0, gone_backends = 0;

	for (uint32_t i = 0; i < wanted->nservices; i++)
		new_services += wanted->services[i].index == UINT32_MAX;
	for (uint32_t i = 0; i < wanted->nbackends; i++)
		new_backends += !wanted->backends[i].index;
	for (uint32_t i = 0; i < BACKENDS_MAX; i++)
		if (state->backends[i]) {
			const struct packet_service *service = service_of(state, state->backends[i]);
			gone_backends += !service || !service->wanted;
		}
	/* Backends of a service that stays are held by its ring until that is replaced. */
	if (state->nbackends - gone_backends + new_backends >= BACKENDS_MAX)
		packet_reason(
		        reasons, "", "services",
		        "%u backends are new beside %u that are in force or being replaced: more than %u at once; "
		        "apply the change in two steps, removals first",
		        new_backends, state->nbackends - gone_backends, BACKENDS_MAX - 1);
	*crowded = state->nservices + new_services > SERVICES_MAX || state->nbackends + new_backends >= BACKENDS_MAX ||
	           only_in(state->vips, state->nvips, wanted->vips, wanted->nvips, sizeof(struct packet_vip),
	                   packet_vip_compare) +
	                           wanted->nvips >
	                   VIPS_MAX ||
	           only_in(state->vip_addresses, state->nvip_addresses, wanted->vip_addresses, wanted->nvip_addresses,
	                   sizeof(struct packet_vip_address), packet_address_compare) +
	                           wanted->nvip_addresses >
	                   VIPS_MAX ||
	           only_in(state->prefixes, state->nprefixes, wanted->prefixes, wanted->nprefixes,
	                   sizeof(struct packet_prefix), packet_prefix_compare) +
	                           wanted->nprefixes >
	                   2 * VIPS_MAX;
}

/* Backends. */

/* What the kernel's route to the connected peer carries, path MTUs that it has learned included; 0: it does not tell.
 */
static uint32_t mtu_of_route(int fd, bool v4)
{
	int mtu = 0;
	socklen_t length = sizeof(mtu);

	if (getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &length) || mtu < 0)
		return 0;
	return (uint32_t)mtu;
}

/* The source address that the kernel would choose towards an address, and what fits on the way. False when it knows no
 * route. */
static bool source_towards(struct applying *a, const struct address *to, struct address *out, uint32_t *mtu)
{
	bool v4 = packet_address_is_v4(to);
	int family = v4 ? AF_INET : AF_INET6, *fd = &a->sockets[v4 ? 0 : 1];
	struct sockaddr_storage peer = {0}, mine = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&peer;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&peer;
	struct sockaddr nothing = {.sa_family = AF_UNSPEC};
	socklen_t length = sizeof(mine);
	ProtobufCBinaryData bytes;

	if (*fd < 0)
		*fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return false;
	if (v4) {
		in->sin_family = AF_INET;
		in->sin_port = htons(SOURCE_PORT_ANY);
		memcpy(&in->sin_addr, &to->word[3], 4);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(SOURCE_PORT_ANY);
		memcpy(&in6->sin6_addr, to, 16);
	}
	if (connect(*fd, (struct sockaddr *)&peer, v4 ? sizeof(*in) : sizeof(*in6)) < 0)
		return false;
	bool found = !getsockname(*fd, (struct sockaddr *)&mine, &length);
	*mtu = mtu_of_route(*fd, v4);
	/* The next connect would keep this address otherwise. */
	if (connect(*fd, &nothing, sizeof(nothing)) < 0) {
		close(*fd);
		*fd = -1;
	}
	if (!found)
		return false;
	bytes.len = v4 ? 4 : 16;
	bytes.data = v4 ? (uint8_t *)&((struct sockaddr_in *)&mine)->sin_addr
	                : (uint8_t *)&((struct sockaddr_in6 *)&mine)->sin6_addr;
	return packet_address(out, &bytes);
}

/* What the backend is to be. Without a route it keeps the source it had: the programs count that there is none. */
static struct backend entry_for(struct applying *a, const struct packet_wanted_service *service,
                                const struct packet_wanted_backend *wanted, const struct backend *before,
                                uint32_t *path_mtu)
{
	struct backend entry = *before;
	struct address source;

	entry.address = wanted->address;
	entry.port = wanted->port;
	entry.flags = wanted->dead ? 0 : BACKEND_IN_USE;
	*path_mtu = 0;
	if (source_towards(a, &wanted->address, &source, path_mtu)) {
		/* Towards an address of one's own the kernel chooses that very address. */
		if (packet_address_compare(&source, &wanted->address) == 0)
			entry.flags |= wanted->dead ? 0 : BACKEND_LOCAL;
		if (service->entry.forwarding != FORWARDING_L2)
			entry.source = source;
	}
	/* Its flows are over: those that come after its return are new ones. */
	if (wanted->dead && before->flags & BACKEND_IN_USE)
		entry.generation++;
	return entry;
}

static int add_backend(struct applying *a, const struct packet_wanted_service *service,
                       struct packet_wanted_backend *wanted, uint32_t *cursor)
{
	struct packet_state *state = a->state;
	struct backend before;
	struct backend_record record = {.service = service->index};

	while (*cursor < BACKENDS_MAX && state->backends[*cursor])
		++*cursor;
	if (*cursor == BACKENDS_MAX) /* check_room has counted */
		return packet_fail(a->handle, MARCHER_E_SYSTEM, "no index for a backend is free");
	uint32_t index = *cursor;
	if (bpf_map_lookup_elem(a->handle->maps[MAP_BACKENDS], &index, &before))
		return packet_fail_system(a->handle, errno, "reading the map backends");
	size_t length = strlen(wanted->name);
	struct packet_backend *backend = calloc(1, sizeof(*backend) + length + 1);
	if (!backend)
		return no_memory(a);
	backend->index = index;
	backend->service = service->index;
	backend->wanted = true;
	memcpy(backend->name, wanted->name, length);
	memcpy(record.name, wanted->name, length);
	/* Whoever had the index before: flows of theirs, that a death of this process left behind, are not this one's.
	 */
	before = (struct backend){.generation = before.generation + 1};
	backend->entry = entry_for(a, service, wanted, &before, &backend->path_mtu);
	state->backends[index] = backend;
	state->nbackends++;
	wanted->index = index;
	int code = put(a, MAP_BACKEND_RECORDS, &index, &record);
	if (!code)
		code = put(a, MAP_BACKEND_COUNTERS, &index, a->zero);
	return code ? code : put(a, MAP_BACKENDS, &index, &backend->entry);
}

/* dead: those that die now, which the new ring no longer has; otherwise the others. */
static int update_backend(struct applying *a, const struct packet_wanted_service *service,
                          const struct packet_wanted_backend *wanted, bool dead)
{
	struct packet_backend *backend = a->state->backends[wanted->index];

	if (wanted->dead != dead)
		return MARCHER_OK;
	struct backend entry = entry_for(a, service, wanted, &backend->entry, &backend->path_mtu);
	if (!memcmp(&entry, &backend->entry, sizeof(entry)))
		return MARCHER_OK;
	int code = put(a, MAP_BACKENDS, &wanted->index, &entry);
	if (!code)
		backend->entry = entry;
	return code;
}

static int put_backends(struct applying *a)
{
	uint32_t cursor = 1; /* 0 is no backend */
	int code = MARCHER_OK;

	for (uint32_t s = 0; !code && s < a->wanted->nservices; s++) {
		const struct packet_wanted_service *service = &a->wanted->services[s];
		for (uint32_t i = 0; !code && i < service->count; i++) {
			struct packet_wanted_backend *backend = &a->wanted->backends[service->first + i];
			code = backend->index ? update_backend(a, service, backend, false)
			                      : add_backend(a, service, backend, &cursor);
		}
	}
	return code;
}

static int bury_backends(struct applying *a)
{
	int code = MARCHER_OK;

	for (uint32_t s = 0; !code && s < a->wanted->nservices; s++) {
		const struct packet_wanted_service *service = &a->wanted->services[s];
		for (uint32_t i = 0; !code && i < service->count; i++)
			code = update_backend(a, service, &a->wanted->backends[service->first + i], true);
	}
	return code;
}

static int remove_backend(struct applying *a, struct packet_backend *backend)
{
	struct backend entry = {.generation = backend->entry.generation + 1};
	uint32_t index = backend->index;
	int code = put(a, MAP_BACKENDS, &index, &entry);

	if (!code)
		code = drop(a, MAP_BACKEND_RECORDS, &index);
	if (code)
		return code;
	free(backend);
	a->state->backends[index] = NULL;
	a->state->nbackends--;
	return MARCHER_OK;
}

/* Services and rings. */

static int add_service(struct applying *a, struct packet_wanted_service *wanted, uint32_t *cursor)
{
	const struct service_failures no_failures = {.packets = {0}};
	struct packet_state *state = a->state;

	while (*cursor < SERVICES_MAX && state->services[*cursor])
		++*cursor;
	if (*cursor == SERVICES_MAX) /* check_room has counted */
		return packet_fail(a->handle, MARCHER_E_SYSTEM, "no index for a service is free");
	struct packet_service *service = calloc(1, sizeof(*service));
	if (!service)
		return no_memory(a);
	service->index = wanted->index = *cursor;
	service->wanted = true;
	memcpy(service->record.name, wanted->name, strlen(wanted->name));
	state->services[service->index] = service;
	state->nservices++;
	int code = put(a, MAP_SERVICE_RECORDS, &service->index, &service->record);
	if (!code)
		code = put(a, MAP_SERVICE_COUNTERS, &service->index, a->zero);
	if (!code)
		code = put(a, MAP_NAT_COUNTERS, &service->index, a->zero);
	if (!code)
		code = put(a, MAP_SERVICE_FAILURES, &service->index, &no_failures);
	return code ? code : packet_policy_begin(a->handle, service->index, a->zero);
}

static int add_services(struct applying *a)
{
	uint32_t cursor = 0;
	int code = MARCHER_OK;

	for (uint32_t i = 0; !code && i < a->wanted->nservices; i++)
		if (a->wanted->services[i].index == UINT32_MAX)
			code = add_service(a, &a->wanted->services[i], &cursor);
	return code;
}

static int set_fingerprint(struct applying *a, uint32_t service, uint64_t fingerprint)
{
	struct packet_service *at = a->state->services[service];

	at->record.ring = fingerprint;
	return put(a, MAP_SERVICE_RECORDS, &service, &at->record);
}

static int update_outer(struct applying *a)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
	uint32_t keys[RINGS_AT_ONCE], count = a->npending;
	int values[RINGS_AT_ONCE];

	for (uint32_t i = 0; i < a->npending; i++) {
		keys[i] = a->pending[i].service;
		values[i] = a->pending[i].fd;
	}
	if (count > 1 && !bpf_map_update_batch(a->handle->maps[MAP_RINGS], keys, values, &count, &options))
		return MARCHER_OK;
	/* Before Linux 5.19 maps of maps take one at a time. */
	if (a->npending > 1 && errno != NO_BATCH_ERRNO && errno != EOPNOTSUPP && errno != EINVAL)
		return packet_fail_system(a->handle, errno, "writing the map rings");
	for (uint32_t i = 0; i < a->npending; i++) {
		int code = put(a, MAP_RINGS, &keys[i], &values[i]);
		if (code)
			return code;
	}
	return MARCHER_OK;
}

static void close_pending(struct applying *a)
{
	for (uint32_t i = 0; i < a->npending; i++)
		if (a->pending[i].fd != a->no_ring)
			close(a->pending[i].fd);
	a->npending = 0;
}

static int flush_rings(struct applying *a)
{
	int code = a->npending ? update_outer(a) : MARCHER_OK;

	/* Last: a fingerprint is only there when the ring that it is of is. */
	for (uint32_t i = 0; !code && i < a->npending; i++)
		if (a->pending[i].fingerprint)
			code = set_fingerprint(a, a->pending[i].service, a->pending[i].fingerprint);
	close_pending(a);
	return code;
}

/* An inner map with these slots. Returns its descriptor, or -errno. */
static int make_ring(const struct applying *a, const uint32_t *slots, uint32_t count)
{
	LIBBPF_OPTS(bpf_map_create_opts, create, .map_flags = a->handle->ring_flags);
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
	uint32_t zero = 0, keys_count = count < RING_CHUNK ? count : RING_CHUNK;
	uint32_t *keys = malloc(keys_count * sizeof(*keys));
	int fd = -1, error = keys ? 0 : -ENOMEM;

	if (!error) {
		fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ring", sizeof(uint32_t), sizeof(uint32_t), count + 1, &create);
		if (fd < 0 || bpf_map_update_elem(fd, &zero, &count, BPF_ANY))
			error = -errno;
	}
	for (uint32_t at = 0; !error && at < count;) {
		uint32_t n = count - at < keys_count ? count - at : keys_count, done = n;
		for (uint32_t i = 0; i < n; i++)
			keys[i] = at + i + 1;
		if (bpf_map_update_batch(fd, keys, slots + at, &done, &options))
			error = -errno;
		at += n;
	}
	free(keys);
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

static int queue_ring(struct applying *a, uint32_t service, int fd, uint64_t fingerprint)
{
	int code = MARCHER_OK;

	/* A ring that is on its way is not one that is known. */
	if (a->state->services[service]->record.ring)
		code = set_fingerprint(a, service, 0);
	a->pending[a->npending++] = (struct pending_ring){service, fd, fingerprint};
	return !code && a->npending == RINGS_AT_ONCE ? flush_rings(a) : code;
}

/* A map of maps can be emptied one by one only, a grace period each: an empty ring stands for none. */
static int queue_no_ring(struct applying *a, uint32_t service, uint64_t fingerprint)
{
	const uint32_t nobody = 0;

	if (a->no_ring < 0) {
		a->no_ring = make_ring(a, &nobody, 1);
		if (a->no_ring < 0)
			return packet_fail_system(a->handle, -a->no_ring, "creating a ring");
	}
	return queue_ring(a, service, a->no_ring, fingerprint);
}

static int put_ring(struct applying *a, const struct packet_wanted_service *service)
{
	struct ring_member *members = calloc(service->count + 1, sizeof(*members));
	uint32_t *slots = NULL, count = 0;
	int code = MARCHER_OK;

	if (!members)
		return no_memory(a);
	for (uint32_t i = 0; i < service->count; i++) {
		const struct packet_wanted_backend *backend = &a->wanted->backends[service->first + i];
		if (backend->in_ring)
			members[count++] = (struct ring_member){.name = backend->name,
			                                        .address = (const uint8_t *)&backend->address,
			                                        .weight = backend->weight,
			                                        .index = backend->index};
	}
	uint64_t fingerprint = packet_ring_fingerprint(members, count, service->ring_size);
	if (fingerprint == a->state->services[service->index]->record.ring)
		goto out;
	if (!count) {
		code = queue_no_ring(a, service->index, fingerprint);
		goto out;
	}
	slots = malloc((size_t)service->ring_size * sizeof(*slots));
	int fd = slots ? packet_ring_fill(members, count, service->ring_size, slots) : -ENOMEM;
	if (!fd)
		fd = make_ring(a, slots, service->ring_size);
	code = fd < 0 ? packet_fail_system(a->handle, -fd, "building the ring of service %s", service->name)
	              : queue_ring(a, service->index, fd, fingerprint);
out:
	free(slots);
	free(members);
	return code;
}

/* Without table_lock: this is what takes time, and status does not read what it changes. */
static int put_rings(struct applying *a)
{
	int code = MARCHER_OK;

	for (uint32_t i = 0; !code && i < a->wanted->nservices; i++)
		code = put_ring(a, &a->wanted->services[i]);
	return code ? code : flush_rings(a);
}

static int put_services(struct applying *a)
{
	int code = MARCHER_OK;

	for (uint32_t i = 0; !code && i < a->wanted->nservices; i++) {
		const struct packet_wanted_service *wanted = &a->wanted->services[i];
		struct packet_service *service = a->state->services[wanted->index];
		code = packet_policy_put(a->handle, wanted, service);
		if (code || !memcmp(&service->entry, &wanted->entry, sizeof(wanted->entry)))
			continue;
		code = put(a, MAP_SERVICES, &wanted->index, &wanted->entry);
		if (!code)
			service->entry = wanted->entry;
	}
	return code;
}

/* Backends that no table names any more, and services. */
static int remove_gone(struct applying *a, bool services_only)
{
	struct packet_state *state = a->state;
	const struct service none = {0};
	int code = MARCHER_OK;

	for (uint32_t i = 0; !code && i < SERVICES_MAX; i++)
		if (state->services[i] && !state->services[i]->wanted)
			code = queue_no_ring(a, i, 0);
	if (!code)
		code = flush_rings(a);
	for (uint32_t i = 0; !code && i < SERVICES_MAX; i++)
		if (state->services[i] && !state->services[i]->wanted)
			code = put(a, MAP_SERVICES, &i, &none);
	for (uint32_t i = 1; !code && i < BACKENDS_MAX; i++) {
		struct packet_backend *backend = state->backends[i];
		if (!backend || backend->wanted)
			continue;
		const struct packet_service *service = service_of(state, backend);
		if (!services_only || !service || !service->wanted)
			code = remove_backend(a, backend);
	}
	for (uint32_t i = 0; !code && i < SERVICES_MAX; i++)
		if (state->services[i] && !state->services[i]->wanted) {
			code = drop(a, MAP_SERVICE_RECORDS, &i);
			if (code)
				break;
			free(state->services[i]);
			state->services[i] = NULL;
			state->nservices--;
		}
	return code;
}

static bool wants_nat(const struct packet_wanted *wanted)
{
	for (uint32_t i = 0; i < wanted->nservices; i++)
		if (wanted->services[i].entry.forwarding == FORWARDING_NAT)
			return true;
	return false;
}

static int write_maps(struct applying *a, bool crowded)
{
	pthread_mutex_t *lock = &a->handle->table_lock;
	int code = MARCHER_OK;

	pthread_mutex_lock(lock);
	if (crowded) {
		code = packet_apply_drop_vips(a->handle, a->wanted);
		if (!code)
			code = remove_gone(a, true);
	}
	if (!code)
		code = add_services(a);
	if (!code)
		code = put_backends(a);
	/* Before the first packet goes to a backend of this node, and after the last. */
	if (!code)
		code = packet_nat_settings(a->handle);
	if (!code && wants_nat(a->wanted))
		code = packet_nat_tables(a->handle, true);
	pthread_mutex_unlock(lock);
	if (!code)
		code = put_rings(a);
	pthread_mutex_lock(lock);
	if (!code)
		code = packet_policy_flows(a->handle, a->wanted, false);
	if (!code)
		code = packet_apply_put_quic(a->handle, a->wanted);
	if (!code)
		code = put_services(a);
	for (uint32_t i = 0; i < a->wanted->nvips && !code; i++)
		if (a->wanted->vips[i].vip.service != VIP_LEFT)
			a->wanted->vips[i].vip.service = a->wanted->services[a->wanted->vips[i].vip.service].index;
	if (!code) {
		packet_prefix_indices(a->wanted);
		code = packet_apply_put_vips(a->handle, a->wanted);
	}
	if (!code)
		code = bury_backends(a);
	/* Deleting what is gone already is no error, so this may be the second time. */
	if (!code)
		code = packet_apply_drop_vips(a->handle, a->wanted);
	if (!code)
		code = remove_gone(a, false);
	if (!code)
		code = packet_policy_flows(a->handle, a->wanted, true);
	if (!code)
		packet_apply_take_lists(a->state, a->wanted);
	if (!code)
		code = packet_nat_settings(a->handle);
	if (!code)
		code = packet_nat_tables(a->handle, wants_nat(a->wanted));
	pthread_mutex_unlock(lock);
	return code;
}

int packet_apply(struct marcher_packet *handle, struct packet_wanted *wanted, struct packet_reasons *reasons)
{
	struct applying a = {
	        .handle = handle, .state = &handle->state, .wanted = wanted, .sockets = {-1, -1}, .no_ring = -1};
	int cpus = libbpf_num_possible_cpus();
	bool crowded = false;

	int code = handle->state.stale ? packet_state_read(handle) : MARCHER_OK;
	if (code)
		return code;
	if (cpus < 0)
		return packet_fail_system(handle, -cpus, "counting the CPUs");
	a.zero = calloc((size_t)cpus, sizeof(struct traffic) > sizeof(struct policy_count)
	                                      ? sizeof(struct traffic)
	                                      : sizeof(struct policy_count));
	code = a.zero ? match(&a) : no_memory(&a);
	if (!code) {
		int error = packet_vlans(&wanted->vlans, &wanted->nvlans);
		if (error)
			code = packet_fail_system(handle, -error, "asking the kernel for the VLAN devices");
	}
	if (!code)
		check_room(&a, &crowded, reasons);
	if (!code && !reasons->count) {
		code = packet_guard_apply(handle, wanted->guard);
		if (!code)
			code = write_maps(&a, crowded);
		if (!code)
			code = packet_shape_services(handle);
		handle->state.stale = code != MARCHER_OK;
	}
	close_pending(&a);
	for (int i = 0; i < 2; i++)
		if (a.sockets[i] >= 0)
			close(a.sockets[i]);
	if (a.no_ring >= 0)
		close(a.no_ring);
	free(a.zero);
	return code;
}
