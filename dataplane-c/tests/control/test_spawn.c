/* SPDX-License-Identifier: Apache-2.0 */
/* The engines' common log: whose last words are quoted, and how the file is kept small. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/spawn.h"

#define TIME "2026-01-31T12:00:00.000Z "

static void assert_tail(struct rig *rig, uint64_t offset, pid_t pid, const char *expected)
{
	struct engine_options options = {.run_dir = rig->dir};
	char line[200];

	memset(line, '#', sizeof(line));
	spawn_log_tail(&options, offset, pid, line, sizeof(line));
	assert_string_equal(line, expected);
}

static void without_a_log_there_are_no_words(void **state)
{
	struct rig *rig = *state;
	assert_tail(rig, 0, 100, "");
	rig_log_append(rig, "");
	assert_tail(rig, 0, 100, "");
	rig_log_append(rig, "\n\n\r\n");
	assert_tail(rig, 0, 100, "");
}

static void the_last_line_of_the_engine_is_quoted_past_anothers(void **state)
{
	struct rig *rig = *state;
	rig_log_append(rig, TIME "info  [100] started\n");
	rig_log_append(rig, TIME "info  [200] started\n");
	rig_log_append(rig, TIME "error [100] out of descriptors\n");
	rig_log_append(rig, TIME "warn  [200] still drains\n" TIME "info  [200] 7 connections left\n");
	assert_tail(rig, 0, 100, TIME "error [100] out of descriptors");
	assert_tail(rig, 0, 200, TIME "info  [200] 7 connections left");
	/* A number that begins alike is another. */
	assert_tail(rig, 0, 10, "");
	assert_tail(rig, 0, 1000, "");
}

static void a_line_without_a_writer_may_be_anybodys(void **state)
{
	struct rig *rig = *state;
	rig_log_append(rig, TIME "info  [200] started\n");
	rig_log_append(rig, "free(): double free detected\n");
	rig_log_append(rig, TIME "info  [200] 7 connections left\n");
	assert_tail(rig, 0, 100, "free(): double free detected");
	/* A bracket in the text is no writer. */
	rig_log_append(rig, "assertion failed in a function with a long name: slots [200] == 0\n");
	assert_tail(rig, 0, 100, "assertion failed in a function with a long name: slots [200] == 0");
	rig_log_append(rig, "bad index [x] of []\n");
	assert_tail(rig, 0, 100, "bad index [x] of []");
}

static void what_was_there_before_the_engine_is_not_its_own(void **state)
{
	struct rig *rig = *state;
	const char *before = "abort of the engine before\n";
	rig_log_append(rig, before);
	assert_tail(rig, strlen(before), 100, "");
	assert_tail(rig, 1 << 20, 100, "");
	rig_log_append(rig, "no core 99");
	assert_tail(rig, strlen(before), 100, "no core 99");
}

static void a_long_line_and_a_long_log_are_cut(void **state)
{
	struct rig *rig = *state;
	struct engine_options options = {.run_dir = rig->dir};
	char longest[1500], line[64];
	memset(longest, 'x', sizeof(longest) - 2);
	memcpy(longest + sizeof(longest) - 2, "\n", 2);
	rig_log_append(rig, longest);
	spawn_log_tail(&options, 0, 100, line, sizeof(line));
	assert_int_equal(strlen(line), sizeof(line) - 1);
	for (int i = 0; i < 100; i++)
		rig_log_append(rig, TIME "info  [100] one of many lines\n");
	assert_tail(rig, 0, 100, TIME "info  [100] one of many lines");
	/* Cut since the engine was started: its part of the log is gone. */
	assert_tail(rig, 1 << 20, 100, "");
}

static void the_rest_of_a_line_is_not_taken_for_anybodys(void **state)
{
	struct rig *rig = *state;
	/* Lines of 50, so that 2047 bytes begin within one, behind its writer. */
	for (int i = 0; i < 100; i++)
		rig_log_append(rig, TIME "info  [200] closed a con\n");
	rig_log_append(rig, TIME "info  [200] .\n");
	assert_tail(rig, 0, 100, "");
}

static void a_log_that_has_grown_is_moved_aside_and_kept(void **state)
{
	struct rig *rig = *state;
	struct engine_options options = {.run_dir = rig->dir};
	char path[128], line[1025];
	struct stat st;

	memset(line, 'y', sizeof(line) - 2);
	memcpy(line + sizeof(line) - 2, "\n", 2);
	snprintf(path, sizeof(path), "%s/" ENGINE_LOG, rig->dir);
	FILE *engine = fopen(path, "a"); /* as the engine has it: open all the time */
	assert_non_null(engine);
	while ((size_t)ftell(engine) < ENGINE_LOG_MAX)
		fputs(line, engine);
	fflush(engine);
	assert_int_equal(stat(path, &st), 0);
	spawn_log_rotate(&options);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, ENGINE_LOG_MAX); /* not above it yet */

	fputs(TIME "error [100] the last line\n", engine);
	fflush(engine);
	spawn_log_rotate(&options);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 0);
	fputs(TIME "info  [100] after it\n", engine);
	fclose(engine);
	assert_tail(rig, 0, 100, TIME "info  [100] after it");

	char old[160], text[64] = "";
	snprintf(old, sizeof(old), "%s.1", path);
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, ENGINE_LOG_MAX);
	FILE *kept = fopen(old, "r");
	const char *end = "error [100] the last line\n";
	fseek(kept, -(long)strlen(end), SEEK_END);
	assert_int_equal(fread(text, 1, sizeof(text) - 1, kept), strlen(end));
	fclose(kept);
	assert_string_equal(text, end);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(without_a_log_there_are_no_words),
	        TEST(the_last_line_of_the_engine_is_quoted_past_anothers),
	        TEST(a_line_without_a_writer_may_be_anybodys),
	        TEST(what_was_there_before_the_engine_is_not_its_own),
	        TEST(a_long_line_and_a_long_log_are_cut),
	        TEST(the_rest_of_a_line_is_not_taken_for_anybodys),
	        TEST(a_log_that_has_grown_is_moved_aside_and_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
