/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP relay with real sockets on loopback and everything below it real; what is above (loop, references, outlier
 * detection) is small and here, so that a test drives every turn itself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine.h"
#include "filter/source_limit.h"
#include "lb/affinity.h"
#include "lb/lb.h"
#include "mux/udp_internal.h"
#include "qos/mark.h"
#include "runtime.h"
#include "upstream/outlier.h"

#define BACKENDS 3u

_Thread_local struct worker *this_worker;
enum log_level log_threshold = LOG_ERROR;

void log_line(enum log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

uint64_t worker_random(struct worker *worker)
{
	uint64_t x = worker->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	worker->random = x;
	return x * 0x2545f4914f6cdd1dull;
}

void worker_defer(struct worker *worker, struct worker_deferred *deferred, void (*run)(struct worker_deferred *))
{
	deferred->run = run;
	deferred->next = worker->deferred;
	worker->deferred = deferred;
}

static unsigned reported_ok, reported_bad;

void outlier_report(struct worker *worker, struct service *service, struct endpoint *endpoint, bool ok)
{
	(void)worker;
	(void)service;
	(void)endpoint;
	*(ok ? &reported_ok : &reported_bad) += 1;
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

/* ---- one worker with one listener, one service and up to BACKENDS backends ---- */

struct rig {
	struct engine engine;
	struct worker worker;
	struct poll_source listen;
	struct listener listener;
	struct binding binding;
	struct service service;
	struct service_id id;
	atomic_uint service_active;
	struct backend backends[BACKENDS];
	struct endpoint endpoints[BACKENDS];
	struct view *view;
	int backend_fds[BACKENDS];
	uint16_t port;
	uint64_t clock_ms; /* added to the real clock */
};

static struct rig rig;

static void take_time(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	rig.worker.now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 + rig.clock_ms * 1000;
	rig.worker.now_ms = rig.worker.now_us / 1000;
}

static void turn(int timeout_ms)
{
	poller_wait(rig.worker.poller, timeout_ms);
	take_time();
	timer_wheel_advance(rig.worker.timers, rig.worker.now_ms);
	while (rig.worker.deferred) {
		struct worker_deferred *deferred = rig.worker.deferred;
		rig.worker.deferred = deferred->next;
		deferred->run(deferred);
	}
	atomic_fetch_add(&rig.worker.turns, 1);
}

static void turns(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		turn(2);
}

/* Turns until the condition holds, for two seconds of waiting at most: what follows asserts it. */
#define TURNS_UNTIL(condition)                                         \
	do {                                                           \
		for (unsigned t_ = 0; t_ < 1000 && !(condition); t_++) \
			turn(2);                                       \
	} while (0)

static void listener_readable(struct poll_source *source, uint32_t events)
{
	(void)events;
	udp_readable(&rig.worker, &rig.listener, source->fd);
}

static int option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static struct sockaddr_storage loopback(int family, const char *ip, uint16_t port, socklen_t *length)
{
	struct sockaddr_storage sa = {.ss_family = (sa_family_t)family};
	if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&sa;
		in6->sin6_port = htons(port);
		assert_int_equal(inet_pton(AF_INET6, ip, &in6->sin6_addr), 1);
		*length = sizeof(*in6);
	} else {
		struct sockaddr_in *in4 = (struct sockaddr_in *)&sa;
		in4->sin_port = htons(port);
		assert_int_equal(inet_pton(AF_INET, ip, &in4->sin_addr), 1);
		*length = sizeof(*in4);
	}
	return sa;
}

static int bound(int family, const char *ip, uint16_t port)
{
	socklen_t length;
	struct sockaddr_storage sa = loopback(family, ip, port, &length);
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (family == AF_INET6)
		option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	return fd;
}

/*
 * On 127.0.0.1, at a port that the kernel gives to nobody by itself: it can be closed and bound again, also at another
 * address, with other programs at work on the same loopback.
 */
static int bound_to_own_port(void)
{
	static unsigned next;
	const unsigned first = 10000, ports = 20000; /* below net.ipv4.ip_local_port_range, 32768 by default */

	if (next == 0)
		next = (unsigned)getpid() * 64;
	for (unsigned i = 0; i < ports; i++) {
		struct sockaddr_in sa = {.sin_family = AF_INET,
		                         .sin_port = htons((uint16_t)(first + next++ % ports)),
		                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		assert_true(fd >= 0);
		option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			return fd;
		assert_int_equal(errno, EADDRINUSE);
		close(fd);
	}
	fail_msg("no port is free between %u and %u", first, first + ports - 1);
	return -1;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 sa;
	socklen_t length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	return ntohs(sa.sin6_port);
}

/* Dual-stack any, or the IPv4 any address. */
static void start(bool dual)
{
	memset(&rig, 0, sizeof(rig));
	reported_ok = reported_bad = 0;
	this_worker = &rig.worker;
	rig.worker.engine = &rig.engine;
	rig.worker.random = 88172645463325252ull;
	rig.worker.next_connection_id = 1;
	rig.engine.stats = stats_new(1);
	assert_non_null(rig.engine.stats);
	stats_row_init(rig.engine.stats, 0, &rig.worker.stats);
	take_time();
	rig.worker.poller = poller_new();
	rig.worker.timers = timer_wheel_new(rig.worker.now_ms);
	rig.worker.lb = lb_state_new();
	assert_int_equal(udp_worker_init(&rig.worker), 0);

	rig.id = (struct service_id){.name = (char *)"dns", .index = 3};
	rig.service.id = &rig.id;
	rig.service.active = &rig.service_active;
	rig.service.slot = stats_slot_acquire(rig.engine.stats, MARCHER_SLOT_SERVICE, "dns", "");
	rig.service.algorithm = ALGORITHM_ROUND_ROBIN;
	rig.service.udp_idle_timeout_ms = 60000;
	rig.service.udp_max_sessions = 10000;
	rig.view = calloc(1, sizeof(*rig.view) + BACKENDS * sizeof(struct view_entry));
	rig.view->version = 1;
	rig.service.view = rig.view;
	for (unsigned i = 0; i < BACKENDS; i++) {
		static const char *const names[] = {"a", "b", "c"};
		rig.backend_fds[i] = bound_to_own_port();
		rig.backends[i].name = (char *)names[i];
		rig.backends[i].slot = stats_slot_acquire(rig.engine.stats, MARCHER_SLOT_BACKEND, "dns", names[i]);
		rig.endpoints[i].backend = &rig.backends[i];
		rig.endpoints[i].addr =
		        (struct addr){.family = AF_INET, .port = port_of(rig.backend_fds[i]), .ip = {127, 0, 0, 1}};
		rig.view->entries[i] = (struct view_entry){.endpoint = &rig.endpoints[i], .weight = 1};
	}
	rig.view->count = 1;

	int fd = bound(dual ? AF_INET6 : AF_INET, dual ? "::" : "0.0.0.0", 0);
	if (dual)
		option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	else
		option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	option(fd, SOL_UDP, UDP_GRO, 1);
	rig.port = port_of(fd);
	rig.listener.addr = (struct addr){.port = rig.port};
	rig.listener.transport = TRANSPORT_UDP;
	rig.listener.slot = stats_slot_acquire(rig.engine.stats, MARCHER_SLOT_LISTENER, "dns", "udp");
	rig.binding.service = &rig.service;
	rig.listener.binding = &rig.binding;
	rig.listen = (struct poll_source){.handler = listener_readable, .fd = fd};
	assert_int_equal(poller_add_level(rig.worker.poller, &rig.listen, false), 0);
}

/* Ends it all; every count and reference must be back at zero. */
static void stop(void)
{
	udp_worker_free(&rig.worker);
	assert_int_equal(rig.service_active, 0);
	assert_int_equal(rig.service.refs, 0);
	assert_int_equal(rig.id.udp_sessions, 0);
	assert_int_equal(rig.listener.active, 0);
	assert_int_equal(rig.listener.refs, 0);
	for (unsigned i = 0; i < BACKENDS; i++) {
		assert_int_equal(rig.backends[i].active, 0);
		assert_int_equal(rig.endpoints[i].active, 0);
		assert_int_equal(rig.endpoints[i].refs, 0);
		if (rig.backend_fds[i] >= 0)
			close(rig.backend_fds[i]);
	}
	if (rig.listen.fd >= 0)
		close(rig.listen.fd);
	lb_state_free(rig.worker.lb);
	timer_wheel_free(rig.worker.timers);
	poller_free(rig.worker.poller);
	stats_free(rig.engine.stats);
	free(rig.view);
}

static uint64_t counter(uint32_t slot, enum marcher_counter which)
{
	return rig.worker.stats.slots[slot].counters[which];
}

#define SERVICE(which) counter(rig.service.slot, MARCHER_##which)

/* A client that is connected: it sees only what comes from where it sent to. */
static int client_to(int family, const char *ip)
{
	socklen_t length;
	struct sockaddr_storage sa = loopback(family, ip, rig.port, &length);
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	option(fd, SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20);
	option(fd, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, length), 0);
	return fd;
}

static int client(void)
{
	return client_to(AF_INET, "127.0.0.1");
}

static uint8_t pattern(uint32_t seed, uint32_t i)
{
	return (uint8_t)(seed * 31 + i * 7 + (i >> 8));
}

static uint8_t big[65536];

static void send_pattern(int fd, uint32_t seed, uint32_t length)
{
	for (uint32_t i = 0; i < length; i++)
		big[i] = pattern(seed, i);
	assert_int_equal(send(fd, big, length, 0), length);
}

/* Turns until a datagram is there. -1: none came. from may be NULL. */
static ssize_t receive_from(int fd, struct sockaddr_storage *from, socklen_t *from_length)
{
	for (unsigned i = 0; i < 200; i++) {
		struct sockaddr_storage sa;
		socklen_t length = sizeof(sa);
		ssize_t n = recvfrom(fd, big, sizeof(big), 0, (struct sockaddr *)&sa, &length);
		if (n >= 0) {
			if (from) {
				*from = sa;
				*from_length = length;
			}
			return n;
		}
		if (errno != EAGAIN)
			return -1;
		turn(i < 5 ? 0 : 2);
	}
	return -1;
}

static void expect_pattern(int fd, uint32_t seed, uint32_t length, struct sockaddr_storage *from,
                           socklen_t *from_length)
{
	assert_int_equal(receive_from(fd, from, from_length), length);
	for (uint32_t i = 0; i < length; i++) {
		if (big[i] != pattern(seed, i))
			fail_msg("byte %u of datagram %u of %u bytes differs", i, seed, length);
	}
}

/* There and back through backend b. */
static void round_trip(int fd, unsigned b, uint32_t seed, uint32_t length)
{
	struct sockaddr_storage from;
	socklen_t from_length;
	send_pattern(fd, seed, length);
	expect_pattern(rig.backend_fds[b], seed, length, &from, &from_length);
	assert_int_equal(sendto(rig.backend_fds[b], big, length, 0, (struct sockaddr *)&from, from_length), length);
	expect_pattern(fd, seed, length, NULL, NULL);
}

static bool silent(int fd)
{
	turns(5);
	return recv(fd, big, sizeof(big), 0) < 0 && errno == EAGAIN;
}

/* ---- relaying ---- */

static void replies_come_from_the_address_that_was_sent_to(void **context)
{
	(void)context;
	const struct {
		bool dual;
		int family;
		const char *ip;
	} cases[] = {{false, AF_INET, "127.0.0.1"},
	             {false, AF_INET, "127.0.0.77"},
	             {true, AF_INET, "127.0.0.1"},
	             {true, AF_INET, "127.1.2.3"},
	             {true, AF_INET6, "::1"}};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(cases[i].dual);
		int fd = client_to(cases[i].family, cases[i].ip);
		round_trip(fd, 0, i, 100);
		round_trip(fd, 0, i + 1, 200);
		assert_int_equal(udp_count(&rig.worker), 1);
		close(fd);
		stop();
	}
}

