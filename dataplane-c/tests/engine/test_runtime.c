/* SPDX-License-Identifier: Apache-2.0 */
/* The running configuration with real workers and real sockets on loopback. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent_link.h"
#include "lb/geo.h"
#include "listen.h"
#include "qos/qos.h"
#include "runtime_internal.h"
#include "snapshot_rig.h"
#include "upstream/dns.h"
#include "upstream/health.h"
#include "upstream/outlier.h"

#include <sys/poll.h>

static struct engine *engine;
static uint64_t generation;

static int setup(void **state)
{
	(void)state;
	struct worker_place anywhere = {.cpu = 0, .node = -1};
	log_threshold = LOG_ERROR;
	engine = calloc(1, sizeof(*engine));
	generation = 0;
	if (engine_loop_start(engine) || grace_start(engine) || outlier_start(engine))
		return -1;
	region_init();
	engine->prober = prober_new(engine);
	engine->dns = dns_new(engine, "127.0.0.1:1");
	engine->runtime = runtime_new(engine);
	engine->stats = stats_new(2);
	engine->workers = calloc(2, sizeof(*engine->workers));
	stats_row_init(engine->stats, 2, &engine->row);
	for (unsigned i = 0; i < 2; i++) {
		engine->workers[i] = worker_start(engine, i, &anywhere);
		if (!engine->workers[i])
			return -1;
		engine->nworkers++;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		worker_stop(engine->workers[i]);
	engine->nworkers = 0;
	engine_run_messages(engine);
	outlier_stop();
	runtime_free(engine->runtime);
	engine->runtime = NULL;
	dns_free(engine->dns);
	prober_free(engine->prober);
	grace_stop();
	stats_free(engine->stats);
	free(engine->workers);
	engine_loop_stop(engine);
	free(engine);
	return 0;
}

static void turn_for(unsigned ms)
{
	uint64_t end = engine->now_ms + ms;
	do
		engine_turn(engine, 5);
	while (engine->now_ms < end);
}

static void set_timeout(int fd)
{
	struct timeval patience = {.tv_sec = 30};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in sa;
	socklen_t length = sizeof(sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	return ntohs(sa.sin_port);
}

static int bound(int type, bool reuse)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	set_timeout(fd);
	return fd;
}

static uint16_t free_port(int type)
{
	int fd = bound(type, false);
	uint16_t port = port_of(fd);
	close(fd);
	return port;
}

static int connected(int type, uint16_t port)
{
	struct sockaddr_in sa = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	set_timeout(fd);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Nobody listens, at the latest when the workers have had a turn. */
static void expect_closed(uint16_t port)
{
	int fd = connected(SOCK_STREAM, port);
	for (unsigned i = 0; i < 3000 && fd >= 0; i++) {
		close(fd);
		turn_for(10);
		fd = connected(SOCK_STREAM, port);
	}
	assert_int_equal(fd, -1);
}

/* A client's connection through the relay and the backend's end of it. */
struct through {
	int client, backend;
};

static void say(const struct through *t)
{
	char c = 0;
	assert_int_equal(write(t->client, "q", 1), 1);
	assert_int_equal(read(t->backend, &c, 1), 1);
	assert_int_equal(c, 'q');
	assert_int_equal(write(t->backend, "a", 1), 1);
	assert_int_equal(read(t->client, &c, 1), 1);
	assert_int_equal(c, 'a');
}

static struct through pass(uint16_t port, int backend)
{
	struct through t;
	t.client = connected(SOCK_STREAM, port);
	assert_true(t.client >= 0);
	t.backend = accept(backend, NULL, NULL);
	assert_true(t.backend >= 0);
	set_timeout(t.backend);
	say(&t);
	return t;
}

static void hang_up(struct through *t)
{
	close(t->client);
	close(t->backend);
}

/* 0: the peer has closed or reset within ms; else it has not. */
static int ended(int fd, unsigned ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char c;
	for (unsigned waited = 0; waited < ms; waited += 10) {
		turn_for(1);
		if (poll(&ready, 1, 10) > 0)
			return recv(fd, &c, 1, MSG_DONTWAIT) <= 0 ? 0 : 1;
	}
	return 1;
}

/* Applying */

static Marcher__Engine__V1__ApplyReply reply;

static bool apply_message(Snapshot *message, bool tolerate)
{
	size_t length;
	message->generation = generation + 1;
	uint8_t *packed = rig_pack(message, &length);
	runtime_reply_free(&reply);
	runtime_apply(engine->runtime, packed, length, tolerate, &reply);
	free(packed);
	generation = runtime_generation(engine->runtime);
	assert_int_equal(reply.generation, generation);
	assert_int_equal(reply.accepted, reply.n_reasons == 0);
	engine_turn(engine, 0);
	return reply.accepted;
}

/* rigs end with NULL; a delta when delta. */
static bool apply(bool delta, struct rig_service *first, ...)
{
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Service *services[8];
	va_list args;
	va_start(args, first);
	for (struct rig_service *rig = first; rig; rig = va_arg(args, struct rig_service *))
		services[message.n_services++] = &rig->message;
	va_end(args);
	message.services = services;
	message.base_generation = delta ? generation : 0;
	return apply_message(&message, false);
}

