/* SPDX-License-Identifier: Apache-2.0 */
#include "shaper.h"

#include <stdlib.h>

#include "../worker.h"
#include "bucket.h"

#define BYTE_US 1000000u
#define CREDIT_KEPT_PER_SECOND 20u /* what a lane may save up: its part of 50 ms */
#define ELAPSED_MAX_US 5000000u
/* How many wait elsewhere changes: what a lane earns is looked at so often. */
#define LOOK_US 100000u

struct shaper_lane {
	struct qos *qos;
	struct shaper_flow *first, **last;
	uint32_t count;
	int64_t credit; /* bytes */
	uint64_t accrued_us;
	struct timer timer;
	uint8_t direction;
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t now_ticks(void)
{
	return gcra_ticks(this_worker->now_us * 1000);
}

/* The first ms of the timer wheel at which so much time has passed, not now. */
static uint64_t wake_ms(uint64_t wait_us)
{
	const struct worker *worker = this_worker;
	uint64_t at = (worker->now_us + wait_us + 999) / 1000;
	return at > worker->now_ms ? at : worker->now_ms + 1;
}

static void begin_wait(struct shaper_flow *flow)
{
	flow->waits = true;
	flow->waited = true;
	flow->since_us = this_worker->now_us;
}

static void end_wait(struct shaper_flow *flow)
{
	uint64_t now_us = this_worker->now_us;

	flow->waits = false;
	flow->throttled_us += now_us > flow->since_us ? now_us - flow->since_us : 0;
}

static void alone(struct timer *timer, uint64_t now_ms)
{
	struct shaper_flow *flow = (struct shaper_flow *)((char *)timer - offsetof(struct shaper_flow, timer));

	(void)now_ms;
	end_wait(flow);
	flow->resume(flow);
}

static void wait_alone(struct shaper_flow *flow, uint64_t wait_us)
{
	begin_wait(flow);
	timer_arm(this_worker->timers, &flow->timer, wake_ms(wait_us), alone);
}

/* Lanes */

/* Bytes per second of the limit that are this lane's. */
static uint64_t lane_part(const struct shaper_lane *lane, const struct qos_limit *limit)
{
	uint64_t waiting = atomic_load_explicit(&lane->qos->bytes[lane->direction].waiting, memory_order_relaxed);
	uint64_t all = limit->bytes_per_second, part = all;

	if (waiting > lane->count)
		part = all / waiting * lane->count + all % waiting * lane->count / waiting;
	return part ? part : 1;
}

/* What some lanes leave stays in the bucket: when that is more than half full all earn at twice the rate. */
static bool bucket_is_left_over(const struct shaper_lane *lane, const struct qos_limit *limit)
{
	uint64_t tat = atomic_load_explicit(&lane->qos->bytes[lane->direction].tat, memory_order_relaxed);

	return gcra_ahead(tat, now_ticks(), &limit->rate) < limit->rate.tolerance / 2;
}

static void lane_earn(struct shaper_lane *lane, const struct qos_limit *limit)
{
	uint64_t part = lane_part(lane, limit) << bucket_is_left_over(lane, limit);
	uint64_t elapsed_us = least(this_worker->now_us - lane->accrued_us, ELAPSED_MAX_US);
	uint64_t earned = part * elapsed_us / BYTE_US;
	int64_t kept = (int64_t)(part / CREDIT_KEPT_PER_SECOND + limit->quantum);

	lane->credit += (int64_t)earned;
	/* Less than a byte is not lost: its time stays on the clock. */
	lane->accrued_us = this_worker->now_us - (elapsed_us - earned * BYTE_US / part);
	if (lane->credit > kept)
		lane->credit = kept;
}

static struct shaper_flow *lane_pop(struct shaper_lane *lane)
{
	struct shaper_flow *flow = lane->first;

