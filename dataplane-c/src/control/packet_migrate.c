/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_migrate.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/flow_tag.h"
#include "packet_inner.h"
#include "packet_migrate_nat.h"
#include "packet_walk.h"

#define PIN_PATH_MAX 4096
#define LEAVE_NS 20000000 /* the kernel's turns are shorter */
#define RECORD_MAX 1024   /* bytes of a value that is read whole */

static void version_path(const struct marcher_packet *handle, int version, char path[PIN_PATH_MAX], const char *kind,
                         const char *name)
{
	snprintf(path, PIN_PATH_MAX, "%.3800s/v%d/%s%s%s", handle->pin_dir, version, kind, name ? "/" : "",
	         name ? name : "");
}

void packet_migration_path(const struct marcher_packet *handle, char path[PIN_PATH_MAX], const char *kind,
                           const char *name)
{
	version_path(handle, handle->migration->version, path, kind, name);
}

/* Finding it. */

/* The number of a folder v<number>; -1: it is none. */
static int version_of(const char *name)
{
	char *end;

	if (name[0] != 'v' || name[1] < '0' || name[1] > '9')
		return -1;
	unsigned long number = strtoul(name + 1, &end, 10);
	return *end || number > INT_MAX ? -1 : (int)number;
}

static int unreadable(struct marcher_packet *handle, int version, const char *what)
{
	return packet_fail(handle, MARCHER_E_PROTOCOL,
	                   "%s/v%d was made by another build of Marcher, and this one, which makes v%d, cannot take it "
	                   "over (%s); it goes on forwarding. Install a build that knows both, or take it away "
	                   "(marcher uninstall-dataplane; its flows are forgotten)",
	                   handle->pin_dir, version, LAYOUT_VERSION, what);
}

static uint32_t pinned_root(const struct marcher_packet *handle)
{
	char path[PIN_PATH_MAX];

	packet_dir_path(handle, path, "programs", "xdp_root");
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return 0;
	uint32_t id = packet_program_id(fd);
	close(fd);
	return id;
}

/* Is anything attached by pins of that version, to XDP or with tc to that? *ours: to XDP, and with this program. -errno
 * when it cannot be told. */
static int version_attached(const struct marcher_packet *handle, int version, bool tc, uint32_t program, bool *ours)
{
	char path[PIN_PATH_MAX];

	version_path(handle, version, path, "links", NULL);
	int attached = packet_links_attached(path, program, ours);
	if (attached || !tc)
		return attached;
	version_path(handle, version, path, "tc", NULL);
	return packet_tc_any(path);
}

/* The one other version that forwards, in *found (0: none), and the removal of those that do not. */
static int look_for_others(struct marcher_packet *handle, int *found, bool *begun)
{
	uint32_t root = pinned_root(handle);
	struct dirent *entry;
	int code = MARCHER_OK;
	DIR *directory = opendir(handle->pin_dir);

	if (!directory)
		return packet_fail_system(handle, errno, "reading the pin directory %s", handle->pin_dir);
	while (!code && (entry = readdir(directory))) {
		int version = version_of(entry->d_name);
		if (version < 0 || version == LAYOUT_VERSION)
			continue;
		int attached = version_attached(handle, version, true, root, begun);
		if (attached < 0)
			code = packet_fail_system(handle, -attached, "reading the links in %s/%s", handle->pin_dir,
			                          entry->d_name);
		else if (!attached)
			code = packet_uninstall_version(handle, version);
		else if (*found)
			code = packet_fail(handle, MARCHER_E_PROTOCOL,
			                   "%s/v%d and %s/v%d both forward, since a change between them was cut off: "
			                   "start the build that began it, which makes one of them, or take both away "
			                   "(marcher uninstall-dataplane; their flows are forgotten)",
			                   handle->pin_dir, *found, handle->pin_dir, version);
		else
			*found = version;
	}
	closedir(directory);
	return code;
}

/* Since when a part of another build's layout is as it is there; 0: it does not say. */
static uint32_t since(int records, const char *part)
{
	char key[PACKET_RECORD_KEY] = "";
	struct layout_record record;

	snprintf(key, sizeof(key), "%s", part);
	return bpf_map_lookup_elem(records, key, &record) ? 0 : record.since;
}

/* Of what a layout has besides flows and records, what can be read. */
struct readable {
	bool counters, nat;
};

