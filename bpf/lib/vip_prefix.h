/* SPDX-License-Identifier: Dual BSD/GPL */
/* VIPs that are prefixes: see layout.h. Asked when no whole address is the packet's. */
#ifndef BPF_VIP_PREFIX_H
#define BPF_VIP_PREFIX_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "layout.h"
#include "maps.h"

#define VIP_PREFIX_WHOLE (VIP_PREFIX_BITS + 128)

static __always_inline bool vip_prefixes_used(void)
{
	__u32 index = 0;
	struct vip_settings *settings = bpf_map_lookup_elem(&vip_settings, &index);
	return settings && settings->prefixes;
}

/* The VIP of the longest prefix, NULL when there is none. */
static __noinline struct vip *vip_prefix_find(const struct flow_key *flow)
{
	struct vip_prefix_key key = {.length = VIP_PREFIX_WHOLE,
	                             .port = flow->destination_port,
	                             .protocol = flow->protocol,
	                             .address = flow->destination};
	struct vip_prefix *one = bpf_map_lookup_elem(&vip_prefixes, &key);
	key.port = 0;
	struct vip_prefix *every = bpf_map_lookup_elem(&vip_prefixes, &key);
	if (every && (!one || every->length > one->length))
		return &every->vip;
	return one ? &one->vip : NULL;
}

static __noinline bool vip_prefix_has_address(const struct address *address)
{
	struct vip_prefix_key key = {.length = VIP_PREFIX_WHOLE, .address = *address};
	return bpf_map_lookup_elem(&vip_prefixes, &key);
}

#endif