static bool remove_services(char **names, size_t count)
{
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	message.base_generation = generation;
	message.removed_services = names;
	message.n_removed_services = count;
	return apply_message(&message, false);
}

static bool refused_at(const char *path)
{
	for (size_t i = 0; i < reply.n_reasons; i++) {
		if (strcmp(reply.reasons[i]->path, path) == 0)
			return true;
	}
	return false;
}

static struct service_object *current(const char *name)
{
	struct service_entry *entry = runtime_entry(engine->runtime, name, strlen(name));
	return entry ? entry->current : NULL;
}

static void web(struct rig_service *rig, const char *name, uint16_t port, int backend)
{
	rig_service_init(rig, name);
	if (port)
		rig_add_listener(rig, 1, port);
	if (backend >= 0)
		rig_add_backend(rig, 0, port_of(backend));
}

/* Everything that was given up has been freed. */
static void expect_nothing_left(void)
{
	for (unsigned i = 0; i < 3000 && engine->runtime->names.used; i++)
		turn_for(10);
	assert_int_equal(engine->runtime->names.used, 0);
	assert_int_equal(engine->runtime->claims.used, 0);
	for (unsigned i = 0; i < 3000 && engine->runtime->reclaim_count; i++)
		turn_for(10);
	assert_int_equal(engine->runtime->reclaim_count, 0);
}

static void a_snapshot_is_served(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a;
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	struct through t = pass(port, backend);
	assert_int_equal(*current("a")->pub.active, 1);
	hang_up(&t);
	assert_true(apply(false, NULL));
	expect_closed(port);
	expect_nothing_left();
	close(backend);
}

static void generations_rise_and_a_delta_names_the_one_it_changes(void **state)
{
	(void)state;
	struct rig_service a;
	web(&a, "a", 0, -1);
	assert_true(apply(false, &a, NULL));
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	message.base_generation = generation + 5;
	assert_false(apply_message(&message, false));
	assert_true(refused_at("base_generation"));
	generation--; /* so that the same one is sent again */
	message.base_generation = 0;
	assert_false(apply_message(&message, false));
	assert_true(refused_at("generation"));
	assert_non_null(current("a"));
}

static void a_refused_snapshot_leaves_no_trace(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM), fresh = free_port(SOCK_STREAM);
	struct rig_service a, changed, good, bad;
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	struct service_object *before = current("a");
	changed = a;
	web(&changed, "a", port, backend);
	rig_add_listener(&changed, 1, fresh);
	changed.backends[0].weight = 9;
	web(&good, "good", 0, backend);
	web(&bad, "bad", 0, backend);
	bad.message.algorithm = 0;
	assert_false(apply(false, &changed, &good, &bad, NULL));
	assert_true(refused_at("services[2].algorithm"));
	turn_for(30);
	assert_ptr_equal(current("a"), before);
	assert_int_equal(before->pub.backends[0]->weight, 1);
	assert_null(current("good"));
	assert_int_equal(engine->runtime->claims.used, 1);
	assert_int_equal(engine->runtime->names.used, 1);
	expect_closed(fresh);
	struct through t = pass(port, backend);
	hang_up(&t);
	close(backend);
}

static void only_what_differs_is_touched(void **state)
{
	(void)state;
	int one = bound(SOCK_STREAM, false), two = bound(SOCK_STREAM, false);
	struct rig_service a, b;
	web(&a, "a", free_port(SOCK_STREAM), one);
	web(&b, "b", free_port(SOCK_STREAM), one);
	assert_true(apply(false, &a, &b, NULL));
	struct service_object *was_a = current("a"), *was_b = current("b");
	struct backend *kept = was_b->pub.backends[0];
	uint32_t slot = kept->slot;
	assert_true(apply(false, &a, &b, NULL));
	assert_ptr_equal(current("a"), was_a);
	assert_ptr_equal(current("b"), was_b);
	/* Another weight: a new service on the same backend. */
	b.backends[0].weight = 5;
	rig_add_backend(&b, 1, port_of(two));
	assert_true(apply(true, &b, NULL));
	assert_ptr_equal(current("a"), was_a);
	assert_true(current("b") != was_b);
	assert_ptr_equal(current("b")->pub.backends[0], kept);
	assert_int_equal(kept->weight, 5);
	assert_int_equal(current("b")->pub.view->count, 2);
	/* Another target under the same name: another backend on the same slot. */
	b.targets[0].port = port_of(two);
	assert_true(apply(true, &b, NULL));
	assert_true(current("b")->pub.backends[0] != kept);
	assert_int_equal(current("b")->pub.backends[0]->slot, slot);
	close(one);
	close(two);
}

