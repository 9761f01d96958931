/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From compiled objects to pinned maps and running programs.
 *
 * A map that is pinned is adopted when it is what the objects expect. A program that is pinned is adopted when it came
 * from the very object that is in this library (its fingerprint is in build_records) and still is in its slot. Any
 * other is loaded and put into the slot by one write, then pinned over the old one (rename is atomic on bpffs): traffic
 * always meets one of the two. A death in between leaves a slot whose program is not the pinned one, which is loaded
 * anew.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packet_guard.h"
#include "packet_migrate.h"
#include "packet_objects.h"
#include "packet_ring.h"

#define PIN_PATH_MAX 4096
#define OBJECTS_MAX 16
#define DROP_RECORDS_MAX 256
#define LAYOUT_PARTS_MAX 16
#define BUILD_NAME_MAX PACKET_RECORD_KEY

const char *const packet_map_names[PACKET_MAPS] = {
        [MAP_VIPS] = "vips",
        [MAP_VIP_ADDRESSES] = "vip_addresses",
        [MAP_VIP_PREFIXES] = "vip_prefixes",
        [MAP_VIP_SETTINGS] = "vip_settings",
        [MAP_SERVICES] = "services",
        [MAP_RINGS] = "rings",
        [MAP_BACKENDS] = "backends",
        [MAP_FLOWS] = "flows",
        [MAP_FLOW_SETTINGS] = "flow_settings",
        [MAP_SERVICE_COUNTERS] = "service_counters",
        [MAP_SERVICE_FAILURES] = "service_failures",
        [MAP_BACKEND_COUNTERS] = "backend_counters",
        [MAP_DROPS] = "drops",
        [MAP_XDP_SLOTS] = "xdp_slots",
        [MAP_TC_SLOTS] = "tc_slots",
        [MAP_DECAP_ADDRESSES] = "decap_addresses",
        [MAP_DECAP_SERVICES] = "decap_services",
        [MAP_VLAN_DEVICES] = "vlan_devices",
        [MAP_NAT_FLOWS] = "nat_flows",
        [MAP_NAT_NEW] = "nat_new",
        [MAP_NAT_SETTINGS] = "nat_settings",
        [MAP_NAT_DEVICES] = "nat_devices",
        [MAP_NAT_COUNTERS] = "nat_counters",
        [MAP_POLICIES] = "policies",
        [MAP_POLICY_BUCKETS] = "policy_buckets",
        [MAP_POLICY_COUNTERS] = "policy_counters",
        [MAP_POLICY_FLOWS] = "policy_flows",
        [MAP_SHAPE_DEVICES] = "shape_devices",
        [MAP_SHAPE_SERVICES] = "shape_services",
        [MAP_QUIC_SERVERS] = "quic_servers",
        [MAP_GUARD] = "guard",
        [MAP_GUARD_SOURCES_V4] = "guard_sources_v4",
        [MAP_GUARD_SOURCES_V6] = "guard_sources_v6",
        [MAP_GUARD_CLASSES] = "guard_classes",
        [MAP_GUARD_SPANS] = "guard_spans",
        [MAP_GUARD_RULES] = "guard_rules",
        [MAP_GUARD_COUNTERS] = "guard_counters",
        [MAP_GUARD_DEBTS] = "guard_debts",
        [MAP_GUARD_DATAGRAMS] = "guard_datagrams",
        [MAP_GUARD_SYNS] = "guard_syns",
        [MAP_GUARD_COOKIES] = "guard_cookies",
        [MAP_OWN_ADDRESSES] = "own_addresses",
        [MAP_GUARD_RECORDS] = "guard_records",
        [MAP_SERVICE_RECORDS] = "service_records",
        [MAP_BACKEND_RECORDS] = "backend_records",
        [MAP_BUILD_RECORDS] = "build_records",
        [MAP_DROP_RECORDS] = "drop_records",
        [MAP_LAYOUT_RECORDS] = "layout_records",
};

