/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP relay: datagrams in.
 *
 * A batch from a listening socket is sorted by session and leaves by each session's own connected socket. Replies of
 * all sessions are gathered over the loop turn and leave, up to UDP_BATCH at a time, by one sendmmsg of the listening
 * socket, each from the address that its client had sent to. Buffers hold the largest datagram there is, so none is
 * cut; should the kernel say so all the same it is dropped and counted. Nothing queues here: when a socket has no room
 * datagrams are dropped and counted. Headers are the kernel's: DSCP and TTL start anew on each side.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "../engine.h"
#include "../upstream/outlier.h"
#include "udp_internal.h"

#define BATCHES_PER_EVENT 4u /* then others have their turn */
#define FULL_READS 8u        /* in a row, until a session's reads ask for more */

/* ---- receiving ---- */

static bool incoming_init(struct udp_incoming *in)
{
	/* Touched pages alone cost memory: small datagrams use the first of each buffer. */
	void *memory = mmap(NULL, (size_t)UDP_BATCH * UDP_MESSAGE_STRIDE, PROT_READ | PROT_WRITE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	in->buffers = memory;
	in->used = UDP_BATCH;
	for (uint32_t i = 0; i < UDP_BATCH; i++)
		in->iov[i] = (struct iovec){in->buffers + (size_t)i * UDP_MESSAGE_STRIDE, UDP_MESSAGE_MAX};
	return true;
}

static void incoming_free(struct udp_incoming *in)
{
	if (in->buffers)
		munmap(in->buffers, (size_t)UDP_BATCH * UDP_MESSAGE_STRIDE);
}

/* Up to count messages into places from first on. Returns how many, or -1 and errno. */
static int receive(struct udp_incoming *in, int fd, uint32_t first, uint32_t count, bool named)
{
	/* The kernel writes only to the headers that it used, most often one or two of those on offer. */
	for (uint32_t i = first; i < first + count && i < in->used; i++) {
		in->messages[i].msg_hdr = (struct msghdr){
		        .msg_name = named ? &in->names[i] : NULL,
		        .msg_namelen = named ? sizeof(in->names[i]) : 0,
		        .msg_iov = &in->iov[i],
		        .msg_iovlen = 1,
		        .msg_control = in->control[i],
		        .msg_controllen = sizeof(in->control[i]),
		};
	}
	int n;
	if (count > 1) {
		n = recvmmsg(fd, &in->messages[first], count, MSG_DONTWAIT, NULL);
	} else {
		ssize_t length = recvmsg(fd, &in->messages[first].msg_hdr, MSG_DONTWAIT);
		n = length < 0 ? -1 : 1;
		if (n > 0)
			in->messages[first].msg_len = (unsigned)length;
	}
	/* Headers below used are made ready again before the next read; one more than were filled, as a failed try may
	 * have written to it. */
	uint32_t touched = first + (n > 0 ? (uint32_t)n : 0) + 1;
	if (in->used <= first + count)
		in->used = touched;
	return n;
}

/* Where a datagram of a steered listener was sent to. On a dual-stack socket IPv4 comes as such. */
static void read_destination(const struct cmsghdr *cmsg, struct udp_key *key)
{
	if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_ORIGDSTADDR) {
		struct sockaddr_in6 to;
		memcpy(&to, CMSG_DATA(cmsg), sizeof(to));
		memcpy(key->local, &to.sin6_addr, 16);
		key->local_port = to.sin6_port;
	} else if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_ORIGDSTADDR) {
		struct sockaddr_in to;
		memcpy(&to, CMSG_DATA(cmsg), sizeof(to));
		if (key->family == AF_INET6) {
			memset(key->local, 0, 10);
			memset(key->local + 10, 0xff, 2);
			memcpy(key->local + 12, &to.sin_addr, 4);
		} else {
			memcpy(key->local, &to.sin_addr, 4);
		}
		key->local_port = to.sin_port;
	}
}

/* Reads the ancillary data: the size of merged datagrams, their ECN bits, and where they were sent to when key is not
 * NULL.
 */
