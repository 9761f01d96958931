/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of tc: attached, adopted, replaced, taken away, beside what others have attached; and what NAT needs in
 * tables and maps. */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/packet.h"

#define ATTACH_TCX_INGRESS 46
#define ATTACH_TCX_EGRESS 47

static const char web[] = "service web snat 251\n"
                          "vip 198.51.100.1 80\n"
                          "backend one 192.0.2.11 1 :8080\n"
                          "backend two 192.0.2.12 1 :8081\n";

/* The one program at a hook of an interface by tcx; 0: none. */
static uint32_t tcx_on(const char *interface, int type)
{
	__u32 ids[4] = {0}, count = 4;

	if (bpf_prog_query((int)if_nametoindex(interface), (enum bpf_attach_type)type, 0, NULL, ids, &count) || !count)
		return 0;
	assert_int_equal(count, 1);
	return ids[0];
}

/* Our filter's program; 0: none. */
static uint32_t filter_on(const char *interface, enum bpf_tc_attach_point point)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(interface), .attach_point = point);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 0x4d41, .priority = 0x4d41);

	return bpf_tc_query(&hook, &filter) ? 0 : filter.prog_id;
}

/* A program that lets everything pass, at egress. */
static void attach_others_filter(const char *interface)
{
	const struct bpf_insn code[] = {
	        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1},
	        {.code = BPF_JMP | BPF_EXIT},
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "others", "GPL", code, 2, NULL);
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(interface), .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = 7, .prog_fd = fd);

	assert_true(fd >= 0);
	assert_int_equal(bpf_tc_attach(&hook, &filter), 0);
	close(fd);
}

static bool has_clsact(const char *interface)
{
	char command[128];

	snprintf(command, sizeof(command), "tc qdisc show dev %s | grep -q clsact", interface);
	return !system(command); /* NOLINT(cert-env33-c): the test's own words */
}

static uint32_t pinned_program(const struct packet_rig *rig, const char *name)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int fd = packet_pin(rig, name);

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	close(fd);
	return info.id;
}

static void assert_attached(struct packet_rig *rig, const char *interface, const char *mode, const char *reason)
{
	PacketStatus *status = packet_rig_status(rig);
	bool found = false;

	for (size_t i = 0; i < status->n_interfaces; i++) {
		if (strcmp(status->interfaces[i]->name, interface) != 0)
			continue;
		found = true;
		assert_string_equal(status->interfaces[i]->tc, mode);
		if (!strstr(status->interfaces[i]->tc_reason, reason))
			fail_msg("expected \"%s\" in: %s", reason, status->interfaces[i]->tc_reason);
	}
	assert_true(found);
	packet_status_free(status);
}

/* Linux 6.6 and later: how it is attached there; NULL: this kernel has no tcx. */
static const char *tcx_here(struct packet_rig *rig)
{
	PacketStatus *status = packet_rig_status(rig);
	bool has = !strcmp(status->interfaces[0]->tc, "tcx");

	if (!has)
		assert_string_equal(status->interfaces[0]->tc, "clsact");
	packet_status_free(status);
	return has ? "tcx" : NULL;
}

/* The one program of ours at the ingress hook, however it is attached. */
static uint32_t ingress_on(const char *interface)
{
	uint32_t program = tcx_on(interface, ATTACH_TCX_INGRESS);

	return program ? program : filter_on(interface, BPF_TC_INGRESS);
}

