/* SPDX-License-Identifier: Apache-2.0 */
/* The programs with small maps of their own, and what the probe has in them. Nothing is pinned. */
#ifndef CONTROL_PACKET_PROBE_MAPS_H
#define CONTROL_PACKET_PROBE_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#include "packet_scratch.h"

#define PROBE_OBJECTS_MAX 16

struct bpf_object;

struct probe_objects {
	struct bpf_object *objects[PROBE_OBJECTS_MAX]; /* in order of packet_objects */
	int root_fd, tc_ingress_fd;                    /* of objects */
	int nat_flows_fd;                              /* the table itself; -1 */
};

/* 0, or -errno and the object that the kernel has refused in *name. */
int probe_objects_load(struct probe_objects *o, const char **name);
void probe_objects_close(struct probe_objects *o);

/* All that follow: 0 or -errno. */

/* A service by family, for every UDP port of its VIP, with a backend on the wire; addresses that are decapsulated. */
int probe_objects_fill(struct probe_objects *o);
/* enum forwarding, of the family's service. */
int probe_objects_forward(const struct probe_objects *o, enum scratch_family family, uint16_t forwarding);
/* The family's flow of NAT, from the client to the VIP, is open, and XDP may carry it at this interface; or it is not.
 */
int probe_objects_open_flow(const struct probe_objects *o, enum scratch_family family, uint32_t interface, bool open);
/* A guard that denies PROBE_DENIED_PORT, or none. */
int probe_objects_guard(const struct probe_objects *o, bool on);

/* How many packets were dropped for the reason. */
uint64_t probe_objects_drops(const struct probe_objects *o, uint32_t reason);

#endif
