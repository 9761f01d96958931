/* SPDX-License-Identifier: Apache-2.0 */
/* Flows of NAT stay when the layout of the maps changes. The pins of the other layout are this build's under another
 * number; those of layout 2 get its kind of tables. */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/nat_lifetime.h"
#include "control/packet.h"
#include "control/packet_layouts.h"

#define NEWER (LAYOUT_VERSION + 1)
#define ATTACH_TCX_INGRESS 46
#define CLIENTS 0x0a000000u /* 10.0.0.0 and the number of the flow */
#define CLIENT_PORT 40000
#define BACKEND_PORT 8080
#define OPEN (NAT_OPENED | NAT_ANSWERED | NAT_CONFIRMED)

/* What the other layout has; one and two get other indices where the first service and the first backend are no more.
 */
static const char before[] = "service first snat 251\n"
                             "vip 198.51.100.9 80\n"
                             "backend other 192.0.2.19 1 :8080\n"
                             "service web snat 251\n"
                             "vip 198.51.100.1 80\n"
                             "backend gone 192.0.2.13 1 :8080\n"
                             "backend one 192.0.2.11 1 :8080\n"
                             "backend two 192.0.2.12 1 :8080\n";
static const char after[] = "service web snat 251\n"
                            "vip 198.51.100.1 80\n"
                            "backend one 192.0.2.11 1 :8080\n"
                            "backend two 192.0.2.12 1 :8080\n";

/* The other layout's, as its programs see it. */
struct other {
	int version;
	int flows, new; /* tables */
	int vips;
	uint32_t service, one, two, gone;
	uint32_t ingress; /* identity of the program */
};

static uint32_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return (uint32_t)(((uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec) >> 30);
}

static int pin_of(const struct packet_rig *rig, int version, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/v%d/%s", rig->pin_dir, version, name);
	return bpf_obj_get(path);
}

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	return info.id;
}

static uint32_t generation_of(const struct packet_rig *rig, uint32_t index)
{
	struct backend backend;

	packet_lookup(rig, "backends", &index, &backend);
	return backend.generation;
}

/* LRU hashes of their own, as they were in layout 2. */
static int flat(const struct packet_rig *rig, const char *name)
{
	char path[256];
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, name, sizeof(struct flow_key), sizeof(struct nat_flow), 4096,
	                        NULL);

	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "%s/v2/maps/%s", rig->pin_dir, name);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	snprintf(path, sizeof(path), "%s/v2/maps/%s_table", rig->pin_dir, name);
	assert_int_equal(unlink(path), 0);
	return fd;
}

static void rename_layout(const struct packet_rig *rig, int version)
{
	char from[256], to[256];

	snprintf(from, sizeof(from), "%s/v%d", rig->pin_dir, LAYOUT_VERSION);
	snprintf(to, sizeof(to), "%s/v%d", rig->pin_dir, version);
	assert_int_equal(rename(from, to), 0);
}

static struct other look_at(const struct packet_rig *rig, int version)
{
	struct other other = {.version = version,
	                      .service = packet_service_of(rig, "198.51.100.1", 80),
	                      .one = packet_backend_of(rig, "192.0.2.11"),
	                      .two = packet_backend_of(rig, "192.0.2.12"),
	                      .gone = packet_backend_of(rig, "192.0.2.13")};
	int program = packet_pin(rig, "programs/tc_ingress");

	other.ingress = program_id(program);
	close(program);
	return other;
}

static void open_tables(const struct packet_rig *rig, struct other *other)
{
	other->vips = pin_of(rig, other->version, "maps/vips");
	assert_true(other->vips >= 0);
	if (other->version == 2) {
		other->flows = flat(rig, "nat_flows");
		other->new = flat(rig, "nat_new");
		return;
	}
	other->flows = pin_of(rig, other->version, "maps/nat_flows_table");
	other->new = pin_of(rig, other->version, "maps/nat_new_table");
	assert_true(other->flows >= 0 && other->new >= 0);
}

static struct other make_other(struct packet_rig *rig, int version, uint32_t mode)
{
	assert_int_equal(packet_rig_open(rig, "v0", mode), MARCHER_OK);
	packet_rig_apply(rig, before);
	struct other other = look_at(rig, version);
	packet_rig_close(rig);
	rename_layout(rig, version);
	open_tables(rig, &other);
	return other;
}

