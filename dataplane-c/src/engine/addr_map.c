/* SPDX-License-Identifier: Apache-2.0 */
/* Chained hashing over arrays that double; chains are indices, so growing moves memory but no reference. */
#include "addr_map.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16u

void addr_map_init(struct addr_map *map, uint32_t limit, uint32_t value_size)
{
	*map = (struct addr_map){
	        .limit = limit < ADDR_MAP_NONE ? limit : ADDR_MAP_NONE - 1,
	        .free_head = ADDR_MAP_NONE,
	        .value_size = value_size,
	};
}

void addr_map_destroy(struct addr_map *map)
{
	free(map->nodes);
	free(map->values);
	free(map->buckets);
	addr_map_init(map, map->limit, map->value_size);
}

uint32_t addr_map_find(const struct addr_map *map, const struct addr *key, uint32_t hash)
{
	if (!map->nbuckets)
		return ADDR_MAP_NONE;
	uint32_t i = map->buckets[hash & (map->nbuckets - 1)];
	while (i != ADDR_MAP_NONE) {
		const struct addr_map_node *node = &map->nodes[i];
		if (node->hash == hash && addr_equal(&node->key, key))
			break;
		i = node->next;
	}
	return i;
}

/* Doubles the arrays. Whatever fails, the map stays valid at its old size. */
static bool grow(struct addr_map *map)
{
	uint64_t wanted = map->capacity ? (uint64_t)map->capacity * 2 : FIRST_CAPACITY;
	if (wanted > map->limit)
		wanted = map->limit;
	if (wanted <= map->capacity)
		return false;
	uint32_t capacity = (uint32_t)wanted;

	struct addr_map_node *nodes = realloc(map->nodes, (size_t)capacity * sizeof(*nodes));
	if (!nodes)
		return false;
	map->nodes = nodes;
	uint8_t *values = realloc(map->values, (size_t)capacity * map->value_size);
	if (!values)
		return false;
	map->values = values;

	uint32_t nbuckets = FIRST_CAPACITY;
	while (nbuckets < capacity && nbuckets < 1u << 31)
		nbuckets *= 2;
	if (nbuckets != map->nbuckets) {
		uint32_t *buckets = malloc((size_t)nbuckets * sizeof(*buckets));
		if (!buckets)
			return false;
		memset(buckets, 0xff, (size_t)nbuckets * sizeof(*buckets));
		/* It grows only when every node is in use, so all of them are in chains. */
		for (uint32_t i = 0; i < map->fresh; i++) {
			uint32_t *head = &buckets[map->nodes[i].hash & (nbuckets - 1)];
			map->nodes[i].next = *head;
			*head = i;
		}
		free(map->buckets);
		map->buckets = buckets;
		map->nbuckets = nbuckets;
	}
	map->capacity = capacity;
	return true;
}

uint32_t addr_map_insert(struct addr_map *map, const struct addr *key, uint32_t hash)
{
	uint32_t i = map->free_head;
	if (i != ADDR_MAP_NONE) {
		map->free_head = map->nodes[i].next;
	} else {
		if (map->fresh == map->capacity && !grow(map))
			return ADDR_MAP_NONE;
		i = map->fresh++;
	}
	struct addr_map_node *node = &map->nodes[i];
	uint32_t *head = &map->buckets[hash & (map->nbuckets - 1)];
	node->key = *key;
	node->hash = hash;
	node->next = *head;
	*head = i;
	memset(addr_map_value(map, i), 0, map->value_size);
	map->used++;
	return i;
}

void addr_map_remove(struct addr_map *map, uint32_t index)
{
	uint32_t *link = &map->buckets[map->nodes[index].hash & (map->nbuckets - 1)];
	while (*link != index)
		link = &map->nodes[*link].next;
	*link = map->nodes[index].next;
	map->nodes[index].next = map->free_head;
	map->free_head = index;
	map->used--;
}
