/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "view_fixture.h"

#define PICKS 100000u

struct run {
	struct fixture f;
	struct lb_state *state;
	uint64_t random;
	uint32_t *hits;
};

static void run_init(struct run *run, enum algorithm algorithm, uint32_t count, const uint32_t *weights, uint64_t seed)
{
	fixture_init(&run->f, algorithm, 0, count, weights);
	run->state = lb_state_new();
	run->random = seed;
	run->hits = calloc(count, sizeof(uint32_t));
}

static void run_free(struct run *run)
{
	lb_state_free(run->state);
	free(run->hits);
	fixture_free(&run->f);
}

static struct endpoint *pick_for(struct run *run, struct lb_request *request)
{
	request->random = fixture_random(&run->random);
	return lb_pick(run->state, &run->f.service, run->f.view, request);
}

static struct endpoint *pick(struct run *run)
{
	struct lb_request request = {0};
	return pick_for(run, &request);
}

static uint32_t index_of(const struct run *run, const struct endpoint *endpoint)
{
	return (uint32_t)(endpoint - run->f.endpoints);
}

/* Picks and releases, counting per entry. */
static void spread(struct run *run, uint32_t picks)
{
	for (uint32_t i = 0; i < picks; i++) {
		struct endpoint *endpoint = pick(run);
		assert_non_null(endpoint);
		run->hits[index_of(run, endpoint)]++;
		lb_release(endpoint);
	}
}

/* Pearson's statistic against shares in proportion to the weights. */
static double chi_square(const struct run *run, uint32_t picks)
{
	double total = 0, chi = 0;
	for (uint32_t i = 0; i < run->f.count; i++)
		total += run->f.view->entries[i].weight;
	for (uint32_t i = 0; i < run->f.count; i++) {
		double expected = (double)picks * run->f.view->entries[i].weight / total;
		chi += (run->hits[i] - expected) * (run->hits[i] - expected) / expected;
	}
	return chi;
}

/* What a fair draw exceeds once in 10,000 times (Wilson and Hilferty's approximation). */
static double chi_square_bound(uint32_t degrees)
{
	double d = degrees, c = 2 / (9 * d);
	return d * pow(1 - c + 3.719 * sqrt(c), 3);
}

static void round_robin_gives_equal_turns(void **context)
{
	(void)context;
	for (uint32_t n = 1; n <= 7; n++) {
		struct run run;
		run_init(&run, ALGORITHM_ROUND_ROBIN, n, NULL, n);
		spread(&run, n * 100);
		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(run.hits[i], 100);
		run_free(&run);
	}
}

static void round_robin_starts_anywhere_so_workers_are_out_of_step(void **context)
{
	(void)context;
	uint32_t hits[8] = {0};
	for (uint64_t seed = 1; seed <= 800; seed++) {
		struct run run;
		run_init(&run, ALGORITHM_ROUND_ROBIN, 8, NULL, seed * 977);
		hits[index_of(&run, pick(&run))]++;
		run_free(&run);
	}
	for (unsigned i = 0; i < 8; i++)
		assert_in_range(hits[i], 60, 145);
}

static void round_robin_keeps_its_cursor_when_the_view_changes(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_ROUND_ROBIN, 5, NULL, 3);
	uint32_t before = index_of(&run, pick(&run));
	run.f.view->version += 1000;
	assert_int_equal(index_of(&run, pick(&run)), (before + 1) % 5);
	run.f.view->version++;
	run.f.view->count = 2; /* smaller than the cursor may be */
	assert_non_null(pick(&run));
	assert_non_null(pick(&run));
	run_free(&run);
}

static void round_robin_gives_fewer_turns_to_one_on_slow_start(void **context)
{
	(void)context;
	for (uint32_t n = 4; n <= 24; n += 20) { /* both ways to take turns by weight */
		uint32_t weights[24];
		for (uint32_t i = 0; i < n; i++)
			weights[i] = i == 1 ? 10 : 100;
		struct run run;
		run_init(&run, ALGORITHM_ROUND_ROBIN, n, weights, 5);
		run.f.view->weight_scale = 100;
		spread(&run, (n * 10 - 9) * 50);
		for (uint32_t i = 0; i < n; i++)
			assert_in_range(run.hits[i], i == 1 ? 49 : 498, i == 1 ? 51 : 502);
		run_free(&run);
	}
}

