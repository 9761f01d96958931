/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb/affinity.h"
#include "view_fixture.h"

#define TTL 1000u

static struct endpoint first, second;

static void every_hit_renews_the_time_to_live(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100);
	struct addr client = fixture_client(1);
	assert_null(affinity_lookup(table, &client, 0));
	affinity_store(table, &client, &first, 0);
	for (uint64_t now = 900; now < 10000; now += 900)
		assert_ptr_equal(affinity_lookup(table, &client, now), &first);
	/* The last hit was at 9,900. */
	assert_ptr_equal(affinity_lookup(table, &client, 10899), &first);
	assert_null(affinity_lookup(table, &client, 10899 + TTL));
	assert_int_equal(affinity_count(table), 0);
	affinity_free(table);
}

static void storing_again_rebinds(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100);
	struct addr client = fixture_client(1);
	affinity_store(table, &client, &first, 0);
	affinity_store(table, &client, &second, 500);
	assert_int_equal(affinity_count(table), 1);
	assert_ptr_equal(affinity_lookup(table, &client, 1400), &second);
	affinity_free(table);
}

static void a_full_table_loses_the_entry_nearest_to_expiry(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100);
	for (uint32_t i = 0; i < 100; i++) {
		struct addr client = fixture_client(i);
		affinity_store(table, &client, &first, i);
	}
	struct addr oldest = fixture_client(0), next = fixture_client(1), newcomer = fixture_client(1000);
	assert_ptr_equal(affinity_lookup(table, &oldest, 200), &first); /* renewed: now the newest */
	affinity_store(table, &newcomer, &second, 201);
	assert_int_equal(affinity_count(table), 100);
	assert_null(affinity_lookup(table, &next, 202));
	assert_ptr_equal(affinity_lookup(table, &oldest, 202), &first);
	assert_ptr_equal(affinity_lookup(table, &newcomer, 202), &second);
	affinity_free(table);
}

static void it_never_holds_more_than_its_bound(void **context)
{
	(void)context;
	const uint32_t bounds[] = {1, 2, 17, 1023, 1024, 5000, 100000};
	for (unsigned b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
		struct affinity_table *table = affinity_new(TTL, bounds[b]);
		for (uint32_t i = 0; i < 3 * bounds[b]; i++) {
			struct addr client = fixture_client(i);
			affinity_store(table, &client, &first, i / 100);
			assert_ptr_equal(affinity_lookup(table, &client, i / 100), &first);
		}
		assert_in_range(affinity_count(table), bounds[b] * 9 / 10, bounds[b]);
		affinity_free(table);
	}
}

static void collection_removes_what_has_expired_alone(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100000);
	for (uint32_t i = 0; i < 20000; i++) {
		struct addr client = fixture_client(i);
		affinity_store(table, &client, &first, i < 15000 ? 0 : 500);
	}
	uint32_t removed = 0, calls = 0;
	while (affinity_count(table) > 5000 && calls++ < 1000) {
		uint32_t n = affinity_collect(table, TTL + 1);
		assert_true(n <= 8 * 256); /* bounded work per call */
		removed += n;
	}
	assert_int_equal(removed, 15000);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(affinity_collect(table, TTL + 1), 0);
	assert_int_equal(affinity_count(table), 5000);
	affinity_free(table);

	table = affinity_new(TTL, 1000); /* one shard: workers never wait for more than 256 removals */
	for (uint32_t i = 0; i < 1000; i++) {
		struct addr client = fixture_client(i);
		affinity_store(table, &client, &first, 0);
	}
	assert_int_equal(affinity_collect(table, TTL), 256);
	affinity_free(table);
}

static void a_forgotten_endpoint_is_nobodys_any_more(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100000);
	for (uint32_t i = 0; i < 30000; i++) {
		struct addr client = fixture_client(i);
		affinity_store(table, &client, i % 3 ? &first : &second, 0);
	}
	affinity_forget(table, &second);
	assert_int_equal(affinity_count(table), 20000);
	for (uint32_t i = 0; i < 30000; i++) {
		struct addr client = fixture_client(i);
		assert_ptr_equal(affinity_lookup(table, &client, 10), i % 3 ? &first : NULL);
	}
	/* The places are used again. */
	for (uint32_t i = 0; i < 30000; i++) {
		struct addr client = fixture_client(i);
		affinity_store(table, &client, &first, 20);
	}
	assert_int_equal(affinity_count(table), 30000);
	affinity_free(table);
}

