/* SPDX-License-Identifier: Apache-2.0 */
/* libmarcher against a fake engine: replacing the engine, and what becomes of it when that fails. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LISTENERS 8u /* the fake engine hands over three to a packet */

static const char *last(const struct rig *rig)
{
	return marcher_last_error(rig->marcher);
}

static void upgrade(struct rig *rig, const char *path, uint32_t drain_ms)
{
	if (marcher_upgrade(rig->marcher, path, drain_ms))
		fail_msg("%s", last(rig));
}

static void the_successor_has_the_generation_and_the_very_sockets(void **state)
{
	struct rig *rig = *state;
	unsigned long before[64], after[64];
	uint64_t generation = 0;

	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 41, LISTENERS), MARCHER_OK);
	int old = rig_status(rig).pid;
	assert_int_equal(rig_listening(old, before, 64), LISTENERS);
	upgrade(rig, NULL, 60000);

	struct marcher_engine_status status = rig_status(rig);
	assert_int_equal(status.running, 1);
	assert_int_not_equal(status.pid, old);
	assert_int_equal(status.generation, 41);
	assert_int_equal(status.saved_generation, 41);
	assert_int_equal(status.adopted, 0);
	assert_int_equal(status.restarts, 0);
	assert_int_equal(rig_listening(status.pid, after, 64), LISTENERS);
	assert_memory_equal(before, after, LISTENERS * sizeof(before[0]));
	for (int i = 0; i < 10; i++) {
		assert_int_equal(rig_ask(rig->ports[0], &generation), status.pid);
		assert_int_equal(generation, 41);
	}
	/* It is found under the usual name, and takes changes. */
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).pid, status.pid);
	assert_int_equal(rig_status(rig).adopted, 1);
	assert_int_equal(rig_apply(rig, 42, 41, "api"), MARCHER_OK);
	kill(old, SIGKILL);
}

static void the_old_engine_is_let_drain_and_then_ends(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web api"), MARCHER_OK);
	int old = rig_status(rig).pid;
	uint64_t start = rig_now_ms();
	upgrade(rig, NULL, 600);
	struct marcher_engine_status status = rig_status(rig);
	assert_int_not_equal(status.pid, old);
	assert_int_equal(status.generation, 1);
	assert_int_equal(status.restarts, 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(rig_ask(rig->ports[i % 2], NULL), status.pid);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	assert_true(rig_now_ms() - start >= 600);
	assert_true(rig_ended(old));
	assert_int_equal(kill(old, 0), -1); /* reaped */
	assert_int_equal(rig_status(rig).pid, status.pid);
	assert_int_equal(rig_status(rig).running, 1);
	assert_int_equal(rig_status(rig).restarts, 0);
	assert_int_equal(rig_ask(rig->ports[1], NULL), status.pid);
}

static void engines_that_drain_are_counted_one_by_one(void **state)
{
	struct rig *rig = *state;
	int old[3];
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	for (unsigned i = 0; i < 3; i++) {
		old[i] = rig_status(rig).pid;
		upgrade(rig, NULL, 60000);
		assert_int_equal(rig_status(rig).retiring, i + 1);
		assert_false(rig_ended(old[i]));
	}
	int running = rig_status(rig).pid;
	for (unsigned i = 0; i < 3; i++) {
		kill(old[i], SIGTERM);
		assert_true(rig_eventually(rig_status(rig).retiring == 2 - i, RIG_PATIENCE_MS));
		assert_int_equal(kill(old[i], 0), -1);
	}
	assert_int_equal(rig_status(rig).pid, running);
	assert_int_equal(rig_status(rig).restarts, 0);
	assert_int_equal(rig_ask(rig->ports[0], NULL), running);
}

static void an_old_engine_that_outstays_its_drain_is_killed(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	int old = rig_status(rig).pid;
	upgrade(rig, NULL, 300);
	kill(old, SIGSTOP);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	assert_true(rig_ended(old));
	assert_true(rig_ask(rig->ports[0], NULL) == rig_status(rig).pid);
}

/* That the engine pid runs on as if nothing had been tried. */
static void assert_untouched(struct rig *rig, int pid, uint64_t generation)
{
	struct marcher_engine_status status = rig_status(rig);
	char path[128];
	uint64_t answered = 0;

	assert_int_equal(status.running, 1);
	assert_int_equal(status.pid, pid);
	assert_int_equal(status.generation, generation);
	assert_int_equal(status.retiring, 0);
	assert_int_equal(status.restarts, 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(rig_ask(rig->ports[0], &answered), pid);
		assert_int_equal(answered, generation);
	}
	snprintf(path, sizeof(path), "%s/engine.%d.sock", rig->dir, (int)getpid());
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rig_apply(rig, generation + 1, generation, "more"), MARCHER_OK);
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).pid, pid);
}

