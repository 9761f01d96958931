/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * ICMP errors about packets of translated flows: RFC 5508, section 4. The packet that an error quotes becomes what its
 * sender sent, and the error goes there. Its source stays, as of a router that says what it saw, unless that is the end
 * that the flow has: then it becomes the one that the receiver knows.
 */
#ifndef BPF_NAT_ERROR_H
#define BPF_NAT_ERROR_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "checksum.h"
#include "icmp.h"
#include "layout.h"
#include "nat_flow.h"
#include "nat_rewrite.h"
#include "parse.h"
#include "tc.h"

struct nat_error {
	struct flow_key quoted; /* turned round: as the answers to the quoted packet come */
	struct nat_flow flow;   /* of those */
	struct nat_flow outer;  /* source and destination that the error gets */
	__u32 ports;            /* offset of the quoted ones */
};

/* One is at work at a time: these hooks run with softirqs off. It would not fit onto the stack beside the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_error);
} nat_errors SEC(".maps");

/* The flow that the error is about. NULL: none of ours. */
static __always_inline struct nat_error *nat_error_find(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 index = 0;
	struct nat_error *error = bpf_map_lookup_elem(&nat_errors, &index);
	if (!error)
		return NULL;
	__builtin_memset(&error->quoted, 0, sizeof(error->quoted));
	tc_pull(skb);
	const void *data = (const void *)(long)skb->data, *data_end = (const void *)(long)skb->data_end;
	if (icmp_kind(data, data_end, packet) != ICMP_ERROR ||
	    !icmp_quoted_flow(data, data_end, packet, &error->quoted, &error->ports))
		return NULL;
	const struct nat_flow *flow = nat_find(&error->quoted);
	if (!flow || nat_stale(error->quoted.protocol, flow, nat_now()))
		return NULL;
	error->flow = *flow;
	error->outer.destination = error->flow.destination;
	error->outer.source =
	        address_equal(&packet->key.source, &error->quoted.source) ? error->flow.source : packet->key.source;
	return error;
}

/* Changes a checksum field inside the quote, where it is there: quotes end early, and UDP may have none. The sum of
 * what has changed before and of this. */
static __always_inline __s64 quoted_checksum(struct __sk_buff *skb, __u32 at, bool udp, __s64 covered, __s64 sum)
{
	__u32 from = 0, to = 0;
	__u16 check = 0;
	if (bpf_skb_load_bytes(skb, at, &check, sizeof(check)) || (udp && !check))
		return sum;
	from = check;
	check = checksum_add(check, covered);
	if (udp && !check)
		check = 0xffff;
	to = check;
	if (bpf_skb_store_bytes(skb, at, &check, sizeof(check), 0))
		return sum;
	return bpf_csum_diff(&from, sizeof(from), &to, sizeof(to), sum);
}

/* Translates it. 0, or negative: it cannot be written. */
static __always_inline int nat_error_rewrite(struct __sk_buff *skb, const struct packet *packet,
                                             const struct nat_error *error, bool decrement)
{
	const bool v6 = packet->version == 6, udp = error->quoted.protocol == IPPROTO_UDP;
	const __u32 quote = packet->transport + sizeof(struct icmphdr);
	const struct nat_flow *flow = &error->flow;
	struct transport_ports from = {error->quoted.destination_port, error->quoted.source_port};
	struct transport_ports to = {flow->destination_port, flow->source_port};
	__s64 addresses, covered, sum = 0, outer = 0;
	int failed;
	if (v6) {
		struct address before[2] = {error->quoted.destination, error->quoted.source};
		struct address after[2] = {flow->destination, flow->source};
		addresses = bpf_csum_diff((__be32 *)before, sizeof(before), (__be32 *)after, sizeof(after), 0);
		failed = bpf_skb_store_bytes(skb, quote + IPV6_ADDRESSES_OFFSET, after, sizeof(after), 0);
		sum = addresses;
	} else {
		__be32 before[2] = {error->quoted.destination.word[3], error->quoted.source.word[3]};
		__be32 after[2] = {flow->destination.word[3], flow->source.word[3]};
		addresses = bpf_csum_diff(before, sizeof(before), after, sizeof(after), 0);
		failed = bpf_skb_store_bytes(skb, quote + 12, after, sizeof(after), 0);
		sum = quoted_checksum(skb, quote + 10, false, addresses, addresses);
	}
	covered = bpf_csum_diff((__be32 *)&from, sizeof(from), (__be32 *)&to, sizeof(to), addresses);
	sum = bpf_csum_diff((__be32 *)&from, sizeof(from), (__be32 *)&to, sizeof(to), sum);
	if (failed || bpf_skb_store_bytes(skb, error->ports, &to, sizeof(to), 0))
		return -1;
	const __u32 check_at = error->ports + (udp ? UDP_CHECK_OFFSET : TCP_CHECK_OFFSET);
	/* Behind the packet there may be padding. */
	if (check_at + sizeof(__u16) <= packet->ethernet_length + packet->ip_length)
		sum = quoted_checksum(skb, check_at, udp, covered, sum);
	failed = v6 ? rewrite_ipv6(skb, packet->ethernet_length, &packet->key, &error->outer, decrement, 0, &outer)
	            : rewrite_ipv4(skb, packet->ethernet_length, &error->outer, decrement, &outer);
	/* ICMPv6 covers the outer addresses, too. */
	if (v6)
		sum = (__s64)((__u64)(__u32)sum + (__u32)outer);
	__u16 check;
	if (failed || bpf_skb_load_bytes(skb, packet->transport + 2, &check, sizeof(check)))
		return -1;
	check = ~checksum_fold((__u64)(__u16)~check + (__u64)sum);
	return bpf_skb_store_bytes(skb, packet->transport + 2, &check, sizeof(check), 0);
}

#endif
