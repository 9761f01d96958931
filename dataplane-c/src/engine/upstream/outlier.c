/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers count failures in a row on the endpoint itself. The one whose failure makes the count reach the service's
 * limit puts the endpoint on a lock-free list and wakes the main thread, which alone decides. Envoy's model ("outlier
 * detection", consecutive local-origin failures): the n-th ejection lasts base * 2^(n-1) up to the maximum; each such
 * span of good behaviour after it takes one ejection off the count.
 */
#include "outlier.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../runtime.h"

/* A flood of flags (every connect fails at a limit of 1) costs memory only up to here; what is dropped comes back with
 * the endpoint's next failures. */
#define FLAGS_MAX 16384u

/* An endpoint that a worker flagged. */
struct flag {
	struct flag *next;
	struct endpoint *endpoint; /* referenced */
};

/* An endpoint that is ejected, or was not long ago: there is one exactly while endpoint->ejections is not 0. */
struct ejection {
	struct ejection *next, **pprev;
	struct timer timer;
	struct engine *engine;
	struct endpoint *endpoint; /* referenced */
	uint32_t span_ms;          /* of the last ejection */
};

static _Atomic(struct flag *) flagged;
static atomic_uint nflagged;
static atomic_int wake_fd = -1;
static struct poll_source wake_source;
static struct engine *main_engine;
static struct ejection *ejections; /* main thread */

void outlier_report(struct worker *worker, struct service *service, struct endpoint *endpoint, bool ok)
{
	(void)worker;
	if (!service->has_outlier || service->outlier_failures == 0)
		return;
	if (ok) {
		if (atomic_load_explicit(&endpoint->failures, memory_order_relaxed) != 0)
			atomic_store_explicit(&endpoint->failures, 0, memory_order_relaxed);
		return;
	}
	unsigned failures = atomic_fetch_add_explicit(&endpoint->failures, 1, memory_order_relaxed) + 1;
	/* At each multiple: when the share that may be ejected was used up, the endpoint is looked at again later. */
	if (failures % service->outlier_failures != 0 || atomic_load_explicit(&endpoint->ejected, memory_order_relaxed))
		return;
	if (atomic_fetch_add_explicit(&nflagged, 1, memory_order_relaxed) >= FLAGS_MAX) {
		atomic_fetch_sub_explicit(&nflagged, 1, memory_order_relaxed);
		return;
	}
	struct flag *flag = malloc(sizeof(*flag));
	if (!flag) {
		atomic_fetch_sub_explicit(&nflagged, 1, memory_order_relaxed);
		return;
	}
	endpoint_ref(endpoint);
	flag->endpoint = endpoint;
	flag->next = atomic_load_explicit(&flagged, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&flagged, &flag->next, flag, memory_order_release,
	                                              memory_order_relaxed))
		;
	int fd = atomic_load_explicit(&wake_fd, memory_order_acquire);
	if (fd >= 0) {
		uint64_t one = 1;
		/* Fails only when the counter is full, and then the main thread is awake already. */
		ssize_t written = write(fd, &one, sizeof(one));
		(void)written;
	}
}

static struct ejection *ejection_of(const struct endpoint *endpoint)
{
	for (struct ejection *ejection = ejections; ejection; ejection = ejection->next) {
		if (ejection->endpoint == endpoint)
			return ejection;
	}
	return NULL;
}

static void forget(struct ejection *ejection)
{
	timer_disarm(ejection->engine->timers, &ejection->timer);
	*ejection->pprev = ejection->next;
	if (ejection->next)
		ejection->next->pprev = ejection->pprev;
	endpoint_unref(ejection->endpoint);
	free(ejection);
}

