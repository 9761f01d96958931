/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: the table by client and local address, opening within all limits, moving to another endpoint, closing.
 *
 * A session is bound to its endpoint until it ends, except that its next datagram goes elsewhere when
 *  - the endpoint was found unhealthy or was ejected, and the view no longer has it, or
 *  - the endpoint refused (ICMP port unreachable and the like) and never answered, or refused REFUSALS_MAX times in a
 *    row after it had answered: it has restarted and lost its state, or is gone.
 * When no other endpoint can be had the session stays where it is.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../engine.h"
#include "../filter/source_limit.h"
#include "../lb/affinity.h"
#include "../lb/geo.h"
#include "../lb/lb.h"
#include "../qos/mark.h"
#include "../qos/qos.h"
#include "../runtime.h"
#include "../steered.h"
#include "../upstream/outlier.h"
#include "udp_internal.h"

#define REFUSALS_MAX 3u
#define BUCKETS_FIRST 256u
#define ATTEMPTS_MAX                                                                                    \
	8u /* endpoints that one datagram may try; connecting a UDP socket fails for local reasons only \
	    */

/* Every session holds a descriptor. Clients' addresses are easily forged, so all sessions of the process together may
 * hold at most three quarters of what the process may open: TCP must go on. */
static atomic_uint sessions_total;

static uint32_t sessions_total_max(void)
{
	static atomic_uint known;
	uint32_t max = atomic_load_explicit(&known, memory_order_relaxed);
	if (max)
		return max;
	struct rlimit limit;
	max = UINT32_MAX / 2;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 * 3 < max)
		max = limit.rlim_cur >= 4 ? (uint32_t)(limit.rlim_cur / 4 * 3) : 1;
	atomic_store_explicit(&known, max, memory_order_relaxed);
	return max;
}

/* ---- the table ---- */

struct udp_session *udp_session_find(struct udp_worker *udp, const struct udp_key *key, uint64_t *hash)
{
	*hash = XXH3_64bits_withSeed(key, sizeof(*key), udp->seed);
	if (!udp->nbuckets)
		return NULL;
	struct udp_session *session = udp->buckets[*hash & (udp->nbuckets - 1)];
	while (session && (session->hash != *hash || memcmp(&session->key, key, sizeof(*key)) != 0))
		session = session->chain;
	return session;
}

/* Doubles the buckets when there are more sessions. Without memory chains grow longer instead; false: no table at all.
 */
static bool table_reserve(struct udp_worker *udp)
{
	if (udp->count < udp->nbuckets)
		return true;
	uint32_t nbuckets = udp->nbuckets ? udp->nbuckets * 2 : BUCKETS_FIRST;
	struct udp_session **buckets = calloc(nbuckets, sizeof(struct udp_session *));
	if (!buckets)
		return udp->nbuckets != 0;
	for (struct udp_session *session = udp->all; session; session = session->next) {
		struct udp_session **head = &buckets[session->hash & (nbuckets - 1)];
		session->chain = *head;
		*head = session;
	}
	free(udp->buckets);
	udp->buckets = buckets;
	udp->nbuckets = nbuckets;
	return true;
}

static void table_add(struct udp_session *session)
{
	struct udp_worker *udp = session->udp;
	struct udp_session **head = &udp->buckets[session->hash & (udp->nbuckets - 1)];
	session->chain = *head;
	*head = session;
	session->next = udp->all;
	session->pprev = &udp->all;
	if (udp->all)
		udp->all->pprev = &session->next;
	udp->all = session;
	udp->count++;
}

static void table_remove(struct udp_session *session)
{
	struct udp_worker *udp = session->udp;
	struct udp_session **link = &udp->buckets[session->hash & (udp->nbuckets - 1)];
	while (*link != session)
		link = &(*link)->chain;
	*link = session->chain;
	*session->pprev = session->next;
	if (session->next)
		session->next->pprev = session->pprev;
	udp->count--;
}

