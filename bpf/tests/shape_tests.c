/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of tc say of packets over a rate: the time at which fq lets them go, or the class of HTB that they
 * wait in. The queues themselves are not needed for it; the kernel of every machine has the programs say the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "guard.h"
#include "nat_world.h"
#include "shape_tests.h"

#define PAYLOAD 1000u
#define DEVICES 64u /* of the test's namespace, with room */
#define ECT_0 2u
#define CE 3u
#define TCP_FIN_ACK 0x11
#define TCP_ACK_ALONE 0x10

/* One packet in so many ns; long beside what a test's own steps take. */
#define PACKET_NS 20000000ull
#define SLACK_NS 15000000ull
#define ROUNDING_NS 1000ull /* of buckets, and more */

static const uint32_t service = SERVICE_NAT + BACKEND_V4, local = SERVICE_NAT + BACKEND_LOCAL_V4;

static void put(const char *map, uint32_t key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(nat_map(map), &key, value, BPF_ANY), 0);
}

/* All devices, since the test does not ask for routes. 0: none paces. */
static void set_kind(uint32_t kind)
{
	for (uint32_t index = 1; index < DEVICES; index++)
		if (kind)
			put("shape_devices", index, &kind);
		else
			bpf_map_delete_elem(nat_map("shape_devices"), &index);
}

static void set_classes(uint32_t of, uint32_t bits)
{
	put("shape_services", of, &bits);
}

static struct gcra_rate packets(uint32_t burst)
{
	struct gcra_rate rate = {.unit_cost = (PACKET_NS << 20) / PAYLOAD};

	rate.tolerance = gcra_cost(&rate, PAYLOAD) * burst;
	return rate;
}

static void set_policy(uint32_t of, const struct policy *policy)
{
	const struct policy_buckets full = {0};

	put("policies", of, policy);
	put("policy_buckets", of, &full);
	world_set_service(of, SERVICE_POLICY, FORWARDING_NAT);
}

static int fresh(void **state)
{
	(void)state;
	nat_reset();
	guard_set(NULL);
	return 0;
}

static int without(void **state)
{
	(void)state;
	set_kind(0);
	for (int i = 0; i < 2; i++) {
		set_classes(i ? local : service, 0);
		world_set_service(i ? local : service, 0, FORWARDING_NAT);
	}
	return 0;
}

static struct spec packet_to(uint32_t of, uint8_t protocol)
{
	return (struct spec){
	        .version = 4, .protocol = protocol, .destination_port = SERVICE_PORT(of), .payload = PAYLOAD};
}

static struct result run(const struct spec *spec)
{
	struct frame frame;
	struct result result = {0};

	frame_build(&frame, spec);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	return result;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static void packets_over_the_rate_leave_later_until_none_may_wait_longer(void **state)
{
	const struct policy policy = {.priority = 6, .service = {packets(2)}};
	struct spec spec = packet_to(service, IPPROTO_UDP);
	unsigned waiting = 0, dropped = 0;
	uint64_t last = 0;
	(void)state;
	set_policy(service, &policy);
	set_kind(SHAPE_FQ);
	for (int i = 0; i < 2; i++) {
		struct result result = run(&spec);
		assert_int_equal(result.verdict, VERDICT_OUT);
		assert_int_equal(result.tstamp, 0);
	}
	for (int i = 0; i < 8; i++) {
		uint64_t before = now_ns();
		struct result result = run(&spec);
		if (result.verdict == VERDICT_DROP) {
			dropped++;
			continue;
		}
		assert_int_equal(dropped, 0);
		assert_int_equal(result.verdict, VERDICT_OUT);
		assert_int_equal(result.priority, 6);
		/* One packet's time after the one before it, and none further away than the horizon. */
		assert_in_range(result.tstamp, before, before + SHAPE_HORIZON_NS + SLACK_NS);
		if (last)
			assert_in_range(result.tstamp - last, PACKET_NS - ROUNDING_NS, PACKET_NS + SLACK_NS);
		last = result.tstamp;
		waiting++;
	}
	assert_in_range(waiting, SHAPE_HORIZON_NS / PACKET_NS, SHAPE_HORIZON_NS / PACKET_NS + 2);
	assert_int_equal(world_drops(DROP_POLICY_INGRESS), dropped);
	/* What a dropped packet would have cost is not taken. */
	assert_int_equal(run(&spec).verdict, VERDICT_DROP);
}

static void a_flow_waits_for_its_own_rate_by_fq_alone(void **state)
{
	const struct policy policy = {.flow = {packets(1)}};
	struct spec spec = packet_to(service, IPPROTO_UDP);
	const uint32_t zero = 0;
	(void)state;
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "policy_flow", 8, sizeof(struct policy_flow), 4096, NULL);
	assert_true(fd >= 0);
	put("policy_flows", 0, &fd);
	set_policy(service, &policy);
	set_kind(SHAPE_FQ);
	assert_int_equal(run(&spec).tstamp, 0);
	assert_int_not_equal(run(&spec).tstamp, 0);
	/* Another flow's bucket is full. */
	spec.source_port = 41000;
	assert_int_equal(run(&spec).tstamp, 0);
	set_kind(SHAPE_HTB);
	set_classes(service, 1u << POLICY_INGRESS);
	assert_int_equal(run(&spec).verdict, VERDICT_DROP);
	bpf_map_delete_elem(nat_map("policy_flows"), &zero);
}

