/* SPDX-License-Identifier: Apache-2.0 */
/* From the pins of another layout to this one's: programs stay on the interface, flows with their backends. Pins of
 * layout 1 are made by hand, by what that layout was; those of a newer one are this build's under another number. */
#include "packet_rig.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/flow_tag.h"
#include "control/packet_layout_v1.h"

/* Other indices than this build would give. */
#define OLD_SERVICE 5u
#define OLD_ONE 100u
#define OLD_TWO 101u
#define OLD_GONE 102u
#define MANY 700u
#define CLIENTS 0x0a000000u /* 10.0.0.0 and the number of the flow */
#define CLIENT_PORT 40000
#define VIP 0xc6336401u /* 198.51.100.1 */

static const char web[] = "service web ipip 251\n"
                          "vip 198.51.100.1 80\n"
                          "backend one 192.0.2.11 1\n"
                          "backend two 192.0.2.12 1\n"
                          "service more gue 251\n"
                          "vip 198.51.100.2 80\n"
                          "backend two 192.0.2.14 1\n";

/* What is pinned by layout 1. */
struct v1 {
	int flows, backends, services, backend_records, service_counters, backend_counters, drops;
	uint32_t root; /* identity of the program on the interface */
};

static uint32_t program_id(int fd)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	return info.id;
}

static int old_map(const struct packet_rig *rig, const char *name, enum bpf_map_type type, uint32_t key, uint32_t value,
                   uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	char path[256], short_name[BPF_OBJ_NAME_LEN];

	snprintf(short_name, sizeof(short_name), "%.15s", name);
	int fd = bpf_map_create(type, short_name, key, value, entries, &options);
	assert_true(fd >= 0);
	snprintf(path, sizeof(path), "%s/v1/maps/%s", rig->pin_dir, name);
	assert_int_equal(bpf_obj_pin(fd, path), 0);
	return fd;
}

static void old_backend(const struct v1 *v1, uint32_t index, const char *name, const char *address, uint32_t generation)
{
	struct v1_backend_record record = {.service = OLD_SERVICE};
	struct v1_backend backend = {.generation = generation, .flags = V1_BACKEND_IN_USE};
	struct address parsed = packet_rig_address(address);

	snprintf(record.name, sizeof(record.name), "%s", name);
	memcpy(&backend.address, &parsed, sizeof(parsed));
	assert_int_equal(bpf_map_update_elem(v1->backend_records, &index, &record, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(v1->backends, &index, &backend, BPF_ANY), 0);
}

static struct v1_flow_key old_key(uint32_t number)
{
	return (struct v1_flow_key){.source.word = {0, 0, htonl(0xffff), htonl(CLIENTS + number)},
	                            .destination.word = {0, 0, htonl(0xffff), htonl(VIP)},
	                            .source_port = htons(CLIENT_PORT),
	                            .destination_port = htons(80),
	                            .protocol = IPPROTO_TCP};
}

static void old_flow(const struct v1 *v1, uint32_t number, uint32_t backend, uint32_t generation)
{
	struct v1_flow_key key = old_key(number);
	struct v1_flow flow = {backend, generation};

	assert_int_equal(bpf_map_update_elem(v1->flows, &key, &flow, BPF_ANY), 0);
}

static void old_count(int map, uint32_t index, uint64_t packets)
{
	int cpus = libbpf_num_possible_cpus();
	struct v1_traffic *counts = calloc((size_t)cpus, sizeof(*counts));

	for (int cpu = 0; cpu < cpus; cpu++)
		counts[cpu] = (struct v1_traffic){cpu ? 0 : packets, cpu ? 0 : packets * 100};
	assert_int_equal(bpf_map_update_elem(map, &index, counts, BPF_ANY), 0);
	free(counts);
}

/* Links are pinned by the namespace's inode and the interface's index in every layout. */
static void link_pin(const struct packet_rig *rig, int version, const char *interface, char path[256])
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	snprintf(path, 256, "%s/v%d/links/%lu_%u", rig->pin_dir, version, (unsigned long)st.st_ino,
	         if_nametoindex(interface));
}

