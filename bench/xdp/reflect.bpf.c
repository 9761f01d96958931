/* SPDX-License-Identifier: Dual BSD/GPL */
/* A director that looks at nothing: what live.c measures at best. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int reflect(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
