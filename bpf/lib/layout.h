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

#include "gcra.h"

#define LAYOUT_VERSION 3

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
	__u32 service; /* index into services and rings, or VIP_LEFT */
};

/* What would be a wider VIP's, but is another's on this node: the stack gets it. */
#define VIP_LEFT 0xffffffffu

/*
 * Map vip_prefixes: LPM trie of VIPs that are prefixes, looked up after vips, and only when vip_settings says that
 * there are any. Twice, with the packet's port and with port 0 (every port): the longer prefix decides, and of one
 * length the port. Protocol 0 and port 0 are what vip_addresses is for whole addresses, with the number of entries in
 * place of a service. Write those before the others.
 */
struct vip_prefix_key {
	__u32 length; /* in bits, of what follows: VIP_PREFIX_BITS and those of the address, of IPv4 96 more */
	__be16 port;
	__u8 protocol;
	__u8 reserved;
	struct address address; /* the first of the prefix */
};

#define VIP_PREFIX_BITS 32u

struct vip_prefix {
	struct vip vip;
	__u32 length; /* the key's: a look-up does not tell which entry it has found */
};

/* Map vip_settings: array of one. */
struct vip_settings {
	__u32 prefixes; /* 0: vip_prefixes is empty. Set before the first entry is written */
	__u32 reserved;
	__u64 changes; /* raised after every change of vips and vip_prefixes: programs keep what they have found */
};

enum forwarding {
	FORWARDING_IPIP = 1, /* IP in IP (RFC 2003), IPv6 in IPv6 (RFC 2473), IPv4 in IPv6 */
	FORWARDING_GUE = 2,  /* direct IP in UDP: the GUE variant 1 (draft-ietf-intarea-gue-09, section 4) */
	FORWARDING_L2 = 3,   /* only the Ethernet addresses change: backends on the same link */
	FORWARDING_NAT = 4,  /* tc_ingress and tc_egress, and xdp_nat where XDP can */
};

#define SERVICE_NO_FLOWS 1u    /* flags: the ring alone decides */
#define SERVICE_SOURCE_ONLY 2u /* flags: the ring is asked by the source address alone: affinity */
#define SERVICE_SOURCE_NAT 4u  /* flags: FORWARDING_NAT: the source becomes the backend's source */
#define SERVICE_POLICY 64u     /* flags: it has an entry in policies: packets are held to rates, and marked */

/* Map services: array. */
/*
 * flags, UDP: packets name their backend themselves, by connection IDs of QUIC-LB (draft-ietf-quic-load-balancers-21,
 * section 5.3: a server ID in the clear): 7 bits, one per configuration ID that servers may use now; whether the IDs'
 * first byte tells their length; and how many bytes of server ID are behind it, 1 to 15. 0: they do not.
 */
#define SERVICE_QUIC 0xf0000000u
#define SERVICE_QUIC_SELF_ENCODED (1u << 27)
#define SERVICE_QUIC_FLAGS(length, configs, self_encoded) \
	((__u32)(length) << 28 | ((self_encoded) ? SERVICE_QUIC_SELF_ENCODED : 0) | (__u32)(configs) << 20)
#define SERVICE_QUIC_ID_LENGTH(flags) ((flags) >> 28)
#define SERVICE_QUIC_CONFIGS(flags) ((flags) >> 20 & 0x7f)

/* Map quic_servers: hash by service and server ID, the index of the backend that issues connection IDs with it. Written
 * before the service has SERVICE_QUIC, and deleted before the backend goes. */
#define QUIC_SERVER_ID_MAX 15u

struct quic_server {
	__u32 service;
	__u8 length;
	__u8 id[QUIC_SERVER_ID_MAX]; /* zeros behind */
};

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
	struct address source; /* of encapsulated packets, and with SERVICE_SOURCE_NAT */
	__u32 generation; /* raised each time that the index gets another owner: flows of the one before are stale */
	__u32 flags;
	__be16 port; /* FORWARDING_NAT: where packets go; 0: to the port that they came to */
	__u16 reserved;
};

