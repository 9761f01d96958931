/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the programs run in tests: a network namespace of this process with interfaces, routes and neighbours, and the
 * programs' maps filled by hand.
 *
 *   in0   the frames under test come by it; 192.0.2.0/24, 2001:db8:1::/64: backends here are answered to by XDP_TX
 *   out0  10.1.0.0/24, fd00:1::/64 and what is routed over them
 *   out1  10.3.0.0/24, fd00:3::/64; stands for a VLAN device (id 300, 802.1Q) above in0
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "lib/layout.h"

struct bpf_object;

#define GUE_PORT 6080
#define BACKEND_PORT 8080 /* of NAT; BACKEND_V4_GATEWAY and BACKEND_V6_GATEWAY have none of their own */
#define SERVICE_PORT(service) ((uint16_t)(1000 + (service)))
#define ANY_PORT_VIP_V4 "198.51.100.2" /* port 0: every one of TCP, service SERVICE_IPIP */
#define ANY_PORT_VIP_V6 "2001:db8:100::2"
#define DECAP_V4 "10.1.0.1"
#define DECAP_V6 "fd00:1::1"
#define DECAP_NO_GUE "10.1.0.2" /* without a GUE port */

/* Backends; the names are the addresses' parts. */
enum backend_index {
	BACKEND_V4 = 1,          /* 10.1.0.11 */
	BACKEND_V6,              /* fd00:1::11 */
	BACKEND_V4_GATEWAY,      /* 10.2.0.11 via 10.1.0.254 */
	BACKEND_V6_GATEWAY,      /* fd00:2::11 via fd00:1::fe */
	BACKEND_V4_IN,           /* 192.0.2.11 */
	BACKEND_V6_IN,           /* 2001:db8:1::11 */
	BACKEND_V4_VLAN,         /* 10.3.0.11 */
	BACKEND_V6_VLAN,         /* fd00:3::11 */
	BACKEND_V4_SMALL,        /* 10.9.0.11, route of MTU 1400, locked: others bind sockets alone */
	BACKEND_V6_SMALL,        /* fd00:9::11, route of MTU 1400, locked: others bind sockets alone */
	BACKEND_NO_ROUTE,        /* 172.31.0.1 */
	BACKEND_UNREACHABLE,     /* 172.30.0.1: an unreachable route */
	BACKEND_BLACKHOLE,       /* 172.29.0.1: a blackhole route */
	BACKEND_NO_NEIGHBOUR,    /* 10.1.0.99 */
	BACKEND_LOCAL_V4,        /* 10.1.0.1 */
	BACKEND_V6_NO_ROUTE,     /* fdff::1 */
	BACKEND_V6_NO_NEIGHBOUR, /* fd00:1::99 */
	BACKEND_LOCAL_V6,        /* fd00:1::1 */
	BACKEND_UNUSED,          /* flags 0 */
	BACKEND_RING,            /* and those after it: 10.1.0.101 ... */
};

#define RING_BACKENDS 8
#define RING_SLOTS 251

enum service_index {
	SERVICE_FREE = 0, /* forwarding 0 */
	/* One backend each. For forwarding f and backend b: SERVICE_OF(f, b). */
	SERVICE_FIRST = 1,
	SERVICE_IPIP = 200, /* of many backends */
	SERVICE_RING,       /* IPIP, RING_BACKENDS backends */
	SERVICE_SOURCE,     /* the same, by source address */
	SERVICE_STATELESS,  /* the same, no flows */
	SERVICE_EMPTY,      /* no ring */
	SERVICE_ZERO,       /* a ring of zeros */
	SERVICE_RING_GUE,
	SERVICE_LYING,    /* a ring that claims more slots than it has */
	SERVICE_NO_SLOTS, /* a ring that claims none */
	/* By NAT, one backend each, without and with SERVICE_SOURCE_NAT: SERVICE_NAT + backend. */
	SERVICE_NAT = 257,
	SERVICE_SOURCE_NATTED = 321,
	SERVICES_USED = 385,
};