/* The layout's row. Of a newer layout this build's own, where it has not changed since. */
static const struct packet_layout *layout_of(const struct marcher_packet *handle, int version,
                                             struct readable *readable)
{
	const struct packet_layout *known = packet_layout_find(version);
	char path[PIN_PATH_MAX];
	struct bpf_map_info info;

	*readable = (struct readable){.counters = true, .nat = true};
	if (known)
		return known;
	version_path(handle, version, path, "maps", packet_map_names[MAP_LAYOUT_RECORDS]);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return NULL;
	if (!packet_map_info(fd, &info) && info.type == BPF_MAP_TYPE_HASH && info.key_size == PACKET_RECORD_KEY &&
	    info.value_size == sizeof(struct layout_record)) {
		uint32_t flows = since(fd, "flows"), records = since(fd, "records"), counts = since(fd, "counters"),
		         nat = since(fd, "nat");
		if (flows && flows <= LAYOUT_VERSION && records && records <= LAYOUT_VERSION)
			known = packet_layout_current();
		readable->counters = counts && counts <= LAYOUT_VERSION;
		readable->nat = nat && nat <= LAYOUT_VERSION;
	}
	close(fd);
	return known;
}

static int open_map(struct marcher_packet *handle, struct packet_migration *old, enum packet_map map, uint32_t type,
                    size_t key, size_t value)
{
	char path[PIN_PATH_MAX];
	struct bpf_map_info info;

	version_path(handle, old->version, path, "maps", packet_map_names[map]);
	int fd = bpf_obj_get(path);
	if (fd < 0)
		return errno == ENOENT ? unreadable(handle, old->version, "a map is not there")
		                       : packet_fail_system(handle, errno, "opening %s", path);
	old->maps[map] = fd;
	if (packet_map_info(fd, &info) < 0)
		return packet_fail_system(handle, errno, "%s", path);
	if (info.type != type || info.key_size != key || info.value_size != value)
		return unreadable(handle, old->version, packet_map_names[map]);
	return MARCHER_OK;
}

/* The tables of NAT, whichever way they are kept: see packet_nat_table. Without them the rest is taken over all the
 * same. */
static void open_nat(const struct marcher_packet *handle, struct packet_migration *old, bool readable)
{
	static const enum packet_map tables[] = {MAP_NAT_FLOWS, MAP_NAT_NEW};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		char path[PIN_PATH_MAX], name[PACKET_RECORD_KEY];
		struct bpf_map_info info;
		version_path(handle, old->version, path, "maps", packet_map_names[tables[i]]);
		int outer = bpf_obj_get(path);
		if (outer < 0)
			continue;
		packet_inner_name(tables[i], 0, name);
		version_path(handle, old->version, path, "maps", name);
		int table = packet_nat_table(outer, path);
		close(outer);
		if (table == -ENOENT)
			continue;
		bool known = readable && table >= 0 && !packet_map_info(table, &info) &&
		             info.type == BPF_MAP_TYPE_LRU_HASH && info.key_size == sizeof(struct flow_key) &&
		             old->layout->nat_flow && info.value_size == old->layout->nat_flow;
		if (known)
			old->maps[tables[i]] = table;
		else if (table >= 0)
			close(table);
		old->nat_unknown |= !known;
	}
}

static int open_maps(struct marcher_packet *handle, struct packet_migration *old, bool counters)
{
	const struct packet_layout *layout = old->layout;
	bool by_key = layout->flow.form == FLOWS_BY_KEY;
	int code = by_key ? open_map(handle, old, MAP_FLOWS, BPF_MAP_TYPE_LRU_HASH, sizeof(struct flow_key),
	                             layout->flow.size)
	                  : open_map(handle, old, MAP_FLOWS, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
	                             sizeof(struct flow_set));

	if (!code && !by_key)
		code = open_map(handle, old, MAP_FLOW_SETTINGS, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
		                sizeof(struct flow_settings));
	if (!code)
		code = open_map(handle, old, MAP_SERVICE_RECORDS, BPF_MAP_TYPE_HASH, sizeof(uint32_t),
		                layout->service_record.size);
	if (!code)
		code = open_map(handle, old, MAP_BACKEND_RECORDS, BPF_MAP_TYPE_HASH, sizeof(uint32_t),
		                layout->backend_record.size);
	if (!code)
		code = open_map(handle, old, MAP_BACKENDS, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), layout->backend.size);
	if (code || !counters)
		return code;
	code = open_map(handle, old, MAP_SERVICE_COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t),
	                layout->traffic);
	if (!code)
		code = open_map(handle, old, MAP_BACKEND_COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t),
		                layout->traffic);
	/* Numbers of drops have names only in a layout that this build knows. */
	if (!code && layout->version == old->version)
		code = open_map(handle, old, MAP_DROPS, BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(uint32_t), sizeof(uint64_t));
	return code;
}

