/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tunnel_rig.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ipc/event_ring.h"
#include "runtime.h"
#include "upstream/outlier.h"

/* The parts of the engine that are not under test. */

_Thread_local struct worker *this_worker;
enum log_level log_threshold = LOG_ERROR;

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

uint64_t worker_random(struct worker *worker)
{
	worker->random ^= worker->random >> 12;
	worker->random ^= worker->random << 25;
	worker->random ^= worker->random >> 27;
	return worker->random * 0x2545f4914f6cdd1dull;
}

void worker_defer(struct worker *worker, struct worker_deferred *deferred, void (*run)(struct worker_deferred *))
{
	deferred->run = run;
	deferred->next = worker->deferred;
	worker->deferred = deferred;
}

void service_ref(struct service *service)
{
	atomic_fetch_add(&service->refs, 1);
}
void service_unref(struct service *service)
{
	atomic_fetch_sub(&service->refs, 1);
}
void endpoint_ref(struct endpoint *endpoint)
{
	atomic_fetch_add(&endpoint->refs, 1);
}
void endpoint_unref(struct endpoint *endpoint)
{
	atomic_fetch_sub(&endpoint->refs, 1);
}
void listener_ref(struct listener *listener)
{
	atomic_fetch_add(&listener->refs, 1);
}
void listener_unref(struct listener *listener)
{
	atomic_fetch_sub(&listener->refs, 1);
}

static struct rig *rig_of(struct service *service)
{
	return (struct rig *)((char *)service - offsetof(struct rig, service));
}

void outlier_report(struct worker *worker, struct service *service, struct endpoint *endpoint, bool ok)
{
	struct rig *rig = rig_of(service);

	(void)worker;
	atomic_fetch_add(
	        ok ? &rig->reports_ok[endpoint - rig->endpoints] : &rig->reports_failed[endpoint - rig->endpoints], 1);
}

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void set_limits(int fd)
{
	struct timeval limit = {.tv_sec = 30};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static int listen_on_loopback(int type, int backlog, uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(sa);
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | type, 0);

	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static void accept_all(struct poll_source *source, uint32_t events)
{
	struct rig *rig = (struct rig *)((char *)source - offsetof(struct rig, accepting));
	struct sockaddr_storage peer;

	(void)events;
	for (;;) {
		socklen_t length = sizeof(peer);
		int fd = accept4(source->fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		if (rig->relay_buffer) {
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &rig->relay_buffer, sizeof(int));
			setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rig->relay_buffer, sizeof(int));
		}
		tunnel_accepted(&rig->worker, &rig->listener, fd, &peer);
	}
}

static void run_deferred(struct worker *worker)
{
	while (worker->deferred) {
		struct worker_deferred *deferred = worker->deferred;
		worker->deferred = deferred->next;
		deferred->run(deferred);
	}
}

static void *run(void *context)
{
	struct rig *rig = context;
	struct worker *worker = &rig->worker;

	this_worker = worker;
	if (tunnel_worker_init(worker) < 0)
		abort();
	while (!atomic_load(&rig->stop)) {
		int timeout = timer_wheel_next(worker->timers, worker->now_ms);
		poller_wait(worker->poller, timeout < 0 || timeout > 5 ? 5 : timeout);
		worker->now_us = now_us();
		worker->now_ms = worker->now_us / 1000;
		timer_wheel_advance(worker->timers, worker->now_ms);
		if (rig->each_turn)
			rig->each_turn(rig);
		void (*call)(struct rig *, void *) = atomic_exchange(&rig->call, NULL);
		if (call) {
			call(rig, rig->call_context);
			sem_post(&rig->called);
		}
		run_deferred(worker);
	}
	tunnel_worker_free(worker);
	return NULL;
}

void rig_init(struct rig *rig)
{
	struct worker *worker = &rig->worker;

	memset(rig, 0, sizeof(*rig));
	sem_init(&rig->called, 0, 0);
	worker->engine = &rig->engine;
	rig->engine.stats = stats_new(1);
	assert_non_null(rig->engine.stats);
	stats_row_init(rig->engine.stats, 0, &worker->stats);
	rig->service_id.name = (char *)"web";
	rig->service.id = &rig->service_id;
	rig->service.active = &rig->service_active;
	rig->service.slot = stats_slot_acquire(rig->engine.stats, MARCHER_SLOT_SERVICE, "web", "");
	rig->service.algorithm = ALGORITHM_ROUND_ROBIN;
	rig->service.connect_timeout_ms = 3000;
	rig->service.idle_timeout_ms = 60000;
	rig->service.half_closed_timeout_ms = 30000;
	rig->binding.service = &rig->service;
	rig->listener.transport = TRANSPORT_TCP;
	rig->listener.slot = stats_slot_acquire(rig->engine.stats, MARCHER_SLOT_LISTENER, "web", "l");
	rig->listener.binding = &rig->binding;
	rig->accepting =
	        (struct poll_source){.handler = accept_all, .fd = listen_on_loopback(SOCK_NONBLOCK, 512, &rig->port)};
	rig->listener.addr.port = rig->port;
	worker->now_us = now_us();
	worker->now_ms = worker->now_us / 1000;
	worker->random = 0x9e3779b97f4a7c15ull;
	worker->timers = timer_wheel_new(worker->now_ms);
	worker->poller = poller_new();
	worker->lb = lb_state_new();
	worker->scratch = malloc(WORKER_SCRATCH_BYTES);
	assert_true(worker->timers && worker->poller && worker->lb && worker->scratch);
	rig->view = calloc(1, sizeof(*rig->view) + RIG_ENDPOINTS_MAX * sizeof(struct view_entry));
	assert_non_null(rig->view);
	rig->view->version = 1;
	rig->service.view = rig->view;
}

