/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "namespace.h"

#define FLOW_SETS 2048
#define CPUS_MAX 512

static struct {
	struct bpf_object *root, *lb, *decap, *guard, *cookies;
	int root_fd, lb_fd, decap_fd, guard_fd, cookies_fd;
	int cpus;
	int vips, vip_addresses, vlan_devices, services, rings, backends, flows, flow_settings, next_hops;
	int service_counters, backend_counters;
	int drops, slots, decap_addresses;
	struct flow_set *flow_sets; /* the map itself */
	uint32_t ring[RING_SLOTS];
	bool ring_changed[SERVICES_USED];
	bool slot_changed[XDP_SLOTS];
	unsigned in0;
} world;

static const struct backend_facts facts[] = {
        [BACKEND_V4] = {"10.1.0.11", "10.1.0.1", "02000000010b", "020000000002", false, 0},
        [BACKEND_V6] = {"fd00:1::11", "fd00:1::1", "02000000016b", "020000000002", false, 0},
        [BACKEND_V4_GATEWAY] = {"10.2.0.11", "10.1.0.1", "0200000001fe", "020000000002", false, 0},
        [BACKEND_V6_GATEWAY] = {"fd00:2::11", "fd00:1::1", "02000000016e", "020000000002", false, 0},
        [BACKEND_V4_IN] = {"192.0.2.11", "192.0.2.1", "02000000020b", "020000000001", true, 0},
        [BACKEND_V6_IN] = {"2001:db8:1::11", "2001:db8:1::1", "02000000060b", "020000000001", true, 0},
        [BACKEND_V4_VLAN] = {"10.3.0.11", "10.3.0.1", "02000000030b", "020000000003", true, 300},
        [BACKEND_V6_VLAN] = {"fd00:3::11", "fd00:3::1", "02000000036b", "020000000003", true, 300},
        [BACKEND_V4_SMALL] = {"10.9.0.11", "10.1.0.1", "0200000001fe", "020000000002", false, 0},
        [BACKEND_V6_SMALL] = {"fd00:9::11", "fd00:1::1", "02000000016e", "020000000002", false, 0},
        [BACKEND_NO_ROUTE] = {"172.31.0.1", "10.1.0.1", NULL, NULL, false, 0},
        [BACKEND_UNREACHABLE] = {"172.30.0.1", "10.1.0.1", NULL, NULL, false, 0},
        [BACKEND_BLACKHOLE] = {"172.29.0.1", "10.1.0.1", NULL, NULL, false, 0},
        [BACKEND_NO_NEIGHBOUR] = {"10.1.0.99", "10.1.0.1", NULL, NULL, false, 0},
        [BACKEND_LOCAL_V4] = {"10.1.0.1", "10.1.0.1", NULL, NULL, false, 0},
        [BACKEND_V6_NO_ROUTE] = {"fdff::1", "fd00:1::1", NULL, NULL, false, 0},
        [BACKEND_V6_NO_NEIGHBOUR] = {"fd00:1::99", "fd00:1::1", NULL, NULL, false, 0},
        [BACKEND_LOCAL_V6] = {"fd00:1::1", "fd00:1::1", NULL, NULL, false, 0},
        [BACKEND_UNUSED] = {"10.1.0.11", "10.1.0.1", "02000000010b", "020000000002", false, 0},
        [BACKEND_RING + 0] = {"10.1.0.101", "10.1.0.1", "020000000401", "020000000002", false, 0},
        [BACKEND_RING + 1] = {"10.1.0.102", "10.1.0.1", "020000000402", "020000000002", false, 0},
        [BACKEND_RING + 2] = {"10.1.0.103", "10.1.0.1", "020000000403", "020000000002", false, 0},
        [BACKEND_RING + 3] = {"10.1.0.104", "10.1.0.1", "020000000404", "020000000002", false, 0},
        [BACKEND_RING + 4] = {"10.1.0.105", "10.1.0.1", "020000000405", "020000000002", false, 0},
        [BACKEND_RING + 5] = {"10.1.0.106", "10.1.0.1", "020000000406", "020000000002", false, 0},
        [BACKEND_RING + 6] = {"10.1.0.107", "10.1.0.1", "020000000407", "020000000002", false, 0},
        [BACKEND_RING + 7] = {"10.1.0.108", "10.1.0.1", "020000000408", "020000000002", false, 0},
};
#define BACKENDS_USED (BACKEND_RING + RING_BACKENDS)

