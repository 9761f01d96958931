/* SPDX-License-Identifier: Apache-2.0 */
/* The packet tiers' life: opened, adopted, attached, replaced, taken away. The programs are the real ones. */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control/packet_ethtool.h"

static const char web[] = "service web ipip 251\n"
                          "vip 198.51.100.1 80\n"
                          "backend one 192.0.2.11 1\n"
                          "backend two 192.0.2.12 1\n";

static const Marcher__Packet__V1__Interface *interface_of(const PacketStatus *status, const char *name)
{
	for (size_t i = 0; i < status->n_interfaces; i++)
		if (!strcmp(status->interfaces[i]->name, name))
			return status->interfaces[i];
	fail_msg("the status has no interface %s", name);
	return NULL;
}

static void assert_mode(struct packet_rig *rig, const char *interface, const char *mode, const char *reason)
{
	PacketStatus *status = packet_rig_status(rig);
	const Marcher__Packet__V1__Interface *found = interface_of(status, interface);

	assert_string_equal(found->mode, mode);
	if (!strstr(found->reason, reason))
		fail_msg("%s: expected \"%s\" in the reason, which is: %s", interface, reason, found->reason);
	packet_status_free(status);
}

static void assert_last_error(const char *text)
{
	if (!strstr(marcher_packet_last_error(NULL), text))
		fail_msg("expected \"%s\" in: %s", text, marcher_packet_last_error(NULL));
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

/* The verifier gives up at a million instructions, and older ones see more paths than this one. */
static size_t pins_in(const struct packet_rig *rig, const char *folder)
{
	char path[256];
	size_t count = 0;

	snprintf(path, sizeof(path), "%s/v%d/%s", rig->pin_dir, LAYOUT_VERSION, folder);
	DIR *directory = opendir(path);
	assert_non_null(directory);
	for (struct dirent *entry; (entry = readdir(directory));)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void the_verifier_passes_programs_with_room_to_spare(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const char *programs[] = {"programs/xdp_root",  "programs/xdp_guard", "programs/xdp_cookies",
	                          "programs/xdp_lb",    "programs/decap",     "programs/tc_ingress",
	                          "programs/tc_egress", "programs/tc_decap",  "programs/xdp_nat"};
	uint32_t most = 0;

	packet_rig_must_open(rig, "v0");
	assert_int_equal(pins_in(rig, "programs"), sizeof(programs) / sizeof(programs[0]));
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		struct bpf_prog_info info = {0};
		__u32 length = sizeof(info);
		int fd = packet_pin(rig, programs[i]);
		assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
		close(fd);
		print_message("%s: %u instructions verified\n", programs[i], info.verified_insns);
		most = info.verified_insns > most ? info.verified_insns : most;
	}
	/* After all of them: whoever has to trim one wants to know of the others. */
	assert_in_range(most, 1, 60000);
}

static void opens_native_where_it_can_and_generic_elsewhere(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0,lo");
	assert_mode(rig, "v0", "native", "");
	assert_mode(rig, "lo", "generic", "natively: Operation not supported");
	assert_int_equal(packet_xdp_on("v0"), pinned_program(rig, "programs/xdp_root"));
	assert_int_equal(packet_xdp_on("lo"), pinned_program(rig, "programs/xdp_root"));
	PacketStatus *status = packet_rig_status(rig);
	assert_false(status->adopted);
	assert_int_equal(status->layout_version, LAYOUT_VERSION);
	assert_string_equal(status->pin_dir, rig->pin_dir);
	assert_int_equal(status->n_drops, DROP_REASONS - 1);
	packet_status_free(status);

	struct stat st;
	assert_int_equal(stat(rig->pin_dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
}

static void generic_for_its_mtu_says_so(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	/* A veth's frames are as large as its peer sends them. */
	packet_rig_run("ip link set v0 mtu 9000 && ip link set v1 mtu 9000");
	packet_rig_must_open(rig, "v0");
	assert_mode(rig, "v0", "generic",
	            "an MTU of 9000 probably for that: expected 3498 or less (ip link set dev v0 mtu");
	packet_rig_close(rig);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_NATIVE), MARCHER_E_SYSTEM);
	assert_last_error("an MTU of 9000");
}

static void generic_is_used_where_it_is_asked_for(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_GENERIC), MARCHER_OK);
	assert_mode(rig, "v0", "generic", "asked for");
	packet_rig_close(rig);
	/* And is left when native is: one interface takes one kind. */
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_NATIVE), MARCHER_OK);
	assert_mode(rig, "v0", "native", "");
	packet_rig_close(rig);
	assert_int_equal(packet_rig_open(rig, "lo", MARCHER_XDP_NATIVE), MARCHER_E_SYSTEM);
	assert_last_error("natively: Operation not supported");
}