static void both_hooks_are_attached_by_tcx_and_adopted(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0,v1");
	if (!tcx_here(rig))
		skip();
	assert_attached(rig, "v0", "tcx", "");
	assert_attached(rig, "v1", "tcx", "");
	uint32_t in = pinned_program(rig, "programs/tc_ingress"), out = pinned_program(rig, "programs/tc_egress");
	assert_int_equal(tcx_on("v0", ATTACH_TCX_INGRESS), in);
	assert_int_equal(tcx_on("v0", ATTACH_TCX_EGRESS), out);
	assert_int_equal(tcx_on("v1", ATTACH_TCX_INGRESS), in);
	assert_false(has_clsact("v0"));
	packet_rig_close(rig);
	assert_int_equal(tcx_on("v0", ATTACH_TCX_INGRESS), in);
	/* The same programs by the same links; v1 is not named any more. */
	packet_rig_must_open(rig, "v0");
	assert_attached(rig, "v0", "tcx", "");
	assert_int_equal(tcx_on("v0", ATTACH_TCX_INGRESS), in);
	assert_int_equal(tcx_on("v0", ATTACH_TCX_EGRESS), out);
	assert_int_equal(tcx_on("v1", ATTACH_TCX_INGRESS), 0);
	assert_int_equal(tcx_on("v1", ATTACH_TCX_EGRESS), 0);
}

static void another_builds_program_takes_the_place_in_the_link(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	for (int without = 0; without < 2; without++) {
		packet_tc_without_tcx = without;
		packet_rig_must_open(rig, "v0");
		uint32_t before = pinned_program(rig, "programs/tc_ingress");
		/* As if what is pinned came from another object. */
		char key[32] = "tc_ingress";
		struct build_record other = {.fingerprint = 1};
		packet_write(rig, "build_records", key, &other);
		packet_rig_close(rig);
		packet_rig_must_open(rig, "v0");
		uint32_t after = pinned_program(rig, "programs/tc_ingress");
		assert_int_not_equal(after, before);
		assert_int_equal(ingress_on("v0"), after);
		packet_rig_close(rig);
		assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	}
	packet_tc_without_tcx = false;
}

static void what_somebody_detached_is_attached_again(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	packet_rig_run("ip link delete v0");
	assert_attached(rig, "v0", "", "gone");
	packet_rig_run("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up");
	packet_rig_apply(rig, web);
	tcx_here(rig);
	assert_int_equal(ingress_on("v0"), pinned_program(rig, "programs/tc_ingress"));
}

static void nothing_is_left_after_uninstall(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0,v1");
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(tcx_on("v0", ATTACH_TCX_INGRESS), 0);
	assert_int_equal(tcx_on("v1", ATTACH_TCX_EGRESS), 0);
	assert_false(has_clsact("v0"));
	assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
}

static void without_tcx_filters_of_clsact_do(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_tc_without_tcx = true;
	packet_rig_must_open(rig, "v0");
	assert_attached(rig, "v0", "clsact", "Linux 6.6");
	uint32_t in = pinned_program(rig, "programs/tc_ingress"), out = pinned_program(rig, "programs/tc_egress");
	assert_int_equal(filter_on("v0", BPF_TC_INGRESS), in);
	assert_int_equal(filter_on("v0", BPF_TC_EGRESS), out);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(filter_on("v0", BPF_TC_INGRESS), in);
	packet_rig_close(rig);
	/* The qdisc was made here: it goes with the filters. */
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_false(has_clsact("v0"));
	packet_tc_without_tcx = false;
}

/* As if the pins were of the layout before: filters are the same ones by their handle, and tell nothing of whose pins.
 */
static void filters_outlive_another_layout(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char own[256], before[256];

	packet_tc_without_tcx = true;
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t old = pinned_program(rig, "programs/tc_ingress");
	packet_rig_close(rig);
	snprintf(own, sizeof(own), "%s/v%d", rig->pin_dir, LAYOUT_VERSION);
	snprintf(before, sizeof(before), "%s/v%d", rig->pin_dir, LAYOUT_VERSION - 1);
	assert_int_equal(rename(own, before), 0);
	packet_rig_must_open(rig, "v0");
	/* Who has a table goes on until the other one has it, too. */
	assert_int_equal(filter_on("v0", BPF_TC_INGRESS), old);
	packet_rig_apply(rig, web);
	assert_int_not_equal(access(before, F_OK), 0);
	assert_int_equal(filter_on("v0", BPF_TC_INGRESS), pinned_program(rig, "programs/tc_ingress"));
	assert_int_equal(filter_on("v0", BPF_TC_EGRESS), pinned_program(rig, "programs/tc_egress"));
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_false(has_clsact("v0"));
	packet_tc_without_tcx = false;
}