#define SERVICE_OF(forwarding, backend) (SERVICE_FIRST + ((forwarding)-1) * 64 + (backend))

struct backend_facts {
	const char *address, *source;
	const char *next_hop, *device; /* Ethernet addresses of an outgoing frame */
	bool transmits;                /* by in0 */
	uint16_t vlan;
};

struct result {
	uint32_t verdict;
	uint32_t priority; /* of tc's: what the kernel's queues go by */
	uint64_t tstamp;   /* of tc's: when it may leave */
	struct frame frame;
};

/* False with a reason on stderr. */
bool world_open(const char *objects);
void world_close(void);

#define NAT_FLOWS_TEST 65536
/* Small enough to be flooded. */
#define NAT_NEW_TEST 4096

/* A map of the programs', by name; -1. */
int world_map(const char *name);
unsigned world_in0(void);
/* IPv4 as ::ffff:a.b.c.d. */
struct address world_address(const char *text);
/* What a program has in common with the others becomes theirs; then it is loaded. */
bool world_load(const char *objects, const char *name, struct bpf_object **object, int *fd);

/* No flows, no counts, rings and backends as they were at first. */
void world_reset(void);

/* Runs a frame, come by in0, through xdp_root. */
void world_run(const struct frame *frame, struct result *result);
/* The same through a program of XDP itself. */
void world_run_program(int program, const struct frame *frame, struct result *result);
/* So many times, one at once after the other: of a frame that nothing changes. Any thread. */
void world_run_times(const struct frame *frame, uint32_t times);

const struct backend_facts *world_backend(uint32_t index);

uint64_t world_drops(enum drop_reason reason);
/* Of a per-CPU array of counters. */
struct traffic world_traffic(int map, uint32_t index);
struct traffic world_service_traffic(uint32_t service);
/* Packets of it that could not be sent on for this reason. */
uint64_t world_failures(uint32_t service, enum drop_reason reason);
struct traffic world_backend_traffic(uint32_t backend);

/* Puts a new ring in place: entries[i] is slot i. */
void world_set_ring(uint32_t service, const uint32_t *entries, uint32_t slots);
/* Every slot one backend; 0: of none. */
void world_fill_ring(uint32_t service, uint32_t backend);
void world_remove_ring(uint32_t service);
void world_set_backend(uint32_t index, uint32_t generation, uint32_t flags);
void world_set_service(uint32_t index, uint32_t flags, enum forwarding forwarding); /* stays until set again */
void world_set_service_flags(uint32_t service, uint32_t flags); /* of an IPIP service; stays until set again */
uint32_t world_ring_entry(uint32_t slot);                       /* of the rings of RING_BACKENDS, as at first */

uint32_t world_flow_count(void);
/* The first in the table as it stands in the map, or NULL. */
struct flow *world_a_flow(void);
/* mask 0: all flows in one set. */
void world_set_flow_settings(uint32_t mask, uint32_t seed);
void world_forget_next_hops(void);
/* Every element of an array of per-CPU values becomes zero. */
void world_forget(int map);

/* Fills a slot, until the world is reset. */
void world_set_slot(uint32_t slot, int program);
/* Empties a slot, or fills it with a program that answers every frame that gets there with verdict. */
void world_set_slot_verdict(uint32_t slot, uint32_t verdict);
void world_clear_slot(uint32_t slot);
/* Puts a program before that in the slot that leaves headroom bytes before a frame of this length. */
void world_limit_headroom(uint32_t slot, uint32_t headroom, uint32_t length);

/* Has own_addresses hold the destination of this frame, without VLAN tags, alone; false: nothing. */
void world_set_own(const struct frame *frame, bool own);

/* net.ipv4.conf.in0.forwarding and net.ipv6's. */
void world_set_forwarding(bool on);

#endif
