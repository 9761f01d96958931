/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * From a frame to a five-tuple: Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with extension headers, then
 * TCP, UDP or ICMP. Every step is bounded; nothing is read that has not been checked to be in the frame.
 *
 * Malformed packets and fragments are judged only when they are sent to a VIP's address: the rest of the host's traffic
 * is the stack's own business. So PARSED_BROKEN comes with the destination, and what ends before its destination is
 * PARSED_OTHER.
 */
#ifndef BPF_PARSE_H
#define BPF_PARSE_H

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

#define IPV4_FRAGMENT_BITS 0x3fff /* more fragments, and the offset */
#define IPV6_FRAGMENT_BITS 0xfff9
#define IPV6_EXTENSIONS_MAX 6

/* The verifier forgets bounds of what goes through memory narrower than a register. Offsets into a frame are below
 * this whatever the headers say. */
#define OFFSET_MASK 0x3fffu

/* Distance in bytes. Hidden from clang, which would subtract the pointers' halves; the verifier does not allow that. */
static __always_inline __u32 offset_from(const void *front, const void *at)
{
	__u64 offset = at - front;
	asm volatile("" : "+r"(offset));
	return offset;
}

enum parsed {
	PARSED_OTHER = 0, /* not to be balanced: the next program's or the stack's */
	PARSED_FLOW,      /* TCP, UDP: everything is known */
	PARSED_ICMP,      /* everything but ports: of the packet's own version of ICMP */
	PARSED_BROKEN,    /* reason and key.destination are known */
};

struct packet {
	struct flow_key key __attribute__((aligned(8)));
	__u32 ethernet_length; /* with tags: 14, 18 or 22 */
	__u32 ip_length;       /* header and payload, as the IP header tells: at least in the frame as a whole */
	__u32 transport;       /* offset from the frame's front */
	__u32 payload;         /* bytes that TCP or UDP carries */
	__u8 version;          /* 4, 6 */
	__u8 traffic_class;    /* DSCP and ECN */
	bool opens;            /* TCP: SYN without ACK */
	__u8 tcp_flags;        /* TCP_FIN and others */
	__u8 reason;           /* PARSED_BROKEN: enum drop_reason */
	__u8 waits;            /* enum shape_kind: by what it may wait on its way out; 0: it may not */
	__u16 frames;          /* tc: that the buffer stands for; 0: one */
	__u32 named;           /* NAT, QUIC: index of the backend that the packet names; 0: none */
};

/* The header's 14th byte. <linux/tcp.h> has its own as words. */
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct extension_header {
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a fragment header: offset, two reserved bits, more fragments */
	__u32 rest;
};

enum walked {
	WALKED,           /* *at is the transport header */
	WALKED_TRUNCATED, /* the frame ends before */
	WALKED_FRAGMENT,
	WALKED_OTHER, /* it is not to be delivered here yet (routing header), or has more headers than are followed */
};

/* Follows IPv6 extension headers from *at, whose type is *next. A fragment header of an atomic fragment (RFC 6946: the
 * whole packet in one) is walked over. Authentication and ESP end the walk as transport protocols. */
static __always_inline enum walked ipv6_walk(const void **at, const void *data_end, __u8 *next)
{
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		__u8 type = *next;
		if (type != IPPROTO_HOPOPTS && type != IPPROTO_DSTOPTS && type != IPPROTO_ROUTING &&
		    type != IPPROTO_FRAGMENT)
			return WALKED;
		const struct extension_header *header = *at;
		if ((const void *)(header + 1) > data_end)
			return WALKED_TRUNCATED;
		__u32 length = sizeof(*header);
		if (type == IPPROTO_FRAGMENT) {
			if (header->fragment & bpf_htons(IPV6_FRAGMENT_BITS))
				return WALKED_FRAGMENT;
		} else {
			/* Segments left: the second byte of the routing header's fragment field's place. */
			if (type == IPPROTO_ROUTING && (header->fragment & bpf_htons(0x00ff)))
				return WALKED_OTHER;
			length += (__u32)header->length * 8;
		}
		*next = header->next;
		*at += length;
	}
	return *next == IPPROTO_TCP || *next == IPPROTO_UDP || *next == IPPROTO_ICMPV6 ? WALKED : WALKED_OTHER;
}

