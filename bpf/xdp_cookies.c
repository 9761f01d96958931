/* SPDX-License-Identifier: Dual BSD/GPL */
/* SYNs to this node's listeners during a flood, and the ACKs that come for them: see lib/syn_cookie.h. xdp_guard has
 * let them in, and calls this program for them alone. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/drops.h"
#include "lib/guard_maps.h"
#include "lib/layout.h"
#include "lib/seen.h"
#include "lib/slots.h"
#include "lib/syn_cookie.h"

SEC("xdp")
int xdp_cookies(struct xdp_md *ctx)
{
	__u32 zero = 0;
	void *configuration = bpf_map_lookup_elem(&guard, &zero);
	const struct guard *guard = configuration ? bpf_map_lookup_elem(configuration, &zero) : NULL;
	struct guard_cookies *count = bpf_map_lookup_elem(&guard_cookies, &zero);
	struct seen seen = {};
	if (!guard || !count)
		return slots_from(ctx, XDP_SLOT_COOKIES + 1);
	see(ctx, false, &seen);
	if (seen.protocol != IPPROTO_TCP || !seen.transport || !cookie_ours(&seen))
		return slots_from(ctx, XDP_SLOT_COOKIES + 1);
	switch (seen.tcp_flags & TCP_FLAG_SYN ? cookie_answer(ctx, guard, &seen, count)
	                                      : cookie_verify(ctx, &seen, count)) {
	case COOKIE_SENT:
		return XDP_TX;
	case COOKIE_BAD:
		return drop(DROP_BAD_COOKIE);
	case COOKIE_BROKEN:
		return drop(DROP_TOO_BIG);
	default:
		return slots_from(ctx, XDP_SLOT_COOKIES + 1);
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
