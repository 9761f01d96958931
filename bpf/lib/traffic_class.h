/* SPDX-License-Identifier: Dual BSD/GPL */
/* Another DSCP and ECN in an IP header, for XDP. */
#ifndef BPF_TRAFFIC_CLASS_H
#define BPF_TRAFFIC_CLASS_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>

#include "checksum.h"

/* Of the IP header at at. False: the frame ends before. */
static __always_inline bool traffic_class_write(void *at, const void *data_end, __u8 version, __u8 class)
{
	if (version == 4) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > data_end)
			return false;
		__be16 before = *(__be16 *)ip; /* with version and header length */
		ip->tos = class;
		ip->check = checksum_replace(ip->check, before, *(__be16 *)ip);
		return true;
	}
	__u8 *first = at;
	if ((void *)(first + sizeof(struct ipv6hdr)) > data_end)
		return false;
	first[0] = (first[0] & 0xf0) | class >> 4;
	first[1] = (first[1] & 0x0f) | class << 4;
	return true;
}

#endif
