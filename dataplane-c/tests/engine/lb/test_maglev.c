/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb/maglev_walk.h"
#include "view_fixture.h"

/* Slots per entry. */
static void shares(const struct maglev_table *table, uint32_t *slots, uint32_t count)
{
	memset(slots, 0, count * sizeof(*slots));
	for (uint32_t i = 0; i < maglev_size(table); i++) {
		assert_true(maglev_at(table, i) < count);
		slots[maglev_at(table, i)]++;
	}
}

static void equal_backends_get_equal_shares(void **context)
{
	(void)context;
	const uint32_t counts[] = {1, 2, 3, 10, 100, 655};
	for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		struct fixture f;
		uint32_t slots[655];
		fixture_init(&f, ALGORITHM_MAGLEV, 0, counts[c], NULL);
		struct maglev_table *table = maglev_build(f.view->entries, counts[c], maglev_size_for(counts[c]));
		assert_non_null(table);
		shares(table, slots, counts[c]);
		uint32_t min = UINT32_MAX, max = 0;
		for (uint32_t i = 0; i < counts[c]; i++) {
			min = slots[i] < min ? slots[i] : min;
			max = slots[i] > max ? slots[i] : max;
		}
		/* Taking turns, nobody is ever more than one slot ahead. */
		assert_in_range(max - min, 0, 1);
		assert_true((double)max / min <= 1.01 + 1.0 / min);
		maglev_free(table);
		fixture_free(&f);
	}
}

static void shares_follow_weights(void **context)
{
	(void)context;
	const uint32_t weights[] = {1, 2, 3, 50, 100, 7, 1000};
	double total = 0;
	for (unsigned i = 0; i < 7; i++)
		total += weights[i];
	struct fixture f;
	uint32_t slots[7];
	fixture_init(&f, ALGORITHM_MAGLEV, 0, 7, weights);
	struct maglev_table *table = maglev_build(f.view->entries, 7, 65537);
	shares(table, slots, 7);
	for (unsigned i = 0; i < 7; i++) {
		double expected = 65537 * weights[i] / total;
		assert_true(fabs(slots[i] - expected) <= 7); /* a turn each, that the others are behind or ahead */
	}
	maglev_free(table);
	fixture_free(&f);
}

static void hashes_fall_evenly(void **context)
{
	(void)context;
	struct fixture f;
	uint32_t hits[10] = {0};
	uint64_t random = 5;
	fixture_init(&f, ALGORITHM_MAGLEV, 0, 10, NULL);
	struct maglev_table *table = maglev_build(f.view->entries, 10, 1009);
	for (unsigned i = 0; i < 100000; i++)
		hits[maglev_lookup(table, fixture_random(&random))]++;
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(hits[i], 9500, 10500);
	maglev_free(table);
	fixture_free(&f);
}

/* Share of slots that stay with a backend that is in both views, but go to another one. */
static double disturbed(const struct fixture *a, const struct maglev_table *before, const struct fixture *b,
                        const struct maglev_table *after)
{
	uint32_t moved = 0;
	assert_int_equal(maglev_size(before), maglev_size(after));
	for (uint32_t i = 0; i < maglev_size(before); i++) {
		const char *was = a->view->entries[maglev_at(before, i)].endpoint->backend->name;
		const char *is = b->view->entries[maglev_at(after, i)].endpoint->backend->name;
		moved += strcmp(was, is) != 0;
	}
	return (double)moved / maglev_size(before);
}

static void one_backend_more_or_less_moves_little_beyond_its_share(void **context)
{
	(void)context;
	const uint32_t counts[] = {2, 5, 10, 50, 100};
	for (unsigned c = 0; c < 5; c++) {
		uint32_t n = counts[c], size = maglev_size_for(n + 1);
		struct fixture a, more, less;
		fixture_init(&a, ALGORITHM_MAGLEV, 1, n, NULL);
		fixture_init(&more, ALGORITHM_MAGLEV, 1, n + 1, NULL);
		fixture_init(&less, ALGORITHM_MAGLEV, 2, n - 1, NULL); /* the first one is gone: all positions shift */
		struct maglev_table *table = maglev_build(a.view->entries, n, size);
		struct maglev_table *table_more = maglev_build(more.view->entries, n + 1, size);
		struct maglev_table *table_less = maglev_build(less.view->entries, n - 1, size);
		double by_more = disturbed(&a, table, &more, table_more);
		double by_less = disturbed(&a, table, &less, table_less);
		/* The paper's figure 11: some per cent beyond the inevitable 1/n with tables of 100 slots per backend.
		 */
		assert_true(by_more >= 0.99 / (n + 1) && by_more <= 1.0 / (n + 1) + 0.035);
		assert_true(by_less >= 0.99 / n && by_less <= 1.0 / n + 0.035);
		maglev_free(table);
		maglev_free(table_more);
		maglev_free(table_less);
		fixture_free(&a);
		fixture_free(&more);
		fixture_free(&less);
	}
}

static void the_order_of_entries_does_not_matter(void **context)
{
	(void)context;
	uint32_t weights[40];
	for (unsigned weighted = 0; weighted < 2; weighted++) {
		for (unsigned i = 0; i < 40; i++)
			weights[i] = weighted ? 1 + i % 5 : 1;
		struct fixture f;
		fixture_init(&f, ALGORITHM_MAGLEV, 0, 40, weights);
		struct maglev_table *table = maglev_build(f.view->entries, 40, 4099);
		struct view_entry shuffled[40];
		memcpy(shuffled, f.view->entries, sizeof(shuffled));
		uint64_t random = 9;
		for (unsigned i = 39; i > 0; i--) {
			unsigned j = (unsigned)(fixture_random(&random) % (i + 1));
			struct view_entry swap = shuffled[i];
			shuffled[i] = shuffled[j];
			shuffled[j] = swap;
		}
		struct maglev_table *other = maglev_build(shuffled, 40, 4099);
		for (uint32_t i = 0; i < 4099; i++)
			assert_ptr_equal(f.view->entries[maglev_at(table, i)].endpoint,
			                 shuffled[maglev_at(other, i)].endpoint);
		maglev_free(table);
		maglev_free(other);
		fixture_free(&f);
	}
}

