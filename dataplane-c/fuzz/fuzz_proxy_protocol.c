/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads arbitrary bytes as a PROXY header and checks what must hold of every answer: a header lies inside the bytes,
 * what is refused or read stays so when more bytes follow, "more needed" ends at the longest header, and addresses that
 * were read can be written and read back.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xprt/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

static void check_prefixes(const uint8_t *data, size_t length, int result)
{
	struct proxy_header header;
	const char *error;

	for (size_t n = 0; n < length && n < PROXY_HEADER_MAX; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		CHECK(copy);
		memcpy(copy, data, n);
		int shorter = proxy_header_parse(copy, n, &header, &error);
		free(copy);
		CHECK(shorter == 0 || shorter == result);
	}
}

static void check_round_trip(const struct proxy_header *header)
{
	uint8_t out[PROXY_HEADER_MAX];
	struct proxy_header again;
	const char *error;

	for (uint8_t version = 1; version <= 2; version++) {
		size_t n = proxy_header_write(version, &header->source, &header->destination, out);
		CHECK(n <= PROXY_HEADER_MAX && (version == 2 || n <= PROXY_V1_MAX));
		CHECK(proxy_header_parse(out, n, &again, &error) == (int)n);
		if (again.local) /* one of them was an IPv4-mapped address, the other not */
			CHECK(header->source.family != header->destination.family);
		else
			CHECK(addr_equal(&again.source, &header->source) &&
			      addr_equal(&again.destination, &header->destination));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	struct proxy_header header;
	const char *error;
	int result = proxy_header_parse(data, length, &header, &error);

	CHECK(result >= -1 && result <= (int)PROXY_HEADER_MAX && (result <= 0 || (size_t)result <= length));
	CHECK((result == -1) == (error != NULL));
	CHECK(result != 0 || length < PROXY_HEADER_MAX);
	check_prefixes(data, length, result);
	if (result > 0 && !header.local)
		check_round_trip(&header);
	return 0;
}