/* A number of a record; 0 where the layout has none there. */
static struct traffic traffic_at(const struct packet_layout *layout, const uint8_t *record, size_t offset)
{
	struct traffic traffic = {0};

	if (offset)
		packet_layout_add_traffic(layout, record + offset, 1, &traffic);
	return traffic;
}

static uint32_t number_at(const uint8_t *record, size_t offset)
{
	uint32_t number;

	memcpy(&number, record + offset, sizeof(number));
	return number;
}

static int cannot_read(struct marcher_packet *handle, const struct packet_migration *old, enum packet_map map,
                       int error)
{
	return error == ENOMEM ? packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory")
	                       : packet_fail_system(handle, error, "reading the map %s of layout v%d",
	                                            packet_map_names[map], old->version);
}

static int read_services(struct marcher_packet *handle, struct packet_migration *old)
{
	const struct packet_layout *layout = old->layout;
	uint8_t value[RECORD_MAX];
	uint32_t key, *at = NULL;

	for (; !bpf_map_get_next_key(old->maps[MAP_SERVICE_RECORDS], at, &key); at = &key) {
		if (key >= SERVICES_MAX || old->state.services[key])
			continue;
		if (bpf_map_lookup_elem(old->maps[MAP_SERVICE_RECORDS], &key, value))
			return cannot_read(handle, old, MAP_SERVICE_RECORDS, errno);
		struct packet_service *service = calloc(1, sizeof(*service));
		if (!service)
			return cannot_read(handle, old, MAP_SERVICE_RECORDS, ENOMEM);
		old->state.services[key] = service;
		old->state.nservices++;
		service->index = key;
		service->record.carried = traffic_at(layout, value, layout->service_record.carried);
		snprintf(service->record.name, sizeof(service->record.name), "%.*s",
		         (int)layout->service_record.name_size, (const char *)value + layout->service_record.name);
	}
	return errno == ENOENT ? MARCHER_OK : cannot_read(handle, old, MAP_SERVICE_RECORDS, errno);
}

static int read_backends(struct marcher_packet *handle, struct packet_migration *old)
{
	const struct packet_layout *layout = old->layout;
	uint8_t value[RECORD_MAX], entry[RECORD_MAX];
	uint32_t key, *at = NULL;

	for (; !bpf_map_get_next_key(old->maps[MAP_BACKEND_RECORDS], at, &key); at = &key) {
		if (!key || key >= BACKENDS_MAX || old->state.backends[key])
			continue;
		if (bpf_map_lookup_elem(old->maps[MAP_BACKEND_RECORDS], &key, value))
			return cannot_read(handle, old, MAP_BACKEND_RECORDS, errno);
		if (bpf_map_lookup_elem(old->maps[MAP_BACKENDS], &key, entry))
			return cannot_read(handle, old, MAP_BACKENDS, errno);
		const char *name = (const char *)value + layout->backend_record.name;
		size_t length = strnlen(name, layout->backend_record.name_size - 1);
		struct packet_backend *backend = calloc(1, sizeof(*backend) + length + 1);
		if (!backend)
			return cannot_read(handle, old, MAP_BACKEND_RECORDS, ENOMEM);
		old->state.backends[key] = backend;
		old->state.nbackends++;
		backend->index = key;
		backend->service = number_at(value, layout->backend_record.service);
		backend->carried = traffic_at(layout, value, layout->backend_record.carried);
		memcpy(backend->name, name, length);
		memcpy(&backend->entry.address, entry + layout->backend.address, sizeof(backend->entry.address));
		backend->entry.generation = number_at(entry, layout->backend.generation);
		if (number_at(entry, layout->backend.flags) & layout->backend.in_use)
			backend->entry.flags = BACKEND_IN_USE;
	}
	return errno == ENOENT ? MARCHER_OK : cannot_read(handle, old, MAP_BACKEND_RECORDS, errno);
}

