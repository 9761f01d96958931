/* SPDX-License-Identifier: Apache-2.0 */
#include "expect.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

static uint64_t mix(uint64_t value)
{
	value ^= value >> 23;
	value *= 0x2127599bf4325c37ull;
	value ^= value >> 47;
	return value;
}

/* fasthash64 of 40 bytes with seed 0, from its author's description. */
static uint64_t fasthash64(const uint8_t bytes[40])
{
	const uint64_t m = 0x880355f21e6d1965ull;
	uint64_t hash = 40 * m;
	for (int i = 0; i < 40; i += 8) {
		uint64_t word;
		memcpy(&word, bytes + i, 8);
		hash ^= mix(word);
		hash *= m;
	}
	return mix(hash);
}

static void put_v4_in_v6(uint8_t *at, const uint8_t *v4)
{
	memset(at, 0, 10);
	memset(at + 10, 0xff, 2);
	memcpy(at + 12, v4, 4);
}

/* Source, destination, ports, protocol, three bytes of zero. */
static void five_tuple(uint8_t key[40], const struct frame *in)
{
	const uint8_t *ip = in->data + frame_ethernet_length(in), *transport;
	memset(key, 0, 40);
	if (ip[0] >> 4 == 4) {
		put_v4_in_v6(key, ip + 12);
		put_v4_in_v6(key + 16, ip + 16);
		key[36] = ip[9];
		transport = ip + (ip[0] & 15) * 4;
	} else {
		memcpy(key, ip + 8, 32);
		uint8_t next = ip[6];
		transport = ip + 40;
		while (next == IPPROTO_HOPOPTS || next == IPPROTO_DSTOPTS || next == IPPROTO_ROUTING ||
		       next == IPPROTO_FRAGMENT) {
			size_t length = next == IPPROTO_FRAGMENT ? 8 : 8 + (size_t)transport[1] * 8;
			next = transport[0];
			transport += length;
		}
		key[36] = next;
	}
	memcpy(key + 32, transport, 4);
}

uint64_t expect_hash(const struct frame *in)
{
	uint8_t key[40];
	five_tuple(key, in);
	return fasthash64(key);
}

uint64_t expect_source_hash(const struct frame *in)
{
	uint8_t key[40];
	five_tuple(key, in);
	memset(key + 16, 0, 24);
	return fasthash64(key);
}

uint32_t expect_slot(uint64_t hash, uint32_t slots)
{
	return (uint32_t)(((hash >> 32) * slots) >> 32);
}

static uint8_t *put_hex(uint8_t *at, const char *hex)
{
	for (; *hex; hex += 2, at++) {
		unsigned value;
		sscanf(hex, "%2x", &value);
		*at = (uint8_t)value;
	}
	return at;
}

static uint8_t *put_next_hop(uint8_t *at, const struct backend_facts *facts, uint16_t ethertype)
{
	at = put_hex(at, facts->next_hop);
	at = put_hex(at, facts->device);
	if (facts->vlan) {
		put16(at, 0x8100);
		put16(at + 2, facts->vlan);
		at += 4;
	}
	put16(at, ethertype);
	return at + 2;
}

