/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/1.1: one request with Connection: close; the status and, when asked for, a text in the first 64 KiB of the body.
 */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef MARCHER_VERSION
#define MARCHER_VERSION "0"
#endif

/* What a request line and a Host field can carry. Validation refuses others long before; a probe must not be the hole
 * through which a configuration writes header fields. */
static bool is_clean(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text <= 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

static void describe_statuses(struct probe_settings *settings)
{
	const Marcher__Engine__V1__HealthCheck *check = settings->check;
	size_t length = 0, size = sizeof(settings->expected);
	if (check->n_http_expect_status == 0)
		snprintf(settings->expected, size, "200-399");
	for (size_t i = 0; i < check->n_http_expect_status && length < size; i++) {
		const Marcher__Engine__V1__StatusRange *range = check->http_expect_status[i];
		int n = snprintf(settings->expected + length, size - length,
		                 range->first == range->last ? "%s%u" : "%s%u-%u", i ? ", " : "", range->first,
		                 range->last);
		length += n > 0 ? (size_t)n : 0;
	}
}

int probe_http_prepare(struct probe_settings *settings, uint8_t proxy_version)
{
	static const char proxy_v1[] = "PROXY UNKNOWN\r\n";
	/* LOCAL: "the connection was established on purpose by the proxy without being relayed", as for health checks.
	 */
	static const char proxy_v2[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
	const Marcher__Engine__V1__HealthCheck *check = settings->check;
	const char *method = check->http_method && *check->http_method ? check->http_method : "GET";
	const char *path = check->http_path && *check->http_path ? check->http_path : "/";
	const char *host = check->http_host;
	char text[ADDR_TEXT_MAX];

	if (!host || !*host)
		host = settings->addr.family == AF_UNIX ? "localhost" : addr_text(&settings->addr, text);
	describe_statuses(settings);
	if (!is_clean(method) || !is_clean(path) || !is_clean(host)) {
		snprintf(settings->refusal, sizeof(settings->refusal),
		         "health.http method, path and host must not have blanks or control characters");
		return 0;
	}
	const char *proxy = proxy_version == 1 ? proxy_v1 : proxy_v2;
	size_t proxy_length = proxy_version == 1 ? sizeof(proxy_v1) - 1 : proxy_version == 2 ? sizeof(proxy_v2) - 1 : 0;
	char *request = NULL;
	int length = asprintf(&request,
	                      "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: marcher-health/" MARCHER_VERSION
	                      "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
	                      method, path, host);
	if (length < 0)
		return -ENOMEM;
	settings->request = malloc(proxy_length + (size_t)length);
	if (settings->request) {
		memcpy(settings->request, proxy, proxy_length);
		memcpy(settings->request + proxy_length, request, (size_t)length);
		settings->request_length = proxy_length + (size_t)length;
	}
	free(request);
	return settings->request ? 0 : -ENOMEM;
}

static bool status_passes(const Marcher__Engine__V1__HealthCheck *check, unsigned status)
{
	if (check->n_http_expect_status == 0)
		return status >= 200 && status <= 399;
	for (size_t i = 0; i < check->n_http_expect_status; i++) {
		if (status >= check->http_expect_status[i]->first && status <= check->http_expect_status[i]->last)
			return true;
	}
	return false;
}

/* Whether the expected text stands in what has come of the body; looks at every byte only once. */
static bool body_matches(struct probe_attempt *attempt)
{
	const char *text = attempt->settings->check->http_expect_body;
	size_t length, text_length = strlen(text);
	const uint8_t *body = http_response_body(attempt->response, &length);
	if (length < text_length)
		return false;
	if (memmem(body + attempt->searched, length - attempt->searched, text, text_length))
		return true;
	attempt->searched = length - text_length + 1;
	return false;
}

/* Ends the attempt when what has been read so far decides it. */
static bool decide(struct probe_attempt *attempt, enum http_response_result result)
{
	const struct probe_settings *settings = attempt->settings;
	bool wants_body = settings->check->http_expect_body && *settings->check->http_expect_body;
	unsigned status = http_response_status(attempt->response);

	if (result == HTTP_RESPONSE_BAD) {
		probe_finish(attempt, PROBE_FAILED, "%s", http_response_error(attempt->response));
		return true;
	}
	size_t body_length;
	http_response_body(attempt->response, &body_length);
	if (result == HTTP_RESPONSE_MORE && body_length == 0)
		return false; /* the status may be an interim one */
	if (!status_passes(settings->check, status))
		probe_finish(attempt, PROBE_FAILED, "status %u, expected %s", status, settings->expected);
	else if (!wants_body || body_matches(attempt))
		probe_finish(attempt, PROBE_PASSED, "status %u", status);
	else if (result == HTTP_RESPONSE_DONE)
		probe_finish(attempt, PROBE_FAILED, "status %u, but the body did not contain \"%.40s\"", status,
		             settings->check->http_expect_body);
	else
		return false;
	return true;
}

void probe_http_ready(struct probe_attempt *attempt)
{
	const struct probe_settings *settings = attempt->settings;
	const char *wanted = settings->check->http_expect_body;
	char text[64];

	if (!attempt->response) {
		attempt->response = http_response_new(wanted && *wanted ? PROBE_BODY_MAX : 0);
		if (!attempt->response) {
			probe_finish(attempt, PROBE_VOID, "out of memory");
			return;
		}
		if (settings->check->http_method && strcmp(settings->check->http_method, "HEAD") == 0)
			http_response_to_head(attempt->response);
	}
	while (attempt->sent < settings->request_length) {
		ssize_t n = send(attempt->source.fd, settings->request + attempt->sent,
		                 settings->request_length - attempt->sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* full: later; reset: reading tells, and an answer may have come before it */
		attempt->sent += (size_t)n;
	}
	/* Bounded: the parser takes at most 16 KiB of heads, PROBE_BODY_MAX of body and their framing. */
	for (;;) {
		uint8_t buffer[16384];
		ssize_t n = recv(attempt->source.fd, buffer, sizeof(buffer), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			probe_finish(attempt, PROBE_FAILED, "read: %s", probe_errno_text(errno, text));
			return;
		}
		if (decide(attempt, n > 0 ? http_response_feed(attempt->response, buffer, (size_t)n)
		                          : http_response_end(attempt->response)))
			return;
		if (n == 0)
			return; /* http_response_end always decides */
	}
}