/* Nobody writes these maps any more: whoever did has let the directory go. */
static int read_names(struct marcher_packet *handle, struct packet_migration *old)
{
	const struct packet_layout *layout = old->layout;

	if (layout->service_record.size > RECORD_MAX || layout->backend_record.size > RECORD_MAX ||
	    layout->backend.size > RECORD_MAX)
		return unreadable(handle, old->version, "its records are too long");
	old->state.services = calloc(SERVICES_MAX, sizeof(struct packet_service *));
	old->state.backends = calloc(BACKENDS_MAX, sizeof(struct packet_backend *));
	if (!old->state.services || !old->state.backends)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	int code = read_services(handle, old);
	return code ? code : read_backends(handle, old);
}

static void free_migration(struct packet_migration *old)
{
	for (int map = 0; old && map < PACKET_MAPS; map++)
		if (old->maps[map] >= 0)
			close(old->maps[map]);
	if (old && old->sets)
		munmap((void *)old->sets, (size_t)old->nsets * sizeof(*old->sets));
	if (old)
		packet_state_free(&old->state);
	free(old);
}

static int map_sets(struct marcher_packet *handle, struct packet_migration *old)
{
	struct bpf_map_info info;

	if (packet_map_info(old->maps[MAP_FLOWS], &info) < 0)
		return cannot_read(handle, old, MAP_FLOWS, errno);
	void *sets = mmap(NULL, (size_t)info.max_entries * sizeof(*old->sets), PROT_READ, MAP_SHARED,
	                  old->maps[MAP_FLOWS], 0);
	if (sets == MAP_FAILED)
		return cannot_read(handle, old, MAP_FLOWS, errno);
	old->sets = sets;
	old->nsets = info.max_entries;
	return MARCHER_OK;
}

/* Tags stay what they are when the secret is the same: the new table takes it over. */
int packet_migration_prepare(struct marcher_packet *handle)
{
	struct packet_migration *old = handle->migration;
	struct flow_settings before, settings;
	uint32_t zero = 0;

	if (old->layout->flow.form != FLOWS_IN_SETS)
		return MARCHER_OK;
	int code = map_sets(handle, old);
	if (!code && bpf_map_lookup_elem(old->maps[MAP_FLOW_SETTINGS], &zero, &before))
		code = cannot_read(handle, old, MAP_FLOW_SETTINGS, errno);
	if (!code)
		code = packet_flows_settings(handle, &settings);
	if (code)
		return code;
	old->mask = before.mask;
	if (old->begun) {
		old->other_tags = memcmp(settings.key, before.key, sizeof(settings.key)) != 0;
		return MARCHER_OK;
	}
	memcpy(settings.key, before.key, sizeof(settings.key));
	return packet_flows_begin(handle, &settings, ((uint64_t)before.mask + 1) * FLOW_WAYS / 4);
}

int packet_migration_find(struct marcher_packet *handle)
{
	int version = 0;
	bool begun = false, unused = false;
	struct readable readable;
	int code = look_for_others(handle, &version, &begun);

	if (code || !version)
		return code;
	/* Of tc's programs this build's are attached beside those of before at once; where there is XDP, that tells. */
	int own = version_attached(handle, LAYOUT_VERSION, handle->xdp_mode == MARCHER_XDP_OFF, 0, &unused);
	if (own < 0)
		return packet_fail_system(handle, -own, "reading the links in %s/v%d", handle->pin_dir, LAYOUT_VERSION);
	/* Left by an attempt that did not come so far, or by a build that was replaced by that one: its flows are not
	 * those of now. */
	if (!own && !begun) {
		code = packet_uninstall_version(handle, LAYOUT_VERSION);
		if (code)
			return code;
	}
	struct packet_migration *old = calloc(1, sizeof(*old));
	if (!old)
		return packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	for (int map = 0; map < PACKET_MAPS; map++)
		old->maps[map] = -1;
	old->version = version;
	old->begun = own || begun;
	old->layout = layout_of(handle, version, &readable);
	code = old->layout ? open_maps(handle, old, readable.counters)
	                   : unreadable(handle, version, "its layout is not known");
	if (!code)
		code = read_names(handle, old);
	if (!code)
		open_nat(handle, old, readable.nat);
	if (code)
		free_migration(old);
	else
		handle->migration = old;
	return code;
}

void packet_migration_free(struct marcher_packet *handle)
{
	struct packet_migration *old = handle->migration;

	pthread_mutex_lock(&handle->table_lock);
	handle->migration = NULL;
	pthread_mutex_unlock(&handle->table_lock);
	free_migration(old);
}

