/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded hash map from addresses (port and all) to small values: what one shard of a table by source is made of.
 * Memory follows use and never goes above the bound; an entry is known by its index, which stays while the entry does.
 * Not thread-safe: the owner locks.
 */
#ifndef ENGINE_ADDR_MAP_H
#define ENGINE_ADDR_MAP_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"

#define ADDR_MAP_NONE UINT32_MAX

struct addr_map_node {
	struct addr key;
	uint32_t hash;
	uint32_t next; /* of the chain, or of the free list */
};

struct addr_map {
	struct addr_map_node *nodes;
	uint8_t *values;
	uint32_t *buckets;
	uint32_t nbuckets; /* a power of two; 0: nothing allocated yet */
	uint32_t capacity; /* nodes allocated */
	uint32_t limit;    /* entries at most */
	uint32_t used;
	uint32_t fresh; /* nodes from here on were never used */
	uint32_t free_head;
	uint32_t value_size;
};

/* limit: entries at most. Allocates nothing. */
void addr_map_init(struct addr_map *map, uint32_t limit, uint32_t value_size);
void addr_map_destroy(struct addr_map *map);

/* ADDR_MAP_NONE: not in it. */
uint32_t addr_map_find(const struct addr_map *map, const struct addr *key, uint32_t hash);
/* For a key that is not in it; the value is zeroed. ADDR_MAP_NONE: full, or out of memory. Values may move. */
uint32_t addr_map_insert(struct addr_map *map, const struct addr *key, uint32_t hash);
void addr_map_remove(struct addr_map *map, uint32_t index);

static inline void *addr_map_value(const struct addr_map *map, uint32_t index)
{
	return map->values + (size_t)index * map->value_size;
}

#endif
