/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * QUIC connection IDs that name a backend: QUIC-LB (draft-ietf-quic-load-balancers-21), the algorithm without
 * encryption. The first byte of an ID has three bits of configuration ID and five that may tell its length; the server
 * ID is behind it, then at least four bytes that the server chose. A client that comes from another address, or by
 * another port of a NAT, thus stays with the backend that it has its connection IDs from.
 *
 * What is sent before the client has an ID of the server's, which it chose at random, is balanced as other UDP is: the
 * first packets (Initial, 0-RTT; RFC 9000, RFC 9369), whatever ID they have, since nobody can tell by whom it was
 * chosen, and clients would choose their backend otherwise; and versions that are not known here. So is what names
 * nobody: the configuration ID that says so (7) or an old one, a server ID that is no backend's, or a dead one's.
 *
 * Encrypted server IDs would take AES, which programs do not have.
 */
#ifndef BPF_QUIC_H
#define BPF_QUIC_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <stdbool.h>

#include "layout.h"
#include "maps.h"
#include "parse.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BACKENDS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct quic_server);
	__type(value, __u32);
} quic_servers SEC(".maps");

#define QUIC_HEAD 6     /* of a long header: form and type, version, length of the ID that follows */
#define QUIC_SHORT_ID 1 /* where the ID is behind a short header */
/* Shorter packets than this are not valid: one with a short header has an ID of 6 bytes at least here, a packet number,
 * and is long enough for header protection (RFC 9001, section 5.4.2); long headers have two IDs. */
#define QUIC_MIN (QUIC_HEAD + 1 + QUIC_SERVER_ID_MAX)

#define QUIC_LONG_HEADER 0x80
#define QUIC_VERSION_1 0x00000001u
#define QUIC_VERSION_2 0x6b3343cfu
#define QUIC_HANDSHAKE_1 2 /* the type in version 1 */
#define QUIC_HANDSHAKE_2 3
#define QUIC_ID_MAX 20
#define QUIC_NONCE_MIN 4

/* Of long headers those alone have IDs that the server chose for sure. */
static __always_inline bool quic_is_handshake(const __u8 *head)
{
	__u32 version = (__u32)head[1] << 24 | (__u32)head[2] << 16 | (__u32)head[3] << 8 | head[4];
	__u8 type = head[0] >> 4 & 3;
	return (version == QUIC_VERSION_1 && type == QUIC_HANDSHAKE_1) ||
	       (version == QUIC_VERSION_2 && type == QUIC_HANDSHAKE_2);
}

/* xdp is a constant. */
static __always_inline long quic_load(void *ctx, const bool xdp, __u32 at, void *to, __u32 length)
{
	return xdp ? bpf_xdp_load_bytes(ctx, at, to, length) : bpf_skb_load_bytes(ctx, at, to, length);
}

/* The index of the backend whose server ID the packet has; 0: none's. payload: where it begins; at least QUIC_MIN bytes
 * are there. */
static __always_inline __u32 quic_server_named(void *ctx, const bool xdp, __u32 payload, __u32 service, __u32 flags)
{
	const __u32 id_length = SERVICE_QUIC_ID_LENGTH(flags);
	struct quic_server server = {.service = service};
	__u32 at = payload + QUIC_SHORT_ID, length = 0; /* of the connection ID; 0: only its issuer knows */
	__u8 head[QUIC_HEAD];
	if (quic_load(ctx, xdp, payload, head, sizeof(head)))
		return 0;
	if (head[0] & QUIC_LONG_HEADER) {
		length = head[5];
		if (!quic_is_handshake(head) || length < 1 + id_length + QUIC_NONCE_MIN || length > QUIC_ID_MAX)
			return 0;
		at = payload + QUIC_HEAD;
	}
	/* The ID's first byte comes to where the key has the length. */
	if (quic_load(ctx, xdp, at, &server.length, 1 + id_length))
		return 0;
	const __u8 first = server.length;
	if (!(SERVICE_QUIC_CONFIGS(flags) >> (first >> 5) & 1))
		return 0;
	if (flags & SERVICE_QUIC_SELF_ENCODED) {
		const __u32 told = 1 + (first & 0x1f);
		if ((length && told != length) || told < 1 + id_length + QUIC_NONCE_MIN || told > QUIC_ID_MAX)
			return 0;
	}
	server.length = id_length;
	const __u32 *backend = bpf_map_lookup_elem(&quic_servers, &server);
	return backend ? *backend : 0;
}

/* Is there a datagram that is long enough? */
static __always_inline bool quic_fits(const struct packet *packet)
{
	const __u32 end = packet->ethernet_length + packet->ip_length;
	return packet->key.protocol == IPPROTO_UDP && end >= packet->transport + sizeof(struct udphdr) + QUIC_MIN;
}

/* The backend that was named, or NULL: it is dead. */
static __always_inline struct backend *quic_backend(__u32 named)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &named);
	return backend && (backend->flags & BACKEND_IN_USE) ? backend : NULL;
}

#endif