static void everything_stays_in_force_and_is_adopted(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	const char *programs[] = {"programs/xdp_root", "programs/xdp_lb", "programs/decap"};
	uint32_t ids[3];

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t backend = packet_backend_of(rig, "192.0.2.11"), xdp = packet_xdp_on("v0");
	for (int i = 0; i < 3; i++)
		ids[i] = pinned_program(rig, programs[i]);
	packet_rig_close(rig);
	assert_int_equal(packet_xdp_on("v0"), xdp);

	uint32_t key = 5, zero = 0;
	struct flow_set flow = {{{.tag = 1, .state = FLOW_STATE(backend, 7, 1)}}}, found = {0};
	struct flow_settings settings, again;
	struct traffic *counts = calloc(1024, sizeof(*counts));
	counts[0] = (struct traffic){.packets = 5, .bytes = 500};
	packet_write(rig, "flows", &key, &flow);
	packet_lookup(rig, "flow_settings", &zero, &settings);
	assert_int_equal(settings.mask, 1024 / FLOW_WAYS - 1);
	packet_write(rig, "backend_counters", &backend, counts);
	free(counts);

	packet_rig_must_open(rig, "v0");
	assert_int_equal(packet_xdp_on("v0"), xdp);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pinned_program(rig, programs[i]), ids[i]);
	packet_lookup(rig, "flows", &key, &found);
	assert_memory_equal(&found, &flow, sizeof(flow));
	packet_lookup(rig, "flow_settings", &zero, &again);
	assert_memory_equal(&again, &settings, sizeof(settings));
	PacketStatus *status = packet_rig_status(rig);
	assert_true(status->adopted);
	assert_int_equal(status->n_services, 1);
	assert_string_equal(status->services[0]->name, "web");
	assert_int_equal(status->services[0]->n_backends, 2);
	assert_string_equal(status->services[0]->backends[0]->name, "one");
	assert_int_equal(status->services[0]->backends[0]->traffic->packets, 5);
	assert_int_equal(status->services[0]->backends[0]->traffic->bytes, 500);
	packet_status_free(status);
	/* The service is known, so the same table changes nothing. */
	uint32_t ring = packet_ring_id(rig, packet_service_of(rig, "198.51.100.1", 80));
	packet_rig_apply(rig, web);
	assert_int_equal(packet_ring_id(rig, packet_service_of(rig, "198.51.100.1", 80)), ring);
	packet_lookup(rig, "flows", &key, &found);
}

static void forget_build(const struct packet_rig *rig, const char *program)
{
	char key[32] = "";
	uint64_t other = 1;

	strncpy(key, program, sizeof(key) - 1);
	packet_write(rig, "build_records", key, &other);
}

static int open_link(const struct packet_rig *rig, const char *interface)
{
	char name[64];
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	snprintf(name, sizeof(name), "links/%lu_%u", (unsigned long)st.st_ino, if_nametoindex(interface));
	return packet_pin(rig, name);
}

static uint32_t link_id(const struct packet_rig *rig, const char *interface)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	int fd = open_link(rig, interface);

	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	close(fd);
	return info.id;
}

static void programs_of_another_build_are_replaced_in_place(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	uint32_t slot = XDP_SLOT_LB, id;

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t link = link_id(rig, "v0"), root = packet_xdp_on("v0"), decap = pinned_program(rig, "programs/decap");
	uint32_t lb = pinned_program(rig, "programs/xdp_lb");
	assert_int_not_equal(link, 0);
	forget_build(rig, "xdp_lb");
	forget_build(rig, "xdp_root");
	packet_rig_close(rig);

	packet_rig_must_open(rig, "v0");
	PacketStatus *status = packet_rig_status(rig);
	assert_false(status->adopted);
	packet_status_free(status);
	assert_int_not_equal(pinned_program(rig, "programs/xdp_lb"), lb);
	packet_lookup(rig, "xdp_slots", &slot, &id);
	assert_int_equal(id, pinned_program(rig, "programs/xdp_lb"));
	/* The very link has the new program: there was no moment without one. */
	assert_int_equal(link_id(rig, "v0"), link);
	assert_int_not_equal(packet_xdp_on("v0"), root);
	assert_int_equal(packet_xdp_on("v0"), pinned_program(rig, "programs/xdp_root"));
	assert_int_equal(pinned_program(rig, "programs/decap"), decap);
	packet_service_of(rig, "198.51.100.1", 80);
}

