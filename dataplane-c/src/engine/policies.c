/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic policies of services. A policy is published with the service that names it; connections that are open take
 * note when their worker is told to look, one walk over all of them for each apply that changed any policy.
 */
#include "mux/tunnel.h"
#include "mux/udp.h"
#include "qos/mark.h"
#include "runtime_internal.h"

static bool prioritised(const struct qos_policy *policy)
{
	return policy && policy->settings.priority != QOS_CLASS_DEFAULT;
}

bool policies_reserve(struct runtime *runtime, struct service_entry *entry)
{
	if (entry->id.qos)
		return true;
	struct qos *qos = qos_new(runtime->engine->nworkers);
	if (!qos)
		return false;
	__atomic_store_n(&entry->id.qos, qos, __ATOMIC_RELEASE);
	return true;
}

void policies_publish(struct runtime *runtime, struct service_entry *entry, struct qos_policy *policy)
{
	struct qos *qos = entry->id.qos;
	if (!qos)
		return; /* never had one, and has none now */
	if (qos_policy_same(qos->policy, policy)) {
		free(policy);
		return;
	}
	struct qos_policy *before = qos->policy;
	runtime->nprioritised += prioritised(policy);
	runtime->nprioritised -= prioritised(before);
	runtime->policies_changed = true;
	__atomic_store_n(&qos->policy, policy, __ATOMIC_RELEASE);
	runtime_reclaim(runtime, RECLAIM_FREE, before);
}

void policies_forget(struct runtime *runtime, struct service_entry *entry)
{
	struct qos *qos = entry->id.qos;
	if (qos)
		runtime->nprioritised -= prioritised(qos->policy);
	qos_free(qos);
	entry->id.qos = NULL;
}

struct look {
	struct worker_message message;
	bool active;
};

static void look(struct worker *worker, struct worker_message *message)
{
	struct look *order = (struct look *)message;
	worker->sched.active = order->active;
	tunnel_policies_changed(worker);
	udp_policies_changed(worker);
	free(order);
}

void policies_tell(struct runtime *runtime)
{
	struct engine *engine = runtime->engine;
	if (!runtime->policies_changed)
		return;
	runtime->policies_changed = false;
	for (unsigned i = 0; i < engine->nworkers; i++) {
		struct look *order = malloc(sizeof(*order));
		if (!order) {
			log_line(LOG_ERROR,
			         "policy: out of memory, open connections keep the one they have until the next change "
			         "worker=%u",
			         i);
			continue;
		}
		order->message.run = look;
		order->active = runtime->nprioritised > 0;
		worker_post(engine->workers[i], &order->message);
	}
}

void policies_mark(struct claim *claim)
{
	const struct listener *listener = claim->listener;
	const struct qos_policy *policy = qos_policy_of(claim->owner->id.qos);
	if (!policy && !claim->marked)
		return;
	for (uint32_t i = 0; i < listener->nfds; i++)
		qos_mark(listener->fds[i], listener->addr.family, -1, policy, false);
	for (uint32_t i = 0; policy && listener->transport == TRANSPORT_UDP && i < listener->nfds; i++)
		qos_tell_ecn(listener->fds[i], listener->addr.family);
	claim->marked = policy != NULL;
}
