/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The fast path of NAT: packets of translated flows that both ends have confirmed, from clients and from backends,
 * never meet the stack. Whatever is harder is left to tc_ingress, as it came; the two share the tables of flows, and
 * carry a packet alike, so that a flow may have packets in both at any time. What ends a flow is carried here as its
 * data is, and noted as tc notes it: it would overtake the data otherwise.
 *
 * tc's are: new flows and SYNs, backends on this node, fragments and ICMP errors, what has a TTL of 1 or does not fit
 * its route (tc answers), ways that XDP does not know or cannot send by, checksums that are still to be completed, and
 * services with a traffic policy: their packets may have to wait in a queue, and those that need not would overtake
 * them.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include "lib/counters.h"
#include "lib/drops.h"
#include "lib/layout.h"
#include "lib/maps.h"
#include "lib/nat_flow.h"
#include "lib/nat_frame.h"
#include "lib/nat_hop.h"
#include "lib/next_hop.h"
#include "lib/parse.h"
#include "lib/parse_any.h"
#include "lib/slots.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__type(key, __u32);
	__type(value, struct traffic);
} nat_counters SEC(".maps");

static __always_inline void count(const struct nat_flow *flow, __u32 bytes)
{
	__u32 service = flow->service;
	struct traffic *own = bpf_map_lookup_elem(&nat_counters, &service);
	nat_count_frames(flow, 1, bytes);
	if (!own)
		return;
	if (flow->flags & NAT_REVERSE) {
		own->returned_packets++;
		own->returned_bytes += bytes;
	} else {
		own->packets++;
		own->bytes += bytes;
	}
}

/* Is a packet of this flow carried here? */
static __always_inline bool carries(const struct packet *packet, const struct nat_flow *flow, __u32 now)
{
	__u32 index = flow->service;
	const struct service *service = bpf_map_lookup_elem(&services, &index);
	return (flow->flags & (NAT_CONFIRMED | NAT_LOCAL)) == NAT_CONFIRMED && service &&
	       !(service->flags & SERVICE_POLICY) && !nat_over(packet, flow, now);
}

/* Notes what the packet says, of whose flow this is a copy. False: the flow is lost, and tc sees whose the packet is
 * now. */
static __noinline bool note(const struct packet *packet, const struct nat_flow *flow, const struct nat_event *event)
{
	/* Anew: since it was found routes have been asked, and it may be another's by now. */
	struct nat_flow *entry = nat_lookup(&nat_flows, &packet->key);
	if (!entry)
		return false;
	if (nat_follow(packet, entry, event))
		return true;
	nat_forget(&packet->key, flow);
	return false;
}

/* The packet, rewritten, on its way. */
static __always_inline int send(struct xdp_md *ctx, const struct packet *packet, const struct nat_flow *flow,
                                const struct next_hop *hop)
{
	const __u32 bytes = offset_from((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	int front = (int)next_hop_header_length(hop) - (int)packet->ethernet_length;
	if (front && bpf_xdp_adjust_head(ctx, -front))
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *at = next_hop_write(data, data_end, hop, bpf_htons(packet->version == 4 ? ETH_P_IP : ETH_P_IPV6));
	if (!at || !nat_frame_rewrite(at, data_end, packet, packet->transport - packet->ethernet_length, flow))
		return drop(DROP_TRUNCATED);
	count(flow, bytes);
	return next_hop_send(ctx, hop);
}

SEC("xdp")
int xdp_nat(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct packet packet = {};
	struct nat_event event = {};
	struct next_hop hop = {};
	if (!packet_parse_plain(data, data_end, &packet) && parse_any(ctx, &packet) != PARSED_FLOW)
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	if (packet.tcp_flags & TCP_SYN)
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	const struct nat_flow *entry = nat_lookup(&nat_flows, &packet.key);
	if (!entry)
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	/* Kept aside: the entry may go. */
	struct nat_flow flow = *entry;
	const __u32 now = nat_now();
	if (!carries(&packet, &flow, now) || !nat_frame_is_ours(ctx, data, data_end) ||
	    !nat_frame_complete(data, data_end, &packet) || !nat_hop_find(ctx, &packet, &flow, &hop))
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	nat_event_of(&packet, &flow, now, &event);
	if (nat_is_news(&flow, &event) && !note(&packet, &flow, &event))
		return slots_from(ctx, XDP_SLOT_NAT + 1);
	return send(ctx, &packet, &flow, &hop);
}

char _license[] SEC("license") = "Dual BSD/GPL";
