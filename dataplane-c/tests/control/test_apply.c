/* SPDX-License-Identifier: Apache-2.0 */
/* libmarcher against a fake engine: snapshots, requests, a full disk, a late answer, the self-check, peers. */
#include "rig.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "marcher/engine/v1/control.pb-c.h"
#include "marcher/engine/v1/snapshot.pb-c.h"

static void a_refusal_has_the_reasons_and_changes_nothing(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 1, "refuse"), MARCHER_E_REFUSED);
	assert_non_null(strstr(marcher_last_error(rig->marcher), "told to refuse"));
	assert_int_equal(rig_status(rig).generation, 1);
	assert_int_equal(rig_status(rig).saved_generation, 1);
}

static void what_is_no_snapshot_does_not_reach_the_engine(void **state)
{
	struct rig *rig = *state;
	static const uint8_t bad[] = {0x0a, 0xff, 0x01}, no_generation[] = {0x10, 0x01};
	uint8_t *reply;
	size_t length;
	rig_reopen(rig);
	assert_int_equal(marcher_apply(rig->marcher, bad, sizeof(bad), 0, &reply, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_apply(rig->marcher, no_generation, 2, 0, &reply, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_apply(rig->marcher, bad, sizeof(bad), 8, &reply, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_apply(NULL, bad, sizeof(bad), 0, &reply, &length), MARCHER_E_INVALID);
	assert_null(reply);
}

static void the_librarys_own_requests_are_refused(void **state)
{
	struct rig *rig = *state;
	static const uint8_t hello[] = {0x12, 0x02, 0x10, 0x01}, retire[] = {0x32, 0x00}, none[] = {0x08, 0x01};
	uint8_t *reply;
	size_t length;
	rig_reopen(rig);
	assert_int_equal(marcher_request(rig->marcher, hello, sizeof(hello), &reply, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_request(rig->marcher, retire, sizeof(retire), &reply, &length), MARCHER_E_INVALID);
	assert_int_equal(marcher_request(rig->marcher, none, sizeof(none), &reply, &length), MARCHER_E_INVALID);
}

/* A tmpfs of 16 KiB as the run directory, with little left on it. */
static void a_full_disk_fails_no_apply_and_costs_no_snapshot(void **state)
{
	struct rig *rig = *state;
	char path[128], fill[4096] = "";
	if (mount("tmpfs", rig->dir, "tmpfs", 0, "size=32k,mode=0700")) {
		print_message("no right to mount a tmpfs (%s)\n", strerror(errno));
		skip();
	}
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_true(
	        rig_eventually(access((snprintf(path, sizeof(path), "%s/snapshot.frames", rig->dir), path), F_OK) == 0,
	                       RIG_PATIENCE_MS));
	snprintf(path, sizeof(path), "%s/ballast", rig->dir);
	FILE *ballast = fopen(path, "w");
	while (fwrite(fill, 1, sizeof(fill), ballast) == sizeof(fill) && !fflush(ballast))
		;
	fclose(ballast);

	/* Complete ones need a new file, which there is no page for. */
	assert_int_equal(rig_apply(rig, 2, 0, "web api"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 3, 2, "dns"), MARCHER_OK);
	struct marcher_engine_status status = rig_status(rig);
	assert_int_equal(status.saved_generation, 3);
	assert_non_null(strstr(status.last_error, "memory only"));
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 2, RIG_PATIENCE_MS));
	kill(status.pid, SIGKILL);
	uint64_t generation;
	assert_true(rig_ask(rig->ports[1], &generation) > 0);
	assert_int_equal(generation, 3);

	assert_int_equal(unlink(path), 0);
	assert_true(rig_eventually(!strstr(rig_status(rig).last_error, "memory only"), RIG_PATIENCE_MS));
	rig_reopen(rig);
	assert_int_equal(rig_status(rig).saved_generation, 3);
	marcher_stop(rig->marcher, 0);
	marcher_close(rig->marcher);
	rig->marcher = NULL;
	umount2(rig->dir, MNT_DETACH);
}

static void an_answer_that_comes_late_still_counts(void **state)
{
	struct rig *rig = *state;
	struct marcher_options options = {.size = sizeof(options),
	                                  .engine_path = rig_engine(),
	                                  .run_dir = rig->dir,
	                                  .heartbeat_ms = 1500,
	                                  .request_timeout_ms = 600};
	assert_int_equal(marcher_open(&options, &rig->marcher), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 1, 0, "web slow"), MARCHER_E_TIMEOUT);
	assert_true(rig_eventually(rig_status(rig).saved_generation == 1, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 1);
	assert_int_equal(rig_status(rig).restarts, 0);
}

/* The one that was given up on runs in the end, whatever becomes of the next. */
static void a_late_answer_counts_also_when_the_next_apply_waits_for_it(void **state)
{
	struct rig *rig = *state;
	struct marcher_options options = {.size = sizeof(options),
	                                  .engine_path = rig_engine(),
	                                  .run_dir = rig->dir,
	                                  .heartbeat_ms = 3000,
	                                  .request_timeout_ms = 750};
	assert_int_equal(marcher_open(&options, &rig->marcher), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	assert_int_equal(rig_apply(rig, 2, 1, "slow"), MARCHER_E_TIMEOUT);
	/* Its answer comes while this one waits, which is refused and not answered in time either. */
	assert_int_equal(rig_apply(rig, 3, 2, "refuse"), MARCHER_E_TIMEOUT);
	assert_true(rig_eventually(rig_status(rig).saved_generation == 2, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 2);
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_eventually(rig_status(rig).restarts == 1 && rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 2);
}

static void a_small_change_costs_the_library_little(void **state)
{
	struct rig *rig = *state;
	rig_reopen(rig);
	assert_int_equal(rig_apply(rig, 1, 0, "web"), MARCHER_OK);
	uint64_t start = rig_now_ms();
	for (uint64_t g = 2; g <= 501; g++)
		assert_int_equal(rig_apply(rig, g, g - 1, "api"), MARCHER_OK);
	uint64_t took = rig_now_ms() - start;
	print_message("500 changes: %llu ms\n", (unsigned long long)took);
	assert_true(took < 500 * 20); /* on a machine that is busy */
	assert_true(rig_eventually(rig_status(rig).saved_generation == 501, RIG_PATIENCE_MS));
	/* Over a restart on the compacted journal. */
	kill(rig_status(rig).pid, SIGKILL);
	assert_true(rig_eventually(rig_status(rig).restarts == 1 && rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).generation, 501);
}

static void the_self_check_tells_where_every_symbol_comes_from(void **state)
{
	static char report[65536];
	char small[16];
	(void)state;
	/* In this test libmarcher is linked into the executable, so the executable's own imports are what is looked at.
	 */
	int code = marcher_self_check(report, sizeof(report));
	assert_true(code == MARCHER_OK || code == MARCHER_E_SYSTEM);
	assert_non_null(strstr(report, "\"symbol\":\"protobuf_c_message_unpack\",\"expected\":\"libprotobuf-c.so.1\""));
	assert_non_null(strstr(report, "\"forbidden\":[]"));
	assert_int_equal(marcher_self_check(small, sizeof(small)), MARCHER_E_INVALID);
}

static void a_peer_is_known_by_its_groups(void **state)
{
	int pair[2], pid, member;
	uint32_t uid, gid;
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	struct group *own = getgrgid(getegid());
	assert_int_equal(marcher_peer_credentials(pair[0], own ? own->gr_name : "root", &pid, &uid, &gid, &member),
	                 MARCHER_OK);
	assert_int_equal(pid, getpid());
	assert_int_equal(uid, geteuid());
	assert_int_equal(member, 1);
	assert_int_equal(marcher_peer_credentials(pair[0], "no-such-group", &pid, &uid, &gid, &member), MARCHER_OK);
	assert_int_equal(member, 0);
	assert_int_equal(marcher_peer_credentials(-1, NULL, &pid, &uid, &gid, &member), MARCHER_E_SYSTEM);
	close(pair[0]);
	close(pair[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_refusal_has_the_reasons_and_changes_nothing),
	        TEST(what_is_no_snapshot_does_not_reach_the_engine),
	        TEST(the_librarys_own_requests_are_refused),
	        TEST(a_full_disk_fails_no_apply_and_costs_no_snapshot),
	        TEST(an_answer_that_comes_late_still_counts),
	        TEST(a_late_answer_counts_also_when_the_next_apply_waits_for_it),
	        TEST(a_small_change_costs_the_library_little),
	        cmocka_unit_test(the_self_check_tells_where_every_symbol_comes_from),
	        cmocka_unit_test(a_peer_is_known_by_its_groups),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
