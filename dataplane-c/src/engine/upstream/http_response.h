/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An incremental parser for the HTTP/1 response to a health probe: status line, headers, as much of the body as is
 * asked for (Content-Length, chunked, or until close; RFC 9112). Bounded: 16 KiB of head, body_max bytes of body.
 */
#ifndef ENGINE_HTTP_RESPONSE_H
#define ENGINE_HTTP_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_RESPONSE_HEAD_MAX 16384u

enum http_response_result { HTTP_RESPONSE_MORE, HTTP_RESPONSE_DONE, HTTP_RESPONSE_BAD };

struct http_response;
struct http_response *http_response_new(size_t body_max);
void http_response_free(struct http_response *response);
/* The request was HEAD: the response has no body whatever its header says. Call before the first feed. */
void http_response_to_head(struct http_response *response);
/* Feeds bytes. DONE: complete (or the body has reached body_max). BAD: http_response_error() says why. */
enum http_response_result http_response_feed(struct http_response *response, const uint8_t *data, size_t length);
/* The peer closed. DONE when that ends the body lawfully. */
enum http_response_result http_response_end(struct http_response *response);
unsigned http_response_status(const struct http_response *response); /* 0: not read yet */
const uint8_t *http_response_body(const struct http_response *response, size_t *length);
const char *http_response_error(const struct http_response *response);

#endif
