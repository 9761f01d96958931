/* SPDX-License-Identifier: Apache-2.0 */
/* The socket bank: against an engine that answers as a script says, and with the supervision and the fake engine. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/bank.h"
#include "ipc/frame.h"

/* What the scripted engine answers to one request for its listeners. */
struct answer {
	uint64_t version;
	uint32_t total;
	uint32_t keys, fds;
	/* What was asked */
	uint32_t offset;
	uint64_t known;
};

struct script {
	struct answer *answers;
	size_t count, asked;
	int sock;
	pthread_t thread;
	struct link link;
};

static void *answer_all(void *arg)
{
	static uint8_t packet[IPC_PACKET_MAX];
	struct script *script = arg;
	ssize_t length;
	size_t none = 0;

	while (script->asked < script->count &&
	       (length = ipc_receive(script->sock, packet, sizeof(packet), NULL, &none)) > 0) {
		Marcher__Engine__V1__ListenersReply list = MARCHER__ENGINE__V1__LISTENERS_REPLY__INIT;
		EngineReply reply = MARCHER__ENGINE__V1__REPLY__INIT;
		EngineRequest *request = marcher__engine__v1__request__unpack(NULL, (size_t)length, packet);
		struct answer *answer = &script->answers[script->asked++];
		char names[IPC_FDS_MAX][32], *keys[IPC_FDS_MAX];
		int fds[IPC_FDS_MAX];

		answer->offset = request->listeners->offset;
		answer->known = request->listeners->known_version;
		for (uint32_t i = 0; i < answer->keys; i++) {
			snprintf(names[i], sizeof(names[i]), "v%u|%u", (unsigned)answer->version, answer->offset + i);
			keys[i] = names[i];
		}
		for (uint32_t i = 0; i < answer->fds; i++)
			fds[i] = script->sock;
		list.version = answer->version;
		list.total = answer->total;
		list.offset = answer->offset;
		list.keys = keys;
		list.n_keys = answer->keys;
		reply.id = request->id;
		reply.kind_case = MARCHER__ENGINE__V1__REPLY__KIND_LISTENERS;
		reply.listeners = &list;
		length = (ssize_t)marcher__engine__v1__reply__pack(&reply, packet);
		ipc_send(script->sock, packet, (size_t)length, fds, answer->fds);
		marcher__engine__v1__request__free_unpacked(request, NULL);
	}
	return NULL;
}

static void script_start(struct script *script, struct answer *answers, size_t count)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	*script = (struct script){.answers = answers, .count = count, .sock = pair[1]};
	script->link = LINK_NONE;
	script->link.sock = pair[0];
	assert_int_equal(pthread_create(&script->thread, NULL, answer_all, script), 0);
}

/* Ends it; all its answers are to have been asked for. */
static void script_end(struct script *script)
{
	link_close(&script->link);
	pthread_join(script->thread, NULL);
	close(script->sock);
	assert_int_equal(script->asked, script->count);
}

static size_t open_descriptors(void)
{
	size_t n = 0;
	for (int fd = 0; fd < 4096; fd++) {
		char path[32], target[8];
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n += readlink(path, target, sizeof(target)) > 0;
	}
	return n;
}

#define PATIENCE RIG_PATIENCE_MS
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void sockets_come_in_packets_until_all_are_there(void **state)
{
	struct answer answers[] = {{7, 8, 3, 3, 0, 0}, {7, 8, 3, 3, 0, 0}, {7, 8, 2, 2, 0, 0}, {7, 8, 0, 0, 0, 0}};
	struct script script;
	struct bank bank = {0};
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	assert_int_equal(bank.count, 8);
	assert_int_equal(bank.wanted, 8);
	assert_int_equal(bank.version, 7);
	assert_string_equal(bank.keys[0], "v7|0");
	assert_string_equal(bank.keys[7], "v7|7");
	/* Asked again with what is known, it is as it was. */
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	assert_int_equal(bank.count, 8);
	script_end(&script);
	assert_int_equal(answers[0].known, 0);
	assert_int_equal(answers[1].offset, 3);
	assert_int_equal(answers[2].offset, 6);
	assert_int_equal(answers[3].known, 7);
	bank_clear(&bank);
	assert_int_equal(bank.count, 0);
	assert_int_equal(open_descriptors(), before);
}

