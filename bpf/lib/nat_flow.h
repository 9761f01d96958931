/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The tables of translated flows (layout.h: nat_flows, nat_new): finding, following, ending.
 *
 * Both entries of a flow say the same, so what changes is written to both. Between changes a packet touches its own
 * entry alone; about once per second it looks for the other one, too, which keeps that from growing old in the LRU
 * list when packets come from one side only, and makes it anew when it was displaced.
 */
#ifndef BPF_NAT_FLOW_H
#define BPF_NAT_FLOW_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "counters.h"
#include "layout.h"
#include "maps.h"
#include "nat_lifetime.h"
#include "parse.h"

/* Inner maps are made by the control library, of the sizes that are asked for. */
struct nat_flows_map {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct flow_key));
	__uint(value_size, sizeof(struct nat_flow));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, struct nat_flows_map);
} nat_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, struct nat_flows_map);
} nat_new SEC(".maps");

/* Of one of the two: as the map's own calls. Where there is no table nothing is found, and nothing can be put. */
static __always_inline struct nat_flow *nat_lookup(void *tables, const struct flow_key *key)
{
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(tables, &zero);
	return table ? bpf_map_lookup_elem(table, key) : NULL;
}

static __always_inline long nat_put(void *tables, const struct flow_key *key, const struct nat_flow *flow, __u64 flags)
{
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(tables, &zero);
	return table ? bpf_map_update_elem(table, key, flow, flags) : -1;
}

static __always_inline long nat_drop(void *tables, const struct flow_key *key)
{
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(tables, &zero);
	return table ? bpf_map_delete_elem(table, key) : -1;
}

/* The client's acknowledgement ends the handshake when it is of what the backend has sent: not far beyond its first. */
#define NAT_HANDSHAKE_WINDOW 65536u

static __always_inline __u32 nat_now(void)
{
	return bpf_ktime_get_coarse_ns() >> 30;
}

static __always_inline struct nat_flow *nat_find(const struct flow_key *key)
{
	struct nat_flow *flow = nat_lookup(&nat_flows, key);
	return flow ? flow : nat_lookup(&nat_new, key);
}

/* The other entry of the flow that has this one. */
static __always_inline void nat_pair(const struct flow_key *key, const struct nat_flow *flow, struct flow_key *pair_key,
                                     struct nat_flow *pair)
{
	pair_key->source = flow->destination;
	pair_key->destination = flow->source;
	pair_key->source_port = flow->destination_port;
	pair_key->destination_port = flow->source_port;
	pair_key->protocol = key->protocol;
	__builtin_memset(pair_key->reserved, 0, sizeof(pair_key->reserved));
	pair->source = key->destination;
	pair->destination = key->source;
	pair->source_port = key->destination_port;
	pair->destination_port = key->source_port;
	pair->flags = flow->flags ^ NAT_REVERSE;
	pair->service = flow->service;
	pair->backend = flow->backend;
	pair->generation = flow->generation;
	pair->seen = flow->seen;
	pair->expected = flow->expected;
}

/* The entry that key's pair_key has is the flow's, and not another one's that took its place. */
static __always_inline bool nat_is_pair(const struct flow_key *key, const struct nat_flow *pair)
{
	return address_equal(&pair->source, &key->destination) && address_equal(&pair->destination, &key->source) &&
	       pair->source_port == key->destination_port && pair->destination_port == key->source_port;
}

/* Forgets a flow. Its other entry stays when it is another flow's. */
static __noinline int nat_forget(const struct flow_key *key, const struct nat_flow *flow)
{
	struct flow_key pair_key;
	struct nat_flow pair;
	nat_pair(key, flow, &pair_key, &pair);
	struct nat_flow *other = nat_find(&pair_key);
	if (other && nat_is_pair(key, other)) {
		nat_drop(&nat_flows, &pair_key);
		nat_drop(&nat_new, &pair_key);
	}
	nat_drop(&nat_flows, key);
	nat_drop(&nat_new, key);
	return 0;
}

/* What a packet says about its flow. */
struct nat_event {
	__u32 set, clear; /* flags */
	__u32 now;
	__u32 sequence;    /* TCP of a flow that is new: the packet's, */
	__u32 acknowledge; /* and this */
	__u8 tcp_flags;    /* 0: UDP */
};

/* Of everything but the numbers of TCP, which those of a flow that is not confirmed need besides: nat_event_wants. */
static __always_inline void nat_event_of(const struct packet *packet, const struct nat_flow *flow, __u32 now,
                                         struct nat_event *event)
{
	bool reverse = flow->flags & NAT_REVERSE;
	event->now = now;
	event->tcp_flags = packet->tcp_flags;
	if (packet->tcp_flags & TCP_RST) {
		event->set = NAT_RESET;
		return;
	}
	event->clear = NAT_RESET;
	event->set = reverse ? NAT_ANSWERED : 0;
	if (packet->tcp_flags & TCP_FIN)
		event->set |= reverse ? NAT_FIN_BACKEND : NAT_FIN_CLIENT;
}

