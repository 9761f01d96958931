/* SPDX-License-Identifier: Dual BSD/GPL */
/* What the programs know of the interfaces' queueing disciplines: see layout.h.
 */
#ifndef BPF_SHAPE_MAPS_H
#define BPF_SHAPE_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SHAPE_DEVICES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} shape_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} shape_services SEC(".maps");

#endif