static void a_port_moves_between_services_without_losing_a_connection(void **state)
{
	(void)state;
	int one = bound(SOCK_STREAM, false), two = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a, b, a_without;
	struct stat before, after;
	web(&a, "a", port, one);
	web(&b, "b", 0, two);
	assert_true(apply(false, &a, &b, NULL));
	struct through old = pass(port, one);
	struct claim *claim = current("a")->claims[0];
	assert_int_equal(fstat(claim->listener->fds[0], &before), 0);
	web(&a_without, "a", 0, one);
	rig_add_listener(&b, 1, port);
	assert_true(apply(true, &a_without, &b, NULL));
	assert_ptr_equal(current("b")->claims[0], claim);
	assert_int_equal(fstat(claim->listener->fds[0], &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	struct through now = pass(port, two);
	say(&old);
	hang_up(&old);
	hang_up(&now);
	close(one);
	close(two);
}

static void one_port_has_one_service(void **state)
{
	(void)state;
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a, b;
	web(&a, "a", port, -1);
	web(&b, "b", port, -1);
	assert_false(apply(false, &a, &b, NULL));
	assert_true(refused_at("services[1].listeners[0]"));
	assert_non_null(strstr(reply.reasons[0]->reason, "services[0].listeners[0] (a)"));
	assert_true(apply(false, &a, NULL));
	assert_false(apply(true, &b, NULL)); /* against one that is not in the delta */
	assert_true(refused_at("services[0].listeners[0]"));
	rig_add_listener(&a, 1, port);
	assert_false(apply(true, &a, NULL)); /* twice in itself */
	/* TCP and UDP are different ports. */
	web(&b, "b", 0, -1);
	rig_add_listener(&b, 2, port);
	assert_true(apply(true, &b, NULL));
	/* Removed in the same delta: free. */
	web(&b, "b", port, -1);
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Service *services[1] = {&b.message};
	char *removed[1] = {(char *)(uintptr_t) "a"};
	message.base_generation = generation;
	message.services = services;
	message.n_services = 1;
	message.removed_services = removed;
	message.n_removed_services = 1;
	assert_true(apply_message(&message, false));
	assert_null(current("a"));
}

static void services_are_named_once(void **state)
{
	(void)state;
	struct rig_service a, again;
	char *names[1] = {(char *)(uintptr_t) "nobody"};
	web(&a, "a", 0, -1);
	web(&again, "a", 0, -1);
	again.message.idle_timeout_ms = 7;
	assert_false(apply(false, &a, &again, NULL));
	assert_true(refused_at("services[1].name"));
	assert_true(apply(false, &a, NULL));
	assert_false(remove_services(names, 1));
	assert_true(refused_at("removed_services[0]"));
	names[0] = (char *)(uintptr_t) "a";
	assert_true(remove_services(names, 1));
	assert_false(remove_services(names, 1));
}

static void a_foreign_listener_is_told_even_with_reuseport(void **state)
{
	(void)state;
	int foreign = bound(SOCK_STREAM, true), backend = bound(SOCK_STREAM, false);
	uint16_t port = port_of(foreign);
	struct rig_service a;
	char text[16];
	web(&a, "a", port, backend);
	assert_false(apply(false, &a, NULL));
	assert_true(refused_at("services[0].listeners[0]"));
	snprintf(text, sizeof(text), ":%u:", port);
	assert_non_null(strstr(reply.reasons[0]->reason, text));
	assert_non_null(strstr(reply.reasons[0]->reason, "Address already in use"));
	/* Tolerated, it is told, tried again, and bound when the port is free. */
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Service *services[1] = {&a.message};
	message.services = services;
	message.n_services = 1;
	assert_true(apply_message(&message, true));
	assert_int_equal(reply.n_unbound, 1);
	/* Another change to the service is not refused for it. */
	a.message.idle_timeout_ms = 1234;
	assert_true(apply(true, &a, NULL));
	assert_int_equal(reply.n_unbound, 1);
	close(foreign);
	turn_for(1300);
	struct through t = pass(port, backend);
	hang_up(&t);
	unsigned unbound = 0, bound_at_last = 0;
	struct marcher_event *event;
	static struct marcher_event events[64];
	uint32_t n = event_ring_read(engine->row.ring, EVENT_RING_CAPACITY, events, 64);
	for (event = events; event < events + n; event++) {
		unbound += event->kind == MARCHER_EVENT_LISTENER_CHANGED && event->reason == 0;
		bound_at_last += event->kind == MARCHER_EVENT_LISTENER_CHANGED && event->reason == 1;
	}
	assert_int_equal(unbound, 1);
	assert_int_equal(bound_at_last, 1);
	close(backend);
}

static void a_narrower_address_of_our_own_is_no_conflict(void **state)
{
	(void)state;
	int one = bound(SOCK_STREAM, false), two = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service any, narrow;
	web(&any, "any", port, one);
	any.listeners[0].address.len = 0;
	web(&narrow, "narrow", port, two);
	assert_true(apply(false, &any, NULL));
	struct through t = pass(port, one);
	hang_up(&t);
	assert_true(apply(true, &narrow, NULL));
	t = pass(port, two); /* the kernel prefers the exact address */
	hang_up(&t);
	close(one);
	close(two);
}

static void the_connections_of_a_removed_service_end_at_its_drain_time(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a;
	char *names[1] = {(char *)(uintptr_t) "a"};
	web(&a, "a", port, backend);
	a.message.drain_timeout_ms = 1000;
	assert_true(apply(false, &a, NULL));
	struct through t = pass(port, backend);
	/* Also those of an older generation. */
	a.message.idle_timeout_ms = 77777;
	assert_true(apply(true, &a, NULL));
	struct through second = pass(port, backend);
	assert_true(remove_services(names, 1));
	expect_closed(port);
	turn_for(100);
	say(&t);
	say(&second);
	assert_int_equal(ended(t.client, 30000), 0);
	assert_int_equal(ended(second.client, 30000), 0);
	hang_up(&t);
	hang_up(&second);
	expect_nothing_left();
	close(backend);
}

static void hold_up(struct worker *worker, struct worker_message *message)
{
	(void)worker;
	usleep(150000);
	free(message);
}

/* It was accepted by the kernel while the service was there. */
static void a_connection_that_waits_when_its_service_is_removed_is_served(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a;
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	for (unsigned i = 0; i < 2; i++) {
		struct worker_message *message = calloc(1, sizeof(*message));
		message->run = hold_up;
		worker_post(engine->workers[i], message);
	}
	usleep(30000);
	struct through waiting[8];
	for (unsigned i = 0; i < 8; i++)
		waiting[i].client = connected(SOCK_STREAM, port);
	assert_true(apply(false, NULL));
	for (unsigned i = 0; i < 8; i++) {
		waiting[i].backend = accept(backend, NULL, NULL);
		assert_true(waiting[i].backend >= 0);
		close(waiting[i].backend);
		close(waiting[i].client);
	}
	expect_nothing_left();
	close(backend);
}

/* Its listener does not close but goes to another service: only the service's own drain can end them. */
static void a_removed_service_drains_though_its_port_lives_on(void **state)
{
	(void)state;
	int one = bound(SOCK_STREAM, false), two = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a, b;
	web(&a, "a", port, one);
	web(&b, "b", port, two);
	a.message.drain_timeout_ms = 1000;
	assert_true(apply(false, &a, NULL));
	struct through oldest = pass(port, one);
	a.message.idle_timeout_ms = 77777;
	assert_true(apply(true, &a, NULL));
	struct through old = pass(port, one);
	assert_true(apply(false, &b, NULL));
	struct through now = pass(port, two);
	say(&oldest);
	assert_int_equal(ended(oldest.client, 30000), 0);
	assert_int_equal(ended(old.client, 30000), 0);
	say(&now);
	hang_up(&oldest);
	hang_up(&old);
	hang_up(&now);
	close(one);
	close(two);
}

static void a_name_can_come_back_while_its_past_drains(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a;
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	struct through old = pass(port, backend);
	for (unsigned i = 0; i < 20; i++) {
		assert_true(apply(false, NULL));
		turn_for(10); /* sockets close on the workers */
		assert_true(apply(false, &a, NULL));
	}
	struct through now = pass(port, backend);
	say(&old);
	assert_int_equal(*current("a")->pub.active, 2);
	hang_up(&old);
	hang_up(&now);
	close(backend);
}

static void a_removed_backend_drains_and_its_neighbour_does_not(void **state)
{
	(void)state;
	int one = bound(SOCK_STREAM, false), two = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a, without;
	web(&a, "a", port, one);
	a.message.drain_timeout_ms = 200;
	assert_true(apply(false, &a, NULL));
	struct through old = pass(port, one);
	rig_add_backend(&a, 1, port_of(two));
	a.backends[0].weight = 0; /* takes no new ones, keeps the old */
	assert_true(apply(true, &a, NULL));
	struct through now = pass(port, two);
	say(&old);
	assert_int_equal(ended(old.client, 400), 1);
	web(&without, "a", port, -1);
	without.message.drain_timeout_ms = 200;
	rig_add_backend(&without, 1, port_of(two));
	assert_true(apply(true, &without, NULL));
	assert_int_equal(ended(old.client, 30000), 0);
	say(&now);
	hang_up(&old);
	hang_up(&now);
	close(one);
	close(two);
}

static void a_limit_on_connections_holds_over_generations(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a;
	web(&a, "a", port, backend);
	a.message.max_connections = 2;
	assert_true(apply(false, &a, NULL));
	struct through first = pass(port, backend), second;
	a.message.idle_timeout_ms = 4242;
	assert_true(apply(true, &a, NULL));
	second = pass(port, backend);
	int third = connected(SOCK_STREAM, port);
	if (third >= 0) {
		assert_int_equal(ended(third, 30000), 0);
		close(third);
	}
	hang_up(&first);
	for (unsigned i = 0; i < 3000 && *current("a")->pub.active > 1; i++)
		turn_for(10);
	first = pass(port, backend);
	hang_up(&first);
	hang_up(&second);
	close(backend);
}

/* The bytes that come within so many ms, until there are enough. */
static size_t drink(int fd, size_t enough, unsigned ms)
{
	static char bytes[65536];
	size_t all = 0;
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	for (uint64_t end = engine->now_ms + ms; all < enough && engine->now_ms < end;) {
		turn_for(1);
		ssize_t n = poll(&ready, 1, 5) > 0 ? recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) : 0;
		all += n > 0 ? (size_t)n : 0;
	}
	return all;
}

struct question {
	struct worker_message message; /* first */
	atomic_int answer;             /* -1: none yet */
};

static void answer(struct worker *worker, struct worker_message *message)
{
	atomic_store(&((struct question *)message)->answer, worker->sched.active);
}

static void wait_for_priorities(bool active)
{
	for (unsigned w = 0; w < 2; w++) {
		struct question question = {.message = {.run = answer}};
		for (unsigned i = 0; i < 3000; i++) {
			atomic_store(&question.answer, -1);
			worker_post(engine->workers[w], &question.message);
			while (atomic_load(&question.answer) < 0)
				turn_for(1);
			if (atomic_load(&question.answer) == active)
				break;
		}
		assert_int_equal(atomic_load(&question.answer), active);
	}
}

static void a_policy_reaches_open_connections_and_goes_again(void **state)
{
	(void)state;
	static char bytes[200000];
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM);
	struct rig_service a, other;
	Marcher__Engine__V1__TrafficPolicy policy = MARCHER__ENGINE__V1__TRAFFIC_POLICY__INIT;
	Marcher__Engine__V1__Bandwidth limit = MARCHER__ENGINE__V1__BANDWIDTH__INIT;
	web(&a, "a", port, backend);
	web(&other, "b", 0, backend);
	assert_true(apply(false, &a, &other, NULL));
	struct through t = pass(port, backend);

	limit.bits_per_second = 8000;
	limit.burst_bytes = 65536;
	policy.ingress = &limit;
	policy.priority = 0;
	a.message.traffic_policy = &policy;
	assert_true(apply(true, &a, NULL));
	wait_for_priorities(true);
	assert_int_equal(send(t.client, bytes, sizeof(bytes), 0), sizeof(bytes));
	/* A burst, and a thousand per second. */
	size_t first = drink(t.backend, sizeof(bytes), 300);
	assert_in_range(first, 65536, 75000);

	/* Whatever else of the service changes, its policy and what was taken of it stay. */
	struct qos_policy *before = runtime_entry(engine->runtime, "a", 1)->id.qos->policy;
	a.message.idle_timeout_ms = 4242;
	assert_true(apply(true, &a, NULL));
	assert_ptr_equal(runtime_entry(engine->runtime, "a", 1)->id.qos->policy, before);

	a.message.traffic_policy = NULL;
	assert_true(apply(true, &a, NULL));
	assert_int_equal(first + drink(t.backend, sizeof(bytes) - first, 30000), sizeof(bytes));
	say(&t);
	wait_for_priorities(false);
	assert_int_equal(engine->runtime->nprioritised, 0);
	hang_up(&t);

	/* With its policy it goes as a whole. */
	a.message.traffic_policy = &policy;
	assert_true(apply(true, &a, NULL));
	assert_int_equal(engine->runtime->nprioritised, 1);
	assert_true(apply(false, NULL));
	expect_nothing_left();
	assert_int_equal(engine->runtime->nprioritised, 0);
	close(backend);
}

