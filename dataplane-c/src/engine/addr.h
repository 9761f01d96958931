/* SPDX-License-Identifier: Apache-2.0 */
/* Socket addresses: compact storage, text forms, prefixes. An IPv4-mapped IPv6 address is always kept as IPv4. */
#ifndef ENGINE_ADDR_H
#define ENGINE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDR_TEXT_MAX 128

/* An IPv4, IPv6 or Unix address. For Unix, path is owned by whoever owns the object that holds it. */
struct addr {
	uint16_t family; /* AF_INET, AF_INET6, AF_UNIX, or AF_UNSPEC: none */
	uint16_t port;   /* host order */
	uint32_t scope;  /* IPv6 scope id */
	union {
		uint8_t ip[16]; /* 4 bytes used for IPv4, the rest zero */
		const char *path;
	};
};

struct prefix {
	uint8_t ip[16];
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t length;
};

/* From a kernel sockaddr, mapped addresses turned into IPv4. */
void addr_from_sockaddr(struct addr *addr, const struct sockaddr_storage *sa);

/* To a kernel sockaddr. With as_v6, an IPv4 address is written mapped (for dual-stack sockets). Returns its length. */
socklen_t addr_to_sockaddr(const struct addr *addr, bool as_v6, struct sockaddr_storage *sa);

/* From 4 or 16 bytes of network order; false for any other length. */
bool addr_from_bytes(struct addr *addr, const uint8_t *bytes, size_t length, uint16_t port);

/* "203.0.113.7:80", "[2001:db8::1]:80", "unix:/path"; returns text. */
const char *addr_text(const struct addr *addr, char text[ADDR_TEXT_MAX]);

bool addr_equal(const struct addr *a, const struct addr *b);
bool prefix_contains(const struct prefix *prefix, const struct addr *addr);

/* The address with all but the first bits of its family's prefix length cleared, and port 0: a key for tables. */
void addr_mask(const struct addr *addr, uint8_t v4_bits, uint8_t v6_bits, struct addr *out);

/* XXH3 of family and address, without the port. */
uint64_t addr_hash(const struct addr *addr, uint64_t seed);

#endif
