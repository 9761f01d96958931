/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets under a traffic policy. Rates are so low that no test lasts long enough for a bucket to gain a packet, so
 * that the burst alone decides. What a mark makes of a packet is what a service without a policy makes of a packet that
 * came with it: the other tests say what that is, bit by bit.
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
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"
#include "guard.h"
#include "nat_world.h"
#include "policy_tests.h"

#define PAYLOAD 1000u
#define EF 46u
#define ECT_1 1u
#define ECT_0 2u
#define CE 3u
#define PACKET_NS 20000000000ull

static const uint8_t no_extensions[] = {EXTENSIONS_END};

/* How a client's packets come to a service, and what carries them. */
struct path {
	const char *what;
	uint32_t service;
	enum forwarding forwarding;
	uint8_t version;
};

static const struct path paths[] = {
        {"IPIP", SERVICE_OF(FORWARDING_IPIP, BACKEND_V4), FORWARDING_IPIP, 4},
        {"IPIP", SERVICE_OF(FORWARDING_IPIP, BACKEND_V6), FORWARDING_IPIP, 6},
        {"IPIP, IPv4 in IPv6", SERVICE_OF(FORWARDING_IPIP, BACKEND_V6), FORWARDING_IPIP, 4},
        {"IPIP through a VLAN device", SERVICE_OF(FORWARDING_IPIP, BACKEND_V4_VLAN), FORWARDING_IPIP, 4},
        {"GUE", SERVICE_OF(FORWARDING_GUE, BACKEND_V4), FORWARDING_GUE, 4},
        {"GUE", SERVICE_OF(FORWARDING_GUE, BACKEND_V4), FORWARDING_GUE, 6},
        {"GUE over IPv6", SERVICE_OF(FORWARDING_GUE, BACKEND_V6), FORWARDING_GUE, 6},
        {"L2", SERVICE_OF(FORWARDING_L2, BACKEND_V4), FORWARDING_L2, 4},
        {"L2", SERVICE_OF(FORWARDING_L2, BACKEND_V6), FORWARDING_L2, 6},
        {"a backend on this node", SERVICE_OF(FORWARDING_L2, BACKEND_LOCAL_V4), FORWARDING_L2, 4},
        {"NAT", SERVICE_NAT + BACKEND_V4, FORWARDING_NAT, 4},
        {"NAT", SERVICE_NAT + BACKEND_V6, FORWARDING_NAT, 6},
        {"NAT with another source", SERVICE_SOURCE_NATTED + BACKEND_V4, FORWARDING_NAT, 4},
        {"NAT to this node", SERVICE_NAT + BACKEND_LOCAL_V4, FORWARDING_NAT, 4},
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))
static const struct path *const xdp_v4 = &paths[0], *const nat_v4 = &paths[10];

static void write_map(const char *name, uint32_t key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(world_map(name), &key, value, BPF_ANY), 0);
}

/* Each packet costs 20 s, which no test lasts; RACED_BURST of them stay below GCRA_TOLERANCE_MAX. */
static struct gcra_rate packets(uint32_t burst)
{
	struct gcra_rate rate = {.unit_cost = (PACKET_NS << 20) / PAYLOAD};
	rate.tolerance = gcra_cost(&rate, PAYLOAD) * burst;
	return rate;
}

static struct gcra_rate flows(uint32_t burst)
{
	struct gcra_rate rate = {.unit_cost = PACKET_NS << 20};
	rate.tolerance = gcra_cost(&rate, 1) * burst;
	return rate;
}

static void set_policy(const struct path *path, const struct policy *policy)
{
	const struct policy_buckets full = {0};
	static const struct policy_count none[512];
	write_map("policies", path->service, policy);
	write_map("policy_buckets", path->service, &full);
	write_map("policy_counters", path->service, none);
	uint32_t flags = path->service >= SERVICE_SOURCE_NATTED ? SERVICE_SOURCE_NAT : 0;
	world_set_service(path->service, SERVICE_POLICY | flags, path->forwarding);
}

