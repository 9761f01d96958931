/* SPDX-License-Identifier: Apache-2.0 */
/* Tables put in force: what is in the maps afterwards, and what a second table changes. */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/packet_ring.h"

#define VIP "198.51.100.1"

static int open_setup(void **state)
{
	int code = packet_rig_setup(state);

	if (!code && *state)
		packet_rig_must_open(*state, "v0");
	return code;
}

static struct backend backend_at(const struct packet_rig *rig, uint32_t index)
{
	struct backend backend;

	packet_lookup(rig, "backends", &index, &backend);
	return backend;
}

static bool in_ring(const struct packet_rig *rig, uint32_t service, uint32_t backend)
{
	uint32_t count;
	uint32_t *slots = packet_ring(rig, service, &count);
	bool found = false;

	for (uint32_t i = 0; i < count; i++)
		found |= slots[i] == backend;
	free(slots);
	return found;
}

static void assert_address(const struct address *address, const char *expected)
{
	struct address wanted = packet_rig_address(expected);

	assert_memory_equal(address, &wanted, sizeof(wanted));
}

static void a_table_stands_in_the_maps(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct service service;
	struct vip vip;
	struct decap decap;

	packet_rig_run("ip address add 2001:db8::1/64 dev v0 nodad");
	packet_rig_apply(rig, "service web ipip 251\n"
	                      "vip " VIP " 80\n"
	                      "vip " VIP " 53/udp\n"
	                      "vip 2001:db8:1::1 0\n"
	                      "backend one 2001:db8::11 1\n"
	                      "service dns gue 257\n"
	                      "vip 198.51.100.2 53/udp\n"
	                      "backend two 192.0.2.12 1\n"
	                      "service near l2 7\n"
	                      "vip 198.51.100.3 443\n"
	                      "backend three 192.0.2.13 1\n"
	                      "decap 192.0.2.1\n"
	                      "decap 2001:db8::1\n");
	uint32_t web = packet_service_of(rig, VIP, 80);
	struct vip_key udp = packet_vip_key(VIP, 53, IPPROTO_UDP);
	packet_lookup(rig, "vips", &udp, &vip);
	assert_int_equal(vip.service, web);
	assert_int_equal(packet_service_of(rig, "2001:db8:1::1", 0), web);
	assert_int_equal(packet_entries(rig, "vips"), 5);
	assert_int_equal(packet_entries(rig, "vip_addresses"), 4);
	struct address address = packet_rig_address(VIP);
	uint32_t entries;
	packet_lookup(rig, "vip_addresses", &address, &entries);
	assert_int_equal(entries, 2);

	packet_lookup(rig, "services", &web, &service);
	assert_int_equal(service.forwarding, FORWARDING_IPIP);
	assert_int_equal(service.port, 0);
	struct vip_key dns = packet_vip_key("198.51.100.2", 53, IPPROTO_UDP);
	packet_lookup(rig, "vips", &dns, &vip);
	packet_lookup(rig, "services", &vip.service, &service);
	assert_int_equal(service.forwarding, FORWARDING_GUE);
	assert_int_equal(ntohs(service.port), 6080);

	struct backend one = backend_at(rig, packet_backend_of(rig, "2001:db8::11"));
	assert_address(&one.source, "2001:db8::1");
	struct backend two = backend_at(rig, packet_backend_of(rig, "192.0.2.12"));
	assert_address(&two.source, "192.0.2.1");
	assert_int_equal(two.flags, BACKEND_IN_USE);
	assert_true(two.generation > 0);

	assert_int_equal(packet_entries(rig, "decap_addresses"), 2);
	address = packet_rig_address("2001:db8::1");
	packet_lookup(rig, "decap_addresses", &address, &decap);
	assert_int_equal(ntohs(decap.gue_port), 6080);
	packet_rig_apply(rig, "service own ipip 7\n"
	                      "vip 198.51.100.9 80\n"
	                      "backend here 192.0.2.1 1\n"
	                      "backend there 192.0.2.12 1\n");
	assert_int_equal(backend_at(rig, packet_backend_of(rig, "192.0.2.1")).flags, BACKEND_IN_USE | BACKEND_LOCAL);
	assert_int_equal(backend_at(rig, packet_backend_of(rig, "192.0.2.12")).flags, BACKEND_IN_USE);

	PacketTable *table = packet_table("decap 2001:db8::1\n");
	ApplyReply *reply;
	table->decapsulated_gue_port = 7000;
	table->decapsulated_mtu = 9000;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	packet_lookup(rig, "decap_addresses", &address, &decap);
	assert_int_equal(ntohs(decap.gue_port), 7000);
	assert_int_equal(decap.mtu, 9000);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);

	/* Nothing is in the last table but that. */
	assert_int_equal(packet_entries(rig, "decap_addresses"), 1);
	assert_int_equal(packet_entries(rig, "vips"), 0);
	assert_int_equal(packet_entries(rig, "vip_addresses"), 0);
	assert_int_equal(packet_entries(rig, "service_records"), 0);
	assert_int_equal(packet_entries(rig, "backend_records"), 0);
	assert_int_equal(packet_backend_of(rig, "192.0.2.12"), 0);
	packet_lookup(rig, "services", &web, &service);
	assert_int_equal(service.forwarding, 0);
}

