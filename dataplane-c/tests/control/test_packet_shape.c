/* SPDX-License-Identifier: Apache-2.0 */
/* Queueing disciplines of interfaces: chosen, made, changed in place, adopted, given back; and left alone where they
 * are somebody's own. */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/packet.h"
#include "control/packet_netlink.h"
#include "control/packet_shape.h"

#define MEGABIT 125000ull /* bytes */

static const struct packet_shape_need web = {
        .service = 3, .priority = 0, .bytes_per_second = {40 * MEGABIT, 200 * MEGABIT}, .burst_bytes = {65536, 500000}};

/* What a command of the test's own says, in one line. */
static const char *said(const char *format, const char *interface)
{
	static char out[4096];
	char command[256];

	snprintf(command, sizeof(command), format, interface);
	FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): the test's own words */
	assert_non_null(pipe);
	size_t length = fread(out, 1, sizeof(out) - 1, pipe);
	out[length] = '\0';
	pclose(pipe);
	for (char *at = out; *at; at++)
		if (*at == '\n')
			*at = ' ';
	return out;
}

static void assert_said(const char *format, const char *interface, const char *expected)
{
	const char *out = said(format, interface);

	if (!strstr(out, expected))
		fail_msg("expected \"%s\" in: %s", expected, out);
}

#define ROOT "tc qdisc show dev %s root"
#define CLASSES "tc class show dev %s"

static struct qdisc_root root_of(const char *interface)
{
	struct qdisc_root root = {.index = if_nametoindex(interface)};
	int fd = netlink_open(1);

	assert_true(fd >= 0);
	assert_int_equal(qdisc_look(fd, &root, 1), 0);
	close(fd);
	return root;
}

static void shape(struct packet_rig *rig, const struct packet_shape_need *needs, uint32_t count)
{
	if (!rig || packet_shape_apply(rig->packet, needs, count))
		fail_msg("%s", marcher_packet_last_error(rig ? rig->packet : NULL));
}

static void tend(struct packet_rig *rig)
{
	if (!rig || marcher_packet_tend(rig->packet))
		fail_msg("%s", marcher_packet_last_error(rig ? rig->packet : NULL));
}

/* Of v0. */
static void assert_shaping(struct packet_rig *rig, const char *kind, const char *reason)
{
	PacketStatus *status = packet_rig_status(rig);

	assert_string_equal(status->interfaces[0]->shaping, kind);
	const char *told = status->interfaces[0]->shaping_reason;
	if (!told || !strstr(told, reason))
		fail_msg("expected \"%s\" in: %s", reason, told ? told : "nothing");
	packet_status_free(status);
}

static uint32_t device_in_map(const struct packet_rig *rig, const char *interface)
{
	uint32_t index = if_nametoindex(interface), kind = 0;

	if (packet_has(rig, "shape_devices", &index))
		packet_lookup(rig, "shape_devices", &index, &kind);
	return kind;
}

static uint32_t classes_in_map(const struct packet_rig *rig, uint32_t service)
{
	uint32_t bits;

	packet_lookup(rig, "shape_services", &service, &bits);
	return bits;
}

static void open_with(struct packet_rig *rig, uint32_t shaping)
{
	packet_shape_linger_s = 3600;
	struct marcher_packet_options options = {.size = sizeof(options),
	                                         .flows = 1024,
	                                         .pin_dir = rig->pin_dir,
	                                         .interfaces = "v0",
	                                         .egress_shaping = shaping};

	if (marcher_packet_open(&options, &rig->packet))
		fail_msg("open: %s", marcher_packet_last_error(NULL));
}

static bool kernel_has_fq(void)
{
	struct qdisc_root root = {.index = if_nametoindex("v1"), .kind = "noqueue"};
	int fd = netlink_open(1), error = qdisc_make_fq(fd, &root);

	if (!error)
		qdisc_restore(fd, root.index);
	close(fd);
	return !error;
}

/* Datagrams out of v0 that choose a class. */
static void send_by_class(uint32_t class, unsigned count)
{
	const uint32_t priority = SHAPE_MAJOR << 16 | class;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
	char bytes[1000] = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	packet_rig_run("ip neighbour replace 192.0.2.2 lladdr 02:00:00:00:00:99 dev v0");
	inet_pton(AF_INET, "192.0.2.2", &to.sin_addr);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&to, sizeof(to)),
		                 sizeof(bytes));
	close(fd);
}

