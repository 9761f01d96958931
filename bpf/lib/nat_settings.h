/* SPDX-License-Identifier: Dual BSD/GPL */
/* What user space tells the programs of NAT: see layout.h. */
#ifndef BPF_NAT_SETTINGS_H
#define BPF_NAT_SETTINGS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nat_settings);
} nat_settings SEC(".maps");

#endif
