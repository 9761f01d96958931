/* SPDX-License-Identifier: Apache-2.0 */
#include "agent_link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/poll.h> /* poll.h is the engine's own */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "build_id.h"
#include "ipc/frame.h"
#include "listen.h"
#include "mux/tunnel.h"
#include "mux/udp.h"
#include "runtime_internal.h"

typedef Marcher__Engine__V1__Request Request;
typedef Marcher__Engine__V1__Reply Reply;
typedef Marcher__Engine__V1__ConnectionList ConnectionList;

#define PEERS_MAX 64u
#define REQUESTS_PER_TURN 64u
#define COLLECTS_MAX 4u /* connection listings under way per peer */
#define QUEUE_PACKETS_MAX 256u
#define CONNECTIONS_MAX 10000u
#define ELSEWHERE_VALID_MAX_MS 60000u
#define REPLY_INLINE_MAX (IPC_PACKET_MAX - 64) /* leaves room for the envelope */

/* A reply that the peer had no room for yet. */
struct outgoing {
	struct outgoing *next;
	size_t length;
	size_t nfds;
	int *fds; /* ours */
	uint8_t data[];
};

struct peer {
	struct poll_source source; /* first; fd -1: closed */
	struct agent_link *link;
	struct peer *next, **pprev;
	uid_t uid;
	pid_t pid;
	bool greeted;
	bool doomed; /* to be closed at the end of its handler */
	unsigned collects;
	struct outgoing *queue, **last;
	unsigned queued;
};

struct agent_link {
	struct poll_source source; /* the listening socket */
	struct engine *engine;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	ino_t inode;
	struct peer *peers;
	unsigned npeers;
	struct peer *lease;
	char build_id[BUILD_ID_MAX];
	uint64_t started_unix_ms;
	uint8_t packet[IPC_PACKET_MAX];
};

/* Sending */

static void drop_queue(struct peer *peer)
{
	while (peer->queue) {
		struct outgoing *packet = peer->queue;
		peer->queue = packet->next;
		for (size_t i = 0; i < packet->nfds; i++)
			close(packet->fds[i]);
		free(packet->fds);
		free(packet);
	}
	peer->last = &peer->queue;
	peer->queued = 0;
}

static void enqueue(struct peer *peer, const uint8_t *data, size_t length, const int *fds, size_t nfds)
{
	struct outgoing *packet = peer->queued < QUEUE_PACKETS_MAX ? malloc(sizeof(*packet) + length) : NULL;
	int *copies = packet ? malloc((nfds ? nfds : 1) * sizeof(int)) : NULL;
	size_t copied = 0;
	while (copies && copied < nfds && (copies[copied] = fcntl(fds[copied], F_DUPFD_CLOEXEC, 0)) >= 0)
		copied++;
	if (!copies || copied < nfds) {
		log_line(LOG_WARN, "control: a peer that does not read its replies is dropped pid=%d", (int)peer->pid);
		for (size_t i = 0; i < copied; i++)
			close(copies[i]);
		free(copies);
		free(packet);
		peer->doomed = true;
		return;
	}
	memcpy(packet->data, data, length);
	packet->length = length;
	packet->fds = copies;
	packet->nfds = nfds;
	packet->next = NULL;
	*peer->last = packet;
	peer->last = &packet->next;
	peer->queued++;
}

static void flush(struct peer *peer)
{
	while (peer->queue && !peer->doomed) {
		struct outgoing *packet = peer->queue;
		int error = ipc_send(peer->source.fd, packet->data, packet->length, packet->fds, packet->nfds);
		if (error == -EAGAIN)
			return;
		if (error)
			peer->doomed = true;
		peer->queue = packet->next;
		if (!peer->queue)
			peer->last = &peer->queue;
		peer->queued--;
		for (size_t i = 0; i < packet->nfds; i++)
			close(packet->fds[i]);
		free(packet->fds);
		free(packet);
	}
}

