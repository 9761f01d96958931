/* SPDX-License-Identifier: Apache-2.0 */
/* The relay's system calls on real sockets, and the pipes that it splices through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "xprt/raw.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define PATIENCE_MS 30000

static const struct addr no_source = {.family = AF_UNSPEC};

static void set_patience(int fd)
{
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/* Bound on loopback, and listening when backlog is not negative. */
static int bound(int backlog, struct addr *addr)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	*addr = (struct addr){.family = AF_INET, .port = ntohs(sa.sin_port), .ip = {127, 0, 0, 1}};
	set_patience(fd);
	return fd;
}

static void wait_for(int fd, short events)
{
	struct pollfd ready = {.fd = fd, .events = events};
	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
}

static int accepted(int listening)
{
	int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	set_patience(fd);
	return fd;
}

/* The lowest descriptor that is free: the same again when nothing was left open. */
static int next_descriptor(void)
{
	int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static int connect_from(const struct addr *addr, const struct addr *source, bool delay_ack, bool *connected)
{
	*connected = false;
	int fd = raw_socket(addr, source, delay_ack);

	return fd < 0 ? fd : raw_connect(fd, addr, connected);
}

/* ends[0] was made by raw_connect, ends[1] was accepted. */
static void open_pair(int ends[2])
{
	struct addr addr;
	bool connected;
	int listening = bound(4, &addr);
	ends[0] = connect_from(&addr, &no_source, false, &connected);
	assert_true(ends[0] >= 0);
	ends[1] = accepted(listening);
	wait_for(ends[0], POLLOUT);
	close(listening);
}

static void expect_errno(int fd, int expected)
{
	char byte;
	assert_int_equal(recv(fd, &byte, 1, 0), -1);
	assert_int_equal(errno, expected);
}

/* Connecting */

static void a_listening_port_is_connected_to(void **state)
{
	(void)state;
	struct addr addr;
	int listening = bound(4, &addr);
	for (int delay_ack = 0; delay_ack < 2; delay_ack++) {
		bool connected = true;
		int fd = connect_from(&addr, &no_source, delay_ack, &connected), error = -1;
		socklen_t length = sizeof(error);
		assert_true(fd >= 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		int peer = accepted(listening);
		wait_for(fd, POLLOUT);
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
		assert_int_equal(error, 0);
		assert_int_equal(raw_send(fd, "hello", 5, false), 5);
		char text[5];
		assert_int_equal(recv(peer, text, 5, MSG_WAITALL), 5);
		assert_memory_equal(text, "hello", 5);
		close(fd);
		close(peer);
	}
	close(listening);
}

static void a_port_where_nobody_listens_refuses(void **state)
{
	(void)state;
	struct addr addr;
	int holder = bound(-1, &addr), before = next_descriptor();
	bool connected = true;
	int fd = connect_from(&addr, &no_source, false, &connected);
	assert_false(connected);
	/* At once or, as the relay has it, by an event. */
	if (fd < 0) {
		assert_int_equal(fd, -ECONNREFUSED);
	} else {
		int error = 0;
		socklen_t length = sizeof(error);
		wait_for(fd, POLLIN);
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
		assert_int_equal(error, ECONNREFUSED);
		close(fd);
	}
	assert_int_equal(next_descriptor(), before);
	close(holder);
}

static void a_source_address_is_used_without_taking_a_port_early(void **state)
{
	(void)state;
	struct addr addr, source = {.family = AF_INET, .port = 4711, .ip = {127, 9, 8, 7}};
	int listening = bound(4, &addr), no_port = 0;
	socklen_t length = sizeof(no_port);
	bool connected;
	int fd = connect_from(&addr, &source, false, &connected);
	assert_true(fd >= 0);
	assert_int_equal(getsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &no_port, &length), 0);
	assert_int_equal(no_port, 1);
	struct sockaddr_in peer;
	length = sizeof(peer);
	int other = accept(listening, (struct sockaddr *)&peer, &length);
	assert_true(other >= 0);
	assert_int_equal(ntohl(peer.sin_addr.s_addr), 0x7f090807);
	assert_int_not_equal(ntohs(peer.sin_port), 4711); /* an address is what is given, not a port */
	close(other);
	close(fd);
	close(listening);
}

static void a_source_address_that_is_not_ours_is_an_error(void **state)
{
	(void)state;
	struct addr addr, source = {.family = AF_INET, .ip = {192, 0, 2, 1}};
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
	int listening = bound(4, &addr), probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool foreign = bind(probe, (struct sockaddr *)&sa, sizeof(sa)) < 0, connected = true;
	close(probe);
	if (!foreign) { /* net.ipv4.ip_nonlocal_bind */
		close(listening);
		skip();
	}
	int before = next_descriptor();
	assert_int_equal(connect_from(&addr, &source, false, &connected), -EADDRNOTAVAIL);
	assert_false(connected);
	assert_int_equal(next_descriptor(), before);
	close(listening);
}

static char directory[32];
static struct sockaddr_un unix_sa;
static struct addr unix_addr;

static int setup_unix(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/marcher-raw-XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	unix_sa.sun_family = AF_UNIX;
	snprintf(unix_sa.sun_path, sizeof(unix_sa.sun_path), "%s/s", directory);
	unix_addr = (struct addr){.family = AF_UNIX, .path = unix_sa.sun_path};
	return 0;
}

static int teardown_unix(void **state)
{
	(void)state;
	unlink(unix_sa.sun_path);
	return rmdir(directory);
}

static int bound_unix(int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&unix_sa, sizeof(unix_sa)), 0);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	set_patience(fd);
	return fd;
}

