/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Where a packet goes from tc: asked of the kernel's routes. Unlike XDP's (next_hop.h) this needs no neighbour that is
 * known already: the kernel finds it out, and the packet waits.
 */
#ifndef BPF_TC_ROUTE_H
#define BPF_TC_ROUTE_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"
#include "next_hop.h"
#include "parse.h"

enum tc_way {
	TC_WAY_OUT,   /* by *hop */
	TC_WAY_STACK, /* the kernel's own forwarding knows a way that this does not */
	TC_WAY_TOO_BIG,
	TC_WAY_DROP, /* for hop->reason */
};

struct tc_hop {
	__u32 length; /* asked for: of the largest packet that comes of this one */
	struct bpf_redir_neigh neighbour;
	__u32 ifindex;
	__u32 mtu;    /* 0: not known */
	__u32 reason; /* enum drop_reason; TC_WAY_STACK: when the stack is not to have it either */
};

/* The packet's way from source to destination: enum tc_way. */
static __noinline int tc_route(struct __sk_buff *skb, const struct packet *packet, const struct address *source,
                               const struct address *destination, struct tc_hop *hop)
{
	struct bpf_fib_lookup fib = {
	        .l4_protocol = packet->key.protocol,
	        .tot_len = hop->length > 0xffff ? 0xffff : hop->length,
	        .ifindex = skb->ifindex,
	};
	if (packet->version == 4) {
		fib.family = FAMILY_V4;
		fib.tos = packet->traffic_class;
		fib.ipv4_src = source->word[3];
		fib.ipv4_dst = destination->word[3];
	} else {
		fib.family = FAMILY_V6;
		fib.flowinfo = bpf_htonl((__u32)packet->traffic_class << 20);
		__builtin_memcpy(fib.ipv6_src, source, sizeof(fib.ipv6_src));
		__builtin_memcpy(fib.ipv6_dst, destination, sizeof(fib.ipv6_dst));
	}
	switch (bpf_fib_lookup(skb, &fib, sizeof(fib), 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		hop->mtu = fib.mtu_result;
		break;
	case BPF_FIB_LKUP_RET_NO_NEIGH: /* the device and the next hop are known: the kernel will ask for its address */
		break;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		hop->mtu = fib.mtu_result;
		return TC_WAY_TOO_BIG;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		hop->reason = DROP_FORWARDING_OFF;
		return TC_WAY_DROP;
	case BPF_FIB_LKUP_RET_NOT_FWDED: /* an address of this node, or no route at all */
		hop->reason = DROP_NO_ROUTE;
		return TC_WAY_STACK;
	case BPF_FIB_LKUP_RET_UNSUPP_LWT:
		return TC_WAY_STACK;
	default:
		hop->reason = DROP_NO_ROUTE;
		return TC_WAY_DROP;
	}
	hop->ifindex = fib.ifindex;
	hop->neighbour.nh_family = fib.family;
	if (fib.family == FAMILY_V4)
		hop->neighbour.ipv4_nh = fib.ipv4_dst;
	else
		__builtin_memcpy(hop->neighbour.ipv6_nh, fib.ipv6_dst, sizeof(hop->neighbour.ipv6_nh));
	return TC_WAY_OUT;
}

#endif
