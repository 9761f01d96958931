/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams out. Consecutive datagrams of one session that have the same size (the last may be shorter) leave as one
 * message with UDP_SEGMENT: one trip through the stack instead of one per datagram. Some routes refuse that (EIO: the
 * device cannot do checksums; EINVAL or EMSGSIZE: the segment does not fit the path's MTU and would have to be
 * fragmented): then the datagrams go one by one, and segments of that size are not tried again in this session.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/uio.h>

#include "../xprt/proxy_protocol.h"
#include "udp_internal.h"

#define REFUSALS_PER_FLUSH 2u /* an ICMP error that was waiting, and the one of a moved session's next endpoint */

static uint16_t *gso_max_of(const struct udp_outgoing *out, struct udp_session *session)
{
	return out->replies ? &session->reply_gso_max : &session->request_gso_max;
}

void udp_outgoing_add(struct udp_outgoing *out, struct udp_session *session, uint8_t *data, uint32_t length,
                      uint16_t segment, uint8_t ecn)
{
	uint32_t datagrams = udp_datagrams(length, segment);
	uint32_t first = datagrams > 1 ? segment : length;
	uint32_t last = length - first * (datagrams - 1);
	struct iovec *iov = &out->iov[out->niov];
	*iov = (struct iovec){data, length};

	if (out->nruns) {
		struct udp_run *run = &out->runs[out->nruns - 1];
		if (run->session == session && run->ecn == ecn && run->full && length && first <= run->segment &&
		    (first == run->segment || datagrams == 1) && run->bytes + length <= UDP_PAYLOAD_MAX &&
		    run->datagrams + datagrams <= UDP_GSO_SEGMENTS_MAX && run->segment <= *gso_max_of(out, session)) {
			run->bytes += length;
			run->datagrams = (uint16_t)(run->datagrams + datagrams);
			run->niov++;
			run->full = last == run->segment;
			out->niov++;
			return;
		}
	}
	out->runs[out->nruns++] = (struct udp_run){
	        .session = session,
	        .bytes = length,
	        .datagrams = (uint16_t)datagrams,
	        .segment = (uint16_t)first,
	        .first_iov = (uint16_t)out->niov,
	        .niov = 1,
	        .full = length && last == first,
	        .ecn = ecn,
	};
	out->niov++;
}

/* Ancillary data behind what is there. */
static void append(struct msghdr *msg, int level, int type, const void *data, size_t length)
{
	struct cmsghdr *cmsg = (struct cmsghdr *)(void *)((uint8_t *)msg->msg_control + msg->msg_controllen);
	cmsg->cmsg_level = level;
	cmsg->cmsg_type = type;
	cmsg->cmsg_len = CMSG_LEN(length);
	memcpy(CMSG_DATA(cmsg), data, length);
	msg->msg_controllen += CMSG_SPACE(length);
}

/* Address and source of a reply; nothing for a connected socket. The traffic class where the socket's own will not do.
 */
static void address(const struct udp_outgoing *out, const struct udp_run *run, uint8_t *control, struct msghdr *msg)
{
	struct udp_session *session = run->session;
	*msg = (struct msghdr){.msg_control = control};
	if (out->replies) {
		msg->msg_name = &session->client_sockaddr;
		msg->msg_namelen = session->client_sockaddr_length;
		memcpy(control, session->source_control, session->source_control_length);
		msg->msg_controllen = session->source_control_length;
	}
	if (run->ecn) {
		int class = udp_policy_tos(session) | run->ecn;
		if ((out->replies ? session->client.family : session->upstream.family) == AF_INET)
			append(msg, IPPROTO_IP, IP_TOS, &class, sizeof(class));
		else
			append(msg, IPPROTO_IPV6, IPV6_TCLASS, &class, sizeof(class));
	}
}

static void prepare(struct udp_outgoing *out, uint32_t i)
{
	struct udp_run *run = &out->runs[i];
	struct msghdr *msg = &out->messages[i].msg_hdr;
	address(out, run, out->control[i], msg);
	msg->msg_iov = &out->iov[run->first_iov];
	msg->msg_iovlen = run->niov;
	if (run->datagrams > 1)
		append(msg, SOL_UDP, UDP_SEGMENT, &run->segment, sizeof(uint16_t));
	if (!msg->msg_controllen)
		msg->msg_control = NULL;
}