/* Which is which. */

/* A backend, or with backend "" a service, by its names. */
struct named {
	const char *service, *backend;
	const struct address *address;
	uint32_t index;
};

static int named_compare(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = strcmp(x->service, y->service);

	if (!order)
		order = strcmp(x->backend, y->backend);
	return order ? order : packet_address_compare(x->address, y->address);
}

static const struct address no_address;

/* Sorted; NULL without memory. */
static struct named *names_of(const struct packet_state *state, size_t *count)
{
	struct named *names = calloc((size_t)state->nservices + state->nbackends + 1, sizeof(*names));

	*count = 0;
	for (uint32_t i = 0; names && i < SERVICES_MAX; i++)
		if (state->services[i])
			names[(*count)++] = (struct named){state->services[i]->record.name, "", &no_address, i};
	for (uint32_t i = 1; names && i < BACKENDS_MAX; i++) {
		const struct packet_backend *backend = state->backends[i];
		if (backend && backend->service < SERVICES_MAX && state->services[backend->service])
			names[(*count)++] = (struct named){state->services[backend->service]->record.name,
			                                   backend->name, &backend->entry.address, i};
	}
	if (names)
		qsort(names, *count, sizeof(*names), named_compare);
	return names;
}

struct carrying {
	struct marcher_packet *handle;
	struct packet_migration *old;
	struct packet_target *backends; /* [BACKENDS_MAX]; index 0: gone */
	uint32_t *services, *counters;  /* [SERVICES_MAX], [BACKENDS_MAX]: new index + 1; 0: gone */
	struct flow_settings settings;  /* of the new table */
	bool count_only, over;
	uint64_t flows; /* carried, or counted */
	struct packet_nat_carry *nat;
};

static void free_carrying(struct carrying *c)
{
	packet_nat_carry_end(c->nat);
	free(c->backends);
	free(c->services);
	free(c->counters);
}

static int match(struct carrying *c)
{
	const struct packet_state *new = &c->handle->state, *old = &c->old->state;
	size_t nnew, nold;
	struct named *names = names_of(new, &nnew), *gone = names_of(old, &nold);

	c->backends = calloc(BACKENDS_MAX, sizeof(*c->backends));
	c->services = calloc(SERVICES_MAX, sizeof(*c->services));
	c->counters = calloc(BACKENDS_MAX, sizeof(*c->counters));
	bool ok = names && gone && c->backends && c->services && c->counters;
	for (size_t i = 0; ok && i < nold; i++) {
		const struct named *is = bsearch(&gone[i], names, nnew, sizeof(*names), named_compare);
		if (!is)
			continue;
		if (!*gone[i].backend) {
			c->services[gone[i].index] = is->index + 1;
			continue;
		}
		const struct backend *before = &old->backends[gone[i].index]->entry;
		const struct backend *now = &new->backends[is->index]->entry;
		c->counters[gone[i].index] = is->index + 1;
		if (before->flags & BACKEND_IN_USE && now->flags & BACKEND_IN_USE)
			c->backends[gone[i].index] =
			        (struct packet_target){before->generation, is->index, now->generation};
	}
	free(names);
	free(gone);
	return ok ? MARCHER_OK : packet_fail(c->handle, MARCHER_E_NO_MEMORY, "no memory");
}

/* Flows. */

static int flows_failed(const struct carrying *c, int error)
{
	return packet_fail_system(c->handle, -error, "carrying flows over from layout v%d", c->old->version);
}

/* rest: what else is in its state. */
static void carry_flow(struct carrying *c, uint64_t tag, uint32_t backend, uint32_t generation,
                       uint32_t generation_mask, uint64_t rest)
{
	const struct packet_target *target = backend < BACKENDS_MAX ? &c->backends[backend] : NULL;

	/* One that the old programs would not have kept is not kept. */
	if (!target || !target->index || (target->before & generation_mask) != generation)
		return;
	uint64_t state = FLOW_STATE(target->index, target->generation & FLOW_GENERATION_MASK, 0) | rest;
	c->flows += packet_flows_put(c->handle, &c->settings, tag, state, c->over);
}

