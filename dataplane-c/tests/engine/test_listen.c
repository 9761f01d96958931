/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets of real workers on loopback. What the relays would do with a connection or a datagram is faked:
 * they answer with the worker's index and the listener's slot, so that a client can tell who took it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "listen.h"
#include "mux/tunnel.h"
#include "mux/udp.h"
#include "runtime_internal.h"

#define WORKERS 2u
#define PATIENCE_S 30

/* The parts of the engine that are not under test */

static struct engine engine;
static _Atomic(struct engine_message *) posted;
static sem_t posts;
static struct listener *closed; /* what was told last */
static int held_fds[8];         /* UDP sockets that their sessions still need */
static atomic_uint nheld;
static atomic_bool hold_udp;

struct answer {
	uint32_t worker, slot;
};

int tunnel_worker_init(struct worker *worker)
{
	(void)worker;
	return 0;
}

void tunnel_worker_free(struct worker *worker)
{
	(void)worker;
}

uint64_t tunnel_count(const struct worker *worker)
{
	(void)worker;
	return 0;
}

void tunnel_accepted(struct worker *worker, struct listener *listener, int fd, const struct sockaddr_storage *peer)
{
	struct answer answer = {worker->index, atomic_load(&listener->slot)};
	(void)peer;
	send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	close(fd);
}

void tunnel_drain_listener(struct worker *worker, const struct listener *listener, uint64_t deadline_ms)
{
	(void)worker;
	(void)listener;
	(void)deadline_ms;
}

int udp_worker_init(struct worker *worker)
{
	(void)worker;
	return 0;
}

void udp_worker_free(struct worker *worker)
{
	(void)worker;
}

uint64_t udp_count(const struct worker *worker)
{
	(void)worker;
	return 0;
}

size_t udp_readable(struct worker *worker, struct listener *listener, int fd)
{
	struct answer answer = {worker->index, atomic_load(&listener->slot)};
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	char bytes[64];
	while (recvfrom(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&peer, &length) >= 0) {
		sendto(fd, &answer, sizeof(answer), 0, (struct sockaddr *)&peer, length);
		length = sizeof(peer);
	}
	return 0;
}

void udp_listener_closing(struct worker *worker, struct listener *listener, int fd, uint64_t deadline_ms)
{
	(void)worker;
	(void)listener;
	(void)deadline_ms;
	if (atomic_load(&hold_udp))
		held_fds[atomic_fetch_add(&nheld, 1)] = fd;
	else
		close(fd);
}

void engine_post(struct engine *to, struct engine_message *message)
{
	(void)to;
	message->next = atomic_load(&posted);
	while (!atomic_compare_exchange_weak(&posted, &message->next, message))
		;
	sem_post(&posts);
}

void runtime_listener_closed(struct runtime *runtime, struct listener *listener)
{
	(void)runtime;
	closed = listener;
}

/* The rig */

static int setup(void **state)
{
	struct worker_place anywhere = {.cpu = 0, .node = -1};
	(void)state;
	log_threshold = LOG_ERROR;
	memset(&engine, 0, sizeof(engine));
	sem_init(&posts, 0, 0);
	engine.stats = stats_new(WORKERS);
	engine.workers = calloc(WORKERS, sizeof(*engine.workers));
	for (unsigned i = 0; i < WORKERS; i++) {
		engine.workers[i] = worker_start(&engine, i, &anywhere);
		if (!engine.workers[i])
			return -1;
	}
	engine.nworkers = WORKERS;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WORKERS; i++)
		worker_stop(engine.workers[i]);
	free(engine.workers);
	stats_free(engine.stats);
	sem_destroy(&posts);
	return 0;
}

