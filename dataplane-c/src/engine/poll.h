/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The poller: edge-triggered readiness for descriptors, one per thread, behind an interface that a second backend
 * (io_uring) can stand in for. A source is registered once for both directions and never modified: its handler reads
 * and writes until the kernel says EAGAIN (or, for a stream, until a short read).
 */
#ifndef ENGINE_POLL_H
#define ENGINE_POLL_H

#include <stdbool.h>
#include <stdint.h>

#define POLL_READ 1u /* readable, or the peer closed its side */
#define POLL_WRITE 2u
#define POLL_ERROR 4u       /* error or hang-up: the next read or write tells which */
#define POLL_PEER_CLOSED 8u /* EPOLLRDHUP: a FIN has come; set together with POLL_READ */
#define POLL_URGENT 16u     /* EPOLLPRI: TCP urgent data is ahead; a read stops short at its mark with more behind it */

struct poller;
struct poll_source;

/* Called on the poller's own thread. */
typedef void (*poll_handler)(struct poll_source *source, uint32_t events);

/* A handler may be called for a source that another handler of the same turn has removed by closing its descriptor:
 * owners set fd to -1 when they close it, and sources with a negative fd are passed over. Embedded in whatever owns the
 * descriptor. It must stay valid until the loop turn in which it was removed has ended: free it through worker_defer().
 */
struct poll_source {
	poll_handler handler;
	int fd;
	uint32_t kind; /* free for the owner */
};

struct poller *poller_new(void); /* NULL and errno on failure */
void poller_free(struct poller *poller);

/* Edge-triggered, both directions. Thread-safe. Returns 0 or -errno. */
int poller_add(struct poller *poller, struct poll_source *source);

/* Level-triggered, read only: for listening sockets, eventfds and other sources that are drained in part.
 * exclusive: of all pollers that share the socket the kernel wakes one. Thread-safe. Returns 0 or -errno. */
int poller_add_level(struct poller *poller, struct poll_source *source, bool exclusive);

/* Closing the only descriptor of a file removes it too; call this where the descriptor lives on. Thread-safe. */
int poller_remove(struct poller *poller, struct poll_source *source);

/* Called by poller_wait on its thread: before it may block (not when timeout_ms is 0), and each time it comes back,
 * ahead of the handlers. Either may be NULL. */
void poller_around_wait(struct poller *poller, void (*before)(void *context), void (*after)(void *context),
                        void *context);

/* Waits at most timeout_ms (-1: for ever) and runs handlers. Returns the number of events. */
int poller_wait(struct poller *poller, int timeout_ms);

#endif