static void close_other(const struct other *other)
{
	close(other->flows);
	close(other->new);
	close(other->vips);
}

/* Both entries of a flow. */
struct pair {
	struct flow_key key[2];
	struct nat_flow flow[2];
};

/* The flow of that number to a backend, as nat_begin() would make it. */
static struct pair pair_of(uint32_t number, const char *backend, uint8_t protocol, uint32_t flags)
{
	const struct address client = {{0, 0, htonl(0xffff), htonl(CLIENTS + number)}};
	const struct address vip = packet_rig_address("198.51.100.1"), node = packet_rig_address("192.0.2.1");
	const struct address to = packet_rig_address(backend);
	const uint16_t source_port = htons((uint16_t)(1024 + number % 30000));
	struct pair pair = {
	        .key = {{.source = client,
	                 .destination = vip,
	                 .source_port = htons(CLIENT_PORT),
	                 .destination_port = htons(80),
	                 .protocol = protocol},
	                {.source = to,
	                 .destination = node,
	                 .source_port = htons(BACKEND_PORT),
	                 .destination_port = source_port,
	                 .protocol = protocol}},
	        .flow = {{.source = node,
	                  .destination = to,
	                  .source_port = source_port,
	                  .destination_port = htons(BACKEND_PORT),
	                  .flags = flags,
	                  .seen = now(),
	                  .expected = number},
	                 {.source = vip,
	                  .destination = client,
	                  .source_port = htons(80),
	                  .destination_port = htons(CLIENT_PORT),
	                  .flags = flags | NAT_REVERSE,
	                  .seen = now(),
	                  .expected = number}},
	};
	return pair;
}

static void belongs(struct pair *pair, uint32_t service, uint32_t backend, uint32_t generation)
{
	for (int i = 0; i < 2; i++) {
		pair->flow[i].service = service;
		pair->flow[i].backend = backend;
		pair->flow[i].generation = generation;
	}
}

static void put(const struct other *other, const struct pair *pair)
{
	int table = pair->flow[0].flags & NAT_CONFIRMED ? other->flows : other->new;

	for (int i = 0; i < 2; i++)
		assert_int_equal(bpf_map_update_elem(table, &pair->key[i], &pair->flow[i], BPF_ANY), 0);
}

static struct pair put_flow(const struct other *other, uint32_t number, const char *address, uint32_t backend,
                            uint8_t protocol, uint32_t flags)
{
	struct pair pair = pair_of(number, address, protocol, flags);

	belongs(&pair, other->service, backend, 1);
	put(other, &pair);
	return pair;
}

/* An entry of this layout's tables; false: there is none. */
static bool own_entry(const struct packet_rig *rig, const char *table, const struct flow_key *key,
                      struct nat_flow *flow)
{
	char name[64];

	snprintf(name, sizeof(name), "maps/%s_table", table);
	int fd = packet_pin(rig, name);
	assert_true(fd >= 0);
	bool there = !bpf_map_lookup_elem(fd, key, flow);
	close(fd);
	return there;
}

/* Both entries are there, in that table, and say the same but for the indices, which are those of now. */
static void assert_pair(const struct packet_rig *rig, const char *table, const struct pair *pair, const char *address)
{
	struct pair expected = *pair;
	uint32_t backend = packet_backend_of(rig, address);

	belongs(&expected, packet_service_of(rig, "198.51.100.1", 80), backend, generation_of(rig, backend));
	for (int i = 0; i < 2; i++) {
		struct nat_flow flow;
		if (!own_entry(rig, table, &expected.key[i], &flow))
			fail_msg("entry %d of flow %u is gone", i, pair->flow[0].expected);
		assert_memory_equal(&flow, &expected.flow[i], sizeof(flow));
	}
}

static void assert_gone(const struct packet_rig *rig, const struct pair *pair)
{
	struct nat_flow flow;

	for (int i = 0; i < 2; i++) {
		assert_false(own_entry(rig, "nat_flows", &pair->key[i], &flow));
		assert_false(own_entry(rig, "nat_new", &pair->key[i], &flow));
	}
}

static ApplyReply *apply(struct packet_rig *rig, const char *lines)
{
	PacketTable *table = packet_table(lines);
	ApplyReply *reply;
	int code = packet_rig_apply_table(rig, table, &reply);

	if (code)
		fail_msg("apply: %s", marcher_packet_last_error(rig->packet));
	packet_table_free(table);
	return reply;
}

