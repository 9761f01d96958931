/* SPDX-License-Identifier: Apache-2.0 */
/* Translated flows over several packets: how they begin, are kept, are lost, and end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cases_nat.h"

#define TCP_RST 0x04
#define SERVICE (SERVICE_NAT + BACKEND_V4)
#define SOURCE_NATTED (SERVICE_SOURCE_NATTED + BACKEND_V4)
#define ISN 0x70000000u

/* One side's packet of a flow to a service whose backend is BACKEND_V4. */
struct turn {
	uint32_t service;
	uint16_t client_port, backend_sees; /* 0: client_port */
	uint8_t protocol, flags;
	uint32_t sequence, acknowledge;
	const char *client;
	uint32_t backend; /* BACKEND_V4 */
};

static uint32_t now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &at);
	return (uint32_t)(((uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec) >> 30);
}

static struct spec ask_spec(const struct turn *turn)
{
	return (struct spec){.protocol = turn->protocol,
	                     .source = turn->client,
	                     .source_port = turn->client_port,
	                     .destination_port = SERVICE_PORT(turn->service),
	                     .flags = turn->flags,
	                     .sequence = turn->sequence,
	                     .acknowledge = turn->acknowledge};
}

static void ask_frame(const struct turn *turn, struct frame *frame)
{
	const struct spec spec = ask_spec(turn);
	frame_build(frame, &spec);
}

/* The client's packet. Returns the source port that the backend sees; 0: it did not leave. */
static uint16_t ask(const struct turn *turn)
{
	struct frame frame;
	struct result result = {0};
	ask_frame(turn, &frame);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	return result.verdict == VERDICT_OUT ? get16(result.frame.data + 34) : 0;
}

/* Where the client's packet went: the last byte of the backend's address. */
static uint8_t asked(const struct turn *turn)
{
	struct frame frame;
	struct result result = {0};
	ask_frame(turn, &frame);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	return result.verdict == VERDICT_OUT ? result.frame.data[33] : 0;
}

/* The backend's packet; whether it goes to the client. */
static bool answer(const struct turn *turn)
{
	bool source_nat = turn->service >= SERVICE_SOURCE_NATTED;
	const struct backend_facts *backend = world_backend(turn->backend ? turn->backend : BACKEND_V4);
	const struct spec spec = {.protocol = turn->protocol,
	                          .source = backend->address,
	                          .destination = source_nat     ? backend->source
	                                         : turn->client ? turn->client
	                                                        : CLIENT_V4,
	                          .source_port = BACKEND_PORT,
	                          .destination_port = turn->backend_sees ? turn->backend_sees : turn->client_port,
	                          .flags = turn->flags,
	                          .sequence = turn->sequence,
	                          .acknowledge = turn->acknowledge};
	struct frame frame;
	struct result result = {0};
	frame_build(&frame, &spec);
	nat_run(NAT_INGRESS, &frame, 0, &result);
	return result.verdict == VERDICT_OUT;
}

static struct turn turn_of(uint32_t service, uint8_t protocol, uint16_t port)
{
	return (struct turn){.service = service, .protocol = protocol, .client_port = port};
}

static struct turn with(struct turn turn, uint8_t flags, uint32_t sequence, uint32_t acknowledge)
{
	turn.flags = flags;
	turn.sequence = sequence;
	turn.acknowledge = acknowledge;
	return turn;
}

static struct flow_key client_key(const struct turn *turn)
{
	return (struct flow_key){.source = world_address(turn->client ? turn->client : CLIENT_V4),
	                         .destination = world_address(VIP_V4),
	                         .source_port = htons(turn->client_port),
	                         .destination_port = htons(SERVICE_PORT(turn->service)),
	                         .protocol = turn->protocol};
}

static struct flow_key backend_key(const struct turn *turn)
{
	bool source_nat = turn->service >= SERVICE_SOURCE_NATTED;
	const struct backend_facts *backend = world_backend(turn->backend ? turn->backend : BACKEND_V4);
	return (struct flow_key){.source = world_address(backend->address),
	                         .destination = world_address(source_nat     ? backend->source
	                                                      : turn->client ? turn->client
	                                                                     : CLIENT_V4),
	                         .source_port = htons(BACKEND_PORT),
	                         .destination_port = htons(turn->backend_sees ? turn->backend_sees : turn->client_port),
	                         .protocol = turn->protocol};
}

