/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translation in XDP. A packet of a confirmed flow goes through tc first and then, with everything as it was before,
 * through XDP: there it comes out alike, with the Ethernet header that tc leaves to the kernel, and is counted and
 * noted alike; or XDP lets it pass as it came, and nothing has changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cases_nat.h"
#include "expect.h"

#define TCP_RST 0x04
#define SERVICE (SERVICE_NAT + BACKEND_V4)
#define SOURCE_NATTED (SERVICE_SOURCE_NATTED + BACKEND_V4)

#define FINS (NAT_FIN_CLIENT | NAT_FIN_BACKEND)

#define ENTRIES_MAX 4

/* Everything that is known of confirmed flows. */
struct known {
	struct flow_key keys[ENTRIES_MAX];
	struct nat_flow flows[ENTRIES_MAX];
	size_t count;
};

static struct known know(void)
{
	struct known known = {.count = 0};
	while (known.count < ENTRIES_MAX &&
	       nat_next(NAT_CONFIRMED_FLOWS, known.count ? &known.keys[known.count - 1] : NULL,
	                &known.keys[known.count])) {
		assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &known.keys[known.count], &known.flows[known.count]));
		known.count++;
	}
	return known;
}

static void restore(const struct known *known)
{
	struct known now = know();
	for (size_t i = 0; i < now.count; i++)
		nat_remove(NAT_CONFIRMED_FLOWS, &now.keys[i]);
	for (size_t i = 0; i < known->count; i++)
		nat_put(NAT_CONFIRMED_FLOWS, &known->keys[i], &known->flows[i]);
}

/* But for the second of the look. */
static bool same_known(const struct known *one, const struct known *other)
{
	for (size_t i = 0; i < one->count; i++) {
		struct nat_flow mine = one->flows[i], theirs;
		size_t at = 0;
		while (at < other->count && memcmp(&other->keys[at], &one->keys[i], sizeof(one->keys[i])) != 0)
			at++;
		if (at == other->count)
			return false;
		theirs = other->flows[at];
		mine.seen = theirs.seen = 0;
		if (memcmp(&mine, &theirs, sizeof(mine)) != 0)
			return false;
	}
	return one->count == other->count;
}

static void run_xdp(const struct frame *in, struct result *result)
{
	nat_fast_reset();
	nat_fast_run(in, result);
}

/* The flow that the case's packet is of, confirmed. */
static void open_flow(const struct nat_case *c)
{
	struct spec first = {.version = c->in.version,
	                     .protocol = c->in.protocol,
	                     .source = c->in.source,
	                     .destination = c->in.destination,
	                     .source_port = c->in.source_port,
	                     .destination_port = c->in.destination_port};
	struct frame frame;
	struct result result = {0};
	if (c->before.destination_port)
		first = c->before;
	if (!first.destination_port)
		return;
	frame_build(&frame, &first);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	nat_confirm();
}

static uint64_t all_drops(void)
{
	uint64_t sum = 0;
	for (int reason = 0; reason < DROP_REASONS; reason++)
		sum += world_drops((enum drop_reason)reason);
	return sum;
}

static bool same_traffic(struct traffic one, struct traffic other)
{
	return !memcmp(&one, &other, sizeof(one));
}

static struct traffic since(struct traffic now, struct traffic before)
{
	now.packets -= before.packets;
	now.bytes -= before.bytes;
	now.returned_packets -= before.returned_packets;
	now.returned_bytes -= before.returned_bytes;
	return now;
}

