/* SPDX-License-Identifier: Apache-2.0 */
/*
 * c-ares in the main thread's loop: its sockets in the poller, its timeouts in the timer wheel, /etc/resolv.conf
 * followed. Files and name servers are asked apart: a file answers at once.
 */
#ifndef ENGINE_RESOLVER_H
#define ENGINE_RESOLVER_H

#include <ares.h>
#include <stdbool.h>

struct engine;
struct resolver;

/* servers: "127.0.0.1:5353,[::1]:53" in place of resolv.conf, or NULL. NULL when out of memory, or when servers is no
 * such list, which is logged. */
struct resolver *resolver_new(struct engine *engine, const char *servers);

/* Queries in flight are called back with ARES_EDESTRUCTION. */
void resolver_free(struct resolver *resolver);

/* Asks the name servers for A (AF_INET) or AAAA (AF_INET6). done may run within the call (a bad name). false: there are
 * no name servers to ask. Call resolver_arm() after one or several of them. */
bool resolver_ask(struct resolver *resolver, const char *host, int family, ares_addrinfo_callback done, void *arg);

/* Sets the timer for c-ares' next timeout: after everything that may have begun or ended a query. */
void resolver_arm(struct resolver *resolver);

/* Both families from /etc/hosts. done runs within the call. */
void resolver_look_into_files(struct resolver *resolver, const char *host, ares_addrinfo_callback done, void *arg);

/* c-ares 1.18 reads resolv.conf once; on a node whose servers change (DHCP, VPN) that would be the end of DNS. Looks,
 * every few seconds at most, whether it has changed, and then reads it again. To be called while no query is in flight,
 * and not from within a callback of c-ares. */
void resolver_follow(struct resolver *resolver);

#endif