static void a_policy_out_of_range_is_refused(void **state)
{
	(void)state;
	struct rig_service a;
	Marcher__Engine__V1__TrafficPolicy policy = MARCHER__ENGINE__V1__TRAFFIC_POLICY__INIT;
	Marcher__Engine__V1__Bandwidth limit = MARCHER__ENGINE__V1__BANDWIDTH__INIT;
	Marcher__Engine__V1__ConnectionRate rate = MARCHER__ENGINE__V1__CONNECTION_RATE__INIT;
	web(&a, "a", 0, -1);
	a.message.traffic_policy = &policy;
	policy.connection_egress = &limit;
	policy.connections = &rate;
	policy.priority = 4;
	policy.set_dscp = true;
	policy.dscp = 64;
	assert_false(apply(false, &a, NULL));
	assert_true(refused_at("services[0].traffic_policy.connection_egress.bits_per_second"));
	assert_true(refused_at("services[0].traffic_policy.connections.per_second"));
	assert_true(refused_at("services[0].traffic_policy.connections.burst"));
	assert_true(refused_at("services[0].traffic_policy.priority"));
	assert_true(refused_at("services[0].traffic_policy.dscp"));
	assert_int_equal(reply.n_reasons, 5);
}

static void set_draining(bool draining)
{
	Snapshot message = MARCHER__ENGINE__V1__SNAPSHOT__INIT;
	Marcher__Engine__V1__Node node = MARCHER__ENGINE__V1__NODE__INIT;
	node.draining = draining;
	message.base_generation = generation;
	message.node = &node;
	assert_true(apply_message(&message, false));
}