void nat_fast_run_case(void **state)
{
	const struct nat_case *c = *state;
	struct frame in, expected;
	struct result by_tc = {0}, by_xdp = {0};
	nat_reset();
	open_flow(c);
	const struct known before = know();
	struct traffic counted = {0}, tc_counted = {0};
	if (c->service)
		counted = world_service_traffic(c->service);
	frame_build(&in, &c->in);
	nat_run(NAT_INGRESS, &in, c->gso_size, &by_tc);
	const struct known by_tc_known = know();
	if (c->service)
		tc_counted = since(world_service_traffic(c->service), counted);
	restore(&before);
	const uint64_t drops = all_drops();
	const struct traffic fast_before = nat_fast_traffic(c->service);
	if (c->service)
		counted = world_service_traffic(c->service);
	run_xdp(&in, &by_xdp);
	const struct known by_xdp_known = know();
	assert_int_equal(all_drops(), drops);
	if (!c->fast) {
		assert_int_equal(by_xdp.verdict, XDP_PASS);
		assert_int_equal(by_xdp.frame.length, in.length);
		assert_memory_equal(by_xdp.frame.data, in.data, in.length);
		assert_true(same_known(&by_xdp_known, &before));
		if (c->service)
			assert_true(same_traffic(world_service_traffic(c->service), counted));
		return;
	}
	assert_int_equal(by_tc.verdict, VERDICT_OUT);
	assert_int_equal(by_xdp.verdict, world_backend(c->fast)->transmits ? XDP_TX : XDP_REDIRECT);
	struct spec want = c->want;
	want.ttl++;
	struct frame undelivered;
	frame_build(&undelivered, &want);
	expect_forwarded(&expected, &undelivered, FORWARDING_L2, c->fast, 0);
	if (by_xdp.frame.length != expected.length || memcmp(by_xdp.frame.data, expected.data, expected.length) != 0) {
		frame_report(c->name, &expected, &by_xdp.frame);
		fail();
	}
	size_t tc_front = frame_ethernet_length(&by_tc.frame), xdp_front = frame_ethernet_length(&by_xdp.frame);
	assert_int_equal(by_tc.frame.length - tc_front, by_xdp.frame.length - xdp_front);
	assert_memory_equal(by_tc.frame.data + tc_front, by_xdp.frame.data + xdp_front, by_tc.frame.length - tc_front);
	assert_true(same_known(&by_xdp_known, &by_tc_known));
	if (!c->service)
		return;
	struct traffic xdp_counted = since(world_service_traffic(c->service), counted);
	assert_true(same_traffic(xdp_counted, tc_counted));
	assert_true(same_traffic(xdp_counted, since(nat_fast_traffic(c->service), fast_before)));
	assert_int_equal(c->returned ? xdp_counted.returned_packets : xdp_counted.packets, 1);
}

/* Both sides' packets of one flow to SERVICE or SOURCE_NATTED, and its entries. */
struct connection {
	struct spec ask, answer;
	struct flow_key client, backend;
};

static struct connection open_connection(uint32_t service, uint8_t protocol)
{
	struct connection flow = {
	        .ask = {.protocol = protocol, .destination_port = SERVICE_PORT(service), .payload = 100}};
	const struct nat_case c = {.in = flow.ask};
	struct frame frame;
	nat_reset();
	open_flow(&c);
	struct known known = know();
	assert_int_equal(known.count, 2);
	int at = known.flows[0].flags & NAT_REVERSE ? 1 : 0;
	flow.client = known.keys[at];
	flow.backend = known.keys[!at];
	frame_build(&frame, &flow.ask);
	flow.answer = flow.ask;
	flow.answer.source = world_backend(BACKEND_V4)->address;
	flow.answer.source_port = BACKEND_PORT;
	flow.answer.destination = service == SOURCE_NATTED ? world_backend(BACKEND_V4)->source : CLIENT_V4;
	flow.answer.destination_port = ntohs(flow.backend.destination_port);
	return flow;
}

static uint32_t fast(const struct spec *spec)
{
	struct frame frame;
	struct result result = {0};
	frame_build(&frame, spec);
	run_xdp(&frame, &result);
	if (result.verdict == XDP_PASS) {
		assert_int_equal(result.frame.length, frame.length);
		assert_memory_equal(result.frame.data, frame.data, frame.length);
	}
	return result.verdict;
}

static uint32_t flags_of(const struct flow_key *key)
{
	struct nat_flow flow;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, key, &flow));
	return flow.flags & ~(uint32_t)NAT_REVERSE;
}

static void change(const struct flow_key *key, uint32_t set, uint32_t clear, uint32_t older)
{
	struct nat_flow flow;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, key, &flow));
	flow.flags = (flow.flags | set) & ~clear;
	flow.seen -= older;
	nat_put(NAT_CONFIRMED_FLOWS, key, &flow);
}

static uint32_t seen_of(const struct flow_key *key)
{
	struct nat_flow flow;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, key, &flow));
	return flow.seen;
}

