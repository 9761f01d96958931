/* SPDX-License-Identifier: Apache-2.0 */
/* How the TCP relay finds a backend: refusals, retries, the budget, both families at once, Unix sockets. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mux/tunnel_internal.h"
#include "tunnel_rig.h"

static struct rig rig;

static void a_refused_connection_goes_to_the_next_backend_with_all_its_bytes(void **state)
{
	(void)state;
	uint16_t port;
	int listening = rig_listen(&port);
	rig_init(&rig);
	rig_add_port(&rig, rig_refusing_port());
	rig_add_port(&rig, rig_refusing_port());
	unsigned good = rig_add_port(&rig, port);
	rig_start(&rig);
	for (int i = 0; i < 30; i++) {
		char text[32];
		int client = rig_client(&rig);
		snprintf(text, sizeof(text), "request %d", i);
		rig_say(client, text);
		int backend = rig_accept(listening);
		rig_hear(backend, text);
		close(backend);
		rig_hear_end(client);
		close(client);
	}
	rig_wait_idle(&rig);
	uint64_t failures = rig_counter(&rig, rig.service.slot, MARCHER_CONNECT_FAILURES);
	assert_true(failures >= 20);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_CONNECT_RETRIES), failures);
	assert_int_equal(atomic_load(&rig.reports_ok[good]), 30);
	assert_int_equal(atomic_load(&rig.reports_failed[0]) + atomic_load(&rig.reports_failed[1]), failures);
	assert_int_equal(rig_counter(&rig, rig.backends[good].slot, MARCHER_CONNECTIONS_OPENED), 30);
	assert_int_equal(rig_counter(&rig, rig.backends[0].slot, MARCHER_CONNECTIONS_OPENED), 0);
	rig_stop(&rig);
	close(listening);
}

static void what_a_refused_backend_said_of_itself_is_not_held_against_the_next_one(void **state)
{
	(void)state;
	uint16_t port;
	int listening = rig_listen(&port);
	rig_init(&rig);
	rig_add_port(&rig, rig_refusing_port());
	rig_add_port(&rig, port);
	rig_start(&rig);
	for (int i = 0; i < 4; i++) {
		/* It says nothing yet: so the refusal comes as an event of the pending connection. */
		int client = rig_client(&rig);
		int backend = rig_accept(listening);
		rig_say(client, "question");
		rig_hear(backend, "question");
		for (int part = 0; part < 3; part++) {
			rig_say(backend, "part of the answer");
			rig_hear(client, "part of the answer");
			usleep(5000);
		}
		close(backend);
		rig_hear_end(client);
		close(client);
		assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_NORMAL);
	}
	rig_wait_idle(&rig);
	assert_true(rig_counter(&rig, rig.service.slot, MARCHER_CONNECT_RETRIES) >= 1);
	assert_int_equal(rig_counter(&rig, rig.backends[1].slot, MARCHER_CONNECTIONS_OPENED), 4);
	rig_stop(&rig);
	close(listening);
}

static void the_client_is_reset_when_every_backend_refuses(void **state)
{
	(void)state;
	rig_init(&rig);
	rig_add_port(&rig, rig_refusing_port());
	rig_add_port(&rig, rig_refusing_port());
	rig_start(&rig);
	for (int speaks = 0; speaks < 2; speaks++) {
		int client = rig_client(&rig);
		/* An error is told once: to the write or to the read that follows. */
		if (!speaks || send(client, "x", 1, MSG_NOSIGNAL) == 1)
			rig_hear_reset(client);
		close(client);
		struct marcher_event event = rig_closed_event(&rig);
		assert_int_equal(event.reason, MARCHER_CLOSE_CONNECT_FAILED);
		assert_int_equal(event.retries, 1);
	}
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_CONNECT_FAILURES), 4);
	rig_stop(&rig);
}

static void the_client_is_reset_when_there_is_no_backend(void **state)
{
	(void)state;
	rig_init(&rig);
	rig_start(&rig);
	int client = rig_client(&rig);
	rig_hear_reset(client);
	close(client);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_NO_BACKEND);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_NO_BACKEND), 1);
	rig_stop(&rig);
}