const struct backend_facts *world_backend(uint32_t index)
{
	return &facts[index];
}

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		abort();
	}
}

struct address world_address(const char *text)
{
	struct address address = {0};
	uint8_t *bytes = (uint8_t *)&address;
	if (!strchr(text, ':')) {
		bytes[10] = bytes[11] = 0xff;
		bytes += 12;
	}
	put_address(bytes, text);
	return address;
}

int world_map(const char *name)
{
	const struct bpf_object *objects[] = {world.root, world.lb, world.decap, world.guard, world.cookies};
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		int fd = objects[i] ? bpf_object__find_map_fd_by_name(objects[i], name) : -1;
		if (fd > 0)
			return fd;
	}
	return -1;
}

static int map_of(const struct bpf_object *object, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object, name);
	if (fd < 0)
		fprintf(stderr, "map %s is not there\n", name);
	return fd;
}

static struct bpf_object *open_object(const char *folder, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s.bpf.o", folder, name);
	if (access(path, R_OK) < 0)
		snprintf(path, sizeof(path), "%s/%s.o", folder, name);
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	if (!object)
		fprintf(stderr, "%s: cannot be opened: %s\n", path, strerror(errno));
	return object;
}

/* The maps that it has in common with those before it are theirs. */
static bool load_object(struct bpf_object *object, const char *name, int *fd)
{
	struct bpf_map *map;
	bpf_object__for_each_map(map, object)
	{
		int shared = world_map(bpf_map__name(map));
		if (shared >= 0 && bpf_map__reuse_fd(map, shared))
			return false;
		if (!strcmp(bpf_map__name(map), "flows"))
			bpf_map__set_max_entries(map, FLOW_SETS);
	}
	int error = bpf_object__load(object);
	if (error) {
		fprintf(stderr, "%s: cannot be loaded: %s\n", name, strerror(-error));
		return false;
	}
	*fd = bpf_program__fd(bpf_object__find_program_by_name(object, name));
	return *fd >= 0;
}

unsigned world_in0(void)
{
	return world.in0;
}

bool world_load(const char *objects, const char *name, struct bpf_object **object, int *fd)
{
	struct bpf_map *map;
	*object = open_object(objects, name);
	if (!*object)
		return false;
	bpf_object__for_each_map(map, *object)
	{
		int shared = world_map(bpf_map__name(map));
		if (shared >= 0 && bpf_map__reuse_fd(map, shared))
			return false;
	}
	int error = bpf_object__load(*object);
	if (error) {
		fprintf(stderr, "%s: cannot be loaded: %s\n", name, strerror(-error));
		return false;
	}
	*fd = bpf_program__fd(bpf_object__find_program_by_name(*object, name));
	return *fd >= 0;
}

void world_set_slot(uint32_t slot, int program)
{
	must(!bpf_map_update_elem(world.slots, &slot, &program, BPF_ANY), "xdp_slots");
	world.slot_changed[slot] = true;
}

void world_clear_slot(uint32_t slot)
{
	if (bpf_map_delete_elem(world.slots, &slot))
		must(errno == ENOENT, "xdp_slots");
	world.slot_changed[slot] = true;
}

static void set_slot_program(uint32_t slot, const struct bpf_insn *code, size_t count)
{
	static char log[65536];
	LIBBPF_OPTS(bpf_prog_load_opts, options, .log_buf = log, .log_size = sizeof(log), .log_level = 1,
	            .expected_attach_type = BPF_XDP); /* as libbpf's: a program array takes but one kind */
	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "test", "GPL", code, count, &options);
	if (program < 0)
		fputs(log, stderr);
	must(program >= 0, "a test's own program");
	world_set_slot(slot, program);
	close(program);
}

