/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The load balancer: packets to a VIP go to a backend, encapsulated or with another Ethernet address alone; the backend
 * answers the client directly. A flow stays with its backend by the table of flows, and by the ring where that has
 * forgotten it; a TCP SYN begins a new flow and is decided by the ring. QUIC packets may name their backend.
 *
 * What is not for a VIP goes on unchanged. Fragments to an address that any VIP has are dropped, whatever their
 * protocol, since only the first has ports; but not where the address is this node's, too: its stack puts them
 * together.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "lib/checksum.h"
#include "lib/counters.h"
#include "lib/drops.h"
#include "lib/encapsulate.h"
#include "lib/failures.h"
#include "lib/flow.h"
#include "lib/icmp.h"
#include "lib/maps.h"
#include "lib/next_hop.h"
#include "lib/parse.h"
#include "lib/parse_any.h"
#include "lib/policy.h"
#include "lib/quic_frame.h"
#include "lib/ring.h"
#include "lib/slots.h"
#include "lib/traffic_class.h"
#include "lib/ttl.h"
#include "lib/vip.h"
#include "lib/vip_kept.h"

/* Whom a packet goes to. */
struct choice {
	struct service service;
	__u32 service_index;
	__u32 backend_index;
	struct backend *backend;
	enum drop_reason reason; /* no backend */
};

/* A datagram that no flow in the table has, is it the first of one? Of services without a table nobody knows. */
static __always_inline bool begins(const struct flow_place *place, const struct flow_key *key)
{
	return place->set && key->protocol == IPPROTO_UDP;
}

/* The backend of a flow: its own, else the ring's. choice->backend is NULL when there is none. begin: it may be a new
 * one, and is remembered. */
static __always_inline void choose(const struct flow_key *key, __u32 service_index, const struct service *service,
                                   bool opens, bool begin, struct choice *choice)
{
	choice->service_index = service_index;
	choice->backend = NULL;
	choice->reason = DROP_NO_BACKEND;
	if (!service || !service->forwarding)
		return;
	choice->service = *service;
	struct flow_place place = {};
	if (!(service->flags & SERVICE_NO_FLOWS))
		flow_find_place(key, &place);
	if (!opens)
		choice->backend = flow_backend(&place, begin, &choice->backend_index);
	if (choice->backend)
		return;
	if ((service->flags & SERVICE_POLICY) && begin && (opens || begins(&place, key)) &&
	    !policy_may_begin(service_index)) {
		choice->reason = DROP_POLICY_CONNECTIONS;
		return;
	}
	__u64 hash = flow_hash(key, service->flags & SERVICE_SOURCE_ONLY);
	choice->backend = ring_backend(service_index, hash, &choice->backend_index);
	if (choice->backend && begin)
		flow_remember(&place, choice->backend_index, choice->backend);
}

/* Of a packet that names its backend. False: it does not. */
static __always_inline bool choose_named(struct xdp_md *ctx, struct packet *packet, __u32 service_index,
                                         const struct service *service, struct choice *choice)
{
	if (!(service->flags & SERVICE_QUIC))
		return false;
	choice->backend_index = quic_named(ctx, packet, service_index, service->flags);
	choice->backend = choice->backend_index ? quic_backend(choice->backend_index) : NULL;
	choice->service_index = service_index;
	choice->service = *service;
	return choice->backend;
}

/* Has the header say what packet does. */
static __always_inline bool mark(struct xdp_md *ctx, const struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	return traffic_class_write(data + (packet->ethernet_length & 0x1f), data_end, packet->version,
	                           packet->traffic_class);
}

/* It could not be sent on. */
static __always_inline int fail(const struct choice *choice, enum drop_reason reason)
{
	failure_count(choice->service_index, reason);
	return drop(reason);
}

