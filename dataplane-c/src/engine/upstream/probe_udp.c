/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP: one datagram out, and a reply that begins as expected (any reply, when nothing is) in time. An ICMP error
 * fails at once. Silence fails too: nginx lets a silent server pass unless a match is configured, but silence is also
 * what a host that is down looks like, so a probe that passes on it would tell nothing.
 */
#include "probe.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void failed(struct probe_attempt *attempt, const char *call, int error)
{
	char text[64];
	probe_finish(attempt, PROBE_FAILED, "%s: %s%s", call, probe_errno_text(error, text),
	             error == ECONNREFUSED ? " (ICMP port unreachable)" : "");
}

void probe_udp_connected(struct probe_attempt *attempt)
{
	const ProtobufCBinaryData *payload = &attempt->settings->check->udp_payload;
	ssize_t n;
	do
		n = send(attempt->source.fd, payload->data, payload->len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		probe_finish(attempt, PROBE_VOID, "send: the socket's buffer is full");
	else if (n < 0)
		failed(attempt, "send", errno);
}

void probe_udp_ready(struct probe_attempt *attempt)
{
	const ProtobufCBinaryData *expect = &attempt->settings->check->udp_expect;
	uint8_t reply[65536];
	ssize_t n;
	do
		n = recv(attempt->source.fd, reply, sizeof(reply), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return; /* only writable */
	if (n < 0)
		failed(attempt, "receive", errno);
	else if ((size_t)n >= expect->len && (expect->len == 0 || memcmp(reply, expect->data, expect->len) == 0))
		probe_finish(attempt, PROBE_PASSED, "answered");
	else
		probe_finish(attempt, PROBE_FAILED, "the reply of %zd bytes does not begin with the expected %zu bytes",
		             n, expect->len);
}
