/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The six algorithms. Each first makes its own choice among all entries of the view; an entry that was tried for this
 * client or is at its hard limit is passed over in the way that the algorithm's comment says. Every algorithm ends in a
 * scan of the whole view, so a pick fails only when nothing is left.
 *
 * Cost of a pick with n entries: round robin, random, Maglev O(1); P2C O(1); weighted round robin O(n) up to
 * SMOOTH_MAX, then O(log n); geo O(n). With most entries full or tried all of them are O(n).
 */
#include "lb.h"

#include <stdlib.h>
#include <string.h>

#include "maglev_walk.h"
#include "turn_heap.h"

#define SMOOTH_MAX 16u /* nginx's algorithm up to here: 40 ns for 16 entries, 125 ns for 64; the heap 15 and 25 ns */
#define DEADLINE_TURNS 64u       /* that a pick by deadline passes over before it scans */
#define HEAP_PERIOD (1ull << 48) /* divides by any weight with 16 binary digits to spare */
#define RANDOM_DRAWS 8u          /* before a random pick scans */
#define MAGLEV_WALK 16u          /* slots to walk per entry before it scans */
#define GEO_SOFT_LIMIT 1000u     /* what load is held against when a backend has no soft limit */
#define CLIENT_SEED 0x636c69656e743031ull

struct alias {
	uint32_t threshold; /* of 2^32: below it the column's own entry, else the other */
	uint32_t other;
};

/* What a worker keeps for one service. */
struct service_state {
	uint64_t version; /* of the view that the arrays below stand for */
	uint32_t count;   /* of its entries; 0: nothing was built yet */
	enum algorithm algorithm;
	bool uniform;    /* all weights are equal */
	bool started;    /* the cursor has its random start */
	uint32_t cursor; /* round robin */
	union {
		void *built;         /* the arrays' memory; NULL: none needed, or none to be had */
		int64_t *current;    /* weighted round robin, small views: nginx's current_weight */
		struct turn *heap;   /* weighted round robin, large views */
		struct alias *alias; /* random and least connections with unequal weights: Vose's construction */
	};
};

struct lb_state {
	struct service_state **services; /* by service_id.index */
	uint32_t capacity;
};

struct lb_state *lb_state_new(void)
{
	return calloc(1, sizeof(struct lb_state));
}

void lb_state_forget(struct lb_state *state, uint32_t service_index)
{
	if (service_index >= state->capacity || !state->services[service_index])
		return;
	free(state->services[service_index]->built);
	free(state->services[service_index]);
	state->services[service_index] = NULL;
}

void lb_state_free(struct lb_state *state)
{
	if (!state)
		return;
	for (uint32_t i = 0; i < state->capacity; i++)
		lb_state_forget(state, i);
	free(state->services);
	free(state);
}

/* NULL when out of memory: the pick then scans from a random start. */
static struct service_state *state_of(struct lb_state *state, uint32_t index)
{
	if (index >= state->capacity) {
		uint64_t capacity = state->capacity ? state->capacity : 16;
		while (capacity <= index)
			capacity *= 2;
		struct service_state **grown = realloc(state->services, capacity * sizeof(struct service_state *));
		if (!grown)
			return NULL;
		memset(grown + state->capacity, 0, (capacity - state->capacity) * sizeof(struct service_state *));
		state->services = grown;
		state->capacity = (uint32_t)capacity;
	}
	if (!state->services[index])
		state->services[index] = calloc(1, sizeof(struct service_state));
	return state->services[index];
}

static inline uint64_t mix(uint64_t x) /* splitmix64's finaliser: a new random number from the request's one */
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The number's high half scaled to [0, n). */
static inline uint32_t scaled(uint64_t random, uint32_t n)
{
	return (uint32_t)(((random >> 32) * n) >> 32);
}

static inline uint32_t wrap(uint32_t i, uint32_t n)
{
	return i < n ? i : i - n;
}

static inline uint32_t weight_of(const struct view_entry *entry)
{
	return entry->weight ? entry->weight : 1;
}

static bool was_tried(const struct lb_request *request, const struct endpoint *endpoint)
{
	uint32_t n = request->ntried < LB_TRIED_MAX ? request->ntried : LB_TRIED_MAX;
	for (uint32_t i = 0; i < n; i++) {
		if (request->tried[i] == endpoint)
			return true;
	}
	return false;
}