static void push_event(struct engine *engine, const struct endpoint *endpoint, bool back, const char *message)
{
	struct marcher_event *event = stats_event(&engine->row, MARCHER_EVENT_BACKEND_EJECTED);
	if (!event)
		return;
	struct service *service = runtime_service_of(engine->runtime, endpoint->backend);
	event->service_slot = service ? service->slot : 0;
	event->backend_slot = endpoint->backend->slot;
	event->reason = back;
	event->upstream.family = endpoint->addr.family;
	event->upstream.port = endpoint->addr.port;
	if (endpoint->addr.family != AF_UNIX)
		memcpy(event->upstream.address, endpoint->addr.ip, sizeof(event->upstream.address));
	snprintf(event->message, sizeof(event->message), "%s", message);
	stats_event_push(&engine->row);
}

/* An ejection is over, or a span of good behaviour is. */
static void span_over(struct timer *timer, uint64_t now_ms)
{
	struct ejection *ejection = (struct ejection *)((char *)timer - offsetof(struct ejection, timer));
	struct endpoint *endpoint = ejection->endpoint;
	struct engine *engine = ejection->engine;
	char text[ADDR_TEXT_MAX];

	if (endpoint->gone) {
		forget(ejection);
		return;
	}
	if (atomic_load_explicit(&endpoint->ejected, memory_order_relaxed)) {
		atomic_store_explicit(&endpoint->failures, 0, memory_order_relaxed);
		atomic_store_explicit(&endpoint->ejected, false, memory_order_relaxed);
		endpoint->ejected_until_ms = 0;
		log_line(LOG_INFO, "outlier: backend is back service=%s backend=%s address=%s ejections=%u",
		         endpoint->backend->id->name, endpoint->backend->name, addr_text(&endpoint->addr, text),
		         endpoint->ejections);
		push_event(engine, endpoint, true, "back in service");
		runtime_backend_changed(engine->runtime, endpoint->backend);
	} else if (endpoint->ejections > 0) {
		endpoint->ejections--;
	}
	if (endpoint->ejections == 0)
		forget(ejection);
	else
		timer_arm(engine->timers, &ejection->timer, now_ms + ejection->span_ms, span_over);
}

/* Whether one more of the service's endpoints may go: within the maximum share, and never the last one that works. */
static bool may_eject(const struct service *service, const struct endpoint *candidate)
{
	uint64_t total = 0, out = 0, others = 0;
	for (uint32_t i = 0; i < service->nbackends; i++) {
		const struct backend *backend = service->backends[i];
		if (backend->drain || backend->weight == 0)
			continue;
		for (uint32_t k = 0; k < backend->nendpoints; k++) {
			const struct endpoint *endpoint = backend->endpoints[k];
			if (endpoint->gone)
				continue;
			total++;
			if (atomic_load_explicit(&endpoint->ejected, memory_order_relaxed))
				out++;
			else if (endpoint != candidate &&
			         atomic_load_explicit(&endpoint->health, memory_order_relaxed) != HEALTH_UNHEALTHY)
				others++;
		}
	}
	if (service->outlier_max_percent == 0 || others == 0)
		return false;
	uint64_t allowed = total * service->outlier_max_percent / 100;
	return out < (allowed ? allowed : 1);
}

/* Milliseconds that the n-th ejection in a row lasts (n from 1): base * 2^(n-1), at most the maximum. */
static uint64_t span_of(const struct service *service, uint32_t n)
{
	uint64_t span = service->outlier_base_ms ? service->outlier_base_ms : 1;
	uint64_t max = service->outlier_max_ms > span ? service->outlier_max_ms : span;
	for (uint32_t i = 1; i < n && span < max; i++)
		span *= 2;
	return span < max ? span : max;
}

