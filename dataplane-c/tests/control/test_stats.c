/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics as the agent reads them: sums, pages, names over restarts, and memory that is not what it should be. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "memory_rig.h"

static void rows_are_summed(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	struct marcher_slot_stats slot;
	uint32_t cursor = 0;
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	memory_rig_name(&rig, 1, "web", "backend-1");
	for (uint32_t row = 0; row < MEMORY_RIG_ROWS; row++) {
		struct stats_slot *cell = memory_rig_cell(&rig, row, 1);
		cell->counters[0] = 1;
		cell->counters[MARCHER_COUNTERS - 1] = 100 + row;
		cell->connect_us[0] = 10;
		cell->connect_us[MARCHER_HISTOGRAM_BUCKETS - 1] = row;
	}
	assert_int_equal(memory_stats_read(&set, &cursor, true, &slot, 1), 1);
	assert_int_equal(slot.kind, MARCHER_SLOT_BACKEND);
	assert_string_equal(slot.service, "web");
	assert_string_equal(slot.name, "backend-1");
	assert_int_equal(slot.counters[0], 3);
	assert_int_equal(slot.counters[1], 0);
	assert_int_equal(slot.counters[MARCHER_COUNTERS - 1], 303);
	assert_int_equal(slot.connect_us[0], 30);
	assert_int_equal(slot.connect_us[MARCHER_HISTOGRAM_BUCKETS - 1], 3);
	assert_int_equal(memory_stats_read(&set, &cursor, true, &slot, 1), 0);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void only_active_slots_are_given_when_asked(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	struct marcher_slot_stats slots[64];
	uint32_t cursor = 0;
	char name[16];
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	for (uint32_t i = 1; i <= 30; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		memory_rig_name(&rig, i, name, "");
	}
	memory_rig_cell(&rig, 2, 7)->counters[MARCHER_REJECTED] = 1; /* in one row only */
	memory_rig_cell(&rig, 0, 30)->counters[MARCHER_BYTES_SENT] = 1;
	memory_rig_cell(&rig, 0, 12)->counters[0] = 1; /* counted, then freed */
	memory_rig_entry(&rig, 12)->kind = MARCHER_SLOT_FREE;
	assert_int_equal(memory_stats_read(&set, &cursor, true, slots, 64), 2);
	assert_string_equal(slots[0].service, "s7");
	assert_int_equal(slots[0].counters[MARCHER_REJECTED], 1);
	assert_string_equal(slots[1].service, "s30");
	cursor = 0;
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 64), 29);
	assert_string_equal(slots[10].service, "s11");
	assert_string_equal(slots[11].service, "s13");
	assert_int_equal(slots[10].counters[0], 0);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void pages_of_any_size_give_every_slot_once(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	char name[16];
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	for (uint32_t i = 1; i < MEMORY_RIG_SLOTS; i++) { /* to the very last */
		snprintf(name, sizeof(name), "s%u", i);
		memory_rig_name(&rig, i, name, "");
		memory_rig_cell(&rig, i % MEMORY_RIG_ROWS, i)->counters[0] = i;
	}
	for (uint32_t page = 1; page <= MEMORY_RIG_SLOTS; page++)
		for (int active = 0; active < 2; active++) {
			struct marcher_slot_stats slots[MEMORY_RIG_SLOTS];
			uint32_t cursor = 0, seen = 0;
			int n;
			while ((n = memory_stats_read(&set, &cursor, active, slots, page)) > 0) {
				assert_true((uint32_t)n <= page);
				for (int i = 0; i < n; i++)
					assert_int_equal(slots[i].counters[0], ++seen);
			}
			assert_int_equal(n, 0);
			assert_int_equal(seen, MEMORY_RIG_SLOTS - 1);
		}
	uint32_t cursor = 0;
	assert_int_equal(memory_stats_read(&set, &cursor, false, NULL, 0), 0);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static void a_cursor_of_an_engine_that_is_gone_begins_again(void **state)
{
	struct memory_rig first, second;
	struct memory_set set = {0};
	struct marcher_slot_stats slots[8];
	uint32_t cursor = 0;
	(void)state;
	memory_rig_make(&first);
	memory_rig_make(&second);
	struct engine_memory *memory = memory_rig_map(&first, false, NULL);
	memory_add(&set, memory);
	memory_rig_name(&first, 1, "a", "");
	memory_rig_name(&first, 2, "b", "");
	memory_rig_name(&second, 1, "c", "");
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 2), 2);
	memory_ended(&set, memory);
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 8), 0); /* none runs */
	memory_add(&set, memory_rig_map(&second, false, NULL));
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 8), 1);
	assert_string_equal(slots[0].service, "c");
	cursor = UINT32_MAX; /* of nobody */
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 8), 1);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&first);
	memory_rig_free(&second);
}