#define MOVE(to, value)                                                                   \
	{                                                                                 \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (to), .imm = (int)(value) \
	}
#define COPY(to, from)                                                                  \
	{                                                                               \
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = (to), .src_reg = (from) \
	}
#define ADD(to, value)                                                               \
	{                                                                            \
		.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = (to), .imm = (value) \
	}
#define CALL(function)                                        \
	{                                                     \
		.code = BPF_JMP | BPF_CALL, .imm = (function) \
	}
#define EXIT()                             \
	{                                  \
		.code = BPF_JMP | BPF_EXIT \
	}

void world_set_slot_verdict(uint32_t slot, uint32_t verdict)
{
	const struct bpf_insn code[] = {MOVE(0, verdict), EXIT()};
	set_slot_program(slot, code, 2);
}

/* The kernel's test run gives 256 bytes, of which it keeps the first 40 (struct xdp_frame). */
void world_limit_headroom(uint32_t slot, uint32_t headroom, uint32_t length)
{
	int shift = 256 - 40 - (int)headroom;
	const struct bpf_insn code[] = {
	        COPY(6, 1),
	        MOVE(2, -shift),
	        CALL(BPF_FUNC_xdp_adjust_head),
	        COPY(1, 6),
	        MOVE(2, shift),
	        COPY(3, 10),
	        ADD(3, -512),
	        MOVE(4, length),
	        CALL(BPF_FUNC_xdp_load_bytes),
	        COPY(1, 6),
	        MOVE(2, 0),
	        COPY(3, 10),
	        ADD(3, -512),
	        MOVE(4, length),
	        CALL(BPF_FUNC_xdp_store_bytes),
	        COPY(1, 6),
	        MOVE(2, -shift),
	        CALL(BPF_FUNC_xdp_adjust_tail),
	        COPY(1, 6),
	        {.code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 2, .src_reg = BPF_PSEUDO_MAP_FD, .imm = world.slots},
	        {0},
	        MOVE(3, slot),
	        CALL(BPF_FUNC_tail_call),
	        MOVE(0, XDP_ABORTED),
	        EXIT(),
	};
	set_slot_program(XDP_SLOT_GUARD, code, sizeof(code) / sizeof(code[0]));
}

void world_set_backend(uint32_t index, uint32_t generation, uint32_t flags)
{
	struct backend backend = {.address = world_address(facts[index].address),
	                          .source = world_address(facts[index].source),
	                          .generation = generation,
	                          .flags = flags};
	if (index != BACKEND_V4_GATEWAY && index != BACKEND_V6_GATEWAY)
		backend.port = htons(BACKEND_PORT);
	must(!bpf_map_update_elem(world.backends, &index, &backend, BPF_ANY), "backends");
}

static void put_ring(uint32_t service, const uint32_t *entries, uint32_t slots, uint32_t claimed)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_INNER_MAP);
	int ring = bpf_map_create(BPF_MAP_TYPE_ARRAY, "ring", 4, 4, slots + 1, &options);
	must(ring >= 0, "a ring");
	uint32_t key = 0;
	must(!bpf_map_update_elem(ring, &key, &claimed, BPF_ANY), "a ring");
	for (uint32_t i = 0; i < slots; i++) {
		key = i + 1;
		must(!bpf_map_update_elem(ring, &key, &entries[i], BPF_ANY), "a ring");
	}
	must(!bpf_map_update_elem(world.rings, &service, &ring, BPF_ANY), "rings");
	world.ring_changed[service] = true;
	close(ring);
}

void world_set_ring(uint32_t service, const uint32_t *entries, uint32_t slots)
{
	put_ring(service, entries, slots, slots);
}

void world_fill_ring(uint32_t service, uint32_t backend)
{
	put_ring(service, &backend, 1, 1);
}

void world_remove_ring(uint32_t service)
{
	world.ring_changed[service] = true;
	if (bpf_map_delete_elem(world.rings, &service))
		must(errno == ENOENT, "rings");
}