static void a_draining_node_listens_nowhere_and_comes_back(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t port = free_port(SOCK_STREAM), later = free_port(SOCK_STREAM);
	struct rig_service a, b;
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	struct through t = pass(port, backend);
	set_draining(true);
	turn_for(50);
	expect_closed(port);
	say(&t);
	web(&b, "b", later, backend);
	assert_true(apply(true, &b, NULL)); /* changes go on, silently */
	expect_closed(later);
	turn_for(1100);
	expect_closed(port); /* nothing is retried meanwhile */
	hang_up(&t);
	set_draining(false);
	t = pass(port, backend);
	hang_up(&t);
	t = pass(later, backend);
	hang_up(&t);
	close(backend);
}

static void a_udp_port_that_comes_back_is_not_shared_with_its_past(void **state)
{
	(void)state;
	int one = bound(SOCK_DGRAM, false), two = bound(SOCK_DGRAM, false);
	uint16_t port = free_port(SOCK_DGRAM);
	struct rig_service a, b;
	char text[8];
	struct sockaddr_in from;
	socklen_t length = sizeof(from);
	rig_service_init(&a, "a");
	rig_add_listener(&a, 2, port);
	rig_add_backend(&a, 0, port_of(one));
	assert_true(apply(false, &a, NULL));
	int client = connected(SOCK_DGRAM, port);
	assert_int_equal(send(client, "1", 1, 0), 1);
	assert_int_equal(recvfrom(one, text, sizeof(text), 0, (struct sockaddr *)&from, &length), 1);
	assert_true(apply(false, NULL));
	turn_for(30);
	rig_service_init(&b, "b");
	rig_add_listener(&b, 2, port);
	rig_add_backend(&b, 0, port_of(two));
	assert_true(apply(false, &b, NULL));
	/* The old session's reply still finds its way. */
	assert_int_equal(sendto(one, "r", 1, 0, (struct sockaddr *)&from, length), 1);
	assert_int_equal(recv(client, text, sizeof(text), 0), 1);
	/* And whatever the kernel's hash says, every new client reaches the new service. */
	for (unsigned i = 0; i < 32; i++) {
		int fresh = connected(SOCK_DGRAM, port);
		assert_int_equal(send(fresh, "2", 1, 0), 1);
		assert_int_equal(recv(two, text, sizeof(text), 0), 1);
		close(fresh);
	}
	close(client);
	close(one);
	close(two);
}

