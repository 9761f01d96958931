/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Packets that wait in a queue of the interface that they leave by, in place of being dropped: what fq and HTB need of
 * the programs. See layout.h, and libmarcher's packet_shape.h for the queues themselves.
 *
 * Who may wait is asked before a packet is held to its policy (packet->waits), and how long comes of it.
 */
#ifndef BPF_SHAPE_H
#define BPF_SHAPE_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "layout.h"
#include "parse.h"
#include "shape_maps.h"

/* enum shape_kind of an interface; 0: nothing waits there. */
static __always_inline __u32 shape_of(__u32 ifindex)
{
	const __u32 *kind = bpf_map_lookup_elem(&shape_devices, &ifindex);
	return kind ? *kind : 0;
}

/* May packets of the service wait there? A class of HTB has to be there for them. Inlined, it takes tc_ingress over the
 * 512 bytes of stack that a chain of calls has: on Linux 6.1 each frame is a multiple of 32. */
static __noinline bool shape_waits(__u32 kind, __u32 service, bool egress)
{
	if (kind != SHAPE_HTB)
		return kind == SHAPE_FQ;
	const __u32 *classes = bpf_map_lookup_elem(&shape_services, &service);
	return classes && (*classes >> egress & 1);
}

/* What costs nothing waits for nobody, but for what ends a connection: that is not to overtake what it ends. */
static __always_inline bool shape_is_free(const struct packet *packet)
{
	return !packet->payload && !(packet->tcp_flags & (TCP_FIN | TCP_RST));
}

/* What chooses the packet's class of HTB. priority: of struct policy. */
static __always_inline __u32 shape_class(const struct packet *packet, __u32 service, bool egress, __u32 priority)
{
	__u32 of_priority = priority == 6 ? 0 : priority == 4 ? 1 : priority == 2 ? 3 : SHAPE_DEFAULT_PRIORITY;
	if (packet->waits && !shape_is_free(packet))
		return SHAPE_MAJOR << 16 | SHAPE_SERVICE_CLASS(service, egress);
	return SHAPE_MAJOR << 16 | SHAPE_PRIORITY_CLASS(of_priority);
}

/* Has fq keep the packet until then. before: what it is kept until already; both CLOCK_MONOTONIC. */
static __always_inline void shape_until(struct __sk_buff *skb, __u64 departs_ns, __u64 before_ns)
{
	if (departs_ns > before_ns)
		bpf_skb_set_tstamp(skb, departs_ns, BPF_SKB_TSTAMP_DELIVERY_MONO);
}

#endif
