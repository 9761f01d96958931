/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"
#include "expect.h"
#include "flow_tests.h"
#include "frame.h"
#include "guard.h"
#include "world.h"

#define FLOWS 200

/* One of many flows to a service: client addresses and ports differ. */
static struct spec flow_spec(uint32_t number, uint32_t service, uint8_t version, uint8_t flags, char source[48])
{
	snprintf(source, 48, version == 6 ? "2001:db8:7::%x" : "203.0.113.%u", 1 + number % 200);
	return (struct spec){.version = version,
	                     .source = source,
	                     .source_port = (uint16_t)(20000 + number),
	                     .destination_port = SERVICE_PORT(service),
	                     .flags = flags,
	                     .payload = 32};
}

/* The backend that a frame went to, which is also checked to have come out right. */
static uint32_t run_to_backend(const struct frame *in)
{
	struct result result = {0};
	world_run(in, &result);
	assert_int_equal(result.verdict, XDP_REDIRECT);
	uint32_t backend = BACKEND_RING + result.frame.data[5] - 1;
	assert_in_range(backend, BACKEND_RING, BACKEND_RING + RING_BACKENDS - 1);
	struct frame expected;
	expect_forwarded(&expected, in, FORWARDING_IPIP, backend, expect_hash(in));
	if (result.frame.length != expected.length || memcmp(result.frame.data, expected.data, expected.length)) {
		frame_report("a flow's packet", &expected, &result.frame);
		fail();
	}
	return backend;
}

static uint32_t send_flow(uint32_t number, uint32_t service, uint8_t version, uint8_t flags)
{
	char source[48];
	struct spec spec = flow_spec(number, service, version, flags, source);
	struct frame in;
	frame_build(&in, &spec);
	return run_to_backend(&in);
}

static uint32_t ring_of_one[RING_SLOTS];

static void replace_ring(uint32_t service, uint32_t backend)
{
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		ring_of_one[i] = backend;
	world_set_ring(service, ring_of_one, RING_SLOTS);
}

static void assert_only_drop(enum drop_reason reason, uint64_t packets)
{
	for (int i = 0; i < DROP_REASONS; i++)
		assert_int_equal(world_drops(i), i == (int)reason ? packets : 0);
}

static int fresh(void **state)
{
	(void)state;
	world_reset();
	guard_set(NULL);
	return 0;
}

static void ring_by_hash(uint8_t version, uint8_t flags)
{
	uint32_t seen[RING_BACKENDS] = {0};
	for (uint32_t i = 0; i < FLOWS; i++) {
		char source[48];
		struct spec spec = flow_spec(i, SERVICE_RING, version, flags, source);
		struct frame in;
		frame_build(&in, &spec);
		uint32_t backend = run_to_backend(&in);
		assert_int_equal(backend, world_ring_entry(expect_slot(expect_hash(&in), RING_SLOTS)));
		seen[backend - BACKEND_RING]++;
	}
	/* 25 each on average; the binomial's standard deviation is below 5. */
	for (int i = 0; i < RING_BACKENDS; i++)
		assert_in_range(seen[i], 5, 50);
}

static void test_ring_by_hash_v4(void **state)
{
	(void)state;
	ring_by_hash(4, TCP_ACK);
}

static void test_ring_by_hash_v6(void **state)
{
	(void)state;
	ring_by_hash(6, TCP_ACK);
}

static void test_ring_by_hash_syn(void **state)
{
	(void)state;
	ring_by_hash(4, TCP_SYN);
}

static void flows_survive(uint8_t version)
{
	uint32_t first[FLOWS];
	for (uint32_t i = 0; i < FLOWS; i++)
		first[i] = send_flow(i, SERVICE_RING, version, i & 1 ? TCP_SYN : TCP_ACK);
	assert_int_equal(world_flow_count(), FLOWS);
	replace_ring(SERVICE_RING, BACKEND_RING + 3);
	for (uint32_t i = 0; i < FLOWS; i++)
		assert_int_equal(send_flow(i, SERVICE_RING, version, TCP_ACK), first[i]);
	for (uint32_t i = 0; i < FLOWS; i++)
		assert_int_equal(send_flow(i, SERVICE_RING, version, TCP_FIN | TCP_ACK), first[i]);
	for (uint32_t i = FLOWS; i < FLOWS + 20; i++)
		assert_int_equal(send_flow(i, SERVICE_RING, version, TCP_SYN), BACKEND_RING + 3);
}