static void unset_policy(const struct path *path)
{
	world_set_service(path->service, path->service >= SERVICE_SOURCE_NATTED ? SERVICE_SOURCE_NAT : 0,
	                  path->forwarding);
}

static void keep_flows(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "policy_flow", 8, sizeof(struct policy_flow), 4096, NULL);
	assert_true(fd >= 0);
	write_map("policy_flows", 0, &fd);
	close(fd);
}

static struct policy_count counted(const struct path *path)
{
	struct policy_count values[512] = {0}, sum = {0};
	assert_int_equal(bpf_map_lookup_elem(world_map("policy_counters"), &path->service, values), 0);
	for (int cpu = 0; cpu < 512; cpu++)
		for (int i = 0; i < POLICY_DIRECTIONS; i++) {
			sum.dropped[i] += values[cpu].dropped[i];
			sum.dropped_bytes[i] += values[cpu].dropped_bytes[i];
			sum.marked[i] += values[cpu].marked[i];
			sum.refused += i ? 0 : values[cpu].refused;
		}
	return sum;
}

static int fresh(void **state)
{
	const uint32_t zero = 0;
	(void)state;
	nat_reset();
	guard_set(NULL);
	bpf_map_delete_elem(world_map("policy_flows"), &zero);
	return 0;
}

static int without(void **state)
{
	(void)state;
	for (size_t i = 0; i < PATHS; i++)
		unset_policy(&paths[i]);
	return 0;
}

static struct spec packet_of(const struct path *path, uint8_t protocol, uint8_t traffic_class)
{
	return (struct spec){.version = path->version,
	                     .protocol = protocol,
	                     .traffic_class = traffic_class,
	                     .destination_port = SERVICE_PORT(path->service),
	                     .payload = PAYLOAD};
}

static void run_frame(const struct path *path, const struct frame *in, struct result *result)
{
	memset(result, 0, sizeof(*result));
	if (path->forwarding == FORWARDING_NAT)
		nat_run(NAT_INGRESS, in, 0, result);
	else
		world_run(in, result);
}

static void run(const struct path *path, const struct spec *spec, struct result *result)
{
	struct frame in;
	frame_build(&in, spec);
	run_frame(path, &in, result);
}

static bool dropped(const struct path *path, const struct result *result)
{
	return result->verdict == (path->forwarding == FORWARDING_NAT ? VERDICT_DROP : (uint32_t)XDP_DROP);
}

/* Whether it goes on. */
static bool passes(const struct path *path, const struct spec *spec)
{
	struct result result;
	run(path, spec, &result);
	return !dropped(path, &result);
}

/* What comes out under the policy is what comes out without one of a packet that came with the mark. */
static void marks(const struct path *path, const struct spec *spec, uint8_t marked, const struct policy *policy)
{
	struct spec as_marked = *spec;
	struct result result, expected;
	as_marked.traffic_class = marked;
	nat_reset();
	unset_policy(path);
	run(path, &as_marked, &expected);
	assert_false(dropped(path, &expected));
	nat_reset();
	set_policy(path, policy);
	run(path, spec, &result);
	assert_int_equal(result.verdict, expected.verdict);
	if (result.frame.length != expected.frame.length ||
	    memcmp(result.frame.data, expected.frame.data, expected.frame.length)) {
		frame_report(path->what, &expected.frame, &result.frame);
		fail_msg("%s, IPv%u, class %u", path->what, path->version, spec->traffic_class);
	}
}

static void dscp_is_written_and_ecn_kept_in_every_mode(void **state)
{
	const struct policy policy = {.flags = POLICY_DSCP, .dscp = EF << 2};
	const uint8_t classes[] = {0, ECT_1, ECT_0, CE, 10 << 2 | ECT_0, 63 << 2 | CE, EF << 2};
	(void)state;
	for (size_t i = 0; i < PATHS; i++)
		for (size_t c = 0; c < sizeof(classes); c++)
			for (uint8_t tags = 0; tags <= 2; tags++)
				for (uint8_t more = 0; more <= 1; more++) {
					/* Behind a second tag tc does not look. */
					if (tags == 2 && paths[i].forwarding == FORWARDING_NAT)
						continue;
					struct spec spec = packet_of(&paths[i], c % 2 ? IPPROTO_UDP : 0, classes[c]);
					spec.tags = tags;
					spec.options = more && spec.version == 4 ? 2 : 0;
					spec.extensions = no_extensions;
					spec.source_port = (uint16_t)(30000 + c * 31 + tags);
					marks(&paths[i], &spec, (uint8_t)(EF << 2 | (classes[c] & 3)), &policy);
				}
}

