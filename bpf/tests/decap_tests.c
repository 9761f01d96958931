/* SPDX-License-Identifier: Apache-2.0 */
#include "decap_tests.h"

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

#include "cases.h"
#include "lib/layout_names.h"
#include "nat_world.h"

#define MTU 1500u /* of in0 */
#define CLIENT_PORT 40001

/* One of the ways in which a client's packet comes. */
struct way {
	bool outer_v6, inner_v6, gue;
};

static const struct way ways[] = {{false, false, false}, {false, true, false}, {true, false, false},
                                  {true, true, false},   {false, false, true}, {false, true, true},
                                  {true, false, true},   {true, true, true}};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static uint32_t outer_length(const struct way *way)
{
	return (way->outer_v6 ? 40 : 20) + (way->gue ? 8 : 0);
}

static struct spec syn_of(const struct way *way)
{
	return (struct spec){.version = way->inner_v6 ? 6 : 4,
	                     .flags = TCP_SYN,
	                     .mss = 1460,
	                     .source_port = CLIENT_PORT,
	                     .destination_port = SERVICE_PORT(SERVICE_IPIP)};
}

static struct spec answer_to(const struct way *way, uint16_t mss)
{
	return (struct spec){.version = way->inner_v6 ? 6 : 4,
	                     .source = way->inner_v6 ? VIP_V6 : VIP_V4,
	                     .destination = way->inner_v6 ? CLIENT_V6 : CLIENT_V4,
	                     .flags = TCP_SYN | TCP_ACK,
	                     .mss = mss,
	                     .source_port = SERVICE_PORT(SERVICE_IPIP),
	                     .destination_port = CLIENT_PORT};
}

static void come_as(const struct way *way, const struct spec *inner, bool by_tc, struct result *result)
{
	const struct spec outer = {.version = way->outer_v6 ? 6 : 4,
	                           .source = way->outer_v6 ? "fd00:1::99" : "10.1.0.99",
	                           .destination = way->outer_v6 ? DECAP_V6 : DECAP_V4,
	                           .protocol = way->gue ? IPPROTO_UDP : 0,
	                           .destination_port = GUE_PORT,
	                           .inner = inner};
	struct frame frame, expected;
	frame_build(&frame, &outer);
	frame_build(&expected, inner);
	if (by_tc)
		nat_run(NAT_INGRESS, &frame, 0, result);
	else
		world_run(&frame, result);
	assert_int_equal(result->verdict, by_tc ? VERDICT_ON : XDP_PASS);
	assert_int_equal(result->frame.length, expected.length);
	assert_memory_equal(result->frame.data, expected.data, expected.length);
}

static void come(const struct way *way, const struct spec *inner)
{
	struct result result;
	come_as(way, inner, false, &result);
}

/* 0: clients of that address are not advised. */
static uint32_t noted(const char *vip)
{
	const struct address address = world_address(vip);
	struct decap_service service = {0};
	return bpf_map_lookup_elem(world_map("decap_services"), &address, &service) ? 0 : service.mtu;
}

static void forget(void)
{
	const struct address vips[] = {world_address(VIP_V4), world_address(VIP_V6)};
	for (size_t i = 0; i < 2; i++)
		bpf_map_delete_elem(world_map("decap_services"), &vips[i]);
}

static void reset(uint32_t flags)
{
	const struct nat_settings settings = {.first = {1, 1}, .flags = flags};
	nat_reset();
	nat_set_settings(&settings);
	forget();
}

/* The frame leaves, changed to want. */
static void leaves_as(const struct spec *in, const struct spec *want)
{
	struct frame frame, expected;
	struct result result;
	frame_build(&frame, in);
	frame_build(&expected, want);
	nat_run(NAT_EGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_ON);
	if (result.frame.length != expected.length || memcmp(result.frame.data, expected.data, expected.length)) {
		frame_report("an answer", &expected, &result.frame);
		fail();
	}
}

