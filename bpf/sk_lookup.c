/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Ranges of ports and prefixes for services that the engine relays: one listening socket per worker serves them,
 * whatever it is bound to. Attached to the network namespace: the kernel asks it for the socket of each new connection,
 * and of each datagram that no connected socket is for, before it looks for one itself.
 *
 * What it finds is any member of the group of sockets: the kernel goes on to choose the worker among them.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>

#include "lib/address.h"
#include "lib/steer.h"

#define AF_INET 2

SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct vip_prefix_key key = {
	        .length = VIP_PREFIX_BITS + 128, .port = bpf_htons(ctx->local_port), .protocol = ctx->protocol};
	key.address.word[0] = ctx->local_ip6[0];
	key.address.word[1] = ctx->local_ip6[1];
	key.address.word[2] = ctx->local_ip6[2];
	key.address.word[3] = ctx->local_ip6[3];
	/* Hidden from clang, which would make one load of two places of the context; the verifier does not allow that.
	 */
	__u32 v4 = ctx->local_ip4;
	asm volatile("" : "+r"(v4));
	if (ctx->family == AF_INET)
		address_set_v4(&key.address, v4);
	struct steer_target *one = bpf_map_lookup_elem(&steer_targets, &key);
	key.port = 0;
	struct steer_target *every = bpf_map_lookup_elem(&steer_targets, &key);
	if (every && (!one || every->length > one->length))
		one = every;
	if (!one || one->socket == STEER_LEFT)
		return SK_PASS;
	__u32 index = one->socket;
	struct bpf_sock *socket = bpf_map_lookup_elem(&steer_sockets, &index);
	/* STEER_CLOSED; or between two engines: nobody else is to answer. */
	if (!socket)
		return SK_DROP;
	long error = bpf_sk_assign(ctx, socket, 0);
	bpf_sk_release(socket);
	return error ? SK_DROP : SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
