/* SPDX-License-Identifier: Apache-2.0 */
/* libmarcher against a fake engine: start, adopt, lock, crash, hang, stop. */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void open_starts_an_engine_with_nothing_inherited(void **state)
{
	struct rig *rig = *state;
	char path[128], target[256];
	int leaked = open("/etc/hostname", 0); /* not close-on-exec */

	rig_reopen(rig);
	struct marcher_engine_status status = rig_status(rig);
	assert_int_equal(status.running, 1);
	assert_int_equal(status.adopted, 0);
	assert_int_equal(status.workers, 2);
	assert_string_equal(status.version, "fake");
	assert_int_equal(getsid(status.pid), status.pid);
	assert_true(status.memory_bytes > 0);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", status.pid, leaked);
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	if (n > 0) {
		target[n] = '\0';
		assert_string_not_equal(target, "/etc/hostname");
	}
	close(leaked);
}

static void a_new_handle_adopts_the_engine_that_runs(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 5, 0, "web"), MARCHER_OK);
	int pid = rig_status(rig).pid;
	rig_reopen(rig);
	struct marcher_engine_status status = rig_status(rig);
	assert_int_equal(status.pid, pid);
	assert_int_equal(status.adopted, 1);
	assert_int_equal(status.generation, 5);
	assert_int_equal(status.saved_generation, 5);
	assert_int_equal(rig_ask(rig->ports[0], NULL), pid);
}

static void a_second_agent_is_told_who_holds_the_directory(void **state)
{
	struct rig *rig = *state;
	struct marcher *second = NULL;
	char mine[16];
	rig_reopen(rig);
	snprintf(mine, sizeof(mine), "%d", (int)getpid());
	assert_int_equal(rig_open(rig, &second), MARCHER_E_BUSY);
	assert_null(second);
	assert_non_null(strstr(marcher_last_error(NULL), mine));
}

static void an_engine_that_cannot_start_is_reported_in_its_own_words(void **state)
{
	struct rig *rig = *state;
	setenv("FAKE_ENGINE_FAIL", "no core 99 on this machine", 1);
	assert_int_equal(rig_open(rig, &rig->marcher), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(marcher_last_error(NULL), "no core 99 on this machine"));
	assert_non_null(strstr(marcher_last_error(NULL), "status 3"));
}

static void an_engine_path_that_does_not_exist_is_named(void **state)
{
	struct rig *rig = *state;
	struct marcher_options options = {
	        .size = sizeof(options), .engine_path = "/nonexistent/engine", .run_dir = rig->dir};
	assert_int_equal(marcher_open(&options, &rig->marcher), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(marcher_last_error(NULL), "/nonexistent/engine"));
}

static void a_directory_that_others_can_write_is_refused(void **state)
{
	struct rig *rig = *state;
	chmod(rig->dir, 0777);
	assert_int_equal(rig_open(rig, &rig->marcher), MARCHER_E_INVALID);
}

static void a_killed_engine_is_replaced_and_no_connection_is_refused(void **state)
{
	struct rig *rig = *state;
	uint64_t generation;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 1, "api"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 2, RIG_PATIENCE_MS));
	int pid = rig_status(rig).pid;

	uint64_t killed = rig_now_ms();
	kill(pid, SIGKILL);
	/* Waits in the accept queue of the banked socket. */
	int next = rig_ask(rig->ports[1], &generation);
	uint64_t took = rig_now_ms() - killed;
	print_message("kill -9 to the next answer (fake engine): %llu ms\n", (unsigned long long)took);
	assert_true(next > 0);
	assert_int_not_equal(next, pid);
	assert_int_equal(generation, 2);
	assert_int_equal(rig_ask(rig->ports[0], NULL), next);
	assert_true(rig_eventually(rig_status(rig).running == 1, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).restarts, 1);
	assert_int_equal(rig_status(rig).generation, 2);
	assert_non_null(strstr(rig_status(rig).last_error, "signal 9"));
	assert_true(took < 5000); /* on a machine that is busy; printed above is what it is */
}

static void an_adopted_engine_is_replaced_when_it_is_killed(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	rig_reopen(rig);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 1, RIG_PATIENCE_MS));
	int pid = rig_status(rig).pid;
	kill(pid, SIGKILL);
	int next = rig_ask(rig->ports[0], NULL);
	assert_true(next > 0 && next != pid);
}

static void an_apply_during_a_restart_waits_for_the_next_engine(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	kill(rig_status(rig).pid, SIGKILL);
	/* Either it is caught in the middle, and says so, or it waits; the second one always succeeds. */
	int code = rig_apply(rig, 2, 1, "api");
	if (code == MARCHER_E_NO_ENGINE)
		code = rig_apply(rig, 2, 1, "api");
	assert_int_equal(code, MARCHER_OK);
	assert_int_equal(rig_status(rig).generation, 2);
}

