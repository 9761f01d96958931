/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_udp(const struct probe_attempt *attempt)
{
	return attempt->settings->check->type == MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UDP;
}

const char *probe_errno_text(int error, char text[64])
{
	const char *description = strerrordesc_np(error);
	if (description)
		snprintf(text, 64, "%c%s", tolower((unsigned char)description[0]), description + 1);
	else
		snprintf(text, 64, "error %d", error);
	return text;
}

/* Closes with RST instead of FIN: a prober that connects every second must not fill the port range with TIME_WAIT,
 * and the backend need not keep state for a peer that has nothing more to say. */
static void close_socket(struct probe_attempt *attempt)
{
	if (attempt->source.fd < 0)
		return;
	if (!is_udp(attempt)) {
		struct linger reset = {.l_onoff = 1, .l_linger = 0};
		setsockopt(attempt->source.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	}
	close(attempt->source.fd);
	attempt->source.fd = -1;
}

static void release(struct probe_attempt *attempt)
{
	attempt->finished = true;
	timer_disarm(attempt->engine->timers, &attempt->timeout);
	close_socket(attempt);
	http_response_free(attempt->response);
	attempt->response = NULL;
}

void probe_cancel(struct probe_attempt *attempt)
{
	if (!attempt->finished)
		release(attempt);
}

void probe_finish(struct probe_attempt *attempt, enum probe_result result, const char *format, ...)
{
	char reason[PROBE_REASON_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	release(attempt);
	attempt->done(attempt, result, reason);
}

static void timed_out(struct timer *timer, uint64_t now_ms)
{
	struct probe_attempt *attempt =
	        (struct probe_attempt *)((char *)timer - offsetof(struct probe_attempt, timeout));
	(void)now_ms;
	const char *waiting = !attempt->connected                    ? " while connecting"
	                      : attempt->response || is_udp(attempt) ? " without an answer"
	                                                             : "";
	probe_finish(attempt, PROBE_FAILED, "timeout after %u ms%s", attempt->settings->check->timeout_ms, waiting);
}

static void ready(struct probe_attempt *attempt)
{
	switch (attempt->settings->check->type) {
	case MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP:
		probe_http_ready(attempt);
		break;
	case MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UDP:
		probe_udp_ready(attempt);
		break;
	default:
		probe_tcp_ready(attempt);
	}
}

static void socket_ready(struct poll_source *source, uint32_t events)
{
	struct probe_attempt *attempt =
	        (struct probe_attempt *)((char *)source - offsetof(struct probe_attempt, source));
	if (attempt->finished) /* an event that was queued before the socket was closed */
		return;
	if (!attempt->connected) {
		char text[64];
		int error = 0;
		socklen_t length = sizeof(error);
		getsockopt(source->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			probe_finish(attempt, PROBE_FAILED, "connect: %s", probe_errno_text(error, text));
			return;
		}
		if (!(events & POLL_WRITE))
			return;
		attempt->connected = true;
	}
	ready(attempt);
}

/* Whether a system call failed for want of something on this machine. */
static bool is_local_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

static void refuse(struct probe_attempt *attempt, const char *call, int error)
{
	char text[64];
	probe_finish(attempt, is_local_shortage(error) ? PROBE_VOID : PROBE_FAILED, "%s: %s", call,
	             probe_errno_text(error, text));
}

void probe_start(struct probe_attempt *attempt)
{
	const struct probe_settings *settings = attempt->settings;
	struct sockaddr_storage sa;
	int one = 1;

	attempt->source.fd = -1;
	attempt->source.handler = socket_ready;
	if (settings->refusal[0]) {
		probe_finish(attempt, PROBE_FAILED, "%s", settings->refusal);
		return;
	}
	int type = (is_udp(attempt) ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
	attempt->source.fd = socket(settings->addr.family, type, 0);
	if (attempt->source.fd < 0) {
		refuse(attempt, "socket", errno);
		return;
	}
	if (settings->source.family != AF_UNSPEC && settings->source.family == settings->addr.family) {
		setsockopt(attempt->source.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		socklen_t length = addr_to_sockaddr(&settings->source, false, &sa);
		if (bind(attempt->source.fd, (struct sockaddr *)&sa, length) != 0) {
			refuse(attempt, "bind to the source address", errno);
			return;
		}
	}
	if (!is_udp(attempt) && settings->addr.family != AF_UNIX)
		setsockopt(attempt->source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	timer_arm(attempt->engine->timers, &attempt->timeout, attempt->engine->now_ms + settings->check->timeout_ms,
	          timed_out);

	socklen_t length = addr_to_sockaddr(&settings->addr, false, &sa);
	if (connect(attempt->source.fd, (struct sockaddr *)&sa, length) == 0) {
		attempt->connected = true;
	} else if (errno == EAGAIN && settings->addr.family == AF_UNIX) {
		/* Unix sockets do not connect later: the backlog is full now. */
		probe_finish(attempt, PROBE_FAILED, "connect: the listener's backlog is full");
		return;
	} else if (errno != EINPROGRESS) {
		refuse(attempt, "connect", errno);
		return;
	}
	int error = poller_add(attempt->engine->poller, &attempt->source);
	if (error) {
		probe_finish(attempt, PROBE_VOID, "poll: %s", strerror(-error));
		return;
	}
	if (attempt->connected && is_udp(attempt))
		probe_udp_connected(attempt);
	else if (attempt->connected)
		ready(attempt);
}