/* The library's own. */
static const struct {
	enum packet_map map;
	uint32_t key_size, value_size, max_entries;
} own_maps[] = {
        {MAP_SERVICE_RECORDS, sizeof(uint32_t), sizeof(struct service_record), SERVICES_MAX},
        {MAP_BACKEND_RECORDS, sizeof(uint32_t), sizeof(struct backend_record), BACKENDS_MAX},
        {MAP_GUARD_RECORDS, sizeof(uint32_t), sizeof(struct guard_record), GUARD_COUNTERS},
        {MAP_BUILD_RECORDS, BUILD_NAME_MAX, sizeof(struct build_record), OBJECTS_MAX},
        {MAP_DROP_RECORDS, PACKET_RECORD_KEY, sizeof(struct drop_record), DROP_RECORDS_MAX},
        {MAP_LAYOUT_RECORDS, PACKET_RECORD_KEY, sizeof(struct layout_record), LAYOUT_PARTS_MAX},
};

/* What libbpf last complained about on this thread: the verifier's last words, among others. */
static _Thread_local char complaint[512];

static int keep_complaint(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char text[4096];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(text, sizeof(text), format, arguments);
	size_t length = strlen(text);
	while (length && (text[length - 1] == '\n' || text[length - 1] == ' '))
		text[--length] = '\0';
	if (length) {
		/* The verifier says last what it refused. */
		size_t room = sizeof(complaint) - 1;
		snprintf(complaint, sizeof(complaint), "%s", text + (length > room ? length - room : 0));
	}
	return 0;
}

const char *packet_complaint(void)
{
	return complaint;
}

void packet_complaints_begin(void)
{
	/* One process-wide hook; it keeps to the thread, and Node has no other user of libbpf. */
	libbpf_set_print(keep_complaint);
	complaint[0] = '\0';
}

int packet_map_info(int fd, struct bpf_map_info *info)
{
	__u32 length = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &length) ? -1 : 0;
}

static int write_again(int error, int attempt)
{
	return (error == EBUSY || error == EAGAIN) && attempt < 3;
}

int packet_put(const struct marcher_packet *handle, enum packet_map map, const void *key, const void *value)
{
	for (int attempt = 0;; attempt++) {
		if (!bpf_map_update_elem(handle->maps[map], key, value, BPF_ANY))
			return 0;
		if (!write_again(errno, attempt))
			return -errno;
	}
}

int packet_drop(const struct marcher_packet *handle, enum packet_map map, const void *key)
{
	for (int attempt = 0;; attempt++) {
		if (!bpf_map_delete_elem(handle->maps[map], key) || errno == ENOENT)
			return 0;
		if (!write_again(errno, attempt))
			return -errno;
	}
}

static int make_dirs(struct marcher_packet *handle)
{
	static const char *const kinds[] = {NULL, "maps", "programs", "links", "tc"};
	char path[PIN_PATH_MAX];

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		packet_dir_path(handle, path, kinds[i], NULL);
		/* The folder itself may be there for sk_lookup. */
		if (mkdir(path, 0700) == 0)
			handle->fresh |= i == 1;
		else if (errno != EEXIST)
			return packet_fail_system(handle, errno, "creating %s", path);
	}
	return MARCHER_OK;
}

static int layout_differs(struct marcher_packet *handle, const char *path, const char *what, uint32_t is,
                          uint32_t expected)
{
	return packet_fail(
	        handle, MARCHER_E_PROTOCOL,
	        "the map pinned at %s has %s %u, this build expects %u: it was made by another build; take it "
	        "away first (marcher uninstall-dataplane; its flows are forgotten)",
	        path, what, is, expected);
}