static int open_with_web(struct rig *rig, uint64_t generation)
{
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, generation, 0, "web"), MARCHER_OK);
	return rig_status(rig).pid;
}

static void a_successor_that_does_not_start_is_quoted(void **state)
{
	struct rig *rig = *state;
	int pid = open_with_web(rig, 5);
	setenv("FAKE_ENGINE_FAIL", "this build is broken", 1);
	assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(last(rig), "this build is broken"));
	assert_non_null(strstr(last(rig), "status 3"));
	assert_non_null(strstr(last(rig), "the running engine was not touched"));
	assert_untouched(rig, pid, 5);
}

static void a_successor_on_another_generation_is_refused(void **state)
{
	struct rig *rig = *state;
	int pid = open_with_web(rig, 5);
	setenv("FAKE_ENGINE_NO_LOAD", "1", 1);
	assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(last(rig), "generation 0 instead of 5"));
	assert_untouched(rig, pid, 5);
}

/* Both ways to hang; short patience by a handle of its own, on the engine that runs. */
static void a_successor_that_hangs_is_killed(void **state)
{
	struct rig *rig = *state;
	static const char *const ways[] = {"silent", "mute"};
	struct marcher_options options = {.size = sizeof(options),
	                                  .engine_path = rig_engine(),
	                                  .run_dir = rig->dir,
	                                  .heartbeat_ms = 1000,
	                                  .request_timeout_ms = 1000};
	int pid = open_with_web(rig, 5), hung = 0;

	marcher_close(rig->marcher);
	rig->marcher = NULL;
	assert_int_equal(marcher_open(&options, &rig->marcher), MARCHER_OK);
	for (size_t i = 0; i < 2; i++) {
		setenv("FAKE_ENGINE_HANG", ways[i], 1);
		assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_TIMEOUT);
		assert_non_null(strstr(last(rig), "the running engine was not touched"));
		char *log = rig_log(rig), *line = strstr(log, "hangs: ");
		for (char *next = line; next; next = strstr(line + 1, "hangs: "))
			line = next;
		assert_non_null(line);
		assert_int_equal(sscanf(line, "hangs: %d", &hung), 1);
		free(log);
		assert_int_not_equal(hung, pid);
		assert_int_equal(kill(hung, 0), -1); /* ended and reaped */
	}
	unsetenv("FAKE_ENGINE_HANG");
	assert_untouched(rig, pid, 5);
}

static void a_path_that_does_not_exist_is_named(void **state)
{
	struct rig *rig = *state;
	int pid = open_with_web(rig, 5);
	assert_int_equal(marcher_upgrade(rig->marcher, "/nonexistent/engine", 100), MARCHER_E_INVALID);
	assert_non_null(strstr(last(rig), "/nonexistent/engine: No such file"));
	assert_non_null(strstr(last(rig), "the running engine was not touched"));
	char path[128];
	snprintf(path, sizeof(path), "%s/engine.log", rig->dir); /* a file, and nothing to execute */
	assert_int_equal(marcher_upgrade(rig->marcher, path, 100), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(last(rig), path));
	assert_non_null(strstr(last(rig), "executable"));
	assert_int_equal(marcher_upgrade(NULL, NULL, 100), MARCHER_E_INVALID);
	assert_untouched(rig, pid, 5);
}

