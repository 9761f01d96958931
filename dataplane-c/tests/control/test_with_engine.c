/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmarcher with the real engine, named by MARCHER_TEST_ENGINE (skipped without): requests through it while it is
 * adopted, killed and replaced. Prints the time from kill -9 to the next answer.
 */
#include "rig.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "marcher/engine/v1/snapshot.pb-c.h"

struct backend {
	int fd;
	uint16_t port;
	pthread_t thread;
};

static void *answer(void *arg)
{
	int client = (int)(intptr_t)arg;
	char byte;
	if (read(client, &byte, 1) == 1 && write(client, "ok", 2) != 2)
		perror("backend");
	close(client);
	return NULL;
}

static void *answer_all(void *arg)
{
	struct backend *backend = arg;
	int client;
	while ((client = accept(backend->fd, NULL, NULL)) >= 0) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, answer, (void *)(intptr_t)client))
			close(client);
		else
			pthread_detach(thread);
	}
	return NULL;
}

static void backend_start(struct backend *backend)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(address);
	backend->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(backend->fd, (struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(backend->fd, 512), 0);
	getsockname(backend->fd, (struct sockaddr *)&address, &size);
	backend->port = ntohs(address.sin_port);
	pthread_create(&backend->thread, NULL, answer_all, backend);
}

static void backend_stop(struct backend *backend)
{
	shutdown(backend->fd, SHUT_RDWR);
	pthread_join(backend->thread, NULL);
	close(backend->fd);
}

/* One request on a connection of its own. */
static bool request(uint16_t port)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 30};
	char text[2];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	bool ok = !connect(fd, (struct sockaddr *)&address, sizeof(address)) && send(fd, "?", 1, MSG_NOSIGNAL) == 1 &&
	          recv(fd, text, 2, MSG_WAITALL) == 2;
	close(fd);
	return ok;
}

static int apply(struct rig *rig, uint64_t generation, uint16_t backend_port)
{
	static const uint8_t loopback[] = {127, 0, 0, 1};
	Marcher__Engine__V1__Snapshot snapshot = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Node node = MARCHER__ENGINE__V1__NODE__INIT;
	Marcher__Engine__V1__Service service = MARCHER__ENGINE__V1__SERVICE__INIT, *services[] = {&service};
	Marcher__Engine__V1__Listener listener = MARCHER__ENGINE__V1__LISTENER__INIT, *listeners[] = {&listener};
	Marcher__Engine__V1__Backend backend = MARCHER__ENGINE__V1__BACKEND__INIT, *backends[] = {&backend};
	Marcher__Engine__V1__IpTarget ip = MARCHER__ENGINE__V1__IP_TARGET__INIT;
	ProtobufCBinaryData address = {.len = 4, .data = (uint8_t *)(uintptr_t)loopback};

	node.name = (char *)"node";
	listener.transport = MARCHER__ENGINE__V1__TRANSPORT__TRANSPORT_TCP;
	listener.address = address;
	listener.port_first = listener.port_last = rig->ports[0];
	listener.backlog = 512;
	ip.address = address;
	ip.port = backend_port;
	backend.name = (char *)"b";
	backend.target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_IP;
	backend.ip = &ip;
	backend.weight = 1;
	service.name = (char *)"web";
	service.listeners = listeners;
	service.n_listeners = 1;
	service.backends = backends;
	service.n_backends = 1;
	service.algorithm = MARCHER__ENGINE__V1__ALGORITHM__ALGORITHM_ROUND_ROBIN;
	service.connect_timeout_ms = 2000;
	service.idle_timeout_ms = 60000;
	service.half_closed_timeout_ms = 5000;
	service.drain_timeout_ms = 5000;
	service.source_ipv4_prefix = 32;
	service.source_ipv6_prefix = 64;
	snapshot.generation = generation;
	snapshot.node = &node;
	snapshot.services = services;
	snapshot.n_services = 1;
	size_t length = marcher__engine__v1__snapshot__get_packed_size(&snapshot);
	uint8_t *packed = malloc(length), *reply = NULL;
	marcher__engine__v1__snapshot__pack(&snapshot, packed);
	int code = marcher_apply(rig->marcher, packed, length, 0, &reply, &length);
	if (code)
		print_error("%s\n", marcher_last_error(rig->marcher));
	marcher_buffer_free(reply);
	free(packed);
	return code;
}