/* Slot by slot: test_packet_ring.c says that packet_ring_fill's ring is the engine's. */
static void the_ring_holds_what_was_computed(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const char *const names[] = {"a", "b", "c", "v6"};
	static const char *const addresses[] = {"192.0.2.21", "192.0.2.22", "192.0.2.23", "2001:db8::24"};
	static const uint32_t weights[] = {1, 5, 2, 3};
	char lines[1024] = "service web gue 70001\nvip " VIP " 80\n";
	struct ring_member members[4];
	struct address address[4];
	uint32_t count, expected[70001];

	for (int i = 3; i >= 0; i--) /* in another order: that does not matter */
		sprintf(lines + strlen(lines), "backend %s %s %u\n", names[i], addresses[i], weights[i]);
	packet_rig_apply(rig, lines);
	for (int i = 0; i < 4; i++) {
		address[i] = packet_rig_address(addresses[i]);
		members[i] = (struct ring_member){.name = names[i],
		                                  .address = (const uint8_t *)&address[i],
		                                  .weight = weights[i],
		                                  .index = packet_backend_of(rig, addresses[i])};
		assert_int_not_equal(members[i].index, 0);
	}
	assert_int_equal(packet_ring_fill(members, 4, 70001, expected), 0);
	uint32_t *slots = packet_ring(rig, packet_service_of(rig, VIP, 80), &count);
	assert_int_equal(count, 70001);
	assert_memory_equal(slots, expected, sizeof(expected));
	free(slots);
}

static const char three[] = "service web ipip 251\n"
                            "vip " VIP " 80\n"
                            "backend one 192.0.2.11 1\n"
                            "backend two 192.0.2.12 1\n"
                            "backend three 192.0.2.13 1\n";

static void a_table_that_says_nothing_new_touches_nothing(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct address address = packet_rig_address(VIP);
	uint32_t marked_entries = 77;

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), one = packet_backend_of(rig, "192.0.2.11");
	uint32_t ring = packet_ring_id(rig, service);
	/* Marks that any write of the library's would wipe out. */
	struct backend marked = backend_at(rig, one);
	marked.generation = 4711;
	packet_write(rig, "backends", &one, &marked);
	packet_write(rig, "vip_addresses", &address, &marked_entries);
	struct service other = {.flags = SERVICE_NO_FLOWS, .forwarding = FORWARDING_L2};
	packet_write(rig, "services", &service, &other);

	packet_rig_apply(rig, three);
	assert_int_equal(backend_at(rig, one).generation, 4711);
	packet_lookup(rig, "vip_addresses", &address, &marked_entries);
	assert_int_equal(marked_entries, 77);
	packet_lookup(rig, "services", &service, &other);
	assert_int_equal(other.forwarding, FORWARDING_L2);
	assert_int_equal(packet_ring_id(rig, service), ring);
}

