/* SPDX-License-Identifier: Dual BSD/GPL */
/* What programs at the traffic control hooks share: parsing of what may not be linear, verdicts, tags. */
#ifndef BPF_TC_H
#define BPF_TC_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <stdbool.h>

#include "drops.h"
#include "ethernet.h"
#include "layout.h"
#include "parse.h"

/* Headers that are looked for: Ethernet with tags, IPv6 with extensions, TCP; for an ICMP error twice. */
#define TC_HEADERS_MAX 256u

/* Goes on with what is attached behind, and at last to the stack. */
#define TC_GO_ON TC_ACT_UNSPEC

static __always_inline int tc_drop(enum drop_reason reason)
{
	drop_count(reason);
	return TC_ACT_SHOT;
}

/* Makes the first bytes readable. Pointers into the packet are void afterwards. */
static __always_inline void tc_pull(struct __sk_buff *skb)
{
	bpf_skb_pull_data(skb, skb->len < TC_HEADERS_MAX ? skb->len : TC_HEADERS_MAX);
}

/* Verified once, though called twice. */
__noinline int tc_parse_linear(struct __sk_buff *skb, struct packet *packet)
{
	if (!packet)
		return PARSED_OTHER;
	return packet_parse((const void *)(long)skb->data, (const void *)(long)skb->data_end, skb->len, packet);
}

static __always_inline enum parsed tc_parse(struct __sk_buff *skb, struct packet *packet)
{
	enum parsed parsed = tc_parse_linear(skb, packet);
	__u32 linear = skb->data_end - skb->data;
	if (parsed == PARSED_FLOW || linear >= skb->len || linear >= TC_HEADERS_MAX)
		return parsed;
	if (parsed == PARSED_OTHER && linear >= sizeof(struct ethhdr) + sizeof(struct ipv6hdr))
		return parsed;
	tc_pull(skb);
	return tc_parse_linear(skb, packet);
}

/* Frames that the packet counts as, and their bytes: one of many in one buffer has a header of its own on the wire. */
static __always_inline __u32 tc_frames(const struct __sk_buff *skb)
{
	return skb->gso_segs > 1 ? skb->gso_segs : 1;
}

static __always_inline __u32 tc_bytes(const struct __sk_buff *skb, __u32 headers)
{
	return skb->len + (tc_frames(skb) - 1) * headers;
}

/* Length of the headers in front of the payload. */
static __always_inline __u32 tc_headers(struct __sk_buff *skb, const struct packet *packet)
{
	if (packet->key.protocol != IPPROTO_TCP)
		return packet->transport + sizeof(struct udphdr);
	__u8 offset = 0x50;
	bpf_skb_load_bytes(skb, packet->transport + 12, &offset, 1);
	return packet->transport + (offset >> 4) * 4;
}

/* Takes off VLAN tags, of which one may be beside the frame: they were those of the link it came by. */
static __always_inline int tc_untag(struct __sk_buff *skb, struct packet *packet)
{
	__u32 inside = (packet->ethernet_length - sizeof(struct ethhdr)) / sizeof(struct vlan_tag);
	__u32 tags = inside + (skb->vlan_present ? 1 : 0);
#pragma unroll
	for (__u32 i = 0; i < 3; i++) {
		if (i < tags && bpf_skb_vlan_pop(skb))
			return -1;
	}
	packet->ethernet_length -= inside * sizeof(struct vlan_tag);
	packet->transport -= inside * sizeof(struct vlan_tag);
	return 0;
}

#endif