/* The record of a listening socket; NULL when out of memory. */
struct udp_socket *udp_socket_get(struct udp_worker *udp, struct listener *listener, int fd)
{
	if ((uint32_t)fd >= udp->nsockets) {
		uint32_t n = udp->nsockets ? udp->nsockets : 64;
		while (n <= (uint32_t)fd)
			n *= 2;
		struct udp_socket **grown = realloc(udp->sockets, n * sizeof(struct udp_socket *));
		if (!grown)
			return NULL;
		memset(grown + udp->nsockets, 0, (n - udp->nsockets) * sizeof(struct udp_socket *));
		udp->sockets = grown;
		udp->nsockets = n;
	}
	struct udp_socket *sock = udp->sockets[fd];
	if (!sock) {
		sock = calloc(1, sizeof(*sock));
		if (!sock)
			return NULL;
		sock->listener = listener;
		sock->fd = fd;
		udp->sockets[fd] = sock;
	}
	return sock;
}

static void socket_release(struct udp_worker *udp, struct udp_socket *sock)
{
	if (sock->nsessions || !sock->closing)
		return;
	udp->sockets[sock->fd] = NULL;
	close(sock->fd);
	free(sock);
}

/* ---- events and statistics ---- */

static void event_address(struct marcher_event_address *out, const struct addr *addr)
{
	out->family = addr->family;
	out->port = addr->port;
	memcpy(out->address, addr->ip, sizeof(out->address));
}

static void push_event(struct udp_session *session, enum marcher_event_kind kind, enum marcher_close_reason reason)
{
	struct worker *worker = session->udp->worker;
	struct marcher_event *event = stats_event(&worker->stats, kind);
	if (!event)
		return;
	event->connection_id = session->id;
	event->service_slot = session->service->slot;
	event->backend_slot = session->endpoint->backend->slot;
	event->reason = (uint16_t)reason;
	event->transport = TRANSPORT_UDP;
	event->retries = session->retries;
	event_address(&event->client, &session->client);
	event_address(&event->local, &session->local);
	event_address(&event->upstream, &session->upstream);
	event->bytes_received = session->bytes_received;
	event->bytes_sent = session->bytes_sent;
	event->duration_us = worker->now_us - session->opened_us;
	stats_event_push(&worker->stats);
}

/* ---- which endpoint ---- */

/* Takes an endpoint for the client, not one of those tried: the remembered one, or the balancer's choice. */
static struct endpoint *pick(struct worker *worker, struct service *service, const struct addr *client,
                             struct lb_request *request)
{
	const struct view *view = service_view(service);
	if (!view)
		return NULL;
	struct addr masked;
	if (service->affinity) {
		addr_mask(client, service->affinity_v4_bits, service->affinity_v6_bits, &masked);
		struct endpoint *bound = affinity_lookup(service->affinity, &masked, worker->now_ms);
		bool tried = false;
		for (uint32_t i = 0; i < request->ntried; i++)
			tried |= request->tried[i] == bound;
		if (bound && !tried && lb_take(view, bound))
			return bound;
	}
	request->random = worker_random(worker);
	if (service->algorithm == ALGORITHM_GEO) {
		struct engine *engine = worker->engine;
		const struct geoip *geoip = atomic_load_explicit(&engine->geoip, memory_order_acquire);
		request->client_country = geoip ? geoip_country(geoip, client) : 0;
		request->client_region = region_of_country(request->client_country);
		request->node_region = (uint16_t)atomic_load_explicit(&engine->region_index, memory_order_relaxed);
	}
	struct endpoint *endpoint = lb_pick(worker->lb, service, view, request);
	if (endpoint && service->affinity)
		affinity_store(service->affinity, &masked, endpoint, worker->now_ms);
	return endpoint;
}

/* A non-blocking socket connected to the endpoint, or -errno. */
static int connect_endpoint(const struct service *service, const struct endpoint *endpoint, uint16_t local_port,
                            struct addr *upstream)
{
	const struct addr *source = &endpoint->backend->source;
	*upstream = endpoint->addr;
	if (upstream->family != AF_INET && upstream->family != AF_INET6)
		return -EAFNOSUPPORT; /* a Unix-domain backend cannot serve UDP */
	if (!upstream->port)
		upstream->port = local_port;
	int fd = socket(upstream->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	udp_mark_backend(service, fd, upstream->family);
	int one = 1;
	struct sockaddr_storage sa;
	if (source->family == upstream->family) {
		(void)setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		struct addr from = *source;
		from.port = 0;
		if (bind(fd, (struct sockaddr *)&sa, addr_to_sockaddr(&from, false, &sa)) < 0)
			goto failed;
	}
	if (connect(fd, (struct sockaddr *)&sa, addr_to_sockaddr(upstream, false, &sa)) < 0)
		goto failed;
	return fd;
failed:;
	int error = errno;
	close(fd);
	return -error;
}

/* Errors that say nothing about the endpoint: this process or machine is short of something. */
static bool is_own_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS || error == EAGAIN;
}

