/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fixture tests: a frame in, and what must become of it. Each case runs by itself, in a fresh world. */
#ifndef TESTS_CASES_H
#define TESTS_CASES_H

#include "frame.h"
#include "guard.h"
#include "world.h"

enum outcome {
	PASSES = 0, /* to the stack, unchanged */
	DROPPED,    /* for reason */
	FORWARDED,  /* to backend by forwarding */
	ECHOED,
	TOLD,       /* the sender, that mtu fits */
	STRIPPED,   /* of its outer header: want is left */
	REDIRECTED, /* by a rule, to a device: unchanged */
	REROUTED,   /* by a rule, to the host whose facts are backend's: with its Ethernet address */
	KEPT,       /* to the stack, unchanged, but counted as carried: the backend is here */
};

struct test_case {
	char *name;
	struct spec in;
	enum outcome outcome;
	enum drop_reason reason;
	enum forwarding forwarding;
	uint32_t backend;
	uint32_t service; /* FORWARDED, KEPT: whose counters count */
	uint32_t mtu;
	const struct spec *want;
	const struct guard_setup *guard; /* NULL: nothing is guarded */
	bool own;                        /* the destination is this node's own address, too; without a guard */
	uint32_t counter;                /* of the rule that decides; 0: none is looked at */
	const struct spec *flow;         /* whose hash the outer header has: in's when NULL */
};

struct case_list {
	struct test_case *cases;
	size_t count, space;
};

/* Appends a copy, named by a format. */
__attribute__((format(printf, 3, 4))) void case_add(struct case_list *list, const struct test_case *c, const char *name,
                                                    ...);

void cases_forward(struct case_list *list);
void cases_parse(struct case_list *list);
void cases_icmp(struct case_list *list);
void cases_decap(struct case_list *list);
void cases_prefix(struct case_list *list);
void cases_guard(struct case_list *list);
void cases_guard_rules(struct case_list *list);

/* The VIPs that cases_prefix is about; then whether the programs are told that there are any. */
void prefixes_fill(void);
void prefixes_use(bool used);

#endif