static void what_has_no_policy_is_left_as_it_is(void **state)
{
	const struct policy policy = {.flags = POLICY_DSCP, .dscp = EF << 2, .service = {packets(1), packets(1)}};
	struct spec spec = packet_of(xdp_v4, IPPROTO_UDP, ECT_0);
	struct frame in, expected;
	struct result result;
	(void)state;
	set_policy(xdp_v4, &policy);
	unset_policy(xdp_v4);
	frame_build(&in, &spec);
	expect_forwarded(&expected, &in, FORWARDING_IPIP, BACKEND_V4, expect_hash(&in));
	for (int i = 0; i < 4; i++) {
		run_frame(xdp_v4, &in, &result);
		assert_memory_equal(result.frame.data, expected.data, expected.length);
	}
}

static void a_rate_lets_its_burst_pass_and_counts_the_rest(void **state)
{
	const struct policy policy = {.service = {packets(3), packets(3)}};
	(void)state;
	for (size_t i = 0; i < PATHS; i++)
		for (int udp = 0; udp <= 1; udp++) {
			const struct path *path = &paths[i];
			struct spec spec = packet_of(path, udp ? IPPROTO_UDP : 0, 0);
			nat_reset();
			set_policy(path, &policy);
			for (int n = 0; n < 3; n++)
				assert_true(passes(path, &spec));
			struct traffic before = world_service_traffic(path->service);
			for (int n = 0; n < 2; n++)
				assert_false(passes(path, &spec));
			assert_int_equal(world_drops(DROP_POLICY_INGRESS), 2);
			struct policy_count count = counted(path);
			assert_int_equal(count.dropped[POLICY_INGRESS], 2);
			assert_int_equal(count.dropped_bytes[POLICY_INGRESS], 2 * PAYLOAD);
			assert_int_equal(count.dropped[POLICY_EGRESS] + count.marked[POLICY_INGRESS] + count.refused,
			                 0);
			/* What is dropped was not carried. */
			assert_int_equal(world_service_traffic(path->service).packets, before.packets);
			/* Without payload it costs nothing. */
			spec.payload = 0;
			assert_true(passes(path, &spec));
		}
}

static void headers_cost_nothing(void **state)
{
	const struct policy policy = {.service = {packets(2), packets(2)}};
	struct spec spec = packet_of(xdp_v4, 0, 0);
	(void)state;
	set_policy(xdp_v4, &policy);
	spec.options = 10;
	spec.nops = 20;
	spec.padding = 40;
	for (int i = 0; i < 2; i++)
		assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
	spec.payload = 1;
	assert_false(passes(xdp_v4, &spec));
}

