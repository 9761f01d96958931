/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Both ends of a director for frames that really travel: generate makes frames of many flows and sends them into a
 * device, sink counts and drops what comes out of it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include "header_checksum.h"

#define PORTS 32768u /* of one client */

struct live {
	__u32 flows;
	__u32 ifindex;
	__u32 source, destination; /* network order */
	__u16 port;                /* network order */
	__u8 to[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct live);
} live SEC(".maps");

struct counts {
	__u64 generated, sunk;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u32 zero = 0;
	const struct live *state = bpf_map_lookup_elem(&live, &zero);
	struct counts *own = bpf_map_lookup_elem(&counts, &zero);

	if ((void *)(tcp + 1) > end || !state || !own || !state->flows)
		return XDP_ABORTED;
	__u32 flow = (__u32)((own->generated++ * 2654435761u) % state->flows);
	/* The whole of it: the frame may be one that went through before, and has been written over. */
	__builtin_memcpy(eth->h_dest, state->to, ETH_ALEN);
	__builtin_memset(eth->h_source, 0x02, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	ip->saddr = bpf_htonl(bpf_ntohl(state->source) + flow / PORTS);
	ip->daddr = state->destination;
	ip->check = 0;
	ip->check = header_checksum(ip);
	tcp->source = bpf_htons((__u16)(1024 + flow % PORTS));
	tcp->dest = state->port;
	return bpf_redirect(state->ifindex, 0);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct counts *own = bpf_map_lookup_elem(&counts, &zero);

	(void)ctx;
	if (own)
		own->sunk++;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
