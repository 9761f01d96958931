/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "timer.h"

struct probe {
	struct timer timer;
	uint64_t wanted;
	uint64_t fired_at;
	unsigned fired;
	struct timer_wheel *wheel;
	struct probe *victim; /* disarmed by the handler */
	uint64_t again_after;
};

static void fire(struct timer *timer, uint64_t now_ms)
{
	struct probe *probe = (struct probe *)timer;

	probe->fired++;
	probe->fired_at = now_ms;
	if (probe->victim)
		timer_disarm(probe->wheel, &probe->victim->timer);
	if (probe->again_after)
		timer_arm(probe->wheel, timer, now_ms + probe->again_after, fire);
}

static void an_empty_wheel_waits_for_ever(void **state)
{
	(void)state;
	struct timer_wheel *wheel = timer_wheel_new(123456789);
	assert_int_equal(timer_wheel_next(wheel, 123456789), -1);
	assert_int_equal(timer_wheel_advance(wheel, 123999999), 0);
	timer_wheel_free(wheel);
}

static void fires_at_its_millisecond_and_not_before(void **state)
{
	(void)state;
	static const uint64_t delays[] = {1,    2,    63,     64,     65,     127,      4095,
	                                  4096, 4097, 262143, 262144, 300000, 16777216, 5000000000ull};
	for (unsigned i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		for (uint64_t base = 0; base < 200; base += 61) {
			struct timer_wheel *wheel = timer_wheel_new(1000000 + base);
			struct probe probe = {0};
			uint64_t at = 1000000 + base + delays[i];
			timer_arm(wheel, &probe.timer, at, fire);
			timer_wheel_advance(wheel, at - 1);
			assert_int_equal(probe.fired, 0);
			assert_int_equal(timer_wheel_next(wheel, at - 1), 1);
			timer_wheel_advance(wheel, at);
			assert_int_equal(probe.fired, 1);
			assert_false(timer_armed(&probe.timer));
			assert_int_equal(timer_wheel_next(wheel, at), -1);
			timer_wheel_free(wheel);
		}
	}
}

static void a_disarmed_timer_wakes_nobody(void **state)
{
	(void)state;
	struct timer_wheel *wheel = timer_wheel_new(500);
	struct probe near = {0}, far = {0};
	timer_arm(wheel, &near.timer, 510, fire);
	timer_arm(wheel, &far.timer, 900000, fire);
	timer_disarm(wheel, &near.timer);
	assert_true(timer_wheel_next(wheel, 500) > 10);
	timer_disarm(wheel, &far.timer);
	timer_disarm(wheel, &far.timer);
	assert_int_equal(timer_wheel_next(wheel, 500), -1);
	assert_int_equal(timer_wheel_advance(wheel, 1000000), 0);
	timer_wheel_free(wheel);
}

static void the_past_means_the_next_turn(void **state)
{
	(void)state;
	struct timer_wheel *wheel = timer_wheel_new(500);
	struct probe probe = {.wheel = wheel, .again_after = 0};
	timer_arm(wheel, &probe.timer, 3, fire);
	assert_int_equal(timer_wheel_next(wheel, 500), 0);
	assert_int_equal(timer_wheel_advance(wheel, 500), 1);
	assert_int_equal(probe.fired, 1);
	timer_wheel_free(wheel);
}

static void rearm_now(struct timer *timer, uint64_t now_ms)
{
	struct probe *probe = (struct probe *)timer;
	probe->fired++;
	timer_arm(probe->wheel, timer, now_ms, rearm_now);
}

static void a_handler_that_rearms_for_now_runs_once_in_a_turn(void **state)
{
	(void)state;
	struct timer_wheel *wheel = timer_wheel_new(500);
	struct probe probe = {.wheel = wheel};
	timer_arm(wheel, &probe.timer, 500, rearm_now);
	for (unsigned turn = 1; turn <= 5; turn++) {
		timer_wheel_advance(wheel, 500);
		assert_int_equal(probe.fired, turn);
	}
	timer_disarm(wheel, &probe.timer);
	timer_wheel_free(wheel);
}

static void a_handler_may_disarm_another_of_the_same_slot(void **state)
{
	(void)state;
	struct timer_wheel *wheel = timer_wheel_new(0);
	struct probe a = {.wheel = wheel}, b = {.wheel = wheel};
	a.victim = &b;
	b.victim = &a;
	timer_arm(wheel, &a.timer, 10, fire);
	timer_arm(wheel, &b.timer, 10, fire);
	timer_wheel_advance(wheel, 20);
	assert_int_equal(a.fired + b.fired, 1);
	assert_int_equal(timer_wheel_next(wheel, 20), -1);
	timer_wheel_free(wheel);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Against a plain array: the same timers fire in the same advance, and the wheel never sleeps past one. */
static void behaves_as_a_sorted_list_under_random_use(void **state)
{
	(void)state;
	enum { N = 300 };
	for (uint64_t seed = 1; seed <= 20; seed++) {
		uint64_t random = seed * 0x9e3779b97f4a7c15ull, now = next_random(&random) >> 24;
		struct timer_wheel *wheel = timer_wheel_new(now);
		struct probe *probes = calloc(N, sizeof(*probes));
		for (unsigned step = 0; step < 5000; step++) {
			struct probe *probe = &probes[next_random(&random) % N];
			if (next_random(&random) % 4 == 0) {
				timer_disarm(wheel, &probe->timer);
				probe->wanted = 0;
			} else {
				uint64_t span = 1ull << (next_random(&random) % 24);
				probe->wanted = now + 1 + next_random(&random) % span;
				probe->fired = 0;
				timer_arm(wheel, &probe->timer, probe->wanted, fire);
			}
			if (next_random(&random) % 8)
				continue;
			int next = timer_wheel_next(wheel, now);
			uint64_t earliest = UINT64_MAX;
			for (unsigned i = 0; i < N; i++)
				if (probes[i].wanted && probes[i].wanted < earliest)
					earliest = probes[i].wanted;
			if (earliest == UINT64_MAX)
				assert_int_equal(next, -1);
			else
				assert_true(next >= 0 && now + (uint64_t)next <= earliest);
			now += next_random(&random) % 3 == 0 ? next_random(&random) % 100000
			                                     : (uint64_t)(next < 0 ? 1 : next);
			timer_wheel_advance(wheel, now);
			for (unsigned i = 0; i < N; i++) {
				if (!probes[i].wanted)
					continue;
				assert_int_equal(probes[i].fired, probes[i].wanted <= now);
				if (probes[i].fired) {
					assert_int_equal(probes[i].fired_at, now);
					probes[i].wanted = 0;
				}
			}
		}
		free(probes);
		timer_wheel_free(wheel);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_empty_wheel_waits_for_ever),
	        cmocka_unit_test(fires_at_its_millisecond_and_not_before),
	        cmocka_unit_test(a_disarmed_timer_wakes_nobody),
	        cmocka_unit_test(the_past_means_the_next_turn),
	        cmocka_unit_test(a_handler_that_rearms_for_now_runs_once_in_a_turn),
	        cmocka_unit_test(a_handler_may_disarm_another_of_the_same_slot),
	        cmocka_unit_test(behaves_as_a_sorted_list_under_random_use),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
