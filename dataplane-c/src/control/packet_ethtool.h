/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_PACKET_ETHTOOL_H
#define CONTROL_PACKET_ETHTOOL_H

#include <stdbool.h>
#include <stdint.h>

/* Frames that the driver could not send for XDP, as far as it counts them; 0 also when it cannot be asked. */
uint64_t packet_ethtool_send_errors(const char *interface);

/* Does a statistic of that name count such frames? */
bool packet_ethtool_is_send_error(const char *name);

#endif
