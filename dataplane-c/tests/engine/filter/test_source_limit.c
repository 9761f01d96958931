/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filter/source_limit.h"

static struct addr source(uint32_t number)
{
	struct addr addr = {.family = AF_INET};
	addr.ip[0] = 10;
	addr.ip[1] = (uint8_t)(number >> 16);
	addr.ip[2] = (uint8_t)(number >> 8);
	addr.ip[3] = (uint8_t)number;
	return addr;
}

static void each_source_has_its_own_limit(void **context)
{
	(void)context;
	struct source_limit_table *table = source_limit_new(100);
	for (uint32_t s = 0; s < 10; s++) {
		struct addr addr = source(s);
		for (unsigned i = 0; i < 3; i++)
			assert_true(source_limit_take(table, &addr, 3));
		assert_false(source_limit_take(table, &addr, 3));
	}
	assert_int_equal(source_limit_count(table), 10);
	struct addr addr = source(4);
	source_limit_give(table, &addr);
	assert_true(source_limit_take(table, &addr, 3));
	assert_false(source_limit_take(table, &addr, 3));
	source_limit_free(table);
}

static void a_source_without_connections_takes_no_place(void **context)
{
	(void)context;
	struct source_limit_table *table = source_limit_new(4);
	for (uint32_t s = 0; s < 1000; s++) {
		struct addr addr = source(s);
		assert_true(source_limit_take(table, &addr, 1));
		source_limit_give(table, &addr);
	}
	assert_int_equal(source_limit_count(table), 0);
	struct addr stranger = source(5);
	source_limit_give(table, &stranger); /* never taken: nothing happens */
	assert_int_equal(source_limit_count(table), 0);
	source_limit_free(table);
}

static void a_full_table_refuses_strangers_and_serves_those_it_knows(void **context)
{
	(void)context;
	const uint32_t bounds[] = {1, 5, 100, 3000};
	for (unsigned b = 0; b < 4; b++) {
		struct source_limit_table *table = source_limit_new(bounds[b]);
		uint32_t taken = 0;
		bool *in = calloc(bounds[b] * 4, sizeof(bool));
		for (uint32_t s = 0; s < bounds[b] * 4; s++) {
			struct addr addr = source(s);
			in[s] = source_limit_take(table, &addr, 2);
			taken += in[s];
		}
		assert_true(taken <= bounds[b] && taken >= bounds[b] * 9 / 10);
		assert_int_equal(source_limit_count(table), taken);
		for (uint32_t s = 0; s < bounds[b] * 4; s++) {
			struct addr addr = source(s);
			assert_int_equal(source_limit_take(table, &addr, 2), in[s]);
		}
		for (uint32_t s = 0; s < bounds[b] * 4; s++) {
			struct addr addr = source(s);
			for (unsigned i = 0; in[s] && i < 2; i++)
				source_limit_give(table, &addr);
		}
		assert_int_equal(source_limit_count(table), 0);
		free(in);
		source_limit_free(table);
	}
}

enum { THREADS = 8, SOURCES = 20, LIMIT = 5, ROUNDS = 40000 };

struct contest {
	struct source_limit_table *table;
	uint64_t random;
	atomic_uint *held, *highest;
	uint32_t refused;
};

static void *contend(void *arg)
{
	struct contest *contest = arg;
	bool mine[SOURCES] = {0};
	for (unsigned i = 0; i < ROUNDS; i++) {
		contest->random = contest->random * 6364136223846793005ull + 1442695040888963407ull;
		uint32_t s = (uint32_t)(contest->random >> 33) % SOURCES;
		struct addr addr = source(s);
		if (mine[s]) {
			atomic_fetch_sub(&contest->held[s], 1);
			source_limit_give(contest->table, &addr);
			mine[s] = false;
		} else if (source_limit_take(contest->table, &addr, LIMIT)) {
			mine[s] = true;
			uint32_t now = atomic_fetch_add(&contest->held[s], 1) + 1;
			uint32_t seen = atomic_load(&contest->highest[s]);
			while (now > seen && !atomic_compare_exchange_weak(&contest->highest[s], &seen, now))
				;
		} else {
			contest->refused++;
		}
	}
	for (uint32_t s = 0; s < SOURCES; s++) {
		struct addr addr = source(s);
		if (mine[s]) {
			atomic_fetch_sub(&contest->held[s], 1);
			source_limit_give(contest->table, &addr);
		}
	}
	return NULL;
}

static void the_limit_is_exact_with_eight_threads(void **context)
{
	(void)context;
	struct source_limit_table *table = source_limit_new(SOURCES);
	atomic_uint held[SOURCES] = {0}, highest[SOURCES] = {0};
	pthread_t threads[THREADS];
	struct contest contests[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		contests[i] = (struct contest){table, i + 1, held, highest, 0};
		pthread_create(&threads[i], NULL, contend, &contests[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned s = 0; s < SOURCES; s++)
		assert_in_range(highest[s], 1, LIMIT);
	assert_int_equal(source_limit_count(table), 0);
	source_limit_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_source_has_its_own_limit),
	        cmocka_unit_test(a_source_without_connections_takes_no_place),
	        cmocka_unit_test(a_full_table_refuses_strangers_and_serves_those_it_knows),
	        cmocka_unit_test(the_limit_is_exact_with_eight_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
