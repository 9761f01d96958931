/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The property that everything rests on: what goes in at one end comes out at the other, no byte lost, doubled or out
 * of order, whatever the segments, the stalls, the buffer sizes and whoever ends first. Seeded: a failure names its
 * seed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tunnel_rig.h"

#define PAIRS 48
#define CHUNK_MAX 65536
#define SEGMENT 1400

static struct rig rig;
static uint8_t chunk[CHUNK_MAX];

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint8_t byte_at(uint64_t stream, uint64_t offset)
{
	return (uint8_t)(mix(stream ^ offset >> 3) >> (8 * (offset & 7)));
}

/* One end of a connection. */
struct end {
	int fd;
	uint64_t out_stream, in_stream;
	uint64_t to_send, sent, to_receive, received;
	bool shut, ended;
};

struct pair {
	struct end client, backend;
	bool identified; /* the backend's socket was told by the first 8 bytes */
};

static uint64_t random_state;
static uint64_t next_random(void)
{
	return random_state = mix(random_state);
}

static void small_buffers(int fd)
{
	int bytes = (int)(8192u << (next_random() % 6));

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static void send_some(struct end *end)
{
	while (end->sent < end->to_send) {
		size_t n = 1 + next_random() % (next_random() % 3 ? 700 : CHUNK_MAX);
		if (n > CHUNK_MAX)
			n = CHUNK_MAX;
		if (n > end->to_send - end->sent)
			n = (size_t)(end->to_send - end->sent);
		for (size_t i = 0; i < n; i++)
			chunk[i] = byte_at(end->out_stream, end->sent + i);
		ssize_t written = send(end->fd, chunk, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (written < 0) {
			assert_int_equal(errno, EAGAIN);
			return;
		}
		end->sent += (uint64_t)written;
		if (next_random() % 4 == 0)
			return; /* a stall */
	}
	if (!end->shut) {
		assert_int_equal(shutdown(end->fd, SHUT_WR), 0);
		end->shut = true;
	}
}

static void receive_some(struct end *end)
{
	for (;;) {
		size_t want = 1 + next_random() % CHUNK_MAX;
		ssize_t n = recv(end->fd, chunk, want, MSG_DONTWAIT);
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			return;
		}
		if (n == 0) {
			assert_int_equal(end->received, end->to_receive);
			end->ended = true;
			return;
		}
		for (ssize_t i = 0; i < n; i++)
			if (chunk[i] != byte_at(end->in_stream, end->received + (uint64_t)i))
				fail_msg("byte %llu differs", (unsigned long long)(end->received + (uint64_t)i));
		end->received += (uint64_t)n;
		assert_true(end->received <= end->to_receive);
		if (next_random() % 3 == 0)
			return; /* a slow reader */
	}
}

static void identify(struct pair *pairs, int fd)
{
	uint8_t head[8];

	assert_int_equal(recv(fd, head, 8, MSG_WAITALL), 8);
	for (unsigned p = 0; p < PAIRS; p++) {
		bool same = !pairs[p].identified;
		for (unsigned i = 0; same && i < 8; i++)
			same = head[i] == byte_at(pairs[p].backend.in_stream, i);
		if (!same)
			continue;
		pairs[p].identified = true;
		pairs[p].backend.fd = fd;
		pairs[p].backend.received = 8;
		return;
	}
	fail_msg("a connection begins with bytes that no client sent");
}

static bool step(struct pair *pairs, int listening)
{
	struct pollfd polled[2 * PAIRS + 1];
	struct end *ends[2 * PAIRS + 1];
	unsigned n = 0;

	polled[n++] = (struct pollfd){.fd = listening, .events = POLLIN};
	for (unsigned p = 0; p < PAIRS; p++) {
		struct end *both[2] = {&pairs[p].client, &pairs[p].backend};
		for (unsigned i = 0; i < 2; i++) {
			short events = (short)((both[i]->ended ? 0 : POLLIN) | (both[i]->shut ? 0 : POLLOUT));
			if (both[i]->fd < 0 || !events)
				continue;
			ends[n] = both[i];
			polled[n++] = (struct pollfd){.fd = both[i]->fd, .events = events};
		}
	}
	bool unfinished = n > 1;
	for (unsigned p = 0; p < PAIRS; p++)
		unfinished |= !pairs[p].identified;
	if (!unfinished)
		return false;
	if (poll(polled, n, 10000) <= 0)
		fail_msg("nothing moved for 10 s");
	if (polled[0].revents)
		identify(pairs, rig_accept(listening));
	for (unsigned i = 1; i < n; i++) {
		if ((polled[i].revents & (POLLIN | POLLHUP | POLLERR)) && !ends[i]->ended && next_random() % 4)
			receive_some(ends[i]);
		if ((polled[i].revents & POLLOUT) && !ends[i]->shut && next_random() % 4)
			send_some(ends[i]);
	}
	return true;
}

static uint64_t random_length(void)
{
	switch (next_random() % 4) {
	case 0:
		return 8 + next_random() % 100;
	case 1:
		return 8 + next_random() % 20000;
	case 2:
		return 65536 * (1 + next_random() % 4); /* whole scratch buffers */
	default:
		return 8 + next_random() % 900000;
	}
}

static void run_seed(uint64_t seed, int relay_buffer)
{
	static struct pair pairs[PAIRS];
	uint16_t port;
	int listening = rig_listen(&port);

	random_state = seed;
	rig_init(&rig);
	rig.relay_buffer = relay_buffer;
	/* Loopback's segments of 64 KiB do not fit into such windows: TCP would creep on by its persist timer. */
	rig.client_segment = SEGMENT;
	setsockopt(listening, IPPROTO_TCP, TCP_MAXSEG, &rig.client_segment, sizeof(int));
	rig_add_port(&rig, port);
	rig_start(&rig);
	for (unsigned p = 0; p < PAIRS; p++) {
		struct end *client = &pairs[p].client, *backend = &pairs[p].backend;
		memset(&pairs[p], 0, sizeof(pairs[p]));
		client->fd = rig_client(&rig);
		if (next_random() % 2)
			small_buffers(client->fd);
		backend->fd = -1;
		client->out_stream = backend->in_stream = next_random();
		client->in_stream = backend->out_stream = next_random();
		client->to_send = backend->to_receive = random_length();
		client->to_receive = backend->to_send = next_random() % 5 ? random_length() : 0;
		/* Told at once, so that identify() does not wait for bytes that this thread has yet to send. */
		for (unsigned i = 0; i < 8; i++)
			chunk[i] = byte_at(client->out_stream, i);
		assert_int_equal(send(client->fd, chunk, 8, MSG_NOSIGNAL), 8);
		client->sent = 8;
	}
	while (step(pairs, listening))
		;
	uint64_t received = 0, sent = 0;
	for (unsigned p = 0; p < PAIRS; p++) {
		received += pairs[p].client.to_send;
		sent += pairs[p].client.to_receive;
		close(pairs[p].client.fd);
		close(pairs[p].backend.fd);
	}
	rig_wait_idle(&rig);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_BYTES_RECEIVED), received);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_BYTES_SENT), sent);
	rig_stop(&rig);
	close(listening);
}

