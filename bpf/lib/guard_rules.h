/* SPDX-License-Identifier: Dual BSD/GPL */
/* From a packet to the rule that decides about it: one lookup by source, then by protocol and port within what was
 * found. */
#ifndef BPF_GUARD_RULES_H
#define BPF_GUARD_RULES_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "guard_maps.h"
#include "layout.h"
#include "seen.h"

static __always_inline bool guard_filter_has(const __u64 *filter, __u8 place)
{
	return filter[place >> 6] >> (place & 63) & 1;
}

/* The class of the longest prefix that has the source; 0, that of every source, when none has. */
static __always_inline __u32 guard_class_of(const struct guard *guard, const struct seen *seen)
{
	__u32 generation = guard->generation, *class = NULL;
	if (seen->version == 4) {
		struct guard_source_v4 key = {.length = 32, .address = seen->source.word[3]};
		if (!guard_filter_has(guard->near_v4, bpf_ntohl(key.address) >> 24))
			return 0;
		void *sources = bpf_map_lookup_elem(&guard_sources_v4, &generation);
		if (sources)
			class = bpf_map_lookup_elem(sources, &key);
	} else {
		struct guard_source_v6 key = {.length = 128};
		if (!guard_filter_has(guard->near_v6, bpf_ntohl(seen->source.word[0]) & 0xff))
			return 0;
		void *sources = bpf_map_lookup_elem(&guard_sources_v6, &generation);
		__builtin_memcpy(key.address, &seen->source, sizeof(key.address));
		if (sources)
			class = bpf_map_lookup_elem(sources, &key);
	}
	return class ? *class : 0;
}

/* The span that has the port, in a binary search: the last that begins at or before it. */
static __always_inline __u32 guard_rule_of_port(__u32 generation, __u32 first, __u32 count, __u16 port, __u32 otherwise)
{
	void *spans = bpf_map_lookup_elem(&guard_spans, &generation);
	if (!spans)
		return otherwise;
	__u32 low = 0, high = count;
	for (int i = 0; i < GUARD_CLASS_SPANS_POWER + 1; i++) {
		if (low >= high)
			break;
		__u32 middle = (low + high) / 2, index = first + middle;
		struct guard_span *span = bpf_map_lookup_elem(spans, &index);
		if (!span)
			return otherwise;
		if (port < span->first)
			high = middle;
		else if (port > span->last)
			low = middle + 1;
		else
			return span->rule;
	}
	return otherwise;
}

/* The same among the few that struct guard has itself: one after the other is faster, and calls nothing. */
static __always_inline __u32 guard_rule_near(const struct guard_span *spans, __u32 count, __u16 port, __u32 otherwise)
{
	for (__u32 i = 0; i < GUARD_NEAR_SPANS; i++) {
		if (i >= count)
			break;
		if (port <= spans[i].last)
			return port >= spans[i].first ? spans[i].rule : otherwise;
	}
	return otherwise;
}

/* Index into guard_rules; 0: no rule decides. */
static __always_inline __u32 guard_rule_index(const struct guard *guard, const struct seen *seen)
{
	__u32 generation = guard->generation, index = guard_class_of(guard, seen);
	const struct guard_class *class = &guard->everyone;
	if (index) {
		void *classes = bpf_map_lookup_elem(&guard_classes, &generation);
		class = classes ? bpf_map_lookup_elem(classes, &index) : NULL;
		if (!class)
			return 0;
	}
	if (seen->protocol == IPPROTO_TCP || seen->protocol == IPPROTO_UDP) {
		const bool udp = seen->protocol == IPPROTO_UDP;
		__u32 otherwise = udp ? class->rule[GUARD_UDP] : class->rule[GUARD_TCP];
		__u32 count = udp ? class->nspans[GUARD_UDP] : class->nspans[GUARD_TCP];
		if (!count || !seen->ports)
			return otherwise;
		__u16 port = bpf_ntohs(seen->destination_port);
		if (!index && count <= GUARD_NEAR_SPANS)
			return guard_rule_near(udp ? guard->near_spans[GUARD_UDP] : guard->near_spans[GUARD_TCP], count,
			                       port, otherwise);
		return guard_rule_of_port(generation, udp ? class->spans[GUARD_UDP] : class->spans[GUARD_TCP], count,
		                          port, otherwise);
	}
	return class->rule[GUARD_OTHER];
}

static __always_inline void guard_count(__u32 counter, __u32 bytes)
{
	struct traffic *traffic = bpf_map_lookup_elem(&guard_counters, &counter);
	if (traffic) {
		traffic->packets++;
		traffic->bytes += bytes;
	}
}

#endif
