/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "stats.h"

static struct stats *stats;
static const struct stats_header *header;

static int setup(void **state)
{
	(void)state;
	stats = stats_new(2);
	if (!stats)
		return -1;
	header = mmap(NULL, stats_bytes(stats), PROT_READ, MAP_SHARED | MAP_NORESERVE, stats_fd(stats), 0);
	return header == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap((void *)(uintptr_t)header, stats_bytes(stats));
	stats_free(stats);
	return 0;
}

static const struct stats_directory_entry *entry(uint32_t slot)
{
	return (const struct stats_directory_entry *)((const char *)header + header->directory_offset) + slot;
}

static const struct stats_slot *counters(unsigned row, uint32_t slot)
{
	return (const struct stats_slot *)((const char *)header + header->counters_offset) +
	       (size_t)row * header->slots + slot;
}

static void a_peer_can_read_and_not_write(void **state)
{
	(void)state;
	assert_int_equal(header->magic, STATS_MAGIC);
	assert_int_equal(header->workers, 2);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, stats_fd(stats), 0), MAP_FAILED);
	assert_int_equal(pwrite(stats_fd(stats), "x", 1, 0), -1);
	assert_int_equal(ftruncate(stats_fd(stats), 0), -1);
	struct stat st;
	assert_int_equal(fstat(stats_fd(stats), &st), 0);
	assert_int_equal(st.st_size, stats_bytes(stats));
}

static void a_key_has_one_slot_however_often_it_is_asked_for(void **state)
{
	(void)state;
	uint32_t a = stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", "a");
	uint32_t b = stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", "b");
	assert_true(a != 0 && b != 0 && a != b);
	assert_int_equal(stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", "a"), a);
	assert_true(stats_slot_acquire(stats, MARCHER_SLOT_LISTENER, "web", "a") != a);
	assert_int_equal(entry(a)->kind, MARCHER_SLOT_BACKEND);
	assert_string_equal(entry(a)->service, "web");
	assert_string_equal(entry(a)->name, "a");
	assert_int_equal(entry(a)->sequence % 2, 0);
	/* Both references have to go. */
	stats_slot_release(stats, a);
	assert_int_equal(entry(a)->kind, MARCHER_SLOT_BACKEND);
	stats_slot_release(stats, a);
	assert_int_equal(entry(a)->kind, MARCHER_SLOT_FREE);
}

static void a_freed_slot_begins_at_zero_for_its_next_owner(void **state)
{
	(void)state;
	struct stats_row rows[3];
	for (unsigned i = 0; i < 3; i++)
		stats_row_init(stats, i, &rows[i]);
	uint32_t slot = stats_slot_acquire(stats, MARCHER_SLOT_SERVICE, "web", "");
	for (unsigned i = 0; i < 3; i++) {
		stats_add(&rows[i], slot, MARCHER_BYTES_SENT, i + 1);
		stats_connect_time(&rows[i], slot, 1000);
		assert_int_equal(counters(i, slot)->counters[MARCHER_BYTES_SENT], i + 1);
	}
	uint32_t sequence = entry(slot)->sequence;
	stats_slot_release(stats, slot);
	uint32_t next = stats_slot_acquire(stats, MARCHER_SLOT_SERVICE, "other", "");
	assert_int_equal(next, slot);
	assert_true(entry(slot)->sequence != sequence);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned c = 0; c < MARCHER_COUNTERS; c++)
			assert_int_equal(counters(i, slot)->counters[c], 0);
		for (unsigned b = 0; b < MARCHER_HISTOGRAM_BUCKETS; b++)
			assert_int_equal(counters(i, slot)->connect_us[b], 0);
	}
}

static void names_longer_than_their_field_are_found_again(void **state)
{
	(void)state;
	char name[300];
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	uint32_t slot = stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", name);
	assert_int_equal(stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", name), slot);
	assert_int_equal(strlen(entry(slot)->name), MARCHER_NAME_MAX - 1);
}

static void thousands_of_slots_come_and_go_without_mixing(void **state)
{
	(void)state;
	enum { N = 5000 };
	static uint32_t slots[N];
	char name[32];
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++) {
			snprintf(name, sizeof(name), "b%u", i);
			slots[i] = stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", name);
			assert_true(slots[i] != 0);
		}
		for (unsigned i = 0; i < N; i += 2)
			stats_slot_release(stats, slots[i]);
		for (unsigned i = 1; i < N; i += 2) {
			snprintf(name, sizeof(name), "b%u", i);
			assert_string_equal(entry(slots[i])->name, name);
			assert_int_equal(stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", name), slots[i]);
			stats_slot_release(stats, slots[i]);
			stats_slot_release(stats, slots[i]);
		}
	}
	assert_true(header->slots_used <= N + 1);
}

static void when_all_slots_are_used_there_is_none(void **state)
{
	(void)state;
	char name[32];
	uint32_t last = 0;
	for (unsigned i = 1; i < STATS_SLOTS_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		last = stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", name);
		assert_int_equal(last, i);
	}
	assert_int_equal(stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", "one more"), 0);
	stats_slot_release(stats, last);
	assert_int_equal(stats_slot_acquire(stats, MARCHER_SLOT_BACKEND, "web", "one more"), last);
}

static void connect_times_fall_into_their_power_of_two(void **state)
{
	(void)state;
	static const struct {
		uint64_t us;
		unsigned bucket;
	} cases[] = {{0, 0}, {1, 0}, {2, 1}, {3, 1}, {4, 2}, {1023, 9}, {1024, 10}, {UINT64_MAX, 31}};
	struct stats_row row;
	stats_row_init(stats, 0, &row);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t was = row.slots[5].connect_us[cases[i].bucket];
		stats_connect_time(&row, 5, cases[i].us);
		assert_int_equal(row.slots[5].connect_us[cases[i].bucket], was + 1);
	}
}

static void a_full_ring_drops_and_counts(void **state)
{
	(void)state;
	struct stats_row row;
	stats_row_init(stats, 2, &row);
	assert_int_equal(row.worker, 255);
	for (unsigned i = 0; i < EVENT_RING_CAPACITY; i++) {
		struct marcher_event *event = stats_event(&row, MARCHER_EVENT_ENGINE);
		assert_non_null(event);
		assert_int_equal(event->kind, MARCHER_EVENT_ENGINE);
		assert_true(event->time_unix_us != 0);
		stats_event_push(&row);
	}
	assert_null(stats_event(&row, MARCHER_EVENT_ENGINE));
	assert_null(stats_event(&row, MARCHER_EVENT_ENGINE));
	assert_int_equal(header->events_dropped[2], 2);
	assert_int_equal(header->events_dropped[0], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_peer_can_read_and_not_write, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_key_has_one_slot_however_often_it_is_asked_for, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_freed_slot_begins_at_zero_for_its_next_owner, setup, teardown),
	        cmocka_unit_test_setup_teardown(names_longer_than_their_field_are_found_again, setup, teardown),
	        cmocka_unit_test_setup_teardown(thousands_of_slots_come_and_go_without_mixing, setup, teardown),
	        cmocka_unit_test_setup_teardown(when_all_slots_are_used_there_is_none, setup, teardown),
	        cmocka_unit_test_setup_teardown(connect_times_fall_into_their_power_of_two, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_full_ring_drops_and_counts, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
