/* SPDX-License-Identifier: Apache-2.0 */
#include "main_loop.h"

#include <pthread.h>

#include "upstream/outlier.h"

#define BACKENDS_MAX 10

static struct backend backends[BACKENDS_MAX];
static struct endpoint endpoints[BACKENDS_MAX];
static struct backend *backend_list[BACKENDS_MAX];
static struct endpoint *endpoint_lists[BACKENDS_MAX][1];

static void set_up(unsigned count)
{
	turns_ms = 1000;
	engine_set_up();
	memset(backends, 0, sizeof(backends));
	memset(endpoints, 0, sizeof(endpoints));
	for (unsigned i = 0; i < count; i++) {
		backends[i].name = (char *)"b";
		backends[i].id = &service_identity;
		backends[i].weight = 1;
		backends[i].slot = 2 + i;
		backends[i].endpoints = endpoint_lists[i];
		backends[i].nendpoints = 1;
		endpoint_lists[i][0] = &endpoints[i];
		endpoints[i].backend = &backends[i];
		endpoints[i].addr =
		        (struct addr){.family = AF_INET, .port = (uint16_t)(8000 + i), .ip = {127, 0, 0, 1}};
		backend_list[i] = &backends[i];
	}
	service.backends = backend_list;
	service.nbackends = count;
	service.has_outlier = true;
	service.outlier_failures = 3;
	service.outlier_base_ms = 40;
	service.outlier_max_ms = 160;
	service.outlier_max_percent = 50;
	assert_int_equal(outlier_start(&engine), 0);
}

static void tear_down(void)
{
	outlier_stop();
	for (unsigned i = 0; i < BACKENDS_MAX; i++)
		assert_int_equal(atomic_load(&endpoints[i].refs), 0);
	engine_tear_down();
}

static void fail_times(unsigned endpoint, unsigned times)
{
	for (unsigned i = 0; i < times; i++)
		outlier_report(NULL, &service, &endpoints[endpoint], false);
}

static void consecutive_failures_eject_and_time_brings_back(void **state)
{
	(void)state;
	set_up(4);
	fail_times(0, 2);
	outlier_report(NULL, &service, &endpoints[0], true);
	fail_times(0, 2);
	loop_for(20);
	assert_false(endpoints[0].ejected); /* never 3 in a row */
	fail_times(0, 1);
	uint64_t begin = clock_ms();
	loop_until(endpoints[0].ejected);
	assert_int_equal(changes, 1);
	assert_int_equal(slots[2].counters[MARCHER_EJECTIONS], 1);
	assert_int_equal(nevents, 1);
	assert_int_equal(events[0].kind, MARCHER_EVENT_BACKEND_EJECTED);
	assert_int_equal(events[0].backend_slot, 2);
	assert_string_equal(events[0].message, "ejected for 40 ms after 3 connect failures in a row");
	loop_until(!endpoints[0].ejected);
	assert_true(clock_ms() - begin >= 39);
	assert_int_equal(changes, 2);
	assert_int_equal(atomic_load(&endpoints[0].failures), 0);
	tear_down();
}

static void ejections_last_longer_each_time_up_to_the_maximum_and_decay(void **state)
{
	static const char *const expected[] = {"ejected for 40 ms", "ejected for 80 ms", "ejected for 160 ms",
	                                       "ejected for 160 ms"};
	(void)state;
	set_up(4);
	for (unsigned i = 0; i < 4; i++) {
		fail_times(0, 3);
		loop_until(endpoints[0].ejected);
		assert_memory_equal(events[nevents - 1].message, expected[i], strlen(expected[i]));
		loop_until(!endpoints[0].ejected);
	}
	assert_int_equal(endpoints[0].ejections, 3);
	loop_until(endpoints[0].ejections == 0);
	loop_for(10);
	assert_int_equal(atomic_load(&endpoints[0].refs), 0);
	fail_times(0, 3);
	loop_until(endpoints[0].ejected);
	assert_memory_equal(events[nevents - 1].message, expected[0], strlen(expected[0]));
	tear_down();
}

static unsigned count_ejected(void)
{
	unsigned count = 0;
	for (unsigned i = 0; i < BACKENDS_MAX; i++)
		count += endpoints[i].ejected;
	return count;
}

