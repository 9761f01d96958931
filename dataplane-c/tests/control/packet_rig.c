/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_rig.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool privileged;

int packet_rig_namespaces(void **state)
{
	(void)state;
	/* Mounts of here stay here, and go with the process. */
	privileged = !geteuid() && !unshare(CLONE_NEWNET | CLONE_NEWNS) &&
	             !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
	if (privileged)
		packet_rig_run("ip link set lo up");
	else
		print_message(
		        "needs root with CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN: every test below is skipped\n");
	return 0;
}

void packet_rig_run(const char *format, ...)
{
	char command[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (system(command) != 0) /* NOLINT(cert-env33-c): the test's own words */
		fail_msg("failed: %s", command);
}

int packet_rig_setup(void **state)
{
	if (!privileged)
		return 0;
	struct packet_rig *rig = calloc(1, sizeof(*rig));
	strcpy(rig->mount, "/tmp/marcher-packet-XXXXXX");
	if (!rig || !mkdtemp(rig->mount) || mount("bpf", rig->mount, "bpf", 0, NULL))
		return -1;
	snprintf(rig->pin_dir, sizeof(rig->pin_dir), "%s/nodes/marcher", rig->mount);
	packet_rig_run("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && "
	               "ip address add 192.0.2.1/24 dev v0");
	*state = rig;
	return 0;
}

int packet_rig_teardown(void **state)
{
	struct packet_rig *rig = *state;

	if (!rig)
		return 0;
	packet_rig_close(rig);
	marcher_packet_uninstall(rig->pin_dir);
	umount2(rig->mount, MNT_DETACH);
	rmdir(rig->mount);
	if (if_nametoindex("v0"))
		packet_rig_run("ip link delete v0");
	free(rig);
	return 0;
}

static void set_sys_admin(bool given)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};
	const uint32_t bit = 1u << CAP_SYS_ADMIN % 32;

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	data[CAP_SYS_ADMIN / 32].effective &= ~bit;
	data[CAP_SYS_ADMIN / 32].effective |= given ? bit : 0;
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

static void give_up_sys_admin(const struct packet_rig *rig)
{
	if (!rig->sys_admin)
		set_sys_admin(false);
}

static void take_sys_admin(const struct packet_rig *rig)
{
	if (!rig->sys_admin)
		set_sys_admin(true);
}

int packet_rig_open(struct packet_rig *rig, const char *interfaces, uint32_t mode)
{
	struct marcher_packet_options options = {.size = sizeof(options),
	                                         .xdp_mode = mode,
	                                         .flows = rig->flows ? rig->flows : 1024,
	                                         .nat_flows = rig->nat_flows ? rig->nat_flows : 1024,
	                                         .pin_dir = rig->pin_dir,
	                                         .interfaces = interfaces};

	give_up_sys_admin(rig);
	int code = marcher_packet_open(&options, &rig->packet);
	take_sys_admin(rig);
	return code;
}

void packet_rig_must_open(struct packet_rig *rig, const char *interfaces)
{
	int code = packet_rig_open(rig, interfaces, MARCHER_XDP_AUTO);

	if (code)
		fail_msg("open: %s: %s", marcher_error_name(code), marcher_packet_last_error(NULL));
}

struct marcher_packet *packet_rig_other(const struct packet_rig *rig, const char *interfaces, char pin_dir[96])
{
	struct marcher_packet *other = NULL;
	struct marcher_packet_options options = {
	        .size = sizeof(options), .flows = 1024, .pin_dir = pin_dir, .interfaces = interfaces};

	snprintf(pin_dir, 96, "%.80s/other", rig->mount);
	if (marcher_packet_open(&options, &other))
		fail_msg("another agent: %s", marcher_packet_last_error(NULL));
	return other;
}

void packet_rig_end_other(struct marcher_packet *other, const char *pin_dir)
{
	marcher_packet_close(other);
	assert_int_equal(marcher_packet_uninstall(pin_dir), MARCHER_OK);
}

void packet_rig_close(struct packet_rig *rig)
{
	marcher_packet_close(rig->packet);
	rig->packet = NULL;
}

struct address packet_rig_address(const char *text)
{
	struct address address = {{0}};

	if (inet_pton(AF_INET, text, &address.word[3]) == 1)
		address.word[2] = htonl(0xffff);
	else if (inet_pton(AF_INET6, text, &address) != 1)
		fail_msg("no address: %s", text);
	return address;
}

/* Of a prefix: its address. */
static ProtobufCBinaryData bytes_of(const char *prefix)
{
	ProtobufCBinaryData data = {.len = strchr(prefix, ':') ? 16 : 4};
	char text[64];

	snprintf(text, sizeof(text), "%s", prefix);
	text[strcspn(text, "/")] = '\0';
	data.data = malloc(16);
	if (inet_pton(data.len == 4 ? AF_INET : AF_INET6, text, data.data) != 1)
		fail_msg("no address: %s", text);
	return data;
}