static void indices_stay_while_others_come_and_go(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), two = packet_backend_of(rig, "192.0.2.12"),
	         three_index = packet_backend_of(rig, "192.0.2.13"), ring = packet_ring_id(rig, service);
	struct backend before = backend_at(rig, two);
	packet_rig_apply(rig, "service another ipip 251\n"
	                      "vip 198.51.100.9 80\n"
	                      "backend two 192.0.2.12 1\n"
	                      "service web ipip 251\n"
	                      "vip " VIP " 80\n"
	                      "backend zero 192.0.2.10 1\n"
	                      "backend two 192.0.2.12 1\n"
	                      "backend three 192.0.2.13 1\n");
	assert_int_equal(packet_service_of(rig, VIP, 80), service);
	struct backend after = backend_at(rig, two);
	assert_memory_equal(&after, &before, sizeof(before));
	after = backend_at(rig, three_index);
	assert_address(&after.address, "192.0.2.13");
	assert_int_equal(packet_backend_of(rig, "192.0.2.11"), 0);
	assert_true(in_ring(rig, service, packet_backend_of(rig, "192.0.2.10")));
	assert_int_not_equal(packet_ring_id(rig, service), ring);
	/* The same backend of another service is another one: its health and its flows are its own. */
	assert_int_equal(packet_entries(rig, "backend_records"), 4);
	uint32_t others = packet_service_of(rig, "198.51.100.9", 80);
	assert_int_not_equal(others, service);
	assert_false(in_ring(rig, others, two));
}

static void a_drained_backend_keeps_its_flows_and_a_dead_one_does_not(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), one = packet_backend_of(rig, "192.0.2.11"),
	         two = packet_backend_of(rig, "192.0.2.12"), last = packet_backend_of(rig, "192.0.2.13");
	struct backend drained = backend_at(rig, one), dead = backend_at(rig, two);
	packet_rig_apply(rig, "service web ipip 251\n"
	                      "vip " VIP " 80\n"
	                      "backend one 192.0.2.11 1 drained\n"
	                      "backend two 192.0.2.12 1 dead\n"
	                      "backend three 192.0.2.13 1\n");
	assert_false(in_ring(rig, service, one));
	assert_false(in_ring(rig, service, two));
	assert_true(in_ring(rig, service, last));
	struct backend now = backend_at(rig, one);
	assert_memory_equal(&now, &drained, sizeof(now));
	now = backend_at(rig, two);
	assert_int_equal(now.flags, 0);
	assert_int_equal(now.generation, dead.generation + 1);
	/* Of weight 0 none comes, either. */
	packet_rig_apply(rig, "service web ipip 251\n"
	                      "vip " VIP " 80\n"
	                      "backend one 192.0.2.11 0\n"
	                      "backend two 192.0.2.12 1\n"
	                      "backend three 192.0.2.13 1\n");
	assert_false(in_ring(rig, service, one));
	now = backend_at(rig, two);
	assert_int_equal(now.flags, BACKEND_IN_USE);
	assert_int_equal(now.generation, dead.generation + 1);
	assert_true(in_ring(rig, service, two));
}

static void an_index_has_no_past(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct traffic counts[1024] = {{.packets = 9, .bytes = 900}};

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), one = packet_backend_of(rig, "192.0.2.11");
	struct backend before = backend_at(rig, one);
	packet_write(rig, "backend_counters", &one, counts);
	packet_write(rig, "service_counters", &service, counts);
	packet_rig_apply(rig, "");
	assert_int_equal(backend_at(rig, one).flags, 0);
	packet_rig_apply(rig, "service other ipip 251\nvip " VIP " 80\nbackend new 192.0.2.99 1\n");
	/* The lowest free ones were taken again. */
	assert_int_equal(packet_service_of(rig, VIP, 80), service);
	assert_int_equal(packet_backend_of(rig, "192.0.2.99"), one);
	assert_true(backend_at(rig, one).generation > before.generation);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->services[0]->traffic->packets, 0);
	assert_int_equal(status->services[0]->backends[0]->traffic->bytes, 0);
	packet_status_free(status);
}

