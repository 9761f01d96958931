/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t client_ethernet[6] = {0x02, 0, 0, 0, 0, 0xc1};
static const uint8_t director_ethernet[6] = {0x02, 0, 0, 0, 0, 0x01};

void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

void put32(uint8_t *at, uint32_t value)
{
	put16(at, (uint16_t)(value >> 16));
	put16(at + 2, (uint16_t)value);
}

uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

void put_address(uint8_t *at, const char *text)
{
	if (inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, at) != 1) {
		fprintf(stderr, "%s: not an address\n", text);
		abort();
	}
}

uint16_t reference_checksum(const uint8_t *bytes, size_t length, uint32_t sum)
{
	for (size_t i = 0; i < length; i++)
		sum += (uint32_t)bytes[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void checksum_ipv4_header(uint8_t *ip)
{
	size_t length = (size_t)(ip[0] & 15) * 4;
	put16(ip + 10, 0);
	put16(ip + 10, reference_checksum(ip, length < 20 ? 20 : length, 0));
}

uint16_t transport_checksum(const uint8_t *ip, uint8_t protocol, const uint8_t *transport, size_t length)
{
	uint32_t sum = 0;
	if (protocol != IPPROTO_ICMP) {
		size_t size = ip[0] >> 4 == 4 ? 4 : 16;
		const uint8_t *addresses = ip + (size == 4 ? 12 : 8);
		for (size_t i = 0; i < 2 * size; i += 2)
			sum += get16(addresses + i);
		sum += protocol + (uint32_t)length;
	}
	return reference_checksum(transport, length, sum);
}

size_t frame_ethernet_length(const struct frame *frame)
{
	size_t length = 14;
	while (length + 4 <= frame->length && length < 26 &&
	       (get16(frame->data + length - 2) == 0x8100 || get16(frame->data + length - 2) == 0x88a8))
		length += 4;
	return length;
}

/* All put_* below return what they wrote. */
static size_t put_packet(uint8_t *at, const struct spec *spec);

static size_t put_pattern(uint8_t *at, size_t length)
{
	for (size_t i = 0; i < length; i++)
		at[i] = (uint8_t)(i * 7 + 3);
	return length;
}

static uint8_t protocol_of(const struct spec *spec)
{
	if (spec->protocol)
		return spec->protocol;
	if (spec->inner)
		return spec->inner->version == 6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	return IPPROTO_TCP;
}

static size_t put_payload(uint8_t *at, const struct spec *spec)
{
	return spec->inner ? put_packet(at, spec->inner) : put_pattern(at, spec->payload);
}

static size_t put_transport(uint8_t *at, const struct spec *spec, const uint8_t *ip)
{
	uint8_t protocol = protocol_of(spec);
	uint16_t source_port = spec->source_port ? spec->source_port : 40000;
	size_t length;
	switch (protocol) {
	case IPPROTO_TCP:
		put16(at, source_port);
		put16(at + 2, spec->destination_port);
		put32(at + 4, spec->sequence ? spec->sequence : 0x01020304);
		put32(at + 8, spec->acknowledge ? spec->acknowledge : 0x05060708);
		at[12] = 5 << 4;
		at[13] = spec->flags ? spec->flags : TCP_ACK;
		put16(at + 14, 512);
		put32(at + 16, 0);
		length = 20;
		if (spec->mss) {
			memset(at + length, 1, spec->nops);
			length += spec->nops;
			at[length] = 2;
			at[length + 1] = 4;
			put16(at + length + 2, spec->mss);
			length += 4;
			while (length % 4)
				at[length++] = 0;
			at[12] = (uint8_t)(length / 4 << 4);
		}
		length += put_payload(at + length, spec);
		put16(at + 16, transport_checksum(ip, protocol, at, length));
		return length;
	case IPPROTO_UDP:
		put16(at, source_port);
		put16(at + 2, spec->destination_port);
		put16(at + 6, 0);
		length = 8 + put_payload(at + 8, spec);
		put16(at + 4, (uint16_t)length);
		if (!spec->inner && !spec->no_checksum)
			put16(at + 6, transport_checksum(ip, protocol, at, length));
		return length;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		at[0] = spec->icmp_type;
		at[1] = spec->icmp_code;
		put16(at + 2, 0);
		put32(at + 4, spec->icmp_rest);
		if (spec->quote) {
			length = put_packet(at + 8, spec->quote);
			length = 8 + (spec->quote_length && spec->quote_length < length ? spec->quote_length : length);
		} else {
			length = 8 + put_payload(at + 8, spec);
		}
		put16(at + 2, transport_checksum(ip, protocol, at, length));
		return length;
	default:
		return put_payload(at, spec);
	}
}

static size_t put_ipv4(uint8_t *ip, const struct spec *spec)
{
	size_t header = 20 + (size_t)spec->options * 4;
	ip[0] = (uint8_t)(4 << 4 | header / 4);
	ip[1] = spec->traffic_class;
	put16(ip + 4, 0x1234);
	put16(ip + 6, spec->may_fragment ? 0 : 0x4000);
	ip[8] = spec->ttl ? spec->ttl : 61;
	ip[9] = protocol_of(spec);
	put_address(ip + 12, spec->source ? spec->source : CLIENT_V4);
	put_address(ip + 16, spec->destination ? spec->destination : VIP_V4);
	memset(ip + 20, 1, header - 20);
	size_t length = header + put_transport(ip + header, spec, ip);
	put16(ip + 2, (uint16_t)length);
	return length;
}

static size_t put_ipv6(uint8_t *ip, const struct spec *spec)
{
	put32(ip, 6u << 28 | (uint32_t)spec->traffic_class << 20 | 0xabcde);
	ip[7] = spec->ttl ? spec->ttl : 61;
	put_address(ip + 8, spec->source ? spec->source : CLIENT_V6);
	put_address(ip + 24, spec->destination ? spec->destination : VIP_V6);
	uint8_t *next = ip + 6, *at = ip + 40;
	for (const uint8_t *type = spec->extensions; type && *type != EXTENSIONS_END; type++) {
		size_t length = 8 + (*type == IPPROTO_FRAGMENT ? 0 : (size_t)spec->extension_length * 8);
		*next = *type;
		memset(at, 0, length);
		if (*type == IPPROTO_HOPOPTS || *type == IPPROTO_DSTOPTS) { /* PadN over all of it */
			at[2] = 1;
			at[3] = (uint8_t)(length - 4);
		}
		if (*type != IPPROTO_FRAGMENT)
			at[1] = spec->extension_length;
		next = at;
		at += length;
	}
	*next = protocol_of(spec);
	at += put_transport(at, spec, ip);
	put16(ip + 4, (uint16_t)(at - ip - 40));
	return (size_t)(at - ip);
}

static size_t put_packet(uint8_t *at, const struct spec *spec)
{
	size_t length = spec->version == 6 ? put_ipv6(at, spec) : put_ipv4(at, spec);
	for (size_t i = 0; i < sizeof(spec->patches) / sizeof(spec->patches[0]); i++) {
		const struct patch *patch = &spec->patches[i];
		if (patch->width == 1)
			at[patch->at] = (uint8_t)patch->value;
		else if (patch->width == 2)
			put16(at + patch->at, (uint16_t)patch->value);
		else if (patch->width == 4)
			put32(at + patch->at, patch->value);
	}
	if (spec->version != 6) {
		checksum_ipv4_header(at);
		if (spec->wrong_checksum)
			put16(at + 10, get16(at + 10) ^ 0x0100);
	}
	return length;
}

void frame_build(struct frame *frame, const struct spec *spec)
{
	memset(frame, 0, sizeof(*frame));
	uint8_t *at = frame->data;
	memcpy(at, director_ethernet, 6);
	if (spec->group)
		at[0] |= 1;
	memcpy(at + 6, client_ethernet, 6);
	at += 12;
	for (int i = 0; i < spec->tags; i++) {
		put16(at, i || !spec->tag_protocol ? 0x8100 : spec->tag_protocol);
		put16(at + 2, (uint16_t)(0x6000 | (100 + i))); /* priority 3 */
		at += 4;
	}
	put16(at, spec->ethertype ? spec->ethertype : spec->version == 6 ? 0x86dd : 0x0800);
	at += 2;
	at += put_packet(at, spec);
	memset(at, 0x5a, spec->padding);
	at += spec->padding;
	frame->length = (size_t)(at - frame->data);
	if (spec->cut && spec->cut < frame->length)
		frame->length = spec->cut;
}

static void dump(const char *what, const struct frame *frame)
{
	size_t shown = frame->length < 160 ? frame->length : 160;
	fprintf(stderr, "  %s, %zu bytes%s:", what, frame->length, shown < frame->length ? ", the first 160" : "");
	for (size_t i = 0; i < shown; i++)
		fprintf(stderr, "%s%02x", i % 16 ? " " : "\n    ", frame->data[i]);
	fputc('\n', stderr);
}

void frame_report(const char *name, const struct frame *expected, const struct frame *actual)
{
	size_t at = 0;
	while (at < expected->length && at < actual->length && expected->data[at] == actual->data[at])
		at++;
	fprintf(stderr, "%s: frames differ from byte %zu (0x%zx) on\n", name, at, at);
	dump("expected", expected);
	dump("actual", actual);
}