/* A connection that both ends have opened; what the backend sees is in *turn. */
static void open_connection(struct turn *turn)
{
	struct turn t = with(*turn, TCP_SYN, 100, 0);
	turn->backend_sees = ask(&t);
	assert_int_not_equal(turn->backend_sees, 0);
	t = with(*turn, TCP_SYN | TCP_ACK, ISN, 101);
	assert_true(answer(&t));
	t = with(*turn, TCP_ACK, 101, ISN + 1);
	assert_int_equal(ask(&t), turn->backend_sees);
}

static bool confirmed(const struct turn *turn)
{
	struct flow_key one = client_key(turn), other = backend_key(turn);
	struct nat_flow flow;
	bool in = nat_entry(NAT_CONFIRMED_FLOWS, &one, &flow);
	assert_int_equal(in, nat_entry(NAT_CONFIRMED_FLOWS, &other, &flow));
	assert_int_equal(!in, nat_entry(NAT_NEW_FLOWS, &one, &flow));
	assert_int_equal(!in, nat_entry(NAT_NEW_FLOWS, &other, &flow));
	return in;
}

/* Makes an entry as old as if nothing had come for so many units. */
static void age(enum nat_table table, const struct flow_key *key, uint32_t units)
{
	struct nat_flow flow;
	assert_true(nat_entry(table, key, &flow));
	flow.seen = now() - units;
	nat_put(table, key, &flow);
}

static void age_both(enum nat_table table, const struct turn *turn, uint32_t units)
{
	struct flow_key one = client_key(turn), other = backend_key(turn);
	age(table, &one, units);
	age(table, &other, units);
}

static void test_a_connection_is_confirmed_by_its_handshake(void **state)
{
	(void)state;
	for (int source_nat = 0; source_nat < 2; source_nat++) {
		nat_reset();
		struct turn turn = turn_of(source_nat ? SOURCE_NATTED : SERVICE, IPPROTO_TCP, 40001);
		struct turn t = with(turn, TCP_SYN, 100, 0);
		turn.backend_sees = ask(&t);
		assert_false(confirmed(&turn));
		t = with(turn, TCP_SYN | TCP_ACK, ISN, 101);
		assert_true(answer(&t));
		assert_false(confirmed(&turn));
		/* Who has not seen the answer does not know its number. */
		t = with(turn, TCP_ACK, 101, ISN);
		ask(&t);
		assert_false(confirmed(&turn));
		t = with(turn, TCP_ACK, 101, ISN + 1 + 70000);
		ask(&t);
		assert_false(confirmed(&turn));
		t = with(turn, TCP_RST | TCP_ACK, 101, ISN + 1);
		ask(&t);
		assert_false(confirmed(&turn));
		t = with(turn, TCP_ACK, 101, ISN + 1);
		ask(&t);
		assert_true(confirmed(&turn));
		assert_int_equal(nat_count(NAT_NEW_FLOWS), 0);
		assert_int_equal(nat_count(NAT_CONFIRMED_FLOWS), 2);
	}
}

static void test_udp_is_confirmed_when_the_client_goes_on_after_an_answer(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SERVICE, IPPROTO_UDP, 40001);
	ask(&turn);
	ask(&turn);
	assert_false(confirmed(&turn));
	assert_true(answer(&turn));
	assert_false(confirmed(&turn));
	ask(&turn);
	assert_true(confirmed(&turn));
}

static void test_syns_do_not_displace_connections(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SOURCE_NATTED, IPPROTO_TCP, 40001);
	open_connection(&turn);
	char client[16];
	for (uint32_t i = 0; i < 3 * NAT_NEW_TEST; i++) {
		snprintf(client, sizeof(client), "203.%u.%u.%u", 64 + (i >> 16), (i >> 8) & 255, i & 255);
		struct turn flood = with(turn_of(SOURCE_NATTED, IPPROTO_TCP, 1000), TCP_SYN, 1, 0);
		flood.client = client;
		ask(&flood);
	}
	assert_true(confirmed(&turn));
	struct turn t = with(turn, TCP_ACK, 200, ISN + 1);
	assert_int_equal(ask(&t), turn.backend_sees);
	assert_true(answer(&t));
	assert_true(nat_count(NAT_NEW_FLOWS) <= NAT_NEW_TEST);
}