static void a_vip_moves_and_a_service_changes_its_way(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct service service;

	packet_rig_apply(rig, three);
	uint32_t web = packet_service_of(rig, VIP, 80);
	packet_rig_apply(rig, "service web gue 257\n"
	                      "vip " VIP " 81\n"
	                      "backend one 192.0.2.11 1\n"
	                      "service new l2 7\n"
	                      "vip " VIP " 80\n"
	                      "backend one 192.0.2.11 1\n");
	assert_int_not_equal(packet_service_of(rig, VIP, 80), web);
	assert_int_equal(packet_service_of(rig, VIP, 81), web);
	packet_lookup(rig, "services", &web, &service);
	assert_int_equal(service.forwarding, FORWARDING_GUE);
	uint32_t count;
	free(packet_ring(rig, web, &count));
	assert_int_equal(count, 257);
	free(packet_ring(rig, packet_service_of(rig, VIP, 80), &count));
	assert_int_equal(count, 7);
}

/* Sends a TCP packet to VIP:port through the programs. Returns the verdict. */
static int send_packet(const struct packet_rig *rig, uint16_t port)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct tcphdr tcp;
	} __attribute__((packed)) frame = {
	        .eth.h_proto = htons(ETH_P_IP),
	        .ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .tot_len = htons(40)},
	        .tcp = {.doff = 5, .syn = 1, .source = htons(40000), .dest = htons(port)},
	};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = &frame, .data_size_in = sizeof(frame), .repeat = 1);
	uint32_t sum = 0;

	inet_pton(AF_INET, "203.0.113.5", &frame.ip.saddr);
	inet_pton(AF_INET, VIP, &frame.ip.daddr);
	for (int i = 0; i < 10; i++) {
		uint16_t word;
		memcpy(&word, (const char *)&frame.ip + 2 * i, 2);
		sum += word;
	}
	frame.ip.check = (uint16_t) ~((sum & 0xffff) + (sum >> 16));
	int root = packet_pin(rig, "programs/xdp_root");
	assert_int_equal(bpf_prog_test_run_opts(root, &options), 0);
	close(root);
	return (int)options.retval;
}

static uint64_t drops_of(const PacketStatus *status, const char *reason)
{
	for (size_t i = 0; i < status->n_drops; i++)
		if (!strcmp(status->drops[i]->reason, reason))
			return status->drops[i]->packets;
	fail_msg("no drop reason %s", reason);
	return 0;
}

static void packets_are_counted_by_service_and_reason(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_apply(rig, "service web ipip 251\nvip " VIP " 80\nbackend one 192.0.2.11 1 drained\n");
	assert_int_equal(send_packet(rig, 80), 1 /* XDP_DROP */);
	assert_int_equal(send_packet(rig, 80), 1);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(drops_of(status, "no-backend"), 2);
	assert_int_equal(status->services[0]->n_backends, 1);
	packet_status_free(status);
	/* Another service has the VIP, and one has its port: what the programs keep of either is void. */
	assert_int_equal(send_packet(rig, 81), 2 /* XDP_PASS */);
	packet_rig_apply(rig, "service web ipip 251\nvip " VIP " 81\nbackend one 192.0.2.11 1 drained\n"
	                      "service new nat 251\nvip " VIP " 80\nbackend one 192.0.2.11 1\n");
	assert_int_equal(send_packet(rig, 80), 2);
	assert_int_equal(send_packet(rig, 81), 1);
	packet_rig_apply(rig, "service web ipip 251\nvip " VIP " 80\nbackend one 192.0.2.11 1 drained\n");
	assert_int_equal(send_packet(rig, 81), 2);
	/* No VIP any more: the packet is the stack's. */
	packet_rig_apply(rig, "");
	assert_int_equal(send_packet(rig, 80), 2 /* XDP_PASS */);
	status = packet_rig_status(rig);
	assert_int_equal(drops_of(status, "no-backend"), 3);
	assert_int_equal(status->n_services, 0);
	packet_status_free(status);
}

