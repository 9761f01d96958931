/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a Maglev table one by one: lb.c walks on from the first choice when that is full or was tried. */
#ifndef ENGINE_MAGLEV_WALK_H
#define ENGINE_MAGLEV_WALK_H

#include "lb.h"

uint32_t maglev_size(const struct maglev_table *table);
uint32_t maglev_slot(const struct maglev_table *table, uint64_t hash); /* where the hash falls */
uint32_t maglev_at(const struct maglev_table *table, uint32_t slot);   /* index into entries */

#endif
