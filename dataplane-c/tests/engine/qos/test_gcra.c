/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of the token bucket, over random rates, bursts, sizes and clocks, against exact arithmetic; and of one
 * that eight threads take from. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "bucket.h"

#define SECOND 1000000000ull

static uint64_t seed;

static uint64_t any(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1dull;
}

/* Spread over the orders of magnitude from least to most. */
static uint64_t any_of(uint64_t least, uint64_t most)
{
	uint64_t range = any() % 64, value = any() >> range;
	return value < least || value > most ? least + value % (most - least + 1) : value;
}

static uint64_t any_rate(void)
{
	return any_of(GCRA_BITS_PER_SECOND_MIN, GCRA_BITS_PER_SECOND_MAX);
}

/* Bytes that rate * t + burst are, rounded down, plus what is allowed for rounding. */
static uint64_t bound(uint64_t bits_per_second, uint64_t ns, uint64_t burst)
{
	return (uint64_t)((unsigned __int128)bits_per_second * ns / (8 * SECOND)) + burst;
}

/* Costs are rounded up to whole ticks: bytes that one is worth. */
static uint64_t tick_bytes(const struct gcra_rate *rate)
{
	return (1u << GCRA_COST_BITS) / rate->unit_cost + 1;
}

static void never_more_than_the_rate_and_the_burst(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 400; run++) {
		uint64_t bits = any_rate(), burst = any_of(1, 1u << 28);
		struct gcra_rate rate = gcra_rate(bits, 8, burst);
		uint64_t now_ns = any(), start = now_ns, passed = 0;
		_Atomic uint64_t tat = gcra_ticks(now_ns);
		for (unsigned i = 0; i < 500; i++) {
			uint64_t want = 1 + any() % GCRA_UNITS_MAX;
			uint64_t got = bucket_take(&tat, gcra_ticks(now_ns), &rate, want, 1 + any() % want);
			assert_true(got <= want);
			uint64_t unused = got && any() % 4 == 0 ? any() % got : 0;
			bucket_give(&tat, &rate, unused);
			passed += got - unused;
			assert_true(passed <= bound(bits, now_ns - start, burst) + tick_bytes(&rate));
			now_ns += any_of(0, 1000000000);
		}
	}
}

static void never_less_than_the_rate_while_there_is_something_to_take(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 400; run++) {
		uint64_t bits = any_of(1000000, GCRA_BITS_PER_SECOND_MAX);
		uint64_t step_ns = 1 + any() % 1000000; /* the burst covers what comes between two looks */
		uint64_t burst = bound(bits, step_ns, 2048);
		struct gcra_rate rate = gcra_rate(bits, 8, burst);
		uint64_t now_ns = any(), start = now_ns, passed = 0, most = 0, takes = 0;
		_Atomic uint64_t tat = gcra_ticks(now_ns);
		for (unsigned i = 0; i < 500; i++) {
			uint64_t got;
			while ((got = bucket_take(&tat, gcra_ticks(now_ns), &rate, GCRA_UNITS_MAX, 1)) > 0) {
				passed += got;
				takes++;
			}
			most = bound(bits, now_ns - start, burst);
			/* A unit's cost is rounded, too. */
			assert_true(passed + takes * tick_bytes(&rate) + 1 >= most - most / rate.unit_cost);
			now_ns += step_ns;
		}
	}
}

static void packets_of_any_size_add_up_to_the_rate(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 50; run++) {
		uint64_t bits = any_of(10000000, 100000000000ull);
		struct gcra_rate rate = gcra_rate(bits, 8, 65536);
		uint64_t now_ns = any(), start, passed = 0, packet = 64 + any() % 1436;
		__u64 tat = gcra_ticks(now_ns), next;
		/* Offered at about twice the rate, one by one, as a program in the kernel does. */
		uint64_t gap_ns = packet * 8 * SECOND / bits / 2;
		while (gcra_conforms(tat, gcra_ticks(now_ns), &rate, packet, &next))
			tat = next;
		start = now_ns;
		for (unsigned i = 0; i < 20000; i++) {
			now_ns += gap_ns + (gap_ns ? 0 : 1);
			if (gcra_conforms(tat, gcra_ticks(now_ns), &rate, packet, &next)) {
				tat = next;
				passed += packet;
			}
		}
		uint64_t due = bound(bits, now_ns - start, 0);
		if (due > 64 * packet)
			assert_true(passed >= due - due / 100 - 2 * packet && passed <= due + 2 * packet);
	}
}

