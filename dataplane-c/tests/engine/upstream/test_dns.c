/* SPDX-License-Identifier: Apache-2.0 */
/* Names against a small name server in a thread of this test. */
#include "main_loop.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/poll.h> /* <poll.h> would be the engine's */
#include <unistd.h>

#include "upstream/dns.h"

#define A 1
#define AAAA 28

enum behaviour { ANSWER, NXDOMAIN, SERVFAIL, SILENT, GARBAGE, WRONG_ID, TRUNCATE };

struct name_server {
	int udp, tcp, stop[2];
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock;
	enum behaviour behaviour[2]; /* for A, AAAA */
	const char *v4[80], *v6[80]; /* up to the first NULL */
	uint32_t ttl;
	unsigned queries[2], over_tcp;
};

static struct name_server server;
static struct dns *dns;
static char servers[32];

/* The answer to the query in message; returns its length. */
static size_t make_answer(uint8_t *message, size_t length, bool tcp)
{
	size_t end = 12;
	while (end < length && message[end])
		end += message[end] + 1u;
	end += 5; /* the root label, type, class */
	if (end > length)
		return 0;
	unsigned type = message[end - 3];
	bool v6 = type == AAAA;
	enum behaviour behaviour = server.behaviour[v6];
	server.queries[v6]++;
	server.over_tcp += tcp;
	if (behaviour == SILENT)
		return 0;
	message[2] = 0x84; /* response, authoritative */
	message[3] = behaviour == NXDOMAIN ? 3 : behaviour == SERVFAIL ? 2 : 0;
	memset(message + 6, 0, 6);
	if (behaviour == WRONG_ID)
		message[0] ^= 0xff;
	if (behaviour == GARBAGE) {
		for (size_t i = 2; i < end; i++)
			message[i] = (uint8_t)(i * 37);
		return end;
	}
	if (behaviour == TRUNCATE && !tcp) {
		message[2] |= 2;
		return end;
	}
	if (message[3])
		return end;
	size_t at = end;
	const char *const *list = v6 ? server.v6 : server.v4;
	for (; *list; list++) {
		uint32_t ttl = htonl(server.ttl);
		uint8_t size = v6 ? 16 : 4;
		const uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1};
		memcpy(message + at, head, 6);
		memcpy(message + at + 6, &ttl, 4);
		message[at + 10] = 0;
		message[at + 11] = size;
		assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, *list, message + at + 12), 1);
		at += 12u + size;
		message[7]++;
	}
	return at;
}

static void *serve(void *arg)
{
	uint8_t message[4096];
	(void)arg;
	for (;;) {
		struct pollfd fds[] = {{.fd = server.udp, .events = POLLIN},
		                       {.fd = server.tcp, .events = POLLIN},
		                       {.fd = server.stop[0], .events = POLLIN}};
		poll(fds, 3, -1);
		if (fds[2].revents)
			return NULL;
		if (fds[0].revents) {
			struct sockaddr_in peer;
			socklen_t peer_length = sizeof(peer);
			ssize_t n = recvfrom(server.udp, message, 512, MSG_DONTWAIT, (struct sockaddr *)&peer,
			                     &peer_length);
			if (n > 12) {
				pthread_mutex_lock(&server.lock);
				size_t length = make_answer(message, (size_t)n, false);
				pthread_mutex_unlock(&server.lock);
				if (length)
					sendto(server.udp, message, length, 0, (struct sockaddr *)&peer, peer_length);
			}
		}
		if (fds[1].revents) {
			int fd = accept(server.tcp, NULL, NULL);
			struct timeval patience = {.tv_usec = 200000};
			setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
			uint8_t head[2];
			while (recv(fd, head, 2, MSG_WAITALL) == 2) {
				size_t n = (size_t)head[0] << 8 | head[1];
				if (n > 512 || recv(fd, message, n, MSG_WAITALL) != (ssize_t)n)
					break;
				pthread_mutex_lock(&server.lock);
				size_t length = make_answer(message, n, true);
				pthread_mutex_unlock(&server.lock);
				uint8_t prefix[2] = {(uint8_t)(length >> 8), (uint8_t)length};
				/* In three pieces, so that the reader has to come back for the rest. */
				if (send(fd, prefix, 2, MSG_NOSIGNAL) != 2 ||
				    send(fd, message, length / 2, MSG_NOSIGNAL) < 0)
					break;
				usleep(5000);
				if (send(fd, message + length / 2, length - length / 2, MSG_NOSIGNAL) < 0)
					break;
			}
			close(fd);
		}
	}
}

