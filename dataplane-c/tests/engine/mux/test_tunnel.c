/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP relay between real sockets: what it promises about ends, PROXY headers, time and limits. */

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
#include <time.h>
#include <unistd.h>

#include "filter/source_limit.h"
#include "lb/affinity.h"
#include "tunnel_rig.h"
#include "xprt/proxy_protocol.h"

static struct rig rig;

/* A relay before one listening backend; returns its socket. */
static int one_backend(void)
{
	uint16_t port;
	int listening = rig_listen(&port);

	rig_init(&rig);
	rig_add_port(&rig, port);
	return listening;
}

static void either_side_may_end_first(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	for (int backend_first = 0; backend_first < 2; backend_first++) {
		int client = rig_client(&rig);
		rig_say(client, "hello");
		int backend = rig_accept(listening);
		rig_hear(backend, "hello");
		int first = backend_first ? backend : client, second = backend_first ? client : backend;
		rig_say(first, "last words");
		shutdown(first, SHUT_WR);
		rig_hear(second, "last words");
		rig_hear_end(second);
		/* The other direction goes on. */
		for (int i = 0; i < 3; i++) {
			rig_say(second, "still here");
			rig_hear(first, "still here");
		}
		shutdown(second, SHUT_WR);
		rig_hear_end(first);
		struct marcher_event event = rig_closed_event(&rig);
		assert_int_equal(event.reason, MARCHER_CLOSE_NORMAL);
		assert_int_equal(event.bytes_received, 5 + (backend_first ? 30 : 10));
		assert_int_equal(event.bytes_sent, backend_first ? 10 : 30);
		close(client);
		close(backend);
	}
	rig_wait_idle(&rig);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_BYTES_RECEIVED), 50);
	assert_int_equal(rig_counter(&rig, rig.backends[0].slot, MARCHER_BYTES_RECEIVED), 50);
	assert_int_equal(rig_counter(&rig, rig.listener.slot, MARCHER_BYTES_SENT), 40);
	rig_stop(&rig);
	close(listening);
}

static void a_client_that_says_nothing_hears_a_backend_that_speaks_first(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	int client = rig_client(&rig);
	int backend = rig_accept(listening);
	rig_say(backend, "220 ready");
	rig_hear(client, "220 ready");
	close(backend);
	rig_hear_end(client);
	close(client);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

static void a_reset_is_passed_on_as_a_reset(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	for (int from_backend = 0; from_backend < 2; from_backend++) {
		int client = rig_client(&rig);
		rig_say(client, "x");
		int backend = rig_accept(listening);
		rig_hear(backend, "x");
		rig_say(backend, "y");
		rig_hear(client, "y");
		rig_reset(from_backend ? backend : client);
		rig_hear_reset(from_backend ? client : backend);
		close(from_backend ? client : backend);
		assert_int_equal(rig_closed_event(&rig).reason,
		                 from_backend ? MARCHER_CLOSE_BACKEND_RESET : MARCHER_CLOSE_CLIENT_RESET);
	}
	rig_wait_idle(&rig);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_RESETS_BACKEND), 1);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_RESETS_CLIENT), 1);
	rig_stop(&rig);
	close(listening);
}

