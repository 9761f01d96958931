/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard does over time: rates of sources, floods of SYNs. */
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
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "guard.h"
#include "guard_tests.h"
#include "world.h"

#define OPEN_PORT 9
#define LISTENER_PORT 4711
#define PER_SECOND(rate) (((uint64_t)1000000000 << GUARD_COST_SHIFT) / (rate))
#define SECOND 1000000000ull

static int fresh(void **state)
{
	(void)state;
	world_reset();
	guard_set(NULL);
	return 0;
}

static int unguarded(void **state)
{
	(void)state;
	guard_set(NULL);
	return 0;
}

static uint32_t verdict_of(const struct spec *spec)
{
	struct frame in;
	struct result result = {0};
	frame_build(&in, spec);
	world_run(&in, &result);
	return result.verdict;
}

/* How many of a burst pass. */
static unsigned passed(const struct spec *spec, unsigned packets)
{
	unsigned count = 0;
	for (unsigned i = 0; i < packets; i++)
		count += verdict_of(spec) == XDP_PASS;
	return count;
}

#define MASKS .mask_v4 = {{0xffffffff, 0xffffffff, 0xffffffff, 0}}, .mask_v6 = {{0xffffffff, 0xffffffff, 0, 0}}

static struct guard_setup limit(uint32_t flag, enum guard_limit_kind kind, uint64_t rate, uint64_t burst_ns)
{
	struct guard_setup setup = {.guard = {.flags = flag, MASKS}};
	/* /24 of the last word. */
	setup.guard.mask_v4.word[3] = htonl(0xffffff00);
	setup.guard.limits[kind] = (struct guard_limit){.cost = PER_SECOND(rate), .burst_ns = burst_ns};
	return setup;
}

static struct guard_setup setup;

static void a_source_may_send_its_burst_of_packets(void **state)
{
	(void)state;
	setup = limit(GUARD_LIMIT_PACKETS, GUARD_PACKETS, 10, SECOND);
	guard_set(&setup);
	struct spec spec = {.protocol = IPPROTO_UDP, .destination_port = OPEN_PORT};
	assert_int_equal(passed(&spec, 30), 10);
	assert_int_equal(world_drops(DROP_LIMIT_PACKETS), 20);
	/* Another host of the same /24 owes the same, one of another does not. */
	spec.source = "203.0.113.200";
	assert_int_equal(passed(&spec, 3), 0);
	spec.source = "203.0.114.7";
	assert_int_equal(passed(&spec, 30), 10);
	struct spec v6 = {.version = 6, .protocol = IPPROTO_TCP, .destination_port = OPEN_PORT};
	assert_int_equal(passed(&v6, 30), 10);
	v6.source = "2001:db8:7:0:ffff::1";
	assert_int_equal(passed(&v6, 3), 0);
	v6.source = "2001:db8:7:1::7";
	assert_int_equal(passed(&v6, 3), 3);
}

static void a_rate_is_kept_over_time(void **state)
{
	(void)state;
	/* One per 50 ms, and 100 ms ahead. */
	setup = limit(GUARD_LIMIT_PACKETS, GUARD_PACKETS, 20, SECOND / 10);
	guard_set(&setup);
	struct spec spec = {.protocol = IPPROTO_UDP, .destination_port = OPEN_PORT};
	struct timespec begin, now;
	double elapsed;
	unsigned count = 0;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		count += verdict_of(&spec) == XDP_PASS;
		usleep(5000);
		clock_gettime(CLOCK_MONOTONIC, &now);
		elapsed = (double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9;
	} while (elapsed < 0.6);
	assert_in_range(count, (unsigned)(2 + elapsed * 20) - 2, (unsigned)(2 + elapsed * 20) + 1);
}

static void bytes_are_those_of_frames(void **state)
{
	(void)state;
	setup = limit(GUARD_LIMIT_BYTES, GUARD_BYTES, 1000, SECOND);
	guard_set(&setup);
	/* 14 + 20 + 8 + 158 = 200 */
	struct spec spec = {.protocol = IPPROTO_UDP, .destination_port = OPEN_PORT, .payload = 158};
	assert_int_equal(passed(&spec, 10), 5);
	assert_int_equal(world_drops(DROP_LIMIT_BYTES), 5);
	/* What is more than the burst passes when nothing is owed, and then owes it. */
	spec.source = "203.0.114.7";
	spec.payload = 1400;
	assert_int_equal(passed(&spec, 3), 1);
}