static void open_engine(struct rig *rig)
{
	struct marcher_options options = {.size = sizeof(options),
	                                  .engine_path = getenv("MARCHER_TEST_ENGINE"),
	                                  .run_dir = rig->dir,
	                                  .workers = 2};
	if (!options.engine_path) {
		print_message("MARCHER_TEST_ENGINE is not set\n");
		skip();
	}
	if (rig->marcher)
		marcher_close(rig->marcher);
	rig->marcher = NULL;
	if (marcher_open(&options, &rig->marcher))
		fail_msg("%s", marcher_last_error(NULL));
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void a_killed_engine_serves_again_soon_and_refuses_nobody(void **state)
{
	enum { ROUNDS = 9 };
	struct rig *rig = *state;
	struct backend backend;
	uint64_t took[ROUNDS];

	open_engine(rig);
	backend_start(&backend);
	assert_int_equal(apply(rig, 1, backend.port), MARCHER_OK);
	assert_true(request(rig->ports[0]));
	for (unsigned i = 0; i < ROUNDS; i++) {
		/* A first crash after health; after several within seconds the back-off would be what is measured. */
		marcher_close(rig->marcher);
		rig->marcher = NULL;
		open_engine(rig);
		assert_true(rig_eventually(rig_status(rig).banked_sockets == rig_status(rig).listening_sockets &&
		                                   rig_status(rig).banked_sockets > 0,
		                           RIG_PATIENCE_MS));
		uint64_t killed = rig_now_ms();
		kill(rig_status(rig).pid, SIGKILL);
		assert_true(request(rig->ports[0]));
		took[i] = rig_now_ms() - killed;
		assert_true(rig_eventually(rig_status(rig).running && rig_status(rig).restarts == 1, RIG_PATIENCE_MS));
	}
	qsort(took, ROUNDS, sizeof(took[0]), by_size);
	print_message("kill -9 to the next answer: median %llu ms, worst %llu ms of %d\n",
	              (unsigned long long)took[ROUNDS / 2], (unsigned long long)took[ROUNDS - 1], ROUNDS);
	assert_true(took[ROUNDS / 2] < 1000); /* on a machine that is busy; printed above is what it is */
	backend_stop(&backend);
}

/* A connection that is open and has had nothing answered yet: it keeps a draining engine alive. */
static int open_connection(uint16_t port)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 30};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void finish_connection(int fd)
{
	char text[2];
	assert_int_equal(send(fd, "?", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, text, 2, MSG_WAITALL), 2);
	close(fd);
}

static uint64_t open_connections(struct rig *rig)
{
	struct marcher_slot_stats slots[16];
	uint64_t open = 0;
	uint32_t cursor = 0;
	int n = marcher_stats_read(rig->marcher, &cursor, 0, slots, 16);
	for (int i = 0; i < n; i++) {
		const uint64_t *counters = slots[i].counters;
		if (slots[i].kind == MARCHER_SLOT_SERVICE)
			open += counters[MARCHER_CONNECTIONS_OPENED] - counters[MARCHER_CONNECTIONS_CLOSED];
	}
	return open;
}

static void an_engine_told_to_end_by_somebody_else_has_a_successor_at_once(void **state)
{
	struct rig *rig = *state;
	struct backend backend;

	open_engine(rig);
	backend_start(&backend);
	assert_int_equal(apply(rig, 1, backend.port), MARCHER_OK);
	int fd = open_connection(rig->ports[0]);
	assert_true(rig_eventually(open_connections(rig) == 1, RIG_PATIENCE_MS));
	int before = rig_status(rig).pid;
	uint64_t told = rig_now_ms();
	kill(before, SIGTERM); /* it has 10 s for the connection */
	assert_true(rig_eventually(rig_status(rig).running && rig_status(rig).pid != before, RIG_PATIENCE_MS));
	assert_true(request(rig->ports[0]));
	assert_true(rig_now_ms() - told < 8000);
	assert_int_equal(rig_status(rig).retiring, 1);
	finish_connection(fd);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	backend_stop(&backend);
}