static void time_gives_back_what_the_rate_says(void **state)
{
	struct policy policy = {.service = {packets(2), packets(2)}};
	struct policy_buckets buckets = {0};
	struct spec spec = packet_of(xdp_v4, 0, 0);
	struct timespec at;
	(void)state;
	set_policy(xdp_v4, &policy);
	clock_gettime(CLOCK_MONOTONIC, &at);
	uint64_t now = gcra_ticks((uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec);
	const struct gcra_rate *rate = &policy.service[POLICY_INGRESS];
	/* As if one packet's time had passed since the bucket was empty, and a little. */
	buckets.tat[POLICY_INGRESS] = now + rate->tolerance - gcra_cost(rate, PAYLOAD) - gcra_ticks(1000);
	write_map("policy_buckets", xdp_v4->service, &buckets);
	assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
	/* Of a clock that was set back, or another rate's: the bucket is full. */
	buckets.tat[POLICY_INGRESS] = now + 2 * rate->tolerance + 2 * GCRA_STALE;
	write_map("policy_buckets", xdp_v4->service, &buckets);
	assert_true(passes(xdp_v4, &spec));
	assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
}

static void each_flow_has_its_own_rate(void **state)
{
	const struct policy policy = {.flow = {packets(2), packets(2)}};
	(void)state;
	keep_flows();
	for (size_t i = 0; i < PATHS; i++) {
		struct spec spec = packet_of(&paths[i], IPPROTO_UDP, 0);
		nat_reset();
		set_policy(&paths[i], &policy);
		for (uint16_t flow = 0; flow < 3; flow++) {
			spec.source_port = (uint16_t)(20000 + i * 10 + flow);
			assert_true(passes(&paths[i], &spec));
			assert_true(passes(&paths[i], &spec));
			assert_false(passes(&paths[i], &spec));
		}
		assert_int_equal(world_drops(DROP_POLICY_INGRESS), 3);
	}
}

static void without_a_table_of_flows_no_flow_is_held(void **state)
{
	const struct policy policy = {.flow = {packets(1), packets(1)}};
	struct spec spec = packet_of(xdp_v4, IPPROTO_UDP, 0);
	(void)state;
	set_policy(xdp_v4, &policy);
	for (int i = 0; i < 3; i++)
		assert_true(passes(xdp_v4, &spec));
}

static void what_the_service_refuses_costs_the_flow_nothing(void **state)
{
	struct policy policy = {.service = {packets(1)}, .flow = {packets(2)}};
	struct spec spec = packet_of(xdp_v4, IPPROTO_UDP, 0);
	(void)state;
	keep_flows();
	set_policy(xdp_v4, &policy);
	assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
	/* The flow has one left, of two. */
	policy.service[POLICY_INGRESS].unit_cost = 0;
	write_map("policies", xdp_v4->service, &policy);
	assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
}

/* The burst, then a quarter of it as marked packets, then nothing. */
static void what_is_over_is_marked_and_then_dropped(void **state)
{
	const struct policy policy = {.flags = POLICY_ECN_MARK | POLICY_DSCP, .dscp = EF << 2, .service = {packets(8)}};
	(void)state;
	for (size_t i = 0; i < PATHS; i++)
		for (uint8_t ecn = 0; ecn <= 3; ecn++) {
			const struct path *path = &paths[i];
			struct spec spec = packet_of(path, ecn % 2 ? IPPROTO_UDP : 0, ecn), as_marked = spec,
			            as_passed = spec;
			struct result result, expected, passed;
			nat_reset();
			unset_policy(path);
			as_marked.traffic_class = EF << 2 | CE;
			run(path, &as_marked, &expected);
			as_passed.traffic_class = EF << 2 | ecn;
			run(path, &as_passed, &passed);
			nat_reset();
			set_policy(path, &policy);
			for (int n = 0; n < 11; n++) {
				const struct result *want = n < 8 ? &passed : &expected;
				run(path, &spec, &result);
				assert_int_equal(dropped(path, &result), n >= (ecn ? 10 : 8));
				if (!dropped(path, &result))
					assert_memory_equal(result.frame.data, want->frame.data, want->frame.length);
			}
			assert_int_equal(counted(path).marked[POLICY_INGRESS], ecn ? 2 : 0);
			assert_int_equal(world_drops(DROP_POLICY_INGRESS), ecn ? 1 : 3);
		}
}

/* In the long run a sixteenth of the rate, however often the bucket is overdrawn. */
static void marks_have_a_rate_of_their_own(void **state)
{
	const struct policy policy = {.flags = POLICY_ECN_MARK, .service = {packets(8)}};
	struct policy_buckets buckets = {0};
	struct spec spec = packet_of(xdp_v4, IPPROTO_UDP, ECT_0);
	(void)state;
	set_policy(xdp_v4, &policy);
	for (int n = 0; n < 12; n++)
		assert_int_equal(passes(xdp_v4, &spec), n < 10);
	assert_int_equal(bpf_map_lookup_elem(world_map("policy_buckets"), &xdp_v4->service, &buckets), 0);
	const uint64_t packet = gcra_cost(&policy.service[POLICY_INGRESS], PAYLOAD);
	for (uint64_t after = 15; after <= 17; after++) {
		/* As if so many packets' time had passed, and so many had conformed in it. */
		struct policy_buckets later = buckets;
		later.tat[POLICY_INGRESS] -= 2 * packet;
		later.marks_tat[POLICY_INGRESS] -= after * packet;
		write_map("policy_buckets", xdp_v4->service, &later);
		assert_int_equal(passes(xdp_v4, &spec), after >= 16);
		assert_false(passes(xdp_v4, &spec));
	}
}

/* Within the burst nobody is told of congestion, however small the burst is. */
static void a_small_burst_is_not_marked(void **state)
{
	(void)state;
	for (uint32_t burst = 1; burst <= 3; burst++) {
		const struct policy policy = {.flags = POLICY_ECN_MARK, .service = {packets(burst)}};
		struct spec spec = packet_of(nat_v4, IPPROTO_UDP, ECT_0);
		set_policy(nat_v4, &policy);
		for (uint32_t n = 0; n < burst; n++)
			assert_true(passes(nat_v4, &spec));
		assert_false(passes(nat_v4, &spec));
		assert_int_equal(counted(nat_v4).marked[POLICY_INGRESS], 0);
	}
}

/* A flow's own bucket may be overdrawn without the service's leave, and the service's marks are not spent for it. */
static void a_flows_own_rate_marks_at_its_own_cost(void **state)
{
	const struct policy policy = {
	        .flags = POLICY_ECN_MARK, .service = {packets(100)}, .flow = {packets(8), packets(8)}};
	struct policy_buckets buckets;
	struct spec spec = packet_of(xdp_v4, IPPROTO_UDP, ECT_0);
	(void)state;
	keep_flows();
	set_policy(xdp_v4, &policy);
	for (int n = 0; n < 12; n++)
		assert_int_equal(passes(xdp_v4, &spec), n < 10);
	assert_int_equal(counted(xdp_v4).marked[POLICY_INGRESS], 2);
	assert_int_equal(bpf_map_lookup_elem(world_map("policy_buckets"), &xdp_v4->service, &buckets), 0);
	assert_int_equal(buckets.marks_tat[POLICY_INGRESS], 0);
}

#define SHARED_PACKET_NS 5000ull /* about three times what a test run takes */
#define SHARED_PACKETS 30000

/* Two senders whose packets come as it happens, over the rate together. Who says ECT and does not react to marks gets
 * no more than a little beyond what its packets are of all; and of the others as many pass as of its own. */
static void a_sender_that_does_not_react_to_marks_starves_nobody(void **state)
{
	struct gcra_rate rate = {.unit_cost = (SHARED_PACKET_NS << 20) / PAYLOAD};
	rate.tolerance = gcra_cost(&rate, PAYLOAD) * 16;
	const struct policy policy = {.flags = POLICY_ECN_MARK, .service = {rate}};
	const struct path *const both[] = {xdp_v4, nat_v4};
	uint32_t seed = 1;
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		unsigned sent[2] = {0}, passed[2] = {0};
		struct frame frames[2];
		nat_reset();
		set_policy(both[i], &policy);
		for (int ect = 0; ect < 2; ect++) {
			struct spec spec = packet_of(both[i], IPPROTO_UDP, ect ? ECT_0 : 0);
			spec.source_port = (uint16_t)(20000 + ect);
			frame_build(&frames[ect], &spec);
		}
		for (int n = 0; n < SHARED_PACKETS; n++) {
			struct result result;
			seed = seed * 1664525 + 1013904223;
			int ect = seed >> 28 > 2; /* 13 of 16 */
			run_frame(both[i], &frames[ect], &result);
			sent[ect]++;
			passed[ect] += !dropped(both[i], &result);
		}
		print_message("%s: of %u with ECT %u passed, of %u without %u\n", both[i]->what, sent[1], passed[1],
		              sent[0], passed[0]);
		assert_true(passed[0] * 3 * sent[1] > passed[1] * 2 * sent[0]);
		assert_true(counted(both[i]).marked[POLICY_INGRESS] <= passed[1] / 8 + 16);
	}
}

