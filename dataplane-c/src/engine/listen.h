/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. They are made by the main thread, one per worker in an SO_REUSEPORT group (or, when the descriptor
 * limit would not hold that many, one shared by all workers with EPOLLEXCLUSIVE), and belong to (transport, address,
 * port), not to a service: giving a port to another service swaps the listener's binding and touches no socket.
 */
#ifndef ENGINE_LISTEN_H
#define ENGINE_LISTEN_H

#include "engine.h"

#define LISTEN_KEY_MAX 64

/* "tcp|<hex address or *>|<port>|<index>", or of a steered listener "tcp|<hex address or
 * *>/<bits>|<first>-<last>|<index>"
 */
void listen_key(const struct listener *listener, unsigned index, char key[LISTEN_KEY_MAX]);

/* Sockets handed over by a predecessor, by key; those not asked for by the first snapshot are closed after it. */
void listen_inherit(struct engine *engine, const char *key, int fd);
void listen_inherit_finish(struct engine *engine);

/* Whether sockets for so many more listeners, one per worker each, would take more than half of the descriptor limit.
 */
bool listen_wants_shared(const struct engine *engine, size_t more);

/* Makes (or inherits) the sockets, bound and listening but not polled yet. Returns 0 or -errno. */
int listen_open(struct engine *engine, struct listener *listener, uint32_t backlog, bool shared);
/* Workers begin to accept. */
int listen_start(struct engine *engine, struct listener *listener);
/* Closes sockets that were not started. The caller keeps the listener. */
void listen_discard(struct engine *engine, struct listener *listener);
/* A listener that was opened is freed: its last session may have held its socket until now. */
void listen_freed(const struct listener *listener);
/* Changes the length of the accept queue. */
void listen_set_backlog(struct listener *listener, uint32_t backlog);
/* Another last port of a steered listener. */
void listen_set_last(struct listener *listener, uint16_t last);
/* Rises whenever a listening socket is made or closed; never 0. */
uint64_t listen_version(void);
/* Workers accept what is queued, stop and close. The listener is freed after that. */
void listen_close(struct engine *engine, struct listener *listener, uint64_t drain_deadline_ms);
/* The same when a successor holds the sockets too: what is queued is left to it. */
void listen_leave(struct engine *engine, struct listener *listener, uint64_t drain_deadline_ms);

#endif
