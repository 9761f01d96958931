/* SPDX-License-Identifier: Dual BSD/GPL */
/* Ethernet with up to two VLAN tags: reading, writing. */
#ifndef BPF_ETHERNET_H
#define BPF_ETHERNET_H

#include <bpf/bpf_endian.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "layout.h"

struct vlan_tag {
	__be16 control;   /* priority and id */
	__be16 ethertype; /* of what follows */
};

#define ETHERNET_MAX (sizeof(struct ethhdr) + 2 * sizeof(struct vlan_tag))

/* 1 for the ethertype of a VLAN tag, else 0, without a branch: what follows has one course for every number of tags,
 * where the verifier would walk each by itself. */
static __always_inline __u64 ethertype_is_vlan(__be16 ethertype)
{
	__u64 customer = ethertype ^ bpf_htons(ETH_P_8021Q), service = ethertype ^ bpf_htons(ETH_P_8021AD);
	/* Hidden from clang, which would make branches of it. */
	asm volatile("" : "+r"(customer), "+r"(service));
	return (customer - 1) >> 63 | (service - 1) >> 63;
}

/* Length of the Ethernet header with its tags (14, 18 or 22) and the ethertype of what follows: a third tag is what
 * follows. 0: the frame ends within. */
static __always_inline __u32 ethernet_measure(const void *data, const void *data_end, __be16 *ethertype)
{
	const struct ethhdr *eth = data;
	if ((const void *)(eth + 1) > data_end)
		return 0;
	__be16 type = eth->h_proto;
	__u64 tags = 0; /* bytes */
#pragma unroll
	for (int i = 0; i < 2; i++) {
		/* After the last tag this stays where it is. */
		tags += ethertype_is_vlan(type) * sizeof(struct vlan_tag);
		const struct ethhdr *shifted = data + tags;
		asm volatile("" : "+r"(shifted));
		if ((const void *)(shifted + 1) > data_end)
			return 0;
		type = shifted->h_proto;
	}
	*ethertype = type;
	return sizeof(*eth) + tags;
}

/* As above; 0 also for a frame that is sent to a group: balanced traffic never is (it is not to be answered or
 * forwarded: RFC 1122, section 3.2.2; RFC 1812, section 5.3.4). */
static __always_inline __u32 ethernet_parse(const void *data, const void *data_end, __be16 *ethertype)
{
	const struct ethhdr *eth = data;
	if ((const void *)(eth + 1) > data_end || (eth->h_dest[0] & 1))
		return 0;
	return ethernet_measure(data, data_end, ethertype);
}

/* A header kept while the frame's front moves. */
struct ethernet_copy {
	struct ethhdr eth;
	struct vlan_tag tags[2];
} __attribute__((aligned(4)));

/* Copies half-word by half-word, which is what frames are aligned to; byte by byte, as clang would, costs twice. */
static __always_inline void ethernet_copy_bytes(void *to, const void *from, __u32 length)
{
	__builtin_memcpy(__builtin_assume_aligned(to, 2), __builtin_assume_aligned(from, 2), length);
}

/* Takes a copy of a header that ethernet_parse has measured. *copy must be zero: the verifier does not know that
 * ethernet_restore is given the same length. */
static __always_inline bool ethernet_save(struct ethernet_copy *copy, const void *data, const void *data_end,
                                          __u32 length)
{
	const void *tag = data + sizeof(struct ethhdr);
	if (tag > data_end)
		return false;
	ethernet_copy_bytes(&copy->eth, data, sizeof(struct ethhdr));
	if (length > sizeof(struct ethhdr)) {
		if (tag + sizeof(struct vlan_tag) > data_end)
			return false;
		ethernet_copy_bytes(&copy->tags[0], tag, sizeof(struct vlan_tag));
	}
	if (length > sizeof(struct ethhdr) + sizeof(struct vlan_tag)) {
		if (data + ETHERNET_MAX > data_end)
			return false;
		ethernet_copy_bytes(&copy->tags[1], tag + sizeof(struct vlan_tag), sizeof(struct vlan_tag));
	}
	return true;
}

/* Writes a saved header to the frame's front, with another ethertype behind its tags. Where what follows begins, or
 * NULL. */
static __always_inline void *ethernet_restore(void *data, const void *data_end, struct ethernet_copy *copy,
                                              __u32 length, __be16 ethertype)
{
	void *tag = data + sizeof(struct ethhdr);
	if (length == sizeof(struct ethhdr)) {
		copy->eth.h_proto = ethertype;
		if (tag > data_end)
			return NULL;
		ethernet_copy_bytes(data, copy, sizeof(struct ethhdr));
		return tag;
	}
	if (length == sizeof(struct ethhdr) + sizeof(struct vlan_tag)) {
		copy->tags[0].ethertype = ethertype;
		if (tag + sizeof(struct vlan_tag) > data_end)
			return NULL;
		ethernet_copy_bytes(data, copy, sizeof(struct ethhdr) + sizeof(struct vlan_tag));
		return tag + sizeof(struct vlan_tag);
	}
	copy->tags[1].ethertype = ethertype;
	if (data + ETHERNET_MAX > data_end)
		return NULL;
	ethernet_copy_bytes(data, copy, ETHERNET_MAX);
	return data + ETHERNET_MAX;
}

static __always_inline void ethernet_turn(struct ethhdr *eth)
{
	__u8 address[ETH_ALEN];
	__builtin_memcpy(address, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, address, ETH_ALEN);
}

#endif