static void test_flows_survive_a_new_ring_v4(void **state)
{
	(void)state;
	flows_survive(4);
}

static void test_flows_survive_a_new_ring_v6(void **state)
{
	(void)state;
	flows_survive(6);
}

static void test_flows_survive_without_a_ring(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_SYN);
	world_remove_ring(SERVICE_RING);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), backend);
	char source[48];
	struct spec spec = flow_spec(2, SERVICE_RING, 4, TCP_SYN, source);
	struct frame in;
	struct result result;
	frame_build(&in, &spec);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_DROP);
	assert_only_drop(DROP_NO_BACKEND, 1);
	assert_int_equal(world_flow_count(), 1);
}

static void test_a_syn_begins_a_new_flow(void **state)
{
	(void)state;
	send_flow(1, SERVICE_RING, 4, TCP_ACK);
	uint32_t other = send_flow(1, SERVICE_RING, 4, TCP_ACK) == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING;
	replace_ring(SERVICE_RING, other);
	assert_int_not_equal(send_flow(1, SERVICE_RING, 4, TCP_SYN | TCP_ACK), other);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_SYN), other);
	replace_ring(SERVICE_RING, BACKEND_RING + 5);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), other);
	assert_int_equal(world_flow_count(), 1);
}

static void test_flows_of_udp_survive(void **state)
{
	(void)state;
	struct spec spec = {.protocol = IPPROTO_UDP,
	                    .destination_port = SERVICE_PORT(SERVICE_RING),
	                    .payload = 32,
	                    .source_port = 5353};
	struct frame in;
	frame_build(&in, &spec);
	uint32_t backend = run_to_backend(&in);
	replace_ring(SERVICE_RING, backend == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING);
	assert_int_equal(run_to_backend(&in), backend);
}

static void test_another_generation_is_another_backend(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_ACK);
	uint32_t other = backend == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING;
	replace_ring(SERVICE_RING, other);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), backend);
	world_set_backend(backend, 8, BACKEND_IN_USE);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), other);
	/* It has been remembered anew. */
	replace_ring(SERVICE_RING, backend);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), other);
}

static void test_flows_of_a_dead_backend_move(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_ACK);
	uint32_t other = backend == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING;
	world_set_backend(backend, 7, 0);
	replace_ring(SERVICE_RING, other);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), other);
}

static void test_a_flow_entry_says_who_and_when(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_ACK);
	struct flow *flow = world_a_flow();
	assert_non_null(flow);
	assert_int_not_equal(flow->tag, 0);
	assert_int_equal(FLOW_BACKEND(flow->state), backend);
	assert_int_equal(FLOW_GENERATION(flow->state), 7);
	assert_int_not_equal(FLOW_STAMP(flow->state), 0);
	assert_int_equal(flow->state & FLOW_AGAIN, 0);
	send_flow(1, SERVICE_RING, 4, TCP_ACK);
	assert_int_equal(flow->state & FLOW_AGAIN, FLOW_AGAIN);
	assert_int_equal(FLOW_BACKEND(flow->state), backend);
	/* Seen again later, it is as fresh as if it had just come. */
	uint64_t fresh = FLOW_STAMP(flow->state);
	flow->state = FLOW_STATE(backend, 7, fresh - 1000) | FLOW_AGAIN;
	send_flow(1, SERVICE_RING, 4, TCP_ACK);
	assert_in_range(FLOW_STAMP(flow->state), fresh, fresh + 100);
}

