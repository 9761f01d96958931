/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Where a packet to a backend leaves: asked of the kernel's own routes and neighbours. The kernel answers only where
 * forwarding is on for the interface that the packet came by, and it resolves no neighbour for us: the control plane
 * keeps those of the backends alive (its health checks do).
 *
 * Asking takes a third of a packet's time, so each CPU keeps the answers for NEXT_HOP_JIFFIES: a change of routes or
 * neighbours is seen that much later, as if the network had taken so long to tell. Refusals are not kept.
 */
#ifndef BPF_NEXT_HOP_H
#define BPF_NEXT_HOP_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "ethernet.h"
#include "layout.h"
#include "maps.h"

#define FAMILY_V4 2 /* AF_INET and AF_INET6: sys/socket.h cannot be had here */
#define FAMILY_V6 10

/* What routing rules may look at. */
struct route_query {
	const struct address *source, *destination;
	__u32 length; /* IP header and payload; at most 65535 */
	__be16 source_port, destination_port;
	__u8 protocol;
	__u8 traffic_class;
	bool on_link; /* the destination itself must be the next hop */
};

struct next_hop {
	__u32 ifindex; /* of a device that can send frames: not a VLAN device */
	__u32 mtu;     /* the route's */
	__u8 source[ETH_ALEN] __attribute__((aligned(2))), destination[ETH_ALEN] __attribute__((aligned(2)));
	__be16 vlan_protocol, vlan_id; /* protocol 0: no tag */
};

#define NEXT_HOP_JIFFIES 25u /* 25 to 250 ms, by the kernel's HZ */
#define NEXT_HOPS_KEPT 1024u /* a power of two */

/* Map next_hops: per-CPU array, by the low bits of the backend's index. */
struct next_hop_kept {
	__u64 backend; /* index and generation */
	__u64 query;   /* what else the answer depends on */
	__u64 until;   /* jiffies */
	struct next_hop hop;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NEXT_HOPS_KEPT);
	__type(key, __u32);
	__type(value, struct next_hop_kept);
} next_hops SEC(".maps");

enum next_hop_found {
	NEXT_HOP_FOUND,
	NEXT_HOP_TOO_BIG, /* for the route: hop->mtu */
	NEXT_HOP_DROP,    /* *reason */
};

/* Called, not put in place: what it keeps on the stack would be the caller's, which calls deeper than this. */
static __noinline enum next_hop_found next_hop_ask(struct xdp_md *ctx, const struct route_query *query,
                                                   struct next_hop *hop, enum drop_reason *reason)
{
	struct bpf_fib_lookup fib = {
	        .l4_protocol = query->protocol,
	        .sport = query->source_port,
	        .dport = query->destination_port,
	        .tot_len = query->length,
	        .ifindex = ctx->ingress_ifindex,
	};
	bool v4 = address_is_v4(query->destination);
	if (v4) {
		fib.family = FAMILY_V4;
		fib.tos = query->traffic_class;
		fib.ipv4_src = query->source->word[3];
		fib.ipv4_dst = query->destination->word[3];
	} else {
		fib.family = FAMILY_V6;
		fib.flowinfo = bpf_htonl((__u32)query->traffic_class << 20);
		__builtin_memcpy(fib.ipv6_src, query->source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, query->destination, sizeof(fib.ipv6_dst));
	}
	long found = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	switch (found) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		hop->mtu = fib.mtu_result;
		return NEXT_HOP_TOO_BIG;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		*reason = DROP_NO_NEIGHBOUR;
		return NEXT_HOP_DROP;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		*reason = DROP_FORWARDING_OFF;
		return NEXT_HOP_DROP;
	default: /* an address of this host is among these, too, and is not told from no route at all */
		*reason = DROP_NO_ROUTE;
		return NEXT_HOP_DROP;
	}
	*reason = DROP_NO_ROUTE;
	if (query->on_link) {
		/* The kernel has put a gateway in the destination's place. */
		struct address next;
		if (v4)
			address_set_v4(&next, fib.ipv4_dst);
		else
			__builtin_memcpy(&next, fib.ipv6_dst, sizeof(next));
		if (fib.family != (v4 ? FAMILY_V4 : FAMILY_V6) || !address_equal(&next, query->destination))
			return NEXT_HOP_DROP;
	}
	hop->ifindex = fib.ifindex;
	hop->mtu = fib.mtu_result;
	hop->vlan_protocol = 0;
	__builtin_memcpy(hop->source, fib.smac, ETH_ALEN);
	__builtin_memcpy(hop->destination, fib.dmac, ETH_ALEN);
	if (hop->ifindex != ctx->ingress_ifindex) {
		struct vlan_device *vlan = bpf_map_lookup_elem(&vlan_devices, &hop->ifindex);
		if (vlan) {
			hop->ifindex = vlan->lower;
			hop->vlan_protocol = vlan->protocol;
			hop->vlan_id = vlan->id;
		}
	}
	return NEXT_HOP_FOUND;
}

