/* SPDX-License-Identifier: Dual BSD/GPL */
/* Which backend a QUIC packet names: to XDP programs. */
#ifndef BPF_QUIC_FRAME_H
#define BPF_QUIC_FRAME_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <linux/udp.h>

#include "flow.h"
#include "parse.h"
#include "quic.h"

/*
 * The index of the backend; 0: none, or it is dead. A flow that has no backend yet becomes the named one's, for what is
 * reported about it. One that has another keeps that: its first packets may come still, and who forges a client's
 * address takes nothing from it.
 *
 * Verified by itself: its stack and its paths are no part of the caller's.
 */
__noinline __u32 quic_take(struct xdp_md *ctx, struct packet *packet, __u32 service, __u32 flags)
{
	struct flow_place place = {};
	__u32 known;
	if (!packet)
		return 0;
	__u32 named = quic_server_named(ctx, true, packet->transport + sizeof(struct udphdr), service, flags);
	struct backend *backend = named ? quic_backend(named) : NULL;
	if (!backend)
		return 0;
	if (!(flags & SERVICE_NO_FLOWS))
		flow_find_place(&packet->key, &place);
	if (!flow_backend(&place, true, &known))
		flow_remember(&place, named, backend);
	return named;
}

static __always_inline __u32 quic_named(struct xdp_md *ctx, struct packet *packet, __u32 service, __u32 flags)
{
	return quic_fits(packet) ? quic_take(ctx, packet, service, flags) : 0;
}

#endif
