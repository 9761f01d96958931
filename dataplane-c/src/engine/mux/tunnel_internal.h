/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TCP relay's own structures.
 *
 *   accepted ──▶ HEADER ──▶ CONNECTING ──▶ ESTABLISHED ──▶ CLOSED
 *                (a PROXY     (attempts,      (both directions,
 *                 header is    one budget)     then half-closed)
 *                 awaited)
 *
 * tunnel.c accepts, times and closes; tunnel_connect.c finds a backend; tunnel_relay.c moves bytes; tunnel_report.c
 * counts and tells; tunnel_policy.c holds it to its service's traffic policy. Everything runs on the worker's thread.
 */
#ifndef ENGINE_TUNNEL_INTERNAL_H
#define ENGINE_TUNNEL_INTERNAL_H

#include "../lb/lb.h"
#include "../worker.h"
#include "../xprt/raw.h"
#include "relay_buffer.h"
#include "tunnel.h"

enum tunnel_state { TUNNEL_HEADER, TUNNEL_CONNECTING, TUNNEL_ESTABLISHED, TUNNEL_CLOSED };

/* Index of a side; a direction has the index of the side that it reads from. */
enum { CLIENT = 0, BACKEND = 1 };

struct tunnel_side {
	struct poll_source source;
	bool readable;
	bool writable;
	bool peer_closed; /* a FIN is behind what can be read */
	bool read_to_end; /* a short read does not prove that all was read: read until EAGAIN or the end */
	bool reset;       /* known to be dead: what it sent may still be read, nothing can be sent */
	uint8_t events;   /* noted and not acted on yet: others go first (qos/sched.h) */
};

struct tunnel_direction {
	struct relay_piece *pending; /* read, not sent yet */
	struct raw_pipe *pipe;       /* while spliced */
	uint64_t bytes;
	uint32_t streak; /* bytes read without ever finding the source empty */
	bool ended;      /* the source's FIN was read */
	bool closed;     /* ... and passed on */
	bool no_splice;  /* the kernel cannot splice this socket */
};

struct tunnel_setup;

/* About 300 bytes: what an idle connection costs in user space. */
struct tunnel {
	struct tunnel_side side[2];
	struct tunnel_direction direction[2];
	struct tunnel *prev, *next; /* all of the worker's */
	struct sched_item
	        ready; /* has used up its turn's share, waits for the end of the turn's events, or for others */
	struct timer timer;
	struct worker_deferred deferred;
	struct service *service;
	struct listener *listener;
	struct endpoint *endpoint;  /* taken in lb and referenced */
	struct tunnel_shape *shape; /* only when bytes are limited (tunnel_policy.c) */
	struct tunnel_setup *setup; /* only while something out of the ordinary happens before it is established */
	struct addr
	        *local; /* what the client came to, by a PROXY header or of a steered listener; NULL: the listener's */
	struct addr client;
	uint64_t id;
	uint64_t opened_us;
	uint64_t active_ms;           /* when a byte last moved; CONNECTING: when this attempt began */
	uint64_t deadline_ms;         /* HEADER, CONNECTING: of the header, of this attempt */
	uint64_t connect_deadline_ms; /* of all attempts */
	uint64_t drain_deadline_ms;   /* 0: none */
	uint32_t connect_us;          /* CONNECTING: low bits of the attempt's beginning */
	uint32_t policy_version;      /* of the traffic policy that it follows; 0: none */
	uint16_t retries;
	uint16_t port; /* that the client came to */
	uint8_t state;
	bool client_polled : 1, counted : 1, source_counted : 1, more : 1, second_tried : 1, kept_alive : 1;
	bool no_delay : 1;
};

/* Before a connection is established: failed attempts, and the second of two parallel ones (RFC 8305). */
struct tunnel_setup {
	struct poll_source second; /* fd -1: none */
	struct tunnel *tunnel;
	struct endpoint *second_endpoint;
	uint32_t second_began_us;
	uint32_t ntried;
	bool timed_out; /* how the last attempt failed */
	bool second_connected;
	struct worker_deferred deferred;
	const struct endpoint *tried[LB_TRIED_MAX]; /* compared, never followed */
};

