/* SPDX-License-Identifier: Apache-2.0 */
/* Executables that cannot be started; and the engines' common log: whose last words are quoted, and how the file is
 * kept small. */
#include "rig.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/spawn.h"

#define TIME "2026-01-31T12:00:00.000Z "

/* That starting it fails so, and the reason names the path and has the hint. */
static void assert_refused(struct rig *rig, const char *path, int error, const char *hint)
{
	struct engine_options options = {.run_dir = rig->dir, .engine_path = (char *)(uintptr_t)path};
	struct spawned spawned;
	char why[512] = "";

	assert_int_equal(
	        spawn_engine(&options, NULL, "/nonexistent.sock", -1, false, false, &spawned, why, sizeof(why)),
	        -error);
	if (!strstr(why, path) || !strstr(why, strerror(error)) || !strstr(why, hint))
		fail_msg("%s: %s (expected: %s)", path, why, hint);
	assert_int_equal(spawned.pidfd, -1);
}

static void write_file(const char *path, const void *data, size_t length, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void an_executable_that_cannot_be_started_is_named_with_what_to_do(void **state)
{
	struct rig *rig = *state;
	static const char script[] = "#!/nonexistent/interpreter\n";
	Elf64_Ehdr foreign = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	                      .e_type = ET_EXEC,
	                      .e_machine = EM_S390,
	                      .e_version = EV_CURRENT,
	                      .e_ehsize = sizeof(foreign)};
	char path[128], below[160];

	snprintf(path, sizeof(path), "%s/engine", rig->dir);
	assert_refused(rig, path, ENOENT, "no file is there");
	write_file(path, "", 0, 0700);
	assert_refused(rig, path, ENOEXEC, "not an executable for this machine");
	write_file(path, &foreign, sizeof(foreign), 0700);
	assert_refused(rig, path, ENOEXEC, "another architecture");
	write_file(path, script, sizeof(script) - 1, 0700);
	assert_refused(rig, path, ENOENT, "the dynamic linker or interpreter that it names is not");
	write_file(path, script, sizeof(script) - 1, 0600);
	assert_refused(rig, path, EACCES, "chmod +x");
	snprintf(below, sizeof(below), "%s/engine", path);
	assert_refused(rig, below, ENOTDIR, "a part of the path is no directory");
	assert_refused(rig, rig->dir, EACCES, "this is a directory");
	write_file(path, script, sizeof(script) - 1, 0700);
	int writer = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(writer >= 0);
	assert_refused(rig, path, ETXTBSY, "wait until it is copied");
	close(writer);
}

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
	/* Cut since the engine was started: what is there came later. */
	assert_tail(rig, 1 << 20, 100, TIME "info  [100] one of many lines");
	assert_tail(rig, 1 << 20, 200, "");
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

#define BIT(capability) (1ull << (capability))

/* Becomes a plain user that has these, as by a unit's User= and AmbientCapabilities=. */
static bool become_user(uint64_t capabilities)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
	        {(uint32_t)capabilities, (uint32_t)capabilities, (uint32_t)capabilities},
	        {(uint32_t)(capabilities >> 32), (uint32_t)(capabilities >> 32), (uint32_t)(capabilities >> 32)}};

	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || setgid(65534) || setuid(65534) || syscall(SYS_capset, &header, data))
		return false;
	for (int i = 0; i < 64; i++)
		if (capabilities & BIT(i) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0))
			return false;
	return true;
}

/* What the engine has when the agent has these. */
static uint64_t engines_capabilities(struct rig *rig, uint64_t agents)
{
	static const char script[] = "#!/bin/sh\ngrep CapEff /proc/self/status > \"${0%/*}/has\"\n";
	char path[128], has[128];
	unsigned long long found = 0;
	int status;

	snprintf(path, sizeof(path), "%s/engine", rig->dir);
	snprintf(has, sizeof(has), "%s/has", rig->dir);
	write_file(path, script, sizeof(script) - 1, 0755);
	assert_int_equal(chmod(rig->dir, 0777), 0);
	pid_t child = fork();
	if (!child) {
		struct engine_options options = {.run_dir = rig->dir, .engine_path = path};
		struct spawned spawned;
		char why[512];
		if (!become_user(agents) ||
		    spawn_engine(&options, NULL, "/nonexistent.sock", -1, false, false, &spawned, why, sizeof(why)))
			_exit(1);
		_exit(waitpid(spawned.pid, &status, 0) == spawned.pid && !status ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	FILE *file = fopen(has, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "CapEff: %llx", &found), 1);
	fclose(file);
	unlink(has);
	unlink(path);
	return found;
}

static void the_packet_tiers_capabilities_stay_with_the_agent(void **state)
{
	uint64_t packets = BIT(CAP_BPF) | BIT(CAP_NET_ADMIN) | BIT(CAP_PERFMON), ports = BIT(CAP_NET_BIND_SERVICE);

	if (geteuid())
		skip();
	assert_int_equal(engines_capabilities(*state, ports | packets), ports);
	assert_int_equal(engines_capabilities(*state, ports | BIT(CAP_NET_ADMIN)), ports | BIT(CAP_NET_ADMIN));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(an_executable_that_cannot_be_started_is_named_with_what_to_do),
	        TEST(without_a_log_there_are_no_words),
	        TEST(the_last_line_of_the_engine_is_quoted_past_anothers),
	        TEST(a_line_without_a_writer_may_be_anybodys),
	        TEST(what_was_there_before_the_engine_is_not_its_own),
	        TEST(a_long_line_and_a_long_log_are_cut),
	        TEST(the_rest_of_a_line_is_not_taken_for_anybodys),
	        TEST(a_log_that_has_grown_is_moved_aside_and_kept),
	        TEST(the_packet_tiers_capabilities_stay_with_the_agent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