static void set_patience(int fd)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static int kind_of(enum transport transport)
{
	return (transport == TRANSPORT_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC;
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A socket of somebody else on *port (0: any, and told). -1 and errno when it cannot be bound. */
static int foreign(enum transport transport, uint16_t *port, bool reuse)
{
	struct sockaddr_in sa = loopback(*port);
	socklen_t length = sizeof(sa);
	int one = 1, fd = socket(AF_INET, kind_of(transport), 0);
	assert_true(fd >= 0);
	if (reuse)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || (transport == TRANSPORT_TCP && listen(fd, 64) < 0)) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

static uint32_t slots;

static void init(struct listener *listener, enum transport transport, uint16_t port)
{
	char name[16];
	memset(listener, 0, sizeof(*listener));
	listener->transport = transport;
	listener->addr = (struct addr){.family = AF_INET, .port = port, .ip = {127, 0, 0, 1}};
	snprintf(name, sizeof(name), "l%u", ++slots);
	listener->slot = stats_slot_acquire(engine.stats, MARCHER_SLOT_LISTENER, "web", name);
}

/* Opened and started on a port that was free. */
static void open_anywhere(struct listener *listener, enum transport transport, bool shared)
{
	int error = -EADDRINUSE;
	/* Another process may take the port between the two. */
	for (unsigned i = 0; i < 20 && error == -EADDRINUSE; i++) {
		uint16_t port = 0;
		close(foreign(transport, &port, false));
		init(listener, transport, port);
		error = listen_open(&engine, listener, 512, shared);
	}
	assert_int_equal(error, 0);
	assert_int_equal(listen_start(&engine, listener), 0);
}

/* Until every worker has closed it. */
static void wait_closed(struct listener *listener)
{
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	int error;
	while ((error = sem_timedwait(&posts, &until)) < 0 && errno == EINTR)
		;
	assert_int_equal(error, 0);
	struct engine_message *message = atomic_exchange(&posted, NULL);
	assert_non_null(message);
	assert_null(message->next);
	closed = NULL;
	message->run(&engine, message);
	assert_ptr_equal(closed, listener);
	assert_int_equal(listener->nfds, 0);
}

static void close_and_free(struct listener *listener)
{
	listen_close(&engine, listener, 0);
	wait_closed(listener);
	listen_freed(listener);
}

static int client_socket(enum transport transport)
{
	int fd = socket(AF_INET, kind_of(transport), 0);
	assert_true(fd >= 0);
	set_patience(fd);
	return fd;
}

static int client(enum transport transport, uint16_t port)
{
	struct sockaddr_in sa = loopback(port);
	int fd = client_socket(transport);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(fd);
		return -1;
	}
	if (transport == TRANSPORT_UDP)
		assert_int_equal(send(fd, "?", 1, 0), 1);
	return fd;
}

/* Who took the client; ends it. */
static struct answer answered(int fd)
{
	struct answer answer = {0};
	assert_true(fd >= 0);
	assert_int_equal(recv(fd, &answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
	close(fd);
	return answer;
}

/* Of a number of clients every one reaches the listener. */
static void expect_all_reach(const struct listener *listener)
{
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(answered(client(listener->transport, listener->addr.port)).slot, listener->slot);
}

/* Copies as the agent holds them. Returns how many. */
static unsigned duplicate(const struct listener *listener, int copies[8])
{
	assert_true(listener->nfds <= 8);
	for (uint32_t i = 0; i < listener->nfds; i++) {
		copies[i] = fcntl(listener->fds[i], F_DUPFD_CLOEXEC, 0);
		assert_true(copies[i] >= 0);
	}
	return listener->nfds;
}

static void close_all(const int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static int next_descriptor(void)
{
	int fd = fcntl(0, F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	close(fd);
	return fd;
}

/* Keeps a worker from its turns. */
struct hold {
	struct worker_message message;
	sem_t held, release, gone;
};

static void hold_up(struct worker *worker, struct worker_message *message)
{
	struct hold *hold = (struct hold *)((char *)message - offsetof(struct hold, message));
	(void)worker;
	sem_post(&hold->held);
	sem_wait(&hold->release);
	sem_post(&hold->gone);
}

static void post_hold(struct hold *h, unsigned worker)
{
	memset(h, 0, sizeof(*h));
	sem_init(&h->held, 0, 0);
	sem_init(&h->release, 0, 0);
	sem_init(&h->gone, 0, 0);
	h->message.run = hold_up;
	worker_post(engine.workers[worker], &h->message);
}

static void hold(struct hold *h, unsigned worker)
{
	post_hold(h, worker);
	sem_wait(&h->held);
}

static void release(struct hold *h)
{
	sem_post(&h->release);
	sem_wait(&h->gone);
	sem_destroy(&h->held);
	sem_destroy(&h->release);
	sem_destroy(&h->gone);
}

static const enum transport transports[] = {TRANSPORT_TCP, TRANSPORT_UDP};

/* Ports */

static void a_foreign_socket_that_would_share_its_port_is_told(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		uint16_t port = 0;
		int other = foreign(transports[t], &port, true);
		assert_true(other >= 0);
		int before = next_descriptor();
		struct listener listener;
		for (int any = 0; any < 2; any++) {
			for (int shared = 0; shared < 2; shared++) {
				init(&listener, transports[t], port);
				if (any)
					listener.addr = (struct addr){.port = port};
				assert_int_equal(listen_open(&engine, &listener, 64, shared), -EADDRINUSE);
				assert_null(listener.fds);
				assert_int_equal(listener.nfds, 0);
				assert_int_equal(next_descriptor(), before);
			}
		}
		close(other);
		init(&listener, transports[t], port);
		assert_int_equal(listen_open(&engine, &listener, 64, false), 0);
		assert_int_equal(listen_start(&engine, &listener), 0);
		expect_all_reach(&listener);
		close_and_free(&listener);
	}
}

static void a_port_that_was_just_given_up_is_taken_again_while_copies_of_its_sockets_live(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		for (int shared = 0; shared < 2; shared++) {
			struct listener before, after, last;
			int copies[8], more[8];
			open_anywhere(&before, transports[t], shared);
			unsigned count = duplicate(&before, copies);
			close_and_free(&before);
			init(&after, transports[t], before.addr.port);
			assert_int_equal(listen_open(&engine, &after, 64, shared), 0);
			assert_int_equal(listen_start(&engine, &after), 0);
			/* The copies take none of its clients. */
			expect_all_reach(&after);
			/* And again, with two sets of copies; the other way of listening. */
			unsigned nmore = duplicate(&after, more);
			close_and_free(&after);
			init(&last, transports[t], before.addr.port);
			assert_int_equal(listen_open(&engine, &last, 64, !shared), 0);
			assert_int_equal(listen_start(&engine, &last), 0);
			expect_all_reach(&last);
			close_all(copies, count);
			close_all(more, nmore);
			expect_all_reach(&last);
			close_and_free(&last);
		}
	}
}

static void a_port_is_taken_again_while_sessions_of_its_past_hold_the_socket(void **state)
{
	(void)state;
	struct listener before, after;
	open_anywhere(&before, TRANSPORT_UDP, false);
	atomic_store(&hold_udp, true);
	listen_close(&engine, &before, 0);
	wait_closed(&before); /* and is not freed yet */
	atomic_store(&hold_udp, false);
	assert_int_equal(atomic_load(&nheld), WORKERS);
	init(&after, TRANSPORT_UDP, before.addr.port);
	assert_int_equal(listen_open(&engine, &after, 64, false), 0);
	assert_int_equal(listen_start(&engine, &after), 0);
	expect_all_reach(&after);
	/* Replies can still go out where the clients came from. */
	int fd = client_socket(TRANSPORT_UDP);
	struct sockaddr_in sa = loopback(0);
	socklen_t length = sizeof(sa);
	char byte;
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	assert_int_equal(sendto(held_fds[0], "r", 1, 0, (struct sockaddr *)&sa, length), 1);
	assert_int_equal(recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&sa, &length), 1);
	assert_int_equal(ntohs(sa.sin_port), before.addr.port);
	close(fd);
	close_all(held_fds, WORKERS);
	atomic_store(&nheld, 0);
	listen_freed(&before);
	expect_all_reach(&after);
	close_and_free(&after);
}

static void sockets_that_were_never_started_leave_the_port_free(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		struct listener listener;
		int error = -EADDRINUSE, before = next_descriptor(), other = -1;
		for (unsigned i = 0; i < 20 && error == -EADDRINUSE; i++) {
			uint16_t port = 0;
			close(foreign(transports[t], &port, false));
			init(&listener, transports[t], port);
			error = listen_open(&engine, &listener, 64, false);
		}
		assert_int_equal(error, 0);
		assert_int_equal(foreign(transports[t], &listener.addr.port, false), -1);
		assert_int_equal(errno, EADDRINUSE);
		listen_discard(&engine, &listener);
		listen_freed(&listener);
		assert_int_equal(listener.nfds, 0);
		assert_int_equal(next_descriptor(), before);
		other = foreign(transports[t], &listener.addr.port, false);
		assert_true(other >= 0);
		close(other);
	}
}

/* Sockets of a predecessor */

static void a_group_is_inherited_whole_by_its_keys(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		/* Of three workers; this engine has two. */
		uint16_t port = 0;
		int group[3];
		struct listener listener;
		char key[LISTEN_KEY_MAX];
		for (unsigned i = 0; i < 3; i++) {
			group[i] = foreign(transports[t], &port, true);
			assert_true(group[i] >= 0);
			fcntl(group[i], F_SETFL, O_NONBLOCK);
		}
		init(&listener, transports[t], port);
		for (unsigned i = 3; i-- > 0;) { /* in whatever order they come */
			listen_key(&listener, i, key);
			listen_inherit(&engine, key, group[i]);
		}
		/* A port of the other transport is another port. */
		struct listener other;
		init(&other, transports[!t], port);
		listen_key(&other, 0, key);
		int strays[2];
		assert_int_equal(pipe2(strays, O_CLOEXEC | O_NONBLOCK), 0);
		listen_inherit(&engine, key, strays[1]);
		/* Shared among the workers is only what is one. */
		assert_int_equal(listen_open(&engine, &listener, 64, true), 0);
		assert_int_equal(listener.nfds, 3);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(listener.fds[i], group[i]);
		char byte;
		assert_int_equal(read(strays[0], &byte, 1), -1); /* kept until it is known that nobody asks */
		listen_inherit_finish(&engine);
		assert_int_equal(read(strays[0], &byte, 1), 0);
		close(strays[0]);
		/* Each of the three is served. */
		assert_int_equal(listen_start(&engine, &listener), 0);
		expect_all_reach(&listener);
		close_and_free(&listener);
	}
}