static void reply_free(ApplyReply *reply)
{
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
}

/* The programs at the ingress hook by tcx; how many. */
static uint32_t ingress_on(const char *interface, __u32 ids[4])
{
	__u32 count = 4;

	memset(ids, 0, 4 * sizeof(*ids));
	if (bpf_prog_query((int)if_nametoindex(interface), (enum bpf_attach_type)ATTACH_TCX_INGRESS, 0, NULL, ids,
	                   &count))
		return 0;
	return count;
}

static uint32_t filter_on(const char *interface, uint32_t priority)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(interface), .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 0x4d41, .priority = priority);

	return bpf_tc_query(&hook, &filter) ? 0 : filter.prog_id;
}

static uint32_t own_ingress(const struct packet_rig *rig)
{
	int fd = packet_pin(rig, "programs/tc_ingress");

	assert_true(fd >= 0);
	uint32_t id = program_id(fd);
	close(fd);
	return id;
}

static void flows_stay_with_their_backends_under_the_new_indices(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const int versions[] = {2, NEWER};

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct other other = make_other(rig, versions[i], MARCHER_XDP_AUTO);
		struct pair open = put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
		struct pair ends = put_flow(&other, 2, "192.0.2.11", other.one, IPPROTO_TCP, OPEN | NAT_FIN_CLIENT);
		struct pair udp = put_flow(&other, 3, "192.0.2.11", other.one, IPPROTO_UDP,
		                           NAT_ANSWERED | NAT_CONFIRMED | NAT_LOCAL);
		struct pair new = put_flow(&other, 4, "192.0.2.12", other.two, IPPROTO_TCP, NAT_OPENED | NAT_ANSWERED);
		packet_rig_must_open(rig, "v0");
		ApplyReply *reply = apply(rig, after);
		assert_int_not_equal(packet_backend_of(rig, "192.0.2.12"), other.two);
		assert_int_not_equal(packet_service_of(rig, "198.51.100.1", 80), other.service);
		assert_pair(rig, "nat_flows", &open, "192.0.2.12");
		assert_pair(rig, "nat_flows", &ends, "192.0.2.11");
		assert_pair(rig, "nat_flows", &udp, "192.0.2.11");
		assert_pair(rig, "nat_new", &new, "192.0.2.12");
		assert_int_equal(reply->migrated_from, versions[i]);
		assert_int_equal(reply->migrated_nat_flows, 4);
		assert_int_equal(reply->lost_nat_flows, 0);
		assert_int_equal(reply->n_lost, 0);
		reply_free(reply);
		packet_rig_close(rig);
		close_other(&other);
		assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	}
}

static void flows_of_backends_that_are_no_more_are_left_out_and_named(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct other other = make_other(rig, NEWER, MARCHER_XDP_AUTO);
	struct pair stays = put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
	struct pair gone[] = {put_flow(&other, 2, "192.0.2.13", other.gone, IPPROTO_TCP, OPEN),
	                      put_flow(&other, 3, "192.0.2.13", other.gone, IPPROTO_UDP, NAT_ANSWERED)};
	/* Of whoever had the index before; of nobody; and one that has been silent for too long. */
	struct pair over[] = {pair_of(4, "192.0.2.11", IPPROTO_TCP, OPEN), pair_of(5, "192.0.2.11", IPPROTO_TCP, OPEN),
	                      pair_of(6, "192.0.2.11", IPPROTO_UDP, NAT_ANSWERED | NAT_CONFIRMED)};
	belongs(&over[0], other.service, other.one, 0);
	belongs(&over[1], other.service, 0xffffffff, 1);
	belongs(&over[2], other.service, other.one, 1);
	over[2].flow[0].seen = over[2].flow[1].seen = now() - NAT_LIFETIME_UDP - 2;
	for (int i = 0; i < 3; i++)
		put(&other, &over[i]);

	packet_rig_must_open(rig, "v0");
	ApplyReply *reply = apply(rig, after);
	assert_pair(rig, "nat_flows", &stays, "192.0.2.12");
	assert_gone(rig, &gone[0]);
	assert_gone(rig, &gone[1]);
	for (int i = 0; i < 3; i++)
		assert_gone(rig, &over[i]);
	assert_int_equal(reply->migrated_nat_flows, 1);
	assert_int_equal(reply->lost_nat_flows, 2);
	assert_int_equal(reply->n_lost, 1);
	assert_string_equal(reply->lost[0]->service, "web");
	assert_string_equal(reply->lost[0]->path, "gone");
	assert_non_null(strstr(reply->lost[0]->reason, "2 connections of NAT end"));
	reply_free(reply);
	close_other(&other);
}

