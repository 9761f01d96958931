/* SPDX-License-Identifier: Dual BSD/GPL */
/* Which backend a QUIC packet names: to programs of tc. */
#ifndef BPF_QUIC_BUFFER_H
#define BPF_QUIC_BUFFER_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <linux/udp.h>

#include "parse.h"
#include "quic.h"

/* Verified by itself: its stack and its paths are no part of the caller's. */
__noinline __u32 quic_named_at(struct __sk_buff *ctx, __u32 payload, __u32 service, __u32 flags)
{
	return quic_server_named(ctx, false, payload, service, flags);
}

/* The index of the backend; 0: none. */
static __always_inline __u32 quic_named(struct __sk_buff *ctx, const struct packet *packet, __u32 service, __u32 flags)
{
	return quic_fits(packet) ? quic_named_at(ctx, packet->transport + sizeof(struct udphdr), service, flags) : 0;
}

#endif
