/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which share of a rate, on a clock of the test's own and two workers that it plays in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "qos/shaper.h"
#include "worker.h"

_Thread_local struct worker *this_worker;

#define FLOWS 64
#define RATE 10000000u /* bytes per second */

struct reader {
	struct shaper_flow flow; /* first */
	struct worker *worker;
	uint64_t bytes;
	size_t wants;  /* in one read */
	size_t unused; /* of what it was given */
	unsigned resumed;
};

static struct worker workers[2];
static struct reader readers[FLOWS];
static struct qos *qos;

static void read_on(struct reader *reader)
{
	size_t got;
	while ((got = shaper_take(&reader->flow, reader->wants)) > 0) {
		size_t unused = reader->unused < got ? reader->unused : got;
		shaper_give(&reader->flow, unused);
		reader->bytes += got - unused;
		if (unused)
			return; /* the source is empty */
	}
}

static void resume(struct shaper_flow *flow)
{
	((struct reader *)flow)->resumed++;
	read_on((struct reader *)flow);
}

static void begin(uint64_t service, uint64_t connection)
{
	Marcher__Engine__V1__TrafficPolicy message = MARCHER__ENGINE__V1__TRAFFIC_POLICY__INIT;
	Marcher__Engine__V1__Bandwidth all = MARCHER__ENGINE__V1__BANDWIDTH__INIT, each = all;
	memset(workers, 0, sizeof(workers));
	memset(readers, 0, sizeof(readers));
	all.bits_per_second = service * 8;
	each.bits_per_second = connection * 8;
	message.ingress = service ? &all : NULL;
	message.connection_ingress = connection ? &each : NULL;
	qos = qos_new(2);
	qos->policy = qos_policy_new(&message);
	for (unsigned w = 0; w < 2; w++) {
		workers[w].index = w;
		workers[w].now_us = 1000000000;
		workers[w].now_ms = 1000000;
		workers[w].timers = timer_wheel_new(workers[w].now_ms);
	}
	qos->bytes[QOS_INGRESS].tat = gcra_ticks(workers[0].now_us * 1000);
}

static void end(void)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		if (!readers[i].worker)
			continue;
		this_worker = readers[i].worker;
		shaper_leave(&readers[i].flow);
	}
	assert_int_equal(atomic_load(&qos->bytes[QOS_INGRESS].waiting), 0);
	for (unsigned w = 0; w < 2; w++) {
		assert_int_equal(timer_wheel_next(workers[w].timers, workers[w].now_ms), -1);
		timer_wheel_free(workers[w].timers);
	}
	qos_free(qos);
}

static void add(unsigned i, unsigned w)
{
	readers[i].flow = (struct shaper_flow){.qos = qos, .resume = resume, .direction = QOS_INGRESS};
	readers[i].worker = &workers[w];
	readers[i].wants = 65536;
	this_worker = &workers[w];
	read_on(&readers[i]);
}

/* Both workers turn every ms, the first one always first. */
static void pass(unsigned ms)
{
	for (unsigned i = 0; i < ms; i++)
		for (unsigned w = 0; w < 2; w++) {
			this_worker = &workers[w];
			workers[w].now_us += 1000;
			workers[w].now_ms += 1;
			timer_wheel_advance(workers[w].timers, workers[w].now_ms);
		}
}

static uint64_t total(unsigned count)
{
	uint64_t bytes = 0;
	for (unsigned i = 0; i < count; i++)
		bytes += readers[i].bytes;
	return bytes;
}

static void assert_even(unsigned count, uint64_t bytes)
{
	for (unsigned i = 0; i < count; i++)
		assert_in_range(readers[i].bytes, bytes / count * 8 / 10, bytes / count * 12 / 10);
}

static void a_rate_is_shared_evenly_however_the_connections_lie_on_the_workers(void **state)
{
	(void)state;
	static const unsigned on_second[] = {0, 1, 8, 15};
	for (unsigned c = 0; c < 4; c++) {
		begin(RATE, 0);
		for (unsigned i = 0; i < 16; i++)
			add(i, i >= 16 - on_second[c]);
		pass(200); /* the burst, which the first ones had */
		uint64_t before = total(16);
		for (unsigned i = 0; i < 16; i++)
			readers[i].bytes = 0;
		pass(2000);
		assert_true(before <= RATE / 5 + 200000 + 1000);
		assert_in_range(total(16), 2 * RATE * 99 / 100, 2 * RATE * 101 / 100);
		assert_even(16, total(16));
		end();
	}
}

static void one_that_comes_later_does_not_overtake_those_that_wait(void **state)
{
	(void)state;
	begin(RATE, 0);
	for (unsigned i = 0; i < 8; i++)
		add(i, 0);
	pass(100);
	for (unsigned round = 0; round < 50; round++) {
		/* It asks as often as it can: each time as if it had just come. */
		uint64_t before = readers[8].bytes;
		if (!round)
			add(8, 1);
		this_worker = &workers[1];
		read_on(&readers[8]);
		assert_int_equal(readers[8].bytes, before);
		pass(1);
	}
	end();
}

static void a_connection_waits_for_its_own_rate_alone(void **state)
{
	(void)state;
	begin(0, RATE / 10);
	for (unsigned i = 0; i < 8; i++)
		add(i, i % 2);
	pass(2000);
	for (unsigned i = 0; i < 8; i++) {
		/* Its burst, and two seconds. */
		assert_in_range(readers[i].bytes, RATE / 5 * 99 / 100, RATE / 5 + 65536 + 1000);
		assert_in_range(readers[i].resumed, 10, 1100); /* asleep between quanta */
	}
	end();
}

static void what_is_given_back_goes_to_the_others(void **state)
{
	(void)state;
	begin(RATE, 0);
	for (unsigned i = 0; i < 4; i++)
		add(i, 0);
	/* Four more that are given quanta and have a hundred bytes each time. */
	for (unsigned i = 4; i < 8; i++) {
		add(i, 0);
		readers[i].unused = 19900;
	}
	pass(100);
	for (unsigned i = 0; i < 8; i++)
		readers[i].bytes = 0;
	for (unsigned ms = 0; ms < 1000; ms++) {
		pass(1);
		this_worker = &workers[0];
		for (unsigned i = 4; i < 8; i++)
			if (!readers[i].flow.waits)
				read_on(&readers[i]);
	}
	assert_in_range(total(8), RATE * 97 / 100, RATE * 101 / 100);
	assert_true(total(4) > RATE * 9 / 10);
	end();
}

static void waiting_is_told(void **state)
{
	(void)state;
	begin(RATE, 0);
	add(0, 0);
	pass(1000);
	assert_in_range(readers[0].flow.throttled_us, 800000, 1000000);
	assert_in_range(readers[0].flow.throttled_bytes, RATE * 8 / 10, RATE * 11 / 10);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_rate_is_shared_evenly_however_the_connections_lie_on_the_workers),
	        cmocka_unit_test(one_that_comes_later_does_not_overtake_those_that_wait),
	        cmocka_unit_test(a_connection_waits_for_its_own_rate_alone),
	        cmocka_unit_test(what_is_given_back_goes_to_the_others),
	        cmocka_unit_test(waiting_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
