/* SPDX-License-Identifier: Apache-2.0 */
/* Events as the agent reads them: over restarts, after drops, and out of rings that were spoiled. */
#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_rig.h"

static uint64_t connections[64];

static int read_all(struct memory_set *set, uint32_t max, uint64_t now_ms)
{
	struct marcher_event events[64];
	int n = memory_events_read(set, events, max, now_ms);
	for (int i = 0; i < n; i++)
		connections[i] = events[i].connection_id;
	return n;
}

static void an_engine_that_has_ended_is_read_before_its_successor(void **state)
{
	struct memory_rig rigs[3];
	struct memory_set set = {0};
	struct engine_memory *memory[3];
	struct marcher_event events[64];
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		memory_rig_make(&rigs[i]);
		memory[i] = memory_rig_map(&rigs[i], false, NULL);
		assert_non_null(memory[i]);
		memory_add(&set, memory[i]);
		if (i < 2)
			memory_ended(&set, memory[i]);
	}
	/* Written in the wrong order, and into different rings. */
	assert_true(memory_rig_event(&rigs[2], 0, 1, 30));
	assert_true(memory_rig_event(&rigs[1], 1, 1, 20));
	assert_true(memory_rig_event(&rigs[0], 2, 1, 10));
	assert_true(memory_rig_event(&rigs[0], 2, 1, 11));
	assert_int_equal(memory_events_read(&set, events, 3, 1), 3);
	assert_int_equal(events[0].connection_id, 10);
	assert_int_equal(events[1].connection_id, 11);
	assert_int_equal(events[2].connection_id, 20);
	/* Slot 1 of each is another slot outside. */
	assert_int_equal(events[0].service_slot, events[1].service_slot);
	assert_int_not_equal(events[0].service_slot, events[2].service_slot);
	assert_int_equal(memory_events_read(&set, events, 64, 1), 1);
	assert_int_equal(events[0].connection_id, 30);
	assert_int_equal(memory_events_read(&set, events, 64, 1), 0);
	assert_int_equal(memory_events_read(&set, events, 0, 1), 0);
	memory_sweep(&set, UINT64_MAX);
	for (unsigned i = 0; i < 3; i++)
		memory_rig_free(&rigs[i]);
}

static void a_busy_worker_does_not_keep_the_others_back(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	for (uint64_t i = 0; i < MEMORY_RIG_CAPACITY; i++)
		assert_true(memory_rig_event(&rig, 0, 1, i));
	assert_true(memory_rig_event(&rig, 1, 1, 100));
	assert_true(memory_rig_event(&rig, 2, 1, 200));
	assert_int_equal(read_all(&set, 6, 1), 6);
	unsigned others = 0;
	for (int i = 0; i < 6; i++)
		others += connections[i] >= 100;
	assert_int_equal(others, 2);
	/* And what one ring had left comes next, in its order. */
	assert_int_equal(read_all(&set, 64, 1), 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(connections[i], 4 + i);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void drops_are_counted_over_all_engines_of_the_handle(void **state)
{
	struct memory_rig first, second;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&first);
	memory_rig_make(&second);
	/* What an adopted engine dropped before is not this handle's loss. */
	first.header->events_dropped[0] = 1000;
	struct engine_memory *adopted = memory_rig_map(&first, true, NULL);
	memory_add(&set, adopted);
	assert_int_equal(memory_dropped(&set), 0);
	for (uint64_t i = 0; i < MEMORY_RIG_CAPACITY + 5; i++)
		assert_int_equal(memory_rig_event(&first, 2, 1, i), i < MEMORY_RIG_CAPACITY);
	assert_int_equal(memory_dropped(&set), 5);
	memory_ended(&set, adopted);
	memory_add(&set, memory_rig_map(&second, false, NULL));
	second.header->events_dropped[1] = 2;
	assert_int_equal(memory_dropped(&set), 7);
	assert_int_equal(read_all(&set, 64, 1000), MEMORY_RIG_CAPACITY);
	assert_int_equal(connections[7], 7); /* the oldest stay, the newest are lost */
	memory_sweep(&set, 1000 + MEMORY_LINGER_MS);
	assert_int_equal(set.count, 1);
	assert_int_equal(memory_dropped(&set), 7);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&first);
	memory_rig_free(&second);
}

