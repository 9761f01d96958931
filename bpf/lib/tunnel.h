/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * A packet in a packet: IP in IP in any combination of versions, or in UDP (GUE variant 1), as it comes to an address
 * in decap_addresses. What the outer headers say is checked, and what of them the inner packet has to keep.
 */
#ifndef BPF_TUNNEL_H
#define BPF_TUNNEL_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include "address.h"
#include "checksum.h"
#include "decap_maps.h"
#include "ecn.h"
#include "ethernet.h"
#include "layout.h"
#include "parse.h"

struct tunnel {
	__u32 ethernet_length;
	__u32 inner;  /* offset of the inner IP header from the frame's front */
	__u32 length; /* of the inner packet, as the outer header tells */
	__u16 mtu;    /* of the way that it has come; 0: that of the device it came by */
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
	tunnel->mtu = decap->mtu;
	return OPENED;
}

static __always_inline enum opened open_ipv4(const void *data, const void *data_end, __u32 frame, struct tunnel *tunnel,
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
	if (header < sizeof(*ip) || length < header || length > frame - tunnel->ethernet_length)
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

static __always_inline enum opened open_ipv6(const void *data, const void *data_end, __u32 frame, struct tunnel *tunnel,
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
	if (length > frame - tunnel->ethernet_length)
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

/* frame: the frame's length, of which [data, data_end) may be the beginning. tunnel->ethernet_length and the ethertype
 * behind it are known; the rest of *tunnel is zero. */
static __always_inline enum opened tunnel_open(const void *data, const void *data_end, __u32 frame, __be16 ethertype,
                                               struct tunnel *tunnel, enum drop_reason *reason)
{
	if (ethertype == bpf_htons(ETH_P_IP))
		return open_ipv4(data, data_end, frame, tunnel, reason);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return open_ipv6(data, data_end, frame, tunnel, reason);
	return OPENED_OTHER;
}

static __always_inline bool tunnel_carries_syn(const void *inner, const void *data_end, __u8 version)
{
	const void *transport;
	if (version == 4) {
		const struct iphdr *ip = inner;
		if ((const void *)(ip + 1) > data_end || ip->protocol != IPPROTO_TCP ||
		    (ip->frag_off & bpf_htons(IPV4_FRAGMENT_BITS)))
			return false;
		transport = inner + ip->ihl * 4;
	} else {
		const struct ipv6hdr *ip = inner;
		if ((const void *)(ip + 1) > data_end || ip->nexthdr != IPPROTO_TCP)
			return false;
		transport = ip + 1;
	}
	const struct tcphdr *tcp = transport;
	return (const void *)(tcp + 1) <= data_end && (((const __u8 *)tcp)[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* A connection begins by a tunnel: tc_egress is to advise the client of what fits through it. Written only when it says
 * something new. */
static __always_inline void tunnel_note_service(void *ctx, const void *inner, const void *data_end, __u8 version,
                                                const struct tunnel *tunnel)
{
	if (!tunnel_carries_syn(inner, data_end, version))
		return;
	const __u32 outer = tunnel->inner - tunnel->ethernet_length;
	__u32 mtu = tunnel->mtu;
	if (!mtu && bpf_check_mtu(ctx, 0, &mtu, 0, 0) < 0)
		return;
	if (mtu <= outer)
		return;
	struct address address;
	if (version == 4)
		address_set_v4(&address, ((const struct iphdr *)inner)->daddr);
	else
		__builtin_memcpy(&address, &((const struct ipv6hdr *)inner)->daddr, sizeof(address));
	const struct decap_service now = {.mtu = mtu - outer};
	const struct decap_service *known = bpf_map_lookup_elem(&decap_services, &address);
	if (!known || known->mtu != now.mtu)
		bpf_map_update_elem(&decap_services, &address, &now, BPF_ANY);
}

#endif