static void of_more_flows_than_fit_those_heard_last_stay(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	enum { MANY = 900, FEW = 512 };
	struct other other = make_other(rig, NEWER, MARCHER_XDP_AUTO);
	static struct pair pairs[MANY];
	unsigned there = 0;

	for (uint32_t i = 0; i < MANY; i++) {
		pairs[i] = pair_of(i, "192.0.2.12", IPPROTO_TCP, OPEN);
		belongs(&pairs[i], other.service, other.two, 1);
		/* The later the number, the longer silent; in an order that the hash does not know. */
		pairs[i].flow[0].seen = pairs[i].flow[1].seen = now() - i;
		put(&other, &pairs[i]);
	}
	rig->nat_flows = FEW;
	packet_rig_must_open(rig, "v0");
	ApplyReply *reply = apply(rig, after);
	unsigned kept = 128u * (unsigned)libbpf_num_possible_cpus();
	unsigned room = kept < FEW ? 2 * FEW - kept : FEW;
	/* A unit of time may pass between. */
	for (uint32_t i = 0; i < room / 2 - 2; i++)
		assert_pair(rig, "nat_flows", &pairs[i], "192.0.2.12");
	for (uint32_t i = 0; i < MANY; i++) {
		struct nat_flow flow;
		there += own_entry(rig, "nat_flows", &pairs[i].key[0], &flow);
		there += own_entry(rig, "nat_flows", &pairs[i].key[1], &flow);
	}
	assert_in_range(there, room - 4, room + 4);
	assert_int_equal(reply->migrated_nat_flows + reply->lost_nat_flows, MANY);
	assert_in_range(reply->migrated_nat_flows, room / 2 - 2, room / 2 + 2);
	assert_int_equal(reply->n_lost, 1);
	assert_non_null(strstr(reply->lost[0]->reason, "--nat-flows"));
	reply_free(reply);
	close_other(&other);
}

/* The programs of the other layout: they begin flows as long as they find the VIP, and follow them while attached. */
struct programs {
	struct other other;
	pthread_t thread;
	uint32_t begun, followed;
};

static bool attached(const struct other *other)
{
	__u32 ids[4];
	uint32_t count = ingress_on("v0", ids);

	for (uint32_t i = 0; i < count; i++)
		if (ids[i] == other->ingress)
			return true;
	return false;
}

#define TRIALS 10    /* a machine with other work may give the programs no time, more than once */
#define FIRST 10000u /* number of the flows that begin meanwhile */
#define FOLLOWED 800u

static void *forward(void *argument)
{
	struct programs *programs = argument;
	const struct other *other = &programs->other;
	struct vip_key vip = packet_vip_key("198.51.100.1", 80, IPPROTO_TCP);
	struct vip found;
	uint32_t i = 0;

	while (i < FOLLOWED && !bpf_map_lookup_elem(other->vips, &vip, &found)) {
		struct pair pair = pair_of(FIRST + i, "192.0.2.12", IPPROTO_TCP, OPEN);
		belongs(&pair, other->service, other->two, 1);
		put(other, &pair);
		i++;
		usleep(100);
	}
	programs->begun = i;
	/* Flows end and are confirmed until the last moment. */
	for (i = 0; i < FOLLOWED && attached(other); i++) {
		struct pair ended = pair_of(i, "192.0.2.12", IPPROTO_TCP, OPEN | NAT_FIN_CLIENT | NAT_FIN_BACKEND);
		struct pair confirmed = pair_of(2000 + i, "192.0.2.11", IPPROTO_TCP, OPEN);
		belongs(&ended, other->service, other->two, 1);
		belongs(&confirmed, other->service, other->one, 1);
		put(other, &ended);
		put(other, &confirmed);
		usleep(50);
	}
	programs->followed = i;
	return NULL;
}

