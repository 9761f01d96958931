/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The other end of xdp_lb's encapsulation, so that a backend needs no tunnel device: packets to an address in
 * decap_addresses that carry IP in IP, in any combination of versions, or in UDP (GUE variant 1) lose the outer header
 * and go on to the stack, where the VIP is an address of the loopback device.
 *
 * They do not meet xdp_lb, which may run here too: a director has chosen this node, and choosing again would, where two
 * nodes disagree for a moment, send the packet round between them for ever.
 *
 * Who can send to such an address can send any inner packet past whatever stands before: the network, or xdp_guard,
 * must let encapsulated packets in from directors alone. A UDP checksum is not verified: it would have every byte read,
 * and directors send none; the inner packet has its own.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include "lib/address.h"
#include "lib/checksum.h"
#include "lib/drops.h"
#include "lib/ecn.h"
#include "lib/ethernet.h"
#include "lib/layout.h"
#include "lib/parse.h"
#include "lib/slots.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DECAP_ADDRESSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct decap);
} decap_addresses SEC(".maps");

struct tunnel {
	__u32 ethernet_length;
	__u32 inner;  /* offset of the inner IP header from the frame's front */
	__u32 length; /* of the inner packet, as the outer header tells */
	__u8 version; /* of the inner header; 0: what its first bits say */
	__u8 outer_ecn;
};

enum opened {
	OPENED_OTHER, /* not for us */
	OPENED,
	OPENED_BROKEN, /* *reason */
};

static __always_inline bool tunnel_protocol(__u8 protocol)
{
	return protocol == IPPROTO_IPIP || protocol == IPPROTO_IPV6 || protocol == IPPROTO_UDP;
}

static __always_inline enum opened opened_broken(enum drop_reason why, enum drop_reason *reason)
{
	*reason = why;
	return OPENED_BROKEN;
}

/* What the outer IP header carries, at at. space: what it leaves for it. */
static __always_inline enum opened open_payload(const void *data, const void *at, const void *data_end,
                                                const struct decap *decap, __u8 protocol, __s32 space,
                                                struct tunnel *tunnel, enum drop_reason *reason)
{
	if (protocol == IPPROTO_UDP) {
		const struct udphdr *udp = at;
		if (!decap->gue_port || (const void *)(udp + 1) > data_end || udp->dest != decap->gue_port)
			return OPENED_OTHER;
		__s32 length = bpf_ntohs(udp->len);
		if (length < (__s32)sizeof(*udp) || length > space)
			return opened_broken(DROP_BAD_LENGTH, reason);
		at += sizeof(*udp);
		space = length - (__s32)sizeof(*udp);
		const __u8 *first = at;
		if ((const void *)(first + 1) > data_end)
			return opened_broken(DROP_TRUNCATED, reason);
		/* Variant 0, with a header of its own, is the stack's. */
		if (*first >> 6 != 1)
			return OPENED_OTHER;
		tunnel->version = 0;
	} else {
		tunnel->version = protocol == IPPROTO_IPIP ? 4 : 6;
	}
	if (space < 0)
		return opened_broken(DROP_BAD_LENGTH, reason);
	tunnel->inner = offset_from(data, at);
	tunnel->length = space;
	return OPENED;
}

static __always_inline enum opened open_ipv4(const void *data, const void *data_end, struct tunnel *tunnel,
                                             enum drop_reason *reason)
{
	const struct iphdr *ip = data + tunnel->ethernet_length;
	if ((const void *)(ip + 1) > data_end || ip->version != 4 || !tunnel_protocol(ip->protocol))
		return OPENED_OTHER;
	struct address address;
	address_set_v4(&address, ip->daddr);
	const struct decap *decap = bpf_map_lookup_elem(&decap_addresses, &address);
	if (!decap)
		return OPENED_OTHER;
	__u32 header = ip->ihl * 4, length = bpf_ntohs(ip->tot_len);
	bool udp = ip->protocol == IPPROTO_UDP;
	if (header < sizeof(*ip) || length < header || length > offset_from(data, data_end) - tunnel->ethernet_length)
		return udp ? OPENED_OTHER : opened_broken(DROP_BAD_LENGTH, reason);
	/* Fragments of other UDP are the stack's to put together. */
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_BITS))
		return udp ? OPENED_OTHER : opened_broken(DROP_FRAGMENT, reason);
	tunnel->outer_ecn = ip->tos & ECN_MASK;
	enum opened opened = open_payload(data, (const void *)ip + header, data_end, decap, ip->protocol,
	                                  (__s32)length - (__s32)header, tunnel, reason);
	if (opened == OPENED && !checksum_ipv4_valid(ip, data_end))
		return opened_broken(DROP_BAD_CHECKSUM, reason);
	return opened;
}

