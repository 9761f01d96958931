/* SPDX-License-Identifier: Dual BSD/GPL */
/* What nodes of backends know about what comes encapsulated: see layout.h. */
#ifndef BPF_DECAP_MAPS_H
#define BPF_DECAP_MAPS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, DECAP_ADDRESSES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct decap);
} decap_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, DECAP_SERVICES_MAX);
	__type(key, struct address);
	__type(value, struct decap_service);
} decap_services SEC(".maps");

#endif