static void a_backend_that_does_not_answer_takes_a_part_of_the_budget(void **state)
{
	(void)state;
	uint16_t black_port, port;
	int fillers[2], black = rig_blackhole(&black_port, fillers), listening = rig_listen(&port);
	rig_init(&rig);
	rig.service.connect_timeout_ms = 3000;
	unsigned hole = rig_add_port(&rig, black_port);
	rig_add_port(&rig, port);
	rig_start(&rig);
	uint64_t slowest = 0;
	for (int i = 0; i < 2; i++) { /* round robin: one of the two goes to the hole first */
		uint64_t began = rig_now_ms();
		int client = rig_client(&rig);
		rig_say(client, "held back, sent once");
		int backend = rig_accept(listening);
		rig_hear(backend, "held back, sent once");
		if (rig_now_ms() - began > slowest)
			slowest = rig_now_ms() - began;
		shutdown(client, SHUT_WR);
		rig_hear_end(backend);
		close(backend);
		rig_hear_end(client);
		close(client);
	}
	assert_in_range(slowest, 900, 2900);
	assert_in_range(atomic_load(&rig.reports_failed[hole]), 1, 2);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
	close(fillers[0]);
	close(fillers[1]);
	close(black);
}

#define CROWD 40

static void open_crowd(struct rig *r, void *context)
{
	int *clients = context;
	char text[32];

	for (int i = 0; i < CROWD; i++) {
		clients[i] = rig_client(r);
		snprintf(text, sizeof(text), "client %02d", i);
		rig_say(clients[i], text);
	}
}

static void bytes_that_came_before_the_connection_was_accepted_are_kept(void **state)
{
	(void)state;
	uint16_t black_port, port;
	int fillers[2], black = rig_blackhole(&black_port, fillers), listening = rig_listen(&port);
	rig_init(&rig);
	rig.service.connect_timeout_ms = 1200;
	unsigned hole = rig_add_port(&rig, black_port);
	rig_add_port(&rig, port);
	rig_start(&rig);
	/* While the worker is busy: it accepts them with their bytes there, and half go to the hole first. */
	int clients[CROWD];
	bool heard[CROWD] = {false};
	rig_call(&rig, open_crowd, clients);
	for (int i = 0; i < CROWD; i++) {
		char text[10] = "";
		int backend = rig_accept(listening), number = -1;
		assert_int_equal(recv(backend, text, 9, MSG_WAITALL), 9);
		assert_int_equal(sscanf(text, "client %02d", &number), 1);
		assert_in_range(number, 0, CROWD - 1);
		assert_false(heard[number]);
		heard[number] = true;
		shutdown(clients[number], SHUT_WR);
		rig_hear_end(backend); /* and nothing twice */
		close(backend);
		rig_hear_end(clients[number]);
		close(clients[number]);
	}
	assert_true(atomic_load(&rig.reports_failed[hole]) >= CROWD / 4);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
	close(fillers[0]);
	close(fillers[1]);
	close(black);
}

static void the_connect_budget_holds_for_all_attempts_together(void **state)
{
	(void)state;
	uint16_t ports[2];
	int fillers[4], black[2] = {rig_blackhole(&ports[0], fillers), rig_blackhole(&ports[1], fillers + 2)};
	rig_init(&rig);
	rig.service.connect_timeout_ms = 900;
	rig_add_port(&rig, ports[0]);
	rig_add_port(&rig, ports[1]);
	rig_start(&rig);
	uint64_t began = rig_now_ms();
	int client = rig_client(&rig);
	rig_hear_reset(client);
	assert_in_range(rig_now_ms() - began, 800, 1700); /* twice the budget would be too much */
	close(client);
	struct marcher_event event = rig_closed_event(&rig);
	assert_int_equal(event.reason, MARCHER_CLOSE_CONNECT_TIMEOUT);
	assert_int_equal(event.retries, 1);
	rig_stop(&rig);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);
	close(black[0]);
	close(black[1]);
}

