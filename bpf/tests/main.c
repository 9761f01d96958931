/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets in, packets out: runs the BPF programs by BPF_PROG_TEST_RUN, one cmocka test per case.
 *
 *   MARCHER_BPF_OBJECTS=DIRECTORY packet-tests [PATTERN]
 *
 * DIRECTORY has xdp_root, xdp_guard, xdp_cookies, xdp_lb, xdp_nat, decap, tc_ingress, tc_egress and tc_decap as .bpf.o
 * or .o. PATTERN chooses tests by name, as a shell's. Needs root and makes a network namespace of its own. Exits with
 * 77 (skipped) without the privilege, unless MARCHER_BPF_REQUIRED is set.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cases.h"
#include "cases_nat.h"
#include "decap_tests.h"
#include "expect.h"
#include "flow_tests.h"
#include "guard_tests.h"
#include "lib/layout_names.h"
#include "policy_tests.h"
#include "quic_tests.h"
#include "shape_tests.h"

#define SKIPPED 77

void case_add(struct case_list *list, const struct test_case *c, const char *name, ...)
{
	if (list->count == list->space) {
		list->space = list->space ? list->space * 2 : 256;
		list->cases = realloc(list->cases, list->space * sizeof(*list->cases));
		if (!list->cases)
			abort();
	}
	struct test_case *added = &list->cases[list->count++];
	*added = *c;
	va_list arguments;
	va_start(arguments, name);
	if (vasprintf(&added->name, name, arguments) < 0)
		abort();
	va_end(arguments);
}

static const char *verdict_name(uint32_t verdict)
{
	static const char *const names[] = {"XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"};
	return verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "another";
}

/* Every reason, so that a packet dropped for a wrong one says for which. */
static bool check_drops(const struct test_case *c)
{
	bool good = true;
	for (int reason = 0; reason < DROP_REASONS; reason++) {
		uint64_t expected = c->outcome == DROPPED && reason == (int)c->reason, actual = world_drops(reason);
		if (actual != expected) {
			fprintf(stderr, "%s: drops[%s] is %lu, expected %lu\n", c->name, drop_reason_names[reason],
			        (unsigned long)actual, (unsigned long)expected);
			good = false;
		}
	}
	return good;
}

/* Of the service, those that are of the way to its backends. */
static bool check_failures(const struct test_case *c)
{
	bool good = true;
	for (int reason = 0; reason < DROP_REASONS; reason++) {
		bool way = reason == DROP_NO_ROUTE || reason == DROP_NO_NEIGHBOUR || reason == DROP_FORWARDING_OFF ||
		           reason == DROP_NO_HEADROOM;
		uint64_t expected = way && c->outcome == DROPPED && reason == (int)c->reason;
		uint64_t actual = world_failures(c->service, reason);
		if (actual == expected)
			continue;
		fprintf(stderr, "%s: the service has %lu failures by %s, expected %lu\n", c->name,
		        (unsigned long)actual, drop_reason_names[reason], (unsigned long)expected);
		good = false;
	}
	return good;
}

static bool check_traffic(const struct test_case *c, const char *what, struct traffic actual, uint64_t bytes)
{
	uint64_t packets = bytes ? 1 : 0;
	if (actual.packets == packets && actual.bytes == bytes)
		return true;
	fprintf(stderr, "%s: the %s counts %lu packets, %lu bytes; expected %lu, %lu\n", c->name, what,
	        (unsigned long)actual.packets, (unsigned long)actual.bytes, (unsigned long)packets,
	        (unsigned long)bytes);
	return false;
}

static uint32_t expect(const struct test_case *c, const struct frame *in, struct frame *out)
{
	struct frame flow;
	struct spec stripped;
	switch (c->outcome) {
	case FORWARDED:
		frame_build(&flow, c->flow ? c->flow : &c->in);
		expect_forwarded(out, in, c->forwarding, c->backend, expect_hash(&flow));
		return world_backend(c->backend)->transmits ? XDP_TX : XDP_REDIRECT;
	case ECHOED:
		expect_echo_reply(out, in);
		return XDP_TX;
	case TOLD:
		expect_too_big(out, in, c->mtu);
		return XDP_TX;
	case STRIPPED:
		stripped = *c->want;
		stripped.tags = c->in.tags;
		stripped.padding = c->in.padding;
		frame_build(out, &stripped);
		return XDP_PASS;
	case REROUTED:
		expect_forwarded(out, in, FORWARDING_L2, c->backend, 0);
		return world_backend(c->backend)->transmits ? XDP_TX : XDP_REDIRECT;
	case REDIRECTED:
		*out = *in;
		return XDP_REDIRECT;
	default:
		*out = *in;
		return c->outcome == DROPPED ? XDP_DROP : XDP_PASS;
	}
}

static void run_case(void **state)
{
	const struct test_case *c = *state;
	struct frame in, expected;
	struct result result = {0};
	frame_build(&in, &c->in);
	world_reset();
	guard_set(c->guard);
	if (!c->guard)
		world_set_own(&in, c->own);
	world_run(&in, &result);
	if (c->own)
		world_set_own(&in, false);
	uint32_t verdict = expect(c, &in, &expected);
	bool good = check_drops(c);
	if (result.verdict != verdict) {
		fprintf(stderr, "%s: the verdict is %s, expected %s\n", c->name, verdict_name(result.verdict),
		        verdict_name(verdict));
		good = false;
	} else if (verdict != XDP_DROP && (result.frame.length != expected.length ||
	                                   memcmp(result.frame.data, expected.data, expected.length))) {
		frame_report(c->name, &expected, &result.frame);
		good = false;
	}
	bool carried = c->outcome == FORWARDED || c->outcome == KEPT;
	if (c->service)
		good &= check_failures(c);
	if (c->service)
		good &= check_traffic(c, "service", world_service_traffic(c->service), carried ? in.length : 0);
	if (c->counter)
		good &= check_traffic(c, "rule", guard_traffic(c->counter), in.length);
	if (c->backend && c->outcome != REROUTED)
		good &= check_traffic(c, "backend", world_backend_traffic(c->backend), carried ? in.length : 0);
	assert_true(good);
}