static int take_batch(void *argument, void *keys, void *values, uint32_t count)
{
	struct carrying *c = argument;
	const struct packet_layout *layout = c->old->layout;
	const struct flow_key *key = keys;

	if (c->count_only) {
		c->flows += count;
		return 0;
	}
	/* When it was last seen is not known. As one that is in use it is not displaced by a flood of new ones. */
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *value = (const uint8_t *)values + i * layout->flow.size;
		carry_flow(c, flow_tag(&key[i], &c->settings), number_at(value, layout->flow.backend),
		           number_at(value, layout->flow.generation), UINT32_MAX, FLOW_AGAIN);
	}
	return 0;
}

static int walk_keys(struct carrying *c)
{
	return packet_walk(c->old->maps[MAP_FLOWS], sizeof(struct flow_key), c->old->layout->flow.size, take_batch, c);
}

static void walk_sets(struct carrying *c)
{
	const struct packet_migration *old = c->old;

	for (uint32_t i = 0; !old->other_tags && i < old->nsets; i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++) {
			const uint64_t *at = (const uint64_t *)&old->sets[i].way[way].tag;
			uint64_t tag = __atomic_load_n(at, __ATOMIC_ACQUIRE);
			uint64_t state =
			        __atomic_load_n((const uint64_t *)&old->sets[i].way[way].state, __ATOMIC_ACQUIRE);
			/* The way may have got another owner in between; or it was left where the table has grown. */
			if (!state || (tag & old->mask) != i || tag != __atomic_load_n(at, __ATOMIC_ACQUIRE))
				continue;
			uint64_t rest = state & ~FLOW_STATE(0xffff, FLOW_GENERATION_MASK, 0);
			carry_flow(c, tag, FLOW_BACKEND(state), FLOW_GENERATION(state), FLOW_GENERATION_MASK, rest);
		}
}

/* Returns 0 or -errno. */
static int carry_flows(struct carrying *c, bool over)
{
	c->over = over;
	if (c->old->layout->flow.form == FLOWS_BY_KEY)
		return walk_keys(c);
	walk_sets(c);
	return 0;
}

/* Of a table that no program uses yet, as much as the flows will take. */
static int make_room(struct carrying *c)
{
	int error = 0, code;

	if (c->old->layout->flow.form == FLOWS_BY_KEY) {
		c->count_only = true;
		error = walk_keys(c);
		c->count_only = false;
	}
	if (error)
		return flows_failed(c, error);
	code = packet_flows_begin(c->handle, &c->settings, c->flows);
	c->flows = 0;
	return code;
}

/* Counters: what the old programs have counted in all stands in the records from now on, beside what the new count. */

static int sum(const struct carrying *c, enum packet_map map, uint32_t index, int cpus, struct traffic *values,
               struct traffic *total)
{
	if (c->old->maps[map] < 0)
		return 0;
	if (bpf_map_lookup_elem(c->old->maps[map], &index, values))
		return -errno;
	packet_layout_add_traffic(c->old->layout, values, cpus, total);
	return 0;
}

static int carry_services(const struct carrying *c, int cpus, struct traffic *values)
{
	int error = 0;

	for (uint32_t i = 0; !error && i < SERVICES_MAX; i++) {
		if (!c->services[i])
			continue;
		uint32_t index = c->services[i] - 1;
		struct packet_service *service = c->handle->state.services[index];
		struct traffic total = c->old->state.services[i]->record.carried;
		error = sum(c, MAP_SERVICE_COUNTERS, i, cpus, values, &total);
		service->record.carried = total;
		if (!error)
			error = packet_put(c->handle, MAP_SERVICE_RECORDS, &index, &service->record);
	}
	return error;
}

static int carry_backends(const struct carrying *c, int cpus, struct traffic *values)
{
	int error = 0;

	for (uint32_t i = 0; !error && i < BACKENDS_MAX; i++) {
		if (!c->counters[i])
			continue;
		uint32_t index = c->counters[i] - 1;
		struct packet_backend *backend = c->handle->state.backends[index];
		struct backend_record record = {.carried = c->old->state.backends[i]->carried,
		                                .service = backend->service};
		error = sum(c, MAP_BACKEND_COUNTERS, i, cpus, values, &record.carried);
		backend->carried = record.carried;
		memcpy(record.name, backend->name, strlen(backend->name));
		if (!error)
			error = packet_put(c->handle, MAP_BACKEND_RECORDS, &index, &record);
	}
	return error;
}

