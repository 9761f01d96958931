/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maps in maps of maps that are read, or written to, after they were put there. What the kernel tells of such a map is
 * its number, by which only who has CAP_SYS_ADMIN can have it; the agent has not. So each is pinned beside the map that
 * it is in, too.
 */
#ifndef CONTROL_PACKET_INNER_H
#define CONTROL_PACKET_INNER_H

#include "packet.h"

/* The pin's name of what is in that place of a map. */
void packet_inner_name(enum packet_map outer, uint32_t place, char name[PACKET_RECORD_KEY]);
/* What is in that place of a map; pin is the path of its pin. A descriptor, or -errno; -ENOENT: nothing is. */
int packet_inner_open(int outer, uint32_t place, const char *pin);
/* The same of this layout's maps. */
int packet_inner_own(const struct marcher_packet *handle, enum packet_map outer, uint32_t place);
/* Puts it into that place, pinned. 0 or -errno. */
int packet_inner_put(const struct marcher_packet *handle, enum packet_map outer, uint32_t place, int inner);
/* Takes what is in that place away. 0 or -errno. */
int packet_inner_drop(const struct marcher_packet *handle, enum packet_map outer, uint32_t place);

#endif
