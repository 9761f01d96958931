/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/http_response.h"

struct answer {
	const char *what;
	const char *bytes;
	size_t length; /* 0: strlen */
	size_t body_max;
	bool head_only, close;
	enum http_response_result result;
	unsigned status;
	const char *body;  /* when DONE */
	const char *error; /* part of it, when BAD */
};

#define DONE HTTP_RESPONSE_DONE
#define MORE HTTP_RESPONSE_MORE
#define BAD HTTP_RESPONSE_BAD

static const struct answer answers[] = {
        {"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0, 100, false, false, DONE, 200, "hello", NULL},
        {"no reason phrase", "HTTP/1.1 204 \r\n\r\n", 0, 100, false, false, DONE, 204, "", NULL},
        {"no blank after the status", "HTTP/1.1 204\r\n\r\n", 0, 100, false, false, DONE, 204, "", NULL},
        {"until close", "HTTP/1.0 200 OK\r\n\r\nall of it", 0, 100, false, true, DONE, 200, "all of it", NULL},
        {"until close is not over before", "HTTP/1.0 200 OK\r\n\r\nall of it", 0, 100, false, false, MORE, 200, NULL,
         NULL},
        {"304 has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0, 100, false, false, DONE, 304,
         "", NULL},
        {"HEAD has no body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 0, 100, true, false, DONE, 200, "", NULL},
        {"HEAD has no chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 100, true, false, DONE, 200,
         "", NULL},
        {"interim responses are skipped",
         "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 "
         "OK\r\nContent-Length: 1\r\n\r\nx",
         0, 100, false, false, DONE, 200, "x", NULL},
        {"length in an interim response means nothing",
         "HTTP/1.1 100 Continue\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 0, 100,
         false, false, DONE, 200, "x", NULL},
        {"101 is refused", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 0, 100, false, false, BAD, 101, NULL, "101"},
        {"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n", 0,
         100, false, false, DONE, 200, "abc0123456789", NULL},
        {"chunk extensions and trailers",
         "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0 ; x\r\nSum: 1\r\n\r\n", 0, 100,
         false, false, DONE, 200, "abc", NULL},
        {"unfinished chunks are more to come", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", 0, 100,
         false, false, MORE, 200, NULL, NULL},
        {"body_max 0 is done with the head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, 0, false, false, DONE,
         200, "", NULL},
        {"body_max cuts the body", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n0123456789", 0, 4, false, false, DONE,
         200, "0123", NULL},
        {"body_max cuts chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n", 0, 4,
         false, false, DONE, 200, "abcd", NULL},
        {"the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2 , 2\r\n\r\nok", 0, 100,
         false, false, DONE, 200, "ok", NULL},
        {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", 0, 100, false, false,
         BAD, 200, NULL, "twice"},
        {"two lengths in a list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok", 0, 100, false, false, BAD, 200,
         NULL, "twice"},
        {"length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 100,
         false, false, BAD, 200, NULL, "both"},
        {"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n", 0, 100, false, false, BAD, 200, NULL,
         "not a number"},
        {"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", 0, 100, false, false, BAD, 200, NULL,
         "not a number"},
        {"huge length", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", 0, 100, false, false, BAD,
         200, NULL, "too large"},
        {"gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 0, 100, false, false, BAD, 200,
         NULL, "other than chunked"},
        {"chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 100, false, false, BAD, 200,
         NULL, "HTTP/1.0"},
        {"chunk without a size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n", 0, 100, false, false,
         BAD, 200, NULL, "size"},
        {"chunk longer than its size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 0, 100,
         false, false, BAD, 200, NULL, "longer"},
        {"chunk of 2^68 bytes", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 0, 100,
         false, false, BAD, 200, NULL, "too large"},
        {"LF alone", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 0, 100, false, false, BAD, 0, NULL, "LF without CR"},
        {"CR alone", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", 0, 100, false, false, BAD, 200, NULL, "CR stands alone"},
        {"folded field", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", 0, 100, false, false, BAD, 200, NULL, "malformed"},
        {"blank before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", 0, 100, false, false, BAD, 200,
         NULL, "malformed"},
        {"field without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", 0, 100, false, false, BAD, 200, NULL,
         "malformed"},
        {"control character", "HTTP/1.1 200 OK\r\nA: \001\r\n\r\n", 0, 100, false, false, BAD, 200, NULL, "control"},
        {"NUL in a value", "HTTP/1.1 200 OK\r\nA: \0b\r\n\r\n", 27, 100, false, false, BAD, 200, NULL, "control"},
        {"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", 0, 100, false, false, BAD, 0, NULL, "not HTTP/1"},
        {"another protocol", "SSH-2.0-OpenSSH_9.2\r\n", 0, 100, false, false, BAD, 0, NULL, "not HTTP/1"},
        {"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", 0, 100, false, false, BAD, 0, NULL, "malformed"},
        {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", 0, 100, false, false, BAD, 0, NULL, "malformed"},
        {"status 099", "HTTP/1.1 099 OK\r\n\r\n", 0, 100, false, false, BAD, 0, NULL, "malformed"},
        {"closed without an answer", "", 0, 100, false, true, BAD, 0, NULL, "without an answer"},
        {"closed in the head", "HTTP/1.1 200 OK\r\nA: b", 0, 100, false, true, BAD, 200, NULL, "within the head"},
        {"closed in the body", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", 0, 100, false, true, BAD, 200, NULL,
         "within the body"},
        {"closed in the chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 0, 100, false,
         true, BAD, 200, NULL, "within the body"},
};

static void check(const struct answer *answer, size_t piece)
{
	size_t length = answer->length ? answer->length : strlen(answer->bytes);
	struct http_response *response = http_response_new(answer->body_max);
	enum http_response_result result = MORE;

	assert_non_null(response);
	if (answer->head_only)
		http_response_to_head(response);
	for (size_t at = 0; at < length && result == MORE; at += piece) {
		/* A copy of just these bytes: reading beyond them is seen by the sanitizer. */
		size_t n = length - at < piece ? length - at : piece;
		uint8_t *copy = malloc(n);
		memcpy(copy, answer->bytes + at, n);
		result = http_response_feed(response, copy, n);
		free(copy);
	}
	if (answer->close && result == MORE)
		result = http_response_end(response);
	if (result != answer->result)
		fail_msg("%s, in pieces of %zu: result %d (%s), expected %d", answer->what, piece, result,
		         http_response_error(response), answer->result);
	if (http_response_status(response) != answer->status)
		fail_msg("%s: status %u, expected %u", answer->what, http_response_status(response), answer->status);
	if (result == DONE) {
		size_t body_length;
		const uint8_t *body = http_response_body(response, &body_length);
		if (body_length != strlen(answer->body) ||
		    (body_length && memcmp(body, answer->body, body_length) != 0))
			fail_msg("%s: body \"%.*s\", expected \"%s\"", answer->what, (int)body_length, body,
			         answer->body);
		/* What comes after the end changes nothing. */
		assert_int_equal(http_response_feed(response, (const uint8_t *)"\r\nmore", 6), DONE);
		assert_int_equal(http_response_end(response), DONE);
	}
	if (result == BAD) {
		if (!strstr(http_response_error(response), answer->error))
			fail_msg("%s: error \"%s\" does not say \"%s\"", answer->what, http_response_error(response),
			         answer->error);
		assert_int_equal(http_response_feed(response, (const uint8_t *)"x", 1), BAD);
	}
	http_response_free(response);
}

static void every_answer_is_judged_alike_in_any_pieces(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		for (size_t piece = 1; piece < 24; piece++)
			check(&answers[i], piece);
		check(&answers[i], 4096);
	}
}

static enum http_response_result feed_times(struct http_response *response, const char *text, unsigned times)
{
	enum http_response_result result = MORE;
	for (unsigned i = 0; i < times && result == MORE; i++)
		result = http_response_feed(response, (const uint8_t *)text, strlen(text));
	return result;
}

static void heads_are_bounded(void **state)
{
	static const struct {
		const char *begin, *repeat;
	} floods[] = {
	        {"HTTP/1.1 200 ", "aaaaaaaaaaaaaaaa"},
	        {"HTTP/1.1 200 OK\r\n", "A: bbbbbbbbbbbb\r\n"},
	        {"", "HTTP/1.1 100 Continue\r\n\r\n"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "A: bbbbbbbbbbbb\r\n"},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "aaaaaaaaaaaaaaaa"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(floods) / sizeof(*floods); i++) {
		struct http_response *response = http_response_new(65536);
		assert_int_equal(feed_times(response, floods[i].begin, 1), MORE);
		assert_int_equal(feed_times(response, floods[i].repeat, 1100), BAD);
		assert_non_null(strstr(http_response_error(response), "16 KiB"));
		http_response_free(response);
	}
}

static void a_body_of_many_small_chunks_is_read_to_its_end(void **state)
{
	(void)state;
	struct http_response *response = http_response_new(65536);
	size_t length;
	assert_int_equal(feed_times(response, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 1), MORE);
	assert_int_equal(feed_times(response, "1\r\nx\r\n", 60000), MORE);
	assert_int_equal(feed_times(response, "0\r\n\r\n", 1), DONE);
	http_response_body(response, &length);
	assert_int_equal(length, 60000);
	http_response_free(response);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(every_answer_is_judged_alike_in_any_pieces),
	        cmocka_unit_test(heads_are_bounded),
	        cmocka_unit_test(a_body_of_many_small_chunks_is_read_to_its_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