static int old_root(void)
{
	struct bpf_insn pass[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
	                          {.code = BPF_JMP | BPF_EXIT}};
	/* As libbpf loads it: links take only a program of the same. */
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_XDP);
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, "xdp_root", "GPL", pass, 2, &options);

	assert_true(fd >= 0);
	return fd;
}

static void old_attach(const struct packet_rig *rig, struct v1 *v1, const char *interface)
{
	char path[256];
	int root = old_root(), link = bpf_link_create(root, (int)if_nametoindex(interface), BPF_XDP, NULL);

	assert_true(link >= 0);
	link_pin(rig, 1, interface, path);
	assert_int_equal(bpf_obj_pin(link, path), 0);
	v1->root = program_id(root);
	close(link);
	close(root);
}

static struct v1 make_v1(const struct packet_rig *rig)
{
	const char *folders[] = {"", "/v1", "/v1/maps", "/v1/programs", "/v1/links"};
	struct v1_service_record web_record = {.ring = 1, .name = "web"};
	uint32_t service = OLD_SERVICE;
	char path[256];
	struct v1 v1;

	snprintf(path, sizeof(path), "%s/nodes", rig->mount);
	assert_true(!mkdir(path, 0700) || errno == EEXIST);
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", rig->pin_dir, folders[i]);
		assert_int_equal(mkdir(path, 0700), 0);
	}
	v1.flows = old_map(rig, "flows", BPF_MAP_TYPE_LRU_HASH, sizeof(struct v1_flow_key), sizeof(struct v1_flow),
	                   4096, 0);
	v1.services = old_map(rig, "service_records", BPF_MAP_TYPE_HASH, 4, sizeof(struct v1_service_record), 16384,
	                      BPF_F_NO_PREALLOC);
	v1.backend_records = old_map(rig, "backend_records", BPF_MAP_TYPE_HASH, 4, sizeof(struct v1_backend_record),
	                             65536, BPF_F_NO_PREALLOC);
	v1.backends = old_map(rig, "backends", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct v1_backend), 65536, 0);
	v1.service_counters =
	        old_map(rig, "service_counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct v1_traffic), 16384, 0);
	v1.backend_counters =
	        old_map(rig, "backend_counters", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(struct v1_traffic), 65536, 0);
	v1.drops = old_map(rig, "drops", BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(uint64_t), 14, 0);
	assert_int_equal(bpf_map_update_elem(v1.services, &service, &web_record, BPF_ANY), 0);
	old_backend(&v1, OLD_ONE, "one", "192.0.2.11", 3);
	old_backend(&v1, OLD_TWO, "two", "192.0.2.12", 9);
	old_backend(&v1, OLD_GONE, "gone", "192.0.2.13", 1);
	/* As the ring would not have it: all of them at one backend. */
	for (uint32_t i = 0; i < MANY; i++)
		old_flow(&v1, i, OLD_TWO, 9);
	old_flow(&v1, 1001, OLD_ONE, 3);
	old_flow(&v1, 1002, OLD_ONE, 2); /* of whoever had the index before */
	old_flow(&v1, 1003, OLD_GONE, 1);
	old_flow(&v1, 1004, 0xffffffff, 1);
	old_count(v1.service_counters, OLD_SERVICE, 30);
	old_count(v1.backend_counters, OLD_ONE, 10);
	old_count(v1.backend_counters, OLD_TWO, 20);
	int cpus = libbpf_num_possible_cpus();
	uint64_t *drops = calloc((size_t)cpus, sizeof(*drops));
	uint32_t no_backend = 5;
	drops[0] = 7;
	assert_int_equal(bpf_map_update_elem(v1.drops, &no_backend, drops, BPF_ANY), 0);
	free(drops);
	old_attach(rig, &v1, "v0");
	return v1;
}

static void close_v1(const struct v1 *v1)
{
	close(v1->flows);
	close(v1->backends);
	close(v1->services);
	close(v1->backend_records);
	close(v1->service_counters);
	close(v1->backend_counters);
	close(v1->drops);
}

/* The flow table, as the programs see it; of a layout that has sets. */
struct table {
	struct flow_set *sets;
	size_t bytes;
	struct flow_settings settings;
};

static struct table open_table(const struct packet_rig *rig, int version)
{
	char path[256];
	struct bpf_map_info info = {0};
	__u32 length = sizeof(info), zero = 0;
	struct table table;