static void every_size_passes_whole(void **context)
{
	(void)context;
	const uint32_t sizes[] = {0, 1, 2, 511, 512, 1472, 1473, 9000, 32768, 65506, 65507};
	for (unsigned dual = 0; dual < 2; dual++) {
		start(dual);
		int fd = client();
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			round_trip(fd, 0, i, sizes[i]);
		assert_int_equal(SERVICE(UDP_PACKETS_RECEIVED), sizeof(sizes) / sizeof(sizes[0]));
		assert_int_equal(SERVICE(UDP_PACKETS_SENT), sizeof(sizes) / sizeof(sizes[0]));
		assert_int_equal(SERVICE(UDP_DROPPED), 0);
		close(fd);
		stop();
	}
}

/* Without CAP_NET_ADMIN a socket holds no more than net.core.rmem_max. */
static bool has_large_buffers(int fd)
{
	int bytes = 0;
	socklen_t length = sizeof(bytes);
	return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &length) == 0 && bytes >= 8 << 20;
}

/* Sizes of a burst, sent before the relay has its turn, so that batches and segmentation are at work. */
static void burst(const uint32_t *sizes, unsigned count, unsigned chunk)
{
	struct sockaddr_storage from;
	socklen_t from_length;
	uint64_t bytes = 0;
	start(true);
	int fd = client();
	bool whole = chunk == count;
	if (whole && !has_large_buffers(fd))
		chunk = 20;
	for (unsigned i = 0; i < count; i++) {
		send_pattern(fd, i, sizes[i]);
		bytes += sizes[i];
		for (unsigned j = i / chunk * chunk; (i % chunk == chunk - 1 || i + 1 == count) && j <= i; j++)
			expect_pattern(rig.backend_fds[0], j, sizes[j], &from, &from_length);
	}
	assert_true(silent(rig.backend_fds[0]));
	for (unsigned i = 0; i < count; i++) {
		for (uint32_t j = 0; j < sizes[i]; j++)
			big[j] = pattern(1000 + i, j);
		assert_int_equal(sendto(rig.backend_fds[0], big, sizes[i], 0, (struct sockaddr *)&from, from_length),
		                 sizes[i]);
		/* Not more at a time than a socket's default buffer holds. */
		for (unsigned j = i / 20 * 20; (i % 20 == 19 || i + 1 == count) && j <= i; j++)
			expect_pattern(fd, 1000 + j, sizes[j], NULL, NULL);
	}
	assert_true(silent(fd));
	assert_int_equal(SERVICE(BYTES_RECEIVED), bytes);
	assert_int_equal(SERVICE(BYTES_SENT), bytes);
	assert_int_equal(counter(rig.listener.slot, MARCHER_UDP_PACKETS_RECEIVED), count);
	assert_int_equal(counter(rig.backends[0].slot, MARCHER_UDP_PACKETS_SENT), count);
	assert_int_equal(SERVICE(UDP_DROPPED), 0);
	/* On a path that takes segments nothing was ever offered that it refused. */
	if (whole) {
		assert_int_equal(rig.worker.udp->all->request_gso_max, UINT16_MAX);
		assert_int_equal(rig.worker.udp->all->reply_gso_max, UINT16_MAX);
	}
	close(fd);
	stop();
}