static void nothing_is_marked_unasked(void **state)
{
	const struct policy policy = {.service = {packets(1)}};
	struct spec spec = packet_of(nat_v4, IPPROTO_UDP, ECT_0);
	(void)state;
	set_policy(nat_v4, &policy);
	assert_true(passes(nat_v4, &spec));
	assert_false(passes(nat_v4, &spec));
}

static void new_flows_are_syns_and_unknown_datagrams(void **state)
{
	const struct policy policy = {.connections = flows(2)};
	(void)state;
	for (size_t i = 0; i < PATHS; i++)
		for (int udp = 0; udp <= 1; udp++) {
			const struct path *path = &paths[i];
			struct spec spec = packet_of(path, udp ? IPPROTO_UDP : 0, 0);
			spec.flags = udp ? 0 : TCP_SYN;
			spec.payload = udp ? PAYLOAD : 0;
			nat_reset();
			set_policy(path, &policy);
			for (uint16_t flow = 0; flow < 4; flow++) {
				spec.source_port = (uint16_t)(20000 + flow);
				assert_int_equal(passes(path, &spec), flow < 2);
			}
			assert_int_equal(world_drops(DROP_POLICY_CONNECTIONS), 2);
			assert_int_equal(counted(path).refused, 2);
			/* Those that began go on. */
			spec.source_port = 20001;
			spec.flags = udp ? 0 : TCP_ACK;
			for (int n = 0; n < 3; n++)
				assert_true(passes(path, &spec));
			/* What does not begin here is not counted as if it did: TCP after a failover. */
			spec.source_port = 20077;
			assert_int_equal(passes(path, &spec), !udp);
		}
}

