/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Where a translated packet leaves from XDP: the kernel's routes, asked as tc asks them (tc_route.h): by both
 * addresses, and not by ports. Each CPU keeps answers as those of next_hop.h are kept, but by addresses, since packets
 * go to clients, too, and routes may ask where they are from.
 *
 * No answer is no drop: tc has ways that XDP has not (a neighbour that is still to be found out, a tunnel's device),
 * and says what is to be said.
 */
#ifndef BPF_NAT_HOP_H
#define BPF_NAT_HOP_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "layout.h"
#include "next_hop.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NAT_DEVICES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct nat_device);
} nat_devices SEC(".maps");

#define NAT_HOPS_POWER 10

/* Map nat_hops: per-CPU array, by a hash of the addresses. A place has one owner. */
struct nat_hop_kept {
	struct address source, destination;
	__u64 query; /* what else the answer depends on */
	__u64 until; /* jiffies; 0: nobody's */
	struct next_hop hop;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1u << NAT_HOPS_POWER);
	__type(key, __u32);
	__type(value, struct nat_hop_kept);
} nat_hops SEC(".maps");

/* Is a frame that came by this device sent to this node, and is it XDP's to carry? What the kernel calls PACKET_HOST:
 * a device in promiscuous mode hands over others, too. */
static __always_inline bool nat_frame_is_ours(const struct xdp_md *ctx, const void *data, const void *data_end)
{
	__u32 ifindex = ctx->ingress_ifindex;
	const struct nat_device *device = bpf_map_lookup_elem(&nat_devices, &ifindex);
	const __u16 *to = data;
	if (!device || data + ETH_ALEN > data_end)
		return false;
	const __u16 *own = (const void *)device->address;
	return to[0] == own[0] && to[1] == own[1] && to[2] == own[2];
}

/* False: there is none that XDP could send by. */
static __always_inline bool nat_hop_find(struct xdp_md *ctx, const struct packet *packet, const struct nat_flow *flow,
                                         struct next_hop *hop)
{
	const struct address *from = &flow->source, *to = &flow->destination;
	struct route_query query = {.source = from,
	                            .destination = to,
	                            .length = packet->ip_length & 0xffff,
	                            .protocol = packet->key.protocol,
	                            .traffic_class = packet->traffic_class};
	__u32 mixed = (from->word[0] ^ from->word[1] ^ from->word[2] ^ from->word[3]) * 2246822519u;
	mixed = (mixed ^ to->word[0] ^ to->word[1] ^ to->word[2] ^ to->word[3]) * 2654435761u;
	__u32 place = mixed >> (32 - NAT_HOPS_POWER);
	__u64 what = next_hop_query(ctx, &query), now = bpf_jiffies64();
	struct nat_hop_kept *kept = bpf_map_lookup_elem(&nat_hops, &place);
	enum drop_reason reason;
	if (packet->ip_length > 0xffff)
		return false;
	if (kept && now < kept->until && kept->query == what && address_equal(&kept->destination, to) &&
	    address_equal(&kept->source, from) && query.length <= kept->hop.mtu) {
		*hop = kept->hop;
		return true;
	}
	if (next_hop_ask(ctx, &query, hop, &reason) != NEXT_HOP_FOUND)
		return false;
	__u32 ifindex = hop->ifindex;
	if (!bpf_map_lookup_elem(&nat_devices, &ifindex))
		return false;
	if (kept) {
		kept->until = 0;
		kept->source = *from;
		kept->destination = *to;
		kept->query = what;
		kept->hop = *hop;
		kept->until = now + NEXT_HOP_JIFFIES;
	}
	return true;
}

#endif
