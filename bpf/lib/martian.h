/* SPDX-License-Identifier: Dual BSD/GPL */
/*
 * Addresses that no packet on a wire can have: those of hosts themselves, groups as sources, what is reserved (RFC
 * 6890; RFC 4291, section 2.5), and this node's own as a source.
 *
 * From no address at all (0.0.0.0, ::) hosts that have none yet speak to groups: DHCP, IGMP, duplicate address
 * detection.
 */
#ifndef BPF_MARTIAN_H
#define BPF_MARTIAN_H

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/types.h>
#include <stdbool.h>

#include "address.h"
#include "guard_maps.h"
#include "layout.h"

static __always_inline bool martian_v4(__be32 source, __be32 destination)
{
	__u32 from = bpf_ntohl(source), to = bpf_ntohl(destination);
	__u8 first = from >> 24, target = to >> 24;
	if (target == 0 || target == 127)
		return true;
	if (!from)
		return to != 0xffffffff && target >> 4 != 14;
	return first == 0 || first == 127 || first >= 224;
}

static __always_inline bool martian_v6(const struct address *source, const struct address *destination)
{
	bool to_group = (bpf_ntohl(destination->word[0]) >> 24) == 0xff;
	/* ::/96: unspecified, loopback, and IPv4-compatible, which has no use any more; ::ffff:0:0/96 is IPv4 in
	 * disguise. */
	if (!destination->word[0] && !destination->word[1] &&
	    (!destination->word[2] || destination->word[2] == ADDRESS_V4_PREFIX))
		return true;
	if (!source->word[0] && !source->word[1]) {
		if (!source->word[2])
			return source->word[3] || !to_group;
		return source->word[2] == ADDRESS_V4_PREFIX;
	}
	return (bpf_ntohl(source->word[0]) >> 24) == 0xff;
}

/* own: the filter of struct guard. */
static __always_inline enum drop_reason martian(__u8 version, const struct address *source,
                                                const struct address *destination, const __u64 *own)
{
	__u32 place = GUARD_OWN_PLACE(source);
	if (version == 4 ? martian_v4(source->word[3], destination->word[3]) : martian_v6(source, destination))
		return DROP_MARTIAN;
	if (!(own[place >> 6] >> (place & 63) & 1))
		return DROP_NONE;
	return own_has_address(source) ? DROP_SPOOFED : DROP_NONE;
}

#endif
