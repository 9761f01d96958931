/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Which service a packet is for, as each CPU has found it before. A look-up in a hash takes three calls (a fifth of a
 * packet's time), a look-up by prefix more; nearly all packets are for few VIPs. What is for none is kept, too.
 *
 * Exact: whoever writes vips or vip_prefixes raises vip_settings.changes after that, and what was found before is found
 * anew. The number is read before the look-up, and the exchange between the two keeps them in this order on every
 * machine: an answer of before is never kept under the number of after.
 *
 * A place has one owner. Who sends to very many addresses or ports drives others out of theirs, and costs each packet
 * what it would without.
 */
#ifndef BPF_VIP_KEPT_H
#define BPF_VIP_KEPT_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"
#include "maps.h"
#include "vip.h"

#define VIPS_KEPT_POWER 8

/* Map vips_kept: per-CPU array. One that is zero is nobody's: there is no protocol 0 among flows. */
struct vip_kept {
	struct address address;
	__u32 port_and_protocol;
	__u32 service; /* VIP_LEFT: none */
	__u64 changes; /* vip_settings.changes when it was found */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1u << VIPS_KEPT_POWER);
	__type(key, __u32);
	__type(value, struct vip_kept);
} vips_kept SEC(".maps");

/* Looks it up and keeps it. Apart, so that its keys do not take of the caller's stack. */
static __noinline __u32 vip_service_anew(const struct flow_key *flow, struct vip_kept *kept, __u64 changes)
{
	__sync_lock_test_and_set(&kept->changes, 0);
	const struct vip *vip = vip_find(flow);
	const __u32 service = vip ? vip->service : VIP_LEFT;
	kept->address = flow->destination;
	kept->port_and_protocol = flow->destination_port | (__u32)flow->protocol << 16;
	kept->service = service;
	kept->changes = changes;
	return service;
}

/* The service's index; VIP_LEFT: it is for none that is balanced. */
static __always_inline __u32 vip_service(const struct flow_key *flow)
{
	const struct address *to = &flow->destination;
	const __u32 rest = flow->destination_port | (__u32)flow->protocol << 16;
	__u32 zero = 0, hash = ((to->word[0] ^ to->word[1] ^ to->word[2] ^ to->word[3]) + rest) * 2654435761u;
	__u32 place = hash >> (32 - VIPS_KEPT_POWER);
	struct vip_settings *settings = bpf_map_lookup_elem(&vip_settings, &zero);
	struct vip_kept *kept = bpf_map_lookup_elem(&vips_kept, &place);
	if (!settings || !kept)
		return VIP_LEFT;
	const __u64 changes = *(volatile __u64 *)&settings->changes;
	if (kept->changes == changes && kept->port_and_protocol == rest && address_equal(&kept->address, to))
		return kept->service;
	return vip_service_anew(flow, kept, changes);
}

#endif
