/* SPDX-License-Identifier: Apache-2.0 */
/* What a name server's answer comes to: a bounded, sorted set of addresses that a backend can have, and its TTL. */
#ifndef ENGINE_DNS_ANSWER_H
#define ENGINE_DNS_ANSWER_H

#include <ares.h>
#include <stdbool.h>
#include <stdint.h>

#include "../addr.h"

#define DNS_ADDRESSES_MAX 64u /* of one name; also of both families together */

/* Sorted, no address twice; memory for just as many as there are (there may be a hundred thousand names). */
struct addr_list {
	struct addr *at;
	unsigned count;
};

/* Copies. false when out of memory: the list is as it was. */
bool addr_list_set(struct addr_list *list, const struct addr *addrs, unsigned count);

/* IPv4 before IPv6, then by bytes; ports do not count. */
int addr_compare(const struct addr *x, const struct addr *y);

/* The list becomes the answer's addresses of the family (AF_INET or AF_INET6), without those that no backend can have;
 * of more than DNS_ADDRESSES_MAX always the same ones. *ttl_ms: the shortest TTL of them and of the CNAMEs on the way.
 * -ENOMEM: list and *ttl_ms are as they were. */
int dns_answer_take(const struct ares_addrinfo *info, int family, struct addr_list *list, uint64_t *ttl_ms);

#endif