static void round_robin_passes_over_tried_and_full(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_ROUND_ROBIN, 4, NULL, 3);
	run.f.view->entries[1].hard_limit = 1;
	run.f.backends[1].active = 1;
	struct lb_request request = {.tried = {&run.f.endpoints[2]}, .ntried = 1};
	for (unsigned i = 0; i < 40; i++)
		run.hits[index_of(&run, pick_for(&run, &request))]++;
	assert_int_equal(run.hits[0], 20);
	assert_int_equal(run.hits[1], 0);
	assert_int_equal(run.hits[2], 0);
	assert_int_equal(run.hits[3], 20);
	run_free(&run);
}

static void weighted_round_robin_is_exact_over_a_cycle_and_smooth(void **context)
{
	(void)context;
	const uint32_t weights[] = {5, 1, 1};
	struct run run;
	run_init(&run, ALGORITHM_WEIGHTED_ROUND_ROBIN, 3, weights, 11);
	spread(&run, 7000);
	assert_int_equal(run.hits[0], 5000);
	assert_int_equal(run.hits[1], 1000);
	assert_int_equal(run.hits[2], 1000);
	/* nginx's sequence a a b a c a a never has more than 4 in a row over the seam. */
	unsigned row = 0, longest = 0;
	for (unsigned i = 0; i < 700; i++) {
		row = index_of(&run, pick(&run)) == 0 ? row + 1 : 0;
		longest = row > longest ? row : longest;
	}
	assert_in_range(longest, 2, 4);
	run_free(&run);
}

static void weighted_round_robin_of_many_is_smooth_too(void **context)
{
	(void)context;
	uint32_t weights[300], total = 0;
	for (unsigned i = 0; i < 300; i++)
		total += weights[i] = 1 + i % 7;
	struct run run;
	run_init(&run, ALGORITHM_WEIGHTED_ROUND_ROBIN, 300, weights, 5);
	spread(&run, total * 20);
	for (unsigned i = 0; i < 300; i++)
		assert_in_range(run.hits[i], weights[i] * 20 - 1, weights[i] * 20 + 1);
	run_free(&run);
}

static void weighted_round_robin_of_many_survives_its_clock(void **context)
{
	(void)context;
	/* A turn of a weight of 1 puts 2^48 on its clock: after 2^14 turns of everyone the clocks are set back, after
	 * 2^16 they would overflow. Proportions must be the same afterwards. */
	uint32_t weights[65];
	for (unsigned i = 0; i < 65; i++)
		weights[i] = i ? 1 : 2;
	struct run run;
	run_init(&run, ALGORITHM_WEIGHTED_ROUND_ROBIN, 65, weights, 5);
	for (unsigned i = 0; i < 64; i++) {
		run.f.view->entries[i].hard_limit = 1;
		run.f.backends[i].active = 1;
	}
	for (uint32_t i = 0; i < (1u << 18); i++) { /* each pick moves up to 64 clocks */
		struct endpoint *endpoint = pick(&run);
		assert_ptr_equal(endpoint, &run.f.endpoints[64]);
		lb_release(endpoint);
	}
	for (unsigned i = 0; i < 64; i++)
		run.f.backends[i].active = 0;
	spread(&run, 66 * 100);
	assert_in_range(run.hits[0], 195, 205);
	for (unsigned i = 1; i < 65; i++)
		assert_in_range(run.hits[i], 95, 105);
	run_free(&run);
}

