/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine for the tests of libmarcher: speaks control.proto, listens on what the snapshot says (TCP, answering every
 * connection with its generation and closing it), writes statistics and events, and misbehaves on demand.
 *
 * Names of services in the snapshot that are demands:
 * - refuse: the snapshot is refused with a reason
 * - slow: the reply to the apply comes after 1.2 s
 * - crash: abort() 50 ms after it runs (also after a restart on it)
 * - crash-at-once: abort() while it is loaded
 * - hang: the main thread stops answering
 * - hang-worker: the turn counters stand still
 * - hang-up: the connection is closed instead of answering this apply, and instead of retiring
 * - closed: new control connections are closed at once
 *
 * A request for the connections of the service "many" is answered with as many as it allows.
 *
 * Demands in the environment:
 * - FAKE_ENGINE_FAIL: write it to stderr and exit(3)
 * - FAKE_ENGINE_NO_LOAD: come up without the snapshot
 * - FAKE_ENGINE_HANG: write the process number to stderr and stand still, "silent" before it listens, "mute" listening
 * - FAKE_ENGINE_GARBAGE: the statistics have another magic number
 * - FAKE_ENGINE_TORN_LISTENERS: the last packet of the list of so many listening sockets has no keys
 * - FAKE_ENGINE_RESTLESS: every packet of that list has another version
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ipc/event_ring.h"
#include "ipc/frame.h"
#include "ipc/stats_layout.h"
#include "marcher/engine/v1/control.pb-c.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

#define WORKERS 2u
#define SLOTS 1024u
#define EVENTS 64u
#define LISTENERS_MAX 256
#define PEERS_MAX 16

typedef Marcher__Engine__V1__Request Request;
typedef Marcher__Engine__V1__Reply Reply;
typedef Marcher__Engine__V1__Snapshot Snapshot;

static struct {
	uint64_t generation;
	struct {
		int fd;
		char key[64];
		char service[64];
	} listeners[LISTENERS_MAX];
	size_t nlisteners;
	uint64_t listeners_version;
	struct {
		int fd;
		char key[64];
	} inherited[LISTENERS_MAX];
	size_t ninherited;
	int peers[PEERS_MAX];
	int lease;
	int stats_fd, events_fd;
	uint8_t *stats, *events;
	uint64_t turns;
	bool hang, hang_worker, slow, hang_up, closed;
	uint64_t crash_at_ms, retire_at_ms;
} engine = {.lease = -1, .listeners_version = 1};

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "fake engine: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void make_memory(void)
{
	uint64_t directory = 4096, counters = directory + SLOTS * sizeof(struct stats_directory_entry);
	uint64_t bytes = counters + (WORKERS + 1ull) * SLOTS * sizeof(struct stats_slot);
	uint64_t event_bytes = 4096 + (WORKERS + 1ull) * event_ring_bytes(EVENTS);
	engine.stats_fd = memfd_create("fake-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	engine.events_fd = memfd_create("fake-events", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (ftruncate(engine.stats_fd, (off_t)bytes) || ftruncate(engine.events_fd, (off_t)event_bytes))
		die("memfd");
	fcntl(engine.stats_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	fcntl(engine.events_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	engine.stats = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, engine.stats_fd, 0);
	engine.events = mmap(NULL, event_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, engine.events_fd, 0);
	*(struct stats_header *)engine.stats = (struct stats_header){
	        .magic = getenv("FAKE_ENGINE_GARBAGE") ? 1 : STATS_MAGIC,
	        .version = STATS_VERSION,
	        .workers = WORKERS,
	        .slots = SLOTS,
	        .slots_used = 1,
	        .directory_offset = directory,
	        .counters_offset = counters,
	};
	*(struct event_file_header *)engine.events = (struct event_file_header){
	        .magic = EVENT_RING_MAGIC, .version = 1, .rings = WORKERS + 1, .capacity = EVENTS};
}

static uint32_t slot_of(const char *service)
{
	struct stats_header *header = (void *)engine.stats;
	struct stats_directory_entry *entries = (void *)(engine.stats + header->directory_offset);
	uint32_t i;
	for (i = 1; i < header->slots_used; i++)
		if (!strcmp(entries[i].service, service))
			return i;
	entries[i].sequence++;
	entries[i].kind = MARCHER_SLOT_SERVICE;
	snprintf(entries[i].service, sizeof(entries[i].service), "%s", service);
	entries[i].sequence++;
	header->slots_used = i + 1;
	return i;
}

/* Counts a connection in every row, so that a reader has to sum, and writes an event per ring. */
static void count(const char *service)
{
	struct stats_header *header = (void *)engine.stats;
	uint32_t slot = slot_of(service);
	for (uint32_t row = 0; row <= WORKERS; row++) {
		struct stats_slot *cell = (void *)(engine.stats + header->counters_offset +
		                                   ((uint64_t)row * SLOTS + slot) * sizeof(struct stats_slot));
		cell->counters[MARCHER_CONNECTIONS_OPENED]++;
		cell->connect_us[3]++;
		struct event_ring *ring = event_ring_at(engine.events, row);
		struct marcher_event *event = event_ring_reserve(ring, EVENTS);
		if (!event) {
			header->events_dropped[row]++;
			continue;
		}
		*event = (struct marcher_event){.kind = MARCHER_EVENT_CONNECTION_CLOSED,
		                                .service_slot = slot,
		                                .worker = (uint8_t)row,
		                                .transport = 6,
		                                .connection_id = engine.generation};
		event_ring_push(ring);
	}
}

static int bind_listener(uint32_t port, const char *key)
{
	for (size_t i = 0; i < engine.ninherited; i++)
		if (engine.inherited[i].fd >= 0 && !strcmp(engine.inherited[i].key, key)) {
			int fd = engine.inherited[i].fd;
			engine.inherited[i].fd = -1;
			return fd;
		}
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 64)) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool named(const Snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->n_services; i++)
		if (!strcmp(s->services[i]->name, name))
			return true;
	return false;
}

