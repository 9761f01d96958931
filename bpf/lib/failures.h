/* SPDX-License-Identifier: Dual BSD/GPL */
/* Packets of a service that could not be sent on, by why: what tells whose backends cannot be reached. */
#ifndef BPF_FAILURES_H
#define BPF_FAILURES_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES_MAX);
	__type(key, __u32);
	__type(value, struct service_failures);
} service_failures SEC(".maps");

/* Beside the count of all packets that are dropped for the reason. Others than those of enum failure say nothing about
 * the way to the backends. */
static __noinline void failure_count(__u32 service, __u32 reason)
{
	struct service_failures *failures = bpf_map_lookup_elem(&service_failures, &service);
	if (!failures)
		return;
	switch (reason) {
	case DROP_NO_ROUTE:
		__sync_fetch_and_add(&failures->packets[FAILURE_NO_ROUTE], 1);
		break;
	case DROP_NO_NEIGHBOUR:
		__sync_fetch_and_add(&failures->packets[FAILURE_NO_NEIGHBOUR], 1);
		break;
	case DROP_FORWARDING_OFF:
		__sync_fetch_and_add(&failures->packets[FAILURE_FORWARDING_OFF], 1);
		break;
	case DROP_NO_HEADROOM:
		__sync_fetch_and_add(&failures->packets[FAILURE_NO_HEADROOM], 1);
		break;
	default:
		break;
	}
}

#endif