/* Picks and connects until one works. Gives the endpoint taken and its socket, or NULL and the close reason. */
static struct endpoint *pick_connected(struct worker *worker, struct listener *listener, uint16_t port,
                                       struct service *service, const struct addr *client, struct lb_request *request,
                                       int *fd, struct addr *upstream, uint16_t *retries,
                                       enum marcher_close_reason *why)
{
	struct stats_row *row = &worker->stats;
	request->client = client;
	*why = MARCHER_CLOSE_NO_BACKEND;
	for (uint32_t attempts = 0; attempts < ATTEMPTS_MAX; attempts++) {
		struct endpoint *endpoint = pick(worker, service, client, request);
		if (!endpoint)
			return NULL;
		*fd = connect_endpoint(service, endpoint, port, upstream);
		if (*fd >= 0)
			return endpoint;
		lb_release(endpoint);
		if (is_own_shortage(-*fd)) {
			*why = MARCHER_CLOSE_NO_MEMORY;
			return NULL;
		}
		*why = MARCHER_CLOSE_CONNECT_FAILED;
		stats_add(row, service->slot, MARCHER_CONNECT_FAILURES, 1);
		stats_add(row, listener->slot, MARCHER_CONNECT_FAILURES, 1);
		stats_add(row, endpoint->backend->slot, MARCHER_CONNECT_FAILURES, 1);
		outlier_report(worker, service, endpoint, false);
		if (request->ntried == LB_TRIED_MAX)
			return NULL;
		request->tried[request->ntried++] = endpoint;
		if (*retries < UINT16_MAX)
			++*retries;
	}
	return NULL;
}

/* ---- opening ---- */

/* Places that a session holds beside the endpoint's. */
struct places {
	bool total, listener, sessions, service, source;
};

static void give_places(struct listener *listener, struct service *service, const struct addr *client,
                        const struct places *held)
{
	if (held->source) {
		struct addr masked;
		addr_mask(client, service->source_v4_bits, service->source_v6_bits, &masked);
		source_limit_give(service->source_limit, &masked);
	}
	if (held->service)
		limit_give(service->active);
	if (held->sessions)
		limit_give(&service->id->udp_sessions);
	if (held->listener)
		limit_give(&listener->active);
	if (held->total)
		limit_give(&sessions_total);
}

static bool take_places(struct listener *listener, const struct binding *binding, const struct addr *client,
                        struct places *held)
{
	struct service *service = binding->service;
	struct addr masked;
	*held = (struct places){0};
	if (!(held->total = limit_take(&sessions_total, sessions_total_max())) ||
	    !(held->listener = limit_take(&listener->active, binding->max_connections)) ||
	    !(held->sessions = limit_take(&service->id->udp_sessions, service->udp_max_sessions)) ||
	    !(held->service = limit_take(service->active, service->max_connections)))
		return false;
	if (service->source_limit && service->max_connections_per_source) {
		addr_mask(client, service->source_v4_bits, service->source_v6_bits, &masked);
		held->source = source_limit_take(service->source_limit, &masked, service->max_connections_per_source);
		return held->source;
	}
	return true;
}

/* The ancillary data that makes a reply leave from the address that the client sent to. A socket that is bound to one
 * address needs none. */