/* Answers through NAT: what the backend sends to the client. */
static struct spec answer_of(const struct path *path, uint8_t protocol, uint8_t traffic_class)
{
	struct spec spec = packet_of(path, protocol, traffic_class);
	spec.source = world_backend(path->version == 4 ? BACKEND_V4 : BACKEND_V6)->address;
	spec.destination = path->version == 4 ? CLIENT_V4 : CLIENT_V6;
	spec.source_port = BACKEND_PORT;
	spec.destination_port = 40000;
	return spec;
}

static void answers_have_a_rate_and_marks_of_their_own(void **state)
{
	const struct policy policy = {
	        .flags = POLICY_DSCP | POLICY_ECN_MARK, .dscp = EF << 2, .priority = 6, .service = {{0}, packets(8)}};
	(void)state;
	for (size_t i = 0; i < PATHS; i++) {
		const struct path *path = &paths[i];
		if (path->service != SERVICE_NAT + BACKEND_V4 && path->service != SERVICE_NAT + BACKEND_V6)
			continue;
		struct spec ask = packet_of(path, IPPROTO_UDP, 0), answer = answer_of(path, IPPROTO_UDP, ECT_1),
		            marked = answer;
		struct result result, expected, over;
		nat_reset();
		unset_policy(path);
		run(path, &ask, &result);
		marked.traffic_class = EF << 2 | ECT_1;
		run(path, &marked, &expected);
		marked.traffic_class = EF << 2 | CE;
		run(path, &marked, &over);
		assert_int_equal(expected.verdict, VERDICT_OUT);
		nat_reset();
		set_policy(path, &policy);
		for (int n = 0; n < 11; n++)
			assert_true(passes(path, &ask));
		for (int n = 0; n < 11; n++) {
			const struct result *want = n < 8 ? &expected : &over;
			run(path, &answer, &result);
			assert_int_equal(result.verdict, n < 10 ? VERDICT_OUT : VERDICT_DROP);
			if (n < 10) {
				assert_memory_equal(result.frame.data, want->frame.data, want->frame.length);
				assert_int_equal(result.priority, 6);
			}
		}
		assert_int_equal(world_drops(DROP_POLICY_EGRESS), 1);
		assert_int_equal(counted(path).dropped[POLICY_EGRESS], 1);
		assert_int_equal(counted(path).marked[POLICY_EGRESS], 2);
		assert_int_equal(counted(path).dropped[POLICY_INGRESS], 0);
	}
}

