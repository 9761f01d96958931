/* SPDX-License-Identifier: Apache-2.0 */
/* The prober against real sockets on loopback. */
#include "main_loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/poll.h> /* <poll.h> would be the engine's */
#include <sys/resource.h>
#include <sys/un.h>
#include <unistd.h>

#include "upstream/health.h"
#include "upstream/probe.h"

#define HEALTHY(e) (atomic_load(&(e)->health) == HEALTH_HEALTHY)
#define UNHEALTHY(e) (atomic_load(&(e)->health) == HEALTH_UNHEALTHY)

static struct prober *prober;
static struct backend backend;
static Marcher__Engine__V1__HealthCheck check;

static void set_up(Marcher__Engine__V1__ProbeType type)
{
	engine_set_up();
	memset(&backend, 0, sizeof(backend));
	backend.name = (char *)"b";
	backend.id = &service_identity;
	backend.slot = 2;
	marcher__engine__v1__health_check__init(&check);
	check.type = type;
	check.interval_ms = 20;
	check.timeout_ms = 10000;
	check.fall = 3;
	check.rise = 2;
	check.jitter_percent = 10;
	service.has_health = true;
	service.health = &check;
	prober = prober_new(&engine);
	assert_non_null(prober);
}

static void tear_down(void)
{
	prober_free(prober);
	engine_tear_down();
}

static void endpoint_init(struct endpoint *endpoint, uint16_t port)
{
	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->backend = &backend;
	endpoint->addr = (struct addr){.family = AF_INET, .port = port, .ip = {127, 0, 0, 1}};
}

/* A bound socket on 127.0.0.1 (port 0: any); a listening one when backlog is not negative. */
static int open_socket(int type, uint16_t *port, int backlog)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t length = sizeof(sa);
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	*port = ntohs(sa.sin_port);
	if (backlog >= 0)
		assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

/* A backend in a thread of its own: answers every connection (or datagram) with the present answer. */
struct server {
	int fd, stop[2];
	uint16_t port;
	pthread_t thread;
	pthread_mutex_t lock;
	const char *answer; /* NULL: none */
	size_t length;
	size_t piece;   /* bytes per write; 0: all at once */
	bool keep_open; /* after the answer */
	unsigned count;
	char request[2048]; /* the last one */
};

/* Until the peer has something to say, or the test is over: false. */
static bool wait_for_peer(const struct server *server, int fd)
{
	struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = server->stop[0], .events = POLLIN}};
	return poll(fds, 2, 3000) > 0 && fds[0].revents;
}