static void test_an_entry_that_was_displaced_comes_back(void **state)
{
	(void)state;
	for (int source_nat = 0; source_nat < 2; source_nat++) {
		nat_reset();
		struct turn turn = turn_of(source_nat ? SOURCE_NATTED : SERVICE, IPPROTO_TCP, 40001);
		open_connection(&turn);
		struct turn t = with(turn, TCP_ACK, 200, ISN + 1);
		const struct flow_key one = client_key(&turn), other = backend_key(&turn);
		struct nat_flow flow;
		/* That of the answers: the client's next packet, a unit of time later, makes it anew. */
		nat_remove(NAT_CONFIRMED_FLOWS, &other);
		age(NAT_CONFIRMED_FLOWS, &one, 1);
		assert_int_equal(ask(&t), turn.backend_sees);
		assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &other, &flow));
		assert_true(answer(&t));
		/* The client's: an answer makes it anew, and so does the client, which finds its port again. */
		nat_remove(NAT_CONFIRMED_FLOWS, &one);
		age(NAT_CONFIRMED_FLOWS, &other, 1);
		assert_true(answer(&t));
		assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &one, &flow));
		nat_remove(NAT_CONFIRMED_FLOWS, &one);
		assert_int_equal(ask(&t), turn.backend_sees);
		assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &one, &flow));
		assert_true(answer(&t));
	}
}

static void test_a_flow_whose_port_has_another_owner_gets_another(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SOURCE_NATTED, IPPROTO_TCP, 40001);
	open_connection(&turn);
	const struct flow_key one = client_key(&turn), other = backend_key(&turn);
	struct nat_flow flow;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &other, &flow));
	flow.destination = world_address("203.0.113.99");
	nat_put(NAT_CONFIRMED_FLOWS, &other, &flow);
	age(NAT_CONFIRMED_FLOWS, &one, 1);
	struct frame frame;
	ask_frame(&turn, &frame);
	struct turn t = with(turn, TCP_ACK, 200, ISN + 1);
	assert_int_equal(ask(&t), nat_expected_port(&frame, 1));
	/* The other's entry is as it was. */
	struct nat_flow now_there;
	assert_true(nat_entry(NAT_CONFIRMED_FLOWS, &other, &now_there));
	assert_memory_equal(&now_there.destination, &flow.destination, sizeof(flow.destination));
}

static void hold_port(const struct turn *turn, uint16_t port, uint32_t age_units)
{
	struct turn held = *turn;
	held.backend_sees = port;
	const struct flow_key key = backend_key(&held);
	const struct nat_flow flow = {.source = world_address(VIP_V4),
	                              .destination = world_address("203.0.113.99"),
	                              .source_port = htons(SERVICE_PORT(turn->service)),
	                              .destination_port = htons(1),
	                              .flags = NAT_REVERSE | NAT_CONFIRMED,
	                              .service = turn->service,
	                              .backend = BACKEND_V4,
	                              .generation = 7,
	                              .seen = now() - age_units};
	nat_put(NAT_CONFIRMED_FLOWS, &key, &flow);
}

static void test_ports_that_are_held_are_left_out(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SOURCE_NATTED, IPPROTO_UDP, 40001);
	struct frame frame;
	ask_frame(&turn, &frame);
	for (uint32_t i = 0; i < 31; i++)
		hold_port(&turn, nat_expected_port(&frame, i), 1);
	assert_int_equal(ask(&turn), nat_expected_port(&frame, 31));
	/* The last attempt's, too. */
	nat_reset();
	for (uint32_t i = 0; i < 32; i++)
		hold_port(&turn, nat_expected_port(&frame, i), 1);
	assert_int_equal(ask(&turn), 0);
	assert_int_equal(world_drops(DROP_NO_NAT_PORT), 1);
	assert_int_equal(nat_count(NAT_NEW_FLOWS), 0);
	/* One has been silent for too long. */
	hold_port(&turn, nat_expected_port(&frame, 5), 302);
	assert_int_equal(ask(&turn), nat_expected_port(&frame, 5));
}

