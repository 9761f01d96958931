/* SPDX-License-Identifier: Apache-2.0 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a pipe is asked to hold: the system's default limit for one (fs.pipe-max-size). */
#define PIPE_BYTES (1024 * 1024)
/* A pipe below this moves less per call than a copy through the scratch buffer does. */
#define PIPE_BYTES_MIN (64 * 1024)
/* After the system refused a pipe: descriptors or fs.pipe-user-pages-* are used up. */
#define PIPE_RETRY_MS 1000

/*
 * recv() and send() are cancellation points, for which libc does extra work in a process with threads: 2 % of a small
 * request's time. Nobody cancels a worker, so the kernel is called without that. Sanitizers get the libc calls, which
 * they check.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(SYS_recvfrom) || !defined(SYS_sendto)
#define RECEIVE(fd, data, capacity) recv(fd, data, capacity, 0)
#define SEND(fd, data, length, flags) send(fd, data, length, flags)
#else
#define RECEIVE(fd, data, capacity) syscall(SYS_recvfrom, fd, data, capacity, 0, NULL, NULL)
#define SEND(fd, data, length, flags) syscall(SYS_sendto, fd, data, length, flags, NULL, 0)
#endif

ssize_t raw_receive(int fd, void *data, size_t capacity)
{
	ssize_t n;

	do {
		n = RECEIVE(fd, data, capacity);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t raw_send(int fd, const void *data, size_t length, bool more)
{
	ssize_t n;

	do {
		n = SEND(fd, data, length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t raw_sendv(int fd, const struct iovec *pieces, int npieces, bool more)
{
	struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)npieces};
	ssize_t n;

	do {
		n = sendmsg(fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Binds to a source address. Returns 0 or -errno. */
static int bind_source(int fd, const struct addr *source)
{
	struct sockaddr_storage sa;
	struct addr from = *source;
	int one = 1;

	from.port = 0;
	/* Without it bind() would take a port for itself alone: 28,000 connections in all, not per destination. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	socklen_t length = addr_to_sockaddr(&from, false, &sa);
	return bind(fd, (struct sockaddr *)&sa, length) < 0 ? -errno : 0;
}

int raw_socket(const struct addr *addr, const struct addr *source, bool delay_ack)
{
	int fd = socket(addr->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0, zero = 0;

	if (fd < 0)
		return -errno;
	if (addr->family == AF_UNIX)
		return fd;
	if (source->family != AF_UNSPEC)
		error = bind_source(fd, source);
	if (delay_ack)
		setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero));
	if (!error)
		return fd;
	close(fd);
	return error == -EAGAIN ? -EADDRNOTAVAIL : error;
}

int raw_connect(int fd, const struct addr *addr, bool *connected)
{
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(addr, false, &sa);
	int error = 0;

	*connected = false;
	if (connect(fd, (struct sockaddr *)&sa, length) < 0)
		error = -errno;
	else
		*connected = true;
	/* EINTR: as POSIX has it, the connection goes on being made. */
	if (error == 0 || error == -EINPROGRESS || error == -EINTR)
		return fd;
	close(fd);
	return error == -EAGAIN && addr->family != AF_UNIX ? -EADDRNOTAVAIL : error;
}

void raw_reset(int fd)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
}

void raw_pipe_pool_init(struct raw_pipe_pool *pool, uint32_t max_idle, uint32_t max_open)
{
	*pool = (struct raw_pipe_pool){.max_idle = max_idle, .max_open = max_open};
}

static void pipe_close(struct raw_pipe_pool *pool, struct raw_pipe *pipe)
{
	close(pipe->read_fd);
	close(pipe->write_fd);
	free(pipe);
	pool->nopen--;
}

void raw_pipe_pool_clear(struct raw_pipe_pool *pool)
{
	while (pool->idle) {
		struct raw_pipe *pipe = pool->idle;
		pool->idle = pipe->next;
		pipe_close(pool, pipe);
	}
	pool->nidle = 0;
}

static struct raw_pipe *pipe_open(void)
{
	struct raw_pipe *pipe = malloc(sizeof(*pipe));
	int fds[2], capacity;

	if (!pipe)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(pipe);
		return NULL;
	}
	/* Refused above fs.pipe-user-pages-soft or fs.pipe-max-size: then a smaller one, then what there is. */
	for (int bytes = PIPE_BYTES; bytes >= PIPE_BYTES_MIN; bytes /= 4)
		if (fcntl(fds[1], F_SETPIPE_SZ, bytes) >= 0)
			break;
	capacity = fcntl(fds[1], F_GETPIPE_SZ);
	if (capacity < PIPE_BYTES_MIN) {
		close(fds[0]);
		close(fds[1]);
		free(pipe);
		return NULL;
	}
	*pipe = (struct raw_pipe){.read_fd = fds[0], .write_fd = fds[1], .capacity = (uint32_t)capacity};
	return pipe;
}

struct raw_pipe *raw_pipe_take(struct raw_pipe_pool *pool, uint64_t now_ms)
{
	struct raw_pipe *pipe = pool->idle;

	if (pipe) {
		pool->idle = pipe->next;
		pool->nidle--;
		return pipe;
	}
	if (pool->nopen >= pool->max_open || now_ms < pool->retry_after_ms)
		return NULL;
	pipe = pipe_open();
	if (pipe)
		pool->nopen++;
	else
		pool->retry_after_ms = now_ms + PIPE_RETRY_MS;
	return pipe;
}

void raw_pipe_give(struct raw_pipe_pool *pool, struct raw_pipe *pipe)
{
	if (pipe->pending || pool->nidle >= pool->max_idle) {
		pipe_close(pool, pipe);
		return;
	}
	pipe->next = pool->idle;
	pool->idle = pipe;
	pool->nidle++;
}

ssize_t raw_pipe_fill(struct raw_pipe *pipe, int fd, size_t most)
{
	ssize_t n;

	do {
		n = splice(fd, NULL, pipe->write_fd, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	pipe->pending += (uint32_t)n;
	return n;
}

ssize_t raw_pipe_drain(struct raw_pipe *pipe, int fd)
{
	ssize_t n;

	do {
		n = splice(pipe->read_fd, NULL, fd, NULL, pipe->pending, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	pipe->pending -= (uint32_t)n;
	return n;
}
