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

/* xdp_nat has no ways kept, and carries by in0 and out0. */
void nat_fast_reset(void);
/* Runs a frame, come by in0, through xdp_nat alone. A slot would have to be filled, which takes the kernel long. */
void nat_fast_run(const struct frame *frame, struct result *result);
/* Fills its slot, until the world is reset. */
void nat_fast_slot(void);
/* Whether xdp_nat may carry what comes by the device, or leaves by it; until the next nat_fast_reset(). */
void nat_fast_device(const char *name, bool may);
/* What it has counted of a service. */
struct traffic nat_fast_traffic(uint32_t service);

/* The source port that the flow of this frame gets towards its backend when the attempt is its first and finds it free.
 */
uint16_t nat_expected_port(const struct frame *frame, uint32_t attempt);

bool nat_entry(enum nat_table table, const struct flow_key *key, struct nat_flow *entry);
void nat_put(enum nat_table table, const struct flow_key *key, const struct nat_flow *entry);
void nat_remove(enum nat_table table, const struct flow_key *key);
/* A map that the programs of tc alone have. */
int nat_map(const char *name);
uint32_t nat_count(enum nat_table table);
/* The key behind previous, or the first; false: there is none. */
bool nat_next(enum nat_table table, const struct flow_key *previous, struct flow_key *key);
/* Has the programs find no tables, until they are given back. */
void nat_take_tables(bool away);
/* Moves every new flow to the confirmed ones. */
void nat_confirm(void);
void nat_set_settings(const struct nat_settings *settings);

#endif