static void drop_service(const char *name)
{
	for (size_t i = engine.nlisteners; i-- > 0;)
		if (!strcmp(engine.listeners[i].service, name)) {
			close(engine.listeners[i].fd);
			engine.listeners[i] = engine.listeners[--engine.nlisteners];
			engine.listeners_version++;
		}
}

static void take(const Snapshot *s)
{
	if (!s->base_generation)
		while (engine.nlisteners) {
			/* Crude, but enough: a complete snapshot binds anew, from what it had. */
			size_t i = --engine.nlisteners;
			if (engine.ninherited < LISTENERS_MAX) {
				engine.inherited[engine.ninherited].fd = engine.listeners[i].fd;
				strcpy(engine.inherited[engine.ninherited++].key, engine.listeners[i].key);
			}
		}
	for (size_t i = 0; i < s->n_removed_services; i++)
		drop_service(s->removed_services[i]);
	for (size_t i = 0; i < s->n_services; i++) {
		const Marcher__Engine__V1__Service *service = s->services[i];
		if (s->base_generation)
			drop_service(service->name);
		for (size_t l = 0; l < service->n_listeners && engine.nlisteners < LISTENERS_MAX; l++) {
			char *key = engine.listeners[engine.nlisteners].key;
			snprintf(key, 64, "tcp|7f000001|%u|0", service->listeners[l]->port_first);
			int fd = bind_listener(service->listeners[l]->port_first, key);
			if (fd < 0)
				continue;
			engine.listeners[engine.nlisteners].fd = fd;
			snprintf(engine.listeners[engine.nlisteners++].service, 64, "%s", service->name);
			engine.listeners_version++;
		}
	}
	engine.generation = s->generation;
	if (named(s, "crash-at-once"))
		abort();
	if (named(s, "crash"))
		engine.crash_at_ms = now_ms() + 50;
	engine.hang |= named(s, "hang");
	engine.hang_worker |= named(s, "hang-worker");
	engine.slow = named(s, "slow");
	engine.hang_up = named(s, "hang-up");
	engine.closed |= named(s, "closed");
}

static void close_unused(void)
{
	for (size_t i = 0; i < engine.ninherited; i++)
		if (engine.inherited[i].fd >= 0)
			close(engine.inherited[i].fd);
	engine.ninherited = 0;
}

static void load(const char *path)
{
	FILE *file = fopen(path, "r");
	uint64_t length;
	if (!file)
		die(path);
	while (fread(&length, sizeof(length), 1, file) == 1) {
		uint8_t *packed = malloc(length ? length : 1);
		if (fread(packed, 1, length, file) != length)
			die("torn snapshot");
		Snapshot *s = marcher__engine__v1__snapshot__unpack(NULL, length, packed);
		if (!s || s->base_generation != engine.generation)
			die("snapshot");
		take(s);
		marcher__engine__v1__snapshot__free_unpacked(s, NULL);
		free(packed);
	}
	fclose(file);
}

