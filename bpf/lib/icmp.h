/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * ICMP for VIPs, both versions: echo is answered here, errors find the backend of the flow that they are about, and
 * senders of packets that do not fit are told the size that does.
 */
#ifndef BPF_ICMP_H
#define BPF_ICMP_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/icmpv6.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "checksum.h"
#include "drops.h"
#include "ethernet.h"
#include "layout.h"
#include "parse.h"

/* linux/icmp.h cannot be included: it brings the C library's sys/socket.h. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_FRAG_NEEDED 4 /* code of ICMP_DEST_UNREACH */

struct icmphdr {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__be16 unused; /* of an echo: id, sequence */
	__be16 mtu;
};

#define ICMP_TTL 64

/* How much of a packet that is too big goes back: what keeps the answer below 576 bytes (RFC 1812, section 4.3.2.3) and
 * is the most that bpf_csum_diff takes at once. It makes every answer smaller than what asked for it: there is nothing
 * to gain for those who forge sources. */
#define QUOTE_LENGTH 512

enum icmp_kind {
	ICMP_OTHER,
	ICMP_ECHO_REQUEST,
	ICMP_ERROR,
};

static __always_inline enum icmp_kind icmp_kind(const void *data, const void *data_end, const struct packet *packet)
{
	const struct icmphdr *icmp = data + (packet->transport & OFFSET_MASK);
	if ((const void *)(icmp + 1) > data_end)
		return ICMP_OTHER;
	if (packet->version == 4) {
		if (icmp->type == ICMP_ECHO)
			return ICMP_ECHO_REQUEST;
		return icmp->type == ICMP_DEST_UNREACH || icmp->type == ICMP_TIME_EXCEEDED ||
		                       icmp->type == ICMP_PARAMETERPROB
		               ? ICMP_ERROR
		               : ICMP_OTHER;
	}
	if (icmp->type == ICMPV6_ECHO_REQUEST)
		return ICMP_ECHO_REQUEST;
	return icmp->type >= ICMPV6_DEST_UNREACH && icmp->type <= ICMPV6_PARAMPROB ? ICMP_ERROR : ICMP_OTHER;
}

/* Turns an echo request to a VIP into the answer. Those with IP options or extension headers, whose answer would need
 * thought, are left to the stack. */
static __always_inline bool icmp_answer_echo(struct xdp_md *ctx, const struct packet *packet)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	if (!address_may_be_answered(&packet->key.source))
		return false;
	struct ethhdr *eth = data;
	void *at = data + (packet->ethernet_length & 0x1f);
	if ((void *)(eth + 1) > data_end)
		return false;
	if (packet->version == 4) {
		struct iphdr *ip = at;
		struct icmphdr *icmp = (void *)(ip + 1);
		if ((void *)(icmp + 1) > data_end || ip->ihl != 5)
			return false;
		__be32 address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		ip->ttl = ICMP_TTL;
		ip->check = 0;
		ip->check = ~checksum_fold(checksum_sum_ipv4(ip));
		icmp->type = ICMP_ECHOREPLY;
		icmp->checksum = checksum_replace(icmp->checksum, bpf_htons(ICMP_ECHO << 8), bpf_htons(0));
	} else {
		struct ipv6hdr *ip = at;
		struct icmp6hdr *icmp = (void *)(ip + 1);
		if ((void *)(icmp + 1) > data_end || ip->nexthdr != IPPROTO_ICMPV6)
			return false;
		struct in6_addr address = ip->saddr;
		ip->saddr = ip->daddr;
		ip->daddr = address;
		ip->hop_limit = ICMP_TTL;
		icmp->icmp6_type = ICMPV6_ECHO_REPLY;
		icmp->icmp6_cksum = checksum_replace(icmp->icmp6_cksum, bpf_htons(ICMPV6_ECHO_REQUEST << 8),
		                                     bpf_htons(ICMPV6_ECHO_REPLY << 8));
	}
	ethernet_turn(eth);
	return true;
}

/* The flow that an ICMP error is about, as its packets come from the client: the error quotes what the backend sent in
 * the VIP's name, so that source and destination change places. False when the quote is none that a backend behind this
 * address sent. *transport: offset of its ports. */