static void a_slot_that_somebody_changed_is_put_right(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	uint32_t slot = XDP_SLOT_DECAP, id;

	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	int slots = packet_pin(rig, "maps/xdp_slots");
	assert_int_equal(bpf_map_delete_elem(slots, &slot), 0);
	/* A program of a build that had more of them than this one. */
	uint32_t later = 5;
	int lb = packet_pin(rig, "programs/xdp_lb");
	assert_int_equal(bpf_map_update_elem(slots, &later, &lb, BPF_ANY), 0);
	packet_rig_must_open(rig, "v0");
	packet_lookup(rig, "xdp_slots", &slot, &id);
	assert_int_equal(id, pinned_program(rig, "programs/decap"));
	assert_int_not_equal(bpf_map_lookup_elem(slots, &later, &id), 0);
	packet_rig_close(rig);
	assert_int_equal(bpf_map_update_elem(slots, &slot, &lb, BPF_ANY), 0);
	close(lb);
	packet_rig_must_open(rig, "v0");
	packet_lookup(rig, "xdp_slots", &slot, &id);
	assert_int_equal(id, pinned_program(rig, "programs/decap"));
	close(slots);
}

static void maps_of_another_build_are_refused(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char path[256];

	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	snprintf(path, sizeof(path), "%s/v%d/maps/vips", rig->pin_dir, LAYOUT_VERSION);
	assert_int_equal(unlink(path), 0);
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "vips", sizeof(struct vip_key), 2 * sizeof(struct vip), VIPS_MAX,
	                        NULL);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	close(fd);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_PROTOCOL);
	assert_last_error("maps/vips has value size 8, this build expects 4");
	/* What is in force stays. */
	assert_int_not_equal(packet_xdp_on("v0"), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
}

static void a_map_whose_pin_is_gone_is_made_anew_for_every_program(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char path[256];

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	packet_rig_close(rig);
	/* One that two programs use: both have to get the new one. */
	snprintf(path, sizeof(path), "%s/v%d/maps/drops", rig->pin_dir, LAYOUT_VERSION);
	assert_int_equal(unlink(path), 0);
	uint32_t lb = pinned_program(rig, "programs/xdp_lb"), decap = pinned_program(rig, "programs/decap");
	packet_rig_must_open(rig, "v0");
	assert_int_not_equal(pinned_program(rig, "programs/xdp_lb"), lb);
	assert_int_not_equal(pinned_program(rig, "programs/decap"), decap);
	assert_int_not_equal(packet_backend_of(rig, "192.0.2.11"), 0);
	packet_rig_apply(rig, web);
}

static void one_process_has_it_at_a_time(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct marcher_packet *mine;
	char who[64];
	int ready[2], status;

	packet_rig_must_open(rig, "v0");
	mine = rig->packet;
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_BUSY);
	rig->packet = mine;
	assert_last_error("this process");
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_E_BUSY);
	packet_rig_close(rig);

	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (!child) {
		close(ready[0]);
		int code = packet_rig_open(rig, "v0", MARCHER_XDP_AUTO);
		if (write(ready[1], code ? "n" : "y", 1) == 1)
			pause();
		_exit(1);
	}
	char answer = 0;
	close(ready[1]);
	assert_int_equal(read(ready[0], &answer, 1), 1);
	close(ready[0]);
	assert_int_equal(answer, 'y');
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_BUSY);
	snprintf(who, sizeof(who), "process %d", (int)child);
	assert_last_error(who);
	/* Killed: nothing holds it any more, and the traffic's program stays. */
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	assert_int_not_equal(packet_xdp_on("v0"), 0);
	packet_rig_must_open(rig, "v0");
}

