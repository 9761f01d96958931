/* SPDX-License-Identifier: Apache-2.0 */
/* The response parser: whole and byte by byte must agree. First byte: bit 0 HEAD, bit 1 closes at the end, rest
 * body_max. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/http_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http_response *run(uint8_t options, const uint8_t *data, size_t size, size_t piece,
                                 enum http_response_result *result)
{
	struct http_response *response = http_response_new((size_t)(options >> 2) * 8);
	if (!response)
		abort();
	if (options & 1)
		http_response_to_head(response);
	*result = HTTP_RESPONSE_MORE;
	for (size_t at = 0; at < size && *result == HTTP_RESPONSE_MORE; at += piece) {
		size_t n = size - at < piece ? size - at : piece;
		/* Of just this size, so that reading beyond it is seen. */
		uint8_t *copy = malloc(n);
		memcpy(copy, data + at, n);
		*result = http_response_feed(response, copy, n);
		free(copy);
	}
	if (options & 2 && *result == HTTP_RESPONSE_MORE)
		*result = http_response_end(response);
	return response;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	enum http_response_result whole, split;
	size_t whole_length, split_length;
	struct http_response *a = run(data[0], data + 1, size - 1, size, &whole);
	struct http_response *b = run(data[0], data + 1, size - 1, 1, &split);
	const uint8_t *whole_body = http_response_body(a, &whole_length);
	const uint8_t *split_body = http_response_body(b, &split_length);
	if (whole != split || http_response_status(a) != http_response_status(b) || whole_length != split_length ||
	    (whole_length && memcmp(whole_body, split_body, whole_length) != 0) ||
	    whole_length > (size_t)(data[0] >> 2) * 8 || strcmp(http_response_error(a), http_response_error(b)) != 0 ||
	    (whole == HTTP_RESPONSE_BAD) != (http_response_error(a)[0] != '\0'))
		abort();
	http_response_free(a);
	http_response_free(b);
	return 0;
}