static void an_answer_given_before_a_reset_still_arrives(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	int client = rig_client(&rig);
	rig_say(client, "a request that the backend does not read to its end");
	int backend = rig_accept(listening);
	rig_hear(backend, "a request");
	rig_say(backend, "413 too large");
	close(backend); /* with unread bytes: RST */
	rig_hear(client, "413 too large");
	rig_hear_reset(client);
	close(client);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

struct pair {
	int client, backend;
};

static void send_urgent(struct rig *r, void *context)
{
	struct pair *pair = context;

	(void)r;
	rig_say(pair->client, "before");
	assert_int_equal(send(pair->client, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
	rig_say(pair->client, "behind");
	shutdown(pair->client, SHUT_WR);
}

static void bytes_behind_urgent_data_are_not_lost(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	struct pair pair = {.client = rig_client(&rig)};
	pair.backend = rig_accept(listening);
	usleep(20000);
	/* While the worker is busy: it finds everything there, the FIN too, and a read stops at the mark. */
	rig_call(&rig, send_urgent, &pair);
	rig_hear(pair.backend, "beforebehind");
	rig_hear_end(pair.backend);
	close(pair.backend);
	rig_hear_end(pair.client);
	close(pair.client);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

static void write_into_a_reset(struct rig *r, void *context)
{
	struct pair *pair = context;

	(void)r;
	rig_say(pair->client, "more of it");
	rig_say(pair->backend, "413 too large");
	close(pair->backend);
}

static void an_answer_still_arrives_when_a_write_meets_the_reset_first(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	struct pair pair = {.client = rig_client(&rig)};
	rig_say(pair.client, "a request that the backend does not read to its end");
	pair.backend = rig_accept(listening);
	rig_hear(pair.backend, "a request");
	usleep(20000);
	/* While the worker is busy, so that it meets the client's bytes first. */
	rig_call(&rig, write_into_a_reset, &pair);
	rig_hear(pair.client, "413 too large");
	rig_hear_reset(pair.client);
	close(pair.client);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_BACKEND_RESET);
	rig_stop(&rig);
	close(listening);
}

/* PROXY protocol */

static struct prefix loopback = {.ip = {127}, .family = AF_INET, .length = 8};
static struct prefix elsewhere = {.ip = {192, 0, 2}, .family = AF_INET, .length = 24};

static void a_proxy_header_is_read_in_any_number_of_segments(void **state)
{
	(void)state;
	static const char v1[] = "PROXY TCP4 203.0.113.7 198.51.100.1 40112 443\r\n";
	int listening = one_backend();
	rig.binding.accept_proxy = &loopback;
	rig.binding.naccept_proxy = 1;
	rig.backends[0].send_proxy = 1; /* shows which addresses the relay believes */
	rig_start(&rig);
	for (size_t step = 1; step <= sizeof(v1) + 6; step += step < 4 ? 1 : 13) {
		char stream[128];
		size_t length = (size_t)snprintf(stream, sizeof(stream), "%spayload", v1);
		int client = rig_client(&rig);
		for (size_t at = 0; at < length; at += step) {
			size_t n = length - at < step ? length - at : step;
			assert_int_equal(send(client, stream + at, n, MSG_NOSIGNAL), n);
			if (step < sizeof(v1))
				usleep(300);
		}
		int backend = rig_accept(listening);
		rig_hear(backend, v1);
		rig_hear(backend, "payload");
		close(backend);
		rig_hear_end(client);
		close(client);
		struct marcher_event event = rig_closed_event(&rig);
		assert_int_equal(event.client.port, 40112);
		assert_int_equal(event.client.address[0], 203);
		assert_int_equal(event.local.port, 443);
		assert_int_equal(event.bytes_received, 7);
	}
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

static void a_listed_source_without_a_header_is_reset(void **state)
{
	(void)state;
	int listening = one_backend();
	rig.binding.accept_proxy = &loopback;
	rig.binding.naccept_proxy = 1;
	rig.service.connect_timeout_ms = 300; /* also the limit for a header to arrive */
	rig_start(&rig);
	int client = rig_client(&rig);
	rig_say(client, "GET / HTTP/1.1\r\n");
	rig_hear_reset(client);
	close(client);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_PROXY_HEADER);
	uint64_t began = rig_now_ms();
	client = rig_client(&rig);
	rig_say(client, "PROXY TCP4 1.2");
	rig_hear_reset(client);
	/* Counted from when the worker's round began: on a busy machine some ms before the client came. */
	assert_in_range(rig_now_ms() - began, 200, 20000);
	close(client);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_PROXY_HEADER);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_PROXY_HEADER_ERRORS), 2);
	rig_stop(&rig);
	close(listening);
}