static void others_filters_and_qdiscs_stay(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_tc_without_tcx = true;
	/* A qdisc of ours that somebody else has put a filter at. */
	packet_rig_must_open(rig, "v0");
	attach_others_filter("v0");
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(filter_on("v0", BPF_TC_INGRESS), 0);
	assert_int_equal(filter_on("v0", BPF_TC_EGRESS), 0);
	packet_rig_run("tc filter show dev v0 egress | grep -q 'pref 7 bpf'");
	/* A qdisc that was there before, empty. */
	packet_rig_run("tc qdisc add dev v1 clsact");
	packet_rig_must_open(rig, "v1");
	assert_int_not_equal(filter_on("v1", BPF_TC_EGRESS), 0);
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(filter_on("v1", BPF_TC_EGRESS), 0);
	assert_true(has_clsact("v1"));
	packet_tc_without_tcx = false;
}

static void another_agents_programs_keep_their_place(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char dir[96], whose[160];

	/* By tcx where the kernel has it, and by clsact. */
	for (int i = 0; i < 2; i++) {
		packet_tc_without_tcx = i;
		struct marcher_packet *other = packet_rig_other(rig, "v0", dir);
		uint32_t program = ingress_on("v0");
		assert_int_not_equal(program, 0);
		snprintf(whose, sizeof(whose), "its programs are another Marcher's, of --bpf-dir %s:", dir);
		packet_rig_must_open(rig, "v0,v1");
		assert_attached(rig, "v0", "", whose);
		packet_rig_apply(rig, web);
		assert_attached(rig, "v0", "", whose);
		if (packet_tc_without_tcx) {
			packet_rig_run("mv %s/v%d %s/hidden", dir, LAYOUT_VERSION, dir);
			packet_rig_apply(rig, web);
			assert_attached(rig, "v0", "", "if there is none: tc filter del dev v0 ingress");
			packet_rig_run("mv %s/hidden %s/v%d", dir, dir, LAYOUT_VERSION);
		}
		assert_int_equal(ingress_on("v0"), program);
		/* That which was refused goes: the other one stays. */
		packet_rig_close(rig);
		assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
		assert_int_equal(ingress_on("v0"), program);
		packet_rig_must_open(rig, "v0,v1");
		packet_rig_end_other(other, dir);
		packet_rig_apply(rig, web);
		assert_int_equal(ingress_on("v0"), pinned_program(rig, "programs/tc_ingress"));
		packet_rig_close(rig);
		assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	}
	packet_tc_without_tcx = false;
}

static void xdp_may_be_left_out(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0");
	assert_int_not_equal(packet_xdp_on("v0"), 0);
	packet_rig_close(rig);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_OFF), MARCHER_OK);
	assert_int_equal(packet_xdp_on("v0"), 0);
	tcx_here(rig);
	assert_int_equal(ingress_on("v0"), pinned_program(rig, "programs/tc_ingress"));
	PacketStatus *status = packet_rig_status(rig);
	assert_string_equal(status->interfaces[0]->mode, "off");
	packet_status_free(status);
	packet_rig_close(rig);
	assert_int_equal(packet_rig_open(rig, "nowhere", MARCHER_XDP_OFF), MARCHER_E_SYSTEM);
	assert_non_null(strstr(marcher_packet_last_error(NULL), "nowhere: there is no such interface"));
}