	lane->first = flow->next;
	if (lane->first)
		lane->first->pprev = &lane->first;
	else
		lane->last = &lane->first;
	flow->next = NULL;
	flow->pprev = NULL;
	lane->count--;
	atomic_fetch_sub_explicit(&lane->qos->bytes[lane->direction].waiting, 1, memory_order_relaxed);
	return flow;
}

static void lane_serve(struct timer *timer, uint64_t now_ms);

/* When the lane has the credit for a quantum, and the bucket the bytes. */
static void lane_arm(struct shaper_lane *lane, const struct qos_limit *limit)
{
	struct qos_bucket *bucket = &lane->qos->bytes[lane->direction];
	uint64_t tat = atomic_load_explicit(&bucket->tat, memory_order_relaxed);
	uint64_t wait_us = gcra_wait_ns(tat, now_ticks(), &limit->rate, limit->quantum) / 1000;

	if (lane->credit < limit->quantum) {
		uint64_t earn_us = (uint64_t)(limit->quantum - lane->credit) * BYTE_US / lane_part(lane, limit);
		wait_us = least(most(wait_us, earn_us), wait_us + LOOK_US);
	}
	timer_arm(this_worker->timers, &lane->timer, wake_ms(wait_us), lane_serve);
}

static void lane_serve(struct timer *timer, uint64_t now_ms)
{
	struct shaper_lane *lane = (struct shaper_lane *)((char *)timer - offsetof(struct shaper_lane, timer));
	const struct qos_policy *policy = qos_policy_of(lane->qos);
	const struct qos_limit *limit = policy ? &policy->settings.service[lane->direction] : NULL;

	(void)now_ms;
	if (!limit || !limit->rate.unit_cost) {
		/* The limit was lifted: everybody goes on. */
		for (uint32_t n = lane->count; n && lane->first; n--) {
			struct shaper_flow *flow = lane_pop(lane);
			end_wait(flow);
			flow->resume(flow);
		}
		return;
	}
	lane_earn(lane, limit);
	uint64_t tat = atomic_load_explicit(&lane->qos->bytes[lane->direction].tat, memory_order_relaxed);
	int64_t there = (int64_t)gcra_available(tat, now_ticks(), &limit->rate);
	while (lane->first && lane->credit >= limit->quantum && there >= limit->quantum) {
		struct shaper_flow *flow = lane_pop(lane);
		lane->credit -= limit->quantum;
		there -= limit->quantum;
		end_wait(flow);
		flow->turn = true;
		flow->resume(flow);
	}
	if (lane->first)
		lane_arm(lane, limit);
}

static struct shaper_lane *lane_of(struct qos *qos, unsigned direction)
{
	unsigned index = this_worker->index;
	struct shaper_lane *lane = index < qos->nworkers ? qos->lanes[index][direction] : NULL;

