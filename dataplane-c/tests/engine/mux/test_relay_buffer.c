/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever is kept, in whatever parts it is sent: every byte arrives once and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mux/relay_buffer.h"

#define PIECE (sizeof(((struct relay_piece *)0)->data))
#define TINY_BUFFER 4096
#define CHUNK_MAX 65536u /* a worker's scratch: what one append is at most */
#define STREAM_MAX (16u * 1024 * 1024)

static uint32_t random_state;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % below;
}

/* As sizes go: many small ones, some about a piece's end, some large. */
static size_t any_length(size_t most)
{
	size_t length = any(3) == 0 ? any((uint32_t)most + 1) : any(3) == 0 ? PIECE - 2 + any(5) : any(100);
	return length < most ? length : most;
}

static uint8_t chunk[CHUNK_MAX];

static void fill_chunk(size_t length)
{
	for (size_t i = 0; i < length; i++)
		chunk[i] = (uint8_t)any(256);
}

static struct slab *slab;

static size_t pieces_used(void)
{
	struct slab_stats stats;
	slab_stats(slab, &stats);
	return stats.objects_used;
}

static int setup(void **state)
{
	(void)state;
	slab = relay_buffer_slab();
	return slab ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	slab_delete(slab);
	return 0;
}

/* Two ends that do not block; what fits between them is little. */
static void open_ends(int ends[2])
{
	int bytes = TINY_BUFFER;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

/* What is to come out of the socket: bytes from `sent` on were not sent yet. */
struct stream {
	uint8_t *bytes;
	size_t heard, sent, end;
};

static void hear(struct stream *stream, int fd, size_t most)
{
	static uint8_t got[CHUNK_MAX];
	ssize_t n = recv(fd, got, most, 0);
	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return;
	}
	assert_true((size_t)n <= stream->sent - stream->heard);
	assert_memory_equal(got, stream->bytes + stream->heard, (size_t)n);
	stream->heard += (size_t)n;
}

static void append(struct stream *stream, struct relay_piece **chain, size_t length)
{
	fill_chunk(length);
	memcpy(stream->bytes + stream->end, chunk, length);
	stream->end += length;
	assert_true(relay_buffer_append(slab, chain, chunk, length));
}

static void prepend(struct stream *stream, struct relay_piece **chain, size_t length)
{
	fill_chunk(length);
	memmove(stream->bytes + stream->sent + length, stream->bytes + stream->sent, stream->end - stream->sent);
	memcpy(stream->bytes + stream->sent, chunk, length);
	stream->end += length;
	assert_true(relay_buffer_prepend(slab, chain, chunk, length));
}

/* Sends what can be sent; returns whether that was everything. */
static bool flush(struct stream *stream, struct relay_piece **chain, int fd)
{
	int result = relay_buffer_flush(slab, chain, fd, any(2));
	size_t left = relay_buffer_length(*chain);
	assert_in_range(result, 0, 1);
	assert_int_equal(result, *chain == NULL);
	assert_true(left <= stream->end - stream->sent);
	stream->sent = stream->end - left;
	return result;
}

static void every_byte_arrives_once_and_in_order(void **state)
{
	(void)state;
	struct stream stream = {.bytes = malloc(STREAM_MAX)};
	assert_non_null(stream.bytes);
	for (uint32_t seed = 1; seed <= 6; seed++) {
		int ends[2];
		struct relay_piece *chain = NULL;
		unsigned stopped_short = 0;
		open_ends(ends);
		random_state = seed * 2654435761u;
		stream.heard = stream.sent = stream.end = 0;
		for (unsigned step = 0; step < 800; step++) {
			/* Not more than a chain is made for: what fits in the scratch, twice. */
			if (relay_buffer_length(chain) <= CHUNK_MAX &&
			    stream.end + 2 * (size_t)CHUNK_MAX < STREAM_MAX) {
				if (any(4))
					append(&stream, &chain, any_length(CHUNK_MAX));
				else
					prepend(&stream, &chain, any_length(PIECE));
			}
			assert_int_equal(relay_buffer_length(chain), stream.end - stream.sent);
			if (any(3))
				stopped_short += !flush(&stream, &chain, ends[0]);
			for (unsigned n = any(6); n > 0; n--)
				hear(&stream, ends[1], 1 + any(CHUNK_MAX - 1));
		}
		assert_true(stopped_short > 50);
		while (!flush(&stream, &chain, ends[0]))
			hear(&stream, ends[1], CHUNK_MAX);
		while (stream.heard < stream.end)
			hear(&stream, ends[1], CHUNK_MAX);
		assert_int_equal(pieces_used(), 0);
		close(ends[0]);
		close(ends[1]);
	}
	free(stream.bytes);
}

