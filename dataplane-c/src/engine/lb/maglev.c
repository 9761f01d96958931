/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maglev's lookup table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
 * section 3.4). Each backend has a permutation of the slots, (offset + j * skip) mod size; backends take turns to claim
 * their next free slot. With weights a backend gets weight / max_weight turns per round.
 *
 * Order of turns and permutations come from the endpoint's identity (backend name and address), so that every worker
 * and every node with the same backends builds the same table, in whatever order it lists them.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "maglev_walk.h"
#include "turn_heap.h"

#define OFFSET_SEED 0x6d61676c65763031ull
#define SKIP_SEED 0x6d61676c65763032ull

struct maglev_table {
	uint32_t size;
	bool wide; /* slots are uint32_t: there are more entries than 16 bits can tell */
	_Alignas(8) uint8_t slots[];
};

struct permutation {
	uint64_t identity; /* hash that orders turns */
	uint32_t entry;
	uint32_t next; /* the slot to try next */
	uint32_t skip;
	uint32_t weight;
	uint64_t claims;
};

/* Hash of an endpoint's identity; length and NUL keep name and address apart. */
static uint64_t identity_hash(const struct endpoint *endpoint, uint64_t seed)
{
	XXH3_state_t state;
	XXH3_INITSTATE(&state);
	XXH3_64bits_reset_withSeed(&state, seed);
	const char *name = endpoint->backend->name ? endpoint->backend->name : "";
	XXH3_64bits_update(&state, name, strlen(name) + 1);
	const struct addr *addr = &endpoint->addr;
	if (addr->family == AF_UNIX) {
		if (addr->path)
			XXH3_64bits_update(&state, addr->path, strlen(addr->path));
	} else {
		/* Bytes in a fixed order, so that nodes of either endianness agree. */
		uint8_t bytes[20] = {addr->family == AF_INET ? 4 : 6, 0, (uint8_t)(addr->port >> 8),
		                     (uint8_t)addr->port};
		memcpy(bytes + 4, addr->ip, 16);
		XXH3_64bits_update(&state, bytes, sizeof(bytes));
	}
	return XXH3_64bits_digest(&state);
}

static int by_identity(const void *a, const void *b)
{
	const struct permutation *x = a, *y = b;
	if (x->identity != y->identity)
		return x->identity < y->identity ? -1 : 1;
	/* Equal 64-bit hashes of different identities: decided by the other hash, then by the listing. */
	if (x->next != y->next)
		return x->next < y->next ? -1 : 1;
	return x->entry < y->entry ? -1 : x->entry > y->entry;
}

static inline uint32_t slot_get(const struct maglev_table *table, uint32_t slot)
{
	return table->wide ? ((const uint32_t *)(const void *)table->slots)[slot]
	                   : ((const uint16_t *)(const void *)table->slots)[slot];
}

static inline void slot_set(struct maglev_table *table, uint32_t slot, uint32_t entry)
{
	if (table->wide)
		((uint32_t *)(void *)table->slots)[slot] = entry;
	else
		((uint16_t *)(void *)table->slots)[slot] = (uint16_t)entry;
}

static void claim_next_free(struct maglev_table *table, uint8_t *claimed, struct permutation *p)
{
	uint32_t size = table->size, slot = p->next;
	while (claimed[slot])
		slot = slot >= size - p->skip ? slot - (size - p->skip) : slot + p->skip;
	claimed[slot] = 1;
	slot_set(table, slot, p->entry);
	p->next = slot;
}

/* The round of a backend's nth claim (from 1): when its shares of a turn have added up to n turns. */
static inline uint64_t round_of_claim(const struct permutation *p, uint32_t max_weight, uint64_t n)
{
	return (n * max_weight + p->weight - 1) / p->weight;
}

/* Equal weights, by far the most frequent case: everyone claims in every round. */
static void fill_equal(struct maglev_table *table, uint8_t *claimed, struct permutation *permutations, uint32_t count)
{
	for (uint32_t filled = 0, i = 0; filled < table->size; filled++) {
		claim_next_free(table, claimed, &permutations[i]);
		if (++i == count)
			i = 0;
	}
}

/* O(size * log count) whatever the weights: a walk over rounds would look at every light backend for each claim of a
 * heavy one. */
