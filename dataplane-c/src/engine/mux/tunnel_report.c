/* SPDX-License-Identifier: Apache-2.0 */
/* What the relay counts, the events it tells, and the list of its connections. */
#include "tunnel_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void tunnel_count_bytes(struct tunnel *tunnel, unsigned direction, uint64_t bytes, bool spliced)
{
	struct stats_row *row = &this_worker->stats;
	enum marcher_counter counter = direction == CLIENT ? MARCHER_BYTES_RECEIVED : MARCHER_BYTES_SENT;
	uint32_t slots[3] = {tunnel->service->slot, tunnel->listener->slot,
	                     tunnel->endpoint ? tunnel->endpoint->backend->slot : 0};

	tunnel->direction[direction].bytes += bytes;
	for (unsigned i = 0; i < 3; i++) {
		if (!slots[i])
			continue;
		stats_add(row, slots[i], counter, bytes);
		if (spliced)
			stats_add(row, slots[i], MARCHER_SPLICED_BYTES, bytes);
	}
}

void tunnel_count_more(struct tunnel *tunnel, enum marcher_counter counter, uint64_t n)
{
	struct stats_row *row = &this_worker->stats;

	stats_add(row, tunnel->service->slot, counter, n);
	stats_add(row, tunnel->listener->slot, counter, n);
	if (tunnel->endpoint)
		stats_add(row, tunnel->endpoint->backend->slot, counter, n);
}

void tunnel_count_one(struct tunnel *tunnel, enum marcher_counter counter)
{
	tunnel_count_more(tunnel, counter, 1);
}

static void event_address(struct marcher_event_address *out, const struct addr *addr)
{
	out->family = addr->family;
	if (addr->family == AF_UNIX)
		return;
	out->port = addr->port;
	memcpy(out->address, addr->ip, sizeof(out->address));
}

static void upstream_address(const struct tunnel *tunnel, struct addr *out)
{
	*out = tunnel->endpoint->addr;
	if (out->family != AF_UNIX && !out->port)
		out->port = tunnel->port;
}

void tunnel_local(const struct tunnel *tunnel, struct addr *local)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	if (tunnel->local)
		*local = *tunnel->local;
	else if (tunnel->listener->addr.family != AF_UNSPEC)
		*local = tunnel->listener->addr;
	else if (tunnel->side[CLIENT].source.fd >= 0 &&
	         getsockname(tunnel->side[CLIENT].source.fd, (struct sockaddr *)&sa, &length) == 0)
		addr_from_sockaddr(local, &sa);
	else
		*local = (struct addr){.port = tunnel->listener->addr.port};
}

static struct marcher_event *begin_event(struct tunnel *tunnel, enum marcher_event_kind kind)
{
	struct marcher_event *event = stats_event(&this_worker->stats, kind);

	if (!event)
		return NULL;
	event->connection_id = tunnel->id;
	event->service_slot = tunnel->service->slot;
	event->transport = TRANSPORT_TCP;
	event->retries = tunnel->retries;
	event_address(&event->client, &tunnel->client);
	/* Not asked of the kernel for each connection: a listener on any address shows its port alone. */
	event_address(&event->local, tunnel->local ? tunnel->local : &tunnel->listener->addr);
	if (tunnel->endpoint) {
		struct addr upstream;
		upstream_address(tunnel, &upstream);
		event->backend_slot = tunnel->endpoint->backend->slot;
		event_address(&event->upstream, &upstream);
	}
	return event;
}

void tunnel_report_opened(struct tunnel *tunnel)
{
	struct marcher_event *event = begin_event(tunnel, MARCHER_EVENT_CONNECTION_OPENED);

	if (!event)
		return;
	event->connect_us = tunnel->connect_us;
	stats_event_push(&this_worker->stats);
}

static void count_reason(struct tunnel *tunnel, enum marcher_close_reason reason)
{
	switch (reason) {
	case MARCHER_CLOSE_CLIENT_RESET:
		tunnel_count_one(tunnel, MARCHER_RESETS_CLIENT);
		break;
	case MARCHER_CLOSE_BACKEND_RESET:
		tunnel_count_one(tunnel, MARCHER_RESETS_BACKEND);
		break;
	case MARCHER_CLOSE_IDLE_TIMEOUT:
		tunnel_count_one(tunnel, MARCHER_IDLE_TIMEOUTS);
		break;
	case MARCHER_CLOSE_HALF_CLOSED_TIMEOUT:
		tunnel_count_one(tunnel, MARCHER_HALF_CLOSED_TIMEOUTS);
		break;
	case MARCHER_CLOSE_NO_BACKEND:
		tunnel_count_one(tunnel, MARCHER_NO_BACKEND);
		break;
	case MARCHER_CLOSE_LIMIT:
		tunnel_count_one(tunnel, MARCHER_REJECTED);
		break;
	case MARCHER_CLOSE_PROXY_HEADER:
		tunnel_count_one(tunnel, MARCHER_PROXY_HEADER_ERRORS);
		break;
	case MARCHER_CLOSE_DRAINED:
		tunnel_count_one(tunnel, MARCHER_DRAIN_CLOSED);
		break;
	default:
		break;
	}
}

