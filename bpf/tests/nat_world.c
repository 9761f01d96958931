/* SPDX-License-Identifier: Apache-2.0 */
#include "nat_world.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"

/* Beside those at the hooks. */
#define TC_DECAP (NAT_EGRESS + 1)
#define XDP_NAT (TC_DECAP + 1)
#define PROGRAMS (XDP_NAT + 1)

static struct {
	struct bpf_object *objects[PROGRAMS];
	int programs[PROGRAMS];
	int tables[2];
	int settings;
} nat;

static const struct nat_settings first_settings = {
        .first = {1024, 61001}, .last = {32767, 65535}, .flags = NAT_SETTING_LOCAL};

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		abort();
	}
}

/* The others have the first one's maps. */
static bool load(const char *objects, const char *name, int hook)
{
	if (hook == NAT_INGRESS)
		return world_load(objects, name, &nat.objects[hook], &nat.programs[hook]);
	char path[4096];
	struct bpf_map *map;
	snprintf(path, sizeof(path), "%s/%s.o", objects, name);
	nat.objects[hook] = bpf_object__open_file(path, NULL);
	if (!nat.objects[hook])
		return false;
	bpf_object__for_each_map(map, nat.objects[hook])
	{
		int fd = bpf_object__find_map_fd_by_name(nat.objects[NAT_INGRESS], bpf_map__name(map));
		if (fd < 0)
			fd = world_map(bpf_map__name(map));
		if (fd >= 0 && bpf_map__reuse_fd(map, fd))
			return false;
	}
	int error = bpf_object__load(nat.objects[hook]);
	if (error) {
		fprintf(stderr, "%s: cannot be loaded: %s\n", name, strerror(-error));
		return false;
	}
	nat.programs[hook] = bpf_program__fd(bpf_object__find_program_by_name(nat.objects[hook], name));
	return nat.programs[hook] >= 0;
}

/* As the control library makes them. */
static int make_table(const char *outer, uint32_t entries)
{
	const uint32_t zero = 0;
	int tables = bpf_object__find_map_fd_by_name(nat.objects[0], outer);
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, outer, sizeof(struct flow_key), sizeof(struct nat_flow), entries,
	                        NULL);
	if (fd >= 0 && bpf_map_update_elem(tables, &zero, &fd, BPF_ANY)) {
		fprintf(stderr, "%s: %s\n", outer, strerror(errno));
		return -1;
	}
	return fd;
}

bool nat_open(const char *objects)
{
	const uint32_t slot = TC_SLOT_DECAP;
	if (!load(objects, "tc_ingress", NAT_INGRESS) || !load(objects, "tc_egress", NAT_EGRESS) ||
	    !load(objects, "tc_decap", TC_DECAP) || !load(objects, "xdp_nat", XDP_NAT))
		return false;
	int slots = bpf_object__find_map_fd_by_name(nat.objects[NAT_INGRESS], "tc_slots");
	if (bpf_map_update_elem(slots, &slot, &nat.programs[TC_DECAP], BPF_ANY)) {
		fprintf(stderr, "tc_slots: %s\n", strerror(errno));
		return false;
	}
	nat.tables[NAT_CONFIRMED_FLOWS] = make_table("nat_flows", NAT_FLOWS_TEST);
	nat.tables[NAT_NEW_FLOWS] = make_table("nat_new", NAT_NEW_TEST);
	nat.settings = bpf_object__find_map_fd_by_name(nat.objects[0], "nat_settings");
	return nat.tables[0] >= 0 && nat.tables[1] >= 0 && nat.settings >= 0;
}

void nat_close(void)
{
	for (int i = 0; i < PROGRAMS; i++)
		bpf_object__close(nat.objects[i]);
}

void nat_set_settings(const struct nat_settings *settings)
{
	uint32_t zero = 0;
	must(!bpf_map_update_elem(nat.settings, &zero, settings, BPF_ANY), "nat_settings");
}

int nat_map(const char *name)
{
	return bpf_object__find_map_fd_by_name(nat.objects[NAT_INGRESS], name);
}

void nat_reset(void)
{
	struct flow_key key;
	world_reset();
	for (int i = 0; i < 2; i++)
		while (!bpf_map_get_next_key(nat.tables[i], NULL, &key))
			must(!bpf_map_delete_elem(nat.tables[i], &key), "nat_flows");
	nat_set_settings(&first_settings);
}

