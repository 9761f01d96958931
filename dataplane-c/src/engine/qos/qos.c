/* SPDX-License-Identifier: Apache-2.0 */
#include "qos.h"

#include <stdlib.h>
#include <string.h>

#include "bucket.h"
#include "shaper.h"

/* What waits for less than 2 ms wakes up too often; for small rates waiting for a whole packet would be too long, but
 * not shorter than 50 ms either. */
#define QUANTUM_PER_SECOND 500u
#define QUANTUM_SLOW_PER_SECOND 20u
#define QUANTUM_PACKET 1448u
#define QUANTUM_MAX (64u * 1024)
/* One connection's burst leaves within 50 ms, not at the speed of the link. */
#define PACED_BURSTS_PER_SECOND 20u

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

struct qos *qos_new(unsigned nworkers)
{
	size_t bytes = sizeof(struct qos) + nworkers * sizeof(((struct qos *)NULL)->lanes[0]);
	struct qos *qos = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!qos)
		return NULL;
	memset(qos, 0, bytes);
	qos->nworkers = nworkers;
	return qos;
}

void qos_free(struct qos *qos)
{
	if (!qos)
		return;
	for (unsigned i = 0; i < qos->nworkers; i++) {
		free(qos->lanes[i][QOS_INGRESS]);
		free(qos->lanes[i][QOS_EGRESS]);
	}
	free(qos->policy);
	free(qos);
}

static uint64_t burst_of(const Marcher__Engine__V1__Bandwidth *message)
{
	return gcra_burst(message->bits_per_second, message->burst_bytes);
}

static bool set_limit(struct qos_limit *limit, const Marcher__Engine__V1__Bandwidth *message)
{
	if (!message)
		return false;
	uint64_t bytes = message->bits_per_second / 8;
	limit->rate = gcra_rate(message->bits_per_second, 8, burst_of(message));
	limit->bytes_per_second = bytes;
	limit->quantum = (uint32_t)least(
	        most(bytes / QUANTUM_PER_SECOND, least(QUANTUM_PACKET, bytes / QUANTUM_SLOW_PER_SECOND)), QUANTUM_MAX);
	return true;
}

static uint64_t pacing_of(const Marcher__Engine__V1__Bandwidth *message)
{
	return message ? message->bits_per_second / 8 + burst_of(message) * PACED_BURSTS_PER_SECOND : 0;
}

struct qos_policy *qos_policy_new(const Marcher__Engine__V1__TrafficPolicy *message)
{
	static uint32_t versions;
	struct qos_policy *policy = calloc(1, sizeof(*policy));
	struct qos_settings *settings;

	if (!policy)
		return NULL;
	if (!++versions)
		versions = 1;
	policy->version = versions;
	settings = &policy->settings;
	settings->limits_bytes |= set_limit(&settings->service[QOS_INGRESS], message->ingress);
	settings->limits_bytes |= set_limit(&settings->service[QOS_EGRESS], message->egress);
	settings->limits_bytes |= set_limit(&settings->connection[QOS_INGRESS], message->connection_ingress);
	settings->limits_bytes |= set_limit(&settings->connection[QOS_EGRESS], message->connection_egress);
	settings->pacing_bytes_per_second[QOS_INGRESS] = pacing_of(message->connection_ingress);
	settings->pacing_bytes_per_second[QOS_EGRESS] = pacing_of(message->connection_egress);
	if (message->connections)
		settings->connections = gcra_rate(message->connections->per_second, 1, message->connections->burst);
	settings->has_dscp = message->set_dscp;
	settings->tos = message->set_dscp ? (uint8_t)(message->dscp << 2) : 0;
	settings->ecn_mark = message->ecn_mark;
	settings->priority = (uint8_t)message->priority;
	return policy;
}

static bool same_rate(const struct gcra_rate *a, const struct gcra_rate *b)
{
	return a->unit_cost == b->unit_cost && a->tolerance == b->tolerance;
}

bool qos_policy_same(const struct qos_policy *a, const struct qos_policy *b)
{
	if (!a || !b)
		return a == b;
	const struct qos_settings *x = &a->settings, *y = &b->settings;
	bool same = same_rate(&x->connections, &y->connections) && x->has_dscp == y->has_dscp && x->tos == y->tos &&
	            x->ecn_mark == y->ecn_mark && x->priority == y->priority;
	for (unsigned d = 0; d < 2; d++)
		same = same && same_rate(&x->service[d].rate, &y->service[d].rate) &&
		       same_rate(&x->connection[d].rate, &y->connection[d].rate);
	return same;
}

bool qos_connection_allowed(struct qos *qos, uint64_t now_us)
{
	const struct qos_policy *policy = qos_policy_of(qos);

	if (!policy || !policy->settings.connections.unit_cost)
		return true;
	return bucket_take(&qos->connections_tat, gcra_ticks(now_us * 1000), &policy->settings.connections, 1, 1) == 1;
}