uint32_t world_ring_entry(uint32_t slot)
{
	return world.ring[slot];
}

static void add_vip(const char *text, uint16_t port, uint32_t service)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	for (int i = 0; i < 2; i++) {
		struct vip_key key = {.address = world_address(text), .port = htons(port), .protocol = protocols[i]};
		struct vip vip = {.service = service};
		if (!port && protocols[i] == IPPROTO_UDP)
			continue;
		must(!bpf_map_update_elem(world.vips, &key, &vip, BPF_ANY), "vips");
	}
	struct address address = world_address(text);
	uint32_t count = 1;
	must(!bpf_map_update_elem(world.vip_addresses, &address, &count, BPF_ANY), "vip_addresses");
}

void world_set_service(uint32_t index, uint32_t flags, enum forwarding forwarding)
{
	struct service service = {.flags = flags, .forwarding = (uint16_t)forwarding, .port = htons(GUE_PORT)};
	must(!bpf_map_update_elem(world.services, &index, &service, BPF_ANY), "services");
}

void world_set_service_flags(uint32_t service, uint32_t flags)
{
	world_set_service(service, flags, FORWARDING_IPIP);
}

static void add_service(uint32_t index, uint32_t flags, enum forwarding forwarding)
{
	world_set_service(index, flags, forwarding);
	add_vip(VIP_V4, SERVICE_PORT(index), index);
	add_vip(VIP_V6, SERVICE_PORT(index), index);
}

static void add_decap(const char *text, uint16_t gue_port)
{
	struct address address = world_address(text);
	struct decap decap = {.gue_port = htons(gue_port)};
	must(!bpf_map_update_elem(world.decap_addresses, &address, &decap, BPF_ANY), "decap_addresses");
}

static void fill_maps(void)
{
	for (int forwarding = FORWARDING_IPIP; forwarding <= FORWARDING_L2; forwarding++)
		for (uint32_t backend = 1; backend < BACKEND_RING; backend++)
			add_service((uint32_t)SERVICE_OF(forwarding, backend), 0, forwarding);
	for (uint32_t backend = 1; backend < BACKEND_RING; backend++) {
		add_service(SERVICE_NAT + backend, 0, FORWARDING_NAT);
		add_service(SERVICE_SOURCE_NATTED + backend, SERVICE_SOURCE_NAT, FORWARDING_NAT);
	}
	add_service(SERVICE_IPIP, 0, FORWARDING_IPIP);
	add_service(SERVICE_RING, 0, FORWARDING_IPIP);
	add_service(SERVICE_SOURCE, SERVICE_SOURCE_ONLY, FORWARDING_IPIP);
	add_service(SERVICE_STATELESS, SERVICE_NO_FLOWS, FORWARDING_IPIP);
	add_service(SERVICE_EMPTY, 0, FORWARDING_IPIP);
	add_service(SERVICE_ZERO, 0, FORWARDING_IPIP);
	add_service(SERVICE_RING_GUE, 0, FORWARDING_GUE);
	add_service(SERVICE_LYING, 0, FORWARDING_IPIP);
	add_service(SERVICE_NO_SLOTS, 0, FORWARDING_IPIP);
	add_service(SERVICE_FREE, 0, 0);
	add_vip(ANY_PORT_VIP_V4, 0, SERVICE_IPIP);
	add_vip(ANY_PORT_VIP_V6, 0, SERVICE_IPIP);
	add_vip(ANY_PORT_VIP_V4, SERVICE_PORT(SERVICE_OF(FORWARDING_IPIP, BACKEND_V6)),
	        SERVICE_OF(FORWARDING_IPIP, BACKEND_V6));
	add_decap(DECAP_V4, GUE_PORT);
	add_decap(DECAP_V6, GUE_PORT);
	add_decap(DECAP_NO_GUE, 0);
	uint32_t out1 = if_nametoindex("out1");
	struct vlan_device vlan = {.lower = world.in0, .protocol = htons(0x8100), .id = htons(300)};
	must(!bpf_map_update_elem(world.vlan_devices, &out1, &vlan, BPF_ANY), "vlan_devices");
	/* Not Maglev, which is user space's: any ring will do. */
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		world.ring[i] = BACKEND_RING + i * 37 % RING_BACKENDS;
}

