/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9112, the response side, as strict as a proxy should be with what it did not ask for: lines end in CRLF, no
 * folding, no blank before a colon, one framing only. States, in order:
 *
 *   STATUS ─▶ FIELDS ─┬▶ BODY_LENGTH ────────────────────────────┬▶ COMPLETE
 *     ▲         │     ├▶ CHUNK_SIZE ⇄ CHUNK_DATA ─▶ TRAILERS ────┤
 *     └── 1xx ──┘     ├▶ BODY_UNTIL_CLOSE ── http_response_end ──┤
 *                     └── no body (HEAD, 204, 304), body_max 0 ──┘          any ─▶ BROKEN
 */
#include "http_response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum state {
	STATUS,
	FIELDS,
	BODY_LENGTH,
	BODY_UNTIL_CLOSE,
	CHUNK_SIZE,
	CHUNK_DATA,
	CHUNK_DATA_END,
	TRAILERS,
	COMPLETE,
	BROKEN,
};

struct http_response {
	enum state state;
	bool head_only; /* the request was HEAD */
	unsigned status;
	unsigned minor; /* HTTP/1.minor */
	bool chunked;
	bool has_length;
	uint64_t remaining;   /* of the body or the chunk */
	size_t framing_bytes; /* heads, chunk lines beyond the bare size, trailers: all together bounded */
	size_t body_max, body_length, body_capacity;
	uint8_t *body;
	size_t line_length;
	bool line_cr; /* the line's last byte was CR */
	char *line;   /* HTTP_RESPONSE_HEAD_MAX bytes, from the first byte on */
	char error[112];
};

struct http_response *http_response_new(size_t body_max)
{
	struct http_response *response = calloc(1, sizeof(*response));
	if (response)
		response->body_max = body_max;
	return response;
}

void http_response_free(struct http_response *response)
{
	if (!response)
		return;
	free(response->line);
	free(response->body);
	free(response);
}

void http_response_to_head(struct http_response *response)
{
	response->head_only = true;
}

unsigned http_response_status(const struct http_response *response)
{
	return response->status;
}

const uint8_t *http_response_body(const struct http_response *response, size_t *length)
{
	*length = response->body_length;
	return response->body;
}

const char *http_response_error(const struct http_response *response)
{
	return response->error;
}

