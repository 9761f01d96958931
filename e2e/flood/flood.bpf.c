/* SPDX-License-Identifier: Dual BSD/GPL */
/* generate makes a frame of a flood out of each that it is run with, and sends it into a device; sink counts and drops
 * what comes back out of that. */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

enum flood_kind { FLOOD_SYN, FLOOD_UDP, FLOOD_FRAGMENT };

struct flood {
	__u32 kind;
	__u32 ifindex;
	__u32 destination; /* network order */
	__u32 source;      /* host order: the prefix that forged sources have */
	__u32 spread;      /* mask of the bits of a source that are chosen anew for each frame */
	__u16 port;        /* network order */
	__u8 to[ETH_ALEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flood);
} flood SEC(".maps");

struct counts {
	__u64 sent, returned;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counts);
} counts SEC(".maps");

static __always_inline __u16 folded(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

static __always_inline __u32 sum_of(const void *from, __u32 bytes)
{
	const __u16 *words = from;
	__u32 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < bytes / 2; i++)
		sum += words[i];
	return sum;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__u32 zero = 0;
	const struct flood *state = bpf_map_lookup_elem(&flood, &zero);
	struct counts *own = bpf_map_lookup_elem(&counts, &zero);

	if ((void *)(tcp + 1) > end || !state || !own)
		return XDP_ABORTED;
	__u32 chance = bpf_get_prandom_u32(), length = (__u32)(end - data) - sizeof(*eth);
	own->sent++;
	/* The whole of it: the frame may be one that went through before, and has been written over. */
	__builtin_memcpy(eth->h_dest, state->to, ETH_ALEN);
	__builtin_memset(eth->h_source, 0x02, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
	__builtin_memset(ip, 0, sizeof(*ip) + sizeof(*tcp));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->id = (__u16)chance;
	ip->tot_len = bpf_htons((__u16)length);
	ip->saddr = bpf_htonl(state->source | (chance & state->spread));
	ip->daddr = state->destination;
	ip->protocol = state->kind == FLOOD_SYN ? IPPROTO_TCP : IPPROTO_UDP;
	if (state->kind == FLOOD_SYN) {
		tcp->source = bpf_htons((__u16)(1024 + (chance >> 8) % 60000));
		tcp->dest = state->port;
		tcp->seq = chance;
		tcp->doff = 5;
		tcp->syn = 1;
		tcp->window = bpf_htons(64240);
		ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*tcp));
		__u32 sum = sum_of(&ip->saddr, 8) + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)) +
		            sum_of(tcp, sizeof(*tcp));
		tcp->check = folded(sum);
	} else {
		udp->source = bpf_htons((__u16)(1024 + (chance >> 8) % 60000));
		udp->dest = state->port;
		udp->len = bpf_htons((__u16)(length - sizeof(*ip)));
	}
	if (state->kind == FLOOD_FRAGMENT) {
		/* Some of every sort: firsts and others that nobody completes, ones over a header, ones that are too
		 * short. */
		switch (chance >> 24 & 3) {
		case 0:
			ip->frag_off = bpf_htons(0x2000);
			break;
		case 1:
			ip->frag_off = bpf_htons(0x2000 | 100);
			break;
		case 2:
			ip->protocol = IPPROTO_TCP;
			ip->frag_off = bpf_htons(1);
			break;
		default:
			ip->protocol = IPPROTO_TCP;
			ip->frag_off = bpf_htons(0x2000);
			ip->tot_len = bpf_htons(sizeof(*ip) + 8);
		}
	}
	ip->check = folded(sum_of(ip, sizeof(*ip)));
	return bpf_redirect(state->ifindex, 0);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct counts *own = bpf_map_lookup_elem(&counts, &zero);

	(void)ctx;
	if (own)
		own->returned++;
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