	snprintf(path, sizeof(path), "%s/v%d/maps/flows", rig->pin_dir, version);
	int fd = bpf_obj_get(path);
	assert_true(fd >= 0);
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	table.bytes = info.max_entries * sizeof(struct flow_set);
	table.sets = mmap(NULL, table.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(table.sets, MAP_FAILED);
	close(fd);
	snprintf(path, sizeof(path), "%s/v%d/maps/flow_settings", rig->pin_dir, version);
	fd = bpf_obj_get(path);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &table.settings), 0);
	close(fd);
	return table;
}

static void close_table(const struct table *table)
{
	munmap(table->sets, table->bytes);
}

static uint64_t tag_of(const struct table *table, uint32_t number)
{
	struct v1_flow_key old = old_key(number);
	struct flow_key key;

	memcpy(&key, &old, sizeof(key));
	return flow_tag(&key, &table->settings);
}

/* The flow's state; 0: the table has none. */
static uint64_t flow_of(const struct packet_rig *rig, uint32_t number)
{
	struct table table = open_table(rig, LAYOUT_VERSION);
	uint64_t tag = tag_of(&table, number), found = 0;
	const struct flow_set *set = &table.sets[tag & table.settings.mask];

	for (uint32_t way = 0; way < FLOW_WAYS; way++)
		if (set->way[way].tag == tag)
			found = set->way[way].state;
	close_table(&table);
	return found;
}

static void put_flow(const struct packet_rig *rig, int version, uint32_t number, uint64_t state)
{
	struct table table = open_table(rig, version);
	uint64_t tag = tag_of(&table, number);

	table.sets[tag & table.settings.mask].way[0] = (struct flow){tag, state};
	close_table(&table);
}

static unsigned flows_in(const struct packet_rig *rig)
{
	struct table table = open_table(rig, LAYOUT_VERSION);
	unsigned count = 0;

	for (size_t i = 0; i < table.bytes / sizeof(struct flow_set); i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++)
			count += table.sets[i].way[way].state != 0;
	close_table(&table);
	return count;
}

static void assert_flow(const struct packet_rig *rig, uint32_t number, const char *address)
{
	struct backend backend;
	uint32_t index = packet_backend_of(rig, address);
	uint64_t state = flow_of(rig, number);

	assert_int_not_equal(index, 0);
	packet_lookup(rig, "backends", &index, &backend);
	if (!state)
		fail_msg("flow %u is gone", number);
	assert_int_equal(FLOW_BACKEND(state), index);
	assert_int_equal(FLOW_GENERATION(state), backend.generation & FLOW_GENERATION_MASK);
}

static bool is_there(const struct packet_rig *rig, int version)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/v%d", rig->pin_dir, version);
	return !access(path, F_OK);
}

static uint32_t link_id(const struct packet_rig *rig, int version)
{
	struct bpf_link_info info = {0};
	__u32 length = sizeof(info);
	char path[256];

	link_pin(rig, version, "v0", path);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return 0;
	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &length), 0);
	close(fd);
	return info.id;
}

static uint32_t own_root(const struct packet_rig *rig)
{
	int fd = packet_pin(rig, "programs/xdp_root");

	assert_true(fd >= 0);
	uint32_t id = program_id(fd);
	close(fd);
	return id;
}

static uint64_t dropped(const PacketStatus *status, const char *reason)
{
	for (size_t i = 0; i < status->n_drops; i++)
		if (!strcmp(status->drops[i]->reason, reason))
			return status->drops[i]->packets;
	fail_msg("no drop reason %s", reason);
	return 0;
}

static void assert_counted(struct packet_rig *rig, const char *service, uint64_t packets, const char *backend,
                           uint64_t of_it)
{
	PacketStatus *status = packet_rig_status(rig);
	bool seen = false;

	for (size_t i = 0; i < status->n_services; i++) {
		if (strcmp(status->services[i]->name, service) != 0)
			continue;
		assert_int_equal(status->services[i]->traffic->packets, packets);
		assert_int_equal(status->services[i]->traffic->bytes, packets * 100);
		for (size_t j = 0; j < status->services[i]->n_backends; j++)
			if (!strcmp(status->services[i]->backends[j]->name, backend)) {
				assert_int_equal(status->services[i]->backends[j]->traffic->packets, of_it);
				seen = true;
			}
	}
	assert_true(seen);
	packet_status_free(status);
}

