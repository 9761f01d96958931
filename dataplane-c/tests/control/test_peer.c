/* SPDX-License-Identifier: Apache-2.0 */
/* Who is at the other end of a local socket, and in which groups. Groups are those of the machine's database. */
#include "rig.h"

#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct peer {
	int32_t pid, member;
	uint32_t uid, gid;
};

static int ask(int fd, const char *group, struct peer *peer)
{
	memset(peer, 0xa5, sizeof(*peer));
	return marcher_peer_credentials(fd, group, &peer->pid, &peer->uid, &peer->gid, &peer->member);
}

static void a_socketpair_is_this_process(void **state)
{
	struct peer peer;
	int pair[2];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask(pair[i], NULL, &peer), MARCHER_OK);
		assert_int_equal(peer.pid, getpid());
		assert_int_equal(peer.uid, geteuid());
		assert_int_equal(peer.gid, getegid());
		assert_int_equal(peer.member, 0); /* of no group that was asked for */
		close(pair[i]);
	}
}

/* The one who connects, not the one who listens. */
static void a_client_is_the_process_that_connected(void **state)
{
	struct rig *rig = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct peer peer;
	int status;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/api", rig->dir);
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listening, 1), 0);
	/* For another user, whom the child becomes when it may. */
	chmod(rig->dir, 0711);
	chmod(address.sun_path, 0666);
	pid_t child = fork();
	if (!child) {
		char byte;
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if ((!geteuid() && (setgid(1) || setuid(1))) ||
		    connect(fd, (struct sockaddr *)&address, sizeof(address)))
			_exit(1);
		_exit(read(fd, &byte, 1) != 0);
	}
	int fd = accept(listening, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(ask(fd, NULL, &peer), MARCHER_OK);
	assert_int_equal(peer.pid, child);
	assert_int_equal(peer.uid, geteuid() ? geteuid() : 1);
	assert_int_equal(peer.gid, geteuid() ? getegid() : 1);
	close(fd);
	close(listening);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Whose name and number are not those of a group that this process is in. */
static bool a_foreign_group(gid_t *gid, char *name, size_t size)
{
	gid_t own[1024];
	int n = getgroups(1024, own);
	struct group *entry;
	bool found = false;

	setgrent();
	while (!found && (entry = getgrent())) {
		bool mine = entry->gr_gid == getegid() || entry->gr_gid == 0 || *entry->gr_mem;
		for (int i = 0; i < n; i++)
			mine |= own[i] == entry->gr_gid;
		if (mine)
			continue;
		*gid = entry->gr_gid;
		snprintf(name, size, "%s", entry->gr_name);
		found = true;
	}
	endgrent();
	return found;
}

static void the_own_group_is_one_and_another_is_not(void **state)
{
	struct group *own = getgrgid(getegid());
	char own_name[64], foreign[64];
	struct peer peer;
	gid_t gid;
	int pair[2];
	(void)state;
	if (!own || snprintf(own_name, sizeof(own_name), "%s", own->gr_name) < 0 ||
	    !a_foreign_group(&gid, foreign, sizeof(foreign)))
		skip();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(ask(pair[0], own_name, &peer), MARCHER_OK);
	assert_int_equal(peer.member, 1);
	assert_int_equal(ask(pair[0], foreign, &peer), MARCHER_OK);
	assert_int_equal(peer.member, 0);
	assert_int_equal(ask(pair[0], "", &peer), MARCHER_OK);
	assert_int_equal(peer.member, 0);
	close(pair[0]);
	close(pair[1]);
}

/* A process in so many groups, the last one being gid, asks who it is itself. Its exit status is the answer, or 77. */
static int member_with_groups(size_t count, gid_t gid, const char *name)
{
	int status;
	pid_t child = fork();

	if (!child) {
		gid_t *groups = calloc(count, sizeof(*groups));
		struct peer peer;
		int pair[2];
		for (size_t i = 0; i < count; i++)
			groups[i] = i + 1 < count ? 100000 + (gid_t)i : gid;
		if (setgroups(count, groups) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			_exit(77);
		free(groups);
		_exit(ask(pair[0], name, &peer) ? 76 : peer.member);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void any_of_the_processs_groups_counts_however_many_there_are(void **state)
{
	static const size_t counts[] = {1, 64, 65, 1000};
	char name[64];
	gid_t gid;
	(void)state;
	if (!a_foreign_group(&gid, name, sizeof(name)) || member_with_groups(1, gid, name) == 77) {
		print_message("no right to change groups, or no group to choose\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		assert_int_equal(member_with_groups(counts[i], gid, name), 1);
		assert_int_equal(member_with_groups(counts[i], 99999, name), 0);
	}
}

/* A user of no database, as in a container: what counts is the process's own group. */
static void the_group_of_a_user_whom_nobody_knows_counts(void **state)
{
	char name[64];
	gid_t gid;
	int status;
	(void)state;
	if (geteuid() || !a_foreign_group(&gid, name, sizeof(name)) || getpwuid(54321))
		skip();
	pid_t child = fork();
	if (!child) {
		struct peer peer;
		int pair[2];
		if (setgroups(0, NULL) || setgid(gid) || setuid(54321) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			_exit(77);
		_exit(ask(pair[0], name, &peer) ? 76 : peer.member);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 1);
}

/* Added to the group after he logged in: his processes do not have it yet. */
static void a_user_whom_the_database_names_is_a_member(void **state)
{
	char group[64] = "", user[64] = "";
	struct group *entry;
	int status;
	(void)state;
	setgrent();
	while (!*user && (entry = getgrent()))
		for (char **member = entry->gr_mem; *member && !*user; member++)
			if (getpwnam(*member) && getpwnam(*member)->pw_uid != 0) {
				snprintf(user, sizeof(user), "%s", *member);
				snprintf(group, sizeof(group), "%s", entry->gr_name);
			}
	endgrent();
	struct passwd *record = *user ? getpwnam(user) : NULL;
	if (!record || geteuid()) {
		print_message("no right to become another user, or no user who is in another group\n");
		skip();
	}
	pid_t child = fork();
	if (!child) {
		struct peer peer;
		int pair[2];
		if (setgroups(0, NULL) || setgid(record->pw_gid) || setuid(record->pw_uid) ||
		    socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			_exit(77);
		_exit(ask(pair[0], group, &peer) ? 76 : peer.member);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 1);
}

static void nobody_is_in_a_group_that_does_not_exist(void **state)
{
	char longest[4096];
	struct peer peer;
	int pair[2];
	(void)state;
	memset(longest, 'g', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(ask(pair[0], "no-such-group", &peer), MARCHER_OK);
	assert_int_equal(peer.member, 0);
	assert_int_equal(ask(pair[0], longest, &peer), MARCHER_OK);
	assert_int_equal(peer.member, 0);
	assert_int_equal(ask(pair[0], "root:x:0:", &peer), MARCHER_OK);
	assert_int_equal(peer.member, 0);
	close(pair[0]);
	close(pair[1]);
}

static void what_is_no_socket_has_no_peer(void **state)
{
	struct peer peer;
	char number[16];
	(void)state;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(ask(fd, NULL, &peer), MARCHER_E_SYSTEM);
	snprintf(number, sizeof(number), " %d: ", fd);
	assert_non_null(strstr(marcher_last_error(NULL), number));
	assert_non_null(strstr(marcher_last_error(NULL), "socket"));
	close(fd);
	assert_int_equal(ask(fd, "root", &peer), MARCHER_E_SYSTEM);
	assert_int_equal(ask(-1, NULL, &peer), MARCHER_E_SYSTEM);
}

/* Of these the kernel has no peer; it must not become a member of whatever lay in memory. */
static void a_socket_without_a_peer_is_in_no_group(void **state)
{
	const int domains[] = {AF_UNIX, AF_INET};
	struct group *root = getgrgid(0);
	char name[64];
	struct peer peer;
	(void)state;
	if (!root || snprintf(name, sizeof(name), "%s", root->gr_name) < 0)
		skip();
	for (size_t i = 0; i < 2; i++) {
		int fd = socket(domains[i], SOCK_STREAM | SOCK_CLOEXEC, 0);
		/* What malloc gives next is what was freed here, zeros but for its own links. */
		free(calloc(1, 64 * sizeof(gid_t)));
		int code = ask(fd, name, &peer);
		if (!code) {
			assert_int_equal(peer.pid, 0);
			assert_int_equal(peer.member, 0);
		}
		close(fd);
	}
}

static void places_for_the_answer_are_needed(void **state)
{
	struct peer peer;
	int pair[2];
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(marcher_peer_credentials(pair[0], NULL, NULL, &peer.uid, &peer.gid, &peer.member),
	                 MARCHER_E_INVALID);
	assert_int_equal(marcher_peer_credentials(pair[0], NULL, &peer.pid, NULL, &peer.gid, &peer.member),
	                 MARCHER_E_INVALID);
	assert_int_equal(marcher_peer_credentials(pair[0], NULL, &peer.pid, &peer.uid, NULL, &peer.member),
	                 MARCHER_E_INVALID);
	assert_int_equal(marcher_peer_credentials(pair[0], NULL, &peer.pid, &peer.uid, &peer.gid, NULL),
	                 MARCHER_E_INVALID);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_socketpair_is_this_process),
	        cmocka_unit_test_setup_teardown(a_client_is_the_process_that_connected, rig_setup, rig_teardown),
	        cmocka_unit_test(the_own_group_is_one_and_another_is_not),
	        cmocka_unit_test(any_of_the_processs_groups_counts_however_many_there_are),
	        cmocka_unit_test(the_group_of_a_user_whom_nobody_knows_counts),
	        cmocka_unit_test(a_user_whom_the_database_names_is_a_member),
	        cmocka_unit_test(nobody_is_in_a_group_that_does_not_exist),
	        cmocka_unit_test(what_is_no_socket_has_no_peer),
	        cmocka_unit_test(a_socket_without_a_peer_is_in_no_group),
	        cmocka_unit_test(places_for_the_answer_are_needed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