static void serve_stream(struct server *server)
{
	int fd = accept(server->fd, NULL, NULL);
	if (fd < 0)
		return;
	char request[2048];
	size_t n = 0;
	while (n < sizeof(request) - 1 && wait_for_peer(server, fd)) {
		ssize_t got = recv(fd, request + n, sizeof(request) - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		request[n] = '\0';
		if (n > 16 &&
		    memcmp(request + n - 4, "\r\n\r\n", 4) == 0) /* 16: a PROXY header v2, which begins so too */
			break;
	}
	if (n ==
	    0) { /* a probe that was called off before it asked: on a busy machine one may follow another at once */
		close(fd);
		return;
	}
	pthread_mutex_lock(&server->lock);
	const char *answer = server->answer;
	size_t length = server->length, piece = server->piece;
	bool keep_open = server->keep_open;
	memcpy(server->request, request, sizeof(request));
	server->count++;
	pthread_mutex_unlock(&server->lock);
	for (size_t at = 0; answer && at < length;) {
		size_t part = piece && piece < length - at ? piece : length - at;
		ssize_t sent = send(fd, answer + at, part, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		at += (size_t)sent;
		if (piece)
			usleep(200);
	}
	if (!answer || keep_open) /* until the prober hangs up */
		wait_for_peer(server, fd);
	close(fd);
}

static void serve_datagram(struct server *server)
{
	struct sockaddr_in peer;
	socklen_t peer_length = sizeof(peer);
	char request[2048];
	ssize_t n = recvfrom(server->fd, request, sizeof(request) - 1, 0, (struct sockaddr *)&peer, &peer_length);
	if (n < 0)
		return;
	request[n] = '\0';
	pthread_mutex_lock(&server->lock);
	memcpy(server->request, request, sizeof(request));
	server->count++;
	if (server->answer)
		sendto(server->fd, server->answer, server->length, 0, (struct sockaddr *)&peer, peer_length);
	pthread_mutex_unlock(&server->lock);
}

static void *serve(void *arg)
{
	struct server *server = arg;
	int type = 0;
	socklen_t length = sizeof(type);
	getsockopt(server->fd, SOL_SOCKET, SO_TYPE, &type, &length);
	for (;;) {
		struct pollfd fds[] = {{.fd = server->fd, .events = POLLIN}, {.fd = server->stop[0], .events = POLLIN}};
		poll(fds, 2, -1);
		if (fds[1].revents)
			return NULL;
		if (type == SOCK_STREAM)
			serve_stream(server);
		else
			serve_datagram(server);
	}
}

static void server_start(struct server *server, int type)
{
	memset(server, 0, sizeof(*server));
	pthread_mutex_init(&server->lock, NULL);
	server->fd = open_socket(type, &server->port, type == SOCK_STREAM ? 64 : -1);
	assert_int_equal(pipe(server->stop), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_answer(struct server *server, const char *answer)
{
	pthread_mutex_lock(&server->lock);
	server->answer = answer;
	server->length = answer ? strlen(answer) : 0;
	pthread_mutex_unlock(&server->lock);
}

static void server_stop(struct server *server)
{
	assert_int_equal(write(server->stop[1], "x", 1), 1);
	pthread_join(server->thread, NULL);
	close(server->fd);
	close(server->stop[0]);
	close(server->stop[1]);
	pthread_mutex_destroy(&server->lock);
}

static void tcp_falls_and_rises(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	int fd = open_socket(SOCK_STREAM, &port, 4096);
	endpoint_init(&endpoint, port);
	prober_watch(prober, &endpoint, &service);
	assert_int_equal(atomic_load(&endpoint.health), HEALTH_UNKNOWN);
	loop_until(HEALTHY(&endpoint)); /* the first result decides */
	assert_int_equal(slots[2].counters[MARCHER_HEALTH_PASSED], 1);
	assert_int_equal(endpoint.healthy_since_ms, 0); /* was never unhealthy: no slow start */
	assert_int_equal(nevents, 1);
	assert_int_equal(events[0].kind, MARCHER_EVENT_HEALTH_CHANGED);
	assert_int_equal(events[0].reason, 1);

	close(fd);
	uint64_t closed_ms = engine.now_ms;
	loop_until(UNHEALTHY(&endpoint));
	assert_int_equal(slots[2].counters[MARCHER_HEALTH_FAILED], 3); /* fall */
	assert_string_equal(endpoint.health_reason, "connect: connection refused");
	assert_int_equal(nevents, 2);
	assert_int_equal(events[1].reason, 0);
	assert_string_equal(events[1].message, "connect: connection refused");
	assert_int_equal(events[1].upstream.port, port);
	assert_int_equal(changes, 2);

	uint64_t passed = slots[2].counters[MARCHER_HEALTH_PASSED];
	fd = open_socket(SOCK_STREAM, &port, 4096);
	loop_until(HEALTHY(&endpoint));
	assert_int_equal(slots[2].counters[MARCHER_HEALTH_PASSED] - passed, 2); /* rise */
	assert_in_range(endpoint.healthy_since_ms, closed_ms, engine.now_ms);
	close(fd);
	tear_down();
}

static void a_single_failure_between_passes_changes_nothing(void **state)
{
	(void)state;
	struct endpoint endpoint;
	struct server server;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
	server_start(&server, SOCK_STREAM);
	server_answer(&server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	endpoint_init(&endpoint, server.port);
	prober_watch(prober, &endpoint, &service);
	loop_until(HEALTHY(&endpoint));
	for (unsigned i = 0; i < 3; i++) {
		uint64_t failed = slots[2].counters[MARCHER_HEALTH_FAILED];
		server_answer(&server, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
		loop_until(slots[2].counters[MARCHER_HEALTH_FAILED] > failed);
		server_answer(&server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		uint64_t passed = slots[2].counters[MARCHER_HEALTH_PASSED];
		loop_until(slots[2].counters[MARCHER_HEALTH_PASSED] > passed);
		assert_true(HEALTHY(&endpoint));
	}
	assert_int_equal(nevents, 1);
	server_stop(&server);
	tear_down();
}

static void silence_times_out(void **state)
{
	(void)state;
	struct endpoint endpoint;
	struct server server;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
	check.timeout_ms = 60;
	server_start(&server, SOCK_STREAM);
	endpoint_init(&endpoint, server.port);
	uint64_t begin = clock_ms();
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_true(clock_ms() - begin >= 59);
	assert_string_equal(endpoint.health_reason, "timeout after 60 ms without an answer");
	prober_unwatch(prober, &endpoint);
	server_stop(&server);
	tear_down();
}

static void a_host_that_does_not_accept_times_out(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	int fill[4];
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	check.timeout_ms = 60;
	int fd = open_socket(SOCK_STREAM, &port, 0);
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	for (unsigned i = 0; i < 4; i++) { /* a full accept queue drops SYNs, as a dead host would */
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(fill[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	endpoint_init(&endpoint, port);
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_string_equal(endpoint.health_reason, "timeout after 60 ms while connecting");
	for (unsigned i = 0; i < 4; i++)
		close(fill[i]);
	close(fd);
	tear_down();
}

static void http_judges_status_and_body(void **state)
{
	static const struct {
		const char *answer, *body, *method, *reason;
		bool passes;
		size_t piece;
	} cases[] = {
	        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 200", true, 0},
	        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 200", true, 3},
	        {"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 503, expected 200-299, 301", false,
	         0},
	        {"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 301", true, 0},
	        {"HTTP/1.1 302 Moved\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 302, expected 200-299, 301",
	         false, 0},
	        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", "GET", "status 200",
	         true, 0},
	        {"HTTP/1.1 200 OK\r\n\r\nI am well", "am w", "GET", "status 200", true, 0},
	        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nI am\r\n5\r\n well\r\n0\r\n\r\n", "am well",
	         "GET", "status 200", true, 2},
	        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nI am sick", "well", "GET",
	         "status 200, but the body did not contain \"well\"", false, 0},
	        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "", "HEAD", "status 200", true, 0},
	        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "well", "HEAD",
	         "status 200, but the body did not contain \"well\"", false, 0},
	        {"220 mail.example ESMTP\r\n", "", "GET",
	         "the answer is not HTTP/1: it does not begin with a status line", false, 0},
	        {"", "", "GET", "the server closed the connection without an answer", false, 0},
	};
	Marcher__Engine__V1__StatusRange ranges[2] = {MARCHER__ENGINE__V1__STATUS_RANGE__INIT,
	                                              MARCHER__ENGINE__V1__STATUS_RANGE__INIT};
	Marcher__Engine__V1__StatusRange *list[] = {&ranges[0], &ranges[1]};
	(void)state;
	ranges[0].first = 200;
	ranges[0].last = 299;
	ranges[1].first = ranges[1].last = 301;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct endpoint endpoint;
		struct server server;
		set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
		check.http_method = (char *)cases[i].method;
		check.http_path = (char *)"/health?x=1";
		check.http_host = (char *)"app.example";
		check.http_expect_body = (char *)cases[i].body;
		check.n_http_expect_status = 2;
		check.http_expect_status = list;
		server_start(&server, SOCK_STREAM);
		server.piece = cases[i].piece;
		server_answer(&server, cases[i].answer);
		endpoint_init(&endpoint, server.port);
		prober_watch(prober, &endpoint, &service);
		loop_until(atomic_load(&endpoint.health) != HEALTH_UNKNOWN);
		assert_string_equal(endpoint.health_reason, cases[i].reason);
		assert_int_equal(HEALTHY(&endpoint), cases[i].passes);
		prober_unwatch(prober, &endpoint);
		server_stop(&server);
		char expected[160];
		snprintf(expected, sizeof(expected),
		         "%s /health?x=1 HTTP/1.1\r\nHost: app.example\r\nUser-Agent: marcher-health/",
		         cases[i].method);
		assert_memory_equal(server.request, expected, strlen(expected));
		assert_non_null(strstr(server.request, "\r\nConnection: close\r\n"));
		tear_down();
	}
}

static void a_probe_sends_the_proxy_header_that_the_backend_expects(void **state)
{
	static const struct {
		uint8_t version;
		const char *begin;
		size_t length;
	} cases[] = {{1, "PROXY UNKNOWN\r\nGET / ", 21}, {2, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0GET / ", 22}};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct endpoint endpoint;
		struct server server;
		set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
		backend.send_proxy = cases[i].version;
		server_start(&server, SOCK_STREAM);
		server_answer(&server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		endpoint_init(&endpoint, server.port);
		prober_watch(prober, &endpoint, &service);
		loop_until(HEALTHY(&endpoint));
		prober_unwatch(prober, &endpoint);
		server_stop(&server);
		assert_memory_equal(server.request, cases[i].begin, cases[i].length);
		tear_down();
	}
}

static void an_endless_body_is_cut_off(void **state)
{
	(void)state;
	struct endpoint endpoint;
	struct server server;
	static char answer[400000];
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
	check.http_expect_body = (char *)"well";
	memset(answer, 'x', sizeof(answer) - 1);
	memcpy(answer, "HTTP/1.1 200 OK\r\n\r\n", 19);
	memcpy(answer + 19 + 65536, "well", 4); /* beyond the first 64 KiB */
	server_start(&server, SOCK_STREAM);
	server.keep_open = true;
	server_answer(&server, answer);
	endpoint_init(&endpoint, server.port);
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_non_null(strstr(endpoint.health_reason, "did not contain"));
	prober_unwatch(prober, &endpoint);
	server_stop(&server);
	tear_down();
}

static void a_request_cannot_be_smuggled_into_the_probe(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
	int fd = open_socket(SOCK_STREAM, &port, 16);
	check.http_path = (char *)"/ HTTP/1.1\r\nX: y";
	endpoint_init(&endpoint, port);
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_non_null(strstr(endpoint.health_reason, "must not have blanks"));
	close(fd);
	tear_down();
}

static void udp_passes_on_the_expected_reply_only(void **state)
{
	static const struct {
		const char *answer, *expect, *reason;
		bool passes;
	} cases[] = {
	        {"pong and more", "pong", "answered", true},
	        {"anything", "", "answered", true},
	        {"", "", "answered", true},
	        {"pon", "pong", "the reply of 3 bytes does not begin with the expected 4 bytes", false},
	        {"gnop", "pong", "the reply of 4 bytes does not begin with the expected 4 bytes", false},
	        {NULL, "", "timeout after 60 ms without an answer", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct endpoint endpoint;
		struct server server;
		set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UDP);
		if (!cases[i].answer)
			check.timeout_ms = 60;
		check.udp_payload = (ProtobufCBinaryData){.len = 4, .data = (uint8_t *)"ping"};
		check.udp_expect =
		        (ProtobufCBinaryData){.len = strlen(cases[i].expect), .data = (uint8_t *)cases[i].expect};
		server_start(&server, SOCK_DGRAM);
		server_answer(&server, cases[i].answer);
		endpoint_init(&endpoint, server.port);
		prober_watch(prober, &endpoint, &service);
		loop_until(atomic_load(&endpoint.health) != HEALTH_UNKNOWN);
		assert_string_equal(endpoint.health_reason, cases[i].reason);
		assert_int_equal(HEALTHY(&endpoint), cases[i].passes);
		prober_unwatch(prober, &endpoint);
		server_stop(&server);
		assert_string_equal(server.request, "ping");
		tear_down();
	}
}

static void udp_fails_at_once_when_the_port_is_unreachable(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_UDP);
	close(open_socket(SOCK_DGRAM, &port, -1));
	endpoint_init(&endpoint, port);
	uint64_t begin = clock_ms();
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_true(clock_ms() - begin < check.timeout_ms);
	assert_non_null(strstr(endpoint.health_reason, "ICMP port unreachable"));
	tear_down();
}

static void a_unix_socket_is_probed(void **state)
{
	(void)state;
	struct endpoint endpoint;
	char directory[] = "/tmp/marcher-health-XXXXXX";
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	assert_non_null(mkdtemp(directory));
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", directory);
	memset(&endpoint, 0, sizeof(endpoint));
	endpoint.backend = &backend;
	endpoint.addr.family = AF_UNIX;
	endpoint.addr.path = sa.sun_path;
	check.port = 99; /* has no meaning here */
	prober_watch(prober, &endpoint, &service);
	loop_until(UNHEALTHY(&endpoint));
	assert_string_equal(endpoint.health_reason, "connect: no such file or directory");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 64), 0);
	loop_until(HEALTHY(&endpoint));
	close(fd);
	unlink(sa.sun_path);
	rmdir(directory);
	tear_down();
}

static void endpoints_of_one_address_share_a_probe(void **state)
{
	(void)state;
	struct endpoint a, b, c;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	check.interval_ms = 10000;
	int fd = open_socket(SOCK_STREAM, &port, 16);
	endpoint_init(&a, port);
	endpoint_init(&b, port);
	endpoint_init(&c, port);
	prober_watch(prober, &a, &service);
	prober_watch(prober, &b, &service);
	assert_ptr_equal(a.probe, b.probe);
	loop_until(HEALTHY(&a));
	assert_true(HEALTHY(&b));
	prober_watch(prober, &c, &service); /* the state is known: no waiting for the next probe */
	assert_true(HEALTHY(&c));
	int first = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	assert_true(first >= 0);
	close(first);
	close(fd);
	prober_unwatch(prober, &a);
	assert_int_equal(atomic_load(&a.health), HEALTH_UNKNOWN);
	assert_null(a.probe);
	assert_true(HEALTHY(&b));
	check.timeout_ms = 999; /* other settings: a probe of its own, which goes on from what is known */
	prober_watch(prober, &b, &service);
	assert_ptr_not_equal(b.probe, c.probe);
	assert_true(HEALTHY(&b));
	prober_watch(prober, &b, &service);
	prober_unwatch(prober, &b);
	prober_unwatch(prober, &c);
	prober_unwatch(prober, &c);
	tear_down();
}

static void without_a_port_or_a_check_nothing_is_probed(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	int fd = open_socket(SOCK_STREAM, &port, 16);
	endpoint_init(&endpoint, 0);
	prober_watch(prober, &endpoint, &service);
	assert_null(endpoint.probe);
	check.port = port;
	prober_watch(prober, &endpoint, &service);
	loop_until(HEALTHY(&endpoint));
	service.has_health = false;
	service.health = NULL;
	prober_watch(prober, &endpoint, &service);
	assert_null(endpoint.probe);
	assert_int_equal(atomic_load(&endpoint.health), HEALTH_UNKNOWN);
	close(fd);
	tear_down();
}

static void probes_in_flight_are_bounded_and_all_get_their_turn(void **state)
{
	enum { COUNT = 300 };
	static struct endpoint endpoints[COUNT];
	struct rlimit files, few;
	int listeners[COUNT];
	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		uint16_t port = 0;
		listeners[i] = open_socket(SOCK_STREAM, &port, 16);
		endpoint_init(&endpoints[i], port);
	}
	/* 8 at a time, and hardly more descriptors than that. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	prober_free(prober);
	few.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	prober = prober_new(&engine);
	few.rlim_cur = (rlim_t)listeners[COUNT - 1] + 1 + 20;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	check.interval_ms = 10; /* all of them at once */
	for (unsigned i = 0; i < COUNT; i++) {
		endpoints[i].backend = &backend;
		prober_watch(prober, &endpoints[i], &service);
	}
	for (unsigned i = 0; i < COUNT; i++)
		loop_until(HEALTHY(&endpoints[i]));
	assert_int_equal(slots[2].counters[MARCHER_HEALTH_FAILED], 0);
	tear_down();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (unsigned i = 0; i < COUNT; i++)
		close(listeners[i]);
}

static void want_of_descriptors_here_is_not_held_against_the_backend(void **state)
{
	(void)state;
	struct endpoint endpoint;
	struct rlimit files, none;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	check.fall = 1;
	int fd = open_socket(SOCK_STREAM, &port, 64);
	endpoint_init(&endpoint, port);
	prober_watch(prober, &endpoint, &service);
	loop_until(HEALTHY(&endpoint));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	none = files;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	uint64_t passed = slots[2].counters[MARCHER_HEALTH_PASSED];
	loop_for(100);
	assert_true(HEALTHY(&endpoint));
	assert_true(slots[2].counters[MARCHER_HEALTH_PASSED] <= passed + 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	passed = slots[2].counters[MARCHER_HEALTH_PASSED];
	loop_until(slots[2].counters[MARCHER_HEALTH_PASSED] > passed);
	close(fd);
	tear_down();
}

static void probes_keep_their_interval(void **state)
{
	(void)state;
	struct endpoint endpoint;
	uint16_t port = 0;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_TCP);
	int fd = open_socket(SOCK_STREAM, &port, 64);
	endpoint_init(&endpoint, port);
	check.interval_ms = 50;
	check.jitter_percent = 20;
	prober_watch(prober, &endpoint, &service);
	loop_for(1000);
	/* 20 on average; at the jitter's bounds 17 and 25; a busy machine makes them fewer. */
	uint64_t count = slots[2].counters[MARCHER_HEALTH_PASSED];
	if (count < 4 || count > 26)
		fail_msg("%lu probes in 1 s at an interval of 50 ms", (unsigned long)count);
	close(fd);
	tear_down();
}

static void a_probe_leaves_in_the_middle_of_an_attempt(void **state)
{
	(void)state;
	struct endpoint endpoint;
	struct server server;
	set_up(MARCHER__ENGINE__V1__PROBE_TYPE__PROBE_TYPE_HTTP);
	server_start(&server, SOCK_STREAM);
	endpoint_init(&endpoint, server.port);
	prober_watch(prober, &endpoint, &service);
	loop_for(30);
	prober_unwatch(prober, &endpoint);
	loop_for(30);
	assert_int_equal(atomic_load(&endpoint.health), HEALTH_UNKNOWN);
	prober_watch(prober, &endpoint, &service);
	loop_for(30);
	server_stop(&server);
	tear_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(tcp_falls_and_rises),
	        cmocka_unit_test(a_single_failure_between_passes_changes_nothing),
	        cmocka_unit_test(silence_times_out),
	        cmocka_unit_test(a_host_that_does_not_accept_times_out),
	        cmocka_unit_test(http_judges_status_and_body),
	        cmocka_unit_test(a_probe_sends_the_proxy_header_that_the_backend_expects),
	        cmocka_unit_test(an_endless_body_is_cut_off),
	        cmocka_unit_test(a_request_cannot_be_smuggled_into_the_probe),
	        cmocka_unit_test(udp_passes_on_the_expected_reply_only),
	        cmocka_unit_test(udp_fails_at_once_when_the_port_is_unreachable),
	        cmocka_unit_test(a_unix_socket_is_probed),
	        cmocka_unit_test(endpoints_of_one_address_share_a_probe),
	        cmocka_unit_test(without_a_port_or_a_check_nothing_is_probed),
	        cmocka_unit_test(probes_in_flight_are_bounded_and_all_get_their_turn),
	        cmocka_unit_test(want_of_descriptors_here_is_not_held_against_the_backend),
	        cmocka_unit_test(probes_keep_their_interval),
	        cmocka_unit_test(a_probe_leaves_in_the_middle_of_an_attempt),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
