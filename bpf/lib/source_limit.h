/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What one source prefix may send, as the generic cell rate algorithm (ITU-T I.371): a source has one theoretical
 * arrival time per kind of unit, which each packet moves on by what it costs; who is ahead of the present by more than
 * the burst is dropped, and not counted.
 *
 * A packet that costs more than the whole burst passes when its source owes nothing, and then owes it: otherwise a rate
 * below one such packet per burst would let nothing pass, ever.
 */
#ifndef BPF_SOURCE_LIMIT_H
#define BPF_SOURCE_LIMIT_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "flow.h"
#include "guard_maps.h"
#include "layout.h"
#include "seen.h"

#define DEBT_ATTEMPTS 4

static __always_inline __u64 limit_cost_ns(const struct guard_limit *limit, __u64 units)
{
	return units * limit->cost >> GUARD_COST_SHIFT;
}

static __always_inline bool limit_conforms(const struct guard_limit *limit, __u64 until, __u64 now, __u64 cost)
{
	return until <= now || until - now + cost <= limit->burst_ns;
}

/* Moves the arrival time on; false when it may not be. Compare-and-swap, so that two CPUs do not give the same time
 * twice. A race that is admitted: who has lost it several times in a row passes uncounted. */
static __always_inline bool limit_take(const struct guard_limit *limit, __u64 *until, __u64 now, __u64 cost)
{
	for (int i = 0; i < DEBT_ATTEMPTS; i++) {
		__u64 before = *(volatile __u64 *)until;
		if (!limit_conforms(limit, before, now, cost))
			return false;
		if (__sync_val_compare_and_swap(until, before, (before > now ? before : now) + cost) == before)
			return true;
	}
	return true;
}

/* Does the packet begin a connection? Of UDP, when its flow is not known; *flow is its hash then, else 0. A flow is
 * known once a packet of it has passed, and until others have displaced it; two flows of one hash count as one. */
static __always_inline bool limit_opens(const struct seen *seen, __u64 *flow)
{
	__u32 zero = 0;
	*flow = 0;
	if (seen->protocol == IPPROTO_TCP)
		return (seen->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK)) == TCP_FLAG_SYN;
	if (seen->protocol != IPPROTO_UDP || !seen->ports)
		return false;
	struct flow_key key = {.source = seen->source,
	                       .destination = seen->destination,
	                       .source_port = seen->source_port,
	                       .destination_port = seen->destination_port,
	                       .protocol = IPPROTO_UDP};
	__u64 hash = flow_hash(&key, false);
	void *datagrams = bpf_map_lookup_elem(&guard_datagrams, &zero);
	if (!datagrams || bpf_map_lookup_elem(datagrams, &hash))
		return false;
	*flow = hash;
	return true;
}

/* DROP_NONE: it may pass, and has been counted. */
static __always_inline enum drop_reason limit_source(const struct guard *guard, const struct seen *seen, __u32 bytes)
{
	const struct address *mask = seen->version == 4 ? &guard->mask_v4 : &guard->mask_v6;
	__u64 units[GUARD_LIMIT_KINDS] = {0}, flow = 0, now = bpf_ktime_get_ns();
	struct address source;
	__u32 zero = 0;
	if (guard->flags & GUARD_LIMIT_PACKETS)
		units[GUARD_PACKETS] = 1;
	if (guard->flags & GUARD_LIMIT_BYTES)
		units[GUARD_BYTES] = bytes;
	if ((guard->flags & GUARD_LIMIT_CONNECTIONS) && limit_opens(seen, &flow))
		units[GUARD_CONNECTIONS] = 1;
	for (int i = 0; i < 4; i++)
		source.word[i] = seen->source.word[i] & mask->word[i];
	void *debts = bpf_map_lookup_elem(&guard_debts, &zero);
	if (!debts)
		return DROP_NONE;
	struct guard_debt *debt = bpf_map_lookup_elem(debts, &source);
	if (!debt) {
		struct guard_debt none = {};
		/* Another CPU may have been faster: what it has written stays. */
		bpf_map_update_elem(debts, &source, &none, BPF_NOEXIST);
		debt = bpf_map_lookup_elem(debts, &source);
		if (!debt)
			return DROP_NONE;
	}
	/* All before any is counted: what is dropped for one kind costs nothing of the others. */
#pragma unroll
	for (int kind = 0; kind < GUARD_LIMIT_KINDS; kind++)
		if (units[kind] && !limit_conforms(&guard->limits[kind], debt->until_ns[kind], now,
		                                   limit_cost_ns(&guard->limits[kind], units[kind])))
			return DROP_LIMIT_PACKETS + kind; /* in the same order */
#pragma unroll
	for (int kind = 0; kind < GUARD_LIMIT_KINDS; kind++)
		if (units[kind] && !limit_take(&guard->limits[kind], &debt->until_ns[kind], now,
		                               limit_cost_ns(&guard->limits[kind], units[kind])))
			return DROP_LIMIT_PACKETS + kind; /* in the same order */
	if (flow) {
		void *datagrams = bpf_map_lookup_elem(&guard_datagrams, &zero);
		__u32 known = 1;
		if (datagrams)
			bpf_map_update_elem(datagrams, &flow, &known, BPF_ANY);
	}
	return DROP_NONE;
}

#endif