static void test_what_ends_a_flow_is_carried_and_noted(void **state)
{
	(void)state;
	const uint32_t open = NAT_ANSWERED | NAT_CONFIRMED;
	struct connection flow = open_connection(SOURCE_NATTED, IPPROTO_TCP);
	flow.ask.flags = TCP_FIN | TCP_ACK;
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
	assert_int_equal(flags_of(&flow.client), open | NAT_FIN_CLIENT);
	assert_int_equal(flags_of(&flow.backend), open | NAT_FIN_CLIENT);
	flow.answer.flags = TCP_FIN | TCP_ACK;
	assert_int_equal(fast(&flow.answer), XDP_REDIRECT);
	assert_int_equal(flags_of(&flow.client), open | FINS);
	assert_int_equal(flags_of(&flow.backend), open | FINS);
	/* The last acknowledgement, and what is sent again. */
	flow.ask.flags = TCP_ACK;
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
	assert_int_equal(fast(&flow.answer), XDP_REDIRECT);
	flow.answer.flags = TCP_RST;
	assert_int_equal(fast(&flow.answer), XDP_REDIRECT);
	assert_int_equal(flags_of(&flow.client), open | FINS | NAT_RESET);
	/* A reset that was not in order ends nothing: data takes it back. */
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
	assert_int_equal(flags_of(&flow.client), open | FINS);
	assert_int_equal(flags_of(&flow.backend), open | FINS);
}

static void test_both_entries_stay_fresh_by_packets_of_one_side(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++) {
		struct connection flow = open_connection(SERVICE, IPPROTO_UDP);
		change(&flow.client, 0, 0, 100);
		change(&flow.backend, 0, 0, 100);
		const uint32_t before = seen_of(&flow.client);
		assert_int_equal(fast(back ? &flow.answer : &flow.ask), XDP_REDIRECT);
		assert_in_range(seen_of(&flow.client) - before, 100, 102);
		assert_in_range(seen_of(&flow.backend) - before, 100, 102);
	}
}

static void test_a_displaced_entry_is_made_anew(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++) {
		struct connection flow = open_connection(SOURCE_NATTED, IPPROTO_TCP);
		const struct known before = know();
		nat_remove(NAT_CONFIRMED_FLOWS, back ? &flow.client : &flow.backend);
		/* Looked for once per second. */
		change(back ? &flow.backend : &flow.client, 0, 0, 2);
		assert_int_equal(fast(back ? &flow.answer : &flow.ask), XDP_REDIRECT);
		const struct known after = know();
		struct known same = before;
		for (size_t i = 0; i < same.count; i++)
			same.flows[i].flags |= NAT_ANSWERED;
		assert_true(same_known(&after, &same));
	}
}

/* Its port towards the backend went to another flow, while its own entry was left. */
static void test_a_flow_that_has_lost_its_port_is_begun_anew_by_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	struct nat_flow other;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &flow.backend, &other));
	other.destination = world_address("203.0.113.99");
	nat_put(NAT_CONFIRMED_FLOWS, &flow.backend, &other);
	change(&flow.client, 0, 0, 2);
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	struct nat_flow gone;
	assert_false(nat_entry(NAT_CONFIRMED_FLOWS, &flow.client, &gone));
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &flow.backend, &gone));
	struct frame frame;
	struct result result = {0};
	frame_build(&frame, &flow.ask);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_OUT);
	assert_int_not_equal(get16(result.frame.data + 34), 40000);
}

static void test_what_is_not_confirmed_is_left_to_tc(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++) {
		struct connection flow = open_connection(SERVICE, IPPROTO_UDP);
		change(&flow.client, 0, NAT_CONFIRMED, 0);
		change(&flow.backend, 0, NAT_CONFIRMED, 0);
		assert_int_equal(fast(back ? &flow.answer : &flow.ask), XDP_PASS);
	}
	/* In the table of new flows. */
	struct connection flow = open_connection(SERVICE, IPPROTO_UDP);
	struct frame frame;
	struct result result = {0};
	nat_reset();
	frame_build(&frame, &flow.ask);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_OUT);
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	assert_int_equal(fast(&flow.answer), XDP_PASS);
}

