/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What xdp_guard sees of a packet, in one walk over its headers: who sends it to whom, and what is wrong with it.
 * Unlike parse.h it looks at every packet, whomever it is for, and has no opinion: the policy decides what is dropped
 * for what is wrong.
 */
#ifndef BPF_SEEN_H
#define BPF_SEEN_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
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
#include "ethernet.h"
#include "layout.h"
#include "parse.h"

enum fragment {
	FRAGMENT_NONE,
	FRAGMENT_FIRST, /* has the transport header */
	FRAGMENT_LATER,
};

#define TCP_FLAG_FIN 0x01
#define TCP_FLAG_SYN 0x02
#define TCP_FLAG_RST 0x04
#define TCP_FLAG_ACK 0x10

struct seen {
	struct address source, destination;
	__u32 ethernet_length; /* with tags: 14, 18 or 22 */
	__u32 ip_length;       /* header and payload, as the IP header tells */
	__u32 transport;       /* offset from the frame's front; 0: it is not in this frame */
	__be16 source_port, destination_port;
	__u8 version;  /* 4, 6; 0: not IP, or not to be read */
	__u8 protocol; /* behind extension headers */
	__u8 tcp_flags;
	__u8 fragment;            /* enum fragment */
	__u8 malformed;           /* enum drop_reason; DROP_NONE: it is not */
	__u8 bad_fragment;        /* the same */
	bool ports;               /* are known */
	bool neighbour_discovery; /* RFC 4861: without it there is no IPv6 */
} __attribute__((aligned(8)));

#define SEEN_FLAG(flags) (1u << (flags))

/*
 * Which combinations of flags a TCP segment may have: bits of FIN, SYN, RST, ACK, URG; PSH says nothing. All others
 * (none, SYN+FIN, SYN+RST, FIN alone, "Christmas trees") are of scanners and of those who want to slip past filters.
 */
static __always_inline bool tcp_flags_possible(__u8 flags)
{
	const __u32 fin = 1, syn = 2, rst = 4, ack = 8, urg = 16;
	const __u32 possible = SEEN_FLAG(syn) | SEEN_FLAG(syn | urg) | SEEN_FLAG(syn | ack) | SEEN_FLAG(rst) |
	                       SEEN_FLAG(rst | ack) | SEEN_FLAG(fin | ack) | SEEN_FLAG(fin | ack | urg) |
	                       SEEN_FLAG(ack) | SEEN_FLAG(ack | urg);
	__u32 bits = (flags & 7) | ((flags >> 1) & 0x18);
	return possible >> bits & 1;
}

/* The first thing that is wrong counts. */
static __always_inline void seen_malformed(struct seen *seen, enum drop_reason reason)
{
	if (seen->malformed == DROP_NONE)
		seen->malformed = reason;
}

/* A transport header that does not fit into what the IP header leaves for it. */
static __always_inline void seen_short(struct seen *seen)
{
	if (seen->fragment == FRAGMENT_NONE)
		seen_malformed(seen, DROP_BAD_LENGTH);
	else if (seen->bad_fragment == DROP_NONE)
		seen->bad_fragment = DROP_FRAGMENT_TINY;
}

