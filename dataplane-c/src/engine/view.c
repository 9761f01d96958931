/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Views: which endpoints of a service may be picked now, with which weights. Left out are endpoints of backends that
 * drain or have weight 0, that are gone, unhealthy or ejected; unless so few are left that the panic threshold says use
 * all (Envoy's panic mode).
 *
 * The operator's weight is the backend's: the endpoints of a name with several addresses share it. With sharing and
 * with slow start small weights need fractions, so then all weights of the view are multiplied by WEIGHT_SCALE. Round
 * robin ignores the operator's weights, but not slow start. Geo holds the whole backend's load against the whole
 * backend's weight: nothing to share.
 */
#include <string.h>

#include "lb/geo.h"
#include "lb/lb.h"
#include "runtime_internal.h"

#define WEIGHT_SCALE 100u
#define RAMP_FLOOR_PERCENT 10u
#define RAMP_STEP_MIN_MS 50u
#define RAMP_STEP_MAX_MS 1000u

static bool candidate(const struct backend *backend, const struct endpoint *endpoint)
{
	return backend->weight > 0 && !backend->drain && !endpoint->gone;
}

static bool usable(const struct endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->health, memory_order_relaxed) != HEALTH_UNHEALTHY &&
	       !atomic_load_explicit(&endpoint->ejected, memory_order_relaxed);
}

/* Hundredths of its full weight that the endpoint has earned; moves *next_ms to when it changes. */
static uint32_t ramp_percent(const struct service *service, const struct endpoint *endpoint, uint64_t now_ms,
                             uint64_t *next_ms)
{
	if (!service->slow_start_ms || !endpoint->healthy_since_ms)
		return 100;
	uint64_t elapsed = now_ms > endpoint->healthy_since_ms ? now_ms - endpoint->healthy_since_ms : 0;
	if (elapsed >= service->slow_start_ms)
		return 100;
	uint64_t step = service->slow_start_ms / 10;
	step = step < RAMP_STEP_MIN_MS ? RAMP_STEP_MIN_MS : step > RAMP_STEP_MAX_MS ? RAMP_STEP_MAX_MS : step;
	if (!*next_ms || now_ms + step < *next_ms)
		*next_ms = now_ms + step;
	uint32_t percent = (uint32_t)(elapsed * 100 / service->slow_start_ms);
	return percent < RAMP_FLOOR_PERCENT ? RAMP_FLOOR_PERCENT : percent;
}

struct counts {
	uint32_t candidates, usable;
	bool shared; /* some backend has several endpoints to share its weight */
};

static struct counts count(const struct service *service)
{
	struct counts counts = {0};
	for (uint32_t i = 0; i < service->nbackends; i++) {
		const struct backend *backend = service->backends[i];
		uint32_t before = counts.candidates;
		for (uint32_t k = 0; k < backend->nendpoints; k++) {
			if (!candidate(backend, backend->endpoints[k]))
				continue;
			counts.candidates++;
			counts.usable += usable(backend->endpoints[k]);
		}
		counts.shared |= counts.candidates - before > 1;
	}
	return counts;
}

static uint32_t weight_of(const struct service *service, const struct backend *backend)
{
	return service->algorithm == ALGORITHM_ROUND_ROBIN ? 1 : backend->weight;
}

static bool shares_weight(const struct service *service)
{
	return service->algorithm != ALGORITHM_ROUND_ROBIN && service->algorithm != ALGORITHM_GEO;
}

static uint32_t used_of(const struct backend *backend, bool panic)
{
	uint32_t used = 0;
	for (uint32_t k = 0; k < backend->nendpoints; k++)
		used += candidate(backend, backend->endpoints[k]) && (panic || usable(backend->endpoints[k]));
	return used;
}

struct view *view_build(const struct service *service, uint64_t now_ms, bool with_maglev, uint64_t *ramp_ms)
{
	struct counts counts = count(service);
	bool panic = counts.usable < counts.candidates &&
	             (uint64_t)counts.usable * 100 < (uint64_t)counts.candidates * service->panic_threshold_percent;
	uint32_t entries = panic ? counts.candidates : counts.usable;
	struct view *view = calloc(1, sizeof(*view) + entries * sizeof(view->entries[0]));
	if (!view)
		return NULL;
	view->panic = panic;
	*ramp_ms = 0;