static void bursts_keep_borders_and_order(void **context)
{
	(void)context;
	uint32_t sizes[150];
	for (unsigned i = 0; i < 150; i++)
		sizes[i] = 512;
	burst(sizes, 150, 150);
	for (unsigned i = 0; i < 150; i++)
		sizes[i] = i % 7 == 6 ? 100 : 512; /* a short one ends a run */
	burst(sizes, 150, 150);
	for (unsigned i = 0; i < 150; i++)
		sizes[i] = i % 5 == 4 ? 900 : 512; /* a long one begins one */
	burst(sizes, 150, 150);
	for (unsigned i = 0; i < 150; i++)
		sizes[i] = i % 3 ? 0 : 64; /* nothing joins an empty one */
	burst(sizes, 150, 150);
	uint64_t random = 7;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 150; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			static const uint32_t choice[] = {0, 1, 512, 512, 512, 1400, 1400, 20000};
			sizes[i] = choice[(random >> 40) % 8];
		}
		burst(sizes, 150, 150);
	}
}

static void datagrams_that_came_merged_are_passed_on_one_by_one(void **context)
{
	(void)context;
	struct sockaddr_storage from;
	socklen_t from_length;
	start(true);
	int fd = client();
	option(fd, SOL_UDP, UDP_SEGMENT, 700); /* on loopback the listener gets them as one, by GRO */
	send_pattern(fd, 9, 7 * 700 + 100);
	uint8_t whole[7 * 700 + 100];
	for (uint32_t at = 0; at < sizeof(whole);) {
		ssize_t n = receive_from(rig.backend_fds[0], &from, &from_length);
		assert_int_equal(n, at < 4900 ? 700 : 100);
		memcpy(whole + at, big, (size_t)n);
		at += (uint32_t)n;
	}
	for (uint32_t i = 0; i < sizeof(whole); i++)
		assert_int_equal(whole[i], pattern(9, i));
	assert_int_equal(SERVICE(UDP_PACKETS_RECEIVED), 8);
	/* Merged ones beside single ones, and more than one message can carry. */
	option(fd, SOL_UDP, UDP_SEGMENT, 0);
	send_pattern(fd, 1, 512);
	option(fd, SOL_UDP, UDP_SEGMENT, 100);
	for (unsigned i = 0; i < 4; i++)
		send_pattern(fd, 2, 4000);
	assert_int_equal(receive_from(rig.backend_fds[0], NULL, NULL), 512);
	for (unsigned i = 0; i < 160; i++)
		assert_int_equal(receive_from(rig.backend_fds[0], NULL, NULL), 100);
	assert_int_equal(SERVICE(UDP_PACKETS_RECEIVED), 8 + 161);
	assert_int_equal(rig.worker.udp->all->request_gso_max, UINT16_MAX);
	for (uint32_t i = 0; i < sizeof(whole); i++)
		whole[i] = pattern(9, i);
	option(rig.backend_fds[0], SOL_UDP, UDP_SEGMENT, 300);
	assert_int_equal(sendto(rig.backend_fds[0], whole, 1000, 0, (struct sockaddr *)&from, from_length), 1000);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(receive_from(fd, NULL, NULL), i < 3 ? 300 : 100);
	assert_int_equal(SERVICE(UDP_PACKETS_SENT), 4);
	close(fd);
	stop();
}

static void many_clients_have_a_session_each(void **context)
{
	(void)context;
	enum { CLIENTS = 300 };
	int fds[CLIENTS];
	start(true);
	rig.view->count = BACKENDS;
	for (unsigned i = 0; i < CLIENTS; i++)
		fds[i] = client();
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			send_pattern(fds[i], i, 64 + i % 3);
			if (i % 50 == 49)
				turn(0); /* the listener's buffer may hold no more */
		}
		/* Backends answer whatever they get. */
		for (unsigned done = 0, idle = 0; done < CLIENTS && idle < 100; idle++) {
			turn(1);
			for (unsigned b = 0; b < BACKENDS; b++) {
				struct sockaddr_storage from;
				socklen_t length = sizeof(from);
				ssize_t n;
				while ((n = recvfrom(rig.backend_fds[b], big, sizeof(big), 0, (struct sockaddr *)&from,
				                     &length)) >= 0) {
					assert_int_equal(sendto(rig.backend_fds[b], big, (size_t)n, 0,
					                        (struct sockaddr *)&from, length),
					                 n);
					done++;
					idle = 0;
				}
			}
		}
		for (unsigned i = 0; i < CLIENTS; i++)
			expect_pattern(fds[i], i, 64 + i % 3, NULL, NULL);
	}
	assert_int_equal(udp_count(&rig.worker), CLIENTS);
	assert_int_equal(SERVICE(CONNECTIONS_OPENED), CLIENTS);
	for (unsigned b = 0; b < BACKENDS; b++) /* round robin */
		assert_int_equal(rig.backends[b].active, CLIENTS / BACKENDS);
	for (unsigned i = 0; i < CLIENTS; i++)
		close(fds[i]);
	stop();
}

