/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * SYNs to listeners of this node, answered before the stack sees them by a cookie of the kernel's own making: the stack
 * recognises it in the ACK, and makes the connection then. Nothing is kept in between.
 *
 * The helper that is asked for the cookie takes the listening socket, and notes in it that cookies are out: without
 * that note the stack would not look for one. It gives a cookie whenever the stack itself would use one, which is
 * net.ipv4.tcp_syncookies: 1, while the listener's queue is full; 2, always; 0, never. A SYN that gets none goes to the
 * stack.
 *
 * What a client offers besides its MSS has to be in the cookie's timestamp (as cookie_init_timestamp has it), or the
 * stack forgets it. The stack adds a secret of its own to timestamps unless net.ipv4.tcp_timestamps is 2: otherwise the
 * answer has no timestamp, and so no window scale, SACK or ECN.
 *
 * The SYN's TCP checksum is not looked at: who sends a wrong one gets an answer of about the same size.
 */
#ifndef BPF_SYN_COOKIE_H
#define BPF_SYN_COOKIE_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <stdbool.h>

#include "checksum.h"
#include "drops.h"
#include "ethernet.h"
#include "guard_maps.h"
#include "layout.h"
#include "maps.h"
#include "seen.h"

#define TCP_HEADER_MAX 60
#define TCP_OPTIONS_FOLLOWED 16
#define COOKIE_HOP_LIMIT 64
#define COOKIE_TS_BITS 6 /* of the timestamp, that hold options */
#define COOKIE_NO_SCALE 0xfu
#define COOKIE_SACK 0x10u
#define COOKIE_ECN 0x20u
#define NS_PER_TICK 1000000u /* of TCP timestamps */
#define NO_COOKIE_ERRNO 2    /* ENOENT: it is not one */

/* What a SYN offers. */
struct offer {
	__u32 timestamp; /* as it came */
	__u8 scale;
	bool has_timestamp, has_scale, sack, ecn;
};

/* The answer's TCP header; words in network order. */
struct answer {
	struct tcphdr tcp;
	__be32 options[5];
} __attribute__((aligned(8)));

enum cookie_result {
	COOKIE_NONE,   /* not our business: the packet goes on */
	COOKIE_SENT,   /* the frame is the answer */
	COOKIE_BROKEN, /* the frame cannot be made the answer */
	COOKIE_BAD,    /* an ACK without a valid cookie */
};

struct options {
	__u8 header[TCP_HEADER_MAX];
	__u32 length; /* of header */
	__u32 at;
	struct offer offer;
} __attribute__((aligned(8)));

/* One option; 1: there is none after it. A function that is called, so that the verifier walks it once and not once for
 * every course that the options before may have taken. */
static long option_read(__u32 index, void *context)
{
	struct options *options = context;
	struct offer *offer = &options->offer;
	const __u8 *header = options->header;
	__u32 at = options->at;
	(void)index;
	if (at >= options->length || at > TCP_HEADER_MAX - 2)
		return 1;
	__u8 kind = header[at];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		options->at = at + 1;
		return 0;
	}
	__u8 size = header[at + 1];
	if (size < 2 || at + size > options->length)
		return 1;
	if (kind == 3 && size == 3 && at <= TCP_HEADER_MAX - 3) {
		offer->scale = header[at + 2] > 14 ? 14 : header[at + 2]; /* RFC 7323, section 2.3 */
		offer->has_scale = true;
	} else if (kind == 4 && size == 2) {
		offer->sack = true;
	} else if (kind == 8 && size == 10 && at <= TCP_HEADER_MAX - 10) {
		offer->timestamp = (__u32)header[at + 2] << 24 | (__u32)header[at + 3] << 16 |
		                   (__u32)header[at + 4] << 8 | header[at + 5];
		offer->has_timestamp = true;
	}
	options->at = at + size;
	return 0;
}

static __always_inline void offer_read(struct options *options)
{
	options->at = sizeof(struct tcphdr);
	options->offer.ecn = (options->header[13] & 0xc0) == 0xc0; /* ECE, CWR */
	bpf_loop(TCP_OPTIONS_FOLLOWED, option_read, options, 0);
}

/* The socket that the stack would give the packet to, or NULL. To be released. */
static __always_inline struct bpf_sock *cookie_socket(struct xdp_md *ctx, const struct seen *seen)
{
	struct bpf_sock_tuple tuple = {};
	if (seen->version == 4) {
		tuple.ipv4.saddr = seen->source.word[3];
		tuple.ipv4.daddr = seen->destination.word[3];
		tuple.ipv4.sport = seen->source_port;
		tuple.ipv4.dport = seen->destination_port;
		return bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), (__u64)BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, &seen->source, sizeof(struct address));
	__builtin_memcpy(tuple.ipv6.daddr, &seen->destination, sizeof(struct address));
	tuple.ipv6.sport = seen->source_port;
	tuple.ipv6.dport = seen->destination_port;
	return bpf_skc_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), (__u64)BPF_F_CURRENT_NETNS, 0);
}