static void failures_are_told_by_service_and_an_index_has_no_past(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct service_failures lost = {.packets = {[FAILURE_NO_ROUTE] = 7, [FAILURE_NO_HEADROOM] = 2}};

	packet_rig_apply(rig, "service web ipip 251\nvip " VIP " 80\nbackend one 192.0.2.11 1\n"
	                      "service well ipip 251\nvip " VIP " 81\nbackend one 192.0.2.11 1\n");
	uint32_t index = packet_service_of(rig, VIP, 80);
	packet_write(rig, "service_failures", &index, &lost);
	PacketStatus *status = packet_rig_status(rig);
	for (size_t i = 0; i < 2; i++) {
		const Marcher__Packet__V1__ServiceTraffic *service = status->services[i];
		bool web = !strcmp(service->name, "web");
		assert_int_equal(service->n_failures, web ? 2 : 0);
		if (!web)
			continue;
		assert_string_equal(service->failures[0]->reason, "no-route");
		assert_int_equal(service->failures[0]->packets, 7);
		assert_string_equal(service->failures[1]->reason, "no-headroom");
		assert_int_equal(service->failures[1]->packets, 2);
	}
	packet_status_free(status);
	packet_rig_apply(rig, "");
	packet_rig_apply(rig, "service new ipip 251\nvip " VIP " 80\nbackend one 192.0.2.11 1\n");
	assert_int_equal(packet_service_of(rig, VIP, 80), index);
	status = packet_rig_status(rig);
	assert_int_equal(status->services[0]->n_failures, 0);
	packet_status_free(status);
}

static void assert_reason(const ApplyReply *reply, const char *path, const char *text, const char *service)
{
	for (size_t i = 0; i < reply->n_reasons; i++)
		if (!strcmp(reply->reasons[i]->path, path) && strstr(reply->reasons[i]->reason, text) &&
		    !strcmp(reply->reasons[i]->service, service))
			return;
	for (size_t i = 0; i < reply->n_reasons; i++)
		print_error("%s: %s (%s)\n", reply->reasons[i]->path, reply->reasons[i]->reason,
		            reply->reasons[i]->service);
	fail_msg("expected the reason %s: %s (%s)", path, text, service);
}