static void a_backend_without_a_port_gets_the_listeners(void **context)
{
	(void)context;
	start(false);
	rig.endpoints[0].addr.port = 0;
	rig.endpoints[0].addr.ip[3] = 9; /* 127.0.0.9, or it would be the listener itself */
	close(rig.listen.fd);
	rig.listen.fd = bound_to_own_port();
	rig.port = port_of(rig.listen.fd);
	int backend = bound(AF_INET, "127.0.0.9", rig.port);
	rig.listener.addr.port = rig.port;
	assert_int_equal(poller_add_level(rig.worker.poller, &rig.listen, false), 0);
	int fd = client();
	send_pattern(fd, 1, 10);
	expect_pattern(backend, 1, 10, NULL, NULL);
	close(backend);
	close(fd);
	stop();
}

/* ---- limits ---- */

static void limits_refuse_and_count(void **context)
{
	(void)context;
	for (unsigned which = 0; which < 5; which++) {
		start(false);
		if (which == 0)
			rig.service.udp_max_sessions = 2;
		else if (which == 1)
			rig.service.max_connections = 2;
		else if (which == 2)
			rig.binding.max_connections = 2;
		else if (which == 3)
			rig.view->entries[0].hard_limit = 2;
		else {
			rig.service.source_limit = source_limit_new(10);
			rig.service.max_connections_per_source = 2;
			rig.service.source_v4_bits = 32;
		}
		int fds[4];
		for (unsigned i = 0; i < 4; i++) {
			fds[i] = client();
			send_pattern(fds[i], i, 10);
			TURNS_UNTIL(SERVICE(UDP_PACKETS_RECEIVED) == i + 1);
		}
		assert_int_equal(udp_count(&rig.worker), 2);
		assert_int_equal(SERVICE(UDP_DROPPED), 2);
		assert_int_equal(which == 3 ? SERVICE(NO_BACKEND) : SERVICE(REJECTED), 2);
		assert_int_equal(counter(rig.listener.slot, MARCHER_UDP_DROPPED), 2);
		assert_int_equal(SERVICE(UDP_PACKETS_RECEIVED), 4);
		/* A place that becomes free is given again. */
		while (recv(rig.backend_fds[0], big, sizeof(big), 0) >= 0)
			;
		udp_drain(&rig.worker, &rig.service, NULL, 1);
		turns(3);
		assert_int_equal(udp_count(&rig.worker), 0);
		round_trip(fds[3], 0, 5, 20);
		struct source_limit_table *table = rig.service.source_limit;
		for (unsigned i = 0; i < 4; i++)
			close(fds[i]);
		stop();
		if (table)
			assert_int_equal(source_limit_count(table), 0);
		source_limit_free(table);
	}
}

static void without_a_backend_datagrams_are_dropped(void **context)
{
	(void)context;
	start(false);
	rig.view->count = 0;
	int fd = client();
	send_pattern(fd, 1, 10);
	TURNS_UNTIL(SERVICE(UDP_DROPPED));
	assert_int_equal(SERVICE(NO_BACKEND), 1);
	assert_int_equal(SERVICE(UDP_DROPPED), 1);
	assert_int_equal(udp_count(&rig.worker), 0);
	rig.listener.binding = NULL; /* closing */
	send_pattern(fd, 1, 10);
	TURNS_UNTIL(counter(rig.listener.slot, MARCHER_UDP_DROPPED) == 2);
	assert_int_equal(counter(rig.listener.slot, MARCHER_UDP_DROPPED), 2);
	close(fd);
	stop();
}

/* ---- time ---- */

static void idle_sessions_end_and_busy_ones_do_not(void **context)
{
	(void)context;
	start(false);
	rig.service.udp_idle_timeout_ms = 1000;
	int busy = client(), idle = client();
	round_trip(busy, 0, 1, 10);
	round_trip(idle, 0, 2, 10);
	for (unsigned i = 0; i < 6; i++) {
		rig.clock_ms += 400;
		round_trip(busy, 0, i, 10);
	}
	assert_int_equal(udp_count(&rig.worker), 1);
	assert_int_equal(SERVICE(IDLE_TIMEOUTS), 1);
	assert_int_equal(SERVICE(CONNECTIONS_CLOSED), 1);
	/* Requests alone keep it alive, */
	for (unsigned i = 0; i < 6; i++) {
		rig.clock_ms += 400;
		send_pattern(busy, i, 10);
		expect_pattern(rig.backend_fds[0], i, 10, NULL, NULL);
		assert_int_equal(udp_count(&rig.worker), 1);
	}
	assert_int_equal(SERVICE(CONNECTIONS_OPENED), 2);
	/* and replies alone. */
	struct sockaddr_storage from;
	socklen_t length;
	send_pattern(busy, 1, 10);
	expect_pattern(rig.backend_fds[0], 1, 10, &from, &length);
	for (unsigned i = 0; i < 6; i++) {
		rig.clock_ms += 400;
		assert_int_equal(sendto(rig.backend_fds[0], "x", 1, 0, (struct sockaddr *)&from, length), 1);
		assert_int_equal(receive_from(busy, NULL, NULL), 1);
	}
	rig.clock_ms += 1001;
	turns(3);
	assert_int_equal(udp_count(&rig.worker), 0);
	close(busy);
	close(idle);
	stop();
}

static void draining_sessions_go_on_until_the_deadline(void **context)
{
	(void)context;
	start(false);
	int fd = client();
	round_trip(fd, 0, 1, 10);
	udp_drain(&rig.worker, NULL, &rig.endpoints[1], rig.worker.now_ms); /* of another endpoint: nothing */
	turns(3);
	udp_drain(&rig.worker, NULL, &rig.endpoints[0], rig.worker.now_ms + 5000);
	rig.clock_ms += 3000;
	round_trip(fd, 0, 2, 10);
	rig.clock_ms += 3000;
	turns(3);
	assert_int_equal(udp_count(&rig.worker), 0);
	assert_int_equal(SERVICE(DRAIN_CLOSED), 1);
	close(fd);
	stop();
}