static void what_is_said_to_be_available_is_and_a_byte_more_is_not(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 20000; run++) {
		struct gcra_rate rate = gcra_rate(any_rate(), 8, any_of(1, GCRA_UNITS_MAX - 2));
		__u64 now = any(), tat = now + any() % (rate.tolerance + 1), next;
		uint64_t available = gcra_available(tat, now, &rate);
		assert_true(gcra_conforms(tat, now, &rate, available, &next));
		assert_false(gcra_conforms(tat, now, &rate, available + 1, &next));
	}
}

static void after_the_wait_it_conforms_and_not_much_before(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 20000; run++) {
		__u64 burst = any_of(1, GCRA_UNITS_MAX), now = any(), next;
		struct gcra_rate rate = gcra_rate(any_rate(), 8, burst);
		uint64_t tat = now + any() % (rate.tolerance + 1), units = 1 + any() % burst;
		uint64_t wait = gcra_wait_ns(tat, now, &rate, units);
		if (!wait) {
			assert_true(gcra_conforms(tat, now, &rate, units, &next));
			continue;
		}
		assert_true(gcra_conforms(tat, now + gcra_ticks(wait), &rate, units, &next));
		if (wait > 2)
			assert_false(gcra_conforms(tat, now + gcra_ticks(wait - 2), &rate, units, &next));
	}
}

static void an_idle_bucket_fills_up_and_no_further(void **state)
{
	(void)state;
	struct gcra_rate rate = gcra_rate(8000000, 8, 100000);
	for (unsigned run = 0; run < 1000; run++) {
		uint64_t start = any();
		/* Up to a year of silence. */
		uint64_t now = start + gcra_ticks(any() % (365ull * 24 * 3600 * SECOND));
		_Atomic uint64_t tat = start;
		assert_int_equal(bucket_take(&tat, now, &rate, 1u << 20, 1), 100000);
		assert_int_equal(bucket_take(&tat, now, &rate, 1, 1), 0);
	}
}

static void time_wraps_without_a_gap_or_a_gift(void **state)
{
	(void)state;
	struct gcra_rate rate = gcra_rate(8000000, 8, 100000); /* a byte per us */
	uint64_t now = UINT64_MAX - gcra_ticks(500000), passed = 0;
	_Atomic uint64_t tat = now;
	for (unsigned us = 0; us < 1000; us++, now += gcra_ticks(1000))
		passed += bucket_take(&tat, now, &rate, 1u << 20, 1);
	assert_in_range(passed, 100000 + 998, 100000 + 999);
}

static void a_clock_that_jumps_neither_stops_the_bucket_nor_gives_more_than_a_burst(void **state)
{
	(void)state;
	for (unsigned run = 0; run < 2000; run++) {
		uint64_t bits = any_rate(), burst = 1448 + any() % 1000000;
		struct gcra_rate rate = gcra_rate(bits, 8, burst);
		uint64_t now = any();
		_Atomic uint64_t tat = now;
		bucket_take(&tat, now, &rate, burst, 1);
		now += any(); /* wherever */
		assert_true(bucket_take(&tat, now, &rate, GCRA_UNITS_MAX, 1) <= burst + tick_bytes(&rate));
		/* Wherever it jumped to, the bucket is of use again within its own length and a second. */
		now += 2 * rate.tolerance + GCRA_STALE;
		assert_true(bucket_take(&tat, now, &rate, 1448, 1448) == 1448);
	}
}

static void a_slower_rate_before_does_not_hold_back_a_faster_one_now(void **state)
{
	(void)state;
	struct gcra_rate slow = gcra_rate(1000, 8, 65536), fast = gcra_rate(1000000000, 8, 1000000);
	uint64_t now = any();
	_Atomic uint64_t tat = now;
	assert_int_equal(bucket_take(&tat, now, &slow, 65536, 1), 65536); /* 8 minutes' worth */
	assert_int_equal(bucket_take(&tat, now, &fast, 65536, 1), 65536);
}