static void memory_stays_until_its_events_were_read_and_a_while_after(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&rig);
	struct engine_memory *memory = memory_rig_map(&rig, false, NULL);
	memory_add(&set, memory);
	assert_true(memory_rig_event(&rig, 0, 1, 1));
	assert_true(memory_rig_event(&rig, 1, 1, 2));
	memory_sweep(&set, 1000000); /* it runs */
	memory_ended(&set, memory);
	memory_sweep(&set, 2000000); /* unread */
	assert_int_equal(set.count, 1);
	assert_int_equal(read_all(&set, 1, 3000000), 1); /* one is left */
	memory_sweep(&set, 4000000);
	assert_int_equal(set.count, 1);
	assert_int_equal(read_all(&set, 64, 5000000), 1);
	memory_sweep(&set, 5000000 + MEMORY_LINGER_MS - 1);
	assert_int_equal(set.count, 1);
	memory_sweep(&set, 5000000 + MEMORY_LINGER_MS);
	assert_int_equal(set.count, 0);
	memory_rig_free(&rig);
}

static void of_too_many_engines_the_oldest_ones_events_are_given_up(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&rig);
	rig.header->events_dropped[0] = 3;
	for (unsigned i = 0; i < 3 * MEMORIES_MAX; i++) {
		struct engine_memory *memory = memory_rig_map(&rig, false, NULL);
		memory_add(&set, memory);
		assert_int_equal(memory->epoch, i);
		assert_ptr_equal(set.current, memory);
		assert_true(set.count <= MEMORIES_MAX);
		memory_ended(&set, memory);
	}
	assert_int_equal(memory_dropped(&set), 3 * 3 * MEMORIES_MAX);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void a_spoiled_ring_is_skipped_and_works_again(void **state)
{
	static const uint64_t tails[] = {UINT64_MAX, 1, 1u << 20, 1ull << 63};
	struct memory_rig rig;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		struct event_ring *ring = event_ring_at(rig.events, 1);
		ring->head = 1000 * i;
		ring->tail = 1000 * i + tails[i];
		assert_true(memory_rig_event(&rig, 2, 1, 77));
		int n = read_all(&set, 64, 1);
		assert_true(n >= 1 && n <= (int)MEMORY_RIG_CAPACITY + 1);
		while (read_all(&set, 64, 1))
			;
		assert_true(memory_rig_event(&rig, 1, 1, 78));
		assert_int_equal(read_all(&set, 64, 1), 1);
		assert_int_equal(connections[0], 78);
	}
	/* A head that runs away from the tail is no licence to read beyond the ring. */
	event_ring_at(rig.events, 0)->head = 1ull << 40;
	assert_int_equal(read_all(&set, 64, 1), 0);
	assert_true(memory_rig_event(&rig, 0, 1, 79));
	assert_int_equal(read_all(&set, 64, 1), 1);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void what_an_event_says_is_kept_within_its_bounds(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	struct marcher_event event;
	struct marcher_slot_stats slot;
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	struct event_ring *ring = event_ring_at(rig.events, 0);
	struct marcher_event *spoiled = event_ring_reserve(ring, MEMORY_RIG_CAPACITY);
	memset(spoiled, 0xff, sizeof(*spoiled));
	event_ring_push(ring);
	assert_int_equal(memory_events_read(&set, &event, 1, 1), 1);
	assert_int_equal(strlen(event.message), sizeof(event.message) - 1);
	assert_int_equal(event.service_slot >> SLOT_BITS, set.items[0]->epoch); /* no other engine's */
	assert_int_equal(memory_slot_name(&set, event.service_slot, &slot), MARCHER_E_INVALID);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

/* The header is in memory that the engine can write at any time. */
static void a_header_that_changes_after_the_check_is_not_believed(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	for (uint32_t worker = 0; worker < MEMORY_RIG_ROWS; worker++)
		assert_true(memory_rig_event(&rig, worker, 1, worker));
	rig.file->capacity = 1u << 30;
	rig.file->rings = UINT32_MAX;
	assert_int_equal(read_all(&set, 64, 1), MEMORY_RIG_ROWS);
	for (uint32_t worker = 0; worker < MEMORY_RIG_ROWS; worker++)
		assert_int_equal(connections[worker], worker);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static char why[256];

static bool refused(const struct memory_rig *rig, bool spoiled)
{
	*why = '\0';
	struct engine_memory *memory = memory_rig_map(rig, false, why);
	memory_free(memory);
	assert_true(memory || strstr(why, "layout") || strstr(why, "sealed") || strstr(why, "mapping"));
	if (spoiled)
		assert_non_null(strstr(why, "another layout"));
	return !memory;
}

static void an_event_file_of_another_layout_is_refused(void **state)
{
	const struct event_file_header lies[] = {
	        {.magic = EVENT_RING_MAGIC + 1, .version = 1, .rings = 3, .capacity = 8},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 0, .capacity = 8},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 4, .capacity = 8},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = UINT32_MAX, .capacity = 8},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 3, .capacity = 0},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 3, .capacity = 7},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 3, .capacity = 16},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 257, .capacity = 1u << 20},
	        {.magic = EVENT_RING_MAGIC, .version = 1, .rings = 1, .capacity = 1u << 31},
	        {.magic = EVENT_RING_MAGIC, .version = EVENT_RING_VERSION + 1, .rings = 3, .capacity = 8},
	        {.magic = EVENT_RING_MAGIC, .version = 0, .rings = 3, .capacity = 8},
	        {0},
	};
	struct memory_rig rig;
	(void)state;
	memory_rig_make(&rig);
	struct event_file_header sound = *rig.file;
	assert_false(refused(&rig, false));
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		*rig.file = lies[i];
		if (!refused(&rig, true))
			fail_msg("lie %zu was taken for true", i);
	}
	*rig.file = sound;
	rig.file->version = 7;
	assert_true(refused(&rig, true));
	assert_non_null(strstr(why, "event file has another layout, version 7; this library reads version 1"));
	*rig.file = sound;
	rig.header->version = 9;
	assert_true(refused(&rig, true));
	assert_non_null(strstr(why, "statistics file has another layout, version 9"));
	rig.header->version = STATS_VERSION;
	assert_false(refused(&rig, false));
	memory_rig_free(&rig);
}