void expect_forwarded(struct frame *out, const struct frame *in, enum forwarding forwarding, uint32_t backend,
                      uint64_t hash)
{
	const struct backend_facts *facts = world_backend(backend);
	size_t ethernet = frame_ethernet_length(in);
	const uint8_t *inner = in->data + ethernet;
	bool inner_v4 = inner[0] >> 4 == 4, outer_v4 = !strchr(facts->address, ':');
	uint16_t inner_length = inner_v4 ? get16(inner + 2) : (uint16_t)(40 + get16(inner + 4));
	memset(out, 0, sizeof(*out));
	bool direct = forwarding == FORWARDING_L2;
	uint8_t *at = put_next_hop(out->data, facts, (direct ? inner_v4 : outer_v4) ? 0x0800 : 0x86dd);
	uint8_t *outer = at;
	bool gue = forwarding == FORWARDING_GUE;
	uint8_t traffic_class = inner_v4 ? inner[1] : (uint8_t)(inner[0] << 4 | inner[1] >> 4);
	uint8_t protocol = gue ? IPPROTO_UDP : inner_v4 ? 4 : 41;
	if (!direct && outer_v4) {
		at[0] = 0x45;
		at[1] = traffic_class;
		put16(at + 2, (uint16_t)(20 + (gue ? 8 : 0) + inner_length));
		put16(at + 6, 0x4000);
		at[8] = 64;
		at[9] = protocol;
		put_address(at + 12, facts->source);
		put_address(at + 16, facts->address);
		checksum_ipv4_header(at);
		at += 20;
	} else if (!direct) {
		put32(at, 6u << 28 | (uint32_t)traffic_class << 20 | (uint32_t)(hash & 0xfffff));
		put16(at + 4, (uint16_t)((gue ? 8 : 0) + inner_length));
		at[6] = protocol;
		at[7] = 64;
		put_address(at + 8, facts->source);
		put_address(at + 24, facts->address);
		at += 40;
	}
	if (gue) {
		put16(at, (uint16_t)(0xc000 | (hash & 0x3fff)));
		put16(at + 2, GUE_PORT);
		put16(at + 4, (uint16_t)(8 + inner_length));
		at += 8;
	}
	memcpy(at, inner, in->length - ethernet);
	out->length = (size_t)(at - out->data) + in->length - ethernet;
	if (direct && inner_v4) {
		outer[8]--;
		checksum_ipv4_header(outer);
	} else if (direct) {
		outer[7]--;
	}
}

static void turn_ethernet(struct frame *out, const struct frame *in)
{
	memcpy(out->data, in->data + 6, 6);
	memcpy(out->data + 6, in->data, 6);
}

void expect_echo_reply(struct frame *out, const struct frame *in)
{
	*out = *in;
	turn_ethernet(out, in);
	size_t ethernet = frame_ethernet_length(in);
	uint8_t *to = out->data + ethernet;
	const uint8_t *from = in->data + ethernet;
	if (from[0] >> 4 == 4) {
		memcpy(to + 12, from + 16, 4);
		memcpy(to + 16, from + 12, 4);
		to[8] = 64;
		checksum_ipv4_header(to);
		to[20] = 0;
		put16(to + 22, 0);
		put16(to + 22, transport_checksum(to, IPPROTO_ICMP, to + 20, get16(to + 2) - 20u));
	} else {
		memcpy(to + 8, from + 24, 16);
		memcpy(to + 24, from + 8, 16);
		to[7] = 64;
		to[40] = 129;
		put16(to + 42, 0);
		put16(to + 42, transport_checksum(to, IPPROTO_ICMPV6, to + 40, get16(to + 4)));
	}
}

void expect_too_big(struct frame *out, const struct frame *in, uint32_t mtu)
{
	size_t ethernet = frame_ethernet_length(in);
	const uint8_t *from = in->data + ethernet;
	memset(out, 0, sizeof(*out));
	memcpy(out->data, in->data, ethernet);
	turn_ethernet(out, in);
	uint8_t *to = out->data + ethernet, *icmp;
	if (from[0] >> 4 == 4) {
		to[0] = 0x45;
		to[1] = 0xc0;
		put16(to + 2, 20 + 8 + 512);
		to[8] = 64;
		to[9] = IPPROTO_ICMP;
		memcpy(to + 12, from + 16, 4);
		memcpy(to + 16, from + 12, 4);
		checksum_ipv4_header(to);
		icmp = to + 20;
		icmp[0] = 3;
		icmp[1] = 4;
		put16(icmp + 6, (uint16_t)mtu);
	} else {
		to[0] = 0x60;
		put16(to + 4, 8 + 512);
		to[6] = IPPROTO_ICMPV6;
		to[7] = 64;
		memcpy(to + 8, from + 24, 16);
		memcpy(to + 24, from + 8, 16);
		icmp = to + 40;
		icmp[0] = 2;
		put32(icmp + 4, mtu);
	}
	memcpy(icmp + 8, from, 512);
	put16(icmp + 2, transport_checksum(to, from[0] >> 4 == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, icmp, 8 + 512));
	out->length = (size_t)(icmp - out->data) + 8 + 512;
}