struct tunnel_worker {
	struct worker *worker;
	struct slab *tunnels, *setups, *pieces, *addrs, *shapes;
	struct raw_pipe_pool pipes;
	struct tunnel *all;
	uint64_t count;
	uint8_t early_score; /* how often the client's first bytes were there at accept */
	uint8_t early_skipped;
};

/* tunnel.c */
void tunnel_close(struct tunnel *tunnel, enum marcher_close_reason reason);
/* Arms the timer for the earliest of the deadlines that hold now. */
void tunnel_arm(struct tunnel *tunnel);
/* Registers with the poller; closes the tunnel and returns false when that fails. */
bool tunnel_poll(struct tunnel *tunnel, struct poll_source *source);
/* The client is known: limits by source, then connecting. */
void tunnel_begin(struct tunnel *tunnel);
uint32_t tunnel_clock_us(void);

/* tunnel_header.c */
void tunnel_read_header(struct tunnel *tunnel);

/* tunnel_connect.c */
/* Goes to a backend. early: bytes from the client in the worker's scratch. */
void tunnel_connect(struct tunnel *tunnel, const uint8_t *early, size_t length);
void tunnel_connect_event(struct tunnel *tunnel, uint32_t events);
/* After the turn's events: a second attempt that has connected takes the place of the first. */
void tunnel_connect_queued(struct tunnel *tunnel);
void tunnel_connect_timer(struct tunnel *tunnel, uint64_t now_ms);
/* When connecting has to be looked at next. */
uint64_t tunnel_connect_deadline(const struct tunnel *tunnel);
/* Gives up whatever is under way. */
void tunnel_connect_abandon(struct tunnel *tunnel);

/* tunnel_relay.c */
void tunnel_client_event(struct poll_source *source, uint32_t events);
void tunnel_backend_event(struct poll_source *source, uint32_t events);
/* Moves what can be moved, both ways. */
void tunnel_relay(struct tunnel *tunnel);
/* Turns Nagle's algorithm off towards the backend. */
void tunnel_no_delay(struct tunnel *tunnel);
/* Goes on with it after the events of this turn. */
void tunnel_queue(struct tunnel *tunnel);
/* Where the queue comes back to. */
size_t tunnel_run_queued(struct sched_item *item);

/* tunnel_policy.c */
struct slab *tunnel_shape_slab(void);
/* Brings the tunnel and its sockets in line with its service's policy. false: it can't be held to it (out of memory).
 */
bool tunnel_follow_policy(struct tunnel *tunnel);
/* A socket to a backend, before it connects. */
void tunnel_mark_backend(const struct tunnel *tunnel, int fd, int family);
/* Bytes that direction d may read now, at most want. 0: it waits, and is queued when it may go on. */
size_t tunnel_shape_take(struct tunnel *tunnel, unsigned d, size_t want);
/* Of what it took, bytes that it did not read. */
void tunnel_shape_give(struct tunnel *tunnel, unsigned d, size_t bytes);
/* It may move so much at a time. */
bool tunnel_shape_allows(const struct tunnel *tunnel, unsigned d, size_t quantum);
void tunnel_shape_leave(struct tunnel *tunnel);

/* tunnel_report.c */
void tunnel_count_bytes(struct tunnel *tunnel, unsigned direction, uint64_t bytes, bool spliced);
void tunnel_count_more(struct tunnel *tunnel, enum marcher_counter counter, uint64_t n);
void tunnel_count_one(struct tunnel *tunnel, enum marcher_counter counter);
void tunnel_report_rejected(struct worker *worker, struct listener *listener, struct service *service,
                            const struct addr *client, enum marcher_close_reason reason);
void tunnel_report_opened(struct tunnel *tunnel);
void tunnel_report_closed(struct tunnel *tunnel, enum marcher_close_reason reason);
/* The address that the client came to; asks the kernel where the listener does not tell. */
void tunnel_local(const struct tunnel *tunnel, struct addr *local);

#endif