static void a_slot_keeps_its_name_while_its_engine_is_remembered(void **state)
{
	struct memory_rig first, second;
	struct memory_set set = {0};
	struct marcher_slot_stats slot, slots[2];
	uint32_t cursor = 0;
	(void)state;
	memory_rig_make(&first);
	memory_rig_make(&second);
	struct engine_memory *memory = memory_rig_map(&first, false, NULL);
	memory_add(&set, memory);
	memory_rig_name(&first, 1, "web", "");
	memory_rig_name(&second, 1, "api", "");
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 1), 1);
	memory_ended(&set, memory);
	memory_add(&set, memory_rig_map(&second, false, NULL));
	cursor = 0;
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots + 1, 1), 1);
	assert_int_not_equal(slots[0].slot, slots[1].slot);
	assert_int_equal(memory_slot_name(&set, slots[0].slot, &slot), MARCHER_OK);
	assert_string_equal(slot.service, "web");
	assert_int_equal(slot.slot, slots[0].slot);
	assert_int_equal(memory_slot_name(&set, slots[1].slot, &slot), MARCHER_OK);
	assert_string_equal(slot.service, "api");
	/* Free, the one that is never used, beyond the end, of an engine that never was. */
	assert_int_equal(memory_slot_name(&set, slots[0].slot + 1, &slot), MARCHER_E_INVALID);
	assert_int_equal(memory_slot_name(&set, slots[0].slot - 1, &slot), MARCHER_E_INVALID);
	assert_int_equal(memory_slot_name(&set, slots[0].slot - 1 + MEMORY_RIG_SLOTS, &slot), MARCHER_E_INVALID);
	assert_int_equal(memory_slot_name(&set, UINT32_MAX, &slot), MARCHER_E_INVALID);
	memory_sweep(&set, UINT64_MAX);
	assert_int_equal(memory_slot_name(&set, slots[0].slot, &slot), MARCHER_E_INVALID);
	memory_rig_free(&first);
	memory_rig_free(&second);
}

static void an_entry_that_is_being_written_or_has_no_end_is_not_shown_torn(void **state)
{
	struct memory_rig rig;
	struct memory_set set = {0};
	struct marcher_slot_stats slots[4];
	uint32_t cursor = 0;
	(void)state;
	memory_rig_make(&rig);
	memory_add(&set, memory_rig_map(&rig, false, NULL));
	memory_rig_name(&rig, 1, "half", "");
	memory_rig_name(&rig, 2, "endless", "endless");
	memory_rig_entry(&rig, 1)->sequence++; /* and its writer was killed */
	memset(memory_rig_entry(&rig, 2)->service, 'x', sizeof(slots->service));
	memset(memory_rig_entry(&rig, 2)->name, 'y', sizeof(slots->name));
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 4), 1);
	assert_int_equal(strlen(slots[0].service), sizeof(slots->service) - 1);
	assert_int_equal(strlen(slots[0].name), sizeof(slots->name) - 1);
	/* A high-water mark beyond the end */
	rig.header->slots_used = UINT32_MAX;
	cursor = 0;
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 4), 1);
	/* What was checked when it was mapped is not read again. */
	rig.header->slots = STATS_SLOTS_MAX;
	rig.header->workers = 255;
	rig.header->directory_offset = rig.header->counters_offset = UINT64_MAX & ~7ull;
	cursor = 0;
	assert_int_equal(memory_stats_read(&set, &cursor, false, slots, 4), 1);
	assert_int_equal(memory_dropped(&set), 0);
	memory_sweep(&set, UINT64_MAX);
	memory_rig_free(&rig);
}