/* With an engine: events that were not read before it was killed come before those of the next one. */
static void events_survive_a_crash_with_their_names(void **state)
{
	struct rig *rig = *state;
	static struct marcher_event events[64];
	struct marcher_slot_stats slot;
	uint64_t dropped = 99;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "api web"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 2, RIG_PATIENCE_MS));
	int pid = rig_ask(rig->ports[0], NULL);
	assert_true(pid > 0);
	assert_int_equal(rig_apply(rig, 2, 1, "more"), MARCHER_OK); /* it has counted by now */
	kill(pid, SIGKILL);
	/* In the next one slot 1 is another service. */
	assert_true(rig_ask(rig->ports[1], NULL) > 0);
	assert_true(rig_eventually(rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_apply(rig, 3, 2, "more"), MARCHER_OK);
	assert_int_equal(marcher_events_read(rig->marcher, events, 64, &dropped), 6);
	assert_int_equal(dropped, 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(events[i].connection_id, i < 3 ? 1 : 2); /* the generation */
		assert_int_equal(marcher_slot_name(rig->marcher, events[i].service_slot, &slot), MARCHER_OK);
		assert_string_equal(slot.service, i < 3 ? "web" : "api");
	}
	assert_int_equal(marcher_events_read(rig->marcher, events, 64, &dropped), 0);
}

static void events_that_nobody_reads_are_dropped_and_counted(void **state)
{
	struct rig *rig = *state;
	static struct marcher_event events[256];
	uint64_t dropped = 0;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	for (int i = 0; i < 70; i++) /* each in all three rings, of 64 */
		assert_true(rig_ask(rig->ports[0], NULL) > 0);
	assert_int_equal(rig_apply(rig, 2, 1, "more"), MARCHER_OK);
	assert_int_equal(rig_status(rig).events_dropped, 18);
	assert_int_equal(marcher_events_read(rig->marcher, events, 256, &dropped), 192);
	assert_int_equal(dropped, 18);
	/* They stay counted over a restart, and are another handle's no longer. */
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_eventually(rig_status(rig).running && rig_status(rig).restarts == 1, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).events_dropped, 18);
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).events_dropped, 0);
}

static void arguments_are_checked(void **state)
{
	struct rig *rig = *state;
	struct marcher_event event;
	rig_reopen(rig);
	assert_int_equal(marcher_events_read(NULL, &event, 1, NULL), MARCHER_E_INVALID);
	assert_int_equal(marcher_events_read(rig->marcher, NULL, 1, NULL), MARCHER_E_INVALID);
	assert_int_equal(marcher_events_read(rig->marcher, NULL, 0, NULL), 0);
	assert_int_equal(marcher_events_read(rig->marcher, &event, 1, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(an_engine_that_has_ended_is_read_before_its_successor),
	        cmocka_unit_test(a_busy_worker_does_not_keep_the_others_back),
	        cmocka_unit_test(drops_are_counted_over_all_engines_of_the_handle),
	        cmocka_unit_test(memory_stays_until_its_events_were_read_and_a_while_after),
	        cmocka_unit_test(of_too_many_engines_the_oldest_ones_events_are_given_up),
	        cmocka_unit_test(a_spoiled_ring_is_skipped_and_works_again),
	        cmocka_unit_test(what_an_event_says_is_kept_within_its_bounds),
	        cmocka_unit_test(a_header_that_changes_after_the_check_is_not_believed),
	        cmocka_unit_test(an_event_file_of_another_layout_is_refused),
	        TEST(events_survive_a_crash_with_their_names),
	        TEST(events_that_nobody_reads_are_dropped_and_counted),
	        TEST(arguments_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