static void test_what_is_over_is_left_to_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	change(&flow.client, 0, 0, 7400);
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
	change(&flow.client, 0, 0, 7450);
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	flow = open_connection(SERVICE, IPPROTO_TCP);
	change(&flow.backend, NAT_RESET, 0, 20);
	assert_int_equal(fast(&flow.answer), XDP_PASS);
	flow = open_connection(SERVICE, IPPROTO_UDP);
	change(&flow.backend, 0, 0, 310);
	assert_int_equal(fast(&flow.answer), XDP_PASS);
	/* Its backend is gone, or another one. */
	flow = open_connection(SERVICE, IPPROTO_UDP);
	world_set_backend(BACKEND_V4, 7, 0);
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	world_set_backend(BACKEND_V4, 8, BACKEND_IN_USE);
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	world_set_backend(BACKEND_V4, 7, BACKEND_IN_USE);
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
}

static void test_syns_of_confirmed_flows_are_left_to_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	flow.ask.flags = TCP_SYN;
	assert_int_equal(fast(&flow.ask), XDP_PASS);
	flow.answer.flags = TCP_SYN | TCP_ACK;
	assert_int_equal(fast(&flow.answer), XDP_PASS);
}

static void test_services_with_a_policy_are_left_to_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	world_set_service(SERVICE, SERVICE_POLICY, FORWARDING_NAT);
	uint32_t ask = fast(&flow.ask), answer = fast(&flow.answer);
	world_set_service(SERVICE, 0, FORWARDING_NAT);
	assert_int_equal(ask, XDP_PASS);
	assert_int_equal(answer, XDP_PASS);
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
}

static void test_frames_for_other_hosts_are_left_alone(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	struct frame frame;
	for (int byte = 0; byte < 6; byte++) {
		struct result result = {0};
		frame_build(&frame, &flow.ask);
		frame.data[byte] ^= 0x10;
		run_xdp(&frame, &result);
		assert_int_equal(result.verdict, XDP_PASS);
	}
}

/* As run_xdp, by devices that have been set. */
static uint32_t by_devices(const struct spec *spec, bool in, bool out)
{
	struct frame frame;
	struct result result = {0};
	nat_fast_reset();
	nat_fast_device("in0", in);
	nat_fast_device("out0", out);
	frame_build(&frame, spec);
	nat_fast_run(&frame, &result);
	return result.verdict;
}

static void test_devices_that_xdp_cannot_send_by_are_left_to_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	assert_int_equal(by_devices(&flow.ask, true, true), XDP_REDIRECT);
	assert_int_equal(by_devices(&flow.ask, false, true), XDP_PASS);
	assert_int_equal(by_devices(&flow.ask, true, false), XDP_PASS);
}

static void test_ways_that_are_not_known_are_left_to_tc(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_TCP);
	world_set_forwarding(false);
	uint32_t verdict = fast(&flow.ask);
	world_set_forwarding(true);
	assert_int_equal(verdict, XDP_PASS);
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
}

/* The places of nat_hops are by both addresses: one flow's answer is not another's. */
static void test_kept_ways_are_told_apart(void **state)
{
	(void)state;
	struct frame frame;
	struct result result = {0};
	static const uint32_t services[] = {SERVICE_NAT + BACKEND_V4, SERVICE_NAT + BACKEND_V4_IN,
	                                    SERVICE_NAT + BACKEND_V4_VLAN, SERVICE_NAT + BACKEND_V4};
	static const uint32_t verdicts[] = {XDP_REDIRECT, XDP_TX, XDP_TX, XDP_REDIRECT};
	nat_reset();
	nat_fast_reset();
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < 4; i++) {
			const struct spec ask = {.protocol = IPPROTO_UDP,
			                         .destination_port = SERVICE_PORT(services[i])};
			frame_build(&frame, &ask);
			nat_run(NAT_INGRESS, &frame, 0, &result);
			nat_confirm();
			nat_fast_run(&frame, &result);
			assert_int_equal(result.verdict, verdicts[i]);
		}
}