static void prepare_source(struct udp_session *session)
{
	static const uint8_t any[16];
	if (memcmp(session->listener->addr.ip, any, sizeof(any)) != 0)
		return;
	const struct udp_key *key = &session->key;
	struct cmsghdr *cmsg = (struct cmsghdr *)(void *)session->source_control;
	if (key->family == AF_INET6) {
		struct in6_pktinfo info = {0};
		memcpy(&info.ipi6_addr, key->local, 16);
		if (IN6_IS_ADDR_UNSPECIFIED(&info.ipi6_addr) || IN6_IS_ADDR_MULTICAST(&info.ipi6_addr))
			return;
		if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
			info.ipi6_ifindex = key->scope;
		cmsg->cmsg_level = IPPROTO_IPV6;
		cmsg->cmsg_type = IPV6_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
		session->source_control_length = CMSG_SPACE(sizeof(info));
	} else {
		struct in_pktinfo info = {0};
		memcpy(&info.ipi_spec_dst, key->local, 4);
		if (info.ipi_spec_dst.s_addr == INADDR_ANY)
			return;
		cmsg->cmsg_level = IPPROTO_IP;
		cmsg->cmsg_type = IP_PKTINFO;
		cmsg->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
		session->source_control_length = CMSG_SPACE(sizeof(info));
	}
}

static socklen_t local_sockaddr(const struct udp_key *key, struct sockaddr_storage *sa)
{
	uint16_t port = key->listener->steered ? (uint16_t)key->local_port : htons(key->listener->addr.port);
	*sa = (struct sockaddr_storage){.ss_family = key->family};
	if (key->family == AF_INET6) {
		((struct sockaddr_in6 *)sa)->sin6_port = port;
		memcpy(&((struct sockaddr_in6 *)sa)->sin6_addr, key->local, 16);
		return sizeof(struct sockaddr_in6);
	}
	((struct sockaddr_in *)sa)->sin_port = port;
	memcpy(&((struct sockaddr_in *)sa)->sin_addr, key->local, 4);
	return sizeof(struct sockaddr_in);
}

/* Sessions of a steered listener answer from sockets of their own, bound to where the client has sent to: the
 * listener's cannot send from another port than its own. NULL: there is none to be had. */
static struct udp_socket *reply_socket(struct udp_worker *udp, struct listener *listener, const struct service *service,
                                       const struct udp_key *key)
{
	struct sockaddr_storage sa;
	int fd = steered_reply_socket(&sa, local_sockaddr(key, &sa));
	if (fd < 0)
		return NULL;
	const struct qos_policy *policy = qos_policy_of(service_qos(service));
	if (policy)
		qos_mark(fd, listener->addr.family, -1, policy, true);
	struct udp_socket *sock = udp_socket_get(udp, listener, fd);
	if (sock)
		sock->closing = true; /* it receives nothing, and goes with its session */
	else
		close(fd);
	return sock;
}

static uint64_t unix_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void on_timer(struct timer *timer, uint64_t now_ms);

static uint64_t next_deadline(const struct udp_session *session)
{
	uint64_t idle = session->last_activity_ms + session->service->udp_idle_timeout_ms;
	return session->drain_until_ms && session->drain_until_ms < idle ? session->drain_until_ms : idle;
}

static void count_refused(struct worker *worker, const struct listener *listener, const struct service *service,
                          enum marcher_counter counter, uint32_t datagrams)
{
	struct stats_row *row = &worker->stats;
	stats_add(row, listener->slot, MARCHER_UDP_DROPPED, datagrams);
	stats_add(row, listener->slot, counter, 1);
	stats_add(row, service->slot, MARCHER_UDP_DROPPED, datagrams);
	stats_add(row, service->slot, counter, 1);
}

