/* SPDX-License-Identifier: Dual BSD/GPL */
/* Of an IPv4 header without options whose checksum is 0. */
#ifndef BENCH_HEADER_CHECKSUM_H
#define BENCH_HEADER_CHECKSUM_H

#include <bpf/bpf_helpers.h>
#include <linux/ip.h>

static __always_inline __u16 header_checksum(const struct iphdr *ip)
{
	const __u16 *words = (const __u16 *)ip;
	__u32 sum = 0;

#pragma unroll
	for (unsigned i = 0; i < sizeof(*ip) / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

#endif
