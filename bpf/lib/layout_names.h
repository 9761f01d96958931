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
        [DROP_GUARD_RULE] = "guard-rule",
        [DROP_GUARD_DEFAULT] = "guard-default",
        [DROP_GUARD_REDIRECT] = "guard-redirect",
        [DROP_LIMIT_PACKETS] = "limit-packets",
        [DROP_LIMIT_BYTES] = "limit-bytes",
        [DROP_LIMIT_CONNECTIONS] = "limit-connections",
        [DROP_TCP_FLAGS] = "tcp-flags",
        [DROP_PORT_ZERO] = "port-zero",
        [DROP_LAND] = "land",
        [DROP_MARTIAN] = "martian",
        [DROP_SPOOFED] = "spoofed",
        [DROP_FRAGMENT_TINY] = "fragment-tiny",
        [DROP_FRAGMENT_OVERLAP] = "fragment-overlap",
        [DROP_FRAGMENT_LENGTH] = "fragment-length",
        [DROP_BAD_COOKIE] = "bad-cookie",
        [DROP_POLICY_INGRESS] = "policy-ingress",
        [DROP_POLICY_EGRESS] = "policy-egress",
        [DROP_POLICY_CONNECTIONS] = "policy-connections",
};

#endif
