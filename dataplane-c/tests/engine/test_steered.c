/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets of listeners that sk_lookup steers to, on loopback, of which all of 127.0.0.0/8 is this node's. */
#include "steered.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "listen.h"

static struct listener listener_of(const char *address, uint8_t length, uint16_t first, uint16_t last)
{
	struct listener listener = {.transport = TRANSPORT_TCP, .steered = true, .prefix_length = length};
	uint8_t bytes[16];

	listener.port_last = last;
	if (*address)
		assert_true(addr_from_bytes(&listener.addr, bytes,
		                            inet_pton(AF_INET, address, bytes) == 1    ? 4
		                            : inet_pton(AF_INET6, address, bytes) == 1 ? 16
		                                                                       : 0,
		                            0));
	listener.addr.port = first;
	return listener;
}

static struct addr addr_at(const char *address, uint16_t port)
{
	struct listener listener = listener_of(address, 0, port, port);

	return listener.addr;
}

static int serve(const char *address, uint16_t port, int type, bool share)
{
	struct addr addr = addr_at(address, port);
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&addr, false, &sa);
	const int on = 1;
	int fd = socket(sa.ss_family, type | SOCK_CLOEXEC, 0);

	if (share)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in sa = {0};
	socklen_t length = sizeof(sa);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	return ntohs(sa.sin_port);
}