static void set_first_ring(uint32_t service);

bool world_open(const char *objects)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	if (!namespace_enter())
		return false;
	world.in0 = if_nametoindex("in0");
	world.cpus = libbpf_num_possible_cpus();
	if (world.cpus < 1 || world.cpus > CPUS_MAX) {
		fprintf(stderr, "%d possible CPUs; these tests know at most %d\n", world.cpus, CPUS_MAX);
		return false;
	}
	world.root = open_object(objects, "xdp_root");
	world.lb = open_object(objects, "xdp_lb");
	world.decap = open_object(objects, "decap");
	world.guard = open_object(objects, "xdp_guard");
	world.cookies = open_object(objects, "xdp_cookies");
	if (!world.root || !world.lb || !world.decap || !world.guard || !world.cookies ||
	    !load_object(world.root, "xdp_root", &world.root_fd))
		return false;
	world.slots = map_of(world.root, "xdp_slots");
	if (world.slots < 0 || !load_object(world.lb, "xdp_lb", &world.lb_fd))
		return false;
	struct {
		int *fd;
		const char *name;
	} maps[] = {
	        {&world.vips, "vips"},           {&world.vip_addresses, "vip_addresses"},
	        {&world.rings, "rings"},         {&world.vlan_devices, "vlan_devices"},
	        {&world.drops, "drops"},         {&world.service_counters, "service_counters"},
	        {&world.flows, "flows"},         {&world.backend_counters, "backend_counters"},
	        {&world.services, "services"},   {&world.backends, "backends"},
	        {&world.next_hops, "next_hops"}, {&world.flow_settings, "flow_settings"},
	};
	for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
		*maps[i].fd = map_of(world.lb, maps[i].name);
		if (*maps[i].fd < 0)
			return false;
	}
	world.flow_sets =
	        mmap(NULL, FLOW_SETS * sizeof(*world.flow_sets), PROT_READ | PROT_WRITE, MAP_SHARED, world.flows, 0);
	if (world.flow_sets == MAP_FAILED)
		return false;
	if (!load_object(world.decap, "decap", &world.decap_fd))
		return false;
	world.decap_addresses = map_of(world.decap, "decap_addresses");
	if (world.decap_addresses < 0 || !load_object(world.guard, "xdp_guard", &world.guard_fd) ||
	    !load_object(world.cookies, "xdp_cookies", &world.cookies_fd))
		return false;
	fill_maps();
	/* Once: each change of a map of maps waits for a grace period. */
	for (uint32_t service = 0; service < SERVICES_USED; service++)
		set_first_ring(service);
	memset(world.ring_changed, 0, sizeof(world.ring_changed));
	memset(world.slot_changed, 1, sizeof(world.slot_changed));
	return true;
}

void world_close(void)
{
	bpf_object__close(world.cookies);
	bpf_object__close(world.guard);
	bpf_object__close(world.decap);
	bpf_object__close(world.lb);
	bpf_object__close(world.root);
}

/* In one call: this is done before each of thousands of cases. */
static void zero(int map, uint32_t entries, size_t size)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
	/* The kernel hands per-CPU values over in units of 8 bytes. */
	void *values = calloc((size_t)world.cpus * entries, (size + 7) / 8 * 8);
	uint32_t *keys = calloc(entries, sizeof(*keys)), count = entries;
	must(values && keys, "zero");
	for (uint32_t i = 0; i < entries; i++)
		keys[i] = i;
	must(!bpf_map_update_batch(map, keys, values, &count, &options), "zero");
	free(keys);
	free(values);
}

