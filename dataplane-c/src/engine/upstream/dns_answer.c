/* SPDX-License-Identifier: Apache-2.0 */
#include "dns_answer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

bool addr_list_set(struct addr_list *list, const struct addr *addrs, unsigned count)
{
	struct addr *copy = NULL;
	if (count) {
		copy = malloc(count * sizeof(*copy));
		if (!copy)
			return false;
		memcpy(copy, addrs, count * sizeof(*copy));
	}
	free(list->at);
	list->at = copy;
	list->count = count;
	return true;
}

int addr_compare(const struct addr *x, const struct addr *y)
{
	if (x->family != y->family)
		return x->family == AF_INET ? -1 : 1;
	return memcmp(x->ip, y->ip, sizeof(x->ip));
}

/* Nothing that a backend can live on: connecting to 0.0.0.0 would reach this very node. */
static bool is_unusable(const struct addr *addr)
{
	static const uint8_t zero[16];
	size_t length = addr->family == AF_INET ? 4 : 16;
	return memcmp(addr->ip, zero, length) == 0 ||
	       (addr->family == AF_INET ? addr->ip[0] >= 224 && addr->ip[0] < 240 : addr->ip[0] == 0xff);
}

int dns_answer_take(const struct ares_addrinfo *info, int family, struct addr_list *list, uint64_t *ttl_ms)
{
	uint64_t ttl = UINT64_MAX;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next) {
		if (cname->ttl >= 0 && (uint64_t)cname->ttl < ttl)
			ttl = (uint64_t)cname->ttl;
	}
	struct addr out[DNS_ADDRESSES_MAX] = {0};
	unsigned count = 0;
	for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
		struct addr addr;
		bool ok = false;
		if (node->ai_family == AF_INET && node->ai_addrlen >= (ares_socklen_t)sizeof(struct sockaddr_in))
			ok = addr_from_bytes(&addr, (const uint8_t *)&((struct sockaddr_in *)node->ai_addr)->sin_addr,
			                     4, 0);
		else if (node->ai_family == AF_INET6 && node->ai_addrlen >= (ares_socklen_t)sizeof(struct sockaddr_in6))
			ok = addr_from_bytes(&addr, (const uint8_t *)&((struct sockaddr_in6 *)node->ai_addr)->sin6_addr,
			                     16, 0);
		/* A mapped IPv4 address in an AAAA record is a mistake, and would be in the list twice. */
		if (!ok || addr.family != family || is_unusable(&addr))
			continue;
		if (node->ai_ttl >= 0 && (uint64_t)node->ai_ttl < ttl)
			ttl = (uint64_t)node->ai_ttl;
		/* Insertion keeps the smallest addresses: of an answer that is too long always the same ones. */
		unsigned at = 0;
		while (at < count && addr_compare(&out[at], &addr) < 0)
			at++;
		if (at < count && addr_compare(&out[at], &addr) == 0)
			continue;
		if (at == DNS_ADDRESSES_MAX)
			continue;
		unsigned kept = count < DNS_ADDRESSES_MAX ? count : DNS_ADDRESSES_MAX - 1;
		memmove(&out[at + 1], &out[at], (kept - at) * sizeof(*out));
		out[at] = addr;
		count = kept + 1;
	}
	if (!addr_list_set(list, out, count))
		return -ENOMEM;
	*ttl_ms = ttl > UINT32_MAX ? UINT32_MAX : ttl * 1000;
	return 0;
}
