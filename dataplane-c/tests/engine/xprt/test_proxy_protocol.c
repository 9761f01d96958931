/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xprt/proxy_protocol.h"

#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static int parse(const void *data, size_t length, struct proxy_header *header)
{
	const char *error;
	/* A copy of exact length, so that a sanitizer sees a read behind it. */
	uint8_t *copy = malloc(length ? length : 1);
	memcpy(copy, data, length);
	int n = proxy_header_parse(copy, length, header, &error);
	assert_true((n < 0) == (error != NULL));
	free(copy);
	return n;
}

static void is_read(const char *data, size_t length, const char *source, const char *destination)
{
	struct proxy_header header;
	char text[ADDR_TEXT_MAX];

	for (size_t n = 0; n < length; n++)
		assert_int_equal(parse(data, n, &header), 0);
	/* What follows belongs to the stream. */
	char *longer = malloc(length + 700);
	memcpy(longer, data, length);
	memset(longer + length, 'x', 700);
	for (size_t extra = 0; extra < 700; extra += 99)
		assert_int_equal(parse(longer, length + extra, &header), length);
	free(longer);
	assert_int_equal(header.local, source == NULL);
	if (source) {
		assert_string_equal(addr_text(&header.source, text), source);
		assert_string_equal(addr_text(&header.destination, text), destination);
	}
}

#define READS(literal, source, destination) is_read(literal, sizeof(literal) - 1, source, destination)

static void lawful_v1_headers_are_read_at_every_split(void **state)
{
	(void)state;
	READS("PROXY TCP4 203.0.113.7 198.51.100.1 40112 443\r\n", "203.0.113.7:40112", "198.51.100.1:443");
	READS("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
	      "255.255.255.255:65535");
	READS("PROXY TCP6 2001:db8::1 2001:db8::2 1 0\r\n", "[2001:db8::1]:1", "[2001:db8::2]:0");
	/* The longest of a known family: 104 bytes. */
	READS("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
	      "65535\r\n",
	      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	READS("PROXY UNKNOWN\r\n", NULL, NULL);
	READS("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", NULL, NULL);
}

static void lawful_v2_headers_are_read_at_every_split(void **state)
{
	(void)state;
	READS(V2_SIGNATURE "\x21\x11\x00\x0c\xcb\x00\x71\x07\xc6\x33\x64\x01\x9c\xb0\x01\xbb", "203.0.113.7:40112",
	      "198.51.100.1:443");
	/* TLVs behind the addresses are passed over. */
	READS(V2_SIGNATURE "\x21\x11\x00\x11\xcb\x00\x71\x07\xc6\x33\x64\x01\x9c\xb0\x01\xbb\x04\x00\x02\x00\x00",
	      "203.0.113.7:40112", "198.51.100.1:443");
	READS(V2_SIGNATURE
	      "\x21\x21\x00\x24"
	      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x00\x50\x1f\x90",
	      "[2001:db8::1]:80", "[2001:db8::2]:8080");
	READS(V2_SIGNATURE "\x20\x00\x00\x00", NULL, NULL);
	READS(V2_SIGNATURE "\x20\x11\x00\x03zzz", NULL, NULL);
	READS(V2_SIGNATURE "\x21\x00\x00\x00", NULL, NULL);
	READS(V2_SIGNATURE "\x21\x31\x00\x02qq", NULL, NULL); /* AF_UNIX: the connection's own addresses */
}

#define REFUSED(literal) assert_int_equal(parse(literal, sizeof(literal) - 1, &header), -1)

static void unlawful_headers_are_refused(void **state)
{
	(void)state;
	struct proxy_header header;

	REFUSED("G");
	REFUSED("GET / HTTP/1.1\r\n");
	REFUSED("PROXX");
	REFUSED("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rx");
	REFUSED("PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n");
	REFUSED("PROXY TCP4 1.2.3.4 1.2.3.4  1\r\n");
	REFUSED("PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n");
	REFUSED("PROXY TCP4 ::1 ::1 1 1\r\n");
	REFUSED("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n");
	REFUSED("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n");
	REFUSED("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n");
	REFUSED("PROXY UNKNOWNX\r\n");
	REFUSED("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 1\r\n");
	REFUSED(V2_SIGNATURE "\x11");             /* version 1 */
	REFUSED(V2_SIGNATURE "\x22\x11\x00\x0c"); /* no such command */
	REFUSED(V2_SIGNATURE "\x21\x11\x00\x0b"); /* too short for its family */
	REFUSED(V2_SIGNATURE "\x21\x21\x00\x23");
	REFUSED(V2_SIGNATURE "\x21\x11\x02\x09"); /* 521 bytes */
}

static void a_version_1_line_ends_within_107_bytes(void **state)
{
	(void)state;
	struct proxy_header header;
	char line[200];

	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(parse(line, 107, &header), 107);
	assert_int_equal(parse(line, 106, &header), 0);
	memset(line + 14, 'x', sizeof(line) - 14);
	assert_int_equal(parse(line, 106, &header), 0);
	assert_int_equal(parse(line, 107, &header), -1);
	memcpy(line + 106, "\r\n", 2);
	assert_int_equal(parse(line, 108, &header), -1);
}

static void the_longest_version_2_header_is_read(void **state)
{
	(void)state;
	struct proxy_header header;
	uint8_t data[PROXY_HEADER_MAX] = V2_SIGNATURE "\x21\x11\x02\x08";

	assert_int_equal(parse(data, sizeof(data) - 1, &header), 0);
	assert_int_equal(parse(data, sizeof(data), &header), sizeof(data));
}

static void what_is_written_is_read_back(void **state)
{
	(void)state;
	static const struct addr v4[2] = {{.family = AF_INET, .port = 65535, .ip = {203, 0, 113, 7}},
	                                  {.family = AF_INET, .port = 1, .ip = {198, 51, 100, 1}}};
	static const struct addr v6[2] = {{.family = AF_INET6, .port = 443, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}},
	                                  {.family = AF_INET6, .port = 0, .ip = {0xfe, 0x80, [15] = 2}}};
	for (uint8_t version = 1; version <= 2; version++) {
		for (unsigned family = 0; family < 2; family++) {
			const struct addr *addrs = family ? v6 : v4;
			uint8_t out[PROXY_HEADER_MAX];
			struct proxy_header header;
			size_t n = proxy_header_write(version, &addrs[0], &addrs[1], out);
			assert_int_equal(parse(out, n, &header), n);
			assert_int_equal(header.version, version);
			assert_false(header.local);
			assert_true(addr_equal(&header.source, &addrs[0]));
			assert_true(addr_equal(&header.destination, &addrs[1]));
		}
		/* Families that differ, and none. */
		struct addr unix_addr = {.family = AF_UNIX, .path = "/x"};
		const struct addr *odd[][2] = {{&v4[0], &v6[1]}, {&unix_addr, &unix_addr}};
		for (unsigned i = 0; i < 2; i++) {
			uint8_t out[PROXY_HEADER_MAX];
			struct proxy_header header;
			size_t n = proxy_header_write(version, odd[i][0], odd[i][1], out);
			assert_int_equal(parse(out, n, &header), n);
			assert_true(header.local);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lawful_v1_headers_are_read_at_every_split),
	        cmocka_unit_test(lawful_v2_headers_are_read_at_every_split),
	        cmocka_unit_test(unlawful_headers_are_refused),
	        cmocka_unit_test(a_version_1_line_ends_within_107_bytes),
	        cmocka_unit_test(the_longest_version_2_header_is_read),
	        cmocka_unit_test(what_is_written_is_read_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
