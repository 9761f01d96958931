/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What backends on this node answer to clients of services that are forwarded by NAT, on its way out: tc_ingress has
 * given those packets the backend's address, and the stack has delivered them here.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/nat_error.h"
#include "lib/nat_flow.h"
#include "lib/nat_packet.h"
#include "lib/nat_rewrite.h"
#include "lib/nat_settings.h"
#include "lib/tc.h"
#include "lib/tc_policy.h"

/* Everything that this node sends comes by here: most of it must not cost more than a look. */
static __always_inline bool needed(void)
{
	__u32 index = 0;
	struct nat_settings *settings = bpf_map_lookup_elem(&nat_settings, &index);
	return settings && (settings->flags & NAT_SETTING_LOCAL);
}

static __noinline int answer(struct __sk_buff *skb, struct packet *packet)
{
	const __u32 answers = NAT_REVERSE | NAT_LOCAL;
	struct nat_flow flow;
	struct nat_flow *found = nat_find(&packet->key);
	if (!found || (found->flags & answers) != answers || !nat_known(skb, packet, nat_now(), &flow))
		return TC_GO_ON;
	const __u8 came = packet->traffic_class;
	enum drop_reason over = tc_hold(skb, packet, &flow);
	if (over != DROP_NONE)
		return tc_drop(over);
	nat_count(skb, packet, &flow);
	return tc_write_class(skb, packet, came) || nat_rewrite(skb, packet, &flow, false) ? tc_drop(DROP_TRUNCATED)
	                                                                                   : TC_GO_ON;
}

/* An error of this node's own about what came to a backend here. */
static __noinline int report(struct __sk_buff *skb, const struct packet *packet)
{
	struct nat_error *error = nat_error_find(skb, packet);
	if (!error || !(error->flow.flags & NAT_REVERSE))
		return TC_GO_ON;
	nat_count(skb, packet, &error->flow);
	return nat_error_rewrite(skb, packet, error, false) ? tc_drop(DROP_TRUNCATED) : TC_GO_ON;
}

SEC("tc")
int tc_egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (!needed())
		return TC_GO_ON;
	switch (tc_parse(skb, &packet)) {
	case PARSED_FLOW:
		return answer(skb, &packet);
	case PARSED_ICMP:
		return report(skb, &packet);
	default:
		return TC_GO_ON;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