#define BACKEND_IN_USE 1u
#define BACKEND_LOCAL 2u /* the address is this node's: packets go to its stack as they came */

/* Map vip_addresses: hash by address, the number of entries of vips that have it. Every address in vips stands here
 * too: it says whose fragments (but for own_addresses), echo requests and malformed packets are to be judged. Write it
 * before vips, delete it after. */

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
	/* From backends, which only FORWARDING_NAT sees. */
	__u64 returned_packets;
	__u64 returned_bytes;
};

/* Map drops: per-CPU array of __u64. The names stand in layout_names.h. */
enum drop_reason {
	DROP_NONE = 0,
	DROP_TRUNCATED,      /* a header does not fit into the frame */
	DROP_BAD_LENGTH,     /* a header's length is impossible */
	DROP_BAD_CHECKSUM,   /* of an IPv4 header */
	DROP_FRAGMENT,       /* to a VIP that is not this node's: the ports are not in every fragment */
	DROP_NO_BACKEND,     /* the service has no usable backend */
	DROP_NO_ROUTE,       /* to the backend */
	DROP_NO_NEIGHBOUR,   /* the next hop's Ethernet address is not known */
	DROP_TOO_BIG,        /* and the sender could not be told */
	DROP_NO_HEADROOM,    /* for the outer header */
	DROP_TTL,            /* it ends here */
	DROP_FORWARDING_OFF, /* net.ipvN.conf.IN.forwarding is 0: the kernel tells no routes */
	DROP_CONGESTION,     /* an outer mark that the inner packet cannot carry (RFC 6040, section 4.2) */
	DROP_BAD_VERSION,    /* a header is not of the IP version that what is before it announces */
	DROP_NO_NAT_PORT,    /* every source port that was tried towards the backend is in use */
	DROP_NAT_FULL,       /* the kernel has no entry of the tables of NAT for a new flow */
	/* xdp_guard's */
	DROP_GUARD_RULE,        /* a rule says so */
	DROP_GUARD_DEFAULT,     /* no rule lets it in */
	DROP_GUARD_REDIRECT,    /* a rule's device or host cannot be reached */
	DROP_LIMIT_PACKETS,     /* its source sends more packets than it may, */
	DROP_LIMIT_BYTES,       /* bytes, */
	DROP_LIMIT_CONNECTIONS, /* new connections */
	DROP_TCP_FLAGS,         /* a combination that no connection has */
	DROP_PORT_ZERO,         /* which nobody can listen on or answer to */
	DROP_LAND,              /* from the address that it is sent to */
	DROP_MARTIAN,           /* from or to an address that nobody can have on a wire */
	DROP_SPOOFED,           /* from an address of this node */
	DROP_FRAGMENT_TINY,     /* a first fragment without the whole transport header */
	DROP_FRAGMENT_OVERLAP,  /* a later fragment that would overwrite a TCP header */
	DROP_FRAGMENT_LENGTH,   /* of a length or at a place that no fragment can have */
	DROP_BAD_COOKIE,        /* an ACK for a listener under SYN flood, without a valid cookie */
	/* traffic policies' */
	DROP_POLICY_INGRESS,     /* more from clients than the service, or the flow, may get, */
	DROP_POLICY_EGRESS,      /* or may answer */
	DROP_POLICY_CONNECTIONS, /* more new flows than the service may get */
	DROP_REASONS,
};

/* Map service_failures: array by service: its packets among those drops that are of the way to its backends. Of all
 * CPUs: such packets are the exception. */
enum failure {
	FAILURE_NO_ROUTE, /* DROP_NO_ROUTE and so on */
	FAILURE_NO_NEIGHBOUR,
	FAILURE_FORWARDING_OFF,
	FAILURE_NO_HEADROOM,
	FAILURES,
};

struct service_failures {
	__u64 packets[FAILURES];
};

