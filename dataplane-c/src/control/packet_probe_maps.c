/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_probe_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "packet.h"
#include "packet_objects.h"
#include "packet_probe_frame.h"
#include "packet_scratch.h"

#define ENTRIES_MAX 256u /* of each map; the real ones have up to millions */
#define GUARD_RULE_INDEX 1u

static struct bpf_map *map_of(const struct probe_objects *o, const char *name)
{
	for (size_t i = 0; i < PROBE_OBJECTS_MAX; i++) {
		struct bpf_map *map = o->objects[i] ? bpf_object__find_map_by_name(o->objects[i], name) : NULL;
		if (map && bpf_map__fd(map) >= 0)
			return map;
	}
	return NULL;
}

/* As the library has it with pins: what objects share by name is one map. */
static int share_maps(const struct probe_objects *o, struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (bpf_map__is_internal(map))
			continue;
		bpf_map__set_pin_path(map, NULL);
		struct bpf_map *same = map_of(o, bpf_map__name(map));
		int error = same ? bpf_map__reuse_fd(map, bpf_map__fd(same)) : 0;
		if (!same && bpf_map__max_entries(map) > ENTRIES_MAX)
			error = bpf_map__set_max_entries(map, ENTRIES_MAX);
		if (error)
			return error;
	}
	return 0;
}

/* Where the descriptor of a program that is attached is kept; NULL for those in slots. */
static int *kept(struct probe_objects *o, int slot)
{
	switch (slot) {
	case PACKET_OBJECT_ROOT:
		return &o->root_fd;
	case PACKET_OBJECT_TC_INGRESS:
		return &o->tc_ingress_fd;
	default:
		return NULL;
	}
}

static int load_object(struct probe_objects *o, size_t i)
{
	const struct packet_object *from = &packet_objects[i];
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = from->name);
	size_t size;
	const void *bytes = from->bytes(&size);
	struct bpf_object *object = bpf_object__open_mem(bytes, size, &options);

	if (!object)
		return -errno;
	o->objects[i] = object;
	int error = share_maps(o, object);
	if (!error)
		error = bpf_object__load(object);
	struct bpf_program *program = error ? NULL : bpf_object__next_program(object, NULL);
	if (!program)
		return error;
	int fd = bpf_program__fd(program), *keep = kept(o, from->slot);
	bool in_tc = from->slot == PACKET_OBJECT_TC_DECAP;
	uint32_t slot = in_tc ? TC_SLOT_DECAP : (uint32_t)from->slot;
	if (keep)
		*keep = fd;
	if (from->slot < 0 && !in_tc)
		return 0;
	struct bpf_map *slots = map_of(o, packet_map_names[in_tc ? MAP_TC_SLOTS : MAP_XDP_SLOTS]);
	return slots && !bpf_map_update_elem(bpf_map__fd(slots), &slot, &fd, BPF_ANY) ? 0 : -errno;
}

int probe_objects_load(struct probe_objects *o, const char **name)
{
	for (size_t i = 0; i < packet_objects_count && i < PROBE_OBJECTS_MAX; i++) {
		int error = load_object(o, i);
		*name = packet_objects[i].name;
		if (error)
			return error;
	}
	return 0;
}

void probe_objects_close(struct probe_objects *o)
{
	for (size_t i = 0; i < PROBE_OBJECTS_MAX; i++)
		bpf_object__close(o->objects[i]);
	if (o->nat_flows_fd >= 0)
		close(o->nat_flows_fd);
}

static int put(const struct probe_objects *o, enum packet_map map, const void *key, const void *value)
{
	struct bpf_map *found = map_of(o, packet_map_names[map]);

	if (!found)
		return -ENOENT;
	return bpf_map_update_elem(bpf_map__fd(found), key, value, BPF_ANY) ? -errno : 0;
}

/* An array as the inner map; values: of its entries. */
static int put_inner(const struct probe_objects *o, enum packet_map map, uint32_t place, uint32_t flags, size_t size,
                     uint32_t count, const void *values)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "inner", sizeof(uint32_t), (uint32_t)size, count, &options);
	int error = fd < 0 ? -errno : 0;

	for (uint32_t i = 0; !error && i < count; i++)
		error = bpf_map_update_elem(fd, &i, (const char *)values + i * size, BPF_ANY) ? -errno : 0;
	if (!error)
		error = put(o, map, &place, &fd);
	if (fd >= 0)
		close(fd);
	return error;
}

/* Index of a family's service, and of its one backend. */
static uint32_t backend_of(enum scratch_family family)
{
	return (uint32_t)family + 1;
}

/* One service with one backend, on the wire; this end takes encapsulated packets. */
static int fill_family(const struct probe_objects *o, enum scratch_family family)
{
	const uint32_t service = (uint32_t)family, index = backend_of(family), one = 1, ring[] = {1, index};
	const struct vip_key key = {.address = probe_vip[family], .protocol = IPPROTO_UDP};
	const struct vip vip = {.service = service};
	const struct backend backend = {.address = scratch_backend[family],
	                                .source = scratch_inside[family],
	                                .generation = 1,
	                                .flags = BACKEND_IN_USE};
	const struct decap decap = {.gue_port = htons(PROBE_GUE_PORT)};
	int error = put_inner(o, MAP_RINGS, service, BPF_F_INNER_MAP, sizeof(ring[0]), 2, ring);

	if (!error)
		error = put(o, MAP_BACKENDS, &index, &backend);
	if (!error)
		error = put(o, MAP_VIP_ADDRESSES, &probe_vip[family], &one);
	if (!error)
		error = put(o, MAP_VIPS, &key, &vip);
	return error ? error : put(o, MAP_DECAP_ADDRESSES, &scratch_inside[family], &decap);
}