static void a_closing_listener_still_sends_replies(void **context)
{
	(void)context;
	struct sockaddr_storage from;
	socklen_t length;
	start(true);
	int fd = client();
	send_pattern(fd, 1, 10);
	expect_pattern(rig.backend_fds[0], 1, 10, &from, &length);
	int listening = rig.listen.fd;
	rig.listen.fd = -1;
	udp_listener_closing(&rig.worker, &rig.listener, listening, rig.worker.now_ms + 1000);
	assert_int_equal(sendto(rig.backend_fds[0], "late", 4, 0, (struct sockaddr *)&from, length), 4);
	assert_int_equal(receive_from(fd, NULL, NULL), 4);
	rig.clock_ms += 1001;
	turns(3);
	assert_int_equal(udp_count(&rig.worker), 0);
	struct sockaddr_storage sa;
	length = sizeof(sa);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&sa, &length),
	                 -1); /* closed with the last session */
	close(fd);
	stop();
}

static void a_closing_listener_without_sessions_is_closed_at_once(void **context)
{
	(void)context;
	start(true);
	int fd = client(), never_used = bound(AF_INET6, "::", 0);
	udp_listener_closing(&rig.worker, &rig.listener, never_used, rig.worker.now_ms + 1000);
	assert_int_equal(fcntl(never_used, F_GETFD), -1);
	round_trip(fd, 0, 1, 10);
	udp_drain(&rig.worker, NULL, NULL, 1);
	turns(3);
	udp_listener_closing(&rig.worker, &rig.listener, rig.listen.fd, rig.worker.now_ms + 1000);
	assert_int_equal(fcntl(rig.listen.fd, F_GETFD), -1);
	rig.listen.fd = -1;
	close(fd);
	stop();
}

/* ---- backends that fail ---- */

static void a_refusing_backend_is_left_for_another(void **context)
{
	(void)context;
	start(false);
	rig.view->count = 2;
	rig.service.algorithm = ALGORITHM_ROUND_ROBIN;
	close(rig.backend_fds[0]);
	close(rig.backend_fds[1]);
	/* Whichever comes first refuses; the other one is there. */
	rig.backend_fds[0] = rig.backend_fds[1] = -1;
	int fd = client();
	send_pattern(fd, 1, 10);
	TURNS_UNTIL(reported_bad);
	assert_int_equal(reported_bad, 1);
	assert_true(SERVICE(CONNECT_FAILURES) == 1);
	unsigned other = rig.backends[0].active ? 1 : 0;
	rig.backend_fds[other] = bound(AF_INET, "127.0.0.1", rig.endpoints[other].addr.port);
	send_pattern(fd, 2, 20);
	expect_pattern(rig.backend_fds[other], 2, 20, NULL, NULL);
	assert_int_equal(SERVICE(CONNECT_RETRIES), 1);
	assert_int_equal(rig.backends[other].active, 1);
	assert_int_equal(rig.backends[1 - other].active, 0);
	round_trip(fd, other, 3, 30);
	assert_int_equal(udp_count(&rig.worker), 1);
	close(fd);
	stop();
}

static void the_error_of_one_datagram_does_not_cost_the_next(void **context)
{
	(void)context;
	/* Both datagrams are there before the relay sees the ICMP error of the first. */
	start(false);
	rig.view->count = 2;
	for (unsigned i = 0; i < 2; i++)
		close(rig.backend_fds[i]);
	rig.backend_fds[0] = rig.backend_fds[1] = -1;
	int fd = client();
	send_pattern(fd, 1, 10);
	turn(2); /* sent: the error waits on the session's socket */
	unsigned other = rig.backends[0].active ? 1 : 0;
	rig.backend_fds[other] = bound(AF_INET, "127.0.0.1", rig.endpoints[other].addr.port);
	udp_readable(&rig.worker, &rig.listener, rig.listen.fd);
	send_pattern(fd, 2, 20);
	udp_readable(&rig.worker, &rig.listener, rig.listen.fd); /* before the session's own event */
	expect_pattern(rig.backend_fds[other], 2, 20, NULL, NULL);
	assert_int_equal(SERVICE(UDP_DROPPED), 0);
	close(fd);
	stop();
}

static void the_only_backend_is_tried_again(void **context)
{
	(void)context;
	start(false);
	close(rig.backend_fds[0]);
	rig.backend_fds[0] = -1;
	int fd = client();
	for (unsigned i = 0; i < 5; i++) {
		send_pattern(fd, i, 10);
		TURNS_UNTIL(reported_bad > i);
	}
	assert_int_equal(udp_count(&rig.worker), 1);
	assert_true(reported_bad >= 4);
	rig.backend_fds[0] = bound(AF_INET, "127.0.0.1", rig.endpoints[0].addr.port);
	round_trip(fd, 0, 3, 30);
	assert_true(reported_ok >= 1);
	close(fd);
	stop();
}

static void one_that_answered_is_given_three_refusals(void **context)
{
	(void)context;
	start(false);
	rig.view->count = 2;
	int fd = client();
	send_pattern(fd, 0, 10);
	TURNS_UNTIL(udp_count(&rig.worker));
	unsigned mine = rig.backends[0].active ? 0 : 1;
	round_trip(fd, mine, 0, 10);
	close(rig.backend_fds[mine]);
	rig.backend_fds[mine] = -1;
	for (unsigned i = 0; i < 2; i++) {
		send_pattern(fd, i, 10);
		TURNS_UNTIL(reported_bad == i + 1);
		assert_int_equal(reported_bad, i + 1);
		assert_int_equal(rig.backends[mine].active, 1);
	}
	/* Back in time: it stays. */
	rig.backend_fds[mine] = bound(AF_INET, "127.0.0.1", rig.endpoints[mine].addr.port);
	round_trip(fd, mine, 3, 30);
	close(rig.backend_fds[mine]);
	rig.backend_fds[mine] = -1;
	for (unsigned i = 0; i < 3; i++) {
		send_pattern(fd, i, 10);
		TURNS_UNTIL(reported_bad == i + 3);
	}
	round_trip(fd, 1 - mine, 4, 40);
	close(fd);
	stop();
}

