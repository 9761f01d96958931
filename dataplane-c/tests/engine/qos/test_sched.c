/* SPDX-License-Identifier: Apache-2.0 */
/* Who runs when, with items that say how much they have moved. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker.h"

_Thread_local struct worker *this_worker;

#define ITEMS 64

struct thing {
	struct sched_item item; /* first */
	size_t moves;
	unsigned runs, again; /* how often it queues itself again */
	bool closes;          /* takes the next one out when it runs */
};

static struct worker worker;
static struct thing things[ITEMS];
static unsigned order[4096], nran;

static size_t run(struct sched_item *item)
{
	struct thing *thing = (struct thing *)item;
	assert_false(sched_queued(item));
	if (nran < 4096)
		order[nran] = (unsigned)(thing - things);
	nran++;
	thing->runs++;
	if (thing->closes)
		sched_remove(&things[thing - things + 1].item);
	if (thing->again) {
		thing->again--;
		sched_queue(&worker, item);
	}
	return thing->moves;
}

static int setup(void **state)
{
	(void)state;
	memset(&worker, 0, sizeof(worker));
	memset(things, 0, sizeof(things));
	nran = 0;
	this_worker = &worker;
	worker.now_ms = 1000;
	worker.timers = timer_wheel_new(worker.now_ms);
	for (unsigned i = 0; i < ITEMS; i++) {
		things[i].item.run = run;
		things[i].item.class = QOS_CLASS_DEFAULT;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	timer_wheel_free(worker.timers);
	return 0;
}

/* One turn of the loop. Returns whether another is wanted at once. */
static bool turn(void)
{
	timer_wheel_advance(worker.timers, worker.now_ms);
	return timer_wheel_next(worker.timers, worker.now_ms) == 0;
}

static void queue(unsigned i, enum qos_class class)
{
	things[i].item.class = (uint8_t) class;
	sched_queue(&worker, &things[i].item);
}

static void without_priorities_each_runs_once_per_turn_in_order(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		things[i].moves = 1 << 20;
		things[i].again = 2;
		queue(i, QOS_CLASS_DEFAULT);
		queue(i, QOS_CLASS_DEFAULT); /* is there already */
	}
	for (unsigned t = 0; t < 3; t++) {
		assert_int_equal(turn(), t < 2);
		assert_int_equal(nran, 8 * (t + 1));
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(order[t * 8 + i], i);
	}
}

static void the_highest_class_runs_first_whatever_came_first(void **state)
{
	(void)state;
	worker.sched.active = true;
	for (unsigned i = 0; i < 8; i++)
		queue(i, (enum qos_class)(QOS_P3 - i % 4));
	turn();
	assert_int_equal(nran, 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(things[order[i]].item.class, i / 2);
}

static void a_turn_with_much_to_do_ends_and_the_next_begins_with_the_highest_class(void **state)
{
	(void)state;
	worker.sched.active = true;
	for (unsigned i = 1; i < 33; i++) {
		things[i].moves = SCHED_ITEM_BYTES;
		things[i].again = 1000;
		queue(i, QOS_P3);
	}
	for (unsigned t = 0; t < 50; t++) {
		unsigned before = nran;
		queue(0, QOS_P0); /* came between two turns */
		assert_true(turn());
		assert_int_equal(order[before], 0);
		assert_in_range(nran - before, 1, 4); /* bounded work */
	}
	/* All of the class had turns alike. */
	for (unsigned i = 1; i < 33; i++)
		assert_in_range(things[i].runs, things[1].runs - 1, things[1].runs + 1);
	assert_true(things[1].runs >= 1);
}

static void no_class_starves_below_one_that_always_has_something_to_do(void **state)
{
	(void)state;
	worker.sched.active = true;
	for (unsigned class = 0; class < QOS_CLASSES; class ++)
		for (unsigned i = 0; i < 8; i++) {
			struct thing *thing = &things[class * 8 + i];
			thing->moves = 16384;
			thing->again = 1000000;
			queue(class * 8 + i, (enum qos_class) class);
		}
	for (unsigned t = 0; t < 2000; t++)
		turn();
	unsigned runs[QOS_CLASSES] = {0}, all = 0;
	for (unsigned i = 0; i < 32; i++)
		runs[i / 8] += things[i].runs;
	for (unsigned class = 0; class < QOS_CLASSES; class ++)
		all += runs[class];
	/* Each lower class has its guaranteed part, and less than the one above. */
	assert_true(runs[QOS_P3] > all / 50);
	for (unsigned class = 1; class < QOS_CLASSES; class ++)
		assert_true(runs[class] < runs[class - 1]);
}

static void one_large_item_uses_up_its_class_s_part_of_later_turns(void **state)
{
	(void)state;
	worker.sched.active = true;
	for (unsigned i = 0; i < 8; i++) {
		things[i].moves = SCHED_ITEM_BYTES;
		things[i].again = 1000000;
		queue(i, i < 4 ? QOS_P0 : QOS_P3);
	}
	for (unsigned t = 0; t < 1000; t++)
		turn();
	unsigned high = 0, low = 0;
	for (unsigned i = 0; i < 8; i++)
		*(i < 4 ? &high : &low) += things[i].runs;
	/* An eighth of a turn's work, though each of its items moves as much as all of it at once. */
	assert_in_range(low, 1000 / 12, 1000 / 6);
	assert_true(high >= 1000);
}

static void items_may_be_taken_out_by_others_while_they_wait(void **state)
{
	(void)state;
	for (unsigned active = 0; active < 2; active++) {
		worker.sched.active = active;
		nran = 0;
		for (unsigned i = 0; i < 6; i++) {
			things[i].closes = i == 0 || i == 2 || i == 4; /* the last of all, too */
			queue(i, QOS_P1);
		}
		turn();
		assert_int_equal(nran, 3);
		/* The list is whole afterwards. */
		for (unsigned i = 0; i < 6; i++) {
			things[i].closes = false;
			queue(i, QOS_P1);
		}
		sched_remove(&things[5].item);
		sched_remove(&things[0].item);
		queue(7, QOS_P1);
		turn();
		assert_int_equal(nran, 3 + 5);
		assert_int_equal(order[nran - 1], 7);
	}
}

static void a_class_that_changes_while_it_waits_does_not_damage_the_lists(void **state)
{
	(void)state;
	worker.sched.active = true;
	queue(0, QOS_P3);
	things[0].item.class = QOS_P0;
	sched_remove(&things[0].item);
	queue(1, QOS_P3);
	queue(2, QOS_P0);
	turn();
	assert_int_equal(nran, 2);
	assert_int_equal(order[0], 2);
	assert_int_equal(order[1], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(without_priorities_each_runs_once_per_turn_in_order, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_highest_class_runs_first_whatever_came_first, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_turn_with_much_to_do_ends_and_the_next_begins_with_the_highest_class,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(no_class_starves_below_one_that_always_has_something_to_do, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(one_large_item_uses_up_its_class_s_part_of_later_turns, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(items_may_be_taken_out_by_others_while_they_wait, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_class_that_changes_while_it_waits_does_not_damage_the_lists, setup,
	                                        teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
