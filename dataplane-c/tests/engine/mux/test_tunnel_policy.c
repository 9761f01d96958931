/* SPDX-License-Identifier: Apache-2.0 */
/* Connections under a traffic policy: how fast, in which shares, what their sockets carry, and what a change does. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "mux/tunnel_internal.h"
#include "qos/qos.h"
#include "tunnel_rig.h"

#define CONNECTIONS_MAX 8
#define MBIT 1000000ull
#define BURST 65536u

typedef Marcher__Engine__V1__TrafficPolicy Policy;
typedef Marcher__Engine__V1__Bandwidth Bandwidth;

static struct rig rig;
static int listening;

/* One end floods, the other counts. */
struct stream {
	int client, backend;
	bool upload;
	pthread_t sender, receiver;
	_Atomic uint64_t received;
};
static struct stream streams[CONNECTIONS_MAX];

static uint64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static Bandwidth bandwidth(uint64_t bits)
{
	Bandwidth out;
	marcher__engine__v1__bandwidth__init(&out);
	out.bits_per_second = bits;
	out.burst_bytes = BURST;
	return out;
}

static Policy policy(void)
{
	Policy out;
	marcher__engine__v1__traffic_policy__init(&out);
	out.priority = QOS_CLASS_DEFAULT;
	return out;
}

static void begin(const Policy *message)
{
	uint16_t port;
	listening = rig_listen(&port);
	rig_init(&rig);
	rig.service_id.qos = qos_new(1);
	rig.service_id.qos->policy = message ? qos_policy_new(message) : NULL;
	rig_add_port(&rig, port);
	rig_start(&rig);
}

static void end(void)
{
	rig_wait_idle(&rig);
	struct qos *qos = rig.service_id.qos;
	assert_int_equal(atomic_load(&qos->bytes[QOS_INGRESS].waiting), 0);
	assert_int_equal(atomic_load(&qos->bytes[QOS_EGRESS].waiting), 0);
	rig_stop(&rig);
	qos_free(qos);
	close(listening);
}

static void *flood(void *context)
{
	struct stream *stream = context;
	static const uint8_t zeros[65536];
	int fd = stream->upload ? stream->client : stream->backend;
	while (send(fd, zeros, sizeof(zeros), MSG_NOSIGNAL) > 0)
		;
	return NULL;
}

static void *drink(void *context)
{
	struct stream *stream = context;
	uint8_t *buffer = malloc(1 << 20);
	int fd = stream->upload ? stream->backend : stream->client;
	ssize_t n;
	while ((n = recv(fd, buffer, 1 << 20, 0)) > 0)
		atomic_fetch_add(&stream->received, (uint64_t)n);
	free(buffer);
	return NULL;
}

static void open_streams(unsigned count, bool upload)
{
	for (unsigned i = 0; i < count; i++) {
		struct stream *stream = &streams[i];
		memset(stream, 0, sizeof(*stream));
		stream->client = rig_client(&rig);
		stream->backend = rig_accept(listening);
		stream->upload = upload;
		pthread_create(&stream->sender, NULL, flood, stream);
		pthread_create(&stream->receiver, NULL, drink, stream);
	}
}

static void close_streams(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct stream *stream = &streams[i];
		shutdown(stream->client, SHUT_RDWR);
		shutdown(stream->backend, SHUT_RDWR);
		pthread_join(stream->sender, NULL);
		pthread_join(stream->receiver, NULL);
		close(stream->client);
		close(stream->backend);
	}
}

static uint64_t received(unsigned count)
{
	uint64_t total = 0;
	for (unsigned i = 0; i < count; i++)
		total += atomic_load(&streams[i].received);
	return total;
}

/* Bits per second of all streams over so long. */
static double rate_over(unsigned count, unsigned ms)
{
	uint64_t from = now_us(), before = received(count);
	usleep(ms * 1000);
	uint64_t bytes = received(count) - before;
	return (double)bytes * 8e6 / (double)(now_us() - from);
}

/* A machine that is busy with other things has this process wait, now and then for long: then another try counts. */
#define TRIES 20

static void assert_at_least(unsigned count, double expected)
{
	double rate = 0;

	for (int i = 0; i < TRIES && rate < expected; i++)
		rate = rate_over(count, 200);
	if (rate < expected)
		fail_msg("%.0f bits per second; expected at least %.0f", rate, expected);
}

static void assert_at_most(unsigned count, double expected)
{
	double rate = INFINITY;

	for (int i = 0; i < TRIES && rate > expected; i++)
		rate = rate_over(count, 200);
	if (rate > expected)
		fail_msg("%.0f bits per second; expected at most %.0f", rate, expected);
}