static void weighted_round_robin_restarts_do_not_favour_the_heaviest(void **context)
{
	(void)context;
	/* Slow start makes a new view every second or so: the first pick after each must keep the proportions roughly.
	 */
	const uint32_t sizes[] = {3, 100};
	for (unsigned s = 0; s < 2; s++) {
		uint32_t weights[100];
		for (unsigned i = 0; i < sizes[s]; i++)
			weights[i] = i == 0 ? 2 : 1;
		struct run run;
		run_init(&run, ALGORITHM_WEIGHTED_ROUND_ROBIN, sizes[s], weights, 17);
		for (unsigned i = 0; i < 5000; i++) {
			run.f.view->version++;
			run.hits[index_of(&run, pick(&run))]++;
		}
		double share = run.hits[0] / 5000.0, fair = 2.0 / (sizes[s] + 1);
		assert_true(share < fair * 1.5 && share > fair / 2);
		run_free(&run);
	}
}

static void random_follows_weights(void **context)
{
	(void)context;
	const uint32_t even[] = {1, 1, 1, 1, 1}, uneven[] = {1, 2, 3, 10, 100, 1000, 7};
	for (uint64_t seed = 1; seed <= 5; seed++) {
		struct run run;
		run_init(&run, ALGORITHM_RANDOM, 5, even, seed);
		spread(&run, PICKS);
		assert_true(chi_square(&run, PICKS) < chi_square_bound(4));
		run_free(&run);
		run_init(&run, ALGORITHM_RANDOM, 7, uneven, seed);
		spread(&run, PICKS);
		assert_true(chi_square(&run, PICKS) < chi_square_bound(6));
		run_free(&run);
	}
}

static void random_of_extreme_weights_reaches_everyone(void **context)
{
	(void)context;
	const uint32_t weights[] = {UINT32_MAX, UINT32_MAX, 1u << 30};
	struct run run;
	run_init(&run, ALGORITHM_RANDOM, 3, weights, 3);
	spread(&run, PICKS);
	assert_true(chi_square(&run, PICKS) < chi_square_bound(2));
	run_free(&run);
}

static void least_connections_holds_load_in_proportion_to_weights(void **context)
{
	(void)context;
	const uint32_t weights[] = {1, 2, 4, 8};
	struct run run;
	run_init(&run, ALGORITHM_LEAST_CONNECTIONS, 4, weights, 23);
	for (unsigned i = 0; i < 15000; i++)
		assert_non_null(pick(&run));
	for (unsigned i = 0; i < 4; i++)
		assert_in_range(run.f.endpoints[i].active, weights[i] * 950, weights[i] * 1050);
	run_free(&run);
}

static void least_connections_of_two_always_takes_the_lighter(void **context)
{
	(void)context;
	const uint32_t weights[] = {3, 2};
	for (unsigned busy = 0; busy < 2; busy++) {
		struct run run;
		run_init(&run, ALGORITHM_LEAST_CONNECTIONS, 2, weights, 19);
		run.f.endpoints[busy].active = 5;
		spread(&run, 1000);
		assert_int_equal(run.hits[busy], 0);
		run_free(&run);
	}
}

static void least_connections_counts_what_is_open_elsewhere(void **context)
{
	(void)context;
	const uint32_t weights[] = {3, 2};
	for (unsigned busy = 0; busy < 2; busy++) {
		struct run run;
		run_init(&run, ALGORITHM_LEAST_CONNECTIONS, 2, weights, 19);
		run.f.endpoints[1 - busy].active = 4;
		run.f.endpoints[busy].elsewhere = 40;
		run.f.view->entries[busy].hard_limit = 20; /* this node's own: those elsewhere do not count */
		spread(&run, 1000);
		assert_int_equal(run.hits[busy], 0);
		run.f.endpoints[1 - busy].elsewhere = UINT32_MAX;
		spread(&run, 1000);
		assert_int_equal(run.hits[busy], 1000);
		run_free(&run);
	}
}

static void least_connections_of_idle_equals_is_even(void **context)
{
	(void)context;
	for (uint32_t n = 2; n <= 9; n++) {
		struct run run;
		run_init(&run, ALGORITHM_LEAST_CONNECTIONS, n, NULL, n);
		spread(&run, PICKS);
		assert_true(chi_square(&run, PICKS) < chi_square_bound(n - 1));
		run_free(&run);
	}
}

