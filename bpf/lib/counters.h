/* SPDX-License-Identifier: Dual BSD/GPL */
/* What was carried, by service and by backend. Each CPU has its own: no atomics. */
#ifndef BPF_COUNTERS_H
#define BPF_COUNTERS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"
#include "maps.h"

static __always_inline void count_traffic(__u32 service, __u32 backend, __u32 packets, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&service_counters, &service);
	if (traffic) {
		traffic->packets += packets;
		traffic->bytes += bytes;
	}
	traffic = bpf_map_lookup_elem(&backend_counters, &backend);
	if (traffic) {
		traffic->packets += packets;
		traffic->bytes += bytes;
	}
}

static __always_inline void count_returned(__u32 service, __u32 backend, __u32 packets, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&service_counters, &service);
	if (traffic) {
		traffic->returned_packets += packets;
		traffic->returned_bytes += bytes;
	}
	traffic = bpf_map_lookup_elem(&backend_counters, &backend);
	if (traffic) {
		traffic->returned_packets += packets;
		traffic->returned_bytes += bytes;
	}
}

#endif
