/* SPDX-License-Identifier: Apache-2.0 */
/* When packets of open translated flows are XDP's: the slot of xdp_nat, and the devices that it may carry for. */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/packet.h"
#include "control/packet_netdev.h"

static const char web[] = "service web snat 251\n"
                          "vip 198.51.100.1 80\n"
                          "backend one 192.0.2.11 1 :8080\n";
static const char direct[] = "service dns ipip 251\n"
                             "vip 198.51.100.2 53\n"
                             "backend c 192.0.2.3 1\n";

/* Of the program in the slot; 0: it is empty. */
static uint32_t in_slot(const struct packet_rig *rig)
{
	const uint32_t slot = XDP_SLOT_NAT;
	uint32_t id = 0;
	int slots = packet_pin(rig, "maps/xdp_slots");

	assert_true(slots >= 0);
	if (bpf_map_lookup_elem(slots, &slot, &id))
		id = 0;
	close(slots);
	return id;
}

static uint32_t pinned(const struct packet_rig *rig)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);
	int fd = packet_pin(rig, "programs/xdp_nat");

	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	close(fd);
	return info.id;
}

/* What the status says of an interface; reason: part of why not XDP. */
static void assert_carries(struct packet_rig *rig, const char *name, const char *what, const char *reason)
{
	PacketStatus *status = packet_rig_status(rig);
	bool found = false;

	for (size_t i = 0; i < status->n_interfaces; i++) {
		if (strcmp(status->interfaces[i]->name, name) != 0)
			continue;
		found = true;
		assert_string_equal(status->interfaces[i]->nat, what);
		if (!strstr(status->interfaces[i]->nat_reason, reason))
			fail_msg("expected \"%s\" in: %s", reason, status->interfaces[i]->nat_reason);
	}
	assert_true(found);
	packet_status_free(status);
}

static bool among_devices(const struct packet_rig *rig, const char *name)
{
	uint32_t index = if_nametoindex(name);

	return packet_has(rig, "nat_devices", &index);
}

/* Before Linux 6.3 nobody knows whether a veth sends, and tc carries. */
static bool kernel_tells(void)
{
	struct packet_netdev device = {.index = if_nametoindex("v0")};

	return packet_netdev_features(&device, 1) == 0;
}

static void tend(const struct packet_rig *rig)
{
	if (!rig || marcher_packet_tend(rig->packet))
		fail_msg("%s", marcher_packet_last_error(rig ? rig->packet : NULL));
}

static void the_slot_is_filled_while_a_service_is_translated(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_tells())
		skip();
	packet_rig_must_open(rig, "v0,v1");
	assert_int_equal(in_slot(rig), 0);
	packet_rig_apply(rig, direct);
	assert_int_equal(in_slot(rig), 0);
	assert_carries(rig, "v0", "", "");
	packet_rig_apply(rig, web);
	assert_int_equal(in_slot(rig), pinned(rig));
	assert_carries(rig, "v0", "xdp", "");
	assert_carries(rig, "v1", "xdp", "");
	packet_rig_apply(rig, direct);
	assert_int_equal(in_slot(rig), 0);
	assert_false(among_devices(rig, "v0"));
	assert_carries(rig, "v0", "", "");
}

static void it_goes_on_without_an_agent_and_is_adopted(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_tells())
		skip();
	packet_rig_must_open(rig, "v0,v1");
	packet_rig_apply(rig, web);
	const uint32_t program = in_slot(rig);
	packet_rig_close(rig);
	assert_int_equal(in_slot(rig), program);
	packet_rig_must_open(rig, "v0,v1");
	PacketStatus *status = packet_rig_status(rig);
	assert_true(status->adopted);
	packet_status_free(status);
	/* What nobody has said anything about yet stays. */
	tend(rig);
	assert_int_equal(in_slot(rig), program);
	assert_carries(rig, "v0", "xdp", "");
	packet_rig_apply(rig, web);
	assert_int_equal(in_slot(rig), program);
}

/* Has the library load xdp_nat anew. */
static void forget_build(const struct packet_rig *rig)
{
	char key[PACKET_RECORD_KEY] = "xdp_nat";
	struct build_record none = {0};

	packet_write(rig, "build_records", key, &none);
}