static void least_connections_keeps_the_highest_load_low(void **context)
{
	(void)context;
	/* Two choices: the fullest of n bins with n balls has about ln ln n / ln 2 more than the mean (random: ln n /
	 * ln ln n). */
	struct run run;
	run_init(&run, ALGORITHM_LEAST_CONNECTIONS, 1000, NULL, 29);
	for (unsigned i = 0; i < 10000; i++)
		assert_non_null(pick(&run));
	for (unsigned i = 0; i < 1000; i++)
		assert_in_range(run.f.endpoints[i].active, 5, 14);
	run_free(&run);
}

static void maglev_keeps_clients_and_moves_those_of_a_full_backend_alone(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_MAGLEV, 10, NULL, 31);
	run.f.view->maglev = maglev_build(run.f.view->entries, 10, 1009);
	static uint32_t home[5000];
	uint32_t spread_to[10] = {0};
	for (uint32_t c = 0; c < 5000; c++) {
		struct addr client = fixture_client(c);
		struct lb_request request = {.client = &client};
		struct endpoint *endpoint = pick_for(&run, &request);
		home[c] = index_of(&run, endpoint);
		lb_release(endpoint);
		client.port++; /* the port does not matter */
		endpoint = pick_for(&run, &request);
		assert_int_equal(index_of(&run, endpoint), home[c]);
		lb_release(endpoint);
	}
	run.f.view->entries[4].hard_limit = 1;
	run.f.backends[4].active = 1;
	for (uint32_t c = 0; c < 5000; c++) {
		struct addr client = fixture_client(c);
		struct lb_request request = {.client = &client};
		struct endpoint *endpoint = pick_for(&run, &request);
		uint32_t now = index_of(&run, endpoint);
		lb_release(endpoint);
		if (home[c] != 4) {
			assert_int_equal(now, home[c]);
			continue;
		}
		assert_int_not_equal(now, 4);
		spread_to[now]++;
		struct endpoint *again = pick_for(&run, &request);
		assert_int_equal(index_of(&run, again), now);
		lb_release(again);
	}
	for (uint32_t i = 0; i < 10; i++) {
		if (i != 4)
			assert_in_range(spread_to[i], 10, 150);
	}
	run_free(&run);
}

static void maglev_without_a_table_still_keeps_clients(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_MAGLEV, 10, NULL, 31);
	for (uint32_t c = 0; c < 100; c++) {
		struct addr client = fixture_client(c);
		struct lb_request request = {.client = &client};
		assert_ptr_equal(pick_for(&run, &request), pick_for(&run, &request));
	}
	run_free(&run);
}

static void geo_prefers_country_then_region_then_own_region(void **context)
{
	(void)context;
	enum { EU = 1, NA = 2, AS = 3 };
	struct run run;
	run_init(&run, ALGORITHM_GEO, 4, NULL, 37);
	const uint16_t de = country_code("DE");
	run.f.view->entries[0].country = de;
	run.f.view->entries[0].region = EU;
	run.f.view->entries[1].country = country_code("FR");
	run.f.view->entries[1].region = EU;
	run.f.view->entries[2].country = country_code("US");
	run.f.view->entries[2].region = NA;
	run.f.view->entries[3].region = AS;
	struct lb_request request = {.client_country = de, .client_region = EU, .node_region = NA};
	for (uint32_t expected = 0; expected < 4; expected++) {
		for (unsigned i = 0; i < 20; i++) {
			struct endpoint *endpoint = pick_for(&run, &request);
			assert_int_equal(index_of(&run, endpoint), expected);
			lb_release(endpoint);
		}
		request.tried[request.ntried++] = &run.f.endpoints[expected];
	}
	assert_null(pick_for(&run, &request));
	run_free(&run);
}

static void geo_unknown_client_goes_to_the_nodes_region(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_GEO, 3, NULL, 37);
	run.f.view->entries[1].region = 7;
	struct lb_request request = {.node_region = 7};
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(index_of(&run, pick_for(&run, &request)), 1);
	run_free(&run);
}