static void a_unix_socket_is_connected_at_once(void **state)
{
	(void)state;
	/* A source address means nothing to it. */
	struct addr source = {.family = AF_INET, .ip = {127, 0, 0, 1}};
	int listening = bound_unix(4);
	bool connected = false;
	int fd = connect_from(&unix_addr, &source, true, &connected);
	assert_true(fd >= 0);
	assert_true(connected);
	int peer = accepted(listening);
	assert_int_equal(raw_send(fd, "x", 1, false), 1);
	char byte;
	assert_int_equal(recv(peer, &byte, 1, 0), 1);
	close(fd);
	close(peer);
	close(listening);
}

static void a_unix_socket_with_a_full_backlog_says_try_again(void **state)
{
	(void)state;
	int listening = bound_unix(0), fds[64];
	unsigned n = 0;
	bool connected;
	int before, fd;
	while (n < 64 && (fd = connect_from(&unix_addr, &no_source, false, &connected)) >= 0) {
		assert_true(connected);
		fds[n++] = fd;
	}
	assert_in_range(n, 1, 63);
	before = next_descriptor();
	connected = true;
	assert_int_equal(connect_from(&unix_addr, &no_source, false, &connected), -EAGAIN);
	assert_false(connected);
	assert_int_equal(next_descriptor(), before);
	/* There is room again. */
	close(accepted(listening));
	fds[n] = connect_from(&unix_addr, &no_source, false, &connected);
	assert_true(fds[n] >= 0);
	assert_true(connected);
	for (unsigned i = 0; i <= n; i++)
		close(fds[i]);
	close(listening);
}

static void a_unix_socket_that_nobody_serves_is_an_error(void **state)
{
	(void)state;
	bool connected = true;
	int before = next_descriptor();
	assert_int_equal(connect_from(&unix_addr, &no_source, false, &connected), -ENOENT);
	assert_false(connected);
	int holder = bound_unix(-1);
	connected = true;
	assert_int_equal(connect_from(&unix_addr, &no_source, false, &connected), -ECONNREFUSED);
	assert_false(connected);
	close(holder);
	assert_int_equal(next_descriptor(), before);
}

/* Bytes and ends */

