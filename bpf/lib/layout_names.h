/* SPDX-License-Identifier: Dual BSD/GPL */
/* Names of what layout.h enumerates, for user space. */
#ifndef BPF_LAYOUT_NAMES_H
#define BPF_LAYOUT_NAMES_H

#include "layout.h"

static const char *const drop_reason_names[DROP_REASONS] = {
        [DROP_NONE] = "none",
        [DROP_TRUNCATED] = "truncated",
        [DROP_BAD_LENGTH] = "bad-length",
        [DROP_BAD_CHECKSUM] = "bad-checksum",
        [DROP_FRAGMENT] = "fragment",
        [DROP_NO_BACKEND] = "no-backend",
        [DROP_NO_ROUTE] = "no-route",
        [DROP_NO_NEIGHBOUR] = "no-neighbour",
        [DROP_TOO_BIG] = "too-big",
        [DROP_NO_HEADROOM] = "no-headroom",
        [DROP_TTL] = "ttl",
        [DROP_FORWARDING_OFF] = "forwarding-off",
        [DROP_CONGESTION] = "congestion",
        [DROP_BAD_VERSION] = "bad-version",
        [DROP_NO_NAT_PORT] = "no-nat-port",
        [DROP_NAT_FULL] = "nat-full",
};

#endif