static void a_bad_table_is_refused_with_every_reason(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	PacketTable *table = packet_table("service web ipip 250\n"
	                                  "vip " VIP " 80\n"
	                                  "vip 2001:db8::80 80\n"
	                                  "vip 224.0.0.1 80\n"
	                                  "vip 0.0.0.0 80\n"
	                                  "backend one 192.0.2.11 1\n"
	                                  "backend one 192.0.2.11 2\n"
	                                  "service web gue 2\n"
	                                  "vip " VIP " 80\n"
	                                  "vip " VIP " 80000\n"
	                                  "backend one ::1 1\n"
	                                  "backend two :: 1\n"
	                                  "backend three ff02::1 70000\n"
	                                  "service ok l2 5000087\n"
	                                  "decap 192.0.2.1\n"
	                                  "decap 192.0.2.1\n");
	ApplyReply *reply;

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), ring = packet_ring_id(rig, service);
	table->services[1]->gue_port = 0;
	table->services[2]->forwarding = 9;
	table->services[2]->name[1] = '\n';
	table->services[1]->vips[1]->transport = 0;
	table->services[1]->backends[0]->address.len = 5;
	table->decapsulated_gue_port = 65536;
	table->decapsulated_mtu = 1279;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_false(reply->accepted);
	assert_reason(reply, "services[0].ring_size", "250 slots; expected a prime", "web");
	assert_reason(reply, "services[0].vips[2]", "224.0.0.1 is a multicast", "web");
	assert_reason(reply, "services[0].vips[3]", "0.0.0.0 is no address", "web");
	assert_reason(reply, "services[0].backends[0]", "IPIP carries no IPv6 in IPv4", "web");
	assert_reason(reply, "services[0].backends", "one with the address 192.0.2.11 is there twice", "web");
	assert_reason(reply, "services[1].gue_port", "port 0; expected 1 to 65535", "web");
	assert_reason(reply, "services[1].ring_size", "2 slots for 3 backends", "web");
	assert_reason(reply, "services[1].vips", "TCP 198.51.100.1 port 80 is there twice, also in service web", "web");
	assert_reason(reply, "services[1].vips[1]", "port 80000", "web");
	assert_reason(reply, "services[1].vips[1]", "transport 0", "web");
	assert_reason(reply, "services[1].backends[0]", "an address of 5 bytes", "web");
	assert_reason(reply, "services[1].backends[1]", ":: is no address", "web");
	assert_reason(reply, "services[1].backends[2]", "ff02::1 is a multicast", "web");
	assert_reason(reply, "services[1].backends[2]", "weight 70000", "web");
	assert_reason(reply, "services[2].name", "printable ASCII", "");
	assert_reason(reply, "services[2].forwarding", "forwarding 9", "");
	assert_reason(reply, "services[2].ring_size", "5000087 slots", "");
	assert_reason(reply, "services", "two services have the name web", "web");
	assert_reason(reply, "decapsulated", "192.0.2.1 is there twice", "");
	assert_reason(reply, "decapsulated_gue_port", "port 65536", "");
	assert_reason(reply, "decapsulated_mtu", "1279 bytes; expected 1280 to 65535", "");
	assert_non_null(strstr(marcher_packet_last_error(rig->packet), "services[0].ring_size"));
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
	/* And nothing has changed. */
	assert_int_equal(packet_service_of(rig, VIP, 80), service);
	assert_int_equal(packet_ring_id(rig, service), ring);
	assert_int_equal(packet_entries(rig, "vips"), 1);
}

static void reasons_and_sizes_are_bounded(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	ApplyReply *reply;
	uint8_t *bytes;
	size_t length;
	const uint8_t garbage[] = {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f};
	char *lines = calloc(1, 64 * 5000);

	for (int i = 0, at = 0; i < 500; i++)
		at += sprintf(lines + at, "service s%d l2 4\n", i);
	PacketTable *table = packet_table(lines);
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_int_equal(reply->n_reasons, 100);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);

	for (int i = 0, at = 0; i < 4097; i++)
		at += sprintf(lines + at, "decap 10.0.%d.%d\n", i / 256, i % 256);
	table = packet_table(lines);
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_reason(reply, "decapsulated", "4097 addresses; at most 4096", "");
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
	free(lines);

	assert_int_equal(marcher_packet_apply(rig->packet, garbage, sizeof(garbage), &bytes, &length),
	                 MARCHER_E_INVALID);
	assert_null(bytes);
	assert_int_equal(marcher_packet_apply(rig->packet, garbage, 100u << 20, &bytes, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_packet_apply(NULL, garbage, 0, &bytes, &length), MARCHER_E_INVALID);
}

/* What an agent that was killed in the middle of an apply leaves: a record whose index never came into use, and a ring
 * on its way. The next table puts both right. */
static void an_apply_that_died_halfway_is_finished_by_the_next(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct {
		uint32_t service;
		char name[256];
	} record = {.name = "ghost"};
	uint32_t ghost = 9;

	packet_rig_apply(rig, three);
	uint32_t service = packet_service_of(rig, VIP, 80), ring = packet_ring_id(rig, service);
	packet_rig_close(rig);
	record.service = service;
	packet_write(rig, "backend_records", &ghost, &record);
	struct {
		uint64_t ring;
		char name[128];
	} unknown = {.name = "web"};
	packet_write(rig, "service_records", &service, &unknown);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, three);
	assert_int_equal(packet_entries(rig, "backend_records"), 3);
	assert_int_not_equal(packet_ring_id(rig, service), ring);
}