static void only_a_folder_on_bpffs_will_do(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct marcher_packet_options options = {.size = sizeof(options), .flows = 1024, .interfaces = "v0"};
	struct marcher_packet *packet;
	char path[256], plain[64];

	snprintf(plain, sizeof(plain), "/tmp/marcher-not-bpffs-%d", (int)getpid());
	snprintf(path, sizeof(path), "%s/below", plain);
	options.pin_dir = path;
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("mount -t bpf");
	assert_int_not_equal(access(plain, F_OK), 0);
	options.pin_dir = rig->mount;
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("is the root of a BPF file system");
	options.pin_dir = "relative";
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("absolute");
	snprintf(path, sizeof(path), "%s/with.dot", rig->mount);
	options.pin_dir = path;
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("must not have a dot");
	snprintf(path, sizeof(path), "%s/open", rig->mount);
	assert_int_equal(mkdir(path, 0700) | chmod(path, 0777), 0);
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("can be written by others");
	assert_null(packet);
}

static void options_are_checked(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct marcher_packet_options options = {
	        .size = sizeof(options) - 1, .pin_dir = rig->pin_dir, .interfaces = "v0"};
	struct marcher_packet *packet;
	const char *wrong[] = {"", ",", "v0,", ",v0", "v0,,v1", "v0,v0", "a-name-of-sixteen"};

	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	assert_last_error("built for another library");
	options.size = sizeof(options);
	options.xdp_mode = 4;
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	options.xdp_mode = 0;
	options.flows = UINT32_MAX;
	assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
	options.flows = 1024;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		options.interfaces = wrong[i];
		assert_int_equal(marcher_packet_open(&options, &packet), MARCHER_E_INVALID);
		/* What was loaded before the names were read has gone again. */
		assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
	}
}

static void one_interface_that_cannot_be_attached_to_is_told_of(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "nowhere,v0");
	assert_mode(rig, "nowhere", "", "there is no such interface");
	assert_mode(rig, "v0", "native", "");
	packet_rig_close(rig);
	/* None at all: the call fails, what was in force stays but for the interface that is no longer named. */
	assert_int_equal(packet_rig_open(rig, "nowhere", MARCHER_XDP_AUTO), MARCHER_E_SYSTEM);
	assert_last_error("nowhere: there is no such interface");
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(packet_rig_open(rig, "nowhere", MARCHER_XDP_AUTO), MARCHER_E_SYSTEM);
	assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
}

static void a_foreign_program_is_left_where_it_is(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	rig->sys_admin = true; /* who has none cannot tell the program's name */
	struct bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
	                          {.code = BPF_JMP | BPF_EXIT}};
	char id[64];

	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "somebodys", "GPL", pass, 2, NULL);
	assert_true(program >= 0);
	assert_int_equal(bpf_xdp_attach((int)if_nametoindex("v1"), program, 0, NULL), 0);
	uint32_t foreign = packet_xdp_on("v1");
	packet_rig_must_open(rig, "v0,v1");
	snprintf(id, sizeof(id), "(id %u, somebodys)", foreign);
	assert_mode(rig, "v1", "", id);
	assert_int_equal(packet_xdp_on("v1"), foreign);
	/* Once it has gone, the next apply takes the place. */
	assert_int_equal(bpf_xdp_detach((int)if_nametoindex("v1"), 0, NULL), 0);
	close(program);
	packet_rig_apply(rig, web);
	assert_mode(rig, "v1", "native", "");
}

static void another_agents_interface_is_told_to_be_its(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char dir[96], whose[160];

	struct marcher_packet *other = packet_rig_other(rig, "v0", dir);
	uint32_t program = packet_xdp_on("v0");
	snprintf(whose, sizeof(whose), "another Marcher's, of --bpf-dir %s: end that one", dir);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_SYSTEM);
	assert_last_error(whose);
	packet_rig_must_open(rig, "v0,v1");
	assert_mode(rig, "v0", "", whose);
	assert_mode(rig, "v1", "native", "");
	packet_rig_apply(rig, web);
	assert_int_equal(packet_xdp_on("v0"), program);
	packet_rig_end_other(other, dir);
	packet_rig_apply(rig, web);
	assert_mode(rig, "v0", "native", "");
}

static void an_interface_that_is_no_longer_named_is_left(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0,v1");
	assert_int_not_equal(packet_xdp_on("v1"), 0);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_not_equal(packet_xdp_on("v0"), 0);
	assert_int_equal(packet_xdp_on("v1"), 0);
	assert_int_equal(link_id(rig, "v1"), 0);
}

