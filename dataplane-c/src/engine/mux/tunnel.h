/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP relay: accepted connection -> endpoint, bytes both ways, until both directions have ended. */
#ifndef ENGINE_TUNNEL_H
#define ENGINE_TUNNEL_H

#include "../worker.h"
#include "marcher/engine/v1/control.pb-c.h"

int tunnel_worker_init(struct worker *worker); /* 0 or -errno */
void tunnel_worker_free(struct worker *worker);

/* A connection that accept4() gave on this worker's socket. Takes the descriptor whatever happens. */
void tunnel_accepted(struct worker *worker, struct listener *listener, int fd, const struct sockaddr_storage *peer);

/* Sets the drain deadline (worker clock, ms) for this worker's connections of a removed service or endpoint, or all
 * (both NULL). Connections that still run then are closed with RST. */
void tunnel_drain(struct worker *worker, const struct service *service, const struct endpoint *endpoint,
                  uint64_t deadline_ms);

/* The same for the connections that came through a listener which is being closed while its service stays. */
void tunnel_drain_listener(struct worker *worker, const struct listener *listener, uint64_t deadline_ms);

/* Connections of services whose traffic policy is another one now follow it from here on. */
void tunnel_policies_changed(struct worker *worker);

uint64_t tunnel_count(const struct worker *worker);

/* Appends up to limit connections (of the named service, or all when NULL) to the list; strings and messages are
 * malloc'd and freed with marcher__engine__v1__connection_list__free_unpacked. Runs on the worker's thread. */
void tunnel_list(struct worker *worker, const char *service, uint32_t limit, Marcher__Engine__V1__ConnectionList *list);

#endif