static void classes_are_the_services_and_of_what_is_free_the_priorities(void **state)
{
	const struct policy policy = {.priority = 2, .service = {packets(1)}};
	const uint32_t of_priority = SHAPE_MAJOR << 16 | SHAPE_PRIORITY_CLASS(3),
	               own = SHAPE_MAJOR << 16 | SHAPE_SERVICE_CLASS(service, POLICY_INGRESS);
	struct spec data = packet_to(service, 0), ack = data, end = data;
	(void)state;
	ack.payload = end.payload = 0;
	ack.flags = TCP_ACK_ALONE;
	end.flags = TCP_FIN_ACK;
	set_policy(service, &policy);
	set_kind(SHAPE_HTB);
	/* Without a class of its own what is over the rate is dropped. */
	assert_int_equal(run(&data).priority, of_priority);
	assert_int_equal(run(&data).verdict, VERDICT_DROP);
	set_classes(service, 1u << POLICY_INGRESS);
	struct result waits = run(&data);
	assert_int_equal(waits.verdict, VERDICT_OUT);
	assert_int_equal(waits.priority, own);
	assert_int_equal(waits.tstamp, 0);
	/* A bare acknowledgement waits for nothing; what ends the flow does not overtake it. */
	assert_int_equal(run(&ack).priority, of_priority);
	assert_int_equal(run(&end).priority, own);
	for (unsigned i = 0; i < SHAPE_HORIZON_NS / PACKET_NS + 1; i++)
		run(&data);
	assert_int_equal(run(&data).verdict, VERDICT_DROP);
	assert_int_equal(run(&end).verdict, VERDICT_OUT);
}

static void the_end_of_a_flow_leaves_behind_its_data_by_fq_too(void **state)
{
	const struct policy policy = {.service = {packets(1)}};
	struct spec data = packet_to(service, 0), ack = data, end = data;
	(void)state;
	ack.payload = end.payload = 0;
	ack.flags = TCP_ACK_ALONE;
	end.flags = TCP_FIN_ACK;
	set_policy(service, &policy);
	set_kind(SHAPE_FQ);
	run(&data);
	uint64_t behind = run(&data).tstamp;
	assert_int_not_equal(behind, 0);
	assert_int_equal(run(&ack).tstamp, 0);
	/* Never earlier, by however little: fq would send it first. */
	for (int i = 0; i < 100; i++)
		assert_in_range(run(&end).tstamp, behind, behind + SLACK_NS);
}

static void what_would_wait_too_long_is_marked_and_waits_a_little_longer(void **state)
{
	const struct policy policy = {.flags = POLICY_ECN_MARK, .service = {packets(8)}};
	struct spec spec = packet_to(service, IPPROTO_UDP);
	unsigned marked = 0, left = 40;
	bool dropped = false;
	(void)state;
	spec.traffic_class = ECT_0;
	set_policy(service, &policy);
	set_kind(SHAPE_FQ);
	while (!dropped && left--) {
		uint64_t before = now_ns();
		struct result result = run(&spec);
		uint64_t after = now_ns();
		dropped = result.verdict == VERDICT_DROP;
		if (!dropped && (result.frame.data[15] & 3) == CE) {
			marked++;
			assert_in_range(result.tstamp, before + SHAPE_HORIZON_NS,
			                after + SHAPE_HORIZON_NS + SHAPE_HORIZON_NS / 4 + ROUNDING_NS);
		} else if (!dropped && result.tstamp) {
			assert_in_range(result.tstamp, before, after + SHAPE_HORIZON_NS + ROUNDING_NS);
		}
	}
	assert_true(dropped && marked);
	/* What cannot be marked is not to wait so long. */
	spec.traffic_class = 0;
	assert_int_equal(run(&spec).verdict, VERDICT_DROP);
}

