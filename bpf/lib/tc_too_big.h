/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * A packet that does not fit where it is to go is answered with an ICMP error that says what does: as XDP does it
 * (icmp.h), but for buffers that may be of many segments, and whose checksum may not be complete.
 *
 * Such a checksum will be completed inside the quote, by whichever device sends the answer, and nothing here can keep
 * it from that. What is known is the sum of the words that it covers when that has happened: with the field it becomes
 * the complement of what the field holds now, the pseudo header's sum. So the ICMP checksum can be right before.
 */
#ifndef BPF_TC_TOO_BIG_H
#define BPF_TC_TOO_BIG_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "checksum.h"
#include "icmp.h"
#include "nat_rewrite.h"
#include "parse.h"
#include "tc.h"

struct tc_quote {
	__u32 words[QUOTE_LENGTH / 4];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tc_quote);
} tc_quotes SEC(".maps");

/* What comes before the quote. */
struct too_big_head_v4 {
	struct iphdr ip;
	struct icmphdr icmp;
};

struct too_big_head_v6 {
	struct ipv6hdr ip;
	struct icmp6hdr icmp;
};

/*
 * The sum of the quoted words as they will leave; the packet is left shorter. The kernel does not let a buffer end
 * before a checksum that it has still to complete: so it says whether there is one.
 */
static __always_inline __s64 tc_quote_sum(struct __sk_buff *skb, const struct packet *packet, struct tc_quote *quote)
{
	const __u32 check_at =
	        packet->transport + (packet->key.protocol == IPPROTO_UDP ? UDP_CHECK_OFFSET : TCP_CHECK_OFFSET);
	__u16 pseudo = 0;
	bpf_skb_load_bytes(skb, check_at, &pseudo, sizeof(pseudo));
	if (!bpf_skb_change_tail(skb, check_at + 1, 0))
		return bpf_csum_diff(NULL, 0, quote->words, sizeof(quote->words), 0);
	__u32 header = (packet->transport - packet->ethernet_length) & 0x1fc;
	__s64 sum = bpf_csum_diff(NULL, 0, quote->words, header, 0);
	return (__s64)((__u64)(__u32)sum + (__u16)~pseudo);
}

static __always_inline int tc_write_v4(struct __sk_buff *skb, const struct packet *packet, __u32 mtu, __s64 quote)
{
	struct too_big_head_v4 head = {
	        .ip = {.version = 4,
	               .ihl = 5,
	               .tos = 0xc0, /* internetwork control: RFC 1812, section 4.3.2.5 */
	               .tot_len = bpf_htons(sizeof(head) + QUOTE_LENGTH),
	               .ttl = ICMP_TTL,
	               .protocol = IPPROTO_ICMP,
	               .saddr = packet->key.destination.word[3],
	               .daddr = packet->key.source.word[3]},
	        .icmp = {.type = ICMP_DEST_UNREACH,
	                 .code = ICMP_FRAG_NEEDED,
	                 .mtu = bpf_htons(mtu > 0xffff ? 0xffff : mtu)},
	};
	head.ip.check = ~checksum_fold(checksum_sum_ipv4(&head.ip));
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&head.icmp, sizeof(head.icmp), 0);
	head.icmp.checksum = ~checksum_fold((__u64)(__u32)sum + (__u64)quote);
	return bpf_skb_store_bytes(skb, packet->ethernet_length, &head, sizeof(head), 0);
}

static __always_inline int tc_write_v6(struct __sk_buff *skb, const struct packet *packet, __u32 mtu, __s64 quote)
{
	struct too_big_head_v6 head = {
	        .ip = {.version = 6,
	               .payload_len = bpf_htons(sizeof(head.icmp) + QUOTE_LENGTH),
	               .nexthdr = IPPROTO_ICMPV6,
	               .hop_limit = ICMP_TTL},
	        .icmp = {.icmp6_type = ICMPV6_PKT_TOOBIG, .icmp6_mtu = bpf_htonl(mtu)},
	};
	__be32 pseudo[2] = {bpf_htonl(sizeof(head.icmp) + QUOTE_LENGTH), bpf_htonl(IPPROTO_ICMPV6)};
	__builtin_memcpy(&head.ip.saddr, &packet->key.destination, sizeof(head.ip.saddr));
	__builtin_memcpy(&head.ip.daddr, &packet->key.source, sizeof(head.ip.daddr));
	__s64 sum = bpf_csum_diff(NULL, 0, (__be32 *)&head.ip.saddr, 32, 0);
	sum = bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)&head.icmp, sizeof(head.icmp), sum);
	head.icmp.icmp6_cksum = ~checksum_fold((__u64)(__u32)sum + (__u64)quote);
	return bpf_skb_store_bytes(skb, packet->ethernet_length, &head, sizeof(head), 0);
}

static __always_inline int tc_turn(struct __sk_buff *skb)
{
	__u8 addresses[2][ETH_ALEN], turned[2][ETH_ALEN];
	if (bpf_skb_load_bytes(skb, 0, addresses, sizeof(addresses)))
		return -1;
	__builtin_memcpy(turned[0], addresses[1], ETH_ALEN);
	__builtin_memcpy(turned[1], addresses[0], ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, turned, sizeof(turned), 0);
}

/* Answers the packet's sender in its destination's name, by the interface that it came by: mtu is what fits. */
static __noinline int tc_answer_too_big(struct __sk_buff *skb, const struct packet *packet, __u32 mtu)
{
	__u32 index = 0;
	struct tc_quote *quote = bpf_map_lookup_elem(&tc_quotes, &index);
	const __u32 front = packet->ethernet_length;
	if (!quote || packet->ip_length < QUOTE_LENGTH || !address_may_be_answered(&packet->key.source) ||
	    bpf_skb_load_bytes(skb, front, quote, sizeof(*quote)))
		return tc_drop(DROP_TOO_BIG);
	const bool v6 = packet->version == 6;
	const __u32 head = v6 ? sizeof(struct too_big_head_v6) : sizeof(struct too_big_head_v4);
	__s64 sum = tc_quote_sum(skb, packet, quote);
	if (bpf_skb_change_tail(skb, front + QUOTE_LENGTH, 0) ||
	    bpf_skb_store_bytes(skb, front, quote, sizeof(*quote), 0) ||
	    bpf_skb_adjust_room(skb, head, BPF_ADJ_ROOM_MAC, 0) || tc_turn(skb) ||
	    (v6 ? tc_write_v6(skb, packet, mtu, sum) : tc_write_v4(skb, packet, mtu, sum)))
		return tc_drop(DROP_TOO_BIG);
	return bpf_redirect(skb->ifindex, 0);
}

#endif