/* Map xdp_slots: program array. xdp_root calls the first that is there; a program that lets a packet go on calls those
 * after its own. */
enum xdp_slot {
	XDP_SLOT_GUARD = 0,
	XDP_SLOT_COOKIES = 1, /* xdp_guard calls it when it is needed, and the next one otherwise */
	XDP_SLOT_DECAP = 2,
	XDP_SLOT_LB = 3,
	XDP_SLOT_NAT = 4, /* filled while there are translated flows that it may carry */
	XDP_SLOTS = 8,
};

/* Map decap_addresses: hash by address. Encapsulated packets to such an outer destination lose their outer header and
 * go to the stack; xdp_lb does not see them: a director has chosen this node already. */
struct decap {
	__u32 flags;     /* 0 */
	__be16 gue_port; /* UDP port of GUE variant 1; 0: none */
	__u16 mtu;       /* of the way from directors: the largest packet, outer header included; 0: the device's */
};

#define DECAP_ADDRESSES_MAX 4096u

/* Map decap_services: LRU hash by address: where TCP connections that began by a tunnel went to, and so where their
 * answers come from. The backend answers the client past the director, which thus cannot tell either of them what
 * fits: tc_egress does, in the SYN-ACK. One that is displaced is not advised, and left to path MTU discovery. */
struct decap_service {
	__u32 mtu; /* the largest inner packet */
};

#define DECAP_SERVICES_MAX 4096u

/*
 * Maps nat_flows and nat_new: arrays of maps [1] with LRU hashes by flow_key in them, which are made when the first
 * service is forwarded by NAT and go after the last. Each flow has two entries: one by its packets as they come from
 * the client, one by those that the backend answers with. Either says what such a packet's addresses and ports become,
 * which is the other's key turned round: so either can make the other anew.
 *
 * A flow begins in nat_new, and moves when both ends have been heard: what forges its sources displaces only its like.
 */
struct nat_flow {
	struct address source, destination;
	__be16 source_port, destination_port;
	__u32 flags;
	__u32 service;
	__u32 backend;
	__u32 generation; /* of the backend when the flow began */
	__u32 seen;       /* when a packet of either direction last came: CLOCK_MONOTONIC in units of 2^30 ns */
	__u32 expected;   /* what the client will acknowledge: the backend's first sequence number and one */
};

#define NAT_REVERSE 1u      /* the entry of the packets that come from the backend */
#define NAT_LOCAL 2u        /* the backend is this node */
#define NAT_OPENED 4u       /* TCP: it began with a SYN, so that the end of its handshake can be told */
#define NAT_ANSWERED 8u     /* the backend has been heard */
#define NAT_CONFIRMED 16u   /* the client, too, after that: the entry is in nat_flows */
#define NAT_FIN_CLIENT 32u  /* TCP: this side has ended */
#define NAT_FIN_BACKEND 64u /* this one, too */
#define NAT_RESET 128u      /* TCP: the last packet was a reset */

/* nat_flows has two entries per flow that it is to hold, nat_new so many times fewer. */
#define NAT_NEW_SHARE 8u
/* So that what forges its sources holds not half of the ports towards one backend, and 32 attempts find another. */
#define NAT_NEW_MAX 32768u

/* Map nat_settings: array of one. Source ports that flows may be given, where their own is taken: two ranges that leave
 * out net.ipv4.ip_local_port_range, so that this node's own connections are never mistaken. Host order, both ends
 * belong to it; first > last: an empty one. */
struct nat_settings {
	__u16 first[2], last[2];
	__u32 flags;
};

/* Map nat_devices: hash by ifindex: devices whose frames xdp_nat may carry, in and out: they have a program of XDP, and
 * a driver that sends what XDP hands over. What comes or would leave by another one is left to tc. */
struct nat_device {
	__u8 address[6]; /* Ethernet's: frames to another one are not for this node */
	__u8 reserved[2];
};

#define NAT_DEVICES_MAX 256u