static void an_interface_may_go_and_come_back(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_must_open(rig, "v0,lo");
	packet_rig_run("ip link delete v0");
	assert_mode(rig, "v0", "", "the interface is gone");
	packet_rig_apply(rig, web);
	assert_mode(rig, "v0", "", "there is no such interface");
	packet_rig_run("ip link add v0 type veth peer name v1 && ip link set v0 up");
	packet_rig_apply(rig, web);
	assert_mode(rig, "v0", "native", "");
	packet_rig_close(rig);
	/* While nobody looks. */
	packet_rig_run("ip link delete v0 && ip link add v0 type veth peer name v1");
	packet_rig_must_open(rig, "v0,lo");
	assert_mode(rig, "v0", "native", "");
}

static bool program_lives(uint32_t id)
{
	int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void uninstalling_leaves_nothing(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char other[256];

	packet_rig_must_open(rig, "v0,lo");
	packet_rig_apply(rig, web);
	uint32_t root = packet_xdp_on("v0"), lb = pinned_program(rig, "programs/xdp_lb");
	packet_rig_close(rig);
	/* Somebody looks at a link: that does not keep its program on the interface. */
	int held = open_link(rig, "v0");
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(packet_xdp_on("v0"), 0);
	close(held);
	assert_int_equal(packet_xdp_on("v0"), 0);
	assert_int_equal(packet_xdp_on("lo"), 0);
	assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
	/* The kernel frees programs after a grace period. */
	for (int i = 0; i < 1000 && (program_lives(root) || program_lives(lb)); i++)
		usleep(5000);
	assert_false(program_lives(root));
	assert_false(program_lives(lb));
	/* Nothing to do is no failure. */
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(marcher_packet_uninstall("/tmp/marcher-nowhere/below"), MARCHER_OK);

	/* What is somebody else's stays, and is named. */
	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	snprintf(other, sizeof(other), "%s/theirs", rig->pin_dir);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_E_SYSTEM);
	assert_last_error("theirs is not Marcher's");
	assert_int_equal(packet_xdp_on("v0"), 0);
	assert_int_equal(rmdir(other), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
}

typedef Marcher__Packet__V1__Installed Installed;

static Installed *installed_in(const char *pin_dir)
{
	uint8_t *bytes;
	size_t length;
	int code = marcher_packet_installed(pin_dir, &bytes, &length);

	if (code)
		fail_msg("installed: %s: %s", marcher_error_name(code), marcher_packet_last_error(NULL));
	Installed *installed = marcher__packet__v1__installed__unpack(NULL, length, bytes);
	marcher_buffer_free(bytes);
	assert_non_null(installed);
	return installed;
}

/* A packet of a connection to a VIP, out of an interface. */
static void send_packet(const char *interface)
{
	uint8_t frame[14 + 20 + 20] = {
	        [12] = 8,  [14] = 0x45, [17] = 40, [22] = 64,   [23] = IPPROTO_TCP, [26] = 10,   [29] = 1,   [30] = 198,
	        [31] = 51, [32] = 100,  [33] = 1,  [34] = 0x9c, [37] = 80,          [46] = 0x50, [47] = 0x10};
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface)};
	uint32_t sum = 0;

	for (size_t i = 14; i < 34; i += 2)
		sum += (uint32_t)frame[i] << 8 | frame[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	frame[24] = (uint8_t)(~sum >> 8);
	frame[25] = (uint8_t)~sum;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	assert_int_equal(sendto(fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)), sizeof(frame));
	close(fd);
}

static uint64_t send_errors(struct packet_rig *rig, const char *interface)
{
	PacketStatus *status = packet_rig_status(rig);
	uint64_t errors = interface_of(status, interface)->send_errors;

	packet_status_free(status);
	return errors;
}

static void what_the_driver_cannot_send_is_counted(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	packet_rig_run("sysctl -qw net.ipv4.conf.v0.forwarding=1 && "
	               "ip neighbour add 192.0.2.11 lladdr 02:00:00:00:00:11 dev v0 nud permanent && "
	               "ip neighbour add 192.0.2.12 lladdr 02:00:00:00:00:12 dev v0 nud permanent");
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	assert_int_equal(send_errors(rig, "v0"), 0);
	/* The other end of the veth has neither GRO nor a program: it takes nothing from XDP. */
	for (int i = 0; i < 5; i++)
		send_packet("v1");
	uint64_t errors = 0;
	for (int i = 0; i < 40 && !errors; i++) {
		usleep(50000);
		errors = send_errors(rig, "v0");
	}
	assert_in_range(errors, 1, 5);
}

