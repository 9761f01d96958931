/* SPDX-License-Identifier: Apache-2.0 */
/* The last good snapshot on disk: appends, torn tails, stepping back, compaction, a full disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/journal.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

typedef Marcher__Engine__V1__Snapshot Snapshot;

struct fixture {
	char dir[64];
	int dir_fd;
	struct journal journal;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	strcpy(f->dir, "/tmp/marcher-journal-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(journal_open(&f->journal, f->dir_fd), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {"snapshot.frames", "snapshot.frames.new", "snapshot.previous",
	                                    "snapshot.aside", "snapshot.frames.compact"};
	struct fixture *f = *state;
	journal_close(&f->journal);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlinkat(f->dir_fd, names[i], 0);
	close(f->dir_fd);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void reopen(struct fixture *f)
{
	journal_close(&f->journal);
	assert_int_equal(journal_open(&f->journal, f->dir_fd), 0);
}

/* A snapshot with one service of that name; its idle timeout is the generation, region has padding bytes. */
static int put(struct fixture *f, uint64_t generation, uint64_t base, const char *name, size_t padding)
{
	Snapshot s = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Service service = MARCHER__ENGINE__V1__SERVICE__INIT, *services[] = {&service};
	Marcher__Engine__V1__Node node = MARCHER__ENGINE__V1__NODE__INIT;
	char *region = malloc(padding + 1);
	memset(region, 'x', padding);
	region[padding] = '\0';
	s.generation = generation;
	s.base_generation = base;
	service.name = (char *)name;
	service.idle_timeout_ms = (uint32_t)generation;
	s.services = services;
	s.n_services = 1;
	if (!base || padding) {
		node.name = (char *)"n";
		node.region = region;
		s.node = &node;
	}
	size_t length = marcher__engine__v1__snapshot__get_packed_size(&s);
	uint8_t *packed = malloc(length);
	marcher__engine__v1__snapshot__pack(&s, packed);
	struct snapshot_head head = {generation, base};
	int error = journal_accept(&f->journal, &head, packed, length);
	free(packed);
	free(region);
	return error;
}

/* Every frame that a new engine would read, unpacked. Returns how many. */
static size_t frames(struct fixture *f, Snapshot **out, size_t max)
{
	bool at_path;
	int fd = journal_frames(&f->journal, &at_path);
	size_t n = 0;
	uint64_t header, offset = 0;
	if (fd == -ENOENT)
		return 0;
	assert_true(fd >= 0);
	while (n < max && pread(fd, &header, 8, (off_t)offset) == 8) {
		size_t length = (size_t)le64toh(header);
		uint8_t *packed = malloc(length + 1);
		assert_int_equal(pread(fd, packed, length, (off_t)offset + 8), length);
		out[n] = marcher__engine__v1__snapshot__unpack(NULL, length, packed);
		assert_non_null(out[n++]);
		free(packed);
		offset += 8 + length;
	}
	close(fd);
	return n;
}

static void free_frames(Snapshot **all, size_t n)
{
	for (size_t i = 0; i < n; i++)
		marcher__engine__v1__snapshot__free_unpacked(all[i], NULL);
}

static void settle(struct fixture *f)
{
	for (int i = 0; i < 5; i++)
		journal_maintain(&f->journal, 1000 + (uint64_t)i);
}

static void what_was_accepted_is_there_after_a_restart(void **state)
{
	struct fixture *f = *state;
	Snapshot *all[8];
	assert_int_equal(put(f, 1, 0, "web", 0), 0);
	settle(f);
	assert_int_equal(put(f, 2, 1, "api", 0), 0);
	assert_int_equal(put(f, 5, 2, "dns", 0), 0);
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), 5);
	size_t n = frames(f, all, 8);
	assert_int_equal(n, 3);
	assert_int_equal(all[2]->base_generation, 2);
	assert_string_equal(all[1]->services[0]->name, "api");
	free_frames(all, n);
}

static void a_change_to_another_generation_is_stale(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(put(f, 2, 1, "web", 0), -ESTALE);
	assert_int_equal(put(f, 1, 0, "web", 0), 0);
	assert_int_equal(put(f, 3, 2, "web", 0), -ESTALE);
	assert_int_equal(journal_generation(&f->journal), 1);
}