/* kept_fd: gets its descriptor; NULL: nobody needs it. */
static int make_nat_table(const struct probe_objects *o, enum packet_map outer, int *kept_fd)
{
	const uint32_t zero = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, packet_map_names[outer], sizeof(struct flow_key),
	                        sizeof(struct nat_flow), ENTRIES_MAX, NULL);
	int error = fd < 0 ? -errno : put(o, outer, &zero, &fd);

	if (!error && kept_fd)
		*kept_fd = fd;
	else if (fd >= 0)
		close(fd);
	return error;
}

int probe_objects_fill(struct probe_objects *o)
{
	const struct nat_settings ports = {.first = {1024, 1}, .last = {32767, 0}};
	const uint32_t zero = 0;
	int error = fill_family(o, SCRATCH_V4);

	if (!error)
		error = fill_family(o, SCRATCH_V6);
	if (!error)
		error = make_nat_table(o, MAP_NAT_FLOWS, &o->nat_flows_fd);
	if (!error)
		error = make_nat_table(o, MAP_NAT_NEW, NULL);
	return error ? error : put(o, MAP_NAT_SETTINGS, &zero, &ports);
}

int probe_objects_forward(const struct probe_objects *o, enum scratch_family family, uint16_t forwarding)
{
	const uint32_t service = (uint32_t)family;
	const struct service entry = {.forwarding = forwarding,
	                              .port = forwarding == FORWARDING_GUE ? htons(PROBE_GUE_PORT) : 0,
	                              .flags = forwarding == FORWARDING_NAT ? SERVICE_SOURCE_NAT : 0};

	return put(o, MAP_SERVICES, &service, &entry);
}

/* In units of 2^30 ns, as nat_now() of the programs. */
static uint32_t nat_now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
	return (uint32_t)(((uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec) >> 30);
}

int probe_objects_open_flow(const struct probe_objects *o, enum scratch_family family, uint32_t interface, bool open)
{
	const struct flow_key keys[] = {{.source = scratch_client[family],
	                                 .destination = probe_vip[family],
	                                 .source_port = htons(PROBE_CLIENT_PORT),
	                                 .destination_port = htons(PROBE_PORT),
	                                 .protocol = IPPROTO_UDP},
	                                {.source = scratch_backend[family],
	                                 .destination = scratch_inside[family],
	                                 .source_port = htons(PROBE_PORT),
	                                 .destination_port = htons(PROBE_CLIENT_PORT),
	                                 .protocol = IPPROTO_UDP}};
	const struct nat_device device = {.address = SCRATCH_INSIDE_MAC};
	const struct bpf_map *devices = map_of(o, packet_map_names[MAP_NAT_DEVICES]);
	int error = open ? put(o, MAP_NAT_DEVICES, &interface, &device) : 0;

	for (int i = 0; !error && i < 2; i++) {
		/* Each has the other turned round. */
		const struct flow_key *other = &keys[!i];
		const struct nat_flow flow = {.source = other->destination,
		                              .destination = other->source,
		                              .source_port = other->destination_port,
		                              .destination_port = other->source_port,
		                              .flags = NAT_ANSWERED | NAT_CONFIRMED | (i ? NAT_REVERSE : 0),
		                              .service = (uint32_t)family,
		                              .backend = backend_of(family),
		                              .generation = 1,
		                              .seen = nat_now()};
		if (open)
			error = bpf_map_update_elem(o->nat_flows_fd, &keys[i], &flow, BPF_ANY) ? -errno : 0;
		else
			bpf_map_delete_elem(o->nat_flows_fd, &keys[i]);
	}
	if (!open && devices)
		bpf_map_delete_elem(bpf_map__fd(devices), &interface);
	return error;
}

int probe_objects_guard(const struct probe_objects *o, bool on)
{
	const struct guard_rule rules[] = {{.action = GUARD_ALLOW}, {.action = GUARD_DENY, .counter = 1}};
	struct guard guard = {.flags = GUARD_RULES};
	const uint32_t zero = 0;

	if (!on) {
		struct bpf_map *map = map_of(o, packet_map_names[MAP_GUARD]);
		return map && !bpf_map_delete_elem(bpf_map__fd(map), &zero) ? 0 : -ENOENT;
	}
	guard.everyone.nspans[GUARD_UDP] = 1;
	guard.near_spans[GUARD_UDP][0] = (struct guard_span){PROBE_DENIED_PORT, PROBE_DENIED_PORT, GUARD_RULE_INDEX};
	int error = put_inner(o, MAP_GUARD_RULES, 0, BPF_F_INNER_MAP, sizeof(rules[0]), 2, rules);
	return error ? error : put_inner(o, MAP_GUARD, 0, 0, sizeof(guard), 1, &guard);
}

uint64_t probe_objects_drops(const struct probe_objects *o, uint32_t reason)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL, total = 0;
	struct bpf_map *drops = map_of(o, packet_map_names[MAP_DROPS]);

	if (values && drops && !bpf_map_lookup_elem(bpf_map__fd(drops), &reason, values))
		for (int cpu = 0; cpu < cpus; cpu++)
			total += values[cpu];
	free(values);
	return total;
}