static void a_chain_of_more_pieces_than_one_call_takes_is_sent_whole(void **state)
{
	(void)state;
	struct stream stream = {.bytes = malloc(STREAM_MAX)};
	struct relay_piece *chain = NULL;
	int ends[2];
	assert_non_null(stream.bytes);
	random_state = 7;
	open_ends(ends);
	int bytes = 4 * 1024 * 1024;
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	for (unsigned i = 0; i < 24; i++)
		prepend(&stream, &chain, 3);
	append(&stream, &chain, CHUNK_MAX);
	assert_true(pieces_used() >= 24 + CHUNK_MAX / PIECE);
	while (!flush(&stream, &chain, ends[0]))
		hear(&stream, ends[1], CHUNK_MAX);
	while (stream.heard < stream.end)
		hear(&stream, ends[1], CHUNK_MAX);
	assert_int_equal(pieces_used(), 0);
	close(ends[0]);
	close(ends[1]);
	free(stream.bytes);
}

static void small_appends_share_a_piece(void **state)
{
	(void)state;
	struct relay_piece *chain = NULL;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(relay_buffer_append(slab, &chain, (const uint8_t *)"sixteen bytes ..", 16));
	assert_int_equal(relay_buffer_length(chain), 16000);
	assert_int_equal(pieces_used(), 1);
	assert_true(relay_buffer_append(slab, &chain, chunk, PIECE - 16000));
	assert_int_equal(pieces_used(), 1);
	assert_true(relay_buffer_append(slab, &chain, chunk, 1));
	assert_int_equal(pieces_used(), 2);
	assert_true(relay_buffer_append(slab, &chain, chunk, 0));
	assert_int_equal(pieces_used(), 2);
	relay_buffer_clear(slab, &chain);
}

static void what_goes_in_front_is_at_most_a_piece(void **state)
{
	(void)state;
	struct relay_piece *chain = NULL;
	assert_true(relay_buffer_append(slab, &chain, chunk, 10));
	assert_false(relay_buffer_prepend(slab, &chain, chunk, PIECE + 1));
	assert_int_equal(relay_buffer_length(chain), 10);
	assert_int_equal(pieces_used(), 1);
	assert_true(relay_buffer_prepend(slab, &chain, chunk, PIECE));
	assert_int_equal(relay_buffer_length(chain), PIECE + 10);
	relay_buffer_clear(slab, &chain);
}

static void clearing_gives_every_piece_back(void **state)
{
	(void)state;
	struct relay_piece *chain = NULL;
	int ends[2];
	open_ends(ends);
	random_state = 11;
	relay_buffer_clear(slab, &chain);
	assert_null(chain);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = any(6); i > 0; i--)
			assert_true(relay_buffer_append(slab, &chain, chunk, any_length(CHUNK_MAX)));
		assert_true(relay_buffer_prepend(slab, &chain, chunk, 1 + any_length(PIECE - 1)));
		if (any(2))
			assert_in_range(relay_buffer_flush(slab, &chain, ends[0], false), 0, 1);
		relay_buffer_clear(slab, &chain);
		assert_null(chain);
		assert_int_equal(relay_buffer_length(chain), 0);
		assert_int_equal(pieces_used(), 0);
	}
	close(ends[0]);
	close(ends[1]);
}

static void a_peer_that_is_gone_is_an_error_and_what_was_kept_stays(void **state)
{
	(void)state;
	struct relay_piece *chain = NULL;
	int ends[2];
	open_ends(ends);
	assert_true(relay_buffer_append(slab, &chain, chunk, 20000));
	close(ends[1]);
	assert_int_equal(relay_buffer_flush(slab, &chain, ends[0], false), -EPIPE); /* and no signal */
	assert_int_equal(relay_buffer_length(chain), 20000);
	relay_buffer_clear(slab, &chain);
	assert_int_equal(pieces_used(), 0);
	close(ends[0]);
}

static void an_empty_chain_is_done_at_once(void **state)
{
	(void)state;
	struct relay_piece *chain = NULL;
	assert_int_equal(relay_buffer_flush(slab, &chain, -1, false), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(every_byte_arrives_once_and_in_order),
	        TEST(a_chain_of_more_pieces_than_one_call_takes_is_sent_whole),
	        TEST(small_appends_share_a_piece),
	        TEST(what_goes_in_front_is_at_most_a_piece),
	        TEST(clearing_gives_every_piece_back),
	        TEST(a_peer_that_is_gone_is_an_error_and_what_was_kept_stays),
	        TEST(an_empty_chain_is_done_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