static void sessions_leave_an_unhealthy_backend(void **context)
{
	(void)context;
	start(false);
	rig.view->count = 2;
	int fd = client();
	send_pattern(fd, 0, 10);
	TURNS_UNTIL(udp_count(&rig.worker));
	unsigned mine = rig.backends[0].active ? 0 : 1;
	expect_pattern(rig.backend_fds[mine], 0, 10, NULL, NULL);
	round_trip(fd, mine, 1, 10);
	/* Found unhealthy, but in panic the view keeps it: nobody moves. */
	rig.endpoints[mine].health = HEALTH_UNHEALTHY;
	round_trip(fd, mine, 2, 10);
	/* The view without it. */
	struct view *next = calloc(1, sizeof(*next) + BACKENDS * sizeof(struct view_entry));
	next->version = 2;
	next->count = 1;
	next->entries[0] = rig.view->entries[1 - mine];
	free(rig.view);
	rig.service.view = rig.view = next;
	round_trip(fd, 1 - mine, 3, 10);
	close(fd);
	stop();
}

static void affinity_holds_over_sessions_and_gives_way_to_failure(void **context)
{
	(void)context;
	start(false);
	rig.view->count = BACKENDS;
	rig.service.affinity = affinity_new(60000, 100);
	rig.service.affinity_v4_bits = 32;
	unsigned mine = 0;
	int fds[14]; /* open at once: so many ports, of the same address */
	for (unsigned i = 0; i < 12; i++) {
		fds[i] = client();
		send_pattern(fds[i], i, 10);
		TURNS_UNTIL(udp_count(&rig.worker) == i + 1);
	}
	for (unsigned i = 0; i < BACKENDS; i++)
		mine = rig.backends[i].active ? i : mine;
	assert_int_equal(rig.backends[mine].active, 12);
	close(rig.backend_fds[mine]);
	rig.backend_fds[mine] = -1;
	fds[12] = client();
	send_pattern(fds[12], 1, 10);
	TURNS_UNTIL(reported_bad);
	send_pattern(fds[12], 2, 10); /* moves, and the bond with it */
	TURNS_UNTIL(SERVICE(CONNECT_RETRIES));
	assert_int_equal(rig.backends[mine].active, 12);
	fds[13] = client();
	send_pattern(fds[13], 2, 10);
	TURNS_UNTIL(udp_count(&rig.worker) == 14);
	assert_int_equal(udp_count(&rig.worker), 14);
	assert_int_equal(rig.backends[mine].active, 12);
	struct affinity_table *table = rig.service.affinity;
	for (unsigned i = 0; i < 14; i++)
		close(fds[i]);
	stop();
	affinity_free(table);
}

/* ---- the PROXY protocol ---- */

static void every_datagram_has_its_own_proxy_header(void **context)
{
	(void)context;
	start(true);
	rig.backends[0].send_proxy = 2;
	int fd = client_to(AF_INET, "127.0.0.5");
	uint16_t client_port = port_of(fd);
	option(fd, SOL_UDP, UDP_SEGMENT, 100);
	send_pattern(fd, 4, 250);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(receive_from(rig.backend_fds[0], NULL, NULL), 28 + (i < 2 ? 100 : 50));
		assert_memory_equal(big, "\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c",
		                    16); /* version 2, PROXY, UDP over IPv4 */
		assert_memory_equal(big + 16, "\x7f\0\0\x01\x7f\0\0\x05", 8);
		assert_int_equal(big[24] << 8 | big[25], client_port);
		assert_int_equal(big[26] << 8 | big[27], rig.port);
		assert_int_equal(big[28], pattern(4, i * 100));
	}
	option(fd, SOL_UDP, UDP_SEGMENT, 0);
	send_pattern(fd, 4, 0);
	assert_int_equal(receive_from(rig.backend_fds[0], NULL, NULL), 28);
	send_pattern(fd, 4, 65507); /* no room for the header */
	assert_true(silent(rig.backend_fds[0]));
	assert_int_equal(SERVICE(UDP_DROPPED), 1);
	close(fd);
	stop();
}

/* ---- what can be seen ---- */

static void sessions_are_listed(void **context)
{
	(void)context;
	start(true);
	int fds[5];
	for (unsigned i = 0; i < 5; i++) {
		fds[i] = client();
		round_trip(fds[i], 0, i, 10);
	}
	Marcher__Engine__V1__ConnectionList *list = malloc(sizeof(*list));
	marcher__engine__v1__connection_list__init(list);
	udp_list(&rig.worker, "web", 10, list);
	assert_int_equal(list->n_connections, 0);
	udp_list(&rig.worker, "dns", 2, list);
	assert_int_equal(list->n_connections, 2);
	assert_int_equal(list->total, 5);
	udp_list(&rig.worker, NULL, 100, list);
	assert_int_equal(list->n_connections, 7);
	const Marcher__Engine__V1__Connection *one = list->connections[6];
	char text[64];
	assert_string_equal(one->service, "dns");
	assert_string_equal(one->backend, "a");
	assert_string_equal(one->transport, "udp");
	assert_string_equal(one->state, "established");
	snprintf(text, sizeof(text), "127.0.0.1:%u", rig.port);
	assert_string_equal(one->local, text);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port_of(rig.backend_fds[0]));
	assert_string_equal(one->upstream, text);
	assert_int_equal(one->bytes_received, 10);
	assert_int_equal(one->bytes_sent, 10);
	assert_true(one->opened_unix_ms > 1500000000000ull);
	marcher__engine__v1__connection_list__free_unpacked(list, NULL);
	for (unsigned i = 0; i < 5; i++)
		close(fds[i]);
	stop();
}

static void opening_and_closing_are_events(void **context)
{
	(void)context;
	start(false);
	int fd = client();
	uint16_t client_port = port_of(fd);
	round_trip(fd, 0, 1, 10);
	udp_drain(&rig.worker, NULL, NULL, 1);
	turns(3);
	struct marcher_event events[4];
	assert_int_equal(event_ring_read(rig.worker.stats.ring, EVENT_RING_CAPACITY, events, 4), 2);
	assert_int_equal(events[0].kind, MARCHER_EVENT_CONNECTION_OPENED);
	assert_int_equal(events[1].kind, MARCHER_EVENT_CONNECTION_CLOSED);
	assert_int_equal(events[1].reason, MARCHER_CLOSE_DRAINED);
	assert_int_equal(events[1].transport, 17);
	assert_int_equal(events[1].connection_id, events[0].connection_id);
	assert_int_equal(events[1].client.port, client_port);
	assert_int_equal(events[1].local.port, rig.port);
	assert_int_equal(events[1].bytes_received, 10);
	assert_int_equal(events[1].bytes_sent, 10);
	close(fd);
	stop();
}

