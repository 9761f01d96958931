/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_netlink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define DATAGRAM_MAX 32768 /* the kernel's own limit for dumps */

static void *room(struct netlink_request *request, size_t size)
{
	char *at = request->bytes + NLMSG_ALIGN(request->header->nlmsg_len);

	/* Each request of this library is far smaller. */
	if ((size_t)(at - request->bytes) + size > sizeof(request->bytes))
		abort();
	request->header->nlmsg_len = (uint32_t)((size_t)(at - request->bytes) + size);
	return at;
}

void netlink_append(struct netlink_request *request, const void *data, size_t size)
{
	void *at = room(request, size);

	if (size)
		memcpy(at, data, size);
}

void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	memset(request->bytes, 0, sizeof(request->bytes));
	request->header = (struct nlmsghdr *)request->bytes;
	*request->header = (struct nlmsghdr){
	        .nlmsg_len = NLMSG_LENGTH(0), .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
	netlink_append(request, body, size);
}

void netlink_attribute(struct netlink_request *request, uint16_t type, const void *data, size_t size)
{
	struct rtattr header = {.rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(size)};

	netlink_append(request, &header, sizeof(header));
	netlink_append(request, data, size);
}

struct rtattr *netlink_nest(struct netlink_request *request, uint16_t type)
{
	struct rtattr header = {.rta_type = type}, *at = room(request, sizeof(header));

	memcpy(at, &header, sizeof(header));
	return at;
}

void netlink_unnest(const struct netlink_request *request, struct rtattr *attribute)
{
	attribute->rta_len = (uint16_t)(request->bytes + request->header->nlmsg_len - (char *)attribute);
}

int netlink_open(unsigned patience_s)
{
	const struct timeval patience = {.tv_sec = patience_s};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* Numbered, so that the late answer to a request that was given up is not taken for another's. */
static int send_request(int fd, struct netlink_request *request)
{
	static _Thread_local uint32_t last;

	request->header->nlmsg_seq = ++last;
	return send(fd, request->bytes, request->header->nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Its length, or -errno. */
static ssize_t receive(int fd, void *datagram)
{
	ssize_t length;

	do
		length = recv(fd, datagram, DATAGRAM_MAX, 0);
	while (length < 0 && errno == EINTR);
	return length < 0 ? -errno : length ? length : -EPROTO;
}

/* What an NLMSG_ERROR says: 0, or -errno. */
static int verdict(const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = NLMSG_DATA(message);

	return message->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) ? error->error : -EPROTO;
}

int netlink_ask(int fd, struct netlink_request *request)
{
	request->header->nlmsg_flags |= NLM_F_ACK;
	int error = send_request(fd, request);
	char *datagram = error ? NULL : malloc(DATAGRAM_MAX);

	if (!error && !datagram)
		return -ENOMEM;
	for (bool done = error != 0; !done;) {
		ssize_t length = receive(fd, datagram);
		const struct nlmsghdr *answer = (const struct nlmsghdr *)(const void *)datagram;
		if (length < 0) {
			error = (int)length;
			done = true;
		} else if (NLMSG_OK(answer, (size_t)length) && answer->nlmsg_seq == request->header->nlmsg_seq) {
			error = answer->nlmsg_type == NLMSG_ERROR ? verdict(answer) : -EPROTO;
			done = true;
		}
	}
	free(datagram);
	return error;
}

/* One datagram of a list. 0: more is to come, 1: that was all, -errno. */
static int take_datagram(const struct netlink_request *request, const void *datagram, size_t length,
                         void (*take)(const struct nlmsghdr *message, void *argument), void *argument)
{
	const struct nlmsghdr *message = datagram;

	/* Signed: the step to the next one rounds up, and a last message that does not end so takes more than is left.
	 */
	for (int left = (int)length; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
		if (message->nlmsg_seq != request->header->nlmsg_seq)
			continue;
		if (message->nlmsg_type == NLMSG_DONE)
			return 1;
		if (message->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (message->nlmsg_type == NLMSG_ERROR) {
			int error = verdict(message);
			return error < 0 ? error : -EPROTO;
		}
		take(message, argument);
	}
	return 0;
}

int netlink_dump(int fd, struct netlink_request *request, void (*take)(const struct nlmsghdr *message, void *argument),
                 void *argument)
{
	request->header->nlmsg_flags |= NLM_F_DUMP;
	int done = send_request(fd, request);
	void *datagram = done ? NULL : malloc(DATAGRAM_MAX);

	if (!done && !datagram)
		return -ENOMEM;
	while (!done) {
		ssize_t length = receive(fd, datagram);
		done = length < 0 ? (int)length : take_datagram(request, datagram, (size_t)length, take, argument);
	}
	free(datagram);
	return done < 0 ? done : 0;
}

void netlink_attributes(const void *block, size_t length, void (*take)(const struct rtattr *attribute, void *argument),
                        void *argument)
{
	const struct rtattr *at = block;

	/* RTA_OK compares as int: a block is never longer than a datagram. */
	for (int left = (int)length; RTA_OK(at, left); at = RTA_NEXT(at, left))
		take(at, argument);
}