/* Is it for a socket of this node? A listener of every address would seem to be there for packets that are only passing
 * through, and for VIPs, whose backends answer for themselves. */
static __always_inline bool cookie_ours(const struct seen *seen)
{
	struct vip_key key = {.address = seen->destination, .port = seen->destination_port, .protocol = IPPROTO_TCP};
	if (!own_has_address(&seen->destination) || bpf_map_lookup_elem(&vips, &key))
		return false;
	key.port = 0;
	return !bpf_map_lookup_elem(&vips, &key);
}

static __always_inline __u64 sum_words(const void *words, __u32 count)
{
	const __u32 *word = words;
	__u64 sum = 0;
#pragma unroll
	for (__u32 i = 0; i < count; i++)
		sum += word[i];
	return sum;
}

/* Length of the TCP header. */
static __always_inline __u32 answer_build(const struct guard *guard, const struct offer *offer, const struct seen *seen,
                                          __be32 sequence, __u32 cookie, __u32 mtu, struct answer *answer)
{
	__u32 mss = mtu - (seen->version == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) - sizeof(struct tcphdr);
	bool timestamp = offer->has_timestamp && (guard->flags & GUARD_COOKIE_TIMESTAMPS);
	bool scale = timestamp && offer->has_scale && (guard->flags & GUARD_COOKIE_SCALE);
	bool sack = timestamp && offer->sack && (guard->flags & GUARD_COOKIE_SACK);
	bool ecn = timestamp && offer->ecn && (guard->flags & GUARD_COOKIE_ECN);
	__u32 length = sizeof(struct tcphdr) + 4, window = guard->window;
	answer->tcp.source = seen->destination_port;
	answer->tcp.dest = seen->source_port;
	answer->tcp.seq = bpf_htonl(cookie);
	answer->tcp.ack_seq = bpf_htonl(bpf_ntohl(sequence) + 1);
	answer->tcp.syn = 1;
	answer->tcp.ack = 1;
	answer->tcp.ece = ecn;
	answer->options[0] = bpf_htonl(2u << 24 | 4u << 16 | (mss & 0xffff));
	if (timestamp) {
		__u64 ticks = bpf_ktime_get_ns() / NS_PER_TICK;
		__u64 options = scale ? offer->scale : COOKIE_NO_SCALE;
		if (sack)
			options |= COOKIE_SACK;
		if (ecn)
			options |= COOKIE_ECN;
		__u64 value = (ticks >> COOKIE_TS_BITS << COOKIE_TS_BITS) | options;
		if (value > ticks)
			value -= 1u << COOKIE_TS_BITS;
		answer->options[1] = bpf_htonl((sack ? 4u << 24 | 2u << 16 : 1u << 24 | 1u << 16) | 8u << 8 | 10);
		answer->options[2] = bpf_htonl((__u32)value);
		answer->options[3] = bpf_htonl(offer->timestamp);
		length += 12;
	}
	if (scale) {
		answer->options[4] = bpf_htonl(1u << 24 | 3u << 16 | 3u << 8 | guard->window_scale);
		length += 4;
	}
	/* As the stack rounds it, which will think that it was what it would have offered. */
	if (mss && window > mss)
		window -= window % mss;
	answer->tcp.window = bpf_htons(window);
	answer->tcp.doff = length / 4;
	__u64 sum = seen->version == 4 ? (__u64)seen->source.word[3] + seen->destination.word[3]
	                               : sum_words(&seen->source, 4) + sum_words(&seen->destination, 4);
	sum += bpf_htonl(IPPROTO_TCP) + (__u64)bpf_htonl(length) + sum_words(answer, sizeof(*answer) / 4);
	answer->tcp.check = ~checksum_fold(sum);
	return length;
}

static __always_inline bool answer_copy(void *to, const void *data_end, const struct answer *answer, const __u32 length)
{
	if (to + length > data_end)
		return false;
	__builtin_memcpy(__builtin_assume_aligned(to, 2), __builtin_assume_aligned(answer, 2), length);
	return true;
}

/* Writes the answer over the SYN. */
static __always_inline bool answer_write(struct xdp_md *ctx, const struct seen *seen, const struct answer *answer,
                                         __u32 length)
{
	const bool v4 = seen->version == 4;
	__u32 ip_length = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr), ethernet = seen->ethernet_length & 0x1f;
	int frame = (int)offset_from((void *)(long)ctx->data, (void *)(long)ctx->data_end);
	if (bpf_xdp_adjust_tail(ctx, (int)(ethernet + ip_length + length) - frame))
		return false;
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	if (data + sizeof(struct ethhdr) > data_end)
		return false;
	ethernet_turn(data);
	void *tcp;
	if (v4) {
		struct iphdr *ip = data + ethernet;
		tcp = ip + 1;
		if (tcp > data_end)
			return false;
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = bpf_htons(ip_length + length);
		ip->frag_off = bpf_htons(0x4000);
		ip->ttl = COOKIE_HOP_LIMIT;
		ip->protocol = IPPROTO_TCP;
		ip->saddr = seen->destination.word[3];
		ip->daddr = seen->source.word[3];
		ip->check = ~checksum_fold(checksum_sum_ipv4(ip));
	} else {
		struct ipv6hdr *ip = data + ethernet;
		tcp = ip + 1;
		if (tcp > data_end)
			return false;
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 6;
		ip->payload_len = bpf_htons(length);
		ip->nexthdr = IPPROTO_TCP;
		ip->hop_limit = COOKIE_HOP_LIMIT;
		__builtin_memcpy(&ip->saddr, &seen->destination, sizeof(struct address));
		__builtin_memcpy(&ip->daddr, &seen->source, sizeof(struct address));
	}
	/* With MSS; with a timestamp, too; and with a scale. */
	if (length == 24)
		return answer_copy(tcp, data_end, answer, 24);
	if (length == 36)
		return answer_copy(tcp, data_end, answer, 36);
	return answer_copy(tcp, data_end, answer, 40);
}

