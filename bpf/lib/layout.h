/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What the maps hold: the contract between the BPF programs and the control library that fills the maps. Both compile
 * this header. Pins live under a folder that is named by LAYOUT_VERSION; any change here is a new version.
 *
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d, so that one table holds both families. Ports are in
 * network order, everything else is in host order.
 */
#ifndef BPF_LAYOUT_H
#define BPF_LAYOUT_H

#include <linux/types.h>

#define LAYOUT_VERSION 2

#define VIPS_MAX 65536u
#define SERVICES_MAX 16384u
#define BACKENDS_MAX 65536u
#define RING_SLOTS_MAX 5000011u
#define FLOWS_DEFAULT                                                                                  \
	4194304u /* ways of the flow table, 16 bytes each; the control library may choose another size \
	          */

struct address {
	__u32 word[4];
};

/* Map vips: hash. Port 0 is every port of the protocol, looked up second. */
struct vip_key {
	struct address address;
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 reserved;
};

struct vip {
	__u32 service; /* index into services and rings */
};

enum forwarding {
	FORWARDING_IPIP = 1, /* IP in IP (RFC 2003), IPv6 in IPv6 (RFC 2473), IPv4 in IPv6 */
	FORWARDING_GUE = 2,  /* direct IP in UDP: the GUE variant 1 (draft-ietf-intarea-gue-09, section 4) */
	FORWARDING_L2 = 3,   /* only the Ethernet addresses change: backends on the same link */
};

#define SERVICE_NO_FLOWS 1u    /* flags: the ring alone decides */
#define SERVICE_SOURCE_ONLY 2u /* flags: the ring is asked by the source address alone: affinity */

/* Map services: array. */
struct service {
	__u32 flags;
	__u16 forwarding; /* enum forwarding; 0: the index is free */
	__be16 port;      /* FORWARDING_GUE: of the outer UDP header */
};

/*
 * Map rings: array of maps by service. An inner map is an array of __u32: [0] is the number of slots, [1..slots] are
 * indices into backends. A ring is replaced by one update of the outer map: a packet sees the old one or the new one.
 * 0 in a slot, or no ring: no backend, the packet is dropped and counted. Inner maps are made with BPF_F_INNER_MAP.
 */

/* Map backends: array. Index 0 is never used. */
struct backend {
	struct address address;
	struct address source; /* outer source address of encapsulated packets */
	__u32 generation; /* raised each time that the index gets another owner: flows of the one before are stale */
	__u32 flags;
};

#define BACKEND_IN_USE 1u
#define BACKEND_LOCAL 2u /* the address is this node's: packets go to its stack as they came */

/* Map vip_addresses: hash by address, the number of entries of vips that have it. Every address in vips stands here
 * too: it says whose fragments, echo requests and malformed packets are to be judged. Write it before vips, delete it
 * after. */

/* Map vlan_devices: hash by the ifindex of a VLAN device, for routes that leave by one: XDP can only send through the
 * device below, with the tag in the frame. What leaves by a VLAN device that is not here is lost by the kernel, counted
 * by its tracepoint xdp_redirect_err alone. May be empty where no route uses one. */
struct vlan_device {
	__u32 lower;     /* ifindex of the device below */
	__be16 protocol; /* 0x8100 or 0x88a8 */
	__be16 id;
};

#define VLAN_DEVICES_MAX 4096u

struct flow_key {
	struct address source, destination;
	__be16 source_port, destination_port;
	__u8 protocol;
	__u8 reserved[3];
};

/*
 * Map flows: array of sets, a power of two of them, one line of a CPU's cache each (BPF_F_MMAPABLE aligns values to
 * pages). A flow is in the set that the low bits of its tag name. It stays with its backend while that is in use,
 * whatever the ring says now.
 */
#define FLOW_WAYS 4u

struct flow {
	__u64 tag;   /* see flow_tag() in flow.h; never 0 for a flow */
	__u64 state; /* 0: free */
};

struct flow_set {
	struct flow way[FLOW_WAYS];
};

/* A state: 16 bits of backend, 23 of its generation when the flow began, one that says that more than one packet came,
 * 24 of time (jiffies64 >> 8). */
#define FLOW_STATE(backend, generation, stamp) \
	((__u64)(backend) | (__u64)(generation) << 16 | (__u64)(stamp) << FLOW_STAMP_SHIFT)
#define FLOW_BACKEND(state) ((__u32)((state)&0xffff))
#define FLOW_GENERATION(state) ((__u32)((state) >> 16 & 0x7fffff))
#define FLOW_GENERATION_MASK 0x7fffffull /* of a backend's generation, what a state has of it */
#define FLOW_AGAIN (1ull << 39)
#define FLOW_STAMP_SHIFT 40
#define FLOW_STAMP(state) ((state) >> FLOW_STAMP_SHIFT)

/* Map flow_settings: array of one. */
#define FLOW_KEY_WORDS (sizeof(struct flow_key) / sizeof(__u32))

struct flow_settings {
	__u32 mask;                /* the number of sets that are in use - 1: the first ones of the table */
	__u32 key[FLOW_KEY_WORDS]; /* at random, for as long as the table lives */
};

/* Maps service_counters and backend_counters: per-CPU arrays, by the same index. */
struct traffic {
	__u64 packets;
	__u64 bytes; /* of the packets as they came, Ethernet header included */
};

/* Map drops: per-CPU array of __u64. The names stand in layout_names.h. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_TRUNCATED,      /* a header does not fit into the frame */
	DROP_BAD_LENGTH,     /* a header's length is impossible */
	DROP_BAD_CHECKSUM,   /* of an IPv4 header */
	DROP_FRAGMENT,       /* to a VIP: the ports are not in every fragment */
	DROP_NO_BACKEND,     /* the service has no usable backend */
	DROP_NO_ROUTE,       /* to the backend */
	DROP_NO_NEIGHBOUR,   /* the next hop's Ethernet address is not known */
	DROP_TOO_BIG,        /* and the sender could not be told */
	DROP_NO_HEADROOM,    /* for the outer header */
	DROP_TTL,            /* it ends here */
	DROP_FORWARDING_OFF, /* net.ipvN.conf.IN.forwarding is 0: the kernel tells no routes */
	DROP_CONGESTION,     /* an outer mark that the inner packet cannot carry (RFC 6040, section 4.2) */
	DROP_BAD_VERSION,    /* an inner header is not of the IP version that the outer one announces */
	DROP_REASONS,
};

/* Map xdp_slots: program array. xdp_root calls the first that is there; a program that lets a packet go on calls those
 * after its own. */
enum xdp_slot {
	XDP_SLOT_GUARD = 0,
	XDP_SLOT_DECAP = 1,
	XDP_SLOT_LB = 2,
	XDP_SLOTS = 8,
};

/* Map decap_addresses: hash by address. Encapsulated packets to such an outer destination lose their outer header and
 * go to the stack; xdp_lb does not see them: a director has chosen this node already. */
struct decap {
	__u32 flags;     /* 0 */
	__be16 gue_port; /* UDP port of GUE variant 1; 0: none */
	__u16 reserved;
};

#define DECAP_ADDRESSES_MAX 4096u

#endif
