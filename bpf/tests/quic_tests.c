/* SPDX-License-Identifier: Apache-2.0 */
#include "quic_tests.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "expect.h"
#include "nat_world.h"

#define VERSION_1 0x00000001u
#define VERSION_2 0x6b3343cfu
#define CONFIGS 0x05u /* 0 and 2 */
#define FLAGS SERVICE_QUIC_FLAGS(2, CONFIGS, false)
#define SELF_ENCODED SERVICE_QUIC_FLAGS(2, CONFIGS, true)
#define NAMED 3u /* the backend whose server ID most packets have: BACKEND_RING + 3, ID 0a03 */
#define HEADERS 28

/* By the ring of its five-tuple, as any other UDP. */
#define BY_RING UINT32_MAX

struct packet_case {
	const char *what;
	uint32_t flags;
	uint32_t backend;
	uint8_t bytes[32];
	uint16_t length; /* of the payload; 0: 60 */
};

/* clang-format off */
#define SHORT(...) {0x40, __VA_ARGS__}
#define LONG(type, version, ...) {0xc0 | (type) << 4, (version) >> 24, (version) >> 16 & 255, (version) >> 8 & 255, \
	(version) & 255, __VA_ARGS__}

static const struct packet_case cases[] = {
	{"a short header", FLAGS, NAMED, SHORT(0x1f, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"another server ID", FLAGS, 6, SHORT(0x1f, 0x0a, 0x06, 1, 2, 3, 4), 0},
	{"the fixed bit greased", FLAGS, NAMED, {0x00, 0x1f, 0x0a, 0x03, 1, 2, 3, 4}, 0},
	{"another configuration ID that is in use", FLAGS, NAMED, SHORT(0x40, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"a configuration ID that is not", FLAGS, BY_RING, SHORT(0x20, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"the configuration ID of IDs that name nobody", FLAGS, BY_RING, SHORT(0xe0, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"a server ID of nobody", FLAGS, BY_RING, SHORT(0x1f, 0x0a, 0x09, 1, 2, 3, 4), 0},
	{"a server ID of another service", FLAGS, BY_RING, SHORT(0x1f, 0x0b, 0x03, 1, 2, 3, 4), 0},
	{"the shortest datagram that may be QUIC", FLAGS, NAMED, SHORT(0x1f, 0x0a, 0x03, 1, 2, 3, 4), 22},
	{"one byte less", FLAGS, BY_RING, SHORT(0x1f, 0x0a, 0x03, 1, 2, 3, 4), 21},
	{"one byte", FLAGS, BY_RING, SHORT(0), 1},
	{"a service without QUIC", 0, BY_RING, SHORT(0x1f, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"IDs of another length", SERVICE_QUIC_FLAGS(3, CONFIGS, false), BY_RING,
	 SHORT(0x1f, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"a Handshake of version 1", FLAGS, NAMED, LONG(2, VERSION_1, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a Handshake of version 2", FLAGS, NAMED, LONG(3, VERSION_2, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"an Initial, whose ID may be the client's", FLAGS, BY_RING,
	 LONG(0, VERSION_1, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 1200},
	{"an Initial of version 2", FLAGS, BY_RING, LONG(1, VERSION_2, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 1200},
	{"0-RTT", FLAGS, BY_RING, LONG(1, VERSION_1, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"0-RTT of version 2", FLAGS, BY_RING, LONG(2, VERSION_2, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a Retry", FLAGS, BY_RING, LONG(3, VERSION_1, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a version that is not known", FLAGS, BY_RING, LONG(2, 0xff00001du, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"version negotiation", FLAGS, BY_RING, LONG(2, 0u, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a Handshake with the shortest ID", FLAGS, NAMED, LONG(2, VERSION_1, 7, 0x06, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"an ID too short for what the server adds", FLAGS, BY_RING, LONG(2, VERSION_1, 6, 0x05, 0x0a, 0x03, 1, 2, 3), 0},
	{"no ID at all", FLAGS, BY_RING, LONG(2, VERSION_1, 0, 0x05, 0x0a, 0x03, 1, 2, 3), 0},
	{"the longest ID", FLAGS, NAMED, LONG(2, VERSION_1, 20, 0x13, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"an ID longer than any", FLAGS, BY_RING, LONG(2, VERSION_1, 21, 0x14, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"a configuration ID of a Handshake that is not in use", FLAGS, BY_RING,
	 LONG(2, VERSION_1, 8, 0x27, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a Handshake whose ID tells its length", SELF_ENCODED, NAMED,
	 LONG(2, VERSION_1, 8, 0x07, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"and tells another", SELF_ENCODED, BY_RING, LONG(2, VERSION_1, 8, 0x08, 0x0a, 0x03, 1, 2, 3, 4, 5), 0},
	{"a short header whose ID tells its length", SELF_ENCODED, NAMED, SHORT(0x06, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"the longest that can be told", SELF_ENCODED, NAMED, SHORT(0x13, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"and more than is possible", SELF_ENCODED, BY_RING, SHORT(0x14, 0x0a, 0x03, 1, 2, 3, 4), 0},
	{"and less", SELF_ENCODED, BY_RING, SHORT(0x05, 0x0a, 0x03, 1, 2, 3, 4), 0},
};
/* clang-format on */

static const uint8_t named_short[] = {0x40, 0x1f, 0x0a, NAMED, 1, 2, 3, 4};
static const uint8_t initial[] = {0xc0, 0, 0, 0, 1, 8, 0x07, 0x0a, NAMED, 1, 2, 3, 4, 5};

static void put_server(uint32_t service, const uint8_t *id, uint8_t length, uint32_t backend)
{
	struct quic_server server = {.service = service, .length = length};
	memcpy(server.id, id, length);
	assert_int_equal(bpf_map_update_elem(world_map("quic_servers"), &server, &backend, BPF_ANY), 0);
}

static void reset(uint32_t flags)
{
	nat_reset();
	world_set_service_flags(SERVICE_RING, flags);
	for (uint8_t i = 0; i < RING_BACKENDS; i++)
		put_server(SERVICE_RING, (const uint8_t[]){0x0a, i}, 2, BACKEND_RING + i);
	put_server(SERVICE_IPIP, (const uint8_t[]){0x0b, NAMED}, 2, BACKEND_RING + NAMED);
}

/* A datagram with these first bytes; the UDP checksum, which nobody looks at, stays that of zeros. */
static void datagram(struct frame *frame, const struct spec *spec, const uint8_t *bytes, size_t length)
{
	frame_build(frame, spec);
	const size_t payload = frame->length - spec->payload;
	memcpy(frame->data + payload, bytes, length < spec->payload ? length : spec->payload);
}

static struct spec from(uint16_t port, uint16_t payload)
{
	return (struct spec){.protocol = IPPROTO_UDP,
	                     .source_port = port,
	                     .destination_port = SERVICE_PORT(SERVICE_RING),
	                     .payload = payload};
}

/* The first port from base on whose flow the ring does not give to the backend that packets name: so the two can be
 * told apart. */
static uint16_t port_of_another(const struct spec *like, uint16_t base)
{
	for (uint16_t port = base;; port++) {
		struct spec spec = *like;
		struct frame frame;
		spec.source_port = port;
		frame_build(&frame, &spec);
		uint32_t backend = world_ring_entry(expect_slot(expect_hash(&frame), RING_SLOTS));
		if (backend != BACKEND_RING + NAMED && backend != BACKEND_RING + 6)
			return port;
	}
}

static uint32_t ring_of(const struct frame *frame)
{
	return world_ring_entry(expect_slot(expect_hash(frame), RING_SLOTS));
}

/* As expected bit for bit; false with a dump. */
static bool goes_to(const char *what, const struct frame *frame, uint32_t backend)
{
	struct frame expected;
	struct result result;
	world_run(frame, &result);
	expect_forwarded(&expected, frame, FORWARDING_IPIP, backend, expect_hash(frame));
	if (result.verdict == XDP_REDIRECT && result.frame.length == expected.length &&
	    !memcmp(result.frame.data, expected.data, expected.length))
		return true;
	fprintf(stderr, "%s: verdict %u\n", what, result.verdict);
	frame_report(what, &expected, &result.frame);
	return false;
}

static void test_a_packet_goes_where_its_connection_id_says(void **state)
{
	(void)state;
	bool good = true;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct packet_case *c = &cases[i];
		for (int form = 0; form < 4; form++) {
			struct spec spec = from(0, c->length ? c->length : 60);
			spec.version = form & 1 ? 6 : 4;
			spec.tags = form & 2 ? 1 : 0;
			spec.options = form == 2 ? 3 : 0;
			spec.source_port = port_of_another(&spec, 40000);
			struct frame frame;
			reset(c->flags);
			datagram(&frame, &spec, c->bytes, sizeof(c->bytes));
			/* IPIP in IPv4 takes no IPv6: what the ring's backends have are IPv4 addresses. */
			if (spec.version == 6) {
				struct result result;
				world_run(&frame, &result);
				const uint32_t backend =
				        c->backend == BY_RING ? ring_of(&frame) : BACKEND_RING + c->backend;
				good &= world_backend_traffic(backend).packets == 1;
				if (world_backend_traffic(backend).packets != 1)
					fprintf(stderr, "%s: IPv6 goes elsewhere\n", c->what);
				continue;
			}
			good &= goes_to(c->what, &frame,
			                c->backend == BY_RING ? ring_of(&frame) : BACKEND_RING + c->backend);
		}
	}
	assert_true(good);
}

static void test_server_ids_of_every_length(void **state)
{
	(void)state;
	static const uint8_t id[QUIC_SERVER_ID_MAX] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 11, 12, 13, 14, 15};
	struct spec spec = from(0, 60);
	spec.source_port = port_of_another(&spec, 40000);
	for (uint8_t length = 1; length <= QUIC_SERVER_ID_MAX; length++) {
		uint8_t bytes[32] = {0x40, 0x1f};
		struct frame frame;
		reset(SERVICE_QUIC_FLAGS(length, 1, false));
		put_server(SERVICE_RING, id, length, BACKEND_RING + NAMED);
		memcpy(bytes + 2, id, length);
		datagram(&frame, &spec, bytes, sizeof(bytes));
		assert_true(goes_to("its ID", &frame, BACKEND_RING + NAMED));
		/* Its last byte counts. */
		bytes[1 + length] ^= 0x80;
		reset(SERVICE_QUIC_FLAGS(length, 1, false));
		datagram(&frame, &spec, bytes, sizeof(bytes));
		assert_true(goes_to("another ID", &frame, ring_of(&frame)));
	}
}

static void test_a_client_that_moves_stays_with_its_backend(void **state)
{
	(void)state;
	struct spec spec = from(40000, 1200);
	struct frame frame;
	reset(FLAGS);
	spec.source_port = port_of_another(&spec, 40000);
	datagram(&frame, &spec, initial, sizeof(initial));
	const uint32_t first = ring_of(&frame);
	assert_true(goes_to("an Initial", &frame, first));
	/* The backend that answered has given it IDs of its own. */
	const uint8_t mine[] = {0x40, 0x1f, 0x0a, (uint8_t)(first - BACKEND_RING), 1, 2, 3, 4};
	spec.payload = 60;
	for (uint16_t i = 0; i < 20; i++) {
		spec.source = i & 1 ? "203.0.113.99" : NULL;
		spec.source_port = (uint16_t)(50000 + i);
		datagram(&frame, &spec, mine, sizeof(mine));
		assert_true(goes_to("from another place", &frame, first));
	}
	/* What is reported about a packet that went back there finds the backend, too: the flow is known. */
	struct spec answer = {.protocol = IPPROTO_UDP,
	                      .source = VIP_V4,
	                      .destination = "203.0.113.99",
	                      .source_port = SERVICE_PORT(SERVICE_RING),
	                      .destination_port = 50019,
	                      .payload = 60},
	            report = {.source = "203.0.113.254",
	                      .protocol = IPPROTO_ICMP,
	                      .icmp_type = 3,
	                      .icmp_code = 4,
	                      .icmp_rest = 1400,
	                      .quote = &answer};
	struct result result;
	frame_build(&frame, &report);
	const uint64_t before = world_backend_traffic(first).packets;
	world_run(&frame, &result);
	assert_int_equal(world_backend_traffic(first).packets, before + 1);
}

static void test_a_flow_that_has_a_backend_is_not_taken_from_it(void **state)
{
	(void)state;
	struct spec spec = from(40000, 60);
	struct frame first, moved;
	reset(FLAGS);
	spec.source_port = port_of_another(&spec, 40000);
	datagram(&first, &spec, initial, sizeof(initial));
	datagram(&moved, &spec, named_short, sizeof(named_short));
	const uint32_t owner = ring_of(&first);
	assert_true(goes_to("an Initial", &first, owner));
	/* By who forges the client's address, with an ID of another backend: its own packet alone. */
	assert_true(goes_to("a forged packet", &moved, BACKEND_RING + NAMED));
	world_fill_ring(SERVICE_RING, BACKEND_RING + 6);
	assert_true(goes_to("the next Initial", &first, owner));
	assert_int_equal(world_flow_count(), 1);
}

static void test_drained_backends_keep_their_connections_and_dead_ones_lose_them(void **state)
{
	(void)state;
	struct spec spec = from(40000, 60);
	struct frame frame;
	reset(FLAGS);
	datagram(&frame, &spec, named_short, sizeof(named_short));
	world_fill_ring(SERVICE_RING, BACKEND_RING + 1);
	assert_true(goes_to("a drained backend's", &frame, BACKEND_RING + NAMED));
	world_set_backend(BACKEND_RING + NAMED, 7, 0);
	assert_true(goes_to("a dead backend's", &frame, BACKEND_RING + 1));
}

static void test_without_a_table_of_flows_too(void **state)
{
	(void)state;
	struct spec spec = from(40000, 60);
	struct frame frame;
	reset(FLAGS | SERVICE_NO_FLOWS);
	datagram(&frame, &spec, named_short, sizeof(named_short));
	assert_true(goes_to("a packet", &frame, BACKEND_RING + NAMED));
	assert_int_equal(world_flow_count(), 0);
}

static void test_tcp_and_fragments_are_as_ever(void **state)
{
	(void)state;
	struct spec spec = from(40000, 60);
	struct frame frame;
	struct result result;
	reset(FLAGS);
	spec.protocol = IPPROTO_TCP;
	spec.source_port = port_of_another(&spec, 40000);
	datagram(&frame, &spec, named_short, sizeof(named_short));
	assert_true(goes_to("TCP", &frame, ring_of(&frame)));
	spec.protocol = IPPROTO_UDP;
	spec.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
	datagram(&frame, &spec, named_short, sizeof(named_short));
	world_run(&frame, &result);
	assert_int_equal(result.verdict, XDP_DROP);
	assert_int_equal(world_drops(DROP_FRAGMENT), 1);
}

/* A frame is padded; the datagram ends before. */
static void test_padding_is_no_connection_id(void **state)
{
	(void)state;
	struct spec spec = from(40000, 2);
	struct frame frame;
	reset(FLAGS);
	spec.source_port = port_of_another(&spec, 40000);
	spec.padding = 40;
	datagram(&frame, &spec, named_short, 0);
	memcpy(frame.data + 14 + HEADERS, named_short, sizeof(named_short));
	assert_true(goes_to("two bytes and padding", &frame, ring_of(&frame)));
}

static uint8_t translated_to(const struct frame *frame)
{
	struct result result;
	nat_run(NAT_INGRESS, frame, 0, &result);
	assert_int_equal(result.verdict, VERDICT_OUT);
	return result.frame.data[14 + 19];
}

static void test_nat_begins_flows_where_they_say(void **state)
{
	(void)state;
	const uint32_t index = SERVICE_NAT + BACKEND_V4;
	const struct service quic = {.flags = FLAGS, .forwarding = FORWARDING_NAT},
	                     usual = {.forwarding = FORWARDING_NAT};
	const int services = world_map("services");
	struct spec spec = from(40000, 60);
	struct frame frame, first;
	spec.destination_port = SERVICE_PORT(index);
	reset(FLAGS);
	assert_int_equal(bpf_map_update_elem(services, &index, &quic, BPF_ANY), 0);
	put_server(index, (const uint8_t[]){0x0a, NAMED}, 2, BACKEND_RING + NAMED);
	datagram(&first, &spec, initial, sizeof(initial));
	datagram(&frame, &spec, named_short, sizeof(named_short));
	assert_int_equal(translated_to(&first), 11);
	/* A flow that is followed stays; one from elsewhere begins at the backend that it names. */
	assert_int_equal(translated_to(&frame), 11);
	spec.source_port = 40001;
	datagram(&frame, &spec, named_short, sizeof(named_short));
	assert_int_equal(translated_to(&frame), 101 + NAMED);
	spec.source_port = 40002;
	world_set_backend(BACKEND_RING + NAMED, 7, 0);
	datagram(&frame, &spec, named_short, sizeof(named_short));
	assert_int_equal(translated_to(&frame), 11);
	assert_int_equal(bpf_map_update_elem(services, &index, &usual, BPF_ANY), 0);
}

/* The last: the others' services are as they were. */
static void test_and_nothing_of_it_is_left(void **state)
{
	(void)state;
	world_set_service_flags(SERVICE_RING, 0);
	world_reset();
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_packet_goes_where_its_connection_id_says),
        cmocka_unit_test(test_server_ids_of_every_length),
        cmocka_unit_test(test_a_client_that_moves_stays_with_its_backend),
        cmocka_unit_test(test_a_flow_that_has_a_backend_is_not_taken_from_it),
        cmocka_unit_test(test_drained_backends_keep_their_connections_and_dead_ones_lose_them),
        cmocka_unit_test(test_without_a_table_of_flows_too),
        cmocka_unit_test(test_tcp_and_fragments_are_as_ever),
        cmocka_unit_test(test_padding_is_no_connection_id),
        cmocka_unit_test(test_nat_begins_flows_where_they_say),
        cmocka_unit_test(test_and_nothing_of_it_is_left),
};
const struct CMUnitTest *const quic_tests = tests;
const size_t quic_tests_count = sizeof(tests) / sizeof(tests[0]);