/* Each gets about as much as the others, of so many bytes at least: while all are open, whichever was first. */
static void assert_even(unsigned count, uint64_t least)
{
	uint64_t before[CONNECTIONS_MAX], got[CONNECTIONS_MAX], total = UINT64_MAX;
	bool even = false;

	for (int i = 0; i < TRIES && !even; i++) {
		/* From here on, or anew after a time that was not even. */
		for (unsigned n = 0; n < count && total >= least; n++)
			before[n] = atomic_load(&streams[n].received);
		usleep(200000);
		total = 0;
		for (unsigned n = 0; n < count; n++) {
			got[n] = atomic_load(&streams[n].received) - before[n];
			total += got[n];
		}
		even = total >= least;
		for (unsigned n = 0; n < count; n++)
			even &= got[n] * count >= total / 2 && got[n] * count <= total * 3 / 2;
	}
	for (unsigned n = 0; n < count && !even; n++)
		print_error("stream %u has %" PRIu64 " of %" PRIu64 " bytes\n", n, got[n], total);
	assert_true(even);
}

/* Since they began: never more than the rate and the bursts, however late a receiver is; and half of the rate at least
 * (how exact it is: npm run bench -- qos). */
static void assert_rate(unsigned count, uint64_t began, double expected, double bursts)
{
	assert_at_least(count, expected / 2);
	double bytes = (double)received(count), most = bursts + expected / 8e6 * (double)(now_us() - began) * 1.01;
	if (bytes > most)
		fail_msg("%.0f bytes; expected at most %.0f", bytes, most);
}

/* The bursts of all buckets: as configured, or 20 ms where that is more. */
static void flows_at(const Policy *message, unsigned count, bool upload, double expected, unsigned buckets)
{
	double burst = expected / buckets / 8 / 50;

	begin(message);
	uint64_t began = now_us();
	open_streams(count, upload);
	assert_rate(count, began, expected, buckets * (burst > BURST ? burst : BURST));
	close_streams(count);
	end();
}

static void a_service_receives_at_its_rate(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(40 * MBIT);
	message.ingress = &limit;
	flows_at(&message, 1, true, 40e6, 1);
	flows_at(&message, CONNECTIONS_MAX, true, 40e6, 1);
}

static void a_service_sends_at_its_rate(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(40 * MBIT);
	message.egress = &limit;
	flows_at(&message, 1, false, 40e6, 1);
	flows_at(&message, CONNECTIONS_MAX, false, 40e6, 1);
}

static void each_connection_has_its_own_rate(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth in = bandwidth(16 * MBIT), out = bandwidth(8 * MBIT);
	message.connection_ingress = &in;
	message.connection_egress = &out;
	flows_at(&message, 1, true, 16e6, 1);
	flows_at(&message, 4, true, 64e6, 4);
	flows_at(&message, 4, false, 32e6, 4);
}

static void a_service_s_rate_is_shared_evenly_and_the_other_direction_is_free(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(64 * MBIT);
	message.ingress = &limit;
	begin(&message);
	open_streams(CONNECTIONS_MAX, true);
	assert_even(CONNECTIONS_MAX, 64 * MBIT / 8 / 2);
	assert_true(rig_counter(&rig, rig.service.slot, MARCHER_THROTTLED_US) > 100000);
	assert_true(rig_counter(&rig, rig.service.slot, MARCHER_THROTTLED_BYTES) > 64 * MBIT / 8 / 4);
	close_streams(CONNECTIONS_MAX);
	open_streams(1, false);
	assert_at_least(1, 120e6);
	close_streams(1);
	end();
}

static void a_fast_rate_goes_through_pipes_and_holds(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(400 * MBIT);
	message.egress = &limit;
	begin(&message);
	uint64_t began = now_us();
	open_streams(2, false);
	assert_rate(2, began, 400e6, 400e6 / 8 / 50);
	assert_true(rig_counter(&rig, rig.service.slot, MARCHER_SPLICED_BYTES) > 1000000);
	close_streams(2);
	end();
}

static void publish(struct rig *r, void *message)
{
	struct qos *qos = r->service_id.qos;
	struct qos_policy *before = qos->policy;
	qos->policy = message ? qos_policy_new(message) : NULL;
	tunnel_policies_changed(&r->worker);
	free(before);
}