static bool refused(const struct memory_rig *rig)
{
	char why[256] = "";
	struct engine_memory *memory = memory_rig_map(rig, false, why);
	memory_free(memory);
	if (!memory)
		assert_non_null(strstr(why, "another layout"));
	return !memory;
}

static void a_statistics_file_of_another_layout_is_refused(void **state)
{
	struct memory_rig rig;
	(void)state;
	memory_rig_make(&rig);
	struct stats_header sound = *rig.header;
	struct stats_header lies[16];
	size_t n = 0;
	for (size_t i = 0; i < 16; i++)
		lies[i] = sound;
	lies[n++].magic ^= 1;
	lies[n++].version = STATS_VERSION + 1;
	lies[n++].version = 0;
	lies[n++].slots = 0;
	lies[n++].slots = MEMORY_RIG_SLOTS + 1;
	lies[n++].slots = STATS_SLOTS_MAX + 1;
	lies[n++].slots = UINT32_MAX;
	lies[n++].workers = MEMORY_RIG_WORKERS + 1;
	lies[n++].workers = 256;
	lies[n++].workers = UINT32_MAX; /* rows would be 0 */
	lies[n++].directory_offset = rig.stats_size - 8;
	lies[n++].directory_offset = UINT64_MAX & ~7ull;
	lies[n++].directory_offset += 4; /* not aligned */
	lies[n++].counters_offset += 8;
	lies[n++].counters_offset = UINT64_MAX & ~7ull;
	lies[n++].counters_offset -= 1;
	assert_int_equal(n, 16);
	assert_false(refused(&rig));
	for (size_t i = 0; i < n; i++) {
		*rig.header = lies[i];
		if (!refused(&rig))
			fail_msg("lie %zu was taken for true", i);
	}
	memset(rig.stats, 0xff, rig.stats_size);
	assert_true(refused(&rig));
	memset(rig.stats, 0, rig.stats_size);
	assert_true(refused(&rig));
	memory_rig_free(&rig);
}

/* Files of sizes from nothing up to just too short. */
static void a_torn_file_is_refused(void **state)
{
	struct memory_rig rig;
	char why[256];
	(void)state;
	memory_rig_make(&rig);
	for (int which = 0; which < 2; which++) {
		const uint8_t *from = which ? rig.events : rig.stats;
		size_t whole = which ? rig.events_size : rig.stats_size;
		const size_t sizes[] = {0, 1, 16, sizeof(struct stats_header) - 1, 4095, 4096, whole / 2, whole - 1};
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			int torn = memfd_create("torn", MFD_CLOEXEC | MFD_ALLOW_SEALING);
			assert_int_equal(write(torn, from, sizes[i]), sizes[i]);
			assert_int_equal(fcntl(torn, F_ADD_SEALS, F_SEAL_SHRINK), 0);
			int sound = fcntl(which ? rig.stats_fd : rig.events_fd, F_DUPFD_CLOEXEC, 0);
			*why = '\0';
			assert_null(memory_map(which ? sound : torn, which ? torn : sound, false, why, sizeof(why)));
			assert_true(*why);
			assert_int_equal(fcntl(torn, F_GETFD), -1); /* taken over and closed */
			assert_int_equal(fcntl(sound, F_GETFD), -1);
		}
	}
	memory_rig_free(&rig);
}

static void a_file_that_its_engine_could_shorten_is_refused(void **state)
{
	struct memory_rig rig;
	char why[256] = "";
	(void)state;
	memory_rig_make(&rig);
	for (int which = 0; which < 2; which++) {
		int open = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		const uint8_t *from = which ? rig.events : rig.stats;
		size_t size = which ? rig.events_size : rig.stats_size;
		assert_int_equal(write(open, from, size), size);
		int sound = fcntl(which ? rig.stats_fd : rig.events_fd, F_DUPFD_CLOEXEC, 0);
		assert_null(memory_map(which ? sound : open, which ? open : sound, false, why, sizeof(why)));
		assert_non_null(strstr(why, "sealed"));
	}
	memory_rig_free(&rig);
}