static int carry_drops(const struct carrying *c, int cpus, uint64_t *values)
{
	const struct packet_layout *layout = c->old->layout;
	char path[PIN_PATH_MAX];

	if (c->old->maps[MAP_DROPS] < 0)
		return 0;
	/* What had been carried to that layout; layout 1 had no such map. */
	version_path(c->handle, c->old->version, path, "maps", packet_map_names[MAP_DROP_RECORDS]);
	int before = bpf_obj_get(path), error = 0;
	for (uint32_t reason = 1; !error && reason < layout->drops_count; reason++) {
		char key[PACKET_RECORD_KEY] = "";
		struct drop_record record = {0};
		snprintf(key, sizeof(key), "%s", layout->drops[reason]);
		if (before < 0 || bpf_map_lookup_elem(before, key, &record))
			record.carried = 0;
		/* A map that an earlier build of that layout made has fewer. */
		if (bpf_map_lookup_elem(c->old->maps[MAP_DROPS], &reason, values)) {
			error = errno == ENOENT ? 0 : -errno;
			continue;
		}
		for (int cpu = 0; cpu < cpus; cpu++)
			record.carried += values[cpu];
		if (record.carried)
			error = packet_put(c->handle, MAP_DROP_RECORDS, key, &record);
	}
	if (before >= 0)
		close(before);
	return error;
}

static int carry_counters(const struct carrying *c)
{
	int cpus = libbpf_num_possible_cpus();
	struct traffic *values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;

	if (!values)
		return cpus > 0 ? packet_fail(c->handle, MARCHER_E_NO_MEMORY, "no memory")
		                : packet_fail_system(c->handle, -cpus, "counting the CPUs");
	pthread_mutex_lock(&c->handle->table_lock);
	int error = carry_services(c, cpus, values);
	if (!error)
		error = carry_backends(c, cpus, values);
	if (!error)
		error = carry_drops(c, cpus, (uint64_t *)values);
	pthread_mutex_unlock(&c->handle->table_lock);
	free(values);
	return error ? packet_fail_system(c->handle, -error, "carrying counters over from layout v%d", c->old->version)
	             : MARCHER_OK;
}

/* An interface that was attached to now, not taken over, has met this layout's programs already. */
static bool begun(const struct marcher_packet *handle)
{
	bool any = handle->migration->begun;

	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		any |= handle->interfaces[i].link_fd >= 0 && !handle->interfaces[i].old;
	return any;
}

/*
 * A race that is admitted: a flow that gives way to another one with the same ports in the milliseconds between the
 * first walk and the change of programs, and has another backend, keeps the one of before in the new table. After the
 * change what the new programs have decided stands.
 */
static int carry(struct carrying *c)
{
	struct packet_migration *old = c->old;
	bool live = begun(c->handle);
	int code = match(c);

	if (!code)
		code = packet_nat_carry_begin(c->nat, c->handle, c->backends, c->services);
	if (!code)
		code = packet_flows_settings(c->handle, &c->settings);
	if (!code && !live)
		code = make_room(c);
	if (code)
		return code;
	int error = carry_flows(c, !live);
	if (error)
		return flows_failed(c, error);
	code = packet_nat_carry_fill(c->nat, live);
	if (code)
		return code;
	old->begun = true;
	code = packet_links_take_over(c->handle);
	if (code)
		return code;
	packet_migration_leave();
	error = carry_flows(c, false);
	if (error)
		return flows_failed(c, error);
	code = packet_nat_carry_swap(c->nat);
	if (!code)
		code = carry_counters(c);
	if (!code)
		c->handle->migrated = (struct packet_migrated){.version = (uint32_t)old->version,
		                                               .flows = c->flows,
		                                               .nat_flows = c->nat->flows,
		                                               .nat_left = c->nat->left};
	return code;
}

void packet_migration_leave(void)
{
	const struct timespec leave = {.tv_nsec = LEAVE_NS};

	nanosleep(&leave, NULL);
}

int packet_migration_finish(struct marcher_packet *handle, struct packet_reasons *lost)
{
	struct packet_nat_carry nat = {.handle = NULL};
	struct carrying c = {.handle = handle, .old = handle->migration, .nat = &nat};
	int version = handle->migration->version;
	int code = carry(&c);

	if (!code)
		packet_nat_carry_tell(&nat, lost);
	free_carrying(&c);
	if (!code)
		code = packet_links_move(handle);
	if (code)
		return code;
	packet_migration_free(handle);
	/* The next open would do it, too: what is in force is this layout, and nothing is attached by the other one. */
	return packet_uninstall_version(handle, version);
}