/* Not tried and, as far as one can see without taking, below its hard limit. */
static inline bool usable(const struct lb_request *request, const struct view_entry *entry)
{
	if (entry->hard_limit &&
	    atomic_load_explicit(&entry->endpoint->backend->active, memory_order_relaxed) >= entry->hard_limit)
		return false;
	return !request->ntried || !was_tried(request, entry->endpoint);
}

static inline bool take(const struct view_entry *entry)
{
	if (!limit_take(&entry->endpoint->backend->active, entry->hard_limit))
		return false;
	atomic_fetch_add_explicit(&entry->endpoint->active, 1, memory_order_relaxed);
	return true;
}

static inline struct endpoint *take_usable(const struct lb_request *request, const struct view_entry *entry)
{
	return usable(request, entry) && take(entry) ? entry->endpoint : NULL;
}

/* The first usable entry at or after start. */
static struct endpoint *scan(const struct view *view, const struct lb_request *request, uint32_t start)
{
	for (uint32_t i = 0; i < view->count; i++) {
		struct endpoint *endpoint = take_usable(request, &view->entries[wrap(start + i, view->count)]);
		if (endpoint)
			return endpoint;
	}
	return NULL;
}

/* Round robin: equal turns. One that is passed over loses its turn. The cursor's start is random so that workers do not
 * march in step. */
static struct endpoint *pick_round_robin(struct service_state *state, const struct view *view,
                                         const struct lb_request *request)
{
	if (!state->started) {
		state->started = true;
		state->cursor = scaled(request->random, view->count);
	}
	uint32_t cursor = state->cursor < view->count ? state->cursor : state->cursor % view->count;
	for (uint32_t i = 0; i < view->count; i++) {
		struct endpoint *endpoint = take_usable(request, &view->entries[cursor]);
		cursor = wrap(cursor + 1, view->count);
		if (endpoint) {
			state->cursor = cursor;
			return endpoint;
		}
	}
	return NULL;
}

/* One step of nginx's smooth weighted round robin over the usable entries: each gains its weight, the highest is chosen
 * and pays the total. Returns the entry's index, or count when none is usable (request NULL: all are). */
static uint32_t smooth_step(int64_t *current, const struct view *view, const struct lb_request *request)
{
	uint32_t best = view->count;
	int64_t total = 0;
	for (uint32_t i = 0; i < view->count; i++) {
		if (request && !usable(request, &view->entries[i]))
			continue;
		current[i] += weight_of(&view->entries[i]);
		total += weight_of(&view->entries[i]);
		if (best == view->count || current[i] > current[best])
			best = i;
	}
	if (best < view->count)
		current[best] -= total;
	return best;
}

static struct endpoint *pick_smooth(struct service_state *state, const struct view *view,
                                    const struct lb_request *request)
{
	/* Another thread may take the last place between the look and the take: then the next one's turn comes. */
	for (uint32_t turns = 0; turns < view->count; turns++) {
		uint32_t i = smooth_step(state->current, view, request);
		if (i == view->count)
			return NULL;
		if (take(&view->entries[i]))
			return view->entries[i].endpoint;
	}
	return scan(view, request, scaled(request->random, view->count));
}

/* Weighted round robin for large views: earliest deadline first, each entry due every HEAP_PERIOD / weight. As smooth
 * as nginx's (an entry's turns are evenly spaced), in O(log n). One that is passed over loses its turn. */
static struct endpoint *pick_by_deadline(struct service_state *state, const struct view *view,
                                         const struct lb_request *request)
{
	if (state->heap[0].at >> 62) { /* far from overflow, once in millions of turns: begin to count anew */
		uint64_t base = state->heap[0].at;
		for (uint32_t i = 0; i < view->count; i++)
			state->heap[i].at -= base;
	}
	for (uint32_t turns = 0; turns < DEADLINE_TURNS; turns++) {
		uint32_t i = state->heap[0].index;
		turn_postpone(state->heap, view->count, state->heap[0].at + HEAP_PERIOD / weight_of(&view->entries[i]));
		struct endpoint *endpoint = take_usable(request, &view->entries[i]);
		if (endpoint)
			return endpoint;
	}
	return scan(view, request, scaled(request->random, view->count));
}

