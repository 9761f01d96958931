/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Holds packets to their service's traffic policy: rates of bytes by direction, of the service and of each flow, and of
 * new flows; DSCP; ECN. Programs ask for it only where the service has SERVICE_POLICY.
 *
 * What is over a rate waits where the way out lets it (packet->waits, see shape.h), and is dropped where it does not or
 * would have to wait too long. Bytes are payload, as the relay counts them: a bare
 * acknowledgement costs nothing and always passes; what is sent again costs again.
 *
 * What is not static here is verified once, and not in each state that the programs may be in before and behind.
 */
#ifndef BPF_POLICY_H
#define BPF_POLICY_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "ecn.h"
#include "flow_tag.h"
#include "gcra.h"
#include "layout.h"
#include "maps.h"
#include "parse.h"
#include "policy_maps.h"

#define POLICY_ATTEMPTS 8

#define POLICY_WAIT 1u /* units may conform later, by SHAPE_HORIZON_NS at most */
/* They may be beyond the burst by gcra_more. With POLICY_WAIT they wait longer instead, or they would overtake others.
 */
#define POLICY_MORE 2u
#define POLICY_MORE_WAIT_NS (SHAPE_HORIZON_NS / 4)
#define POLICY_OF_MARKS 4u /* at the rate of what is marked */

/*
 * Takes units from a bucket that other CPUs take from, too. 0: they do not conform; otherwise they do after so many ns
 * less 1. how: POLICY_WAIT, POLICY_MORE. Who has lost the race POLICY_ATTEMPTS times in a row, each time with units
 * that conformed, takes them without another look: the bucket is then over by one packet of each CPU at most.
 */
__noinline int policy_take(__u64 *tat, const struct gcra_rate *rate, __u64 now, __u64 units, __u32 how)
{
	if (!tat || !rate)
		return 0;
	const struct gcra_rate held = how & POLICY_OF_MARKS ? gcra_marks(rate) : *rate;
	const __u64 cost = gcra_cost(&held, units);
	const __u64 now_at = held.tolerance + (how == POLICY_MORE ? gcra_more(&held) : 0);
	__u64 later_at = now_at;
	if (how & POLICY_WAIT)
		later_at += gcra_ticks(SHAPE_HORIZON_NS + (how & POLICY_MORE ? POLICY_MORE_WAIT_NS : 0));
	for (int i = 0; i < POLICY_ATTEMPTS; i++) {
		__u64 before = *(volatile __u64 *)tat;
		__u64 ahead = gcra_ahead(before, now, &held) + cost;
		if (ahead > later_at)
			return 0;
		if (__sync_val_compare_and_swap(tat, before, now + ahead) == before)
			return ahead > now_at ? 1 + (int)gcra_ns(ahead - now_at) : 1;
	}
	__sync_fetch_and_add(tat, cost);
	return 1;
}

/* The buckets that a packet is taken from; NULL: there is no such rate. */
struct policy_taps {
	__u64 *flow, *service, *marks;
	const struct gcra_rate *flow_rate, *service_rate;
	__u8 waits;    /* of struct packet */
	bool markable; /* the packet says ECT or CE, and the policy marks */
};

/* From a flow's own bucket: nobody else is kept from it by what is marked. As policy_take. */
static __always_inline int policy_take_flow(const struct policy_taps *taps, __u64 now, __u64 bytes, bool *marked)
{
	/* A class of HTB is a service's: it knows no flows. */
	const __u32 how = taps->waits == SHAPE_FQ ? POLICY_WAIT : 0;
	int taken = policy_take(taps->flow, taps->flow_rate, now, bytes, how);
	if (taken || !taps->markable)
		return taken;
	*marked = true;
	return policy_take(taps->flow, taps->flow_rate, now, bytes, how | POLICY_MORE);
}

static __always_inline int policy_take_service(const struct policy_taps *taps, __u64 now, __u64 bytes, bool *marked)
{
	const __u32 how = taps->waits ? POLICY_WAIT : 0;
	int taken = policy_take(taps->service, taps->service_rate, now, bytes, how);
	if (taken || !taps->markable)
		return taken;
	if (!policy_take(taps->marks, taps->service_rate, now, bytes, POLICY_OF_MARKS))
		return 0;
	*marked = true;
	taken = policy_take(taps->service, taps->service_rate, now, bytes, how | POLICY_MORE);
	if (!taken)
		__sync_fetch_and_sub(taps->marks,
		                     bytes * taps->service_rate->unit_cost >> GCRA_COST_BITS << GCRA_MARKS_SHIFT);
	return taken;
}

enum policy_verdict {
	POLICY_CONFORMS,
	POLICY_MARKS, /* it goes on as CE */
	POLICY_OVER,
};