static void new_connections_are_syns_and_unknown_datagrams(void **state)
{
	(void)state;
	setup = limit(GUARD_LIMIT_CONNECTIONS, GUARD_CONNECTIONS, 2, SECOND);
	guard_set(&setup);
	struct spec tcp = {.destination_port = OPEN_PORT, .flags = TCP_SYN};
	assert_int_equal(passed(&tcp, 5), 2);
	assert_int_equal(world_drops(DROP_LIMIT_CONNECTIONS), 3);
	tcp.flags = TCP_ACK;
	assert_int_equal(passed(&tcp, 5), 5);
	/* Packets of one flow are one connection, however many. */
	struct spec udp = {.protocol = IPPROTO_UDP, .destination_port = OPEN_PORT, .source = "203.0.114.7"};
	assert_int_equal(passed(&udp, 20), 20);
	unsigned flows = 0;
	for (uint16_t port = 1; port <= 10; port++) {
		udp.source_port = (uint16_t)(20000 + port);
		flows += verdict_of(&udp) == XDP_PASS;
	}
	assert_int_equal(flows, 1);
	udp.source_port = 20001;
	assert_int_equal(passed(&udp, 3), 3);
}

static void what_is_dropped_for_one_kind_costs_nothing_of_another(void **state)
{
	(void)state;
	setup = limit(GUARD_LIMIT_PACKETS | GUARD_LIMIT_CONNECTIONS, GUARD_PACKETS, 10, SECOND);
	setup.guard.limits[GUARD_CONNECTIONS] = (struct guard_limit){.cost = PER_SECOND(1), .burst_ns = SECOND};
	guard_set(&setup);
	struct spec syn = {.destination_port = OPEN_PORT, .flags = TCP_SYN};
	assert_int_equal(passed(&syn, 20), 1);
	syn.flags = TCP_ACK;
	assert_int_equal(passed(&syn, 20), 9);
}

static void rules_take_sources_out_of_limits(void **state)
{
	(void)state;
	setup = limit(GUARD_LIMIT_PACKETS | GUARD_RULES, GUARD_PACKETS, 1, SECOND);
	setup.classes[0].rule[GUARD_TCP] = setup.classes[0].rule[GUARD_OTHER] = 1;
	setup.rules[0] = (struct guard_rule){.action = GUARD_ALLOW};
	setup.rules[1] = (struct guard_rule){.action = GUARD_ALLOW, .flags = GUARD_UNLIMITED};
	guard_set(&setup);
	struct spec spec = {.destination_port = OPEN_PORT};
	assert_int_equal(passed(&spec, 10), 10);
	spec.protocol = IPPROTO_UDP;
	assert_int_equal(passed(&spec, 10), 1);
}

/* SYN cookies: a listener in the test's namespace. */