static void what_the_kernel_says_is_passed_on(void **state)
{
	(void)state;
	int ends[2];
	char text[16];
	open_pair(ends);
	assert_int_equal(raw_receive(ends[0], text, sizeof(text)), -EAGAIN);
	assert_int_equal(send(ends[1], "abc", 3, 0), 3);
	wait_for(ends[0], POLLIN);
	assert_int_equal(raw_receive(ends[0], text, 2), 2);
	assert_int_equal(raw_receive(ends[0], text + 2, sizeof(text) - 2), 1);
	assert_memory_equal(text, "abc", 3);
	struct iovec pieces[] = {{text, 1}, {text, 0}, {text + 1, 2}};
	assert_int_equal(raw_sendv(ends[0], pieces, 3, false), 3);
	assert_int_equal(recv(ends[1], text + 3, 3, MSG_WAITALL), 3);
	assert_memory_equal(text + 3, "abc", 3);
	shutdown(ends[1], SHUT_WR);
	wait_for(ends[0], POLLIN);
	assert_int_equal(raw_receive(ends[0], text, sizeof(text)), 0);
	/* After its own end a write is an error, and no signal. */
	shutdown(ends[0], SHUT_WR);
	assert_int_equal(raw_send(ends[0], "x", 1, false), -EPIPE);
	assert_int_equal(raw_sendv(ends[0], pieces, 3, true), -EPIPE);
	close(ends[0]);
	close(ends[1]);
}

static void a_full_socket_takes_a_part_and_then_says_so(void **state)
{
	(void)state;
	static char block[1 << 20];
	int ends[2];
	size_t sent = 0, heard = 0;
	ssize_t n;
	open_pair(ends);
	while ((n = raw_send(ends[0], block, sizeof(block), false)) > 0)
		sent += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	struct iovec piece = {block, sizeof(block)};
	while ((n = raw_sendv(ends[0], &piece, 1, false)) > 0)
		sent += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	close(ends[0]);
	while ((n = recv(ends[1], block, sizeof(block), 0)) > 0)
		heard += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(heard, sent);
	close(ends[1]);
}

static void a_reset_is_heard_as_a_reset(void **state)
{
	(void)state;
	static char block[1 << 16];
	int ends[2];
	int before = next_descriptor();
	for (int unsent = 0; unsent < 2; unsent++) {
		open_pair(ends);
		/* What was not sent is dropped: the reset does not wait behind it. */
		while (unsent && raw_send(ends[0], block, sizeof(block), false) > 0)
			;
		raw_reset(ends[0]);
		ssize_t n;
		do
			n = recv(ends[1], block, sizeof(block), 0);
		while (n > 0);
		assert_int_equal(n, -1);
		assert_int_equal(errno, ECONNRESET);
		close(ends[1]);
	}
	/* From the side that accepted as well. */
	open_pair(ends);
	raw_reset(ends[1]);
	wait_for(ends[0], POLLIN);
	expect_errno(ends[0], ECONNRESET);
	close(ends[0]);
	assert_int_equal(next_descriptor(), before);
}

static void a_unix_socket_that_is_reset_is_closed(void **state)
{
	(void)state;
	int ends[2];
	char byte;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	set_patience(ends[1]);
	raw_reset(ends[0]);
	assert_int_equal(recv(ends[1], &byte, 1, 0), 0);
	close(ends[1]);
}

/* Pipes */

static void no_more_pipes_are_open_than_allowed(void **state)
{
	(void)state;
	struct raw_pipe_pool pool;
	struct raw_pipe *pipes[5];
	int before = next_descriptor();
	raw_pipe_pool_init(&pool, 2, 5);
	for (unsigned i = 0; i < 5; i++) {
		pipes[i] = raw_pipe_take(&pool, 0);
		assert_non_null(pipes[i]);
		assert_true(pipes[i]->capacity >= 65536);
		assert_int_equal(pipes[i]->pending, 0);
		for (unsigned j = 0; j < i; j++)
			assert_ptr_not_equal(pipes[i], pipes[j]);
	}
	assert_null(raw_pipe_take(&pool, 0));
	/* One comes back, one can be had. */
	raw_pipe_give(&pool, pipes[4]);
	assert_int_equal(pool.nopen, 5);
	pipes[4] = raw_pipe_take(&pool, 0);
	assert_non_null(pipes[4]);
	assert_null(raw_pipe_take(&pool, 0));
	for (unsigned i = 0; i < 5; i++)
		raw_pipe_give(&pool, pipes[i]);
	assert_int_equal(pool.nidle, 2);
	assert_int_equal(pool.nopen, 2);
	raw_pipe_pool_clear(&pool);
	assert_int_equal(pool.nidle, 0);
	assert_int_equal(pool.nopen, 0);
	assert_int_equal(next_descriptor(), before);
	/* It can be used again. */
	pipes[0] = raw_pipe_take(&pool, 0);
	assert_non_null(pipes[0]);
	raw_pipe_give(&pool, pipes[0]);
	raw_pipe_pool_clear(&pool);
	assert_int_equal(next_descriptor(), before);
}