static void *append(void *list, size_t *count, void *item)
{
	void **items = realloc(list, (*count + 1) * sizeof(void *));

	items[(*count)++] = item;
	return items;
}

static void add_line(PacketTable *table, const char *line)
{
	char word[16] = "", a[300] = "", b[64] = "", c[64] = "", d[24] = "";
	Marcher__Packet__V1__Service *service = table->n_services ? table->services[table->n_services - 1] : NULL;

	if (sscanf(line, "%15s %299s %63s %63s %23s", word, a, b, c, d) < 2)
		return;
	if (!strcmp(word, "service")) {
		service = calloc(1, sizeof(*service));
		marcher__packet__v1__service__init(service);
		service->name = strdup(a);
		service->forwarding = !strcmp(b, "ipip")  ? MARCHER__PACKET__V1__FORWARDING__FORWARDING_IPIP
		                      : !strcmp(b, "gue") ? MARCHER__PACKET__V1__FORWARDING__FORWARDING_GUE
		                      : strstr(b, "nat")  ? MARCHER__PACKET__V1__FORWARDING__FORWARDING_NAT
		                                          : MARCHER__PACKET__V1__FORWARDING__FORWARDING_L2;
		service->relayed_too = !strcmp(b, "autonat");
		service->source_nat = !strcmp(b, "snat") || service->relayed_too;
		service->gue_port = !strcmp(b, "gue") ? 6080 : 0;
		service->ring_size = (uint32_t)atoi(c);
		if (!strcmp(d, "quic")) {
			service->quic = malloc(sizeof(*service->quic));
			marcher__packet__v1__quic__init(service->quic);
			service->quic->n_config_ids = 1;
			service->quic->config_ids = calloc(1, sizeof(uint32_t));
		}
		table->services = append(table->services, &table->n_services, service);
	} else if (!strcmp(word, "vip") || !strcmp(word, "left")) {
		Marcher__Packet__V1__Vip *vip = calloc(1, sizeof(*vip));
		marcher__packet__v1__vip__init(vip);
		vip->address = bytes_of(a);
		vip->port = (uint32_t)atoi(b);
		vip->prefix_length = strchr(a, '/') ? (uint32_t)atoi(strchr(a, '/') + 1) : 0;
		vip->transport = strstr(b, "/udp") ? MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_UDP
		                                   : MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP;
		if (*word == 'l')
			table->left = append(table->left, &table->n_left, vip);
		else
			service->vips = append(service->vips, &service->n_vips, vip);
	} else if (!strcmp(word, "backend")) {
		Marcher__Packet__V1__Backend *backend = calloc(1, sizeof(*backend));
		marcher__packet__v1__backend__init(backend);
		backend->name = strdup(a);
		backend->address = bytes_of(b);
		backend->weight = (uint32_t)atoi(c);
		backend->usable = !*d || *d == ':' || *d == '#';
		if (*d == '#') {
			backend->quic_server_id.len = strlen(d) - 1;
			backend->quic_server_id.data = (uint8_t *)strdup(d + 1);
		}
		backend->port = *d == ':' ? (uint32_t)atoi(d + 1) : 0;
		backend->dead = !strcmp(d, "dead");
		service->backends = append(service->backends, &service->n_backends, backend);
	} else if (!strcmp(word, "decap")) {
		table->decapsulated =
		        realloc(table->decapsulated, (table->n_decapsulated + 1) * sizeof(ProtobufCBinaryData));
		table->decapsulated[table->n_decapsulated++] = bytes_of(a);
	} else {
		fail_msg("no line of a table: %s", line);
	}
}

PacketTable *packet_table(const char *lines)
{
	PacketTable *table = calloc(1, sizeof(*table));
	char *copy = strdup(lines), *rest = copy, *line;

	marcher__packet__v1__table__init(table);
	while ((line = strsep(&rest, "\n")))
		add_line(table, line);
	free(copy);
	return table;
}

void packet_table_free(PacketTable *table)
{
	marcher__packet__v1__table__free_unpacked(table, NULL);
}

int packet_rig_apply_table(struct packet_rig *rig, const PacketTable *table, ApplyReply **reply)
{
	size_t length = marcher__packet__v1__table__get_packed_size(table), reply_length = 0;
	uint8_t *packed = malloc(length + 1), *bytes = NULL;

	marcher__packet__v1__table__pack(table, packed);
	give_up_sys_admin(rig);
	int code = marcher_packet_apply(rig->packet, packed, length, &bytes, &reply_length);
	take_sys_admin(rig);
	free(packed);
	*reply = bytes ? marcher__packet__v1__apply_reply__unpack(NULL, reply_length, bytes) : NULL;
	marcher_buffer_free(bytes);
	return code;
}