static int check_map(struct marcher_packet *handle, const char *path, int fd, uint32_t type, uint32_t key,
                     uint32_t value, uint32_t max_entries, uint32_t flags)
{
	struct bpf_map_info info;

	if (packet_map_info(fd, &info) < 0)
		return packet_fail_system(handle, errno, "%s", path);
	if (info.type != type)
		return layout_differs(handle, path, "type", info.type, type);
	if (info.key_size != key)
		return layout_differs(handle, path, "key size", info.key_size, key);
	if (info.value_size != value)
		return layout_differs(handle, path, "value size", info.value_size, value);
	if (max_entries && info.max_entries != max_entries)
		return layout_differs(handle, path, "max_entries", info.max_entries, max_entries);
	if (info.map_flags != flags)
		return layout_differs(handle, path, "flags", info.map_flags, flags);
	return MARCHER_OK;
}

/* The pinned map's descriptor, -1 and errno ENOENT when there is none. */
static int pinned(const struct marcher_packet *handle, const char *kind, const char *name, char path[PIN_PATH_MAX])
{
	packet_dir_path(handle, path, kind, name);
	return bpf_obj_get(path);
}

static int open_own_map(struct marcher_packet *handle, size_t i)
{
	enum packet_map map = own_maps[i].map;
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	char path[PIN_PATH_MAX];
	int fd = pinned(handle, "maps", packet_map_names[map], path);

	if (fd >= 0) {
		handle->maps[map] = fd;
		return check_map(handle, path, fd, BPF_MAP_TYPE_HASH, own_maps[i].key_size, own_maps[i].value_size,
		                 own_maps[i].max_entries, BPF_F_NO_PREALLOC);
	}
	if (errno != ENOENT)
		return packet_fail_system(handle, errno, "opening %s", path);
	/* A kernel name has 15 characters at most. */
	char name[BPF_OBJ_NAME_LEN];
	snprintf(name, sizeof(name), "%.15s", packet_map_names[map]);
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, name, own_maps[i].key_size, own_maps[i].value_size,
	                    own_maps[i].max_entries, &options);
	if (fd < 0)
		return packet_fail_system(handle, errno, "creating the map %s", packet_map_names[map]);
	handle->maps[map] = fd;
	if (bpf_obj_pin(fd, path) < 0)
		return packet_fail_system(handle, errno, "pinning %s", path);
	return MARCHER_OK;
}

/* One object on its way. */
struct loading {
	const struct packet_object *object;
	struct bpf_object *bpf;
	struct bpf_program *program;
	uint64_t fingerprint;
	bool complete; /* every map of it was pinned */
};

/* Entries of a table of flows, which are made for as many as are asked for; 0: another map. */
static uint32_t table_entries(const char *name, uint32_t flows)
{
	if (!strcmp(name, packet_map_names[MAP_FLOWS]))
		return packet_flow_sets(flows);
	return 0;
}

/* Has the object use the maps that are pinned. */
static int reuse_maps(struct marcher_packet *handle, struct loading *loading, uint32_t flows)
{
	struct bpf_map *map;

	loading->complete = true;
	bpf_object__for_each_map(map, loading->bpf)
	{
		const char *name = bpf_map__name(map);
		char path[PIN_PATH_MAX];
		uint32_t entries = table_entries(name, flows);
		if (bpf_map__is_internal(map))
			continue;
		if (!strcmp(name, packet_map_names[MAP_RINGS]) && bpf_map__inner_map(map))
			handle->ring_flags = bpf_map__map_flags(bpf_map__inner_map(map));
		bpf_map__set_pin_path(map, NULL);
		if (entries)
			bpf_map__set_max_entries(map, entries);
		int fd = pinned(handle, "maps", name, path);
		if (fd < 0 && errno == ENOENT) {
			loading->complete = false;
			continue;
		}
		if (fd < 0)
			return packet_fail_system(handle, errno, "opening %s", path);
		int code = check_map(handle, path, fd, bpf_map__type(map), bpf_map__key_size(map),
		                     bpf_map__value_size(map), entries ? 0 : bpf_map__max_entries(map),
		                     bpf_map__map_flags(map));
		int error = code ? 0 : bpf_map__reuse_fd(map, fd);
		close(fd);
		if (code || error)
			return code ? code : packet_fail_system(handle, -error, "adopting %s", path);
	}
	return MARCHER_OK;
}