static void inherited_sockets_that_have_no_use_are_closed(void **state)
{
	(void)state;
	struct listener listener;
	char key[LISTEN_KEY_MAX], too_long[LISTEN_KEY_MAX + 1], byte;
	int unused[3][2];
	uint16_t port = 0;
	int mine = foreign(TRANSPORT_TCP, &port, true);
	fcntl(mine, F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pipe2(unused[i], O_CLOEXEC | O_NONBLOCK), 0);
	init(&listener, TRANSPORT_TCP, port);
	listen_key(&listener, 0, key);
	listen_inherit(&engine, key, mine);
	listen_inherit(&engine, key, unused[0][1]); /* the same key again */
	assert_int_equal(read(unused[0][0], &byte, 1), 0);
	memset(too_long, 'k', LISTEN_KEY_MAX);
	too_long[LISTEN_KEY_MAX] = 0;
	listen_inherit(&engine, too_long, unused[1][1]);
	assert_int_equal(read(unused[1][0], &byte, 1), 0);
	listen_key(&listener, 2, key); /* behind a gap: not of the group that is known */
	listen_inherit(&engine, key, unused[2][1]);
	assert_int_equal(listen_open(&engine, &listener, 64, false), 0);
	assert_int_equal(listener.nfds, WORKERS);
	assert_int_equal(listener.fds[0], mine);
	listen_inherit_finish(&engine);
	assert_int_equal(read(unused[2][0], &byte, 1), 0);
	assert_int_equal(listen_start(&engine, &listener), 0);
	expect_all_reach(&listener);
	close_and_free(&listener);
	for (unsigned i = 0; i < 3; i++)
		close(unused[i][0]);
	listen_inherit_finish(&engine); /* nothing left: no matter */
}