static void set_addresses(const char *const *v4, const char *const *v6)
{
	pthread_mutex_lock(&server.lock);
	memset(server.v4, 0, sizeof(server.v4));
	memset(server.v6, 0, sizeof(server.v6));
	for (unsigned i = 0; v4 && v4[i]; i++)
		server.v4[i] = v4[i];
	for (unsigned i = 0; v6 && v6[i]; i++)
		server.v6[i] = v6[i];
	pthread_mutex_unlock(&server.lock);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void behave(enum behaviour v4, enum behaviour v6)
{
	pthread_mutex_lock(&server.lock);
	server.behaviour[0] = v4;
	server.behaviour[1] = v6;
	pthread_mutex_unlock(&server.lock);
}

static unsigned queries(void)
{
	pthread_mutex_lock(&server.lock);
	unsigned count = server.queries[0];
	pthread_mutex_unlock(&server.lock);
	return count;
}

static void server_start(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(sa);
	memset(&server, 0, sizeof(server));
	pthread_mutex_init(&server.lock, NULL);
	server.ttl = 60;
	server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The same port for both; another try when it is taken for TCP. */
	for (unsigned i = 0;; i++) {
		assert_true(i < 100);
		sa.sin_port = 0;
		assert_int_equal(bind(server.tcp, (struct sockaddr *)&sa, sizeof(sa)), 0);
		getsockname(server.tcp, (struct sockaddr *)&sa, &length);
		if (bind(server.udp, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			break;
		close(server.tcp);
		server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	assert_int_equal(listen(server.tcp, 16), 0);
	server.port = ntohs(sa.sin_port);
	snprintf(servers, sizeof(servers), "127.0.0.1:%u", server.port);
	assert_int_equal(pipe(server.stop), 0);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void server_stop(void)
{
	assert_int_equal(write(server.stop[1], "x", 1), 1);
	pthread_join(server.thread, NULL);
	close(server.udp);
	close(server.tcp);
	close(server.stop[0]);
	close(server.stop[1]);
}

static void set_up(void)
{
	engine_set_up();
	server_start();
	dns = dns_new(&engine, servers);
	assert_non_null(dns);
}

static void tear_down(void)
{
	dns_free(dns);
	engine_tear_down();
	server_stop();
}

static void backend_init(struct backend *backend, const char *host)
{
	memset(backend, 0, sizeof(*backend));
	backend->name = (char *)"b";
	backend->id = &service_identity;
	backend->slot = 2;
	backend->target = TARGET_DNS;
	backend->dns_host = (char *)host;
	backend->dns_port = 8080;
}

static void expect_addresses(const char *expected)
{
	char all[4096] = "";
	for (size_t i = 0; i < nresolved; i++) {
		char text[ADDR_TEXT_MAX];
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? " " : "",
		         addr_text(&resolved[i], text));
	}
	assert_string_equal(all, expected);
}

static void both_families_are_sorted_and_without_duplicates(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	set_addresses(LIST("192.0.2.9", "192.0.2.1", "192.0.2.9"), LIST("2001:db8::2", "2001:db8::1"));
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 1000, 60000);
	assert_int_equal(resolutions, 0); /* never in the call itself */
	loop_until(resolutions == 1);
	expect_addresses("192.0.2.1:8080 192.0.2.9:8080 [2001:db8::1]:8080 [2001:db8::2]:8080");
	assert_ptr_equal(resolved_backend, &backend);
	assert_int_equal(nevents, 1);
	assert_int_equal(events[0].kind, MARCHER_EVENT_DNS_CHANGED);
	assert_int_equal(events[0].backend_slot, 2);
	assert_string_equal(events[0].message, "app.example: 192.0.2.1, 192.0.2.9, [2001:db8::1], [2001:db8::2]");
	tear_down();
}

static void backends_share_a_name(void **state)
{
	(void)state;
	struct backend a, b, c;
	set_up();
	set_addresses(LIST("192.0.2.1"), NULL);
	backend_init(&a, "app.example");
	backend_init(&b, "App.Example");
	backend_init(&c, "app.example");
	b.dns_port = 0;
	dns_watch(dns, &a, 1000, 60000);
	dns_watch(dns, &b, 1000, 60000);
	assert_ptr_equal(a.dns, b.dns);
	loop_until(resolutions == 2);
	assert_int_equal(queries(), 1);
	dns_watch(dns, &c, 1000, 60000); /* known: at once */
	assert_int_equal(resolutions, 3);
	assert_ptr_equal(resolved_backend, &c);
	dns_watch(dns, &c, 1000, 60000); /* already watched */
	assert_int_equal(resolutions, 3);
	b.dns_port = 0;
	dns_unwatch(dns, &b);
	dns_watch(dns, &b, 1000, 60000);
	expect_addresses("192.0.2.1:0");
	dns_watch(dns, &b, 2000, 60000); /* other bounds: a name of its own */
	assert_ptr_not_equal(a.dns, b.dns);
	dns_unwatch(dns, &a);
	dns_unwatch(dns, &a);
	dns_unwatch(dns, &b);
	dns_unwatch(dns, &c);
	loop_for(20);
	tear_down();
}

static void a_refresh_changes_the_set(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	server.ttl = 0; /* raised to the floor */
	set_addresses(LIST("192.0.2.1"), NULL);
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 60, 60000);
	loop_until(resolutions == 1);
	loop_until(queries() >= 3);
	assert_int_equal(resolutions, 1); /* asked again, but nothing was new */
	set_addresses(LIST("192.0.2.2"), LIST("2001:db8::1"));
	/* The two families may come one after the other: a query was under way when the addresses changed. */
	loop_until(resolutions >= 2 && nresolved == 2 && resolved[0].ip[3] == 2);
	expect_addresses("192.0.2.2:8080 [2001:db8::1]:8080");
	set_addresses(LIST("192.0.2.2"), NULL); /* AAAA has no record any more, A has: it is gone */
	loop_until(nresolved == 1);
	expect_addresses("192.0.2.2:8080");
	tear_down();
}

static void the_ttl_is_held_between_floor_and_ceiling(void **state)
{
	static const struct {
		uint32_t ttl, min, max;
		unsigned least, most;
	} cases[] = {
	        {0, 100, 60000, 2, 11},  /* every 100 ms; fewer on a busy machine */
	        {3600, 20, 100, 2, 15},  /* every 85 to 90 ms */
	        {3600, 20, 60000, 1, 1}, /* not within the test */
	};
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct backend backend;
		set_up();
		server.ttl = cases[i].ttl;
		set_addresses(LIST("192.0.2.1"), NULL);
		backend_init(&backend, "app.example");
		dns_watch(dns, &backend, cases[i].min, cases[i].max);
		loop_for(1000);
		unsigned count = queries();
		if (count < cases[i].least || count > cases[i].most)
			fail_msg("ttl %u in %u..%u: %u queries in 1 s, expected %u to %u", cases[i].ttl, cases[i].min,
			         cases[i].max, count, cases[i].least, cases[i].most);
		tear_down();
	}
}

static void the_last_good_answer_is_kept_while_resolution_fails(void **state)
{
	static const enum behaviour failures[] = {NXDOMAIN, SERVFAIL};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct backend backend;
		set_up();
		server.ttl = 0;
		set_addresses(LIST("192.0.2.1"), LIST("2001:db8::1"));
		backend_init(&backend, "app.example");
		dns_watch(dns, &backend, 50, 60000);
		loop_until(resolutions == 1);
		behave(failures[i], failures[i]);
		loop_until(nevents == 2); /* told once */
		assert_non_null(strstr(events[1].message, "the last good answer is kept"));
		unsigned before = queries();
		loop_for(700);
		assert_true(queries() - before <=
		            1 + 3 * (failures[i] == SERVFAIL)); /* backs off: a second at least, less a quarter */
		assert_int_equal(resolutions, 1);
		assert_int_equal(nevents, 2);
		behave(ANSWER, ANSWER);
		set_addresses(LIST("192.0.2.7"), NULL);
		loop_until(resolutions == 2);
		expect_addresses("192.0.2.7:8080");
		tear_down();
	}
}