/* Map nat_counters: per-CPU array of struct traffic by service: of what service_counters count, xdp_nat's share. */

#define NAT_SETTING_LOCAL 1u    /* flags: some backend is this node: tc_egress has work */
#define NAT_SETTING_DECAP 2u    /* flags: packets are decapsulated here: tc_egress advises those who send them */
#define NAT_SETTING_TC_DECAP 4u /* flags: and by tc_decap, since XDP is not at every interface: tc_ingress calls it */

/* Map tc_slots: program array. */
enum tc_slot {
	TC_SLOT_DECAP = 0,
	TC_SLOTS = 4,
};

/*
 * Traffic policies: what the packets of a service with SERVICE_POLICY are held to. Bytes are payload, what TCP and UDP
 * carry. By the index of the service:
 *
 *   policies         array of struct policy
 *   policy_buckets   array of struct policy_buckets: what has been taken
 *   policy_counters  per-CPU array of struct policy_count
 *   policy_flows     array of maps [1]: an LRU hash of __u64 (tag of a flow, by its packets from the client) -> struct
 *                    policy_flow, made when a policy has a rate for each flow. One that is forgotten, because others
 *                    were more recent, begins anew with a full bucket.
 *
 * An entry of policies is not replaced at once: a packet in between may see some rates of one policy and some of the
 * other, and is held to either.
 */
enum policy_direction {
	POLICY_INGRESS, /* from clients */
	POLICY_EGRESS,  /* to them: FORWARDING_NAT alone */
	POLICY_DIRECTIONS,
};

struct policy {
	__u32 flags;
	__u8 dscp; /* in its place in the traffic class: the upper six bits */
	__u8 reserved[3];
	__u32 priority; /* of packets in queues of the kernel: what SO_PRIORITY of the relay's sockets is */
	__u32 reserved2;
	struct gcra_rate service[POLICY_DIRECTIONS]; /* unit_cost 0: no limit */
	struct gcra_rate flow[POLICY_DIRECTIONS];
	struct gcra_rate connections; /* new flows */
};

#define POLICY_DSCP 1u     /* flags: packets get it */
#define POLICY_ECN_MARK 2u /* flags: packets that say ECT are marked in place of being dropped, see gcra.h */

struct policy_buckets {
	__u64 tat[POLICY_DIRECTIONS]; /* see gcra.h */
	__u64 connections_tat;
	__u64 marks_tat[POLICY_DIRECTIONS]; /* of what has been marked; earlier builds leave it */
	__u64 reserved[3];                  /* a line of a CPU's cache each */
};

struct policy_flow {
	__u64 tat[POLICY_DIRECTIONS];
};

#define POLICY_FLOWS_MAX 262144u

/* Packets, and their payload. */
struct policy_count {
	__u64 dropped[POLICY_DIRECTIONS];
	__u64 dropped_bytes[POLICY_DIRECTIONS];
	__u64 marked[POLICY_DIRECTIONS];
	__u64 refused; /* first packets of flows */
};

/*
 * Shaping: packets over the rate of their service wait, where the interface that they leave by can have them wait, in
 * place of being dropped. libmarcher sees to the queueing disciplines (packet_shape.h); the programs say of each packet
 * when it may leave, or by which class.
 */
enum shape_kind {
	SHAPE_FQ = 1,  /* goes out at skb->tstamp: earliest departure time */
	SHAPE_HTB = 2, /* a class by skb->priority */
};

/* Map shape_devices: hash by ifindex -> __u32, enum shape_kind. Not in it: nothing waits there. */
#define SHAPE_DEVICES_MAX 256u

/* Map shape_services: array by service of __u32: bit 1 << enum policy_direction when there is a class of HTB for it,
 * which has packets wait. Without one the packets of a service share the class of their priority, which has no rate. */

/* Longest that a packet waits; what would have to wait longer is dropped. So no queue holds more than its rate has in
 * it. */
#define SHAPE_HORIZON_NS 100000000ull