static void more_than_the_limit_are_not_kept_and_those_kept_are_let_go(void **state)
{
	struct answer answers[] = {{1, 4, 4, 4, 0, 0}, {2, 5, 3, 3, 0, 0}, {2, 5, 0, 0, 0, 0}};
	struct script script;
	struct bank bank = {0};
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 4, NULL, NULL), 0);
	assert_int_equal(bank.count, 4);
	for (int i = 0; i < 2; i++) { /* the second time unchanged */
		assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 4, NULL, NULL), 0);
		assert_int_equal(bank.count, 0);
		assert_int_equal(bank.wanted, 5);
	}
	script_end(&script);
	assert_int_equal(open_descriptors(), before);
}

/* By the last digit of its key: every fourth socket, and of each after it the key. */
static enum bank_choice every_fourth(const char *key)
{
	switch ((key[strlen(key) - 1] - '0') % 4) {
	case 0:
		return BANK_SOCKET;
	case 1:
		return BANK_KEY;
	default:
		return BANK_NEITHER;
	}
}

static void of_more_than_may_be_kept_some_can_be_chosen(void **state)
{
	struct answer answers[] = {{3, 9, 3, 3, 0, 0}, {4, 9, 3, 3, 0, 0}, {4, 9, 5, 5, 0, 0}, {4, 9, 4, 4, 0, 0},
	                           {4, 9, 5, 5, 0, 0}, {4, 9, 4, 4, 0, 0}, {4, 9, 5, 5, 0, 0}, {4, 9, 0, 0, 0, 0}};
	static const char *const keys[] = {"v4|0", "v4|1", "v4|4", "v4|5", "v4|8"};
	struct script script;
	struct bank bank;
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	size_t running = open_descriptors();
	/* Of a list that changes on the way the later one. */
	assert_int_equal(bank_choose(&bank, &script.link, PATIENCE, 3, every_fourth, NULL, NULL), 0);
	assert_int_equal(bank.count, COUNT(keys));
	assert_int_equal(bank.wanted, 9);
	for (size_t i = 0; i < COUNT(keys); i++) {
		assert_string_equal(bank.keys[i], keys[i]);
		assert_int_equal(bank.fds[i] >= 0, every_fourth(keys[i]) == BANK_SOCKET);
	}
	assert_int_equal(open_descriptors(), running + 3);
	bank_clear(&bank);
	assert_int_equal(open_descriptors(), running);
	/* More than may be chosen; and a list that ends before it is whole. */
	assert_int_equal(bank_choose(&bank, &script.link, PATIENCE, 2, every_fourth, NULL, NULL), -EMFILE);
	assert_int_equal(bank.count, 0);
	assert_int_equal(bank_choose(&bank, &script.link, PATIENCE, 3, every_fourth, NULL, NULL), -EPROTO);
	script_end(&script);
	assert_int_equal(open_descriptors(), before);
}

static void a_change_between_two_packets_begins_again(void **state)
{
	struct answer answers[] = {{1, 5, 3, 3, 0, 0}, {2, 4, 1, 1, 0, 0}, {2, 4, 3, 3, 0, 0}, {2, 4, 1, 1, 0, 0}};
	struct script script;
	struct bank bank = {0};
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	assert_int_equal(bank.count, 4);
	assert_int_equal(bank.version, 2);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(strncmp(bank.keys[i], "v2|", 3), 0);
	script_end(&script);
	assert_int_equal(answers[2].offset, 0);
	bank_clear(&bank);
	assert_int_equal(open_descriptors(), before);
}

static void an_engine_that_changes_all_the_time_is_given_up_for_now(void **state)
{
	struct answer answers[9] = {{1, 2, 2, 2, 0, 0}};
	struct script script;
	struct bank bank = {0};
	(void)state;
	for (unsigned i = 1; i < 9; i++)
		answers[i] = (struct answer){1 + i, 9, 3, 3, 0, 0};
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), -EAGAIN);
	assert_int_equal(bank.count, 2); /* what there was */
	script_end(&script);
	bank_clear(&bank);
	assert_int_equal(open_descriptors(), before);
}

/* Asked after every packet: keeps how many descriptors were open. */
static bool notes_the_most(void *arg)
{
	size_t now = open_descriptors(), *most = arg;
	*most = now > *most ? now : *most;
	return false;
}

/* Two banks at a time would be twice as many descriptors as may be kept. */
static void near_the_limit_the_old_sockets_go_before_the_new_ones_come(void **state)
{
	struct answer answers[] = {{1, 4, 4, 4, 0, 0}, {2, 4, 2, 2, 0, 0}, {2, 4, 2, 2, 0, 0}};
	struct script script;
	struct bank bank = {0};
	size_t most = 0;
	(void)state;
	size_t before = open_descriptors() + 2; /* and the script's own */
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 7, NULL, NULL), 0);
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 7, notes_the_most, &most), 0);
	assert_int_equal(most, before + 2);
	assert_int_equal(bank.count, 4);
	assert_int_equal(strncmp(bank.keys[0], "v2|", 3), 0);
	script_end(&script);
	bank_clear(&bank);
}