static void the_server_goes_and_comes_back(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	server.ttl = 0;
	set_addresses(LIST("192.0.2.1"), NULL);
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 50, 60000);
	loop_until(resolutions == 1);
	/* Nobody listens: ICMP port unreachable. */
	assert_int_equal(write(server.stop[1], "x", 1), 1);
	pthread_join(server.thread, NULL);
	close(server.udp);
	close(server.tcp);
	loop_until(nevents == 2);
	assert_int_equal(nresolved, 1);
	assert_int_equal(resolutions, 1);
	/* Again, on the same port. */
	struct sockaddr_in sa = {
	        .sin_family = AF_INET, .sin_port = htons(server.port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	char byte;
	int one = 1;
	assert_int_equal(read(server.stop[0], &byte, 1), 1);
	server.udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	server.tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(server.tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(server.udp, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(bind(server.tcp, (struct sockaddr *)&sa, sizeof(sa)), 0);
	listen(server.tcp, 16);
	set_addresses(LIST("192.0.2.2"), NULL);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
	loop_until(resolutions == 2);
	expect_addresses("192.0.2.2:8080");
	tear_down();
}

static void one_family_that_fails_neither_delays_nor_removes_the_other(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	server.ttl = 0;
	set_addresses(LIST("192.0.2.1"), LIST("2001:db8::1"));
	behave(ANSWER, SILENT);
	backend_init(&backend, "app.example");
	uint64_t begin = clock_ms();
	dns_watch(dns, &backend, 50, 60000);
	loop_until(resolutions == 1);
	assert_true(clock_ms() - begin < 6000); /* not after the time-out of AAAA: 7 s */
	expect_addresses("192.0.2.1:8080");
	tear_down();

	set_up();
	server.ttl = 0;
	set_addresses(LIST("192.0.2.1"), LIST("2001:db8::1"));
	dns_watch(dns, &backend, 50, 60000);
	loop_until(nresolved == 2);
	behave(ANSWER, SERVFAIL);
	set_addresses(LIST("192.0.2.2"), NULL);
	loop_until(resolutions == 2);
	expect_addresses("192.0.2.2:8080 [2001:db8::1]:8080");
	tear_down();
}

static void replies_that_answer_no_question_are_ignored(void **state)
{
	static const enum behaviour bad[] = {GARBAGE, WRONG_ID};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct backend backend;
		set_up();
		set_addresses(LIST("192.0.2.1"), NULL);
		behave(bad[i], bad[i]);
		backend_init(&backend, "app.example");
		dns_watch(dns, &backend, 50, 60000);
		loop_for(300);
		assert_int_equal(resolutions, 0);
		behave(ANSWER, ANSWER);
		loop_until(resolutions == 1);
		expect_addresses("192.0.2.1:8080");
		tear_down();
	}
}

static void a_truncated_answer_is_fetched_over_tcp(void **state)
{
	(void)state;
	struct backend backend, other;
	set_up();
	behave(TRUNCATE, TRUNCATE);
	set_addresses(LIST("192.0.2.1"), LIST("2001:db8::1"));
	backend_init(&backend, "app.example");
	backend_init(&other, "other.example");
	dns_watch(dns, &backend, 1000, 60000);
	dns_watch(dns, &other, 1000, 60000);
	loop_until(resolutions >= 2 && nresolved == 2);
	expect_addresses("192.0.2.1:8080 [2001:db8::1]:8080");
	assert_true(server.over_tcp >= 4);
	tear_down();
}

static void the_number_of_addresses_is_bounded(void **state)
{
	static char texts[2][80][40];
	const char *v4[81] = {NULL}, *v6[81] = {NULL};
	struct backend backend;
	(void)state;
	set_up();
	for (unsigned i = 0; i < 80; i++) {
		snprintf(texts[0][i], 40, "192.0.2.%u", 200 - i);
		snprintf(texts[1][i], 40, "2001:db8::%x", 200 - i);
		v4[i] = texts[0][i];
		v6[i] = texts[1][i];
	}
	v4[79] = v6[79] = NULL;
	behave(TRUNCATE, TRUNCATE); /* too long for UDP */
	set_addresses(v4, v6);
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 1000, 60000);
	loop_until(nresolved == 64 && resolved[63].family == AF_INET6);
	/* Half of them of each family, the smallest. */
	assert_int_equal(resolved[31].family, AF_INET);
	assert_int_equal(resolved[0].ip[3], 122);
	assert_int_equal(resolved[31].ip[3], 153);
	assert_int_equal(resolved[32].ip[15], 122);
	tear_down();
}

static void addresses_that_no_backend_can_have_are_left_out(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	set_addresses(LIST("0.0.0.0", "224.0.0.1", "192.0.2.1"), LIST("::", "ff02::1", "::ffff:192.0.2.1"));
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 1000, 60000);
	loop_until(resolutions == 1);
	expect_addresses("192.0.2.1:8080");
	tear_down();
}

