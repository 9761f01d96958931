/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_migrate_nat.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bpf/lib/nat_lifetime.h"
#include "packet_inner.h"
#include "packet_walk.h"

#define PIN_PATH_MAX 4096
#define AGES (NAT_LIFETIME_TCP + 1u) /* in units of struct nat_flow's seen; nothing that is older is carried */
#define LRU_LOCAL 128u               /* entries of an LRU hash that each CPU keeps for itself, free or not */
#define ATTEMPTS 3

static const enum packet_map tables[] = {MAP_NAT_FLOWS, MAP_NAT_NEW};
enum { CONFIRMED, NEW, PARTS };

/* As nat_now() of the programs. */
static uint32_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return (uint32_t)(((uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec) >> 30);
}

static int failed(const struct packet_nat_carry *c, int error)
{
	return error == -ENOMEM ? packet_fail(c->handle, MARCHER_E_NO_MEMORY, "no memory")
	                        : packet_fail_system(c->handle, -error, "carrying flows of NAT over from layout v%d",
	                                             c->handle->migration->version);
}

/* Without those that the kernel may keep from this thread: it would displace what has just been put. */
static int set_room(struct packet_nat_part *part)
{
	struct bpf_map_info info;
	int cpus = libbpf_num_possible_cpus();

	if (cpus < 0 || packet_map_info(part->to, &info) < 0)
		return cpus < 0 ? cpus : -errno;
	part->size = info.max_entries;
	uint32_t kept = LRU_LOCAL * (uint32_t)cpus;
	part->room = kept < info.max_entries / 2 ? info.max_entries - kept : info.max_entries / 2;
	return 0;
}

int packet_nat_carry_begin(struct packet_nat_carry *c, struct marcher_packet *handle,
                           const struct packet_target *backends, const uint32_t *services)
{
	int error = 0;

	*c = (struct packet_nat_carry){.handle = handle, .backends = backends, .services = services};
	for (int i = 0; i < PARTS; i++)
		c->parts[i] = (struct packet_nat_part){.from = handle->migration->maps[tables[i]], .to = -1};
	c->ages = calloc(AGES, sizeof(*c->ages));
	c->gone = calloc(BACKENDS_MAX, sizeof(*c->gone));
	if (!c->ages || !c->gone)
		error = -ENOMEM;
	for (int i = 0; !error && i < PARTS; i++) {
		struct packet_nat_part *part = &c->parts[i];
		int table = packet_inner_own(handle, tables[i], 0);
		if (table >= 0)
			part->to = table;
		else if (table != -ENOENT)
			error = table;
		if (!error && part->to >= 0)
			error = set_room(part);
	}
	return error ? failed(c, error) : MARCHER_OK;
}

void packet_nat_carry_end(struct packet_nat_carry *c)
{
	for (int i = 0; c->handle && i < PARTS; i++)
		if (c->parts[i].to >= 0)
			close(c->parts[i].to);
	free(c->ages);
	free(c->gone);
}

/* What an entry is here. */
enum fate {
	FATE_CARRIED, /* *flow has become what it is to be */
	FATE_OVER,    /* the old programs would not have kept it either */
	FATE_GONE,    /* it is of a service or a backend that is no more */
};

static enum fate translate(const struct packet_nat_carry *c, const struct flow_key *key, struct nat_flow *flow)
{
	if (flow->backend >= BACKENDS_MAX || flow->service >= SERVICES_MAX || nat_stale(key->protocol, flow, c->now))
		return FATE_OVER;
	const struct packet_target *target = &c->backends[flow->backend];
	if (!target->index || !c->services[flow->service] || c->part->to < 0)
		return FATE_GONE;
	if (target->before != flow->generation)
		return FATE_OVER;
	flow->service = c->services[flow->service] - 1;
	flow->backend = target->index;
	flow->generation = target->generation;
	return FATE_CARRIED;
}

/* Another CPU may have seen it a unit later than now. */
static uint32_t age_of(const struct packet_nat_carry *c, const struct nat_flow *flow)
{
	int32_t age = (int32_t)(c->now - flow->seen);

	return age < 0 ? 0 : (uint32_t)age < AGES ? (uint32_t)age : AGES - 1;
}