static enum http_response_result broken(struct http_response *response, const char *what)
{
	response->state = BROKEN;
	snprintf(response->error, sizeof(response->error), "%s", what);
	return HTTP_RESPONSE_BAD;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* tchar of RFC 9110 section 5.6.2. */
static bool is_token_char(uint8_t c)
{
	return is_digit((char)c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_text(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		uint8_t c = (uint8_t)text[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* status-line = HTTP-version SP status-code SP [reason-phrase]. The blank before an absent reason is missing with
 * enough servers that a probe has to live without it. */
static bool parse_status(struct http_response *response, const char *line, size_t length)
{
	if (length < 12 || memcmp(line, "HTTP/1.", 7) != 0 || !is_digit(line[7]) || line[8] != ' ') {
		broken(response, "the answer is not HTTP/1: it does not begin with a status line");
		return false;
	}
	response->minor = (unsigned)(line[7] - '0');
	if (!is_digit(line[9]) || !is_digit(line[10]) || !is_digit(line[11]) || line[9] < '1' ||
	    (length > 12 && line[12] != ' ') || !is_text(line + 12, length - 12)) {
		broken(response, "the status line is malformed");
		return false;
	}
	response->status =
	        (unsigned)(line[9] - '0') * 100 + (unsigned)(line[10] - '0') * 10 + (unsigned)(line[11] - '0');
	response->has_length = false;
	response->chunked = false;
	return true;
}

/* Content-Length: digits, or a list of the same digits (RFC 9112 section 6.3, point 5). */
static bool parse_length(struct http_response *response, const char *value, size_t length)
{
	size_t at = 0;
	do {
		uint64_t number = 0;
		size_t digits = at;
		for (; at < length && is_digit(value[at]); at++) {
			if (number > (UINT64_MAX - 9) / 10)
				return broken(response, "Content-Length is too large"), false;
			number = number * 10 + (uint64_t)(value[at] - '0');
		}
		if (at == digits)
			return broken(response, "Content-Length is not a number"), false;
		if (response->has_length && response->remaining != number)
			return broken(response, "Content-Length is given twice with different values"), false;
		response->has_length = true;
		response->remaining = number;
		while (at < length && (value[at] == ' ' || value[at] == '\t'))
			at++;
		if (at == length)
			return true;
		if (value[at++] != ',')
			return broken(response, "Content-Length is not a number"), false;
		while (at < length && (value[at] == ' ' || value[at] == '\t'))
			at++;
	} while (true);
}

static bool parse_field(struct http_response *response, const char *line, size_t length, bool trailer)
{
	size_t name = 0;
	while (name < length && is_token_char((uint8_t)line[name]))
		name++;
	if (name == 0 || name == length || line[name] != ':')
		return broken(response, "a header line is malformed"), false;
	const char *value = line + name + 1;
	size_t value_length = length - name - 1;
	while (value_length && (*value == ' ' || *value == '\t')) {
		value++;
		value_length--;
	}
	while (value_length && (value[value_length - 1] == ' ' || value[value_length - 1] == '\t'))
		value_length--;
	if (!is_text(value, value_length))
		return broken(response, "a header's value has a control character"), false;
	if (trailer || response->status < 200)
		return true; /* framing is told by the final head alone */
	if (name == 14 && strncasecmp(line, "Content-Length", name) == 0)
		return parse_length(response, value, value_length);
	if (name == 17 && strncasecmp(line, "Transfer-Encoding", name) == 0) {
		/* No TE was sent, so nothing but chunked can have been answered. */
		if (response->chunked || value_length != 7 || strncasecmp(value, "chunked", 7) != 0)
			return broken(response, "Transfer-Encoding is other than chunked"), false;
		response->chunked = true;
	}
	return true;
}

/* The empty line after the header fields: which body follows (RFC 9112 section 6.3)? */
static enum http_response_result head_complete(struct http_response *response)
{
	if (response->status == 101)
		return broken(response, "status 101: the server switched protocols, which nobody asked for");
	if (response->status < 200) {
		response->state = STATUS;
		return HTTP_RESPONSE_MORE;
	}
	bool no_body = response->head_only || response->status == 204 || response->status == 304;
	if (!no_body && response->chunked && response->has_length)
		return broken(response, "both Content-Length and Transfer-Encoding are given");
	if (!no_body && response->chunked && response->minor == 0)
		return broken(response, "Transfer-Encoding is given in HTTP/1.0");
	if (no_body || response->body_max == 0 || (response->has_length && response->remaining == 0)) {
		response->state = COMPLETE;
		return HTTP_RESPONSE_DONE;
	}
	response->state = response->chunked ? CHUNK_SIZE : response->has_length ? BODY_LENGTH : BODY_UNTIL_CLOSE;
	return HTTP_RESPONSE_MORE;
}

/* chunk = chunk-size [ chunk-ext ] CRLF; extensions are bounded with the heads and otherwise ignored. */
static bool parse_chunk_size(struct http_response *response, const char *line, size_t length)
{
	uint64_t size = 0;
	size_t at = 0;
	for (; at < length; at++) {
		char c = line[at];
		unsigned digit;
		if (is_digit(c))
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (unsigned)(c - 'A') + 10;
		else
			break;
		if (at == 16)
			return broken(response, "a chunk's size is too large"), false;
		size = size << 4 | digit;
	}
	if (at == 0)
		return broken(response, "a chunk does not begin with its size"), false;
	size_t extension = at;
	while (extension < length && (line[extension] == ' ' || line[extension] == '\t'))
		extension++;
	if (at < length && (extension == length || line[extension] != ';' || !is_text(line + at, length - at)))
		return broken(response, "a chunk's size is malformed"), false;
	response->remaining = size;
	response->state = size ? CHUNK_DATA : TRAILERS;
	return true;
}

static enum http_response_result line_complete(struct http_response *response, const char *line, size_t length)
{
	switch (response->state) {
	case STATUS:
		if (!parse_status(response, line, length))
			return HTTP_RESPONSE_BAD;
		response->state = FIELDS;
		return HTTP_RESPONSE_MORE;
	case FIELDS:
		if (length == 0)
			return head_complete(response);
		return parse_field(response, line, length, false) ? HTTP_RESPONSE_MORE : HTTP_RESPONSE_BAD;
	case CHUNK_SIZE:
		return parse_chunk_size(response, line, length) ? HTTP_RESPONSE_MORE : HTTP_RESPONSE_BAD;
	case CHUNK_DATA_END:
		if (length != 0)
			return broken(response, "a chunk is longer than its size");
		response->state = CHUNK_SIZE;
		return HTTP_RESPONSE_MORE;
	case TRAILERS:
		if (length == 0) {
			response->state = COMPLETE;
			return HTTP_RESPONSE_DONE;
		}
		return parse_field(response, line, length, true) ? HTTP_RESPONSE_MORE : HTTP_RESPONSE_BAD;
	default:
		return broken(response, "internal: a line where a body was expected");
	}
}

/* Takes bytes up to and with the next line end. Returns how many; *result is what the line gave. */
static size_t take_line(struct http_response *response, const uint8_t *data, size_t length,
                        enum http_response_result *result)
{
	*result = HTTP_RESPONSE_MORE;
	if (!response->line) {
		response->line = malloc(HTTP_RESPONSE_HEAD_MAX);
		if (!response->line) {
			*result = broken(response, "out of memory");
			return length;
		}
		response->line_length = 0;
	}
	for (size_t i = 0; i < length; i++) {
		uint8_t c = data[i];
		/* A chunk of the usual form costs no budget, or the body's chunking would be limited by it. */
		bool free_of_charge = (response->state == CHUNK_SIZE && response->line_length < 18) ||
		                      (response->state == CHUNK_DATA_END && response->line_length < 2);
		if (!free_of_charge && ++response->framing_bytes > HTTP_RESPONSE_HEAD_MAX) {
			*result = broken(response, "the head is longer than 16 KiB");
			return length;
		}
		if (response->line_cr) {
			if (c != '\n') {
				*result = broken(response, "a CR stands alone");
				return length;
			}
			size_t line_length = response->line_length;
			response->line_length = 0;
			response->line_cr = false;
			*result = line_complete(response, response->line, line_length);
			return i + 1;
		}
		if (c == '\n') {
			*result = broken(response,
			                 response->state == STATUS && response->line_length < 12
			                         ? "the answer is not HTTP/1: it does not begin with a status line"
			                         : "a line ends in LF without CR");
			return length;
		}
		if (c == '\r') {
			response->line_cr = true;
			continue;
		}
		/* What cannot become a status line is refused with its first bytes, not after 16 KiB. */
		if (response->state == STATUS && response->line_length < 7 &&
		    c != (uint8_t) "HTTP/1."[response->line_length]) {
			*result = broken(response, "the answer is not HTTP/1: it does not begin with a status line");
			return length;
		}
		if (response->line_length == HTTP_RESPONSE_HEAD_MAX) {
			*result = broken(response, "a line is longer than 16 KiB");
			return length;
		}
		response->line[response->line_length++] = (char)c;
	}
	return length;
}

/* Keeps up to length bytes of body. false when out of memory. */
static bool keep_body(struct http_response *response, const uint8_t *data, size_t length)
{
	size_t room = response->body_max - response->body_length;
	if (length > room)
		length = room;
	if (length == 0)
		return true;
	if (response->body_length + length > response->body_capacity) {
		size_t capacity = response->body_capacity ? response->body_capacity * 2 : 4096;
		while (capacity < response->body_length + length)
			capacity *= 2;
		if (capacity > response->body_max)
			capacity = response->body_max;
		uint8_t *body = realloc(response->body, capacity);
		if (!body)
			return false;
		response->body = body;
		response->body_capacity = capacity;
	}
	memcpy(response->body + response->body_length, data, length);
	response->body_length += length;
	return true;
}

enum http_response_result http_response_feed(struct http_response *response, const uint8_t *data, size_t length)
{
	while (response->state != COMPLETE && response->state != BROKEN && length > 0) {
		size_t taken = length;
		switch (response->state) {
		case BODY_LENGTH:
		case CHUNK_DATA:
			if (taken > response->remaining)
				taken = (size_t)response->remaining;
			if (!keep_body(response, data, taken))
				return broken(response, "out of memory");
			response->remaining -= taken;
			if (response->remaining == 0)
				response->state = response->state == BODY_LENGTH ? COMPLETE : CHUNK_DATA_END;
			break;
		case BODY_UNTIL_CLOSE:
			if (!keep_body(response, data, taken))
				return broken(response, "out of memory");
			break;
		default: {
			enum http_response_result result;
			taken = take_line(response, data, length, &result);
			if (result == HTTP_RESPONSE_BAD)
				return result;
		}
		}
		data += taken;
		length -= taken;
		if (response->body_max && response->body_length == response->body_max && response->state != BROKEN)
			response->state = COMPLETE;
	}
	if (response->state == COMPLETE)
		return HTTP_RESPONSE_DONE;
	return response->state == BROKEN ? HTTP_RESPONSE_BAD : HTTP_RESPONSE_MORE;
}

enum http_response_result http_response_end(struct http_response *response)
{
	switch (response->state) {
	case COMPLETE:
		return HTTP_RESPONSE_DONE;
	case BROKEN:
		return HTTP_RESPONSE_BAD;
	case BODY_UNTIL_CLOSE:
		response->state = COMPLETE;
		return HTTP_RESPONSE_DONE;
	case STATUS:
		if (response->line_length == 0 && response->framing_bytes == 0)
			return broken(response, "the server closed the connection without an answer");
		/* fall through */
	case FIELDS:
		return broken(response, "the server closed the connection within the head of its answer");
	default:
		return broken(response, "the server closed the connection within the body of its answer");
	}
}