static bool always(void *arg)
{
	++*(unsigned *)arg;
	return true;
}

static void someone_who_waits_comes_first(void **state)
{
	struct answer answers[] = {{1, 5, 3, 3, 0, 0}, {1, 3, 3, 3, 0, 0}};
	struct script script;
	struct bank bank = {0};
	unsigned asked = 0;
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, always, &asked), -EAGAIN);
	assert_int_equal(bank.count, 0);
	assert_int_equal(asked, 1);
	/* Not between the last packet and the end. */
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, always, &asked), 0);
	assert_int_equal(bank.count, 3);
	assert_int_equal(asked, 1);
	script_end(&script);
	bank_clear(&bank);
	assert_int_equal(open_descriptors(), before);
}

static void answers_that_contradict_themselves_change_nothing(void **state)
{
	struct answer answers[] = {
	        {1, 2, 2, 2, 0, 0},                     /* good */
	        {2, 3, 3, 2, 0, 0},                     /* a key without its socket */
	        {2, 3, 2, 3, 0, 0},                     /* a socket without its key */
	        {2, 4, 2, 2, 0, 0}, {2, 4, 0, 0, 0, 0}, /* fewer than it says */
	        {2, 4, 0, 0, 0, 0},                     /* none at all */
	};
	struct script script;
	struct bank bank = {0};
	(void)state;
	size_t before = open_descriptors();
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), -EPROTO);
		assert_int_equal(bank.count, 2);
		assert_int_equal(bank.version, 1);
	}
	script_end(&script);
	bank_clear(&bank);
	assert_int_equal(open_descriptors(), before);
}

static void an_engine_that_ends_meanwhile_leaves_the_bank_as_it_was(void **state)
{
	struct answer answers[] = {{1, 2, 2, 2, 0, 0}, {2, 5, 3, 3, 0, 0}};
	struct script script;
	struct bank bank = {0};
	(void)state;
	script_start(&script, answers, COUNT(answers));
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), 0);
	/* The script is over after its second answer; nobody reads the third request. */
	assert_int_equal(bank_fetch(&bank, &script.link, 200, 100, NULL, NULL), -ETIMEDOUT);
	assert_int_equal(bank.count, 2);
	pthread_join(script.thread, NULL);
	shutdown(script.sock, SHUT_RDWR);
	assert_int_equal(bank_fetch(&bank, &script.link, PATIENCE, 100, NULL, NULL), -EPIPE);
	assert_int_equal(bank.count, 2);
	link_close(&script.link);
	close(script.sock);
	bank_clear(&bank);
}

static void make_bank(struct bank *bank, size_t count)
{
	*bank = (struct bank){.fds = calloc(count, sizeof(int)), .keys = calloc(count, sizeof(char *))};
	for (; bank->count < count; bank->count++) {
		char key[32];
		snprintf(key, sizeof(key), "tcp|%zu", bank->count);
		bank->fds[bank->count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(bank->fds[bank->count] >= 0);
		bank->keys[bank->count] = strdup(key);
	}
	bank->wanted = (uint32_t)count;
}

static void a_bank_of_several_packets_is_passed_on_whole(void **state)
{
	static uint8_t packet[IPC_PACKET_MAX];
	size_t total = 2 * IPC_FDS_MAX + 1, got = 0;
	struct bank bank;
	int pair[2], gone[2];
	(void)state;
	bank_limit(); /* raises the limit */
	make_bank(&bank, total);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(gone), 0);
	assert_int_equal(bank_send(&bank, pair[0], gone[0], PATIENCE), 0);
	while (got < total) {
		int fds[IPC_FDS_MAX];
		size_t nfds = IPC_FDS_MAX;
		ssize_t length = ipc_receive(pair[1], packet, sizeof(packet), fds, &nfds);
		assert_true(length > 0);
		Marcher__Engine__V1__ListenersReply *list =
		        marcher__engine__v1__listeners_reply__unpack(NULL, (size_t)length, packet);
		assert_non_null(list);
		assert_int_equal(list->total, total);
		assert_int_equal(list->offset, got);
		assert_int_equal(list->n_keys, nfds);
		assert_string_equal(list->keys[0], bank.keys[got]);
		got += nfds;
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		marcher__engine__v1__listeners_reply__free_unpacked(list, NULL);
	}
	assert_int_equal(got, total);
	bank_clear(&bank);
	for (int i = 0; i < 2; i++) {
		close(pair[i]);
		close(gone[i]);
	}
}

