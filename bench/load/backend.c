/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench-backend ADDRESS FIRST_PORT COUNT HTTP_PORT: answers TCP and UDP on
 * COUNT ports each and HTTP/1.1 on one more; one thread, epoll. Prints "ready"
 * when it listens.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

enum kind { LISTENER, HTTP_LISTENER, UDP, CONNECTION, HTTP_CONNECTION };

struct peer {
	enum kind kind;
	int fd;
	uint32_t have; /* bytes of the next request that have come; HTTP: of its end */
	uint64_t owed; /* bytes of replies still to be sent */
	int waiting;   /* asked epoll for writability */
	unsigned char request[REQUEST_BYTES];
};

static char chunk[CHUNK_BYTES];
static int ep;

static void watch(struct peer *p, uint32_t events, int op)
{
	struct epoll_event e = {.events = events, .data.ptr = p};

	if (epoll_ctl(ep, op, p->fd, &e) < 0)
		die("epoll_ctl");
}

static struct peer *add(enum kind kind, int fd)
{
	struct peer *p = calloc(1, sizeof(*p));

	if (!p)
		die("calloc");
	p->kind = kind;
	p->fd = fd;
	watch(p, EPOLLIN, EPOLL_CTL_ADD);
	return p;
}

static void drop(struct peer *p)
{
	close(p->fd);
	free(p);
}

/* Sends what is owed. 0, or -1 when the connection is gone. */
static int pay(struct peer *p)
{
	while (p->owed > 0) {
		size_t n = p->owed < CHUNK_BYTES ? p->owed : CHUNK_BYTES;
		ssize_t done = send(p->fd, chunk, n, MSG_NOSIGNAL);

		if (done < 0) {
			if (errno != EAGAIN)
				return -1;
			if (!p->waiting)
				watch(p, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
			p->waiting = 1;
			return 0;
		}
		p->owed -= (uint64_t)done;
	}
	if (p->waiting)
		watch(p, EPOLLIN, EPOLL_CTL_MOD);
	p->waiting = 0;
	return 0;
}

static int serve(struct peer *p)
{
	unsigned char in[REQUEST_BYTES * 64];
	ssize_t n = recv(p->fd, in, sizeof(in), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		return -1;
	for (ssize_t i = 0; i < n;) {
		size_t want = REQUEST_BYTES - p->have;
		size_t got = (size_t)(n - i) < want ? (size_t)(n - i) : want;

		memcpy(p->request + p->have, in + i, got);
		p->have += (uint32_t)got;
		i += (ssize_t)got;
		if (p->have == REQUEST_BYTES) {
			uint64_t length;

			memcpy(&length, p->request, sizeof(length));
			p->owed += length;
			p->have = 0;
		}
	}
	return pay(p);
}

/* Every request that ends in an empty line gets the same answer; requests with
 * a body are not understood. */
static int serve_http(struct peer *p)
{
	static const char end[] = "\r\n\r\n";
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	                             "Content-Length: 13\r\n\r\nHello, World\n";
	char in[16384];
	ssize_t n = recv(p->fd, in, sizeof(in), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		return -1;
	for (ssize_t i = 0; i < n; i++) {
		p->have = in[i] == end[p->have] ? p->have + 1 : in[i] == '\r';
		if (p->have < 4)
			continue;
		p->have = 0;
		if (send(p->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(answer) - 1)
			return -1;
	}
	return 0;
}

static void accept_all(int listener, enum kind kind)
{
	int one = 1;

	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		add(kind, fd);
	}
}

static void echo(int fd)
{
	enum { BATCH = 32 };
	static char data[BATCH][DATAGRAM_MAX];
	struct sockaddr_in from[BATCH];
	struct iovec iov[BATCH];
	struct mmsghdr msg[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){data[i], DATAGRAM_MAX};
		msg[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i],
		                                      .msg_namelen = sizeof(from[i]),
		                                      .msg_iov = &iov[i],
		                                      .msg_iovlen = 1}};
	}
	n = recvmmsg(fd, msg, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		iov[i].iov_len = msg[i].msg_len;
	for (int sent = 0; sent < n;) {
		int done = sendmmsg(fd, msg + sent, (unsigned int)(n - sent), 0);

		sent += done > 0 ? done : 1;
	}
}

static int bound(int type, const char *address, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int one = 1, big = 4 << 20;
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &a.sin_addr) != 1)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &big, sizeof(big));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 16384) < 0)
		die("listen");
	return fd;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: bench-backend ADDRESS FIRST_PORT COUNT HTTP_PORT\n");
		return 2;
	}
	ep = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < atoi(argv[3]); i++) {
		add(LISTENER, bound(SOCK_STREAM, argv[1], atoi(argv[2]) + i));
		add(UDP, bound(SOCK_DGRAM, argv[1], atoi(argv[2]) + i));
	}
	add(HTTP_LISTENER, bound(SOCK_STREAM, argv[1], atoi(argv[4])));
	memset(chunk, 'x', sizeof(chunk));
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[256];
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;

			if (p->kind == LISTENER)
				accept_all(p->fd, CONNECTION);
			else if (p->kind == HTTP_LISTENER)
				accept_all(p->fd, HTTP_CONNECTION);
			else if (p->kind == UDP)
				echo(p->fd);
			else if (p->kind == HTTP_CONNECTION) {
				if (serve_http(p) < 0)
					drop(p);
			} else if (((events[i].events & EPOLLOUT) && pay(p) < 0) ||
			           ((events[i].events & ~EPOLLOUT) && serve(p) < 0))
				drop(p);
		}
	}
}
