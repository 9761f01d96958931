/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of tc in the world of world.h. */
#ifndef TESTS_NAT_WORLD_H
#define TESTS_NAT_WORLD_H

#include "world.h"

enum nat_hook {
	NAT_INGRESS,
	NAT_EGRESS,
};

/* What is done with a packet: enum tc_act, as the kernel tells. */
#define VERDICT_ON 0xffffffffu
#define VERDICT_DROP 2u
#define VERDICT_OUT 7u

enum nat_table {
	NAT_CONFIRMED_FLOWS,
	NAT_NEW_FLOWS,
};

/* After world_open. */
bool nat_open(const char *objects);
void nat_close(void);
/* world_reset, no translated flows, and settings as at first. */
void nat_reset(void);
/* gso_size: the buffer is one of many segments, 0: it is not. */
void nat_run(enum nat_hook hook, const struct frame *frame, uint32_t gso_size, struct result *result);

/* The source port that the flow of this frame gets towards its backend when the attempt is its first and finds it free.
 */
uint16_t nat_expected_port(const struct frame *frame, uint32_t attempt);

bool nat_entry(enum nat_table table, const struct flow_key *key, struct nat_flow *entry);
void nat_put(enum nat_table table, const struct flow_key *key, const struct nat_flow *entry);
void nat_remove(enum nat_table table, const struct flow_key *key);
/* A map that the programs of tc alone have. */
int nat_map(const char *name);
uint32_t nat_count(enum nat_table table);
void nat_set_settings(const struct nat_settings *settings);

#endif