static void resolved_addresses_come_and_go_one_by_one(void **state)
{
	(void)state;
	struct rig_service a;
	Marcher__Engine__V1__DnsTarget dns = MARCHER__ENGINE__V1__DNS_TARGET__INIT;
	struct addr addrs[3];
	web(&a, "a", 0, -1);
	rig_add_backend(&a, 0, 0);
	dns.host = (char *)(uintptr_t) "app.internal";
	dns.port = 8080;
	a.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_DNS;
	a.backends[0].dns = &dns;
	assert_true(apply(false, &a, NULL));
	assert_int_equal(current("a")->pub.view->count, 0);
	for (uint8_t i = 0; i < 3; i++) {
		uint8_t ip[4] = {127, 0, 0, (uint8_t)(i + 1)};
		addr_from_bytes(&addrs[i], ip, 4, 0);
	}
	struct backend *backend = current("a")->pub.backends[0];
	runtime_backend_resolved(engine->runtime, backend, addrs, 2);
	engine_turn(engine, 0);
	assert_int_equal(current("a")->pub.view->count, 2);
	struct endpoint *second = backend->endpoints[1];
	assert_int_equal(second->addr.port, 8080);
	addrs[0] = addrs[2];
	runtime_backend_resolved(engine->runtime, backend, addrs, 2);
	engine_turn(engine, 0);
	assert_int_equal(current("a")->pub.view->count, 2);
	assert_int_equal(backend->nendpoints, 2);
	assert_ptr_equal(backend->endpoints[1], second);
	assert_int_equal(backend->endpoints[0]->addr.ip[3], 3);
	/* A change of the service keeps them. */
	a.message.idle_timeout_ms = 99999;
	assert_true(apply(true, &a, NULL));
	assert_ptr_equal(current("a")->pub.backends[0], backend);
	assert_int_equal(current("a")->pub.view->count, 2);
	assert_true(apply(false, NULL));
	expect_nothing_left();
}