static void a_snapshot_that_crashes_the_engine_three_times_is_set_aside(void **state)
{
	struct rig *rig = *state;
	char path[128];
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 1, "crash"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).running == 1 && rig_status(rig).generation == 1, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).saved_generation, 1);
	assert_int_equal(rig_status(rig).set_aside_generation, 2);
	assert_non_null(strstr(rig_status(rig).last_error, "set aside"));
	snprintf(path, sizeof(path), "%s/snapshot.aside", rig->dir);
	assert_int_equal(access(path, R_OK), 0);
	assert_true(rig_ask(rig->ports[0], NULL) > 0);
}

static void a_complete_snapshot_that_cannot_be_loaded_gives_way_to_the_one_before(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 0, "web crash"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).running == 1 && rig_status(rig).generation == 1, RIG_PATIENCE_MS));
	assert_true(rig_ask(rig->ports[0], NULL) > 0);
}

static void repeated_kill_9_does_not_blame_the_snapshot(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(
		        rig_eventually(rig_status(rig).running == 1 && rig_status(rig).restarts == i, RIG_PATIENCE_MS));
		kill(rig_status(rig).pid, SIGKILL);
	}
	assert_true(rig_eventually(rig_status(rig).running == 1 && rig_status(rig).restarts == 4, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 1);
}

static void an_engine_that_stops_answering_is_killed_and_restarted(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	int pid = rig_status(rig).pid;
	assert_int_equal(rig_apply(rig, 2, 1, "hang"), MARCHER_OK);
	assert_true(rig_eventually(!rig_status(rig).running, RIG_PATIENCE_MS));
	assert_non_null(strstr(rig_status(rig).last_error, "hung"));
	/* It hangs on that snapshot again, so in the end on the one before. */
	assert_true(rig_eventually(rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 1);
	assert_int_not_equal(rig_status(rig).pid, pid);
}

static void a_worker_that_stands_still_is_a_hang(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web hang-worker"), MARCHER_OK);
	int pid = rig_status(rig).pid;
	assert_true(rig_eventually(rig_status(rig).pid != pid, RIG_PATIENCE_MS));
}

static void stop_ends_the_engine_and_frees_the_ports(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 1, RIG_PATIENCE_MS));
	int pid = rig_status(rig).pid;
	assert_int_equal(marcher_stop(rig->marcher, 0), MARCHER_OK);
	assert_true(rig_eventually(kill(pid, 0) < 0, RIG_PATIENCE_MS));
	assert_int_equal(rig_ask(rig->ports[0], NULL), 0);
	assert_int_equal(rig_status(rig).running, 0);
	assert_int_equal(rig_apply(rig, 2, 1, "api"), MARCHER_E_NO_ENGINE);
}

static void stop_lets_go_of_the_sockets_also_while_no_engine_runs(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 1, RIG_PATIENCE_MS));
	setenv("FAKE_ENGINE_FAIL", "not now", 1);
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_eventually(!rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).banked_sockets, 1);
	assert_int_equal(marcher_stop(rig->marcher, 0), MARCHER_OK);
	assert_int_equal(rig_status(rig).banked_sockets, 0);
	assert_int_equal(rig_status(rig).listening_sockets, 0);
	assert_int_equal(rig_ask(rig->ports[0], NULL), 0);
}

/* It has closed its listening sockets and is about to end: a new agent needs one that serves. */
static void an_engine_that_was_told_to_drain_is_not_adopted(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	int drains = rig_status(rig).pid;
	assert_int_equal(marcher_stop(rig->marcher, 60000), MARCHER_OK);
	rig_reopen(rig);
	struct marcher_engine_status status = rig_status(rig);
	assert_false(rig_ended(drains));
	assert_int_not_equal(status.pid, drains);
	assert_int_equal(status.adopted, 0);
	assert_int_equal(rig_ask(rig->ports[0], NULL), status.pid);
	kill(drains, SIGKILL);
}

/* A second one beside it would share its ports, and nobody would ever end the first. */
static void an_engine_that_takes_no_connection_is_not_doubled(void **state)
{
	struct rig *rig = *state;
	char pid[32];
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web closed"), MARCHER_OK);
	int first = rig_status(rig).pid;
	marcher_close(rig->marcher);
	rig->marcher = NULL;
	assert_int_equal(rig_open(rig, &rig->marcher), MARCHER_E_BUSY);
	snprintf(pid, sizeof(pid), "kill -TERM %d", first);
	assert_non_null(strstr(marcher_last_error(NULL), pid));
	assert_int_equal(rig_ask(rig->ports[0], NULL), first);
	kill(first, SIGKILL);
}

