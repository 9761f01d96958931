/* SPDX-License-Identifier: Dual BSD/GPL */
/* This node's own addresses: see layout.h. */
#ifndef BPF_OWN_H
#define BPF_OWN_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, OWN_ADDRESSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u32);
} own_addresses SEC(".maps");

static __always_inline bool own_has_address(const struct address *address)
{
	return bpf_map_lookup_elem(&own_addresses, address);
}

#endif