static void read_control(struct udp_incoming *in, uint32_t i, struct udp_key *key)
{
	struct msghdr *msg = &in->messages[i].msg_hdr;
	in->segment[i] = 0;
	in->ecn[i] = 0;
	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level == SOL_UDP && cmsg->cmsg_type == UDP_GRO) {
			int size;
			memcpy(&size, CMSG_DATA(cmsg), sizeof(size));
			in->segment[i] = size > 0 && size <= UINT16_MAX ? (uint16_t)size : 0;
		} else if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_TOS) {
			in->ecn[i] = *CMSG_DATA(cmsg) & 3;
		} else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_TCLASS) {
			int class;
			memcpy(&class, CMSG_DATA(cmsg), sizeof(class));
			in->ecn[i] = (uint8_t)(class & 3);
		} else if (key && cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;
			memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
			memcpy(key->local, &info.ipi6_addr, 16);
		} else if (key && cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO &&
		           key->family == AF_INET) {
			/* The local address: that of the interface when the datagram was a broadcast. */
			struct in_pktinfo info;
			memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
			memcpy(key->local, &info.ipi_spec_dst, 4);
		} else if (key && key->listener->steered) {
			read_destination(cmsg, key);
		}
	}
}

static bool read_key(struct udp_incoming *in, uint32_t i, const struct listener *listener, struct udp_key *key)
{
	const struct sockaddr_in6 *name = &in->names[i];
	memset(key, 0, sizeof(*key));
	key->listener = listener;
	key->family = name->sin6_family;
	if (name->sin6_family == AF_INET6) {
		memcpy(key->client, &name->sin6_addr, 16);
		key->client_port = name->sin6_port;
		key->scope = name->sin6_scope_id;
	} else if (name->sin6_family == AF_INET) {
		const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)name;
		memcpy(key->client, &in4->sin_addr, 4);
		key->client_port = in4->sin_port;
	} else {
		return false;
	}
	read_control(in, i, key);
	return true;
}

/* ---- from clients ---- */

static void forward(struct udp_worker *udp, struct udp_session *session)
{
	struct udp_incoming *in = &udp->requests;
	struct udp_outgoing *out = &udp->forward;
	uint64_t bytes = 0;
	uint32_t datagrams = 0, sent = 0;
	udp_session_check_endpoint(session);
	if (session->endpoint->backend->send_proxy) {
		for (uint32_t i = session->first_message; i != UDP_BATCH; i = in->next[i]) {
			uint32_t length = in->messages[i].msg_len;
			bytes += length;
			datagrams += udp_datagrams(length, in->segment[i]);
			if (session->policy_version)
				length = udp_police(session, QOS_INGRESS, length, in->segment[i], 0).passed;
			if (length || !in->messages[i].msg_len)
				sent += udp_send_with_header(session, in->iov[i].iov_base, length, in->segment[i]);
		}
	} else {
		out->nruns = out->niov = 0;
		for (uint32_t i = session->first_message; i != UDP_BATCH; i = in->next[i]) {
			uint32_t length = in->messages[i].msg_len;
			bytes += length;
			datagrams += udp_datagrams(length, in->segment[i]);
			if (session->policy_version)
				udp_police_and_add(out, session, QOS_INGRESS, in->iov[i].iov_base, length,
				                   in->segment[i], in->ecn[i]);
			else
				udp_outgoing_add(out, session, in->iov[i].iov_base, length, in->segment[i], 0);
		}
		udp_outgoing_send(out, -1);
		for (uint32_t i = 0; i < out->nruns; i++)
			sent += out->runs[i].sent;
	}
	session->last_activity_ms = udp->worker->now_ms;
	session->bytes_received += bytes;
	udp_count_on(session, MARCHER_UDP_PACKETS_RECEIVED, datagrams);
	udp_count_on(session, MARCHER_BYTES_RECEIVED, bytes);
	if (sent < datagrams)
		udp_count_on(session, MARCHER_UDP_DROPPED, datagrams - sent);
}

/* Datagrams without a session count on the listener and its service. */
static void count_unclaimed(struct worker *worker, struct listener *listener, uint32_t datagrams, uint32_t bytes,
                            bool dropped)
{
	struct binding *binding = listener_binding(listener);
	uint32_t slots[2] = {listener->slot, binding ? binding->service->slot : 0};
	for (uint32_t i = 0; i < (binding ? 2u : 1u); i++) {
		stats_add(&worker->stats, slots[i], MARCHER_UDP_PACKETS_RECEIVED, datagrams);
		stats_add(&worker->stats, slots[i], MARCHER_BYTES_RECEIVED, bytes);
		if (dropped)
			stats_add(&worker->stats, slots[i], MARCHER_UDP_DROPPED, datagrams);
	}
}