/* Open here, and at other nodes where the service's load is the mesh's (elsewhere.c); else there is none elsewhere. */
static inline uint64_t load_of(const struct endpoint *endpoint)
{
	return (uint64_t)atomic_load_explicit(&endpoint->active, memory_order_relaxed) +
	       atomic_load_explicit(&endpoint->elsewhere, memory_order_relaxed);
}

/* Load is (connections + 1) / weight, compared without dividing. */
static inline bool lighter(const struct view_entry *a, const struct view_entry *b)
{
	return (load_of(a->endpoint) + 1) * weight_of(b) < (load_of(b->endpoint) + 1) * weight_of(a);
}

/* An entry by chance, in proportion to weights: Walker's alias method. Without a table (equal weights) all alike. */
static inline uint32_t draw(const struct service_state *state, const struct view *view, uint64_t random)
{
	uint32_t i = scaled(random, view->count);
	if (state && state->alias && (uint32_t)mix(random ^ CLIENT_SEED) >= state->alias[i].threshold)
		i = state->alias[i].other;
	return i;
}

/* Least connections by the power of two choices (Mitzenmacher, 2001): the lighter of two random entries, the first
 * drawn when equal. Weights count in the draw as well as in the load: with an even draw a backend could never have more
 * than the half of all connections that its being among the two gives it. When neither can be used: the lightest of
 * all. */
static struct endpoint *pick_least_connections(const struct service_state *state, const struct view *view,
                                               const struct lb_request *request)
{
	uint32_t n = view->count;
	uint32_t start = draw(state, view, request->random);
	if (n > 1) {
		uint64_t again = mix(request->random);
		uint32_t other = draw(state, view, again);
		if (other == start) {
			other = scaled(mix(again), n - 1);
			other += other >= start;
		}
		const struct view_entry *a = &view->entries[start];
		const struct view_entry *b = &view->entries[other];
		if (lighter(b, a)) {
			const struct view_entry *swap = a;
			a = b;
			b = swap;
		}
		struct endpoint *endpoint = take_usable(request, a);
		if (!endpoint)
			endpoint = take_usable(request, b);
		if (endpoint)
			return endpoint;
	}
	const struct view_entry *best = NULL;
	for (uint32_t i = 0; i < n; i++) {
		const struct view_entry *entry = &view->entries[wrap(start + i, n)];
		if (usable(request, entry) && (!best || lighter(entry, best)))
			best = entry;
	}
	if (!best)
		return NULL;
	return take(best) ? best->endpoint : scan(view, request, start);
}

/* Random in proportion to weights. A draw that cannot be used is drawn again, which keeps the proportions among those
 * that can; after RANDOM_DRAWS of them it scans. */
static struct endpoint *pick_random(const struct service_state *state, const struct view *view,
                                    const struct lb_request *request)
{
	uint64_t random = request->random;
	for (uint32_t draws = 0; draws < RANDOM_DRAWS; draws++, random = mix(random)) {
		struct endpoint *endpoint = take_usable(request, &view->entries[draw(state, view, random)]);
		if (endpoint)
			return endpoint;
	}
	return scan(view, request, scaled(random, view->count));
}

/* Maglev by the client's address. One that is passed over gives way to the next distinct entry along the table, the
 * same one each time, so that its clients spread over all others and come back when it does. */
static struct endpoint *pick_maglev(const struct view *view, const struct lb_request *request)
{
	uint64_t hash = request->client ? addr_hash(request->client, CLIENT_SEED) : request->random;
	if (!view->maglev) /* there was no memory for a table: at least the client keeps its place */
		return scan(view, request, scaled(hash, view->count));

	uint32_t size = maglev_size(view->maglev);
	uint32_t slot = maglev_slot(view->maglev, hash);
	uint32_t first = maglev_at(view->maglev, slot), last = first;
	struct endpoint *endpoint = take_usable(request, &view->entries[first]);
	uint64_t steps = (uint64_t)MAGLEV_WALK * view->count;
	if (view->count == 1)
		return endpoint;
	for (uint64_t step = 0; !endpoint && step < steps && step < size; step++) {
		slot = wrap(slot + 1, size);
		uint32_t i = maglev_at(view->maglev, slot);
		if (i != last && i != first)
			endpoint = take_usable(request, &view->entries[i]);
		last = i;
	}
	return endpoint ? endpoint : scan(view, request, first);
}

