/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "addr.h"

static struct addr parse(const char *text, uint16_t port)
{
	struct addr addr;
	uint8_t bytes[16];
	if (strchr(text, ':')) {
		assert_int_equal(inet_pton(AF_INET6, text, bytes), 1);
		assert_true(addr_from_bytes(&addr, bytes, 16, port));
	} else {
		assert_int_equal(inet_pton(AF_INET, text, bytes), 1);
		assert_true(addr_from_bytes(&addr, bytes, 4, port));
	}
	return addr;
}

static void addresses_survive_the_way_through_a_sockaddr(void **state)
{
	(void)state;
	static const char *const texts[] = {"203.0.113.7", "0.0.0.0", "2001:db8::1", "::1", "::"};
	for (size_t i = 0; i < 5; i++) {
		struct addr addr = parse(texts[i], 8080), back;
		struct sockaddr_storage sa;
		socklen_t length = addr_to_sockaddr(&addr, false, &sa);
		assert_int_equal(length,
		                 addr.family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
		addr_from_sockaddr(&back, &sa);
		assert_true(addr_equal(&addr, &back));
	}
}

static void a_mapped_address_is_ipv4(void **state)
{
	(void)state;
	struct addr mapped = parse("::ffff:10.1.2.3", 53), plain = parse("10.1.2.3", 53), back;
	struct sockaddr_storage sa;
	assert_int_equal(mapped.family, AF_INET);
	assert_true(addr_equal(&mapped, &plain));
	/* On a dual-stack socket it is written mapped, and comes back as what it was. */
	assert_int_equal(addr_to_sockaddr(&plain, true, &sa), sizeof(struct sockaddr_in6));
	assert_true(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&sa)->sin6_addr));
	addr_from_sockaddr(&back, &sa);
	assert_true(addr_equal(&plain, &back));
}

static void the_longest_unix_path_fits(void **state)
{
	(void)state;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	struct addr addr = {.family = AF_UNIX, .path = path};
	struct sockaddr_storage sa;
	socklen_t length = addr_to_sockaddr(&addr, false, &sa);
	assert_int_equal(length, sizeof(struct sockaddr_un));
	assert_string_equal(((struct sockaddr_un *)&sa)->sun_path, path);
}

static void only_four_or_sixteen_bytes_are_an_address(void **state)
{
	(void)state;
	uint8_t bytes[32] = {1};
	struct addr addr;
	for (size_t length = 0; length < 32; length++)
		assert_int_equal(addr_from_bytes(&addr, bytes, length, 1), length == 4 || length == 16);
}

static void addresses_are_written_as_operators_write_them(void **state)
{
	(void)state;
	char text[ADDR_TEXT_MAX];
	struct addr addr = parse("203.0.113.7", 80);
	assert_string_equal(addr_text(&addr, text), "203.0.113.7:80");
	addr = parse("2001:db8::1", 443);
	assert_string_equal(addr_text(&addr, text), "[2001:db8::1]:443");
	addr.scope = 3;
	assert_string_equal(addr_text(&addr, text), "[2001:db8::1%3]:443");
	addr = (struct addr){.family = AF_UNIX, .path = "/run/x.sock"};
	assert_string_equal(addr_text(&addr, text), "unix:/run/x.sock");
	addr = (struct addr){.port = 53};
	assert_string_equal(addr_text(&addr, text), "*:53");
}

static struct prefix prefix_of(const char *text, uint8_t length)
{
	struct addr addr = parse(text, 0);
	struct prefix prefix = {.family = (uint8_t)addr.family, .length = length};
	memcpy(prefix.ip, addr.ip, 16);
	return prefix;
}

static void a_prefix_contains_its_network_and_nothing_else(void **state)
{
	(void)state;
	static const struct {
		const char *prefix;
		uint8_t length;
		const char *addr;
		bool in;
	} cases[] = {
	        {"10.0.0.0", 8, "10.255.0.1", true},
	        {"10.0.0.0", 8, "11.0.0.1", false},
	        {"192.0.2.128", 25, "192.0.2.129", true},
	        {"192.0.2.128", 25, "192.0.2.127", false},
	        {"0.0.0.0", 0, "8.8.8.8", true},
	        {"0.0.0.0", 0, "2001:db8::1", false},
	        {"192.0.2.1", 32, "192.0.2.1", true},
	        {"192.0.2.1", 32, "192.0.2.2", false},
	        {"2001:db8::", 33, "2001:db8:7fff::1", true},
	        {"2001:db8::", 33, "2001:db8:8000::1", false},
	        {"::", 0, "2001:db8::1", true},
	        {"::", 0, "10.0.0.1", false},
	        {"2001:db8::1", 128, "2001:db8::1", true},
	        {"2001:db8::1", 128, "2001:db8::2", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct prefix prefix = prefix_of(cases[i].prefix, cases[i].length);
		struct addr addr = parse(cases[i].addr, 1234);
		assert_int_equal(prefix_contains(&prefix, &addr), cases[i].in);
	}
}

static void an_impossible_prefix_length_reads_no_further_than_the_address(void **state)
{
	(void)state;
	struct prefix prefix = prefix_of("10.0.0.0", 8);
	struct addr addr = parse("10.0.0.0", 0);
	for (unsigned length = 33; length < 256; length++) {
		prefix.length = (uint8_t)length;
		assert_false(prefix_contains(&prefix, &addr));
	}
}

/* Two addresses have the same mask exactly when a prefix of one contains the other. */
static void masking_agrees_with_containing(void **state)
{
	(void)state;
	srand(7);
	for (unsigned round = 0; round < 20000; round++) {
		struct addr a = parse(round % 2 ? "192.0.2.1" : "2001:db8::1", 1), b = a, ma, mb;
		unsigned bytes = a.family == AF_INET ? 4 : 16;
		unsigned bit = (unsigned)rand() % (bytes * 8), length = (unsigned)rand() % (bytes * 8 + 1);
		b.ip[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
		struct prefix prefix = {.family = (uint8_t)a.family, .length = (uint8_t)length};
		memcpy(prefix.ip, a.ip, 16);
		addr_mask(&a, (uint8_t)length, (uint8_t)length, &ma);
		addr_mask(&b, (uint8_t)length, (uint8_t)length, &mb);
		assert_int_equal(addr_equal(&ma, &mb), bit >= length);
		assert_int_equal(prefix_contains(&prefix, &b), bit >= length);
		assert_int_equal(ma.port, 0);
	}
}

static void equal_addresses_hash_equal_whatever_their_port(void **state)
{
	(void)state;
	struct addr a = parse("192.0.2.1", 1), b = parse("192.0.2.1", 2), c = parse("192.0.2.2", 1);
	assert_true(addr_hash(&a, 5) == addr_hash(&b, 5));
	assert_false(addr_hash(&a, 5) == addr_hash(&c, 5));
	assert_false(addr_hash(&a, 5) == addr_hash(&a, 6));
	assert_false(addr_equal(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(addresses_survive_the_way_through_a_sockaddr),
	        cmocka_unit_test(a_mapped_address_is_ipv4),
	        cmocka_unit_test(the_longest_unix_path_fits),
	        cmocka_unit_test(only_four_or_sixteen_bytes_are_an_address),
	        cmocka_unit_test(addresses_are_written_as_operators_write_them),
	        cmocka_unit_test(a_prefix_contains_its_network_and_nothing_else),
	        cmocka_unit_test(an_impossible_prefix_length_reads_no_further_than_the_address),
	        cmocka_unit_test(masking_agrees_with_containing),
	        cmocka_unit_test(equal_addresses_hash_equal_whatever_their_port),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