/* Nothing that was sent to the first class of a service is lost: it waits, or has gone out. */
static void assert_kept(unsigned sent, bool waits)
{
	unsigned out = 0, waiting = 0;
	const char *text = said("tc -s class show dev %s | grep -A9 'htb 4d41:11 '", "v0");
	const char *counts = strstr(text, " bytes "), *backlog = strstr(text, "backlog ");

	assert_true(counts && backlog);
	assert_int_equal(sscanf(counts, " bytes %u pkt", &out), 1);        /* NOLINT(cert-err34-c) */
	assert_int_equal(sscanf(backlog, "backlog %*s %up", &waiting), 1); /* NOLINT(cert-err34-c) */
	assert_int_equal(out + waiting, sent);
	assert_int_equal(waiting != 0, waits);
}

static void which_root_becomes_what(void **state)
{
	(void)state;
	const struct packet_shape_sum rates = {.rates = true}, order = {.priorities = true}, nothing = {.rates = false};
	const struct {
		struct qdisc_root root;
		const struct packet_shape_sum *sum;
		uint32_t mode;
		enum packet_shape_choice choice;
		const char *reason;
	} cases[] = {
	        {{.kind = "noqueue"}, &rates, MARCHER_SHAPING_AUTO, SHAPE_MAKE, ""},
	        {{.kind = "pfifo_fast"}, &rates, MARCHER_SHAPING_HTB, SHAPE_MAKE, ""},
	        {{.kind = "fq_codel"}, &rates, MARCHER_SHAPING_FQ, SHAPE_MAKE, ""},
	        {{.kind = "noqueue"}, &nothing, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "noqueue"}, &rates, MARCHER_SHAPING_OFF, SHAPE_LEAVE, "--egress-shaping off"},
	        /* What orders packets by itself, or has nothing to order, stays when there are priorities alone. */
	        {{.kind = "pfifo_fast"}, &order, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "noqueue"}, &order, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "mq", .leaf = "pfifo_fast", .leaves = 4}, &order, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "mq", .leaf = "fq_codel", .leaves = 4}, &order, MARCHER_SHAPING_AUTO, SHAPE_MAKE, ""},
	        {{.kind = "mq", .leaf = "fq_codel", .leaves = 4}, &rates, MARCHER_SHAPING_AUTO, SHAPE_MAKE, ""},
	        /* The kernel's own fq keeps 100 packets of a flow: less than what may wait. */
	        {{.kind = "fq"}, &rates, MARCHER_SHAPING_AUTO, SHAPE_MAKE, ""},
	        {{.kind = "fq"}, &order, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "mq", .leaf = "fq", .leaves = 4}, &rates, MARCHER_SHAPING_FQ, SHAPE_MAKE, ""},
	        {{.kind = "mq", .leaf = "fq", .leaves = 4, .own_leaf = true},
	         &rates,
	         MARCHER_SHAPING_AUTO,
	         SHAPE_USE_FQ,
	         ""},
	        {{.kind = "mq", .leaf = "", .leaves = 4, .own_leaf = true},
	         &rates,
	         MARCHER_SHAPING_AUTO,
	         SHAPE_LEAVE,
	         "not Marcher's"},
	        {{.kind = "fq", .handle = 0x80010000}, &rates, MARCHER_SHAPING_AUTO, SHAPE_USE_FQ, ""},
	        {{.kind = "fq", .handle = 0x80010000}, &rates, MARCHER_SHAPING_HTB, SHAPE_LEAVE, "fq 8001:"},
	        {{.kind = "fq"}, &rates, MARCHER_SHAPING_HTB, SHAPE_MAKE, ""},
	        {{.kind = "htb", .handle = 0x10000}, &rates, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, "htb 1:"},
	        {{.kind = "tbf", .handle = 0x80020000}, &rates, MARCHER_SHAPING_FQ, SHAPE_LEAVE, "tbf 8002:"},
	        {{.kind = "htb", .handle = SHAPE_MAJOR << 16}, &rates, MARCHER_SHAPING_AUTO, SHAPE_KEEP, ""},
	        {{.kind = "htb", .handle = SHAPE_MAJOR << 16}, &order, MARCHER_SHAPING_AUTO, SHAPE_KEEP, ""},
	        {{.kind = "htb", .handle = SHAPE_MAJOR << 16}, &nothing, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	        {{.kind = "htb", .handle = SHAPE_MAJOR << 16}, &rates, MARCHER_SHAPING_FQ, SHAPE_MAKE, ""},
	        {{.kind = "fq", .handle = SHAPE_MAJOR << 16}, &rates, MARCHER_SHAPING_FQ, SHAPE_KEEP, ""},
	        {{.kind = ""}, &rates, MARCHER_SHAPING_AUTO, SHAPE_LEAVE, ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char reason[SHAPE_REASON_SIZE];
		if (packet_shape_choose(cases[i].mode, cases[i].sum, &cases[i].root, reason) != cases[i].choice)
			fail_msg("case %zu, %s: another choice", i, cases[i].root.kind);
		if (*cases[i].reason ? !strstr(reason, cases[i].reason) : *reason)
			fail_msg("case %zu, %s: %s", i, cases[i].root.kind, reason);
	}
}