/* 0 same country as the client, 1 same region as the client, 2 the node's own region, 3 else. */
static inline uint32_t geo_distance(const struct view_entry *entry, const struct lb_request *request)
{
	if (entry->country && entry->country == request->client_country)
		return 0;
	if (entry->region && entry->region == request->client_region)
		return 1;
	if (entry->region && entry->region == request->node_region)
		return 2;
	return 3;
}

/* geo_distance * 100 + (active / soft_limit) / weight in fixed point with 32 binary digits after the point: active
 * times the weights' scale fits into 31 bits, so that the sum stays below 2^64, and loads differ as long as soft_limit
 * * weight < 2^32. Without a soft limit load is held against GEO_SOFT_LIMIT. A backend whose load / weight reaches 100
 * loses a class: so the formula. */
static inline uint64_t geo_score(const struct view *view, const struct view_entry *entry,
                                 const struct lb_request *request)
{
	uint64_t active = atomic_load_explicit(&entry->endpoint->backend->active, memory_order_relaxed);
	uint64_t load = active * view->weight_scale;
	uint64_t divisor = (uint64_t)(entry->soft_limit ? entry->soft_limit : GEO_SOFT_LIMIT) * weight_of(entry);
	if (load > INT32_MAX)
		load = INT32_MAX;
	return ((uint64_t)geo_distance(entry, request) * 100 << 32) + (load << 32) / divisor;
}

/* The lowest score; the scan's random start lets equals share. */
static struct endpoint *pick_geo(const struct view *view, const struct lb_request *request)
{
	uint32_t start = scaled(request->random, view->count);
	const struct view_entry *best = NULL;
	uint64_t best_score = UINT64_MAX;
	for (uint32_t i = 0; i < view->count; i++) {
		const struct view_entry *entry = &view->entries[wrap(start + i, view->count)];
		if (!usable(request, entry))
			continue;
		uint64_t score = geo_score(view, entry, request);
		if (!best || score < best_score) {
			best = entry;
			best_score = score;
		}
	}
	if (!best)
		return NULL;
	return take(best) ? best->endpoint : scan(view, request, start);
}

/* nginx's weights start at zero and so favour the heaviest first; a view that is rebuilt often (slow start) would never
 * get to the others. A random number of steps ahead removes that, and keeps workers out of step. */
static void build_smooth(struct service_state *state, const struct view *view, uint64_t random)
{
	state->current = calloc(view->count, sizeof(*state->current));
	if (!state->current)
		return;
	for (uint32_t steps = scaled(random, 2 * view->count); steps > 0; steps--)
		smooth_step(state->current, view, NULL);
}

static void build_deadlines(struct service_state *state, const struct view *view, uint64_t random)
{
	state->heap = malloc(view->count * sizeof(*state->heap));
	if (!state->heap)
		return;
	for (uint32_t i = 0; i < view->count; i++) {
		/* A random phase within the first period, for the same reason. */
		random = mix(random);
		uint64_t period = HEAP_PERIOD / weight_of(&view->entries[i]);
		state->heap[i] = (struct turn){.at = random % (period + 1), .index = i};
	}
	turn_heapify(state->heap, view->count);
}

