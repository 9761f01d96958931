/* SPDX-License-Identifier: Dual BSD/GPL */
/* A service's ring (Maglev; built by user space): see layout.h. */
#ifndef BPF_RING_H
#define BPF_RING_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/types.h>

#include "layout.h"
#include "maps.h"

/* The backend at the hash's place, or NULL. */
static __always_inline struct backend *ring_backend(__u32 service, __u64 hash, __u32 *index)
{
	void *ring = bpf_map_lookup_elem(&rings, &service);
	if (!ring)
		return NULL;
	__u32 slot = 0;
	__u32 *slots = bpf_map_lookup_elem(ring, &slot);
	if (!slots || !*slots)
		return NULL;
	/* The hash's high half scaled to the ring: as even as a remainder, without a division. */
	slot = 1 + (__u32)(((hash >> 32) * *slots) >> 32);
	__u32 *entry = bpf_map_lookup_elem(ring, &slot);
	if (!entry || !*entry)
		return NULL;
	*index = *entry;
	struct backend *backend = bpf_map_lookup_elem(&backends, index);
	return backend && (backend->flags & BACKEND_IN_USE) ? backend : NULL;
}

#endif