static void an_unlisted_source_is_relayed_as_it_is(void **state)
{
	(void)state;
	int listening = one_backend();
	rig.binding.accept_proxy = &elsewhere;
	rig.binding.naccept_proxy = 1;
	rig_start(&rig);
	int client = rig_client(&rig);
	rig_say(client, "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n");
	int backend = rig_accept(listening);
	rig_hear(backend, "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n");
	close(backend);
	close(client);
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

static void a_proxy_header_is_sent_without_waiting_for_the_client(void **state)
{
	(void)state;
	for (uint8_t version = 1; version <= 2; version++) {
		int listening = one_backend();
		rig.backends[0].send_proxy = version;
		rig_start(&rig);
		int client = rig_client(&rig);
		int backend = rig_accept(listening);
		uint8_t bytes[PROXY_HEADER_MAX];
		struct proxy_header header;
		const char *error;
		int length = 0;
		for (size_t n = 0; length == 0 && n < sizeof(bytes); n++) {
			assert_int_equal(recv(backend, bytes + n, 1, 0), 1);
			length = proxy_header_parse(bytes, n + 1, &header, &error);
		}
		assert_true(length > 0);
		assert_int_equal(header.version, version);
		struct sockaddr_in sa;
		socklen_t sa_length = sizeof(sa);
		getsockname(client, (struct sockaddr *)&sa, &sa_length);
		assert_int_equal(header.source.port, ntohs(sa.sin_port));
		assert_int_equal(header.destination.port, rig.port);
		assert_int_equal(header.destination.ip[0], 127);
		rig_say(backend, "220 ready");
		rig_hear(client, "220 ready");
		rig_say(client, "EHLO");
		rig_hear(backend, "EHLO");
		close(client);
		rig_hear_end(backend);
		close(backend);
		rig_wait_idle(&rig);
		rig_stop(&rig);
		close(listening);
	}
}

/* Time */

static void an_idle_connection_is_closed(void **state)
{
	(void)state;
	int listening = one_backend();
	rig.service.idle_timeout_ms = 1000;
	rig.service.connect_timeout_ms = 500; /* has no meaning once the backend has answered */
	rig_start(&rig);
	int client = rig_client(&rig);
	int backend = rig_accept(listening);
	uint64_t began = rig_now_ms();
	for (int i = 0; i < 5; i++) { /* every byte begins the time anew, in either direction */
		usleep(300000);
		rig_say(i & 1 ? client : backend, "z");
		rig_hear(i & 1 ? backend : client, "z");
	}
	rig_hear_end(client);
	rig_hear_end(backend);
	assert_in_range(rig_now_ms() - began, 2450, 20000);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_IDLE_TIMEOUT);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_IDLE_TIMEOUTS), 1);
	close(client);
	close(backend);
	rig_stop(&rig);
	close(listening);
}

static void a_half_closed_connection_gets_less_time(void **state)
{
	(void)state;
	int listening = one_backend();
	rig.service.half_closed_timeout_ms = 1000;
	rig_start(&rig);
	int client = rig_client(&rig);
	int backend = rig_accept(listening);
	shutdown(client, SHUT_WR);
	rig_hear_end(backend);
	usleep(500000);
	uint64_t began = rig_now_ms();
	rig_say(backend, "z");
	rig_hear(client, "z");
	rig_hear_end(client);
	assert_in_range(rig_now_ms() - began, 950, 20000); /* from the last byte on */
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_HALF_CLOSED_TIMEOUT);
	close(client);
	close(backend);
	rig_stop(&rig);
	close(listening);
}

static void begin_drain(struct rig *r, void *context)
{
	uint64_t *ms = context;

	tunnel_drain(&r->worker, &r->service, NULL, r->worker.now_ms + *ms);
}

