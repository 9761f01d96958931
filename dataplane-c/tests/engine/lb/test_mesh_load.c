/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Least connections of several nodes over the same backends, simulated with the real pick: what it brings that nodes
 * hear of each other's connections, and that words which are old by the time they are heard set off no herd
 * (docs/decisions/0024-load-of-the-mesh.md). All nodes speak at once and are heard only when they speak next, which is
 * the worst case. What they say is what agents say (lastingShare in agent/src/domain/mesh/backend-load.ts).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "view_fixture.h"

#define NODES 8u
#define BACKENDS 10u
#define STEP_MS 10u
#define STEPS 18000u /* 3 minutes */
#define HELD_BY 0u   /* the node that holds connections for ever, */
#define HELD_AT 1u   /* and the backend */

struct setting {
	unsigned words_ms; /* between words of a node; 0: none are said */
	double pauses;     /* that a connection has to last for it to be said in full; 0: all are */
	double life_ms;    /* mean of a connection's life, exponential */
	double per_second; /* new connections of all nodes together, the half of them at one */
	unsigned held;
};

struct outcome {
	double worst; /* of the last minute: the highest load of a backend at any time, to the mean */
	double usual; /* the same, on average over that minute */
};

struct connection {
	struct connection *next;
	struct endpoint *endpoint;
};

struct mesh {
	struct fixture f[NODES];
	struct lb_state *states[NODES];
	unsigned words[NODES][BACKENDS];
	unsigned opened[NODES];         /* since the words before */
	struct connection *ends[STEPS]; /* by the step in which they end */
	uint64_t random;
};

static double uniform(struct mesh *mesh)
{
	return ((double)(fixture_random(&mesh->random) >> 11) + 0.5) / 9007199254740992.0;
}

static unsigned active(const struct mesh *mesh, unsigned node, unsigned backend)
{
	return mesh->f[node].endpoints[backend].active;
}

static unsigned open_at(const struct mesh *mesh, unsigned node)
{
	unsigned sum = 0;
	for (unsigned b = 0; b < BACKENDS; b++)
		sum += active(mesh, node, b);
	return sum;
}

/* What was said before is heard now, and what is heard next is said now. */
static void speak(struct mesh *mesh, double pauses)
{
	for (unsigned n = 0; n < NODES; n++) {
		for (unsigned b = 0; b < BACKENDS; b++) {
			unsigned elsewhere = 0;
			for (unsigned other = 0; other < NODES; other++)
				elsewhere += other == n ? 0 : mesh->words[other][b];
			mesh->f[n].endpoints[b].elsewhere = elsewhere;
		}
	}
	for (unsigned n = 0; n < NODES; n++) {
		double lasts = mesh->opened[n] ? (double)open_at(mesh, n) / mesh->opened[n] : INFINITY; /* pauses */
		double share = pauses > 0 && lasts < pauses ? lasts / pauses : 1;
		for (unsigned b = 0; b < BACKENDS; b++)
			mesh->words[n][b] = (unsigned)lround(active(mesh, n, b) * share);
		mesh->opened[n] = 0;
	}
}

static void connect_one(struct mesh *mesh, unsigned step, double life_ms)
{
	unsigned node = uniform(mesh) < 0.5 ? 0 : 1 + (unsigned)(uniform(mesh) * (NODES - 1));
	struct lb_request request = {.random = fixture_random(&mesh->random)};
	struct endpoint *endpoint = lb_pick(mesh->states[node], &mesh->f[node].service, mesh->f[node].view, &request);
	assert_non_null(endpoint);
	mesh->opened[node]++;
	double end = step + 1 - log(uniform(mesh)) * life_ms / STEP_MS;
	if (end >= STEPS)
		return; /* outlives the simulation */
	struct connection *connection = malloc(sizeof(*connection));
	*connection = (struct connection){mesh->ends[(unsigned)end], endpoint};
	mesh->ends[(unsigned)end] = connection;
}

