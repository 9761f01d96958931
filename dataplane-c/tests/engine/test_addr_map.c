/* SPDX-License-Identifier: Apache-2.0 */
/* The bounded map from addresses, held against a plain array that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "addr_map.h"

#define KEYS 600u

static uint32_t random_state;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % below;
}

/* Neighbours differ in the port alone, in the last byte, or in the family. */
static struct addr key_of(uint32_t i)
{
	struct addr addr = {.family = i % 3 == 2 ? AF_INET6 : AF_INET, .port = (uint16_t)(i % 7)};
	addr.ip[0] = 10;
	addr.ip[2] = (uint8_t)(i >> 8);
	addr.ip[3] = (uint8_t)i;
	return addr;
}

/* Of few different values and always the same for a key: chains are long, and hashes that are equal say nothing. */
static uint32_t hash_of(uint32_t i, uint32_t spread)
{
	return (i * 2654435761u >> 7) % spread;
}

struct model {
	bool present;
	uint32_t index;
	uint8_t value[20];
};

/* Everything that the map should know is found at its place with its value, and nothing else is found. */
static void expect_same(const struct addr_map *map, const struct model *model, uint32_t spread)
{
	uint32_t used = 0;
	for (uint32_t i = 0; i < KEYS; i++) {
		struct addr key = key_of(i);
		uint32_t index = addr_map_find(map, &key, hash_of(i, spread));
		if (!model[i].present) {
			assert_int_equal(index, ADDR_MAP_NONE);
			continue;
		}
		used++;
		assert_int_equal(index, model[i].index);
		assert_memory_equal(addr_map_value(map, index), model[i].value, map->value_size);
	}
	assert_int_equal(map->used, used);
	assert_true(map->used <= map->limit);
	assert_true(map->capacity <= map->limit);
}

static void it_does_what_a_plain_array_does(void **state)
{
	(void)state;
	static const struct {
		uint32_t limit, value_size, spread;
	} kinds[] = {{1, 1, 1000}, {15, 8, 4}, {16, 20, UINT32_MAX}, {17, 4, 1}, {333, 12, 64}, {4096, 20, UINT32_MAX}};
	static struct model model[KEYS];
	for (uint32_t seed = 1; seed <= 12; seed++) {
		uint32_t kind = seed % 6, limit = kinds[kind].limit, spread = kinds[kind].spread;
		struct addr_map map;
		random_state = seed * 2654435761u;
		memset(model, 0, sizeof(model));
		addr_map_init(&map, limit, kinds[kind].value_size);
		for (uint32_t step = 0; step < 4000; step++) {
			/* It fills and empties by turns. */
			bool filling = step / 1000 % 2 == 0;
			uint32_t i = any(KEYS);
			struct addr key = key_of(i);
			if (model[i].present && any(4) > (filling ? 2u : 0u)) {
				addr_map_remove(&map, model[i].index);
				model[i].present = false;
			} else if (!model[i].present && (filling || any(4) == 0)) {
				uint32_t index = addr_map_insert(&map, &key, hash_of(i, spread));
				uint32_t used = map.used;
				if (index == ADDR_MAP_NONE) {
					assert_int_equal(used, limit);
					continue;
				}
				static const uint8_t zero[20];
				assert_true(index < limit);
				assert_memory_equal(addr_map_value(&map, index), zero, map.value_size);
				model[i].present = true;
				model[i].index = index;
				for (uint32_t b = 0; b < sizeof(zero); b++)
					model[i].value[b] = (uint8_t)any(256);
				memcpy(addr_map_value(&map, index), model[i].value, map.value_size);
			}
			if (step % 50 == 0)
				expect_same(&map, model, spread);
		}
		expect_same(&map, model, spread);
		addr_map_destroy(&map);
	}
}

static void no_two_entries_have_one_index(void **state)
{
	(void)state;
	bool taken[100] = {false};
	struct addr_map map;
	addr_map_init(&map, 100, 4);
	for (uint32_t i = 0; i < 100; i++) {
		struct addr key = key_of(i);
		uint32_t index = addr_map_insert(&map, &key, hash_of(i, 8));
		assert_true(index < 100);
		assert_false(taken[index]);
		taken[index] = true;
	}
	addr_map_destroy(&map);
}

static void the_bound_holds_and_a_place_that_is_given_back_can_be_taken(void **state)
{
	(void)state;
	static const uint32_t limits[] = {0, 1, 16, 17, 100};
	for (unsigned l = 0; l < 5; l++) {
		struct addr_map map;
		addr_map_init(&map, limits[l], 4);
		for (uint32_t i = 0; i < limits[l]; i++) {
			struct addr key = key_of(i);
			assert_int_not_equal(addr_map_insert(&map, &key, i), ADDR_MAP_NONE);
		}
		struct addr more = key_of(KEYS);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(addr_map_insert(&map, &more, KEYS), ADDR_MAP_NONE);
		assert_int_equal(map.used, limits[l]);
		assert_int_equal(addr_map_find(&map, &more, KEYS), ADDR_MAP_NONE);
		if (limits[l]) {
			struct addr first = key_of(0);
			uint32_t index = addr_map_find(&map, &first, 0);
			addr_map_remove(&map, index);
			assert_int_equal(addr_map_find(&map, &first, 0), ADDR_MAP_NONE);
			assert_int_equal(addr_map_insert(&map, &more, KEYS), index);
			assert_int_equal(addr_map_find(&map, &more, KEYS), index);
			assert_int_equal(addr_map_insert(&map, &first, 0), ADDR_MAP_NONE);
		}
		addr_map_destroy(&map);
	}
}

static void memory_follows_use(void **state)
{
	(void)state;
	struct addr_map map;
	addr_map_init(&map, 1000000, 64);
	assert_null(map.nodes);
	assert_null(map.values);
	assert_null(map.buckets);
	struct addr key = key_of(1);
	assert_int_equal(addr_map_find(&map, &key, 1), ADDR_MAP_NONE);
	for (uint32_t i = 0; i < KEYS; i++) {
		key = key_of(i);
		assert_int_not_equal(addr_map_insert(&map, &key, i), ADDR_MAP_NONE);
		assert_true(map.capacity <= 2 * map.used || map.capacity <= 16);
		assert_true(map.nbuckets <= 2 * map.used || map.nbuckets <= 16);
	}
	/* What comes and goes needs no more. */
	uint32_t capacity = map.capacity;
	for (uint32_t i = 0; i < 10 * KEYS; i++) {
		key = key_of(i % KEYS);
		addr_map_remove(&map, addr_map_find(&map, &key, i % KEYS));
		assert_int_not_equal(addr_map_insert(&map, &key, i % KEYS), ADDR_MAP_NONE);
	}
	assert_int_equal(map.capacity, capacity);
	/* It can be used again after it has been destroyed. */
	addr_map_destroy(&map);
	assert_int_equal(map.used, 0);
	assert_int_equal(addr_map_find(&map, &key, 1), ADDR_MAP_NONE);
	assert_int_equal(addr_map_insert(&map, &key, 1), 0);
	addr_map_destroy(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(it_does_what_a_plain_array_does),
	        cmocka_unit_test(no_two_entries_have_one_index),
	        cmocka_unit_test(the_bound_holds_and_a_place_that_is_given_back_can_be_taken),
	        cmocka_unit_test(memory_follows_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