/* Classes of HTB: SHAPE_MAJOR << 16 | number. */
#define SHAPE_MAJOR 0x4d41u /* "MA" */
#define SHAPE_PRIORITIES 4u
#define SHAPE_DEFAULT_PRIORITY 2u
#define SHAPE_PRIORITY_CLASS(priority) (1u + (priority))
#define SHAPE_SERVICE_CLASS(service, direction) (16u + 2u * (service) + (direction))

/*
 * xdp_guard. Its rules are several tables that belong together, and are replaced at once: each has two places in a map
 * of maps, and the configuration says which place counts. A new set is written to the other places; then one update of
 * the map guard puts a new configuration in force, and when that has returned (the kernel waits for a grace period) no
 * packet looks at the old tables any more.
 *
 *   guard             array of maps [1]: an array of one struct guard; no inner map: nothing is guarded
 *   guard_sources_v4  array of maps [2]: LPM tries, struct guard_source_v4 -> __u32 index of a class
 *   guard_sources_v6  the same with struct guard_source_v6
 *   guard_classes     array of maps [2]: arrays of struct guard_class. 0 is that of every other source.
 *   guard_spans       array of maps [2]: arrays of struct guard_span
 *   guard_rules       array of maps [2]: arrays of struct guard_rule. 0 is the default.
 *
 * A class is everything that the rules say about one source prefix, what they say about the shorter prefixes around it
 * included: one lookup by source finds all.
 */
#define GUARD_GENERATIONS 2u
#define GUARD_RULES_MAX 16384u
#define GUARD_PREFIXES_MAX 262144u /* of all rules */
#define GUARD_CLASSES_MAX 65536u
#define GUARD_SPANS_MAX 1048576u   /* of all classes */
#define GUARD_CLASS_SPANS_MAX 512u /* of one class and protocol */
#define GUARD_CLASS_SPANS_POWER 9

/* flags of struct guard */
#define GUARD_MALFORMED 1u
#define GUARD_BAD_FRAGMENTS 2u
#define GUARD_MARTIANS 4u
#define GUARD_RULES 8u       /* there are some, or the default denies */
#define GUARD_SOURCES_V4 16u /* some of them name sources */
#define GUARD_SOURCES_V6 32u
#define GUARD_LIMIT_PACKETS 64u
#define GUARD_LIMIT_BYTES 128u
#define GUARD_LIMIT_CONNECTIONS 256u
#define GUARD_LIMITS (GUARD_LIMIT_PACKETS | GUARD_LIMIT_BYTES | GUARD_LIMIT_CONNECTIONS)
#define GUARD_COOKIES 512u         /* when SYNs are many */
#define GUARD_COOKIES_ALWAYS 1024u /* with GUARD_COOKIES: whatever their number */
/* What the kernel does when it checks a cookie, and so what an answer may offer. */
#define GUARD_COOKIE_TIMESTAMPS                                                              \
	2048u /* net.ipv4.tcp_timestamps is 2: without an offset that is the kernel's secret \
	       */
#define GUARD_COOKIE_SACK 4096u
#define GUARD_COOKIE_SCALE 8192u
#define GUARD_COOKIE_ECN 16384u
#define GUARD_DEFAULT_DENIES 32768u

enum guard_limit_kind { GUARD_PACKETS, GUARD_BYTES, GUARD_CONNECTIONS, GUARD_LIMIT_KINDS };

#define GUARD_COST_SHIFT 16

/* A token bucket as GCRA: what one unit costs in time, and how far ahead of its time a source may be. */
struct guard_limit {
	__u64 cost; /* 1/2^GUARD_COST_SHIFT ns per unit */
	__u64 burst_ns;
};

enum guard_protocol { GUARD_TCP, GUARD_UDP, GUARD_OTHER, GUARD_PROTOCOLS };

struct guard_class {
	__u32 rule[GUARD_PROTOCOLS]; /* where no span has the port */
	__u32 spans[2];              /* index of the first, of TCP and UDP */
	__u16 nspans[2];
};

