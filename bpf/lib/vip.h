/* SPDX-License-Identifier: Dual BSD/GPL */
/* Which service a packet is for: see layout.h. */
#ifndef BPF_VIP_H
#define BPF_VIP_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "layout.h"
#include "maps.h"
#include "own.h"
#include "parse.h"
#include "vip_prefix.h"

static __always_inline struct vip *vip_find(const struct flow_key *flow)
{
	struct vip_key key = {.address = flow->destination, .port = flow->destination_port, .protocol = flow->protocol};
	struct vip *vip = bpf_map_lookup_elem(&vips, &key);
	if (!vip) {
		key.port = 0;
		vip = bpf_map_lookup_elem(&vips, &key);
	}
	return vip || !vip_prefixes_used() ? vip : vip_prefix_find(flow);
}

static __always_inline bool vip_has_address(const struct address *address)
{
	return bpf_map_lookup_elem(&vip_addresses, address) || (vip_prefixes_used() && vip_prefix_has_address(address));
}

/* Of a packet that is PARSED_BROKEN: is it dropped here? What is sent to nobody's VIP is the stack's own business, and
 * so are fragments to an address that this node has, too: IPsec, DNS and others are there beside the services, and the
 * stack can put them together. */
static __always_inline bool vip_refuses(const struct packet *packet)
{
	return vip_has_address(&packet->key.destination) &&
	       (packet->reason != DROP_FRAGMENT || !own_has_address(&packet->key.destination));
}

#endif