static void eject(struct engine *engine, struct service *service, struct endpoint *endpoint)
{
	char text[ADDR_TEXT_MAX], message[120];
	struct ejection *ejection = endpoint->ejections ? ejection_of(endpoint) : NULL;

	if (!ejection) {
		ejection = calloc(1, sizeof(*ejection));
		if (!ejection)
			return; /* flagged again with the next failures */
		endpoint_ref(endpoint);
		ejection->endpoint = endpoint;
		ejection->engine = engine;
		ejection->next = ejections;
		ejection->pprev = &ejections;
		if (ejections)
			ejections->pprev = &ejection->next;
		ejections = ejection;
	}
	uint64_t max = span_of(service, UINT32_MAX);
	uint64_t span = span_of(service, endpoint->ejections + 1);
	/* No higher than the longest span needs, or decay would take far longer than the trouble did. */
	if (endpoint->ejections == 0 || span_of(service, endpoint->ejections) < max)
		endpoint->ejections++;
	ejection->span_ms = (uint32_t)span;
	unsigned failures = atomic_load_explicit(&endpoint->failures, memory_order_relaxed);
	endpoint->ejected_until_ms = engine->now_ms + span;
	atomic_store_explicit(&endpoint->ejected, true, memory_order_relaxed);
	timer_arm(engine->timers, &ejection->timer, endpoint->ejected_until_ms, span_over);

	snprintf(message, sizeof(message), "ejected for %u ms after %u connect failures in a row", ejection->span_ms,
	         failures);
	log_line(LOG_WARN, "outlier: %s service=%s backend=%s address=%s", message, service->id->name,
	         endpoint->backend->name, addr_text(&endpoint->addr, text));
	stats_add(&engine->row, endpoint->backend->slot, MARCHER_EJECTIONS, 1);
	push_event(engine, endpoint, false, message);
	runtime_backend_changed(engine->runtime, endpoint->backend);
}

static void consider(struct engine *engine, struct endpoint *endpoint)
{
	struct service *service = runtime_service_of(engine->runtime, endpoint->backend);
	if (endpoint->gone || !service || !service->has_outlier || service->outlier_failures == 0 ||
	    atomic_load_explicit(&endpoint->ejected, memory_order_relaxed))
		return;
	/* A success in the meantime has cleared it. */
	if (atomic_load_explicit(&endpoint->failures, memory_order_relaxed) < service->outlier_failures)
		return;
	if (may_eject(service, endpoint))
		eject(engine, service, endpoint);
}

void outlier_process(struct engine *engine)
{
	struct flag *newest = atomic_exchange_explicit(&flagged, NULL, memory_order_acquire);
	struct flag *flag = NULL;
	while (newest) { /* first flagged, first ejected: when the share is too small for all that is fair */
		struct flag *next = newest->next;
		newest->next = flag;
		flag = newest;
		newest = next;
	}
	while (flag) {
		struct flag *next = flag->next;
		consider(engine, flag->endpoint);
		endpoint_unref(flag->endpoint);
		free(flag);
		atomic_fetch_sub_explicit(&nflagged, 1, memory_order_relaxed);
		flag = next;
	}
	/* Those whose backend was removed give their reference back now, not at the end of their span. */
	for (struct ejection *ejection = ejections, *next; ejection; ejection = next) {
		next = ejection->next;
		if (ejection->endpoint->gone)
			forget(ejection);
	}
}

static void woken(struct poll_source *source, uint32_t events)
{
	uint64_t count;
	(void)events;
	ssize_t n = read(source->fd, &count, sizeof(count));
	(void)n;
	outlier_process(main_engine);
}

int outlier_start(struct engine *engine)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	main_engine = engine;
	wake_source = (struct poll_source){.handler = woken, .fd = fd};
	int error = poller_add_level(engine->poller, &wake_source, false);
	if (error) {
		close(fd);
		return error;
	}
	atomic_store_explicit(&wake_fd, fd, memory_order_release);
	return 0;
}

void outlier_stop(void)
{
	int fd = atomic_exchange(&wake_fd, -1);
	if (fd >= 0)
		close(fd);
	struct flag *flag = atomic_exchange_explicit(&flagged, NULL, memory_order_acquire);
	while (flag) {
		struct flag *next = flag->next;
		endpoint_unref(flag->endpoint);
		free(flag);
		flag = next;
	}
	atomic_store(&nflagged, 0);
	while (ejections)
		forget(ejections);
	main_engine = NULL;
}