static void another_builds_program_is_replaced_in_place(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_tells())
		skip();
	packet_rig_must_open(rig, "v0,v1");
	packet_rig_apply(rig, web);
	const uint32_t before = in_slot(rig);
	forget_build(rig);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0,v1");
	assert_int_not_equal(in_slot(rig), before);
	assert_int_equal(in_slot(rig), pinned(rig));
	/* An empty slot stays empty. */
	packet_rig_apply(rig, direct);
	forget_build(rig);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0,v1");
	assert_int_equal(in_slot(rig), 0);
}

static void tc_carries_all_when_it_is_asked_to(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	PacketTable *table = packet_table(web);
	ApplyReply *reply;

	if (!kernel_tells())
		skip();
	packet_rig_must_open(rig, "v0,v1");
	packet_rig_apply(rig, web);
	table->nat_by_tc = true;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
	assert_int_equal(in_slot(rig), 0);
	assert_carries(rig, "v0", "tc", "it is turned off");
	tend(rig);
	assert_int_equal(in_slot(rig), 0);
	packet_rig_apply(rig, web);
	assert_int_equal(in_slot(rig), pinned(rig));
}

static void devices_that_would_lose_frames_are_left_to_tc(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_tells())
		skip();
	/* The other end of v0 takes none, and lo runs XDP generically. */
	packet_rig_must_open(rig, "v0,lo");
	packet_rig_apply(rig, web);
	assert_int_equal(in_slot(rig), 0);
	assert_carries(rig, "v0", "tc", "cannot send");
	assert_carries(rig, "lo", "tc", "not native");
	packet_rig_run("ethtool -K v1 gro on");
	tend(rig);
	assert_int_equal(in_slot(rig), pinned(rig));
	assert_carries(rig, "v0", "xdp", "");
	assert_carries(rig, "lo", "tc", "not native");
	assert_false(among_devices(rig, "lo"));
	packet_rig_run("ethtool -K v1 gro off");
	tend(rig);
	assert_int_equal(in_slot(rig), 0);
	assert_false(among_devices(rig, "v0"));
}

static void addresses_of_devices_are_followed(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const uint32_t index = if_nametoindex("v0");
	struct nat_device device;

	if (!kernel_tells())
		skip();
	packet_rig_must_open(rig, "v0,v1");
	packet_rig_run("ip link set v0 address 02:00:00:00:00:77");
	packet_rig_apply(rig, web);
	packet_lookup(rig, "nat_devices", &index, &device);
	assert_int_equal(device.address[5], 0x77);
	packet_rig_run("ip link set v0 address 02:00:00:00:00:78");
	tend(rig);
	packet_lookup(rig, "nat_devices", &index, &device);
	assert_int_equal(device.address[5], 0x78);
}

static void interfaces_that_go_are_not_kept(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	if (!kernel_tells())
		skip();
	packet_rig_run("ip link add w0 type veth peer name w1");
	packet_rig_must_open(rig, "v0,v1,w0,w1");
	packet_rig_apply(rig, web);
	const uint32_t index = if_nametoindex("w0");
	assert_true(packet_has(rig, "nat_devices", &index));
	packet_rig_run("ip link del w0");
	tend(rig);
	assert_false(packet_has(rig, "nat_devices", &index));
	assert_true(among_devices(rig, "v0"));
}

static void what_xdp_has_carried_of_a_service_is_told(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct traffic values[512] = {{.packets = 3, .bytes = 300, .returned_packets = 2, .returned_bytes = 200}};

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	const uint32_t service = packet_service_of(rig, "198.51.100.1", 80);
	packet_write(rig, "nat_counters", &service, values);
	PacketStatus *status = packet_rig_status(rig);
	assert_non_null(status->services[0]->fast);
	assert_int_equal(status->services[0]->fast->packets, 3);
	assert_int_equal(status->services[0]->fast->returned_bytes, 200);
	packet_status_free(status);
	/* Another's index does not have them. */
	packet_rig_apply(rig, direct);
	packet_rig_apply(rig, web);
	status = packet_rig_status(rig);
	assert_int_equal(status->services[0]->fast->packets, 0);
	packet_status_free(status);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_slot_is_filled_while_a_service_is_translated),
	        TEST(it_goes_on_without_an_agent_and_is_adopted),
	        TEST(another_builds_program_is_replaced_in_place),
	        TEST(tc_carries_all_when_it_is_asked_to),
	        TEST(devices_that_would_lose_frames_are_left_to_tc),
	        TEST(addresses_of_devices_are_followed),
	        TEST(interfaces_that_go_are_not_kept),
	        TEST(what_xdp_has_carried_of_a_service_is_told),
	};

	return cmocka_run_group_tests(tests, packet_rig_namespaces, NULL);
}
