/* SPDX-License-Identifier: Apache-2.0 */
/* The ring of a service: the engine's Maglev table, so that every tier and every node picks alike. */
#ifndef CONTROL_PACKET_RING_H
#define CONTROL_PACKET_RING_H

#include <stdbool.h>
#include <stdint.h>

struct ring_member {
	const char *name;
	const uint8_t *address; /* 16 bytes, IPv4 mapped */
	uint32_t weight;
	uint32_t index; /* what stands in its slots */
};

/* Fills slots[size]. size is a prime of at least count, count at least 1. Returns 0 or -errno. */
int packet_ring_fill(const struct ring_member *members, uint32_t count, uint32_t size, uint32_t *slots);

/* Of everything that the ring depends on, so that an unchanged one is not built again; never 0. */
uint64_t packet_ring_fingerprint(const struct ring_member *members, uint32_t count, uint32_t size);

/* Of any bytes; never 0. */
uint64_t packet_fingerprint(const void *bytes, uint64_t length);

bool packet_ring_size_is_prime(uint32_t size);

#endif
