/* SPDX-License-Identifier: Dual BSD/GPL */
/* A packet of a translated flow, whichever way it goes: see nat_flow.h. */
#ifndef BPF_NAT_PACKET_H
#define BPF_NAT_PACKET_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "counters.h"
#include "maps.h"
#include "nat_flow.h"
#include "parse.h"
#include "tc.h"

/* The flow that the packet belongs to, followed. False: it has none, or that is over. */
static __always_inline bool nat_known(struct __sk_buff *skb, const struct packet *packet, __u32 now,
                                      struct nat_flow *out)
{
	const struct flow_key *key = &packet->key;
	struct nat_flow *flow = nat_find(key);
	if (!flow)
		return false;
	const __u32 flags = flow->flags;
	bool over = nat_stale(key->protocol, flow, now);
	if (!(flags & NAT_REVERSE)) {
		__u32 index = flow->backend;
		struct backend *backend = bpf_map_lookup_elem(&backends, &index);
		over |= !backend || !(backend->flags & BACKEND_IN_USE) || backend->generation != flow->generation;
		over |= packet->opens && (flags & NAT_RESET || (flags & NAT_FINS) == NAT_FINS);
	}
	/* Kept aside: the entry may move. */
	*out = *flow;
	if (over || !nat_follow(skb, packet, flow, now)) {
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
	if (flow->flags & NAT_REVERSE)
		count_returned(flow->service, flow->backend, frames, bytes);
	else
		count_traffic(flow->service, flow->backend, frames, bytes);
}

#endif
