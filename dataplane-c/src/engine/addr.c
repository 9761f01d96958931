/* SPDX-License-Identifier: Apache-2.0 */
#include "addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void set_ip6(struct addr *addr, const uint8_t ip[16])
{
	if (memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0) {
		addr->family = AF_INET;
		addr->scope = 0;
		memcpy(addr->ip, ip + 12, 4);
	} else {
		addr->family = AF_INET6;
		memcpy(addr->ip, ip, 16);
	}
}

void addr_from_sockaddr(struct addr *addr, const struct sockaddr_storage *sa)
{
	memset(addr, 0, sizeof(*addr));
	switch (sa->ss_family) {
	case AF_INET: {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
		addr->family = AF_INET;
		addr->port = ntohs(in->sin_port);
		memcpy(addr->ip, &in->sin_addr, 4);
		break;
	}
	case AF_INET6: {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
		addr->port = ntohs(in6->sin6_port);
		addr->scope = in6->sin6_scope_id;
		set_ip6(addr, in6->sin6_addr.s6_addr);
		break;
	}
	case AF_UNIX:
		addr->family = AF_UNIX; /* the peer's name, if it has one, says nothing: path stays NULL */
		break;
	default:
		break;
	}
}

socklen_t addr_to_sockaddr(const struct addr *addr, bool as_v6, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	if (addr->family == AF_INET && !as_v6) {
		struct sockaddr_in *in = (struct sockaddr_in *)sa;
		in->sin_family = AF_INET;
		in->sin_port = htons(addr->port);
		memcpy(&in->sin_addr, addr->ip, 4);
		return sizeof(*in);
	}
	if (addr->family == AF_UNIX) {
		struct sockaddr_un *un = (struct sockaddr_un *)sa;
		un->sun_family = AF_UNIX;
		if (!addr->path)
			return sizeof(sa_family_t);
		size_t length = strnlen(addr->path, sizeof(un->sun_path) - 1);
		memcpy(un->sun_path, addr->path, length);
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(addr->port);
	if (addr->family == AF_INET) {
		memcpy(in6->sin6_addr.s6_addr, mapped_prefix, sizeof(mapped_prefix));
		memcpy(in6->sin6_addr.s6_addr + 12, addr->ip, 4);
	} else if (addr->family == AF_INET6) {
		memcpy(in6->sin6_addr.s6_addr, addr->ip, 16);
		in6->sin6_scope_id = addr->scope;
	}
	return sizeof(*in6);
}

bool addr_from_bytes(struct addr *addr, const uint8_t *bytes, size_t length, uint16_t port)
{
	memset(addr, 0, sizeof(*addr));
	if (length == 4) {
		addr->family = AF_INET;
		memcpy(addr->ip, bytes, 4);
	} else if (length == 16) {
		set_ip6(addr, bytes);
	} else {
		return false;
	}
	addr->port = port;
	return true;
}

const char *addr_text(const struct addr *addr, char text[ADDR_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN];
	switch (addr->family) {
	case AF_INET:
		inet_ntop(AF_INET, addr->ip, ip, sizeof(ip));
		snprintf(text, ADDR_TEXT_MAX, "%s:%u", ip, addr->port);
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, addr->ip, ip, sizeof(ip));
		if (addr->scope)
			snprintf(text, ADDR_TEXT_MAX, "[%s%%%u]:%u", ip, addr->scope, addr->port);
		else
			snprintf(text, ADDR_TEXT_MAX, "[%s]:%u", ip, addr->port);
		break;
	case AF_UNIX:
		snprintf(text, ADDR_TEXT_MAX, "unix:%s", addr->path ? addr->path : "");
		break;
	default:
		snprintf(text, ADDR_TEXT_MAX, "*:%u", addr->port); /* dual-stack any */
		break;
	}
	return text;
}

static size_t ip_bytes(const struct addr *addr)
{
	return addr->family == AF_INET ? 4 : addr->family == AF_INET6 ? 16 : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family || a->port != b->port)
		return false;
	if (a->family == AF_UNIX)
		return a->path == b->path || (a->path && b->path && strcmp(a->path, b->path) == 0);
	return a->scope == b->scope && memcmp(a->ip, b->ip, ip_bytes(a)) == 0;
}

bool prefix_contains(const struct prefix *prefix, const struct addr *addr)
{
	if (prefix->family != addr->family)
		return false;
	unsigned whole = prefix->length / 8, rest = prefix->length % 8;
	if (whole > ip_bytes(addr) || (rest && whole >= ip_bytes(addr)))
		return false;
	if (memcmp(prefix->ip, addr->ip, whole) != 0)
		return false;
	return !rest || ((prefix->ip[whole] ^ addr->ip[whole]) & (uint8_t)(0xff00u >> rest)) == 0;
}

void addr_mask(const struct addr *addr, uint8_t v4_bits, uint8_t v6_bits, struct addr *out)
{
	memset(out, 0, sizeof(*out));
	out->family = addr->family;
	size_t bytes = ip_bytes(addr);
	unsigned bits = addr->family == AF_INET ? v4_bits : v6_bits;
	unsigned whole = bits / 8, rest = bits % 8;
	if (whole >= bytes) {
		memcpy(out->ip, addr->ip, bytes);
		out->scope = addr->scope;
		return;
	}
	memcpy(out->ip, addr->ip, whole);
	if (rest)
		out->ip[whole] = addr->ip[whole] & (uint8_t)(0xff00u >> rest);
}

uint64_t addr_hash(const struct addr *addr, uint64_t seed)
{
	if (addr->family == AF_UNIX)
		return XXH3_64bits_withSeed(addr->path ? addr->path : "", addr->path ? strlen(addr->path) : 0,
		                            seed + AF_UNIX);
	return XXH3_64bits_withSeed(addr->ip, ip_bytes(addr), seed + addr->family);
}