static void drivers_name_these_counters_variously(void **state)
{
	const char *yes[] = {"rx_queue_0_xdp_tx_errors", "tx_queue_3_xdp_xmit_errors", "rx0_xdp_tx_err", "tx1_xdp_full",
	                     "tx_queue_0_xdp_tx_drops"};
	const char *no[] = {"rx_queue_0_xdp_drops", "rx_queue_0_xdp_packets", "tx_errors", "rx_xdp_tx",
	                    "rx_xdp_redirect",      "rx_queue_0_xdp_redirect"};

	(void)state;
	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		assert_true(packet_ethtool_is_send_error(yes[i]));
	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		assert_false(packet_ethtool_is_send_error(no[i]));
}

static void what_would_be_uninstalled_is_told(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char path[256];

	Installed *installed = installed_in(rig->pin_dir);
	assert_int_equal(installed->n_links + installed->n_pins + installed->n_others, 0);
	assert_false(installed->held);
	marcher__packet__v1__installed__free_unpacked(installed, NULL);

	packet_rig_must_open(rig, "v0");
	uint32_t root = packet_xdp_on("v0");
	snprintf(path, sizeof(path), "%s/theirs", rig->pin_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	installed = installed_in(rig->pin_dir);
	assert_true(installed->held);
	assert_int_equal(installed->holder, getpid());
	/* XDP's first, then those of traffic control: one for each hook, or one for both in an older kernel's way. */
	bool tcx = installed->n_links == 3;
	size_t links = tcx ? 3 : 2;
	assert_int_equal(installed->n_links, links);
	assert_string_equal(installed->links[0]->hook, "xdp");
	for (size_t i = 1; i < installed->n_links; i++)
		assert_string_equal(installed->links[i]->hook, tcx ? "tcx" : "clsact");
	for (size_t i = 0; i < installed->n_links; i++) {
		assert_string_equal(installed->links[i]->interface, "v0");
		assert_int_equal(installed->links[i]->index, if_nametoindex("v0"));
	}
	assert_int_equal(installed->n_others, 1);
	assert_string_equal(installed->others[0], path);
	/* Each pin is there, and there are as many as maps and programs. */
	assert_true(installed->n_pins > 15);
	for (size_t i = 0; i < installed->n_pins; i++)
		assert_int_equal(access(installed->pins[i], F_OK), 0);
	marcher__packet__v1__installed__free_unpacked(installed, NULL);
	assert_int_equal(rmdir(path), 0);

	/* Nothing has changed, and the lock is where it was. */
	assert_int_equal(packet_xdp_on("v0"), root);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_E_BUSY);
	packet_rig_close(rig);
	installed = installed_in(rig->pin_dir);
	assert_false(installed->held);
	assert_int_equal(installed->n_links, links);
	marcher__packet__v1__installed__free_unpacked(installed, NULL);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(packet_xdp_on("v0"), root);
}

/* The agent that left it may have been another user; whoever owns the folder does not lead root elsewhere. */
static void root_uninstalls_what_another_user_has_left(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char inside[256], other[128];

	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	assert_int_equal(chown(rig->pin_dir, 65534, 65534), 0);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_INVALID);
	snprintf(other, sizeof(other), "%s/elsewhere", rig->mount);
	assert_int_equal(mkdir(other, 0700), 0);
	snprintf(inside, sizeof(inside), "%s/kept", other);
	int fd = packet_pin(rig, "maps/vips");
	assert_int_equal(bpf_obj_pin(fd, inside), 0);
	close(fd);
	char folder[256];
	snprintf(folder, sizeof(folder), "%s/v%d/more", rig->pin_dir, LAYOUT_VERSION);
	assert_int_equal(symlink(other, folder), 0);
	snprintf(folder, sizeof(folder), "%s/v9", rig->pin_dir);
	assert_int_equal(symlink(other, folder), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_E_SYSTEM);
	assert_last_error("v9 is not Marcher's");
	assert_int_equal(access(inside, F_OK), 0);
	assert_int_equal(packet_xdp_on("v0"), 0);
	assert_int_equal(unlink(folder), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_not_equal(access(rig->pin_dir, F_OK), 0);
	assert_int_equal(unlink(inside) | rmdir(other), 0);
}

