/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * In front of the program that is measured: makes each run's packet one of another flow, and calls it. A packet that
 * the run before has encapsulated or translated is made what it was.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include "flow_ports.h"
#include "header_checksum.h"

struct bench {
	__u64 runs;
	__u32 flows;
	__u32 vip;  /* network order */
	__u16 port; /* network order */
	__u16 reserved[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench);
} bench SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

SEC("xdp")
int flows(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u32 zero = 0;

	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	/* Called by 0 behind the empty program, which encapsulates nothing: its time has to have the call, too. */
	if (bpf_xdp_adjust_head(ctx, ip->protocol == IPPROTO_IPIP ? (int)sizeof(*ip) : 0))
		return XDP_ABORTED;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = data + sizeof(*eth);
	struct tcphdr *tcp = (void *)(ip + 1);
	if ((void *)(tcp + 1) > end)
		return XDP_ABORTED;
	struct bench *state = bpf_map_lookup_elem(&bench, &zero);
	if (!state || !state->flows)
		return XDP_ABORTED;
	/* A step that is odd and no power of two's neighbour: one flow after the other, not in the order of their
	 * numbers. */
	__u32 flow = (__u32)((state->runs++ * 2654435761u) % state->flows);
	__builtin_memset(eth, 0x02, ETH_ALEN * 2);
	eth->h_proto = bpf_htons(ETH_P_IP);
	ip->saddr = bpf_htonl(FLOW_CLIENT(flow));
	ip->daddr = state->vip;
	ip->ttl = 64;
	ip->check = 0;
	ip->check = header_checksum(ip);
	tcp->source = bpf_htons(FLOW_PORT(flow));
	tcp->dest = state->port;
	bpf_tail_call(ctx, &target, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