static void a_pipe_with_bytes_in_it_is_never_used_again(void **state)
{
	(void)state;
	struct raw_pipe_pool pool;
	int ends[2];
	char byte;
	raw_pipe_pool_init(&pool, 4, 4);
	open_pair(ends);
	assert_int_equal(send(ends[1], "secret", 6, 0), 6);
	wait_for(ends[0], POLLIN);
	struct raw_pipe *pipe = raw_pipe_take(&pool, 0);
	assert_non_null(pipe);
	assert_int_equal(raw_pipe_fill(pipe, ends[0], pipe->capacity), 6);
	raw_pipe_give(&pool, pipe);
	assert_int_equal(pool.nidle, 0);
	assert_int_equal(pool.nopen, 0);
	pipe = raw_pipe_take(&pool, 0);
	assert_non_null(pipe);
	assert_int_equal(read(pipe->read_fd, &byte, 1), -1);
	assert_int_equal(errno, EAGAIN);
	raw_pipe_give(&pool, pipe);
	/* An empty one is. */
	assert_int_equal(pool.nidle, 1);
	assert_ptr_equal(raw_pipe_take(&pool, 0), pipe);
	raw_pipe_give(&pool, pipe);
	raw_pipe_pool_clear(&pool);
	close(ends[0]);
	close(ends[1]);
}

static void after_the_system_refused_a_pipe_it_is_left_alone_for_a_second(void **state)
{
	(void)state;
	struct raw_pipe_pool pool;
	struct rlimit limit, none;
	raw_pipe_pool_init(&pool, 4, 4);
	struct raw_pipe *kept = raw_pipe_take(&pool, 0);
	assert_non_null(kept);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)next_descriptor();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	struct raw_pipe *refused = raw_pipe_take(&pool, 5000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_null(refused);
	assert_int_equal(pool.nopen, 1);
	assert_null(raw_pipe_take(&pool, 5000));
	assert_null(raw_pipe_take(&pool, 5999));
	/* Those that are there can be had all the time. */
	raw_pipe_give(&pool, kept);
	assert_ptr_equal(raw_pipe_take(&pool, 5500), kept);
	struct raw_pipe *fresh = raw_pipe_take(&pool, 6000);
	assert_non_null(fresh);
	assert_int_equal(pool.nopen, 2);
	raw_pipe_give(&pool, kept);
	raw_pipe_give(&pool, fresh);
	raw_pipe_pool_clear(&pool);
}

static uint32_t random_state;

static uint32_t any(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % below;
}