static void without_the_privilege_it_says_what_is_missing(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	int status;

	rig->sys_admin = true; /* left alone: the child gives up everything by itself */
	pid_t child = fork();
	if (!child) {
		if (setgid(65534) || setuid(65534))
			_exit(1);
		if (packet_rig_open(rig, "v0", MARCHER_XDP_AUTO) != MARCHER_E_SYSTEM)
			_exit(2);
		_exit(strstr(marcher_packet_last_error(NULL), "lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON") ? 0 : 3);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* Becomes nobody with what the unit's drop-in gives, without the others: no new privileges, no bounding set. */
static bool become_user(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	const uint64_t given = 1ull << CAP_BPF | 1ull << CAP_NET_ADMIN | 1ull << CAP_PERFMON;
	struct __user_cap_data_struct data[2] = {{(uint32_t)given, (uint32_t)given, 0},
	                                         {(uint32_t)(given >> 32), (uint32_t)(given >> 32), 0}};

	for (int i = 0; i <= CAP_LAST_CAP; i++)
		if (!(given & 1ull << i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0))
			return false;
	return !prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) && !setgid(65534) && !setuid(65534) &&
	       !syscall(SYS_capset, &header, data) && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void a_plain_user_with_three_capabilities_is_enough(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	char path[128];
	int status;

	rig->sys_admin = true; /* as above */
	/* As the unit's mount and ExecStartPre= make it. */
	assert_int_equal(chmod(rig->mount, 0755), 0);
	snprintf(path, sizeof(path), "%s/nodes", rig->mount);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mkdir(rig->pin_dir, 0700) | chown(rig->pin_dir, 65534, 65534), 0);
	pid_t child = fork();
	if (!child) {
		if (!become_user())
			_exit(1);
		if (packet_rig_open(rig, "v0,lo", MARCHER_XDP_AUTO)) {
			fprintf(stderr, "%s\n", marcher_packet_last_error(NULL));
			_exit(2);
		}
		packet_rig_apply(rig, web);
		assert_mode(rig, "v0", "native", "");
		packet_rig_close(rig);
		/* And adopts it. */
		packet_rig_must_open(rig, "v0,lo");
		packet_rig_apply(rig, "");
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_not_equal(packet_xdp_on("v0"), 0);
	assert_int_not_equal(packet_xdp_on("lo"), 0);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(packet_xdp_on("v0"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, packet_rig_setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(the_verifier_passes_programs_with_room_to_spare),
	        TEST(opens_native_where_it_can_and_generic_elsewhere),
	        TEST(generic_for_its_mtu_says_so),
	        TEST(generic_is_used_where_it_is_asked_for),
	        TEST(everything_stays_in_force_and_is_adopted),
	        TEST(programs_of_another_build_are_replaced_in_place),
	        TEST(a_slot_that_somebody_changed_is_put_right),
	        TEST(maps_of_another_build_are_refused),
	        TEST(a_map_whose_pin_is_gone_is_made_anew_for_every_program),
	        TEST(one_process_has_it_at_a_time),
	        TEST(only_a_folder_on_bpffs_will_do),
	        TEST(options_are_checked),
	        TEST(one_interface_that_cannot_be_attached_to_is_told_of),
	        TEST(a_foreign_program_is_left_where_it_is),
	        TEST(another_agents_interface_is_told_to_be_its),
	        TEST(an_interface_that_is_no_longer_named_is_left),
	        TEST(an_interface_may_go_and_come_back),
	        TEST(uninstalling_leaves_nothing),
	        TEST(what_the_driver_cannot_send_is_counted),
	        cmocka_unit_test(drivers_name_these_counters_variously),
	        TEST(what_would_be_uninstalled_is_told),
	        TEST(root_uninstalls_what_another_user_has_left),
	        TEST(without_the_privilege_it_says_what_is_missing),
	        TEST(a_plain_user_with_three_capabilities_is_enough),
	};
	return cmocka_run_group_tests_name("packet", tests, packet_rig_namespaces, NULL);
}