/* Is the end of the flow's handshake still to be told from sequence numbers? */
static __always_inline bool nat_event_wants(const struct packet *packet, const struct nat_flow *flow)
{
	return packet->key.protocol == IPPROTO_TCP && !(packet->tcp_flags & TCP_RST) && !(flow->flags & NAT_CONFIRMED);
}

/* Has the client been heard after the backend, and may it be believed to be where it says? */
static __always_inline bool nat_confirms(__u8 protocol, const struct nat_flow *flow, const struct nat_event *event)
{
	if (flow->flags & (NAT_REVERSE | NAT_CONFIRMED) || !(flow->flags & NAT_ANSWERED))
		return false;
	if (protocol == IPPROTO_UDP)
		return true;
	if ((event->tcp_flags & (TCP_ACK | TCP_SYN | TCP_RST)) != TCP_ACK)
		return false;
	return !(flow->flags & NAT_OPENED) || event->acknowledge - flow->expected < NAT_HANDSHAKE_WINDOW;
}

/* From nat_new to nat_flows; at each moment each entry is in one of them at least. */
static __always_inline void nat_confirm(const struct flow_key *key, const struct nat_flow *flow,
                                        const struct flow_key *pair_key, struct nat_flow *pair)
{
	struct nat_flow mine = *flow;
	mine.flags |= NAT_CONFIRMED;
	pair->flags |= NAT_CONFIRMED;
	if (nat_put(&nat_flows, pair_key, pair, BPF_ANY))
		return;
	if (nat_put(&nat_flows, key, &mine, BPF_ANY)) {
		nat_drop(&nat_flows, pair_key);
		return;
	}
	nat_drop(&nat_new, key);
	nat_drop(&nat_new, pair_key);
}

/* Writes what has changed to both entries. 0, or -1: the other entry is another flow's now. */
static __noinline int nat_sync(const struct flow_key *key, struct nat_flow *flow, const struct nat_event *event)
{
	struct flow_key pair_key;
	struct nat_flow pair;
	if ((flow->flags & (NAT_REVERSE | NAT_OPENED)) == (NAT_REVERSE | NAT_OPENED) &&
	    (event->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK))
		flow->expected = event->sequence + 1;
	__sync_fetch_and_or(&flow->flags, event->set);
	__sync_fetch_and_and(&flow->flags, ~event->clear);
	flow->seen = event->now;
	nat_pair(key, flow, &pair_key, &pair);
	struct nat_flow *other = nat_find(&pair_key);
	if (!other) {
		if (flow->flags & NAT_CONFIRMED)
			nat_put(&nat_flows, &pair_key, &pair, BPF_NOEXIST);
		else
			nat_put(&nat_new, &pair_key, &pair, BPF_NOEXIST);
	} else if (!nat_is_pair(key, other)) {
		return -1;
	} else {
		__sync_fetch_and_or(&other->flags, event->set);
		__sync_fetch_and_and(&other->flags, ~event->clear);
		other->seen = event->now;
		other->expected = flow->expected;
	}
	if (nat_confirms(key->protocol, flow, event))
		nat_confirm(key, flow, &pair_key, &pair);
	return 0;
}

/* Does what the packet says have to be written down? */
static __always_inline bool nat_is_news(const struct nat_flow *flow, const struct nat_event *event)
{
	__u32 flags = (flow->flags | event->set) & ~event->clear;
	return flags != flow->flags || flow->seen != event->now || !(flow->flags & NAT_CONFIRMED);
}

/* Follows a packet of the flow, by what it says. False: the flow is lost. */
static __always_inline bool nat_follow(const struct packet *packet, struct nat_flow *flow,
                                       const struct nat_event *event)
{
	return !nat_is_news(flow, event) || !nat_sync(&packet->key, flow, event);
}

/* May the flow not be carried on for this packet? It is stale, its backend is gone, or another one begins. */
static __always_inline bool nat_over(const struct packet *packet, const struct nat_flow *flow, __u32 now)
{
	const __u32 flags = flow->flags;
	bool over = nat_stale(packet->key.protocol, flow, now);
	if (!(flags & NAT_REVERSE)) {
		__u32 index = flow->backend;
		struct backend *backend = bpf_map_lookup_elem(&backends, &index);
		over |= !backend || !(backend->flags & BACKEND_IN_USE) || backend->generation != flow->generation;
		over |= packet->opens && (flags & NAT_RESET || (flags & NAT_FINS) == NAT_FINS);
	}
	return over;
}

/* Counts frames of the flow, and their bytes. */
static __always_inline void nat_count_frames(const struct nat_flow *flow, __u32 frames, __u32 bytes)
{
	if (flow->flags & NAT_REVERSE)
		count_returned(flow->service, flow->backend, frames, bytes);
	else
		count_traffic(flow->service, flow->backend, frames, bytes);
}

#endif
