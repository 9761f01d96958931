/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTROL_PACKET_ETHTOOL_H
#define CONTROL_PACKET_ETHTOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Frames that the driver could not send for XDP, as far as it counts them; 0 also when it cannot be asked. */
uint64_t packet_ethtool_send_errors(const char *interface);

/* The name of an interface's driver; "" when it cannot be asked. */
void packet_ethtool_driver(const char *interface, char *out, size_t size);

/* Does a statistic of that name count such frames? */
bool packet_ethtool_is_send_error(const char *name);

#endif
