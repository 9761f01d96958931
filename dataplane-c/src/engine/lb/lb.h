/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Balancing: picks an endpoint out of a view. Pure apart from the state passed in: no clock, no socket, no global.
 * State that a worker keeps per service (cursor of round robin, current weights of smooth weighted round robin) is
 * under the service's index and starts anew when the view's version changes (the cursor is kept).
 */
#ifndef ENGINE_LB_H
#define ENGINE_LB_H

#include "../model.h"

#define LB_TRIED_MAX 64 /* as many attempts as one client's connect budget can hold */

/* What a pick may depend on. */
struct lb_request {
	const struct addr *client;
	uint16_t client_country; /* 0: unknown */
	uint16_t client_region;  /* 0: unknown */
	uint16_t node_region;
	uint64_t random;
	/* Endpoints that already failed this client. */
	const struct endpoint *tried[LB_TRIED_MAX];
	uint32_t ntried;
};

struct lb_state;
struct lb_state *lb_state_new(void);
void lb_state_free(struct lb_state *state);
/* A service index was given up; forget what was kept under it. */
void lb_state_forget(struct lb_state *state, uint32_t service_index);

/* Picks and takes: on success the endpoint's and its backend's active counts have been raised (the hard limit is exact
 * under concurrency) and must be given back with lb_release. NULL: none is left that was not tried and is below its
 * hard limit. Affinity is the caller's (lb/affinity.h), so that it can tell a hit. */
struct endpoint *lb_pick(struct lb_state *state, struct service *service, const struct view *view,
                         const struct lb_request *request);

/* Takes this very endpoint when it is in the view and below its hard limit (affinity). */
bool lb_take(const struct view *view, struct endpoint *endpoint);
void lb_release(struct endpoint *endpoint);

/* Maglev (Eisenbud et al., NSDI 2016, section 3.4): size is prime and at least count; weights by turns in proportion.
 * Keyed by the endpoint's stable identity (backend name and address), not by its position. NULL when out of memory. */
struct maglev_table *maglev_build(const struct view_entry *entries, uint32_t count, uint32_t size);
void maglev_free(struct maglev_table *table);
uint32_t maglev_lookup(const struct maglev_table *table, uint64_t hash); /* index into entries */
/* The smallest prime of a fixed list that is at least 100 * count. */
uint32_t maglev_size_for(uint32_t count);
bool maglev_is_prime(uint32_t n);

#endif