/* What the agent says of the service's backends b0, b1 ...; those below 0 it does not name. */
static uint32_t say_elsewhere(const char *service, uint32_t valid_ms, int b0, int b1)
{
	Marcher__Engine__V1__LoadElsewhereRequest request = MARCHER__ENGINE__V1__LOAD_ELSEWHERE_REQUEST__INIT;
	Marcher__Engine__V1__ServiceLoadElsewhere load = MARCHER__ENGINE__V1__SERVICE_LOAD_ELSEWHERE__INIT;
	Marcher__Engine__V1__ServiceLoadElsewhere *loads[] = {&load};
	Marcher__Engine__V1__BackendLoadElsewhere said[2], *list[2];
	int connections[] = {b0, b1};
	char names[2][3] = {"b0", "b1"};
	load.service = (char *)(uintptr_t)service;
	load.backends = list;
	for (unsigned i = 0; i < 2; i++) {
		if (connections[i] < 0)
			continue;
		marcher__engine__v1__backend_load_elsewhere__init(&said[i]);
		said[i].backend = names[i];
		said[i].connections = (uint32_t)connections[i];
		list[load.n_backends++] = &said[i];
	}
	request.services = loads;
	request.n_services = 1;
	request.valid_ms = valid_ms;
	return runtime_load_elsewhere(engine->runtime, &request);
}

static uint32_t elsewhere_of(const char *service, uint32_t backend)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < current(service)->pub.backends[backend]->nendpoints; i++)
		sum += current(service)->pub.backends[backend]->endpoints[i]->elsewhere;
	return sum;
}

static void what_is_open_elsewhere_is_replaced_and_outlives_a_snapshot(void **state)
{
	(void)state;
	struct rig_service a, b;
	web(&a, "a", 0, -1);
	rig_add_backend(&a, 0, 8000);
	rig_add_backend(&a, 1, 8001);
	b = a;
	web(&b, "b", 0, -1);
	rig_add_backend(&b, 0, 8000);
	assert_true(apply(false, &a, &b, NULL));
	struct view *view = current("a")->pub.view;
	assert_int_equal(say_elsewhere("nobody", 60000, 5, 7), 0);
	assert_int_equal(say_elsewhere("a", 60000, 5, 7), 1);
	assert_int_equal(elsewhere_of("a", 0), 5);
	assert_int_equal(elsewhere_of("a", 1), 7);
	assert_int_equal(elsewhere_of("b", 0), 0);
	turn_for(5);
	assert_ptr_equal(current("a")->pub.view, view); /* nothing is built anew */
	Marcher__Engine__V1__BackendsReply backends = MARCHER__ENGINE__V1__BACKENDS_REPLY__INIT;
	assert_int_equal(runtime_backends(engine->runtime, "a", &backends), 0);
	assert_int_equal(backends.backends[1]->elsewhere, 7);
	assert_int_equal(backends.backends[1]->connections, 0);
	stats_add(&engine->row, current("a")->pub.backends[1]->slot, MARCHER_CONNECTIONS_OPENED, 3);
	stats_add(&engine->workers[1]->stats, current("a")->pub.backends[1]->slot, MARCHER_CONNECTIONS_OPENED, 4);
	for (size_t i = 0; i < backends.n_backends; i++)
		marcher__engine__v1__backend_state__free_unpacked(backends.backends[i], NULL);
	free(backends.backends);
	marcher__engine__v1__backends_reply__init(&backends);
	assert_int_equal(runtime_backends(engine->runtime, "a", &backends), 0);
	assert_int_equal(backends.backends[0]->opened, 0);
	assert_int_equal(backends.backends[1]->opened, 7);
	for (size_t i = 0; i < backends.n_backends; i++)
		marcher__engine__v1__backend_state__free_unpacked(backends.backends[i], NULL);
	free(backends.backends);
	a.backends[0].weight = 9;
	assert_true(apply(true, &a, NULL));
	assert_int_equal(elsewhere_of("a", 1), 7);
	assert_int_equal(say_elsewhere("a", 60000, -1, 8), 1);
	assert_int_equal(elsewhere_of("a", 0), 0);
	assert_int_equal(elsewhere_of("a", 1), 8);
	assert_int_equal(engine->runtime->nelsewhere, 1);
	/* With the service goes what was said of it. */
	assert_true(apply(false, NULL));
	expect_nothing_left();
	assert_int_equal(engine->runtime->nelsewhere, 0);
}

static void what_is_open_elsewhere_is_shared_by_addresses_and_forgotten_in_time(void **state)
{
	(void)state;
	struct rig_service a;
	Marcher__Engine__V1__DnsTarget dns = MARCHER__ENGINE__V1__DNS_TARGET__INIT;
	struct addr addrs[3];
	web(&a, "a", 0, -1);
	rig_add_backend(&a, 0, 0);
	dns.host = (char *)(uintptr_t) "app.internal";
	dns.port = 8080;
	a.backends[0].target_case = MARCHER__ENGINE__V1__BACKEND__TARGET_DNS;
	a.backends[0].dns = &dns;
	assert_true(apply(false, &a, NULL));
	assert_int_equal(say_elsewhere("a", 60000, 8, -1), 1); /* it has no address yet */
	for (uint8_t i = 0; i < 3; i++) {
		uint8_t ip[4] = {127, 0, 0, (uint8_t)(i + 1)};
		addr_from_bytes(&addrs[i], ip, 4, 0);
	}
	struct backend *backend = current("a")->pub.backends[0];
	runtime_backend_resolved(engine->runtime, backend, addrs, 3);
	say_elsewhere("a", 1, 8, -1);
	assert_int_equal(backend->endpoints[0]->elsewhere, 3);
	assert_int_equal(backend->endpoints[2]->elsewhere, 2);
	assert_int_equal(elsewhere_of("a", 0), 8);
	elsewhere_expire(engine->runtime, engine->now_ms);
	assert_int_equal(elsewhere_of("a", 0), 8);
	elsewhere_expire(engine->runtime, engine->now_ms + 1);
	assert_int_equal(elsewhere_of("a", 0), 0);
	assert_int_equal(engine->runtime->nelsewhere, 0);
	assert_true(apply(false, NULL));
	expect_nothing_left();
}

