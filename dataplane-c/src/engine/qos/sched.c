/* SPDX-License-Identifier: Apache-2.0 */
#include "sched.h"

#include "../worker.h"

/* What arrives in the middle of a turn waits for its end: 50 us at 10 Gbit/s. Half of it costs bulk a tenth. */
#define TURN_WORK (64 * 1024)
/* What running an item costs besides the bytes, in bytes: about the time of two system calls. */
#define ITEM_WORK 2048

static const int64_t guaranteed[QOS_CLASSES] = {0, TURN_WORK / 2, TURN_WORK / 4, TURN_WORK / 8};

static struct sched_list *list_of(struct sched *sched, struct sched_item *item)
{
	return &sched->lists[item->class < QOS_CLASSES ? item->class : QOS_CLASS_DEFAULT];
}

static void run_turn(struct timer *timer, uint64_t now_ms);

static void append(struct sched_list *list, struct sched_item *item)
{
	if (!list->first)
		list->last = &list->first;
	item->next = NULL;
	item->pprev = list->last;
	*list->last = item;
	list->last = &item->next;
}

void sched_queue(struct worker *worker, struct sched_item *item)
{
	struct sched *sched = &worker->sched;

	if (sched_queued(item))
		return;
	append(list_of(sched, item), item);
	if (!timer_armed(&sched->timer))
		timer_arm(worker->timers, &sched->timer, worker->now_ms, run_turn);
}

void sched_remove(struct sched_item *item)
{
	struct sched *sched = &this_worker->sched;

	if (!sched_queued(item))
		return;
	*item->pprev = item->next;
	if (item->next)
		item->next->pprev = item->pprev;
	/* Its class may have changed since it was queued: of which list it was the last tells that list's end. */
	for (unsigned i = 0; !item->next && i < QOS_CLASSES; i++)
		if (sched->lists[i].last == &item->next)
			sched->lists[i].last = item->pprev;
	if (sched->turn.last == &item->next)
		sched->turn.last = item->pprev;
	item->pprev = NULL;
	item->next = NULL;
}

/* What waits in the list moves to one of the turn's own, so that those that queue again stand in the next turn. */
static void take_all(struct sched_list *list, struct sched_list *turn)
{
	*turn = *list;
	list->first = NULL;
	list->last = &list->first;
	if (turn->first)
		turn->first->pprev = &turn->first;
}

static void put_back(struct sched_list *list, struct sched_list *turn)
{
	if (!turn->first)
		return;
	if (list->first) {
		*turn->last = list->first;
		list->first->pprev = turn->last;
	} else {
		list->last = turn->last;
	}
	list->first = turn->first;
	list->first->pprev = &list->first;
}

static int64_t run_first(struct sched_list *turn)
{
	struct sched_item *item = turn->first;

	turn->first = item->next;
	if (turn->first)
		turn->first->pprev = &turn->first;
	item->next = NULL;
	item->pprev = NULL;
	return (int64_t)item->run(item) + ITEM_WORK;
}

static void run_class(struct sched *sched, enum qos_class class, int64_t *left)
{
	struct sched_list *list = &sched->lists[class];

	if (!list->first)
		return;
	list->credit += guaranteed[class];
	if (list->credit > guaranteed[class])
		list->credit = guaranteed[class];
	take_all(list, &sched->turn);
	while (sched->turn.first) {
		bool within = !sched->active || *left > 0;
		if (!within && list->credit <= 0)
			break;
		int64_t work = run_first(&sched->turn);
		*(within ? left : &list->credit) -= work;
	}
	put_back(list, &sched->turn);
	sched->turn = (struct sched_list){0};
}

static void run_turn(struct timer *timer, uint64_t now_ms)
{
	struct worker *worker = this_worker;
	struct sched *sched = &worker->sched;
	int64_t left = TURN_WORK;

	(void)now_ms;
	for (unsigned class = 0; class < QOS_CLASSES; class ++)
		run_class(sched, (enum qos_class) class, &left);
	for (unsigned class = 0; class < QOS_CLASSES; class ++)
		if (sched->lists[class].first && !timer_armed(timer))
			timer_arm(worker->timers, timer, worker->now_ms, run_turn);
}