static void a_rate_brings_htb_with_its_classes_and_the_last_takes_it_away(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	open_with(rig, MARCHER_SHAPING_HTB);
	assert_said(ROOT, "v0", "noqueue");
	shape(rig, &web, 1);
	assert_shaping(rig, "htb", "");
	assert_said(ROOT, "v0", "htb 4d41: root");
	assert_said(CLASSES, "v0", "htb 4d41:16 root leaf");
	assert_said(CLASSES, "v0", "prio 0 rate 40Mbit ceil 40Mbit");
	assert_said(CLASSES, "v0", "prio 0 rate 200Mbit ceil 200Mbit burst 500000b");
	assert_int_equal(device_in_map(rig, "v0"), SHAPE_HTB);
	assert_int_equal(classes_in_map(rig, web.service), 3);
	/* Nobody needs it: it is not asked for any more at once, and goes when what waits has had its time. */
	shape(rig, NULL, 0);
	assert_int_equal(device_in_map(rig, "v0"), 0);
	assert_int_equal(classes_in_map(rig, web.service), 0);
	assert_said(ROOT, "v0", "htb 4d41:");
	packet_shape_linger_s = 0;
	tend(rig);
	assert_said(ROOT, "v0", "noqueue");
	assert_shaping(rig, "", "");
}

static void a_class_changes_in_place_and_what_waits_in_it_stays(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	/* One packet of 1000 bytes takes half a second. */
	struct packet_shape_need slow = {
	        .service = 0, .priority = 2, .bytes_per_second = {[POLICY_EGRESS] = 2000}, .burst_bytes = {0, 1000}};
	const uint32_t class = SHAPE_SERVICE_CLASS(0, POLICY_EGRESS);

	open_with(rig, MARCHER_SHAPING_HTB);
	shape(rig, &slow, 1);
	send_by_class(class, 20);
	assert_kept(20, true);
	slow.bytes_per_second[POLICY_EGRESS] = 1875;
	slow.priority = 1;
	shape(rig, &slow, 1);
	assert_kept(20, true);
	assert_said(CLASSES, "v0", "prio 1 rate 15Kbit");
	/* Another process finds it as it is. */
	packet_rig_close(rig);
	open_with(rig, MARCHER_SHAPING_HTB);
	assert_shaping(rig, "htb", "");
	shape(rig, &slow, 1);
	assert_kept(20, true);
	/* Faster, and it drains, when the last packet at the old rate has had its time. */
	slow.bytes_per_second[POLICY_EGRESS] = 80 * MEGABIT;
	shape(rig, &slow, 1);
	usleep(600000);
	assert_kept(20, false);
}

static void services_come_and_go_while_others_stay(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct packet_shape_need both[] = {
	        web, {.service = 7, .priority = 3, .bytes_per_second = {0, MEGABIT}, .burst_bytes = {0, 20000}}};

	open_with(rig, MARCHER_SHAPING_HTB);
	shape(rig, both, 2);
	assert_said(CLASSES, "v0", "prio 3 rate 1Mbit");
	assert_int_equal(classes_in_map(rig, 7), 1u << POLICY_EGRESS);
	shape(rig, both, 1);
	assert_int_equal(classes_in_map(rig, 7), 0);
	assert_int_equal(classes_in_map(rig, 3), 3);
	assert_said(CLASSES, "v0", "prio 3 rate 1Mbit");
	packet_shape_linger_s = 0;
	tend(rig);
	assert_null(strstr(said(CLASSES, "v0"), "prio 3 rate 1Mbit"));
	assert_said(CLASSES, "v0", "rate 200Mbit");
}