/* The cookie and the MSS that it stands for; negative: none. */
static __always_inline __s64 cookie_make(struct xdp_md *ctx, struct bpf_sock *listener, const struct seen *seen,
                                         __u8 *header, __u32 length)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *ip = data + (seen->ethernet_length & 0x1f);
	if (seen->version == 4)
		return ip + sizeof(struct iphdr) > data_end
		               ? -1
		               : bpf_tcp_gen_syncookie(listener, ip, sizeof(struct iphdr), (void *)header, length);
	return ip + sizeof(struct ipv6hdr) > data_end
	               ? -1
	               : bpf_tcp_gen_syncookie(listener, ip, sizeof(struct ipv6hdr), (void *)header, length);
}

static __always_inline __s64 cookie_check(struct xdp_md *ctx, struct bpf_sock *listener, const struct seen *seen,
                                          __u8 *header)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	void *ip = data + (seen->ethernet_length & 0x1f);
	if (seen->version == 4)
		return ip + sizeof(struct iphdr) > data_end
		               ? -1
		               : bpf_tcp_check_syncookie(listener, ip, sizeof(struct iphdr), (void *)header,
		                                         sizeof(struct tcphdr));
	return ip + sizeof(struct ipv6hdr) > data_end ? -1
	                                              : bpf_tcp_check_syncookie(listener, ip, sizeof(struct ipv6hdr),
	                                                                        (void *)header, sizeof(struct tcphdr));
}

static __always_inline enum cookie_result cookie_answer(struct xdp_md *ctx, const struct guard *guard,
                                                        const struct seen *seen, struct guard_cookies *count)
{
	struct options options = {};
	struct answer answer = {};
	__u32 offset = seen->transport & OFFSET_MASK, mtu = 0;
	if (bpf_xdp_load_bytes(ctx, offset, options.header, sizeof(struct tcphdr)))
		return COOKIE_NONE;
	__u32 length = (options.header[12] >> 4) * 4u;
	if (length < sizeof(struct tcphdr) || length > TCP_HEADER_MAX)
		return COOKIE_NONE;
	if (length > sizeof(struct tcphdr) && bpf_xdp_load_bytes(ctx, offset, options.header, length))
		return COOKIE_NONE;
	options.length = length;
	struct bpf_sock *listener = cookie_socket(ctx, seen);
	if (!listener)
		return COOKIE_NONE;
	__s64 cookie = -1;
	bool listens = listener->state == BPF_TCP_LISTEN;
	if (listens)
		cookie = cookie_make(ctx, listener, seen, options.header, length);
	bpf_sk_release(listener);
	if (cookie < 0) {
		count->left += listens;
		return COOKIE_NONE;
	}
	offer_read(&options);
	if (bpf_check_mtu(ctx, 0, &mtu, 0, 0) < 0 || mtu < 1280)
		mtu = 1280;
	length =
	        answer_build(guard, &options.offer, seen, *(__be32 *)(options.header + 4), (__u32)cookie, mtu, &answer);
	if (!answer_write(ctx, seen, &answer, length))
		return COOKIE_BROKEN;
	count->sent++;
	return COOKIE_SENT;
}

/* An ACK that belongs to no connection: one that ends a handshake by cookie, or nothing that anybody waits for. Whoever
 * really had a connection here that this node has forgotten is not told by a reset meanwhile. */
static __always_inline enum cookie_result cookie_verify(struct xdp_md *ctx, const struct seen *seen,
                                                        struct guard_cookies *count)
{
	__u8 header[sizeof(struct tcphdr)] __attribute__((aligned(8))) = {0};
	if (bpf_xdp_load_bytes(ctx, seen->transport & OFFSET_MASK, header, sizeof(header)))
		return COOKIE_NONE;
	struct bpf_sock *socket = cookie_socket(ctx, seen);
	if (!socket)
		return COOKIE_NONE;
	__s64 error = -1;
	if (socket->state == BPF_TCP_LISTEN)
		error = cookie_check(ctx, socket, seen, header);
	bpf_sk_release(socket);
	count->valid += !error;
	return error == -NO_COOKIE_ERRNO ? COOKIE_BAD : COOKIE_NONE;
}

#endif
