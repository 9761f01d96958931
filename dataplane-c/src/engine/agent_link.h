/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's end of the control socket (control.proto, ipc/frame.h): a SEQPACKET server in the main thread's loop.
 * Peers are root or the engine's own user; one of them holds the lease. Nothing here waits for a peer: what it does not
 * read is queued within bounds, and then the peer is dropped.
 */
#ifndef ENGINE_AGENT_LINK_H
#define ENGINE_AGENT_LINK_H

#include "engine.h"

struct agent_link;

/* Listens on path. A socket that nobody answers on is removed first. NULL and errno on failure; EADDRINUSE: another
 * engine answers there. */
struct agent_link *agent_link_new(struct engine *engine, const char *path);
/* Closes all peers; removes the socket's path while it is still ours. */
void agent_link_free(struct agent_link *link);

/* Reads listening sockets from the SEQPACKET socket fd until all have come, it is closed, or nothing has come for
 * timeout_ms. Returns how many, or -errno. Blocks: before the loop runs. */
int agent_link_inherit(struct engine *engine, int fd, int timeout_ms);

#endif
