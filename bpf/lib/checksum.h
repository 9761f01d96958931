/* SPDX-License-Identifier: Dual BSD/GPL */
/* The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Sums are of words in network order: their
 * ones' complement sum does not depend on the machine's byte order. */
#ifndef BPF_CHECKSUM_H
#define BPF_CHECKSUM_H

#include <linux/ip.h>
#include <linux/types.h>
#include <stdbool.h>

static __always_inline __u16 checksum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Of a header without options, which has been checked to be in the frame. */
static __always_inline __u64 checksum_sum_ipv4(const struct iphdr *ip)
{
	const __u32 *words = (const void *)ip;
	return (__u64)words[0] + words[1] + words[2] + words[3] + words[4];
}

/* The header must have been checked to be in the frame, options included; a header with a wrong length is not valid. */
static __always_inline bool checksum_ipv4_valid(const struct iphdr *ip, const void *data_end)
{
	__u64 sum = checksum_sum_ipv4(ip);
	__u32 words = ip->ihl;
	const __u32 *option = (const void *)(ip + 1);
	for (__u32 i = 5; i < 15; i++, option++) {
		if (i >= words)
			break;
		/* Hidden from clang: it would compare with data_end moved back, which the verifier does not allow. */
		asm volatile("" : "+r"(option));
		if ((const void *)(option + 1) > data_end)
			return false;
		sum += *option;
	}
	return checksum_fold(sum) == 0xffff;
}

/* What a checksum field becomes when a 16-bit word that it covers changes: equation 3 of RFC 1624. */
static __always_inline __u16 checksum_replace(__u16 check, __u16 from, __u16 to)
{
	return ~checksum_fold((__u64)(__u16)~check + (__u16)~from + to);
}

#endif
