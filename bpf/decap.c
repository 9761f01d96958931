/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * The other end of xdp_lb's encapsulation, so that a backend needs no tunnel device: packets to an address in
 * decap_addresses that carry IP in IP, in any combination of versions, or in UDP (GUE variant 1) lose the outer header
 * and go on to the stack, where the VIP is an address of the loopback device.
 *
 * They do not meet xdp_lb, which may run here too: a director has chosen this node, and choosing again would, where two
 * nodes disagree for a moment, send the packet round between them for ever.
 *
 * Who can send to such an address can send any inner packet past whatever stands before: the network, or xdp_guard,
 * must let encapsulated packets in from directors alone. A UDP checksum is not verified: it would have every byte read,
 * and directors send none; the inner packet has its own.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/types.h>

#include "lib/drops.h"
#include "lib/ethernet.h"
#include "lib/layout.h"
#include "lib/parse.h"
#include "lib/slots.h"
#include "lib/tunnel.h"

static __always_inline int strip(struct xdp_md *ctx, const struct tunnel *tunnel)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *inner = data + (tunnel->inner & OFFSET_MASK);
	if (inner + 1 > data_end)
		return drop(DROP_TRUNCATED);
	__u8 version = *(__u8 *)inner >> 4;
	if ((version != 4 && version != 6) || (tunnel->version && version != tunnel->version))
		return drop(DROP_BAD_VERSION);
	enum drop_reason reason =
	        version == 4 ? finish_ipv4(inner, data_end, tunnel) : finish_ipv6(inner, data_end, tunnel);
	if (reason != DROP_NONE)
		return drop(reason);
	tunnel_note_service(ctx, inner, data_end, version, tunnel);
	struct ethernet_copy ethernet = {};
	if (!ethernet_save(&ethernet, data, data_end, tunnel->ethernet_length))
		return drop(DROP_TRUNCATED);
	if (bpf_xdp_adjust_head(ctx, (int)(tunnel->inner - tunnel->ethernet_length)))
		return drop(DROP_TRUNCATED);
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	if (!ethernet_restore(data, data_end, &ethernet, tunnel->ethernet_length,
	                      bpf_htons(version == 4 ? ETH_P_IP : ETH_P_IPV6)))
		return drop(DROP_TRUNCATED);
	return slots_from(ctx, XDP_SLOT_LB + 1);
}

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;
	struct tunnel tunnel = {};
	enum drop_reason reason = DROP_NONE;
	__be16 ethertype;
	enum opened opened = OPENED_OTHER;
	tunnel.ethernet_length = ethernet_parse(data, data_end, &ethertype);
	if (tunnel.ethernet_length)
		opened = tunnel_open(data, data_end, offset_from(data, data_end), ethertype, &tunnel, &reason);
	if (opened == OPENED_BROKEN)
		return drop(reason);
	if (opened == OPENED)
		return strip(ctx, &tunnel);
	return slots_from(ctx, XDP_SLOT_DECAP + 1);
}

char _license[] SEC("license") = "Dual BSD/GPL";
