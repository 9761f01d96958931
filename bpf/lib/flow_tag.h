/* SPDX-License-Identifier: Dual BSD/GPL */
/* By what a flow is known in the table: for the programs, and for the library, which carries flows into it. */
#ifndef BPF_FLOW_TAG_H
#define BPF_FLOW_TAG_H

#include <linux/types.h>

#include "layout.h"

#define HASH_MIXER 0x2127599bf4325c37ull

static inline __attribute__((always_inline)) __u64 hash_mix(__u64 value)
{
	value ^= value >> 23;
	value *= HASH_MIXER;
	return value ^ (value >> 47);
}

/*
 * The tag is the universal hash NH (Black et al., UMAC, 1999) under this node's secret key, then mixed: who does not
 * know the key meets another's flow with a chance of 2^-32 at best.
 */
static inline __attribute__((always_inline)) __u64 flow_tag(const struct flow_key *key,
                                                            const struct flow_settings *settings)
{
	__u32 words[FLOW_KEY_WORDS];
	_Static_assert(sizeof(words) == sizeof(*key), "the tag is over the whole key");
	__builtin_memcpy(words, key, sizeof(words));
	__u64 sum = 0;
#ifdef __bpf__
#pragma unroll
#endif
	for (int i = 0; i < (int)FLOW_KEY_WORDS; i += 2)
		sum += (__u64)(words[i] + settings->key[i]) * (words[i + 1] + settings->key[i + 1]);
	sum = hash_mix(sum);
	return sum ? sum : 1;
}

#endif