static void many_services_and_backends_are_one_apply(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const int services = 200, backends = 20;
	char *lines = calloc(1, (size_t)services * (backends + 2) * 64);
	int at = 0;

	for (int s = 0; s < services; s++) {
		at += sprintf(lines + at, "service s%d gue 2039\nvip 198.51.%d.%d 80\n", s, s / 256, s % 256);
		for (int b = 0; b < backends; b++)
			at += sprintf(lines + at, "backend b%d 192.0.2.%d 1\n", b, b + 10);
	}
	packet_rig_apply(rig, lines);
	packet_rig_apply(rig, lines);
	assert_int_equal(packet_entries(rig, "backend_records"), services * backends);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->n_services, services);
	assert_int_equal(status->services[services - 1]->n_backends, backends);
	packet_status_free(status);
	packet_rig_apply(rig, "");
	assert_int_equal(packet_entries(rig, "backend_records"), 0);
	assert_int_equal(packet_entries(rig, "service_records"), 0);
	free(lines);
}

/* An agent asks while another of its threads applies; under a sanitizer for threads above all. */
static void *ask_for_status(void *argument)
{
	struct packet_rig *rig = argument;
	uint8_t *bytes;
	size_t length;

	for (int i = 0; i < 50; i++) {
		if (marcher_packet_status(rig->packet, &bytes, &length))
			return (void *)marcher_packet_last_error(rig->packet);
		marcher_buffer_free(bytes);
	}
	return NULL;
}

static void status_is_told_while_tables_are_applied(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	pthread_t thread;
	void *failure;

	assert_int_equal(pthread_create(&thread, NULL, ask_for_status, rig), 0);
	for (int i = 0; i < 5; i++) {
		packet_rig_apply(rig, three);
		packet_rig_apply(rig, "");
	}
	assert_int_equal(pthread_join(thread, &failure), 0);
	if (failure)
		fail_msg("status: %s", (const char *)failure);
}

static bool prefix_stands(const struct packet_rig *rig, const char *address, uint32_t length, uint8_t protocol,
                          uint16_t port, uint32_t *service)
{
	struct vip_prefix_key key = {.length = VIP_PREFIX_BITS + length + (strchr(address, ':') ? 0 : 96),
	                             .protocol = protocol,
	                             .port = htons(port),
	                             .address = packet_rig_address(address)};
	struct vip_prefix prefix;

	/* A look-up finds a shorter one, too. */
	if (!packet_has(rig, "vip_prefixes", &key))
		return false;
	packet_lookup(rig, "vip_prefixes", &key, &prefix);
	*service = prefix.vip.service;
	return prefix.length == key.length;
}

static uint32_t prefixes_told(const struct packet_rig *rig)
{
	const uint32_t zero = 0;
	struct vip_settings settings;

	packet_lookup(rig, "vip_settings", &zero, &settings);
	return settings.prefixes;
}