static void inherited_sockets_are_used_and_the_rest_closed(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false), mine = bound(SOCK_STREAM, true), stray = bound(SOCK_STREAM, true);
	uint16_t port = port_of(mine), stray_port = port_of(stray);
	struct stat expected, got;
	struct rig_service a;
	char key[LISTEN_KEY_MAX];
	fcntl(mine, F_SETFL, O_NONBLOCK);
	assert_int_equal(fstat(mine, &expected), 0);
	int client = connected(SOCK_STREAM, port); /* waits in the queue since before the engine */
	snprintf(key, sizeof(key), "tcp|7f000001|%u|0", port);
	listen_inherit(engine, key, mine);
	snprintf(key, sizeof(key), "tcp|7f000001|%u|0", stray_port);
	listen_inherit(engine, key, stray);
	web(&a, "a", port, backend);
	assert_true(apply(false, &a, NULL));
	listen_inherit_finish(engine);
	struct listener *listener = current("a")->claims[0]->listener;
	assert_int_equal(listener->nfds, 2); /* filled up to one per worker */
	assert_int_equal(fstat(listener->fds[0], &got), 0);
	assert_int_equal(expected.st_ino, got.st_ino);
	listen_key(listener, 1, key);
	assert_non_null(strstr(key, "|1"));
	int accepted = accept(backend, NULL, NULL);
	assert_true(accepted >= 0);
	expect_closed(stray_port);
	close(accepted);
	close(client);
	close(backend);
}

static void many_changes_leave_nothing_behind(void **state)
{
	(void)state;
	int backend = bound(SOCK_STREAM, false);
	uint16_t ports[4];
	struct rig_service a, b;
	srand(1);
	for (unsigned i = 0; i < 4; i++)
		ports[i] = free_port(SOCK_STREAM);
	for (unsigned round = 0; round < 300; round++) {
		web(&a, "a", 0, backend);
		web(&b, "b", 0, backend);
		for (unsigned i = 0; i < 4; i++) {
			if (rand() % 3)
				rig_add_listener(rand() % 2 ? &a : &b, 1, ports[i]);
		}
		a.message.algorithm = rand() % 6 + 1;
		b.backends[0].weight = (uint32_t)rand() % 3;
		if (rand() % 2)
			assert_true(apply(false, &a, &b, NULL));
		else
			assert_true(apply(false, &b, NULL));
		int client = connected(SOCK_STREAM, ports[rand() % 4]);
		if (client >= 0)
			close(client);
		engine_turn(engine, 1);
	}
	assert_true(apply(false, NULL));
	expect_nothing_left();
	for (unsigned i = 0; i < 4; i++)
		expect_closed(ports[i]);
	close(backend);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_snapshot_is_served),
	        TEST(generations_rise_and_a_delta_names_the_one_it_changes),
	        TEST(a_refused_snapshot_leaves_no_trace),
	        TEST(only_what_differs_is_touched),
	        TEST(a_port_moves_between_services_without_losing_a_connection),
	        TEST(one_port_has_one_service),
	        TEST(services_are_named_once),
	        TEST(a_foreign_listener_is_told_even_with_reuseport),
	        TEST(a_narrower_address_of_our_own_is_no_conflict),
	        TEST(the_connections_of_a_removed_service_end_at_its_drain_time),
	        TEST(a_removed_service_drains_though_its_port_lives_on),
	        TEST(a_connection_that_waits_when_its_service_is_removed_is_served),
	        TEST(a_name_can_come_back_while_its_past_drains),
	        TEST(a_removed_backend_drains_and_its_neighbour_does_not),
	        TEST(a_limit_on_connections_holds_over_generations),
	        TEST(a_policy_reaches_open_connections_and_goes_again),
	        TEST(a_policy_out_of_range_is_refused),
	        TEST(a_draining_node_listens_nowhere_and_comes_back),
	        TEST(a_udp_port_that_comes_back_is_not_shared_with_its_past),
	        TEST(resolved_addresses_come_and_go_one_by_one),
	        TEST(what_is_open_elsewhere_is_replaced_and_outlives_a_snapshot),
	        TEST(what_is_open_elsewhere_is_shared_by_addresses_and_forgotten_in_time),
	        TEST(inherited_sockets_are_used_and_the_rest_closed),
	        TEST(many_changes_leave_nothing_behind),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	runtime_reply_free(&reply);
	return failed;
}
