/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Another source and destination for a frame, by direct access: bit by bit what nat_rewrite.h makes of a buffer. The
 * checksums change by the difference alone: what was wrong stays wrong.
 *
 * A frame in XDP has no state of its checksum beside it. One that is still to be completed (CHECKSUM_PARTIAL: veth, or
 * segments that were joined before generic XDP) holds the pseudo header's sum, not its complement: a difference would
 * spoil it, and nobody would complete it after XDP. It is told by that sum, and is tc's to carry. So is one frame in
 * 65,536 whose checksum happens to be the same.
 */
#ifndef BPF_NAT_FRAME_H
#define BPF_NAT_FRAME_H

#include <bpf/bpf_endian.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include "checksum.h"
#include "layout.h"
#include "parse.h"
#include "ttl.h"

/* The sum of both addresses' words. What IPv4 has in front of an address adds nothing to a checksum: it is 0xffff. */
static __always_inline __u64 nat_addresses_sum(const struct address *one, const struct address *other)
{
	__u64 sum = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)one->word[i] + other->word[i];
	return sum;
}

/* What sums become when one address pair takes the other's place. */
static __always_inline __u64 nat_addresses_difference(const struct flow_key *key, const struct nat_flow *flow)
{
	__u64 sum = 0;
#pragma unroll
	for (int i = 0; i < 4; i++)
		sum += (__u64)(__u32)~key->source.word[i] + (__u32)~key->destination.word[i];
	return sum + nat_addresses_sum(&flow->source, &flow->destination);
}

/* Where the transport checksum of a frame stands, whose transport header is at at; NULL: not in the frame. One choice
 * between the two and one comparison: of a length and a place that are chosen apart, the verifier of Linux 6.1 does not
 * know that they belong together. */
static __always_inline __u16 *nat_check_of(void *at, const void *data_end, bool udp)
{
	__u16 *check = udp ? &((struct udphdr *)at)->check : &((struct tcphdr *)at)->check;
	return (const void *)(check + 1) <= data_end ? check : NULL;
}

/* Can the frame leave as it is but for what is changed by difference: is its checksum complete, and its TTL above 1? */
static __always_inline bool nat_frame_complete(void *data, const void *data_end, const struct packet *packet)
{
	const bool udp = packet->key.protocol == IPPROTO_UDP;
	const __u16 *check = nat_check_of(data + (packet->transport & OFFSET_MASK), data_end, udp);
	const void *at = data + (packet->ethernet_length & 0x1f);
	const struct iphdr *ip = at;
	const struct ipv6hdr *ip6 = at;
	if (!check || (const void *)(ip + 1) > data_end || (packet->version == 6 && (const void *)(ip6 + 1) > data_end))
		return false;
	if ((packet->version == 4 ? ip->ttl : ip6->hop_limit) <= 1)
		return false;
	const __u32 length = packet->ip_length + packet->ethernet_length - packet->transport;
	__u64 sum = nat_addresses_sum(&packet->key.source, &packet->key.destination) + bpf_htonl(length) +
	            bpf_htons(packet->key.protocol);
	return (udp && !*check) || *check != checksum_fold(sum);
}

/* Gives the packet whose IP header is at at the flow's source and destination, and takes one off its TTL. offset: of
 * the transport header from there. False: it does not fit, and is spoiled. */
static __always_inline bool nat_frame_rewrite(void *at, const void *data_end, const struct packet *packet, __u32 offset,
                                              const struct nat_flow *flow)
{
	const bool udp = packet->key.protocol == IPPROTO_UDP;
	const __u64 addresses = nat_addresses_difference(&packet->key, flow);
	void *transport = at + (offset & OFFSET_MASK);
	__u16 *check = nat_check_of(transport, data_end, udp);
	if (!check || !ttl_decrement(packet->version, at, data_end))
		return false;
	if (packet->version == 4) {
		struct iphdr *ip = at;
		ip->check = ~checksum_fold((__u64)(__u16)~ip->check + addresses);
		ip->saddr = flow->source.word[3];
		ip->daddr = flow->destination.word[3];
	} else {
		struct ipv6hdr *ip = at;
		__builtin_memcpy(&ip->saddr, &flow->source, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &flow->destination, sizeof(ip->daddr));
	}
	if (!udp || *check) {
		const __u64 ports = (__u64)(__u16)~packet->key.source_port + (__u16)~packet->key.destination_port +
		                    flow->source_port + flow->destination_port;
		*check = ~checksum_fold((__u64)(__u16) ~*check + addresses + ports);
		if (udp && !*check)
			*check = 0xffff;
	}
	__be16 *numbers = transport;
	numbers[0] = flow->source_port;
	numbers[1] = flow->destination_port;
	return true;
}

#endif