static void localhost_needs_no_server(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	behave(SILENT, SILENT);
	backend_init(&backend, "localhost");
	struct backend below = backend;
	below.dns_host = (char *)"App.Localhost"; /* in nobody's /etc/hosts */
	dns_watch(dns, &backend, 1000, 60000);
	dns_watch(dns, &below, 1000, 60000);
	loop_until(resolutions >= 2);
	assert_true(nresolved >= 1);
	for (size_t i = 0; i < nresolved; i++)
		assert_true(resolved[i].family == AF_INET ? resolved[i].ip[0] == 127 : resolved[i].ip[15] == 1);
	assert_int_equal(queries(), 0);
	tear_down();
}

static void many_names_are_asked_for_in_turn(void **state)
{
	enum { COUNT = 1000 };
	static struct backend backends[COUNT];
	static char names[COUNT][32];
	(void)state;
	set_up();
	set_addresses(LIST("192.0.2.1"), NULL);
	for (unsigned i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof(names[i]), "n%u.example", i);
		backend_init(&backends[i], names[i]);
		dns_watch(dns, &backends[i], 60000, 60000);
	}
	loop_until(resolutions == COUNT);
	for (unsigned i = 0; i < COUNT; i += 2)
		dns_unwatch(dns, &backends[i]);
	tear_down();
}

