/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Another source and destination for a packet, with its checksums changed by the difference alone: what was wrong stays
 * wrong. Holds for every state that the kernel keeps a checksum in: complete in the packet, the pseudo header's sum
 * alone (CHECKSUM_PARTIAL: to be completed by the sending device), or the whole packet's sum beside it
 * (CHECKSUM_COMPLETE). In that last the changes of addresses and ports and that of the transport checksum cancel out,
 * but for UDP without a checksum.
 */
#ifndef BPF_NAT_REWRITE_H
#define BPF_NAT_REWRITE_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "checksum.h"
#include "layout.h"
#include "parse.h"

#define TCP_CHECK_OFFSET 16
#define UDP_CHECK_OFFSET 6
#define IPV4_CHECK_OFFSET 10

/* From TTL to the end of the addresses, at offset 8. */
struct ipv4_tail {
	__u8 ttl, protocol;
	__u16 check;
	__be32 source, destination;
};

/* From the hop limit to the end of the addresses, at offset 7. */
#define IPV6_HOP_LIMIT_OFFSET 7
#define IPV6_ADDRESSES_OFFSET 8

struct transport_ports {
	__be16 source, destination;
};

/* Of a sum that bpf_csum_diff has made, into a checksum field. */
static __always_inline __u16 checksum_add(__u16 check, __s64 difference)
{
	return ~checksum_fold((__u64)(__u16)~check + (__u32)difference);
}

/* Writes the addresses; *difference is that of their sums. 0, or negative. */
static __always_inline int rewrite_ipv4(struct __sk_buff *skb, __u32 at, const struct nat_flow *flow, bool decrement,
                                        __s64 *difference)
{
	struct ipv4_tail tail;
	if (bpf_skb_load_bytes(skb, at + 8, &tail, sizeof(tail)))
		return -1;
	__be32 from[2] = {tail.source, tail.destination};
	__be32 to[2] = {flow->source.word[3], flow->destination.word[3]};
	*difference = bpf_csum_diff(from, sizeof(from), to, sizeof(to), 0);
	if (decrement) {
		__be16 before = *(__be16 *)&tail.ttl;
		tail.ttl--;
		tail.check = checksum_replace(tail.check, before, *(__be16 *)&tail.ttl);
	}
	tail.check = checksum_add(tail.check, *difference);
	tail.source = to[0];
	tail.destination = to[1];
	return bpf_skb_store_bytes(skb, at + 8, &tail, sizeof(tail), 0);
}

static __always_inline int rewrite_ipv6(struct __sk_buff *skb, __u32 at, const struct flow_key *key,
                                        const struct nat_flow *flow, bool decrement, __u64 store, __s64 *difference)
{
	struct address from[2] = {key->source, key->destination}, to[2] = {flow->source, flow->destination};
	*difference = bpf_csum_diff((__be32 *)from, sizeof(from), (__be32 *)to, sizeof(to), 0);
	if (decrement) {
		__u8 hops;
		if (bpf_skb_load_bytes(skb, at + IPV6_HOP_LIMIT_OFFSET, &hops, 1))
			return -1;
		hops--;
		/* No checksum covers it. */
		if (bpf_skb_store_bytes(skb, at + IPV6_HOP_LIMIT_OFFSET, &hops, 1, BPF_F_RECOMPUTE_CSUM))
			return -1;
	}
	return bpf_skb_store_bytes(skb, at + IPV6_ADDRESSES_OFFSET, to, sizeof(to), store);
}

/* The transport checksum for other addresses in the pseudo header. */
static __always_inline int rewrite_pseudo(struct __sk_buff *skb, __u32 at, __s64 difference, bool v6, __u64 flags)
{
	flags |= BPF_F_PSEUDO_HDR;
	if (!v6)
		return bpf_l4_csum_replace(skb, at, 0, difference, flags);
	if (!bpf_l4_csum_replace(skb, at, 0, difference, flags | BPF_F_IPV6))
		return 0;
	/* An older kernel does not know that flag, and changes the whole packet's sum, which has not changed. */
	if (bpf_l4_csum_replace(skb, at, 0, difference, flags))
		return -1;
	bpf_csum_update(skb, (__wsum)difference);
	return 0;
}

/* Gives the packet the flow's source and destination. decrement: its TTL, too, which must be at least 1. 0, or
 * negative: it cannot be written, and is spoiled. */
static __noinline int nat_rewrite(struct __sk_buff *skb, const struct packet *packet, const struct nat_flow *flow,
                                  bool decrement)
{
	const bool v6 = packet->version == 6, udp = packet->key.protocol == IPPROTO_UDP;
	const __u32 check_at = packet->transport + (udp ? UDP_CHECK_OFFSET : TCP_CHECK_OFFSET);
	struct transport_ports from = {packet->key.source_port, packet->key.destination_port};
	struct transport_ports to = {flow->source_port, flow->destination_port};
	__u16 check = 0;
	__u64 mangled = udp ? BPF_F_MARK_MANGLED_0 : 0, store = 0;
	__s64 difference = 0;
	if (bpf_skb_load_bytes(skb, check_at, &check, sizeof(check)))
		return -1;
	if (udp && !check)
		store = BPF_F_RECOMPUTE_CSUM;
	int error = v6 ? rewrite_ipv6(skb, packet->ethernet_length, &packet->key, flow, decrement, store, &difference)
	               : rewrite_ipv4(skb, packet->ethernet_length, flow, decrement, &difference);
	if (error)
		return error;
	if (!store) {
		if (rewrite_pseudo(skb, check_at, difference, v6, mangled) ||
		    bpf_l4_csum_replace(skb, check_at, *(__be32 *)&from, *(__be32 *)&to, sizeof(from) | mangled))
			return -1;
	}
	return bpf_skb_store_bytes(skb, packet->transport, &to, sizeof(to), store);
}

#endif
