/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Services that are forwarded by NAT: what comes for a VIP goes to a backend under its address and port, and under this
 * node's where that is asked for; what the backend answers becomes the VIP's again. At the ingress of each interface
 * that clients or backends are behind. Answers of backends on this node leave by tc_egress.
 *
 * Packets go out from here where the kernel's routes say how. Whatever else is left to the stack.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/if_packet.h>
#include <stdbool.h>

#include "lib/failures.h"
#include "lib/nat_begin.h"
#include "lib/nat_error.h"
#include "lib/nat_flow.h"
#include "lib/nat_packet.h"
#include "lib/nat_rewrite.h"
#include "lib/quic_buffer.h"
#include "lib/tc.h"
#include "lib/tc_mss.h"
#include "lib/tc_policy.h"
#include "lib/tc_route.h"
#include "lib/tc_slots.h"
#include "lib/tc_too_big.h"
#include "lib/vip.h"

static __always_inline __u8 ttl_of(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 ttl = 0;
	bpf_skb_load_bytes(skb, packet->ethernet_length + (packet->version == 4 ? 8 : IPV6_HOP_LIMIT_OFFSET), &ttl, 1);
	return ttl;
}

/* Where the packet goes from here, and in hop->mtu what fits there. */
static __always_inline enum tc_way way_of(struct __sk_buff *skb, const struct packet *packet,
                                          const struct nat_flow *flow, struct tc_hop *hop)
{
	if ((flow->flags & (NAT_LOCAL | NAT_REVERSE)) == NAT_LOCAL)
		return TC_WAY_STACK;
	hop->length =
	        skb->gso_size ? tc_headers(skb, packet) - packet->ethernet_length + skb->gso_size : packet->ip_length;
	enum tc_way way = tc_route(skb, packet, &flow->source, &flow->destination, hop);
	if (way != TC_WAY_STACK || (flow->flags & NAT_REVERSE))
		return way;
	/* The stack takes nothing in that claims to be of this node. */
	if (hop->reason == DROP_NONE && address_equal(&flow->source, &packet->key.source))
		return way;
	hop->reason = DROP_NO_ROUTE;
	return TC_WAY_DROP;
}

/* The largest segment that both ends' ways carry; hop is the packet's. 0: nobody knows. */
static __noinline __u32 mss_of_path(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	struct tc_hop back = {.length = packet->ip_length};
	tc_route(skb, packet, &packet->key.destination, &packet->key.source, &back);
	if (back.mtu && (!mtu || back.mtu < mtu))
		mtu = back.mtu;
	return mss_of_mtu(packet->version, mtu);
}

/* A function of its own to the verifier, as report is: what came before has many courses. */
__noinline int send(struct __sk_buff *skb, struct packet *packet, const struct nat_flow *flow)
{
	if (!packet || !flow)
		return TC_GO_ON;
	struct tc_hop hop = {};
	const __u8 came = packet->traffic_class;
	enum tc_way way = way_of(skb, packet, flow, &hop);
	if (way == TC_WAY_DROP) {
		/* What comes back goes to clients, whom anybody can claim to be. */
		if (!(flow->flags & NAT_REVERSE))
			failure_count(flow->service, hop.reason);
		return tc_drop(hop.reason);
	}
	if (way == TC_WAY_TOO_BIG)
		return tc_answer_too_big(skb, packet, hop.mtu);
	if (way == TC_WAY_OUT && ttl_of(skb, packet) <= 1)
		return tc_drop(DROP_TTL);
	enum drop_reason over = tc_hold(skb, packet, flow, way == TC_WAY_OUT ? hop.ifindex : 0, 0);
	if (over != DROP_NONE)
		return tc_drop(over);
	nat_count(skb, packet, flow);
	if (tc_write_class(skb, packet, came))
		return tc_drop(DROP_TRUNCATED);
	if (packet->tcp_flags & TCP_SYN) {
		__u32 mss = mss_of_path(skb, packet, hop.mtu);
		if (mss && tc_limit_mss(skb, packet, mss))
			return tc_drop(DROP_TRUNCATED);
	}
	if (way == TC_WAY_STACK)
		return nat_rewrite(skb, packet, flow, false) ? tc_drop(DROP_TRUNCATED) : TC_GO_ON;
	if (tc_untag(skb, packet) || nat_rewrite(skb, packet, flow, true))
		return tc_drop(DROP_TRUNCATED);
	return bpf_redirect_neigh(hop.ifindex, &hop.neighbour, sizeof(hop.neighbour), 0);
}

