/* SPDX-License-Identifier: Apache-2.0 */
/* The UDP relay: sessions by (client, local address, listener), one connected socket to the backend each. */
#ifndef ENGINE_UDP_H
#define ENGINE_UDP_H

#include "../worker.h"
#include "marcher/engine/v1/control.pb-c.h"

int udp_worker_init(struct worker *worker);
void udp_worker_free(struct worker *worker);

/* The listening socket (UDP, bound, with IP_PKTINFO / IPV6_RECVPKTINFO and UDP_GRO set by listen.c) is readable. */
/* Returns the bytes that came. */
size_t udp_readable(struct worker *worker, struct listener *listener, int fd);

/* The listener's socket is about to be closed on this worker: its sessions drain (they may still send replies through
 * fd until the deadline; the worker's copy of fd is closed by udp itself when the last session has gone). */
void udp_listener_closing(struct worker *worker, struct listener *listener, int fd, uint64_t deadline_ms);

void udp_drain(struct worker *worker, const struct service *service, const struct endpoint *endpoint,
               uint64_t deadline_ms);
/* Sessions of services whose traffic policy is another one now follow it from here on. */
void udp_policies_changed(struct worker *worker);
uint64_t udp_count(const struct worker *worker);
void udp_list(struct worker *worker, const char *service, uint32_t limit, Marcher__Engine__V1__ConnectionList *list);

#endif
