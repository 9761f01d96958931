/* SPDX-License-Identifier: Apache-2.0 */
/* What of layout 1 a later build reads, as it was: never changed. */
#ifndef CONTROL_PACKET_LAYOUT_V1_H
#define CONTROL_PACKET_LAYOUT_V1_H

#include <stdint.h>

struct v1_address {
	uint32_t word[4];
};

/* Map backends: array of 65536. */
struct v1_backend {
	struct v1_address address, source;
	uint32_t generation, flags;
};

#define V1_BACKEND_IN_USE 1u

/* Map flows: LRU hash. */
struct v1_flow_key {
	struct v1_address source, destination;
	uint16_t source_port, destination_port;
	uint8_t protocol, reserved[3];
};

struct v1_flow {
	uint32_t backend, generation;
};

/* Maps service_counters and backend_counters: per-CPU arrays. */
struct v1_traffic {
	uint64_t packets, bytes;
};

/* Maps service_records and backend_records: hashes by index. */
struct v1_service_record {
	uint64_t ring;
	char name[128];
};

struct v1_backend_record {
	uint32_t service;
	char name[256];
};

/* Map drops: per-CPU array of uint64_t, by this order; the first is none. */
#define V1_DROPS                                                                                                       \
	{                                                                                                              \
		"none", "truncated", "bad-length", "bad-checksum", "fragment", "no-backend", "no-route",               \
		        "no-neighbour", "too-big", "no-headroom", "ttl", "forwarding-off", "congestion", "bad-version" \
	}

#endif