/* With a burst longer than any packet waits, as services with TCP have it. */
static void what_is_marked_does_not_overtake_what_waits(void **state)
{
	const unsigned burst = 2 * SHAPE_HORIZON_NS / PACKET_NS;
	const struct policy policy = {.flags = POLICY_ECN_MARK, .service = {packets(burst)}};
	struct spec spec = packet_to(service, IPPROTO_UDP);
	unsigned dropped = 0;
	uint64_t last = 0;
	(void)state;
	spec.traffic_class = ECT_0;
	set_policy(service, &policy);
	set_kind(SHAPE_FQ);
	for (unsigned i = 0; i < 2 * burst; i++) {
		struct result result = run(&spec);
		if (result.verdict == VERDICT_DROP) {
			dropped++;
			continue;
		}
		assert_int_equal(result.verdict, VERDICT_OUT);
		assert_true(result.tstamp >= last);
		last = result.tstamp;
	}
	assert_int_not_equal(last, 0);
	assert_true(dropped >= 1);
}

static void what_nobody_waits_for_is_dropped(void **state)
{
	const struct policy policy = {.priority = 4, .service = {packets(1)}};
	struct spec spec = packet_to(service, IPPROTO_UDP);
	(void)state;
	set_policy(service, &policy);
	struct result first = run(&spec);
	assert_int_equal(first.verdict, VERDICT_OUT);
	assert_int_equal(first.priority, 4);
	assert_int_equal(run(&spec).verdict, VERDICT_DROP);
	/* To a backend on this node there is no queue either. */
	set_kind(SHAPE_FQ);
	set_policy(local, &policy);
	spec.destination_port = SERVICE_PORT(local);
	assert_int_equal(run(&spec).verdict, VERDICT_ON);
	assert_int_equal(run(&spec).verdict, VERDICT_DROP);
}

static void answers_of_a_backend_here_wait_too(void **state)
{
	const struct policy policy = {.service = {{0}, packets(1)}};
	struct spec ask = packet_to(local, IPPROTO_UDP), answer = packet_to(local, IPPROTO_UDP);
	struct frame frame;
	struct result result = {0};
	(void)state;
	answer.source = world_backend(BACKEND_LOCAL_V4)->address;
	answer.destination = CLIENT_V4;
	answer.source_port = BACKEND_PORT;
	answer.destination_port = 40000;
	set_policy(local, &policy);
	set_kind(SHAPE_FQ);
	assert_int_equal(run(&ask).verdict, VERDICT_ON);
	frame_build(&frame, &answer);
	for (int i = 0; i < 2; i++) {
		uint64_t before = now_ns();
		memset(&result, 0, sizeof(result));
		nat_run(NAT_EGRESS, &frame, 0, &result);
		assert_int_equal(result.verdict, VERDICT_ON);
		if (i)
			assert_in_range(result.tstamp, before, before + PACKET_NS + SLACK_NS);
		else
			assert_int_equal(result.tstamp, 0);
	}
}

#define SHAPE_TEST(name) cmocka_unit_test_setup_teardown(name, fresh, without)
const struct CMUnitTest shape_tests[] = {
        SHAPE_TEST(packets_over_the_rate_leave_later_until_none_may_wait_longer),
        SHAPE_TEST(a_flow_waits_for_its_own_rate_by_fq_alone),
        SHAPE_TEST(classes_are_the_services_and_of_what_is_free_the_priorities),
        SHAPE_TEST(the_end_of_a_flow_leaves_behind_its_data_by_fq_too),
        SHAPE_TEST(what_would_wait_too_long_is_marked_and_waits_a_little_longer),
        SHAPE_TEST(what_is_marked_does_not_overtake_what_waits),
        SHAPE_TEST(what_nobody_waits_for_is_dropped),
        SHAPE_TEST(answers_of_a_backend_here_wait_too),
};
const size_t shape_tests_count = sizeof(shape_tests) / sizeof(shape_tests[0]);
