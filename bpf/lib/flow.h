/* SPDX-License-Identifier: Dual BSD/GPL */
/* Which backend a flow belongs to: the hash of its five-tuple, and the table of flows. */
#ifndef BPF_FLOW_H
#define BPF_FLOW_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "layout.h"
#include "maps.h"

#define HASH_MULTIPLIER 0x880355f21e6d1965ull
#define HASH_MIXER 0x2127599bf4325c37ull

static __always_inline __u64 hash_mix(__u64 value)
{
	value ^= value >> 23;
	value *= HASH_MIXER;
	return value ^ (value >> 47);
}

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

/* The backend that the flow has, or NULL: none, or it is no longer the one that the flow began with. */
static __always_inline struct backend *flow_backend(const struct flow_key *key, __u32 *index)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	if (!flow)
		return NULL;
	__u32 candidate = flow->backend;
	__u32 generation = flow->generation;
	struct backend *backend = bpf_map_lookup_elem(&backends, &candidate);
	if (!backend || !(backend->flags & BACKEND_IN_USE) || backend->generation != generation)
		return NULL;
	*index = candidate;
	return backend;
}

/*
 * A race that is admitted: two packets of one new flow on two CPUs, with a new ring put in between, may choose
 * differently; the later writer decides for those that follow. A receive queue keeps a flow on one CPU, so that it
 * takes a change of the queues' map at that moment, too. The table is LRU: a new flow never fails for want of space, it
 * displaces one that was quiet for long; that one is then decided by the ring, which is where it most likely came from.
 */
static __always_inline void flow_remember(const struct flow_key *key, __u32 index, const struct backend *backend)
{
	struct flow flow = {.backend = index, .generation = backend->generation};
	bpf_map_update_elem(&flows, key, &flow, BPF_ANY);
}

#endif
