/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding a backend. One budget (the service's connect timeout) holds for all attempts of a client together. While
 * other candidates are left, one attempt may take a third of it, at least 250 ms, so that a backend that does not
 * answer leaves time for the next; the last candidate may take all that remains. A backend that is a name with
 * addresses of both families gets a second attempt of the other family in parallel when the first takes longer than 250
 * ms, and the first to connect wins (RFC 8305, section 5). What the client has sent meanwhile is kept and sent once, to
 * the backend that connected: after the first byte went out there is no further attempt.
 */
#include "tunnel_internal.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../engine.h"
#include "../lb/affinity.h"
#include "../lb/geo.h"
#include "../runtime.h"
#include "../upstream/outlier.h"
#include "../xprt/proxy_protocol.h"

#define ATTEMPT_MIN_MS 250u
#define SECOND_FAMILY_AFTER_MS 250u /* RFC 8305: Connection Attempt Delay */
#define UNIX_BACKLOG_RETRY_MS 5u

enum attempt { ATTEMPT_FAILED, ATTEMPT_PENDING, ATTEMPT_ESTABLISHED };

static void second_event(struct poll_source *source, uint32_t events);

/* The part for what is out of the ordinary. NULL: out of memory. */
static struct tunnel_setup *setup_of(struct tunnel *tunnel)
{
	if (!tunnel->setup) {
		struct tunnel_setup *setup = slab_alloc(this_worker->tunnel->setups);
		if (!setup)
			return NULL;
		setup->tunnel = tunnel;
		setup->second = (struct poll_source){.handler = second_event, .fd = -1};
		tunnel->setup = setup;
	}
	return tunnel->setup;
}

static void setup_free(struct worker_deferred *deferred)
{
	slab_free(this_worker->tunnel->setups, (char *)deferred - offsetof(struct tunnel_setup, deferred));
}

static bool was_tried(const struct tunnel *tunnel, const struct endpoint *endpoint)
{
	for (uint32_t i = 0; tunnel->setup && i < tunnel->setup->ntried; i++)
		if (tunnel->setup->tried[i] == endpoint)
			return true;
	return false;
}

static void fill_geo(struct service *service, struct lb_request *request)
{
	struct engine *engine = this_worker->engine;
	struct geoip *geoip;

	if (service->algorithm != ALGORITHM_GEO)
		return;
	geoip = atomic_load_explicit(&engine->geoip, memory_order_acquire);
	if (geoip)
		request->client_country = geoip_country(geoip, request->client);
	request->client_region = region_of_country(request->client_country);
	request->node_region = (uint16_t)atomic_load_explicit(&engine->region_index, memory_order_relaxed);
}

/* Takes an endpoint for the client: the remembered one where that is asked for, or the balancer's choice. */
static struct endpoint *pick(struct tunnel *tunnel)
{
	struct worker *worker = this_worker;
	struct service *service = tunnel->service;
	struct view *view = service_view(service);
	struct endpoint *endpoint = NULL;
	struct lb_request request;
	struct addr masked;
	uint32_t ntried = tunnel->setup ? tunnel->setup->ntried : 0;

	if (!view || ntried == LB_TRIED_MAX)
		return NULL;
	if (service->affinity) {
		addr_mask(&tunnel->client, service->affinity_v4_bits, service->affinity_v6_bits, &masked);
		if (!ntried)
			endpoint = affinity_lookup(service->affinity, &masked, worker->now_ms);
		if (endpoint && lb_take(view, endpoint))
			return endpoint;
	}
	request.client = &tunnel->client;
	request.client_country = request.client_region = request.node_region = 0;
	request.random = worker_random(worker);
	request.ntried = ntried;
	if (ntried)
		memcpy(request.tried, tunnel->setup->tried, ntried * sizeof(request.tried[0]));
	fill_geo(service, &request);
	endpoint = lb_pick(worker->lb, service, view, &request);
	/* Storing the new choice is also what breaks the bond with one that failed. */
	if (endpoint && service->affinity)
		affinity_store(service->affinity, &masked, endpoint, worker->now_ms);
	return endpoint;
}

static int open_socket(const struct tunnel *tunnel, const struct endpoint *endpoint, bool have_bytes, bool *connected)
{
	struct addr addr = endpoint->addr;

	if (addr.family != AF_UNIX && !addr.port)
		addr.port = tunnel->port;
	/* A source of the other family than the endpoint's cannot be bound: the kernel chooses. */
	struct addr source = endpoint->backend->source;
	if (source.family != addr.family)
		source.family = AF_UNSPEC;
	int fd = raw_socket(&addr, &source, have_bytes);
	if (fd < 0)
		return fd;
	if (tunnel->policy_version)
		tunnel_mark_backend(tunnel, fd, addr.family);
	return raw_connect(fd, &addr, connected);
}

static void report(struct tunnel *tunnel, struct endpoint *endpoint, bool ok)
{
	outlier_report(this_worker, tunnel->service, endpoint, ok);
}

static void count_failure(struct tunnel *tunnel, struct endpoint *endpoint)
{
	struct stats_row *row = &this_worker->stats;

	stats_add(row, tunnel->service->slot, MARCHER_CONNECT_FAILURES, 1);
	stats_add(row, tunnel->listener->slot, MARCHER_CONNECT_FAILURES, 1);
	stats_add(row, endpoint->backend->slot, MARCHER_CONNECT_FAILURES, 1);
}

/* Gives an endpoint back that could not be connected to, and does not come back to it. */
static void endpoint_failed(struct tunnel *tunnel, struct endpoint *endpoint, bool timed_out)
{
	struct tunnel_setup *setup = setup_of(tunnel);

	count_failure(tunnel, endpoint);
	report(tunnel, endpoint, false);
	if (setup) {
		setup->timed_out = timed_out;
		if (setup->ntried < LB_TRIED_MAX)
			setup->tried[setup->ntried++] = endpoint;
	}
	lb_release(endpoint);
	endpoint_unref(endpoint);
}

/* What was heard of the socket goes with it: the end of a refused connection is not the end of the next one. */
static void drop_first(struct tunnel *tunnel)
{
	struct tunnel_side *side = &tunnel->side[BACKEND];

	if (side->source.fd >= 0)
		close(side->source.fd);
	*side = (struct tunnel_side){.source = {.handler = side->source.handler, .fd = -1}};
}

static void drop_second(struct tunnel *tunnel)
{
	struct tunnel_setup *setup = tunnel->setup;

	if (!setup || setup->second.fd < 0)
		return;
	close(setup->second.fd);
	setup->second.fd = -1;
}

static bool has_second(const struct tunnel *tunnel)
{
	return tunnel->setup && tunnel->setup->second.fd >= 0;
}

void tunnel_connect_abandon(struct tunnel *tunnel)
{
	if (!has_second(tunnel))
		return;
	drop_second(tunnel);
	lb_release(tunnel->setup->second_endpoint);
	endpoint_unref(tunnel->setup->second_endpoint);
}

/* The second attempt's socket and endpoint become the tunnel's own. false: the tunnel is closed. */
static bool promote_second(struct tunnel *tunnel)
{
	struct tunnel_setup *setup = tunnel->setup;
	struct poll_source *source = &tunnel->side[BACKEND].source;

	poller_remove(this_worker->poller, &setup->second);
	source->fd = setup->second.fd;
	setup->second.fd = -1;
	tunnel->endpoint = setup->second_endpoint;
	tunnel->connect_us = setup->second_began_us;
	return tunnel_poll(tunnel, source);
}

/* Puts the PROXY header ahead of everything. */
static bool add_proxy_header(struct tunnel *tunnel, uint8_t version)
{
	uint8_t header[PROXY_HEADER_MAX];
	struct addr local;

	tunnel_local(tunnel, &local);
	size_t length = proxy_header_write(version, &tunnel->client, &local, header);
	return relay_buffer_prepend(this_worker->tunnel->pieces, &tunnel->direction[CLIENT].pending, header, length);
}

/* The client's first bytes go out in one segment with the PROXY header, when they are there. */
static bool add_first_bytes(struct tunnel *tunnel)
{
	struct worker *worker = this_worker;
	struct tunnel_side *client = &tunnel->side[CLIENT];
	struct relay_piece *pending = tunnel->direction[CLIENT].pending;

	if (!client->readable || tunnel->shape || relay_buffer_length(pending) > PROXY_HEADER_MAX)
		return true;
	ssize_t n = raw_receive(client->source.fd, worker->scratch, RELAY_PIECE_BYTES / 2);
	if (n <= 0) {
		if (n == -EAGAIN)
			client->readable = false;
		return true; /* the end and errors are met again by the relay */
	}
	tunnel_count_bytes(tunnel, CLIENT, (uint64_t)n, false);
	return relay_buffer_append(worker->tunnel->pieces, &tunnel->direction[CLIENT].pending, worker->scratch,
	                           (size_t)n);
}

/* A backend has connected. false: the tunnel is closed. */
static bool established(struct tunnel *tunnel)
{
	struct worker *worker = this_worker;
	struct endpoint *endpoint = tunnel->endpoint;
	struct backend *backend = endpoint->backend;
	uint64_t early = tunnel->direction[CLIENT].bytes;

	tunnel->connect_us = tunnel_clock_us() - tunnel->connect_us;
	tunnel->state = TUNNEL_ESTABLISHED;
	tunnel->active_ms = worker->now_ms;
	tunnel->side[BACKEND].writable = true;
	/* A reader of a Unix socket stops where descriptors were passed: a short read proves nothing. */
	tunnel->side[BACKEND].read_to_end = endpoint->addr.family == AF_UNIX;
	report(tunnel, endpoint, true);
	stats_add(&worker->stats, backend->slot, MARCHER_CONNECTIONS_OPENED, 1);
	if (early)
		stats_add(&worker->stats, backend->slot, MARCHER_BYTES_RECEIVED, early);
	stats_connect_time(&worker->stats, tunnel->service->slot, tunnel->connect_us);
	stats_connect_time(&worker->stats, backend->slot, tunnel->connect_us);
	tunnel_report_opened(tunnel);
	if (tunnel->setup) {
		worker_defer(worker, &tunnel->setup->deferred, setup_free);
		tunnel->setup = NULL;
	}
	if (!backend->send_proxy)
		return true;
	tunnel_no_delay(tunnel); /* the header may go out ahead of the client's first bytes */
	if (!(add_proxy_header(tunnel, backend->send_proxy) && add_first_bytes(tunnel))) {
		tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
		return false;
	}
	return true;
}

/* How long this attempt may take. */
static uint64_t attempt_deadline(const struct tunnel *tunnel)
{
	const struct service *service = tunnel->service;
	const struct view *view = service_view(tunnel->service);
	uint32_t ntried = tunnel->setup ? tunnel->setup->ntried : 0;
	uint64_t share = service->connect_timeout_ms / 3;

	if (!service->connect_timeout_ms || !view || view->count <= ntried + 1)
		return tunnel->connect_deadline_ms;
	if (share < ATTEMPT_MIN_MS)
		share = ATTEMPT_MIN_MS;
	share += this_worker->now_ms;
	return share < tunnel->connect_deadline_ms ? share : tunnel->connect_deadline_ms;
}

uint64_t tunnel_connect_deadline(const struct tunnel *tunnel)
{
	uint64_t deadline = tunnel->deadline_ms;
	uint64_t at = UINT64_MAX;

	if (tunnel->side[BACKEND].source.fd < 0)
		at = this_worker->now_ms + UNIX_BACKLOG_RETRY_MS;
	else if (!tunnel->second_tried && tunnel->endpoint && tunnel->endpoint->backend->target == TARGET_DNS)
		at = tunnel->active_ms + SECOND_FAMILY_AFTER_MS;
	return at < deadline ? at : deadline;
}

/* Sends the client's first bytes at once where the connection stands already, as it does on loopback. Takes what it
 * sent off *early. */
static enum attempt send_early(struct tunnel *tunnel, const uint8_t **early, size_t *length)
{
	ssize_t n = raw_send(tunnel->side[BACKEND].source.fd, *early, *length, false);

	if (n == -EAGAIN)
		return ATTEMPT_PENDING;
	if (n < 0)
		return ATTEMPT_FAILED;
	*early += n;
	*length -= (size_t)n;
	return ATTEMPT_ESTABLISHED;
}

/* One attempt at tunnel->endpoint. */
static enum attempt attempt(struct tunnel *tunnel, const uint8_t **early, size_t *length)
{
	struct endpoint *endpoint = tunnel->endpoint;
	bool have_bytes = *length || tunnel->direction[CLIENT].pending || endpoint->backend->send_proxy;
	bool connected;

	tunnel->active_ms = this_worker->now_ms;
	tunnel->connect_us = tunnel_clock_us();
	int fd = open_socket(tunnel, endpoint, have_bytes, &connected);
	if (fd == -EAGAIN) {
		tunnel->side[BACKEND].source.fd = -1; /* a full Unix backlog cannot be polled: the timer asks again */
		return ATTEMPT_PENDING;
	}
	if (fd < 0)
		return ATTEMPT_FAILED;
	tunnel->side[BACKEND].source.fd = fd;
	if (connected)
		return ATTEMPT_ESTABLISHED;
	if (*length && !endpoint->backend->send_proxy)
		return send_early(tunnel, early, length);
	return ATTEMPT_PENDING;
}

static bool stash(struct tunnel *tunnel, const uint8_t *bytes, size_t length)
{
	if (!length ||
	    relay_buffer_append(this_worker->tunnel->pieces, &tunnel->direction[CLIENT].pending, bytes, length))
		return true;
	tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
	return false;
}

static bool poll_client(struct tunnel *tunnel)
{
	if (tunnel->client_polled)
		return true;
	tunnel->client_polled = true;
	return tunnel_poll(tunnel, &tunnel->side[CLIENT].source);
}

static void none_left(struct tunnel *tunnel)
{
	enum marcher_close_reason reason = MARCHER_CLOSE_NO_BACKEND;

	if (tunnel->setup && tunnel->setup->ntried)
		reason = tunnel->setup->timed_out ? MARCHER_CLOSE_CONNECT_TIMEOUT : MARCHER_CLOSE_CONNECT_FAILED;
	tunnel_close(tunnel, reason);
}

/* After an attempt: pending or established. */
static void attempted(struct tunnel *tunnel, enum attempt result, const uint8_t *early, size_t length)
{
	bool fast = result == ATTEMPT_ESTABLISHED;

	if (!stash(tunnel, early, length))
		return;
	if (fast && !established(tunnel))
		return;
	if (!fast)
		tunnel->deadline_ms = attempt_deadline(tunnel);
	tunnel_arm(tunnel);
	struct poll_source *backend = &tunnel->side[BACKEND].source;
	if ((backend->fd >= 0 && !tunnel_poll(tunnel, backend)) || !poll_client(tunnel))
		return;
	if (fast && (tunnel->direction[CLIENT].pending || tunnel->side[CLIENT].readable))
		tunnel_relay(tunnel);
}

void tunnel_connect(struct tunnel *tunnel, const uint8_t *early, size_t length)
{
	for (;;) {
		bool in_time = this_worker->now_ms < tunnel->connect_deadline_ms;
		tunnel->endpoint = in_time ? pick(tunnel) : NULL;
		if (!tunnel->endpoint) {
			none_left(tunnel);
			return;
		}
		endpoint_ref(tunnel->endpoint);
		tunnel->second_tried = false;
		if (tunnel->setup && tunnel->setup->ntried) {
			tunnel->retries++;
			tunnel_count_one(tunnel, MARCHER_CONNECT_RETRIES);
		}
		enum attempt result = attempt(tunnel, &early, &length);
		if (result != ATTEMPT_FAILED) {
			attempted(tunnel, result, early, length);
			return;
		}
		struct endpoint *failed = tunnel->endpoint;
		tunnel->endpoint = NULL;
		drop_first(tunnel);
		endpoint_failed(tunnel, failed, false);
		if (!tunnel->setup) { /* out of memory: without a list of what was tried there is no end */
			tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
			return;
		}
	}
}

/* The first attempt has failed: the second takes its place, or the next backend is tried. */
static void first_failed(struct tunnel *tunnel, bool timed_out)
{
	struct endpoint *failed = tunnel->endpoint;

	tunnel->endpoint = NULL;
	drop_first(tunnel);
	endpoint_failed(tunnel, failed, timed_out);
	if (!tunnel->setup) {
		tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
		return;
	}
	if (has_second(tunnel)) {
		if (promote_second(tunnel))
			tunnel_arm(tunnel);
		return;
	}
	tunnel_connect(tunnel, NULL, 0);
}

static void second_failed(struct tunnel *tunnel, bool timed_out)
{
	drop_second(tunnel);
	endpoint_failed(tunnel, tunnel->setup->second_endpoint, timed_out);
}

void tunnel_connect_event(struct tunnel *tunnel, uint32_t events)
{
	/* Nothing has been sent, so even a reset right after the handshake may be tried elsewhere. */
	if (events & POLL_ERROR) {
		first_failed(tunnel, false);
		return;
	}
	if (!(events & POLL_WRITE))
		return;
	tunnel_connect_abandon(tunnel);
	if (established(tunnel)) {
		tunnel_arm(tunnel);
		tunnel_relay(tunnel);
	}
}

static void second_event(struct poll_source *source, uint32_t events)
{
	struct tunnel_setup *setup = (struct tunnel_setup *)((char *)source - offsetof(struct tunnel_setup, second));
	struct tunnel *tunnel = setup->tunnel;

	if (events & POLL_ERROR) {
		second_failed(tunnel, false);
		return;
	}
	/* It wins, unless the first has something to tell in the same turn: an event for that must not be taken for one
	 * of the socket that replaces it. */
	if (events & POLL_WRITE) {
		setup->second_connected = true;
		tunnel_queue(tunnel);
	}
}

void tunnel_connect_queued(struct tunnel *tunnel)
{
	if (!has_second(tunnel) || !tunnel->setup->second_connected)
		return;
	/* The first is let go of without blame. */
	drop_first(tunnel);
	lb_release(tunnel->endpoint);
	endpoint_unref(tunnel->endpoint);
	tunnel->endpoint = NULL;
	if (promote_second(tunnel) && established(tunnel)) {
		tunnel_arm(tunnel);
		tunnel_relay(tunnel);
	}
}

/* An endpoint of the same backend with an address of the other family. */
static struct endpoint *other_family(const struct tunnel *tunnel, const struct view *view)
{
	for (uint32_t i = 0; i < view->count; i++) {
		struct endpoint *endpoint = view->entries[i].endpoint;
		if (endpoint->backend == tunnel->endpoint->backend &&
		    endpoint->addr.family != tunnel->endpoint->addr.family && !was_tried(tunnel, endpoint))
			return endpoint;
	}
	return NULL;
}

static void begin_second(struct tunnel *tunnel)
{
	struct view *view = service_view(tunnel->service);
	struct endpoint *endpoint = view ? other_family(tunnel, view) : NULL;
	struct tunnel_setup *setup = endpoint ? setup_of(tunnel) : NULL;
	bool connected;

	tunnel->second_tried = true;
	if (!setup || !lb_take(view, endpoint))
		return;
	endpoint_ref(endpoint);
	setup->second_endpoint = endpoint;
	setup->second_began_us = tunnel_clock_us();
	int fd = open_socket(tunnel, endpoint, tunnel->direction[CLIENT].pending, &connected);
	if (fd < 0) {
		endpoint_failed(tunnel, endpoint, false);
		return;
	}
	setup->second.fd = fd;
	setup->second_connected = false;
	if (poller_add(this_worker->poller, &setup->second) < 0) {
		drop_second(tunnel);
		lb_release(endpoint);
		endpoint_unref(endpoint);
	}
}

/* A Unix socket whose backlog was full. */
static void ask_again(struct tunnel *tunnel)
{
	const uint8_t *early = NULL;
	size_t length = 0;

	switch (attempt(tunnel, &early, &length)) {
	case ATTEMPT_FAILED:
		first_failed(tunnel, false);
		break;
	case ATTEMPT_PENDING:
		if (tunnel->side[BACKEND].source.fd < 0 || tunnel_poll(tunnel, &tunnel->side[BACKEND].source))
			tunnel_arm(tunnel);
		break;
	case ATTEMPT_ESTABLISHED:
		if (tunnel_poll(tunnel, &tunnel->side[BACKEND].source) && established(tunnel)) {
			tunnel_arm(tunnel);
			tunnel_relay(tunnel);
		}
		break;
	}
}

void tunnel_connect_timer(struct tunnel *tunnel, uint64_t now_ms)
{
	if (tunnel->deadline_ms <= now_ms) {
		if (has_second(tunnel))
			second_failed(tunnel, true);
		first_failed(tunnel, true);
		return;
	}
	if (tunnel->side[BACKEND].source.fd < 0) {
		ask_again(tunnel);
		return;
	}
	if (!tunnel->second_tried && tunnel->endpoint->backend->target == TARGET_DNS &&
	    tunnel->active_ms + SECOND_FAMILY_AFTER_MS <= now_ms)
		begin_second(tunnel);
	tunnel_arm(tunnel);
}