/* An ICMP error about a packet of a flow. */
__noinline int report(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return TC_GO_ON;
	struct nat_error *error = nat_error_find(skb, packet);
	struct tc_hop hop = {.length = packet->ip_length};
	enum tc_way way = TC_WAY_STACK;
	if (!error)
		return TC_GO_ON;
	if (!header_valid((const void *)(long)skb->data, (const void *)(long)skb->data_end, packet))
		return tc_drop(DROP_BAD_CHECKSUM);
	if ((error->flow.flags & (NAT_LOCAL | NAT_REVERSE)) != NAT_LOCAL)
		way = tc_route(skb, packet, &error->outer.source, &error->outer.destination, &hop);
	if (way == TC_WAY_DROP || way == TC_WAY_TOO_BIG)
		return tc_drop(way == TC_WAY_DROP ? hop.reason : DROP_TOO_BIG);
	if (way == TC_WAY_OUT && ttl_of(skb, packet) <= 1)
		return tc_drop(DROP_TTL);
	nat_count(skb, packet, &error->flow);
	if (way == TC_WAY_STACK)
		return nat_error_rewrite(skb, packet, error, false) ? tc_drop(DROP_TRUNCATED) : TC_GO_ON;
	/* Errors of many tags are nobody's: what is behind a second one is not untagged by the kernel either. */
	if (packet->ethernet_length != sizeof(struct ethhdr) || (skb->vlan_present && bpf_skb_vlan_pop(skb)) ||
	    nat_error_rewrite(skb, packet, error, true))
		return tc_drop(DROP_TRUNCATED);
	return bpf_redirect_neigh(hop.ifindex, &hop.neighbour, sizeof(hop.neighbour), 0);
}

static __always_inline int carry(struct __sk_buff *skb, struct packet *packet)
{
	struct nat_flow flow = {};
	__u32 now = nat_now();
	if (!nat_known(skb, packet, now, &flow)) {
		struct vip *vip = vip_find(&packet->key);
		struct service *service = vip ? bpf_map_lookup_elem(&services, &vip->service) : NULL;
		/* A forged source begins nothing: the stack knows martians. */
		if (!service || service->forwarding != FORWARDING_NAT || !address_may_be_answered(&packet->key.source))
			return TC_GO_ON;
		if (!header_valid((const void *)(long)skb->data, (const void *)(long)skb->data_end, packet))
			return tc_drop(DROP_BAD_CHECKSUM);
		if ((service->flags & SERVICE_POLICY) && (packet->opens || packet->key.protocol == IPPROTO_UDP) &&
		    !policy_may_begin(vip->service))
			return tc_drop(DROP_POLICY_CONNECTIONS);
		if (service->flags & SERVICE_QUIC)
			packet->named = quic_named(skb, packet, vip->service, service->flags);
		enum drop_reason reason = nat_begin(packet, vip->service, service, now, &flow);
		if (reason != DROP_NONE)
			return tc_drop(reason);
	}
	return send(skb, packet, &flow);
}

SEC("tc")
int tc_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	/* Frames to others, which a device in promiscuous mode hands over, too. */
	if (skb->pkt_type != PACKET_HOST)
		return TC_GO_ON;
	tc_slots_decap(skb);
	switch (tc_parse(skb, &packet)) {
	case PARSED_FLOW:
		return carry(skb, &packet);
	case PARSED_ICMP:
		return report(skb, &packet);
	case PARSED_BROKEN:
		return vip_refuses(&packet) ? tc_drop(packet.reason) : TC_GO_ON;
	default:
		return TC_GO_ON;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
