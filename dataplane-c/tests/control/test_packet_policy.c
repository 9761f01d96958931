/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic policies of a table: what the programs are told, what stays when a policy changes, what is refused. */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qos/gcra.h"

#define VIP "198.51.100.1"
#define MBIT 1000000u
#define SERVICES 3

typedef Marcher__Packet__V1__Policy Policy;
typedef Marcher__Packet__V1__Rate Rate;

static const char lines[] = "service direct l2 251\nvip " VIP " 80\nbackend b 192.0.2.2 1\n"
                            "service nat nat 251\nvip " VIP " 81\nbackend b 192.0.2.2 1\n"
                            "service udp nat 251\nvip " VIP " 82/udp\nbackend b 192.0.2.2 1\n";

static const uint16_t vip_ports[SERVICES] = {80, 81, 82};

static Policy policy_of(Rate *ingress)
{
	Policy policy = MARCHER__PACKET__V1__POLICY__INIT;

	policy.priority = 2;
	policy.ingress = ingress;
	return policy;
}

static Rate rate_of(uint64_t per_second, uint64_t burst)
{
	Rate rate = MARCHER__PACKET__V1__RATE__INIT;

	rate.per_second = per_second;
	rate.burst = burst;
	return rate;
}

/* Every service gets the policy of its place; NULL: none. */
static ApplyReply *apply(struct packet_rig *rig, Policy *const policies[SERVICES])
{
	PacketTable *table = packet_table(lines);
	ApplyReply *reply = NULL;

	for (int i = 0; i < SERVICES; i++)
		table->services[i]->policy = policies[i];
	packet_rig_apply_table(rig, table, &reply);
	if (!reply)
		fail_msg("apply: %s", marcher_packet_last_error(rig->packet));
	for (int i = 0; i < SERVICES; i++)
		table->services[i]->policy = NULL;
	packet_table_free(table);
	return reply;
}

static void must_apply(struct packet_rig *rig, Policy *const policies[SERVICES])
{
	ApplyReply *reply = apply(rig, policies);

	if (!reply->accepted)
		fail_msg("%s: %s", reply->reasons[0]->path, reply->reasons[0]->reason);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
}

static uint32_t index_of(const struct packet_rig *rig, int service)
{
	struct vip_key key = packet_vip_key(VIP, vip_ports[service], service == 2 ? 17 : 6);
	struct vip vip;

	packet_lookup(rig, "vips", &key, &vip);
	return vip.service;
}

/* What the programs read of the service at this place of the table; false: it has no policy. */
static bool told(const struct packet_rig *rig, int service, struct policy *policy)
{
	uint32_t index = index_of(rig, service);
	struct service entry;

	packet_lookup(rig, "services", &index, &entry);
	packet_lookup(rig, "policies", &index, policy);
	return entry.flags & SERVICE_POLICY;
}

static bool flows_kept(const struct packet_rig *rig)
{
	uint32_t zero = 0;

	return packet_has(rig, "policy_flows", &zero);
}

static int open_setup(void **state)
{
	int code = packet_rig_setup(state);

	if (!code && *state)
		packet_rig_must_open(*state, "v0");
	return code;
}

static void assert_rate(const struct gcra_rate *actual, uint64_t bits, uint64_t burst)
{
	struct gcra_rate expected = gcra_rate(bits, 8, burst);

	assert_int_equal(actual->unit_cost, expected.unit_cost);
	assert_int_equal(actual->tolerance, expected.tolerance);
}

static void the_programs_are_told_what_the_policy_says(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	Rate in = rate_of(8 * MBIT, 300000), out = rate_of(400 * MBIT, 70000), each = rate_of(MBIT, 1),
	     flows = rate_of(50, 20);
	Policy some = policy_of(&in), all = policy_of(&in);
	struct policy policy;

	all.priority = 0;
	all.egress = &out;
	all.flow_ingress = &each;
	all.flow_egress = &each;
	all.flows = &flows;
	all.set_dscp = true;
	all.dscp = 46;
	all.ecn_mark = true;
	must_apply(rig, (Policy *const[SERVICES]){&some, &all, &all});
	assert_true(told(rig, 0, &policy));
	assert_int_equal(policy.flags, 0);
	assert_int_equal(policy.priority, 0);
	/* A burst of TCP is 250 ms at least; this one is more. */
	assert_rate(&policy.service[POLICY_INGRESS], 8 * MBIT, 300000);
	assert_int_equal(policy.service[POLICY_EGRESS].unit_cost + policy.connections.unit_cost, 0);
	assert_true(told(rig, 1, &policy));
	assert_int_equal(policy.flags, POLICY_DSCP | POLICY_ECN_MARK);
	assert_int_equal(policy.dscp, 46 << 2);
	assert_int_equal(policy.priority, 6);
	assert_rate(&policy.service[POLICY_EGRESS], 400 * MBIT, 400 * MBIT / 8 / 4);
	assert_rate(&policy.flow[POLICY_INGRESS], MBIT, 64 * 1024);
	assert_int_equal(policy.connections.tolerance, gcra_rate(50, 1, 20).tolerance);
	assert_true(told(rig, 2, &policy));
	/* Without TCP what the relay has at least: 20 ms. */
	assert_rate(&policy.service[POLICY_EGRESS], 400 * MBIT, 400 * MBIT / 8 / 50);
	assert_rate(&policy.flow[POLICY_EGRESS], MBIT, 64 * 1024);
	assert_true(flows_kept(rig));
}

