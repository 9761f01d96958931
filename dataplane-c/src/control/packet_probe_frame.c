/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_probe_frame.h"

#include <arpa/inet.h>
#include <asm/byteorder.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <string.h>

#define DATA_BYTES 4u

const struct address probe_vip[SCRATCH_FAMILIES] = {
        {.word = {0, 0, __constant_htonl(0xffff), __constant_htonl(0xc6336401u)}}, /* 198.51.100.1 */
        {.word = {__constant_htonl(0x20010db8), __constant_htonl(0x00990000), 0,
                  __constant_htonl(1)}}, /* 2001:db8:99::1 */
};

static uint32_t sum(const void *bytes, size_t size, uint32_t before)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i + 1 < size; i += 2)
		before += (uint32_t)at[i] << 8 | at[i + 1];
	return size % 2 ? before + ((uint32_t)at[size - 1] << 8) : before;
}

/* RFC 1071, in host order; 0 of what has its checksum inside and is right. */
static uint16_t fold(uint32_t total)
{
	total = (total & 0xffff) + (total >> 16);
	return (uint16_t) ~(total + (total >> 16));
}

/* RFC 768; RFC 8200, section 8.1. */
static uint32_t pseudo_header(const struct probe_packet *packet, size_t udp_length)
{
	bool v4 = packet->family == SCRATCH_V4;
	size_t from = v4 ? 12 : 0, size = v4 ? 4 : 16;
	uint32_t total = sum((const uint8_t *)&packet->source + from, size, 0);

	total = sum((const uint8_t *)&packet->destination + from, size, total);
	return total + IPPROTO_UDP + (uint32_t)udp_length;
}

static size_t write_ip(uint8_t *at, enum scratch_family family, const struct address *source,
                       const struct address *destination, uint8_t protocol, size_t payload)
{
	if (family == SCRATCH_V6) {
		struct ipv6hdr ip = {.version = 6,
		                     .payload_len = htons((uint16_t)payload),
		                     .nexthdr = protocol,
		                     .hop_limit = PROBE_TTL};
		memcpy(&ip.saddr, source, sizeof(ip.saddr));
		memcpy(&ip.daddr, destination, sizeof(ip.daddr));
		memcpy(at, &ip, sizeof(ip));
		return sizeof(ip);
	}
	struct iphdr ip = {.version = 4,
	                   .ihl = 5,
	                   .tot_len = htons((uint16_t)(sizeof(ip) + payload)),
	                   .ttl = PROBE_TTL,
	                   .protocol = protocol,
	                   .saddr = source->word[3],
	                   .daddr = destination->word[3]};
	ip.check = htons(fold(sum(&ip, sizeof(ip), 0)));
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

size_t probe_frame_write(uint8_t frame[PROBE_FRAME_MAX], const struct probe_packet *packet, bool outer)
{
	const bool v4 = packet->family == SCRATCH_V4;
	const struct ethhdr ethernet = {.h_dest = SCRATCH_INSIDE_MAC,
	                                .h_source = SCRATCH_WIRE_MAC,
	                                .h_proto = htons(v4 ? ETH_P_IP : ETH_P_IPV6)};
	struct udphdr udp = {.source = htons(packet->source_port),
	                     .dest = htons(packet->destination_port),
	                     .len = htons(sizeof(udp) + DATA_BYTES)};
	const size_t header = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr), payload = sizeof(udp) + DATA_BYTES;
	size_t at = sizeof(ethernet);

	memset(frame, 0, PROBE_FRAME_MAX);
	memcpy(frame, &ethernet, sizeof(ethernet));
	if (outer)
		at += write_ip(frame + at, packet->family, &scratch_client[packet->family],
		               &scratch_inside[packet->family], v4 ? IPPROTO_IPIP : IPPROTO_IPV6, header + payload);
	at += write_ip(frame + at, packet->family, &packet->source, &packet->destination, IPPROTO_UDP, payload);
	/* The data are zeros. */
	udp.check = htons(fold(sum(&udp, sizeof(udp), pseudo_header(packet, payload))));
	memcpy(frame + at, &udp, sizeof(udp));
	return at + payload;
}

static bool read_v4(const uint8_t *frame, size_t length, size_t at, struct probe_packet *packet)
{
	struct iphdr ip;

	if (at + sizeof(ip) > length)
		return false;
	memcpy(&ip, frame + at, sizeof(ip));
	if (ip.version != 4 || ip.ihl != 5 || fold(sum(&ip, sizeof(ip), 0)))
		return false;
	*packet = (struct probe_packet){.family = SCRATCH_V4,
	                                .source = {.word = {0, 0, htonl(0xffff), ip.saddr}},
	                                .destination = {.word = {0, 0, htonl(0xffff), ip.daddr}},
	                                .protocol = ip.protocol,
	                                .ttl = ip.ttl,
	                                .payload = at + sizeof(ip)};
	return true;
}

static bool read_v6(const uint8_t *frame, size_t length, size_t at, struct probe_packet *packet)
{
	struct ipv6hdr ip;

	if (at + sizeof(ip) > length)
		return false;
	memcpy(&ip, frame + at, sizeof(ip));
	*packet = (struct probe_packet){
	        .family = SCRATCH_V6, .protocol = ip.nexthdr, .ttl = ip.hop_limit, .payload = at + sizeof(ip)};
	memcpy(&packet->source, &ip.saddr, sizeof(ip.saddr));
	memcpy(&packet->destination, &ip.daddr, sizeof(ip.daddr));
	return true;
}

bool probe_packet_read(const uint8_t *frame, size_t length, size_t at, struct probe_packet *packet)
{
	struct udphdr udp;
	bool read = at < length &&
	            (frame[at] >> 4 == 6 ? read_v6(frame, length, at, packet) : read_v4(frame, length, at, packet));

	if (!read || packet->protocol != IPPROTO_UDP)
		return read;
	if (packet->payload + sizeof(udp) > length)
		return false;
	memcpy(&udp, frame + packet->payload, sizeof(udp));
	size_t size = ntohs(udp.len);
	if (size < sizeof(udp) || packet->payload + size > length ||
	    (udp.check && fold(sum(frame + packet->payload, size, pseudo_header(packet, size)))))
		return false;
	packet->source_port = ntohs(udp.source);
	packet->destination_port = ntohs(udp.dest);
	packet->payload += sizeof(udp);
	return true;
}

struct probe_packet probe_request(enum scratch_family family, uint16_t port)
{
	return (struct probe_packet){.family = family,
	                             .source = scratch_client[family],
	                             .destination = probe_vip[family],
	                             .source_port = PROBE_CLIENT_PORT,
	                             .destination_port = port,
	                             .protocol = IPPROTO_UDP,
	                             .ttl = PROBE_TTL};
}

static bool same(const struct address *a, const struct address *b)
{
	return !memcmp(a, b, sizeof(*a));
}

bool probe_is_request(const struct probe_packet *packet, enum scratch_family family, uint16_t port, uint8_t ttl)
{
	return packet->family == family && packet->protocol == IPPROTO_UDP && packet->ttl == ttl &&
	       same(&packet->source, &scratch_client[family]) && same(&packet->destination, &probe_vip[family]) &&
	       packet->source_port == PROBE_CLIENT_PORT && packet->destination_port == port;
}