static void a_lone_inherited_socket_can_be_shared(void **state)
{
	(void)state;
	struct listener listener;
	char key[LISTEN_KEY_MAX];
	uint16_t port = 0;
	int mine = foreign(TRANSPORT_TCP, &port, false);
	fcntl(mine, F_SETFL, O_NONBLOCK);
	init(&listener, TRANSPORT_TCP, port);
	int waiting = client(TRANSPORT_TCP, port); /* since the predecessor's time */
	listen_key(&listener, 0, key);
	listen_inherit(&engine, key, mine);
	assert_int_equal(listen_open(&engine, &listener, 64, true), 0);
	assert_int_equal(listener.nfds, 1);
	assert_int_equal(listener.fds[0], mine);
	listen_inherit_finish(&engine);
	assert_int_equal(listen_start(&engine, &listener), 0);
	assert_int_equal(answered(waiting).slot, listener.slot);
	expect_all_reach(&listener);
	close_and_free(&listener);
}

static void a_key_names_transport_address_port_and_index(void **state)
{
	(void)state;
	struct listener listener = {.transport = TRANSPORT_TCP};
	char key[LISTEN_KEY_MAX];
	listener.addr = (struct addr){.family = AF_INET, .port = 80, .ip = {10, 0, 255, 1}};
	listen_key(&listener, 0, key);
	assert_string_equal(key, "tcp|0a00ff01|80|0");
	listener.addr = (struct addr){.port = 65535};
	listener.transport = TRANSPORT_UDP;
	listen_key(&listener, 253, key);
	assert_string_equal(key, "udp|*|65535|253");
	listener.addr = (struct addr){.family = AF_INET6, .port = 443, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}};
	listen_key(&listener, 7, key);
	assert_string_equal(key, "udp|20010db8000000000000000000000001|443|7");
}