void decap_run_case_by_tc(void **state)
{
	const struct test_case *c = *state;
	struct frame in, expected;
	struct result result;
	uint32_t verdict = VERDICT_ON;
	frame_build(&in, &c->in);
	expected = in;
	/* The kernel takes a tag off before tc sees the frame; one that is left is the second one, the stack's. */
	const bool tagged = c->in.tags > 0;
	if (c->outcome == STRIPPED && !tagged) {
		struct spec stripped = *c->want;
		stripped.padding = c->in.padding;
		frame_build(&expected, &stripped);
	} else if (c->outcome == DROPPED && !tagged) {
		verdict = VERDICT_DROP;
	}
	reset(NAT_SETTING_DECAP | NAT_SETTING_TC_DECAP);
	nat_run(NAT_INGRESS, &in, 0, &result);
	bool good = true;
	for (int reason = 0; reason < DROP_REASONS; reason++) {
		uint64_t drops = world_drops((enum drop_reason)reason);
		if (drops != (verdict == VERDICT_DROP && reason == (int)c->reason)) {
			fprintf(stderr, "%s: drops[%s] is %lu\n", c->name, drop_reason_names[reason],
			        (unsigned long)drops);
			good = false;
		}
	}
	if (result.verdict != verdict) {
		fprintf(stderr, "%s: the verdict is %d, expected %d\n", c->name, (int)result.verdict, (int)verdict);
		good = false;
	} else if (verdict == VERDICT_ON && (result.frame.length != expected.length ||
	                                     memcmp(result.frame.data, expected.data, expected.length))) {
		frame_report(c->name, &expected, &result.frame);
		good = false;
	}
	assert_true(good);
}

static void test_tc_decapsulates_only_where_it_is_told_to(void **state)
{
	(void)state;
	const struct spec inner = {.destination_port = SERVICE_PORT(SERVICE_IPIP), .payload = 60};
	const struct spec outer = {.source = "10.1.0.99", .destination = DECAP_V4, .inner = &inner};
	struct frame frame;
	struct result result;
	frame_build(&frame, &outer);
	reset(NAT_SETTING_DECAP);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_ON);
	assert_int_equal(result.frame.length, frame.length);
}

/* What GRO makes of many packets of one TCP flow is one large inner packet; of datagrams, it puts one behind the other.
 */
static void test_buffers_of_many_segments_lose_their_outer_header_when_it_is_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		const struct spec inner = {.version = way->inner_v6 ? 6 : 4,
		                           .destination_port = SERVICE_PORT(SERVICE_IPIP),
		                           .payload = 3000};
		struct spec outer = {.version = way->outer_v6 ? 6 : 4,
		                     .source = way->outer_v6 ? "fd00:1::99" : "10.1.0.99",
		                     .destination = way->outer_v6 ? DECAP_V6 : DECAP_V4,
		                     .protocol = way->gue ? IPPROTO_UDP : 0,
		                     .destination_port = GUE_PORT,
		                     .inner = &inner};
		struct frame frame, expected;
		struct result result;
		frame_build(&frame, &outer);
		frame_build(&expected, &inner);
		reset(NAT_SETTING_TC_DECAP);
		nat_run(NAT_INGRESS, &frame, 1000, &result);
		/* The kernel's test run makes buffers of no type, of which its helpers refuse to change the size: what
		 * cannot be taken apart is dropped, never passed on half done. The end-to-end tests have real ones. */
		if (result.verdict == VERDICT_DROP) {
			assert_int_equal(world_drops(DROP_TRUNCATED), 1);
		} else {
			assert_int_equal(result.verdict, VERDICT_ON);
			assert_int_equal(result.frame.length, expected.length);
			assert_memory_equal(result.frame.data, expected.data, expected.length);
		}
		/* The first of several datagrams says less than there is. */
		struct spec short_inner = inner;
		short_inner.patches[0] = (struct patch){.at = way->inner_v6 ? 4 : 2, .width = 2, .value = 1000};
		outer.inner = &short_inner;
		frame_build(&frame, &outer);
		reset(NAT_SETTING_TC_DECAP);
		nat_run(NAT_INGRESS, &frame, 1000, &result);
		assert_int_equal(result.verdict, VERDICT_DROP);
		assert_int_equal(world_drops(DROP_BAD_LENGTH), 1);
	}
}