/* Destination ports, in host order; those of one class and protocol are sorted and do not overlap. */
struct guard_span {
	__u16 first, last;
	__u32 rule;
};

#define GUARD_NEAR_SPANS 8u

struct guard {
	__u32 flags;
	__u32 generation;                /* which of the tables' places count */
	struct address mask_v4, mask_v6; /* of what counts as one source; both over struct address */
	struct guard_limit limits[GUARD_LIMIT_KINDS];
	__u64 cookies_on, cookies_off; /* SYNs per second */
	__u16 window;                  /* of answers with a cookie, unscaled */
	__u8 window_scale;
	__u8 reserved[5];
	struct guard_class everyone; /* class 0 */
	/* Its spans by protocol, where they are no more than these, so that most packets need no look-up for them. */
	struct guard_span near_spans[2][GUARD_NEAR_SPANS];
	/* Filters of 256 bits that spare most packets a look-up: a bit that is not set says that it would find nothing.
	 * Of prefixes by the first byte of an IPv4 address and the fourth of an IPv6 one; of own addresses by
	 * GUARD_OWN_PLACE. */
	__u64 near_v4[4], near_v6[4], own[4];
};

#define GUARD_OWN_PLACE(address) \
	((((address)->word[0] ^ (address)->word[1] ^ (address)->word[2] ^ (address)->word[3]) * 2654435761u) >> 24)

struct guard_source_v4 {
	__u32 length; /* of the prefix, in bits */
	__be32 address;
};

struct guard_source_v6 {
	__u32 length;
	__be32 address[4];
};

enum guard_action {
	GUARD_ALLOW = 1,
	GUARD_DENY,
	GUARD_TO_DEVICE, /* ifindex; 0: it is not there, the packet is dropped */
	GUARD_TO_NEXT_HOP,
};

#define GUARD_UNLIMITED 1u /* flags of a rule: source limits do not count its packets */

struct guard_rule {
	__u32 action; /* enum guard_action */
	__u32 flags;
	__u32 ifindex;
	__u32 counter; /* index into guard_counters; it stays when other rules come or go */
	struct address next_hop;
};

/* Map guard_counters: per-CPU array of struct traffic: packets that a rule decided about. 0 is the default's,
 * which counts what it denies. Twice as
 * many as rules: those of a new set do not take what the old ones still count in. */
#define GUARD_COUNTERS (2 * GUARD_RULES_MAX)

/*
 * Map guard_debts: array of maps [1]: an LRU hash by masked source address, made when limits are configured. A source
 * that is forgotten, because others were more recent, begins anew with a full bucket: limits hold against sources, not
 * against a flood in which each packet has another one.
 */
struct guard_debt {
	__u64 until_ns[GUARD_LIMIT_KINDS]; /* theoretical arrival times */
};

#define GUARD_DEBTS_MAX 262144u

/* Map guard_datagrams: array of maps [1]: an LRU hash of __u64 (hash of a UDP flow) -> __u32. Flows that are in it are
 * not new: what limits connections counts the first packet of each. */
#define GUARD_DATAGRAMS_MAX 262144u

/* Map own_addresses: hash by address -> __u32, of all addresses of this network namespace, kept whether anything is
 * guarded or not. */
#define OWN_ADDRESSES_MAX 16384u

/* Map guard_syns: array of one: how many SYNs come. */
struct guard_syns {
	__u64 since_ns; /* when the window began that is counted now */
	__u64 count;
	__u64 active_until_ns; /* answered by cookies until then; 0: not */
	__u64 per_second;      /* in the window before */
};

/* Map guard_cookies: per-CPU array of one. */
struct guard_cookies {
	__u64 sent;
	__u64 left; /* SYNs for listeners that the kernel did not want answered so: left to its stack */
	__u64 valid;
	__u64 syns; /* of this CPU that are not in guard_syns yet */
};

#endif