/* The transport header of seen->protocol at at; space is what the IP header leaves for it. */
static __always_inline void see_transport(const void *data, const void *at, const void *data_end, __s32 space,
                                          struct seen *seen)
{
	if (seen->protocol == IPPROTO_TCP) {
		const struct tcphdr *tcp = at;
		if (space < (__s32)sizeof(*tcp))
			return seen_short(seen);
		if ((const void *)(tcp + 1) > data_end)
			return seen_malformed(seen, DROP_TRUNCATED);
		seen->source_port = tcp->source;
		seen->destination_port = tcp->dest;
		seen->ports = true;
		seen->tcp_flags = ((const __u8 *)tcp)[13];
		seen->transport = offset_from(data, at);
		__s32 length = tcp->doff * 4;
		if (length < (__s32)sizeof(*tcp))
			seen_malformed(seen, DROP_BAD_LENGTH);
		else if (length > space)
			seen_short(seen);
		if (!tcp_flags_possible(seen->tcp_flags))
			seen_malformed(seen, DROP_TCP_FLAGS);
		if (!seen->source_port || !seen->destination_port)
			seen_malformed(seen, DROP_PORT_ZERO);
	} else if (seen->protocol == IPPROTO_UDP) {
		const struct udphdr *udp = at;
		if (space < (__s32)sizeof(*udp))
			return seen_short(seen);
		if ((const void *)(udp + 1) > data_end)
			return seen_malformed(seen, DROP_TRUNCATED);
		seen->source_port = udp->source;
		seen->destination_port = udp->dest;
		seen->ports = true;
		seen->transport = offset_from(data, at);
		__s32 length = bpf_ntohs(udp->len);
		/* A fragment's datagram is longer than its packet. */
		if (length < (__s32)sizeof(*udp) || (length > space && seen->fragment == FRAGMENT_NONE))
			seen_malformed(seen, DROP_BAD_LENGTH);
		/* Source port 0 says that no answer is wanted (RFC 768). */
		if (!seen->destination_port)
			seen_malformed(seen, DROP_PORT_ZERO);
	} else if (seen->protocol == (seen->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		const __u8 *type = at;
		if (space < 8)
			return seen_short(seen);
		if (at + 8 > data_end)
			return seen_malformed(seen, DROP_TRUNCATED);
		seen->transport = offset_from(data, at);
		/* Of this link, which its hop limit proves (section 6.1.1 and others). */
		seen->neighbour_discovery &= *type >= 133 && *type <= 137 && seen->fragment == FRAGMENT_NONE;
		return;
	}
	seen->neighbour_discovery = false;
}

/* Which part of a packet this is. place: of its first byte in the whole, in bytes; header: bytes in front of what can
 * be fragmented. False: no transport header is in it. */
static __always_inline bool see_fragment(__u32 place, bool more, __s32 payload, __u32 header, struct seen *seen)
{
	seen->fragment = place ? FRAGMENT_LATER : FRAGMENT_FIRST;
	if (payload <= 0 || (more && payload % 8) || place + (__u32)payload + header > 65535)
		seen->bad_fragment = DROP_FRAGMENT_LENGTH;
	else if (place && place < sizeof(struct tcphdr) && seen->protocol == IPPROTO_TCP)
		seen->bad_fragment = DROP_FRAGMENT_OVERLAP;
	return !place;
}

static __always_inline void see_ipv4(const void *data, const void *data_end, bool verify, struct seen *seen)
{
	const struct iphdr *ip = data + seen->ethernet_length;
	if ((const void *)(ip + 1) > data_end)
		return seen_malformed(seen, DROP_TRUNCATED);
	if (ip->version != 4)
		return seen_malformed(seen, DROP_BAD_VERSION);
	seen->version = 4;
	seen->protocol = ip->protocol;
	address_set_v4(&seen->source, ip->saddr);
	address_set_v4(&seen->destination, ip->daddr);
	__u32 header = ip->ihl * 4, length = bpf_ntohs(ip->tot_len);
	seen->ip_length = length;
	if (header < sizeof(*ip) || length < header || length > offset_from(data, data_end) - seen->ethernet_length)
		return seen_malformed(seen, DROP_BAD_LENGTH);
	if (verify && !checksum_ipv4_valid(ip, data_end))
		return seen_malformed(seen, DROP_BAD_CHECKSUM);
	const void *transport = (const void *)ip + header;
	__s32 space = (__s32)length - (__s32)header;
	__u16 fragment = bpf_ntohs(ip->frag_off);
	if ((fragment & IPV4_FRAGMENT_BITS) &&
	    !see_fragment((fragment & 0x1fff) * 8, fragment & 0x2000, space, header, seen))
		return;
	see_transport(data, transport, data_end, space, seen);
}

static __always_inline void see_ipv6(const void *data, const void *data_end, struct seen *seen)
{
	const struct ipv6hdr *ip = data + seen->ethernet_length;
	if ((const void *)(ip + 1) > data_end)
		return seen_malformed(seen, DROP_TRUNCATED);
	if (ip->version != 6)
		return seen_malformed(seen, DROP_BAD_VERSION);
	seen->version = 6;
	__builtin_memcpy(&seen->source, &ip->saddr, sizeof(struct address));
	__builtin_memcpy(&seen->destination, &ip->daddr, sizeof(struct address));
	seen->neighbour_discovery = ip->hop_limit == 255;
	seen->ip_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (seen->ip_length > offset_from(data, data_end) - seen->ethernet_length)
		return seen_malformed(seen, DROP_BAD_LENGTH);
	const void *at = ip + 1;
	__u8 next = ip->nexthdr;
	enum walked walked = ipv6_walk(&at, data_end, &next);
	seen->protocol = next;
	if (walked == WALKED_TRUNCATED)
		return seen_malformed(seen, DROP_TRUNCATED);
	if (walked == WALKED_OTHER)
		return;
	if (walked == WALKED_FRAGMENT) {
		const struct extension_header *header = at;
		if ((const void *)(header + 1) > data_end)
			return seen_malformed(seen, DROP_TRUNCATED);
		__u16 fragment = bpf_ntohs(header->fragment);
		seen->protocol = header->next;
		at += sizeof(*header);
		__s32 rest = (__s32)(seen->ip_length + seen->ethernet_length) - (__s32)offset_from(data, at);
		if (!see_fragment(fragment & 0xfff8, fragment & 1, rest, 0, seen))
			return;
	}
	__s32 space = (__s32)(seen->ip_length + seen->ethernet_length) - (__s32)offset_from(data, at);
	see_transport(data, at, data_end, space, seen);
}

/*
 * Nearly every packet is IPv4 without tags, options and fragments, with a whole TCP or UDP header, and nothing is wrong
 * with it: what see() says of such a one, without its call and its many questions. False: it is another, or something
 * is wrong, and nothing has been said. *seen must be zero.
 */
static __always_inline bool see_plain(const struct xdp_md *ctx, bool verify, struct seen *seen)
{
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;
	const struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct tcphdr *tcp = (const void *)(ip + 1);
	const struct udphdr *udp = (const void *)tcp;
	if ((const void *)(tcp + 1) > data_end)
		return false;
	/* Whole half-words: of a packed structure clang would load bytes. */
	__be16 ethertype = ((const __be16 *)data)[6];
	__u32 length = bpf_ntohs(ip->tot_len), space = length - sizeof(*ip);
	__u8 flags = 0;
	if (ethertype != bpf_htons(ETH_P_IP) || *(const __u8 *)ip != 0x45 ||
	    (ip->frag_off & bpf_htons(IPV4_FRAGMENT_BITS)) || ip->saddr == ip->daddr ||
	    length > offset_from(data, data_end) - sizeof(struct ethhdr) || !tcp->dest)
		return false;
	if (ip->protocol == IPPROTO_TCP) {
		__u32 header = tcp->doff * 4;
		flags = ((const __u8 *)tcp)[13];
		if (length < sizeof(*ip) + sizeof(*tcp) || header < sizeof(*tcp) || header > space ||
		    !tcp_flags_possible(flags) || !tcp->source)
			return false;
	} else if (ip->protocol == IPPROTO_UDP) {
		__u32 datagram = bpf_ntohs(udp->len);
		if (length < sizeof(*ip) + sizeof(*udp) || datagram < sizeof(*udp) || datagram > space)
			return false;
	} else {
		return false;
	}
	if (verify && checksum_fold(checksum_sum_ipv4(ip)) != 0xffff)
		return false;
	seen->version = 4;
	seen->protocol = ip->protocol;
	seen->tcp_flags = flags;
	seen->ports = true;
	seen->source_port = tcp->source;
	seen->destination_port = tcp->dest;
	seen->ethernet_length = sizeof(struct ethhdr);
	seen->transport = sizeof(struct ethhdr) + sizeof(*ip);
	seen->ip_length = length;
	address_set_v4(&seen->source, ip->saddr);
	address_set_v4(&seen->destination, ip->daddr);
	return true;
}

/*
 * *seen must be zero. verify: the checksum of the IPv4 header, too. Returns 0.
 *
 * A global function: the verifier walks it by itself, and each program once with anything that it may have seen,
 * instead of once for every course through all headers.
 */
__attribute__((noinline)) int see(struct xdp_md *ctx, __u32 verify, struct seen *seen)
{
	if (!seen)
		return 0;
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;
	__be16 ethertype;
	seen->ethernet_length = ethernet_measure(data, data_end, &ethertype);
	if (!seen->ethernet_length)
		return 0;
	if (ethertype == bpf_htons(ETH_P_IP))
		see_ipv4(data, data_end, verify, seen);
	else if (ethertype == bpf_htons(ETH_P_IPV6))
		see_ipv6(data, data_end, seen);
	/* A class of its own in the reasons, since nothing in the packet is out of shape. */
	if (seen->version && address_equal(&seen->source, &seen->destination))
		seen_malformed(seen, DROP_LAND);
	return 0;
}

#endif
