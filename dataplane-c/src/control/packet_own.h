/* SPDX-License-Identifier: Apache-2.0 */
/* This node's addresses, as the programs see them (map own_addresses): what comes from them is spoofed, SYNs to them
 * may be answered by cookie, and fragments to them are the stack's to put together, whatever VIP shares the address. */
#ifndef CONTROL_PACKET_OWN_H
#define CONTROL_PACKET_OWN_H

#include "packet.h"

/* Has the map hold the addresses of this network namespace, at most OWN_ADDRESSES_MAX of them, and sets in filter (may
 * be NULL) the bit that GUARD_OWN_PLACE names for each. Under calls_lock. Returns MARCHER_OK or the failure. */
int packet_own_follow(struct marcher_packet *handle, __u64 filter[4]);

#endif
