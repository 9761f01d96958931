/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb/geo.h"
#include "lb/lb.h"
#include "runtime_internal.h"

#define BACKENDS 6
#define PER_BACKEND 3

static struct service service;
static struct backend backends[BACKENDS], *backend_list[BACKENDS];
static struct endpoint endpoints[BACKENDS][PER_BACKEND], *endpoint_list[BACKENDS][PER_BACKEND];
static char names[BACKENDS][4];
static uint64_t ramp;

static int setup(void **state)
{
	(void)state;
	memset(&service, 0, sizeof(service));
	memset(backends, 0, sizeof(backends));
	memset(endpoints, 0, sizeof(endpoints));
	service.backends = backend_list;
	service.nbackends = BACKENDS;
	service.algorithm = ALGORITHM_WEIGHTED_ROUND_ROBIN;
	for (unsigned i = 0; i < BACKENDS; i++) {
		names[i][0] = (char)('a' + i);
		backend_list[i] = &backends[i];
		backends[i].name = names[i];
		backends[i].weight = i + 1;
		backends[i].endpoints = endpoint_list[i];
		backends[i].nendpoints = 1;
		for (unsigned k = 0; k < PER_BACKEND; k++) {
			endpoints[i][k].backend = &backends[i];
			endpoints[i][k].addr = (struct addr){.family = AF_INET, .port = (uint16_t)(100 + i * 10 + k)};
			endpoint_list[i][k] = &endpoints[i][k];
		}
	}
	region_init();
	return 0;
}

static struct view *build(uint64_t now_ms)
{
	struct view *view = view_build(&service, now_ms, service.algorithm == ALGORITHM_MAGLEV, &ramp);
	assert_non_null(view);
	for (uint32_t i = 0; i < view->count; i++)
		assert_true(view->entries[i].weight > 0);
	return view;
}

static const struct view_entry *entry_of(const struct view *view, const struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < view->count; i++) {
		if (view->entries[i].endpoint == endpoint)
			return &view->entries[i];
	}
	return NULL;
}

static void everything_usable_is_in_it_with_its_settings(void **state)
{
	(void)state;
	backends[2].soft_limit = 7;
	backends[2].hard_limit = 9;
	backends[2].country = country_code("DE");
	strcpy(backends[2].region, "eu");
	struct view *view = build(1000);
	assert_int_equal(view->count, BACKENDS);
	assert_int_equal(view->weight_scale, 1);
	assert_false(view->panic);
	const struct view_entry *entry = entry_of(view, &endpoints[2][0]);
	assert_int_equal(entry->weight, 3);
	assert_int_equal(entry->soft_limit, 7);
	assert_int_equal(entry->hard_limit, 9);
	assert_int_equal(entry->country, country_code("DE"));
	assert_int_equal(entry->region, region_intern("eu"));
	assert_int_equal(ramp, 0);
	view_free(view);
}

static void what_takes_no_new_connections_is_left_out(void **state)
{
	(void)state;
	backends[0].weight = 0;
	backends[1].drain = true;
	endpoints[2][0].health = HEALTH_UNHEALTHY;
	endpoints[3][0].ejected = true;
	endpoints[4][0].gone = true;
	struct view *view = build(1000);
	assert_int_equal(view->count, 1);
	assert_ptr_equal(view->entries[0].endpoint, &endpoints[5][0]);
	view_free(view);
	backends[5].nendpoints = 0; /* its name is not resolved */
	view = build(1000);
	assert_int_equal(view->count, 0);
	view_free(view);
}

static void unknown_health_counts_as_usable(void **state)
{
	(void)state;
	endpoints[0][0].health = HEALTH_UNKNOWN;
	endpoints[1][0].health = HEALTH_HEALTHY;
	struct view *view = build(1000);
	assert_int_equal(view->count, BACKENDS);
	view_free(view);
}

static void below_the_panic_threshold_all_are_used_but_those_taken_out_by_hand(void **state)
{
	(void)state;
	backends[0].drain = true;
	service.panic_threshold_percent = 50;
	for (unsigned i = 1; i < 4; i++)
		endpoints[i][0].health = HEALTH_UNHEALTHY; /* 2 of 5 are left: 40 % */
	struct view *view = build(1000);
	assert_true(view->panic);
	assert_int_equal(view->count, 5);
	assert_null(entry_of(view, &endpoints[0][0]));
	view_free(view);
	service.panic_threshold_percent = 40; /* not fewer than */
	view = build(1000);
	assert_false(view->panic);
	assert_int_equal(view->count, 2);
	view_free(view);
	service.panic_threshold_percent = 0;
	for (unsigned i = 1; i < BACKENDS; i++)
		endpoints[i][0].health = HEALTH_UNHEALTHY;
	view = build(1000);
	assert_false(view->panic);
	assert_int_equal(view->count, 0);
	view_free(view);
}

static void addresses_of_one_name_share_its_weight(void **state)
{
	(void)state;
	backends[0].nendpoints = 3;
	backends[0].weight = 3;
	struct view *view = build(1000);
	assert_int_equal(view->count, BACKENDS + 2);
	uint32_t of_first = 0;
	for (unsigned k = 0; k < 3; k++)
		of_first += entry_of(view, &endpoints[0][k])->weight;
	assert_int_equal(of_first, entry_of(view, &endpoints[2][0])->weight); /* also 3 */
	assert_int_equal(entry_of(view, &endpoints[1][0])->weight * 3, of_first * 2);
	view_free(view);
	/* One of them dies: the others take its part. */
	endpoints[0][1].health = HEALTH_UNHEALTHY;
	view = build(1000);
	of_first = entry_of(view, &endpoints[0][0])->weight + entry_of(view, &endpoints[0][2])->weight;
	assert_int_equal(of_first, entry_of(view, &endpoints[2][0])->weight);
	view_free(view);
}