static int listener(int family)
{
	struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons(LISTENER_PORT)};
	struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons(LISTENER_PORT)};
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(family == AF_INET ? bind(fd, (struct sockaddr *)&any4, sizeof(any4))
	                                   : bind(fd, (struct sockaddr *)&any6, sizeof(any6)),
	                 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static void sysctl(const char *name, const char *value)
{
	char path[128];
	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(value, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static struct guard_setup cookies(uint32_t more)
{
	return (struct guard_setup){.guard = {.flags = GUARD_COOKIES | GUARD_COOKIES_ALWAYS | more,
	                                      .window = 65000,
	                                      .window_scale = 7,
	                                      .cookies_on = 10000,
	                                      .cookies_off = 5000},
	                            .own = {"192.0.2.1", "2001:db8:1::1", VIP_V4}};
}

/* A SYN with these bytes of options. */
static void build_syn(struct frame *frame, uint8_t version, uint8_t flags, const uint8_t *options, uint8_t length,
                      uint8_t tags)
{
	struct spec spec = {.version = version,
	                    .tags = tags,
	                    .source = version == 6 ? "2001:db8:1::11" : "192.0.2.11",
	                    .destination = version == 6 ? "2001:db8:1::1" : "192.0.2.1",
	                    .destination_port = LISTENER_PORT,
	                    .flags = flags,
	                    .payload = length};
	frame_build(frame, &spec);
	uint8_t *ip = frame->data + frame_ethernet_length(frame), *tcp = ip + (version == 6 ? 40 : 20);
	tcp[12] = (uint8_t)((20 + length) / 4 << 4);
	if (length)
		memcpy(tcp + 20, options, length);
	put16(tcp + 16, 0);
	put16(tcp + 16, transport_checksum(ip, IPPROTO_TCP, tcp, 20u + length));
}

/* What has to come back, given the cookie and the timestamp that did. */
static void build_answer(struct frame *out, const struct frame *in, const struct frame *actual, const uint8_t *options,
                         uint8_t length, uint8_t flags)
{
	size_t ethernet = frame_ethernet_length(in);
	const uint8_t *syn = in->data + ethernet;
	uint8_t version = syn[0] >> 4;
	size_t ip_length = version == 6 ? 40 : 20;
	memset(out, 0, sizeof(*out));
	memcpy(out->data, in->data, ethernet);
	memcpy(out->data, in->data + 6, 6);
	memcpy(out->data + 6, in->data, 6);
	uint8_t *ip = out->data + ethernet, *tcp = ip + ip_length;
	const uint8_t *from = syn + ip_length;
	if (version == 4) {
		put16(ip, 0x4500);
		put16(ip + 2, (uint16_t)(40 + length));
		put16(ip + 6, 0x4000);
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
		memcpy(ip + 12, syn + 16, 4);
		memcpy(ip + 16, syn + 12, 4);
		checksum_ipv4_header(ip);
	} else {
		put16(ip, 0x6000);
		put16(ip + 4, (uint16_t)(20 + length));
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
		memcpy(ip + 8, syn + 24, 16);
		memcpy(ip + 24, syn + 8, 16);
	}
	memcpy(tcp, from + 2, 2);
	memcpy(tcp + 2, from, 2);
	memcpy(tcp + 4, actual->data + ethernet + ip_length + 4, 4); /* the cookie */
	put32(tcp + 8, 0x01020304 + 1);
	tcp[12] = (uint8_t)((20 + length) / 4 << 4);
	tcp[13] = flags;
	uint16_t mss = (uint16_t)(1500 - ip_length - 20);
	put16(tcp + 14, (uint16_t)(65000 / mss * mss));
	memcpy(tcp + 20, options, length);
	put16(tcp + 22, mss);
	put16(tcp + 16, transport_checksum(ip, IPPROTO_TCP, tcp, 20u + length));
	out->length = ethernet + ip_length + 20u + length;
}

/* The frame is what build_answer says; its cookie. */
static uint32_t assert_answer(const struct frame *in, const uint8_t *options, uint8_t length, uint8_t flags)
{
	struct frame expected;
	struct result result = {0};
	world_run(in, &result);
	assert_int_equal(result.verdict, XDP_TX);
	build_answer(&expected, in, &result.frame, options, length, flags);
	if (result.frame.length != expected.length || memcmp(result.frame.data, expected.data, expected.length) != 0) {
		frame_report("an answer with a cookie", &expected, &result.frame);
		fail();
	}
	const uint8_t *tcp = expected.data + frame_ethernet_length(in);
	tcp += tcp[0] >> 4 == 6 ? 40 : 20;
	return (uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6);
}

static const uint8_t mss_only[] = {2, 4, 0x05, 0xb4};
/* As Linux sends them. */
static const uint8_t full[] = {2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 1, 3, 3, 9};

static void a_syn_is_answered_bit_by_bit(void **state)
{
	(void)state;
	setup = cookies(0);
	guard_set(&setup);
	sysctl("tcp_syncookies", "2");
	int fd = listener(AF_INET6);
	uint64_t sent = 0;
	for (uint8_t version = 4; version <= 6; version += 2) {
		for (uint8_t tags = 0; tags <= 2; tags++) {
			struct frame in;
			build_syn(&in, version, TCP_SYN, mss_only, 4, tags);
			assert_answer(&in, mss_only, 4, TCP_SYN | TCP_ACK);
			build_syn(&in, version, TCP_SYN, full, 20, tags);
			assert_answer(&in, mss_only, 4, TCP_SYN | TCP_ACK);
			build_syn(&in, version, TCP_SYN, NULL, 0, tags);
			assert_answer(&in, mss_only, 4, TCP_SYN | TCP_ACK);
			sent += 3;
		}
	}
	assert_int_equal(guard_cookies_seen().sent, sent);
	close(fd);
}

static void answer_with_timestamp(uint8_t version, uint32_t flags, const uint8_t *options, uint8_t length,
                                  uint8_t syn_flags, uint8_t answer_flags, uint8_t bits)
{
	struct frame in;
	struct result result = {0};
	uint8_t expected[20] = {2, 4, 0, 0, 1, 1, 8, 10, 0, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 3, 3, 7};
	bool scale = (bits & 15) != 15;
	setup = cookies(flags);
	guard_set(NULL);
	guard_set(&setup);
	build_syn(&in, version, syn_flags, options, length, 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_TX);
	const uint8_t *timestamp = result.frame.data + 14 + (version == 6 ? 40 : 20) + 20 + 8;
	if (bits & 16) {
		expected[4] = 4;
		expected[5] = 2;
	}
	memcpy(expected + 8, timestamp, 4);
	struct frame whole;
	build_answer(&whole, &in, &result.frame, expected, scale ? 20 : 16, answer_flags);
	if (result.frame.length != whole.length || memcmp(result.frame.data, whole.data, whole.length) != 0) {
		frame_report("an answer with a timestamp", &whole, &result.frame);
		fail();
	}
	/* The clock of the kernel's, in milliseconds, its low bits being the options: at most 64 behind. */
	uint32_t value = (uint32_t)get16(timestamp) << 16 | get16(timestamp + 2);
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint32_t ms = (uint32_t)((uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	assert_int_equal(value & 63, bits);
	assert_in_range(ms - value, 0, 64 + 1000);
}

static void a_timestamp_holds_what_was_offered(void **state)
{
	(void)state;
	static const uint8_t no_scale[] = {4, 2, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0};
	static const uint8_t padded[] = {1, 1, 1, 1, 3, 3, 200, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0};
	const uint32_t all = GUARD_COOKIE_TIMESTAMPS | GUARD_COOKIE_SACK | GUARD_COOKIE_SCALE | GUARD_COOKIE_ECN;
	const uint8_t both = TCP_SYN | TCP_ACK;
	sysctl("tcp_syncookies", "2");
	int fd = listener(AF_INET6);
	for (uint8_t version = 4; version <= 6; version += 2) {
		answer_with_timestamp(version, all, full, 20, TCP_SYN, both, 16 | 9);
		answer_with_timestamp(version, all, full, 20, TCP_SYN | 0xc0, both | 0x40, 32 | 16 | 9);
		answer_with_timestamp(version, all & ~GUARD_COOKIE_ECN, full, 20, TCP_SYN | 0xc0, both, 16 | 9);
		answer_with_timestamp(version, all & ~GUARD_COOKIE_SACK, full, 20, TCP_SYN, both, 9);
		answer_with_timestamp(version, all & ~GUARD_COOKIE_SCALE, full, 20, TCP_SYN, both, 16 | 15);
		answer_with_timestamp(version, all, no_scale, 12, TCP_SYN, both, 16 | 15);
		answer_with_timestamp(version, all, padded, 20, TCP_SYN, both, 14);
	}
	close(fd);
}

static void options_that_lie_are_not_followed(void **state)
{
	(void)state;
	static const uint8_t lies[][8] = {{2, 0},    {2, 1}, {3, 9}, {8, 255}, {4, 3, 3}, {1, 1, 1, 1, 1, 1, 1, 8},
	                                  {0, 8, 10}};
	setup = cookies(GUARD_COOKIE_TIMESTAMPS | GUARD_COOKIE_SACK | GUARD_COOKIE_SCALE);
	guard_set(&setup);
	sysctl("tcp_syncookies", "2");
	int fd = listener(AF_INET6);
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct frame in;
		build_syn(&in, 4, TCP_SYN, lies[i], 8, 0);
		assert_answer(&in, mss_only, 4, TCP_SYN | TCP_ACK);
	}
	close(fd);
}

static void only_syns_for_listeners_of_this_node_are_answered(void **state)
{
	(void)state;
	struct frame in;
	struct result result = {0};
	setup = cookies(0);
	guard_set(&setup);
	sysctl("tcp_syncookies", "2");
	/* Nobody listens. */
	build_syn(&in, 4, TCP_SYN, mss_only, 4, 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	int fd = listener(AF_INET);
	build_syn(&in, 6, TCP_SYN, mss_only, 4, 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	/* To another host, for which a listener of every address would do. */
	struct spec other = {.destination = "198.51.100.77", .destination_port = LISTENER_PORT, .flags = TCP_SYN};
	assert_int_equal(verdict_of(&other), XDP_PASS);
	/* The kernel does not want cookies. */
	sysctl("tcp_syncookies", "0");
	build_syn(&in, 4, TCP_SYN, mss_only, 4, 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	assert_int_equal(guard_cookies_seen().left, 1);
	/* Its queue is not full. */
	sysctl("tcp_syncookies", "1");
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	assert_int_equal(guard_cookies_seen().left, 2);
	assert_int_equal(guard_cookies_seen().sent, 0);
	close(fd);
	/* A VIP: its backends answer, whoever listens here. */
	sysctl("tcp_syncookies", "2");
	struct spec vip = {.destination_port = SERVICE_PORT(SERVICE_IPIP), .flags = TCP_SYN};
	int on_vip = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(SERVICE_PORT(SERVICE_IPIP))};
	assert_int_equal(bind(on_vip, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(on_vip, 1), 0);
	assert_int_equal(verdict_of(&vip), XDP_REDIRECT);
	close(on_vip);
}

static void an_ack_needs_a_valid_cookie(void **state)
{
	(void)state;
	setup = cookies(0);
	guard_set(&setup);
	sysctl("tcp_syncookies", "2");
	int fd = listener(AF_INET6);
	uint64_t valid = 0, bad = 0;
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct frame in, ack;
		struct result result = {0};
		build_syn(&in, version, TCP_SYN, mss_only, 4, 0);
		uint32_t cookie = assert_answer(&in, mss_only, 4, TCP_SYN | TCP_ACK);
		for (int wrong = 0; wrong < 2; wrong++) {
			build_syn(&ack, version, TCP_ACK, NULL, 0, 0);
			uint8_t *ip = ack.data + 14, *tcp = ip + (version == 6 ? 40 : 20);
			put32(tcp + 4, 0x01020304 + 1);
			put32(tcp + 8, cookie + 1 + (wrong ? 1u << 20 : 0));
			put16(tcp + 16, 0);
			put16(tcp + 16, transport_checksum(ip, IPPROTO_TCP, tcp, 20));
			world_run(&ack, &result);
			assert_int_equal(result.verdict, wrong ? XDP_DROP : XDP_PASS);
			valid += !wrong;
			bad += wrong;
		}
	}
	assert_int_equal(guard_cookies_seen().valid, valid);
	assert_int_equal(world_drops(DROP_BAD_COOKIE), bad);
	close(fd);
}

static void cookies_come_with_a_flood_and_go_after_it(void **state)
{
	(void)state;
	struct frame in;
	struct result result = {0};
	setup = cookies(0);
	setup.guard.flags = GUARD_COOKIES;
	setup.guard.cookies_on = 1000;
	setup.guard.cookies_off = 500;
	guard_set(&setup);
	sysctl("tcp_syncookies", "2");
	int fd = listener(AF_INET6);
	build_syn(&in, 4, TCP_SYN, mss_only, 4, 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	unsigned answered = 0, packets = 0;
	/* Test runs come by thousands in a second. */
	for (; packets < 200000 && answered < 10; packets++) {
		world_run(&in, &result);
		answered += result.verdict == XDP_TX;
		if (result.verdict == XDP_TX)
			continue;
		assert_int_equal(result.verdict, XDP_PASS);
	}
	assert_int_equal(answered, 10);
	assert_true(guard_syns_seen().per_second >= 1000);
	/* The flood is over: as if the time that it holds on had passed. */
	struct guard_syns syns = guard_syns_seen();
	uint32_t zero = 0;
	assert_true(syns.active_until_ns);
	syns.active_until_ns = 1;
	syns.count = 0;
	assert_int_equal(bpf_map_update_elem(world_map("guard_syns"), &zero, &syns, BPF_ANY), 0);
	world_run(&in, &result);
	assert_int_equal(result.verdict, XDP_PASS);
	close(fd);
}

const struct CMUnitTest guard_tests[] = {
        cmocka_unit_test_setup_teardown(a_source_may_send_its_burst_of_packets, fresh, unguarded),
        cmocka_unit_test_setup_teardown(a_rate_is_kept_over_time, fresh, unguarded),
        cmocka_unit_test_setup_teardown(bytes_are_those_of_frames, fresh, unguarded),
        cmocka_unit_test_setup_teardown(new_connections_are_syns_and_unknown_datagrams, fresh, unguarded),
        cmocka_unit_test_setup_teardown(what_is_dropped_for_one_kind_costs_nothing_of_another, fresh, unguarded),
        cmocka_unit_test_setup_teardown(rules_take_sources_out_of_limits, fresh, unguarded),
        cmocka_unit_test_setup_teardown(a_syn_is_answered_bit_by_bit, fresh, unguarded),
        cmocka_unit_test_setup_teardown(a_timestamp_holds_what_was_offered, fresh, unguarded),
        cmocka_unit_test_setup_teardown(options_that_lie_are_not_followed, fresh, unguarded),
        cmocka_unit_test_setup_teardown(only_syns_for_listeners_of_this_node_are_answered, fresh, unguarded),
        cmocka_unit_test_setup_teardown(an_ack_needs_a_valid_cookie, fresh, unguarded),
        cmocka_unit_test_setup_teardown(cookies_come_with_a_flood_and_go_after_it, fresh, unguarded),
};
const size_t guard_tests_count = sizeof(guard_tests) / sizeof(guard_tests[0]);