/* False: the machine gave the programs no time. */
static bool trial(struct packet_rig *rig)
{
	struct programs programs;
	__u32 ids[4];

	rig->nat_flows = 16384; /* nothing is displaced */
	programs.other = make_other(rig, NEWER, MARCHER_XDP_AUTO);
	for (uint32_t i = 0; i < FOLLOWED; i++) {
		put_flow(&programs.other, i, "192.0.2.12", programs.other.two, IPPROTO_TCP, OPEN);
		put_flow(&programs.other, 2000 + i, "192.0.2.11", programs.other.one, IPPROTO_TCP, NAT_OPENED);
	}
	packet_rig_must_open(rig, "v0");
	if (!ingress_on("v0", ids))
		skip(); /* this kernel has no tcx */
	assert_int_equal(ids[0], programs.other.ingress);
	assert_int_equal(ids[1], own_ingress(rig));
	assert_int_equal(pthread_create(&programs.thread, NULL, forward, &programs), 0);
	usleep(20000);
	ApplyReply *reply = apply(rig, after);
	pthread_join(programs.thread, NULL);
	reply_free(reply);
	/* What was seen when may differ. */
	for (uint32_t i = 0; i < programs.begun; i++) {
		struct pair pair = pair_of(FIRST + i, "192.0.2.12", IPPROTO_TCP, OPEN);
		for (int side = 0; side < 2; side++) {
			struct nat_flow flow;
			if (!own_entry(rig, "nat_flows", &pair.key[side], &flow))
				fail_msg("of %u flows that began, %u is gone", programs.begun, i);
			assert_int_equal(flow.backend, packet_backend_of(rig, "192.0.2.12"));
		}
	}
	for (uint32_t i = 0; i < programs.followed; i++) {
		const uint32_t fins = NAT_FIN_CLIENT | NAT_FIN_BACKEND;
		struct pair ended = pair_of(i, "192.0.2.12", IPPROTO_TCP, OPEN);
		struct pair confirmed = pair_of(2000 + i, "192.0.2.11", IPPROTO_TCP, OPEN);
		for (int side = 0; side < 2; side++) {
			struct nat_flow flow;
			assert_true(own_entry(rig, "nat_flows", &ended.key[side], &flow));
			if ((flow.flags & fins) != fins)
				fail_msg("of %u flows that ended, %u does not know", programs.followed, i);
			if (!own_entry(rig, "nat_flows", &confirmed.key[side], &flow))
				fail_msg("of %u flows that were confirmed, %u is not", programs.followed, i);
			assert_true(flow.flags & NAT_CONFIRMED);
			assert_int_equal(flow.expected, 2000 + i);
		}
	}
	/* Nobody's programs but this layout's. */
	assert_int_equal(ingress_on("v0", ids), 1);
	assert_int_equal(ids[0], own_ingress(rig));
	close_other(&programs.other);
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	return programs.begun > 20 && programs.followed > 20;
}

static void nothing_of_what_happens_meanwhile_is_lost(void **state)
{
	NEEDS_PRIVILEGE(state);
	bool enough = false;

	for (int i = 0; !enough && i < TRIALS; i++)
		enough = trial(*state);
	assert_true(enough);
}

static void filters_of_clsact_are_exchanged_without_a_gap(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_tc_without_tcx = true;
	struct other other = make_other(rig, NEWER, MARCHER_XDP_AUTO);
	struct pair open = put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(filter_on("v0", 0x4d41), other.ingress);
	ApplyReply *reply = apply(rig, after);
	assert_int_equal(reply->migrated_nat_flows, 1);
	reply_free(reply);
	assert_pair(rig, "nat_flows", &open, "192.0.2.12");
	assert_int_equal(filter_on("v0", 0x4d41), own_ingress(rig));
	assert_int_equal(filter_on("v0", 0x4d42), 0);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(filter_on("v0", 0x4d41), own_ingress(rig));
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	packet_rig_run("! tc qdisc show dev v0 | grep -q clsact");
	packet_tc_without_tcx = false;
	close_other(&other);
}

/* What the first table of a layout gives its names. */
#define OWN_SERVICE 0u
#define OWN_ONE 1u
#define OWN_TWO 2u

static void own_table(const struct packet_rig *rig, const char *name)
{
	char path[256];
	const uint32_t zero = 0;
	int table = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, name, sizeof(struct flow_key), sizeof(struct nat_flow), 4096,
	                           NULL);

	assert_true(table >= 0);
	snprintf(path, sizeof(path), "%s/v%d/maps/%s_table", rig->pin_dir, LAYOUT_VERSION, name);
	assert_int_equal(bpf_obj_pin(table, path), 0);
	snprintf(path, sizeof(path), "maps/%s", name);
	int outer = packet_pin(rig, path);
	assert_int_equal(bpf_map_update_elem(outer, &zero, &table, BPF_ANY), 0);
	close(outer);
	close(table);
}

