/* SPDX-License-Identifier: Dual BSD/GPL */
/* No packet is dropped without a reason that is counted. */
#ifndef BPF_DROPS_H
#define BPF_DROPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DROP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

static __always_inline void drop_count(enum drop_reason reason)
{
	__u32 index = reason;
	__u64 *packets = bpf_map_lookup_elem(&drops, &index);
	if (packets)
		*packets += 1;
}

static __always_inline int drop(enum drop_reason reason)
{
	drop_count(reason);
	return XDP_DROP;
}

#endif
