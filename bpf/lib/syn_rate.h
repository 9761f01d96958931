/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Whether SYNs are a flood. Each CPU counts for itself and adds to a common count in batches; whoever finds that the
 * window is over closes it. Above one rate SYNs are answered by cookies for some seconds, and as long after as they
 * stay above another, lower one.
 *
 * Races that are admitted: what other CPUs add between the reading and the clearing of the count is lost, and what a
 * CPU has not added yet is counted in a later window: a rate is wrong by a batch per CPU.
 */
#ifndef BPF_SYN_RATE_H
#define BPF_SYN_RATE_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "guard_maps.h"
#include "layout.h"
#include "seen.h"

#define SYN_BATCH 16u
#define SYN_WINDOW_NS 100000000ull
#define SYN_HOLD_NS 3000000000ull
#define SYN_SECOND_NS 1000000000ull

static __always_inline bool syn_active_at(const struct guard_syns *syns, __u64 now)
{
	return now < *(volatile const __u64 *)&syns->active_until_ns;
}

/* Without a look at the clock while there never was a flood. */
static __always_inline bool syn_flood(const struct guard *guard)
{
	__u32 zero = 0;
	if (guard->flags & GUARD_COOKIES_ALWAYS)
		return true;
	struct guard_syns *syns = bpf_map_lookup_elem(&guard_syns, &zero);
	return syns && syns->active_until_ns && syn_active_at(syns, bpf_ktime_get_ns());
}

static __always_inline void syn_close_window(const struct guard *guard, struct guard_syns *syns, __u64 now)
{
	__u64 since = *(volatile __u64 *)&syns->since_ns, elapsed = now - since;
	if (elapsed < SYN_WINDOW_NS || __sync_val_compare_and_swap(&syns->since_ns, since, now) != since)
		return;
	__u64 count = *(volatile __u64 *)&syns->count;
	syns->count = 0;
	/* After a long silence the first packets would look like few: a window that nobody closed in time says nothing
	 * about the present. */
	__u64 rate = since && elapsed < 10 * SYN_WINDOW_NS ? count * SYN_SECOND_NS / elapsed : 0;
	syns->per_second = rate;
	bool active = syn_active_at(syns, now);
	if (rate >= guard->cookies_on || (active && rate >= guard->cookies_off))
		syns->active_until_ns = now + SYN_HOLD_NS;
	else if (!active && syns->active_until_ns)
		syns->active_until_ns = 0;
}

static __always_inline void syn_count(const struct guard *guard)
{
	__u32 zero = 0;
	struct guard_syns *syns = bpf_map_lookup_elem(&guard_syns, &zero);
	struct guard_cookies *mine = bpf_map_lookup_elem(&guard_cookies, &zero);
	if (!syns || !mine || ++mine->syns < SYN_BATCH)
		return;
	__sync_fetch_and_add(&syns->count, mine->syns);
	mine->syns = 0;
	syn_close_window(guard, syns, bpf_ktime_get_ns());
}

/* Counts SYNs. Whether the packet is one that a cookie is asked for or may have: a SYN or an ACK during a flood. */
static __always_inline bool syn_flood_concerns(const struct guard *guard, const struct seen *seen)
{
	__u8 kind = seen->tcp_flags & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST);
	if (seen->protocol != IPPROTO_TCP || seen->fragment != FRAGMENT_NONE || !seen->transport || seen->malformed ||
	    (kind != TCP_FLAG_SYN && kind != TCP_FLAG_ACK))
		return false;
	if (kind == TCP_FLAG_SYN)
		syn_count(guard);
	return syn_flood(guard);
}

#endif