static void flows_stay_with_their_backends(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);
	uint32_t link = link_id(rig, 1);

	packet_rig_must_open(rig, "v0");
	/* Until there is a table: the old programs, and what they count. */
	assert_int_equal(packet_xdp_on("v0"), v1.root);
	PacketStatus *status = packet_rig_status(rig);
	assert_int_equal(status->n_services, 1);
	assert_string_equal(status->interfaces[0]->mode, "native");
	assert_non_null(strstr(status->interfaces[0]->reason, "layout v1 forward until the first table"));
	packet_status_free(status);
	assert_counted(rig, "web", 30, "two", 20);
	old_flow(&v1, 1005, OLD_ONE, 3);

	PacketTable *table = packet_table(web);
	ApplyReply *reply;
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	assert_int_equal(reply->migrated_from, 1);
	assert_int_equal(reply->migrated_flows, MANY + 2);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	for (uint32_t i = 0; i < MANY; i++)
		assert_flow(rig, i, "192.0.2.12");
	assert_flow(rig, 1001, "192.0.2.11");
	assert_flow(rig, 1005, "192.0.2.11");
	assert_true(!flow_of(rig, 1002) && !flow_of(rig, 1003));
	assert_int_equal(flows_in(rig), MANY + 2);

	/* The very link has this build's program, its pin is here, and the other layout has gone. */
	assert_int_equal(link_id(rig, LAYOUT_VERSION), link);
	assert_int_equal(packet_xdp_on("v0"), own_root(rig));
	assert_false(is_there(rig, 1));
	assert_counted(rig, "web", 30, "two", 20);
	uint32_t service = packet_service_of(rig, "198.51.100.1", 80);
	int counters = packet_pin(rig, "maps/service_counters");
	struct traffic *counts = calloc((size_t)libbpf_num_possible_cpus(), sizeof(*counts));
	counts[0] = (struct traffic){.packets = 4, .bytes = 400};
	assert_int_equal(bpf_map_update_elem(counters, &service, counts, BPF_ANY), 0);
	free(counts);
	close(counters);
	assert_counted(rig, "web", 34, "one", 10);
	assert_counted(rig, "more", 0, "two", 0);
	status = packet_rig_status(rig);
	assert_int_equal(dropped(status, "no-backend"), 7);
	assert_string_equal(status->interfaces[0]->reason, "");
	packet_status_free(status);

	/* From here on it is a handle as any other, and so is the next. */
	assert_int_equal(packet_rig_apply_table(rig, table, &reply), MARCHER_OK);
	assert_int_equal(reply->migrated_from, 0);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
	packet_rig_close(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(link_id(rig, LAYOUT_VERSION), link);
	assert_counted(rig, "web", 34, "one", 10);
	/* A service that goes takes what was carried with it. */
	packet_rig_apply(rig, "");
	packet_rig_apply(rig, web);
	assert_counted(rig, "web", 0, "one", 0);
	close_v1(&v1);
}

/* Where the programs send a packet of the flow, which is not its first: the outer destination. */
static uint32_t sent_to(const struct packet_rig *rig, uint32_t number)
{
	uint8_t frame[256] = {0}, out[512];
	struct ethhdr ethernet = {.h_proto = htons(ETH_P_IP)};
	struct iphdr ip = {.version = 4,
	                   .ihl = 5,
	                   .ttl = 64,
	                   .protocol = IPPROTO_TCP,
	                   .tot_len = htons(sizeof(ip) + sizeof(struct tcphdr)),
	                   .saddr = htonl(CLIENTS + number),
	                   .daddr = htonl(VIP)};
	struct tcphdr tcp = {.source = htons(CLIENT_PORT), .dest = htons(80), .doff = 5, .ack = 1};
	uint16_t words[sizeof(ip) / 2];
	uint32_t sum = 0;

	memcpy(words, &ip, sizeof(ip));
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	ip.check = (uint16_t) ~(sum + (sum >> 16));
	memcpy(frame, &ethernet, sizeof(ethernet));
	memcpy(frame + sizeof(ethernet), &ip, sizeof(ip));
	memcpy(frame + sizeof(ethernet) + sizeof(ip), &tcp, sizeof(tcp));
	struct xdp_md context = {.data_end = sizeof(ethernet) + sizeof(ip) + sizeof(tcp),
	                         .ingress_ifindex = if_nametoindex("v0")};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = context.data_end, .data_out = out,
	            .data_size_out = sizeof(out), .ctx_in = &context, .ctx_size_in = sizeof(context));
	int program = packet_pin(rig, "programs/xdp_root");
	assert_int_equal(bpf_prog_test_run_opts(program, &options), 0);
	close(program);
	assert_int_equal(options.retval, XDP_TX);
	memcpy(&ip, out + sizeof(ethernet), sizeof(ip));
	assert_int_equal(ip.protocol, IPPROTO_IPIP);
	return ntohl(ip.daddr);
}

