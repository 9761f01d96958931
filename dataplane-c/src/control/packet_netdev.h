/* SPDX-License-Identifier: Apache-2.0 */
/* What devices say that they can do for XDP: the kernel's family of generic netlink "netdev" (Linux 6.3). */
#ifndef CONTROL_PACKET_NETDEV_H
#define CONTROL_PACKET_NETDEV_H

#include <stdint.h>

/* It sends what XDP hands over from another device. */
#define PACKET_NETDEV_SENDS 4u

struct packet_netdev {
	uint32_t index;
	uint64_t features;
};

/* Fills in the features of the devices whose index is given, of this network namespace; 0 where there is none. 0, or
 * -errno; -EOPNOTSUPP: this kernel does not tell. */
int packet_netdev_features(struct packet_netdev *devices, uint32_t count);

#endif