static void identity_is_name_and_address(void **context)
{
	(void)context;
	struct fixture a, b;
	fixture_init(&a, ALGORITHM_MAGLEV, 0, 10, NULL);
	fixture_init(&b, ALGORITHM_MAGLEV, 0, 10, NULL);
	struct maglev_table *one = maglev_build(a.view->entries, 10, 1009);
	struct maglev_table *same = maglev_build(b.view->entries, 10, 1009);
	assert_true(disturbed(&a, one, &b, same) == 0); /* other objects in memory, same identities */
	b.endpoints[3].addr.port = 81;
	struct maglev_table *changed = maglev_build(b.view->entries, 10, 1009);
	uint32_t moved = 0;
	for (uint32_t i = 0; i < 1009; i++)
		moved += maglev_at(one, i) != maglev_at(changed, i);
	assert_in_range(moved, 1, 1009 / 4);
	b.endpoints[3].addr.port = 80;
	strcpy(b.backends[3].name, "x3");
	struct maglev_table *renamed = maglev_build(b.view->entries, 10, 1009);
	moved = 0;
	for (uint32_t i = 0; i < 1009; i++)
		moved += maglev_at(one, i) != maglev_at(renamed, i);
	assert_in_range(moved, 1, 1009 / 4);
	maglev_free(renamed);
	maglev_free(one);
	maglev_free(same);
	maglev_free(changed);
	fixture_free(&a);
	fixture_free(&b);
}

static void heavily_uneven_weights_do_not_take_long(void **context)
{
	(void)context;
	enum { N = 5000 };
	static uint32_t weights[N];
	for (unsigned i = 0; i < N; i++)
		weights[i] = i ? 1 : 1000000;
	struct fixture f;
	fixture_init(&f, ALGORITHM_MAGLEV, 0, N, weights);
	/* One heavy backend claims in each of 500,000 rounds: looking at all others in each round would take minutes.
	 */
	struct maglev_table *table = maglev_build(f.view->entries, N, maglev_size_for(N));
	assert_non_null(table);
	maglev_free(table);
	fixture_free(&f);
}

static void more_entries_than_sixteen_bits(void **context)
{
	(void)context;
	struct fixture f;
	const uint32_t n = 70000;
	fixture_init(&f, ALGORITHM_MAGLEV, 0, n, NULL);
	struct maglev_table *table = maglev_build(f.view->entries, n, 131101);
	assert_non_null(table);
	uint32_t *slots = calloc(n, sizeof(*slots));
	shares(table, slots, n);
	for (uint32_t i = 0; i < n; i++)
		assert_in_range(slots[i], 1, 2);
	free(slots);
	maglev_free(table);
	fixture_free(&f);
}

static void impossible_sizes_are_refused(void **context)
{
	(void)context;
	struct fixture f;
	fixture_init(&f, ALGORITHM_MAGLEV, 0, 5, NULL);
	const uint32_t sizes[] = {0, 1, 3, 4, 1000};
	for (unsigned i = 0; i < 5; i++) {
		errno = 0;
		assert_null(maglev_build(f.view->entries, 5, sizes[i]));
		assert_int_equal(errno, EINVAL);
	}
	assert_null(maglev_build(f.view->entries, 0, 1009));
	struct maglev_table *table = maglev_build(f.view->entries, 5, 5);
	assert_non_null(table);
	maglev_free(table);
	table = maglev_build(f.view->entries, 2, 2);
	assert_non_null(table);
	maglev_free(table);
	fixture_free(&f);
}

static void sizes_are_primes_of_a_hundred_slots_each(void **context)
{
	(void)context;
	const uint32_t counts[] = {0, 1, 10, 11, 20, 21, 655, 656, 10000, 83886};
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint32_t size = maglev_size_for(counts[i]);
		assert_true(maglev_is_prime(size));
		assert_true(size >= 100 * counts[i]);
	}
	assert_true(maglev_is_prime(maglev_size_for(UINT32_MAX)));
	bool sieve[2000];
	for (uint32_t n = 0; n < 2000; n++) {
		sieve[n] = n > 1;
		for (uint32_t d = 2; d < n; d++)
			sieve[n] &= n % d != 0;
		assert_int_equal(maglev_is_prime(n), sieve[n]);
	}
	assert_true(maglev_is_prime(4294967291u));
	assert_false(maglev_is_prime(4294967295u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(equal_backends_get_equal_shares),
	        cmocka_unit_test(shares_follow_weights),
	        cmocka_unit_test(hashes_fall_evenly),
	        cmocka_unit_test(one_backend_more_or_less_moves_little_beyond_its_share),
	        cmocka_unit_test(the_order_of_entries_does_not_matter),
	        cmocka_unit_test(identity_is_name_and_address),
	        cmocka_unit_test(heavily_uneven_weights_do_not_take_long),
	        cmocka_unit_test(more_entries_than_sixteen_bits),
	        cmocka_unit_test(impossible_sizes_are_refused),
	        cmocka_unit_test(sizes_are_primes_of_a_hundred_slots_each),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