/* Which of more entries than there is room for. */

static int take_ages(void *argument, void *keys, void *values, uint32_t count)
{
	struct packet_nat_carry *c = argument;
	const struct flow_key *key = keys;
	struct nat_flow *flow = values;

	for (uint32_t i = 0; i < count; i++)
		if (translate(c, &key[i], &flow[i]) == FATE_CARRIED)
			c->ages[age_of(c, &flow[i])]++;
	return 0;
}

/* Those that were heard last, as the kernel would keep them. */
static int choose(struct packet_nat_carry *c)
{
	struct packet_nat_part *part = c->part;
	struct bpf_map_info info;
	uint64_t count = 0;

	part->oldest = AGES;
	part->last = 0;
	if (part->to < 0)
		return 0;
	if (packet_map_info(part->from, &info) < 0)
		return -errno;
	if (info.max_entries <= part->size)
		return 0;
	memset(c->ages, 0, AGES * sizeof(*c->ages));
	int error = packet_walk(part->from, sizeof(struct flow_key), sizeof(struct nat_flow), take_ages, c);
	for (uint32_t age = 0; !error && age < AGES; age++) {
		if (count + c->ages[age] > part->room) {
			part->oldest = age;
			part->last = (uint32_t)(part->room - count);
			break;
		}
		count += c->ages[age];
	}
	return error;
}

static bool has_room(struct packet_nat_carry *c, const struct nat_flow *flow)
{
	uint32_t age = age_of(c, flow);

	if (age == c->part->oldest && c->part->last) {
		c->part->last--;
		return true;
	}
	return age < c->part->oldest;
}

/* Flows are counted by the entry of their packets from clients. */
static bool counts(const struct nat_flow *flow)
{
	return !(flow->flags & NAT_REVERSE);
}

/* Putting. */

static int put(int table, const struct flow_key *key, const struct nat_flow *flow, uint64_t flags)
{
	int error = 0;

	/* A hash map reports a race with a deletion so. */
	for (int i = 0; i < ATTEMPTS; i++) {
		error = bpf_map_update_elem(table, key, flow, flags) ? -errno : 0;
		if (error != -EBUSY)
			break;
	}
	return error;
}

/* Over what there is of them. */
static int put_all(struct packet_nat_carry *c, const struct flow_key *keys, const struct nat_flow *flows,
                   uint32_t count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);

	for (uint32_t at = 0; at < count;) {
		uint32_t done = count - at;
		if (!bpf_map_update_batch(c->part->to, keys + at, flows + at, &done, &options))
			return 0;
		if (errno != EBUSY && errno != ENOMEM)
			return -errno;
		at += done;
		/* The kernel has no entry where a CPU uses those of its list at this moment. */
		int error = at < count ? put(c->part->to, &keys[at], &flows[at], BPF_ANY) : 0;
		if (error && error != -ENOMEM && error != -EBUSY)
			return error;
		if (error && counts(&flows[at])) {
			c->flows--;
			c->full++;
		}
		at++;
	}
	return 0;
}

static bool same_flow(const struct nat_flow *a, const struct nat_flow *b)
{
	return !memcmp(&a->source, &b->source, sizeof(a->source)) &&
	       !memcmp(&a->destination, &b->destination, sizeof(a->destination)) && a->source_port == b->source_port &&
	       a->destination_port == b->destination_port && a->backend == b->backend && a->generation == b->generation;
}

/*
 * The entry here, with what the other layout's has noted beside. A packet at this very moment may note something in the
 * entry that is replaced: that is lost, as when two CPUs meet, and comes again with the next packet, but for an end,
 * without which the entry stays longer.
 */
static void join(struct nat_flow *held, const struct nat_flow *flow)
{
	const int32_t later = (int32_t)(flow->seen - held->seen);

	if (flow->flags & ~held->flags & NAT_ANSWERED)
		held->expected = flow->expected;
	/* What comes after a reset takes it back. */
	if (later > 0)
		held->flags &= ~NAT_RESET;
	if (later >= 0) {
		held->flags |= flow->flags & NAT_RESET;
		held->seen = flow->seen;
	}
	held->flags |= flow->flags & (NAT_FINS | NAT_ANSWERED | NAT_CONFIRMED);
}