/* key: the flow's, which for an ICMP error is not the packet's. */
static __always_inline int forward(struct xdp_md *ctx, const struct packet *packet, const struct flow_key *key,
                                   const struct choice *choice)
{
	const struct backend *backend = choice->backend;
	const __u16 forwarding = choice->service.forwarding;
	const __u32 overhead = encapsulation_overhead(backend, forwarding);
	const __u32 frame = ctx->data_end - ctx->data;
	const bool direct = forwarding == FORWARDING_L2;
	const bool policy = choice->service.flags & SERVICE_POLICY;
	if (backend->flags & BACKEND_LOCAL) {
		if (policy && !mark(ctx, packet))
			return drop(DROP_TRUNCATED);
		count_traffic(choice->service_index, choice->backend_index, 1, frame);
		return slots_from(ctx, XDP_SLOT_LB + 1);
	}
	/* What shows the flow to routers on the way: a port or a flow label. */
	const bool shown = forwarding == FORWARDING_GUE || (!direct && !address_is_v4(&backend->address));
	const __u64 hash = shown ? flow_hash(key, false) : 0;
	struct route_query query = {
	        .source = &backend->source,
	        .destination = &backend->address,
	        .length = overhead + packet->ip_length,
	        .protocol = direct ? packet->key.protocol : encapsulation_protocol(packet, forwarding),
	        .traffic_class = packet->traffic_class,
	        .on_link = direct,
	};
	if (forwarding == FORWARDING_GUE) {
		query.source_port = encapsulation_source_port(hash);
		query.destination_port = choice->service.port;
	}
	if (query.length > 0xffff)
		return icmp_answer_too_big(ctx, packet, 0xffff - overhead);
	struct next_hop hop = {};
	enum drop_reason reason = DROP_NO_ROUTE;
	switch (next_hop_find(ctx, &query, choice->backend_index, backend->generation, &hop, &reason)) {
	case NEXT_HOP_FOUND:
		break;
	case NEXT_HOP_TOO_BIG:
		return icmp_answer_too_big(ctx, packet, hop.mtu > overhead ? hop.mtu - overhead : 0);
	default:
		return fail(choice, reason);
	}
	if (policy && !mark(ctx, packet))
		return drop(DROP_TRUNCATED);
	int front = (int)overhead + (int)next_hop_header_length(&hop) - (int)packet->ethernet_length;
	if (front && bpf_xdp_adjust_head(ctx, -front))
		return fail(choice, DROP_NO_HEADROOM);
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	bool v4 = direct ? packet->version == 4 : address_is_v4(&backend->address);
	void *at = next_hop_write(data, data_end, &hop, bpf_htons(v4 ? ETH_P_IP : ETH_P_IPV6));
	if (!at)
		return fail(choice, DROP_NO_HEADROOM);
	if (direct) {
		if (!ttl_decrement(packet->version, at, data_end))
			return drop(DROP_TTL);
	} else if (!encapsulate(at, data_end, packet, backend, forwarding, choice->service.port, hash)) {
		return fail(choice, DROP_NO_HEADROOM);
	}
	count_traffic(choice->service_index, choice->backend_index, 1, frame);
	return next_hop_send(ctx, &hop);
}

SEC("xdp")
int xdp_lb(struct xdp_md *ctx)
{
	struct packet packet = {};
	struct flow_key quoted = {};
	struct flow_key *key = &packet.key;
	struct choice choice = {};
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;
	__u32 ports;
	bool begin = true;
	int parsed = PARSED_FLOW;
	if (!packet_parse_plain(data, data_end, &packet))
		parsed = parse_any(ctx, &packet);
	switch (parsed) {
	case PARSED_FLOW:
		break;
	case PARSED_ICMP:
		switch (icmp_kind(data, data_end, &packet)) {
		case ICMP_ECHO_REQUEST:
			if (!vip_has_address(&packet.key.destination))
				return slots_from(ctx, XDP_SLOT_LB + 1);
			if (!header_valid(data, data_end, &packet))
				return drop(DROP_BAD_CHECKSUM);
			return icmp_answer_echo(ctx, &packet) ? XDP_TX : slots_from(ctx, XDP_SLOT_LB + 1);
		case ICMP_ERROR:
			if (!icmp_quoted_flow(data, data_end, &packet, &quoted, &ports))
				return slots_from(ctx, XDP_SLOT_LB + 1);
			key = &quoted;
			begin = false;
			break;
		default:
			return slots_from(ctx, XDP_SLOT_LB + 1);
		}
		break;
	case PARSED_BROKEN:
		if (vip_refuses(&packet))
			return drop(packet.reason);
		return slots_from(ctx, XDP_SLOT_LB + 1);
	default:
		return slots_from(ctx, XDP_SLOT_LB + 1);
	}
	const __u32 index = vip_service(key);
	struct service *service = bpf_map_lookup_elem(&services, &index);
	if (!service || service->forwarding == FORWARDING_NAT)
		return slots_from(ctx, XDP_SLOT_LB + 1);
	if (!header_valid(data, data_end, &packet))
		return drop(DROP_BAD_CHECKSUM);
	if (!choose_named(ctx, &packet, index, service, &choice))
		choose(key, index, service, packet.opens, begin, &choice);
	if (!choice.backend)
		return drop(choice.reason);
	/* What is reported about packets is none of the service's. */
	if ((choice.service.flags & SERVICE_POLICY) && begin) {
		int reason = policy_hold(&packet, index, &packet.key, false, bpf_ktime_get_ns());
		if (reason < 0)
			return drop(-reason);
	}
	return forward(ctx, &packet, key, &choice);
}

char _license[] SEC("license") = "Dual BSD/GPL";