static void an_engine_that_takes_nothing_is_not_waited_for_for_ever(void **state)
{
	struct bank bank;
	int pair[2], gone[2], least = 1;
	static char filling[4096];
	(void)state;
	make_bank(&bank, 2);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(pipe(gone), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	while (send(pair[0], filling, sizeof(filling), 0) > 0 || send(pair[0], filling, 1, 0) > 0)
		;
	assert_int_equal(bank_send(&bank, pair[0], gone[0], 100), -ETIMEDOUT);
	close(gone[1]); /* what the process's end looks like */
	uint64_t start = rig_now_ms();
	assert_int_equal(bank_send(&bank, pair[0], gone[0], 2 * PATIENCE), -EPIPE);
	assert_true(rig_now_ms() - start < PATIENCE);
	bank_clear(&bank);
	close(gone[0]);
	close(pair[0]);
	close(pair[1]);
}

static void every_socket_goes_to_the_next_engine_after_sigkill(void **state)
{
	struct rig *rig = *state;
	unsigned long before[64], after[64];
	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 3, 10), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 10, RIG_PATIENCE_MS));
	assert_int_equal(rig_status(rig).listening_sockets, 10);
	int pid = rig_status(rig).pid;
	assert_int_equal(rig_listening(pid, before, 64), 10);
	/* They are open here too, so there is no moment without them. */
	assert_int_equal(rig_listening(getpid(), after, 64), 10);
	assert_memory_equal(before, after, 10 * sizeof(before[0]));
	kill(pid, SIGKILL);
	int next = rig_ask(rig->ports[0], NULL);
	assert_true(next > 0 && next != pid);
	assert_int_equal(rig_listening(next, after, 64), 10);
	assert_memory_equal(before, after, 10 * sizeof(before[0]));
	assert_true(rig_eventually(rig_status(rig).running && rig_status(rig).banked_sockets == 10, RIG_PATIENCE_MS));
}

static void the_bank_follows_the_listeners(void **state)
{
	struct rig *rig = *state;
	unsigned long inodes[64];
	rig_reopen(rig);
	static const unsigned counts[] = {2, 9, 1, 7};
	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(rig_apply_listeners(rig, i + 1, counts[i]), MARCHER_OK);
		assert_true(rig_eventually(rig_status(rig).banked_sockets == counts[i], RIG_PATIENCE_MS));
		assert_int_equal(rig_status(rig).listening_sockets, counts[i]);
		/* None is kept that the engine has closed: it would swallow connections. */
		assert_true(rig_eventually(rig_listening(getpid(), inodes, 64) == counts[i], RIG_PATIENCE_MS));
		assert_int_equal(rig_listening(rig_status(rig).pid, inodes, 64), counts[i]);
	}
}

static void the_limit_is_half_of_the_descriptors(void **state)
{
	struct rlimit before, small;
	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	small = before;
	small.rlim_cur = 50;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
	size_t limit = bank_limit();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &small), 0);
	assert_int_equal(small.rlim_cur, before.rlim_max); /* raised as far as it may be */
	assert_int_equal(limit, before.rlim_max > 1u << 20 ? 1u << 19 : before.rlim_max / 2);
}

/* Near the limit the old sockets are let go before the new ones are there. */
static void what_is_kept_is_told_also_when_the_list_cannot_be_fetched(void **state)
{
	struct rig *rig = *state;
	struct rlimit before, few;
	unsigned long inodes[128];
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = few.rlim_max = 120;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	setenv("FAKE_ENGINE_TORN_LISTENERS", "41", 1);
	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 1, 40), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 40, RIG_PATIENCE_MS));
	assert_int_equal(rig_apply_listeners(rig, 2, 41), MARCHER_OK);
	assert_true(
	        rig_eventually(strstr(rig_status(rig).last_error, "fetching the listening sockets"), RIG_PATIENCE_MS));
	/* While it is tried again, the first of them are here for a moment. */
	if (!rig_eventually(rig_listening(getpid(), inodes, 128) == 0, RIG_PATIENCE_MS))
		fail_msg("%zu sockets that listen stay here; last error: %s", rig_listening(getpid(), inodes, 128),
		         rig_status(rig).last_error);
	assert_int_equal(rig_status(rig).banked_sockets, 0);
	assert_int_equal(rig_apply_listeners(rig, 3, 42), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 42, RIG_PATIENCE_MS));
	setrlimit(RLIMIT_NOFILE, &before);
}