static uint64_t opened(struct rig *rig, const char *service, uint32_t *slot)
{
	struct marcher_slot_stats slots[8];
	uint32_t cursor = 0;
	int n = marcher_stats_read(rig->marcher, &cursor, 0, slots, 8);
	for (int i = 0; i < n; i++)
		if (!strcmp(slots[i].service, service)) {
			if (slot)
				*slot = slots[i].slot;
			return slots[i].counters[MARCHER_CONNECTIONS_OPENED];
		}
	return 0;
}

static void counters_restart_with_the_engine_and_names_do_not(void **state)
{
	struct rig *rig = *state;
	struct marcher_slot_stats named;
	uint32_t before = 0, after = 0;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web api"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 2, RIG_PATIENCE_MS));
	for (int i = 0; i < 5; i++)
		assert_true(rig_ask(rig->ports[0], NULL) > 0);
	assert_int_equal(opened(rig, "web", &before), 15);
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_ask(rig->ports[1], NULL) > 0); /* slot 1 is the other service's now */
	assert_true(rig_eventually(rig_status(rig).running && rig_status(rig).restarts == 1, RIG_PATIENCE_MS));
	assert_true(rig_eventually(opened(rig, "api", NULL) == 3, RIG_PATIENCE_MS));
	assert_int_equal(opened(rig, "web", NULL), 0);
	assert_int_equal(marcher_slot_name(rig->marcher, before, &named), MARCHER_OK);
	assert_string_equal(named.service, "web");
	assert_true(rig_ask(rig->ports[0], NULL) > 0);
	assert_true(rig_eventually(opened(rig, "web", &after) == 3, RIG_PATIENCE_MS));
	assert_int_not_equal(before, after);
}

static void an_engine_with_garbage_for_memory_is_not_started_on(void **state)
{
	struct rig *rig = *state;
	setenv("FAKE_ENGINE_GARBAGE", "1", 1);
	assert_int_equal(rig_open(rig, &rig->marcher), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(marcher_last_error(NULL), "another layout"));
	unsetenv("FAKE_ENGINE_GARBAGE");
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).running, 1);
	assert_int_equal(rig_status(rig).adopted, 0); /* it did not stay */
}

static void arguments_are_checked(void **state)
{
	struct rig *rig = *state;
	struct marcher_slot_stats slot;
	uint32_t cursor = 0;
	rig_reopen(rig);
	assert_int_equal(marcher_stats_read(NULL, &cursor, 0, &slot, 1), MARCHER_E_INVALID);
	assert_int_equal(marcher_stats_read(rig->marcher, NULL, 0, &slot, 1), MARCHER_E_INVALID);
	assert_int_equal(marcher_stats_read(rig->marcher, &cursor, 0, NULL, 1), MARCHER_E_INVALID);
	assert_int_equal(marcher_stats_read(rig->marcher, &cursor, 0, NULL, 0), 0);
	assert_int_equal(marcher_slot_name(rig->marcher, 1, NULL), MARCHER_E_INVALID);
	assert_int_equal(marcher_slot_name(rig->marcher, 12345, &slot), MARCHER_E_INVALID);
	assert_non_null(strstr(marcher_last_error(rig->marcher), "12345"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rows_are_summed),
	        cmocka_unit_test(only_active_slots_are_given_when_asked),
	        cmocka_unit_test(pages_of_any_size_give_every_slot_once),
	        cmocka_unit_test(a_cursor_of_an_engine_that_is_gone_begins_again),
	        cmocka_unit_test(a_slot_keeps_its_name_while_its_engine_is_remembered),
	        cmocka_unit_test(an_entry_that_is_being_written_or_has_no_end_is_not_shown_torn),
	        cmocka_unit_test(a_statistics_file_of_another_layout_is_refused),
	        cmocka_unit_test(a_torn_file_is_refused),
	        cmocka_unit_test(a_file_that_its_engine_could_shorten_is_refused),
	        TEST(counters_restart_with_the_engine_and_names_do_not),
	        TEST(an_engine_with_garbage_for_memory_is_not_started_on),
	        TEST(arguments_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
