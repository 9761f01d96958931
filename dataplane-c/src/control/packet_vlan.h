/* SPDX-License-Identifier: Apache-2.0 */
/* The VLAN devices of a network namespace: XDP sends through the device below, with the tag in the frame. */
#ifndef CONTROL_PACKET_VLAN_H
#define CONTROL_PACKET_VLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/lib/layout.h"

struct packet_vlan {
	uint32_t index; /* of the VLAN device */
	struct vlan_device device;
};

/* Those of the caller's namespace, in order of packet_vlan_compare, at most VLAN_DEVICES_MAX; *list is to be freed, and
 * never NULL. Returns 0 or -errno. */
int packet_vlans(struct packet_vlan **list, uint32_t *count);

/* One datagram of an answer to RTM_GETLINK: adds the VLAN devices in it to list[VLAN_DEVICES_MAX]. Returns 1 when the
 * answer ends in it, 0 when more is to come, or -errno. */
int packet_vlan_parse(const void *datagram, size_t length, struct packet_vlan *list, uint32_t *count);

int packet_vlan_compare(const void *a, const void *b);

#endif
