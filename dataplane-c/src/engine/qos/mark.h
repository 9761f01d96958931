/* SPDX-License-Identifier: Apache-2.0 */
/* What a policy sets on sockets: DSCP, priority for the queueing disciplines, pacing. */
#ifndef ENGINE_MARK_H
#define ENGINE_MARK_H

#include "qos.h"

/* Marks an IPv4, IPv6 or (AF_UNSPEC) dual-stack socket; the kernel keeps the ECN bits of TCP. written: the direction
 * whose bytes leave by it, which may be paced, or -1. fresh: nothing was set on it before, so defaults need not be.
 * Each setting improves a socket that works without it, so errors are passed over. */
void qos_mark(int fd, int family, int written, const struct qos_policy *policy, bool fresh);

/* A UDP socket tells the traffic class of what it receives. */
void qos_tell_ecn(int fd, int family);

#endif