static void prefixes_stand_in_a_map_of_their_own(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	uint32_t service;

	packet_rig_apply(rig, "service other l2 7\nvip 198.51.100.9 80\nbackend b 192.0.2.11 1\n");
	assert_int_equal(prefixes_told(rig), 0);
	const char *table = "service net ipip 251\n"
	                    "vip 198.18.0.0/16 80\n"
	                    "vip 198.18.0.0/16 443\n"
	                    "vip 198.18.0.0/16 53/udp\n"
	                    "vip 198.18.0.1/32 80\n"
	                    "vip 2001:db8::/64 0\n"
	                    "backend one 2001:db8::11 1\n"
	                    "service other l2 7\nvip 198.51.100.9 80\nbackend b 192.0.2.11 1\n"
	                    "left 198.18.7.0/24 80\n"
	                    "left 198.18.0.1 443\n";
	packet_rig_apply(rig, table);
	uint32_t net = packet_service_of(rig, "198.18.0.1", 80);
	assert_int_equal(packet_service_of(rig, "198.18.0.1", 443), VIP_LEFT);
	assert_int_not_equal(packet_service_of(rig, "198.51.100.9", 80), net);
	assert_true(prefix_stands(rig, "198.18.0.0", 16, IPPROTO_TCP, 80, &service));
	assert_int_equal(service, net);
	assert_true(prefix_stands(rig, "198.18.0.0", 16, IPPROTO_UDP, 53, &service));
	assert_int_equal(service, net);
	assert_true(prefix_stands(rig, "2001:db8::", 64, IPPROTO_TCP, 0, &service));
	assert_int_equal(service, net);
	assert_true(prefix_stands(rig, "198.18.7.0", 24, IPPROTO_TCP, 80, &service));
	assert_int_equal(service, VIP_LEFT);
	assert_true(prefix_stands(rig, "198.18.0.0", 16, 0, 0, &service));
	assert_int_equal(service, 3);
	/* Five VIPs and three prefixes. */
	assert_int_equal(packet_entries(rig, "vip_prefixes"), 8);
	assert_int_equal(prefixes_told(rig), 8);
	/* Who comes after this process finds them, and takes away what is gone. */
	marcher_packet_close(rig->packet);
	rig->packet = NULL;
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, "service net ipip 251\nvip 198.18.0.0/16 443\nbackend one 2001:db8::11 1\n");
	assert_false(prefix_stands(rig, "198.18.0.0", 16, IPPROTO_TCP, 80, &service));
	assert_true(prefix_stands(rig, "198.18.0.0", 16, IPPROTO_TCP, 443, &service));
	assert_int_equal(service, net);
	assert_int_equal(packet_entries(rig, "vip_prefixes"), 2);
	packet_rig_apply(rig, "");
	assert_int_equal(packet_entries(rig, "vip_prefixes"), 0);
	assert_int_equal(prefixes_told(rig), 0);
}

static void assert_prefix_refused(struct packet_rig *rig, const char *lines, const char *path, const char *reason)
{
	PacketTable *table = packet_table(lines);
	ApplyReply *reply;

	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_false(reply->accepted);
	assert_reason(reply, path, reason, reply->reasons[0]->service);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

static void bad_prefixes_are_refused(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	assert_prefix_refused(rig, "service a l2 7\nvip 198.18.0.1/16 80\n", "services[0].vips[0]",
	                      "bits of the address are set behind the 16 of the prefix");
	assert_prefix_refused(rig, "service a l2 7\nvip 198.18.0.0/33 80\n", "services[0].vips[0]",
	                      "a prefix of 33 bits; expected 1 to 32");
	assert_prefix_refused(rig, "service a l2 7\nvip 198.18.0.0/16 80\nservice b l2 7\nvip 198.18.0.0/16 80\n",
	                      "services[1].vips", "TCP 198.18.0.0/16 port 80 is there twice, also in service a");
	assert_prefix_refused(rig, "service a l2 7\nvip 198.18.0.0/16 80\nleft 198.18.0.0/16 80\n", "left",
	                      "TCP 198.18.0.0/16 port 80 is there twice, also in service a");
	assert_int_equal(packet_entries(rig, "vip_prefixes"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_table_stands_in_the_maps),
	        TEST(the_ring_holds_what_was_computed),
	        TEST(a_table_that_says_nothing_new_touches_nothing),
	        TEST(indices_stay_while_others_come_and_go),
	        TEST(a_drained_backend_keeps_its_flows_and_a_dead_one_does_not),
	        TEST(an_index_has_no_past),
	        TEST(a_vip_moves_and_a_service_changes_its_way),
	        TEST(packets_are_counted_by_service_and_reason),
	        TEST(failures_are_told_by_service_and_an_index_has_no_past),
	        TEST(a_bad_table_is_refused_with_every_reason),
	        TEST(reasons_and_sizes_are_bounded),
	        TEST(an_apply_that_died_halfway_is_finished_by_the_next),
	        TEST(status_is_told_while_tables_are_applied),
	        TEST(prefixes_stand_in_a_map_of_their_own),
	        TEST(bad_prefixes_are_refused),
	        TEST(many_services_and_backends_are_one_apply),
	};
	return cmocka_run_group_tests_name("packet_apply", tests, packet_rig_namespaces, NULL);
}
