/* SPDX-License-Identifier: Apache-2.0 */
/* The frames that the probe sends, and how what comes out is told. */
#ifndef CONTROL_PACKET_PROBE_FRAME_H
#define CONTROL_PACKET_PROBE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet_scratch.h"

#define PROBE_FRAME_MAX 256
#define PROBE_GUE_PORT 6080
#define PROBE_PORT 9
#define PROBE_DENIED_PORT 10
#define PROBE_CLIENT_PORT 40000
#define PROBE_TTL 64

extern const struct address probe_vip[SCRATCH_FAMILIES];

/* A UDP datagram. Ports in host order. */
struct probe_packet {
	enum scratch_family family;
	struct address source, destination;
	uint16_t source_port, destination_port; /* 0 where it is not UDP */
	uint8_t protocol, ttl;
	size_t payload; /* what is behind the IP header, and the UDP header where there is one */
};

/* Writes it, from the wire to inside, with checksums; outer: inside another header from the client to inside. Returns
 * the frame's length. */
size_t probe_frame_write(uint8_t frame[PROBE_FRAME_MAX], const struct probe_packet *packet, bool outer);

/* The IP packet at that place in a frame. False: there is none, or it is damaged. */
bool probe_packet_read(const uint8_t *frame, size_t length, size_t at, struct probe_packet *packet);

/* From client to VIP, as it is sent. */
struct probe_packet probe_request(enum scratch_family family, uint16_t port);
/* Is that the request to the port, and what is its TTL? */
bool probe_is_request(const struct probe_packet *packet, enum scratch_family family, uint16_t port, uint8_t ttl);

#endif