static void packets_follow_the_flows(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);

	packet_rig_run("sysctl -qw net.ipv4.conf.v0.forwarding=1 && "
	               "ip neighbour add 192.0.2.11 lladdr 02:00:00:00:00:11 dev v0 nud permanent && "
	               "ip neighbour add 192.0.2.12 lladdr 02:00:00:00:00:12 dev v0 nud permanent");
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	/* The ring would send half of them elsewhere. */
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(sent_to(rig, i), 0xc000020c);
	assert_int_equal(sent_to(rig, 1001), 0xc000020b);
	unsigned elsewhere = 0;
	for (uint32_t i = 0; i < 32; i++)
		elsewhere += sent_to(rig, 5000 + i) == 0xc000020b;
	assert_in_range(elsewhere, 5, 27);
	close_v1(&v1);
}

struct writer {
	struct v1 v1;
	pthread_t thread;
	atomic_uint written;
};

/* The old programs, which go on taking new flows until they are replaced. */
static void *write_flows(void *argument)
{
	struct writer *writer = argument;

	for (uint32_t i = 2000; i < 1u << 24 && packet_xdp_on("v0") == writer->v1.root; i++) {
		/* Of the newest a few thousand fit: those of the end are looked for. */
		old_flow(&writer->v1, i, OLD_TWO, 9);
		atomic_store(&writer->written, i);
		if (i % 16 == 0)
			usleep(200);
	}
	return NULL;
}

static void flows_that_begin_meanwhile_are_not_lost(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct writer writer = {.v1 = make_v1(rig)};

	packet_rig_must_open(rig, "v0");
	assert_int_equal(pthread_create(&writer.thread, NULL, write_flows, &writer), 0);
	while (atomic_load(&writer.written) <= 2000)
		usleep(100);
	packet_rig_apply(rig, web);
	pthread_join(writer.thread, NULL);
	uint32_t last = atomic_load(&writer.written);
	assert_true(last > 2000);
	for (uint32_t i = 0; i < 20 && last - i >= 2000; i++)
		assert_flow(rig, last - i, "192.0.2.12");
	close_v1(&writer.v1);
}

static void what_this_layout_has_decided_stands(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);
	char path[256];

	/* As after a death between the change of programs and the end. */
	packet_rig_must_open(rig, "v0");
	packet_rig_close(rig);
	link_pin(rig, 1, "v0", path);
	int link = bpf_obj_get(path), root = packet_pin(rig, "programs/xdp_root");
	assert_int_equal(bpf_link_update(link, root, NULL), 0);
	close(link);
	close(root);
	/* One that the new programs have given to another backend; the index is not known yet, so any. */
	uint64_t decided = FLOW_STATE(77, 5, 1);
	put_flow(rig, LAYOUT_VERSION, 3, decided);
	uint32_t before = own_root(rig);
	packet_rig_must_open(rig, "v0");
	assert_int_equal(own_root(rig), before);
	packet_rig_apply(rig, web);
	assert_true(flow_of(rig, 3) == decided);
	assert_flow(rig, 4, "192.0.2.12");
	assert_false(is_there(rig, 1));
	assert_int_not_equal(link_id(rig, LAYOUT_VERSION), 0);
	close_v1(&v1);
}

