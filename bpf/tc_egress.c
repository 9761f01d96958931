/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What this node answers to clients, on its way out. Backends here of services that are forwarded by NAT: tc_ingress
 * has given those packets the backend's address, and the stack has delivered them here. And those of services whose
 * packets came encapsulated: a SYN-ACK tells the client what fits through the tunnel, since nobody else will: the
 * director does not see it, and its "too big" may be lost on the way.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/decap_maps.h"
#include "lib/nat_error.h"
#include "lib/nat_flow.h"
#include "lib/nat_packet.h"
#include "lib/nat_rewrite.h"
#include "lib/nat_settings.h"
#include "lib/tc.h"
#include "lib/tc_mss.h"
#include "lib/tc_policy.h"

/* Everything that this node sends comes by here: most of it must not cost more than a look. 0: nothing is to be done.
 */
static __always_inline __u32 needed(void)
{
	__u32 index = 0;
	struct nat_settings *settings = bpf_map_lookup_elem(&nat_settings, &index);
	return settings ? settings->flags & (NAT_SETTING_LOCAL | NAT_SETTING_DECAP) : 0;
}

/* Advice alone: what cannot be written goes as it is. */
static __always_inline void advise(struct __sk_buff *skb, const struct packet *packet)
{
	const struct decap_service *service = bpf_map_lookup_elem(&decap_services, &packet->key.source);
	const __u32 mss = service ? mss_of_mtu(packet->version, service->mtu) : 0;
	if (mss)
		tc_limit_mss(skb, packet, mss);
}

static __noinline int answer(struct __sk_buff *skb, struct packet *packet)
{
	const __u32 answers = NAT_REVERSE | NAT_LOCAL;
	struct nat_flow flow;
	struct nat_flow *found = nat_find(&packet->key);
	if (!found || (found->flags & answers) != answers || !nat_known(skb, packet, nat_now(), &flow))
		return TC_GO_ON;
	const __u8 came = packet->traffic_class;
	enum drop_reason over = tc_hold(skb, packet, &flow, skb->ifindex, skb->tstamp);
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
	const __u32 flags = needed();
	if (!flags)
		return TC_GO_ON;
	switch (tc_parse(skb, &packet)) {
	case PARSED_FLOW:
		if ((flags & NAT_SETTING_DECAP) && (packet.tcp_flags & TCP_SYN))
			advise(skb, &packet);
		return flags & NAT_SETTING_LOCAL ? answer(skb, &packet) : TC_GO_ON;
	case PARSED_ICMP:
		return flags & NAT_SETTING_LOCAL ? report(skb, &packet) : TC_GO_ON;
	default:
		return TC_GO_ON;
	}
}

char _license[] SEC("license") = "Dual BSD/GPL";
