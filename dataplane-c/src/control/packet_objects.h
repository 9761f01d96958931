/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled BPF programs, which are inside the library. */
#ifndef CONTROL_PACKET_OBJECTS_H
#define CONTROL_PACKET_OBJECTS_H

#include <stddef.h>

/* In no slot: what is attached. */
#define PACKET_OBJECT_ROOT (-1)
#define PACKET_OBJECT_TC_INGRESS (-2)
#define PACKET_OBJECT_TC_EGRESS (-3)
/* In tc_slots. */
#define PACKET_OBJECT_TC_DECAP (-4)

struct packet_object {
	const char *name; /* of the program, too */
	int slot;         /* enum xdp_slot, or one of the above */
	const void *(*bytes)(size_t *size);
};

extern const struct packet_object packet_objects[];
extern const size_t packet_objects_count;

#endif