static void families_are_told_apart(void **context)
{
	(void)context;
	struct affinity_table *table = affinity_new(TTL, 100);
	struct addr v4 = {.family = AF_INET, .ip = {10, 0, 0, 1}}, v6 = {.family = AF_INET6, .ip = {10, 0, 0, 1}};
	affinity_store(table, &v4, &first, 0);
	assert_null(affinity_lookup(table, &v6, 1));
	affinity_store(table, &v6, &second, 0);
	assert_ptr_equal(affinity_lookup(table, &v4, 1), &first);
	affinity_free(table);
}

/* Against a plain array: any sequence of operations gives the same answers, as long as nothing is evicted. */
static void it_agrees_with_a_plain_array(void **context)
{
	(void)context;
	enum { CLIENTS = 300 };
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct affinity_table *table = affinity_new(TTL, CLIENTS);
		struct endpoint endpoints[4] = {0}, *bound[CLIENTS] = {0};
		uint64_t expires[CLIENTS] = {0}, random = seed, now = 0;
		for (unsigned step = 0; step < 20000; step++) {
			uint64_t r = fixture_random(&random);
			uint32_t c = (uint32_t)(r % CLIENTS);
			struct addr client = fixture_client(c);
			now += (r >> 16) % 8;
			switch ((r >> 32) % 16) {
			case 0:
				affinity_collect(table, now);
				break;
			case 1: {
				struct endpoint *gone = &endpoints[(r >> 40) % 4];
				affinity_forget(table, gone);
				for (unsigned i = 0; i < CLIENTS; i++)
					bound[i] = bound[i] == gone ? NULL : bound[i];
				break;
			}
			case 2 ... 7:
				bound[c] = &endpoints[(r >> 40) % 4];
				expires[c] = now + TTL;
				affinity_store(table, &client, bound[c], now);
				break;
			default: {
				struct endpoint *expected = bound[c] && expires[c] > now ? bound[c] : NULL;
				assert_ptr_equal(affinity_lookup(table, &client, now), expected);
				if (expected)
					expires[c] = now + TTL;
				break;
			}
			}
		}
		affinity_free(table);
	}
}

struct crowd {
	struct affinity_table *table;
	uint64_t seed;
	struct endpoint *endpoints;
};

static void *mill(void *arg)
{
	struct crowd *crowd = arg;
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t r = fixture_random(&crowd->seed);
		struct addr client = fixture_client((uint32_t)(r % 5000));
		struct endpoint *endpoint = affinity_lookup(crowd->table, &client, i / 20);
		if (endpoint)
			assert_ptr_equal(endpoint, &crowd->endpoints[r % 5000 % 3]);
		else
			affinity_store(crowd->table, &client, &crowd->endpoints[r % 5000 % 3], i / 20);
	}
	return NULL;
}

static void workers_and_the_main_thread_use_it_together(void **context)
{
	(void)context;
	struct endpoint endpoints[3] = {0};
	struct affinity_table *table = affinity_new(100, 4000);
	pthread_t threads[8];
	struct crowd crowds[8];
	for (unsigned i = 0; i < 8; i++) {
		crowds[i] = (struct crowd){table, i + 1, endpoints};
		pthread_create(&threads[i], NULL, mill, &crowds[i]);
	}
	for (unsigned i = 0; i < 200; i++) {
		affinity_collect(table, i * 5);
		affinity_forget(table, &endpoints[i % 3]);
		assert_true(affinity_count(table) <= 4000);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	affinity_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_hit_renews_the_time_to_live),
	        cmocka_unit_test(storing_again_rebinds),
	        cmocka_unit_test(a_full_table_loses_the_entry_nearest_to_expiry),
	        cmocka_unit_test(it_never_holds_more_than_its_bound),
	        cmocka_unit_test(collection_removes_what_has_expired_alone),
	        cmocka_unit_test(a_forgotten_endpoint_is_nobodys_any_more),
	        cmocka_unit_test(families_are_told_apart),
	        cmocka_unit_test(it_agrees_with_a_plain_array),
	        cmocka_unit_test(workers_and_the_main_thread_use_it_together),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