static void a_successor_whose_memory_cannot_be_read_is_killed(void **state)
{
	struct rig *rig = *state;
	int pid = open_with_web(rig, 5), refused = 0;
	setenv("FAKE_ENGINE_GARBAGE", "1", 1);
	assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_PROTOCOL);
	unsetenv("FAKE_ENGINE_GARBAGE");
	assert_non_null(strstr(last(rig), "another layout"));
	assert_non_null(strstr(last(rig), "the running engine was not touched"));
	assert_int_equal(sscanf(last(rig), "engine %d: ", &refused), 1);
	assert_int_not_equal(refused, pid);
	assert_int_equal(kill(refused, 0), -1); /* ended and reaped */
	assert_untouched(rig, pid, 5);          /* and still found under the usual name */
	/* A build that fits puts it right. */
	upgrade(rig, NULL, 60000);
	int next = rig_status(rig).pid;
	assert_int_not_equal(next, pid);
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).pid, next);
	kill(pid, SIGKILL);
}

static void listening_sockets_that_change_meanwhile_end_the_upgrade(void **state)
{
	struct rig *rig = *state;
	setenv("FAKE_ENGINE_RESTLESS", "1", 1);
	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 5, LISTENERS), MARCHER_OK);
	int pid = rig_status(rig).pid;
	assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(last(rig), "they changed meanwhile; try again"));
	assert_untouched(rig, pid, 5);
}

static void without_the_snapshot_that_runs_there_is_no_upgrade(void **state)
{
	struct rig *rig = *state;
	char path[128];
	int pid = open_with_web(rig, 5);
	marcher_close(rig->marcher);
	rig->marcher = NULL;
	snprintf(path, sizeof(path), "%s/snapshot.frames", rig->dir);
	assert_int_equal(unlink(path), 0);
	rig_reopen(rig);
	assert_int_equal(marcher_upgrade(rig->marcher, NULL, 100), MARCHER_E_INVALID);
	assert_non_null(strstr(last(rig), "generation 5"));
	assert_non_null(strstr(last(rig), "apply a complete snapshot"));
	assert_int_equal(rig_apply(rig, 6, 0, "web"), MARCHER_OK);
	assert_untouched(rig, pid, 6);
	upgrade(rig, NULL, 0);
}

static void copy_executable(const char *from, const char *to)
{
	char part[65536];
	size_t n;
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	assert_true(in && out);
	while ((n = fread(part, 1, sizeof(part), in)))
		assert_int_equal(fwrite(part, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(chmod(to, 0700), 0);
}

static void executable_of(int pid, char *path, size_t size)
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	ssize_t n = readlink(link, path, size - 1);
	path[n > 0 ? n : 0] = '\0';
}

static int restarted(struct rig *rig)
{
	int pid = rig_status(rig).pid;
	uint32_t restarts = rig_status(rig).restarts;
	kill(pid, SIGKILL);
	assert_true(
	        rig_eventually(rig_status(rig).running && rig_status(rig).restarts == restarts + 1, RIG_PATIENCE_MS));
	return rig_status(rig).pid;
}

static void what_was_upgraded_to_is_what_a_crash_restarts(void **state)
{
	struct rig *rig = *state;
	char next[128], runs[512], original[512];
	open_with_web(rig, 5);
	executable_of(rig_status(rig).pid, original, sizeof(original));
	snprintf(next, sizeof(next), "%s/next-engine", rig->dir);
	copy_executable(original, next);

	/* One that failed does not count. */
	setenv("FAKE_ENGINE_FAIL", "broken", 1);
	assert_int_equal(marcher_upgrade(rig->marcher, next, 0), MARCHER_E_NO_ENGINE);
	unsetenv("FAKE_ENGINE_FAIL");
	executable_of(restarted(rig), runs, sizeof(runs));
	assert_string_equal(runs, original);

	upgrade(rig, next, 0);
	executable_of(rig_status(rig).pid, runs, sizeof(runs));
	assert_string_equal(runs, next);
	executable_of(restarted(rig), runs, sizeof(runs));
	assert_string_equal(runs, next);
	assert_int_equal(rig_status(rig).generation, 5);
	/* And what NULL means from then on. */
	upgrade(rig, NULL, 0);
	executable_of(rig_status(rig).pid, runs, sizeof(runs));
	assert_string_equal(runs, next);
}

/* Runs the fake engine as what an agent has left that was killed in the middle of an upgrade. */
static pid_t leave(const struct rig *rig, const char *name, const char *hang)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", rig->dir, name);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* when the test fails */
		if (hang)
			setenv("FAKE_ENGINE_HANG", hang, 1);
		execl(rig_engine(), rig_engine(), "--socket", path, (char *)NULL);
		_exit(127);
	}
	assert_true(rig_eventually(access(path, F_OK) == 0, RIG_PATIENCE_MS));
	return pid;
}