static __always_inline bool icmp_quoted_flow(const void *data, const void *data_end, const struct packet *packet,
                                             struct flow_key *key, __u32 *transport)
{
	const void *quote = data + (packet->transport & OFFSET_MASK) + sizeof(struct icmphdr);
	const __be16 *ports;
	if (packet->version == 4) {
		const struct iphdr *ip = quote;
		if ((const void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl < 5 ||
		    (ip->frag_off & bpf_htons(0x1fff)))
			return false;
		key->protocol = ip->protocol;
		address_set_v4(&key->source, ip->daddr);
		address_set_v4(&key->destination, ip->saddr);
		ports = quote + ip->ihl * 4;
	} else {
		const struct ipv6hdr *ip = quote;
		if ((const void *)(ip + 1) > data_end || ip->version != 6)
			return false;
		__u8 next = ip->nexthdr;
		const void *transport = ip + 1;
		__builtin_memcpy(&key->source, &ip->daddr, sizeof(struct address));
		__builtin_memcpy(&key->destination, &ip->saddr, sizeof(struct address));
		if (ipv6_walk(&transport, data_end, &next) != WALKED)
			return false;
		key->protocol = next;
		ports = transport;
	}
	if (key->protocol != IPPROTO_TCP && key->protocol != IPPROTO_UDP)
		return false;
	/* Who reports a packet that this address did not send makes it up. */
	if ((const void *)(ports + 2) > data_end || !address_equal(&key->destination, &packet->key.destination))
		return false;
	*transport = offset_from(data, ports);
	key->destination_port = ports[0];
	key->source_port = ports[1];
	return true;
}

struct too_big_v4 {
	struct iphdr ip;
	struct icmphdr icmp;
	__u32 quote[QUOTE_LENGTH / 4];
};

struct too_big_v6 {
	struct ipv6hdr ip;
	struct icmp6hdr icmp;
	__u32 quote[QUOTE_LENGTH / 4];
};

/* Answers a packet to a VIP in the VIP's name: mtu is what fits. An IPv4 packet that may be fragmented gets the answer,
 * too: nobody fragments it here. */
static __always_inline int icmp_answer_too_big(struct xdp_md *ctx, const struct packet *packet, __u32 mtu)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u32 length = packet->ethernet_length;
	struct ethernet_copy ethernet = {};
	/* Errors are never answered by errors (RFC 1122, section 3.2.2). */
	if (packet->key.protocol == IPPROTO_ICMP || packet->key.protocol == IPPROTO_ICMPV6 ||
	    packet->ip_length < QUOTE_LENGTH || !address_may_be_answered(&packet->key.source) ||
	    !ethernet_save(&ethernet, data, data_end, length))
		return drop(DROP_TOO_BIG);
	ethernet_turn(&ethernet.eth);
	int frame = data_end - data;
	if (bpf_xdp_adjust_tail(ctx, (int)(length + QUOTE_LENGTH) - frame))
		return drop(DROP_TOO_BIG);
	bool v4 = packet->version == 4;
	int front =
	        v4 ? sizeof(struct iphdr) + sizeof(struct icmphdr) : sizeof(struct ipv6hdr) + sizeof(struct icmp6hdr);
	if (bpf_xdp_adjust_head(ctx, -front))
		return drop(DROP_NO_HEADROOM);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	void *at = ethernet_restore(data, data_end, &ethernet, length, bpf_htons(v4 ? ETH_P_IP : ETH_P_IPV6));
	if (!at)
		return drop(DROP_TOO_BIG);
	if (v4) {
		struct too_big_v4 *answer = at;
		if ((void *)(answer + 1) > data_end)
			return drop(DROP_TOO_BIG);
		answer->ip = (struct iphdr){
		        .version = 4,
		        .ihl = 5,
		        .tos = 0xc0, /* internetwork control: RFC 1812, section 4.3.2.5 */
		        .tot_len = bpf_htons(sizeof(*answer)),
		        .ttl = ICMP_TTL,
		        .protocol = IPPROTO_ICMP,
		        .saddr = packet->key.destination.word[3],
		        .daddr = packet->key.source.word[3],
		};
		answer->ip.check = ~checksum_fold(checksum_sum_ipv4(&answer->ip));
		answer->icmp = (struct icmphdr){.type = ICMP_DEST_UNREACH, .code = ICMP_FRAG_NEEDED};
		answer->icmp.mtu = bpf_htons(mtu);
		__u64 sum = bpf_htons(ICMP_DEST_UNREACH << 8 | ICMP_FRAG_NEEDED) + bpf_htons(mtu);
		answer->icmp.checksum = ~checksum_fold(bpf_csum_diff(NULL, 0, answer->quote, QUOTE_LENGTH, sum));
		return XDP_TX;
	}
	struct too_big_v6 *answer = at;
	if ((void *)(answer + 1) > data_end)
		return drop(DROP_TOO_BIG);
	*(__be32 *)&answer->ip = bpf_htonl(6u << 28);
	answer->ip.payload_len = bpf_htons(sizeof(*answer) - sizeof(answer->ip));
	answer->ip.nexthdr = IPPROTO_ICMPV6;
	answer->ip.hop_limit = ICMP_TTL;
	__builtin_memcpy(&answer->ip.saddr, &packet->key.destination, sizeof(struct address));
	__builtin_memcpy(&answer->ip.daddr, &packet->key.source, sizeof(struct address));
	answer->icmp = (struct icmp6hdr){.icmp6_type = ICMPV6_PKT_TOOBIG};
	answer->icmp.icmp6_mtu = bpf_htonl(mtu);
	__u64 sum = (__u64)bpf_htonl(IPPROTO_ICMPV6) + bpf_htonl(sizeof(*answer) - sizeof(answer->ip)) +
	            bpf_htons(ICMPV6_PKT_TOOBIG << 8) + bpf_htonl(mtu);
	for (int i = 0; i < 4; i++)
		sum += (__u64)packet->key.source.word[i] + packet->key.destination.word[i];
	answer->icmp.icmp6_cksum =
	        ~checksum_fold(bpf_csum_diff(NULL, 0, answer->quote, QUOTE_LENGTH, checksum_fold(sum)));
	return XDP_TX;
}

#endif
