/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The outer header of a packet to a backend: IP in IP (RFC 2003, RFC 2473, RFC 4213) or GUE variant 1 (IP directly in
 * UDP: draft-ietf-intarea-gue-09, section 4).
 *
 * - The inner packet stays as it came, its TTL included: the director stands for the packet's destination, and is not a
 *   router on its way (RFC 2003, section 3.1, asks for the decrement only where one forwards). What loops through a
 *   backend's stack loses TTL there.
 * - DSCP and ECN are copied to the outer header (RFC 2983's uniform model; RFC 6040, section 4.1, normal mode).
 * - Outer IPv4 has "don't fragment" set and so needs no identification (RFC 6864, section 4.1): a decapsulator in XDP
 *   cannot reassemble.
 * - The outer UDP checksum is 0, with IPv6, too: RFC 6935 and RFC 6936 allow it to tunnels whose inner packets are
 *   protected by checksums of their own over the addresses, as TCP, UDP over IPv6 and ICMP are. A real one would have
 * every byte of every packet read.
 * - The UDP source port and the IPv6 flow label come from the flow's hash, so that routers spread flows over equal
 * paths (RFC 6438; RFC 8085, section 5.1.1).
 */
#ifndef BPF_ENCAPSULATE_H
#define BPF_ENCAPSULATE_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include "address.h"
#include "checksum.h"
#include "layout.h"
#include "parse.h"

#define OUTER_TTL 64
#define IPV4_DONT_FRAGMENT 0x4000

static __always_inline __u32 encapsulation_overhead(const struct backend *backend, __u16 forwarding)
{
	if (forwarding == FORWARDING_L2)
		return 0;
	return (address_is_v4(&backend->address) ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
	       (forwarding == FORWARDING_GUE ? sizeof(struct udphdr) : 0);
}

static __always_inline __u8 encapsulation_protocol(const struct packet *packet, __u16 forwarding)
{
	if (forwarding == FORWARDING_GUE)
		return IPPROTO_UDP;
	return packet->version == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;
}

/* In the dynamic range of RFC 6335, as RFC 7510, section 3, has it. */
static __always_inline __be16 encapsulation_source_port(__u64 hash)
{
	return bpf_htons(0xc000 | (hash & 0x3fff));
}

static __always_inline bool write_udp(struct udphdr *udp, const void *data_end, const struct packet *packet,
                                      __be16 port, __u64 hash)
{
	if ((const void *)(udp + 1) > data_end)
		return false;
	udp->source = encapsulation_source_port(hash);
	udp->dest = port;
	udp->len = bpf_htons(sizeof(*udp) + packet->ip_length);
	udp->check = 0;
	return true;
}

/* Writes the outer header at *at. False when there is no space for it, which does not happen when the frame's front was
 * moved by encapsulation_overhead(). */
static __always_inline bool encapsulate(void *at, const void *data_end, const struct packet *packet,
                                        const struct backend *backend, __u16 forwarding, __be16 port, __u64 hash)
{
	__u32 length = encapsulation_overhead(backend, forwarding) + packet->ip_length;
	void *udp;
	if (address_is_v4(&backend->address)) {
		struct iphdr *ip = at;
		udp = ip + 1;
		if (udp > data_end)
			return false;
		ip->version = 4;
		ip->ihl = 5;
		ip->tos = packet->traffic_class;
		ip->tot_len = bpf_htons(length);
		ip->id = 0;
		ip->frag_off = bpf_htons(IPV4_DONT_FRAGMENT);
		ip->ttl = OUTER_TTL;
		ip->protocol = encapsulation_protocol(packet, forwarding);
		ip->check = 0;
		ip->saddr = backend->source.word[3];
		ip->daddr = backend->address.word[3];
		ip->check = ~checksum_fold(checksum_sum_ipv4(ip));
	} else {
		struct ipv6hdr *ip = at;
		udp = ip + 1;
		if (udp > data_end)
			return false;
		/* Version, traffic class, flow label. */
		*(__be32 *)ip = bpf_htonl(6u << 28 | (__u32)packet->traffic_class << 20 | (hash & 0xfffff));
		ip->payload_len = bpf_htons(length - sizeof(*ip));
		ip->nexthdr = encapsulation_protocol(packet, forwarding);
		ip->hop_limit = OUTER_TTL;
		__builtin_memcpy(&ip->saddr, &backend->source, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &backend->address, sizeof(ip->daddr));
	}
	return forwarding != FORWARDING_GUE || write_udp(udp, data_end, packet, port, hash);
}

#endif
