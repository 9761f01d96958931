/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Source-address affinity: client prefix -> endpoint, with a time to live that every hit renews. Shared by all workers
 * of a service (a client's next connection may reach another worker), bounded, in shards with a spin lock each; only
 * services that ask for affinity pay for it. When a shard is full the entry nearest to expiry goes.
 */
#ifndef ENGINE_AFFINITY_H
#define ENGINE_AFFINITY_H

#include "../model.h"

struct affinity_table *affinity_new(uint32_t ttl_ms, uint32_t max_entries);
void affinity_free(struct affinity_table *table);

/* The remembered endpoint, not referenced: only compare it with those in the view (it may be gone). NULL: none. */
struct endpoint *affinity_lookup(struct affinity_table *table, const struct addr *masked, uint64_t now_ms);
void affinity_store(struct affinity_table *table, const struct addr *masked, struct endpoint *endpoint,
                    uint64_t now_ms);
/* Forgets an endpoint that has gone or died, so that its address can be reused safely. Main thread. */
void affinity_forget(struct affinity_table *table, const struct endpoint *endpoint);
/* Removes expired entries of some shards; called now and then by the main thread. Returns how many went. */
uint32_t affinity_collect(struct affinity_table *table, uint64_t now_ms);
uint32_t affinity_count(const struct affinity_table *table);

#endif
