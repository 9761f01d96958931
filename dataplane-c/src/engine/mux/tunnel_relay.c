/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving bytes. A direction reads into the worker's scratch buffer and writes at once; what the peer does not take
 * becomes pending, and nothing more is read until that has gone. A source that keeps filling the scratch is bulk: its
 * direction goes on through a pipe, without copying, until the source runs dry.
 */
#include "tunnel_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

/* So many bytes in a row without finding the source empty make it bulk. */
#define SPLICE_AFTER_BYTES (128u * 1024)
/* What the pipe has to have carried until the source ran dry for the next bytes to go through it from the first on:
 * below it a copy is cheaper than two splices. */
#define SPLICE_WORTH_BYTES (32u * 1024)
/* What one direction may move before others get their turn. */
#define TURN_BYTES (1024 * 1024)

/* What became of a step. */
enum step { STEP_ON, STEP_WAIT };

static enum marcher_close_reason reset_reason(unsigned side)
{
	return side == CLIENT ? MARCHER_CLOSE_CLIENT_RESET : MARCHER_CLOSE_BACKEND_RESET;
}

static void give_pipe(struct tunnel_direction *direction)
{
	if (!direction->pipe)
		return;
	raw_pipe_give(&this_worker->tunnel->pipes, direction->pipe);
	direction->pipe = NULL;
}

static bool has_unsent(const struct tunnel_direction *direction)
{
	return direction->pending || (direction->pipe && direction->pipe->pending);
}

/* The side that direction d writes to is dead. What it had sent before may still stand in its socket, such as an early
 * answer: the other direction is read to its end before the reset is passed on. */
static enum step write_failed(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_direction *direction = &tunnel->direction[d], *back = &tunnel->direction[!d];
	struct tunnel_side *to = &tunnel->side[!d];

	to->reset = true;
	to->readable = true;
	to->read_to_end = true;
	direction->closed = true;
	relay_buffer_clear(this_worker->tunnel->pieces, &direction->pending);
	give_pipe(direction);
	if (back->closed || (back->ended && !has_unsent(back)))
		tunnel_close(tunnel, reset_reason(!d));
	else
		tunnel_arm(tunnel);
	return STEP_WAIT;
}

