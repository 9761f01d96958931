/* SPDX-License-Identifier: Dual BSD/GPL */
/* MSS advice: a SYN that announces larger segments than its path carries is made to announce what does (RFC 879, as RFC
 * 6691 has it: without options). It spares the ends the discovery, which firewalls on the way often break. */
#ifndef BPF_TC_MSS_H
#define BPF_TC_MSS_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "nat_rewrite.h"
#include "parse.h"

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_MSS 2
#define TCP_OPTIONS_MAX 12 /* that are looked at */

/* Of an IPv4 or IPv6 packet of this size. */
static __always_inline __u32 mss_of_mtu(__u8 version, __u32 mtu)
{
	const __u32 headers = (version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) + sizeof(struct tcphdr);
	return mtu > headers ? mtu - headers : 0;
}

/* packet is a SYN. 0, or negative: it cannot be written. */
static __noinline int tc_limit_mss(struct __sk_buff *skb, const struct packet *packet, __u32 mss)
{
	__u32 at = packet->transport + sizeof(struct tcphdr);
	__u8 offset = 0x50;
	bpf_skb_load_bytes(skb, packet->transport + 12, &offset, 1);
	const __u32 end = packet->transport + (offset >> 4) * 4;
	for (int i = 0; i < TCP_OPTIONS_MAX && at + 4 <= end; i++) {
		__u8 option[4];
		if (bpf_skb_load_bytes(skb, at, option, sizeof(option)) || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_NOP) {
			at++;
			continue;
		}
		if (option[0] != TCP_OPTION_MSS) {
			if (option[1] < 2)
				return 0;
			at += option[1];
			continue;
		}
		__u16 from = (__u16)(option[2] << 8 | option[3]), to = (__u16)mss;
		if (option[1] != 4 || from <= mss)
			return 0;
		__be16 value = bpf_htons(to);
		/* At an odd place each byte is in the other half of its word. */
		const bool odd = (at - packet->transport) & 1;
		if (bpf_l4_csum_replace(skb, packet->transport + TCP_CHECK_OFFSET,
		                        odd ? __builtin_bswap16(bpf_htons(from)) : bpf_htons(from),
		                        odd ? __builtin_bswap16(value) : value, sizeof(value)))
			return -1;
		return bpf_skb_store_bytes(skb, at + 2, &value, sizeof(value), 0);
	}
	return 0;
}

#endif
