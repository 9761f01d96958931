/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may send what is over a rate later: the queueing disciplines of the interfaces, kept as the services in force
 * need them. fq, with the time at which each packet may leave, or HTB, with a class per service and direction; where
 * neither can be had, or somebody has a queueing discipline of his own, packets over a rate are dropped, and the reason
 * is told.
 *
 * A root is changed when the first service needs it and given back when none does any more; in between classes are
 * changed in place. What is ours is known by its handle, and noted by a pin: see packet_tc.c.
 */
#ifndef CONTROL_PACKET_SHAPE_H
#define CONTROL_PACKET_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/lib/layout.h"
#include "packet_qdisc.h"

struct marcher_packet;

#define SHAPE_REASON_SIZE 256

/* What one service needs. 0 bytes per second: no rate. */
struct packet_shape_need {
	uint32_t service; /* its index */
	uint32_t priority;
	uint64_t bytes_per_second[POLICY_DIRECTIONS];
	uint64_t burst_bytes[POLICY_DIRECTIONS];
	bool flow_rates; /* of each flow: fq alone has their packets wait */
};

/* packet_shape_choice.c */
enum packet_shape_choice {
	SHAPE_LEAVE,  /* as it is; the reason says why */
	SHAPE_USE_FQ, /* which is there */
	SHAPE_KEEP,   /* ours */
	SHAPE_MAKE,   /* ours in place of a default, or of another of ours */
};

/* Of services: what they need. */
struct packet_shape_sum {
	bool rates;      /* one has a rate */
	bool flow_rates; /* one has a rate of each flow: HTB is of no use for that */
	bool priorities; /* one has another priority than the default */
};

/* What is to become of a root. mode: enum marcher_egress_shaping. Of another Marcher's the reason is to be ended by
 * whose.
 */
enum packet_shape_choice packet_shape_choose(uint32_t mode, const struct packet_shape_sum *sum,
                                             const struct qdisc_root *root, char reason[SHAPE_REASON_SIZE]);
/* Is it fq, in each of its queues? */
bool packet_shape_is_fq(const struct qdisc_root *root);

/* packet_shape.c, under calls_lock. */
/* Reads what an earlier process has left. MARCHER_OK or a failure. */
int packet_shape_open(struct marcher_packet *handle);
/* Has the interfaces be as these services need them, whose list is copied. What an interface lacks is in its reason. */
int packet_shape_apply(struct marcher_packet *handle, const struct packet_shape_need *needs, uint32_t count);
/* The same for the services that are in force by the handle's state. */
int packet_shape_services(struct marcher_packet *handle);
/* Now and then: follows changes by others, and takes away what nobody has needed for a while. */
int packet_shape_tend(struct marcher_packet *handle);
void packet_shape_close(struct marcher_packet *handle);

/* Under table_lock. "fq", "htb" or "", and why not, by the interface's position. */
const char *packet_shape_kind(const struct marcher_packet *handle, uint32_t interface);
const char *packet_shape_reason(const struct marcher_packet *handle, uint32_t interface);

/* Tests: how long what nobody needs any more stays. */
extern unsigned packet_shape_linger_s;

#endif