static double highest_to_mean(const struct mesh *mesh)
{
	unsigned highest = 0, total = 0;
	for (unsigned b = 0; b < BACKENDS; b++) {
		unsigned sum = 0;
		for (unsigned n = 0; n < NODES; n++)
			sum += active(mesh, n, b);
		highest = sum > highest ? sum : highest;
		total += sum;
	}
	return total ? (double)highest * BACKENDS / total : 1;
}

static struct outcome simulate(const struct setting *setting)
{
	struct mesh *mesh = calloc(1, sizeof(*mesh));
	struct outcome outcome = {0};
	unsigned looks = 0;
	double due = 0;
	mesh->random = 41;
	for (unsigned n = 0; n < NODES; n++) {
		fixture_init(&mesh->f[n], ALGORITHM_LEAST_CONNECTIONS, 0, BACKENDS, NULL);
		mesh->states[n] = lb_state_new();
	}
	mesh->f[HELD_BY].endpoints[HELD_AT].active += setting->held;
	for (unsigned step = 0; step < STEPS; step++) {
		for (struct connection *connection = mesh->ends[step], *next; connection; connection = next) {
			next = connection->next;
			lb_release(connection->endpoint);
			free(connection);
		}
		if (setting->words_ms && step % (setting->words_ms / STEP_MS) == 0)
			speak(mesh, setting->pauses);
		for (due += setting->per_second * STEP_MS / 1000; due >= 1; due--)
			connect_one(mesh, step, setting->life_ms);
		if (step < STEPS * 2 / 3)
			continue;
		double now = highest_to_mean(mesh);
		outcome.worst = now > outcome.worst ? now : outcome.worst;
		outcome.usual += now;
		looks++;
	}
	outcome.usual /= looks;
	for (unsigned n = 0; n < NODES; n++) {
		lb_state_free(mesh->states[n]);
		fixture_free(&mesh->f[n]);
	}
	free(mesh);
	return outcome;
}

static void what_one_node_holds_is_left_alone_by_all(void **context)
{
	(void)context;
	struct outcome alone = simulate(&(struct setting){0, 10, 20000, 200, 400});
	struct outcome heard = simulate(&(struct setting){2000, 10, 20000, 200, 400});
	assert_true(alone.usual > 1.3);
	assert_true(heard.usual < 1.1);
	assert_true(heard.worst < alone.usual);
}

static void few_connections_of_many_nodes_are_even_together(void **context)
{
	(void)context;
	struct outcome alone = simulate(&(struct setting){0, 10, 60000, 0.8, 0});
	struct outcome heard = simulate(&(struct setting){2000, 10, 60000, 0.8, 0});
	assert_true(alone.usual > 1.5);
	assert_true(heard.usual < 1.4);
}

/* What does not last is not worth saying: with it nodes are hardly worse off than without a word; without that rule all
 * of them take in turn what all have heard is the lightest. */
static void old_words_set_off_no_herd(void **context)
{
	(void)context;
	const unsigned ages_ms[] = {2000, 2000, 2000, 2000, 2000, 2000, 40000, 40000};
	const double lives_ms[] = {200, 500, 1000, 2000, 4000, 8000, 500, 20000};
	for (unsigned i = 0; i < 8; i++) {
		double per_second = 500 / (lives_ms[i] / 1000);
		struct outcome alone = simulate(&(struct setting){0, 10, lives_ms[i], per_second, 0});
		struct outcome heard = simulate(&(struct setting){ages_ms[i], 10, lives_ms[i], per_second, 0});
		struct outcome naive = simulate(&(struct setting){ages_ms[i], 0, lives_ms[i], per_second, 0});
		assert_true(heard.usual < alone.usual + 0.1);
		assert_true(naive.usual > heard.usual);
		if (lives_ms[i] < 1000)
			assert_true(naive.usual > 1.5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_one_node_holds_is_left_alone_by_all),
	        cmocka_unit_test(few_connections_of_many_nodes_are_even_together),
	        cmocka_unit_test(old_words_set_off_no_herd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
