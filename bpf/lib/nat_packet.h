/* SPDX-License-Identifier: Dual BSD/GPL */
/* A packet of a translated flow in tc, whichever way it goes: see nat_flow.h. */
#ifndef BPF_NAT_PACKET_H
#define BPF_NAT_PACKET_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "nat_flow.h"
#include "parse.h"
#include "tc.h"

/* The flow that the packet belongs to, followed. False: it has none, or that is over. */
static __always_inline bool nat_known(struct __sk_buff *skb, const struct packet *packet, __u32 now,
                                      struct nat_flow *out)
{
	const struct flow_key *key = &packet->key;
	struct nat_event event = {};
	struct nat_flow *flow = nat_find(key);
	if (!flow)
		return false;
	bool over = nat_over(packet, flow, now);
	nat_event_of(packet, flow, now, &event);
	if (nat_event_wants(packet, flow)) {
		__be32 numbers[2] = {};
		bpf_skb_load_bytes(skb, packet->transport + 4, numbers, sizeof(numbers));
		event.sequence = bpf_ntohl(numbers[0]);
		event.acknowledge = bpf_ntohl(numbers[1]);
	}
	/* Kept aside: the entry may move. */
	*out = *flow;
	if (over || !nat_follow(packet, flow, &event)) {
		nat_forget(key, out);
		return false;
	}
	return true;
}

static __always_inline void nat_count(struct __sk_buff *skb, const struct packet *packet, const struct nat_flow *flow)
{
	__u32 frames = tc_frames(skb), bytes = skb->len;
	if (frames > 1)
		bytes = tc_bytes(skb, tc_headers(skb, packet));
	nat_count_frames(flow, frames, bytes);
}

#endif
