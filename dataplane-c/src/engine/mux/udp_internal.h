/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the UDP relay:
 *   udp.c          datagrams in: from clients by listener, from backends by session
 *   udp_session.c  which session a datagram belongs to; opening, moving, draining, closing
 *   udp_send.c     datagrams out: batches, segmentation offload and its fallback
 *   udp_policy.c   traffic policies: which datagrams go on
 */
#ifndef ENGINE_UDP_INTERNAL_H
#define ENGINE_UDP_INTERNAL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "../worker.h"
#include "udp.h"

#define UDP_BATCH 64u            /* messages per recvmmsg and sendmmsg */
#define UDP_PAYLOAD_MAX 65507u   /* of IPv4; also bounds what one segmented send carries */
#define UDP_GSO_SEGMENTS_MAX 64u /* UDP_MAX_SEGMENTS of Linux before 6.9 */
#define UDP_MESSAGE_MAX 65536u   /* what the kernel can give at once: a datagram, or some merged by GRO */
#define UDP_MESSAGE_STRIDE (UDP_MESSAGE_MAX + 1088u) /* odd number of lines: buffers do not share cache sets */
#define UDP_SOURCE_CONTROL_MAX 40u                   /* CMSG_SPACE(sizeof(struct in6_pktinfo)) */
#define UDP_SEND_CONTROL_MAX 88u                     /* the source, UDP_SEGMENT and the traffic class */
#define UDP_RUNS_MAX (2u * UDP_BATCH)                /* of a message, some may be marked and the others not */
#define UDP_ECN_CE 3u                                /* RFC 3168: congestion experienced; 0: not capable */

/* Addresses as the socket gives them: on a dual-stack socket IPv4 is mapped. No padding: hashed and compared whole. */
struct udp_key {
	uint8_t client[16];
	uint8_t local[16];
	uint32_t scope; /* of a link-local client */
	uint16_t client_port;
	uint16_t family;     /* of the socket */
	uint64_t local_port; /* of a steered listener; else 0. All in network order */
	const struct listener *listener;
};

/* A listening socket on this worker, as long as there are sessions that reply through it. */
struct udp_socket {
	struct listener *listener;
	int fd;
	bool closing; /* nothing is received any more; closed with its last session */
	uint32_t nsessions;
};

struct udp_session {
	struct poll_source source; /* the connected socket to the endpoint */
	struct udp_session *chain; /* in its bucket */
	uint64_t hash;
	struct udp_key key;
	struct udp_worker *udp;
	struct udp_socket *socket;
	struct service *service;
	struct endpoint *endpoint;
	struct listener *listener;
	uint64_t last_activity_ms;

	/* Of the batch that is being received. */
	struct udp_session *next_pending;
	uint16_t first_message, last_message;
	bool pending;

	bool answered; /* the present endpoint has sent something */
	bool move;     /* the next datagram goes to another endpoint, if there is one */
	bool draining;
	bool counted_source; /* holds a place in the service's source_limit */
	bool merging;        /* UDP_GRO is on: reads must look at the ancillary data */
	uint8_t refusals;    /* ICMP errors in a row */
	uint8_t read_batch;  /* messages to ask for at the next read */
	uint8_t full_reads;  /* in successive turns, which gave all that was asked for */
	uint16_t retries;
	uint16_t request_gso_max, reply_gso_max; /* the largest segment worth trying; 0: segmentation is refused */
	uint64_t last_read_turn;
	uint64_t drain_until_ms;

	struct sched_item ready;        /* others go first */
	uint32_t policy_version;        /* of the traffic policy that it follows; 0: none */
	_Atomic uint64_t policy_tat[2]; /* of its own limits, by direction (qos/gcra.h); its worker's alone */

	struct sockaddr_in6 client_sockaddr; /* holds a sockaddr_in as well */
	socklen_t client_sockaddr_length;
	uint32_t source_control_length;
	_Alignas(8) uint8_t source_control[UDP_SOURCE_CONTROL_MAX]; /* ancillary data: the address to reply from */

	struct addr client, local;
	struct addr upstream;
	uint64_t id, opened_us, opened_unix_ms;
	uint64_t bytes_received, bytes_sent;
	struct timer timer;
	struct udp_session *next, **pprev; /* of all sessions */
	struct worker_deferred deferred;
};

/* Datagrams of one session that leave by one system message. */
struct udp_run {
	struct udp_session *session;
	uint32_t bytes;
	uint16_t datagrams;
	uint16_t segment; /* size of each but the last */
	uint16_t first_iov, niov;
	bool full;   /* the last one has that size too: more may follow */
	uint8_t ecn; /* bits to send with */
	/* What became of it. */
	uint16_t sent;
	uint32_t sent_bytes;
};

struct udp_outgoing {
	bool replies; /* addressed and with a source, from a listening socket; else to the connected peer */
	uint32_t nruns, niov;
	struct udp_run runs[UDP_RUNS_MAX];
	struct iovec iov[UDP_RUNS_MAX];
	struct mmsghdr messages[UDP_RUNS_MAX];
	_Alignas(8) uint8_t control[UDP_RUNS_MAX][UDP_SEND_CONTROL_MAX];
};