static void a_name_may_go_in_the_middle_of_a_query(void **state)
{
	(void)state;
	struct backend backend;
	set_up();
	behave(SILENT, SILENT);
	backend_init(&backend, "app.example");
	dns_watch(dns, &backend, 1000, 60000);
	loop_for(30);
	dns_unwatch(dns, &backend);
	loop_for(30);
	dns_watch(dns, &backend, 1000, 60000);
	loop_for(30);
	assert_int_equal(resolutions, 0);
	tear_down();
}

static void a_bad_list_of_servers_is_refused(void **state)
{
	(void)state;
	engine_set_up();
	log_threshold = (enum log_level)LOG_ERROR;
	assert_null(dns_new(&engine, "not a server"));
	dns = dns_new(&engine, NULL); /* the machine's own resolv.conf */
	assert_non_null(dns);
	dns_free(dns);
	engine_tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(both_families_are_sorted_and_without_duplicates),
	        cmocka_unit_test(backends_share_a_name),
	        cmocka_unit_test(a_refresh_changes_the_set),
	        cmocka_unit_test(the_ttl_is_held_between_floor_and_ceiling),
	        cmocka_unit_test(the_last_good_answer_is_kept_while_resolution_fails),
	        cmocka_unit_test(the_server_goes_and_comes_back),
	        cmocka_unit_test(one_family_that_fails_neither_delays_nor_removes_the_other),
	        cmocka_unit_test(replies_that_answer_no_question_are_ignored),
	        cmocka_unit_test(a_truncated_answer_is_fetched_over_tcp),
	        cmocka_unit_test(the_number_of_addresses_is_bounded),
	        cmocka_unit_test(addresses_that_no_backend_can_have_are_left_out),
	        cmocka_unit_test(localhost_needs_no_server),
	        cmocka_unit_test(many_names_are_asked_for_in_turn),
	        cmocka_unit_test(a_name_may_go_in_the_middle_of_a_query),
	        cmocka_unit_test(a_bad_list_of_servers_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