/* The same flow's answers are found by the flow, whichever way a packet goes. */
static void answers_have_a_rate_by_flow(void **state)
{
	const struct policy policy = {.flow = {packets(9), packets(2)}};
	struct spec ask = packet_of(nat_v4, IPPROTO_UDP, 0), answer = answer_of(nat_v4, IPPROTO_UDP, 0);
	(void)state;
	keep_flows();
	set_policy(nat_v4, &policy);
	assert_true(passes(nat_v4, &ask));
	for (int n = 0; n < 3; n++)
		assert_int_equal(passes(nat_v4, &answer), n < 2);
	uint64_t key;
	struct policy_flow flow;
	uint32_t zero = 0, id;
	assert_int_equal(bpf_map_lookup_elem(world_map("policy_flows"), &zero, &id), 0);
	int fd = bpf_map_get_fd_by_id(id);
	assert_int_equal(bpf_map_get_next_key(fd, NULL, &key), 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &key, &flow), 0);
	assert_true(flow.tat[POLICY_INGRESS] && flow.tat[POLICY_EGRESS]);
	assert_int_not_equal(bpf_map_get_next_key(fd, &key, &key), 0);
	close(fd);
}

/* The backend's answer on its way out of this node. */
static void answers_of_a_backend_here_are_held_at_egress(void **state)
{
	const struct path path = {"", SERVICE_NAT + BACKEND_LOCAL_V4, FORWARDING_NAT, 4};
	const struct policy policy = {
	        .flags = POLICY_DSCP, .dscp = EF << 2, .priority = 4, .service = {{0}, packets(1)}};
	struct spec ask = packet_of(&path, IPPROTO_UDP, 0), answer = answer_of(&path, IPPROTO_UDP, 0);
	struct frame frame;
	struct result result = {0};
	(void)state;
	answer.source = world_backend(BACKEND_LOCAL_V4)->address;
	set_policy(&path, &policy);
	assert_true(passes(&path, &ask));
	frame_build(&frame, &answer);
	nat_run(NAT_EGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_ON);
	assert_int_equal(result.frame.data[15], EF << 2);
	assert_int_equal(reference_checksum(result.frame.data + 14, 20, 0), 0);
	assert_int_equal(result.priority, 4);
	nat_run(NAT_EGRESS, &frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_DROP);
	assert_int_equal(world_drops(DROP_POLICY_EGRESS), 1);
}

static void many_segments_in_one_buffer_cost_their_payload(void **state)
{
	const struct policy policy = {.service = {packets(4)}};
	struct spec spec = packet_of(nat_v4, 0, 0);
	struct frame in;
	struct result result = {0};
	(void)state;
	set_policy(nat_v4, &policy);
	spec.payload = 3 * PAYLOAD;
	frame_build(&in, &spec);
	nat_run(NAT_INGRESS, &in, PAYLOAD, &result);
	assert_int_equal(result.verdict, VERDICT_OUT);
	nat_run(NAT_INGRESS, &in, PAYLOAD, &result);
	assert_int_equal(result.verdict, VERDICT_DROP);
	assert_int_equal(counted(nat_v4).dropped_bytes[POLICY_INGRESS], 3 * PAYLOAD);
	assert_in_range(counted(nat_v4).dropped[POLICY_INGRESS], 3, 4);
	spec.payload = PAYLOAD;
	assert_true(passes(nat_v4, &spec));
	assert_false(passes(nat_v4, &spec));
}

#define RACERS 4
#define RACES 50000
#define RACED_BURST 150000

struct racer {
	pthread_t thread;
	struct frame in;
};

static void *race(void *argument)
{
	struct racer *racer = argument;
	world_run_times(&racer->in, RACES);
	return NULL;
}