static void build_alias(struct service_state *state, const struct view *view)
{
	uint32_t n = view->count;
	if (n < 2) /* nothing to choose between */
		return;
	uint64_t total = 0;
	for (uint32_t i = 0; i < n; i++)
		total += weight_of(&view->entries[i]);
	struct alias *alias = malloc(n * sizeof(*alias));
	uint64_t *share = malloc(n * sizeof(*share)); /* weight * n: a column holds total */
	uint32_t *order = malloc(n * sizeof(*order)); /* light ones from the front, heavy ones from the back */
	if (!alias || !share || !order) {
		free(alias);
		alias = NULL;
		goto out;
	}
	uint32_t nlight = 0, nheavy = 0;
	for (uint32_t i = 0; i < n; i++) {
		share[i] = (uint64_t)weight_of(&view->entries[i]) * n;
		order[share[i] < total ? nlight++ : n - ++nheavy] = i;
	}
	while (nlight && nheavy) {
		uint32_t light = order[--nlight], heavy = order[n - nheavy];
		/* The quotient is below 1; its error is below 2^-32. Shares are below 2^64 / 2^32 for sane weights;
		 * others lose low digits, not correctness. */
		alias[light].threshold = (uint32_t)(((unsigned __int128)share[light] << 32) / total);
		alias[light].other = heavy;
		share[heavy] -= total - share[light];
		if (share[heavy] < total) {
			nheavy--;
			order[nlight++] = heavy;
		}
	}
	/* What is left is exactly one column each. */
	for (; nlight; nlight--)
		alias[order[nlight - 1]] = (struct alias){UINT32_MAX, order[nlight - 1]};
	for (; nheavy; nheavy--)
		alias[order[n - nheavy]] = (struct alias){UINT32_MAX, order[n - nheavy]};
out:
	state->alias = alias;
	free(share);
	free(order);
}

/* The view of plain round robin has unequal weights only while one of its entries is on slow start. */
static bool takes_turns(enum algorithm algorithm)
{
	return algorithm == ALGORITHM_WEIGHTED_ROUND_ROBIN || algorithm == ALGORITHM_ROUND_ROBIN;
}

/* Brings the state up to the view. */
static void state_build(struct service_state *state, const struct view *view, enum algorithm algorithm, uint64_t random)
{
	free(state->built);
	state->built = NULL;
	state->version = view->version;
	state->count = view->count;
	state->algorithm = algorithm;
	state->uniform = true;
	for (uint32_t i = 1; i < view->count && state->uniform; i++)
		state->uniform = weight_of(&view->entries[i]) == weight_of(&view->entries[0]);
	if (state->uniform) /* weighted round robin is then plain round robin, weighted random is plain random */
		return;
	random = mix(random);
	if (takes_turns(algorithm) && view->count <= SMOOTH_MAX)
		build_smooth(state, view, random);
	else if (takes_turns(algorithm))
		build_deadlines(state, view, random);
	else if (algorithm == ALGORITHM_RANDOM || algorithm == ALGORITHM_LEAST_CONNECTIONS)
		build_alias(state, view);
}

struct endpoint *lb_pick(struct lb_state *state, struct service *service, const struct view *view,
                         const struct lb_request *request)
{
	if (!view->count)
		return NULL;
	switch (service->algorithm) {
	case ALGORITHM_MAGLEV:
		return pick_maglev(view, request);
	case ALGORITHM_GEO:
		return pick_geo(view, request);
	case ALGORITHM_ROUND_ROBIN:
	case ALGORITHM_WEIGHTED_ROUND_ROBIN:
	case ALGORITHM_RANDOM:
	case ALGORITHM_LEAST_CONNECTIONS:
		break;
	}

	struct service_state *own = state_of(state, service->id->index);
	if (!own) /* out of memory */
		return scan(view, request, scaled(request->random, view->count));
	if (own->version != view->version || own->count != view->count || own->algorithm != service->algorithm)
		state_build(own, view, service->algorithm, request->random);
	if (service->algorithm == ALGORITHM_LEAST_CONNECTIONS)
		return pick_least_connections(own, view, request);
	if (service->algorithm == ALGORITHM_RANDOM)
		return pick_random(own, view, request);
	if (own->built)
		return view->count <= SMOOTH_MAX ? pick_smooth(own, view, request)
		                                 : pick_by_deadline(own, view, request);
	return pick_round_robin(own, view, request);
}

bool lb_take(const struct view *view, struct endpoint *endpoint)
{
	for (uint32_t i = 0; i < view->count; i++) {
		if (view->entries[i].endpoint == endpoint)
			return take(&view->entries[i]);
	}
	return false;
}

void lb_release(struct endpoint *endpoint)
{
	atomic_fetch_sub_explicit(&endpoint->active, 1, memory_order_relaxed);
	limit_give(&endpoint->backend->active);
}