/* An engine without the snapshot would come up and serve nothing. */
static void without_descriptors_no_engine_is_started_until_there_are_some(void **state)
{
	struct rig *rig = *state;
	struct rlimit before, few;
	int taken[128];
	size_t n = 0;
	uint64_t generation = 0;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = few.rlim_max = 120;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 7, 3), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 3, RIG_PATIENCE_MS));
	int pid = rig_status(rig).pid;
	while (n < 128 && (taken[n] = fcntl(0, F_DUPFD_CLOEXEC, 3)) >= 0)
		n++;
	kill(pid, SIGKILL);
	/* Its end frees its connection and its pidfd: those too. */
	bool told = false;
	for (uint64_t until = rig_now_ms() + RIG_PATIENCE_MS; !told && rig_now_ms() < until; rig_pause()) {
		while (n < 128 && (taken[n] = fcntl(0, F_DUPFD_CLOEXEC, 3)) >= 0)
			n++;
		told = strstr(rig_status(rig).last_error, "opening the last good snapshot") &&
		       strstr(rig_status(rig).last_error, "LimitNOFILE");
	}
	assert_true(told);
	assert_int_equal(rig_status(rig).set_aside_generation, 0);
	while (n)
		close(taken[--n]);
	assert_true(rig_eventually(rig_status(rig).running, RIG_PATIENCE_MS));
	assert_int_equal(rig_ask(rig->ports[0], &generation), rig_status(rig).pid);
	assert_int_equal(generation, 7);
	setrlimit(RLIMIT_NOFILE, &before);
}

/* The last tests: an unprivileged process cannot raise the limit again. */
static void too_many_sockets_are_not_banked_and_the_operator_is_told(void **state)
{
	struct rig *rig = *state;
	struct rlimit before, few = {.rlim_cur = 120, .rlim_max = 120};
	unsigned long inodes[128];
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	rig_reopen(rig);
	assert_int_equal(rig_apply_listeners(rig, 1, 60), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 60, RIG_PATIENCE_MS));
	assert_null(strstr(rig_status(rig).last_error, "not kept open"));
	/* A change of all of them finds room too. */
	assert_int_equal(rig_apply_listeners(rig, 2, 59), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).banked_sockets == 59, RIG_PATIENCE_MS));
	assert_int_equal(rig_apply_listeners(rig, 3, 61), MARCHER_OK);
	assert_true(rig_eventually(rig_status(rig).listening_sockets == 61, RIG_PATIENCE_MS));
	assert_true(rig_eventually(strstr(rig_status(rig).last_error, "61 listening sockets are not kept open"),
	                           RIG_PATIENCE_MS));
	assert_non_null(strstr(rig_status(rig).last_error, "above 122"));
	assert_int_equal(rig_status(rig).banked_sockets, 0);
	assert_int_equal(rig_listening(getpid(), inodes, 128), 0);
	/* An upgrade passes them through all the same. */
	int pid = rig_status(rig).pid;
	if (marcher_upgrade(rig->marcher, NULL, 0))
		fail_msg("%s", marcher_last_error(rig->marcher));
	assert_int_not_equal(rig_status(rig).pid, pid);
	assert_int_equal(rig_listening(rig_status(rig).pid, inodes, 128), 61);
	setrlimit(RLIMIT_NOFILE, &before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(sockets_come_in_packets_until_all_are_there),
	        cmocka_unit_test(more_than_the_limit_are_not_kept_and_those_kept_are_let_go),
	        cmocka_unit_test(of_more_than_may_be_kept_some_can_be_chosen),
	        cmocka_unit_test(a_change_between_two_packets_begins_again),
	        cmocka_unit_test(an_engine_that_changes_all_the_time_is_given_up_for_now),
	        cmocka_unit_test(near_the_limit_the_old_sockets_go_before_the_new_ones_come),
	        cmocka_unit_test(someone_who_waits_comes_first),
	        cmocka_unit_test(answers_that_contradict_themselves_change_nothing),
	        cmocka_unit_test(an_engine_that_ends_meanwhile_leaves_the_bank_as_it_was),
	        cmocka_unit_test(a_bank_of_several_packets_is_passed_on_whole),
	        cmocka_unit_test(an_engine_that_takes_nothing_is_not_waited_for_for_ever),
	        TEST(every_socket_goes_to_the_next_engine_after_sigkill),
	        TEST(the_bank_follows_the_listeners),
	        cmocka_unit_test(the_limit_is_half_of_the_descriptors),
	        TEST(what_is_kept_is_told_also_when_the_list_cannot_be_fetched),
	        TEST(without_descriptors_no_engine_is_started_until_there_are_some),
	        TEST(too_many_sockets_are_not_banked_and_the_operator_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