static void a_client_that_resets_while_its_backend_is_sought_is_let_go(void **state)
{
	(void)state;
	uint16_t port;
	int fillers[2], black = rig_blackhole(&port, fillers);
	rig_init(&rig);
	rig_add_port(&rig, port);
	rig.service.connect_timeout_ms = 60000; /* not what ends it */
	rig_start(&rig);
	int client = rig_client(&rig);
	usleep(50000);
	rig_reset(client);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_CLIENT_RESET);
	rig_stop(&rig);
	close(fillers[0]);
	close(fillers[1]);
	close(black);
}

static int listen_v6(uint16_t *port)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t length = sizeof(sa);
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 8) < 0)
		return -1;
	getsockname(fd, (struct sockaddr *)&sa, &length);
	*port = ntohs(sa.sin6_port);
	return fd;
}

static void a_name_with_both_families_is_tried_in_parallel(void **state)
{
	(void)state;
	uint16_t black_port, port = 0;
	int listening = listen_v6(&port);
	if (listening < 0)
		skip();
	int fillers[2], black = rig_blackhole(&black_port, fillers);
	struct addr v6 = {.family = AF_INET6, .port = port, .ip = {[15] = 1}};
	rig_init(&rig);
	rig_add_port(&rig, black_port);
	rig_add(&rig, &v6);
	/* One backend, a name, with two addresses. */
	rig.endpoints[1].backend = &rig.backends[0];
	rig.backends[0].target = TARGET_DNS;
	rig.service.connect_timeout_ms = 6000;
	rig_start(&rig);
	uint64_t slowest = 0;
	for (int i = 0; i < 2; i++) {
		uint64_t began = rig_now_ms();
		int client = rig_client(&rig);
		rig_say(client, "hello");
		int backend = rig_accept(listening);
		rig_hear(backend, "hello");
		if (rig_now_ms() - began > slowest)
			slowest = rig_now_ms() - began;
		close(backend);
		rig_hear_end(client);
		close(client);
	}
	assert_in_range(slowest, 200, 1900);
	/* Losing a race is no failure. */
	assert_int_equal(atomic_load(&rig.reports_failed[0]), 0);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_CONNECT_FAILURES), 0);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
	close(fillers[0]);
	close(fillers[1]);
	close(black);
}

enum told_first { SECOND_CONNECTED, FIRST_FAILED };
static enum told_first told_first; /* changed while no connection is open */
static atomic_bool armed;

/* The second attempt has connected, and before the worker can hear of it the first one fails. */
static void fail_first_when_second_connects(struct rig *r)
{
	struct tunnel *tunnel = r->worker.tunnel->all;

	if (!tunnel || tunnel->state != TUNNEL_CONNECTING || !tunnel->setup || tunnel->setup->second.fd < 0 ||
	    !atomic_exchange(&armed, false))
		return;
	struct poll_source *first = &tunnel->side[BACKEND].source, *second = &tunnel->setup->second;
	struct pollfd connected = {.fd = second->fd, .events = POLLOUT};
	struct pollfd failed = {.fd = first->fd, .events = POLLIN | POLLRDHUP};
	assert_int_equal(poll(&connected, 1, 30000), 1);
	assert_int_equal(connected.revents, POLLOUT);
	/* As after a refusal: one that is connecting ends with an error, and then there is nothing more to read. */
	shutdown(first->fd, SHUT_RDWR);
	shutdown(first->fd, SHUT_RDWR);
	assert_int_equal(poll(&failed, 1, 30000), 1);
	assert_int_equal(failed.revents, POLLIN | POLLRDHUP | POLLERR | POLLHUP);
	if (told_first == FIRST_FAILED) { /* the other one goes to the end of the line */
		assert_int_equal(poller_remove(r->worker.poller, second), 0);
		assert_int_equal(poller_add(r->worker.poller, second), 0);
	}
}

