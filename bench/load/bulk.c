/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bulk that costs its ends little, so that what is between them is what is busy.
 *   bench-bulk source ADDRESS PORT               sends without end, without copying, to everybody who connects
 *   bench-bulk drain ADDRESS PORT CONNECTIONS    receives without copying; every 100 ms a line with the time (ms since
 *                                                1970) and the bytes that came until then
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define FILE_BYTES (4u << 20)
#define TURN_BYTES (256u << 10) /* of one connection, then others have their turn */

static int ep;

static void watch(int fd, uint32_t events, int op)
{
	struct epoll_event e = {.events = events, .data.fd = fd};

	if (epoll_ctl(ep, op, fd, &e) < 0)
		die("epoll_ctl");
}

static int stream(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static void source(const struct sockaddr_in *at)
{
	int listening = stream(), file = memfd_create("bulk", MFD_CLOEXEC), one = 1;
	struct epoll_event events[64];

	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (file < 0 || ftruncate(file, FILE_BYTES) < 0)
		die("memfd");
	if (bind(listening, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(listening, 128) < 0)
		die("listen");
	watch(listening, EPOLLIN, EPOLL_CTL_ADD);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, events, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == listening) {
				fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd >= 0)
					watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
				continue;
			}
			off_t from = 0;
			if (sendfile(fd, file, &from, TURN_BYTES) < 0 && errno != EAGAIN)
				close(fd);
		}
	}
}

static void drain(const struct sockaddr_in *to, int connections)
{
	struct itimerspec every = {{0, 100000000}, {0, 100000000}};
	struct epoll_event events[64];
	struct timespec now;
	uint64_t bytes = 0, ticks;
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	for (int i = 0; i < connections; i++) {
		int fd = stream();

		if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
			die("connect");
		watch(fd, EPOLLIN, EPOLL_CTL_ADD);
	}
	if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) < 0)
		die("timerfd");
	watch(timer, EPOLLIN, EPOLL_CTL_ADD);
	for (;;) {
		int n = epoll_wait(ep, events, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == timer) {
				if (read(timer, &ticks, sizeof(ticks)) < 0)
					die("timer");
				clock_gettime(CLOCK_REALTIME, &now);
				printf("%llu %llu\n",
				       (unsigned long long)now.tv_sec * 1000 +
				               (unsigned long long)now.tv_nsec / 1000000,
				       (unsigned long long)bytes);
				fflush(stdout);
				continue;
			}
			ssize_t got = recv(fd, NULL, TURN_BYTES, MSG_TRUNC | MSG_DONTWAIT);
			if (got == 0)
				exit(1);
			if (got > 0)
				bytes += (uint64_t)got;
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET};

	if (argc < 4 || inet_pton(AF_INET, argv[2], &at.sin_addr) != 1) {
		fprintf(stderr, "usage: bench-bulk source ADDRESS PORT | drain ADDRESS PORT CONNECTIONS\n");
		return 2;
	}
	at.sin_port = htons((uint16_t)atoi(argv[3]));
	ep = epoll_create1(EPOLL_CLOEXEC);
	signal(SIGPIPE, SIG_IGN); /* sendfile() to one that is gone */
	if (strcmp(argv[1], "source") == 0)
		source(&at);
	else
		drain(&at, argc > 4 ? atoi(argv[4]) : 1);
	return 0;
}