void tunnel_report_closed(struct tunnel *tunnel, enum marcher_close_reason reason)
{
	struct stats_row *row = &this_worker->stats;
	struct marcher_event *event;

	count_reason(tunnel, reason);
	if (tunnel->counted) {
		stats_add(row, tunnel->service->slot, MARCHER_CONNECTIONS_CLOSED, 1);
		stats_add(row, tunnel->listener->slot, MARCHER_CONNECTIONS_CLOSED, 1);
		if (tunnel->endpoint && tunnel->state == TUNNEL_ESTABLISHED)
			stats_add(row, tunnel->endpoint->backend->slot, MARCHER_CONNECTIONS_CLOSED, 1);
	}
	event = begin_event(tunnel, MARCHER_EVENT_CONNECTION_CLOSED);
	if (!event)
		return;
	event->reason = (uint16_t)reason;
	event->bytes_received = tunnel->direction[CLIENT].bytes;
	event->bytes_sent = tunnel->direction[BACKEND].bytes;
	event->duration_us = this_worker->now_us - tunnel->opened_us;
	event->connect_us = tunnel->state == TUNNEL_ESTABLISHED ? tunnel->connect_us : 0;
	stats_event_push(row);
}

void tunnel_report_rejected(struct worker *worker, struct listener *listener, struct service *service,
                            const struct addr *client, enum marcher_close_reason reason)
{
	struct marcher_event *event;

	stats_add(&worker->stats, service->slot, MARCHER_REJECTED, 1);
	stats_add(&worker->stats, listener->slot, MARCHER_REJECTED, 1);
	if (reason == MARCHER_CLOSE_RATE) {
		stats_add(&worker->stats, service->slot, MARCHER_RATE_REFUSED, 1);
		stats_add(&worker->stats, listener->slot, MARCHER_RATE_REFUSED, 1);
	}
	event = stats_event(&worker->stats, MARCHER_EVENT_CONNECTION_CLOSED);
	if (!event)
		return;
	event->connection_id = ++worker->next_connection_id;
	event->service_slot = service->slot;
	event->transport = TRANSPORT_TCP;
	event->reason = (uint16_t)reason;
	event_address(&event->client, client);
	event_address(&event->local, &listener->addr);
	stats_event_push(&worker->stats);
}

static const char *state_name(const struct tunnel *tunnel)
{
	if (tunnel->drain_deadline_ms)
		return "draining";
	if (tunnel->state != TUNNEL_ESTABLISHED)
		return "connecting";
	return tunnel->direction[CLIENT].ended || tunnel->direction[BACKEND].ended ? "half-closed" : "established";
}

static bool copy_text(char **field, const char *text)
{
	char *copy = strdup(text);

	if (copy)
		*field = copy;
	return copy != NULL;
}

static bool copy_addr(char **field, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];

	return copy_text(field, addr_text(addr, text));
}

static bool describe(const struct tunnel *tunnel, uint64_t now_unix_ms, Marcher__Engine__V1__Connection *out)
{
	const struct worker *worker = this_worker;
	struct addr local, upstream;
	bool ok;

	tunnel_local(tunnel, &local);
	ok = copy_text(&out->service, tunnel->service->id->name) && copy_addr(&out->client, &tunnel->client) &&
	     copy_addr(&out->local, &local) && copy_text(&out->transport, "tcp") &&
	     copy_text(&out->state, state_name(tunnel));
	if (ok && tunnel->endpoint) {
		upstream_address(tunnel, &upstream);
		ok = copy_text(&out->backend, tunnel->endpoint->backend->name) && copy_addr(&out->upstream, &upstream);
	}
	out->id = tunnel->id;
	out->opened_unix_ms = now_unix_ms - (worker->now_us - tunnel->opened_us) / 1000;
	out->bytes_received = tunnel->direction[CLIENT].bytes;
	out->bytes_sent = tunnel->direction[BACKEND].bytes;
	out->worker = worker->index;
	out->idle_ms = worker->now_ms - tunnel->active_ms;
	return ok;
}

void tunnel_list(struct worker *worker, const char *service, uint32_t limit, Marcher__Engine__V1__ConnectionList *list)
{
	struct timespec now;
	uint64_t now_unix_ms;
	size_t room, n = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	now_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	room = worker->tunnel->count < limit ? worker->tunnel->count : limit;
	if (room) {
		Marcher__Engine__V1__Connection **grown =
		        realloc(list->connections, (list->n_connections + room) * sizeof(*grown));
		if (!grown)
			return;
		list->connections = grown;
	}
	for (struct tunnel *tunnel = worker->tunnel->all; tunnel; tunnel = tunnel->next) {
		if (service && strcmp(tunnel->service->id->name, service) != 0)
			continue;
		list->total++;
		if (n == room)
			continue;
		Marcher__Engine__V1__Connection *connection = malloc(sizeof(*connection));
		if (!connection)
			break;
		marcher__engine__v1__connection__init(connection);
		if (!describe(tunnel, now_unix_ms, connection)) {
			marcher__engine__v1__connection__free_unpacked(connection, NULL);
			break;
		}
		list->connections[list->n_connections++] = connection;
		n++;
	}
}
