/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a relayed connection: accepting it, its deadlines, closing it, draining. */
#include "tunnel_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../engine.h"
#include "../filter/source_limit.h"
#include "../runtime.h"
#include "../steered.h"

/* Pipes of one worker: each has two descriptors and up to 1 MiB of the system's pipe memory. Bulk directions beyond
 * them are copied. */
#define PIPES_MAX 512u
#define PIPES_IDLE 16u
/* A PROXY header is expected at once: the peer sends it before anything else. */
#define HEADER_TIMEOUT_MS 5000u

uint32_t tunnel_clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
}

int tunnel_worker_init(struct worker *worker)
{
	struct tunnel_worker *state = calloc(1, sizeof(*state));
	sigset_t pipe;

	if (!state)
		return -ENOMEM;
	/* splice() into a socket whose peer is gone raises it, and has no MSG_NOSIGNAL. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	state->worker = worker;
	state->tunnels = slab_new(sizeof(struct tunnel));
	state->setups = slab_new(sizeof(struct tunnel_setup));
	state->pieces = relay_buffer_slab();
	state->addrs = slab_new(sizeof(struct addr));
	state->shapes = tunnel_shape_slab();
	raw_pipe_pool_init(&state->pipes, PIPES_IDLE, PIPES_MAX);
	worker->tunnel = state;
	if (state->tunnels && state->setups && state->pieces && state->addrs && state->shapes)
		return 0;
	tunnel_worker_free(worker);
	return -ENOMEM;
}

static void run_deferred(struct worker *worker)
{
	while (worker->deferred) {
		struct worker_deferred *deferred = worker->deferred;
		worker->deferred = deferred->next;
		deferred->run(deferred);
	}
}

void tunnel_worker_free(struct worker *worker)
{
	struct tunnel_worker *state = worker->tunnel;

	if (!state)
		return;
	while (state->all)
		tunnel_close(state->all, MARCHER_CLOSE_ENGINE_STOP);
	/* What was closed stands in slabs that are about to go. */
	run_deferred(worker);
	raw_pipe_pool_clear(&state->pipes);
	slab_delete(state->tunnels);
	slab_delete(state->setups);
	slab_delete(state->pieces);
	slab_delete(state->addrs);
	slab_delete(state->shapes);
	free(state);
	worker->tunnel = NULL;
}