unsigned rig_add(struct rig *rig, const struct addr *addr)
{
	static const char *const names[RIG_ENDPOINTS_MAX] = {"b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"};
	unsigned i = rig->view->count++;

	assert_true(i < RIG_ENDPOINTS_MAX);
	rig->backends[i].name = (char *)names[i];
	rig->backends[i].id = &rig->service_id;
	rig->backends[i].slot = stats_slot_acquire(rig->engine.stats, MARCHER_SLOT_BACKEND, "web", names[i]);
	rig->backends[i].weight = 1;
	rig->endpoints[i].backend = &rig->backends[i];
	rig->endpoints[i].addr = *addr;
	rig->view->entries[i] = (struct view_entry){.endpoint = &rig->endpoints[i], .weight = 1};
	rig->view->weight_scale = 1;
	return i;
}

unsigned rig_add_port(struct rig *rig, uint16_t port)
{
	struct addr addr = {.family = AF_INET, .port = port, .ip = {127, 0, 0, 1}};

	return rig_add(rig, &addr);
}

void rig_start(struct rig *rig)
{
	assert_int_equal(poller_add_level(rig->worker.poller, &rig->accepting, false), 0);
	assert_int_equal(pthread_create(&rig->thread, NULL, run, rig), 0);
}

void rig_call(struct rig *rig, void (*function)(struct rig *, void *), void *context)
{
	rig->call_context = context;
	atomic_store(&rig->call, function);
	while (sem_wait(&rig->called) < 0 && errno == EINTR)
		;
}

void rig_stop(struct rig *rig)
{
	atomic_store(&rig->stop, true);
	pthread_join(rig->thread, NULL);
	close(rig->accepting.fd);
	assert_int_equal(atomic_load(&rig->service.refs), 0);
	assert_int_equal(atomic_load(&rig->listener.refs), 0);
	assert_int_equal(atomic_load(&rig->listener.active), 0);
	assert_int_equal(atomic_load(&rig->service_active), 0);
	for (unsigned i = 0; i < rig->view->count; i++) {
		assert_int_equal(atomic_load(&rig->endpoints[i].refs), 0);
		assert_int_equal(atomic_load(&rig->endpoints[i].active), 0);
		assert_int_equal(atomic_load(&rig->backends[i].active), 0);
	}
	assert_int_equal(rig_counter(rig, rig->service.slot, MARCHER_CONNECTIONS_OPENED),
	                 rig_counter(rig, rig->service.slot, MARCHER_CONNECTIONS_CLOSED));
	free(rig->view);
	free(rig->worker.scratch);
	lb_state_free(rig->worker.lb);
	poller_free(rig->worker.poller);
	timer_wheel_free(rig->worker.timers);
	stats_free(rig->engine.stats);
	sem_destroy(&rig->called);
}

uint64_t rig_counter(struct rig *rig, uint32_t slot, enum marcher_counter counter)
{
	return __atomic_load_n(&rig->worker.stats.slots[slot].counters[counter], __ATOMIC_RELAXED);
}

static void count(struct rig *rig, void *out)
{
	*(uint64_t *)out = tunnel_count(&rig->worker);
}

void rig_wait_idle(struct rig *rig)
{
	uint64_t n = 1;

	for (int i = 0; i < 6000 && n; i++) {
		rig_call(rig, count, &n);
		if (n)
			usleep(5000);
	}
	assert_int_equal(n, 0);
}

struct marcher_event rig_closed_event(struct rig *rig)
{
	struct marcher_event event;

	for (int i = 0; i < 6000; i++) {
		while (event_ring_read(rig->worker.stats.ring, EVENT_RING_CAPACITY, &event, 1) == 1)
			if (event.kind == MARCHER_EVENT_CONNECTION_CLOSED)
				return event;
		usleep(5000);
	}
	fail_msg("no CONNECTION_CLOSED event within 30 s");
	return event;
}

int rig_client(struct rig *rig)
{
	struct sockaddr_in sa = {
	        .sin_family = AF_INET, .sin_port = htons(rig->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	set_limits(fd);
	if (rig->client_segment)
		setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &rig->client_segment, sizeof(int));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

int rig_listen(uint16_t *port)
{
	int fd = listen_on_loopback(0, 512, port);

	set_limits(fd);
	return fd;
}

int rig_accept(int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);

	assert_true(fd >= 0);
	set_limits(fd);
	return fd;
}

uint16_t rig_refusing_port(void)
{
	uint16_t port;
	/* Bound but not listening, and left so: nobody else can take the port while the tests run. */
	int fd = listen_on_loopback(0, -1, &port);

	(void)fd;
	return port;
}

int rig_blackhole(uint16_t *port, int fillers[2])
{
	int fd = listen_on_loopback(0, 0, port);
	struct sockaddr_in sa = {
	        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	for (int i = 0; i < 2; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(fillers[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	usleep(20000);
	return fd;
}

uint64_t rig_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void rig_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void rig_hear(int fd, const char *text)
{
	char got[256];
	size_t length = strlen(text);

	assert_true(length < sizeof(got));
	assert_int_equal(recv(fd, got, length, MSG_WAITALL), length);
	assert_memory_equal(got, text, length);
}

void rig_hear_end(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

void rig_hear_reset(int fd)
{
	char bytes[64];

	ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECONNRESET);
}

void rig_reset(int fd)
{
	struct linger hard = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}