/* In the place of another flow's entry, which its own packets will find to be lost. */
static int put_instead(const struct packet_nat_carry *c, int table, const struct flow_key *key,
                       const struct nat_flow *flow)
{
	int error = put(c->part->to, key, flow, BPF_ANY);

	if (!error && table != c->part->to)
		bpf_map_delete_elem(table, key);
	return error;
}

/* One entry, beside what this layout's programs have noted of the same flow. */
static int put_beside(struct packet_nat_carry *c, const struct flow_key *key, const struct nat_flow *flow)
{
	struct nat_flow held, before;
	int confirmed = c->parts[CONFIRMED].to, new = c->parts[NEW].to, table = confirmed;

	if (bpf_map_lookup_elem(table, key, &held)) {
		table = new;
		if (bpf_map_lookup_elem(table, key, &held)) {
			/* Filled before: then it has ended here. */
			int error = c->mend ? 0 : put(c->part->to, key, flow, BPF_NOEXIST);
			return error == -EEXIST ? 0 : error;
		}
	}
	if (!same_flow(&held, flow) && c->over)
		return put_instead(c, table, key, flow);
	if (!same_flow(&held, flow)) {
		c->taken += counts(flow);
		c->flows -= counts(flow);
		return 0;
	}
	before = held;
	join(&held, flow);
	if (!memcmp(&held, &before, sizeof(held)))
		return 0;
	if (!(held.flags & NAT_CONFIRMED) || table == confirmed)
		return put(table, key, &held, BPF_EXIST);
	int error = put(confirmed, key, &held, BPF_ANY);
	if (!error)
		bpf_map_delete_elem(new, key);
	return error;
}

static int put_all_beside(struct packet_nat_carry *c, const struct flow_key *keys, const struct nat_flow *flows,
                          uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		int error = put_beside(c, &keys[i], &flows[i]);
		/* Gone in the moment between; or there is none to be had. */
		if (error && error != -ENOENT && error != -ENOMEM && error != -EBUSY)
			return error;
	}
	return 0;
}

static int take(void *argument, void *keys, void *values, uint32_t count)
{
	struct packet_nat_carry *c = argument;
	struct flow_key *key = keys;
	struct nat_flow *flow = values;
	uint32_t carried = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t backend = flow[i].backend;
		enum fate fate = translate(c, &key[i], &flow[i]);
		if (fate == FATE_GONE && !c->mend && counts(&flow[i]))
			c->gone[backend]++;
		if (fate != FATE_CARRIED)
			continue;
		bool room = has_room(c, &flow[i]);
		c->flows += room && counts(&flow[i]);
		c->full += !room && counts(&flow[i]);
		/* Whatever is noted of a flow has its time: the others are as they have been copied. */
		bool copied = c->again && (c->over || c->mend) && (int32_t)(flow[i].seen - c->filled) < -1;
		if (!room || copied)
			continue;
		key[carried] = key[i];
		flow[carried++] = flow[i];
	}
	return c->over && !c->beside ? put_all(c, key, flow, carried) : put_all_beside(c, key, flow, carried);
}

static int walk(struct packet_nat_carry *c)
{
	int error = 0;

	c->now = now();
	for (int i = 0; !error && i < PARTS; i++) {
		c->part = &c->parts[i];
		if (c->part->from < 0)
			continue;
		error = choose(c);
		if (!error)
			error = packet_walk(c->part->from, sizeof(struct flow_key), sizeof(struct nat_flow), take, c);
	}
	return error;
}

static int fill(struct packet_nat_carry *c)
{
	uint64_t gone = 0;

	c->flows = c->full = c->taken = 0;
	memset(c->gone, 0, BACKENDS_MAX * sizeof(*c->gone));
	c->over = packet_tc_follows(c->handle);
	c->filled = c->now;
	int error = walk(c);
	c->again = true;
	for (uint32_t i = 0; i < BACKENDS_MAX; i++)
		gone += c->gone[i];
	c->left = c->full + c->taken + gone;
	return error ? failed(c, error) : MARCHER_OK;
}