static void test_tags_depend_on_the_secret(void **state)
{
	(void)state;
	send_flow(1, SERVICE_RING, 4, TCP_ACK);
	uint64_t tag = world_a_flow()->tag;
	world_reset();
	world_set_flow_settings(0, 2);
	send_flow(1, SERVICE_RING, 4, TCP_ACK);
	assert_int_not_equal(world_a_flow()->tag, tag);
}

static void test_every_part_of_the_five_tuple_makes_another_flow(void **state)
{
	(void)state;
	struct spec specs[] = {
	        {.source = "203.0.113.1", .source_port = 1000},
	        {.source = "203.0.113.2", .source_port = 1000},
	        {.source = "203.0.113.1", .source_port = 1001},
	        {.source = "203.0.113.1", .source_port = 1000, .protocol = IPPROTO_UDP},
	        {.version = 6, .source = "2001:db8:7::1", .source_port = 1000},
	        {.version = 6, .source = "2001:db8:8::1", .source_port = 1000},
	        {.version = 6, .source = "2001:db8:7::2", .source_port = 1000},
	        {.version = 6, .source = "2001:db8:7:0:1::1", .source_port = 1000},
	};
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
		struct frame in;
		specs[i].destination_port = SERVICE_PORT(SERVICE_RING);
		specs[i].payload = 32;
		if (!specs[i].protocol)
			specs[i].flags = TCP_ACK;
		frame_build(&in, &specs[i]);
		for (int again = 0; again < 2; again++)
			run_to_backend(&in);
		assert_int_equal(world_flow_count(), i + 1);
	}
}

static void test_a_flood_displaces_what_a_flood_has_brought(void **state)
{
	(void)state;
	uint32_t first[FLOW_WAYS - 1], other = BACKEND_RING;
	world_set_flow_settings(0, 1); /* one set */
	for (uint32_t i = 0; i < FLOW_WAYS - 1; i++) {
		first[i] = send_flow(i, SERVICE_RING, 4, TCP_SYN);
		assert_int_equal(send_flow(i, SERVICE_RING, 4, TCP_ACK), first[i]);
	}
	for (uint32_t i = 100; i < 150; i++)
		send_flow(i, SERVICE_RING, 4, i & 1 ? TCP_SYN : TCP_ACK);
	assert_int_equal(world_flow_count(), FLOW_WAYS);
	while (other == first[0] || other == first[1] || other == first[2])
		other++;
	replace_ring(SERVICE_RING, other);
	for (uint32_t i = 0; i < FLOW_WAYS - 1; i++)
		assert_int_equal(send_flow(i, SERVICE_RING, 4, TCP_ACK), first[i]);
}

static void test_the_quietest_flow_makes_place(void **state)
{
	(void)state;
	uint32_t first[FLOW_WAYS], other = BACKEND_RING;
	world_set_flow_settings(0, 1);
	for (uint32_t i = 0; i < FLOW_WAYS; i++)
		for (int again = 0; again < 2; again++)
			first[i] = send_flow(i, SERVICE_RING, 4, TCP_ACK);
	/* All were seen now, but the third. They stand in the order in which they came. */
	struct flow *flow = world_a_flow() + 2;
	flow->state = FLOW_STATE(FLOW_BACKEND(flow->state), 7, FLOW_STAMP(flow->state) - 5) | FLOW_AGAIN;
	while (other == first[0] || other == first[1] || other == first[2] || other == first[3])
		other++;
	replace_ring(SERVICE_RING, other);
	send_flow(100, SERVICE_RING, 4, TCP_SYN);
	assert_int_equal(world_flow_count(), FLOW_WAYS);
	for (uint32_t i = 0; i < FLOW_WAYS; i++)
		if (i != 2)
			assert_int_equal(send_flow(i, SERVICE_RING, 4, TCP_ACK), first[i]);
	assert_int_equal(send_flow(2, SERVICE_RING, 4, TCP_ACK), other);
}