static void slow_start_rises_from_a_tenth_to_all(void **state)
{
	(void)state;
	service.slow_start_ms = 10000;
	endpoints[0][0].healthy_since_ms = 5000;
	uint32_t last = 0;
	for (uint64_t now = 5000; now < 15000; now += 500) {
		struct view *view = build(now);
		uint32_t mine = entry_of(view, &endpoints[0][0])->weight,
		         full = entry_of(view, &endpoints[1][0])->weight / 2;
		uint64_t percent = (now - 5000) / 100;
		assert_int_equal(mine, full * (percent < 10 ? 10 : percent) / 100);
		assert_true(mine >= last);
		last = mine;
		assert_true(ramp > now && ramp <= now + 1000);
		view_free(view);
	}
	struct view *view = build(15000);
	assert_int_equal(entry_of(view, &endpoints[0][0])->weight, 1);
	assert_int_equal(ramp, 0);
	view_free(view);
}

static void one_that_was_never_unhealthy_does_not_ramp(void **state)
{
	(void)state;
	service.slow_start_ms = 10000;
	struct view *view = build(10);
	assert_int_equal(entry_of(view, &endpoints[1][0])->weight, 2);
	assert_int_equal(ramp, 0);
	view_free(view);
}

/* Its load is the backend's, too: all endpoints have the score of their backend. */
static void geo_weighs_each_endpoint_as_its_backend(void **state)
{
	(void)state;
	service.algorithm = ALGORITHM_GEO;
	backends[0].nendpoints = 3;
	struct view *view = build(1000);
	assert_int_equal(view->weight_scale, 1);
	assert_int_equal(entry_of(view, &endpoints[5][0])->weight, 6);
	assert_int_equal(entry_of(view, &endpoints[0][2])->weight, 1);
	view_free(view);
}

static void slow_start_holds_for_geo_with_the_scale_told(void **state)
{
	(void)state;
	service.algorithm = ALGORITHM_GEO;
	service.slow_start_ms = 10000;
	endpoints[0][0].healthy_since_ms = 5000;
	struct view *view = build(8000);
	assert_int_equal(entry_of(view, &endpoints[0][0])->weight * 100, 30 * view->weight_scale);
	assert_int_equal(entry_of(view, &endpoints[1][0])->weight, 2 * view->weight_scale);
	view_free(view);
}

static void round_robin_ignores_weights_but_not_slow_start(void **state)
{
	(void)state;
	service.algorithm = ALGORITHM_ROUND_ROBIN;
	service.slow_start_ms = 10000;
	backends[2].nendpoints = 3;
	endpoints[0][0].healthy_since_ms = 5000;
	struct view *view = build(8000);
	assert_int_equal(entry_of(view, &endpoints[0][0])->weight, 30);
	assert_int_equal(entry_of(view, &endpoints[1][0])->weight, 100);
	assert_int_equal(entry_of(view, &endpoints[2][1])->weight, 100);
	assert_int_equal(entry_of(view, &endpoints[5][0])->weight, 100);
	view_free(view);
	view = build(15000);
	assert_int_equal(entry_of(view, &endpoints[0][0])->weight, 1);
	assert_int_equal(entry_of(view, &endpoints[5][0])->weight, 1);
	view_free(view);
}

static void a_backend_without_a_region_is_in_that_of_its_country(void **state)
{
	(void)state;
	backends[0].country = country_code("DE");
	backends[1].country = country_code("DE");
	strcpy(backends[1].region, "rhine");
	struct view *view = build(1000);
	assert_int_equal(entry_of(view, &endpoints[0][0])->region, region_intern("eu"));
	assert_int_equal(entry_of(view, &endpoints[1][0])->region, region_intern("rhine"));
	assert_int_equal(entry_of(view, &endpoints[2][0])->region, 0);
	view_free(view);
}

static void maglev_has_its_table_over_the_entries(void **state)
{
	(void)state;
	service.algorithm = ALGORITHM_MAGLEV;
	service.maglev_table_size = 251;
	struct view *view = build(1000);
	assert_non_null(view->maglev);
	for (uint64_t hash = 0; hash < 1000; hash++)
		assert_true(maglev_lookup(view->maglev, hash * 0x9e3779b97f4a7c15ull) < view->count);
	view_free(view);
	for (unsigned i = 0; i < BACKENDS; i++)
		backends[i].drain = true;
	view = build(1000);
	assert_int_equal(view->count, 0);
	assert_null(view->maglev);
	view_free(view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup(everything_usable_is_in_it_with_its_settings, setup),
	        cmocka_unit_test_setup(what_takes_no_new_connections_is_left_out, setup),
	        cmocka_unit_test_setup(unknown_health_counts_as_usable, setup),
	        cmocka_unit_test_setup(below_the_panic_threshold_all_are_used_but_those_taken_out_by_hand, setup),
	        cmocka_unit_test_setup(addresses_of_one_name_share_its_weight, setup),
	        cmocka_unit_test_setup(slow_start_rises_from_a_tenth_to_all, setup),
	        cmocka_unit_test_setup(one_that_was_never_unhealthy_does_not_ramp, setup),
	        cmocka_unit_test_setup(geo_weighs_each_endpoint_as_its_backend, setup),
	        cmocka_unit_test_setup(slow_start_holds_for_geo_with_the_scale_told, setup),
	        cmocka_unit_test_setup(round_robin_ignores_weights_but_not_slow_start, setup),
	        cmocka_unit_test_setup(a_backend_without_a_region_is_in_that_of_its_country, setup),
	        cmocka_unit_test_setup(maglev_has_its_table_over_the_entries, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