/* Last: it goes to a network namespace of its own, where the loopback device has a small MTU. */
static void segments_above_the_mtu_fall_back_to_single_datagrams(void **context)
{
	(void)context;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 && unshare(CLONE_NEWNET) < 0)
		skip();
	struct ifreq request = {.ifr_name = "lo"};
	int control = socket(AF_INET, SOCK_DGRAM, 0);
	request.ifr_mtu = 1500;
	if (ioctl(control, SIOCSIFMTU, &request) < 0)
		skip();
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(control, SIOCSIFFLAGS, &request), 0);
	close(control);
	uint32_t sizes[60];
	for (unsigned i = 0; i < 60; i++)
		sizes[i] = 2000; /* fragmented by IP: cannot be a segment */
	burst(sizes, 60, 20);
	for (unsigned i = 0; i < 60; i++)
		sizes[i] = i % 4 < 2 ? 2000 : 700;
	burst(sizes, 60, 20);
}

/* ---- traffic policies ---- */

typedef Marcher__Engine__V1__TrafficPolicy Policy;

/* Publishes it, as the main thread does. */
static void follow(const Policy *message)
{
	if (!rig.id.qos)
		rig.id.qos = qos_new(1);
	struct qos_policy *before = rig.id.qos->policy;
	rig.id.qos->policy = message ? qos_policy_new(message) : NULL;
	free(before);
	qos_tell_ecn(rig.listen.fd, AF_UNSPEC);
	udp_policies_changed(&rig.worker);
}

static Policy policy(Marcher__Engine__V1__Bandwidth *limit, uint64_t bits)
{
	Policy out;
	marcher__engine__v1__traffic_policy__init(&out);
	marcher__engine__v1__bandwidth__init(limit);
	limit->bits_per_second = bits;
	limit->burst_bytes = 65536;
	out.priority = QOS_CLASS_DEFAULT;
	return out;
}

/* Datagrams that are there, and of them those with these ECN bits. */
static unsigned received(int fd, int ecn, unsigned *with_ecn)
{
	unsigned n = 0;
	*with_ecn = 0;
	turns(30); /* replies are read in batches that grow */
	for (;;) {
		_Alignas(8) uint8_t control[64];
		struct iovec iov = {big, sizeof(big)};
		struct msghdr msg = {
		        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
		if (recvmsg(fd, &msg, 0) < 0)
			return n;
		n++;
		for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
			if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_TOS)
				*with_ecn += (*CMSG_DATA(cmsg) & 3) == ecn;
	}
}

static void datagrams_over_the_rate_are_dropped_and_counted_both_ways(void **context)
{
	(void)context;
	Marcher__Engine__V1__Bandwidth limit;
	Policy message = policy(&limit, 8000);
	unsigned ecn;
	for (unsigned own = 0; own < 2; own++) {
		start(true);
		message.ingress = message.egress = message.connection_ingress = message.connection_egress = NULL;
		*(own ? &message.connection_ingress : &message.ingress) = &limit;
		*(own ? &message.connection_egress : &message.egress) = &limit;
		follow(&message);
		int fd = client();
		/* In parts: a socket of a plain user holds 92 of them. */
		for (unsigned i = 0; i < 100; i++) {
			send_pattern(fd, i, 1000);
			if (i % 25 == 24)
				turns(5);
		}
		/* 64 KiB, and a byte per ms. */
		assert_in_range(received(rig.backend_fds[0], 0, &ecn), 65, 66);
		assert_in_range(SERVICE(RATE_DROPPED), 34, 35);
		assert_int_equal(SERVICE(UDP_DROPPED), SERVICE(RATE_DROPPED));
		/* A second session has a limit of its own, or none of it left. */
		int other = client();
		send_pattern(other, 0, 1200);
		assert_int_equal(received(rig.backend_fds[0], 0, &ecn), own);
		struct sockaddr_storage to;
		socklen_t length;
		follow(NULL);
		send_pattern(fd, 0, 10);
		assert_int_equal(receive_from(rig.backend_fds[0], &to, &length), 10);
		follow(&message);
		for (unsigned i = 0; i < 100; i++) {
			assert_int_equal(sendto(rig.backend_fds[0], big, 1000, 0, (struct sockaddr *)&to, length),
			                 1000);
			if (i % 25 == 24)
				turns(5);
		}
		assert_in_range(received(fd, 0, &ecn), 65, 66);
		close(fd);
		close(other);
		struct qos *qos = rig.id.qos;
		stop();
		qos_free(qos);
	}
}

static void what_can_be_marked_is_marked_in_place_of_being_dropped(void **context)
{
	(void)context;
	Marcher__Engine__V1__Bandwidth limit;
	Policy message = policy(&limit, 8000);
	unsigned marked;
	start(true);
	message.ingress = message.egress = &limit;
	message.ecn_mark = true;
	message.set_dscp = true;
	message.dscp = 10;
	follow(&message);
	int fd = client();
	option(fd, IPPROTO_IP, IP_RECVTOS, 1);
	option(rig.backend_fds[0], IPPROTO_IP, IP_RECVTOS, 1);
	/* Not capable: dropped. */
	for (unsigned i = 0; i < 80; i++)
		send_pattern(fd, i, 1000);
	assert_in_range(received(rig.backend_fds[0], UDP_ECN_CE, &marked), 65, 66);
	assert_int_equal(marked, 0);
	/* Capable: a quarter of the burst is marked, and the rest is dropped. */
	option(fd, IPPROTO_IP, IP_TOS, 2);
	for (unsigned i = 0; i < 80; i++)
		send_pattern(fd, i, 1000);
	assert_in_range(received(rig.backend_fds[0], UDP_ECN_CE, &marked), 16, 17);
	assert_in_range(marked, 16, 17);
	assert_int_equal(SERVICE(ECN_MARKED), marked);
	assert_in_range(SERVICE(RATE_DROPPED), 77, 79);
	/* What is within the rate goes on as it came, both ways. */
	follow(NULL);
	message.ingress = NULL;
	follow(&message);
	send_pattern(fd, 0, 1000);
	struct sockaddr_storage to;
	socklen_t length;
	assert_int_equal(receive_from(rig.backend_fds[0], &to, &length), 1000);
	option(rig.backend_fds[0], IPPROTO_IP, IP_TOS, 1);
	assert_int_equal(sendto(rig.backend_fds[0], big, 1000, 0, (struct sockaddr *)&to, length), 1000);
	assert_int_equal(received(fd, 1, &marked), 1);
	assert_int_equal(marked, 1);
	close(fd);
	struct qos *qos = rig.id.qos;
	stop();
	qos_free(qos);
}