/* Sorts a batch by session, in order of arrival within each, and sends it on. */
static void relay_requests(struct udp_worker *udp, struct udp_socket *sock, uint32_t count)
{
	struct udp_incoming *in = &udp->requests;
	struct udp_session *pending = NULL, **tail = &pending, *last = NULL;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t length = in->messages[i].msg_len;
		struct udp_key key;
		if (!read_key(in, i, sock->listener, &key) || (in->messages[i].msg_hdr.msg_flags & MSG_TRUNC)) {
			count_unclaimed(udp->worker, sock->listener, 1, length, true);
			continue;
		}
		struct udp_session *session = last;
		if (!session || memcmp(&session->key, &key, sizeof(key)) != 0) {
			uint64_t hash;
			session = udp_session_find(udp, &key, &hash);
			if (session && !session->pending && udp_session_is_stale(session)) {
				udp_session_close(session, MARCHER_CLOSE_BACKEND_RESET);
				session = NULL;
			}
			if (!session) {
				uint32_t datagrams = udp_datagrams(length, in->segment[i]);
				session = udp_session_open(udp, sock, &key, hash, &in->names[i],
				                           in->messages[i].msg_hdr.msg_namelen, datagrams);
				if (!session) {
					count_unclaimed(udp->worker, sock->listener, datagrams, length, false);
					continue;
				}
			}
		}
		last = session;
		in->next[i] = UDP_BATCH;
		if (session->pending) {
			in->next[session->last_message] = (uint16_t)i;
		} else {
			session->pending = true;
			session->first_message = (uint16_t)i;
			session->next_pending = NULL;
			*tail = session;
			tail = &session->next_pending;
		}
		session->last_message = (uint16_t)i;
	}
	while (pending) {
		struct udp_session *session = pending;
		pending = session->next_pending;
		session->pending = false;
		forward(udp, session);
	}
}

size_t udp_readable(struct worker *worker, struct listener *listener, int fd)
{
	size_t bytes = 0;
	struct udp_worker *udp = worker->udp;
	struct udp_socket *sock = udp_socket_get(udp, listener, fd);
	for (uint32_t batches = 0; batches < BATCHES_PER_EVENT; batches++) {
		int n = receive(&udp->requests, fd, 0, UDP_BATCH, true);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			bytes += udp->requests.messages[i].msg_len;
		if (sock)
			relay_requests(udp, sock, (uint32_t)n);
		else /* no memory: taken off the queue all the same, or the loop would spin */
			count_unclaimed(worker, listener, (uint32_t)n, 0, true);
		if ((uint32_t)n < UDP_BATCH)
			break;
	}
	return bytes;
}

/* ---- from backends ---- */

void udp_flush_replies(struct udp_worker *udp)
{
	struct udp_outgoing *out = &udp->replies;
	if (out->nruns)
		udp_outgoing_send(out, udp->replies_socket->fd);
	for (uint32_t i = 0; i < out->nruns; i++) {
		struct udp_run *run = &out->runs[i];
		struct udp_session *session = run->session;
		session->bytes_sent += run->sent_bytes;
		udp_count_on(session, MARCHER_UDP_PACKETS_SENT, run->sent);
		udp_count_on(session, MARCHER_BYTES_SENT, run->sent_bytes);
		if (run->sent < run->datagrams)
			udp_count_on(session, MARCHER_UDP_DROPPED, (uint64_t)run->datagrams - run->sent);
	}
	out->nruns = out->niov = 0;
	udp->responses_used = 0;
	udp->replies_socket = NULL;
}

static void flush_at_end_of_turn(struct worker_deferred *deferred)
{
	struct udp_worker *udp = (struct udp_worker *)(void *)((char *)deferred - offsetof(struct udp_worker, flush));
	udp->flush_pending = false;
	udp_flush_replies(udp);
}

/* How many messages to ask for next time. One is the rule and cheapest, and its read is always full: only a row of
 * those in successive turns tells of a stream. From two on a full read means that more is waiting. A stream is worth
 * having merged where the kernel can: it is sent on as it came. */
static void adapt(struct udp_session *session, uint32_t asked, uint32_t got, uint64_t turn)
{
	if (got < asked || turn > session->last_read_turn + 1)
		session->full_reads = 0;
	else
		session->full_reads++;
	if (session->full_reads >= (asked > 1 ? 1u : FULL_READS)) {
		session->read_batch = asked < UDP_BATCH / 2 ? (uint8_t)(asked * 2) : UDP_BATCH;
		session->full_reads = 0;
		int one = 1;
		if (!session->merging && asked > 1)
			session->merging = setsockopt(session->source.fd, SOL_UDP, UDP_GRO, &one, sizeof(one)) == 0;
	} else if (got <= asked / 2) {
		session->read_batch = (uint8_t)(asked / 2);
	}
	session->last_read_turn = turn;
}