static void geo_balances_by_load_over_soft_limit_and_weight(void **context)
{
	(void)context;
	const uint32_t weights[] = {1, 1, 4};
	struct run run;
	run_init(&run, ALGORITHM_GEO, 3, weights, 41);
	run.f.view->entries[0].soft_limit = 100;
	run.f.view->entries[1].soft_limit = 300;
	run.f.view->entries[2].soft_limit = 100;
	for (unsigned i = 0; i < 8000; i++)
		assert_non_null(pick(&run));
	/* Shares as soft_limit * weight: 100, 300, 400. */
	assert_in_range(run.f.endpoints[0].active, 995, 1005);
	assert_in_range(run.f.endpoints[1].active, 2995, 3005);
	assert_in_range(run.f.endpoints[2].active, 3995, 4005);
	run_free(&run);
}

static void geo_gives_up_distance_at_a_hundredfold_load(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_GEO, 2, NULL, 43);
	run.f.view->entries[0].country = country_code("DE");
	run.f.view->entries[0].region = run.f.view->entries[1].region = 1;
	run.f.view->entries[0].soft_limit = run.f.view->entries[1].soft_limit = 2;
	struct lb_request request = {.client_country = country_code("DE"), .client_region = 1};
	for (unsigned i = 0; i < 200; i++) /* score 0 + active / 2 stays below 100 */
		assert_int_equal(index_of(&run, pick_for(&run, &request)), 0);
	pick_for(&run, &request); /* 100 each: a tie */
	pick_for(&run, &request);
	assert_in_range(run.f.endpoints[1].active, 1, 2);
	run_free(&run);
}

/* As one on slow start: the score is that of unscaled weights. */
static void geo_scores_alike_whatever_the_scale_of_weights(void **context)
{
	(void)context;
	const uint32_t weights[] = {100, 10};
	struct run run;
	run_init(&run, ALGORITHM_GEO, 2, weights, 43);
	run.f.view->weight_scale = 100;
	run.f.view->entries[0].country = country_code("DE");
	run.f.view->entries[0].region = run.f.view->entries[1].region = 1;
	run.f.view->entries[0].soft_limit = run.f.view->entries[1].soft_limit = 2;
	struct lb_request request = {.client_country = country_code("DE"), .client_region = 1};
	for (unsigned i = 0; i < 200; i++) /* as above: its score stays below 100 */
		assert_int_equal(index_of(&run, pick_for(&run, &request)), 0);
	for (unsigned i = 0; i < 8; i++) /* and with one on it the far one's is 100 + 1 / 2 / 0.1 */
		pick_for(&run, &request);
	assert_int_equal(run.f.endpoints[1].active, 1);
	run_free(&run);
	run_init(&run, ALGORITHM_GEO, 2, weights, 43);
	run.f.view->weight_scale = 100;
	for (unsigned i = 0; i < 1100; i++)
		assert_non_null(pick(&run));
	assert_in_range(run.f.endpoints[1].active, 98, 102);
	run_free(&run);
}

static void geo_equals_share(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_GEO, 5, NULL, 47);
	spread(&run, PICKS);
	assert_true(chi_square(&run, PICKS) < chi_square_bound(4));
	run_free(&run);
}

static const enum algorithm all[] = {ALGORITHM_ROUND_ROBIN,
                                     ALGORITHM_WEIGHTED_ROUND_ROBIN,
                                     ALGORITHM_LEAST_CONNECTIONS,
                                     ALGORITHM_RANDOM,
                                     ALGORITHM_MAGLEV,
                                     ALGORITHM_GEO};
#define EACH (sizeof(all) / sizeof(all[0]))