static void inherit(int sock)
{
	static uint8_t packet[IPC_PACKET_MAX];
	uint32_t total = 1;
	while (engine.ninherited < total) {
		int fds[IPC_FDS_MAX];
		size_t n = IPC_FDS_MAX;
		ssize_t length = ipc_receive(sock, packet, sizeof(packet), fds, &n);
		if (length <= 0)
			die("inherit");
		Marcher__Engine__V1__ListenersReply *list =
		        marcher__engine__v1__listeners_reply__unpack(NULL, (size_t)length, packet);
		total = list->total;
		for (size_t i = 0; i < n; i++) {
			engine.inherited[engine.ninherited].fd = fds[i];
			snprintf(engine.inherited[engine.ninherited++].key, 64, "%s", list->keys[i]);
		}
		marcher__engine__v1__listeners_reply__free_unpacked(list, NULL);
	}
	close(sock);
}

static void reply_send(int peer, Reply *reply, const int *fds, size_t nfds)
{
	static uint8_t packet[IPC_PACKET_MAX];
	size_t length = marcher__engine__v1__reply__pack(reply, packet);
	ipc_send(peer, packet, length, fds, nfds);
}

static void on_apply(int peer, Reply *reply, int fd)
{
	Marcher__Engine__V1__ApplyReply apply = MARCHER__ENGINE__V1__APPLY_REPLY__INIT;
	Marcher__Engine__V1__Reason reason = MARCHER__ENGINE__V1__REASON__INIT, *reasons[] = {&reason};
	const void *data;
	size_t length;
	if (ipc_memfd_map(fd, IPC_SNAPSHOT_MAX, &data, &length))
		die("memfd");
	Snapshot *s = marcher__engine__v1__snapshot__unpack(NULL, length, data);
	if (named(s, "refuse")) {
		reason.path = (char *)"services[0]";
		reason.reason = (char *)"told to refuse";
		apply.reasons = reasons;
		apply.n_reasons = 1;
	} else if (s->generation <= engine.generation ||
	           (s->base_generation && s->base_generation != engine.generation)) {
		reason.path = (char *)"generation";
		reason.reason = (char *)"does not follow";
		apply.reasons = reasons;
		apply.n_reasons = 1;
	} else {
		take(s);
		close_unused();
		apply.accepted = true;
	}
	apply.generation = engine.generation;
	reply->kind_case = MARCHER__ENGINE__V1__REPLY__KIND_APPLY;
	reply->apply = &apply;
	if (engine.slow)
		usleep(1200000);
	if (engine.hang_up)
		shutdown(peer, SHUT_RDWR);
	else
		reply_send(peer, reply, NULL, 0);
	marcher__engine__v1__snapshot__free_unpacked(s, NULL);
	if (length)
		munmap((void *)(uintptr_t)data, length);
}

static void on_listeners(int peer, Reply *reply, const Marcher__Engine__V1__ListenersRequest *request)
{
	Marcher__Engine__V1__ListenersReply list = MARCHER__ENGINE__V1__LISTENERS_REPLY__INIT;
	char *keys[IPC_FDS_MAX];
	int fds[IPC_FDS_MAX];
	size_t n = 0;
	list.total = (uint32_t)engine.nlisteners;
	list.offset = request->offset;
	list.version = engine.listeners_version;
	/* Few to a packet, so that there are several. */
	if (request->known_version != engine.listeners_version)
		for (size_t i = request->offset; i < engine.nlisteners && n < 3; i++, n++) {
			keys[n] = engine.listeners[i].key;
			fds[n] = engine.listeners[i].fd;
		}
	const char *torn = getenv("FAKE_ENGINE_TORN_LISTENERS");
	bool without = torn && strtoul(torn, NULL, 10) == engine.nlisteners && list.offset + n == engine.nlisteners;
	list.keys = keys;
	list.n_keys = without ? 0 : n;
	if (getenv("FAKE_ENGINE_RESTLESS"))
		engine.listeners_version++;
	reply->kind_case = MARCHER__ENGINE__V1__REPLY__KIND_LISTENERS;
	reply->listeners = &list;
	reply_send(peer, reply, fds, n);
}