static void clients_come_to_the_prefix_and_its_ports_alone(void **state)
{
	(void)state;
	struct listener v4 = listener_of("192.0.2.0", 24, 80, 90), any = listener_of("", 0, 80, 90);
	struct listener v6 = listener_of("2001:db8::", 64, 443, 443), whole = listener_of("192.0.2.7", 32, 80, 90);
	static const struct {
		const char *address;
		uint16_t port;
		bool v4, any, v6, whole;
	} cases[] = {
	        {"192.0.2.7", 80, true, true, false, true},           {"192.0.2.255", 90, true, true, false, false},
	        {"192.0.2.7", 79, false, false, false, false},        {"192.0.2.7", 91, false, false, false, false},
	        {"192.0.3.0", 80, false, true, false, false},         {"2001:db8::1", 443, false, false, true, false},
	        {"2001:db8:0:1::1", 443, false, false, false, false}, {"2001:db8::1", 85, false, true, false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr addr = addr_at(cases[i].address, cases[i].port);
		assert_int_equal(steered_has(&v4, &addr), cases[i].v4);
		assert_int_equal(steered_has(&any, &addr), cases[i].any);
		assert_int_equal(steered_has(&v6, &addr), cases[i].v6);
		assert_int_equal(steered_has(&whole, &addr), cases[i].whole);
	}
}

static void a_range_is_refused_while_somebody_has_a_port_of_it(void **state)
{
	(void)state;
	int other = serve("127.0.0.1", 0, SOCK_STREAM, false);
	uint16_t port = port_of(other);
	struct listener range = listener_of("127.0.0.1", 32, (uint16_t)(port - 2), (uint16_t)(port + 2));
	struct listener any = listener_of("", 0, port, port), elsewhere = listener_of("127.0.0.2", 32, port, port);

	assert_int_equal(steered_check(&range, true), -EADDRINUSE);
	assert_int_equal(steered_check(&any, true), -EADDRINUSE);
	assert_int_equal(steered_check(&elsewhere, true), 0);
	/* A prefix goes before it, as sk_lookup is asked first. */
	struct listener prefix = listener_of("127.0.0.0", 8, port, port);
	assert_int_equal(steered_check(&prefix, true), 0);
	close(other);
	/* Our own sockets let others of ours in. */
	other = serve("127.0.0.1", port, SOCK_STREAM, true);
	struct listener again = listener_of("127.0.0.1", 32, port, port);
	assert_int_equal(steered_check(&again, true), 0);
	close(other);
}

static void a_prefix_that_is_not_the_nodes_is_refused(void **state)
{
	(void)state;
	struct listener v4 = listener_of("192.0.2.0", 24, 80, 80), v6 = listener_of("2001:db8::", 64, 80, 80);
	struct listener more = listener_of("126.0.0.0", 7, 80, 80);

	assert_int_equal(steered_check(&v4, true), -EADDRNOTAVAIL);
	assert_int_equal(steered_check(&v6, true), -EADDRNOTAVAIL);
	/* Half of it is. */
	assert_int_equal(steered_check(&more, true), -EADDRNOTAVAIL);
}

static void a_group_shares_one_port_of_loopback(void **state)
{
	(void)state;
	struct sockaddr_in sa = {0};
	socklen_t length = sizeof(sa);
	const int on = 1;
	int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(steered_bind(first, AF_INET, false, -1), 0);
	setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	setsockopt(second, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	assert_int_equal(steered_bind(second, AF_INET, false, first), 0);
	assert_int_equal(port_of(first), port_of(second));
	assert_int_not_equal(port_of(first), 0);
	assert_int_equal(getsockname(first, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(sa.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	close(first);
	close(second);
}

static void answers_come_from_where_the_client_has_sent_to(void **state)
{
	(void)state;
	struct addr addr = addr_at("127.1.2.3", 5353);
	struct sockaddr_storage sa, from;
	socklen_t length = addr_to_sockaddr(&addr, false, &sa), from_length = sizeof(from);
	struct sockaddr_in to = {0};
	socklen_t to_length = sizeof(to);
	char byte = 0;

	int client = serve("127.0.0.1", 0, SOCK_DGRAM, false), one = steered_reply_socket(&sa, length);
	int two = steered_reply_socket(&sa, length); /* of another session */
	assert_true(one >= 0 && two >= 0);
	assert_int_equal(getsockname(client, (struct sockaddr *)&to, &to_length), 0);
	assert_int_equal(sendto(two, "x", 1, 0, (struct sockaddr *)&to, to_length), 1);
	assert_int_equal(recvfrom(client, &byte, 1, 0, (struct sockaddr *)&from, &from_length), 1);
	assert_memory_equal(&from, &sa, 8);
	/* It takes nothing from the listener. */
	assert_int_equal(sendto(client, "y", 1, 0, (struct sockaddr *)&sa, length), 1);
	assert_int_equal(recv(one, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(recv(two, &byte, 1, MSG_DONTWAIT), -1);
	close(client);
	close(one);
	close(two);
}

static void keys_tell_prefix_and_ports(void **state)
{
	(void)state;
	struct listener v4 = listener_of("192.0.2.0", 24, 80, 80), any = listener_of("", 0, 5000, 5999);
	char key[LISTEN_KEY_MAX];

	listen_key(&v4, 3, key);
	assert_string_equal(key, "tcp|c0000200/24|80-80|3");
	any.transport = TRANSPORT_UDP;
	listen_key(&any, 0, key);
	assert_string_equal(key, "udp|*/0|5000-5999|0");
	struct listener v6 = listener_of("2001:db8:ffff:ffff:ffff:ffff:ffff:fffe", 127, 10000, 65535);
	listen_key(&v6, 255, key);
	assert_string_equal(key, "tcp|20010db8fffffffffffffffffffffffe/127|10000-65535|255");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(clients_come_to_the_prefix_and_its_ports_alone),
	        cmocka_unit_test(a_range_is_refused_while_somebody_has_a_port_of_it),
	        cmocka_unit_test(a_prefix_that_is_not_the_nodes_is_refused),
	        cmocka_unit_test(a_group_shares_one_port_of_loopback),
	        cmocka_unit_test(answers_come_from_where_the_client_has_sent_to),
	        cmocka_unit_test(keys_tell_prefix_and_ports),
	};
	return cmocka_run_group_tests_name("steered", tests, NULL, NULL);
}