static __always_inline enum opened open_ipv6(const void *data, const void *data_end, struct tunnel *tunnel,
                                             enum drop_reason *reason)
{
	const struct ipv6hdr *ip = data + tunnel->ethernet_length;
	if ((const void *)(ip + 1) > data_end || ip->version != 6)
		return OPENED_OTHER;
	__u8 next = ip->nexthdr;
	const void *at = ip + 1;
	enum walked walked = ipv6_walk(&at, data_end, &next);
	if (walked != WALKED || !tunnel_protocol(next))
		return OPENED_OTHER;
	struct address address;
	__builtin_memcpy(&address, &ip->daddr, sizeof(address));
	const struct decap *decap = bpf_map_lookup_elem(&decap_addresses, &address);
	if (!decap)
		return OPENED_OTHER;
	__u32 length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (length > offset_from(data, data_end) - tunnel->ethernet_length)
		return next == IPPROTO_UDP ? OPENED_OTHER : opened_broken(DROP_BAD_LENGTH, reason);
	tunnel->outer_ecn = ip->flow_lbl[0] >> 4 & ECN_MASK;
	return open_payload(data, at, data_end, decap, next, (__s32)length - (__s32)offset_from(ip, at), tunnel,
	                    reason);
}

/* Checks the inner header and gives it the outer one's congestion mark. DROP_NONE: it is well formed. */
static __always_inline enum drop_reason finish_ipv4(struct iphdr *ip, const void *data_end, const struct tunnel *tunnel)
{
	if ((const void *)(ip + 1) > data_end)
		return DROP_TRUNCATED;
	__u32 header = ip->ihl * 4, length = bpf_ntohs(ip->tot_len);
	if (header < sizeof(*ip) || length < header || length > tunnel->length)
		return DROP_BAD_LENGTH;
	__u8 ecn = ecn_decapsulate(tunnel->outer_ecn, ip->tos & ECN_MASK);
	if (ecn == ECN_DROP)
		return DROP_CONGESTION;
	__be16 *first = (__be16 *)ip; /* version, header length, DSCP and ECN */
	__be16 before = *first;
	ip->tos = (ip->tos & ~ECN_MASK) | ecn;
	ip->check = checksum_replace(ip->check, before, *first);
	return DROP_NONE;
}

static __always_inline enum drop_reason finish_ipv6(struct ipv6hdr *ip, const void *data_end,
                                                    const struct tunnel *tunnel)
{
	if ((const void *)(ip + 1) > data_end)
		return DROP_TRUNCATED;
	if (sizeof(*ip) + bpf_ntohs(ip->payload_len) > tunnel->length)
		return DROP_BAD_LENGTH;
	__u8 ecn = ecn_decapsulate(tunnel->outer_ecn, ip->flow_lbl[0] >> 4 & ECN_MASK);
	if (ecn == ECN_DROP)
		return DROP_CONGESTION;
	ip->flow_lbl[0] = (ip->flow_lbl[0] & ~(ECN_MASK << 4)) | ecn << 4;
	return DROP_NONE;
}

static __always_inline int strip(struct xdp_md *ctx, const struct tunnel *tunnel)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *inner = data + (tunnel->inner & OFFSET_MASK);
	if (inner + 1 > data_end)
		return drop(DROP_TRUNCATED);
	__u8 version = *(__u8 *)inner >> 4;
	if ((version != 4 && version != 6) || (tunnel->version && version != tunnel->version))
		return drop(DROP_BAD_VERSION);
	enum drop_reason reason =
	        version == 4 ? finish_ipv4(inner, data_end, tunnel) : finish_ipv6(inner, data_end, tunnel);
	if (reason != DROP_NONE)
		return drop(reason);
	struct ethernet_copy ethernet = {};
	if (!ethernet_save(&ethernet, data, data_end, tunnel->ethernet_length))
		return drop(DROP_TRUNCATED);
	if (bpf_xdp_adjust_head(ctx, (int)(tunnel->inner - tunnel->ethernet_length)))
		return drop(DROP_TRUNCATED);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (!ethernet_restore(data, data_end, &ethernet, tunnel->ethernet_length,
	                      bpf_htons(version == 4 ? ETH_P_IP : ETH_P_IPV6)))
		return drop(DROP_TRUNCATED);
	return slots_from(ctx, XDP_SLOT_LB + 1);
}

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;
	struct tunnel tunnel = {};
	enum drop_reason reason = DROP_NONE;
	__be16 ethertype;
	enum opened opened = OPENED_OTHER;
	tunnel.ethernet_length = ethernet_parse(data, data_end, &ethertype);
	if (tunnel.ethernet_length && ethertype == bpf_htons(ETH_P_IP))
		opened = open_ipv4(data, data_end, &tunnel, &reason);
	else if (tunnel.ethernet_length && ethertype == bpf_htons(ETH_P_IPV6))
		opened = open_ipv6(data, data_end, &tunnel, &reason);
	if (opened == OPENED_BROKEN)
		return drop(reason);
	if (opened == OPENED)
		return strip(ctx, &tunnel);
	return slots_from(ctx, XDP_SLOT_DECAP + 1);
}

char _license[] SEC("license") = "Dual BSD/GPL";
