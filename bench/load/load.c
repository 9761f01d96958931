/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-load MODE ADDRESS PORT CONNECTIONS COUNT REPLY_BYTES [PER_SECOND]: a
 * closed loop over CONNECTIONS until COUNT exchanges are done; prints one JSON
 * object.
 *   keepalive  requests of 64 bytes on standing connections
 *   paced      the same, but an exchange is due PER_SECOND times a second,
 *              whatever became of those before; a latency is counted from when
 *              it was due, so that those kept waiting for a connection count
 *   connect    connect, one request, its reply, close
 *   udp        datagrams of REPLY_BYTES from CONNECTIONS sockets, each waiting
 *              for its reply
 *   idle       opens CONNECTIONS, one exchange on each, prints "ready", holds
 *              them until its input ends
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

enum mode { KEEPALIVE, CONNECT, DATAGRAMS, IDLE, PACED };

struct lane {
	int fd;
	int connecting;
	int resting;  /* paced: until an exchange is due */
	uint64_t due; /* bytes of the reply still to come */
	uint64_t began_ns;
	uint64_t serial;
};

static enum mode mode;
static struct sockaddr_in target;
static uint64_t count, reply_bytes, started, finished, failed, lost;
static uint32_t *latency_us;
static int ep;
/* Of paced: when the next exchange is due. */
static uint64_t next_ns, interval_ns;
static char sink[CHUNK_BYTES];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct lane *l, uint32_t events, int op)
{
	struct epoll_event e = {.events = events, .data.ptr = l};

	if (epoll_ctl(ep, op, l->fd, &e) < 0)
		die("epoll_ctl");
}

static void send_request(struct lane *l)
{
	char request[DATAGRAM_MAX] = {0};
	size_t length = mode == DATAGRAMS ? reply_bytes : REQUEST_BYTES;

	if (mode == DATAGRAMS)
		memcpy(request, &l->serial, sizeof(l->serial));
	else
		memcpy(request, &reply_bytes, sizeof(reply_bytes));
	l->due = reply_bytes;
	if (send(l->fd, request, length, MSG_NOSIGNAL) != (ssize_t)length && mode != DATAGRAMS)
		failed++;
}

