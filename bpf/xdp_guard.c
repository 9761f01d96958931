/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What a packet has to pass before anything else looks at it: its shape, its addresses, the rules, what its source may
 * send, and, while SYNs are a flood, the proof that its sender is where it says (xdp_cookies). A stage that is not
 * configured costs one test of a bit.
 *
 * What is not IP is not judged; nor does the default deny neighbour discovery, without which the node could not be
 * reached by anybody.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <stdbool.h>

#include "lib/drops.h"
#include "lib/guard_maps.h"
#include "lib/guard_rules.h"
#include "lib/layout.h"
#include "lib/martian.h"
#include "lib/next_hop.h"
#include "lib/seen.h"
#include "lib/slots.h"
#include "lib/source_limit.h"
#include "lib/syn_rate.h"
#include "lib/ttl.h"

/* What is wrong with the packet itself, by what the policy looks at. */
static __always_inline enum drop_reason judge_shape(const struct guard *guard, const struct seen *seen)
{
	if (seen->malformed && (guard->flags & GUARD_MALFORMED))
		return seen->malformed;
	if (seen->bad_fragment && (guard->flags & GUARD_BAD_FRAGMENTS))
		return seen->bad_fragment;
	if (seen->version && (guard->flags & GUARD_MARTIANS))
		return martian(seen->version, &seen->source, &seen->destination, guard->own);
	return DROP_NONE;
}

/* To another host of a link of this node: as it is, but for its Ethernet addresses and TTL. */
static __always_inline int redirect_to_next_hop(struct xdp_md *ctx, const struct seen *seen,
                                                const struct guard_rule *rule)
{
	struct address to = rule->next_hop;
	struct route_query query = {.source = &seen->source,
	                            .destination = &to,
	                            .length = seen->ip_length & 0xffff,
	                            .protocol = seen->protocol,
	                            .on_link = true};
	/* Sources of the other family mean nothing to routes of this one. */
	if (address_is_v4(&to) != (seen->version == 4))
		query.source = &to;
	struct next_hop hop = {};
	enum drop_reason reason = DROP_NONE;
	switch (next_hop_ask(ctx, &query, &hop, &reason)) {
	case NEXT_HOP_FOUND:
		break;
	case NEXT_HOP_TOO_BIG:
		return drop(DROP_TOO_BIG);
	default:
		/* Whatever it is: no fault of the tier's. */
		return drop(DROP_GUARD_REDIRECT);
	}
	int front = (int)next_hop_header_length(&hop) - (int)seen->ethernet_length;
	if (front && bpf_xdp_adjust_head(ctx, -front))
		return drop(DROP_GUARD_REDIRECT);
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *ip = next_hop_write(data, data_end, &hop, bpf_htons(seen->version == 4 ? ETH_P_IP : ETH_P_IPV6));
	if (!ip || !ttl_decrement(seen->version, ip, data_end))
		return drop(DROP_TTL);
	return next_hop_send(ctx, &hop);
}

SEC("xdp")
int xdp_guard(struct xdp_md *ctx)
{
	__u32 zero = 0, bytes = ctx->data_end - ctx->data;
	void *configuration = bpf_map_lookup_elem(&guard, &zero);
	const struct guard *guard = configuration ? bpf_map_lookup_elem(configuration, &zero) : NULL;
	if (!guard)
		return slots_from(ctx, XDP_SLOT_COOKIES + 1);
	struct seen seen = {};
	if (!see_plain(ctx, guard->flags & GUARD_MALFORMED, &seen))
		see(ctx, guard->flags & GUARD_MALFORMED, &seen);
	enum drop_reason reason = judge_shape(guard, &seen);
	if (reason)
		return drop(reason);
	if (!seen.version)
		return slots_from(ctx, XDP_SLOT_COOKIES + 1);
	bool unlimited = seen.neighbour_discovery;
	if (guard->flags & GUARD_RULES) {
		__u32 generation = guard->generation, index = guard_rule_index(guard, &seen);
		/* What no rule says anything about is most of all, and is let in without a further look. */
		bool decided = index || ((guard->flags & GUARD_DEFAULT_DENIES) && !seen.neighbour_discovery);
		void *rules = decided ? bpf_map_lookup_elem(&guard_rules, &generation) : NULL;
		const struct guard_rule *rule = rules ? bpf_map_lookup_elem(rules, &index) : NULL;
		if (rule) {
			guard_count(rule->counter, bytes);
			switch (rule->action) {
			case GUARD_DENY:
				return drop(index ? DROP_GUARD_RULE : DROP_GUARD_DEFAULT);
			case GUARD_TO_DEVICE:
				return rule->ifindex ? bpf_redirect(rule->ifindex, 0) : drop(DROP_GUARD_REDIRECT);
			case GUARD_TO_NEXT_HOP:
				return redirect_to_next_hop(ctx, &seen, rule);
			default:
				unlimited |= rule->flags & GUARD_UNLIMITED;
			}
		}
	}
	if ((guard->flags & GUARD_LIMITS) && !unlimited) {
		reason = limit_source(guard, &seen, bytes);
		if (reason)
			return drop(reason);
	}
	if ((guard->flags & GUARD_COOKIES) && syn_flood_concerns(guard, &seen))
		return slots_from(ctx, XDP_SLOT_COOKIES);
	return slots_from(ctx, XDP_SLOT_COOKIES + 1);
}

char _license[] SEC("license") = "Dual BSD/GPL";