static int open_object(struct marcher_packet *handle, const struct packet_object *object, uint32_t flows,
                       struct loading *loading)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = object->name);
	size_t size;
	const void *bytes = object->bytes(&size);

	complaint[0] = '\0';
	*loading = (struct loading){.object = object, .fingerprint = packet_fingerprint(bytes, size)};
	loading->bpf = bpf_object__open_mem(bytes, size, &options);
	if (!loading->bpf)
		return packet_fail_system(handle, errno, "opening the BPF object %s (%s)", object->name, complaint);
	loading->program = bpf_object__next_program(loading->bpf, NULL);
	if (!loading->program)
		return packet_fail(handle, MARCHER_E_PROTOCOL, "the BPF object %s has no program", object->name);
	return reuse_maps(handle, loading, flows);
}

/* Pins the maps that loading has made. */
static int pin_maps(struct marcher_packet *handle, struct bpf_object *bpf)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, bpf)
	{
		char path[PIN_PATH_MAX];
		if (bpf_map__is_internal(map))
			continue;
		packet_dir_path(handle, path, "maps", bpf_map__name(map));
		if (bpf_obj_pin(bpf_map__fd(map), path) < 0 && errno != EEXIST)
			return packet_fail_system(handle, errno, "pinning %s", path);
	}
	return MARCHER_OK;
}

uint32_t packet_program_id(int fd)
{
	struct bpf_prog_info info = {0};
	__u32 length = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &length) ? 0 : info.id;
}

/* The program array that the object is called by, and its place there. PACKET_MAPS: none, it is attached. */
static enum packet_map slots_of(const struct packet_object *object, uint32_t *slot)
{
	*slot = object->slot >= 0 ? (uint32_t)object->slot : TC_SLOT_DECAP;
	if (object->slot >= 0)
		return MAP_XDP_SLOTS;
	return object->slot == PACKET_OBJECT_TC_DECAP ? MAP_TC_SLOTS : PACKET_MAPS;
}

/* A slot that is filled when it is needed, and not when its program is loaded. */
static bool may_be_empty(const struct packet_object *object)
{
	return object->slot == XDP_SLOT_NAT;
}

/* The pinned program's descriptor when it came from this very object and runs; else -1. */
static int adopt_program(struct marcher_packet *handle, const struct loading *loading)
{
	struct build_record build;
	char key[BUILD_NAME_MAX] = "", path[PIN_PATH_MAX];
	uint32_t slot, id = 0;
	enum packet_map map = slots_of(loading->object, &slot);

	snprintf(key, sizeof(key), "%s", loading->object->name);
	if (!loading->complete || bpf_map_lookup_elem(handle->maps[MAP_BUILD_RECORDS], key, &build) ||
	    build.fingerprint != loading->fingerprint)
		return -1;
	int fd = pinned(handle, "programs", loading->object->name, path);
	if (fd < 0)
		return -1;
	if (map == PACKET_MAPS)
		return fd;
	/* The array is among the object's maps, so it is pinned; a lookup answers with the program's id. */
	char slots_path[PIN_PATH_MAX];
	int slots = pinned(handle, "maps", packet_map_names[map], slots_path);
	bool empty = slots >= 0 && bpf_map_lookup_elem(slots, &slot, &id);
	if (slots < 0 || (empty ? !may_be_empty(loading->object) : id != packet_program_id(fd))) {
		close(fd);
		fd = -1;
	}
	if (slots >= 0)
		close(slots);
	return fd;
}

