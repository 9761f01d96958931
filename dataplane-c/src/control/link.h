/* SPDX-License-Identifier: Apache-2.0 */
/* One connection to one engine: requests and their replies, one at a time. */
#ifndef CONTROL_LINK_H
#define CONTROL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "marcher/engine/v1/control.pb-c.h"

typedef Marcher__Engine__V1__Request EngineRequest;
typedef Marcher__Engine__V1__Reply EngineReply;

struct link {
	int sock;  /* -1: not connected */
	int pidfd; /* -1 with it */
	pid_t pid;
	bool child;
	bool lease;
	uint64_t next_id;
	uint64_t log_offset; /* where this engine's part of engine.log begins, as far as is known */
	/* From Hello */
	uint32_t workers;
	uint64_t generation;
	uint64_t started_unix_ms;
	uint32_t retiring_ms; /* it takes no new connections and ends within this time; 0: it does not */
	char version[32];
	char build_id[72];
	int stats_fd, events_fd;
	/* A reply that nobody waits for any longer. */
	void (*stray)(void *arg, const EngineReply *reply);
	void *stray_arg;
};

#define LINK_NONE ((struct link){.sock = -1, .pidfd = -1, .stats_fd = -1, .events_fd = -1})

/* Connects. Returns 0, -ECONNREFUSED or -ENOENT when nobody listens, or another -errno. */
int link_connect(struct link *link, const char *path);

/* Says hello, and who the engine is; opens its pidfd when there is none yet. Returns 0 or -errno and a reason:
 * -EBUSY: somebody else holds the lease; -EPROTO: it speaks another version; -ETIMEDOUT; -EPIPE: it is gone. */
int link_hello(struct link *link, bool take_lease, unsigned timeout_ms, char *why, size_t why_size);

/* Sends the request and waits for its reply. Returns 0 and *reply (free with link_reply_free), -ETIMEDOUT, -EPIPE (the
 * engine is gone), -EMSGSIZE, -EPROTO. fds: sent along (nfds); got: capacity *ngot, received along. */
int link_call(struct link *link, EngineRequest *request, const int *fds, size_t nfds, unsigned timeout_ms,
              EngineReply **reply, int *got, size_t *ngot);
void link_reply_free(EngineReply *reply);

/* Closes everything but what the caller took out (set to -1). */
void link_close(struct link *link);

/* What -errno of the functions above means to an operator. */
const char *link_error(int error);

#endif