static void what_an_upgrade_that_was_cut_short_left_is_ended(void **state)
{
	struct rig *rig = *state;
	char path[3][128];
	int pid = open_with_web(rig, 5);
	marcher_close(rig->marcher);
	rig->marcher = NULL;
	pid_t drains = leave(rig, "engine.4711.sock", NULL), mute = leave(rig, "engine.4712.sock", "mute");
	/* Of a third nothing is left but the name. */
	pid_t gone = leave(rig, "engine.4713.sock", NULL);
	kill(gone, SIGKILL);
	assert_int_equal(waitpid(gone, NULL, 0), gone);

	rig_reopen(rig);
	for (int i = 0; i < 3; i++) {
		snprintf(path[i], sizeof(path[i]), "%s/engine.%d.sock", rig->dir, 4711 + i);
		assert_true(rig_eventually(access(path[i], F_OK), RIG_PATIENCE_MS));
	}
	assert_true(rig_eventually(rig_ended(mute), RIG_PATIENCE_MS));
	assert_true(rig_eventually(rig_status(rig).retiring == 1, RIG_PATIENCE_MS));
	assert_false(rig_ended(drains)); /* it has its time */
	assert_non_null(strstr(rig_status(rig).last_error, "left by an upgrade"));
	kill(drains, SIGKILL);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	waitpid(drains, NULL, 0);
	waitpid(mute, NULL, 0);
	assert_untouched(rig, pid, 5);
}

/* What the one above finds is not there after an upgrade that went well. */
static void no_name_with_a_number_is_left_by_an_upgrade(void **state)
{
	struct rig *rig = *state;
	char path[128];
	int old = open_with_web(rig, 5);
	upgrade(rig, NULL, 60000);
	const int numbers[] = {old, rig_status(rig).pid, (int)getpid()};
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/engine.%d.sock", rig->dir, numbers[i]);
		assert_int_equal(access(path, F_OK), -1);
	}
	kill(old, SIGKILL);
}

/* The one that ended is to be quoted, and not the one that drains and writes to the same file. */
static void last_words_are_those_of_the_engine_that_ended(void **state)
{
	struct rig *rig = *state;
	char line[4096];
	int old = open_with_web(rig, 5);
	upgrade(rig, NULL, 60000);
	int ended = rig_status(rig).pid;
	snprintf(line, sizeof(line),
	         "2026-01-31T12:00:00.000Z error [%d] out of descriptors\n"
	         "2026-01-31T12:00:00.001Z info  [%d] 7 connections left to drain\n",
	         ended, old);
	rig_log_append(rig, line);
	restarted(rig);
	char said[256];
	snprintf(said, sizeof(said), "%s", rig_status(rig).last_error);
	assert_non_null(strstr(said, "out of descriptors"));
	assert_null(strstr(said, "left to drain"));
	snprintf(line, sizeof(line), "engine %d ", ended);
	assert_non_null(strstr(said, line));
	kill(old, SIGKILL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_successor_has_the_generation_and_the_very_sockets),
	        TEST(the_old_engine_is_let_drain_and_then_ends),
	        TEST(engines_that_drain_are_counted_one_by_one),
	        TEST(an_old_engine_that_outstays_its_drain_is_killed),
	        TEST(a_successor_that_does_not_start_is_quoted),
	        TEST(a_successor_on_another_generation_is_refused),
	        TEST(a_successor_that_hangs_is_killed),
	        TEST(a_path_that_does_not_exist_is_named),
	        TEST(a_successor_whose_memory_cannot_be_read_is_killed),
	        TEST(listening_sockets_that_change_meanwhile_end_the_upgrade),
	        TEST(without_the_snapshot_that_runs_there_is_no_upgrade),
	        TEST(what_was_upgraded_to_is_what_a_crash_restarts),
	        TEST(what_an_upgrade_that_was_cut_short_left_is_ended),
	        TEST(no_name_with_a_number_is_left_by_an_upgrade),
	        TEST(last_words_are_those_of_the_engine_that_ended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
