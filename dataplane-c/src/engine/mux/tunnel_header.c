/* SPDX-License-Identifier: Apache-2.0 */
/* A connection from a listed source begins with a PROXY header, which may come in any number of segments. */
#include "tunnel_internal.h"

#include <errno.h>
#include <string.h>

#include "../xprt/proxy_protocol.h"

/* Puts what came so far, and now length more bytes of it, into one piece. NULL: out of memory. */
static struct relay_piece *gather(struct tunnel *tunnel, size_t length)
{
	struct worker *worker = this_worker;
	struct relay_piece **chain = &tunnel->direction[CLIENT].pending;

	return relay_buffer_append(worker->tunnel->pieces, chain, worker->scratch, length) ? *chain : NULL;
}

/* The header has been read: the connection is its source's from here on. false: out of memory. */
static bool adopt(struct tunnel *tunnel, const struct proxy_header *header)
{
	if (header->local)
		return true;
	if (!tunnel->local)
		tunnel->local = slab_alloc(this_worker->tunnel->addrs);
	if (!tunnel->local)
		return false;
	tunnel->client = header->source;
	*tunnel->local = header->destination;
	return true;
}

/* What follows the header belongs to the stream, header of which is cut off here. */
static void cut_header(struct tunnel *tunnel, size_t length)
{
	struct tunnel_worker *state = this_worker->tunnel;
	struct relay_piece *piece = tunnel->direction[CLIENT].pending;

	piece->start += (uint32_t)length;
	if (piece->start == piece->end)
		relay_buffer_clear(state->pieces, &tunnel->direction[CLIENT].pending);
	else
		tunnel_count_bytes(tunnel, CLIENT, piece->end - piece->start, false);
}

void tunnel_read_header(struct tunnel *tunnel)
{
	struct tunnel_side *client = &tunnel->side[CLIENT];
	struct proxy_header header;
	const char *error;

	while (client->readable) {
		/* No more than fits into one piece: the header is all in one place then. */
		size_t room = RELAY_PIECE_BYTES / 2;
		ssize_t n = raw_receive(client->source.fd, this_worker->scratch, room);
		if (n == -EAGAIN) {
			client->readable = false;
			return;
		}
		if (n <= 0) {
			tunnel_close(tunnel, n == 0 ? MARCHER_CLOSE_PROXY_HEADER : MARCHER_CLOSE_CLIENT_RESET);
			return;
		}
		struct relay_piece *piece = gather(tunnel, (size_t)n);
		if (!piece) {
			tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
			return;
		}
		int length = proxy_header_parse(piece->data, piece->end, &header, &error);
		if (length < 0) {
			tunnel_close(tunnel, MARCHER_CLOSE_PROXY_HEADER);
			return;
		}
		if (length > 0) {
			if (!adopt(tunnel, &header)) {
				tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
				return;
			}
			cut_header(tunnel, (size_t)length);
			tunnel_begin(tunnel);
			return;
		}
	}
}
