/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/poll.h"

struct seen {
	struct poll_source source;
	unsigned calls;
	uint32_t events;
	struct seen *closes; /* what its handler closes */
};

static struct poller *poller;

static void note(struct poll_source *source, uint32_t events)
{
	struct seen *seen = (struct seen *)source;
	seen->calls++;
	seen->events |= events;
	if (seen->closes && seen->closes->source.fd >= 0) {
		close(seen->closes->source.fd);
		seen->closes->source.fd = -1;
	}
}

static int open_poller(void **state)
{
	(void)state;
	poller = poller_new();
	return poller ? 0 : -1;
}

static int close_poller(void **state)
{
	(void)state;
	poller_free(poller);
	return 0;
}

static void an_edge_is_told_once(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct seen seen = {.source = {.handler = note, .fd = pair[0]}};
	assert_int_equal(poller_add(poller, &seen.source), 0);
	assert_int_equal(poller_wait(poller, 0), 1);
	assert_int_equal(seen.events, POLL_WRITE);
	assert_int_equal(poller_wait(poller, 0), 0);
	assert_int_equal(write(pair[1], "x", 1), 1);
	assert_int_equal(poller_wait(poller, 0), 1);
	assert_true(seen.events & POLL_READ);
	assert_int_equal(poller_wait(poller, 0), 0);
	close(pair[0]);
	close(pair[1]);
}

static void a_level_is_told_until_it_is_drained(void **state)
{
	(void)state;
	struct seen seen = {.source = {.handler = note, .fd = eventfd(1, EFD_NONBLOCK)}};
	uint64_t count;
	assert_int_equal(poller_add_level(poller, &seen.source, false), 0);
	assert_int_equal(poller_wait(poller, 0), 1);
	assert_int_equal(poller_wait(poller, 0), 1);
	assert_int_equal(read(seen.source.fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(poller_wait(poller, 0), 0);
	close(seen.source.fd);
}

static void a_fin_is_told_apart_from_the_end(void **state)
{
	(void)state;
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct seen seen = {.source = {.handler = note, .fd = pair[0]}};
	assert_int_equal(poller_add(poller, &seen.source), 0);
	poller_wait(poller, 0);
	seen.events = 0;
	shutdown(pair[1], SHUT_WR);
	assert_int_equal(poller_wait(poller, 100), 1);
	assert_true(seen.events & POLL_PEER_CLOSED);
	assert_true(seen.events & POLL_READ);
	assert_false(seen.events & POLL_ERROR);
	seen.events = 0;
	close(pair[1]);
	assert_int_equal(poller_wait(poller, 100), 1);
	assert_true(seen.events & POLL_ERROR);
	close(pair[0]);
}

static void a_source_that_an_earlier_handler_closed_is_passed_over(void **state)
{
	(void)state;
	struct seen a = {.source = {.handler = note, .fd = eventfd(1, EFD_NONBLOCK)}};
	struct seen b = {.source = {.handler = note, .fd = eventfd(1, EFD_NONBLOCK)}};
	a.closes = &b;
	b.closes = &a;
	assert_int_equal(poller_add_level(poller, &a.source, false), 0);
	assert_int_equal(poller_add_level(poller, &b.source, false), 0);
	assert_int_equal(poller_wait(poller, 0), 2);
	assert_int_equal(a.calls + b.calls, 1);
	close(a.source.fd >= 0 ? a.source.fd : b.source.fd);
}

static void a_removed_source_is_silent(void **state)
{
	(void)state;
	struct seen seen = {.source = {.handler = note, .fd = eventfd(1, EFD_NONBLOCK)}};
	assert_int_equal(poller_add_level(poller, &seen.source, false), 0);
	assert_int_equal(poller_add_level(poller, &seen.source, false), -EEXIST);
	assert_int_equal(poller_remove(poller, &seen.source), 0);
	assert_int_equal(poller_remove(poller, &seen.source), -ENOENT);
	assert_int_equal(poller_wait(poller, 0), 0);
	close(seen.source.fd);
}

static char order[16];
static void before(void *context)
{
	(void)context;
	strcat(order, "b");
}
static void after(void *context)
{
	(void)context;
	strcat(order, "a");
}
static void handle(struct poll_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	strcat(order, "h");
}

static void the_wait_is_framed_and_handlers_come_after_it(void **state)
{
	(void)state;
	struct poll_source source = {.handler = handle, .fd = eventfd(1, EFD_NONBLOCK)};
	assert_int_equal(poller_add_level(poller, &source, false), 0);
	poller_around_wait(poller, before, after, NULL);
	order[0] = '\0';
	poller_wait(poller, 10);
	assert_string_equal(order, "bah");
	order[0] = '\0';
	poller_wait(poller, 0); /* cannot block */
	assert_string_equal(order, "ah");
	close(source.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(an_edge_is_told_once, open_poller, close_poller),
	        cmocka_unit_test_setup_teardown(a_level_is_told_until_it_is_drained, open_poller, close_poller),
	        cmocka_unit_test_setup_teardown(a_fin_is_told_apart_from_the_end, open_poller, close_poller),
	        cmocka_unit_test_setup_teardown(a_source_that_an_earlier_handler_closed_is_passed_over, open_poller,
	                                        close_poller),
	        cmocka_unit_test_setup_teardown(a_removed_source_is_silent, open_poller, close_poller),
	        cmocka_unit_test_setup_teardown(the_wait_is_framed_and_handlers_come_after_it, open_poller,
	                                        close_poller),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