/* Accepting */

static void a_shared_listener_is_accepted_from_by_whichever_worker_is_free(void **state)
{
	(void)state;
	struct listener listener;
	open_anywhere(&listener, TRANSPORT_TCP, true);
	assert_int_equal(listener.nfds, 1);
	for (unsigned busy = 0; busy < WORKERS; busy++) {
		struct hold h;
		hold(&h, busy);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(answered(client(TRANSPORT_TCP, listener.addr.port)).worker, !busy);
		release(&h);
	}
	close_and_free(&listener);
}

static void a_group_spreads_clients_over_the_workers(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		struct listener listener;
		unsigned taken[WORKERS] = {0};
		open_anywhere(&listener, transports[t], false);
		assert_int_equal(listener.nfds, WORKERS);
		for (unsigned i = 0; i < 100; i++)
			taken[answered(client(transports[t], listener.addr.port)).worker]++;
		for (unsigned i = 0; i < WORKERS; i++)
			assert_true(taken[i] > 0);
		close_and_free(&listener);
	}
}

static void a_lone_udp_socket_belongs_to_one_worker(void **state)
{
	(void)state;
	bool seen[WORKERS] = {false};
	for (unsigned round = 0; round < 64 && !(seen[0] && seen[1]); round++) {
		struct listener listener;
		open_anywhere(&listener, TRANSPORT_UDP, true);
		assert_int_equal(listener.nfds, 1);
		for (unsigned i = 0; i < 32; i++)
			assert_int_equal(answered(client(TRANSPORT_UDP, listener.addr.port)).worker,
			                 listener.addr.port % WORKERS);
		seen[listener.addr.port % WORKERS] = true;
		close_and_free(&listener);
	}
	assert_true(seen[0] && seen[1]); /* ports spread the listeners over the workers */
}

