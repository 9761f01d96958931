/* SPDX-License-Identifier: Dual BSD/GPL */
/* Explicit congestion notification through a tunnel's end (RFC 6040, section 4.2). */
#ifndef BPF_ECN_H
#define BPF_ECN_H

#include <linux/types.h>

enum ecn {
	ECN_NOT_ECT = 0,
	ECN_ECT_1 = 1,
	ECN_ECT_0 = 2,
	ECN_CE = 3,
};

#define ECN_MASK 3
#define ECN_DROP 0xff

/* What the inner packet leaves with, or ECN_DROP: congestion that it cannot tell its receiver otherwise. */
static __always_inline __u8 ecn_decapsulate(__u8 outer, __u8 inner)
{
	if (outer == ECN_CE)
		return inner == ECN_NOT_ECT ? ECN_DROP : ECN_CE;
	return outer == ECN_ECT_1 && inner == ECN_ECT_0 ? ECN_ECT_1 : inner;
}

#endif
