/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fixture tests of tc: a frame in, and what must become of it. */
#ifndef TESTS_CASES_NAT_H
#define TESTS_CASES_NAT_H

#include "nat_world.h"

enum nat_outcome {
	NAT_PASSES = 0, /* on, unchanged */
	NAT_DROPPED,    /* for reason */
	NAT_LEAVES,     /* by a route, as want */
	NAT_GOES_ON,    /* to the stack, or out of it, as want */
	NAT_TOLD,       /* the sender, that mtu fits */
};

#define NAT_NOT_FAST UINT32_MAX

struct nat_case {
	char *name;
	enum nat_hook hook;
	struct spec before; /* destination_port 0: none. A client's packet that goes first, by ingress */
	struct spec in;
	uint32_t gso_size;
	bool own; /* the destination is this node's own address, too */
	enum nat_outcome outcome;
	enum drop_reason reason;
	uint32_t mtu;
	struct spec want;
	uint32_t service; /* whose counters count: 0: not looked at */
	bool returned;    /* what the backend has sent */
	/* XDP carries it where the flow is confirmed, to the next hop that the backend of this index has; 0: it is
	 * tc's; NAT_NOT_FAST: it is about the beginning of a flow. */
	uint32_t fast;
};

struct nat_case_list {
	struct nat_case *cases;
	size_t count, space;
};

__attribute__((format(printf, 3, 4))) void nat_case_add(struct nat_case_list *list, const struct nat_case *c,
                                                        const char *name, ...);

void cases_nat_forward(struct nat_case_list *list);
void cases_nat_errors(struct nat_case_list *list);
void cases_nat_prefix(struct nat_case_list *list);

/* A cmocka test of one case, which is *state. */
void nat_run_case(void **state);

/* The same packet, of a confirmed flow, in XDP: as tc has it, or left to tc as it is. */
void nat_fast_run_case(void **state);

struct CMUnitTest;
extern const struct CMUnitTest *const nat_fast_tests;
extern const size_t nat_fast_tests_count;
extern const struct CMUnitTest *const nat_flow_tests;
extern const size_t nat_flow_tests_count;

#endif