static void send_reply(struct peer *peer, const Reply *reply, const int *fds, size_t nfds)
{
	if (peer->source.fd < 0 || peer->doomed)
		return;
	size_t length = marcher__engine__v1__reply__get_packed_size(reply);
	uint8_t *data = length <= IPC_PACKET_MAX ? malloc(length ? length : 1) : NULL;
	if (!data) {
		log_line(LOG_ERROR, "control: a reply of %zu bytes cannot be sent pid=%d", length, (int)peer->pid);
		peer->doomed = true;
		return;
	}
	marcher__engine__v1__reply__pack(reply, data);
	int error = peer->queue ? -EAGAIN : ipc_send(peer->source.fd, data, length, fds, nfds);
	if (error == -EAGAIN)
		enqueue(peer, data, length, fds, nfds);
	else if (error)
		peer->doomed = true;
	free(data);
}

static void send_error(struct peer *peer, uint64_t id, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void send_error(struct peer *peer, uint64_t id, const char *format, ...)
{
	char text[256];
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply.id = id;
	reply.error = text;
	send_reply(peer, &reply, NULL, 0);
}

/* Peers */

static void free_if_unused(struct peer *peer)
{
	if (peer->source.fd < 0 && peer->collects == 0)
		free(peer);
}

/* The loop may hold an event for it until the turn ends, so freeing is posted. */
struct burial {
	struct engine_message message;
	struct peer *peer;
};

static void bury(struct engine *engine, struct engine_message *message)
{
	struct burial *burial = (struct burial *)message;
	(void)engine;
	burial->peer->collects--;
	free_if_unused(burial->peer);
	free(burial);
}

static void close_peer(struct peer *peer)
{
	struct agent_link *link = peer->link;
	if (peer->source.fd < 0)
		return;
	if (link->lease == peer)
		link->lease = NULL;
	poller_remove(link->engine->poller, &peer->source);
	close(peer->source.fd);
	peer->source.fd = -1;
	drop_queue(peer);
	*peer->pprev = peer->next;
	if (peer->next)
		peer->next->pprev = peer->pprev;
	link->npeers--;
	struct burial *burial = calloc(1, sizeof(*burial));
	if (!burial)
		return; /* a few bytes are lost */
	burial->message.run = bury;
	burial->peer = peer;
	peer->collects++;
	engine_post(link->engine, &burial->message);
}

/* Requests */

static void answer_hello(struct peer *peer, const Request *request)
{
	struct agent_link *link = peer->link;
	struct engine *engine = link->engine;
	if (peer->uid != 0 && peer->uid != geteuid()) {
		send_error(peer, request->id, "uid %u may not control this engine: expected root or uid %u",
		           (unsigned)peer->uid, (unsigned)geteuid());
		peer->doomed = true;
		return;
	}
	if (request->hello->protocol_version != IPC_PROTOCOL_VERSION) {
		send_error(peer, request->id, "protocol version %u is not spoken here: expected %u",
		           request->hello->protocol_version, IPC_PROTOCOL_VERSION);
		return;
	}
	peer->greeted = true;
	if (request->hello->take_lease && !link->lease) {
		link->lease = peer;
		log_line(LOG_INFO, "control: lease taken pid=%d uid=%u", (int)peer->pid, (unsigned)peer->uid);
	}
	Marcher__Engine__V1__HelloReply hello = MARCHER__ENGINE__V1__HELLO_REPLY__INIT;
	hello.protocol_version = IPC_PROTOCOL_VERSION;
	hello.engine_version = (char *)(uintptr_t)MARCHER_VERSION;
	hello.build_id = link->build_id;
	hello.pid = getpid();
	hello.workers = engine->nworkers;
	hello.generation = runtime_generation(engine->runtime);
	hello.lease = link->lease == peer;
	hello.started_unix_ms = link->started_unix_ms;
	hello.stats_size = stats_bytes(engine->stats);
	hello.events_size = stats_events_bytes(engine->stats);
	hello.retiring_ms = engine_retiring_ms(engine);
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_HELLO;
	reply.hello = &hello;
	int fds[2] = {stats_fd(engine->stats), stats_events_fd(engine->stats)};
	send_reply(peer, &reply, fds, 2);
}

/* Reasons beyond what a packet holds are cut, and their number told. */
static void fit_reasons(Marcher__Engine__V1__ApplyReply *apply)
{
	while (marcher__engine__v1__apply_reply__get_packed_size(apply) > REPLY_INLINE_MAX) {
		Marcher__Engine__V1__Reason ***list =
		        apply->n_unbound > apply->n_reasons ? &apply->unbound : &apply->reasons;
		size_t *count = apply->n_unbound > apply->n_reasons ? &apply->n_unbound : &apply->n_reasons;
		if (*count < 2)
			return;
		/* Halved, so that this ends soon; the last of those that are left says it. */
		size_t keep = *count / 2, cut = *count - keep + 1;
		for (size_t i = keep; i < *count; i++)
			marcher__engine__v1__reason__free_unpacked((*list)[i], NULL);
		*count = keep;
		char *text = NULL;
		if (asprintf(&text, "and %zu more", cut) > 0) {
			free((*list)[keep - 1]->reason);
			(*list)[keep - 1]->reason = text;
			(*list)[keep - 1]->path[0] = '\0';
		}
	}
}

static void answer_apply(struct peer *peer, const Request *request, const int *fds, size_t nfds)
{
	struct engine *engine = peer->link->engine;
	const void *data;
	size_t length;
	if (peer->link->lease != peer) {
		send_error(peer, request->id, "apply needs the control lease, which %s",
		           peer->link->lease ? "another peer holds" : "was not asked for in hello");
		return;
	}
	if (nfds != 1) {
		send_error(peer, request->id, "apply comes with %zu descriptors; expected one sealed memfd", nfds);
		return;
	}
	int error = ipc_memfd_map(fds[0], IPC_SNAPSHOT_MAX, &data, &length);
	if (error) {
		send_error(peer, request->id,
		           "the snapshot's memfd cannot be used: %s (expected one of at most %u bytes, sealed "
		           "against shrinking, growing and writing)",
		           strerror(-error), IPC_SNAPSHOT_MAX);
		return;
	}
	Marcher__Engine__V1__ApplyReply apply = MARCHER__ENGINE__V1__APPLY_REPLY__INIT;
	runtime_apply(engine->runtime, data, length, request->apply->tolerate_bind_errors, &apply);
	if (data)
		munmap((void *)(uintptr_t)data, length);
	if (apply.accepted)
		log_line(LOG_INFO, "apply: accepted generation=%llu bytes=%zu us=%llu unbound=%zu",
		         (unsigned long long)apply.generation, length, (unsigned long long)apply.apply_us,
		         apply.n_unbound);
	else
		log_line(LOG_WARN, "apply: refused, generation %llu stays bytes=%zu reasons=%zu path=%s first=\"%s\"",
		         (unsigned long long)apply.generation, length, apply.n_reasons,
		         apply.n_reasons ? apply.reasons[0]->path : "",
		         apply.n_reasons ? apply.reasons[0]->reason : "");
	fit_reasons(&apply);
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_APPLY;
	reply.apply = &apply;
	send_reply(peer, &reply, NULL, 0);
	runtime_reply_free(&apply);
}

/* Every listening descriptor from offset on, with its key. */
struct listing {
	uint32_t at, offset;
	size_t count;
	char *keys[IPC_FDS_MAX];
	int fds[IPC_FDS_MAX];
};

static void list_listener(struct listener *listener, void *context)
{
	struct listing *listing = context;
	char key[LISTEN_KEY_MAX];
	for (uint32_t i = 0; i < listener->nfds; i++, listing->at++) {
		if (listing->at < listing->offset || listing->count == IPC_FDS_MAX)
			continue;
		listen_key(listener, i, key);
		char *copy = strdup(key);
		if (!copy)
			continue;
		listing->keys[listing->count] = copy;
		listing->fds[listing->count++] = listener->fds[i];
	}
}

static void answer_listeners(struct peer *peer, const Request *request)
{
	struct listing listing = {.offset = request->listeners->offset};
	bool known = request->listeners->known_version && request->listeners->known_version == listen_version();
	if (known)
		listing.offset = UINT32_MAX;
	runtime_each_listener(peer->link->engine->runtime, list_listener, &listing);
	Marcher__Engine__V1__ListenersReply listeners = MARCHER__ENGINE__V1__LISTENERS_REPLY__INIT;
	listeners.total = listing.at;
	listeners.offset = request->listeners->offset;
	listeners.keys = listing.keys;
	listeners.n_keys = listing.count;
	listeners.version = listen_version();
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_LISTENERS;
	reply.listeners = &listeners;
	send_reply(peer, &reply, listing.fds, listing.count);
	for (size_t i = 0; i < listing.count; i++)
		free(listing.keys[i]);
}

static void answer_retire(struct peer *peer, const Request *request)
{
	struct engine *engine = peer->link->engine;
	if (peer->link->lease != peer) {
		send_error(peer, request->id, "retire needs the control lease");
		return;
	}
	Marcher__Engine__V1__RetireReply retire = MARCHER__ENGINE__V1__RETIRE_REPLY__INIT;
	retire.connections = engine_connections(engine);
	engine_retire(engine, request->retire->drain_timeout_ms);
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_RETIRE;
	reply.retire = &retire;
	send_reply(peer, &reply, NULL, 0);
}

static void answer_ping(struct peer *peer, const Request *request)
{
	struct engine *engine = peer->link->engine;
	uint64_t turns[WORKERS_MAX];
	Marcher__Engine__V1__PingReply ping = MARCHER__ENGINE__V1__PING_REPLY__INIT;
	ping.generation = runtime_generation(engine->runtime);
	ping.retiring_ms = engine_retiring_ms(engine);
	for (unsigned i = 0; i < engine->nworkers; i++)
		turns[i] = atomic_load_explicit(&engine->workers[i]->turns, memory_order_relaxed);
	ping.worker_turns = turns;
	ping.n_worker_turns = engine->nworkers;
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_PING;
	reply.ping = &ping;
	send_reply(peer, &reply, NULL, 0);
}

static void answer_backends(struct peer *peer, const Request *request)
{
	Marcher__Engine__V1__BackendsReply backends = MARCHER__ENGINE__V1__BACKENDS_REPLY__INIT, outside = backends;
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	int fd = -1;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_BACKENDS;
	reply.backends = &backends;
	int error = runtime_backends(peer->link->engine->runtime, request->backends->service, &backends);
	size_t length = marcher__engine__v1__backends_reply__get_packed_size(&backends);
	if (!error && length > REPLY_INLINE_MAX) {
		uint8_t *packed = malloc(length);
		error = packed ? 0 : -ENOMEM;
		if (packed) {
			marcher__engine__v1__backends_reply__pack(&backends, packed);
			fd = ipc_memfd_sealed("marcher-backends", packed, length);
			free(packed);
			error = fd < 0 ? fd : 0;
		}
		outside.in_memfd = true;
		reply.backends = &outside;
	}
	if (error)
		send_error(peer, request->id, "the list of backends cannot be made: %s", strerror(-error));
	else
		send_reply(peer, &reply, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
	for (size_t i = 0; i < backends.n_backends; i++)
		marcher__engine__v1__backend_state__free_unpacked(backends.backends[i], NULL);
	free(backends.backends);
}

static void answer_load_elsewhere(struct peer *peer, const Request *request)
{
	if (peer->link->lease != peer) {
		send_error(peer, request->id, "load_elsewhere needs the control lease");
		return;
	}
	uint32_t valid_ms = request->load_elsewhere->valid_ms;
	if (valid_ms < 1 || valid_ms > ELSEWHERE_VALID_MAX_MS) {
		send_error(peer, request->id, "load_elsewhere is to be valid for %u ms; expected 1 to %u", valid_ms,
		           ELSEWHERE_VALID_MAX_MS);
		return;
	}
	Marcher__Engine__V1__LoadElsewhereReply load = MARCHER__ENGINE__V1__LOAD_ELSEWHERE_REPLY__INIT;
	load.services = runtime_load_elsewhere(peer->link->engine->runtime, request->load_elsewhere);
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_LOAD_ELSEWHERE;
	reply.load_elsewhere = &load;
	send_reply(peer, &reply, NULL, 0);
}

/* Connections: every worker lists its own, the last to finish sends all of it to the main thread. */

struct collect {
	struct engine_message done;
	struct peer *peer;
	uint64_t request_id;
	char *service; /* NULL: all */
	uint32_t limit;
	atomic_uint left;
	unsigned nparts;
	struct part {
		struct worker_message message; /* first */
		struct collect *collect;
		ConnectionList *list;
	} parts[];
};

static void free_collect(struct collect *collect)
{
	for (unsigned i = 0; i < collect->nparts; i++) {
		if (collect->parts[i].list)
			marcher__engine__v1__connection_list__free_unpacked(collect->parts[i].list, NULL);
	}
	free(collect->service);
	free(collect);
}

/* Moves all parts into the first. */
static ConnectionList *merge(struct collect *collect)
{
	size_t count = 0;
	for (unsigned i = 0; i < collect->nparts; i++)
		count += collect->parts[i].list->n_connections;
	ConnectionList *all = collect->parts[0].list;
	void *grown = realloc(all->connections, (count ? count : 1) * sizeof(all->connections[0]));
	if (!grown)
		return NULL;
	all->connections = grown;
	for (unsigned i = 1; i < collect->nparts; i++) {
		ConnectionList *part = collect->parts[i].list;
		all->total += part->total;
		for (size_t k = 0; k < part->n_connections; k++)
			all->connections[all->n_connections++] = part->connections[k];
		part->n_connections = 0;
	}
	while (all->n_connections > collect->limit)
		marcher__engine__v1__connection__free_unpacked(all->connections[--all->n_connections], NULL);
	return all;
}

static void collected(struct engine *engine, struct engine_message *message)
{
	struct collect *collect = (struct collect *)message;
	struct peer *peer = collect->peer;
	(void)engine;
	peer->collects--;
	if (peer->source.fd < 0) {
		free_collect(collect);
		free_if_unused(peer);
		return;
	}
	bool complete = true;
	for (unsigned i = 0; i < collect->nparts; i++)
		complete &= collect->parts[i].list != NULL;
	ConnectionList *all = complete ? merge(collect) : NULL;
	Marcher__Engine__V1__ConnectionsReply connections = MARCHER__ENGINE__V1__CONNECTIONS_REPLY__INIT;
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	int fd = -1, error = all ? 0 : -ENOMEM;
	reply.id = collect->request_id;
	reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_CONNECTIONS;
	reply.connections = &connections;
	if (all) {
		size_t length = marcher__engine__v1__connection_list__get_packed_size(all);
		connections.list = all;
		if (length > REPLY_INLINE_MAX) {
			uint8_t *packed = malloc(length);
			error = packed ? 0 : -ENOMEM;
			if (packed) {
				marcher__engine__v1__connection_list__pack(all, packed);
				fd = ipc_memfd_sealed("marcher-connections", packed, length);
				free(packed);
				error = fd < 0 ? fd : 0;
			}
			connections.list = NULL;
			connections.in_memfd = true;
		}
	}
	if (error)
		send_error(peer, collect->request_id, "the list of connections cannot be made: %s", strerror(-error));
	else
		send_reply(peer, &reply, &fd, fd >= 0 ? 1 : 0);
	if (fd >= 0)
		close(fd);
	free_collect(collect);
	if (peer->doomed)
		close_peer(peer);
}

static void collect_on_worker(struct worker *worker, struct worker_message *message)
{
	struct part *part = (struct part *)message;
	struct collect *collect = part->collect;
	part->list = malloc(sizeof(*part->list));
	if (part->list) {
		marcher__engine__v1__connection_list__init(part->list);
		tunnel_list(worker, collect->service, collect->limit, part->list);
		udp_list(worker, collect->service, collect->limit, part->list);
	}
	if (atomic_fetch_sub_explicit(&collect->left, 1, memory_order_acq_rel) == 1)
		engine_post(worker->engine, &collect->done);
}

static void answer_connections(struct peer *peer, const Request *request)
{
	struct engine *engine = peer->link->engine;
	const char *service = request->connections->service;
	if (peer->collects >= COLLECTS_MAX) {
		send_error(peer, request->id, "%u connection listings are under way; wait for their replies",
		           COLLECTS_MAX);
		return;
	}
	struct collect *collect = calloc(1, sizeof(*collect) + engine->nworkers * sizeof(collect->parts[0]));
	if (!collect || (service[0] && !(collect->service = strdup(service)))) {
		free(collect);
		send_error(peer, request->id, "out of memory");
		return;
	}
	collect->peer = peer;
	peer->collects++;
	collect->request_id = request->id;
	collect->limit = request->connections->limit && request->connections->limit < CONNECTIONS_MAX
	                         ? request->connections->limit
	                         : CONNECTIONS_MAX;
	collect->done.run = collected;
	collect->nparts = engine->nworkers;
	atomic_init(&collect->left, engine->nworkers);
	for (unsigned i = 0; i < engine->nworkers; i++) {
		collect->parts[i].message.run = collect_on_worker;
		collect->parts[i].collect = collect;
	}
	for (unsigned i = 0; i < engine->nworkers; i++)
		worker_post(engine->workers[i], &collect->parts[i].message);
}

static void answer(struct peer *peer, const uint8_t *data, size_t length, const int *fds, size_t nfds)
{
	Request *request = marcher__engine__v1__request__unpack(NULL, length, data);
	if (!request) {
		send_error(peer, 0, "%zu bytes are not a marcher.engine.v1.Request", length);
		return;
	}
	if (!peer->greeted && request->kind_case != MARCHER__ENGINE__V1__REQUEST__KIND_HELLO) {
		send_error(peer, request->id, "the first request has to be hello");
	} else {
		switch (request->kind_case) {
		case MARCHER__ENGINE__V1__REQUEST__KIND_HELLO:
			answer_hello(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_APPLY:
			answer_apply(peer, request, fds, nfds);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_CONNECTIONS:
			answer_connections(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_LISTENERS:
			answer_listeners(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_RETIRE:
			answer_retire(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_PING:
			answer_ping(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_BACKENDS:
			answer_backends(peer, request);
			break;
		case MARCHER__ENGINE__V1__REQUEST__KIND_LOAD_ELSEWHERE:
			answer_load_elsewhere(peer, request);
			break;
		default:
			send_error(peer, request->id, "the request has no kind that this engine (%s) knows",
			           MARCHER_VERSION);
			break;
		}
	}
	marcher__engine__v1__request__free_unpacked(request, NULL);
}

static void peer_ready(struct poll_source *source, uint32_t events)
{
	struct peer *peer = (struct peer *)source;
	struct agent_link *link = peer->link;
	if (events & POLL_WRITE)
		flush(peer);
	unsigned served = 0;
	while (!peer->doomed && served < REQUESTS_PER_TURN) {
		int fds[8]; /* no request needs more than one */
		size_t nfds = 8;
		ssize_t n = ipc_receive(source->fd, link->packet, sizeof(link->packet), fds, &nfds);
		if (n == -EAGAIN)
			break;
		if (n == -EMSGSIZE || n == -EMFILE) {
			send_error(peer, 0, "a packet is longer than %u bytes or has too many descriptors",
			           IPC_PACKET_MAX);
			continue;
		}
		if (n <= 0) {
			peer->doomed = true;
			break;
		}
		answer(peer, link->packet, (size_t)n, fds, nfds);
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		served++;
	}
	if (peer->doomed) {
		close_peer(peer);
	} else if (served == REQUESTS_PER_TURN) {
		/* More may wait, and no new edge tells of it: registering again does. */
		poller_remove(link->engine->poller, source);
		if (poller_add(link->engine->poller, source) < 0)
			close_peer(peer);
	}
}

static void peer_arrived(struct poll_source *source, uint32_t events)
{
	struct agent_link *link = (struct agent_link *)source;
	(void)events;
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct ucred cred = {0};
	socklen_t length = sizeof(cred);
	struct peer *peer = link->npeers < PEERS_MAX ? calloc(1, sizeof(*peer)) : NULL;
	if (!peer || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &length) < 0) {
		free(peer);
		close(fd);
		return;
	}
	peer->source = (struct poll_source){.handler = peer_ready, .fd = fd};
	peer->link = link;
	peer->uid = cred.uid;
	peer->pid = cred.pid;
	peer->last = &peer->queue;
	peer->next = link->peers;
	peer->pprev = &link->peers;
	if (peer->next)
		peer->next->pprev = &peer->next;
	link->peers = peer;
	link->npeers++;
	if (poller_add(link->engine->poller, &peer->source) < 0)
		close_peer(peer);
}

/* The listening socket */

/* Whether somebody answers on the path. */
static bool answered(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	bool yes = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN;
	close(fd);
	return yes;
}

static int listen_on(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	int error = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
	if (error == EADDRINUSE && !answered(address)) {
		struct stat st;
		/* Left by an engine that was killed. Anything else that stands there is not ours to remove. */
		if (lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(address->sun_path) == 0)
			error = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
	}
	if (!error && (chmod(address->sun_path, 0600) < 0 || listen(fd, 16) < 0))
		error = errno;
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}

struct agent_link *agent_link_new(struct engine *engine, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timespec now;
	struct stat st;
	size_t length = strlen(path);
	if (length >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	memcpy(address.sun_path, path, length + 1);
	struct agent_link *link = calloc(1, sizeof(*link));
	if (!link)
		return NULL;
	link->engine = engine;
	memcpy(link->path, path, length + 1);
	clock_gettime(CLOCK_REALTIME, &now);
	link->started_unix_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	int error = build_id_of("/proc/self/exe", link->build_id);
	if (error)
		log_line(LOG_WARN, "control: the build cannot be identified error=\"%s\"", strerror(-error));
	int fd = listen_on(&address);
	link->source = (struct poll_source){.handler = peer_arrived, .fd = fd};
	error = fd < 0 ? fd : poller_add_level(engine->poller, &link->source, false);
	if (error) {
		if (fd >= 0)
			close(fd);
		free(link);
		errno = -error;
		return NULL;
	}
	if (lstat(path, &st) == 0)
		link->inode = st.st_ino;
	return link;
}

void agent_link_free(struct agent_link *link)
{
	struct stat st;
	if (!link)
		return;
	while (link->peers)
		close_peer(link->peers);
	poller_remove(link->engine->poller, &link->source);
	close(link->source.fd);
	/* A successor's socket may stand there by now. */
	if (lstat(link->path, &st) == 0 && st.st_ino == link->inode)
		unlink(link->path);
	free(link);
}

int agent_link_inherit(struct engine *engine, int fd, int timeout_ms)
{
	uint8_t *packet = malloc(IPC_PACKET_MAX);
	uint32_t got = 0, total = 0;
	int error = packet ? 0 : -ENOMEM;
	do {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int n = error ? 0 : poll(&ready, 1, timeout_ms);
		if (error || (n < 0 && errno == EINTR))
			continue;
		if (n <= 0) {
			error = n < 0 ? -errno : -ETIMEDOUT;
			break;
		}
		int fds[IPC_FDS_MAX];
		size_t nfds = IPC_FDS_MAX;
		ssize_t length = ipc_receive(fd, packet, IPC_PACKET_MAX, fds, &nfds);
		if (length == 0)
			break; /* the sender has no more */
		if (length < 0) {
			error = (int)length;
			break;
		}
		Marcher__Engine__V1__ListenersReply *reply =
		        marcher__engine__v1__listeners_reply__unpack(NULL, (size_t)length, packet);
		if (!reply || reply->n_keys != nfds) {
			for (size_t i = 0; i < nfds; i++)
				close(fds[i]);
			error = -EPROTO;
		} else {
			total = reply->total;
			for (size_t i = 0; i < nfds; i++)
				listen_inherit(engine, reply->keys[i], fds[i]);
			got += (uint32_t)nfds;
			if (nfds == 0)
				total = got;
		}
		if (reply)
			marcher__engine__v1__listeners_reply__free_unpacked(reply, NULL);
	} while (!error && got < total);
	free(packet);
	if (error)
		return error;
	return (int)got;
}