/* The second write to a backend is the first that Nagle's algorithm could hold back. */
void tunnel_no_delay(struct tunnel *tunnel)
{
	int one = 1;

	tunnel->no_delay = true;
	if (tunnel->endpoint->addr.family != AF_UNIX)
		setsockopt(tunnel->side[BACKEND].source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* The source's FIN has been read and everything before it is sent: pass it on. */
static enum step pass_end(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_side *to = &tunnel->side[!d];

	tunnel->direction[d].closed = true;
	if (tunnel->direction[!d].closed) {
		if (to->reset || tunnel->side[d].reset)
			tunnel_close(tunnel, reset_reason(to->reset ? !d : d));
		else
			tunnel_close(tunnel, MARCHER_CLOSE_NORMAL); /* close() sends the FIN */
		return STEP_WAIT;
	}
	if (shutdown(to->source.fd, SHUT_WR) < 0)
		return write_failed(tunnel, d);
	tunnel->active_ms = this_worker->now_ms;
	tunnel_arm(tunnel);
	return STEP_WAIT;
}

static enum step source_ended(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_side *from = &tunnel->side[d];

	from->readable = false;
	if (from->reset) {
		tunnel_close(tunnel, reset_reason(d));
		return STEP_WAIT;
	}
	tunnel->direction[d].ended = true;
	give_pipe(&tunnel->direction[d]);
	return STEP_ON;
}

/* Nothing more to read now. */
static enum step source_empty(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_side *from = &tunnel->side[d];

	if (from->reset) {
		tunnel_close(tunnel, reset_reason(d));
		return STEP_WAIT;
	}
	from->readable = false;
	from->read_to_end = d == BACKEND && tunnel->endpoint->addr.family == AF_UNIX;
	return STEP_ON;
}

static enum step read_failed(struct tunnel *tunnel, unsigned d, int error)
{
	if (error == -EAGAIN)
		return source_empty(tunnel, d);
	tunnel_close(tunnel, reset_reason(d));
	return STEP_WAIT;
}

/* Sends what is pending. */
static enum step flush(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_direction *direction = &tunnel->direction[d];
	struct tunnel_side *to = &tunnel->side[!d];
	ssize_t n = 0;

	if (!to->writable)
		return STEP_WAIT;
	if (direction->pending) {
		int sent = relay_buffer_flush(this_worker->tunnel->pieces, &direction->pending, to->source.fd,
		                              direction->ended);
		n = sent == 0 ? -EAGAIN : sent;
	} else {
		n = raw_pipe_drain(direction->pipe, to->source.fd);
	}
	if (n > 0) {
		tunnel->active_ms = this_worker->now_ms;
		return STEP_ON;
	}
	if (n == -EAGAIN || n == 0) {
		to->writable = false;
		return STEP_WAIT;
	}
	return write_failed(tunnel, d);
}

/* One read into the scratch buffer and what can be written of it. */
static enum step copy(struct tunnel *tunnel, unsigned d, size_t room, size_t *moved)
{
	struct worker *worker = this_worker;
	struct tunnel_direction *direction = &tunnel->direction[d];
	struct tunnel_side *from = &tunnel->side[d], *to = &tunnel->side[!d];
	ssize_t n = raw_receive(from->source.fd, worker->scratch, room);

	if (n == 0)
		return source_ended(tunnel, d);
	if (n < 0)
		return read_failed(tunnel, d, (int)n);
	*moved += (size_t)n;
	if ((size_t)n == room) {
		direction->streak += (uint32_t)n;
	} else if (!from->read_to_end) {
		/* All that there was; with a FIN behind it, all that there will be. */
		from->readable = false;
		direction->streak = 0;
		direction->ended = from->peer_closed;
	}
	if (d == CLIENT && !tunnel->no_delay && direction->bytes)
		tunnel_no_delay(tunnel);
	tunnel->active_ms = worker->now_ms;
	tunnel_count_bytes(tunnel, d, (uint64_t)n, false);
	ssize_t sent = raw_send(to->source.fd, worker->scratch, (size_t)n, direction->ended);
	if (sent == n)
		return STEP_ON;
	if (sent == -EAGAIN) {
		to->writable = false;
		sent = 0;
	} else if (sent < 0) {
		return write_failed(tunnel, d);
	}
	if (!relay_buffer_append(worker->tunnel->pieces, &direction->pending, worker->scratch + sent,
	                         (size_t)(n - sent))) {
		tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
		return STEP_WAIT;
	}
	return STEP_ON;
}

/* One filling of the pipe; flush() empties it. */
static enum step splice_in(struct tunnel *tunnel, unsigned d, size_t room, size_t *moved)
{
	struct tunnel_direction *direction = &tunnel->direction[d];
	struct tunnel_side *from = &tunnel->side[d];
	ssize_t n = raw_pipe_fill(direction->pipe, from->source.fd, room);

	if (n > 0) {
		*moved += (size_t)n;
		direction->streak += (uint32_t)n > UINT32_MAX - direction->streak ? 0 : (uint32_t)n;
		tunnel->active_ms = this_worker->now_ms;
		tunnel_count_bytes(tunnel, d, (uint64_t)n, true);
		return STEP_ON;
	}
	if (n == 0)
		return source_ended(tunnel, d);
	give_pipe(direction);
	if (n == -EINVAL) {
		direction->no_splice = true;
		return STEP_ON;
	}
	/* One that was bulk until now will be again: it goes on without copying, unless little came. */
	if (n == -EAGAIN)
		direction->streak =
		        direction->streak >= SPLICE_AFTER_BYTES + SPLICE_WORTH_BYTES ? SPLICE_AFTER_BYTES : 0;
	return read_failed(tunnel, d, (int)n);
}

/* true: go on through a pipe. */
static bool is_bulk(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_direction *direction = &tunnel->direction[d];
	struct worker *worker = this_worker;

	if (direction->pipe)
		return true;
	if (direction->streak < SPLICE_AFTER_BYTES || direction->no_splice)
		return false;
	if (tunnel->shape && !tunnel_shape_allows(tunnel, d, SPLICE_WORTH_BYTES))
		return false;
	direction->pipe = raw_pipe_take(&worker->tunnel->pipes, worker->now_ms);
	return direction->pipe != NULL;
}

void tunnel_queue(struct tunnel *tunnel)
{
	tunnel->more = true;
	sched_queue(this_worker, &tunnel->ready);
}

/* One read, within the turn's share and what the traffic policy lets through, and what can be written of it. */
static enum step read_some(struct tunnel *tunnel, unsigned d, size_t share, size_t *moved)
{
	struct tunnel_direction *direction = &tunnel->direction[d];
	bool bulk = is_bulk(tunnel, d);
	size_t room = bulk ? direction->pipe->capacity : WORKER_SCRATCH_BYTES, before = *moved;

	if (room > share)
		room = share;
	if (tunnel->shape) {
		room = tunnel_shape_take(tunnel, d, room);
		if (!room) {
			if (raw_pipes_scarce(&this_worker->tunnel->pipes))
				give_pipe(direction);
			return STEP_WAIT;
		}
	}
	enum step step = bulk ? splice_in(tunnel, d, room, moved) : copy(tunnel, d, room, moved);
	if (tunnel->shape)
		tunnel_shape_give(tunnel, d, room - (*moved - before));
	return step;
}

static void move(struct tunnel *tunnel, unsigned d)
{
	struct tunnel_direction *direction = &tunnel->direction[d];
	struct tunnel_side *from = &tunnel->side[d];
	enum step step = STEP_ON;
	size_t moved = 0, turn = this_worker->sched.active ? SCHED_ITEM_BYTES : TURN_BYTES;

	while (step == STEP_ON) {
		if (direction->closed)
			return;
		if (has_unsent(direction)) {
			step = flush(tunnel, d);
		} else if (direction->ended) {
			step = pass_end(tunnel, d);
		} else if (!from->readable) {
			return;
		} else if (moved >= turn) {
			tunnel_queue(tunnel);
			return;
		} else {
			step = read_some(tunnel, d, turn - moved, &moved);
		}
	}
}

/* After a write found a side dead, what it had sent is read out. A client that is gone while its backend takes nothing
 * is not waited for: nobody will read the answer. */
static void settle(struct tunnel *tunnel)
{
	for (unsigned side = 0; side < 2; side++) {
		if (tunnel->state == TUNNEL_CLOSED || !tunnel->side[side].reset)
			continue;
		move(tunnel, side);
		if (tunnel->state != TUNNEL_CLOSED && side == CLIENT && !tunnel->side[BACKEND].writable)
			tunnel_close(tunnel, MARCHER_CLOSE_CLIENT_RESET);
	}
}

void tunnel_relay(struct tunnel *tunnel)
{
	move(tunnel, CLIENT);
	if (tunnel->state != TUNNEL_CLOSED)
		move(tunnel, BACKEND);
	settle(tunnel);
}

static void note(struct tunnel_side *side, uint32_t events)
{
	if (events & POLL_READ)
		side->readable = true;
	if (events & POLL_WRITE)
		side->writable = true;
	if (events & POLL_PEER_CLOSED)
		side->peer_closed = true;
	/* A read stops at the mark of urgent data: what is short is not all. (The urgent byte itself is not relayed.)
	 */
	if (events & POLL_URGENT)
		side->read_to_end = true;
	if (events & POLL_ERROR)
		side->readable = side->writable = side->read_to_end = true;
}

/* An established tunnel's side s has something to tell. */
static void side_event(struct tunnel *tunnel, unsigned s, uint32_t events)
{
	struct tunnel_direction *out = &tunnel->direction[s];

	/* A side whose FIN has been read, and that we have not sent ours, has nothing to report but its death. (With
	 * both sent it is the natural end, while what it said may still be pending for the other.) */
	if ((events & POLL_ERROR) && out->ended && !tunnel->direction[!s].closed)
		write_failed(tunnel, !s);
	if (tunnel->state == TUNNEL_CLOSED)
		return;
	if (events & (POLL_READ | POLL_ERROR))
		move(tunnel, s);
	if (tunnel->state != TUNNEL_CLOSED && (events & (POLL_WRITE | POLL_ERROR)) &&
	    (tunnel->direction[!s].pending || tunnel->direction[!s].pipe))
		move(tunnel, !s);
	if (tunnel->side[CLIENT].reset || tunnel->side[BACKEND].reset)
		settle(tunnel);
	/* A client that is gone while its backend takes nothing: see settle(). */
	if (tunnel->state != TUNNEL_CLOSED && s == CLIENT && (events & POLL_ERROR) &&
	    !tunnel->direction[BACKEND].closed && !tunnel->side[BACKEND].writable)
		tunnel_close(tunnel, MARCHER_CLOSE_CLIENT_RESET);
}

/* Its turn has come: what was left, or what its sides have told meanwhile; once, not both. */
static void run_established(struct tunnel *tunnel)
{
	bool more = tunnel->more;

	tunnel->more = false;
	for (unsigned s = 0; s < 2; s++) {
		uint32_t events = tunnel->side[s].events;
		tunnel->side[s].events = 0;
		if (events && (!more || (events & POLL_ERROR)) && tunnel->state == TUNNEL_ESTABLISHED)
			side_event(tunnel, s, events);
	}
	if (more && tunnel->state == TUNNEL_ESTABLISHED)
		tunnel_relay(tunnel);
}

size_t tunnel_run_queued(struct sched_item *item)
{
	struct tunnel *tunnel = (struct tunnel *)((char *)item - offsetof(struct tunnel, ready));
	uint64_t before = tunnel->direction[CLIENT].bytes + tunnel->direction[BACKEND].bytes;

	switch ((enum tunnel_state)tunnel->state) {
	case TUNNEL_CONNECTING:
		tunnel->more = false;
		tunnel_connect_queued(tunnel);
		break;
	case TUNNEL_ESTABLISHED:
		run_established(tunnel);
		break;
	case TUNNEL_HEADER:
	case TUNNEL_CLOSED:
		break;
	}
	return (size_t)(tunnel->direction[CLIENT].bytes + tunnel->direction[BACKEND].bytes - before);
}

/* At once, or when its class has its turn. */
static void established_event(struct tunnel *tunnel, unsigned s, uint32_t events)
{
	if (!this_worker->sched.active) {
		side_event(tunnel, s, events);
		return;
	}
	tunnel->side[s].events |= (uint8_t)events;
	sched_queue(this_worker, &tunnel->ready);
}

void tunnel_client_event(struct poll_source *source, uint32_t events)
{
	struct tunnel *tunnel = (struct tunnel *)((char *)source - offsetof(struct tunnel, side[CLIENT].source));

	note(&tunnel->side[CLIENT], events);
	switch ((enum tunnel_state)tunnel->state) {
	case TUNNEL_HEADER:
		tunnel_read_header(tunnel);
		break;
	case TUNNEL_CONNECTING:
		/* A FIN may be half a conversation; an error is the end of it. */
		if (events & POLL_ERROR)
			tunnel_close(tunnel, MARCHER_CLOSE_CLIENT_RESET);
		break;
	case TUNNEL_ESTABLISHED:
		established_event(tunnel, CLIENT, events);
		break;
	case TUNNEL_CLOSED:
		break;
	}
}

void tunnel_backend_event(struct poll_source *source, uint32_t events)
{
	struct tunnel *tunnel = (struct tunnel *)((char *)source - offsetof(struct tunnel, side[BACKEND].source));

	note(&tunnel->side[BACKEND], events);
	if (tunnel->state == TUNNEL_CONNECTING)
		tunnel_connect_event(tunnel, events);
	else if (tunnel->state == TUNNEL_ESTABLISHED)
		established_event(tunnel, BACKEND, events);
}
