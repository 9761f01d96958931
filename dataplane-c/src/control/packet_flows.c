/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upkeep of the flow table (bpf/lib/flow.h): programs use the first sets of it, as many as settings.mask says, and
 * this has them use twice as many when the flows need it, up to all of them. What it takes is only looked at in a
 * sample of the sets. It does not shrink: a table that was needed once is needed again.
 *
 * Growth moves half of the flows: those whose tag has the bit that the mask gets. They are copied to their new sets,
 * then the mask is changed, then what programs wrote into the old sets meanwhile is copied. A flow whose packet comes
 * between the two is decided by the ring, as any that the table does not know. What is left in the old sets is
 * displaced in time.
 */
#include "packet.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#define SETS_FIRST 65536u     /* in use at first: 4 MiB */
#define SAMPLE_SETS 4096u     /* looked at by one call */
#define FULL_SHARE_PERCENT 10 /* of the sample: from here on the table grows */
#define RECENT_STAMPS 256u    /* jiffies >> 8: one to eleven minutes */
#define STAMP_MASK 0xffffffu

uint32_t packet_flow_sets(uint32_t flows)
{
	uint32_t sets = 1;

	while (sets < flows / FLOW_WAYS)
		sets *= 2;
	return sets;
}

static int read_settings(struct marcher_packet *handle, struct flow_settings *settings)
{
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(handle->maps[MAP_FLOW_SETTINGS], &zero, settings))
		return packet_fail_system(handle, errno, "reading the map flow_settings");
	return MARCHER_OK;
}

static int write_settings(struct marcher_packet *handle, const struct flow_settings *settings)
{
	uint32_t zero = 0;
	int error = packet_put(handle, MAP_FLOW_SETTINGS, &zero, settings);

	return error ? packet_fail_system(handle, -error, "writing the map flow_settings") : MARCHER_OK;
}

int packet_flows_open(struct marcher_packet *handle)
{
	struct flow_settings settings;
	struct bpf_map_info info;

	if (packet_map_info(handle->maps[MAP_FLOWS], &info) < 0)
		return packet_fail_system(handle, errno, "reading the map flows");
	void *table = mmap(NULL, (size_t)info.max_entries * sizeof(struct flow_set), PROT_READ | PROT_WRITE, MAP_SHARED,
	                   handle->maps[MAP_FLOWS], 0);
	if (table == MAP_FAILED)
		return packet_fail_system(handle, errno, "mapping the flow table");
	handle->flows = table;
	handle->nflow_sets = info.max_entries;
	int code = read_settings(handle, &settings);
	if (code || settings.key[0])
		return code;
	settings.mask = (handle->nflow_sets < SETS_FIRST ? handle->nflow_sets : SETS_FIRST) - 1;
	if (getrandom(settings.key, sizeof(settings.key), 0) != sizeof(settings.key))
		return packet_fail_system(handle, errno, "getrandom");
	settings.key[0] |= 1; /* 0 says that there is no secret yet */
	return write_settings(handle, &settings);
}

void packet_flows_close(struct marcher_packet *handle)
{
	if (handle->flows)
		munmap(handle->flows, (size_t)handle->nflow_sets * sizeof(struct flow_set));
	handle->flows = NULL;
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* The newest stamp of the sample: nobody tells this process the kernel's jiffies. */
static uint32_t newest_stamp(const struct marcher_packet *handle, uint32_t sets)
{
	uint32_t newest = 0;

	for (uint32_t i = 0; i < sets && i < SAMPLE_SETS; i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++) {
			uint64_t state = load((uint64_t *)&handle->flows[i].way[way].state);
			if (state && FLOW_STAMP(state) > newest)
				newest = (uint32_t)FLOW_STAMP(state);
		}
	return newest;
}

/* All ways but one hold flows that were seen more than once, and lately: a flood that passes through leaves these, and
 * has the last one. */
static bool is_full(const struct flow_set *set, uint32_t now)
{
	uint32_t used = 0;

	for (uint32_t way = 0; way < FLOW_WAYS; way++) {
		uint64_t state = load((uint64_t *)&set->way[way].state);
		uint32_t age = (now - (uint32_t)FLOW_STAMP(state)) & STAMP_MASK;
		used += state & FLOW_AGAIN && age <= RECENT_STAMPS;
	}
	return used >= FLOW_WAYS - 1;
}

static bool is_crowded(const struct marcher_packet *handle, uint32_t sets)
{
	/* Tags spread flows evenly: any sets are as good as others. */
	uint32_t sample = sets < SAMPLE_SETS ? sets : SAMPLE_SETS, full = 0, now = newest_stamp(handle, sets);

	for (uint32_t i = 0; i < sample; i++)
		full += is_full(&handle->flows[i], now);
	return full * 100 > sample * FULL_SHARE_PERCENT;
}

/* Unless the set has the flow, or over it then. Programs may write at the same time: whoever loses is decided by the
 * ring. False: it had it, or no way is free. */
static bool copy_flow(struct flow_set *set, uint64_t tag, uint64_t state, bool over)
{
	struct flow *place = NULL;

	for (uint32_t way = 0; way < FLOW_WAYS; way++) {
		struct flow *flow = &set->way[way];
		uint64_t has = load((uint64_t *)&flow->state);
		if (has && load((uint64_t *)&flow->tag) == tag) {
			if (over)
				__atomic_store_n((uint64_t *)&flow->state, state, __ATOMIC_SEQ_CST);
			return over;
		}
		if (!place && !has)
			place = flow;
	}
	if (!place)
		return false;
	__atomic_store_n((uint64_t *)&place->tag, tag, __ATOMIC_SEQ_CST);
	__atomic_store_n((uint64_t *)&place->state, state, __ATOMIC_SEQ_CST);
	return true;
}

bool packet_flows_put(struct marcher_packet *handle, const struct flow_settings *settings, uint64_t tag, uint64_t state,
                      bool over)
{
	return copy_flow(&handle->flows[tag & settings->mask], tag, state, over);
}

int packet_flows_settings(struct marcher_packet *handle, struct flow_settings *settings)
{
	return read_settings(handle, settings);
}

int packet_flows_begin(struct marcher_packet *handle, struct flow_settings *settings, uint64_t flows)
{
	uint32_t sets = settings->mask + 1;

	/* A quarter full, 4 of 1,000 flows find no way free in their sets. */
	while (sets < handle->nflow_sets && sets * (uint64_t)FLOW_WAYS < flows * 4)
		sets *= 2;
	settings->mask = (sets < handle->nflow_sets ? sets : handle->nflow_sets) - 1;
	return write_settings(handle, settings);
}

static void copy_flows(struct marcher_packet *handle, uint32_t sets)
{
	for (uint32_t i = 0; i < sets; i++)
		for (uint32_t way = 0; way < FLOW_WAYS; way++) {
			const struct flow *flow = &handle->flows[i].way[way];
			uint64_t tag = load((uint64_t *)&flow->tag), state = load((uint64_t *)&flow->state);
			if (state && tag & sets && tag == load((uint64_t *)&flow->tag))
				copy_flow(&handle->flows[i + sets], tag, state, false);
		}
}

int packet_flows_tend(struct marcher_packet *handle)
{
	struct flow_settings settings;
	int code = read_settings(handle, &settings);

	if (code)
		return code;
	uint32_t sets = settings.mask + 1;
	if (sets > handle->nflow_sets / 2 || !is_crowded(handle, sets))
		return MARCHER_OK;
	copy_flows(handle, sets);
	settings.mask = sets * 2 - 1;
	code = write_settings(handle, &settings);
	if (!code)
		copy_flows(handle, sets);
	return code;
}