static void every_algorithm_finds_the_last_place_and_then_says_none(void **context)
{
	(void)context;
	const uint32_t sizes[] = {1, 2, 5, 64, 65, 500};
	for (unsigned a = 0; a < EACH; a++) {
		for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			uint32_t n = sizes[s], weights[500];
			for (uint32_t i = 0; i < n; i++)
				weights[i] = 1 + i % 3;
			struct run run;
			run_init(&run, all[a], n, weights, a * 31 + s);
			if (all[a] == ALGORITHM_MAGLEV)
				run.f.view->maglev = maglev_build(run.f.view->entries, n, maglev_size_for(n));
			for (uint32_t i = 0; i < n; i++)
				run.f.view->entries[i].hard_limit = 2;
			struct addr client = fixture_client(s);
			struct lb_request request = {.client = &client};
			for (uint32_t i = 0; i < 2 * n; i++)
				assert_non_null(pick_for(&run, &request));
			assert_null(pick_for(&run, &request));
			for (uint32_t i = 0; i < n; i++) {
				assert_int_equal(run.f.backends[i].active, 2);
				assert_int_equal(run.f.endpoints[i].active, 2);
			}
			lb_release(&run.f.endpoints[n / 2]);
			assert_ptr_equal(pick_for(&run, &request), &run.f.endpoints[n / 2]);
			run.f.view->count = 0;
			assert_null(pick_for(&run, &request));
			run_free(&run);
		}
	}
}

static void endpoints_of_one_backend_share_its_hard_limit(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_ROUND_ROBIN, 3, NULL, 5);
	for (unsigned i = 0; i < 3; i++) {
		run.f.endpoints[i].backend = &run.f.backends[0];
		run.f.view->entries[i].hard_limit = 4;
	}
	for (unsigned i = 0; i < 4; i++)
		assert_non_null(pick(&run));
	assert_null(pick(&run));
	run_free(&run);
}

static void take_asks_for_membership_and_room(void **context)
{
	(void)context;
	struct run run;
	struct endpoint stranger = {0};
	run_init(&run, ALGORITHM_RANDOM, 3, NULL, 5);
	run.f.view->entries[2].hard_limit = 1;
	assert_false(lb_take(run.f.view, &stranger));
	assert_true(lb_take(run.f.view, &run.f.endpoints[2]));
	assert_false(lb_take(run.f.view, &run.f.endpoints[2]));
	assert_int_equal(run.f.backends[2].active, 1);
	lb_release(&run.f.endpoints[2]);
	assert_int_equal(run.f.backends[2].active, 0);
	assert_int_equal(run.f.endpoints[2].active, 0);
	run_free(&run);
}

static void services_keep_their_own_cursors(void **context)
{
	(void)context;
	struct run run;
	run_init(&run, ALGORITHM_ROUND_ROBIN, 5, NULL, 5);
	uint32_t at[100];
	for (unsigned round = 0; round < 12; round++) {
		for (uint32_t i = 0; i < 100; i++) {
			run.f.id.index = i * 37;
			uint32_t now = index_of(&run, pick(&run));
			if (round)
				assert_int_equal(now, (at[i] + 1) % 5);
			at[i] = now;
		}
	}
	lb_state_forget(run.state, 37);
	lb_state_forget(run.state, 1u << 30);
	run_free(&run);
}

/* Eight threads take and give back; a ninth view on the counters sees that no limit is ever exceeded. */
struct contest {
	struct fixture *f;
	uint64_t seed;
	atomic_uint *highest;
	uint32_t taken;
};

static void *contend(void *arg)
{
	struct contest *contest = arg;
	struct fixture *f = contest->f;
	struct lb_state *state = lb_state_new();
	struct addr client = fixture_client((uint32_t)contest->seed);
	struct endpoint *held[8] = {0};
	for (unsigned i = 0; i < 20000; i++) {
		struct lb_request request = {.client = &client, .random = fixture_random(&contest->seed)};
		unsigned slot = (unsigned)(request.random % 8);
		if (held[slot]) {
			/* Held ones are counted apart, exactly: the limit is on what was granted. */
			atomic_fetch_sub(&contest->highest[f->count + (held[slot] - f->endpoints)], 1);
			lb_release(held[slot]);
			held[slot] = NULL;
			continue;
		}
		held[slot] = lb_pick(state, &f->service, f->view, &request);
		if (!held[slot])
			continue;
		contest->taken++;
		uint32_t e = (uint32_t)(held[slot] - f->endpoints);
		uint32_t now = atomic_fetch_add(&contest->highest[f->count + e], 1) + 1;
		uint32_t seen = atomic_load(&contest->highest[e]);
		while (now > seen && !atomic_compare_exchange_weak(&contest->highest[e], &seen, now))
			;
	}
	for (unsigned i = 0; i < 8; i++) {
		if (!held[i])
			continue;
		atomic_fetch_sub(&contest->highest[f->count + (held[i] - f->endpoints)], 1);
		lb_release(held[i]);
	}
	lb_state_free(state);
	return NULL;
}