int main(int argc, char **argv)
{
	const char *objects = getenv("MARCHER_BPF_OBJECTS");
	if (!objects) {
		fprintf(stderr, "MARCHER_BPF_OBJECTS is not set; expected the directory of the compiled programs\n");
		return 2;
	}
	struct case_list list = {0};
	cases_forward(&list);
	cases_parse(&list);
	cases_icmp(&list);
	cases_decap(&list);
	cases_prefix(&list);
	cases_guard(&list);
	cases_guard_rules(&list);
	struct nat_case_list nat_list = {0};
	cases_nat_forward(&nat_list);
	cases_nat_errors(&nat_list);
	cases_nat_prefix(&nat_list);
	/* Each of those at ingress once more, in XDP. */
	struct nat_case_list fast_list = {0};
	for (size_t i = 0; i < nat_list.count; i++)
		if (nat_list.cases[i].hook == NAT_INGRESS && nat_list.cases[i].fast != NAT_NOT_FAST)
			nat_case_add(&fast_list, &nat_list.cases[i], "xdp_nat: %s", nat_list.cases[i].name);
	struct case_list tc_list = {0}, decap_list = {0};
	cases_decap(&decap_list);
	for (size_t i = 0; i < decap_list.count; i++) {
		const struct test_case *c = &decap_list.cases[i];
		/* The kernel runs programs of tc only on frames with the whole IP header. */
		if (!c->in.cut || c->in.cut >= (c->in.version == 6 ? 54 : 34))
			case_add(&tc_list, c, "tc: %s", c->name);
		free(decap_list.cases[i].name);
	}
	free(decap_list.cases);
	const size_t cases = list.count + nat_list.count + tc_list.count + fast_list.count;
	struct CMUnitTest *tests =
	        calloc(cases + flow_tests_count + nat_flow_tests_count + nat_fast_tests_count + guard_tests_count +
	                       decap_tests_count + policy_tests_count + quic_tests_count + shape_tests_count,
	               sizeof(*tests));
	if (!tests)
		return 2;
	for (size_t i = 0; i < list.count; i++)
		tests[i] = (struct CMUnitTest){
		        .name = list.cases[i].name, .test_func = run_case, .initial_state = &list.cases[i]};
	for (size_t i = 0; i < nat_list.count; i++)
		tests[list.count + i] = (struct CMUnitTest){
		        .name = nat_list.cases[i].name, .test_func = nat_run_case, .initial_state = &nat_list.cases[i]};
	for (size_t i = 0; i < tc_list.count; i++)
		tests[list.count + nat_list.count + i] = (struct CMUnitTest){.name = tc_list.cases[i].name,
		                                                             .test_func = decap_run_case_by_tc,
		                                                             .initial_state = &tc_list.cases[i]};
	for (size_t i = 0; i < fast_list.count; i++)
		tests[list.count + nat_list.count + tc_list.count + i] =
		        (struct CMUnitTest){.name = fast_list.cases[i].name,
		                            .test_func = nat_fast_run_case,
		                            .initial_state = &fast_list.cases[i]};
	memcpy(tests + cases, flow_tests, flow_tests_count * sizeof(*tests));
	memcpy(tests + cases + flow_tests_count, nat_flow_tests, nat_flow_tests_count * sizeof(*tests));
	size_t count = cases + flow_tests_count + nat_flow_tests_count;
	memcpy(tests + count, nat_fast_tests, nat_fast_tests_count * sizeof(*tests));
	count += nat_fast_tests_count;
	memcpy(tests + count, guard_tests, guard_tests_count * sizeof(*tests));
	count += guard_tests_count;
	memcpy(tests + count, decap_tests, decap_tests_count * sizeof(*tests));
	count += decap_tests_count;
	memcpy(tests + count, policy_tests, policy_tests_count * sizeof(*tests));
	count += policy_tests_count;
	memcpy(tests + count, quic_tests, quic_tests_count * sizeof(*tests));
	count += quic_tests_count;
	memcpy(tests + count, shape_tests, shape_tests_count * sizeof(*tests));
	count += shape_tests_count;
	if (geteuid() && !getenv("MARCHER_BPF_REQUIRED")) {
		fprintf(stderr, "skipped: %zu tests of the BPF programs need root\n", count);
		return SKIPPED;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (!world_open(objects) || !nat_open(objects))
		return 2;
	prefixes_fill();
	int failed = _cmocka_run_group_tests("packets", tests, count, NULL, NULL);
	nat_close();
	world_close();
	for (size_t i = 0; i < list.count; i++)
		free(list.cases[i].name);
	free(list.cases);
	for (size_t i = 0; i < tc_list.count; i++)
		free(tc_list.cases[i].name);
	free(tc_list.cases);
	for (size_t i = 0; i < nat_list.count; i++)
		free(nat_list.cases[i].name);
	free(nat_list.cases);
	for (size_t i = 0; i < fast_list.count; i++)
		free(fast_list.cases[i].name);
	free(fast_list.cases);
	free(tests);
	return failed ? 1 : 0;
}