/* This layout is attached beside the other one, and has tables: as after a death in the middle. */
static struct other beside(struct packet_rig *rig)
{
	__u32 ids[4];

	assert_int_equal(packet_rig_open(rig, "v0,v1", MARCHER_XDP_OFF), MARCHER_OK);
	if (!ingress_on("v0", ids))
		skip(); /* without tcx this layout's programs come later */
	packet_rig_apply(rig, before);
	struct other other = look_at(rig, NEWER);
	packet_rig_close(rig);
	rename_layout(rig, NEWER);
	open_tables(rig, &other);
	assert_int_equal(packet_rig_open(rig, "v0,v1", MARCHER_XDP_OFF), MARCHER_OK);
	packet_rig_close(rig);
	own_table(rig, "nat_flows");
	own_table(rig, "nat_new");
	return other;
}

static void put_own(const struct packet_rig *rig, const char *table, const struct flow_key *key,
                    const struct nat_flow *flow)
{
	char name[64];

	snprintf(name, sizeof(name), "maps/%s_table", table);
	int fd = packet_pin(rig, name);
	assert_int_equal(bpf_map_update_elem(fd, key, flow, BPF_ANY), 0);
	close(fd);
}

/* A flow of this layout's under the source port that one of the other layout's has towards the same backend. */
static struct pair rival_of(const struct packet_rig *rig, const struct pair *pair, const char *address,
                            uint32_t backend)
{
	struct pair rival = pair_of(77, address, IPPROTO_TCP, NAT_OPENED);

	belongs(&rival, OWN_SERVICE, backend, 1);
	rival.key[1] = pair->key[1];
	rival.flow[0].source_port = pair->flow[0].source_port;
	for (int side = 0; side < 2; side++)
		put_own(rig, "nat_new", &rival.key[side], &rival.flow[side]);
	return rival;
}

static void a_source_port_is_the_flows_that_had_it_first(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct other other = beside(rig);
	struct pair confirmed = put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
	struct pair new = put_flow(&other, 2, "192.0.2.11", other.one, IPPROTO_TCP, NAT_OPENED);
	struct nat_flow flow;

	struct pair rivals[] = {rival_of(rig, &confirmed, "192.0.2.12", OWN_TWO),
	                        rival_of(rig, &new, "192.0.2.11", OWN_ONE)};
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_OFF), MARCHER_OK);
	/* Both go on until the table is in force. */
	__u32 ids[4];
	assert_int_equal(ingress_on("v0", ids), 2);
	ApplyReply *reply = apply(rig, after);
	assert_pair(rig, "nat_flows", &confirmed, "192.0.2.12");
	assert_pair(rig, "nat_new", &new, "192.0.2.11");
	/* The programs find by this entry that the port is another's now: nat_sync. */
	assert_true(own_entry(rig, "nat_new", &rivals[1].key[0], &flow));
	assert_int_equal(reply->migrated_nat_flows, 2);
	reply_free(reply);
	close_other(&other);
}

static void what_both_layouts_have_noted_of_a_flow_is_joined(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct other other = beside(rig);
	struct pair old = put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN | NAT_FIN_CLIENT);
	struct pair reset = put_flow(&other, 2, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);

	/* As XDP would, which comes before tc, whose old programs are first. */
	struct pair own[] = {pair_of(1, "192.0.2.12", IPPROTO_TCP, OPEN | NAT_FIN_BACKEND),
	                     pair_of(2, "192.0.2.12", IPPROTO_TCP, OPEN | NAT_RESET)};
	own[1].flow[0].seen = own[1].flow[1].seen = reset.flow[0].seen - 3;
	for (int i = 0; i < 2; i++) {
		belongs(&own[i], OWN_SERVICE, OWN_TWO, 1);
		for (int side = 0; side < 2; side++)
			put_own(rig, "nat_flows", &own[i].key[side], &own[i].flow[side]);
	}
	assert_int_equal(packet_rig_open(rig, "v0,v1", MARCHER_XDP_OFF), MARCHER_OK);
	reply_free(apply(rig, after));
	for (int side = 0; side < 2; side++) {
		old.flow[side].flags |= NAT_FIN_BACKEND;
		old.flow[side].seen = own[0].flow[side].seen;
	}
	assert_pair(rig, "nat_flows", &old, "192.0.2.12");
	/* A packet came after the reset. */
	assert_pair(rig, "nat_flows", &reset, "192.0.2.12");
	close_other(&other);
}