static void an_attempt_that_ended_early_begins_anew(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);

	packet_rig_must_open(rig, "v0");
	put_flow(rig, LAYOUT_VERSION, 5000, FLOW_STATE(1, 1, 1));
	packet_rig_close(rig);
	assert_int_equal(packet_xdp_on("v0"), v1.root);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	assert_flow(rig, 1001, "192.0.2.11");
	assert_true(!flow_of(rig, 5000));
	/* What nothing is attached by any more goes with the next open. */
	packet_rig_close(rig);
	char path[256];
	snprintf(path, sizeof(path), "%s/v1", rig->pin_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	packet_rig_must_open(rig, "v0");
	assert_false(is_there(rig, 1));
	close_v1(&v1);
}

static void a_death_at_any_point_leaves_it_forwarding(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	for (int round = 0; round < 7; round++) {
		struct v1 v1 = make_v1(rig);
		int ready[2], status;
		assert_int_equal(pipe(ready), 0);
		pid_t child = fork();
		if (!child) {
			packet_rig_must_open(rig, "v0");
			if (write(ready[1], "y", 1) != 1)
				_exit(1);
			packet_rig_apply(rig, web);
			pause();
		}
		char answer;
		close(ready[1]);
		assert_int_equal(read(ready[0], &answer, 1), 1);
		close(ready[0]);
		/* Later and later: the whole takes some 30 ms. */
		struct timespec wait = {.tv_nsec = round * 6000000};
		nanosleep(&wait, NULL);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
		assert_true(WIFSIGNALED(status));
		uint32_t now = packet_xdp_on("v0");
		assert_true(now == v1.root || now == own_root(rig));
		packet_rig_must_open(rig, "v0");
		packet_rig_apply(rig, web);
		assert_flow(rig, 1001, "192.0.2.11");
		assert_flow(rig, 5, "192.0.2.12");
		assert_int_equal(packet_xdp_on("v0"), own_root(rig));
		assert_counted(rig, "web", 30, "two", 20);
		assert_false(is_there(rig, 1));
		packet_rig_close(rig);
		close_v1(&v1);
		assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	}
}

static void interfaces_may_change_with_the_layout(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);

	/* v0 is not wanted any more, v1 is: the old one stays on v0 until the table is in force. */
	packet_rig_must_open(rig, "v1");
	assert_int_equal(packet_xdp_on("v0"), v1.root);
	assert_int_equal(packet_xdp_on("v1"), own_root(rig));
	packet_rig_apply(rig, web);
	assert_int_equal(packet_xdp_on("v0"), 0);
	assert_flow(rig, 1001, "192.0.2.11");
	assert_false(is_there(rig, 1));
	packet_rig_close(rig);
	close_v1(&v1);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);

	/* Another mode takes another link. */
	v1 = make_v1(rig);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_GENERIC), MARCHER_OK);
	assert_int_equal(packet_xdp_on("v0"), v1.root);
	packet_rig_apply(rig, web);
	assert_int_equal(packet_xdp_on("v0"), own_root(rig));
	PacketStatus *status = packet_rig_status(rig);
	assert_string_equal(status->interfaces[0]->mode, "generic");
	packet_status_free(status);
	assert_false(is_there(rig, 1));
	close_v1(&v1);
}

/* This build's pins under another number. */
static void make_numbered(struct packet_rig *rig, int version)
{
	char from[256], to[256];

	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	uint32_t index = packet_backend_of(rig, "192.0.2.12");
	struct backend backend;
	packet_lookup(rig, "backends", &index, &backend);
	put_flow(rig, LAYOUT_VERSION, 1, FLOW_STATE(index, backend.generation, 99) | FLOW_AGAIN);
	int counters = packet_pin(rig, "maps/backend_counters");
	old_count(counters, index, 8);
	close(counters);
	packet_rig_close(rig);
	snprintf(from, sizeof(from), "%s/v%d", rig->pin_dir, LAYOUT_VERSION);
	snprintf(to, sizeof(to), "%s/v%d", rig->pin_dir, version);
	assert_int_equal(rename(from, to), 0);
}