static int pin_program(struct marcher_packet *handle, const struct loading *loading, int fd)
{
	char path[PIN_PATH_MAX], draft[PIN_PATH_MAX], key[BUILD_NAME_MAX] = "", draft_name[BUILD_NAME_MAX + 8];
	struct build_record build = {.fingerprint = loading->fingerprint};

	snprintf(key, sizeof(key), "%s", loading->object->name);
	snprintf(draft_name, sizeof(draft_name), "%s_next", key);
	packet_dir_path(handle, path, "programs", key);
	packet_dir_path(handle, draft, "programs", draft_name);
	if (unlink(draft) < 0 && errno != ENOENT)
		return packet_fail_system(handle, errno, "removing %s", draft);
	if (bpf_obj_pin(fd, draft) < 0 || rename(draft, path) < 0)
		return packet_fail_system(handle, errno, "pinning %s", path);
	int error = packet_put(handle, MAP_BUILD_RECORDS, key, &build);
	return error ? packet_fail_system(handle, -error, "writing build_records") : MARCHER_OK;
}

/* Nothing, of a program that is attached, or that nobody calls now. */
static int set_slot(struct marcher_packet *handle, const struct loading *loading, int fd)
{
	uint32_t slot;
	enum packet_map map = slots_of(loading->object, &slot);

	if (map == PACKET_MAPS)
		return MARCHER_OK;
	struct bpf_map *slots = bpf_object__find_map_by_name(loading->bpf, packet_map_names[map]);
	if (!slots)
		return packet_fail(handle, MARCHER_E_PROTOCOL, "the BPF object %s does not use %s",
		                   loading->object->name, packet_map_names[map]);
	uint32_t id;
	if (may_be_empty(loading->object) && bpf_map_lookup_elem(bpf_map__fd(slots), &slot, &id))
		return MARCHER_OK;
	if (bpf_map_update_elem(bpf_map__fd(slots), &slot, &fd, BPF_ANY) < 0)
		return packet_fail_system(handle, errno, "putting %s into slot %u of %s", loading->object->name, slot,
		                          packet_map_names[map]);
	return MARCHER_OK;
}

/* Where the descriptor of a program is kept that is attached, or put into its slot later; NULL for others. */
static int *kept_program(struct marcher_packet *handle, const struct packet_object *object)
{
	switch (object->slot) {
	case PACKET_OBJECT_ROOT:
		return &handle->root_fd;
	case PACKET_OBJECT_TC_INGRESS:
		return &handle->tc_fds[TC_HOOK_INGRESS];
	case PACKET_OBJECT_TC_EGRESS:
		return &handle->tc_fds[TC_HOOK_EGRESS];
	case XDP_SLOT_NAT:
		return &handle->nat_fast.program;
	default:
		return NULL;
	}
}

static int load_program(struct marcher_packet *handle, struct loading *loading)
{
	complaint[0] = '\0';
	int error = bpf_object__load(loading->bpf);
	if (error)
		return packet_fail_system(handle, -error, "the kernel refuses the BPF object %s (%s)",
		                          loading->object->name, *complaint ? complaint : "without a word");
	int fd = bpf_program__fd(loading->program);
	int code = pin_maps(handle, loading->bpf);
	if (!code)
		code = set_slot(handle, loading, fd);
	if (!code)
		code = pin_program(handle, loading, fd);
	int *kept = kept_program(handle, loading->object);
	if (!code && kept) {
		*kept = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* the engine is started from here */
		if (*kept < 0)
			code = packet_fail_system(handle, errno, "keeping the program %s", loading->object->name);
	}
	return code;
}

static int load_object(struct marcher_packet *handle, const struct packet_object *object, uint32_t flows, bool *adopted)
{
	struct loading loading;
	int code = open_object(handle, object, flows, &loading);

	if (!code) {
		int fd = adopt_program(handle, &loading);
		if (fd < 0) {
			*adopted = false;
			code = load_program(handle, &loading);
		} else if (kept_program(handle, object)) {
			*kept_program(handle, object) = fd;
		} else {
			close(fd);
		}
	}
	bpf_object__close(loading.bpf);
	return code;
}

