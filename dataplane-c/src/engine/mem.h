/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the hot path: slabs of equal objects and a pool of relay buffers, one of each per worker, so no locks.
 * Memory comes from the worker's NUMA node: a worker sets its own allocation policy (topology_bind_memory) before it
 * makes its slabs. Empty slabs above a small reserve go back to the kernel.
 */
#ifndef ENGINE_MEM_H
#define ENGINE_MEM_H

#include <stddef.h>
#include <stdint.h>

struct slab;

/* Objects of one size, zeroed when handed out, cache-line aligned when size >= 64. NULL when out of memory. */
struct slab *slab_new(size_t object_size);
void slab_delete(struct slab *slab);     /* with everything in it */
void *slab_alloc(struct slab *slab);     /* NULL when out of memory */
void *slab_alloc_raw(struct slab *slab); /* the same, contents undefined: for buffers */
void slab_free(struct slab *slab, void *object);

struct slab_stats {
	size_t objects_used;
	size_t bytes_reserved;
};
void slab_stats(const struct slab *slab, struct slab_stats *stats);

#endif