/* The other layout's links of an interface, as packet_tc_move() does it. */
static void detach_first(const struct packet_rig *rig, const char *interface)
{
	static const char *const hooks[] = {"ingress", "egress"};
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	for (int i = 0; i < 2; i++) {
		char name[128];
		snprintf(name, sizeof(name), "tc/%lu_%u_%s", (unsigned long)st.st_ino, if_nametoindex(interface),
		         hooks[i]);
		int link = pin_of(rig, NEWER, name);
		assert_true(link >= 0);
		assert_int_equal(bpf_link_detach(link), 0);
		close(link);
	}
}

static void what_this_layout_has_decided_stands_where_its_programs_are_first(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct other other = beside(rig);
	put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN | NAT_FIN_CLIENT);
	struct pair late = put_flow(&other, 2, "192.0.2.11", other.one, IPPROTO_TCP, OPEN);
	struct pair lost = put_flow(&other, 3, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
	struct nat_flow flow;

	/* It goes on here, but without the end that the other side has noted. */
	struct pair own = pair_of(1, "192.0.2.12", IPPROTO_TCP, OPEN);
	belongs(&own, OWN_SERVICE, OWN_TWO, 1);
	for (int side = 0; side < 2; side++)
		put_own(rig, "nat_flows", &own.key[side], &own.flow[side]);
	struct pair rival = rival_of(rig, &lost, "192.0.2.12", OWN_TWO);
	/* As if the death had been in the middle of the exchange: of v0's programs the other layout's are off, of v1's
	 * not. */
	detach_first(rig, "v0");
	assert_int_equal(packet_rig_open(rig, "v0,v1", MARCHER_XDP_OFF), MARCHER_OK);
	ApplyReply *reply = apply(rig, after);
	own.flow[0].flags |= NAT_FIN_CLIENT;
	own.flow[1].flags |= NAT_FIN_CLIENT;
	assert_pair(rig, "nat_flows", &own, "192.0.2.12");
	assert_pair(rig, "nat_flows", &late, "192.0.2.11");
	assert_true(own_entry(rig, "nat_new", &rival.key[1], &flow));
	assert_memory_equal(&flow, &rival.flow[1], sizeof(flow));
	assert_false(own_entry(rig, "nat_flows", &lost.key[1], &flow));
	reply_free(reply);
	close_other(&other);
}

static void tables_of_another_form_are_said_to_be_lost_and_the_rest_goes_on(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct other other = make_other(rig, NEWER, MARCHER_XDP_AUTO);
	struct layout_record record = {.since = NEWER};
	char part[PACKET_RECORD_KEY] = "nat";

	put_flow(&other, 1, "192.0.2.12", other.two, IPPROTO_TCP, OPEN);
	int records = pin_of(rig, NEWER, "maps/layout_records");
	assert_int_equal(bpf_map_update_elem(records, part, &record, BPF_ANY), 0);
	close(records);
	packet_rig_must_open(rig, "v0");
	ApplyReply *reply = apply(rig, after);
	assert_int_equal(reply->migrated_from, NEWER);
	assert_int_equal(reply->migrated_nat_flows, 0);
	assert_int_equal(reply->n_lost, 1);
	assert_non_null(strstr(reply->lost[0]->reason, "cannot read"));
	reply_free(reply);
	close_other(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(flows_stay_with_their_backends_under_the_new_indices),
	        TEST(flows_of_backends_that_are_no_more_are_left_out_and_named),
	        TEST(of_more_flows_than_fit_those_heard_last_stay),
	        TEST(nothing_of_what_happens_meanwhile_is_lost),
	        TEST(filters_of_clsact_are_exchanged_without_a_gap),
	        TEST(a_source_port_is_the_flows_that_had_it_first),
	        TEST(what_both_layouts_have_noted_of_a_flow_is_joined),
	        TEST(what_this_layout_has_decided_stands_where_its_programs_are_first),
	        TEST(tables_of_another_form_are_said_to_be_lost_and_the_rest_goes_on),
	};
	return cmocka_run_group_tests_name("packet_migrate_nat", tests, packet_rig_namespaces, NULL);
}
