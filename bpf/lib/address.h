/* SPDX-License-Identifier: Dual BSD/GPL */
/* Addresses of both families in one shape: see layout.h. */
#ifndef BPF_ADDRESS_H
#define BPF_ADDRESS_H

#include <bpf/bpf_endian.h>
#include <linux/types.h>
#include <stdbool.h>

#include "layout.h"

#define ADDRESS_V4_PREFIX bpf_htonl(0xffff)

static __always_inline void address_set_v4(struct address *address, __be32 v4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = ADDRESS_V4_PREFIX;
	address->word[3] = v4;
}

static __always_inline bool address_is_v4(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == ADDRESS_V4_PREFIX;
}

static __always_inline bool address_equal(const struct address *a, const struct address *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
	       a->word[3] == b->word[3];
}

/* False for what no answer may be sent to: unspecified, loopback, multicast and class E (RFC 1122, section 3.2.2;
 * RFC 4443, section 2.4). */
static __always_inline bool address_may_be_answered(const struct address *address)
{
	if (address_is_v4(address)) {
		__u8 first = bpf_ntohl(address->word[3]) >> 24;
		return first != 0 && first != 127 && first < 224;
	}
	if ((bpf_ntohl(address->word[0]) >> 24) == 0xff)
		return false;
	return address->word[0] || address->word[1] || address->word[2] || bpf_ntohl(address->word[3]) > 1;
}

#endif