static void the_table_reaches_the_maps(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct backend backend;
	struct service service;
	struct nat_settings settings;
	uint32_t zero = 0;

	packet_rig_run("sysctl -qw net.ipv4.ip_local_port_range='20000 50000'");
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t index = packet_service_of(rig, "198.51.100.1", 80);
	packet_lookup(rig, "services", &index, &service);
	assert_int_equal(service.forwarding, FORWARDING_NAT);
	assert_int_equal(service.flags, SERVICE_SOURCE_NAT);
	index = packet_backend_of(rig, "192.0.2.12");
	packet_lookup(rig, "backends", &index, &backend);
	assert_int_equal(ntohs(backend.port), 8081);
	struct address source = packet_rig_address("192.0.2.1");
	assert_memory_equal(&backend.source, &source, sizeof(source));
	packet_lookup(rig, "nat_settings", &zero, &settings);
	assert_int_equal(settings.first[0], 1024);
	assert_int_equal(settings.last[0], 19999);
	assert_int_equal(settings.first[1], 50001);
	assert_int_equal(settings.last[1], 65535);
	assert_int_equal(settings.flags, 0);

	/* A backend here: tc_egress has work until it is gone. */
	packet_rig_run("sysctl -qw net.ipv4.ip_local_port_range='1024 65535'");
	packet_rig_apply(rig, "service web nat 251\nvip 198.51.100.1 80\nbackend here 192.0.2.1 1 :8080\n");
	packet_lookup(rig, "nat_settings", &zero, &settings);
	assert_int_equal(settings.flags, NAT_SETTING_LOCAL);
	assert_true(settings.first[0] > settings.last[0] && settings.first[1] > settings.last[1]);
	packet_rig_run("sysctl -qw net.ipv4.ip_local_port_range='32768 60999'");
	packet_rig_apply(rig, "");
	packet_lookup(rig, "nat_settings", &zero, &settings);
	assert_int_equal(settings.flags, 0);
	assert_int_equal(settings.last[0], 32767);
}

static uint32_t settings_flags(const struct packet_rig *rig)
{
	struct nat_settings settings;
	uint32_t zero = 0;

	packet_lookup(rig, "nat_settings", &zero, &settings);
	return settings.flags;
}

static void assert_decapsulation(struct packet_rig *rig, const char *first, const char *second)
{
	PacketStatus *status = packet_rig_status(rig);

	assert_string_equal(status->interfaces[0]->decapsulation, first);
	if (second)
		assert_string_equal(status->interfaces[1]->decapsulation, second);
	packet_status_free(status);
}

static void tc_decapsulates_where_xdp_does_not(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, "decap 192.0.2.1\n");
	assert_int_equal(settings_flags(rig), NAT_SETTING_DECAP);
	assert_decapsulation(rig, "xdp", NULL);
	packet_rig_apply(rig, "");
	assert_int_equal(settings_flags(rig), 0);
	assert_decapsulation(rig, "", NULL);
	packet_rig_close(rig);

	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_OFF), MARCHER_OK);
	packet_rig_apply(rig, "decap 192.0.2.1\n");
	assert_int_equal(settings_flags(rig), NAT_SETTING_DECAP | NAT_SETTING_TC_DECAP);
	assert_decapsulation(rig, "tc", NULL);
	packet_rig_close(rig);

	/* Of one interface that the driver does not take a program for: there alone. */
	assert_int_equal(packet_rig_open(rig, "v0,lo", MARCHER_XDP_NATIVE), MARCHER_OK);
	packet_rig_apply(rig, "decap 192.0.2.1\n");
	assert_int_equal(settings_flags(rig), NAT_SETTING_DECAP | NAT_SETTING_TC_DECAP);
	assert_decapsulation(rig, "xdp", "tc");
}

static void a_slot_of_tc_that_somebody_changed_is_put_right(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	uint32_t slot = TC_SLOT_DECAP, later = TC_SLOTS - 1, id;

	packet_rig_must_open(rig, "v0");
	uint32_t before = pinned_program(rig, "programs/tc_decap");
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(pinned_program(rig, "programs/tc_decap"), before);
	packet_rig_close(rig);
	int slots = packet_pin(rig, "maps/tc_slots"), program = packet_pin(rig, "programs/tc_decap");
	assert_int_equal(bpf_map_delete_elem(slots, &slot), 0);
	assert_int_equal(bpf_map_update_elem(slots, &later, &program, BPF_ANY), 0);
	close(program);
	packet_rig_must_open(rig, "v0");
	packet_lookup(rig, "tc_slots", &slot, &id);
	assert_int_equal(id, pinned_program(rig, "programs/tc_decap"));
	assert_int_not_equal(bpf_map_lookup_elem(slots, &later, &id), 0);
	close(slots);
}