struct udp_session *udp_session_open(struct udp_worker *udp, struct udp_socket *sock, const struct udp_key *key,
                                     uint64_t hash, const struct sockaddr_in6 *client_sockaddr, socklen_t client_length,
                                     uint32_t datagrams)
{
	struct worker *worker = udp->worker;
	struct listener *listener = sock->listener;
	struct binding *binding = listener_binding(listener);
	if (!binding) {
		stats_add(&worker->stats, listener->slot, MARCHER_UDP_DROPPED, datagrams);
		return NULL;
	}
	struct service *service = binding->service;
	struct addr client;
	struct sockaddr_storage client_storage;
	memset(&client_storage, 0, sizeof(client_storage));
	memcpy(&client_storage, client_sockaddr, client_length);
	addr_from_sockaddr(&client, &client_storage);
	struct addr local;
	struct sockaddr_storage local_storage;
	local_sockaddr(key, &local_storage);
	addr_from_sockaddr(&local, &local_storage);
	if (listener->steered && !steered_has(listener, &local)) {
		stats_add(&worker->stats, listener->slot, MARCHER_UDP_DROPPED, datagrams);
		return NULL;
	}

	struct places held;
	bool rate = true;
	if (!take_places(listener, binding, &client, &held) ||
	    !(rate = !service_qos(service) || qos_connection_allowed(service_qos(service), worker->now_us))) {
		give_places(listener, service, &client, &held);
		count_refused(worker, listener, service, MARCHER_REJECTED, datagrams);
		if (!rate) {
			stats_add(&worker->stats, service->slot, MARCHER_RATE_REFUSED, 1);
			stats_add(&worker->stats, listener->slot, MARCHER_RATE_REFUSED, 1);
		}
		return NULL;
	}
	struct lb_request request = {0};
	struct addr upstream;
	uint16_t retries = 0;
	int fd;
	enum marcher_close_reason why;
	struct endpoint *endpoint = pick_connected(worker, listener, local.port, service, &client, &request, &fd,
	                                           &upstream, &retries, &why);
	if (!endpoint) {
		give_places(listener, service, &client, &held);
		count_refused(worker, listener, service,
		              why == MARCHER_CLOSE_NO_MEMORY ? MARCHER_REJECTED : MARCHER_NO_BACKEND, datagrams);
		return NULL;
	}
	if (listener->steered)
		sock = reply_socket(udp, listener, service, key);
	struct udp_session *session = sock && table_reserve(udp) ? slab_alloc(udp->sessions) : NULL;
	if (session) {
		session->source.handler = udp_session_readable;
		session->source.fd = fd;
	}
	if (!session || poller_add_level(worker->poller, &session->source, false) < 0) {
		if (session)
			slab_free(udp->sessions, session);
		if (sock)
			socket_release(udp, sock);
		close(fd);
		lb_release(endpoint);
		give_places(listener, service, &client, &held);
		count_refused(worker, listener, service, MARCHER_REJECTED, datagrams);
		return NULL;
	}
	service_ref(service);
	endpoint_ref(endpoint);
	listener_ref(listener);
	session->hash = hash;
	session->key = *key;
	session->udp = udp;
	session->socket = sock;
	sock->nsessions++;
	session->service = service;
	session->endpoint = endpoint;
	session->listener = listener;
	session->last_activity_ms = worker->now_ms;
	session->counted_source = held.source;
	session->read_batch = 1;
	session->retries = retries;
	session->request_gso_max = session->reply_gso_max = UINT16_MAX;
	memcpy(&session->client_sockaddr, client_sockaddr, client_length);
	session->client_sockaddr_length = client_length;
	if (!listener->steered)
		prepare_source(session);
	session->client = client;
	session->local = local;
	session->upstream = upstream;
	session->id = worker->next_connection_id++;
	session->opened_us = worker->now_us;
	session->opened_unix_ms = unix_ms();
	session->ready.run = udp_session_run;
	session->ready.class = QOS_CLASS_DEFAULT;
	udp_follow_policy(session);
	table_add(session);
	timer_arm(worker->timers, &session->timer, next_deadline(session), on_timer);
	udp_count_on(session, MARCHER_CONNECTIONS_OPENED, 1);
	if (retries)
		stats_add(&worker->stats, service->slot, MARCHER_CONNECT_RETRIES, retries);
	push_event(session, MARCHER_EVENT_CONNECTION_OPENED, MARCHER_CLOSE_NORMAL);
	return session;
}

/* ---- moving ---- */

void udp_session_refused(struct udp_session *session)
{
	struct worker *worker = session->udp->worker;
	udp_count_on(session, MARCHER_CONNECT_FAILURES, 1);
	outlier_report(worker, session->service, session->endpoint, false);
	if (session->refusals < UINT8_MAX)
		session->refusals++;
	if (!session->answered || session->refusals >= REFUSALS_MAX)
		session->move = true;
}