static void draining_connections_go_on_until_the_deadline(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	int client = rig_client(&rig);
	int backend = rig_accept(listening);
	rig_say(client, "a");
	rig_hear(backend, "a");
	uint64_t ms = 800, began = rig_now_ms();
	rig_call(&rig, begin_drain, &ms);
	rig_say(client, "b");
	rig_hear(backend, "b");
	rig_hear_reset(client);
	rig_hear_reset(backend);
	assert_in_range(rig_now_ms() - began, 750, 20000);
	assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_DRAINED);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_DRAIN_CLOSED), 1);
	close(client);
	close(backend);
	rig_stop(&rig);
	close(listening);
}

/* Limits */

/* Opens n clients; returns how many of them reach the backend and closes all. */
static unsigned count_admitted(int listening, unsigned n)
{
	int clients[64], backends[64];
	unsigned admitted = 0, refused = 0;

	for (unsigned i = 0; i < n; i++) {
		clients[i] = rig_client(&rig);
		/* An error is told once: to the write or to the read that follows. */
		bool told = send(clients[i], "?", 1, MSG_NOSIGNAL) < 0;
		struct pollfd either[] = {{.fd = clients[i], .events = POLLIN}, {.fd = listening, .events = POLLIN}};
		assert_true(told || poll(either, 2, 30000) > 0);
		if (told || either[0].revents) {
			if (!told)
				rig_hear_reset(clients[i]);
			refused++;
		} else {
			backends[admitted++] = rig_accept(listening);
		}
	}
	assert_int_equal(admitted + refused, n);
	for (unsigned i = 0; i < n; i++)
		close(clients[i]);
	for (unsigned i = 0; i < admitted; i++)
		close(backends[i]);
	rig_wait_idle(&rig);
	return admitted;
}

static void limits_are_exact_and_given_back(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		int listening = one_backend();
		if (kind == 0) {
			rig.binding.max_connections = 3;
		} else if (kind == 1) {
			rig.service.max_connections = 3;
		} else if (kind == 2) {
			rig.service.source_limit = source_limit_new(64);
			rig.service.max_connections_per_source = 3;
			rig.service.source_v4_bits = 32;
			rig.service.source_v6_bits = 128;
		} else {
			rig.backends[0].hard_limit = 3;
			rig.view->entries[0].hard_limit = 3;
		}
		rig_start(&rig);
		for (int round = 0; round < 2; round++)
			assert_int_equal(count_admitted(listening, 5), 3);
		assert_int_equal(rig_counter(&rig, rig.service.slot, kind == 3 ? MARCHER_NO_BACKEND : MARCHER_REJECTED),
		                 4);
		if (kind == 2)
			assert_int_equal(source_limit_count(rig.service.source_limit), 0);
		struct source_limit_table *table = rig.service.source_limit;
		rig_stop(&rig);
		if (table)
			source_limit_free(table);
		close(listening);
	}
}

static void affinity_holds_until_its_backend_fails(void **state)
{
	(void)state;
	uint16_t ports[3];
	int listening[3];
	rig_init(&rig);
	for (int i = 0; i < 3; i++) {
		listening[i] = rig_listen(&ports[i]);
		rig_add_port(&rig, ports[i]);
	}
	rig.service.affinity = affinity_new(60000, 1024);
	rig.service.affinity_v4_bits = 32;
	rig.service.affinity_v6_bits = 128;
	rig_start(&rig);
	int bound = -1, alive = 3;
	for (int i = 0; i < 12; i++) {
		int client = rig_client(&rig);
		rig_say(client, "x");
		struct marcher_event event;
		/* Whoever it is, it answers by closing: the event tells which. */
		shutdown(client, SHUT_WR);
		usleep(20000);
		for (int j = 0; j < 3; j++) {
			if (listening[j] < 0)
				continue;
			struct timeval at_once = {.tv_usec = 1000};
			setsockopt(listening[j], SOL_SOCKET, SO_RCVTIMEO, &at_once, sizeof(at_once));
			int backend = accept(listening[j], NULL, NULL);
			if (backend >= 0)
				close(backend);
		}
		event = rig_closed_event(&rig);
		close(client);
		int index = -1;
		for (int j = 0; j < 3; j++)
			if (rig.backends[j].slot == event.backend_slot)
				index = j;
		assert_true(index >= 0);
		if (bound >= 0)
			assert_int_equal(index, bound);
		bound = index;
		if (i == 4 && alive == 3) { /* dies: the next is bound instead, and stays */
			close(listening[bound]);
			listening[bound] = -1;
			bound = -1;
			alive--;
		}
	}
	rig_wait_idle(&rig);
	struct affinity_table *table = rig.service.affinity;
	rig_stop(&rig);
	affinity_free(table);
	for (int i = 0; i < 3; i++)
		if (listening[i] >= 0)
			close(listening[i]);
}