static void set_first_slot(uint32_t slot)
{
	if (slot == XDP_SLOT_LB)
		world_set_slot(slot, world.lb_fd);
	else if (slot == XDP_SLOT_DECAP)
		world_set_slot(slot, world.decap_fd);
	else if (slot == XDP_SLOT_GUARD)
		world_set_slot(slot, world.guard_fd);
	else if (slot == XDP_SLOT_COOKIES)
		world_set_slot(slot, world.cookies_fd);
	else
		world_clear_slot(slot);
}

static void set_first_ring(uint32_t service)
{
	switch (service) {
	case SERVICE_IPIP:
	case SERVICE_FREE:
		world_fill_ring(service, BACKEND_V4);
		break;
	case SERVICE_RING:
	case SERVICE_SOURCE:
	case SERVICE_STATELESS:
	case SERVICE_RING_GUE:
		world_set_ring(service, world.ring, RING_SLOTS);
		break;
	case SERVICE_EMPTY:
		world_remove_ring(service);
		break;
	case SERVICE_ZERO:
		world_fill_ring(service, 0);
		break;
	case SERVICE_NO_SLOTS:
		put_ring(service, world.ring, 1, 0);
		break;
	case SERVICE_LYING:
		put_ring(service, world.ring, 1, RING_SLOTS_MAX + 1);
		break;
	default:
		if ((service - SERVICE_FIRST) % 64 && (service - SERVICE_FIRST) % 64 < BACKEND_RING)
			world_fill_ring(service, (service - SERVICE_FIRST) % 64);
	}
}

static uint32_t first_flags(uint32_t backend)
{
	switch (backend) {
	case BACKEND_UNUSED:
		return 0;
	case BACKEND_LOCAL_V4:
	case BACKEND_LOCAL_V6:
		return BACKEND_IN_USE | BACKEND_LOCAL;
	default:
		return BACKEND_IN_USE;
	}
}

void world_reset(void)
{
	memset(world.flow_sets, 0, FLOW_SETS * sizeof(*world.flow_sets));
	world_set_flow_settings(FLOW_SETS - 1, 1);
	world_forget_next_hops();
	zero(world.drops, DROP_REASONS, sizeof(uint64_t));
	zero(world.service_counters, SERVICES_USED, sizeof(struct traffic));
	zero(world_map("service_failures"), SERVICES_USED, sizeof(struct service_failures));
	zero(world.backend_counters, BACKENDS_USED, sizeof(struct traffic));
	for (uint32_t slot = 0; slot < XDP_SLOTS; slot++) {
		if (world.slot_changed[slot])
			set_first_slot(slot);
		world.slot_changed[slot] = false;
	}
	for (uint32_t i = 1; i < BACKENDS_USED; i++)
		world_set_backend(i, 7, first_flags(i));
	for (uint32_t service = 0; service < SERVICES_USED; service++) {
		if (world.ring_changed[service])
			set_first_ring(service);
		world.ring_changed[service] = false;
	}
}

void world_run_times(const struct frame *frame, uint32_t times)
{
	struct xdp_md in = {.data_end = (uint32_t)frame->length, .ingress_ifindex = world.in0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data, .data_size_in = (uint32_t)frame->length,
	            .ctx_in = &in, .ctx_size_in = sizeof(in), .repeat = (int)times);
	must(!bpf_prog_test_run_opts(world.root_fd, &run), "BPF_PROG_TEST_RUN of many times");
}

void world_run(const struct frame *frame, struct result *result)
{
	world_run_program(world.root_fd, frame, result);
}

void world_run_program(int program, const struct frame *frame, struct result *result)
{
	struct xdp_md in = {.data_end = (uint32_t)frame->length, .ingress_ifindex = world.in0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data, .data_size_in = (uint32_t)frame->length,
	            .data_out = result->frame.data, .data_size_out = FRAME_MAX, .ctx_in = &in,
	            .ctx_size_in = sizeof(in), .repeat = 1);
	int error = bpf_prog_test_run_opts(program, &run);
	if (error) {
		fprintf(stderr, "BPF_PROG_TEST_RUN of a frame of %zu bytes: %s\n", frame->length, strerror(-error));
		abort();
	}
	result->verdict = run.retval;
	result->frame.length = run.data_size_out;
}