/* Slots and pins of programs that this build does not have: a later build's, which nobody here would fill. */
static void clear_other_programs(struct marcher_packet *handle)
{
	char path[PIN_PATH_MAX];
	struct dirent *entry;

	for (uint32_t slot = 0; slot < XDP_SLOTS; slot++) {
		bool known = false;
		for (size_t i = 0; i < packet_objects_count; i++)
			known |= packet_objects[i].slot == (int)slot;
		if (!known)
			bpf_map_delete_elem(handle->maps[MAP_XDP_SLOTS], &slot);
	}
	for (uint32_t slot = TC_SLOT_DECAP + 1; slot < TC_SLOTS; slot++)
		bpf_map_delete_elem(handle->maps[MAP_TC_SLOTS], &slot);
	packet_dir_path(handle, path, "programs", NULL);
	DIR *directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		bool known = entry->d_name[0] == '.';
		for (size_t i = 0; i < packet_objects_count; i++)
			known |= !strcmp(packet_objects[i].name, entry->d_name);
		if (!known) {
			packet_dir_path(handle, path, "programs", entry->d_name);
			unlink(path);
		}
	}
	if (directory)
		closedir(directory);
}

/* A required map whose pin is gone: programs that run use another one than would be made now, so all are loaded. */
static int forget_builds(struct marcher_packet *handle)
{
	for (size_t i = 0; i < packet_objects_count; i++) {
		char key[BUILD_NAME_MAX] = "";
		snprintf(key, sizeof(key), "%s", packet_objects[i].name);
		int error = packet_drop(handle, MAP_BUILD_RECORDS, key);
		if (error)
			return packet_fail_system(handle, -error, "writing build_records");
	}
	return MARCHER_OK;
}

static int put_layout_records(struct marcher_packet *handle)
{
	static const struct {
		char name[PACKET_RECORD_KEY];
		struct layout_record record;
	} parts[] = {{"flows", {LAYOUT_FLOWS_SINCE}},
	             {"records", {LAYOUT_RECORDS_SINCE}},
	             {"counters", {LAYOUT_COUNTERS_SINCE}},
	             {"nat", {LAYOUT_NAT_SINCE}}};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		int error = packet_put(handle, MAP_LAYOUT_RECORDS, parts[i].name, &parts[i].record);
		if (error)
			return packet_fail_system(handle, -error, "writing layout_records");
	}
	return MARCHER_OK;
}

static bool all_pinned(const struct marcher_packet *handle)
{
	char path[PIN_PATH_MAX];
	struct stat st;

	for (int map = 0; map < PACKET_MAPS; map++) {
		packet_dir_path(handle, path, "maps", packet_map_names[map]);
		if (stat(path, &st) < 0)
			return false;
	}
	return true;
}

int packet_load(struct marcher_packet *handle, uint32_t flows)
{
	bool adopted = true;
	char path[PIN_PATH_MAX];

	packet_complaints_begin();
	int code = packet_migration_find(handle);
	if (!code)
		code = make_dirs(handle);
	bool whole = !code && all_pinned(handle);
	for (size_t i = 0; !code && i < sizeof(own_maps) / sizeof(own_maps[0]); i++)
		code = open_own_map(handle, i);
	if (!code)
		code = put_layout_records(handle);
	if (!code && !whole)
		code = forget_builds(handle);
	for (size_t i = 0; !code && i < packet_objects_count; i++)
		code = load_object(handle, &packet_objects[i], flows, &adopted);
	for (int map = 0; !code && map < PACKET_MAPS; map++) {
		if (handle->maps[map] >= 0)
			continue;
		handle->maps[map] = pinned(handle, "maps", packet_map_names[map], path);
		if (handle->maps[map] < 0)
			code = packet_fail_system(handle, errno, "opening %s", path);
	}
	if (!code)
		code = packet_flows_open(handle);
	if (!code && handle->migration)
		code = packet_migration_prepare(handle);
	if (code)
		return code;
	clear_other_programs(handle);
	handle->root_id = packet_program_id(handle->root_fd);
	handle->adopted = adopted;
	return MARCHER_OK;
}
