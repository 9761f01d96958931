/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "world.h"

#define DEBTS_TEST 1024
#define CPUS_MAX 512
#define LENGTH(list) (sizeof(list) / sizeof((list)[0]))

static const struct guard_setup *in_force;
static uint32_t generation;

static void must(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		abort();
	}
}

static void put(const char *map, const void *key, const void *value)
{
	must(!bpf_map_update_elem(world_map(map), key, value, BPF_ANY), map);
}

static int make(enum bpf_map_type type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = flags);
	int fd = bpf_map_create(type, "guard_test", key, value, entries, &options);
	must(fd >= 0, "a guard's table");
	return fd;
}

static void put_table(const char *outer, uint32_t place, int inner)
{
	put(outer, &place, &inner);
	close(inner);
}

static void put_array(const char *outer, const void *values, uint32_t size, uint32_t count)
{
	int inner = make(BPF_MAP_TYPE_ARRAY, 4, size, count, BPF_F_INNER_MAP);
	for (uint32_t i = 0; i < count; i++)
		must(!bpf_map_update_elem(inner, &i, (const char *)values + (size_t)i * size, BPF_ANY), outer);
	put_table(outer, generation, inner);
}

static void put_sources(const struct guard_setup *setup, struct guard *guard)
{
	int v4 = make(BPF_MAP_TYPE_LPM_TRIE, sizeof(struct guard_source_v4), 4, 16, BPF_F_NO_PREALLOC);
	int v6 = make(BPF_MAP_TYPE_LPM_TRIE, sizeof(struct guard_source_v6), 4, 16, BPF_F_NO_PREALLOC);
	for (size_t i = 0; i < LENGTH(setup->sources) && setup->sources[i].address; i++) {
		struct address address = world_address(setup->sources[i].address);
		bool is_v6 = strchr(setup->sources[i].address, ':');
		struct guard_source_v4 key4 = {.length = setup->sources[i].length, .address = address.word[3]};
		struct guard_source_v6 key6 = {.length = setup->sources[i].length};
		memcpy(key6.address, &address, sizeof(address));
		guard->flags |= is_v6 ? GUARD_SOURCES_V6 : GUARD_SOURCES_V4;
		must(!bpf_map_update_elem(is_v6 ? v6 : v4, is_v6 ? (void *)&key6 : (void *)&key4,
		                          &setup->sources[i].class, BPF_ANY),
		     "a source");
	}
	put_table("guard_sources_v4", generation, v4);
	put_table("guard_sources_v6", generation, v6);
}

static void put_rules(const struct guard_setup *setup)
{
	struct guard_rule rules[LENGTH(setup->rules)];
	memcpy(rules, setup->rules, sizeof(rules));
	for (size_t i = 0; i < LENGTH(rules); i++) {
		if (rules[i].action == GUARD_TO_DEVICE && setup->device)
			rules[i].ifindex = if_nametoindex(setup->device);
		if (rules[i].action == GUARD_TO_NEXT_HOP && setup->next_hop)
			rules[i].next_hop = world_address(setup->next_hop);
		rules[i].counter = (uint32_t)i;
	}
	put_array("guard_rules", rules, sizeof(rules[0]), LENGTH(rules));
}

static void empty_hash(int map)
{
	uint8_t key[64];
	while (!bpf_map_get_next_key(map, NULL, key))
		must(!bpf_map_delete_elem(map, key), "an entry");
}

static void clear_counts(void)
{
	static const struct traffic none[CPUS_MAX];
	static const struct guard_cookies no_cookies[CPUS_MAX];
	static const struct guard_syns no_syns;
	uint32_t zero = 0;
	for (uint32_t i = 0; i < LENGTH(((struct guard_setup *)0)->rules); i++)
		put("guard_counters", &i, none);
	put("guard_cookies", &zero, no_cookies);
	put("guard_syns", &zero, &no_syns);
}

/* Fresh ones: those of LRU hashes are not worth emptying. */
static void put_debts(void)
{
	put_table("guard_debts", 0,
	          make(BPF_MAP_TYPE_LRU_HASH, sizeof(struct address), sizeof(struct guard_debt), DEBTS_TEST, 0));
	put_table("guard_datagrams", 0, make(BPF_MAP_TYPE_LRU_HASH, 8, 4, DEBTS_TEST, 0));
}

void guard_set(const struct guard_setup *setup)
{
	uint32_t zero = 0, one = 1;
	if (setup)
		clear_counts();
	if (setup && setup->guard.flags & GUARD_LIMITS)
		put_debts();
	if (setup == in_force)
		return;
	in_force = setup;
	if (!setup) {
		must(!bpf_map_delete_elem(world_map("guard"), &zero), "guard");
		empty_hash(world_map("own_addresses"));
		return;
	}
	generation = !generation;
	struct guard guard = setup->guard;
	guard.generation = generation;
	guard.everyone = setup->classes[0];
	for (int protocol = 0; protocol < 2; protocol++)
		if (guard.everyone.nspans[protocol] <= GUARD_NEAR_SPANS)
			memcpy(guard.near_spans[protocol], setup->spans + guard.everyone.spans[protocol],
			       guard.everyone.nspans[protocol] * sizeof(setup->spans[0]));
	if (setup->rules[0].action == GUARD_DENY)
		guard.flags |= GUARD_DEFAULT_DENIES;
	/* As they are with very many prefixes. */
	memset(guard.near_v4, 0xff, sizeof(guard.near_v4));
	memset(guard.near_v6, 0xff, sizeof(guard.near_v6));
	memset(guard.own, 0xff, sizeof(guard.own));
	put_sources(setup, &guard);
	put_array("guard_classes", setup->classes, sizeof(setup->classes[0]), LENGTH(setup->classes));
	put_array("guard_spans", setup->spans, sizeof(setup->spans[0]), LENGTH(setup->spans));
	put_rules(setup);
	empty_hash(world_map("own_addresses"));
	for (size_t i = 0; i < LENGTH(setup->own) && setup->own[i]; i++) {
		struct address address = world_address(setup->own[i]);
		put("own_addresses", &address, &one);
	}
	int inner = make(BPF_MAP_TYPE_ARRAY, 4, sizeof(guard), 1, 0);
	must(!bpf_map_update_elem(inner, &zero, &guard, BPF_ANY), "guard");
	put_table("guard", 0, inner);
}

struct traffic guard_traffic(uint32_t counter)
{
	struct traffic values[CPUS_MAX] = {0}, sum = {0};
	must(!bpf_map_lookup_elem(world_map("guard_counters"), &counter, values), "guard_counters");
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		sum.packets += values[i].packets;
		sum.bytes += values[i].bytes;
	}
	return sum;
}

struct guard_cookies guard_cookies_seen(void)
{
	struct guard_cookies values[CPUS_MAX] = {0}, sum = {0};
	uint32_t zero = 0;
	must(!bpf_map_lookup_elem(world_map("guard_cookies"), &zero, values), "guard_cookies");
	for (int i = 0; i < libbpf_num_possible_cpus(); i++) {
		sum.sent += values[i].sent;
		sum.left += values[i].left;
		sum.valid += values[i].valid;
	}
	return sum;
}

struct guard_syns guard_syns_seen(void)
{
	struct guard_syns syns;
	uint32_t zero = 0;
	must(!bpf_map_lookup_elem(world_map("guard_syns"), &zero, &syns), "guard_syns");
	return syns;
}