/* One datagram, which without UDP_GRO needs no header: no datagram is longer than its buffer. */
static int receive_plain(struct udp_incoming *in, int fd, uint32_t place)
{
	ssize_t length = recv(fd, in->iov[place].iov_base, UDP_MESSAGE_MAX, MSG_DONTWAIT);
	if (length < 0)
		return -1;
	in->messages[place].msg_len = (unsigned)length;
	in->messages[place].msg_hdr.msg_flags = 0;
	in->segment[place] = 0;
	in->ecn[place] = 0;
	if (in->used <= place)
		in->used = place + 1;
	return 1;
}

/* Reads what a session's socket has, replies or an error. Level-triggered: what is left comes up again in the next
 * turn. Returns the bytes that came. */
static size_t read_replies(struct udp_session *session)
{
	struct udp_worker *udp = session->udp;
	struct udp_incoming *in = &udp->responses;
	struct udp_outgoing *out = &udp->replies;
	struct poll_source *source = &session->source;
	size_t bytes = 0;

	if (udp->responses_used && (udp->replies_socket != session->socket || udp->responses_used == UDP_BATCH))
		udp_flush_replies(udp);
	uint32_t first = udp->responses_used;
	uint32_t asked = session->read_batch < UDP_BATCH - first ? session->read_batch : UDP_BATCH - first;
	bool plain = asked == 1 && !session->merging && !session->policy_version;
	int n = plain ? receive_plain(in, source->fd, first) : receive(in, source->fd, first, asked, false);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			udp_session_refused(session);
		return 0;
	}
	adapt(session, asked, (uint32_t)n, atomic_load_explicit(&udp->worker->turns, memory_order_relaxed));
	session->last_activity_ms = udp->worker->now_ms;
	session->answered = true;
	session->move = false;
	session->refusals = 0;
	outlier_report(udp->worker, session->service, session->endpoint, true);
	udp->replies_socket = session->socket;
	for (uint32_t i = first; i < first + (uint32_t)n; i++) {
		if (in->messages[i].msg_hdr.msg_flags & MSG_TRUNC) {
			udp_count_on(session, MARCHER_UDP_DROPPED, 1);
			continue;
		}
		if (!plain)
			read_control(in, i, NULL);
		uint32_t length = in->messages[i].msg_len;
		bytes += length;
		if (session->policy_version)
			udp_police_and_add(out, session, QOS_EGRESS, in->iov[i].iov_base, length, in->segment[i],
			                   in->ecn[i]);
		else
			udp_outgoing_add(out, session, in->iov[i].iov_base, length, in->segment[i], 0);
	}
	udp->responses_used = first + (uint32_t)n;
	if (!udp->flush_pending) {
		udp->flush_pending = true;
		worker_defer(udp->worker, &udp->flush, flush_at_end_of_turn);
	}
	return bytes;
}

size_t udp_session_run(struct sched_item *item)
{
	return read_replies((struct udp_session *)(void *)((char *)item - offsetof(struct udp_session, ready)));
}

void udp_session_readable(struct poll_source *source, uint32_t events)
{
	struct udp_session *session =
	        (struct udp_session *)(void *)((char *)source - offsetof(struct udp_session, source));
	struct worker *worker = session->udp->worker;
	(void)events;

	if (worker->sched.active)
		sched_queue(worker, &session->ready);
	else
		read_replies(session);
}

/* ---- life ---- */

/* Returns 0, or -ENOMEM. */
int udp_worker_init(struct worker *worker)
{
	struct udp_worker *udp = calloc(1, sizeof(*udp));
	if (!udp)
		return -ENOMEM;
	worker->udp = udp;
	udp->worker = worker;
	udp->replies.replies = true;
	if (getrandom(&udp->seed, sizeof(udp->seed), 0) != sizeof(udp->seed))
		udp->seed = worker_random(worker);
	udp->sessions = slab_new(sizeof(struct udp_session));
	if (!udp->sessions || !incoming_init(&udp->requests) || !incoming_init(&udp->responses)) {
		udp_worker_free(worker);
		return -ENOMEM;
	}
	return 0;
}

/* Sessions that are still there end; listening sockets that nobody closes any more are closed. */
void udp_worker_free(struct worker *worker)
{
	struct udp_worker *udp = worker->udp;
	if (!udp)
		return;
	udp->stopping = true;
	while (udp->all)
		udp_session_close(udp->all, MARCHER_CLOSE_ENGINE_STOP);
	for (uint32_t i = 0; i < udp->nsockets; i++)
		free(udp->sockets[i]);
	free(udp->sockets);
	free(udp->buckets);
	incoming_free(&udp->requests);
	incoming_free(&udp->responses);
	slab_delete(udp->sessions);
	free(udp);
	worker->udp = NULL;
}