void packet_rig_apply(struct packet_rig *rig, const char *lines)
{
	PacketTable *table = packet_table(lines);
	ApplyReply *reply;
	int code = packet_rig_apply_table(rig, table, &reply);

	if (code)
		fail_msg("apply: %s: %s", marcher_error_name(code), marcher_packet_last_error(rig->packet));
	assert_true(reply->accepted);
	assert_int_equal(reply->services, table->n_services);
	marcher__packet__v1__apply_reply__free_unpacked(reply, NULL);
	packet_table_free(table);
}

PacketStatus *packet_rig_status(struct packet_rig *rig)
{
	uint8_t *bytes;
	size_t length;
	int code = marcher_packet_status(rig->packet, &bytes, &length);

	if (code)
		fail_msg("status: %s: %s", marcher_error_name(code), marcher_packet_last_error(rig->packet));
	PacketStatus *status = marcher__packet__v1__status__unpack(NULL, length, bytes);
	marcher_buffer_free(bytes);
	assert_non_null(status);
	return status;
}

void packet_status_free(PacketStatus *status)
{
	marcher__packet__v1__status__free_unpacked(status, NULL);
}

int packet_pin(const struct packet_rig *rig, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/v%d/%s", rig->pin_dir, LAYOUT_VERSION, name);
	return bpf_obj_get(path);
}

/* The table of translated flows that the map holds, or -1. */
static int table_in(int maps)
{
	const uint32_t zero = 0;
	uint32_t id;
	int fd = bpf_map_lookup_elem(maps, &zero, &id) ? -1 : bpf_map_get_fd_by_id(id);

	close(maps);
	return fd;
}

static int map_of(const struct packet_rig *rig, const char *map)
{
	char name[64];

	snprintf(name, sizeof(name), "maps/%s", map);
	int fd = packet_pin(rig, name);
	if (fd < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return strcmp(map, "nat_flows") != 0 && strcmp(map, "nat_new") != 0 ? fd : table_in(fd);
}

void packet_lookup(const struct packet_rig *rig, const char *map, const void *key, void *value)
{
	int fd = map_of(rig, map);

	if (bpf_map_lookup_elem(fd, key, value))
		fail_msg("reading %s: %s", map, strerror(errno));
	close(fd);
}

bool packet_has(const struct packet_rig *rig, const char *map, const void *key)
{
	uint8_t value[512];
	int fd = map_of(rig, map);
	bool has = !bpf_map_lookup_elem(fd, key, value);

	close(fd);
	return has;
}

void packet_write(const struct packet_rig *rig, const char *map, const void *key, const void *value)
{
	int fd = map_of(rig, map);

	if (bpf_map_update_elem(fd, key, value, BPF_ANY))
		fail_msg("writing %s: %s", map, strerror(errno));
	close(fd);
}

unsigned packet_entries(const struct packet_rig *rig, const char *map)
{
	uint8_t key[64], next[64];
	unsigned count = 0;
	int fd = map_of(rig, map);

	for (void *at = NULL; !bpf_map_get_next_key(fd, at, next); at = key, count++)
		memcpy(key, next, sizeof(key));
	close(fd);
	return count;
}

struct vip_key packet_vip_key(const char *address, uint16_t port, uint8_t protocol)
{
	return (struct vip_key){.address = packet_rig_address(address), .port = htons(port), .protocol = protocol};
}

uint32_t packet_service_of(const struct packet_rig *rig, const char *address, uint16_t port)
{
	struct vip_key key = packet_vip_key(address, port, IPPROTO_TCP);
	struct vip vip;

	packet_lookup(rig, "vips", &key, &vip);
	return vip.service;
}

uint32_t packet_backend_of(const struct packet_rig *rig, const char *address)
{
	struct address wanted = packet_rig_address(address);
	struct backend backend;
	uint32_t found = 0;
	int fd = map_of(rig, "backends");

	for (uint32_t i = 1; !found && i < 4096; i++)
		if (!bpf_map_lookup_elem(fd, &i, &backend) && backend.flags & BACKEND_IN_USE &&
		    !memcmp(&backend.address, &wanted, sizeof(wanted)))
			found = i;
	close(fd);
	return found;
}

uint32_t packet_ring_id(const struct packet_rig *rig, uint32_t service)
{
	uint32_t id = 0;
	int fd = map_of(rig, "rings");

	if (bpf_map_lookup_elem(fd, &service, &id))
		id = 0;
	close(fd);
	return id;
}

uint32_t *packet_ring(const struct packet_rig *rig, uint32_t service, uint32_t *count)
{
	uint32_t zero = 0;
	int fd = bpf_map_get_fd_by_id(packet_ring_id(rig, service));

	assert_true(fd >= 0);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, count), 0);
	uint32_t *slots = calloc(*count, sizeof(*slots));
	for (uint32_t i = 0; i < *count; i++) {
		uint32_t key = i + 1;
		assert_int_equal(bpf_map_lookup_elem(fd, &key, &slots[i]), 0);
	}
	close(fd);
	return slots;
}

uint32_t packet_xdp_on(const char *interface)
{
	uint32_t id = 0;

	bpf_xdp_query_id((int)if_nametoindex(interface), 0, &id);
	return id;
}
