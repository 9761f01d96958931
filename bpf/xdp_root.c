/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What is attached to an interface, and stays: the programs behind it are replaced one by one, each by one write to
 * xdp_slots, and no packet meets an interface without them.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/slots.h"

SEC("xdp")
int xdp_root(struct xdp_md *ctx)
{
	return slots_from(ctx, XDP_SLOT_GUARD);
}

char _license[] SEC("license") = "Dual BSD/GPL";