static void test_no_ports_at_all(void **state)
{
	(void)state;
	nat_reset();
	const struct nat_settings none = {.first = {1, 1}, .last = {0, 0}};
	nat_set_settings(&none);
	struct turn turn = turn_of(SOURCE_NATTED, IPPROTO_UDP, 40001);
	assert_int_equal(ask(&turn), 0);
	assert_int_equal(world_drops(DROP_NO_NAT_PORT), 1);
	/* Without source NAT its own is free. */
	turn.service = SERVICE;
	assert_int_equal(ask(&turn), 40001);
	const struct nat_settings one = {.first = {2000, 1}, .last = {2000, 0}};
	nat_set_settings(&one);
	turn.service = SOURCE_NATTED;
	assert_int_equal(ask(&turn), 2000);
}

static void test_two_flows_of_one_client_port_to_one_backend_differ(void **state)
{
	(void)state;
	nat_reset();
	world_fill_ring(SERVICE_NAT + BACKEND_V4_IN, BACKEND_V4);
	struct turn one = turn_of(SERVICE, IPPROTO_UDP, 40001),
	            two = turn_of(SERVICE_NAT + BACKEND_V4_IN, IPPROTO_UDP, 40001);
	struct frame frame;
	ask_frame(&two, &frame);
	assert_int_equal(ask(&one), 40001);
	two.backend_sees = ask(&two);
	assert_int_equal(two.backend_sees, nat_expected_port(&frame, 1));
	assert_true(answer(&one));
	assert_true(answer(&two));
}

static void end(const struct turn *turn)
{
	struct turn t = with(*turn, TCP_FIN | TCP_ACK, 300, ISN + 1);
	ask(&t);
	answer(&t);
}

static void test_a_syn_begins_anew_what_has_ended(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SERVICE, IPPROTO_TCP, 40001);
	open_connection(&turn);
	world_fill_ring(SERVICE, BACKEND_RING);
	/* Not while it lives: the backend has to answer that. */
	struct turn syn = with(turn, TCP_SYN, 900, 0);
	assert_int_equal(asked(&syn), 11);
	struct turn fin = with(turn, TCP_FIN | TCP_ACK, 300, ISN + 1);
	ask(&fin);
	assert_int_equal(asked(&syn), 11);
	answer(&fin);
	assert_true(confirmed(&turn));
	/* The last acknowledgement still finds its way. */
	struct turn last = with(turn, TCP_ACK, 301, ISN + 2);
	assert_int_equal(asked(&last), 11);
	assert_int_equal(asked(&syn), 101);
	turn.backend = BACKEND_RING;
	assert_false(confirmed(&turn));
	assert_int_equal(nat_count(NAT_CONFIRMED_FLOWS), 0);
	/* A reset ends it, too, until somebody goes on all the same. */
	struct turn reset = with(turn, TCP_RST, 1, 1), more = with(turn, TCP_ACK, 1, 1);
	answer(&reset);
	world_fill_ring(SERVICE, BACKEND_V4);
	ask(&more);
	assert_int_equal(asked(&syn), 101);
	answer(&reset);
	assert_int_equal(asked(&syn), 11);
}

static void test_flows_stay_when_the_ring_changes(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SERVICE, IPPROTO_TCP, 40001), other = turn_of(SERVICE, IPPROTO_UDP, 40001);
	open_connection(&turn);
	ask(&other);
	world_fill_ring(SERVICE, BACKEND_RING + 1);
	struct turn t = with(turn, TCP_ACK, 200, ISN + 1);
	assert_int_equal(asked(&t), 11);
	assert_int_equal(asked(&other), 11);
	world_remove_ring(SERVICE);
	assert_int_equal(asked(&t), 11);
	struct turn fresh = turn_of(SERVICE, IPPROTO_UDP, 40002);
	assert_int_equal(asked(&fresh), 0);
	assert_int_equal(world_drops(DROP_NO_BACKEND), 1);
}

static void test_flows_leave_a_backend_that_died(void **state)
{
	(void)state;
	nat_reset();
	struct turn turn = turn_of(SOURCE_NATTED, IPPROTO_TCP, 40001);
	open_connection(&turn);
	world_fill_ring(SOURCE_NATTED, BACKEND_RING + 1);
	world_set_backend(BACKEND_V4, 7, 0);
	struct turn t = with(turn, TCP_ACK, 200, ISN + 1);
	assert_int_equal(asked(&t), 102);
	/* It is back, as another. */
	nat_reset();
	open_connection(&turn);
	world_fill_ring(SOURCE_NATTED, BACKEND_RING + 1);
	world_set_backend(BACKEND_V4, 8, BACKEND_IN_USE);
	assert_int_equal(asked(&t), 102);
	assert_int_equal(nat_count(NAT_CONFIRMED_FLOWS), 0);
	assert_int_equal(nat_count(NAT_NEW_FLOWS), 2);
}