/* All take from one bucket at once: what it gives in all is the burst, whoever wins. */
static void cpus_that_race_for_a_bucket_get_no_more_than_it_has(void **state)
{
	const struct path path = {"", SERVICE_OF(FORWARDING_L2, BACKEND_LOCAL_V4), FORWARDING_L2, 4};
	const struct policy policy = {.service = {packets(RACED_BURST)}};
	static struct racer racers[RACERS];
	(void)state;
	set_policy(&path, &policy);
	for (int i = 0; i < RACERS; i++) {
		struct spec spec = packet_of(&path, 0, 0);
		spec.source_port = (uint16_t)(20000 + i);
		frame_build(&racers[i].in, &spec);
	}
	for (int i = 0; i < RACERS; i++)
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	for (int i = 0; i < RACERS; i++)
		pthread_join(racers[i].thread, NULL);
	uint64_t passed = world_service_traffic(path.service).packets;
	/* Who loses the race again and again may be over it by one packet. */
	assert_in_range(passed, RACED_BURST, RACED_BURST + RACERS);
	assert_int_equal(world_drops(DROP_POLICY_INGRESS), RACERS * RACES - passed);
}

static void reports_about_packets_are_not_held(void **state)
{
	const struct policy policy = {
	        .flags = POLICY_DSCP, .dscp = EF << 2, .service = {packets(1)}, .connections = flows(1)};
	struct spec spec = packet_of(xdp_v4, 0, 0);
	const struct spec quote = {.source = VIP_V4,
	                           .destination = CLIENT_V4,
	                           .source_port = SERVICE_PORT(xdp_v4->service),
	                           .destination_port = 40000,
	                           .payload = 8};
	const struct spec report = {.protocol = IPPROTO_ICMP, .icmp_type = 3, .icmp_code = 4, .quote = &quote};
	struct frame in, expected;
	struct result result;
	(void)state;
	set_policy(xdp_v4, &policy);
	assert_true(passes(xdp_v4, &spec));
	assert_false(passes(xdp_v4, &spec));
	frame_build(&in, &report);
	run_frame(xdp_v4, &in, &result);
	expect_forwarded(&expected, &in, FORWARDING_IPIP, BACKEND_V4, 0);
	assert_int_equal(result.verdict, XDP_REDIRECT);
	assert_memory_equal(result.frame.data, expected.data, expected.length);
}

#define POLICY_TEST(name) cmocka_unit_test_setup_teardown(name, fresh, without)
const struct CMUnitTest policy_tests[] = {
        POLICY_TEST(dscp_is_written_and_ecn_kept_in_every_mode),
        POLICY_TEST(what_has_no_policy_is_left_as_it_is),
        POLICY_TEST(a_rate_lets_its_burst_pass_and_counts_the_rest),
        POLICY_TEST(headers_cost_nothing),
        POLICY_TEST(time_gives_back_what_the_rate_says),
        POLICY_TEST(each_flow_has_its_own_rate),
        POLICY_TEST(without_a_table_of_flows_no_flow_is_held),
        POLICY_TEST(what_the_service_refuses_costs_the_flow_nothing),
        POLICY_TEST(what_is_over_is_marked_and_then_dropped),
        POLICY_TEST(marks_have_a_rate_of_their_own),
        POLICY_TEST(a_small_burst_is_not_marked),
        POLICY_TEST(a_flows_own_rate_marks_at_its_own_cost),
        POLICY_TEST(a_sender_that_does_not_react_to_marks_starves_nobody),
        POLICY_TEST(nothing_is_marked_unasked),
        POLICY_TEST(new_flows_are_syns_and_unknown_datagrams),
        POLICY_TEST(answers_have_a_rate_and_marks_of_their_own),
        POLICY_TEST(answers_have_a_rate_by_flow),
        POLICY_TEST(answers_of_a_backend_here_are_held_at_egress),
        POLICY_TEST(many_segments_in_one_buffer_cost_their_payload),
        POLICY_TEST(cpus_that_race_for_a_bucket_get_no_more_than_it_has),
        POLICY_TEST(reports_about_packets_are_not_held),
};
const size_t policy_tests_count = sizeof(policy_tests) / sizeof(policy_tests[0]);
