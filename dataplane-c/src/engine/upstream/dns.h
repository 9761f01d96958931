/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of backends: c-ares in the main thread's loop. One query per name whatever number of backends share it; A and
 * AAAA together; refreshed by TTL between the floor and the ceiling; while resolution fails the last good answer stays.
 */
#ifndef ENGINE_DNS_H
#define ENGINE_DNS_H

#include "../engine.h"

/* servers: "127.0.0.1:5353,[::1]:53" in place of resolv.conf, or NULL. */
struct dns *dns_new(struct engine *engine, const char *servers);
void dns_free(struct dns *dns);

/* The backend wants its dns_host resolved from now on: runtime_backend_resolved() is called at once when an answer is
 * at hand and at each change. */
void dns_watch(struct dns *dns, struct backend *backend, uint32_t min_ttl_ms, uint32_t max_ttl_ms);
void dns_unwatch(struct dns *dns, struct backend *backend);

#endif