/* The answer of BACKEND_V6 to a client, whose flow is open as far as answers need it. */
static uint32_t answered_by(const char *client)
{
	const struct spec answer = {.version = 6,
	                            .protocol = IPPROTO_UDP,
	                            .source = world_backend(BACKEND_V6)->address,
	                            .destination = client,
	                            .source_port = BACKEND_PORT,
	                            .destination_port = 40000};
	const struct flow_key key = {.source = world_address(answer.source),
	                             .destination = world_address(client),
	                             .source_port = htons(BACKEND_PORT),
	                             .destination_port = htons(40000),
	                             .protocol = IPPROTO_UDP};
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
	const struct nat_flow flow = {
	        .source = world_address(VIP_V6),
	        .destination = key.destination,
	        .source_port = htons(SERVICE_PORT(SERVICE_NAT + BACKEND_V6)),
	        .destination_port = htons(40000),
	        .flags = NAT_REVERSE | NAT_ANSWERED | NAT_CONFIRMED,
	        .service = SERVICE_NAT + BACKEND_V6,
	        .backend = BACKEND_V6,
	        .generation = 7,
	        .seen = (uint32_t)(((uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec) >> 30)};
	struct frame frame;
	struct result result = {0};
	nat_put(NAT_CONFIRMED_FLOWS, &key, &flow);
	frame_build(&frame, &answer);
	nat_fast_run(&frame, &result);
	return result.verdict;
}

/* Of so many clients one is in the same place as a client on the link. */
static void test_a_place_of_a_kept_way_has_one_owner(void **state)
{
	(void)state;
	enum { CLIENTS = 8000 };
	nat_reset();
	nat_fast_reset();
	for (int i = 1; i <= CLIENTS; i++) {
		char client[32];
		snprintf(client, sizeof(client), "2001:db8:7::%x", i);
		assert_int_equal(answered_by("2001:db8:1::11"), XDP_TX);
		assert_int_equal(answered_by(client), XDP_REDIRECT);
	}
}

static uint8_t *check_of(struct frame *frame, uint8_t version, uint8_t protocol)
{
	return frame->data + 14 + (version == 4 ? 20 : 40) + (protocol == IPPROTO_TCP ? 16 : 6);
}

/* As a sender leaves them to its device: the sum of the pseudo header alone. */
static void test_checksums_to_be_completed_are_left_to_tc(void **state)
{
	(void)state;
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	for (uint8_t version = 4; version <= 6; version += 2)
		for (int p = 0; p < 2; p++) {
			const uint32_t service = SERVICE_NAT + (version == 4 ? BACKEND_V4 : BACKEND_V6);
			const struct nat_case c = {.in = {.version = version,
			                                  .protocol = protocols[p],
			                                  .destination_port = SERVICE_PORT(service),
			                                  .payload = 333}};
			struct frame frame;
			struct result result = {0};
			nat_reset();
			open_flow(&c);
			frame_build(&frame, &c.in);
			const size_t length = frame.length - 14 - (version == 4 ? 20 : 40);
			/* Zeros add nothing to it. */
			static const uint8_t zeros[FRAME_MAX];
			uint16_t pseudo = (uint16_t)~transport_checksum(frame.data + 14, protocols[p], zeros, length);
			put16(check_of(&frame, version, protocols[p]), pseudo);
			run_xdp(&frame, &result);
			assert_int_equal(result.verdict, XDP_PASS);
			put16(check_of(&frame, version, protocols[p]), pseudo ^ 1);
			run_xdp(&frame, &result);
			assert_int_equal(result.verdict, XDP_REDIRECT);
		}
}

/* Of a datagram with two bytes of payload, whose header is at at: those, and the checksum. */
static void put_datagram_word(struct frame *frame, size_t at, uint16_t word)
{
	put16(frame->data + at + 8, word);
	put16(frame->data + at + 6, 0);
	put16(frame->data + at + 6, transport_checksum(frame->data + 14, IPPROTO_UDP, frame->data + at, 10));
}

/* A UDP checksum that comes out as 0 is sent as 0xffff: 0 says that there is none (RFC 768). */
static void test_a_udp_checksum_never_becomes_none(void **state)
{
	(void)state;
	for (uint8_t version = 4; version <= 6; version += 2) {
		const uint32_t service = SERVICE_NAT + (version == 4 ? BACKEND_V4 : BACKEND_V6);
		const uint16_t udp = version == 4 ? 20 : 40;
		const struct nat_case c = {.in = {.version = version,
		                                  .protocol = IPPROTO_UDP,
		                                  .destination_port = SERVICE_PORT(service),
		                                  .payload = 2}};
		struct frame frame;
		struct result result = {0};
		nat_reset();
		open_flow(&c);
		/* What the payload has to be is told by what comes out when it is 0. */
		frame_build(&frame, &c.in);
		put_datagram_word(&frame, 14u + udp, 0);
		run_xdp(&frame, &result);
		assert_int_equal(result.verdict, XDP_REDIRECT);
		put_datagram_word(&frame, 14u + udp, get16(check_of(&result.frame, version, IPPROTO_UDP)));
		run_xdp(&frame, &result);
		assert_int_equal(result.verdict, XDP_REDIRECT);
		assert_int_equal(get16(check_of(&result.frame, version, IPPROTO_UDP)), 0xffff);
	}
}

static void test_without_tables_everything_passes(void **state)
{
	(void)state;
	struct connection flow = open_connection(SERVICE, IPPROTO_UDP);
	nat_take_tables(true);
	uint32_t verdict = fast(&flow.ask);
	nat_take_tables(false);
	assert_int_equal(verdict, XDP_PASS);
	assert_int_equal(fast(&flow.ask), XDP_REDIRECT);
}

/* A tag for the way out takes room before the frame. */
static void test_a_frame_without_room_for_a_tag_is_left_to_tc(void **state)
{
	(void)state;
	const struct nat_case c = {
	        .in = {.protocol = IPPROTO_UDP, .destination_port = SERVICE_PORT(SERVICE_NAT + BACKEND_V4_VLAN)}};
	struct frame frame;
	struct result result = {0};
	nat_reset();
	open_flow(&c);
	frame_build(&frame, &c.in);
	nat_fast_reset();
	nat_fast_slot();
	world_limit_headroom(XDP_SLOT_NAT, 4, (uint32_t)frame.length);
	world_run(&frame, &result);
	assert_int_equal(result.verdict, XDP_TX);
	world_limit_headroom(XDP_SLOT_NAT, 3, (uint32_t)frame.length);
	world_run(&frame, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	assert_memory_equal(result.frame.data, frame.data, frame.length);
}

/* What is carried here is met by the programs before: the whole chain, as it is attached. */
static void test_behind_the_balancer_packets_of_nat_come_here(void **state)
{
	(void)state;
	struct connection flow = open_connection(SOURCE_NATTED, IPPROTO_TCP);
	nat_fast_reset();
	nat_fast_slot();
	for (int back = 0; back < 2; back++) {
		struct frame frame;
		struct result result = {0};
		frame_build(&frame, back ? &flow.answer : &flow.ask);
		world_run(&frame, &result);
		assert_int_equal(result.verdict, XDP_REDIRECT);
	}
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_ends_a_flow_is_carried_and_noted),
        cmocka_unit_test(test_both_entries_stay_fresh_by_packets_of_one_side),
        cmocka_unit_test(test_a_displaced_entry_is_made_anew),
        cmocka_unit_test(test_a_flow_that_has_lost_its_port_is_begun_anew_by_tc),
        cmocka_unit_test(test_what_is_not_confirmed_is_left_to_tc),
        cmocka_unit_test(test_what_is_over_is_left_to_tc),
        cmocka_unit_test(test_syns_of_confirmed_flows_are_left_to_tc),
        cmocka_unit_test(test_services_with_a_policy_are_left_to_tc),
        cmocka_unit_test(test_frames_for_other_hosts_are_left_alone),
        cmocka_unit_test(test_devices_that_xdp_cannot_send_by_are_left_to_tc),
        cmocka_unit_test(test_ways_that_are_not_known_are_left_to_tc),
        cmocka_unit_test(test_kept_ways_are_told_apart),
        cmocka_unit_test(test_a_place_of_a_kept_way_has_one_owner),
        cmocka_unit_test(test_checksums_to_be_completed_are_left_to_tc),
        cmocka_unit_test(test_a_udp_checksum_never_becomes_none),
        cmocka_unit_test(test_without_tables_everything_passes),
        cmocka_unit_test(test_a_frame_without_room_for_a_tag_is_left_to_tc),
        cmocka_unit_test(test_behind_the_balancer_packets_of_nat_come_here),
};

const struct CMUnitTest *const nat_fast_tests = tests;
const size_t nat_fast_tests_count = sizeof(tests) / sizeof(tests[0]);