static void no_more_than_the_share_is_ejected(void **state)
{
	static const struct {
		unsigned backends, percent, ejected;
	} cases[] = {{10, 50, 5}, {10, 5, 1}, {3, 10, 1}, {4, 100, 3}, {2, 10, 1}, {1, 100, 0}, {4, 0, 0}};
	(void)state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(*cases); c++) {
		set_up(cases[c].backends);
		service.outlier_base_ms = service.outlier_max_ms = 60000;
		service.outlier_max_percent = cases[c].percent;
		for (unsigned i = 0; i < cases[c].backends; i++)
			fail_times(i, 6);
		loop_for(20);
		assert_int_equal(count_ejected(), cases[c].ejected);
		tear_down();
	}
}

static void the_last_one_that_works_is_not_ejected(void **state)
{
	(void)state;
	set_up(4);
	service.outlier_max_percent = 100;
	atomic_store(&endpoints[1].health, HEALTH_UNHEALTHY);
	endpoints[2].gone = true;
	backends[3].drain = true;
	fail_times(0, 6);
	loop_for(20);
	assert_int_equal(count_ejected(), 0);
	tear_down();
}

static void one_that_may_not_go_yet_goes_when_there_is_room(void **state)
{
	(void)state;
	set_up(2);
	service.outlier_base_ms = service.outlier_max_ms = 50;
	fail_times(0, 3);
	loop_until(endpoints[0].ejected);
	fail_times(1, 3);
	loop_for(10);
	assert_false(endpoints[1].ejected);
	loop_until(!endpoints[0].ejected);
	fail_times(1, 3);
	loop_until(endpoints[1].ejected);
	tear_down();
}

static void an_endpoint_that_has_gone_is_let_go(void **state)
{
	(void)state;
	set_up(4);
	service.outlier_base_ms = service.outlier_max_ms = 60000;
	fail_times(0, 3);
	loop_until(endpoints[0].ejected);
	assert_int_equal(atomic_load(&endpoints[0].refs), 1);
	endpoints[0].gone = true;
	outlier_process(&engine);
	assert_int_equal(atomic_load(&endpoints[0].refs), 0);
	tear_down();
}

static void without_detection_nothing_is_counted(void **state)
{
	(void)state;
	set_up(4);
	service.has_outlier = false;
	fail_times(0, 100);
	loop_for(10);
	assert_int_equal(count_ejected(), 0);
	assert_int_equal(atomic_load(&endpoints[0].failures), 0);
	tear_down();
}

static atomic_uint reporting;

static void *report_failures(void *arg)
{
	struct endpoint *endpoint = arg;
	for (unsigned i = 0; i < 30000; i++)
		outlier_report(NULL, &service, endpoint, i % 8 == 7);
	atomic_fetch_sub(&reporting, 1);
	return NULL;
}

static void many_threads_may_report_at_once(void **state)
{
	pthread_t threads[4];
	(void)state;
	set_up(8);
	service.outlier_base_ms = 1;
	service.outlier_max_ms = 2;
	atomic_store(&reporting, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, report_failures, &endpoints[i % 2]), 0);
	while (atomic_load(&reporting))
		loop_turn();
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	loop_for(50);
	assert_int_equal(count_ejected(), 0);
	atomic_store(&endpoints[0].failures, 0);
	fail_times(0, 3); /* the wake-up still works after the crowd */
	loop_until(slots[2].counters[MARCHER_EJECTIONS] > 0);
	tear_down(); /* every reference was given back */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(consecutive_failures_eject_and_time_brings_back),
	        cmocka_unit_test(ejections_last_longer_each_time_up_to_the_maximum_and_decay),
	        cmocka_unit_test(no_more_than_the_share_is_ejected),
	        cmocka_unit_test(the_last_one_that_works_is_not_ejected),
	        cmocka_unit_test(one_that_may_not_go_yet_goes_when_there_is_room),
	        cmocka_unit_test(an_endpoint_that_has_gone_is_let_go),
	        cmocka_unit_test(without_detection_nothing_is_counted),
	        cmocka_unit_test(many_threads_may_report_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