static void fill_weighted(struct maglev_table *table, uint8_t *claimed, struct permutation *permutations,
                          struct turn *heap, uint32_t count, uint32_t max_weight)
{
	for (uint32_t i = 0; i < count; i++)
		heap[i] = (struct turn){.at = round_of_claim(&permutations[i], max_weight, 1), .index = i};
	turn_heapify(heap, count);
	for (uint32_t filled = 0; filled < table->size; filled++) {
		struct permutation *p = &permutations[heap[0].index];
		claim_next_free(table, claimed, p);
		p->claims++;
		turn_postpone(heap, count, round_of_claim(p, max_weight, p->claims + 1));
	}
}

/* Also NULL, with errno EINVAL, when count is 0 or size is not a prime of at least count. */
struct maglev_table *maglev_build(const struct view_entry *entries, uint32_t count, uint32_t size)
{
	if (!count || size < count || !maglev_is_prime(size)) {
		errno = EINVAL;
		return NULL;
	}
	bool wide = count > UINT16_MAX;
	struct maglev_table *table =
	        malloc(sizeof(*table) + (size_t)size * (wide ? sizeof(uint32_t) : sizeof(uint16_t)));
	uint8_t *claimed = calloc(size, 1);
	struct permutation *permutations = calloc(count, sizeof(*permutations));
	struct turn *heap = calloc(count, sizeof(*heap));
	if (!table || !claimed || !permutations || !heap) {
		free(table);
		table = NULL;
		goto out;
	}
	table->size = size;
	table->wide = wide;
	uint32_t min_weight = UINT32_MAX, max_weight = 1;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t offset = identity_hash(entries[i].endpoint, OFFSET_SEED);
		uint64_t skip = identity_hash(entries[i].endpoint, SKIP_SEED);
		uint32_t weight = entries[i].weight ? entries[i].weight : 1;
		permutations[i] = (struct permutation){
		        .identity = offset,
		        .entry = i,
		        .next = (uint32_t)(offset % size),
		        .skip = size > 2 ? (uint32_t)(skip % (size - 1)) + 1 : 1,
		        .weight = weight,
		};
		if (weight > max_weight)
			max_weight = weight;
		if (weight < min_weight)
			min_weight = weight;
	}
	qsort(permutations, count, sizeof(*permutations), by_identity);
	if (min_weight == max_weight)
		fill_equal(table, claimed, permutations, count);
	else
		fill_weighted(table, claimed, permutations, heap, count, max_weight);
out:
	free(claimed);
	free(permutations);
	free(heap);
	return table;
}

void maglev_free(struct maglev_table *table)
{
	free(table);
}

uint32_t maglev_lookup(const struct maglev_table *table, uint64_t hash)
{
	return slot_get(table, maglev_slot(table, hash));
}

/* The hash's high half scaled to the table: as even as a remainder, without a division. */
uint32_t maglev_slot(const struct maglev_table *table, uint64_t hash)
{
	return (uint32_t)(((hash >> 32) * table->size) >> 32);
}

uint32_t maglev_at(const struct maglev_table *table, uint32_t slot)
{
	return slot_get(table, slot);
}

uint32_t maglev_size(const struct maglev_table *table)
{
	return table->size;
}

bool maglev_is_prime(uint32_t n)
{
	if (n < 4)
		return n > 1;
	if (n % 2 == 0 || n % 3 == 0)
		return false;
	for (uint64_t d = 5; d * d <= n; d += 6) {
		if (n % d == 0 || n % (d + 2) == 0)
			return false;
	}
	return true;
}

/* Each is the first prime above a power of two (the first: above 1,000), so a growing set seldom changes its size. */
static const uint32_t sizes[] = {1009,   2053,   4099,   8209,    16411,   32771,   65537,
                                 131101, 262147, 524309, 1048583, 2097169, 4194319, 8388617};

/* Above the list's end: the list's last. */
uint32_t maglev_size_for(uint32_t count)
{
	const size_t n = sizeof(sizes) / sizeof(sizes[0]);
	for (size_t i = 0; i < n; i++) {
		if (sizes[i] >= 100ull * count)
			return sizes[i];
	}
	return sizes[n - 1];
}