static void test_next_hops_are_asked_anew_after_a_moment(void **state)
{
	(void)state;
	struct spec spec = {.destination_port = SERVICE_PORT(SERVICE_IPIP), .payload = 32};
	struct frame in;
	struct result kept, asked;
	frame_build(&in, &spec);
	world_run(&in, &kept);
	assert_int_equal(kept.verdict, XDP_REDIRECT);
	world_set_forwarding(false);
	usleep(300000);
	world_run(&in, &asked);
	world_set_forwarding(true);
	assert_int_equal(asked.verdict, XDP_DROP);
	assert_only_drop(DROP_FORWARDING_OFF, 1);
}

static void test_a_packet_too_big_for_a_kept_next_hop_is_told(void **state)
{
	(void)state;
	struct spec spec = {.destination_port = SERVICE_PORT(SERVICE_IPIP), .payload = 32};
	struct frame in;
	struct result result;
	frame_build(&in, &spec);
	world_run(&in, &result);
	spec.payload = 1470;
	frame_build(&in, &spec);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_TX);
	assert_int_equal(result.frame.data[34], 3); /* ICMP: unreachable, needs fragmentation */
	assert_int_equal(result.frame.data[35], 4);
}

static void test_stateless_services_follow_the_ring(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 20; i++)
		send_flow(i, SERVICE_STATELESS, 4, TCP_ACK);
	assert_int_equal(world_flow_count(), 0);
	replace_ring(SERVICE_STATELESS, BACKEND_RING + 6);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(send_flow(i, SERVICE_STATELESS, 4, TCP_ACK), BACKEND_RING + 6);
}

static void test_a_service_that_becomes_stateless_forgets_its_flows(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_ACK);
	uint32_t other = backend == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING;
	replace_ring(SERVICE_RING, other);
	assert_int_equal(send_flow(1, SERVICE_RING, 4, TCP_ACK), backend);
	world_set_service_flags(SERVICE_RING, SERVICE_NO_FLOWS);
	uint32_t then = send_flow(1, SERVICE_RING, 4, TCP_ACK);
	world_set_service_flags(SERVICE_RING, 0);
	assert_int_equal(then, other);
}

static void source_affinity(uint8_t version)
{
	uint32_t backend_of[20], distinct = 0;
	for (uint32_t i = 0; i < 20; i++) {
		char source[48];
		struct spec spec = flow_spec(i, SERVICE_SOURCE, version, TCP_SYN, source);
		struct frame in;
		frame_build(&in, &spec);
		backend_of[i] = run_to_backend(&in);
		assert_int_equal(backend_of[i], world_ring_entry(expect_slot(expect_source_hash(&in), RING_SLOTS)));
		for (uint16_t port = 30000; port < 30020; port++) {
			spec.source_port = port;
			spec.protocol = port & 1 ? IPPROTO_UDP : IPPROTO_TCP;
			frame_build(&in, &spec);
			assert_int_equal(run_to_backend(&in), backend_of[i]);
		}
		distinct |= 1u << (backend_of[i] - BACKEND_RING);
	}
	assert_in_range(__builtin_popcount(distinct), 4, RING_BACKENDS);
}

static void test_source_affinity_v4(void **state)
{
	(void)state;
	source_affinity(4);
}

static void test_source_affinity_v6(void **state)
{
	(void)state;
	source_affinity(6);
}

static void test_rings_of_any_size(void **state)
{
	(void)state;
	static const uint32_t sizes[] = {1, 2, 3, 7, 251, 4099, 65537};
	static uint32_t entries[65537];
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (uint32_t i = 0; i < sizes[s]; i++)
			entries[i] = BACKEND_RING + i % RING_BACKENDS;
		world_set_ring(SERVICE_STATELESS, entries, sizes[s]);
		for (uint32_t i = 0; i < 50; i++) {
			char source[48];
			struct spec spec = flow_spec(i, SERVICE_STATELESS, 4, TCP_ACK, source);
			struct frame in;
			frame_build(&in, &spec);
			assert_int_equal(run_to_backend(&in), entries[expect_slot(expect_hash(&in), sizes[s])]);
		}
	}
}

