/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace of the calling thread's own, with one veth pair: what real packets are tried on. It is gone when
 * the thread ends, however the process does; nothing of it is pinned or named outside.
 *
 *   "inside"  192.0.2.1/24, forwarding on; programs are attached here
 *   "wire"    the other end: what is sent there comes in inside, and what inside sends comes out there
 */
#ifndef CONTROL_PACKET_SCRATCH_H
#define CONTROL_PACKET_SCRATCH_H

#include <stdint.h>

#define SCRATCH_INSIDE_MAC "\x02\x00\x00\x00\x00\x01"
#define SCRATCH_WIRE_MAC "\x02\x00\x00\x00\x00\x02"
/* On the wire, with a neighbour entry. */
#define SCRATCH_BACKEND 0xc0000202u /* 192.0.2.2 */
#define SCRATCH_INSIDE 0xc0000201u  /* 192.0.2.1 */

struct packet_scratch {
	uint32_t inside, wire;  /* interface indices */
	int inside_fd, wire_fd; /* packet sockets; -1 */
};

/* Moves the calling thread into it: not to be called on a thread that does anything else. Returns 0, or -errno and what
 * could not be done in *what. */
int packet_scratch_enter(struct packet_scratch *scratch, const char **what);
void packet_scratch_close(struct packet_scratch *scratch);

#endif
