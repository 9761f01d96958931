/* SPDX-License-Identifier: Apache-2.0 */
/* Traffic policies in the packet tiers. */
#ifndef CONTROL_PACKET_POLICY_H
#define CONTROL_PACKET_POLICY_H

#include "packet.h"

/* The policy of a service of the table, whose forwarding is in out already. Adds every reason against it. name: for
 * them, "" while it is not known to be text. */
void packet_policy_check(struct packet_reasons *reasons, const char *name, size_t position,
                         const Marcher__Packet__V1__Service *service, struct packet_wanted_service *out);

/* Makes the table of flows that have rates of their own where a policy of the wanted ones asks for it; gone: takes it
 * away where none does. */
int packet_policy_flows(struct marcher_packet *handle, const struct packet_wanted *wanted, bool gone);

/* Gives an index of a service to another one: an empty policy, full buckets, no counts. zero: of one per-CPU element.
 */
int packet_policy_begin(struct marcher_packet *handle, uint32_t service, const void *zero);

struct packet_policy_status {
	Marcher__Packet__V1__PolicyTraffic message; /* points to the others */
	Marcher__Packet__V1__OverRate over[POLICY_DIRECTIONS];
};

/* What has been counted for the service at this index, over all CPUs. 0, or -errno. */
int packet_policy_status(const struct marcher_packet *handle, uint32_t service, int cpus,
                         struct packet_policy_status *out);

/* Writes the service's policy where it has one that differs; before the service itself is written. */
int packet_policy_put(struct marcher_packet *handle, const struct packet_wanted_service *wanted,
                      struct packet_service *service);

#endif
