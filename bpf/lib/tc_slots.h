/* SPDX-License-Identifier: Dual BSD/GPL */
/* What tc_ingress calls. */
#ifndef BPF_TC_SLOTS_H
#define BPF_TC_SLOTS_H

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

#include "address.h"
#include "decap_maps.h"
#include "layout.h"
#include "nat_settings.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, TC_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} tc_slots SEC(".maps");

/* May it be a packet for this node inside of another one? tc_decap looks closer. What NAT carries never is: it would be
 * UDP to the port of GUE. */
static __always_inline bool tc_may_be_tunnel(struct __sk_buff *skb)
{
	struct address address;
	__u32 at = sizeof(struct ethhdr);
	__u8 protocol;
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;
		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
			return false;
		address_set_v4(&address, ip.daddr);
		protocol = ip.protocol;
		at += ip.ihl * 4;
	} else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
			return false;
		__builtin_memcpy(&address, &ip.daddr, sizeof(address));
		protocol = ip.nexthdr;
		at += sizeof(ip);
	} else {
		return false;
	}
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return false;
	const struct decap *decap = bpf_map_lookup_elem(&decap_addresses, &address);
	if (!decap || protocol != IPPROTO_UDP)
		return decap;
	struct udphdr udp;
	return !bpf_skb_load_bytes(skb, at, &udp, sizeof(udp)) && udp.dest == decap->gue_port;
}

/* Does not return when tc_decap takes the packet. */
static __always_inline void tc_slots_decap(struct __sk_buff *skb)
{
	__u32 index = 0;
	const struct nat_settings *settings = bpf_map_lookup_elem(&nat_settings, &index);
	if (settings && (settings->flags & NAT_SETTING_TC_DECAP) && tc_may_be_tunnel(skb))
		bpf_tail_call_static(skb, &tc_slots, TC_SLOT_DECAP);
}

#endif
