/* SPDX-License-Identifier: Apache-2.0 */
/* Plain sockets: the few system calls that the relay makes on them, and pipes to splice through. */
#ifndef ENGINE_RAW_H
#define ENGINE_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "../addr.h"

/* Receive and send return the number of bytes, 0 at the end of the stream (receive), or -errno; interrupted calls are
 * made again, EAGAIN is -EAGAIN. more: a FIN or more bytes follow at once, so a partial segment may wait for them. */
ssize_t raw_receive(int fd, void *data, size_t capacity);
ssize_t raw_send(int fd, const void *data, size_t length, bool more);
ssize_t raw_sendv(int fd, const struct iovec *pieces, int npieces, bool more);

/* A non-blocking stream socket to connect to addr, from source when its family is not AF_UNSPEC (without taking a port
 * before the destination is known: IP_BIND_ADDRESS_NO_PORT). delay_ack: the caller has bytes to send at once, so the
 * handshake's last ACK can ride on them. Returns the descriptor or -errno. */
int raw_socket(const struct addr *addr, const struct addr *source, bool delay_ack);
/* Begins to connect it. *connected: it is already. Returns the descriptor, or -errno and it is closed; -EAGAIN only for
 * a Unix socket whose backlog is full. */
int raw_connect(int fd, const struct addr *addr, bool *connected);

/* Closes with RST where the protocol has one, dropping what was not sent. */
void raw_reset(int fd);

/* A pipe that bytes are spliced through. */
struct raw_pipe {
	struct raw_pipe *next; /* in the pool */
	int read_fd, write_fd;
	uint32_t capacity;
	uint32_t pending; /* bytes in it */
};

/* Pipes of one worker: made on demand, at most max at a time, some kept when idle. */
struct raw_pipe_pool {
	struct raw_pipe *idle;
	uint32_t nidle, nopen, max_idle, max_open;
	uint64_t retry_after_ms; /* the system refused one; do not ask again before */
};
void raw_pipe_pool_init(struct raw_pipe_pool *pool, uint32_t max_idle, uint32_t max_open);
void raw_pipe_pool_clear(struct raw_pipe_pool *pool);
struct raw_pipe *raw_pipe_take(struct raw_pipe_pool *pool, uint64_t now_ms); /* NULL: none to be had now */
/* An empty pipe goes back to the pool; one with bytes in it is closed. */
void raw_pipe_give(struct raw_pipe_pool *pool, struct raw_pipe *pipe);

/* More than half of what there may be is taken: those that do not need one now give it back. */
static inline bool raw_pipes_scarce(const struct raw_pipe_pool *pool)
{
	return pool->nopen - pool->nidle > pool->max_open / 2;
}

/* Socket to pipe (at most so many bytes), pipe to socket. Results as raw_receive and raw_send; pending is kept. Fill
 * only an empty pipe: a full one says EAGAIN as an empty socket does. */
ssize_t raw_pipe_fill(struct raw_pipe *pipe, int fd, size_t most);
ssize_t raw_pipe_drain(struct raw_pipe *pipe, int fd);

#endif