static void on_connections(int peer, Reply *reply, const Marcher__Engine__V1__ConnectionsRequest *request)
{
	Marcher__Engine__V1__ConnectionsReply connections = MARCHER__ENGINE__V1__CONNECTIONS_REPLY__INIT;
	Marcher__Engine__V1__ConnectionList list = MARCHER__ENGINE__V1__CONNECTION_LIST__INIT;
	uint32_t count = strcmp(request->service, "many") ? 0 : request->limit;
	Marcher__Engine__V1__Connection *all = calloc(count + 1, sizeof(*all)), **pointers;
	pointers = calloc(count + 1, sizeof(*pointers));
	for (uint32_t i = 0; i < count; i++) {
		marcher__engine__v1__connection__init(&all[i]);
		all[i].id = i + 1;
		all[i].client = (char *)"127.0.0.1:40000";
		pointers[i] = &all[i];
	}
	list.connections = pointers;
	list.n_connections = count;
	list.total = count ? 100000 : 0;
	size_t size = marcher__engine__v1__connection_list__get_packed_size(&list);
	int fd = -1;
	reply->kind_case = MARCHER__ENGINE__V1__REPLY__KIND_CONNECTIONS;
	reply->connections = &connections;
	if (size > 32768) {
		uint8_t *packed = malloc(size);
		marcher__engine__v1__connection_list__pack(&list, packed);
		fd = ipc_memfd_sealed("connections", packed, size);
		free(packed);
		connections.in_memfd = true;
	} else {
		connections.list = &list;
	}
	reply_send(peer, reply, &fd, fd >= 0);
	if (fd >= 0)
		close(fd);
	free(all);
	free(pointers);
}

/* False when the peer has gone. */
static bool serve(int peer)
{
	static uint8_t packet[IPC_PACKET_MAX];
	int fds[IPC_FDS_MAX];
	size_t nfds = IPC_FDS_MAX;
	ssize_t length = ipc_receive(peer, packet, sizeof(packet), fds, &nfds);
	if (length <= 0)
		return false;
	Request *request = marcher__engine__v1__request__unpack(NULL, (size_t)length, packet);
	Reply reply = MARCHER__ENGINE__V1__REPLY__INIT;
	reply.id = request->id;
	switch (request->kind_case) {
	case MARCHER__ENGINE__V1__REQUEST__KIND_HELLO: {
		Marcher__Engine__V1__HelloReply hello = MARCHER__ENGINE__V1__HELLO_REPLY__INIT;
		if (request->hello->take_lease && engine.lease < 0)
			engine.lease = peer;
		hello.protocol_version = IPC_PROTOCOL_VERSION;
		hello.engine_version = (char *)"fake";
		hello.build_id = (char *)"0123";
		hello.pid = getpid();
		hello.workers = WORKERS;
		hello.generation = engine.generation;
		hello.lease = engine.lease == peer;
		reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_HELLO;
		reply.hello = &hello;
		int memory[] = {engine.stats_fd, engine.events_fd};
		reply_send(peer, &reply, memory, 2);
		break;
	}
	case MARCHER__ENGINE__V1__REQUEST__KIND_APPLY:
		on_apply(peer, &reply, fds[0]);
		break;
	case MARCHER__ENGINE__V1__REQUEST__KIND_LISTENERS:
		on_listeners(peer, &reply, request->listeners);
		break;
	case MARCHER__ENGINE__V1__REQUEST__KIND_CONNECTIONS:
		on_connections(peer, &reply, request->connections);
		break;
	case MARCHER__ENGINE__V1__REQUEST__KIND_RETIRE: {
		Marcher__Engine__V1__RetireReply retire = MARCHER__ENGINE__V1__RETIRE_REPLY__INIT;
		if (engine.hang_up) {
			shutdown(peer, SHUT_RDWR);
			break;
		}
		while (engine.nlisteners)
			close(engine.listeners[--engine.nlisteners].fd);
		reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_RETIRE;
		reply.retire = &retire;
		engine.retire_at_ms = now_ms() + request->retire->drain_timeout_ms;
		reply_send(peer, &reply, NULL, 0);
		break;
	}
	case MARCHER__ENGINE__V1__REQUEST__KIND_PING: {
		Marcher__Engine__V1__PingReply ping = MARCHER__ENGINE__V1__PING_REPLY__INIT;
		uint64_t turns[WORKERS] = {engine.hang_worker ? 7 : ++engine.turns, ++engine.turns};
		ping.generation = engine.generation;
		ping.worker_turns = turns;
		ping.n_worker_turns = WORKERS;
		reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_PING;
		reply.ping = &ping;
		reply_send(peer, &reply, NULL, 0);
		break;
	}
	default:
		reply.error = (char *)"the fake engine does not do that";
		reply_send(peer, &reply, NULL, 0);
	}
	for (size_t i = 0; i < nfds; i++)
		close(fds[i]);
	marcher__engine__v1__request__free_unpacked(request, NULL);
	return true;
}