static void test_icmp_errors_follow_the_flow(void **state)
{
	(void)state;
	uint32_t backend = send_flow(1, SERVICE_RING, 4, TCP_SYN);
	uint32_t other = backend == BACKEND_RING ? BACKEND_RING + 1 : BACKEND_RING;
	replace_ring(SERVICE_RING, other);
	struct spec sent = {.source = VIP_V4,
	                    .destination = "203.0.113.2",
	                    .source_port = SERVICE_PORT(SERVICE_RING),
	                    .destination_port = 20001,
	                    .payload = 100};
	struct spec error = {.source = "203.0.113.99",
	                     .protocol = IPPROTO_ICMP,
	                     .icmp_type = 3,
	                     .icmp_code = 4,
	                     .icmp_rest = 1300,
	                     .quote = &sent};
	struct frame in;
	struct result result;
	frame_build(&in, &error);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_REDIRECT);
	assert_int_equal(result.frame.data[5], backend - BACKEND_RING + 1);
	/* Of a flow that is not known: the ring's, and it is not remembered. */
	sent.destination_port = 20002;
	frame_build(&in, &error);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_REDIRECT);
	assert_int_equal(result.frame.data[5], other - BACKEND_RING + 1);
	assert_int_equal(world_flow_count(), 1);
}

static void test_gue_spreads_source_ports(void **state)
{
	(void)state;
	bool seen[0x10000] = {false};
	uint32_t distinct = 0;
	for (uint32_t i = 0; i < FLOWS; i++) {
		char source[48];
		struct spec spec = flow_spec(i, SERVICE_RING_GUE, 4, TCP_ACK, source);
		struct frame in;
		struct result result;
		frame_build(&in, &spec);
		for (int again = 0; again < 2; again++) {
			world_run(&in, &result);
			uint16_t port = get16(result.frame.data + 34);
			assert_int_equal(port, 0xc000 | (expect_hash(&in) & 0x3fff));
			distinct += !seen[port];
			seen[port] = true;
		}
	}
	assert_in_range(distinct, FLOWS - 20, FLOWS);
}

static void test_counters_add_up(void **state)
{
	(void)state;
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < 60; i++) {
		char source[48];
		struct spec spec = flow_spec(i % 20, SERVICE_RING, i & 1 ? 6 : 4, TCP_ACK, source);
		struct frame in;
		spec.payload = (uint16_t)(i * 10);
		spec.tags = i % 3;
		frame_build(&in, &spec);
		run_to_backend(&in);
		bytes += in.length;
	}
	struct traffic service = world_service_traffic(SERVICE_RING), sum = {0};
	for (uint32_t i = 0; i < RING_BACKENDS; i++) {
		struct traffic backend = world_backend_traffic(BACKEND_RING + i);
		sum.packets += backend.packets;
		sum.bytes += backend.bytes;
	}
	assert_int_equal(service.packets, 60);
	assert_int_equal(service.bytes, bytes);
	assert_int_equal(sum.packets, 60);
	assert_int_equal(sum.bytes, bytes);
}

static void test_forwarding_off_is_said(void **state)
{
	(void)state;
	struct frame in;
	struct result result;
	world_set_forwarding(false);
	for (int v6 = 0; v6 < 2; v6++) {
		struct spec spec = {.destination_port =
		                            SERVICE_PORT(SERVICE_OF(FORWARDING_IPIP, v6 ? BACKEND_V6 : BACKEND_V4))};
		frame_build(&in, &spec);
		world_run(&in, &result);
		if (result.verdict != XDP_DROP)
			break;
	}
	world_set_forwarding(true);
	assert_int_equal(result.verdict, XDP_DROP);
	assert_only_drop(DROP_FORWARDING_OFF, 2);
	assert_int_equal(world_failures(SERVICE_OF(FORWARDING_IPIP, BACKEND_V4), DROP_FORWARDING_OFF), 1);
	assert_int_equal(world_failures(SERVICE_OF(FORWARDING_IPIP, BACKEND_V6), DROP_FORWARDING_OFF), 1);
}

