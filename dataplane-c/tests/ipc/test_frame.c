/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/frame.h"

static int pair[2];

static int open_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static void a_packet_arrives_with_its_descriptors(void **state)
{
	(void)state;
	int pipes[2], got[IPC_FDS_MAX];
	size_t ngot = IPC_FDS_MAX;
	char text[16];
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(ipc_send(pair[0], "hello", 5, pipes, 2), 0);
	assert_int_equal(ipc_receive(pair[1], text, sizeof(text), got, &ngot), 5);
	assert_memory_equal(text, "hello", 5);
	assert_int_equal(ngot, 2);
	assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(got[1], "x", 1), 1);
	assert_int_equal(read(pipes[0], text, 1), 1);
	for (int i = 0; i < 2; i++) {
		close(pipes[i]);
		close(got[i]);
	}
}

static void a_packet_longer_than_the_buffer_is_dropped_whole(void **state)
{
	(void)state;
	char small[4];
	int before = dup(0), got[1];
	size_t ngot = 1;
	assert_int_equal(ipc_send(pair[0], "too long", 8, &before, 1), 0);
	assert_int_equal(ipc_send(pair[0], "next", 4, NULL, 0), 0);
	assert_int_equal(ipc_receive(pair[1], small, sizeof(small), got, &ngot), -EMSGSIZE);
	assert_int_equal(ngot, 0);
	int after = dup(0); /* the descriptor that came with it was closed: the number is free */
	assert_int_equal(after, before + 1);
	close(after);
	close(before);
	ngot = 1;
	assert_int_equal(ipc_receive(pair[1], small, sizeof(small), got, &ngot), 4);
	assert_memory_equal(small, "next", 4);
}

static void descriptors_beyond_the_capacity_are_closed_and_told(void **state)
{
	(void)state;
	char text[4];
	int fds[3] = {0, 1, 2}, got[2], first = dup(0);
	size_t ngot = 2;
	close(first);
	assert_int_equal(ipc_send(pair[0], "x", 1, fds, 3), 0);
	assert_int_equal(ipc_receive(pair[1], text, sizeof(text), got, &ngot), -EMFILE);
	int now[3]; /* none is left open anywhere */
	for (int i = 0; i < 3; i++) {
		now[i] = dup(0);
		assert_int_equal(now[i], first + i);
	}
	for (int i = 0; i < 3; i++)
		close(now[i]);
}

static void impossible_sends_are_refused(void **state)
{
	(void)state;
	char *big = calloc(1, IPC_PACKET_MAX + 1);
	int fds[IPC_FDS_MAX + 1] = {0};
	assert_int_equal(ipc_send(pair[0], big, IPC_PACKET_MAX + 1, NULL, 0), -EMSGSIZE);
	assert_int_equal(ipc_send(pair[0], "x", 1, fds, IPC_FDS_MAX + 1), -EINVAL);
	free(big);
}

static void the_end_of_the_peer_is_told(void **state)
{
	(void)state;
	char text[4];
	close(pair[0]);
	pair[0] = dup(0);
	assert_int_equal(ipc_receive(pair[1], text, sizeof(text), NULL, NULL), 0);
	assert_true(ipc_send(pair[1], "x", 1, NULL, 0) < 0); /* and no SIGPIPE */
}

static void a_sealed_memfd_is_mapped_and_cannot_change(void **state)
{
	(void)state;
	const void *data;
	size_t length;
	int fd = ipc_memfd_sealed("test", "abcdef", 6);
	assert_true(fd >= 0);
	assert_int_equal(ipc_memfd_map(fd, 6, &data, &length), 0);
	assert_int_equal(length, 6);
	assert_memory_equal(data, "abcdef", 6);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 1), -1);
	munmap((void *)(uintptr_t)data, length);
	assert_int_equal(ipc_memfd_map(fd, 5, &data, &length), -EFBIG);
	close(fd);
}

static void an_empty_memfd_maps_to_nothing(void **state)
{
	(void)state;
	const void *data = state;
	size_t length = 1;
	int fd = ipc_memfd_sealed("test", NULL, 0);
	assert_int_equal(ipc_memfd_map(fd, 100, &data, &length), 0);
	assert_null(data);
	assert_int_equal(length, 0);
	close(fd);
}

static void what_its_sender_could_still_change_is_not_mapped(void **state)
{
	(void)state;
	const void *data;
	size_t length;
	int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	assert_int_equal(write(fd, "abc", 3), 3);
	assert_int_equal(ipc_memfd_map(fd, 100, &data, &length), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ipc_memfd_map(fd, 100, &data, &length), -EPERM);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(ipc_memfd_map(fd, 100, &data, &length), 0);
	munmap((void *)(uintptr_t)data, length);
	close(fd);
	int other = open("/dev/null", O_RDONLY);
	assert_int_equal(ipc_memfd_map(other, 100, &data, &length), -EINVAL);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_packet_arrives_with_its_descriptors, open_pair, close_pair),
	        cmocka_unit_test_setup_teardown(a_packet_longer_than_the_buffer_is_dropped_whole, open_pair,
	                                        close_pair),
	        cmocka_unit_test_setup_teardown(descriptors_beyond_the_capacity_are_closed_and_told, open_pair,
	                                        close_pair),
	        cmocka_unit_test_setup_teardown(impossible_sends_are_refused, open_pair, close_pair),
	        cmocka_unit_test_setup_teardown(the_end_of_the_peer_is_told, open_pair, close_pair),
	        cmocka_unit_test(a_sealed_memfd_is_mapped_and_cannot_change),
	        cmocka_unit_test(an_empty_memfd_maps_to_nothing),
	        cmocka_unit_test(what_its_sender_could_still_change_is_not_mapped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