uint64_t tunnel_count(const struct worker *worker)
{
	return worker->tunnel ? worker->tunnel->count : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Absolute, or UINT64_MAX when the timeout is off. */
static uint64_t after(uint64_t from_ms, uint32_t timeout_ms)
{
	return timeout_ms ? from_ms + timeout_ms : UINT64_MAX;
}

static bool half_closed(const struct tunnel *tunnel)
{
	return tunnel->direction[CLIENT].closed || tunnel->direction[BACKEND].closed;
}

static uint64_t idle_deadline(const struct tunnel *tunnel)
{
	uint64_t deadline = after(tunnel->active_ms, tunnel->service->idle_timeout_ms);

	if (half_closed(tunnel))
		deadline = least(deadline, after(tunnel->active_ms, tunnel->service->half_closed_timeout_ms));
	return deadline;
}

static uint64_t drain_deadline(const struct tunnel *tunnel)
{
	return tunnel->drain_deadline_ms ? tunnel->drain_deadline_ms : UINT64_MAX;
}

static void expired(struct timer *timer, uint64_t now_ms);

void tunnel_arm(struct tunnel *tunnel)
{
	uint64_t deadline = drain_deadline(tunnel);

	switch ((enum tunnel_state)tunnel->state) {
	case TUNNEL_HEADER:
		deadline = least(deadline, tunnel->deadline_ms);
		break;
	case TUNNEL_CONNECTING:
		deadline = least(deadline, tunnel_connect_deadline(tunnel));
		break;
	case TUNNEL_ESTABLISHED:
		deadline = least(deadline, idle_deadline(tunnel));
		break;
	case TUNNEL_CLOSED:
		return;
	}
	/* Bytes push the idle deadline back without touching the timer: only an earlier one needs arming. */
	if (timer_armed(&tunnel->timer) && tunnel->timer.expires_ms <= deadline)
		return;
	if (deadline == UINT64_MAX)
		timer_disarm(this_worker->timers, &tunnel->timer);
	else
		timer_arm(this_worker->timers, &tunnel->timer, deadline, expired);
}

/* A connection that outlives its first timer is worth asking whether its backend is still there. */
static void keep_alive(struct tunnel *tunnel)
{
	int one = 1;

	if (tunnel->kept_alive || tunnel->endpoint->addr.family == AF_UNIX)
		return;
	tunnel->kept_alive = true;
	setsockopt(tunnel->side[BACKEND].source.fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

static void expired(struct timer *timer, uint64_t now_ms)
{
	struct tunnel *tunnel = (struct tunnel *)((char *)timer - offsetof(struct tunnel, timer));

	if (drain_deadline(tunnel) <= now_ms) {
		tunnel_close(tunnel, MARCHER_CLOSE_DRAINED);
		return;
	}
	switch ((enum tunnel_state)tunnel->state) {
	case TUNNEL_HEADER:
		if (tunnel->deadline_ms <= now_ms) {
			tunnel_close(tunnel, MARCHER_CLOSE_PROXY_HEADER);
			return;
		}
		break;
	case TUNNEL_CONNECTING:
		tunnel_connect_timer(tunnel, now_ms);
		return;
	case TUNNEL_ESTABLISHED:
		if (idle_deadline(tunnel) <= now_ms) {
			tunnel_close(tunnel, half_closed(tunnel) ? MARCHER_CLOSE_HALF_CLOSED_TIMEOUT
			                                         : MARCHER_CLOSE_IDLE_TIMEOUT);
			return;
		}
		keep_alive(tunnel);
		break;
	case TUNNEL_CLOSED:
		return;
	}
	tunnel_arm(tunnel);
}

bool tunnel_poll(struct tunnel *tunnel, struct poll_source *source)
{
	if (poller_add(this_worker->poller, source) == 0)
		return true;
	tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY); /* or the user's limit on epoll watches */
	return false;
}

static bool sends_proxy_header(const struct binding *binding, const struct addr *peer)
{
	for (uint32_t i = 0; i < binding->naccept_proxy; i++)
		if (prefix_contains(&binding->accept_proxy[i], peer))
			return true;
	return false;
}

static struct tunnel *tunnel_new(struct tunnel_worker *state, struct listener *listener, struct service *service,
                                 int fd, const struct addr *client)
{
	struct worker *worker = state->worker;
	struct tunnel *tunnel = slab_alloc(state->tunnels);

	if (!tunnel)
		return NULL;
	tunnel->side[CLIENT].source = (struct poll_source){.handler = tunnel_client_event, .fd = fd};
	tunnel->side[BACKEND].source = (struct poll_source){.handler = tunnel_backend_event, .fd = -1};
	tunnel->side[CLIENT].writable = true;
	tunnel->ready.run = tunnel_run_queued;
	tunnel->ready.class = QOS_CLASS_DEFAULT;
	tunnel->service = service;
	tunnel->listener = listener;
	tunnel->port = listener->addr.port;
	tunnel->client = *client;
	tunnel->id = ++worker->next_connection_id;
	tunnel->opened_us = worker->now_us;
	tunnel->active_ms = worker->now_ms;
	service_ref(service);
	listener_ref(listener);
	tunnel->next = state->all;
	if (tunnel->next)
		tunnel->next->prev = tunnel;
	state->all = tunnel;
	state->count++;
	return tunnel;
}

/* Of a steered listener: what the client came to. false: not to us. */
static bool came_to(const struct listener *listener, int fd, struct addr *local)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	if (getsockname(fd, (struct sockaddr *)&sa, &length) < 0)
		return false;
	addr_from_sockaddr(local, &sa);
	return steered_has(listener, local);
}

static bool keep_local(struct tunnel *tunnel, const struct addr *local)
{
	tunnel->local = slab_alloc(this_worker->tunnel->addrs);
	if (!tunnel->local)
		return false;
	*tunnel->local = *local;
	tunnel->port = local->port;
	return true;
}

void tunnel_accepted(struct worker *worker, struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
	struct binding *binding = listener_binding(listener);
	struct service *service;
	struct tunnel *tunnel;
	struct addr client, local = {0};
	enum marcher_close_reason reason = MARCHER_CLOSE_LIMIT;

	if (!binding || (listener->steered && !came_to(listener, fd, &local))) {
		raw_reset(fd);
		return;
	}
	service = binding->service;
	addr_from_sockaddr(&client, peer);
	if (!limit_take(&listener->active, binding->max_connections))
		goto rejected;
	if (!limit_take(service->active, service->max_connections)) {
		limit_give(&listener->active);
		goto rejected;
	}
	if (service_qos(service) && !qos_connection_allowed(service_qos(service), worker->now_us)) {
		limit_give(service->active);
		limit_give(&listener->active);
		reason = MARCHER_CLOSE_RATE;
		goto rejected;
	}
	tunnel = tunnel_new(worker->tunnel, listener, service, fd, &client);
	if (!tunnel) {
		limit_give(service->active);
		limit_give(&listener->active);
		raw_reset(fd);
		return;
	}
	if ((listener->steered && !keep_local(tunnel, &local)) ||
	    (service_qos(service) && !tunnel_follow_policy(tunnel))) {
		tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
		return;
	}
	if (binding->naccept_proxy && sends_proxy_header(binding, &client)) {
		uint32_t limit = service->connect_timeout_ms;
		tunnel->state = TUNNEL_HEADER;
		tunnel->deadline_ms = worker->now_ms + (limit && limit < HEADER_TIMEOUT_MS ? limit : HEADER_TIMEOUT_MS);
		tunnel->client_polled = true;
		tunnel_arm(tunnel);
		tunnel_poll(tunnel, &tunnel->side[CLIENT].source);
		return;
	}
	tunnel_begin(tunnel);
	return;
rejected:
	raw_reset(fd);
	tunnel_report_rejected(worker, listener, service, &client, reason);
}

/* The client's first bytes, when they are likely to be there already: sent along with the handshake's last ACK they
 * save a packet and a wake-up. Asking for bytes that are not there costs a system call, so the past decides: a hit is
 * worth four misses. Returns how many came (0: none; a FIN and errors are left to later reads). */
static size_t read_early(struct tunnel *tunnel)
{
	struct worker *worker = this_worker;
	struct tunnel_worker *state = worker->tunnel;
	struct tunnel_side *client = &tunnel->side[CLIENT];

	if (tunnel->client_polled)
		return 0; /* what a PROXY header came with is pending already, and readiness is known */
	if (tunnel->shape || (!state->early_score && ++state->early_skipped % 16))
		return 0;
	ssize_t n = raw_receive(client->source.fd, worker->scratch, WORKER_SCRATCH_BYTES);
	if (n > 0) {
		state->early_score = state->early_score > 12 ? 16 : (uint8_t)(state->early_score + 4);
		client->readable = (size_t)n == WORKER_SCRATCH_BYTES;
		tunnel_count_bytes(tunnel, CLIENT, (uint64_t)n, false);
		return (size_t)n;
	}
	if (state->early_score)
		state->early_score--;
	if (n != -EAGAIN)
		client->readable = true; /* the end or an error: met again when it can be passed on */
	return 0;
}

void tunnel_begin(struct tunnel *tunnel)
{
	struct worker *worker = this_worker;
	struct service *service = tunnel->service;
	struct addr masked;

	if (service->source_limit) {
		addr_mask(&tunnel->client, service->source_v4_bits, service->source_v6_bits, &masked);
		if (!source_limit_take(service->source_limit, &masked, service->max_connections_per_source)) {
			tunnel_close(tunnel, MARCHER_CLOSE_LIMIT);
			return;
		}
		tunnel->source_counted = true;
	}
	tunnel->counted = true;
	stats_add(&worker->stats, service->slot, MARCHER_CONNECTIONS_OPENED, 1);
	stats_add(&worker->stats, tunnel->listener->slot, MARCHER_CONNECTIONS_OPENED, 1);
	tunnel->state = TUNNEL_CONNECTING;
	tunnel->connect_deadline_ms = after(worker->now_ms, service->connect_timeout_ms);
	size_t early = read_early(tunnel);
	tunnel_connect(tunnel, worker->scratch, early);
}

static void tunnel_free(struct worker_deferred *deferred)
{
	struct tunnel *tunnel = (struct tunnel *)((char *)deferred - offsetof(struct tunnel, deferred));
	struct tunnel_worker *state = this_worker->tunnel;

	if (tunnel->setup)
		slab_free(state->setups, tunnel->setup);
	if (tunnel->local)
		slab_free(state->addrs, tunnel->local);
	if (tunnel->shape)
		slab_free(state->shapes, tunnel->shape);
	slab_free(state->tunnels, tunnel);
}

static void unlink_tunnel(struct tunnel_worker *state, struct tunnel *tunnel)
{
	if (tunnel->prev)
		tunnel->prev->next = tunnel->next;
	else
		state->all = tunnel->next;
	if (tunnel->next)
		tunnel->next->prev = tunnel->prev;
	state->count--;
}

static void close_side(struct tunnel_side *side, bool reset)
{
	if (side->source.fd < 0)
		return;
	if (reset)
		raw_reset(side->source.fd);
	else
		close(side->source.fd);
	side->source.fd = -1;
}

/* With FIN after what both sides have said, or a silence: the rest is an abort, and each side is told by RST. */
static bool is_orderly(enum marcher_close_reason reason)
{
	return reason == MARCHER_CLOSE_NORMAL || reason == MARCHER_CLOSE_IDLE_TIMEOUT ||
	       reason == MARCHER_CLOSE_HALF_CLOSED_TIMEOUT;
}

static void release_limits(struct tunnel *tunnel)
{
	struct service *service = tunnel->service;
	struct addr masked;

	if (tunnel->source_counted) {
		addr_mask(&tunnel->client, service->source_v4_bits, service->source_v6_bits, &masked);
		source_limit_give(service->source_limit, &masked);
	}
	limit_give(service->active);
	limit_give(&tunnel->listener->active);
}

void tunnel_close(struct tunnel *tunnel, enum marcher_close_reason reason)
{
	struct worker *worker = this_worker;
	struct tunnel_worker *state = worker->tunnel;

	if (tunnel->state == TUNNEL_CLOSED)
		return;
	if (timer_armed(&tunnel->timer))
		timer_disarm(worker->timers, &tunnel->timer);
	if (tunnel->state == TUNNEL_CONNECTING)
		tunnel_connect_abandon(tunnel);
	close_side(&tunnel->side[CLIENT], !is_orderly(reason));
	close_side(&tunnel->side[BACKEND], !is_orderly(reason));
	tunnel_report_closed(tunnel, reason);
	tunnel->state = TUNNEL_CLOSED;
	for (unsigned i = 0; i < 2; i++) {
		relay_buffer_clear(state->pieces, &tunnel->direction[i].pending);
		if (tunnel->direction[i].pipe)
			raw_pipe_give(&state->pipes, tunnel->direction[i].pipe);
	}
	release_limits(tunnel);
	if (tunnel->endpoint) {
		lb_release(tunnel->endpoint);
		endpoint_unref(tunnel->endpoint);
	}
	sched_remove(&tunnel->ready);
	if (tunnel->shape)
		tunnel_shape_leave(tunnel);
	unlink_tunnel(state, tunnel);
	service_unref(tunnel->service);
	listener_unref(tunnel->listener);
	worker_defer(worker, &tunnel->deferred, tunnel_free);
}

void tunnel_drain(struct worker *worker, const struct service *service, const struct endpoint *endpoint,
                  uint64_t deadline_ms)
{
	for (struct tunnel *tunnel = worker->tunnel->all; tunnel; tunnel = tunnel->next) {
		if ((service && tunnel->service != service) || (endpoint && tunnel->endpoint != endpoint))
			continue;
		if (tunnel->drain_deadline_ms && tunnel->drain_deadline_ms <= deadline_ms)
			continue;
		tunnel->drain_deadline_ms = deadline_ms;
		tunnel_arm(tunnel);
	}
}

void tunnel_drain_listener(struct worker *worker, const struct listener *listener, uint64_t deadline_ms)
{
	for (struct tunnel *tunnel = worker->tunnel->all; tunnel; tunnel = tunnel->next) {
		if (tunnel->listener != listener ||
		    (tunnel->drain_deadline_ms && tunnel->drain_deadline_ms <= deadline_ms))
			continue;
		tunnel->drain_deadline_ms = deadline_ms;
		tunnel_arm(tunnel);
	}
}