static void headroom(enum forwarding forwarding, uint32_t backend, uint32_t needed)
{
	struct spec spec = {.destination_port = SERVICE_PORT(SERVICE_OF(forwarding, backend)), .payload = 40};
	struct frame in;
	struct result result;
	frame_build(&in, &spec);
	world_limit_headroom(XDP_SLOT_LB, needed, (uint32_t)in.length);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_REDIRECT);
	struct frame expected;
	expect_forwarded(&expected, &in, forwarding, backend, expect_hash(&in));
	if (result.frame.length != expected.length || memcmp(result.frame.data, expected.data, expected.length)) {
		frame_report("little headroom", &expected, &result.frame);
		fail();
	}
	world_limit_headroom(XDP_SLOT_LB, needed - 1, (uint32_t)in.length);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_DROP);
	assert_only_drop(DROP_NO_HEADROOM, 1);
	assert_int_equal(world_failures(SERVICE_OF(forwarding, backend), DROP_NO_HEADROOM), 1);
}

static void test_headroom_of_ipip_v4(void **state)
{
	(void)state;
	headroom(FORWARDING_IPIP, BACKEND_V4, 20);
}

static void test_headroom_of_ipip_v6(void **state)
{
	(void)state;
	headroom(FORWARDING_IPIP, BACKEND_V6, 40);
}

static void test_headroom_of_gue_v4(void **state)
{
	(void)state;
	headroom(FORWARDING_GUE, BACKEND_V4, 28);
}

static void test_headroom_of_gue_v6(void **state)
{
	(void)state;
	headroom(FORWARDING_GUE, BACKEND_V6, 48);
}

/* What a slot's program answers, told from every verdict of the real ones. */
#define MARK XDP_ABORTED

static void slots_go_on(const struct spec *spec, uint32_t last)
{
	struct frame in;
	struct result result;
	frame_build(&in, spec);
	for (uint32_t slot = 0; slot < XDP_SLOTS; slot++) {
		if (slot == XDP_SLOT_LB || slot == XDP_SLOT_DECAP)
			continue;
		world_set_slot_verdict(slot, MARK);
		world_run(&in, &result);
		if (slot <= last)
			assert_int_equal(result.verdict, MARK);
		else
			assert_int_not_equal(result.verdict, MARK);
		world_clear_slot(slot);
	}
}

static void test_slots_after_a_packet_for_no_vip(void **state)
{
	(void)state;
	slots_go_on(&(struct spec){.destination_port = 9}, XDP_SLOTS);
	slots_go_on(&(struct spec){.version = 6, .destination_port = 9}, XDP_SLOTS);
	slots_go_on(&(struct spec){.ethertype = 0x0806}, XDP_SLOTS);
}

static void test_slots_after_a_decapsulated_packet(void **state)
{
	(void)state;
	struct spec inner = {.destination_port = SERVICE_PORT(SERVICE_IPIP)};
	slots_go_on(&(struct spec){.destination = DECAP_V4, .inner = &inner}, XDP_SLOTS);
}

static void test_slots_after_a_packet_for_a_backend_of_this_node(void **state)
{
	(void)state;
	slots_go_on(&(struct spec){.destination_port = SERVICE_PORT(SERVICE_OF(FORWARDING_IPIP, BACKEND_LOCAL_V4))},
	            XDP_SLOTS);
}

static void test_no_slots_after_a_packet_that_is_sent(void **state)
{
	(void)state;
	slots_go_on(&(struct spec){.destination_port = SERVICE_PORT(SERVICE_IPIP)}, XDP_SLOT_COOKIES);
}

static void test_no_programs_at_all(void **state)
{
	(void)state;
	world_clear_slot(XDP_SLOT_LB);
	world_clear_slot(XDP_SLOT_DECAP);
	struct spec spec = {.destination_port = SERVICE_PORT(SERVICE_IPIP)};
	struct frame in;
	struct result result;
	frame_build(&in, &spec);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	assert_int_equal(result.frame.length, in.length);
	assert_memory_equal(result.frame.data, in.data, in.length);
}