static void an_engine_that_is_ending_is_not_adopted(void **state)
{
	struct rig *rig = *state;
	struct backend backend;

	open_engine(rig);
	backend_start(&backend);
	assert_int_equal(apply(rig, 1, backend.port), MARCHER_OK);
	int fd = open_connection(rig->ports[0]);
	assert_true(rig_eventually(open_connections(rig) == 1, RIG_PATIENCE_MS));
	int before = rig_status(rig).pid;
	marcher_close(rig->marcher);
	rig->marcher = NULL;
	kill(before, SIGTERM);
	usleep(100000); /* nobody is there to ask it */
	open_engine(rig);
	assert_int_not_equal(rig_status(rig).pid, before);
	assert_int_equal(rig_status(rig).generation, 1);
	assert_int_equal(rig_status(rig).retiring, 1);
	assert_true(request(rig->ports[0]));
	finish_connection(fd);
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	backend_stop(&backend);
}

struct load {
	uint16_t port;
	atomic_bool over;
	unsigned long sent, failed;
};

static void *send_load(void *arg)
{
	struct load *load = arg;
	while (!atomic_load(&load->over)) {
		load->sent++;
		load->failed += !request(load->port);
	}
	return NULL;
}

static void upgrades_under_load_lose_no_request(void **state)
{
	struct rig *rig = *state;
	struct backend backend;
	pthread_t thread;

	open_engine(rig);
	backend_start(&backend);
	assert_int_equal(apply(rig, 1, backend.port), MARCHER_OK);
	struct load load = {.port = rig->ports[0]};
	pthread_create(&thread, NULL, send_load, &load);
	for (unsigned i = 0; i < 5; i++) {
		int pid = rig_status(rig).pid;
		if (marcher_upgrade(rig->marcher, NULL, 2000))
			fail_msg("%s", marcher_last_error(rig->marcher));
		assert_int_not_equal(rig_status(rig).pid, pid);
		usleep(100000);
	}
	assert_true(rig_eventually(rig_status(rig).retiring == 0, RIG_PATIENCE_MS));
	atomic_store(&load.over, true);
	pthread_join(thread, NULL);
	print_message("5 upgrades: %lu requests, %lu failed\n", load.sent, load.failed);
	assert_int_equal(load.failed, 0);
	assert_true(load.sent > 50);
	backend_stop(&backend);
}

static void an_agent_that_comes_and_goes_loses_no_request(void **state)
{
	struct rig *rig = *state;
	struct backend backend;
	pthread_t thread;

	open_engine(rig);
	backend_start(&backend);
	assert_int_equal(apply(rig, 1, backend.port), MARCHER_OK);
	int pid = rig_status(rig).pid;
	struct load load = {.port = rig->ports[0]};
	pthread_create(&thread, NULL, send_load, &load);
	for (uint64_t i = 0; i < 10; i++) {
		open_engine(rig);
		assert_int_equal(rig_status(rig).adopted, 1);
		assert_int_equal(rig_status(rig).pid, pid);
		assert_int_equal(apply(rig, 2 + i, backend.port), MARCHER_OK);
	}
	atomic_store(&load.over, true);
	pthread_join(thread, NULL);
	print_message("10 agents: %lu requests, %lu failed\n", load.sent, load.failed);
	assert_int_equal(load.failed, 0);
	backend_stop(&backend);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_killed_engine_serves_again_soon_and_refuses_nobody),
	        TEST(an_engine_told_to_end_by_somebody_else_has_a_successor_at_once),
	        TEST(an_engine_that_is_ending_is_not_adopted),
	        TEST(upgrades_under_load_lose_no_request),
	        TEST(an_agent_that_comes_and_goes_loses_no_request),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