static void set_since(const struct packet_rig *rig, const char *part, uint32_t since)
{
	char path[256], key[32] = "";

	snprintf(path, sizeof(path), "%s/v%d/maps/layout_records", rig->pin_dir, LAYOUT_VERSION + 1);
	snprintf(key, sizeof(key), "%s", part);
	int fd = bpf_obj_get(path);
	assert_int_equal(bpf_map_update_elem(fd, key, &since, BPF_ANY), 0);
	close(fd);
}

static void an_older_build_takes_over_what_it_can_read(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	make_numbered(rig, LAYOUT_VERSION + 1);
	uint32_t link = link_id(rig, LAYOUT_VERSION + 1), running = packet_xdp_on("v0");
	set_since(rig, "flows", LAYOUT_VERSION + 1);
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_PROTOCOL);
	assert_non_null(strstr(marcher_packet_last_error(NULL), "it goes on forwarding"));
	assert_int_equal(packet_xdp_on("v0"), running);
	assert_false(is_there(rig, LAYOUT_VERSION));

	set_since(rig, "flows", LAYOUT_VERSION);
	set_since(rig, "counters", LAYOUT_VERSION + 1);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	assert_flow(rig, 1, "192.0.2.12");
	uint64_t state_now = flow_of(rig, 1);
	assert_int_equal(FLOW_STAMP(state_now), 99);
	assert_true(state_now & FLOW_AGAIN);
	assert_int_equal(link_id(rig, LAYOUT_VERSION), link);
	assert_false(is_there(rig, LAYOUT_VERSION + 1));
	assert_counted(rig, "web", 0, "two", 0);
	packet_rig_close(rig);
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);

	make_numbered(rig, LAYOUT_VERSION + 1);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	assert_counted(rig, "web", 0, "two", 8);
}

static void the_layout_before_is_taken_over(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;

	make_numbered(rig, LAYOUT_VERSION - 1);
	uint32_t link = link_id(rig, LAYOUT_VERSION - 1);
	packet_rig_must_open(rig, "v0");
	packet_rig_apply(rig, web);
	assert_flow(rig, 1, "192.0.2.12");
	assert_counted(rig, "web", 0, "two", 8);
	assert_int_equal(link_id(rig, LAYOUT_VERSION), link);
	assert_false(is_there(rig, LAYOUT_VERSION - 1));
}

static void what_cannot_be_read_is_refused_and_stays(void **state)
{
	NEEDS_PRIVILEGE(state);
	struct packet_rig *rig = *state;
	struct v1 v1 = make_v1(rig);
	char path[256];

	snprintf(path, sizeof(path), "%s/v1/maps/flows", rig->pin_dir);
	assert_int_equal(unlink(path), 0);
	close(old_map(rig, "flows", BPF_MAP_TYPE_LRU_HASH, sizeof(struct v1_flow_key), 16, 4096, 0));
	assert_int_equal(packet_rig_open(rig, "v0", MARCHER_XDP_AUTO), MARCHER_E_PROTOCOL);
	assert_non_null(strstr(marcher_packet_last_error(NULL), "v1 was made by another build of Marcher"));
	assert_int_equal(packet_xdp_on("v0"), v1.root);
	assert_true(is_there(rig, 1));
	assert_int_equal(marcher_packet_uninstall(rig->pin_dir), MARCHER_OK);
	assert_int_equal(packet_xdp_on("v0"), 0);
	close_v1(&v1);
}

static int setup(void **state)
{
	int error = packet_rig_setup(state);

	if (!error && *state)
		((struct packet_rig *)*state)->flows = 262144; /* so that no set overflows */
	return error;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, packet_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(flows_stay_with_their_backends),          TEST(packets_follow_the_flows),
	        TEST(flows_that_begin_meanwhile_are_not_lost), TEST(what_this_layout_has_decided_stands),
	        TEST(an_attempt_that_ended_early_begins_anew), TEST(a_death_at_any_point_leaves_it_forwarding),
	        TEST(interfaces_may_change_with_the_layout),   TEST(an_older_build_takes_over_what_it_can_read),
	        TEST(the_layout_before_is_taken_over),         TEST(what_cannot_be_read_is_refused_and_stays),
	};
	return cmocka_run_group_tests_name("packet_migrate", tests, packet_rig_namespaces, NULL);
}