static void test_without_the_setting_no_prefix_is_looked_for(void **state)
{
	(void)state;
	struct spec spec = {.destination = "198.18.4.1", .destination_port = 700};
	struct frame in;
	struct result result;
	frame_build(&in, &spec);
	prefixes_use(false);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	prefixes_use(true);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_REDIRECT);
}

static int with_prefixes(void **state)
{
	(void)state;
	prefixes_use(true);
	return 0;
}

const struct CMUnitTest flow_tests[] = {
        cmocka_unit_test_setup(test_ring_by_hash_v4, fresh),
        cmocka_unit_test_setup(test_ring_by_hash_v6, fresh),
        cmocka_unit_test_setup(test_ring_by_hash_syn, fresh),
        cmocka_unit_test_setup(test_flows_survive_a_new_ring_v4, fresh),
        cmocka_unit_test_setup(test_flows_survive_a_new_ring_v6, fresh),
        cmocka_unit_test_setup(test_flows_survive_without_a_ring, fresh),
        cmocka_unit_test_setup(test_a_syn_begins_a_new_flow, fresh),
        cmocka_unit_test_setup(test_flows_of_udp_survive, fresh),
        cmocka_unit_test_setup(test_another_generation_is_another_backend, fresh),
        cmocka_unit_test_setup(test_flows_of_a_dead_backend_move, fresh),
        cmocka_unit_test_setup(test_a_flow_entry_says_who_and_when, fresh),
        cmocka_unit_test_setup(test_tags_depend_on_the_secret, fresh),
        cmocka_unit_test_setup(test_every_part_of_the_five_tuple_makes_another_flow, fresh),
        cmocka_unit_test_setup(test_a_flood_displaces_what_a_flood_has_brought, fresh),
        cmocka_unit_test_setup(test_the_quietest_flow_makes_place, fresh),
        cmocka_unit_test_setup(test_next_hops_are_asked_anew_after_a_moment, fresh),
        cmocka_unit_test_setup(test_a_packet_too_big_for_a_kept_next_hop_is_told, fresh),
        cmocka_unit_test_setup(test_stateless_services_follow_the_ring, fresh),
        cmocka_unit_test_setup(test_a_service_that_becomes_stateless_forgets_its_flows, fresh),
        cmocka_unit_test_setup(test_source_affinity_v4, fresh),
        cmocka_unit_test_setup(test_source_affinity_v6, fresh),
        cmocka_unit_test_setup(test_rings_of_any_size, fresh),
        cmocka_unit_test_setup(test_icmp_errors_follow_the_flow, fresh),
        cmocka_unit_test_setup(test_gue_spreads_source_ports, fresh),
        cmocka_unit_test_setup(test_counters_add_up, fresh),
        cmocka_unit_test_setup(test_forwarding_off_is_said, fresh),
        cmocka_unit_test_setup(test_headroom_of_ipip_v4, fresh),
        cmocka_unit_test_setup(test_headroom_of_ipip_v6, fresh),
        cmocka_unit_test_setup(test_headroom_of_gue_v4, fresh),
        cmocka_unit_test_setup(test_headroom_of_gue_v6, fresh),
        cmocka_unit_test_setup(test_slots_after_a_packet_for_no_vip, fresh),
        cmocka_unit_test_setup(test_slots_after_a_decapsulated_packet, fresh),
        cmocka_unit_test_setup(test_slots_after_a_packet_for_a_backend_of_this_node, fresh),
        cmocka_unit_test_setup(test_no_slots_after_a_packet_that_is_sent, fresh),
        cmocka_unit_test_setup(test_no_programs_at_all, fresh),
        cmocka_unit_test_setup_teardown(test_without_the_setting_no_prefix_is_looked_for, fresh, with_prefixes),
};
const size_t flow_tests_count = sizeof(flow_tests) / sizeof(flow_tests[0]);
