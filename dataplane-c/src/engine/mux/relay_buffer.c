/* SPDX-License-Identifier: Apache-2.0 */
#include "relay_buffer.h"

#include <errno.h>
#include <string.h>

#include "../xprt/raw.h"

#define PIECES_PER_SEND 8

struct slab *relay_buffer_slab(void)
{
	return slab_new(sizeof(struct relay_piece));
}

static struct relay_piece *piece_new(struct slab *slab)
{
	struct relay_piece *piece = slab_alloc_raw(slab);

	if (piece) {
		piece->next = NULL;
		piece->start = piece->end = 0;
	}
	return piece;
}

bool relay_buffer_append(struct slab *slab, struct relay_piece **chain, const uint8_t *data, size_t length)
{
	struct relay_piece *last = *chain;

	while (last && last->next)
		last = last->next;
	while (length > 0) {
		if (!last || last->end == sizeof(last->data)) {
			struct relay_piece *piece = piece_new(slab);
			if (!piece)
				return false;
			*(last ? &last->next : chain) = piece;
			last = piece;
		}
		size_t room = sizeof(last->data) - last->end;
		size_t n = length < room ? length : room;
		memcpy(last->data + last->end, data, n);
		last->end += (uint32_t)n;
		data += n;
		length -= n;
	}
	return true;
}

bool relay_buffer_prepend(struct slab *slab, struct relay_piece **chain, const uint8_t *data, size_t length)
{
	struct relay_piece *piece;

	if (length > sizeof(piece->data) || !(piece = piece_new(slab)))
		return false;
	memcpy(piece->data, data, length);
	piece->end = (uint32_t)length;
	piece->next = *chain;
	*chain = piece;
	return true;
}

static void consume(struct slab *slab, struct relay_piece **chain, size_t length)
{
	while (*chain) {
		struct relay_piece *piece = *chain;
		size_t n = piece->end - piece->start;
		if (length < n) {
			piece->start += (uint32_t)length;
			return;
		}
		length -= n;
		*chain = piece->next;
		slab_free(slab, piece);
	}
}

int relay_buffer_flush(struct slab *slab, struct relay_piece **chain, int fd, bool more)
{
	while (*chain) {
		struct iovec pieces[PIECES_PER_SEND];
		int n = 0;
		for (struct relay_piece *piece = *chain; piece && n < PIECES_PER_SEND; piece = piece->next)
			pieces[n++] = (struct iovec){piece->data + piece->start, piece->end - piece->start};
		ssize_t sent = raw_sendv(fd, pieces, n, more);
		if (sent == -EAGAIN)
			return 0;
		if (sent < 0)
			return (int)sent;
		consume(slab, chain, (size_t)sent);
	}
	return 1;
}

void relay_buffer_clear(struct slab *slab, struct relay_piece **chain)
{
	while (*chain) {
		struct relay_piece *piece = *chain;
		*chain = piece->next;
		slab_free(slab, piece);
	}
}

size_t relay_buffer_length(const struct relay_piece *chain)
{
	size_t length = 0;

	for (; chain; chain = chain->next)
		length += chain->end - chain->start;
	return length;
}