void nat_fast_device(const char *name, bool may)
{
	int devices = bpf_object__find_map_fd_by_name(nat.objects[XDP_NAT], "nat_devices");
	struct nat_device device = {.address = {2}};
	uint32_t index = if_nametoindex(name);
	device.address[5] = !strcmp(name, "in0") ? 1 : !strcmp(name, "out0") ? 2 : 3;
	if (may)
		must(!bpf_map_update_elem(devices, &index, &device, BPF_ANY), "nat_devices");
	else if (bpf_map_delete_elem(devices, &index))
		must(errno == ENOENT, "nat_devices");
}

void nat_fast_reset(void)
{
	world_forget(bpf_object__find_map_fd_by_name(nat.objects[XDP_NAT], "nat_hops"));
	nat_fast_device("in0", true);
	nat_fast_device("out0", true);
	nat_fast_device("out1", false);
}

void nat_fast_run(const struct frame *frame, struct result *result)
{
	world_run_program(nat.programs[XDP_NAT], frame, result);
}

void nat_fast_slot(void)
{
	world_set_slot(XDP_SLOT_NAT, nat.programs[XDP_NAT]);
}

struct traffic nat_fast_traffic(uint32_t service)
{
	return world_traffic(bpf_object__find_map_fd_by_name(nat.objects[XDP_NAT], "nat_counters"), service);
}

void nat_run(enum nat_hook hook, const struct frame *frame, uint32_t gso_size, struct result *result)
{
	struct __sk_buff in = {.ifindex = world_in0(), .gso_size = gso_size}, out = {0};
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame->data, .data_size_in = (uint32_t)frame->length,
	            .data_out = result->frame.data, .data_size_out = FRAME_MAX, .ctx_in = &in,
	            .ctx_size_in = sizeof(in), .ctx_out = &out, .ctx_size_out = sizeof(out), .repeat = 1);
	if (gso_size)
		in.gso_segs = ((uint32_t)frame->length + gso_size - 1) / gso_size;
	int error = bpf_prog_test_run_opts(nat.programs[hook], &run);
	if (error) {
		fprintf(stderr, "BPF_PROG_TEST_RUN of a frame of %zu bytes: %s\n", frame->length, strerror(-error));
		abort();
	}
	result->verdict = run.retval;
	result->priority = out.priority;
	result->tstamp = out.tstamp;
	result->frame.length = run.data_size_out;
}

uint16_t nat_expected_port(const struct frame *frame, uint32_t attempt)
{
	uint32_t low = 32767 - 1024 + 1, high = 65535 - 61001 + 1;
	uint32_t place = ((uint32_t)expect_hash(frame) + attempt * 7919) % (low + high);
	return (uint16_t)(place < low ? 1024 + place : 61001 + place - low);
}

bool nat_entry(enum nat_table table, const struct flow_key *key, struct nat_flow *entry)
{
	return !bpf_map_lookup_elem(nat.tables[table], key, entry);
}

void nat_put(enum nat_table table, const struct flow_key *key, const struct nat_flow *entry)
{
	must(!bpf_map_update_elem(nat.tables[table], key, entry, BPF_ANY), "nat_flows");
}

void nat_remove(enum nat_table table, const struct flow_key *key)
{
	must(!bpf_map_delete_elem(nat.tables[table], key), "nat_flows");
}

uint32_t nat_count(enum nat_table table)
{
	struct flow_key key, *previous = NULL;
	uint32_t count = 0;
	while (!bpf_map_get_next_key(nat.tables[table], previous, &key)) {
		previous = &key;
		count++;
	}
	return count;
}

bool nat_next(enum nat_table table, const struct flow_key *previous, struct flow_key *key)
{
	return !bpf_map_get_next_key(nat.tables[table], previous, key);
}

void nat_take_tables(bool away)
{
	static const char *const outer[] = {[NAT_CONFIRMED_FLOWS] = "nat_flows", [NAT_NEW_FLOWS] = "nat_new"};
	const uint32_t zero = 0;
	for (int i = 0; i < 2; i++) {
		int tables = bpf_object__find_map_fd_by_name(nat.objects[NAT_INGRESS], outer[i]);
		must(away ? !bpf_map_delete_elem(tables, &zero)
		          : !bpf_map_update_elem(tables, &zero, &nat.tables[i], BPF_ANY),
		     outer[i]);
	}
}

void nat_confirm(void)
{
	struct flow_key key;
	struct nat_flow flow;
	while (!bpf_map_get_next_key(nat.tables[NAT_NEW_FLOWS], NULL, &key)) {
		must(nat_entry(NAT_NEW_FLOWS, &key, &flow), "nat_new");
		flow.flags |= NAT_ANSWERED | NAT_CONFIRMED;
		nat_put(NAT_CONFIRMED_FLOWS, &key, &flow);
		nat_remove(NAT_NEW_FLOWS, &key);
	}
}
