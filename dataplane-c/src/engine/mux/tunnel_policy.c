/* SPDX-License-Identifier: Apache-2.0 */
/* A connection under its service's traffic policy: marks on its sockets, its class, its limits. */
#include <stddef.h>
#include <sys/socket.h>

#include "../qos/mark.h"
#include "../qos/shaper.h"
#include "tunnel_internal.h"

struct tunnel_shape {
	struct shaper_flow flow[2]; /* by the side that is read */
	struct tunnel *tunnel;
};

struct slab *tunnel_shape_slab(void)
{
	return slab_new(sizeof(struct tunnel_shape));
}

static void resume(struct shaper_flow *flow)
{
	struct tunnel_shape *shape =
	        (struct tunnel_shape *)((char *)(flow - flow->direction) - offsetof(struct tunnel_shape, flow));

	shape->tunnel->active_ms = this_worker->now_ms; /* it was not idle */
	tunnel_queue(shape->tunnel);
}

static struct tunnel_shape *shape_new(struct tunnel *tunnel, struct qos *qos)
{
	struct tunnel_shape *shape = slab_alloc(this_worker->tunnel->shapes);

	if (!shape)
		return NULL;
	shape->tunnel = tunnel;
	for (unsigned d = 0; d < 2; d++)
		shape->flow[d] = (struct shaper_flow){.qos = qos, .resume = resume, .direction = (uint8_t)d};
	return shape;
}

/* What is written to the client was read from the backend. */
static void mark_client(const struct tunnel *tunnel, const struct qos_policy *policy, bool fresh)
{
	qos_mark(tunnel->side[CLIENT].source.fd, tunnel->listener->addr.family, BACKEND, policy, fresh);
}

void tunnel_mark_backend(const struct tunnel *tunnel, int fd, int family)
{
	if (family != AF_UNIX)
		qos_mark(fd, family, CLIENT, qos_policy_of(service_qos(tunnel->service)), true);
}

bool tunnel_follow_policy(struct tunnel *tunnel)
{
	struct qos *qos = service_qos(tunnel->service);
	const struct qos_policy *policy = qos_policy_of(qos);
	uint32_t version = policy ? policy->version : 0;
	bool fresh = !tunnel->policy_version;

	if (version == tunnel->policy_version)
		return true;
	tunnel->policy_version = version;
	tunnel->ready.class = policy ? policy->settings.priority : QOS_CLASS_DEFAULT;
	mark_client(tunnel, policy, fresh);
	if (tunnel->endpoint && tunnel->side[BACKEND].source.fd >= 0 && tunnel->endpoint->addr.family != AF_UNIX)
		qos_mark(tunnel->side[BACKEND].source.fd, tunnel->endpoint->addr.family, CLIENT, policy, fresh);
	if (tunnel->shape || !policy || !policy->settings.limits_bytes)
		return true;
	tunnel->shape = shape_new(tunnel, qos);
	return tunnel->shape != NULL;
}

size_t tunnel_shape_take(struct tunnel *tunnel, unsigned d, size_t want)
{
	struct shaper_flow *flow = &tunnel->shape->flow[d];
	size_t got = shaper_take(flow, want);

	if (got && flow->throttled_us) {
		tunnel_count_more(tunnel, MARCHER_THROTTLED_US, flow->throttled_us);
		tunnel_count_more(tunnel, MARCHER_THROTTLED_BYTES, flow->throttled_bytes);
		flow->throttled_us = flow->throttled_bytes = 0;
	}
	return got;
}

void tunnel_shape_give(struct tunnel *tunnel, unsigned d, size_t bytes)
{
	shaper_give(&tunnel->shape->flow[d], bytes);
}

bool tunnel_shape_allows(const struct tunnel *tunnel, unsigned d, size_t quantum)
{
	return shaper_allows(&tunnel->shape->flow[d], quantum);
}

void tunnel_shape_leave(struct tunnel *tunnel)
{
	shaper_leave(&tunnel->shape->flow[CLIENT]);
	shaper_leave(&tunnel->shape->flow[BACKEND]);
}

void tunnel_policies_changed(struct worker *worker)
{
	for (struct tunnel *tunnel = worker->tunnel->all, *next; tunnel; tunnel = next) {
		next = tunnel->next;
		if (!service_qos(tunnel->service))
			continue;
		uint32_t before = tunnel->policy_version;
		if (!tunnel_follow_policy(tunnel)) {
			/* Better than one that nothing limits. */
			tunnel_close(tunnel, MARCHER_CLOSE_NO_MEMORY);
			continue;
		}
		if (before == tunnel->policy_version || !tunnel->shape)
			continue;
		/* It may have waited for what is allowed now, and longer than it would have to. */
		bool waited = shaper_leave(&tunnel->shape->flow[CLIENT]);
		waited |= shaper_leave(&tunnel->shape->flow[BACKEND]);
		if (waited)
			tunnel_queue(tunnel);
	}
}
