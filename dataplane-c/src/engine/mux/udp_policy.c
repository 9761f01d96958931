/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions under their service's traffic policy. Datagrams are not kept for later: what is over a rate is dropped. */
#include "../qos/bucket.h"
#include "../qos/mark.h"
#include "udp_internal.h"

void udp_mark_backend(const struct service *service, int fd, int family)
{
	const struct qos_policy *policy = qos_policy_of(service_qos(service));

	if (!policy)
		return;
	qos_mark(fd, family, -1, policy, true);
	qos_tell_ecn(fd, family);
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
		if (before == session->policy_version)
			continue;
		const struct qos_policy *policy = qos_policy_of(service_qos(session->service));
		qos_mark(session->source.fd, session->upstream.family, -1, policy, false);
		if (session->listener->steered) /* answers from a socket of its own */
			qos_mark(session->socket->fd, session->listener->addr.family, -1, policy, false);
		qos_tell_ecn(session->source.fd, session->upstream.family);
	}
}

uint8_t udp_policy_tos(const struct udp_session *session)
{
	const struct qos_policy *policy = qos_policy_of(service_qos(session->service));

	return policy ? policy->settings.tos : 0;
}

/* The limits of one direction. */
struct limits {
	struct gcra_rate own, shared;
};

static struct limits limits_of(const struct qos_settings *settings, unsigned direction)
{
	return (struct limits){settings->connection[direction].rate, settings->service[direction].rate};
}

/* A rate by which what is marked may be taken. */
static struct gcra_rate with_more(struct gcra_rate rate)
{
	rate.tolerance += gcra_more(&rate);
	return rate;
}

/* Takes whole datagrams of each bytes, the last one may be shorter, from both limits. Returns the bytes. */
static uint32_t take(struct udp_session *session, unsigned direction, const struct limits *limits, uint32_t length,
                     uint32_t each)
{
	uint64_t now = gcra_ticks(session->udp->worker->now_us * 1000);
	_Atomic uint64_t *own = &session->policy_tat[direction];
	_Atomic uint64_t *shared = &service_qos(session->service)->bytes[direction].tat;
	uint32_t few = each < length ? each : length, got = length, taken;

	if (limits->own.unit_cost)
		got = (uint32_t)bucket_take_steps(own, now, &limits->own, length, few, each);
	taken = got;
	if (got && limits->shared.unit_cost) {
		got = (uint32_t)bucket_take_steps(shared, now, &limits->shared, taken, few, each);
		if (limits->own.unit_cost)
			bucket_give(own, &limits->own, taken - got);
	}
	return got;
}

/* Of the service's bucket, beyond its burst, and of what may be marked. */
static uint32_t take_shared_more(struct qos_bucket *bucket, uint64_t now, const struct gcra_rate *rate, uint32_t length,
                                 uint32_t few, uint32_t each)
{
	struct gcra_rate marks = gcra_marks(rate), more = with_more(*rate);
	uint32_t marked = (uint32_t)bucket_take_steps(&bucket->marks_tat, now, &marks, length, few, each);
	uint32_t got = marked ? (uint32_t)bucket_take_steps(&bucket->tat, now, &more, marked, few, each) : 0;

	bucket_give(&bucket->marks_tat, &marks, marked - got);
	return got;
}

/* The same as take, of what is over one limit at least, and is marked. Own limits keep nobody else from anything. */
static uint32_t take_more(struct udp_session *session, unsigned direction, const struct limits *limits, uint32_t length,
                          uint32_t each)
{
	uint64_t now = gcra_ticks(session->udp->worker->now_us * 1000);
	_Atomic uint64_t *own = &session->policy_tat[direction];
	struct qos_bucket *bucket = &service_qos(session->service)->bytes[direction];
	struct gcra_rate own_more = with_more(limits->own);
	uint32_t few = each < length ? each : length, got = length, taken;

	if (own_more.unit_cost)
		got = (uint32_t)bucket_take_steps(own, now, &own_more, length, few, each);
	taken = got;
	if (got && limits->shared.unit_cost) {
		got = (uint32_t)bucket_take_steps(&bucket->tat, now, &limits->shared, taken, few, each);
		if (got < taken)
			got += take_shared_more(bucket, now, &limits->shared, taken - got, few, each);
		if (own_more.unit_cost)
			bucket_give(own, &own_more, taken - got);
	}
	return got;
}

/* What conforms passes. Of what does not, datagrams that can be marked are, in place of being dropped, as far as
 * bpf/lib/gcra.h says. */
struct udp_verdict udp_police(struct udp_session *session, unsigned direction, uint32_t length, uint16_t segment,
                              uint8_t ecn)
{
	const struct qos_policy *policy = qos_policy_of(service_qos(session->service));
	uint32_t each = segment && segment < length ? segment : length;
	struct udp_verdict verdict = {.passed = length};

	if (!policy || !policy->settings.limits_bytes || !length)
		return verdict;
	struct limits limits = limits_of(&policy->settings, direction);
	verdict.passed = take(session, direction, &limits, length, each);
	uint32_t rest = length - verdict.passed;
	if (!rest)
		return verdict;
	if (ecn && policy->settings.ecn_mark) {
		verdict.marked = take_more(session, direction, &limits, rest, each);
		if (verdict.marked)
			udp_count_on(session, MARCHER_ECN_MARKED, udp_datagrams(verdict.marked, segment));
		rest -= verdict.marked;
	}
	if (rest) {
		uint32_t dropped = udp_datagrams(rest, segment);
		udp_count_on(session, MARCHER_RATE_DROPPED, dropped);
		/* Those from clients count as dropped by not being sent. */
		if (direction == QOS_EGRESS)
			udp_count_on(session, MARCHER_UDP_DROPPED, dropped);
	}
	return verdict;
}

void udp_police_and_add(struct udp_outgoing *out, struct udp_session *session, unsigned direction, uint8_t *data,
                        uint32_t length, uint16_t segment, uint8_t ecn)
{
	struct udp_verdict verdict = udp_police(session, direction, length, segment, ecn);

	if (verdict.passed || !length)
		udp_outgoing_add(out, session, data, verdict.passed, segment, ecn);
	if (verdict.marked)
		udp_outgoing_add(out, session, data + verdict.passed, verdict.marked, segment, UDP_ECN_CE);
}
