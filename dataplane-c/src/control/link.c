/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "ipc/frame.h"

#define REQUEST_SMALL 4096u /* that need no memory */

static void close_all(const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
}

int link_connect(struct link *link, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	/* A request is small; an engine that takes none for so long is hung. */
	struct timeval patience = {.tv_sec = 1};

	*link = LINK_NONE;
	size_t length = strlen(path);
	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, length + 1);
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	if (setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = -errno;
		close(sock);
		return error;
	}
	link->sock = sock;
	return 0;
}

/* Waits for the reply with this id; others are strays. *reply is set exactly when 0 is returned. */
static int reply_wait(struct link *link, uint64_t id, unsigned timeout_ms, EngineReply **reply, int *got, size_t *ngot)
{
	uint64_t deadline = control_now_ms() + timeout_ms;
	uint8_t *packet = malloc(IPC_PACKET_MAX);
	size_t room = *ngot;
	int error = packet ? 0 : -ENOMEM;

	*reply = NULL;
	while (!error && !*reply) {
		uint64_t now = control_now_ms();
		struct pollfd ready = {.fd = link->sock, .events = POLLIN};
		int n = poll(&ready, 1, deadline > now ? (int)(deadline - now) : 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			error = n < 0 ? -errno : -ETIMEDOUT;
			continue;
		}
		int fds[IPC_FDS_MAX];
		size_t nfds = IPC_FDS_MAX;
		ssize_t length = ipc_receive(link->sock, packet, IPC_PACKET_MAX, fds, &nfds);
		if (length == -EINTR || length == -EAGAIN)
			continue;
		if (length <= 0) {
			error = length == 0 || length == -ECONNRESET ? -EPIPE : (int)length;
			continue;
		}
		EngineReply *answer = marcher__engine__v1__reply__unpack(NULL, (size_t)length, packet);
		if (!answer) {
			close_all(fds, nfds);
			error = -EPROTO;
			continue;
		}
		if (answer->id != id) {
			close_all(fds, nfds);
			if (link->stray)
				link->stray(link->stray_arg, answer);
			link_reply_free(answer);
			continue;
		}
		size_t keep = nfds < room ? nfds : room;
		if (keep)
			memcpy(got, fds, keep * sizeof(*fds));
		close_all(fds + keep, nfds - keep);
		*ngot = keep;
		*reply = answer;
	}
	free(packet);
	return error;
}

int link_call(struct link *link, EngineRequest *request, const int *fds, size_t nfds, unsigned timeout_ms,
              EngineReply **reply, int *got, size_t *ngot)
{
	uint8_t small[REQUEST_SMALL];
	size_t none = 0;

	if (link->sock < 0)
		return -EPIPE;
	request->id = ++link->next_id;
	size_t length = marcher__engine__v1__request__get_packed_size(request);
	if (length > IPC_PACKET_MAX)
		return -EMSGSIZE;
	uint8_t *packet = length > sizeof(small) ? malloc(length) : small;
	if (!packet)
		return -ENOMEM;
	marcher__engine__v1__request__pack(request, packet);
	int error = ipc_send(link->sock, packet, length, fds, nfds);
	if (packet != small)
		free(packet);
	if (error)
		return error == -ECONNRESET || error == -ENOTCONN ? -EPIPE : error == -EAGAIN ? -ETIMEDOUT : error;
	return reply_wait(link, request->id, timeout_ms, reply, got, ngot ? ngot : &none);
}

void link_reply_free(EngineReply *reply)
{
	if (reply)
		marcher__engine__v1__reply__free_unpacked(reply, NULL);
}

static void text_copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

int link_hello(struct link *link, bool take_lease, unsigned timeout_ms, char *why, size_t why_size)
{
	Marcher__Engine__V1__HelloRequest hello = MARCHER__ENGINE__V1__HELLO_REQUEST__INIT;
	EngineRequest request = MARCHER__ENGINE__V1__REQUEST__INIT;
	EngineReply *reply = NULL;
	int fds[2];
	size_t nfds = 2;

	hello.protocol_version = IPC_PROTOCOL_VERSION;
	hello.take_lease = take_lease;
	request.kind_case = MARCHER__ENGINE__V1__REQUEST__KIND_HELLO;
	request.hello = &hello;

	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (getsockopt(link->sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0) {
		snprintf(why, why_size, "the kernel does not tell whose socket it is (another PID namespace?)");
		return -EPROTO;
	}
	link->pid = peer.pid;
	if (link->pidfd < 0)
		link->pidfd = pidfd_open(peer.pid, 0);
	if (link->pidfd < 0) {
		int error = -errno;
		snprintf(why, why_size, "opening the engine's process %d: %s", peer.pid, strerror(-error));
		return error == -ESRCH ? -EPIPE : error;
	}
	int error = link_call(link, &request, NULL, 0, timeout_ms, &reply, fds, &nfds);
	if (error) {
		snprintf(why, why_size, "engine %d: %s", peer.pid, link_error(error));
		return error;
	}
	if (reply->kind_case != MARCHER__ENGINE__V1__REPLY__KIND_HELLO) {
		snprintf(why, why_size, "engine %d refused to talk: %.200s", peer.pid,
		         reply->error && *reply->error ? reply->error : "no Hello in its reply");
		error = -EPROTO;
	} else if (reply->hello->protocol_version != IPC_PROTOCOL_VERSION) {
		snprintf(why, why_size,
		         "engine %d speaks protocol %u and this library %u: end that engine (kill -TERM %d) or use the "
		         "library of its version",
		         peer.pid, reply->hello->protocol_version, IPC_PROTOCOL_VERSION, peer.pid);
		error = -EPROTO;
	} else if (nfds != 2) {
		snprintf(why, why_size, "engine %d sent %zu descriptors with its Hello, not 2", peer.pid, nfds);
		error = -EPROTO;
	} else if (take_lease && !reply->hello->lease) {
		snprintf(why, why_size, "another process holds the control lease of engine %d", peer.pid);
		error = -EBUSY;
	}
	if (error) {
		close_all(fds, nfds);
	} else {
		const Marcher__Engine__V1__HelloReply *h = reply->hello;
		link->lease = h->lease;
		link->workers = h->workers;
		link->generation = h->generation;
		link->started_unix_ms = h->started_unix_ms;
		link->retiring_ms = h->retiring_ms;
		text_copy(link->version, sizeof(link->version), h->engine_version);
		text_copy(link->build_id, sizeof(link->build_id), h->build_id);
		link->stats_fd = fds[0];
		link->events_fd = fds[1];
	}
	link_reply_free(reply);
	return error;
}

void link_close(struct link *link)
{
	int *fds[] = {&link->sock, &link->pidfd, &link->stats_fd, &link->events_fd};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

const char *link_error(int error)
{
	switch (error) {
	case -ETIMEDOUT:
		return "it did not answer in time";
	case -EPIPE:
		return "it has closed the connection";
	case -EPROTO:
		return "its answer is no message of this protocol";
	case -EBUSY:
		return "another process holds its control lease";
	case -EMSGSIZE:
		return "the message is longer than a packet";
	case -EMFILE:
		return "this process is at its limit on open files: raise LimitNOFILE";
	default:
		return strerror(-error);
	}
}