/* Offers a session datagrams of 1,000 bytes for so long by the worker's clock, which the test sets; every 10 us there
 * is one of so many in a thousand without ECT, one of so many with it, or none. What passes of them, in bytes. */
static void offer(struct udp_session *session, unsigned ms, const unsigned of_1000[2], uint64_t sent[2],
                  uint64_t passed[2])
{
	uint32_t seed = 1;

	rig.worker.now_us += 1000000;
	for (unsigned us = 0; us < ms * 1000; us += 10, rig.worker.now_us += 10) {
		seed = seed * 1664525 + 1013904223;
		unsigned drawn = (seed >> 8) % 1000, ect = drawn >= of_1000[0];
		if (drawn >= of_1000[0] + of_1000[1])
			continue;
		struct udp_verdict verdict = udp_police(session, QOS_INGRESS, 1000, 0, ect ? 2 : 0);
		sent[ect] += 1000;
		passed[ect] += verdict.passed + verdict.marked;
	}
}

static struct udp_session *session_of(Policy *message)
{
	start(true);
	message->ecn_mark = true;
	follow(message);
	int fd = client();
	unsigned with;
	send_pattern(fd, 0, 1);
	received(rig.backend_fds[0], 0, &with);
	close(fd);
	assert_non_null(rig.worker.udp->all);
	return rig.worker.udp->all;
}

/* 3 times the rate of what says ECT and does not react to marks, beside a fifth of it that does not say ECT. */
static void a_sender_that_does_not_react_to_marks_starves_nobody(void **context)
{
	(void)context;
	Marcher__Engine__V1__Bandwidth limit;
	Policy message = policy(&limit, 40000000);
	uint64_t sent[2] = {0}, passed[2] = {0};
	message.ingress = &limit;
	struct udp_session *session = session_of(&message);
	offer(session, 10000, (unsigned[2]){10, 150}, sent, passed);
	uint64_t marked = SERVICE(ECN_MARKED) * 1000, rate = 40000000 / 8 * 10;
	/* As much of its own as of the other's, but for what is marked: a sixteenth of the rate. */
	double share = (double)passed[0] / (double)sent[0], other = (double)passed[1] / (double)sent[1];
	print_message("without ECT %.3f passes, with it %.3f; marked %.3f of the rate\n", share, other,
	              (double)marked / (double)rate);
	assert_true(share > other * 0.8 && share < other * 1.2);
	assert_in_range(marked, rate / 17, rate / 15 + 65536);
	assert_in_range(passed[0] + passed[1], rate, rate + rate / 1000 + 65536 * 5 / 4 + 1000);
	struct qos *qos = rig.id.qos;
	stop();
	qos_free(qos);
}

static void a_sessions_own_rate_marks_without_the_services_leave(void **context)
{
	(void)context;
	Marcher__Engine__V1__Bandwidth limit, wide;
	Policy message = policy(&wide, 400000000);
	message = policy(&limit, 40000000);
	message.ingress = &wide;
	message.connection_ingress = &limit;
	uint64_t sent[2] = {0}, passed[2] = {0};
	struct udp_session *session = session_of(&message);
	offer(session, 1000, (unsigned[2]){0, 100}, sent, passed);
	uint64_t rate = 40000000 / 8;
	assert_in_range(passed[1], rate, rate + rate / 1000 + 131072 * 5 / 4 + 1000);
	assert_true(SERVICE(ECN_MARKED) > 1000);
	assert_int_equal(service_qos(session->service)->bytes[QOS_INGRESS].marks_tat, 0);
	struct qos *qos = rig.id.qos;
	stop();
	qos_free(qos);
}

static void more_sessions_than_the_rate_are_refused(void **context)
{
	(void)context;
	Marcher__Engine__V1__Bandwidth unused;
	Policy message = policy(&unused, 8000);
	Marcher__Engine__V1__ConnectionRate limit;
	marcher__engine__v1__connection_rate__init(&limit);
	limit.per_second = 1;
	limit.burst = 3;
	start(false);
	message.connections = &limit;
	follow(&message);
	int fds[6];
	for (unsigned i = 0; i < 6; i++) {
		fds[i] = client();
		send_pattern(fds[i], i, 10);
	}
	turns(5);
	assert_int_equal(udp_count(&rig.worker), 3);
	assert_int_equal(SERVICE(RATE_REFUSED), 3);
	assert_int_equal(SERVICE(REJECTED), 3);
	for (unsigned i = 0; i < 6; i++)
		close(fds[i]);
	struct qos *qos = rig.id.qos;
	stop();
	qos_free(qos);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(replies_come_from_the_address_that_was_sent_to),
	        cmocka_unit_test(every_size_passes_whole),
	        cmocka_unit_test(bursts_keep_borders_and_order),
	        cmocka_unit_test(datagrams_that_came_merged_are_passed_on_one_by_one),
	        cmocka_unit_test(many_clients_have_a_session_each),
	        cmocka_unit_test(a_backend_without_a_port_gets_the_listeners),
	        cmocka_unit_test(limits_refuse_and_count),
	        cmocka_unit_test(without_a_backend_datagrams_are_dropped),
	        cmocka_unit_test(idle_sessions_end_and_busy_ones_do_not),
	        cmocka_unit_test(draining_sessions_go_on_until_the_deadline),
	        cmocka_unit_test(a_closing_listener_still_sends_replies),
	        cmocka_unit_test(a_closing_listener_without_sessions_is_closed_at_once),
	        cmocka_unit_test(a_refusing_backend_is_left_for_another),
	        cmocka_unit_test(the_error_of_one_datagram_does_not_cost_the_next),
	        cmocka_unit_test(the_only_backend_is_tried_again),
	        cmocka_unit_test(one_that_answered_is_given_three_refusals),
	        cmocka_unit_test(sessions_leave_an_unhealthy_backend),
	        cmocka_unit_test(affinity_holds_over_sessions_and_gives_way_to_failure),
	        cmocka_unit_test(every_datagram_has_its_own_proxy_header),
	        cmocka_unit_test(sessions_are_listed),
	        cmocka_unit_test(opening_and_closing_are_events),
	        cmocka_unit_test(datagrams_over_the_rate_are_dropped_and_counted_both_ways),
	        cmocka_unit_test(what_can_be_marked_is_marked_in_place_of_being_dropped),
	        cmocka_unit_test(a_sender_that_does_not_react_to_marks_starves_nobody),
	        cmocka_unit_test(a_sessions_own_rate_marks_without_the_services_leave),
	        cmocka_unit_test(more_sessions_than_the_rate_are_refused),
	        cmocka_unit_test(segments_above_the_mtu_fall_back_to_single_datagrams),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