static void open_lane(struct lane *l)
{
	/* Several source addresses: one alone runs out of ports when every exchange
	 * is a connection. */
	static uint32_t turn;
	struct sockaddr_in from = {.sin_family = AF_INET};
	int one = 1;

	l->fd = socket(AF_INET, (mode == DATAGRAMS ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		die("socket");
	if ((ntohl(target.sin_addr.s_addr) >> 24) == 127) {
		from.sin_addr.s_addr = htonl(0x7f000100u + turn++ % 16);
		setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(l->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
			die("bind");
	}
	if (mode != DATAGRAMS)
		setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(l->fd, (struct sockaddr *)&target, sizeof(target)) < 0 && errno != EINPROGRESS)
		die("connect");
	l->connecting = mode != DATAGRAMS;
	watch(l, l->connecting ? EPOLLOUT : EPOLLIN, EPOLL_CTL_ADD);
}

/* Begins the lane's next exchange, if there is one to begin. */
static void begin(struct lane *l)
{
	uint64_t now = now_ns();

	l->resting = mode == PACED && next_ns > now;
	if (started >= count || l->resting)
		return;
	l->serial = ++started;
	l->began_ns = mode == PACED ? next_ns : now;
	next_ns += interval_ns;
	if (mode == CONNECT)
		open_lane(l);
	else
		send_request(l);
}

static int make_clock(void)
{
	const struct timespec each = {(time_t)(interval_ns / 1000000000u), (long)(interval_ns % 1000000000u)};
	const struct itimerspec ticks = {.it_interval = each, .it_value = each};
	struct epoll_event e = {.events = EPOLLIN};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd < 0 || timerfd_settime(fd, 0, &ticks, NULL) < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("timerfd");
	return fd;
}

static void end(struct lane *l, int ok)
{
	if (ok && finished < count)
		latency_us[finished] = (uint32_t)((now_ns() - l->began_ns) / 1000);
	finished++;
	if (!ok)
		failed++;
	if (mode == CONNECT || !ok) {
		close(l->fd);
		if (mode != CONNECT && finished < count) {
			l->serial = ++started;
			l->began_ns = now_ns();
			open_lane(l);
			return;
		}
	}
	begin(l);
}

static void readable(struct lane *l)
{
	for (;;) {
		ssize_t n = recv(l->fd, sink, sizeof(sink), 0);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			if (l->due > 0 && mode != DATAGRAMS)
				end(l, 0);
			return;
		}
		if (mode == DATAGRAMS) {
			uint64_t serial;

			memcpy(&serial, sink, sizeof(serial));
			if (serial != l->serial)
				continue; /* a reply that was given up */
			l->due = 0;
			end(l, 1);
			return;
		}
		if ((uint64_t)n > l->due) {
			fprintf(stderr, "more bytes than asked for\n");
			exit(1);
		}
		l->due -= (uint64_t)n;
		if (l->due == 0) {
			end(l, 1);
			return;
		}
	}
}

static void event(struct lane *l, uint32_t events)
{
	if (l->connecting) {
		int error = 0;
		socklen_t length = sizeof(error);

		getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			l->connecting = 0;
			end(l, 0);
			return;
		}
		l->connecting = 0;
		watch(l, EPOLLIN, EPOLL_CTL_MOD);
		if (mode == PACED && l->serial == 0) {
			begin(l);
			return;
		}
		if (l->serial == 0) {
			l->serial = ++started;
			l->began_ns = now_ns();
		}
		send_request(l);
		return;
	}
	(void)events;
	readable(l);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static const char *const modes[] = {"keepalive", "connect", "udp", "idle", "paced"};
	struct lane *lanes;
	uint64_t begin_ns, check_ns;
	double seconds;
	int connections, clock = -1, m = -1;

	for (int i = 0; argc >= 7 && i < 5; i++) {
		if (!strcmp(argv[1], modes[i]) && argc == (i == PACED ? 8 : 7))
			m = i;
	}
	if (m < 0 || inet_pton(AF_INET, argv[2], &target.sin_addr) != 1) {
		fprintf(stderr, "usage: bench-load keepalive|connect|udp|idle ADDRESS PORT "
		                "CONNECTIONS COUNT REPLY_BYTES\n"
		                "       bench-load paced ADDRESS PORT CONNECTIONS COUNT REPLY_BYTES PER_SECOND\n");
		return 2;
	}
	mode = (enum mode)m;
	target.sin_family = AF_INET;
	target.sin_port = htons((uint16_t)atoi(argv[3]));
	connections = atoi(argv[4]);
	count = mode == IDLE ? (uint64_t)connections : strtoull(argv[5], NULL, 10);
	reply_bytes = strtoull(argv[6], NULL, 10);
	if (connections < 1 || count < (uint64_t)connections || (mode == DATAGRAMS && reply_bytes > DATAGRAM_MAX)) {
		fprintf(stderr, "COUNT must be at least CONNECTIONS, and a datagram at most %d bytes\n", DATAGRAM_MAX);
		return 2;
	}
	ep = epoll_create1(EPOLL_CLOEXEC);
	lanes = calloc((size_t)connections, sizeof(*lanes));
	latency_us = calloc(count, sizeof(*latency_us));
	if (ep < 0 || !lanes || !latency_us)
		die("setting up");
	if (mode == PACED) {
		const uint64_t per_second = strtoull(argv[7], NULL, 10);

		interval_ns = 1000000000u / (per_second ? per_second : 1);
		clock = make_clock();
	}
	begin_ns = now_ns();
	check_ns = begin_ns;
	next_ns = begin_ns + 10000000u; /* by when the connections are there */
	for (int i = 0; i < connections; i++) {
		if (mode == CONNECT) {
			begin(&lanes[i]);
		} else {
			open_lane(&lanes[i]);
			if (mode == DATAGRAMS)
				begin(&lanes[i]);
		}
	}
	while (finished < count) {
		struct epoll_event events[256];
		int n = epoll_wait(ep, events, 256, 100);
		uint64_t now = now_ns();

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				event(events[i].data.ptr, events[i].events);
		}
		if (clock >= 0 && read(clock, sink, sizeof(uint64_t)) < 0 && errno != EAGAIN)
			die("timerfd");
		for (int i = 0; clock >= 0 && i < connections; i++) {
			if (lanes[i].resting)
				begin(&lanes[i]);
		}
		if (now - begin_ns > 120000000000ull) {
			fprintf(stderr, "not done after 120 s: %llu of %llu\n", (unsigned long long)finished,
			        (unsigned long long)count);
			return 1;
		}
		if (mode != DATAGRAMS || now - check_ns < 100000000u)
			continue;
		check_ns = now;
		for (int i = 0; i < connections; i++) {
			struct lane *l = &lanes[i];

			/* A datagram that has not come back after half a second is lost; the
			 * exchange is tried anew. */
			if (l->due > 0 && now > l->began_ns && now - l->began_ns > 500000000u) {
				lost++;
				l->began_ns = now;
				l->serial += (uint64_t)1 << 40;
				send_request(l);
			}
		}
	}
	seconds = (double)(now_ns() - begin_ns) / 1e9;
	if (mode == IDLE) {
		char byte;

		puts("ready");
		fflush(stdout);
		while (read(0, &byte, 1) > 0)
			;
		return failed > 0;
	}
	qsort(latency_us, count, sizeof(*latency_us), by_value);
	printf("{\"done\":%llu,\"failed\":%llu,\"lost\":%llu,\"seconds\":%.6f,"
	       "\"cpuSeconds\":%.6f,\"p50Us\":%u,\"p99Us\":%u}\n",
	       (unsigned long long)(finished - failed), (unsigned long long)failed, (unsigned long long)lost, seconds,
	       cpu_seconds(), latency_us[count / 2], latency_us[count - count / 100 - 1]);
	return 0;
}