static void a_second_family_that_connects_in_the_turn_in_which_the_first_fails_works(void **state)
{
	(void)state;
	uint16_t black_port, port = 0;
	int listening = listen_v6(&port);
	if (listening < 0)
		skip();
	int fillers[2], black = rig_blackhole(&black_port, fillers);
	struct addr v6 = {.family = AF_INET6, .port = port, .ip = {[15] = 1}};
	rig_init(&rig);
	rig_add_port(&rig, black_port);
	rig_add(&rig, &v6);
	rig.endpoints[1].backend = &rig.backends[0];
	rig.backends[0].target = TARGET_DNS;
	rig.service.connect_timeout_ms = 60000;
	rig.each_turn = fail_first_when_second_connects;
	rig_start(&rig);
	unsigned coincidences[2] = {0};
	for (unsigned i = 0; i < 8; i++) { /* round robin: some begin with the address that answers */
		told_first = i < 4 ? SECOND_CONNECTED : FIRST_FAILED;
		atomic_store(&armed, true);
		int client = rig_client(&rig);
		if (i & 2)
			rig_say(client, "question");
		int backend = rig_accept(listening);
		if (!(i & 2))
			rig_say(client, "question");
		rig_hear(backend, "question");
		for (int part = 0; part < 2; part++) {
			rig_say(backend, "part of the answer");
			rig_hear(client, "part of the answer");
			usleep(5000);
		}
		rig_say(client, "thanks");
		rig_hear(backend, "thanks");
		close(backend);
		rig_hear_end(client);
		close(client);
		struct marcher_event event = rig_closed_event(&rig);
		assert_int_equal(event.reason, MARCHER_CLOSE_NORMAL);
		assert_int_equal(event.bytes_received, 14);
		assert_int_equal(event.bytes_sent, 36);
		coincidences[told_first] += !atomic_load(&armed);
	}
	assert_true(coincidences[SECOND_CONNECTED] >= 1);
	assert_true(coincidences[FIRST_FAILED] >= 1);
	rig_wait_idle(&rig);
	assert_int_equal(atomic_load(&rig.reports_ok[1]), 8);
	rig_stop(&rig);
	close(listening);
	close(fillers[0]);
	close(fillers[1]);
	close(black);
}

static void a_unix_socket_is_a_backend_like_another(void **state)
{
	(void)state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char directory[] = "/tmp/marcher-tunnel-XXXXXX";
	assert_non_null(mkdtemp(directory));
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/b.sock", directory);
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listening, 0), 0);
	struct addr addr = {.family = AF_UNIX, .path = sa.sun_path};
	rig_init(&rig);
	rig_add(&rig, &addr);
	rig_start(&rig);
	/* More at once than the backlog holds: they wait for it. */
	int clients[4];
	for (int i = 0; i < 4; i++) {
		clients[i] = rig_client(&rig);
		rig_say(clients[i], "over unix");
	}
	usleep(50000);
	for (int i = 0; i < 4; i++) {
		int backend = rig_accept(listening);
		rig_hear(backend, "over unix");
		rig_say(backend, "answer");
		close(backend);
	}
	for (int i = 0; i < 4; i++) {
		rig_hear(clients[i], "answer");
		rig_hear_end(clients[i]);
		close(clients[i]);
	}
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
	unlink(sa.sun_path);
	rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_refused_connection_goes_to_the_next_backend_with_all_its_bytes),
	        cmocka_unit_test(what_a_refused_backend_said_of_itself_is_not_held_against_the_next_one),
	        cmocka_unit_test(the_client_is_reset_when_every_backend_refuses),
	        cmocka_unit_test(the_client_is_reset_when_there_is_no_backend),
	        cmocka_unit_test(a_backend_that_does_not_answer_takes_a_part_of_the_budget),
	        cmocka_unit_test(bytes_that_came_before_the_connection_was_accepted_are_kept),
	        cmocka_unit_test(the_connect_budget_holds_for_all_attempts_together),
	        cmocka_unit_test(a_client_that_resets_while_its_backend_is_sought_is_let_go),
	        cmocka_unit_test(a_name_with_both_families_is_tried_in_parallel),
	        cmocka_unit_test(a_second_family_that_connects_in_the_turn_in_which_the_first_fails_works),
	        cmocka_unit_test(a_unix_socket_is_a_backend_like_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
