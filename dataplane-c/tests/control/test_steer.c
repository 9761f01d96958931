/* SPDX-License-Identifier: Apache-2.0 */
/* Connections and datagrams that sk_lookup steers, between real sockets: the engine's are made here. */
#include "control/steer.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/lib/steer.h"
#include "packet_rig.h"

#define WAIT_MS 2000

static struct steer *open_steer(const struct packet_rig *rig)
{
	char why[512] = "";
	int error;
	struct steer *steer = steer_open(rig->pin_dir, &error, why, sizeof(why));

	if (!steer)
		fail_msg("steer_open: %s", why);
	return steer;
}

static void sync_steer(struct steer *steer, const struct bank *bank)
{
	char why[512] = "";

	if (steer_sync(steer, bank, why, sizeof(why)))
		fail_msg("steer_sync: %s", why);
}

static socklen_t address_of(const char *text, uint16_t port, struct sockaddr_storage *sa)
{
	struct sockaddr_in *in = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

/* As the engine's: on a loopback address, or where it is told; IPv6 ones take IPv4, too. */
static int serve(const char *address, uint16_t port, int type)
{
	struct sockaddr_storage sa;
	socklen_t length = address_of(address, port, &sa);
	const int on = 1, off = 0;
	int fd = socket(sa.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	if (sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (type == SOCK_DGRAM)
		setsockopt(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 sa;
	socklen_t length = sizeof(sa);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &length), 0);
	return ntohs(sa.sin6_port); /* at the same place in both families */
}

/* Another of the same group. */
static int serve_too(int first, int type)
{
	struct sockaddr_storage sa = {0};
	socklen_t length = sizeof(sa);
	const int on = 1;
	int fd;

	assert_int_equal(getsockname(first, (struct sockaddr *)&sa, &length), 0);
	fd = socket(sa.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, length), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	return fd;
}

/* Connected, or -errno. */
static int reach(const char *address, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t length = address_of(address, port, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!connect(fd, (struct sockaddr *)&sa, length))
		return fd;
	int error = -errno;
	close(fd);
	return error;
}

/* The connection comes to the socket, which knows what for; and is over. */
static void assert_reaches(int server, const char *address, uint16_t port)
{
	struct sockaddr_storage want, got = {0};
	socklen_t length = sizeof(got), want_length = address_of(address, port, &want);
	struct pollfd ready = {.fd = server, .events = POLLIN};
	int fd = reach(address, port);

	if (fd < 0)
		fail_msg("%s port %u: %s", address, port, strerror(-fd));
	assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
	int accepted = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	assert_true(accepted >= 0);
	assert_int_equal(getsockname(accepted, (struct sockaddr *)&got, &length), 0);
	if (got.ss_family == want.ss_family)
		assert_memory_equal(&got, &want, want_length);
	else /* mapped */
		assert_int_equal(((struct sockaddr_in6 *)&got)->sin6_port, htons(port));
	close(accepted);
	close(fd);
}

static void the_most_specific_listener_has_a_connection(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct steer *steer = open_steer(*state);
	int wide = serve("127.0.0.1", 0, SOCK_STREAM), longer = serve("127.0.0.1", 0, SOCK_STREAM);
	int v6 = serve("::", 0, SOCK_STREAM), plain = serve("127.5.5.9", 7000, SOCK_STREAM);
	int port = serve("127.0.0.1", 0, SOCK_STREAM);
	const char *keys[] = {"tcp|7f050000/16|7000-7100|0", "tcp|7f050500/24|1-65535|0",
	                      "tcp|*/0|7100-7101|0",         "tcp|7f050509|7000|0",
	                      "tcp|7f050500/24|7050-7050|0", "tcp|7f050000/16|7000-7100|1"};
	int fds[] = {wide, longer, v6, plain, port, wide};
	struct bank bank = {.fds = fds, .keys = (char **)(uintptr_t)keys, .count = 6, .wanted = 6};

	assert_int_equal(reach("127.5.1.1", 7000), -ECONNREFUSED);
	sync_steer(steer, &bank);
	assert_reaches(wide, "127.5.1.1", 7000);
	assert_reaches(wide, "127.5.255.255", 7100);
	assert_reaches(longer, "127.5.5.1", 7000);
	assert_reaches(longer, "127.5.5.1", 22);
	assert_reaches(port, "127.5.5.1", 7050);
	assert_reaches(longer, "127.5.5.9", 7001);
	assert_reaches(plain, "127.5.5.9", 7000);
	assert_reaches(v6, "::1", 7101);
	assert_reaches(v6, "127.6.0.1", 7100);
	assert_int_equal(reach("127.5.1.1", 7102), -ECONNREFUSED);
	/* Where the sockets are bound nobody is served. */
	assert_int_equal(reach("127.0.0.1", port_of(wide)), -ECONNREFUSED);
	assert_int_equal(reach("127.0.0.1", port_of(v6)), -ECONNREFUSED);
	assert_int_equal(reach("::1", port_of(v6)), -ECONNREFUSED);
	assert_int_equal(reach("127.4.1.1", 7000), -ECONNREFUSED);
	/* What is gone from the list is gone, and the kernel's own way again; the rest stays. */
	fds[0] = longer;
	keys[0] = keys[1];
	bank.count = bank.wanted = 1;
	sync_steer(steer, &bank);
	assert_reaches(longer, "127.5.5.9", 7001);
	assert_int_equal(steer_targets_count(steer), 2);
	assert_int_equal(reach("127.5.1.1", 7000), -ECONNREFUSED);
	int after = serve("127.5.1.1", 7000, SOCK_STREAM);
	assert_reaches(after, "127.5.1.1", 7000);
	steer_close(steer);
	close(after);
	close(wide);
	for (int i = 1; i < 5; i++)
		close(fds[i]);
}

/* Which place of the socket map a port leads to. */
static uint32_t place_of(const struct packet_rig *rig, const char *address, uint32_t length, uint16_t port)
{
	struct vip_prefix_key key = {.length = VIP_PREFIX_BITS + 96 + length,
	                             .port = htons(port),
	                             .protocol = IPPROTO_TCP,
	                             .address = packet_rig_address(address)};
	struct steer_target target;
	int map = packet_pin(rig, "steer/steer_targets");

	assert_true(map >= 0);
	assert_int_equal(bpf_map_lookup_elem(map, &key, &target), 0);
	close(map);
	return target.socket;
}

static void connections_are_spread_over_the_group(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct steer *steer = open_steer(*state);
	int one = serve("127.0.0.1", 0, SOCK_STREAM), two = serve_too(one, SOCK_STREAM), taken[2] = {0}, fds[32];
	const char *keys[] = {"tcp|7f070000/16|80-80|0", "tcp|7f070000/16|80-80|1"};
	int both[] = {one, two};
	struct bank bank = {.fds = both, .keys = (char **)(uintptr_t)keys, .count = 2, .wanted = 2};

	sync_steer(steer, &bank);
	for (int i = 0; i < 32; i++)
		fds[i] = reach("127.7.0.1", 80);
	for (int i = 0; i < 2; i++)
		for (int fd; (fd = accept4(both[i], NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd))
			taken[i]++;
	assert_int_equal(taken[0] + taken[1], 32);
	assert_true(taken[0] > 0 && taken[1] > 0);
	for (int i = 0; i < 32; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	steer_close(steer);
	close(one);
	close(two);
}

static void another_engine_takes_over_by_one_write(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct steer *steer = open_steer(rig);
	int old = serve("127.0.0.1", 0, SOCK_STREAM), new;
	const char *keys[] = {"tcp|7f080000/16|1000-1999|0"};
	struct bank bank = {.fds = &old, .keys = (char **)(uintptr_t)keys, .count = 1, .wanted = 1};

	sync_steer(steer, &bank);
	assert_reaches(old, "127.8.0.1", 1500);
	/* The agent is gone: what is pinned goes on. */
	steer_close(steer);
	assert_reaches(old, "127.8.0.1", 1999);
	steer = open_steer(rig);
	assert_int_equal(steer_targets_count(steer), 1001);
	assert_reaches(old, "127.8.0.1", 1000);
	/* So is the engine. Nobody else answers meanwhile, though there is one who would. */
	int other = serve("0.0.0.0", 1500, SOCK_STREAM);
	close(old);
	assert_int_equal(reach("127.8.0.1", 1500), -ECONNREFUSED);
	assert_reaches(other, "127.9.0.1", 1500);
	uint32_t place = place_of(rig, "127.8.0.0", 16, 1000);
	new = serve("127.0.0.1", 0, SOCK_STREAM);
	bank.fds = &new;
	sync_steer(steer, &bank);
	assert_reaches(new, "127.8.0.1", 1500);
	assert_int_equal(place_of(rig, "127.8.0.0", 16, 1000), place);
	assert_int_equal(place_of(rig, "127.8.0.0", 16, 1999), place);
	steer_close(steer);
	close(new);
	close(other);
	/* Nothing is left of it, and what would go is told before. */
	uint8_t *reply;
	size_t length;
	assert_int_equal(marcher_packet_installed(rig->pin_dir, &reply, &length), MARCHER_OK);
	Marcher__Packet__V1__Installed *installed = marcher__packet__v1__installed__unpack(NULL, length, reply);
	marcher_buffer_free(reply);
	assert_int_equal(installed->n_links, 1);
	assert_string_equal(installed->links[0]->hook, "sk_lookup");
	marcher__packet__v1__installed__free_unpacked(installed, NULL);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(reach("127.8.0.1", 1000), -ECONNREFUSED);
	assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
}

static void datagrams_tell_where_they_were_sent_to(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct steer *steer = open_steer(*state);
	int server = serve("127.0.0.1", 0, SOCK_DGRAM), client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char *keys[] = {"udp|7f090000/16|5000-5999|0"};
	char byte = 'x';
	struct bank bank = {.fds = &server, .keys = (char **)(uintptr_t)keys, .count = 1, .wanted = 1};
	struct sockaddr_storage to;
	socklen_t length = address_of("127.9.1.2", 5432, &to);
	struct pollfd ready = {.fd = server, .events = POLLIN};
	_Alignas(8) char control[128];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};

	sync_steer(steer, &bank);
	assert_int_equal(sendto(client, &byte, 1, 0, (struct sockaddr *)&to, length), 1);
	assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
	assert_int_equal(recvmsg(server, &msg, 0), 1);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	assert_non_null(cmsg);
	assert_int_equal(cmsg->cmsg_type, IP_ORIGDSTADDR);
	assert_memory_equal(CMSG_DATA(cmsg), &to, 8);
	close(client);
	close(server);
	steer_close(steer);
}

static void a_list_that_makes_no_sense_changes_nothing(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct steer *steer = open_steer(*state);
	int server = serve("127.0.0.1", 0, SOCK_STREAM), closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char why[256];
	const char *keys[] = {"tcp|7f0a0000/16|80-80|0",
	                      "tcp|7f0a0000/40|80-80|0",
	                      "tcp|7f0a0000/16|0-80|0",
	                      "tcp|7f0a0000/16|90-80|0",
	                      "tcp|7f0a00zz/16|80-80|0",
	                      "tcp|7f0a00/16|80-80|0",
	                      "quatsch",
	                      "tcp|7f0a0000/16|80-80|0x",
	                      "tcp|7f0a0000/16|80-70000|0"};
	int fds[] = {server, closed, closed, closed, closed, closed, closed, closed, closed};
	struct bank bank = {.fds = fds, .keys = (char **)(uintptr_t)keys, .count = 9, .wanted = 9};

	sync_steer(steer, &bank);
	assert_int_equal(steer_targets_count(steer), 2);
	assert_reaches(server, "127.10.0.1", 80);
	/* What is no socket is refused, with a reason; what was stays. */
	keys[0] = "tcp|7f0b0000/16|80-80|0";
	keys[1] = "tcp|7f0c0000/16|80-80|0";
	bank.count = bank.wanted = 2;
	assert_true(steer_sync(steer, &bank, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "steer_sockets"));
	assert_reaches(server, "127.10.0.1", 80);
	close(closed);
	close(server);
	steer_close(steer);
}

static void one_process_fills_it_and_another_takes_it_away(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct steer *steer = open_steer(rig);
	int server = serve("127.0.0.1", 0, SOCK_STREAM), error;
	char why[512];
	const char *keys[] = {"tcp|7f0d0000/16|80-80|0"};
	struct bank bank = {.fds = &server, .keys = (char **)(uintptr_t)keys, .count = 1, .wanted = 1};

	assert_null(steer_open(rig->pin_dir, &error, why, sizeof(why)));
	assert_non_null(strstr(why, "--bpf-dir"));
	sync_steer(steer, &bank);
	assert_reaches(server, "127.13.0.1", 80);
	assert_int_equal(steer_remove(rig->pin_dir), -EWOULDBLOCK);
	assert_reaches(server, "127.13.0.1", 80);
	steer_close(steer);
	assert_int_equal(steer_remove(rig->pin_dir), 0);
	assert_int_equal(steer_remove(rig->pin_dir), 0);
	assert_int_equal(reach("127.13.0.1", 80), -ECONNREFUSED);
	close(server);
}

/* As `marcherd uninstall-dataplane --dry-run` asks. */
static bool installed_is_held(const struct packet_rig *rig)
{
	uint8_t *reply;
	size_t length;

	assert_int_equal(marcher_packet_installed(rig->pin_dir, &reply, &length), MARCHER_OK);
	Marcher__Packet__V1__Installed *installed = marcher__packet__v1__installed__unpack(NULL, length, reply);
	assert_non_null(installed);
	bool held = installed->held;
	marcher__packet__v1__installed__free_unpacked(installed, NULL);
	marcher_buffer_free(reply);
	return held;
}

/* They are pinned below one folder, and the packet tiers' handle begins its own anew at times. */
static void packet_tiers_that_begin_anew_leave_it_alone(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	int server = serve("127.0.0.1", 0, SOCK_STREAM);
	const char *keys[] = {"tcp|7f0e0000/16|80-80|0"};
	struct bank bank = {.fds = &server, .keys = (char **)(uintptr_t)keys, .count = 1, .wanted = 1};
	char path[256], other[264];

	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	snprintf(path, sizeof(path), "%s/v%d", rig->pin_dir, LAYOUT_VERSION);
	snprintf(other, sizeof(other), "%s/v%d", rig->pin_dir, LAYOUT_VERSION - 1);
	assert_int_equal(rename(path, other), 0);
	struct steer *steer = open_steer(rig);
	sync_steer(steer, &bank);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, "");
	assert_reaches(server, "127.14.0.1", 80);
	packet_rig_close(rig);
	/* An agent may have nothing else there. */
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_E_BUSY);
	assert_non_null(strstr(marcher_packet_last_error(NULL), "this process has the pin directory"));
	assert_reaches(server, "127.14.0.1", 80);
	assert_true(installed_is_held(rig));
	steer_close(steer);
	assert_false(installed_is_held(rig));
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(reach("127.14.0.1", 80), -ECONNREFUSED);
	/* What could not be begun is taken away again, but for that. */
	steer = open_steer(rig);
	sync_steer(steer, &bank);
	assert_int_not_equal(packet_rig_open(rig, "nowhere", MARCHER_XDP_AUTO), MARCHER_OK);
	assert_reaches(server, "127.14.0.1", 80);
	snprintf(other, sizeof(other), "%s/maps", path);
	assert_int_not_equal(access(other, F_OK), 0);
	steer_close(steer);
	close(server);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_most_specific_listener_has_a_connection), TEST(connections_are_spread_over_the_group),
	        TEST(another_engine_takes_over_by_one_write),      TEST(datagrams_tell_where_they_were_sent_to),
	        TEST(a_list_that_makes_no_sense_changes_nothing),  TEST(one_process_fills_it_and_another_takes_it_away),
	        TEST(packet_tiers_that_begin_anew_leave_it_alone),
	};
	return cmocka_run_group_tests_name("steer", tests, packet_rig_namespaces, NULL);
}
