/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of pointers: open addressing with linear probing and deletion by shifting back (Knuth 6.4, algorithm R),
 * so no tombstones. The caller hashes and compares. Room is reserved beforehand, so that a change which has been
 * decided on cannot fail half-way. Not thread-safe.
 */
#ifndef ENGINE_TABLE_H
#define ENGINE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

struct table_slot {
	uint64_t hash;
	void *value; /* NULL: empty */
};

/* All zero is an empty table. */
struct table {
	struct table_slot *slots;
	uint32_t size; /* 0 or a power of two */
	uint32_t used;
};

typedef bool (*table_equal)(const void *value, const void *key);

static inline uint64_t table_hash(const void *data, size_t length)
{
	return XXH3_64bits(data, length);
}

static inline void table_put(struct table_slot *slots, uint32_t mask, uint64_t hash, void *value)
{
	uint32_t at = (uint32_t)hash & mask;
	while (slots[at].value)
		at = (at + 1) & mask;
	slots[at] = (struct table_slot){hash, value};
}

/* Room for this many more. false: out of memory, the table is as it was. */
static inline bool table_reserve(struct table *table, uint32_t more)
{
	uint64_t need = ((uint64_t)table->used + more) * 4 / 3 + 1;
	if (need <= table->size)
		return true;
	uint64_t size = table->size ? table->size : 8;
	while (size < need)
		size *= 2;
	if (size > UINT32_MAX)
		return false;
	struct table_slot *slots = calloc(size, sizeof(*slots));
	if (!slots)
		return false;
	for (uint32_t i = 0; i < table->size; i++) {
		if (table->slots[i].value)
			table_put(slots, (uint32_t)size - 1, table->slots[i].hash, table->slots[i].value);
	}
	free(table->slots);
	table->slots = slots;
	table->size = (uint32_t)size;
	return true;
}

/* NULL: not in it. */
static inline void *table_find(const struct table *table, uint64_t hash, table_equal equal, const void *key)
{
	if (!table->size)
		return NULL;
	uint32_t mask = table->size - 1;
	for (uint32_t at = (uint32_t)hash & mask; table->slots[at].value; at = (at + 1) & mask) {
		if (table->slots[at].hash == hash && equal(table->slots[at].value, key))
			return table->slots[at].value;
	}
	return NULL;
}

/* For a value that is not in it; room must have been reserved. */
static inline void table_insert(struct table *table, uint64_t hash, void *value)
{
	table_put(table->slots, table->size - 1, hash, value);
	table->used++;
}

/* By identity. Values may be moved by it: do not remove while walking over the slots. */
static inline void table_remove(struct table *table, uint64_t hash, const void *value)
{
	if (!table->size)
		return;
	uint32_t mask = table->size - 1, at = (uint32_t)hash & mask;
	while (table->slots[at].value != value) {
		if (!table->slots[at].value)
			return;
		at = (at + 1) & mask;
	}
	for (uint32_t next = (at + 1) & mask; table->slots[next].value; next = (next + 1) & mask) {
		uint32_t home = (uint32_t)table->slots[next].hash & mask;
		/* Whether the place that became free lies on the way from its home to where it is. */
		if (((next - home) & mask) >= ((next - at) & mask)) {
			table->slots[at] = table->slots[next];
			at = next;
		}
	}
	table->slots[at] = (struct table_slot){0, NULL};
	table->used--;
}

static inline void table_free(struct table *table)
{
	free(table->slots);
	*table = (struct table){0};
}

#endif