struct udp_incoming {
	uint8_t *buffers; /* UDP_BATCH of UDP_MESSAGE_STRIDE bytes */
	struct mmsghdr messages[UDP_BATCH];
	struct iovec iov[UDP_BATCH];
	struct sockaddr_in6 names[UDP_BATCH];
	_Alignas(8) uint8_t control[UDP_BATCH][128];
	uint16_t segment[UDP_BATCH]; /* of merged datagrams; 0: one datagram */
	uint8_t ecn[UDP_BATCH];      /* bits that it came with, where the socket tells (mark.h) */
	uint16_t next[UDP_BATCH];    /* message of the same session; UDP_BATCH: none */
	uint32_t used;               /* headers from here on are as they were made ready */
};

struct udp_worker {
	struct worker *worker;
	struct slab *sessions;
	struct udp_session **buckets;
	uint32_t nbuckets; /* a power of two */
	uint32_t count;
	uint64_t seed;
	struct udp_session *all;
	struct udp_socket **sockets; /* by descriptor */
	uint32_t nsockets;
	struct udp_incoming requests, responses;
	struct udp_outgoing forward, replies;
	struct udp_socket *replies_socket; /* what udp->replies leaves by */
	uint32_t responses_used;           /* buffers that replies still points into */
	struct worker_deferred flush;
	bool flush_pending;
	bool stopping; /* nothing is deferred any more */
};

/* udp_session.c */
struct udp_session *udp_session_find(struct udp_worker *udp, const struct udp_key *key, uint64_t *hash);
/* NULL: refused or impossible, and counted; datagrams were in vain. */
struct udp_session *udp_session_open(struct udp_worker *udp, struct udp_socket *socket, const struct udp_key *key,
                                     uint64_t hash, const struct sockaddr_in6 *client, socklen_t client_length,
                                     uint32_t datagrams);
/* The session's service was replaced while its endpoint died: it should end, and a new one begin under the present one.
 */
bool udp_session_is_stale(const struct udp_session *session);
/* Before a datagram goes out: leaves an endpoint that refuses or is known dead for another one, when there is one. */
void udp_session_check_endpoint(struct udp_session *session);
/* The session's socket reported an error (ICMP): counts, and decides whether to move. */
void udp_session_refused(struct udp_session *session);
void udp_session_close(struct udp_session *session, enum marcher_close_reason reason);
struct udp_socket *udp_socket_get(struct udp_worker *udp, struct listener *listener, int fd);

/* udp_send.c */
/* Adds length bytes that stay where they are until the flush, merged datagrams of segment bytes (0: one datagram), to
 * be sent with these ECN bits. */
void udp_outgoing_add(struct udp_outgoing *out, struct udp_session *session, uint8_t *data, uint32_t length,
                      uint16_t segment, uint8_t ecn);
/* Sends and empties. Runs tell what was sent; on ECONNREFUSED and its kin the session is told and the run tried again.
 */
void udp_outgoing_send(struct udp_outgoing *out, int fd);
/* One datagram after the other, each behind a PROXY protocol header. Returns how many were sent. */
uint32_t udp_send_with_header(struct udp_session *session, uint8_t *data, uint32_t length, uint16_t segment);
/* Number of datagrams in a message. */
static inline uint32_t udp_datagrams(uint32_t length, uint16_t segment)
{
	return segment && length > segment ? (length + segment - 1) / segment : 1;
}

/* udp_policy.c */
/* Brings the session in line with its service's policy. */
void udp_follow_policy(struct udp_session *session);
/* A socket to a backend. */
void udp_mark_backend(const struct service *service, int fd, int family);
/* DSCP of the policy, in its place in the traffic class. */
uint8_t udp_policy_tos(const struct udp_session *session);
/* What becomes of a message: its first passed bytes go on as they came, the next marked bytes as CE; the rest is
 * counted as dropped. Datagrams stay whole. */
struct udp_verdict {
	uint32_t passed, marked;
};
/* Of length bytes (merged datagrams of segment bytes, 0: one) that came with these ECN bits. direction: QOS_INGRESS or
 * QOS_EGRESS. */
struct udp_verdict udp_police(struct udp_session *session, unsigned direction, uint32_t length, uint16_t segment,
                              uint8_t ecn);
/* The same, and what goes on is added to what is sent. */
void udp_police_and_add(struct udp_outgoing *out, struct udp_session *session, unsigned direction, uint8_t *data,
                        uint32_t length, uint16_t segment, uint8_t ecn);

/* udp.c */
void udp_session_readable(struct poll_source *source, uint32_t events);
size_t udp_session_run(struct sched_item *item);
void udp_flush_replies(struct udp_worker *udp);

/* The three slots that a session counts on. */
static inline void udp_count_on(struct udp_session *session, enum marcher_counter counter, uint64_t n)
{
	struct stats_row *row = &session->udp->worker->stats;
	stats_add(row, session->service->slot, counter, n);
	stats_add(row, session->endpoint->backend->slot, counter, n);
	stats_add(row, session->listener->slot, counter, n);
}

#endif
