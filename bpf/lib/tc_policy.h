/* SPDX-License-Identifier: Dual BSD/GPL */
/* Traffic policies in tc: of packets of translated flows, whichever way they go. */
#ifndef BPF_TC_POLICY_H
#define BPF_TC_POLICY_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "checksum.h"
#include "layout.h"
#include "maps.h"
#include "nat_rewrite.h"
#include "parse.h"
#include "policy.h"
#include "shape.h"
#include "tc.h"

static __always_inline bool tc_has_policy(__u32 service_index)
{
	const struct service *service = bpf_map_lookup_elem(&services, &service_index);
	return service && (service->flags & SERVICE_POLICY);
}

/* Holds a packet to the policy of its flow's service, if that has one. DROP_NONE: it may go, with the traffic class
 * that packet->traffic_class has then, which tc_write_class puts into its header. ifindex: by which it leaves; 0: to
 * this node's stack. before: when it may leave at the earliest already. */
static __always_inline enum drop_reason tc_hold(struct __sk_buff *skb, struct packet *packet,
                                                const struct nat_flow *flow, __u32 ifindex, __u64 before)
{
	__u32 service = flow->service;
	bool egress = flow->flags & NAT_REVERSE;
	struct flow_key client = packet->key;
	if (!tc_has_policy(service))
		return DROP_NONE;
	if (egress) {
		client.source = flow->destination;
		client.destination = flow->source;
		client.source_port = flow->destination_port;
		client.destination_port = flow->source_port;
	}
	__u32 kind = ifindex ? shape_of(ifindex) : 0;
	packet->waits = shape_waits(kind, service, egress) ? kind : 0;
	packet->frames = tc_frames(skb);
	/* One time for both: what takes no time in the bucket would overtake what came before otherwise. */
	const __u64 now_ns = bpf_ktime_get_ns();
	int wait_ns = policy_hold(packet, service, &client, egress, now_ns);
	if (wait_ns < 0)
		return -wait_ns;
	const struct policy *policy = bpf_map_lookup_elem(&policies, &service);
	skb->priority = kind == SHAPE_HTB ? shape_class(packet, service, egress, policy ? policy->priority : 0)
	                : policy          ? policy->priority
	                                  : 0;
	if (kind == SHAPE_FQ && wait_ns)
		shape_until(skb, now_ns + wait_ns, before);
	return DROP_NONE;
}

/* Gives the packet's header the traffic class in place of the one that it came with. 0, or negative. */
static __noinline int tc_write_class(struct __sk_buff *skb, const struct packet *packet, __u8 came)
{
	const __u32 at = packet->ethernet_length;
	__be16 before, after;
	__u8 bytes[2];
	__u16 check;
	if (packet->traffic_class == came)
		return 0;
	if (bpf_skb_load_bytes(skb, at, bytes, sizeof(bytes)))
		return -1;
	if (packet->version == 6) {
		bytes[0] = (bytes[0] & 0xf0) | packet->traffic_class >> 4;
		bytes[1] = (bytes[1] & 0x0f) | packet->traffic_class << 4;
		/* No checksum covers it. */
		return bpf_skb_store_bytes(skb, at, bytes, sizeof(bytes), BPF_F_RECOMPUTE_CSUM);
	}
	__builtin_memcpy(&before, bytes, sizeof(before));
	bytes[1] = packet->traffic_class;
	__builtin_memcpy(&after, bytes, sizeof(after));
	if (bpf_skb_load_bytes(skb, at + IPV4_CHECK_OFFSET, &check, sizeof(check)))
		return -1;
	check = checksum_replace(check, before, after);
	/* The two changes cancel out in the whole packet's sum. */
	if (bpf_skb_store_bytes(skb, at, bytes, sizeof(bytes), 0))
		return -1;
	return bpf_skb_store_bytes(skb, at + IPV4_CHECK_OFFSET, &check, sizeof(check), 0);
}

#endif