static void what_is_somebodys_own_is_left_alone(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_run("tc qdisc add dev v0 root handle 1: tbf rate 100mbit burst 100k latency 50ms");
	open_with(rig, MARCHER_SHAPING_AUTO);
	shape(rig, &web, 1);
	assert_shaping(rig, "", "tbf 1: is not Marcher's and is left alone");
	assert_int_equal(device_in_map(rig, "v0"), 0);
	assert_said(ROOT, "v0", "tbf 1:");
	/* He takes it off: the next look finds that, and when he puts one in our place, too. */
	packet_rig_run("tc qdisc del dev v0 root");
	tend(rig);
	assert_int_not_equal(device_in_map(rig, "v0"), 0);
	packet_rig_run("tc qdisc replace dev v0 root handle 1: tbf rate 100mbit burst 100k latency 50ms");
	tend(rig);
	assert_int_equal(device_in_map(rig, "v0"), 0);
	assert_shaping(rig, "", "tbf 1:");
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), 0);
	assert_said(ROOT, "v0", "tbf 1:");
}

static void what_somebody_makes_meanwhile_is_left_alone(void **state)
{
	NEEDS_PRIVILEGE(state);
	const struct qdisc_root before = root_of("v0");
	int fd = netlink_open(1);

	assert_true(fd >= 0);
	packet_rig_run("tc qdisc add dev v0 root handle 7: pfifo");
	assert_int_equal(qdisc_make_htb(fd, before.index, 1), -EEXIST);
	assert_int_equal(qdisc_make_fq(fd, &before), -EEXIST);
	assert_int_equal(qdisc_restore(fd, before.index), 0);
	assert_said("tc qdisc show dev %s", "v0", "pfifo 7: root");
	close(fd);
}

static void what_is_ours_goes_with_the_rest_of_it(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	uint8_t *bytes;
	size_t length;

	open_with(rig, MARCHER_SHAPING_AUTO);
	shape(rig, &web, 1);
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_installed(rig->pin_dir, &bytes, &length), 0);
	Marcher__Packet__V1__Installed *installed = marcher__packet__v1__installed__unpack(NULL, length, bytes);
	bool told = false;
	for (size_t i = 0; i < installed->n_links; i++)
		told |= !strcmp(installed->links[i]->hook, "qdisc") && !strcmp(installed->links[i]->interface, "v0");
	assert_true(told);
	marcher__packet__v1__installed__free_unpacked(installed, NULL);
	marcher_buffer_free(bytes);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), 0);
	assert_said(ROOT, "v0", "noqueue");
}

static void a_root_of_another_agent_is_not_ours(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char dir[96], whose[160];

	packet_shape_linger_s = 3600;
	struct marcher_packet *other = packet_rig_other(rig, "v0", dir);
	assert_int_equal(packet_shape_apply(other, &web, 1), MARCHER_OK);
	const uint32_t handle = root_of("v0").handle;
	assert_int_not_equal(handle, 0);
	packet_rig_must_open(rig, "v0,v1");
	shape(rig, &web, 1);
	snprintf(whose, sizeof(whose), "the queueing discipline is another Marcher's, of --bpf-dir %s", dir);
	assert_shaping(rig, "", whose);
	assert_int_equal(device_in_map(rig, "v0"), 0);
	/* What is somebody's whose pins cannot be seen may be nobody's. */
	packet_rig_run("mv %s/v%d %s/hidden", dir, LAYOUT_VERSION, dir);
	shape(rig, &web, 1);
	assert_shaping(rig, "", "pins are not seen from here");
	assert_shaping(rig, "", "if there is none: tc qdisc del dev v0 root");
	packet_rig_run("mv %s/hidden %s/v%d", dir, dir, LAYOUT_VERSION);
	/* Neither what we do not need any more nor our end takes it away. */
	packet_shape_linger_s = 0;
	shape(rig, NULL, 0);
	tend(rig);
	assert_int_equal(root_of("v0").handle, handle);
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), 0);
	assert_int_equal(root_of("v0").handle, handle);
	packet_rig_must_open(rig, "v0,v1");
	shape(rig, &web, 1);
	packet_rig_end_other(other, dir);
	assert_int_equal(root_of("v0").handle, 0);
	tend(rig);
	assert_int_not_equal(device_in_map(rig, "v0"), 0);
	assert_int_equal(root_of("v0").handle, handle);
}

static void an_interface_that_is_not_named_any_more_is_given_back(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	open_with(rig, MARCHER_SHAPING_AUTO);
	shape(rig, &web, 1);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v1");
	assert_said(ROOT, "v0", "noqueue");
	assert_int_equal(device_in_map(rig, "v0"), 0);
}