static void deltas_of_a_second_share_a_sync_and_a_complete_snapshot_waits_for_none(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(put(f, 1, 0, "web", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 5000), 0);
	assert_false(f->journal.needs_sync);
	assert_int_equal(put(f, 2, 1, "api", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 6000), 1000);
	assert_int_equal(put(f, 3, 2, "api", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 6400), 600);
	assert_true(f->journal.needs_sync);
	assert_int_equal(journal_maintain(&f->journal, 7000), 0);
	assert_false(f->journal.needs_sync);
	/* The next has its own second, and none is left out at the end. */
	assert_int_equal(put(f, 4, 3, "api", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 7100), 1000);
	assert_int_equal(put(f, 5, 0, "web", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 7200), 0);
	assert_false(f->journal.needs_sync);
	assert_int_equal(put(f, 6, 5, "api", 0), 0);
	assert_int_equal(journal_maintain(&f->journal, 7300), 1000);
	journal_maintain(&f->journal, UINT64_MAX);
	assert_false(f->journal.needs_sync);
}

static void a_torn_tail_is_cut_off(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	put(f, 1, 0, "web", 0);
	put(f, 2, 1, "api", 0);
	settle(f);
	assert_int_equal(fstatat(f->dir_fd, "snapshot.frames", &st, 0), 0);
	for (off_t cut = 1; cut < 12; cut++) {
		int fd = openat(f->dir_fd, "snapshot.frames", O_RDWR);
		assert_int_equal(ftruncate(fd, st.st_size - cut), 0);
		close(fd);
		reopen(f);
		assert_int_equal(journal_generation(&f->journal), 1);
		/* An engine reads the file to its end. */
		struct stat after;
		assert_int_equal(fstatat(f->dir_fd, "snapshot.frames", &after, 0), 0);
		assert_int_equal(after.st_size, f->journal.length);
		assert_int_equal(put(f, 2, 1, "api", 0), 0);
		settle(f);
	}
}

static void bytes_that_are_no_snapshot_are_not_used(void **state)
{
	struct fixture *f = *state;
	int fd = openat(f->dir_fd, "snapshot.frames", O_RDWR | O_CREAT, 0600);
	uint64_t header = htole64(UINT64_MAX - 3);
	assert_int_equal(write(fd, &header, 8), 8);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	reopen(f);
	bool at_path;
	assert_int_equal(journal_generation(&f->journal), 0);
	assert_int_equal(journal_frames(&f->journal, &at_path), -ENOENT);
}

/* As a disk that fails may leave it. */
static void an_unreadable_file_is_kept_and_the_one_before_used(void **state)
{
	struct fixture *f = *state;
	static const char noise[] = "this is no snapshot at all, and long enough to be read as a length and a frame";
	char kept[sizeof(noise)];
	Snapshot *all[8];
	bool at_path;
	put(f, 1, 0, "one", 0);
	settle(f);
	put(f, 2, 0, "two", 0);
	settle(f);
	int fd = openat(f->dir_fd, "snapshot.frames", O_RDWR);
	assert_int_equal(pwrite(fd, noise, sizeof(noise), 0), sizeof(noise));
	close(fd);
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), 1);
	assert_non_null(strstr(f->journal.problem, "snapshot.aside"));
	assert_non_null(strstr(f->journal.problem, "generation 1 is used"));
	fd = openat(f->dir_fd, "snapshot.aside", O_RDONLY);
	assert_int_equal(pread(fd, kept, sizeof(kept), 0), sizeof(kept));
	close(fd);
	assert_memory_equal(kept, noise, sizeof(noise));
	settle(f);
	fd = journal_frames(&f->journal, &at_path);
	assert_true(fd >= 0 && at_path);
	close(fd);
	reopen(f);
	size_t n = frames(f, all, 8);
	assert_int_equal(n, 1);
	assert_string_equal(all[0]->services[0]->name, "one");
	free_frames(all, n);
	assert_int_equal(put(f, 3, 1, "three", 0), 0);
}

