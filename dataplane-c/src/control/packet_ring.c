/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's own code builds the ring: endpoints are made up for it out of names and addresses. */
#include "packet_ring.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lb/maglev_walk.h"

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static struct addr endpoint_address(const uint8_t *address)
{
	struct addr addr = {.family = AF_INET6};

	/* As the engine keeps addresses: IPv4 in the first four bytes, the rest zero. */
	if (!memcmp(address, v4_mapped, sizeof(v4_mapped))) {
		addr.family = AF_INET;
		memcpy(addr.ip, address + sizeof(v4_mapped), 4);
	} else {
		memcpy(addr.ip, address, sizeof(addr.ip));
	}
	return addr;
}

int packet_ring_fill(const struct ring_member *members, uint32_t count, uint32_t size, uint32_t *slots)
{
	struct view_entry *entries = calloc(count, sizeof(*entries));
	struct endpoint *endpoints = calloc(count, sizeof(*endpoints));
	struct backend *backends = calloc(count, sizeof(*backends));
	struct maglev_table *table = NULL;
	int error = -ENOMEM;

	if (entries && endpoints && backends) {
		for (uint32_t i = 0; i < count; i++) {
			backends[i].name = (char *)members[i].name;
			endpoints[i].backend = &backends[i];
			endpoints[i].addr = endpoint_address(members[i].address);
			entries[i] = (struct view_entry){.endpoint = &endpoints[i], .weight = members[i].weight};
		}
		errno = 0;
		table = maglev_build(entries, count, size);
		error = table ? 0 : errno == EINVAL ? -EINVAL : -ENOMEM;
	}
	for (uint32_t slot = 0; table && slot < size; slot++)
		slots[slot] = members[maglev_at(table, slot)].index;
	maglev_free(table);
	free(backends);
	free(endpoints);
	free(entries);
	return error;
}

static uint64_t never_zero(uint64_t hash)
{
	return hash ? hash : 1;
}

uint64_t packet_fingerprint(const void *bytes, uint64_t length)
{
	return never_zero(XXH3_64bits(bytes, length));
}

uint64_t packet_ring_fingerprint(const struct ring_member *members, uint32_t count, uint32_t size)
{
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, &size, sizeof(size));
	for (uint32_t i = 0; i < count; i++) {
		XXH3_64bits_update(&state, members[i].name, strlen(members[i].name) + 1);
		XXH3_64bits_update(&state, members[i].address, 16);
		XXH3_64bits_update(&state, &members[i].weight, sizeof(members[i].weight));
		XXH3_64bits_update(&state, &members[i].index, sizeof(members[i].index));
	}
	return never_zero(XXH3_64bits_digest(&state));
}

bool packet_ring_size_is_prime(uint32_t size)
{
	return maglev_is_prime(size);
}