static void hard_limits_hold_with_eight_threads(void **context)
{
	(void)context;
	for (unsigned a = 0; a < EACH; a++) {
		struct fixture f;
		fixture_init(&f, all[a], 0, 4, NULL);
		for (unsigned i = 0; i < 4; i++) {
			f.view->entries[i].hard_limit = 3 + i;
			f.view->entries[i].weight = 1 + i;
		}
		if (all[a] == ALGORITHM_MAGLEV)
			f.view->maglev = maglev_build(f.view->entries, 4, 1009);
		atomic_uint highest[8] = {0};
		pthread_t threads[8];
		struct contest contests[8];
		for (unsigned i = 0; i < 8; i++) {
			contests[i] = (struct contest){.f = &f, .seed = i * 7 + 1, .highest = highest};
			assert_int_equal(pthread_create(&threads[i], NULL, contend, &contests[i]), 0);
		}
		uint32_t taken = 0;
		for (unsigned i = 0; i < 8; i++) {
			pthread_join(threads[i], NULL);
			taken += contests[i].taken;
		}
		assert_true(taken > 1000);
		for (unsigned i = 0; i < 4; i++) {
			assert_in_range(highest[i], 1, 3 + i);
			assert_int_equal(f.backends[i].active, 0);
			assert_int_equal(f.endpoints[i].active, 0);
		}
		fixture_free(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(round_robin_gives_equal_turns),
	        cmocka_unit_test(round_robin_starts_anywhere_so_workers_are_out_of_step),
	        cmocka_unit_test(round_robin_keeps_its_cursor_when_the_view_changes),
	        cmocka_unit_test(round_robin_gives_fewer_turns_to_one_on_slow_start),
	        cmocka_unit_test(round_robin_passes_over_tried_and_full),
	        cmocka_unit_test(weighted_round_robin_is_exact_over_a_cycle_and_smooth),
	        cmocka_unit_test(weighted_round_robin_of_many_is_smooth_too),
	        cmocka_unit_test(weighted_round_robin_of_many_survives_its_clock),
	        cmocka_unit_test(weighted_round_robin_restarts_do_not_favour_the_heaviest),
	        cmocka_unit_test(random_follows_weights),
	        cmocka_unit_test(random_of_extreme_weights_reaches_everyone),
	        cmocka_unit_test(least_connections_holds_load_in_proportion_to_weights),
	        cmocka_unit_test(least_connections_of_two_always_takes_the_lighter),
	        cmocka_unit_test(least_connections_counts_what_is_open_elsewhere),
	        cmocka_unit_test(least_connections_of_idle_equals_is_even),
	        cmocka_unit_test(least_connections_keeps_the_highest_load_low),
	        cmocka_unit_test(maglev_keeps_clients_and_moves_those_of_a_full_backend_alone),
	        cmocka_unit_test(maglev_without_a_table_still_keeps_clients),
	        cmocka_unit_test(geo_prefers_country_then_region_then_own_region),
	        cmocka_unit_test(geo_unknown_client_goes_to_the_nodes_region),
	        cmocka_unit_test(geo_balances_by_load_over_soft_limit_and_weight),
	        cmocka_unit_test(geo_gives_up_distance_at_a_hundredfold_load),
	        cmocka_unit_test(geo_scores_alike_whatever_the_scale_of_weights),
	        cmocka_unit_test(geo_equals_share),
	        cmocka_unit_test(every_algorithm_finds_the_last_place_and_then_says_none),
	        cmocka_unit_test(endpoints_of_one_backend_share_its_hard_limit),
	        cmocka_unit_test(take_asks_for_membership_and_room),
	        cmocka_unit_test(services_keep_their_own_cursors),
	        cmocka_unit_test(hard_limits_hold_with_eight_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
