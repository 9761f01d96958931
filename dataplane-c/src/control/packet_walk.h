/* SPDX-License-Identifier: Apache-2.0 */
/* All entries of a hash map, many per call of the kernel. */
#ifndef CONTROL_PACKET_WALK_H
#define CONTROL_PACKET_WALK_H

#include <stddef.h>
#include <stdint.h>

/*
 * Calls take for the entries, some thousands at a time; it may change them where they lie, and ends the walk by an
 * -errno. A batch ends at a bucket's end, so each entry that stays is met once, whatever comes and goes meanwhile.
 * Returns 0 or -errno.
 */
int packet_walk(int map, size_t key_size, size_t value_size,
                int (*take)(void *argument, void *keys, void *values, uint32_t count), void *argument);

#endif