uint64_t world_drops(enum drop_reason reason)
{
	uint64_t values[CPUS_MAX] = {0}, sum = 0;
	uint32_t index = reason;
	must(!bpf_map_lookup_elem(world.drops, &index, values), "drops");
	for (int i = 0; i < world.cpus; i++)
		sum += values[i];
	return sum;
}

struct traffic world_traffic(int map, uint32_t index)
{
	struct traffic values[CPUS_MAX] = {0}, sum = {0};
	must(!bpf_map_lookup_elem(map, &index, values), "counters");
	for (int i = 0; i < world.cpus; i++) {
		sum.packets += values[i].packets;
		sum.bytes += values[i].bytes;
		sum.returned_packets += values[i].returned_packets;
		sum.returned_bytes += values[i].returned_bytes;
	}
	return sum;
}

struct traffic world_service_traffic(uint32_t service)
{
	return world_traffic(world.service_counters, service);
}

uint64_t world_failures(uint32_t service, enum drop_reason reason)
{
	static const int places[DROP_REASONS] = {[DROP_NO_ROUTE] = 1 + FAILURE_NO_ROUTE,
	                                         [DROP_NO_NEIGHBOUR] = 1 + FAILURE_NO_NEIGHBOUR,
	                                         [DROP_FORWARDING_OFF] = 1 + FAILURE_FORWARDING_OFF,
	                                         [DROP_NO_HEADROOM] = 1 + FAILURE_NO_HEADROOM};
	struct service_failures failures;
	must(!bpf_map_lookup_elem(world_map("service_failures"), &service, &failures), "service_failures");
	return places[reason] ? failures.packets[places[reason] - 1] : 0;
}

struct traffic world_backend_traffic(uint32_t backend)
{
	return world_traffic(world.backend_counters, backend);
}

void world_set_flow_settings(uint32_t mask, uint32_t seed)
{
	struct flow_settings settings = {.mask = mask};
	uint32_t zero = 0;
	for (size_t i = 0; i < FLOW_KEY_WORDS; i++)
		settings.key[i] = seed = seed * 1664525 + 1013904223; /* Numerical Recipes' generator */
	must(!bpf_map_update_elem(world.flow_settings, &zero, &settings, BPF_ANY), "flow_settings");
}

void world_forget(int map)
{
	struct bpf_map_info info = {0};
	uint32_t length = sizeof(info);
	must(!bpf_obj_get_info_by_fd(map, &info, &length), "a map to be emptied");
	zero(map, info.max_entries, info.value_size);
}

void world_forget_next_hops(void)
{
	world_forget(world.next_hops);
}

uint32_t world_flow_count(void)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < FLOW_SETS; i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++)
			count += world.flow_sets[i].way[way].state != 0;
	return count;
}

struct flow *world_a_flow(void)
{
	for (uint32_t i = 0; i < FLOW_SETS; i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++)
			if (world.flow_sets[i].way[way].state)
				return &world.flow_sets[i].way[way];
	return NULL;
}

void world_set_forwarding(bool on)
{
	must(write_setting("/proc/sys/net/ipv4/conf/in0/forwarding", on ? "1" : "0"), "forwarding");
	must(write_setting("/proc/sys/net/ipv6/conf/in0/forwarding", on ? "1" : "0"), "forwarding");
}

void world_set_own(const struct frame *frame, bool own)
{
	const uint8_t *ip = frame->data + 14;
	struct address key, address = {.word = {0, 0, htonl(0xffff), 0}};
	uint32_t one = 1;
	int map = world_map("own_addresses");
	while (!bpf_map_get_next_key(map, NULL, &key))
		must(!bpf_map_delete_elem(map, &key), "own_addresses");
	if (!own)
		return;
	if (ip[0] >> 4 == 4)
		memcpy(&address.word[3], ip + 16, 4);
	else
		memcpy(&address, ip + 24, sizeof(address));
	must(!bpf_map_update_elem(map, &address, &one, BPF_ANY), "own_addresses");
}