static void take_list(struct rig *r, void *context)
{
	tunnel_list(&r->worker, "web", 2, context);
}

static void the_list_tells_who_is_connected_to_whom(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	int clients[3], backends[3];
	for (int i = 0; i < 3; i++) {
		clients[i] = rig_client(&rig);
		rig_say(clients[i], "abc");
		backends[i] = rig_accept(listening);
		rig_hear(backends[i], "abc");
	}
	Marcher__Engine__V1__ConnectionList *list = malloc(sizeof(*list));
	marcher__engine__v1__connection_list__init(list);
	rig_call(&rig, take_list, list);
	assert_int_equal(list->total, 3);
	assert_int_equal(list->n_connections, 2);
	assert_string_equal(list->connections[0]->service, "web");
	assert_string_equal(list->connections[0]->backend, "b0");
	assert_string_equal(list->connections[0]->state, "established");
	assert_int_equal(list->connections[0]->bytes_received, 3);
	assert_non_null(strstr(list->connections[0]->client, "127.0.0.1:"));
	assert_non_null(strstr(list->connections[0]->local, "127.0.0.1:"));
	marcher__engine__v1__connection_list__free_unpacked(list, NULL);
	for (int i = 0; i < 3; i++) {
		close(clients[i]);
		close(backends[i]);
	}
	rig_wait_idle(&rig);
	rig_stop(&rig);
	close(listening);
}

static void connections_that_are_open_when_the_worker_stops_are_reset(void **state)
{
	(void)state;
	int listening = one_backend();
	rig_start(&rig);
	int client = rig_client(&rig);
	rig_say(client, "a");
	int backend = rig_accept(listening);
	rig_hear(backend, "a");
	rig_stop(&rig);
	rig_hear_reset(client);
	rig_hear_reset(backend);
	close(client);
	close(backend);
	close(listening);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(either_side_may_end_first),
	        cmocka_unit_test(a_client_that_says_nothing_hears_a_backend_that_speaks_first),
	        cmocka_unit_test(a_reset_is_passed_on_as_a_reset),
	        cmocka_unit_test(an_answer_given_before_a_reset_still_arrives),
	        cmocka_unit_test(an_answer_still_arrives_when_a_write_meets_the_reset_first),
	        cmocka_unit_test(bytes_behind_urgent_data_are_not_lost),
	        cmocka_unit_test(a_proxy_header_is_read_in_any_number_of_segments),
	        cmocka_unit_test(a_listed_source_without_a_header_is_reset),
	        cmocka_unit_test(an_unlisted_source_is_relayed_as_it_is),
	        cmocka_unit_test(a_proxy_header_is_sent_without_waiting_for_the_client),
	        cmocka_unit_test(an_idle_connection_is_closed),
	        cmocka_unit_test(a_half_closed_connection_gets_less_time),
	        cmocka_unit_test(draining_connections_go_on_until_the_deadline),
	        cmocka_unit_test(limits_are_exact_and_given_back),
	        cmocka_unit_test(affinity_holds_until_its_backend_fails),
	        cmocka_unit_test(the_list_tells_who_is_connected_to_whom),
	        cmocka_unit_test(connections_that_are_open_when_the_worker_stops_are_reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
