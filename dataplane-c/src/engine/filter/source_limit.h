/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections per source prefix, exact over all workers: a bounded table in shards with a spin lock each. When a shard
 * is full, sources that are not in it are refused (counted), never let through uncounted.
 */
#ifndef ENGINE_SOURCE_LIMIT_H
#define ENGINE_SOURCE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "../addr.h"

struct source_limit_table;
struct source_limit_table *source_limit_new(uint32_t max_sources);
void source_limit_free(struct source_limit_table *table);
bool source_limit_take(struct source_limit_table *table, const struct addr *masked, uint32_t limit);
void source_limit_give(struct source_limit_table *table, const struct addr *masked);
uint32_t source_limit_count(const struct source_limit_table *table); /* sources with a connection */

#endif