	if (lane || index >= qos->nworkers)
		return lane;
	lane = calloc(1, sizeof(*lane));
	if (!lane)
		return NULL;
	lane->qos = qos;
	lane->direction = (uint8_t)direction;
	lane->last = &lane->first;
	qos->lanes[index][direction] = lane;
	return lane;
}

static void wait_in_lane(struct shaper_flow *flow, const struct qos_limit *limit)
{
	struct shaper_lane *lane = lane_of(flow->qos, flow->direction);

	if (!lane) { /* out of memory: it asks again by itself */
		wait_alone(flow, 1000);
		return;
	}
	begin_wait(flow);
	flow->next = NULL;
	flow->pprev = lane->last;
	*lane->last = flow;
	lane->last = &flow->next;
	atomic_fetch_add_explicit(&flow->qos->bytes[flow->direction].waiting, 1, memory_order_relaxed);
	if (lane->count++ == 0)
		lane->accrued_us = this_worker->now_us;
	if (!timer_armed(&lane->timer))
		lane_arm(lane, limit);
}

/* Taking */

/* Of the connection's own limit; 0: it waits. */
static size_t take_own(struct shaper_flow *flow, const struct qos_limit *limit, size_t want)
{
	uint64_t now = now_ticks(), few = least(limit->quantum, want);
	size_t got = bucket_take(&flow->tat, now, &limit->rate, want, few);

	if (!got) {
		uint64_t tat = atomic_load_explicit(&flow->tat, memory_order_relaxed);
		wait_alone(flow, gcra_wait_ns(tat, now, &limit->rate, few) / 1000);
	}
	return got;
}

/* Of the service's limit; 0: it waits. Nobody overtakes those that wait. */
static size_t take_shared(struct shaper_flow *flow, const struct qos_limit *limit, size_t want)
{
	struct qos_bucket *bucket = &flow->qos->bytes[flow->direction];
	bool others = atomic_load_explicit(&bucket->waiting, memory_order_relaxed) > 0;
	size_t got = 0;

	if (flow->turn && others)
		want = least(want, limit->quantum);
	if (flow->turn || !others)
		got = bucket_take(&bucket->tat, now_ticks(), &limit->rate, want, least(limit->quantum, want));
	flow->on_credit = flow->turn;
	flow->turn = false;
	if (!got)
		wait_in_lane(flow, limit);
	return got;
}

size_t shaper_take(struct shaper_flow *flow, size_t want)
{
	const struct qos_policy *policy = qos_policy_of(flow->qos);
	size_t got = want < GCRA_UNITS_MAX ? want : GCRA_UNITS_MAX;

	if (flow->waits)
		return 0;
	if (policy) {
		const struct qos_limit *own = &policy->settings.connection[flow->direction];
		const struct qos_limit *shared = &policy->settings.service[flow->direction];
		if (own->rate.unit_cost && !(got = take_own(flow, own, got)))
			return 0;
		if (shared->rate.unit_cost) {
			size_t taken = got;
			got = take_shared(flow, shared, taken);
			if (own->rate.unit_cost)
				bucket_give(&flow->tat, &own->rate, taken - got);
			if (!got)
				return 0;
		}
	}
	if (flow->waited) {
		flow->waited = false;
		flow->throttled_bytes += got;
	}
	return got;
}

/* What a lane's credit was taken for and was not used is its other connections'. */
static void give_credit(struct shaper_flow *flow, const struct qos_limit *limit, size_t bytes)
{
	struct shaper_lane *lane = flow->qos->lanes[this_worker->index][flow->direction];

	lane->credit += (int64_t)least(bytes, limit->quantum);
	if (lane->first)
		lane_arm(lane, limit);
}

void shaper_give(struct shaper_flow *flow, size_t bytes)
{
	const struct qos_policy *policy = qos_policy_of(flow->qos);

	if (!policy || !bytes)
		return;
	const struct qos_limit *own = &policy->settings.connection[flow->direction];
	const struct qos_limit *shared = &policy->settings.service[flow->direction];
	if (own->rate.unit_cost)
		bucket_give(&flow->tat, &own->rate, bytes);
	if (!shared->rate.unit_cost)
		return;
	bucket_give(&flow->qos->bytes[flow->direction].tat, &shared->rate, bytes);
	if (flow->on_credit)
		give_credit(flow, shared, bytes);
}

bool shaper_allows(const struct shaper_flow *flow, size_t quantum)
{
	const struct qos_policy *policy = qos_policy_of(flow->qos);

	if (!policy)
		return true;
	const struct qos_limit *own = &policy->settings.connection[flow->direction];
	const struct qos_limit *shared = &policy->settings.service[flow->direction];
	return (!own->rate.unit_cost || own->quantum >= quantum) &&
	       (!shared->rate.unit_cost || shared->quantum >= quantum);
}

bool shaper_leave(struct shaper_flow *flow)
{
	if (!flow->waits)
		return false;
	end_wait(flow);
	if (timer_armed(&flow->timer)) {
		timer_disarm(this_worker->timers, &flow->timer);
		return true;
	}
	struct shaper_lane *lane = flow->qos->lanes[this_worker->index][flow->direction];
	*flow->pprev = flow->next;
	if (flow->next)
		flow->next->pprev = flow->pprev;
	else
		lane->last = flow->pprev;
	flow->next = NULL;
	flow->pprev = NULL;
	lane->count--;
	atomic_fetch_sub_explicit(&flow->qos->bytes[flow->direction].waiting, 1, memory_order_relaxed);
	if (!lane->first)
		timer_disarm(this_worker->timers, &lane->timer);
	return true;
}