static void the_way_to_a_backend_is_measured(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const char table[] = "service web ipip 251\n"
	                            "vip 198.51.100.1 80\n"
	                            "backend one 192.0.2.11 1\n"
	                            "backend two 192.0.2.12 1\n";

	packet_rig_run("ip route add 192.0.2.12 dev v0 mtu lock 1400");
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, table);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->services[0]->n_backends, 2);
	for (size_t i = 0; i < 2; i++) {
		bool narrow = !strcmp(status->services[0]->backends[i]->name, "two");
		assert_int_equal(status->services[0]->backends[i]->path_mtu, narrow ? 1400 : 1500);
	}
	packet_status_free(status);
	/* It is looked at again with every table. */
	packet_rig_run("ip route replace 192.0.2.12 dev v0 mtu lock 1300");
	packet_rig_apply(rig, table);
	status = packet_rig_status(rig);
	for (size_t i = 0; i < 2; i++)
		if (!strcmp(status->services[0]->backends[i]->name, "two"))
			assert_int_equal(status->services[0]->backends[i]->path_mtu, 1300);
	packet_status_free(status);
	packet_rig_run("ip route del 192.0.2.12 dev v0");
}

/* Whom of the services the apply has left out, and why: "NAME: REASON". "" when nobody. */
static void assert_left_out(struct packet_rig *rig, const char *lines, const char *expected)
{
	PacketTable *table = packet_table(lines);
	ApplyReply *reply;
	char said[512] = "";

	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	assert_true(reply->accepted);
	assert_int_equal(reply->services + reply->n_left_out, table->n_services);
	if (reply->n_left_out)
		snprintf(said, sizeof(said), "%s: %s", reply->left_out[0]->service, reply->left_out[0]->reason);
	assert_string_equal(said, expected);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

static void what_the_relay_has_too_is_left_to_it_until_answers_come_back_through_tc(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const char table[] = "service near autonat 251\nvip 192.0.2.1 80\nbackend one 192.0.2.11 1 :8080\n"
	                            "service web autonat 251\nvip 192.0.2.1 81\nbackend one 192.0.2.11 1 :8080\n"
	                            "backend two 203.0.113.9 1 :8080\n";
	static const char nobody[] = "service web autonat 251\nvip 192.0.2.1 81\nbackend two 203.0.113.9 1 :8080\n";

	packet_rig_must_open(rig, "v0");
	packet_rig_run("sysctl -qw net.ipv4.conf.v0.forwarding=0");
	assert_left_out(rig, table, "near: net.ipv4.conf.v0.forwarding is 0: sysctl -w net.ipv4.ip_forward=1");
	packet_rig_run("sysctl -qw net.ipv4.conf.v0.forwarding=1");
	/* Nobody reaches that one; connections to the others are not to break for it, and none begins with it. */
	assert_left_out(rig, table, "");
	uint32_t count, service = packet_service_of(rig, "192.0.2.1", 81);
	uint32_t *ring = packet_ring(rig, service, &count);
	assert_int_equal(count, 251);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(ring[i], ring[0]);
	free(ring);
	assert_left_out(rig, nobody, "web: there is no route to 203.0.113.9: Network is unreachable");
	packet_rig_run("ip address add 203.0.113.1/24 dev v1");
	assert_left_out(rig, table, "web: 203.0.113.9 is reached by v1, which tc is not attached to");
	packet_rig_run("ip address del 203.0.113.1/24 dev v1");
	packet_rig_run("ip route add 203.0.113.0/24 via 192.0.2.11");
	assert_left_out(rig, table, "");
	packet_rig_run("ip route del 203.0.113.0/24");
	/* Kernels without VLAN devices have nothing to get wrong here. */
	if (!system("ip link add link v0 name v0.7 type vlan id 7 2>/dev/null")) {
		packet_rig_run("ip link set v0.7 up");
		packet_rig_run("ip address add 203.0.113.1/24 dev v0.7");
		assert_left_out(rig, table, "");
		packet_rig_run("ip link del v0.7");
	}
	packet_rig_run("ip address add 203.0.113.9/32 dev v1");
	assert_left_out(rig, table, "web: 203.0.113.9 is this node itself, and would see the client's address");
	packet_rig_run("ip address del 203.0.113.9/32 dev v1");
}

static void what_is_left_to_the_relay_is_so_within_wider_services(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const char table[] = "service near autonat 251\nvip 192.0.2.1 80\nbackend one 203.0.113.9 1 :8080\n"
	                            "service wide nat 251\nvip 192.0.2.1 0\nbackend one 192.0.2.11 1\n";
	struct vip_key key = packet_vip_key("192.0.2.1", 80, IPPROTO_TCP);
	struct vip vip;

	packet_rig_must_open(rig, "v0");
	packet_rig_run("sysctl -qw net.ipv4.conf.v0.forwarding=1");
	assert_left_out(rig, table, "near: there is no route to 203.0.113.9: Network is unreachable");
	packet_lookup(rig, "vips", &key, &vip);
	assert_int_equal(vip.service, VIP_LEFT);
	packet_rig_run("ip route add 203.0.113.0/24 via 192.0.2.11");
	assert_left_out(rig, table, "");
	packet_lookup(rig, "vips", &key, &vip);
	assert_int_not_equal(vip.service, VIP_LEFT);
	packet_rig_run("ip route del 203.0.113.0/24");
}

static void flows_and_counters_outlive_the_process(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct flow_key key = {.source_port = 1, .protocol = IPPROTO_TCP};
	const struct nat_flow flow = {.source_port = 2, .flags = NAT_CONFIRMED, .seen = 3};
	struct nat_flow found = {0};

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	packet_write(rig, "nat_flows", &key, &flow);
	uint32_t index = packet_service_of(rig, "198.51.100.1", 80);
	struct traffic *counts = calloc(1024, sizeof(*counts));
	counts[0] = (struct traffic){.packets = 5, .bytes = 500, .returned_packets = 7, .returned_bytes = 7000};
	packet_write(rig, "service_counters", &index, counts);
	free(counts);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	packet_lookup(rig, "nat_flows", &key, &found);
	assert_memory_equal(&found, &flow, sizeof(flow));
	PacketStatus *status = packet_rig_status(rig);
	assert_true(status->adopted);
	assert_int_equal(status->services[0]->traffic->returned_packets, 7);
	assert_int_equal(status->services[0]->traffic->returned_bytes, 7000);
	packet_status_free(status);
}

/* Entries that there is room for; 0: there is no table. */
static uint32_t room_of(const struct packet_rig *rig, const char *map)
{
	const uint32_t zero = 0;
	struct bpf_map_info info = {0};
	uint32_t id = 0, length = sizeof(info);
	char name[64];

	snprintf(name, sizeof(name), "maps/%s", map);
	int maps = packet_pin(rig, name);
	assert_true(maps >= 0);
	int fd = bpf_map_lookup_elem(maps, &zero, &id) ? -1 : bpf_map_get_fd_by_id(id);
	close(maps);
	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	close(fd);
	return info.max_entries;
}

static void tables_of_flows_are_there_while_a_service_needs_them(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const struct flow_key key = {.source_port = 1, .protocol = IPPROTO_TCP};
	const struct nat_flow flow = {.source_port = 2, .flags = NAT_CONFIRMED, .seen = 3};
	static const char without[] = "service dns ipip 251\nvip 198.51.100.2 53\nbackend c 192.0.2.3 1\n";
	struct nat_flow found = {0};

	packet_rig_must_open(rig, "v0");
	assert_int_equal(room_of(rig, "nat_flows"), 0);
	packet_rig_apply(rig, without);
	assert_int_equal(room_of(rig, "nat_flows") + room_of(rig, "nat_new"), 0);
	packet_rig_apply(rig, web);
	assert_int_equal(room_of(rig, "nat_flows"), 2 * 1024);
	assert_int_equal(room_of(rig, "nat_new"), 2 * 1024 / NAT_NEW_SHARE + 1);
	packet_write(rig, "nat_flows", &key, &flow);
	packet_rig_apply(rig, web);
	packet_lookup(rig, "nat_flows", &key, &found);
	assert_memory_equal(&found, &flow, sizeof(flow));
	packet_rig_apply(rig, without);
	assert_int_equal(room_of(rig, "nat_flows") + room_of(rig, "nat_new"), 0);
}

static void room_for_flows_goes_with_the_memory(void **state)
{
	(void)state;
	uint32_t flows = packet_nat_flows_default();
	uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	assert_int_equal(flows & (flows - 1), 0);
	assert_in_range(flows, 1u << 16, 1u << 20);
	if (flows > 1u << 16)
		assert_true(flows * 370ull <= memory / 64);
	if (flows < 1u << 20)
		assert_true(2 * flows * 370ull > memory / 64);
}

static void a_table_that_nat_cannot_carry_is_refused_with_reasons(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	static const struct {
		const char *table, *path, *reason;
	} wrong[] = {
	        {"service a ipip 251\nvip 198.51.100.1 80\nbackend x 192.0.2.11 1 :8080\n", "services[0].backends[0]",
	         "which only NAT can send packets to"},
	        {"service a nat 251\nvip 198.51.100.1 80\nbackend x 2001:db8::1 1\n", "services[0].backends[0]",
	         "VIP of the other address family"},
	        {"service a nat 251\nvip 2001:db8::9 80\nbackend x 192.0.2.11 1\n", "services[0].backends[0]",
	         "VIP of the other address family"},
	        {"service a nat 251\nvip 198.51.100.1 80\nbackend x 192.0.2.11 1 :70000\n", "services[0].backends[0]",
	         "port 70000"},
	};

	packet_rig_must_open(rig, "v0");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		PacketTable *table = packet_table(wrong[i].table);
		ApplyReply *reply;
		assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
		assert_int_equal(reply->n_reasons, 1);
		assert_string_equal(reply->reasons[0]->path, wrong[i].path);
		if (!strstr(reply->reasons[0]->reason, wrong[i].reason))
			fail_msg("expected \"%s\" in: %s", wrong[i].reason, reply->reasons[0]->reason);
		marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
		packet_table_free(table);
	}
	PacketTable *table = packet_table("service a ipip 251\nvip 198.51.100.1 80\nbackend x 192.0.2.11 1\n");
	ApplyReply *reply;
	table->services[0]->source_nat = true;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_E_REFUSED);
	assert_string_equal(reply->reasons[0]->path, "services[0].source_nat");
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(both_hooks_are_attached_by_tcx_and_adopted),
	        TEST(another_builds_program_takes_the_place_in_the_link),
	        TEST(what_somebody_detached_is_attached_again),
	        TEST(nothing_is_left_after_uninstall),
	        TEST(without_tcx_filters_of_clsact_do),
	        TEST(others_filters_and_qdiscs_stay),
	        TEST(another_agents_programs_keep_their_place),
	        TEST(xdp_may_be_left_out),
	        TEST(the_table_reaches_the_maps),
	        TEST(tc_decapsulates_where_xdp_does_not),
	        TEST(a_slot_of_tc_that_somebody_changed_is_put_right),
	        TEST(the_way_to_a_backend_is_measured),
	        TEST(what_the_relay_has_too_is_left_to_it_until_answers_come_back_through_tc),
	        TEST(what_is_left_to_the_relay_is_so_within_wider_services),
	        TEST(filters_outlive_another_layout),
	        TEST(flows_and_counters_outlive_the_process),
	        TEST(tables_of_flows_are_there_while_a_service_needs_them),
	        TEST(room_for_flows_goes_with_the_memory),
	        TEST(a_table_that_nat_cannot_carry_is_refused_with_reasons),
	};

	return cmocka_run_group_tests(tests, packet_rig_namespaces, NULL);
}