static bool view_has(const struct view *view, const struct endpoint *endpoint)
{
	for (uint32_t i = 0; view && i < view->count; i++) {
		if (view->entries[i].endpoint == endpoint)
			return true;
	}
	return false;
}

static void move(struct udp_session *session)
{
	struct worker *worker = session->udp->worker;
	struct endpoint *old = session->endpoint;
	struct lb_request request = {.tried = {old}, .ntried = 1};
	struct addr upstream;
	uint16_t retries = session->retries;
	int fd;
	enum marcher_close_reason why;
	struct endpoint *endpoint = pick_connected(worker, session->listener, session->local.port, session->service,
	                                           &session->client, &request, &fd, &upstream, &retries, &why);
	if (!endpoint)
		return;
	int old_fd = session->source.fd;
	session->source.fd = fd;
	if (poller_add_level(worker->poller, &session->source, false) < 0) {
		session->source.fd = old_fd;
		close(fd);
		lb_release(endpoint);
		return;
	}
	close(old_fd);
	endpoint_ref(endpoint);
	stats_add(&worker->stats, old->backend->slot, MARCHER_CONNECTIONS_CLOSED, 1);
	lb_release(old);
	endpoint_unref(old);
	session->endpoint = endpoint;
	session->upstream = upstream;
	session->retries = retries < UINT16_MAX ? (uint16_t)(retries + 1) : retries;
	session->answered = session->merging = false;
	session->read_batch = 1;
	session->request_gso_max = UINT16_MAX;
	stats_add(&worker->stats, endpoint->backend->slot, MARCHER_CONNECTIONS_OPENED, 1);
	stats_add(&worker->stats, session->service->slot, MARCHER_CONNECT_RETRIES, 1);
}

static bool is_dead(const struct endpoint *endpoint)
{
	return atomic_load_explicit(&endpoint->health, memory_order_relaxed) == HEALTH_UNHEALTHY ||
	       atomic_load_explicit(&endpoint->ejected, memory_order_relaxed);
}

bool udp_session_is_stale(const struct udp_session *session)
{
	if (!session->move && !is_dead(session->endpoint))
		return false;
	const struct binding *binding = listener_binding(session->listener);
	return binding && binding->service != session->service;
}

void udp_session_check_endpoint(struct udp_session *session)
{
	struct endpoint *endpoint = session->endpoint;
	if (!session->move && !is_dead(endpoint))
		return;
	/* In panic the view has the dead as well: then it is as good as any other. */
	if (!session->move && view_has(service_view(session->service), endpoint))
		return;
	session->move = false;
	session->refusals = 0;
	move(session);
}

/* ---- closing ---- */

static void free_session(struct worker_deferred *deferred)
{
	struct udp_session *session =
	        (struct udp_session *)(void *)((char *)deferred - offsetof(struct udp_session, deferred));
	slab_free(session->udp->sessions, session);
}

void udp_session_close(struct udp_session *session, enum marcher_close_reason reason)
{
	struct udp_worker *udp = session->udp;
	struct worker *worker = udp->worker;
	udp_flush_replies(udp); /* which may hold datagrams of this session */
	if (reason == MARCHER_CLOSE_IDLE_TIMEOUT)
		stats_add(&worker->stats, session->service->slot, MARCHER_IDLE_TIMEOUTS, 1);
	else if (reason == MARCHER_CLOSE_DRAINED)
		stats_add(&worker->stats, session->service->slot, MARCHER_DRAIN_CLOSED, 1);
	udp_count_on(session, MARCHER_CONNECTIONS_CLOSED, 1);
	push_event(session, MARCHER_EVENT_CONNECTION_CLOSED, reason);
	timer_disarm(worker->timers, &session->timer);
	sched_remove(&session->ready);
	close(session->source.fd);
	session->source.fd = -1;
	table_remove(session);
	struct places held = {true, true, true, true, session->counted_source};
	give_places(session->listener, session->service, &session->client, &held);
	lb_release(session->endpoint);
	session->socket->nsessions--;
	socket_release(udp, session->socket);
	endpoint_unref(session->endpoint);
	service_unref(session->service);
	listener_unref(session->listener);
	if (udp->stopping)
		slab_free(udp->sessions, session);
	else
		worker_defer(worker, &session->deferred, free_session);
}