static void events_are_counted_one_by_one(void **state)
{
	(void)state;
	struct gcra_rate rate = gcra_rate(10, 1, 3);
	uint64_t now_ns = 0;
	unsigned passed = 0;
	_Atomic uint64_t tat = 0;
	for (unsigned ms = 0; ms < 10000; ms++, now_ns += 1000000)
		passed += bucket_take(&tat, gcra_ticks(now_ns), &rate, 1, 1) == 1;
	assert_in_range(passed, 3 + 99, 3 + 100);
	rate = gcra_rate(1, 1, 1000000000); /* clamped, not wrapped */
	assert_int_equal(rate.tolerance, GCRA_TOLERANCE_MAX);
	assert_int_equal(bucket_take(&tat, gcra_ticks(now_ns), &rate, 1, 1), 1);
}

static void only_whole_steps_are_taken_or_all(void **state)
{
	(void)state;
	struct gcra_rate rate = gcra_rate(8000000, 8, 10000);
	_Atomic uint64_t tat = 0;
	assert_int_equal(bucket_take_steps(&tat, 0, &rate, 9999, 1200, 1200), 9999); /* the last one is short */
	tat = 0;
	assert_int_equal(bucket_take_steps(&tat, 0, &rate, 12500, 1200, 1200), 9600);
	assert_int_equal(bucket_take_steps(&tat, 0, &rate, 1200, 1200, 1200), 0);
	assert_int_equal(bucket_take_steps(&tat, 0, &rate, 400, 400, 400), 400);
}

/* Eight threads on one bucket. The clock goes on with each attempt, whoever makes it: a thread that is off its core
 * does not cost time in which nobody takes. */

#define THREADS 8
#define SHARED_BITS 8000000000ull
#define SHARED_BURST 1000000u
#define SHARED_NS 200000000ull

static _Atomic uint64_t shared_tat;
static struct gcra_rate shared_rate;
static _Atomic uint64_t shared_clock;
static pthread_barrier_t together;

#define SHARED_START 1000000000ull
#define SHARED_STEP_NS 500

static uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

static void *take_for_a_while(void *context)
{
	uint64_t *passed = context, now;
	pthread_barrier_wait(&together);
	while ((now = atomic_fetch_add(&shared_clock, SHARED_STEP_NS)) - SHARED_START < SHARED_NS) {
		uint64_t got = bucket_take(&shared_tat, gcra_ticks(now), &shared_rate, 16384, 1448);
		uint64_t unused = got / 3;
		bucket_give(&shared_tat, &shared_rate, unused);
		*passed += got - unused;
	}
	return NULL;
}

static void eight_threads_get_the_rate_between_them(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	uint64_t passed[THREADS] = {0}, total = 0;
	shared_rate = gcra_rate(SHARED_BITS, 8, SHARED_BURST);
	pthread_barrier_init(&together, NULL, THREADS);
	shared_clock = SHARED_START;
	shared_tat = gcra_ticks(SHARED_START);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_for_a_while, &passed[i]), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		total += passed[i];
	pthread_barrier_destroy(&together);
	assert_true(total <= bound(SHARED_BITS, SHARED_NS, SHARED_BURST) + 1);
	/* Giving back happens a moment after taking, and a thread may hold a share meanwhile. */
	assert_true(total >= bound(SHARED_BITS, SHARED_NS, 0) / 2);
}

static int seeded(void **state)
{
	(void)state;
	const char *given = getenv("MARCHER_TEST_SEED");
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)clock_ns() | 1;
	print_message("MARCHER_TEST_SEED=0x%llx\n", (unsigned long long)seed);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(never_more_than_the_rate_and_the_burst),
	        cmocka_unit_test(never_less_than_the_rate_while_there_is_something_to_take),
	        cmocka_unit_test(packets_of_any_size_add_up_to_the_rate),
	        cmocka_unit_test(what_is_said_to_be_available_is_and_a_byte_more_is_not),
	        cmocka_unit_test(after_the_wait_it_conforms_and_not_much_before),
	        cmocka_unit_test(an_idle_bucket_fills_up_and_no_further),
	        cmocka_unit_test(time_wraps_without_a_gap_or_a_gift),
	        cmocka_unit_test(a_clock_that_jumps_neither_stops_the_bucket_nor_gives_more_than_a_burst),
	        cmocka_unit_test(a_slower_rate_before_does_not_hold_back_a_faster_one_now),
	        cmocka_unit_test(events_are_counted_one_by_one),
	        cmocka_unit_test(only_whole_steps_are_taken_or_all),
	        cmocka_unit_test(eight_threads_get_the_rate_between_them),
	};
	return cmocka_run_group_tests(tests, seeded, NULL);
}
