/* SPDX-License-Identifier: Apache-2.0 */
/* The poller over epoll. */
#include "poll.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256

struct poller {
	int epoll;
	void (*before)(void *);
	void (*after)(void *);
	void *context;
	struct epoll_event events[EVENTS_PER_TURN];
};

struct poller *poller_new(void)
{
	struct poller *poller = calloc(1, sizeof(*poller));
	if (!poller)
		return NULL;
	poller->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (poller->epoll < 0) {
		int error = errno;
		free(poller);
		errno = error;
		return NULL;
	}
	return poller;
}

void poller_free(struct poller *poller)
{
	if (!poller)
		return;
	close(poller->epoll);
	free(poller);
}

void poller_around_wait(struct poller *poller, void (*before)(void *), void (*after)(void *), void *context)
{
	poller->before = before;
	poller->after = after;
	poller->context = context;
}

static int add(struct poller *poller, struct poll_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};
	return epoll_ctl(poller->epoll, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

int poller_add(struct poller *poller, struct poll_source *source)
{
	return add(poller, source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET);
}

int poller_add_level(struct poller *poller, struct poll_source *source, bool exclusive)
{
	return add(poller, source, EPOLLIN | (exclusive ? (uint32_t)EPOLLEXCLUSIVE : 0));
}

int poller_remove(struct poller *poller, struct poll_source *source)
{
	return epoll_ctl(poller->epoll, EPOLL_CTL_DEL, source->fd, NULL) < 0 ? -errno : 0;
}

static uint32_t readiness(uint32_t events)
{
	uint32_t out = 0;
	if (events & EPOLLIN)
		out |= POLL_READ;
	if (events & EPOLLOUT)
		out |= POLL_WRITE;
	if (events & (EPOLLERR | EPOLLHUP))
		out |= POLL_ERROR;
	if (events & EPOLLPRI)
		out |= POLL_URGENT;
	if (events & EPOLLRDHUP)
		out |= POLL_READ | POLL_PEER_CLOSED;
	return out;
}

int poller_wait(struct poller *poller, int timeout_ms)
{
	if (timeout_ms != 0 && poller->before)
		poller->before(poller->context);
	int n = epoll_wait(poller->epoll, poller->events, EVENTS_PER_TURN, timeout_ms);
	if (poller->after)
		poller->after(poller->context);
	for (int i = 0; i < n; i++) {
		struct poll_source *source = poller->events[i].data.ptr;
		if (source->fd >= 0)
			source->handler(source, readiness(poller->events[i].events));
	}
	return n < 0 ? 0 : n;
}