static __always_inline enum parsed broken(struct packet *packet, enum drop_reason reason)
{
	packet->reason = reason;
	return PARSED_BROKEN;
}

/* TCP, UDP, ICMP at offset transport; space is what the IP header leaves for it. */
static __always_inline enum parsed parse_transport(const void *at, const void *data_end, __u8 protocol, __s32 space,
                                                   struct packet *packet)
{
	packet->key.protocol = protocol;
	if (protocol == IPPROTO_TCP) {
		const struct tcphdr *tcp = at;
		if ((const void *)(tcp + 1) > data_end)
			return broken(packet, DROP_TRUNCATED);
		__s32 length = tcp->doff * 4;
		if (length < (__s32)sizeof(*tcp) || length > space)
			return broken(packet, DROP_BAD_LENGTH);
		packet->key.source_port = tcp->source;
		packet->key.destination_port = tcp->dest;
		packet->payload = space - length;
		packet->tcp_flags = ((const __u8 *)tcp)[13];
		packet->opens = (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
		return PARSED_FLOW;
	}
	if (protocol == IPPROTO_UDP) {
		const struct udphdr *udp = at;
		if ((const void *)(udp + 1) > data_end)
			return broken(packet, DROP_TRUNCATED);
		__s32 length = bpf_ntohs(udp->len);
		if (length < (__s32)sizeof(*udp) || length > space)
			return broken(packet, DROP_BAD_LENGTH);
		packet->key.source_port = udp->source;
		packet->key.destination_port = udp->dest;
		packet->payload = length - sizeof(*udp);
		return PARSED_FLOW;
	}
	if (protocol == (packet->version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		if (at + 8 > data_end)
			return broken(packet, DROP_TRUNCATED);
		return space < 8 ? broken(packet, DROP_BAD_LENGTH) : PARSED_ICMP;
	}
	return PARSED_OTHER;
}

static __always_inline enum parsed parse_ipv4(const void *data, const void *data_end, struct packet *packet)
{
	const struct iphdr *ip = data + packet->ethernet_length;
	if ((const void *)(ip + 1) > data_end || ip->version != 4)
		return PARSED_OTHER;
	packet->version = 4;
	packet->traffic_class = ip->tos;
	packet->ip_length = bpf_ntohs(ip->tot_len);
	address_set_v4(&packet->key.source, ip->saddr);
	address_set_v4(&packet->key.destination, ip->daddr);
	__u32 header = ip->ihl * 4;
	if (header < sizeof(*ip) || packet->ip_length < header)
		return broken(packet, DROP_BAD_LENGTH);
	if (ip->frag_off & bpf_htons(IPV4_FRAGMENT_BITS))
		return broken(packet, DROP_FRAGMENT);
	const void *transport = (const void *)ip + header;
	packet->transport = offset_from(data, transport);
	return parse_transport(transport, data_end, ip->protocol, packet->ip_length - header, packet);
}

static __always_inline enum parsed parse_ipv6(const void *data, const void *data_end, struct packet *packet)
{
	const struct ipv6hdr *ip = data + packet->ethernet_length;
	if ((const void *)(ip + 1) > data_end || ip->version != 6)
		return PARSED_OTHER;
	packet->version = 6;
	packet->traffic_class = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->ip_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	__builtin_memcpy(&packet->key.source, &ip->saddr, sizeof(struct address));
	__builtin_memcpy(&packet->key.destination, &ip->daddr, sizeof(struct address));
	/* IPv4 in disguise never comes by wire (RFC 4291, section 2.5.5.2), and would be taken for IPv4 here. */
	if (address_is_v4(&packet->key.source) || address_is_v4(&packet->key.destination))
		return PARSED_OTHER;
	const void *transport = ip + 1;
	__u8 next = ip->nexthdr;
	switch (ipv6_walk(&transport, data_end, &next)) {
	case WALKED:
		break;
	case WALKED_TRUNCATED:
		return broken(packet, DROP_TRUNCATED);
	case WALKED_FRAGMENT:
		return broken(packet, DROP_FRAGMENT);
	default:
		return PARSED_OTHER;
	}
	packet->transport = offset_from(data, transport);
	__s32 space = (__s32)(packet->ip_length + packet->ethernet_length) - (__s32)packet->transport;
	return parse_transport(transport, data_end, next, space, packet);
}

/*
 * What packet_parse() says of what nearly every packet is: a whole frame to one host, without tags, of IPv4 without
 * options, no fragment, with a sound TCP or UDP header. False: it is another, and nothing has been said. In half the
 * time: places are constants, and what lies together is written together. *packet must be zero.
 */
static __always_inline bool packet_parse_plain(const void *data, const void *data_end, struct packet *packet)
{
	const struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct tcphdr *tcp = (const void *)(ip + 1);
	const struct udphdr *udp = (const void *)tcp;
	if ((const void *)(tcp + 1) > data_end)
		return false;
	const __u32 length = bpf_ntohs(ip->tot_len), space = length - sizeof(*ip);
	__u32 payload;
	__u8 flags = 0;
	if ((*(const __u8 *)data & 1) || ((const __be16 *)data)[6] != bpf_htons(ETH_P_IP) ||
	    *(const __u8 *)ip != 0x45 || (ip->frag_off & bpf_htons(IPV4_FRAGMENT_BITS)) || length < sizeof(*ip) ||
	    length > offset_from(data, data_end) - sizeof(struct ethhdr))
		return false;
	if (ip->protocol == IPPROTO_TCP) {
		const __u32 header = tcp->doff * 4;
		if (header < sizeof(*tcp) || header > space)
			return false;
		flags = ((const __u8 *)tcp)[13];
		payload = space - header;
	} else if (ip->protocol == IPPROTO_UDP) {
		const __u32 datagram = bpf_ntohs(udp->len);
		if (datagram < sizeof(*udp) || datagram > space)
			return false;
		payload = datagram - sizeof(*udp);
	} else {
		return false;
	}
	packet->payload = payload;
	packet->version = 4;
	packet->traffic_class = ip->tos;
	packet->tcp_flags = flags;
	packet->opens = (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	packet->ethernet_length = sizeof(struct ethhdr);
	packet->ip_length = length;
	packet->transport = sizeof(struct ethhdr) + sizeof(*ip);
	address_set_v4(&packet->key.source, ip->saddr);
	address_set_v4(&packet->key.destination, ip->daddr);
	packet->key.source_port = tcp->source;
	packet->key.destination_port = tcp->dest;
	packet->key.protocol = ip->protocol;
	return true;
}

/* frame: the frame's length, of which [data, data_end) may be the beginning. *packet must be zero. */
static __always_inline enum parsed packet_parse(const void *data, const void *data_end, __u32 frame,
                                                struct packet *packet)
{
	__be16 ethertype;
	packet->ethernet_length = ethernet_parse(data, data_end, &ethertype);
	if (!packet->ethernet_length)
		return PARSED_OTHER;
	enum parsed parsed = PARSED_OTHER;
	if (ethertype == bpf_htons(ETH_P_IP))
		parsed = parse_ipv4(data, data_end, packet);
	else if (ethertype == bpf_htons(ETH_P_IPV6))
		parsed = parse_ipv6(data, data_end, packet);
	/* Last, so that a frame cut within a header is told from one cut behind it. Longer frames are padded. */
	if (parsed != PARSED_OTHER && parsed != PARSED_BROKEN && packet->ip_length > frame - packet->ethernet_length)
		return broken(packet, DROP_BAD_LENGTH);
	return parsed;
}

/* A router's duty (RFC 1812, section 5.2.2); packets that go on to the stack are left to it. */
static __always_inline bool header_valid(const void *data, const void *data_end, const struct packet *packet)
{
	if (packet->version != 4)
		return true;
	const struct iphdr *ip = data + (packet->ethernet_length & 0x1f);
	return (const void *)(ip + 1) <= data_end && checksum_ipv4_valid(ip, data_end);
}

#endif