static void on_timer(struct timer *timer, uint64_t now_ms)
{
	struct udp_session *session =
	        (struct udp_session *)(void *)((char *)timer - offsetof(struct udp_session, timer));
	if (session->drain_until_ms && session->drain_until_ms <= now_ms)
		udp_session_close(session, MARCHER_CLOSE_DRAINED);
	else if (session->last_activity_ms + session->service->udp_idle_timeout_ms <= now_ms)
		udp_session_close(session, MARCHER_CLOSE_IDLE_TIMEOUT);
	else
		timer_arm(session->udp->worker->timers, timer, next_deadline(session), on_timer);
}

static void drain(struct udp_session *session, uint64_t deadline_ms)
{
	session->draining = true;
	session->drain_until_ms = deadline_ms ? deadline_ms : 1;
	timer_arm(session->udp->worker->timers, &session->timer, next_deadline(session), on_timer);
}

void udp_drain(struct worker *worker, const struct service *service, const struct endpoint *endpoint,
               uint64_t deadline_ms)
{
	for (struct udp_session *session = worker->udp->all; session; session = session->next) {
		if ((!service || session->service == service) && (!endpoint || session->endpoint == endpoint))
			drain(session, deadline_ms);
	}
}

void udp_listener_closing(struct worker *worker, struct listener *listener, int fd, uint64_t deadline_ms)
{
	struct udp_worker *udp = worker->udp;
	struct udp_socket *sock = (uint32_t)fd < udp->nsockets ? udp->sockets[fd] : NULL;
	if (!sock) {
		close(fd);
		return;
	}
	(void)listener;
	sock->closing = true;
	if (sock == udp->replies_socket)
		udp_flush_replies(udp);
	for (struct udp_session *session = udp->all; session; session = session->next) {
		if (session->socket == sock)
			drain(session, deadline_ms);
	}
	socket_release(udp, sock);
}

/* ---- showing ---- */

uint64_t udp_count(const struct worker *worker)
{
	return worker->udp ? worker->udp->count : 0;
}

static bool fill_connection(const struct udp_session *session, Marcher__Engine__V1__Connection *out)
{
	char text[ADDR_TEXT_MAX];
	const struct worker *worker = session->udp->worker;
	marcher__engine__v1__connection__init(out);
	out->id = session->id;
	out->service = strdup(session->service->id->name);
	out->backend = strdup(session->endpoint->backend->name);
	out->client = strdup(addr_text(&session->client, text));
	out->local = strdup(addr_text(&session->local, text));
	out->upstream = strdup(addr_text(&session->upstream, text));
	out->transport = strdup("udp");
	out->opened_unix_ms = session->opened_unix_ms;
	out->bytes_received = session->bytes_received;
	out->bytes_sent = session->bytes_sent;
	out->state = strdup(session->draining ? "draining" : "established");
	out->worker = worker->index;
	out->idle_ms = worker->now_ms > session->last_activity_ms ? worker->now_ms - session->last_activity_ms : 0;
	return out->service && out->backend && out->client && out->local && out->upstream && out->transport &&
	       out->state;
}

/* total counts all that match, whatever the limit. */
void udp_list(struct worker *worker, const char *service, uint32_t limit, Marcher__Engine__V1__ConnectionList *list)
{
	uint32_t matching = 0, room;
	for (const struct udp_session *session = worker->udp->all; session; session = session->next)
		matching += !service || strcmp(session->service->id->name, service) == 0;
	list->total += matching;
	room = matching < limit ? matching : limit;
	if (!room)
		return;
	Marcher__Engine__V1__Connection **grown =
	        realloc(list->connections, (list->n_connections + room) * sizeof(*grown));
	if (!grown)
		return;
	list->connections = grown;
	for (const struct udp_session *session = worker->udp->all; session && room; session = session->next) {
		if (service && strcmp(session->service->id->name, service) != 0)
			continue;
		Marcher__Engine__V1__Connection *one = malloc(sizeof(*one));
		if (!one)
			return;
		if (!fill_connection(session, one)) {
			marcher__engine__v1__connection__free_unpacked(one, NULL);
			return;
		}
		list->connections[list->n_connections++] = one;
		room--;
	}
}
