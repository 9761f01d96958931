/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes that were read and that the peer could not take yet: a chain of pieces from the worker's slab. Reading stops
 * while a direction has any, so a chain never holds more than one scratch buffer and a PROXY header.
 */
#ifndef ENGINE_RELAY_BUFFER_H
#define ENGINE_RELAY_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../mem.h"

#define RELAY_PIECE_BYTES 16384u

struct relay_piece {
	struct relay_piece *next;
	uint32_t start, end;
	uint8_t data[RELAY_PIECE_BYTES - 16];
};

/* A slab fit for pieces. NULL when out of memory. */
struct slab *relay_buffer_slab(void);

/* Adds bytes at the end. false: out of memory (what was added stays). */
bool relay_buffer_append(struct slab *slab, struct relay_piece **chain, const uint8_t *data, size_t length);
/* Adds at most a piece's length of bytes in front. false: out of memory. */
bool relay_buffer_prepend(struct slab *slab, struct relay_piece **chain, const uint8_t *data, size_t length);

/* Sends until the chain is empty (1) or the peer takes no more (0); or -errno. more: see raw_send. */
int relay_buffer_flush(struct slab *slab, struct relay_piece **chain, int fd, bool more);

void relay_buffer_clear(struct slab *slab, struct relay_piece **chain);
size_t relay_buffer_length(const struct relay_piece *chain);

#endif
