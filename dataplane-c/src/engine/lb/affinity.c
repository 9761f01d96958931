/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source-address affinity. Every entry of a table has the same time to live and every hit renews it, so the order of
 * expiry is the order of last use: each shard keeps a list in that order, and both eviction and collection take from
 * its old end in O(1).
 */
#include "affinity.h"

#include <stdlib.h>
#include <sys/random.h>

#include "../addr_map.h"
#include "../spin.h"

#define SHARDS_MAX 64u
#define ENTRIES_PER_SHARD 1024u /* a table of fewer has one shard */
#define COLLECT_SHARDS 8u       /* per call of affinity_collect */
#define COLLECT_ENTRIES 256u    /* per shard and call: bounds how long workers wait */
#define FORGET_BATCH 1024u      /* entries looked at before workers get the lock again */

struct binding_entry {
	struct endpoint *endpoint; /* NULL: the entry is not in use */
	uint64_t expires_ms;
	uint32_t newer, older;
};

struct shard {
	_Alignas(64) struct spin lock;
	uint32_t newest, oldest;
	struct addr_map map;
};

struct affinity_table {
	uint64_t seed; /* random: nobody outside can aim addresses at one shard or chain */
	uint32_t ttl_ms;
	uint32_t nshards; /* a power of two */
	uint32_t collect_next;
	struct shard shards[];
};

static struct binding_entry *entry_at(const struct shard *shard, uint32_t i)
{
	return addr_map_value(&shard->map, i);
}

static void list_remove(struct shard *shard, uint32_t i)
{
	struct binding_entry *entry = entry_at(shard, i);
	if (entry->newer != ADDR_MAP_NONE)
		entry_at(shard, entry->newer)->older = entry->older;
	else
		shard->newest = entry->older;
	if (entry->older != ADDR_MAP_NONE)
		entry_at(shard, entry->older)->newer = entry->newer;
	else
		shard->oldest = entry->newer;
}

static void list_add_newest(struct shard *shard, uint32_t i)
{
	struct binding_entry *entry = entry_at(shard, i);
	entry->newer = ADDR_MAP_NONE;
	entry->older = shard->newest;
	if (shard->newest != ADDR_MAP_NONE)
		entry_at(shard, shard->newest)->newer = i;
	else
		shard->oldest = i;
	shard->newest = i;
}

static void drop(struct shard *shard, uint32_t i)
{
	list_remove(shard, i);
	entry_at(shard, i)->endpoint = NULL;
	addr_map_remove(&shard->map, i);
}

static struct shard *shard_of(struct affinity_table *table, const struct addr *masked, uint32_t *hash)
{
	uint64_t h = addr_hash(masked, table->seed);
	*hash = (uint32_t)h;
	return &table->shards[(h >> 32) & (table->nshards - 1)];
}

/* Bindings live for ttl_ms after their last use; at most max_entries of them. NULL when out of memory. */
struct affinity_table *affinity_new(uint32_t ttl_ms, uint32_t max_entries)
{
	if (!max_entries)
		max_entries = 1;
	uint32_t nshards = 1;
	while (nshards < SHARDS_MAX && max_entries / (nshards * 2) >= ENTRIES_PER_SHARD)
		nshards *= 2;
	size_t bytes = sizeof(struct affinity_table) + nshards * sizeof(struct shard);
	struct affinity_table *table = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (!table)
		return NULL;
	table->ttl_ms = ttl_ms;
	if (getrandom(&table->seed, sizeof(table->seed), 0) != sizeof(table->seed))
		table->seed = (uintptr_t)table;
	table->nshards = nshards;
	table->collect_next = 0;
	for (uint32_t i = 0; i < nshards; i++) {
		struct shard *shard = &table->shards[i];
		atomic_init(&shard->lock.taken, 0);
		shard->newest = shard->oldest = ADDR_MAP_NONE;
		addr_map_init(&shard->map, max_entries / nshards, sizeof(struct binding_entry));
	}
	return table;
}

void affinity_free(struct affinity_table *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; i < table->nshards; i++)
		addr_map_destroy(&table->shards[i].map);
	free(table);
}

struct endpoint *affinity_lookup(struct affinity_table *table, const struct addr *masked, uint64_t now_ms)
{
	uint32_t hash;
	struct shard *shard = shard_of(table, masked, &hash);
	struct endpoint *endpoint = NULL;
	spin_lock(&shard->lock);
	uint32_t i = addr_map_find(&shard->map, masked, hash);
	if (i != ADDR_MAP_NONE) {
		struct binding_entry *entry = entry_at(shard, i);
		if (entry->expires_ms > now_ms) {
			endpoint = entry->endpoint;
			entry->expires_ms = now_ms + table->ttl_ms;
			list_remove(shard, i);
			list_add_newest(shard, i);
		} else {
			drop(shard, i);
		}
	}
	spin_unlock(&shard->lock);
	return endpoint;
}

/* Binds, or binds anew. When memory is short the client is simply not remembered. */
void affinity_store(struct affinity_table *table, const struct addr *masked, struct endpoint *endpoint, uint64_t now_ms)
{
	uint32_t hash;
	struct shard *shard = shard_of(table, masked, &hash);
	spin_lock(&shard->lock);
	uint32_t i = addr_map_find(&shard->map, masked, hash);
	if (i != ADDR_MAP_NONE) {
		list_remove(shard, i);
	} else {
		i = addr_map_insert(&shard->map, masked, hash);
		if (i == ADDR_MAP_NONE && shard->oldest != ADDR_MAP_NONE) {
			drop(shard, shard->oldest);
			i = addr_map_insert(&shard->map, masked, hash);
		}
	}
	if (i != ADDR_MAP_NONE) {
		struct binding_entry *entry = entry_at(shard, i);
		entry->endpoint = endpoint;
		entry->expires_ms = now_ms + table->ttl_ms;
		list_add_newest(shard, i);
	}
	spin_unlock(&shard->lock);
}

/* Call it when no worker can see a view with the endpoint any more (after the grace period), or a late store would
 * bring the binding back. */
void affinity_forget(struct affinity_table *table, const struct endpoint *endpoint)
{
	for (uint32_t s = 0; s < table->nshards; s++) {
		struct shard *shard = &table->shards[s];
		spin_lock(&shard->lock);
		/* By index, not along the list: the list changes whenever the lock is let go. */
		for (uint32_t i = 0; i < shard->map.fresh; i++) {
			if (entry_at(shard, i)->endpoint == endpoint)
				drop(shard, i);
			if (i % FORGET_BATCH == FORGET_BATCH - 1) {
				spin_unlock(&shard->lock);
				spin_lock(&shard->lock);
			}
		}
		spin_unlock(&shard->lock);
	}
}

uint32_t affinity_collect(struct affinity_table *table, uint64_t now_ms)
{
	uint32_t removed = 0;
	uint32_t turns = table->nshards < COLLECT_SHARDS ? table->nshards : COLLECT_SHARDS;
	for (uint32_t t = 0; t < turns; t++) {
		struct shard *shard = &table->shards[table->collect_next++ & (table->nshards - 1)];
		spin_lock(&shard->lock);
		for (uint32_t n = 0; n < COLLECT_ENTRIES && shard->oldest != ADDR_MAP_NONE; n++) {
			if (entry_at(shard, shard->oldest)->expires_ms > now_ms)
				break;
			drop(shard, shard->oldest);
			removed++;
		}
		spin_unlock(&shard->lock);
	}
	return removed;
}

uint32_t affinity_count(const struct affinity_table *table)
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