	/* First whether any endpoint is on its ramp: the scale is the same for all. */
	for (uint32_t i = 0; i < service->nbackends && service->slow_start_ms; i++) {
		for (uint32_t k = 0; k < service->backends[i]->nendpoints; k++) {
			const struct endpoint *endpoint = service->backends[i]->endpoints[k];
			if (candidate(service->backends[i], endpoint) && (panic || usable(endpoint)))
				ramp_percent(service, endpoint, now_ms, ramp_ms);
		}
	}
	view->weight_scale = *ramp_ms || (counts.shared && shares_weight(service)) ? WEIGHT_SCALE : 1;

	for (uint32_t i = 0; i < service->nbackends; i++) {
		const struct backend *backend = service->backends[i];
		uint32_t sharing = used_of(backend, panic);
		if (!sharing)
			continue;
		for (uint32_t k = 0; k < backend->nendpoints; k++) {
			struct endpoint *endpoint = backend->endpoints[k];
			if (!candidate(backend, endpoint) || (!panic && !usable(endpoint)))
				continue;
			uint64_t weight = (uint64_t)weight_of(service, backend) * view->weight_scale *
			                  ramp_percent(service, endpoint, now_ms, ramp_ms) / 100;
			if (shares_weight(service))
				weight /= sharing;
			struct view_entry *entry = &view->entries[view->count++];
			entry->endpoint = endpoint;
			entry->weight = weight ? (uint32_t)weight : 1;
			entry->soft_limit = backend->soft_limit;
			entry->hard_limit = backend->hard_limit;
			entry->country = backend->country;
			entry->region = backend->region[0] ? region_intern(backend->region)
			                                   : region_of_country(backend->country);
		}
	}
	if (with_maglev && view->count) {
		uint32_t size = service->maglev_table_size;
		view->maglev = maglev_build(view->entries, view->count,
		                            size >= view->count ? size : maglev_size_for(view->count));
		if (!view->maglev) {
			free(view);
			return NULL;
		}
	}
	return view;
}

/* For when there is no memory for another. */
static struct view none;

void view_free(struct view *view)
{
	if (!view || view == &none)
		return;
	if (view->maglev)
		maglev_free(view->maglev);
	free(view);
}

static void ramp_due(struct timer *timer, uint64_t now_ms)
{
	struct service_entry *entry = (struct service_entry *)((char *)timer - offsetof(struct service_entry, ramp));
	(void)now_ms;
	if (entry->current)
		runtime_service_changed(entry->runtime, &entry->current->pub);
}

void view_rebuild(struct runtime *runtime, struct service_entry *entry)
{
	struct engine *engine = runtime->engine;
	struct service_object *newest = entry->generations;
	if (!newest)
		return;
	struct view *view;
	uint64_t ramp_ms = 0;
	if (entry->current) {
		bool maglev = false;
		for (struct service_object *service = newest; service; service = service->older)
			maglev |= service->pub.algorithm == ALGORITHM_MAGLEV;
		view = view_build(&entry->current->pub, engine->now_ms, maglev, &ramp_ms);
	} else {
		view = calloc(1, sizeof(*view)); /* removed: nothing may be picked */
	}
	if (view) {
		view->version = ++runtime->view_version;
	} else {
		view = &none;
		ramp_ms = engine->now_ms + 1000;
		log_line(LOG_ERROR, "view: out of memory, no backend can be picked for a second service=%s",
		         entry->id.name);
	}
	struct view *before = NULL;
	for (struct service_object *service = newest; service; service = service->older) {
		if (service->pub.view)
			before = service->pub.view; /* the same in all that have one */
		__atomic_store_n(&service->pub.view, view, __ATOMIC_RELEASE);
	}
	if (before != view)
		runtime_reclaim(runtime, RECLAIM_VIEW, before);
	if (ramp_ms)
		timer_arm(engine->timers, &entry->ramp, ramp_ms, ramp_due);
	else
		timer_disarm(engine->timers, &entry->ramp);
}
