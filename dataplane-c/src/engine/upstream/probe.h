/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One attempt to probe one address: a non-blocking socket and a timeout in the main thread's loop. health.c decides
 * when to probe and what the results mean; probe.c opens the socket and keeps the time; probe_tcp.c, probe_http.c and
 * probe_udp.c know what a good answer is.
 */
#ifndef ENGINE_PROBE_H
#define ENGINE_PROBE_H

#include "../engine.h"
#include "http_response.h"

#define PROBE_REASON_MAX 96 /* as endpoint.health_reason */
#define PROBE_BODY_MAX 65536u

enum probe_result {
	PROBE_PASSED,
	PROBE_FAILED,
	PROBE_VOID, /* this machine is out of descriptors or memory: says nothing about the backend */
};

struct probe_attempt;

/* What to probe and how. Owned by the caller, unchanged while an attempt uses it. */
struct probe_settings {
	struct addr addr;
	struct addr source; /* AF_UNSPEC: the kernel's choice */
	const Marcher__Engine__V1__HealthCheck *check;
	char *request; /* HTTP: PROXY header if any, and the request */
	size_t request_length;
	char expected[48];              /* HTTP: the statuses that pass, for messages */
	char refusal[PROBE_REASON_MAX]; /* not empty: cannot be probed, and why */
};

/* Makes request, expected and refusal. proxy_version: 0, 1, 2. Returns 0 or -ENOMEM. */
int probe_http_prepare(struct probe_settings *settings, uint8_t proxy_version);

/* Called once per attempt that was started and not cancelled. The attempt's memory is the caller's again, but it must
 * outlive the loop turn (its poll_source may still have an event queued). */
typedef void (*probe_done)(struct probe_attempt *attempt, enum probe_result result, const char *reason);

struct probe_attempt {
	struct poll_source source;
	struct timer timeout;
	struct engine *engine;
	const struct probe_settings *settings;
	probe_done done;
	void *owner;
	bool connected;
	bool finished;
	size_t sent;     /* of the request */
	size_t searched; /* bytes of body in which the expected text does not begin */
	struct http_response *response;
	struct probe_attempt *next; /* the owner's list */
};

/* Zeroed attempt with engine, settings, done and owner set. done may be called before this returns. */
void probe_start(struct probe_attempt *attempt);
void probe_cancel(struct probe_attempt *attempt);

/* For the kinds: ends the attempt. */
void probe_finish(struct probe_attempt *attempt, enum probe_result result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* "connection refused": errno's text as it stands within a sentence. */
const char *probe_errno_text(int error, char text[64]);

/* The socket is connected, or something came in. */
void probe_http_ready(struct probe_attempt *attempt);
void probe_udp_connected(struct probe_attempt *attempt);
void probe_udp_ready(struct probe_attempt *attempt);
void probe_tcp_ready(struct probe_attempt *attempt);

#endif