static void test_tc_notes_what_xdp_notes(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		const struct spec syn = syn_of(way);
		struct result result;
		reset(NAT_SETTING_TC_DECAP);
		come_as(way, &syn, true, &result);
		assert_int_equal(noted(way->inner_v6 ? VIP_V6 : VIP_V4), MTU - outer_length(way));
	}
}

static void test_a_syn_ack_tells_what_fits_through_the_tunnel(void **state)
{
	(void)state;
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		const char *vip = way->inner_v6 ? VIP_V6 : VIP_V4;
		const uint16_t fits = (uint16_t)(MTU - outer_length(way) - (way->inner_v6 ? 60 : 40));
		struct spec syn = syn_of(way), answer = answer_to(way, 1460), want = answer_to(way, fits);
		reset(NAT_SETTING_DECAP);
		leaves_as(&answer, &answer);
		come(way, &syn);
		assert_int_equal(noted(vip), MTU - outer_length(way));
		leaves_as(&answer, &want);
		/* At an odd place, too. */
		answer.nops = want.nops = 1;
		leaves_as(&answer, &want);
		/* Only a SYN-ACK, of that address, and never more than it said itself. */
		answer.nops = want.nops = 0;
		answer.mss = 536;
		leaves_as(&answer, &answer);
		answer.mss = 1460;
		answer.flags = TCP_ACK;
		leaves_as(&answer, &answer);
		answer.flags = TCP_SYN | TCP_ACK;
		answer.source = way->inner_v6 ? ANY_PORT_VIP_V6 : ANY_PORT_VIP_V4;
		leaves_as(&answer, &answer);
		/* Nor where nothing is decapsulated any more. */
		reset(0);
		come(way, &syn);
		answer = answer_to(way, 1460);
		leaves_as(&answer, &answer);
	}
}

static void test_the_way_may_be_narrower_than_the_device(void **state)
{
	(void)state;
	const struct address here = world_address(DECAP_V4);
	const struct decap narrow = {.gue_port = htons(GUE_PORT), .mtu = 1400}, usual = {.gue_port = htons(GUE_PORT)};
	const struct spec syn = syn_of(&ways[0]), answer = answer_to(&ways[0], 1460), want = answer_to(&ways[0], 1340);
	reset(NAT_SETTING_DECAP);
	come(&ways[0], &syn);
	assert_int_equal(noted(VIP_V4), 1480);
	assert_int_equal(bpf_map_update_elem(world_map("decap_addresses"), &here, &narrow, BPF_ANY), 0);
	come(&ways[0], &syn);
	assert_int_equal(bpf_map_update_elem(world_map("decap_addresses"), &here, &usual, BPF_ANY), 0);
	assert_int_equal(noted(VIP_V4), 1380);
	leaves_as(&answer, &want);
}

static void test_only_a_syn_begins_advice(void **state)
{
	(void)state;
	const struct way *way = &ways[0];
	struct spec packet = syn_of(way);
	reset(NAT_SETTING_DECAP);
	packet.flags = TCP_ACK;
	come(way, &packet);
	packet.flags = TCP_SYN | TCP_ACK;
	come(way, &packet);
	packet.flags = TCP_SYN;
	packet.mss = 0;
	packet.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x0010}; /* a later fragment */
	come(way, &packet);
	packet.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
	come(way, &packet);
	packet.patches[0] = (struct patch){0};
	packet.protocol = IPPROTO_UDP;
	come(way, &packet);
	assert_int_equal(noted(VIP_V4), 0);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tc_decapsulates_only_where_it_is_told_to),
        cmocka_unit_test(test_buffers_of_many_segments_lose_their_outer_header_when_it_is_one),
        cmocka_unit_test(test_tc_notes_what_xdp_notes),
        cmocka_unit_test(test_a_syn_ack_tells_what_fits_through_the_tunnel),
        cmocka_unit_test(test_the_way_may_be_narrower_than_the_device),
        cmocka_unit_test(test_only_a_syn_begins_advice),
};
const struct CMUnitTest *const decap_tests = tests;
const size_t decap_tests_count = sizeof(tests) / sizeof(tests[0]);