static void answer_client(size_t i)
{
	int client = accept4(engine.listeners[i].fd, NULL, NULL, SOCK_CLOEXEC);
	if (client < 0)
		return;
	count(engine.listeners[i].service);
	char text[64];
	int n = snprintf(text, sizeof(text), "%d %llu\n", getpid(), (unsigned long long)engine.generation);
	if (write(client, text, (size_t)n) != n)
		fprintf(stderr, "fake engine: client gone\n");
	close(client);
}

static void turn(int control)
{
	struct pollfd fds[1 + PEERS_MAX + LISTENERS_MAX];
	nfds_t n = 0;
	size_t listeners = engine.nlisteners;
	fds[n++] = (struct pollfd){.fd = control, .events = POLLIN};
	for (size_t i = 0; i < PEERS_MAX; i++)
		fds[n++] = (struct pollfd){.fd = engine.peers[i], .events = POLLIN};
	for (size_t i = 0; i < listeners; i++)
		fds[n++] = (struct pollfd){.fd = engine.listeners[i].fd, .events = POLLIN};
	poll(fds, n, 10);
	/* Clients first: requests below may change the list. */
	for (size_t i = 0; i < listeners; i++)
		if (fds[1 + PEERS_MAX + i].revents & POLLIN)
			answer_client(i);
	for (size_t i = 0; i < PEERS_MAX; i++)
		if (engine.peers[i] >= 0 && fds[1 + i].revents && !serve(engine.peers[i])) {
			if (engine.lease == engine.peers[i])
				engine.lease = -1;
			close(engine.peers[i]);
			engine.peers[i] = -1;
		}
	if (fds[0].revents & POLLIN) {
		int peer = accept4(control, NULL, NULL, SOCK_CLOEXEC);
		if (engine.closed) {
			close(peer);
			peer = -1;
		}
		for (size_t i = 0; i < PEERS_MAX; i++)
			if (engine.peers[i] < 0) {
				engine.peers[i] = peer;
				break;
			}
	}
	if (engine.crash_at_ms && now_ms() >= engine.crash_at_ms)
		abort();
	if (engine.retire_at_ms && now_ms() >= engine.retire_at_ms)
		exit(0);
	while (engine.hang)
		pause();
}

int main(int argc, char **argv)
{
	const char *path = NULL, *snapshot = NULL, *fail = getenv("FAKE_ENGINE_FAIL");
	int inherit_fd = -1;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--socket"))
			path = argv[i + 1];
		else if (!strcmp(argv[i], "--snapshot-file"))
			snapshot = argv[i + 1];
		else if (!strcmp(argv[i], "--inherit-fd"))
			inherit_fd = atoi(argv[i + 1]);
	}
	if (fail) {
		fprintf(stderr, "%s\n", fail);
		return 3;
	}
	for (size_t i = 0; i < PEERS_MAX; i++)
		engine.peers[i] = -1;
	make_memory();
	if (inherit_fd >= 0)
		inherit(inherit_fd);
	if (snapshot && !getenv("FAKE_ENGINE_NO_LOAD"))
		load(snapshot);
	close_unused();
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path ? path : "");
	int control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	const char *hang = getenv("FAKE_ENGINE_HANG");
	if (hang)
		fprintf(stderr, "hangs: %d\n", getpid());
	while (hang && !strcmp(hang, "silent"))
		pause();
	if (bind(control, (struct sockaddr *)&address, sizeof(address)) || listen(control, 8))
		die(address.sun_path);
	while (hang)
		pause();
	for (;;)
		turn(control);
}