static ssize_t send_message(int fd, const struct msghdr *msg)
{
	ssize_t n;
	do
		n = sendmsg(fd, msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

/* A datagram to a connected peer needs no header, which is the cheapest there is. 1 or -1. */
static int send_plain(int fd, const struct iovec *datagram)
{
	ssize_t n;
	do
		n = send(fd, datagram->iov_base, datagram->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 1;
}

static bool out_of_room(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS;
}

/* What a connected socket says when an ICMP error came back, and the like: about the endpoint, not this datagram. */
static bool is_refusal(int error)
{
	return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH || error == EHOSTDOWN ||
	       error == ENOPROTOOPT || error == EPROTO;
}

static int socket_of(const struct udp_outgoing *out, const struct udp_run *run, int fd)
{
	return out->replies ? fd : run->session->source.fd; /* which changes when the session moves */
}

/* Every datagram of the run by itself. false: the socket has no room, the rest is in vain. */
static bool send_singly(struct udp_outgoing *out, struct udp_run *run, int fd)
{
	_Alignas(8) uint8_t control[UDP_SEND_CONTROL_MAX];
	struct msghdr msg;
	for (uint32_t i = 0; i < run->niov; i++) {
		const struct iovec *whole = &out->iov[run->first_iov + i];
		for (size_t offset = 0; offset < whole->iov_len; offset += run->segment) {
			size_t left = whole->iov_len - offset;
			struct iovec one = {(uint8_t *)whole->iov_base + offset,
			                    left < run->segment ? left : run->segment};
			address(out, run, control, &msg);
			if (!msg.msg_controllen)
				msg.msg_control = NULL;
			msg.msg_iov = &one;
			msg.msg_iovlen = 1;
			ssize_t n = send_message(socket_of(out, run, fd), &msg);
			if (n >= 0) {
				run->sent++;
				run->sent_bytes += (uint32_t)n;
			} else if (out_of_room(errno)) {
				return false;
			} else if (!out->replies && is_refusal(errno)) {
				udp_session_refused(run->session);
			}
		}
	}
	return true;
}

/* The run that met an error. Sets *retry to try it once more. false: the rest is in vain. */
static bool recover(struct udp_outgoing *out, struct udp_run *run, int fd, int error, uint32_t *refusals, bool *retry)
{
	*retry = false;
	if (out_of_room(error))
		return false;
	if (!out->replies && is_refusal(error)) {
		/* The error is an earlier datagram's; this one was not sent. */
		udp_session_refused(run->session);
		if (++*refusals <= REFUSALS_PER_FLUSH) {
			udp_session_check_endpoint(run->session);
			*retry = !run->session->endpoint->backend->send_proxy;
		}
		return true;
	}
	if (run->datagrams > 1) {
		uint16_t *max = gso_max_of(out, run->session);
		if (error == EINVAL || error == EMSGSIZE)
			*max = run->segment <= *max ? (uint16_t)(run->segment - 1) : *max;
		else
			*max = 0;
		return send_singly(out, run, fd);
	}
	return true;
}

void udp_outgoing_send(struct udp_outgoing *out, int fd)
{
	uint32_t refusals = 0;
	bool plain = !out->replies && out->nruns == 1 && out->runs[0].datagrams == 1 && !out->runs[0].ecn;
	if (!plain) {
		for (uint32_t i = 0; i < out->nruns; i++)
			prepare(out, i);
	}
	for (uint32_t i = 0; i < out->nruns;) {
		struct udp_run *run = &out->runs[i];
		bool retry, room;
		if (run->datagrams > 1 && run->segment > *gso_max_of(out, run->session)) {
			room = send_singly(out, run, fd);
			if (!room)
				break;
			i++;
			continue;
		}
		/* Up to the next run that must not be segmented. */
		uint32_t end = i + 1;
		while (end < out->nruns && (out->runs[end].datagrams == 1 ||
		                            out->runs[end].segment <= *gso_max_of(out, out->runs[end].session)))
			end++;
		int n;
		if (plain)
			n = send_plain(socket_of(out, run, fd), &out->iov[run->first_iov]);
		else if (end - i == 1)
			n = send_message(socket_of(out, run, fd), &out->messages[i].msg_hdr) < 0 ? -1 : 1;
		else
			n = sendmmsg(socket_of(out, run, fd), &out->messages[i], end - i, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			for (uint32_t sent = i + (uint32_t)n; i < sent; i++) {
				out->runs[i].sent = out->runs[i].datagrams;
				out->runs[i].sent_bytes = out->runs[i].bytes;
			}
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		room = recover(out, run, fd, errno, &refusals, &retry);
		if (!room)
			break;
		if (!retry)
			i++;
	}
}

uint32_t udp_send_with_header(struct udp_session *session, uint8_t *data, uint32_t length, uint16_t segment)
{
	uint8_t header[PROXY_HEADER_MAX];
	size_t header_length = proxy_header_write(2, &session->client, &session->local, header);
	/* The transport of version 2 is the low half of byte 13: 1 stream, 2 datagram; 0 stays 0 (no addresses). */
	if (header_length > 13 && (header[13] & 0x0f) == 1)
		header[13] = (uint8_t)((header[13] & 0xf0) | 2);
	uint32_t step = udp_datagrams(length, segment) > 1 ? segment : length;
	uint32_t sent = 0, offset = 0, refusals = 0;
	do {
		uint32_t size = length - offset < step ? length - offset : step;
		struct iovec iov[2] = {{header, header_length}, {data + offset, size}};
		struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
		if (send_message(session->source.fd, &msg) >= 0) {
			sent++;
		} else if (out_of_room(errno)) {
			break;
		} else if (is_refusal(errno)) {
			udp_session_refused(session);
			if (++refusals <= REFUSALS_PER_FLUSH) {
				udp_session_check_endpoint(session);
				if (!session->endpoint->backend->send_proxy)
					break;
				continue;
			}
		}
		offset += step;
	} while (offset < length);
	return sent;
}