static void no_byte_is_lost_doubled_or_reordered(void **state)
{
	(void)state;
	const char *rounds = getenv("TUNNEL_STREAM_ROUNDS");
	unsigned n = rounds ? (unsigned)atoi(rounds) : 6;
	static const int buffers[] = {0, 8192, 32768};

	for (uint64_t seed = 1; seed <= n; seed++) {
		print_message("seed %llu\n", (unsigned long long)seed);
		run_seed(seed, buffers[seed % 3]);
	}
}

#define PATTERN_BYTES (1u << 20)

struct sender {
	int fd;
	uint64_t bytes;
	const uint8_t *pattern;
};

static void *send_all(void *context)
{
	struct sender *sender = context;

	for (uint64_t at = 0; at < sender->bytes;) {
		size_t from = (size_t)(at % PATTERN_BYTES);
		size_t length = PATTERN_BYTES - from;
		if (length > sender->bytes - at)
			length = (size_t)(sender->bytes - at);
		ssize_t n = send(sender->fd, sender->pattern + from, length, MSG_NOSIGNAL);
		if (n <= 0)
			return (void *)1;
		at += (uint64_t)n;
	}
	shutdown(sender->fd, SHUT_WR);
	return NULL;
}

static void receive_all(int fd, const struct sender *sender)
{
	static uint8_t data[PATTERN_BYTES];
	uint64_t received = 0;

	for (;;) {
		size_t from = (size_t)(received % PATTERN_BYTES);
		ssize_t n = recv(fd, data, PATTERN_BYTES - from, 0);
		assert_true(n >= 0);
		if (n == 0)
			break;
		assert_memory_equal(data, sender->pattern + from, (size_t)n);
		received += (uint64_t)n;
	}
	assert_int_equal(received, sender->bytes);
}

static void bulk_is_spliced_and_arrives_whole(void **state)
{
	(void)state;
	uint16_t port;
	int listening = rig_listen(&port);
	uint8_t *pattern = malloc(PATTERN_BYTES);
	for (size_t i = 0; i < PATTERN_BYTES; i++)
		pattern[i] = byte_at(42, i);
	rig_init(&rig);
	rig_add_port(&rig, port);
	rig_start(&rig);
	uint64_t total = 0;
	for (int upload = 0; upload < 2; upload++) {
		int client = rig_client(&rig);
		int backend = rig_accept(listening);
		struct sender sender = {
		        .fd = upload ? client : backend, .bytes = 64u << 20 | 12345, .pattern = pattern};
		pthread_t thread;
		void *failed;
		assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
		usleep(50000); /* a reader that is behind: the buffers fill */
		receive_all(upload ? backend : client, &sender);
		pthread_join(thread, &failed);
		assert_null(failed);
		total += sender.bytes;
		close(client);
		close(backend);
	}
	rig_wait_idle(&rig);
	assert_true(rig_counter(&rig, rig.service.slot, MARCHER_SPLICED_BYTES) > total / 4);
	print_message("spliced %llu of %llu bytes\n",
	              (unsigned long long)rig_counter(&rig, rig.service.slot, MARCHER_SPLICED_BYTES),
	              (unsigned long long)total);
	rig_stop(&rig);
	free(pattern);
	close(listening);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(no_byte_is_lost_doubled_or_reordered),
	        cmocka_unit_test(bulk_is_spliced_and_arrives_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