/* Routers may have several equal ways to a backend: as many answers are kept as the ports of the outer header tell
 * apart, up to four. */
static __always_inline __u64 next_hop_query(const struct xdp_md *ctx, const struct route_query *query)
{
	return (__u64)ctx->ingress_ifindex << 32 | (__u32)query->protocol << 16 | (__u32)query->traffic_class << 8 |
	       (bpf_ntohs(query->source_port) & 3) << 1 | query->on_link;
}

/* As next_hop_ask(), from what is kept where it still holds. backend: index, whose owner has this generation. */
static __always_inline enum next_hop_found next_hop_find(struct xdp_md *ctx, const struct route_query *query,
                                                         __u32 backend, __u32 generation, struct next_hop *hop,
                                                         enum drop_reason *reason)
{
	__u64 owner = (__u64)backend << 32 | generation, what = next_hop_query(ctx, query), now = bpf_jiffies64();
	__u32 slot = (backend ^ (what >> 1 & 3) << 8) & (NEXT_HOPS_KEPT - 1);
	struct next_hop_kept *kept = bpf_map_lookup_elem(&next_hops, &slot);
	if (kept && kept->backend == owner && kept->query == what && now < kept->until &&
	    query->length <= kept->hop.mtu) {
		*hop = kept->hop;
		return NEXT_HOP_FOUND;
	}
	enum next_hop_found found = next_hop_ask(ctx, query, hop, reason);
	if (kept && found == NEXT_HOP_FOUND) {
		kept->backend = owner;
		kept->query = what;
		kept->until = now + NEXT_HOP_JIFFIES;
		kept->hop = *hop;
	}
	return found;
}

static __always_inline __u32 next_hop_header_length(const struct next_hop *hop)
{
	return sizeof(struct ethhdr) + (hop->vlan_protocol ? sizeof(struct vlan_tag) : 0);
}

/* Writes the Ethernet header at the frame's front. What follows it, or NULL when it does not fit. */
static __always_inline void *next_hop_write(void *data, const void *data_end, const struct next_hop *hop,
                                            __be16 ethertype)
{
	struct ethhdr *eth = data;
	struct vlan_tag *tag = (void *)(eth + 1);
	if ((void *)(tag + 1) > data_end)
		return NULL;
	ethernet_copy_bytes(eth->h_dest, hop->destination, ETH_ALEN);
	ethernet_copy_bytes(eth->h_source, hop->source, ETH_ALEN);
	if (!hop->vlan_protocol) {
		eth->h_proto = ethertype;
		return eth + 1;
	}
	eth->h_proto = hop->vlan_protocol;
	tag->control = hop->vlan_id;
	tag->ethertype = ethertype;
	return tag + 1;
}

static __always_inline int next_hop_send(struct xdp_md *ctx, const struct next_hop *hop)
{
	return hop->ifindex == ctx->ingress_ifindex ? XDP_TX : bpf_redirect(hop->ifindex, 0);
}

#endif
