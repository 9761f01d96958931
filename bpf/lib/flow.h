/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Which backend a flow belongs to: the hash of its five-tuple, and the table of flows.
 *
 * The table is a cache of sets of FLOW_WAYS flows, one set to a line of the CPU's cache, because with many flows the
 * time of a packet is that of the lines it has to fetch: the kernel's LRU hash fetches three or four and keeps lists
 * under locks, which a flood of new flows contends for. A flow is known by a tag of 64 bits, not by its five-tuple. In
 * a full set a new flow takes the place of one that has been seen once, else of the one that was quiet for longest:
 * what a flood brings displaces what a flood has brought. What is displaced is decided by the ring, which is where it
 * most likely came from.
 *
 * Races that are admitted: a way may be given to another flow between two loads of a reader, which looks at the tag
 * again after the state; on machines that reorder loads it may still take a packet to another backend, once. Two
 * packets of one new flow on two CPUs, with a new ring put in between, may choose differently; the later writer decides
 * for those that follow. A receive queue keeps a flow on one CPU, so that it takes a change of the queues' map at that
 * moment, too.
 */
#ifndef BPF_FLOW_H
#define BPF_FLOW_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "flow_tag.h"
#include "layout.h"
#include "maps.h"

#define HASH_MULTIPLIER 0x880355f21e6d1965ull

#define FLOW_STAMP_JIFFIES_SHIFT 8 /* a quarter of a second to 2.6 s, by the kernel's HZ */
#define FLOW_STAMP_MASK 0xffffffull

/*
 * fasthash64 (Zilong Tan) over the 40 bytes of the key, or over the source's address and zeros. Directors must agree on
 * it, so it has no secret: who knows the ring can aim at one backend of it, but not at one director. It reads words in
 * the machine's byte order: directors of different endianness do not agree.
 */
static __always_inline __u64 flow_hash(const struct flow_key *key, bool source_only)
{
	__u64 words[sizeof(*key) / sizeof(__u64)];
	_Static_assert(sizeof(*key) == 40, "the hash is over 5 words");
	__builtin_memcpy(words, key, sizeof(words));
	__u64 hash = sizeof(*key) * HASH_MULTIPLIER;
#pragma unroll
	for (int i = 0; i < 5; i++) {
		hash ^= hash_mix(source_only && i >= 2 ? 0 : words[i]);
		hash *= HASH_MULTIPLIER;
	}
	return hash_mix(hash);
}

/* Where a flow stands in the table. */
struct flow_place {
	struct flow_set *set;
	__u64 tag;
};

static __always_inline void flow_find_place(const struct flow_key *key, struct flow_place *place)
{
	__u32 zero = 0;
	place->set = NULL;
	const struct flow_settings *settings = bpf_map_lookup_elem(&flow_settings, &zero);
	if (!settings)
		return;
	place->tag = flow_tag(key, settings);
	__u32 index = place->tag & settings->mask;
	place->set = bpf_map_lookup_elem(&flows, &index);
}

static __always_inline __u64 flow_now(void)
{
	return (bpf_jiffies64() >> FLOW_STAMP_JIFFIES_SHIFT) & FLOW_STAMP_MASK;
}

/* The state of the flow with this tag in the set, which is noted to be alive where it has been sent a packet (seen); 0:
 * it is not there. */
static __always_inline __u64 flow_state(struct flow_set *set, __u64 tag, bool seen)
{
#pragma unroll
	for (int i = 0; i < (int)FLOW_WAYS; i++) {
		struct flow *flow = &set->way[i];
		if (*(volatile __u64 *)&flow->tag != tag)
			continue;
		__u64 state = *(volatile __u64 *)&flow->state;
		if (!state || *(volatile __u64 *)&flow->tag != tag)
			return 0;
		if (seen) {
			__u64 fresh = FLOW_STATE(FLOW_BACKEND(state), FLOW_GENERATION(state), flow_now()) | FLOW_AGAIN;
			/* Compared: the way may have another owner by now. */
			if (fresh != state)
				__sync_val_compare_and_swap(&flow->state, state, fresh);
		}
		return state;
	}
	return 0;
}

/* How much a way is to be kept: 0 when it is the flow's own, 1 when it is free. Its own comes first, free or not: a
 * flow must not stand in two ways. */
static __always_inline __u64 flow_worth(const struct flow *flow, __u64 tag, __u64 now)
{
	__u64 state = *(volatile __u64 *)&flow->state;
	if (*(volatile __u64 *)&flow->tag == tag)
		return 0;
	if (!state)
		return 1;
	__u64 age = (now - FLOW_STAMP(state)) & FLOW_STAMP_MASK;
	return 2 + (FLOW_STAMP_MASK - age) + (state & FLOW_AGAIN ? FLOW_STAMP_MASK + 1 : 0);
}

/* The backend that the flow has, or NULL: none, or it is no longer the one that the flow began with. */
static __always_inline struct backend *flow_backend(const struct flow_place *place, bool seen, __u32 *index)
{
	if (!place->set)
		return NULL;
	__u64 state = flow_state(place->set, place->tag, seen);
	if (!state)
		return NULL;
	__u32 candidate = FLOW_BACKEND(state);
	struct backend *backend = bpf_map_lookup_elem(&backends, &candidate);
	if (!backend || !(backend->flags & BACKEND_IN_USE) ||
	    (backend->generation & FLOW_GENERATION_MASK) != FLOW_GENERATION(state))
		return NULL;
	*index = candidate;
	return backend;
}

static __always_inline void flow_remember(const struct flow_place *place, __u32 index, const struct backend *backend)
{
	if (!place->set)
		return;
	__u64 now = flow_now(), least = ~0ull;
	struct flow *flow = &place->set->way[0];
#pragma unroll
	for (int i = 0; i < (int)FLOW_WAYS; i++) {
		struct flow *way = &place->set->way[i];
		__u64 worth = flow_worth(way, place->tag, now);
		if (worth < least) {
			least = worth;
			flow = way;
		}
	}
	/* Without a state first: a reader that finds the new tag must not take the old state for it. */
	__sync_lock_test_and_set(&flow->state, 0);
	__sync_lock_test_and_set(&flow->tag, place->tag);
	__sync_lock_test_and_set(&flow->state, FLOW_STATE(index, backend->generation & FLOW_GENERATION_MASK, now));
}

#endif