static void a_change_keeps_what_was_taken_and_counted(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	Rate in = rate_of(8 * MBIT, 300000), each = rate_of(MBIT, 1);
	Policy with_flows = policy_of(&in), other = policy_of(&in);
	struct policy_buckets buckets = {.tat = {12345, 6789}, .connections_tat = 5}, after;
	int cpus = libbpf_num_possible_cpus();
	struct policy_count *counts = calloc((size_t)cpus, sizeof(*counts));
	struct policy policy;

	with_flows.flow_ingress = &each;
	must_apply(rig, (Policy *const[SERVICES]){&other, &with_flows, NULL});
	assert_false(told(rig, 2, &policy));
	uint32_t index = index_of(rig, 1);
	packet_write(rig, "policy_buckets", &index, &buckets);
	counts[0].dropped[POLICY_INGRESS] = 7;
	counts[0].dropped_bytes[POLICY_INGRESS] = 7000;
	counts[cpus - 1].marked[POLICY_EGRESS] = 3;
	counts[cpus - 1].refused = 2;
	packet_write(rig, "policy_counters", &index, counts);
	free(counts);
	/* Another process goes on from what is pinned. */
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	other.set_dscp = true;
	other.dscp = 10;
	must_apply(rig, (Policy *const[SERVICES]){&other, &other, NULL});
	assert_true(told(rig, 1, &policy));
	assert_int_equal(policy.dscp, 40);
	assert_int_equal(policy.flow[POLICY_INGRESS].unit_cost, 0);
	assert_false(flows_kept(rig));
	packet_lookup(rig, "policy_buckets", &index, &after);
	assert_memory_equal(&after, &buckets, sizeof(after));
	PacketStatus *status = packet_rig_status(rig);
	for (size_t i = 0; i < status->n_services; i++) {
		Marcher__Packet__V1__PolicyTraffic *seen = status->services[i]->policy;
		if (!strcmp(status->services[i]->name, "udp"))
			assert_null(seen);
		else
			assert_non_null(seen);
		if (strcmp(status->services[i]->name, "nat"))
			continue;
		assert_int_equal(seen->ingress->dropped, 7);
		assert_int_equal(seen->ingress->dropped_bytes, 7000);
		assert_int_equal(seen->egress->marked, 3);
		assert_int_equal(seen->refused, 2);
	}
	packet_status_free(status);
	/* Taken away; what gets the index later begins anew. */
	must_apply(rig, (Policy *const[SERVICES]){NULL, NULL, NULL});
	for (int i = 0; i < SERVICES; i++)
		assert_false(told(rig, i, &policy));
	packet_rig_apply(rig, "");
	must_apply(rig, (Policy *const[SERVICES]){&other, &other, &other});
	for (int i = 0; i < SERVICES; i++) {
		index = index_of(rig, i);
		packet_lookup(rig, "policy_buckets", &index, &after);
		assert_int_equal(after.tat[0] + after.tat[1] + after.connections_tat, 0);
	}
}

/* A policy may have nothing that the programs hold packets to. */
static void a_service_has_nothing_of_the_policy_of_who_had_its_index(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	Rate in = rate_of(8 * MBIT, 300000);
	Policy some = policy_of(&in), nothing = policy_of(NULL);
	const struct policy none = {0};
	struct policy policy;

	must_apply(rig, (Policy *const[SERVICES]){&some, &some, &some});
	packet_rig_apply(rig, "");
	must_apply(rig, (Policy *const[SERVICES]){&nothing, &nothing, &nothing});
	for (int i = 0; i < SERVICES; i++) {
		assert_true(told(rig, i, &policy));
		assert_memory_equal(&policy, &none, sizeof(policy));
	}
}

static void what_cannot_be_held_is_refused_with_its_place(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	Rate slow = rate_of(999, 1), fast = rate_of(10000001ull * MBIT, 1), none = rate_of(0, 1), in = rate_of(MBIT, 1);
	Policy direct = policy_of(&in), wrong = policy_of(&slow), more = policy_of(&fast);
	static const char *const expected[] = {
	        "services[0].policy.egress: only with NAT",
	        "services[1].policy.priority: expected 0 to 3",
	        "services[1].policy.ingress: 999 bits per second",
	        "services[1].policy.flows: 0 per second",
	        "services[1].policy.dscp: expected 0 to 63",
	        "services[2].policy.ingress: 10000001000000 bits per second",
	};
	struct policy policy;

	must_apply(rig, (Policy *const[SERVICES]){NULL, NULL, NULL});
	direct.egress = &in;
	wrong.priority = 4;
	wrong.flows = &none;
	wrong.set_dscp = true;
	wrong.dscp = 64;
	ApplyReply *reply = apply(rig, (Policy *const[SERVICES]){&direct, &wrong, &more});
	assert_false(reply->accepted);
	for (size_t e = 0; e < sizeof(expected) / sizeof(expected[0]); e++) {
		bool found = false;
		for (size_t i = 0; i < reply->n_reasons; i++) {
			char text[512];
			snprintf(text, sizeof(text), "%s: %s", reply->reasons[i]->path, reply->reasons[i]->reason);
			found |= !strncmp(text, expected[e], strlen(expected[e]));
		}
		if (!found)
			fail_msg("no reason begins by %s", expected[e]);
	}
	assert_int_equal(reply->n_reasons, sizeof(expected) / sizeof(expected[0]));
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	for (int i = 0; i < SERVICES; i++)
		assert_false(told(rig, i, &policy));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_programs_are_told_what_the_policy_says),
	        TEST(a_change_keeps_what_was_taken_and_counted),
	        TEST(a_service_has_nothing_of_the_policy_of_who_had_its_index),
	        TEST(what_cannot_be_held_is_refused_with_its_place),
	};
	return cmocka_run_group_tests_name("packet_policy", tests, packet_rig_namespaces, NULL);
}