static void open_connections_follow_a_changed_policy(void **state)
{
	(void)state;
	Policy slow = policy(), fast = policy();
	Bandwidth slow_limit = bandwidth(MBIT / 10), fast_limit = bandwidth(80 * MBIT);
	slow.ingress = &slow_limit;
	fast.ingress = &fast_limit;
	begin(NULL);
	open_streams(4, true);
	assert_at_least(4, 120e6);
	rig_call(&rig, publish, &slow);
	assert_at_most(4, 10e6); /* as soon as what the sockets hold has come */
	rig_call(&rig, publish, &fast);
	assert_at_least(4, 40e6);
	assert_at_most(4, 92e6);
	rig_call(&rig, publish, NULL);
	assert_at_least(4, 120e6);
	close_streams(4);
	end();
}

static void a_connection_that_waits_may_end(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(1000), own = bandwidth(2000);
	message.ingress = &limit;
	message.connection_ingress = &own;
	begin(&message);
	open_streams(4, true);
	usleep(50000);
	close_streams(4);
	end(); /* sees that none waits any more */
}

static void more_connections_than_the_rate_are_reset_and_told(void **state)
{
	(void)state;
	Policy message = policy();
	Marcher__Engine__V1__ConnectionRate limit;
	marcher__engine__v1__connection_rate__init(&limit);
	limit.per_second = 1;
	limit.burst = 3;
	message.connections = &limit;
	begin(&message);
	char byte;
	int fds[5];
	for (unsigned i = 0; i < 5; i++)
		fds[i] = rig_client(&rig);
	for (unsigned i = 3; i < 5; i++) {
		assert_int_equal(recv(fds[i], &byte, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		assert_int_equal(rig_closed_event(&rig).reason, MARCHER_CLOSE_RATE);
	}
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_RATE_REFUSED), 2);
	assert_int_equal(rig_counter(&rig, rig.service.slot, MARCHER_REJECTED), 2);
	for (unsigned i = 0; i < 5; i++)
		close(fds[i]);
	for (unsigned i = 0; i < 3; i++)
		close(rig_accept(listening));
	end();
}

struct seen {
	int tos[2], priority[2];
	uint64_t pacing[2];
};

static void look(struct rig *r, void *context)
{
	struct seen *seen = context;
	const struct tunnel *tunnel = r->worker.tunnel->all;
	assert_non_null(tunnel);
	for (unsigned s = 0; s < 2; s++) {
		socklen_t length = sizeof(int), wide = sizeof(uint64_t);
		int fd = tunnel->side[s].source.fd;
		getsockopt(fd, IPPROTO_IP, IP_TOS, &seen->tos[s], &length);
		getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &seen->priority[s], &length);
		getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &seen->pacing[s], &wide);
	}
}

static void both_sockets_carry_the_policy_s_marks_until_it_goes(void **state)
{
	(void)state;
	Policy message = policy();
	Bandwidth limit = bandwidth(80 * MBIT);
	message.set_dscp = true;
	message.dscp = 46;
	message.priority = QOS_P0;
	message.connection_egress = &limit;
	begin(&message);
	int client = rig_client(&rig), backend = rig_accept(listening);
	struct seen seen = {0};
	rig_call(&rig, look, &seen);
	for (unsigned s = 0; s < 2; s++) {
		assert_int_equal(seen.tos[s], 46 << 2);
		assert_int_equal(seen.priority[s], 6);
	}
	/* 10 MB/s, and the burst, which is 20 ms of it here, within 50 ms. */
	assert_int_equal(seen.pacing[CLIENT], 10000000 + 20 * 200000);
	assert_int_equal(seen.pacing[BACKEND], UINT64_MAX);
	rig_call(&rig, publish, NULL);
	rig_call(&rig, look, &seen);
	for (unsigned s = 0; s < 2; s++) {
		assert_int_equal(seen.tos[s], 0);
		assert_int_equal(seen.priority[s], 0);
		assert_int_equal(seen.pacing[s], UINT64_MAX);
	}
	close(client);
	close(backend);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_service_receives_at_its_rate),
	        cmocka_unit_test(a_service_sends_at_its_rate),
	        cmocka_unit_test(each_connection_has_its_own_rate),
	        cmocka_unit_test(a_service_s_rate_is_shared_evenly_and_the_other_direction_is_free),
	        cmocka_unit_test(a_fast_rate_goes_through_pipes_and_holds),
	        cmocka_unit_test(open_connections_follow_a_changed_policy),
	        cmocka_unit_test(a_connection_that_waits_may_end),
	        cmocka_unit_test(more_connections_than_the_rate_are_reset_and_told),
	        cmocka_unit_test(both_sockets_carry_the_policy_s_marks_until_it_goes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
