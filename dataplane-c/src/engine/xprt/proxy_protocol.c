/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version 1: "PROXY" SP ("TCP4" | "TCP6") SP source SP destination SP source-port SP destination-port CRLF,
 *            "PROXY UNKNOWN" anything CRLF; at most 107 bytes.
 * Version 2: 12 bytes of signature; version and command; family and transport; length (16 bits, network order);
 *            addresses; TLVs, which are skipped.
 */
#include "proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define V2_FIXED 16u
#define V2_COMMAND_LOCAL 0x20u
#define V2_COMMAND_PROXY 0x21u
#define V2_TCP4 0x11u
#define V2_TCP6 0x21u
#define V2_TCP4_BYTES 12u
#define V2_TCP6_BYTES 36u
#define V1_WORDS 5u

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char v1_signature[] = "PROXY ";
#define V1_SIGNATURE (sizeof(v1_signature) - 1)

static int refuse(const char **error, const char *why)
{
	*error = why;
	return -1;
}

/* A decimal port without sign or leading zeros. */
static bool parse_port(const char *text, size_t length, uint16_t *port)
{
	uint32_t value = 0;

	if (length == 0 || length > 5 || (length > 1 && text[0] == '0'))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (uint32_t)(text[i] - '0');
	}
	*port = (uint16_t)value;
	return value <= UINT16_MAX;
}

static bool parse_ip(const char *text, size_t length, int family, struct addr *addr)
{
	char word[INET6_ADDRSTRLEN];
	uint8_t bytes[16];

	if (length == 0 || length >= sizeof(word))
		return false;
	memcpy(word, text, length);
	word[length] = '\0';
	if (strlen(word) != length || inet_pton(family, word, bytes) != 1)
		return false;
	return addr_from_bytes(addr, bytes, family == AF_INET ? 4 : 16, 0);
}

/* line: what stands between "PROXY " and CRLF. */
static bool parse_v1_line(const char *line, size_t length, struct proxy_header *header, const char **error)
{
	const char *words[V1_WORDS];
	size_t lengths[V1_WORDS];
	unsigned n = 0;
	int family;

	if (length >= 7 && memcmp(line, "UNKNOWN", 7) == 0 && (length == 7 || line[7] == ' ')) {
		header->local = true;
		return true;
	}
	for (size_t at = 0, from = 0; at <= length; at++) {
		if (at < length && line[at] != ' ')
			continue;
		if (n == V1_WORDS)
			goto malformed;
		words[n] = line + from;
		lengths[n++] = at - from;
		from = at + 1;
	}
	if (n != V1_WORDS || lengths[0] != 4 || memcmp(words[0], "TCP", 3) != 0)
		goto malformed;
	if (words[0][3] == '4')
		family = AF_INET;
	else if (words[0][3] == '6')
		family = AF_INET6;
	else
		goto malformed;
	if (!parse_ip(words[1], lengths[1], family, &header->source) ||
	    !parse_ip(words[2], lengths[2], family, &header->destination)) {
		*error = "PROXY v1: an address is not one of the family that the line names";
		return false;
	}
	if (!parse_port(words[3], lengths[3], &header->source.port) ||
	    !parse_port(words[4], lengths[4], &header->destination.port)) {
		*error = "PROXY v1: a port is not a number from 0 to 65535 without leading zeros";
		return false;
	}
	return true;
malformed:
	*error = "PROXY v1: the line is not \"PROXY TCP4|TCP6 source destination port port\" or \"PROXY UNKNOWN\"";
	return false;
}

static int parse_v1(const uint8_t *data, size_t length, struct proxy_header *header, const char **error)
{
	size_t limit = length < PROXY_V1_MAX ? length : PROXY_V1_MAX;
	const uint8_t *end = memchr(data, '\r', limit);

	if (!end)
		return length >= PROXY_V1_MAX ? refuse(error, "PROXY v1: no CRLF within 107 bytes") : 0;
	size_t total = (size_t)(end - data) + 2;
	if (total > PROXY_V1_MAX)
		return refuse(error, "PROXY v1: no CRLF within 107 bytes");
	if (total > length)
		return 0;
	if (end[1] != '\n')
		return refuse(error, "PROXY v1: CR without LF");
	header->version = 1;
	if (!parse_v1_line((const char *)data + V1_SIGNATURE, total - 2 - V1_SIGNATURE, header, error))
		return -1;
	return (int)total;
}