static void any_address_takes_both_families(void **state)
{
	(void)state;
	for (unsigned t = 0; t < 2; t++) {
		struct listener listener;
		struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
		int error = -EADDRINUSE;
		for (unsigned i = 0; i < 20 && error == -EADDRINUSE; i++) {
			uint16_t port = 0;
			close(foreign(transports[t], &port, false));
			init(&listener, transports[t], port);
			listener.addr = (struct addr){.port = port};
			error = listen_open(&engine, &listener, 64, false);
		}
		assert_int_equal(error, 0);
		assert_int_equal(listen_start(&engine, &listener), 0);
		expect_all_reach(&listener);
		sa.sin6_port = htons(listener.addr.port);
		int fd = socket(AF_INET6, kind_of(transports[t]), 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
			set_patience(fd);
			if (transports[t] == TRANSPORT_UDP)
				assert_int_equal(send(fd, "?", 1, 0), 1);
			assert_int_equal(answered(fd).slot, listener.slot);
		} else if (fd >= 0) {
			assert_int_not_equal(errno, ECONNREFUSED); /* else there is no IPv6 here */
			close(fd);
		}
		close_and_free(&listener);
	}
}

/* Of a listening TCP socket: the length of its accept queue. */
static unsigned queue_length(int fd)
{
	struct tcp_info info;
	socklen_t length = sizeof(info);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
	return info.tcpi_sacked;
}

static void the_accept_queue_has_the_length_asked_for(void **state)
{
	(void)state;
	struct listener listener;
	open_anywhere(&listener, TRANSPORT_TCP, false);
	listen_set_backlog(&listener, 5);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(queue_length(listener.fds[i]), 5);
	listen_set_backlog(&listener, UINT32_MAX); /* the system's own bound, not a negative number */
	assert_true(queue_length(listener.fds[0]) > 5);
	expect_all_reach(&listener);
	close_and_free(&listener);
}

/* Descriptors */

static struct rlimit former;

/* Leaves no descriptor to be had; returns how many were taken. */
static unsigned use_up_descriptors(int *fds, unsigned most)
{
	struct rlimit low;
	unsigned count = 0;
	int fd;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &former), 0);
	low = former;
	low.rlim_cur = (rlim_t)next_descriptor() + 16;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while ((fd = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0) {
		assert_true(count < most);
		fds[count++] = fd;
	}
	assert_int_equal(errno, EMFILE);
	return count;
}

static void give_back_descriptors(const int *fds, unsigned count)
{
	close_all(fds, count);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &former), 0);
}

static void connect_to(int fd, uint16_t port)
{
	struct sockaddr_in sa = loopback(port);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
}

