/* SPDX-License-Identifier: Dual BSD/GPL */
/* The chain of XDP programs: xdp_root starts it, each program that lets a packet go on continues it. */
#ifndef BPF_SLOTS_H
#define BPF_SLOTS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, XDP_SLOTS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} xdp_slots SEC(".maps");

/* Goes on with the first program at or after slot first, which must be a constant; XDP_PASS when there is none. A tail
 * call into an empty slot falls through. */
static __always_inline int slots_from(struct xdp_md *ctx, const __u32 first)
{
#pragma unroll
	for (__u32 slot = 0; slot < XDP_SLOTS; slot++) {
		if (slot >= first)
			bpf_tail_call_static(ctx, &xdp_slots, slot);
	}
	return XDP_PASS;
}

#endif