static uint16_t read_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void write_u16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static int parse_v2(const uint8_t *data, size_t length, struct proxy_header *header, const char **error)
{
	size_t bytes, addresses;

	/* What is wrong already is refused before the rest has come. */
	if (length > 12 && data[12] != V2_COMMAND_LOCAL && data[12] != V2_COMMAND_PROXY)
		return refuse(error, "PROXY v2: the version is not 2 or the command is neither LOCAL nor PROXY");
	if (length < V2_FIXED)
		return 0;
	bytes = read_u16(data + 14);
	if (V2_FIXED + bytes > PROXY_HEADER_MAX)
		return refuse(error, "PROXY v2: more than 520 bytes of addresses and TLVs");
	addresses = data[13] == V2_TCP4 ? V2_TCP4_BYTES : data[13] == V2_TCP6 ? V2_TCP6_BYTES : 0;
	/* Of LOCAL the family is to be ignored; other families than TCP's keep the connection's own addresses. */
	header->local = data[12] == V2_COMMAND_LOCAL || !addresses;
	if (!header->local && bytes < addresses)
		return refuse(error, "PROXY v2: the length is too small for the addresses of its family");
	if (length < V2_FIXED + bytes)
		return 0;
	header->version = 2;
	if (!header->local) {
		const uint8_t *at = data + V2_FIXED;
		size_t ip = (addresses - 4) / 2;
		addr_from_bytes(&header->source, at, ip, read_u16(at + 2 * ip));
		addr_from_bytes(&header->destination, at + ip, ip, read_u16(at + 2 * ip + 2));
	}
	return (int)(V2_FIXED + bytes);
}

int proxy_header_parse(const uint8_t *data, size_t length, struct proxy_header *header, const char **error)
{
	*header = (struct proxy_header){0};
	*error = NULL;
	if (length == 0)
		return 0;
	if (memcmp(data, v2_signature, length < sizeof(v2_signature) ? length : sizeof(v2_signature)) == 0)
		return length < sizeof(v2_signature) ? 0 : parse_v2(data, length, header, error);
	if (memcmp(data, v1_signature, length < V1_SIGNATURE ? length : V1_SIGNATURE) == 0)
		return length < V1_SIGNATURE ? 0 : parse_v1(data, length, header, error);
	return refuse(error, "no PROXY header: the stream begins with neither version's signature");
}

static bool is_ip(const struct addr *addr)
{
	return addr->family == AF_INET || addr->family == AF_INET6;
}

static size_t write_v1(const struct addr *source, const struct addr *destination, bool known, uint8_t *out)
{
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];

	if (!known || !inet_ntop(source->family, source->ip, from, sizeof(from)) ||
	    !inet_ntop(destination->family, destination->ip, to, sizeof(to)))
		return (size_t)sprintf((char *)out, "PROXY UNKNOWN\r\n");
	return (size_t)snprintf((char *)out, PROXY_HEADER_MAX, "PROXY TCP%c %s %s %u %u\r\n",
	                        source->family == AF_INET ? '4' : '6', from, to, source->port, destination->port);
}

size_t proxy_header_write(uint8_t version, const struct addr *source, const struct addr *destination, uint8_t *out)
{
	bool known = is_ip(source) && source->family == destination->family;

	if (version == 1)
		return write_v1(source, destination, known, out);
	memcpy(out, v2_signature, sizeof(v2_signature));
	out[12] = V2_COMMAND_PROXY;
	out[13] = !known ? 0 : source->family == AF_INET ? V2_TCP4 : V2_TCP6;
	size_t ip = !known ? 0 : source->family == AF_INET ? 4 : 16;
	size_t bytes = known ? 2 * ip + 4 : 0;
	write_u16(out + 14, (uint16_t)bytes);
	if (known) {
		uint8_t *at = out + V2_FIXED;
		memcpy(at, source->ip, ip);
		memcpy(at + ip, destination->ip, ip);
		write_u16(at + 2 * ip, source->port);
		write_u16(at + 2 * ip + 2, destination->port);
	}
	return V2_FIXED + bytes;
}