static void test_silent_flows_are_forgotten_in_their_time(void **state)
{
	(void)state;
	static const struct {
		uint8_t protocol;
		bool confirmed, ended;
		uint32_t units;
	} times[] = {{IPPROTO_TCP, true, false, 7440},
	             {IPPROTO_TCP, true, true, 60},
	             {IPPROTO_TCP, false, false, 120},
	             {IPPROTO_UDP, true, false, 300},
	             {IPPROTO_UDP, false, false, 120}};
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		for (uint32_t over = 0; over < 2; over++) {
			nat_reset();
			struct turn turn = turn_of(SERVICE, times[i].protocol, 40001);
			enum nat_table table = times[i].confirmed ? NAT_CONFIRMED_FLOWS : NAT_NEW_FLOWS;
			if (times[i].protocol == IPPROTO_TCP && times[i].confirmed) {
				open_connection(&turn);
			} else {
				turn.flags = TCP_SYN;
				ask(&turn);
				if (times[i].confirmed) {
					answer(&turn);
					ask(&turn);
				}
			}
			if (times[i].ended)
				end(&turn);
			/* The clock goes on meanwhile: one unit to spare on either side. */
			age_both(table, &turn, over ? times[i].units + 2 : times[i].units - 2);
			turn.flags = TCP_ACK;
			assert_int_equal(answer(&turn), !over);
		}
	}
}

/* How many of a client's flows go elsewhere than its first. */
static uint32_t scattered(void)
{
	uint8_t first = 0;
	uint32_t others = 0;
	for (uint16_t port = 40000; port < 40032; port++) {
		struct turn turn = turn_of(SERVICE, IPPROTO_UDP, port);
		uint8_t to = asked(&turn);
		first = first ? first : to;
		others += to != first;
	}
	return others;
}

static void test_source_affinity_keeps_a_clients_flows_together(void **state)
{
	(void)state;
	uint32_t entries[RING_SLOTS], index = SERVICE;
	struct service service = {.forwarding = FORWARDING_NAT};
	for (uint32_t i = 0; i < RING_SLOTS; i++)
		entries[i] = world_ring_entry(i);
	for (int together = 0; together < 2; together++) {
		nat_reset();
		world_set_ring(SERVICE, entries, RING_SLOTS);
		service.flags = together ? SERVICE_SOURCE_ONLY : 0;
		assert_int_equal(bpf_map_update_elem(world_map("services"), &index, &service, BPF_ANY), 0);
		if (together)
			assert_int_equal(scattered(), 0);
		else
			assert_true(scattered() > 8);
	}
	service.flags = 0;
	bpf_map_update_elem(world_map("services"), &index, &service, BPF_ANY);
}

static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_is_confirmed_by_its_handshake),
        cmocka_unit_test(test_udp_is_confirmed_when_the_client_goes_on_after_an_answer),
        cmocka_unit_test(test_syns_do_not_displace_connections),
        cmocka_unit_test(test_an_entry_that_was_displaced_comes_back),
        cmocka_unit_test(test_a_flow_whose_port_has_another_owner_gets_another),
        cmocka_unit_test(test_ports_that_are_held_are_left_out),
        cmocka_unit_test(test_no_ports_at_all),
        cmocka_unit_test(test_two_flows_of_one_client_port_to_one_backend_differ),
        cmocka_unit_test(test_a_syn_begins_anew_what_has_ended),
        cmocka_unit_test(test_flows_stay_when_the_ring_changes),
        cmocka_unit_test(test_flows_leave_a_backend_that_died),
        cmocka_unit_test(test_silent_flows_are_forgotten_in_their_time),
        cmocka_unit_test(test_source_affinity_keeps_a_clients_flows_together),
};
const struct CMUnitTest *const nat_flow_tests = tests;
const size_t nat_flow_tests_count = sizeof(tests) / sizeof(tests[0]);
