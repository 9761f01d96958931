/* SPDX-License-Identifier: Dual BSD/GPL */
/* How long a translated flow lasts: for the programs, and for the library, which carries flows to another layout. */
#ifndef BPF_NAT_LIFETIME_H
#define BPF_NAT_LIFETIME_H

#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "layout.h"

#define NAT_FINS (NAT_FIN_CLIENT | NAT_FIN_BACKEND)

/* How long a flow may be silent, in units of 2^30 ns. RFC 5382, section 5: an open TCP connection 2 h 4 min, one that
 * opens or ends 4 min; RFC 4787, section 4.3: UDP 5 min. A flow of which one side alone was heard takes its turn in a
 * table of its own and may be forgotten sooner; one that has ended is kept for the backend's TIME_WAIT, in which it
 * would not take the same ports from another client. */
enum nat_lifetime {
	NAT_LIFETIME_TCP = 7440,
	NAT_LIFETIME_TCP_ENDING = 240,
	NAT_LIFETIME_TCP_ENDED = 60,
	NAT_LIFETIME_TCP_RESET = 10,
	NAT_LIFETIME_UDP = 300,
	NAT_LIFETIME_NEW = 120,
};

static inline __attribute__((always_inline)) __s32 nat_lifetime(__u8 protocol, __u32 flags)
{
	if (flags & NAT_RESET)
		return NAT_LIFETIME_TCP_RESET;
	if ((flags & NAT_FINS) == NAT_FINS)
		return NAT_LIFETIME_TCP_ENDED;
	if (!(flags & NAT_CONFIRMED))
		return NAT_LIFETIME_NEW;
	if (protocol == IPPROTO_UDP)
		return NAT_LIFETIME_UDP;
	return flags & NAT_FINS ? NAT_LIFETIME_TCP_ENDING : NAT_LIFETIME_TCP;
}

/* Another CPU may have seen it a unit later than now. */
static inline __attribute__((always_inline)) bool nat_stale(__u8 protocol, const struct nat_flow *flow, __u32 now)
{
	return (__s32)(now - flow->seen) > nat_lifetime(protocol, flow->flags);
}

#endif