/* Bytes go from a connection through a pipe to a socket that takes little at a time. */
static void bytes_go_through_a_pipe_whole(void **state)
{
	(void)state;
	enum { TOTAL = 3 * 1024 * 1024 };
	static uint8_t bytes[TOTAL], got[65536];
	struct raw_pipe_pool pool;
	int in[2], out[2];
	size_t fed = 0, heard = 0;
	bool ended = false, stopped_short = false;
	raw_pipe_pool_init(&pool, 1, 1);
	random_state = 2463534242u;
	for (size_t i = 0; i < TOTAL; i++)
		bytes[i] = (uint8_t)any(256);
	open_pair(in);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, out), 0);
	int little = 8192;
	setsockopt(out[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
	struct raw_pipe *pipe = raw_pipe_take(&pool, 0);
	assert_non_null(pipe);
	while (!(ended && pipe->pending == 0)) {
		if (fed < TOTAL) {
			size_t most = 1 + any(100000);
			ssize_t n = send(in[1], bytes + fed, most < TOTAL - fed ? most : TOTAL - fed, 0);
			assert_true(n > 0 || errno == EAGAIN);
			fed += n > 0 ? (size_t)n : 0;
			if (fed == TOTAL)
				shutdown(in[1], SHUT_WR);
		}
		if (pipe->pending == 0) {
			struct pollfd ready = {.fd = in[0], .events = POLLIN};
			if (fed == TOTAL)
				assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
			ssize_t n = raw_pipe_fill(pipe, in[0], pipe->capacity);
			assert_true(n >= 0 || n == -EAGAIN);
			assert_int_equal(pipe->pending, n > 0 ? n : 0);
			assert_true(pipe->pending <= pipe->capacity);
			ended = n == 0;
		}
		while (pipe->pending) {
			uint32_t before = pipe->pending;
			ssize_t n = raw_pipe_drain(pipe, out[0]);
			if (n > 0) {
				assert_int_equal(pipe->pending, before - (uint32_t)n);
				continue;
			}
			assert_int_equal(n, -EAGAIN);
			assert_int_equal(pipe->pending, before);
			stopped_short = true;
			n = recv(out[1], got, 1 + any(sizeof(got)), 0);
			assert_true(n > 0);
			assert_true(heard + (size_t)n <= TOTAL);
			assert_memory_equal(got, bytes + heard, (size_t)n);
			heard += (size_t)n;
		}
	}
	assert_true(stopped_short);
	raw_pipe_give(&pool, pipe);
	assert_int_equal(pool.nidle, 1);
	close(out[0]);
	for (ssize_t n; (n = recv(out[1], got, sizeof(got), 0)) != 0; heard += (size_t)n) {
		assert_true(n > 0);
		assert_true(heard + (size_t)n <= TOTAL);
		assert_memory_equal(got, bytes + heard, (size_t)n);
	}
	assert_int_equal(heard, TOTAL);
	raw_pipe_pool_clear(&pool);
	close(in[0]);
	close(in[1]);
	close(out[1]);
}

static void a_pipe_tells_an_empty_socket_from_an_ended_and_a_dead_one(void **state)
{
	(void)state;
	struct raw_pipe_pool pool;
	int ends[2], dead[2];
	raw_pipe_pool_init(&pool, 1, 1);
	struct raw_pipe *pipe = raw_pipe_take(&pool, 0);
	assert_non_null(pipe);
	open_pair(ends);
	assert_int_equal(raw_pipe_fill(pipe, ends[0], pipe->capacity), -EAGAIN);
	assert_int_equal(send(ends[1], "last", 4, 0), 4);
	shutdown(ends[1], SHUT_WR);
	wait_for(ends[0], POLLRDHUP);
	assert_int_equal(raw_pipe_fill(pipe, ends[0], pipe->capacity), 4);
	open_pair(dead);
	raw_reset(dead[1]);
	wait_for(dead[0], POLLIN);
	assert_true(raw_pipe_drain(pipe, dead[0]) < 0);
	assert_int_equal(pipe->pending, 4);
	assert_int_equal(raw_pipe_drain(pipe, ends[0]), 4);
	assert_int_equal(pipe->pending, 0);
	assert_int_equal(raw_pipe_fill(pipe, ends[0], pipe->capacity), 0);
	raw_pipe_give(&pool, pipe);
	raw_pipe_pool_clear(&pool);
	close(dead[0]);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_listening_port_is_connected_to),
	        cmocka_unit_test(a_port_where_nobody_listens_refuses),
	        cmocka_unit_test(a_source_address_is_used_without_taking_a_port_early),
	        cmocka_unit_test(a_source_address_that_is_not_ours_is_an_error),
	        cmocka_unit_test_setup_teardown(a_unix_socket_is_connected_at_once, setup_unix, teardown_unix),
	        cmocka_unit_test_setup_teardown(a_unix_socket_with_a_full_backlog_says_try_again, setup_unix,
	                                        teardown_unix),
	        cmocka_unit_test_setup_teardown(a_unix_socket_that_nobody_serves_is_an_error, setup_unix,
	                                        teardown_unix),
	        cmocka_unit_test(what_the_kernel_says_is_passed_on),
	        cmocka_unit_test(a_full_socket_takes_a_part_and_then_says_so),
	        cmocka_unit_test(a_reset_is_heard_as_a_reset),
	        cmocka_unit_test(a_unix_socket_that_is_reset_is_closed),
	        cmocka_unit_test(no_more_pipes_are_open_than_allowed),
	        cmocka_unit_test(a_pipe_with_bytes_in_it_is_never_used_again),
	        cmocka_unit_test(after_the_system_refused_a_pipe_it_is_left_alone_for_a_second),
	        cmocka_unit_test(bytes_go_through_a_pipe_whole),
	        cmocka_unit_test(a_pipe_tells_an_empty_socket_from_an_ended_and_a_dead_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
