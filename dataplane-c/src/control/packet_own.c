/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_own.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bpf/lib/layout.h"

static bool address_of(const struct sockaddr *from, struct address *to)
{
	ProtobufCBinaryData bytes;

	if (!from || (from->sa_family != AF_INET && from->sa_family != AF_INET6))
		return false;
	bytes.len = from->sa_family == AF_INET ? 4 : 16;
	bytes.data = from->sa_family == AF_INET ? (uint8_t *)&((struct sockaddr_in *)from)->sin_addr
	                                        : (uint8_t *)&((struct sockaddr_in6 *)from)->sin6_addr;
	return packet_address(to, &bytes);
}

/* Of this network namespace, in order, each once; *out is to be freed. Returns 0 or -errno. */
static int own_addresses(struct address **out, uint32_t *count)
{
	struct address *list = calloc(OWN_ADDRESSES_MAX, sizeof(*list));
	struct ifaddrs *all = NULL;
	uint32_t found = 0, kept = 0;

	if (!list)
		return -ENOMEM;
	if (getifaddrs(&all) < 0) {
		int error = errno;
		free(list);
		return -error;
	}
	for (const struct ifaddrs *at = all; at && found < OWN_ADDRESSES_MAX; at = at->ifa_next)
		found += address_of(at->ifa_addr, &list[found]);
	freeifaddrs(all);
	/* A link-local one may stand on several devices. */
	qsort(list, found, sizeof(*list), packet_address_compare);
	for (uint32_t i = 0; i < found; i++)
		if (!kept || packet_address_compare(&list[kept - 1], &list[i]))
			list[kept++] = list[i];
	*out = list;
	*count = kept;
	return 0;
}

/* Has the map hold these alone. Returns 0 or -errno. */
static int hold(const struct marcher_packet *handle, const struct address *list, uint32_t count, bool *held)
{
	struct address key, last;
	uint32_t one = 1;
	int error = 0;

	/* What is deleted is the key that has just been passed: the walk goes on from the one before it. */
	for (void *at = NULL; !error && !bpf_map_get_next_key(handle->maps[MAP_OWN_ADDRESSES], at, &key);) {
		const struct address *mine =
		        count ? bsearch(&key, list, count, sizeof(*list), packet_address_compare) : NULL;
		if (!mine) {
			error = packet_drop(handle, MAP_OWN_ADDRESSES, &key);
			continue;
		}
		held[mine - list] = true;
		last = key;
		at = &last;
	}
	for (uint32_t i = 0; !error && i < count; i++)
		if (!held[i])
			error = packet_put(handle, MAP_OWN_ADDRESSES, &list[i], &one);
	return error;
}

int packet_own_follow(struct marcher_packet *handle, __u64 filter[4])
{
	struct address *list = NULL;
	uint32_t count = 0;
	int error = own_addresses(&list, &count);

	if (error)
		return packet_fail_system(handle, -error, "asking the kernel for this node's addresses");
	bool *held = calloc((size_t)count + 1, sizeof(*held));
	error = held ? hold(handle, list, count, held) : -ENOMEM;
	for (uint32_t i = 0; filter && i < count; i++) {
		uint32_t place = GUARD_OWN_PLACE(&list[i]);
		filter[place / 64] |= 1ull << place % 64;
	}
	free(held);
	free(list);
	return error ? packet_fail_system(handle, -error, "writing the map own_addresses") : MARCHER_OK;
}
