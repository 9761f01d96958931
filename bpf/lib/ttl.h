/* SPDX-License-Identifier: Dual BSD/GPL */
/* What a router does to a packet that goes on as it is: its TTL ends the circle that two hosts of one link can make of
 * each other. */
#ifndef BPF_TTL_H
#define BPF_TTL_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>

#include "checksum.h"

/* Of the IP header at at. False: it has ended, and nothing is changed. */
static __always_inline bool ttl_decrement(__u8 version, void *at, const void *data_end)
{
	if (version == 4) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > data_end || ip->ttl <= 1)
			return false;
		__be16 before = *(__be16 *)&ip->ttl; /* with the protocol */
		ip->ttl--;
		ip->check = checksum_replace(ip->check, before, *(__be16 *)&ip->ttl);
		return true;
	}
	struct ipv6hdr *ip = at;
	if ((void *)(ip + 1) > data_end || ip->hop_limit <= 1)
		return false;
	ip->hop_limit--;
	return true;
}

#endif