static int mend(struct packet_nat_carry *c)
{
	const struct packet_nat_carry filled = *c;

	if (c->parts[CONFIRMED].to < 0 || c->parts[NEW].to < 0)
		return MARCHER_OK;
	c->over = false;
	c->mend = true;
	c->filled = c->now;
	int error = walk(c);
	/* Nothing has come since, nor gone. */
	c->flows = filled.flows;
	c->full = filled.full;
	c->taken = filled.taken;
	return error ? failed(c, error) : MARCHER_OK;
}

/* The VIPs of the other layout. */

/* Deletes every entry. Nobody else writes this map: whoever did has let the directory go. 0 or -errno. */
static int empty(int map)
{
	struct bpf_map_info info;
	uint32_t count = 0;
	int error = 0;

	if (packet_map_info(map, &info) < 0)
		return -errno;
	char *keys = calloc((size_t)info.max_entries + 1, info.key_size);
	if (!keys)
		return -ENOMEM;
	while (count < info.max_entries && !bpf_map_get_next_key(map, count ? keys + (count - 1) * info.key_size : NULL,
	                                                         keys + count * info.key_size))
		count++;
	for (uint32_t i = 0; !error && i < count; i++)
		if (bpf_map_delete_elem(map, keys + (size_t)i * info.key_size) && errno != ENOENT)
			error = -errno;
	free(keys);
	return error;
}

static int freeze(struct packet_nat_carry *c)
{
	static const enum packet_map maps[] = {MAP_VIPS, MAP_VIP_PREFIXES};
	int error = 0;

	for (size_t i = 0; !error && i < sizeof(maps) / sizeof(maps[0]); i++) {
		char path[PIN_PATH_MAX];
		packet_migration_path(c->handle, path, "maps", packet_map_names[maps[i]]);
		int map = bpf_obj_get(path);
		if (map < 0 && errno == ENOENT) /* prefixes came with layout 3 */
			continue;
		error = map < 0 ? -errno : empty(map);
		if (map >= 0)
			close(map);
	}
	if (!error)
		packet_migration_leave();
	return error ? failed(c, error) : MARCHER_OK;
}

int packet_nat_carry_fill(struct packet_nat_carry *c, bool live)
{
	c->beside = live;
	int code = fill(c);
	/* XDP's programs come before the next step. */
	c->beside = true;
	return code;
}

int packet_nat_carry_swap(struct packet_nat_carry *c)
{
	bool any = c->parts[CONFIRMED].from >= 0 || c->parts[NEW].from >= 0;
	int code = packet_tc_follow(c->handle);

	if (!code && any)
		code = freeze(c);
	if (!code && any)
		code = fill(c);
	if (!code)
		code = packet_tc_move(c->handle);
	if (code || !any)
		return code;
	packet_migration_leave();
	return mend(c);
}

void packet_nat_carry_tell(const struct packet_nat_carry *c, struct packet_reasons *lost)
{
	const struct packet_state *old = &c->handle->migration->state;

	if (c->handle->migration->nat_unknown)
		packet_reason(lost, "", "",
		              "the connections of NAT of layout v%d begin anew: this build cannot read its tables",
		              c->handle->migration->version);
	if (c->full)
		packet_reason(lost, "", "",
		              "%" PRIu64 " connections of NAT begin anew: the tables have no more room (--nat-flows); "
		              "those that were silent for longest",
		              c->full);
	if (c->taken)
		packet_reason(lost, "", "", "%" PRIu64 " connections of NAT begin anew: others have taken their places",
		              c->taken);
	for (uint32_t i = 0; i < BACKENDS_MAX; i++) {
		const struct packet_backend *backend = old->backends[i];
		if (!c->gone[i])
			continue;
		const struct packet_service *service =
		        backend && backend->service < SERVICES_MAX ? old->services[backend->service] : NULL;
		packet_reason(lost, service ? service->record.name : "", backend ? backend->name : "",
		              "%" PRIu32 " connections of NAT end: their backend is not in the table any more, or not "
		              "in use, or no service of it is forwarded by NAT",
		              c->gone[i]);
	}
}
