/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slab is a set of chunks, mapped at a multiple of their size so that an object finds its chunk by a mask. A chunk's
 * objects are first handed out in order (pages that were never needed are never touched) and then from its list of
 * freed ones. Chunks that have room are in one list, those in use ahead of the empty ones, so that load concentrates
 * and empty chunks can go back.
 */
#include "mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLAB_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_POISON 1
#endif
#endif
#ifdef SLAB_POISON
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define CACHE_LINE 64u
#define CHUNK_MIN (64u * 1024)
#define CHUNK_OBJECTS_MIN 15u /* large objects get larger chunks */
#define EMPTY_KEPT 2u

struct freed {
	struct freed *next;
};

struct chunk {
	struct chunk *next, *prev; /* in the slab's list while it has room */
	struct chunk *all_next, *all_prev;
	struct freed *freed;
	uint32_t used;
	uint32_t fresh; /* objects below it have been handed out at least once */
};

struct slab {
	size_t stride, size, chunk_bytes, offset;
	uint32_t per_chunk;
	struct chunk *room_head, *room_tail;
	struct chunk *all;
	uint32_t empty;
	size_t used, chunks;
};

struct slab *slab_new(size_t object_size)
{
	struct slab *slab;
	size_t align = object_size >= CACHE_LINE ? CACHE_LINE : sizeof(void *);

	if (object_size == 0 || object_size > (1u << 30))
		return NULL;
	slab = calloc(1, sizeof(*slab));
	if (!slab)
		return NULL;
	slab->size = object_size;
	slab->stride = (object_size + align - 1) / align * align;
	slab->offset = (sizeof(struct chunk) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	slab->chunk_bytes = CHUNK_MIN;
	while ((slab->chunk_bytes - slab->offset) / slab->stride < CHUNK_OBJECTS_MIN)
		slab->chunk_bytes *= 2;
	slab->per_chunk = (uint32_t)((slab->chunk_bytes - slab->offset) / slab->stride);
	return slab;
}

static void room_add(struct slab *slab, struct chunk *chunk, bool last)
{
	if (last) {
		chunk->prev = slab->room_tail;
		chunk->next = NULL;
		*(slab->room_tail ? &slab->room_tail->next : &slab->room_head) = chunk;
		slab->room_tail = chunk;
	} else {
		chunk->next = slab->room_head;
		chunk->prev = NULL;
		*(slab->room_head ? &slab->room_head->prev : &slab->room_tail) = chunk;
		slab->room_head = chunk;
	}
}

static void room_remove(struct slab *slab, struct chunk *chunk)
{
	*(chunk->prev ? &chunk->prev->next : &slab->room_head) = chunk->next;
	*(chunk->next ? &chunk->next->prev : &slab->room_tail) = chunk->prev;
}

/* Maps bytes at a multiple of bytes, or NULL. */
static void *map_aligned(size_t bytes)
{
	uint8_t *base = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return NULL;
	size_t before = (bytes - ((uintptr_t)base & (bytes - 1))) & (bytes - 1);
	if (before)
		munmap(base, before);
	munmap(base + before + bytes, bytes - before);
	return base + before;
}

static struct chunk *chunk_new(struct slab *slab)
{
	struct chunk *chunk = map_aligned(slab->chunk_bytes);

	if (!chunk)
		return NULL;
	POISON((uint8_t *)chunk + slab->offset, slab->chunk_bytes - slab->offset);
	chunk->all_next = slab->all;
	if (slab->all)
		slab->all->all_prev = chunk;
	slab->all = chunk;
	slab->chunks++;
	slab->empty++;
	room_add(slab, chunk, true);
	return chunk;
}

static void chunk_delete(struct slab *slab, struct chunk *chunk)
{
	*(chunk->all_prev ? &chunk->all_prev->all_next : &slab->all) = chunk->all_next;
	if (chunk->all_next)
		chunk->all_next->all_prev = chunk->all_prev;
	slab->chunks--;
	UNPOISON(chunk, slab->chunk_bytes);
	munmap(chunk, slab->chunk_bytes);
}

void slab_delete(struct slab *slab)
{
	if (!slab)
		return;
	while (slab->all)
		chunk_delete(slab, slab->all);
	free(slab);
}

/* Takes an object; *clean tells that it is zero already. */
static void *take(struct slab *slab, bool *clean)
{
	struct chunk *chunk = slab->room_head;
	void *object;

	if (!chunk && !(chunk = chunk_new(slab)))
		return NULL;
	if (chunk->used++ == 0)
		slab->empty--;
	slab->used++;
	if (chunk->freed) {
		object = chunk->freed;
		UNPOISON(object, slab->stride);
		chunk->freed = chunk->freed->next;
		*clean = false;
	} else {
		object = (uint8_t *)chunk + slab->offset + chunk->fresh++ * slab->stride;
		UNPOISON(object, slab->stride);
		*clean = true;
	}
	if (chunk->used == slab->per_chunk)
		room_remove(slab, chunk);
	return object;
}

void *slab_alloc(struct slab *slab)
{
	bool clean;
	void *object = take(slab, &clean);

	if (object && !clean)
		memset(object, 0, slab->size);
	return object;
}

void *slab_alloc_raw(struct slab *slab)
{
	bool clean;

	return take(slab, &clean);
}

void slab_free(struct slab *slab, void *object)
{
	struct chunk *chunk;
	struct freed *freed = object;

	if (!object)
		return;
	chunk = (struct chunk *)((uintptr_t)object & ~(uintptr_t)(slab->chunk_bytes - 1));
	freed->next = chunk->freed;
	chunk->freed = freed;
	POISON(object, slab->stride);
	slab->used--;
	if (chunk->used-- == slab->per_chunk)
		room_add(slab, chunk, false);
	if (chunk->used > 0)
		return;
	room_remove(slab, chunk);
	if (slab->empty >= EMPTY_KEPT) {
		chunk_delete(slab, chunk);
		return;
	}
	slab->empty++;
	room_add(slab, chunk, true);
}

void slab_stats(const struct slab *slab, struct slab_stats *stats)
{
	stats->objects_used = slab->used;
	stats->bytes_reserved = slab->chunks * slab->chunk_bytes;
}