static void classes_are_bounded_and_the_rest_is_told(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static struct packet_shape_need many[600];

	for (uint32_t i = 0; i < 600; i++)
		many[i] = (struct packet_shape_need){.service = i,
		                                     .priority = 2,
		                                     .bytes_per_second = {MEGABIT, MEGABIT},
		                                     .burst_bytes = {20000, 20000}};
	open_with(rig, MARCHER_SHAPING_HTB);
	shape(rig, many, 600);
	assert_shaping(rig, "htb", "no more than 1024 classes");
	assert_int_equal(atoi(said("tc class show dev %s | wc -l", "v0")), 1024);
	assert_int_equal(classes_in_map(rig, 0), 3);
	assert_int_equal(classes_in_map(rig, 599), 0);
}

static void a_mode_that_the_kernel_lacks_says_what_is_missing(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (kernel_has_fq())
		skip();
	open_with(rig, MARCHER_SHAPING_FQ);
	shape(rig, &web, 1);
	assert_shaping(rig, "", "the kernel has no sch_fq (modprobe sch_fq");
	assert_said(ROOT, "v0", "noqueue");
	packet_rig_close(rig);
	open_with(rig, MARCHER_SHAPING_AUTO);
	shape(rig, &web, 1);
	assert_shaping(rig, "htb", "the kernel has no sch_fq");
	tend(rig);
	assert_shaping(rig, "htb", "the kernel has no sch_fq");
}

static void fq_comes_where_the_kernel_has_it_and_goes(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_has_fq())
		skip();
	open_with(rig, MARCHER_SHAPING_AUTO);
	shape(rig, &web, 1);
	assert_shaping(rig, "fq", "");
	assert_said(ROOT, "v0", "fq 4d41:");
	assert_int_equal(device_in_map(rig, "v0"), SHAPE_FQ);
	shape(rig, NULL, 0);
	packet_shape_linger_s = 0;
	tend(rig);
	assert_said(ROOT, "v0", "noqueue");
	/* His own serves, and stays. */
	packet_rig_run("tc qdisc add dev v0 root handle 5: fq");
	shape(rig, &web, 1);
	assert_shaping(rig, "fq", "");
	packet_rig_close(rig);
	open_with(rig, MARCHER_SHAPING_AUTO);
	assert_shaping(rig, "fq", "");
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), 0);
	assert_said(ROOT, "v0", "fq 5:");
}

static void each_queue_of_a_device_gets_its_own_fq(void **state)
{
	NEEDS_PRIVILEGE(state);

	if (!kernel_has_fq())
		skip();
	/* A device that the kernel gives queues to; its root is mq. */
	packet_rig_run("(modprobe -q tun || true) && ip tuntap add dev t0 mode tap multi_queue && ip link set t0 up");
	struct qdisc_root root = root_of("t0");
	if (strcmp(root.kind, "mq") != 0) {
		packet_rig_run("ip link delete t0");
		skip();
	}
	int fd = netlink_open(1);
	assert_int_equal(qdisc_make_fq(fd, &root), 0);
	root = root_of("t0");
	assert_true(qdisc_is_ours(&root));
	assert_true(packet_shape_is_fq(&root));
	assert_int_equal(qdisc_restore(fd, root.index), 0);
	root = root_of("t0");
	assert_int_equal(root.handle, 0);
	close(fd);
	packet_rig_run("ip link delete t0");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(which_root_becomes_what),
	        CASE(a_rate_brings_htb_with_its_classes_and_the_last_takes_it_away),
	        CASE(a_class_changes_in_place_and_what_waits_in_it_stays),
	        CASE(services_come_and_go_while_others_stay),
	        CASE(what_is_somebodys_own_is_left_alone),
	        CASE(what_somebody_makes_meanwhile_is_left_alone),
	        CASE(what_is_ours_goes_with_the_rest_of_it),
	        CASE(a_root_of_another_agent_is_not_ours),
	        CASE(an_interface_that_is_not_named_any_more_is_given_back),
	        CASE(classes_are_bounded_and_the_rest_is_told),
	        CASE(a_mode_that_the_kernel_lacks_says_what_is_missing),
	        CASE(fq_comes_where_the_kernel_has_it_and_goes),
	        CASE(each_queue_of_a_device_gets_its_own_fq),
	};

	return cmocka_run_group_tests(tests, packet_rig_namespaces, NULL);
}