static void stepping_back_drops_the_last_change_then_returns_to_the_snapshot_before(void **state)
{
	struct fixture *f = *state;
	Snapshot *all[8];
	put(f, 1, 0, "one", 0);
	settle(f);
	put(f, 2, 0, "two", 0);
	put(f, 3, 2, "three", 0);
	settle(f);
	assert_int_equal(journal_step_back(&f->journal), 2);
	assert_int_equal(journal_step_back(&f->journal), 1);
	size_t n = frames(f, all, 8);
	assert_int_equal(n, 1);
	assert_string_equal(all[0]->services[0]->name, "one");
	free_frames(all, n);
	settle(f);
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), 1);
	assert_int_equal(journal_step_back(&f->journal), 0);
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), 0);
}

static void many_changes_are_merged_and_the_last_stays_apart(void **state)
{
	struct fixture *f = *state;
	Snapshot *all[JOURNAL_DELTAS_MAX + 8];
	char name[16];
	put(f, 1, 0, "s0", 10);
	settle(f);
	uint64_t last = JOURNAL_DELTAS_MAX + 20;
	for (uint64_t g = 2; g <= last; g++) {
		snprintf(name, sizeof(name), "s%d", (int)(g % 7));
		assert_int_equal(put(f, g, g - 1, name, g == 50 ? 20 : 0), 0);
	}
	settle(f);
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), last);
	size_t n = frames(f, all, JOURNAL_DELTAS_MAX + 8);
	assert_int_equal(n, 2);
	assert_int_equal(all[0]->base_generation, 0);
	assert_int_equal(all[0]->generation, last - 1);
	assert_int_equal(all[0]->n_services, 7);
	assert_int_equal(strlen(all[0]->node->region), 20);
	for (size_t i = 0; i < 7; i++) {
		/* The newest of each. */
		uint64_t g = all[0]->services[i]->idle_timeout_ms;
		assert_true(g > last - 1 - 7 && g <= last - 1);
		snprintf(name, sizeof(name), "s%d", (int)(g % 7));
		assert_string_equal(all[0]->services[i]->name, name);
	}
	assert_int_equal(all[1]->base_generation, last - 1);
	free_frames(all, n);
	assert_int_equal(journal_step_back(&f->journal), last - 1);
}

/* A descriptor that takes no writes stands for the full disk (test_apply has a real one). */
static void a_disk_that_takes_no_more_costs_no_change(void **state)
{
	struct fixture *f = *state;
	Snapshot *all[8];
	bool at_path;
	put(f, 1, 0, "web", 100);
	settle(f);
	int writable = f->journal.fd;
	int read_only = openat(f->dir_fd, "snapshot.frames", O_RDONLY);
	f->journal.fd = read_only;
	assert_int_equal(put(f, 2, 1, "api", 0), 0);
	close(writable);
	assert_non_null(strstr(f->journal.problem, "memory only"));
	assert_int_equal(put(f, 3, 2, "dns", 0), 0);
	int fd = journal_frames(&f->journal, &at_path);
	assert_true(fd >= 0 && !at_path);
	close(fd);
	size_t n = frames(f, all, 8);
	assert_int_equal(n, 3);
	free_frames(all, n);
	/* And back when there is room again. */
	settle(f);
	assert_string_equal(f->journal.problem, "");
	reopen(f);
	assert_int_equal(journal_generation(&f->journal), 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	        TEST(what_was_accepted_is_there_after_a_restart),
	        TEST(a_change_to_another_generation_is_stale),
	        TEST(deltas_of_a_second_share_a_sync_and_a_complete_snapshot_waits_for_none),
	        TEST(a_torn_tail_is_cut_off),
	        TEST(bytes_that_are_no_snapshot_are_not_used),
	        TEST(an_unreadable_file_is_kept_and_the_one_before_used),
	        TEST(stepping_back_drops_the_last_change_then_returns_to_the_snapshot_before),
	        TEST(many_changes_are_merged_and_the_last_stays_apart),
	        TEST(a_disk_that_takes_no_more_costs_no_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
