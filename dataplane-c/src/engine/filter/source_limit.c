/* SPDX-License-Identifier: Apache-2.0 */
/* Connections per source: an entry exists while its count is above zero, so the bound is on sources that are connected.
 */
#include "source_limit.h"

#include <stdlib.h>
#include <sys/random.h>

#include "../addr_map.h"
#include "../spin.h"

#define SHARDS_MAX 64u
#define SOURCES_PER_SHARD 1024u /* a table of fewer has one shard */

struct shard {
	_Alignas(64) struct spin lock;
	struct addr_map map; /* source -> uint32_t */
};

struct source_limit_table {
	uint64_t seed;    /* random: nobody outside can aim addresses at one shard or chain */
	uint32_t nshards; /* a power of two */
	struct shard shards[];
};

static struct shard *shard_of(struct source_limit_table *table, const struct addr *masked, uint32_t *hash)
{
	uint64_t h = addr_hash(masked, table->seed);
	*hash = (uint32_t)h;
	return &table->shards[(h >> 32) & (table->nshards - 1)];
}

/* For at most max_sources sources at a time. NULL when out of memory. */
struct source_limit_table *source_limit_new(uint32_t max_sources)
{
	if (!max_sources)
		max_sources = 1;
	uint32_t nshards = 1;
	while (nshards < SHARDS_MAX && max_sources / (nshards * 2) >= SOURCES_PER_SHARD)
		nshards *= 2;
	size_t bytes = sizeof(struct source_limit_table) + nshards * sizeof(struct shard);
	struct source_limit_table *table = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (!table)
		return NULL;
	if (getrandom(&table->seed, sizeof(table->seed), 0) != sizeof(table->seed))
		table->seed = (uintptr_t)table;
	table->nshards = nshards;
	for (uint32_t i = 0; i < nshards; i++) {
		atomic_init(&table->shards[i].lock.taken, 0);
		addr_map_init(&table->shards[i].map, max_sources / nshards, sizeof(uint32_t));
	}
	return table;
}

void source_limit_free(struct source_limit_table *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; i < table->nshards; i++)
		addr_map_destroy(&table->shards[i].map);
	free(table);
}

/* true: counted, to be given back. false: the source has limit already (0: no limit), or its shard is full. */
bool source_limit_take(struct source_limit_table *table, const struct addr *masked, uint32_t limit)
{
	uint32_t hash;
	struct shard *shard = shard_of(table, masked, &hash);
	bool taken = false;
	spin_lock(&shard->lock);
	uint32_t i = addr_map_find(&shard->map, masked, hash);
	if (i == ADDR_MAP_NONE)
		i = addr_map_insert(&shard->map, masked, hash);
	if (i != ADDR_MAP_NONE) {
		uint32_t *count = addr_map_value(&shard->map, i);
		if (!limit || *count < limit) {
			++*count;
			taken = true;
		}
	}
	spin_unlock(&shard->lock);
	return taken;
}

/* Undoes one take; a source that has none is left alone. */
void source_limit_give(struct source_limit_table *table, const struct addr *masked)
{
	uint32_t hash;
	struct shard *shard = shard_of(table, masked, &hash);
	spin_lock(&shard->lock);
	uint32_t i = addr_map_find(&shard->map, masked, hash);
	if (i != ADDR_MAP_NONE && --*(uint32_t *)addr_map_value(&shard->map, i) == 0)
		addr_map_remove(&shard->map, i);
	spin_unlock(&shard->lock);
}

uint32_t source_limit_count(const struct source_limit_table *table)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < table->nshards; i++) {
		struct shard *shard = (struct shard *)&table->shards[i];
		spin_lock(&shard->lock);
		count += shard->map.used;
		spin_unlock(&shard->lock);
	}
	return count;
}