static void without_descriptors_a_connection_is_reset_and_counted(void **state)
{
	(void)state;
	struct listener listener;
	int used[512], late[3];
	char byte;
	engine.nworkers = 1;
	open_anywhere(&listener, TRANSPORT_TCP, false);
	/* The first accept is when the spare descriptor is made. Its own descriptor is closed when that turn is over.
	 */
	struct hold h;
	assert_int_equal(answered(client(TRANSPORT_TCP, listener.addr.port)).slot, listener.slot);
	hold(&h, 0);
	release(&h);
	for (unsigned i = 0; i < 3; i++)
		late[i] = client_socket(TRANSPORT_TCP);
	unsigned count = use_up_descriptors(used, 512);
	for (unsigned i = 0; i < 3; i++) {
		connect_to(late[i], listener.addr.port);
		assert_int_equal(recv(late[i], &byte, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
	}
	give_back_descriptors(used, count);
	/* The worker may still be looking whether there are more to refuse. */
	hold(&h, 0);
	release(&h);
	expect_all_reach(&listener);
	uint64_t *rejected = &engine.workers[0]->stats.slots[listener.slot].counters[MARCHER_REJECTED];
	assert_int_equal(__atomic_load_n(rejected, __ATOMIC_RELAXED), 3);
	for (unsigned i = 0; i < 3; i++)
		close(late[i]);
	close_and_free(&listener);
	engine.nworkers = WORKERS;
}

static void without_a_spare_descriptor_a_connection_waits(void **state)
{
	(void)state;
	struct answer answer;
	for (int closing = 0; closing < 2; closing++) {
		/* With workers that have accepted nothing yet. */
		if (closing) {
			teardown(NULL);
			setup(NULL);
		}
		struct listener listener;
		int used[512];
		engine.nworkers = 1;
		open_anywhere(&listener, TRANSPORT_TCP, false);
		int late = client_socket(TRANSPORT_TCP);
		unsigned count = use_up_descriptors(used, 512);
		connect_to(late, listener.addr.port);
		unsigned long long turns = atomic_load(&engine.workers[0]->turns);
		usleep(20000);
		turns = atomic_load(&engine.workers[0]->turns) - turns;
		assert_true(turns < 500); /* it does not spin: that would be thousands */
		assert_int_equal(recv(late, &answer, sizeof(answer), MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
		give_back_descriptors(used, count);
		if (!closing)
			assert_int_equal(answered(late).slot, listener.slot);
		close_and_free(&listener);
		if (closing) {
			assert_int_equal(answered(late).slot, listener.slot);
			usleep(150000); /* when it would have looked again: at nothing */
		}
		engine.nworkers = WORKERS;
	}
}

static void sockets_are_shared_when_they_would_take_half_of_the_descriptors(void **state)
{
	(void)state;
	struct rlimit limit, low;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 100;
	struct listener listener;
	open_anywhere(&listener, TRANSPORT_TCP, false);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	/* 2 there are, and 2 each for this one and so many more: 50 is the half. */
	bool below = listen_wants_shared(&engine, 23), above = listen_wants_shared(&engine, 24);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	close_and_free(&listener);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	bool below_again = listen_wants_shared(&engine, 24), above_again = listen_wants_shared(&engine, 25);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_false(below);
	assert_true(above);
	assert_false(below_again);
	assert_true(above_again);
}

/* Closing */

/* Ends a listener with 8 clients waiting that came when the workers had looked at their sockets for the last time: each
 * is held up with the order to end it next in its mailbox. */
static void end_with_clients_waiting(struct listener *listener, int waiting[8],
                                     void (*end)(struct engine *, struct listener *, uint64_t))
{
	struct hold first[WORKERS], second[WORKERS];
	for (unsigned i = 0; i < WORKERS; i++)
		hold(&first[i], i);
	for (unsigned i = 0; i < WORKERS; i++)
		post_hold(&second[i], i);
	end(&engine, listener, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		release(&first[i]);
		sem_wait(&second[i].held);
	}
	for (unsigned i = 0; i < 8; i++) {
		waiting[i] = client(TRANSPORT_TCP, listener->addr.port);
		assert_true(waiting[i] >= 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		release(&second[i]);
	wait_closed(listener);
}

static void what_waits_is_accepted_when_a_listener_closes_and_nothing_after(void **state)
{
	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		struct listener listener;
		int waiting[8], copies[8];
		open_anywhere(&listener, TRANSPORT_TCP, shared);
		unsigned count = duplicate(&listener, copies);
		end_with_clients_waiting(&listener, waiting, listen_close);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(answered(waiting[i]).slot, listener.slot);
		/* Though copies of the sockets live. */
		for (unsigned i = 0; i < 8; i++) {
			assert_int_equal(client(TRANSPORT_TCP, listener.addr.port), -1);
			assert_int_equal(errno, ECONNREFUSED);
		}
		close_all(copies, count);
		listen_freed(&listener);
	}
}

static void what_waits_is_left_to_a_successor(void **state)
{
	(void)state;
	for (int shared = 0; shared < 2; shared++) {
		struct listener listener;
		int waiting[8], copies[8], fd;
		unsigned found = 0;
		open_anywhere(&listener, TRANSPORT_TCP, shared);
		unsigned count = duplicate(&listener, copies);
		end_with_clients_waiting(&listener, waiting, listen_leave);
		for (unsigned i = 0; i < count; i++) {
			while ((fd = accept(copies[i], NULL, NULL)) >= 0) {
				close(fd);
				found++;
			}
		}
		assert_int_equal(found, 8);
		/* It still listens. */
		fd = client(TRANSPORT_TCP, listener.addr.port);
		assert_true(fd >= 0);
		close(fd);
		close_all(waiting, 8);
		close_all(copies, count);
		listen_freed(&listener);
	}
}

static void every_change_of_the_sockets_raises_the_version(void **state)
{
	(void)state;
	struct listener listener, second;
	uint64_t version = listen_version();
	assert_true(version > 0);
	open_anywhere(&listener, TRANSPORT_TCP, false);
	assert_true(listen_version() > version);
	version = listen_version();
	expect_all_reach(&listener);
	assert_int_equal(listen_version(), version);
	close_and_free(&listener);
	assert_true(listen_version() > version);
	version = listen_version();
	init(&second, TRANSPORT_TCP, listener.addr.port);
	assert_int_equal(listen_open(&engine, &second, 64, false), 0);
	assert_true(listen_version() > version);
	version = listen_version();
	listen_discard(&engine, &second);
	listen_freed(&second);
	assert_true(listen_version() > version);
}

static void without_workers_nothing_is_opened(void **state)
{
	(void)state;
	struct listener listener;
	init(&listener, TRANSPORT_TCP, 1);
	engine.nworkers = 0;
	assert_int_equal(listen_open(&engine, &listener, 64, false), -ESHUTDOWN);
	assert_null(listener.fds);
	engine.nworkers = WORKERS;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_foreign_socket_that_would_share_its_port_is_told),
	        TEST(a_port_that_was_just_given_up_is_taken_again_while_copies_of_its_sockets_live),
	        TEST(a_port_is_taken_again_while_sessions_of_its_past_hold_the_socket),
	        TEST(sockets_that_were_never_started_leave_the_port_free),
	        TEST(a_group_is_inherited_whole_by_its_keys),
	        TEST(inherited_sockets_that_have_no_use_are_closed),
	        TEST(a_lone_inherited_socket_can_be_shared),
	        TEST(a_key_names_transport_address_port_and_index),
	        TEST(a_shared_listener_is_accepted_from_by_whichever_worker_is_free),
	        TEST(a_group_spreads_clients_over_the_workers),
	        TEST(a_lone_udp_socket_belongs_to_one_worker),
	        TEST(any_address_takes_both_families),
	        TEST(the_accept_queue_has_the_length_asked_for),
	        TEST(without_descriptors_a_connection_is_reset_and_counted),
	        TEST(without_a_spare_descriptor_a_connection_waits),
	        TEST(sockets_are_shared_when_they_would_take_half_of_the_descriptors),
	        TEST(what_waits_is_accepted_when_a_listener_closes_and_nothing_after),
	        TEST(what_waits_is_left_to_a_successor),
	        TEST(every_change_of_the_sockets_raises_the_version),
	        TEST(without_workers_nothing_is_opened),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
