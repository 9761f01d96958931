/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * What decap.c does, where no XDP program can be attached: called by tc_ingress, by the same rules, and as there what
 * was inside goes to the stack and to nobody else here.
 *
 * The kernel hands over buffers of many segments, which its GRO has made of packets of one flow. Of TCP in IP in IP (or
 * in a tunnel that another namespace's device made) such a buffer is one large inner packet behind one outer header,
 * and loses that as any other. GRO of UDP (rx-udp-gro-forwarding) puts whole datagrams one behind the other: these do
 * not come apart again here, and are dropped as of bad length.
 *
 * A tag that the kernel has not taken off, which is the second one, is the stack's.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/layout.h"
#include "lib/tc.h"
#include "lib/tc_slots.h" /* not called, but the loader finds there where this belongs */
#include "lib/tunnel.h"

/* The difference between the lengths of the two IP headers, which bpf_skb_change_proto puts in or takes out. */
#define FAMILY_DIFFERENCE ((int)(sizeof(struct ipv6hdr) - sizeof(struct iphdr)))

/* Takes outer bytes out behind the Ethernet header, and has the buffer be of the inner version. */
static __always_inline int remove_outer(struct __sk_buff *skb, __u32 outer, __u8 version)
{
	const __be16 ethertype = bpf_htons(version == 4 ? ETH_P_IP : ETH_P_IPV6);
	int excess = (int)outer;
	if (skb->protocol != ethertype) {
		if (bpf_skb_change_proto(skb, ethertype, 0))
			return -1;
		excess += version == 4 ? -FAMILY_DIFFERENCE : FAMILY_DIFFERENCE;
	}
	/* What a segment carries does not grow by it. */
	if (excess > 0 && bpf_skb_adjust_room(skb, -excess, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	return bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &ethertype, sizeof(ethertype), 0);
}

static __always_inline __u32 inner_length(const void *inner, __u8 version)
{
	return version == 4 ? bpf_ntohs(((const struct iphdr *)inner)->tot_len)
	                    : sizeof(struct ipv6hdr) + bpf_ntohs(((const struct ipv6hdr *)inner)->payload_len);
}

static __always_inline int strip(struct __sk_buff *skb, const struct tunnel *tunnel)
{
	void *data = (void *)(long)skb->data, *data_end = (void *)(long)skb->data_end;
	void *inner = data + (tunnel->inner & OFFSET_MASK);
	__be32 before = 0, after = 0;
	if (inner + 1 > data_end)
		return tc_drop(DROP_TRUNCATED);
	__u8 version = *(__u8 *)inner >> 4;
	if ((version != 4 && version != 6) || (tunnel->version && version != tunnel->version))
		return tc_drop(DROP_BAD_VERSION);
	if (version == 6 && inner + sizeof(before) <= data_end)
		before = *(__be32 *)inner;
	enum drop_reason reason =
	        version == 4 ? finish_ipv4(inner, data_end, tunnel) : finish_ipv6(inner, data_end, tunnel);
	if (reason != DROP_NONE)
		return tc_drop(reason);
	if (inner + sizeof(struct iphdr) > data_end || (version == 6 && inner + sizeof(struct ipv6hdr) > data_end))
		return tc_drop(DROP_TRUNCATED);
	if (skb->gso_size && inner_length(inner, version) != tunnel->length)
		return tc_drop(DROP_BAD_LENGTH);
	if (version == 6)
		after = *(__be32 *)inner;
	tunnel_note_service(skb, inner, data_end, version, tunnel);
	/* A sum over all that was received (CHECKSUM_COMPLETE) has to know of the mark; IPv4 has a checksum against it.
	 */
	if (before != after)
		bpf_csum_update(skb, (__wsum)bpf_csum_diff(&before, sizeof(before), &after, sizeof(after), 0));
	if (remove_outer(skb, tunnel->inner - tunnel->ethernet_length, version))
		return tc_drop(DROP_TRUNCATED);
	/* Flows of the tunnel look alike: sockets and CPUs are chosen by what is inside. */
	bpf_set_hash_invalid(skb);
	return TC_GO_ON;
}

SEC("tc")
int tc_decap(struct __sk_buff *skb)
{
	struct tunnel tunnel = {};
	enum drop_reason reason = DROP_NONE;
	__be16 ethertype;
	enum opened opened = OPENED_OTHER;
	tc_pull(skb);
	const void *data = (const void *)(long)skb->data, *data_end = (const void *)(long)skb->data_end;
	tunnel.ethernet_length = ethernet_parse(data, data_end, &ethertype);
	if (tunnel.ethernet_length == sizeof(struct ethhdr))
		opened = tunnel_open(data, data_end, skb->len, ethertype, &tunnel, &reason);
	if (opened == OPENED_BROKEN)
		return tc_drop(reason);
	if (opened == OPENED)
		return strip(skb, &tunnel);
	return TC_GO_ON;
}

char _license[] SEC("license") = "Dual BSD/GPL";
