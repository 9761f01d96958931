/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace of the calling thread's own, with one veth pair: what real packets are tried on. It is gone when
 * the thread ends, however the process does; nothing of it is pinned or named outside.
 *
 *   "inside"  192.0.2.1/24 and 2001:db8:1::1/64, forwarding on; programs are attached here
 *   "wire"    the other end: what is sent there comes in inside, and what inside sends comes out there
 */
#ifndef CONTROL_PACKET_SCRATCH_H
#define CONTROL_PACKET_SCRATCH_H

#include <stdint.h>

#include "bpf/lib/layout.h"

#define SCRATCH_INSIDE_MAC "\x02\x00\x00\x00\x00\x01"
#define SCRATCH_WIRE_MAC "\x02\x00\x00\x00\x00\x02"

enum scratch_family { SCRATCH_V4, SCRATCH_V6, SCRATCH_FAMILIES };

/* By family. backend and client are on the wire, with neighbour entries. */
extern const struct address scratch_inside[SCRATCH_FAMILIES], scratch_backend[SCRATCH_FAMILIES],
        scratch_client[SCRATCH_FAMILIES];

struct packet_scratch {
	uint32_t inside, wire;  /* interface indices */
	int inside_fd, wire_fd; /* packet sockets; -1 */
	int v6_error;           /* why nothing can be tried over IPv6; 0: it can */
};

/* Moves the calling thread into it: not to be called on a thread that does anything else. Returns 0, or -errno and what
 * could not be done in *what. */
int packet_scratch_enter(struct packet_scratch *scratch, const char **what);
void packet_scratch_close(struct packet_scratch *scratch);

#endif