/* The decision, and the only place of it: from both buckets or from neither. */
static __always_inline enum policy_verdict policy_judge(const struct policy_taps *taps, __u64 now, __u64 bytes,
                                                        int *wait_ns)
{
	int by_flow = 1, by_service = 1;
	bool marked = false;
	if (taps->flow)
		by_flow = policy_take_flow(taps, now, bytes, &marked);
	if (!by_flow)
		return POLICY_OVER;
	if (taps->service)
		by_service = policy_take_service(taps, now, bytes, &marked);
	if (!by_service) {
		if (taps->flow)
			__sync_fetch_and_sub(taps->flow, bytes * taps->flow_rate->unit_cost >> GCRA_COST_BITS);
		return POLICY_OVER;
	}
	*wait_ns = (by_flow > by_service ? by_flow : by_service) - 1;
	return marked ? POLICY_MARKS : POLICY_CONFORMS;
}

/* A flow's own buckets, by its packets as they come from the client. NULL: it has none, and is not held to its rate. */
static __noinline struct policy_flow *policy_flow_find(const struct flow_key *client)
{
	__u32 zero = 0;
	const struct flow_settings *settings = bpf_map_lookup_elem(&flow_settings, &zero);
	void *known = bpf_map_lookup_elem(&policy_flows, &zero);
	if (!settings || !known)
		return NULL;
	__u64 tag = flow_tag(client, settings);
	struct policy_flow *flow = bpf_map_lookup_elem(known, &tag);
	if (flow)
		return flow;
	struct policy_flow full = {};
	/* Another CPU may have been faster: what it has written stays. */
	bpf_map_update_elem(known, &tag, &full, BPF_NOEXIST);
	return bpf_map_lookup_elem(known, &tag);
}

/* May the service have one more flow now? Takes it. */
__noinline int policy_may_begin(__u32 service)
{
	const struct policy *policy = bpf_map_lookup_elem(&policies, &service);
	struct policy_buckets *buckets = bpf_map_lookup_elem(&policy_buckets, &service);
	if (!policy || !buckets || !policy->connections.unit_cost)
		return 1;
	struct gcra_rate rate = policy->connections;
	if (policy_take(&buckets->connections_tat, &rate, gcra_ticks(bpf_ktime_get_ns()), 1, 0))
		return 1;
	struct policy_count *count = bpf_map_lookup_elem(&policy_counters, &service);
	if (count)
		count->refused++;
	return 0;
}

/* The index by a direction, bounded where it is used: the verifier forgets bounds of what it was spilled. */
static __always_inline __u64 policy_at(bool egress)
{
	__u64 index = egress;
	asm volatile("" : "+r"(index));
	return index & 1;
}

static __always_inline enum drop_reason policy_over(struct policy_count *count, bool egress, __u32 frames, __u32 bytes)
{
	if (count) {
		count->dropped[policy_at(egress)] += frames;
		count->dropped_bytes[policy_at(egress)] += bytes;
	}
	return egress ? DROP_POLICY_EGRESS : DROP_POLICY_INGRESS;
}

/*
 * Holds a packet to the policy at the time now_ns, CLOCK_MONOTONIC. client: the flow, by its packets from the client.
 * Negative: it is dropped, for the reason of that number. Otherwise it may go so many ns after now_ns, with the traffic
 * class that packet->traffic_class has then; in its header nothing is changed.
 */
__noinline int policy_hold(struct packet *packet, __u32 service, const struct flow_key *client, bool egress,
                           __u64 now_ns)
{
	const struct policy *policy = bpf_map_lookup_elem(&policies, &service);
	struct policy_buckets *buckets = bpf_map_lookup_elem(&policy_buckets, &service);
	if (!policy || !buckets || !packet || !client)
		return 0;
	const __u32 bytes = packet->payload, frames = packet->frames ? packet->frames : 1;
	__u8 class = packet->traffic_class;
	int wait_ns = 0;
	struct policy_taps taps = {.flow_rate = &policy->flow[policy_at(egress)],
	                           .service_rate = &policy->service[policy_at(egress)],
	                           .waits = packet->waits};
	/* What ends a flow costs nothing, but is not to overtake it. */
	bool counts = bytes || (packet->waits && (packet->tcp_flags & (TCP_FIN | TCP_RST)));
	if (counts && taps.service_rate->unit_cost)
		taps.service = &buckets->tat[policy_at(egress)];
	taps.marks = &buckets->marks_tat[policy_at(egress)];
	if (counts && taps.flow_rate->unit_cost) {
		struct policy_flow *flow = policy_flow_find(client);
		if (flow)
			taps.flow = &flow->tat[policy_at(egress)];
	}
	if (policy->flags & POLICY_DSCP)
		class = policy->dscp | (class & ECN_MASK);
	if (counts && (taps.flow_rate->unit_cost | taps.service_rate->unit_cost)) {
		taps.markable = (policy->flags & POLICY_ECN_MARK) && (class & ECN_MASK) != ECN_NOT_ECT;
		enum policy_verdict verdict = policy_judge(&taps, gcra_ticks(now_ns), bytes, &wait_ns);
		if (bytes && verdict != POLICY_CONFORMS) {
			struct policy_count *count = bpf_map_lookup_elem(&policy_counters, &service);
			if (verdict == POLICY_OVER)
				return -(int)policy_over(count, egress, frames, bytes);
			if (count)
				count->marked[policy_at(egress)] += frames;
			class |= ECN_CE;
		}
	}
	packet->traffic_class = class;
	return wait_ns;
}

#endif
