/* SPDX-License-Identifier: Dual BSD/GPL */
/* What packet_parse_plain() does not know: frames in XDP. */
#ifndef BPF_PARSE_ANY_H
#define BPF_PARSE_ANY_H

#include <linux/bpf.h>

#include "parse.h"

/* A function of its own to the verifier, which would otherwise follow each course through all headers to the end. */
__attribute__((noinline)) int parse_any(struct xdp_md *ctx, struct packet *packet)
{
	const void *data = (const void *)(long)ctx->data, *data_end = (const void *)(long)ctx->data_end;

	return packet ? packet_parse(data, data_end, offset_from(data, data_end), packet) : PARSED_OTHER;
}

#endif
