/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * A new translated flow: whom it goes to, and under which source. The entry of its answers is put in first and claims
 * its key: no two flows can come to look the same to a backend.
 *
 * The source port is kept when it is free and the address is the client's; otherwise it begins at a place that comes
 * from the flow's own hash, so that a flow whose entry was displaced finds its port again by the other entry.
 */
#ifndef BPF_NAT_BEGIN_H
#define BPF_NAT_BEGIN_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "flow.h"
#include "layout.h"
#include "maps.h"
#include "nat_flow.h"
#include "nat_settings.h"
#include "parse.h"
#include "quic.h"
#include "ring.h"

/* Ports that are tried. With half of them in use towards one backend, one flow in 2^32 finds none. */
#define NAT_ATTEMPTS 32

struct nat_claim {
	struct flow_key key;   /* of the answers */
	struct nat_flow entry; /* of the answers */
	struct nat_settings settings;
	__u32 hash;
	__u32 now;
	bool own_port; /* the client's, which key has, is tried first */
	bool claimed;
};

/* The port at a place in the two ranges taken as one; 0: they are empty. */
static __always_inline __be16 nat_port(const struct nat_settings *settings, __u32 place)
{
	__u32 low = settings->first[0] <= settings->last[0] ? settings->last[0] - settings->first[0] + 1u : 0;
	__u32 high = settings->first[1] <= settings->last[1] ? settings->last[1] - settings->first[1] + 1u : 0;
	if (!low && !high)
		return 0;
	place %= low + high;
	return bpf_htons(place < low ? settings->first[0] + place : settings->first[1] + (place - low));
}

/* What another flow has: 1 when it is this very flow's, 0 when it is free now, -1 when it is taken. */
static __always_inline int nat_reclaim(struct nat_claim *claim, const struct nat_flow *held)
{
	bool mine = address_equal(&held->destination, &claim->entry.destination) &&
	            held->destination_port == claim->entry.destination_port &&
	            address_equal(&held->source, &claim->entry.source) && held->source_port == claim->entry.source_port;
	if (mine && !nat_stale(claim->key.protocol, held, claim->now)) {
		claim->entry.flags |= held->flags & (NAT_ANSWERED | NAT_CONFIRMED);
		claim->entry.expected = held->expected;
		return 1;
	}
	if (!mine && !nat_stale(claim->key.protocol, held, claim->now))
		return -1;
	/* Only the one who takes it away may have it. */
	if (held->flags & NAT_CONFIRMED)
		return nat_drop(&nat_flows, &claim->key) ? -1 : 0;
	return nat_drop(&nat_new, &claim->key) ? -1 : 0;
}

/* One attempt; 1 ends them. */
static long nat_try(__u32 attempt, struct nat_claim *claim)
{
	if (attempt || !claim->own_port)
		claim->key.destination_port = nat_port(&claim->settings, claim->hash + attempt * 7919);
	if (!claim->key.destination_port)
		return 0;
	struct nat_flow *held = nat_find(&claim->key);
	int free = held ? nat_reclaim(claim, held) : 0;
	if (free < 0)
		return 0;
	if (!free) {
		if (nat_put(&nat_new, &claim->key, &claim->entry, BPF_NOEXIST))
			return 0;
		/* Moved there between the look and the claim. */
		if (nat_lookup(&nat_flows, &claim->key)) {
			nat_drop(&nat_new, &claim->key);
			return 0;
		}
	}
	claim->claimed = true;
	return 1;
}

/*
 * Begins a flow of the service; *flow becomes the entry of the packets that come from the client. DROP_NONE, or why
 * not.
 */
static __noinline enum drop_reason nat_begin(const struct packet *packet, __u32 service_index,
                                             const struct service *service, __u32 now, struct nat_flow *flow)
{
	const struct flow_key *key = &packet->key;
	__u32 index = 0, backend_index;
	struct nat_settings *settings = bpf_map_lookup_elem(&nat_settings, &index);
	__u64 hash = flow_hash(key, false);
	struct backend *backend = packet->named ? quic_backend(packet->named) : NULL;
	if (backend)
		backend_index = packet->named;
	else
		backend =
		        ring_backend(service_index, service->flags & SERVICE_SOURCE_ONLY ? flow_hash(key, true) : hash,
		                     &backend_index);
	/* Addresses are translated within a family. */
	if (!settings || !backend || address_is_v4(&backend->address) != address_is_v4(&key->destination))
		return DROP_NO_BACKEND;
	bool local = backend->flags & BACKEND_LOCAL;
	/* A packet from an address of this node to this node would be taken for forged. */
	bool node = (service->flags & SERVICE_SOURCE_NAT) && !local;
	struct nat_claim claim = {
	        .key = {.source = backend->address,
	                .destination = node ? backend->source : key->source,
	                .source_port = backend->port ? backend->port : key->destination_port,
	                .destination_port = key->source_port,
	                .protocol = key->protocol},
	        .entry = {.source = key->destination,
	                  .destination = key->source,
	                  .source_port = key->destination_port,
	                  .destination_port = key->source_port,
	                  .flags = NAT_REVERSE | (local ? NAT_LOCAL : 0) | (packet->opens ? NAT_OPENED : 0),
	                  .service = service_index,
	                  .backend = backend_index,
	                  .generation = backend->generation,
	                  .seen = now},
	        .settings = *settings,
	        .hash = (__u32)hash,
	        .now = now,
	        .own_port = !node,
	};
	bpf_loop(NAT_ATTEMPTS, nat_try, &claim, 0);
	if (!claim.claimed)
		return DROP_NO_NAT_PORT;
	flow->source = claim.key.destination;
	flow->destination = claim.key.source;
	flow->source_port = claim.key.destination_port;
	flow->destination_port = claim.key.source_port;
	flow->flags = claim.entry.flags ^ NAT_REVERSE;
	flow->service = service_index;
	flow->backend = backend_index;
	flow->generation = claim.entry.generation;
	flow->seen = now;
	flow->expected = claim.entry.expected;
	long error = flow->flags & NAT_CONFIRMED ? nat_put(&nat_flows, key, flow, BPF_NOEXIST)
	                                         : nat_put(&nat_new, key, flow, BPF_NOEXIST);
	if (!error)
		return DROP_NONE;
	/* Another CPU has begun the same flow: its word counts. */
	struct nat_flow *first = nat_find(key);
	if (!first)
		return DROP_NAT_FULL;
	if (first->source_port != flow->source_port || !address_equal(&first->destination, &flow->destination) ||
	    first->destination_port != flow->destination_port) {
		nat_drop(&nat_new, &claim.key);
		*flow = *first;
	}
	return DROP_NONE;
}

#endif
