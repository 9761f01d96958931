/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of an apply: services, backends and rings (packet_apply.c), and the maps that lists are written to
 * (packet_apply_lists.c): VIPs, their addresses, decapsulated addresses, VLAN devices, server IDs of QUIC. */
#ifndef CONTROL_PACKET_APPLY_H
#define CONTROL_PACKET_APPLY_H

#include "packet.h"

/* As packet_put and packet_drop, with the sentence for the caller when it fails. */
int packet_apply_put(struct marcher_packet *handle, enum packet_map map, const void *key, const void *value);
int packet_apply_drop(struct marcher_packet *handle, enum packet_map map, const void *key);

/* What is new in the table, or has changed. Positions of services have become indices. */
int packet_apply_put_vips(struct marcher_packet *handle, const struct packet_wanted *w);
/* What is not in the table any more. Again is no error. */
int packet_apply_drop_vips(struct marcher_packet *handle, const struct packet_wanted *w);
/* Before the services say that their packets have such IDs, and before a backend's index has another owner. */
int packet_apply_put_quic(struct marcher_packet *handle, struct packet_wanted *w);
/* The state's lists become the table's: positions of services have become indices already. */
void packet_apply_take_lists(struct packet_state *state, struct packet_wanted *wanted);

#endif
