/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions under their service's traffic policy. Datagrams are not kept for later: what is over a rate is dropped. */
#include "../qos/bucket.h"
#include "../qos/mark.h"
#include "udp_internal.h"

void udp_mark_backend(const struct service *service, int fd, int family)
{
	const struct qos_policy *policy = qos_policy_of(service_qos(service));

	if (policy)
		qos_mark(fd, family, -1, policy, true);
}

void udp_follow_policy(struct udp_session *session)
{
	const struct qos_policy *policy = qos_policy_of(service_qos(session->service));

	session->policy_version = policy ? policy->version : 0;
	session->ready.class = policy ? policy->settings.priority : QOS_CLASS_DEFAULT;
}

void udp_policies_changed(struct worker *worker)
{
	for (struct udp_session *session = worker->udp->all; session; session = session->next) {
		uint32_t before = session->policy_version;
		udp_follow_policy(session);
		if (before != session->policy_version)
			qos_mark(session->source.fd, session->upstream.family, -1,
			         qos_policy_of(service_qos(session->service)), false);
	}
}

/* Whole datagrams of the message that conform; all of it counts as taken. */
static uint32_t take(_Atomic uint64_t *tat, const struct gcra_rate *rate, uint64_t now, uint32_t length, uint32_t each)
{
	return (uint32_t)bucket_take_steps(tat, now, rate, length, each < length ? each : length, each);
}

uint32_t udp_police(struct udp_session *session, unsigned direction, uint32_t length, uint16_t segment)
{
	struct qos *qos = service_qos(session->service);
	const struct qos_policy *policy = qos_policy_of(qos);
	uint32_t each = segment && segment < length ? segment : length, passed = length;

	if (!policy || !policy->settings.limits_bytes)
		return length;
	uint64_t now = gcra_ticks(session->udp->worker->now_us * 1000);
	const struct gcra_rate *own = &policy->settings.connection[direction].rate;
	const struct gcra_rate *shared = &policy->settings.service[direction].rate;
	if (own->unit_cost)
		passed = take(&session->policy_tat[direction], own, now, passed, each);
	if (passed && shared->unit_cost) {
		uint32_t taken = passed;
		passed = take(&qos->bytes[direction].tat, shared, now, taken, each);
		if (own->unit_cost)
			bucket_give(&session->policy_tat[direction], own, taken - passed);
	}
	if (passed < length) {
		uint32_t dropped = udp_datagrams(length - passed, segment);
		udp_count_on(session, MARCHER_RATE_DROPPED, dropped);
		/* Those from clients count as dropped by not being sent. */
		if (direction == QOS_EGRESS)
			udp_count_on(session, MARCHER_UDP_DROPPED, dropped);
	}
	return passed;
}