/* It would hold its ports for ever. */
static void an_engine_that_cannot_be_told_to_drain_is_killed(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	int pid = rig_status(rig).pid;
	assert_int_equal(rig_apply(rig, 2, 1, "hang-up"), MARCHER_E_NO_ENGINE);
	assert_int_equal(rig_status(rig).pid, pid);
	assert_int_equal(marcher_stop(rig->marcher, 600000), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	assert_true(rig_ended(pid));
	assert_int_equal(rig_ask(rig->ports[0], NULL), 0);
}

static void a_lost_answer_does_not_hide_what_runs(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	int pid = rig_status(rig).pid;
	assert_int_equal(rig_apply(rig, 2, 1, "hang-up"), MARCHER_E_NO_ENGINE);
	assert_non_null(strstr(marcher_last_error(rig->marcher), "connected again; it runs generation 2"));
	struct marcher_engine_status status = rig_status(rig);
	assert_int_equal(status.pid, pid);
	assert_int_equal(status.running, 1);
	assert_int_equal(status.generation, 2);
	assert_int_equal(status.saved_generation, 1);
	assert_non_null(strstr(status.last_error, "runs generation 2 and the last good snapshot"));
	/* What brings it up to date. */
	assert_int_equal(rig_apply(rig, 3, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_status(rig).saved_generation, 3);
	assert_int_equal(rig_status(rig).restarts, 0);
}

/* As when a package with another build was installed and the engine ends later. */
static void an_engine_of_another_build_does_not_cost_the_snapshot(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 1, "api"), MARCHER_OK);
	setenv("FAKE_ENGINE_GARBAGE", "1", 1);
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_eventually(strstr(rig_status(rig).last_error, "another layout"), RIG_PATIENCE_MS));
	/* Attempts at 0, 100, 200, 400 and 800 ms. */
	uint64_t until = rig_now_ms() + 2000;
	while (rig_now_ms() < until)
		rig_pause();
	assert_int_equal(rig_status(rig).running, 0);
	assert_int_equal(rig_status(rig).set_aside_generation, 0);
	assert_int_equal(rig_status(rig).saved_generation, 2);
	unsetenv("FAKE_ENGINE_GARBAGE");
	assert_true(rig_eventually(rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 2);
}

static int killed(struct rig *rig)
{
	int pid = rig_status(rig).pid;
	uint32_t restarts = rig_status(rig).restarts;
	kill(pid, SIGKILL);
	assert_true(rig_eventually(rig_status(rig).restarts == restarts + 1, RIG_PATIENCE_MS));
	return pid;
}

static void last_words_are_not_those_of_an_engine_before(void **state)
{
	struct rig *rig = *state;
	rig_log_append(rig, "free(): double free of long ago\n");
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	killed(rig);
	assert_non_null(strstr(rig_status(rig).last_error, "its last words: none"));
	/* The next one's: those without its number too. */
	rig_log_append(rig, "free(): double free of today\n");
	killed(rig);
	assert_non_null(strstr(rig_status(rig).last_error, "its last words: free(): double free of today"));
	/* Of one that was adopted, what came since. */
	rig_reopen(rig);
	killed(rig);
	assert_non_null(strstr(rig_status(rig).last_error, "its last words: none"));
	rig_reopen(rig);
	rig_log_append(rig, "stack smashing detected\n");
	killed(rig);
	assert_non_null(strstr(rig_status(rig).last_error, "its last words: stack smashing detected"));
}

static void a_removed_listener_is_not_kept_open(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web api"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 2, RIG_PATIENCE_MS));
	assert_int_equal(rig_apply(rig, 2, 0, "api"), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 1, RIG_PATIENCE_MS));
	assert_int_equal(rig_ask(rig->ports[0], NULL), 0);
	assert_true(rig_ask(rig->ports[1], NULL) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(open_starts_an_engine_with_nothing_inherited),
	        TEST(a_new_handle_adopts_the_engine_that_runs),
	        TEST(a_second_agent_is_told_who_holds_the_directory),
	        TEST(an_engine_that_cannot_start_is_reported_in_its_own_words),
	        TEST(an_engine_path_that_does_not_exist_is_named),
	        TEST(a_directory_that_others_can_write_is_refused),
	        TEST(a_killed_engine_is_replaced_and_no_connection_is_refused),
	        TEST(an_adopted_engine_is_replaced_when_it_is_killed),
	        TEST(an_apply_during_a_restart_waits_for_the_next_engine),
	        TEST(a_snapshot_that_crashes_the_engine_three_times_is_set_aside),
	        TEST(a_complete_snapshot_that_cannot_be_loaded_gives_way_to_the_one_before),
	        TEST(repeated_kill_9_does_not_blame_the_snapshot),
	        TEST(an_engine_that_stops_answering_is_killed_and_restarted),
	        TEST(a_worker_that_stands_still_is_a_hang),
	        TEST(stop_ends_the_engine_and_frees_the_ports),
	        TEST(stop_lets_go_of_the_sockets_also_while_no_engine_runs),
	        TEST(an_engine_that_was_told_to_drain_is_not_adopted),
	        TEST(an_engine_that_takes_no_connection_is_not_doubled),
	        TEST(an_engine_that_cannot_be_told_to_drain_is_killed),
	        TEST(a_lost_answer_does_not_hide_what_runs),
	        TEST(an_engine_of_another_build_does_not_cost_the_snapshot),
	        TEST(last_words_are_not_those_of_an_engine_before),
	        TEST(a_removed_listener_is_not_kept_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
