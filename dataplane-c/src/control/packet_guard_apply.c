/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From tables to maps. A death in the middle leaves the tables before in force, and perhaps others beside them that
 * nothing refers to: the next apply writes over those, because it always takes the place that is not in force.
 */
#include "packet_guard.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "packet_inner.h"
#include "packet_own.h"

#define CHUNK 16384u /* elements per write */

static const enum packet_map places[] = {MAP_GUARD_SOURCES_V4, MAP_GUARD_SOURCES_V6, MAP_GUARD_CLASSES, MAP_GUARD_SPANS,
                                         MAP_GUARD_RULES};
#define PLACES (sizeof(places) / sizeof(places[0]))

static int failed(struct marcher_packet *handle, const char *what, enum packet_map map, int error)
{
	return packet_fail_system(handle, -error, "%s the map %s", what, packet_map_names[map]);
}

static int no_memory(struct marcher_packet *handle)
{
	packet_fail(handle, MARCHER_E_NO_MEMORY, "no memory");
	return MARCHER_E_NO_MEMORY;
}

void packet_guard_free(struct packet_guard *guard)
{
	if (!guard)
		return;
	free(guard->rules);
	free(guard->facts);
	free(guard);
}

/* Inner maps. */

/* Closes the inner map. Returns MARCHER_OK or the failure. */
static int put_inner(struct marcher_packet *handle, enum packet_map outer, uint32_t place, int inner)
{
	int error = packet_inner_put(handle, outer, place, inner);

	close(inner);
	return error ? failed(handle, "writing", outer, error) : MARCHER_OK;
}

static int write_all(int fd, const void *keys, uint32_t key_size, const void *values, uint32_t value_size,
                     uint32_t count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options, .elem_flags = BPF_ANY);
	const char *key = keys, *value = values;

	for (uint32_t at = 0; at < count;) {
		uint32_t n = count - at < CHUNK ? count - at : CHUNK, done = n;
		if (!bpf_map_update_batch(fd, key + (size_t)at * key_size, value + (size_t)at * value_size, &done,
		                          &options)) {
			at += n;
			continue;
		}
		/* A kernel without batches for this kind of map takes them one by one. */
		for (uint32_t i = 0; i < n; i++, at++)
			if (bpf_map_update_elem(fd, key + (size_t)at * key_size, value + (size_t)at * value_size,
			                        BPF_ANY))
				return -errno;
	}
	return 0;
}

/* An array with these elements, in that place of the outer map. */
static int put_array(struct marcher_packet *handle, enum packet_map outer, uint32_t place, const void *values,
                     uint32_t size, uint32_t count)
{
	LIBBPF_OPTS(bpf_map_create_opts, create, .map_flags = BPF_F_INNER_MAP);
	uint32_t *keys = calloc((size_t)count + 1, sizeof(*keys));
	int fd = keys ? bpf_map_create(BPF_MAP_TYPE_ARRAY, "guard_table", sizeof(uint32_t), size, count ? count : 1,
	                               &create)
	              : -1;
	int error = !keys ? -ENOMEM : fd < 0 ? -errno : 0;

	for (uint32_t i = 0; !error && i < count; i++)
		keys[i] = i;
	if (!error)
		error = write_all(fd, keys, sizeof(*keys), values, size, count);
	free(keys);
	if (error) {
		if (fd >= 0)
			close(fd);
		return failed(handle, "filling", outer, error);
	}
	return put_inner(handle, outer, place, fd);
}

static int put_sources(struct marcher_packet *handle, enum packet_map outer, uint32_t place,
                       const struct guard_prefix *prefixes, uint32_t count)
{
	LIBBPF_OPTS(bpf_map_create_opts, create, .map_flags = BPF_F_NO_PREALLOC);
	bool v4 = outer == MAP_GUARD_SOURCES_V4;
	uint32_t size = v4 ? sizeof(struct guard_source_v4) : sizeof(struct guard_source_v6);
	char *keys = calloc((size_t)count + 1, size);
	uint32_t *classes = calloc((size_t)count + 1, sizeof(*classes));
	int fd = keys && classes ? bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "guard_sources", size, sizeof(uint32_t),
	                                          count ? count : 1, &create)
	                         : -1;
	int error = !keys || !classes ? -ENOMEM : fd < 0 ? -errno : 0;

	for (uint32_t i = 0; !error && i < count; i++) {
		memcpy(keys + (size_t)i * size, &prefixes[i].length, sizeof(uint32_t));
		memcpy(keys + (size_t)i * size + sizeof(uint32_t),
		       v4 ? &prefixes[i].address.word[3] : prefixes[i].address.word, size - sizeof(uint32_t));
		classes[i] = prefixes[i].class;
	}
	if (!error)
		error = write_all(fd, keys, size, classes, sizeof(*classes), count);
	free(keys);
	free(classes);
	if (error) {
		if (fd >= 0)
			close(fd);
		return failed(handle, "filling", outer, error);
	}
	return put_inner(handle, outer, place, fd);
}

/* The write that puts a configuration in force. When it returns no packet sees the one before. */
static int put_guard(struct marcher_packet *handle, const struct guard *guard)
{
	uint32_t zero = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "guard", sizeof(uint32_t), sizeof(*guard), 1, NULL);

	if (fd < 0 || bpf_map_update_elem(fd, &zero, guard, BPF_ANY)) {
		int error = -errno;
		if (fd >= 0)
			close(fd);
		return failed(handle, "filling", MAP_GUARD, error);
	}
	return put_inner(handle, MAP_GUARD, 0, fd);
}

static int drop_places(struct marcher_packet *handle, uint32_t place)
{
	for (size_t i = 0; i < PLACES; i++) {
		int error = packet_inner_drop(handle, places[i], place);
		if (error)
			return failed(handle, "deleting from", places[i], error);
	}
	return MARCHER_OK;
}

/* Tables of what sources owe: made when they are needed, and anew when one source is something else than before. */

static int put_lru(struct marcher_packet *handle, enum packet_map outer, uint32_t key, uint32_t value, uint32_t entries)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "guard_lru", key, value, entries, NULL);

	if (fd < 0)
		return packet_fail_system(handle, errno, "creating a table for source limits");
	return put_inner(handle, outer, 0, fd);
}

/* wanted: there is to be one. anew: another than the one that is there. */
static int keep_lru(struct marcher_packet *handle, enum packet_map outer, bool wanted, bool anew, uint32_t key,
                    uint32_t value, uint32_t entries)
{
	uint32_t zero = 0, id;
	bool there = !bpf_map_lookup_elem(handle->maps[outer], &zero, &id);

	if (wanted && (!there || anew))
		return put_lru(handle, outer, key, value, entries);
	if (wanted || !there)
		return MARCHER_OK;
	int error = packet_inner_drop(handle, outer, 0);
	return error ? failed(handle, "deleting from", outer, error) : MARCHER_OK;
}

static int keep_debts(struct marcher_packet *handle, const struct guard *guard, const struct guard *before)
{
	bool other = before && (memcmp(&before->mask_v4, &guard->mask_v4, sizeof(guard->mask_v4)) != 0 ||
	                        memcmp(&before->mask_v6, &guard->mask_v6, sizeof(guard->mask_v6)) != 0);
	int code = keep_lru(handle, MAP_GUARD_DEBTS, guard->flags & GUARD_LIMITS, other, sizeof(struct address),
	                    sizeof(struct guard_debt), GUARD_DEBTS_MAX);

	return code ? code
	            : keep_lru(handle, MAP_GUARD_DATAGRAMS, guard->flags & GUARD_LIMIT_CONNECTIONS, false,
	                       sizeof(uint64_t), sizeof(uint32_t), GUARD_DATAGRAMS_MAX);
}

/* Rules, their counters and records. */

static void find_devices(struct guard_rule *rules, const struct guard_rule_facts *facts, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++)
		if (rules[i].action == GUARD_TO_DEVICE)
			rules[i].ifindex = if_nametoindex(facts[i].device);
}

struct owner {
	uint64_t identity;
	uint32_t counter;
};

static int owner_compare(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->identity != y->identity)
		return x->identity < y->identity ? -1 : 1;
	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static int give_new_counter(struct marcher_packet *handle, bool *used, uint32_t *counter)
{
	int cpus = libbpf_num_possible_cpus();
	void *zero = cpus > 0 ? calloc((size_t)cpus, sizeof(struct traffic)) : NULL;

	if (!zero)
		return no_memory(handle);
	while (used[*counter])
		++*counter; /* there are twice as many as rules */
	used[*counter] = true;
	int error = packet_put(handle, MAP_GUARD_COUNTERS, counter, zero);
	free(zero);
	return error ? failed(handle, "writing", MAP_GUARD_COUNTERS, error) : MARCHER_OK;
}

/* Those that were there keep their counters. No counter of the rules before is given to another one: it still counts.
 */
static int give_counters(struct marcher_packet *handle, const struct packet_guard *before, struct packet_guard *now)
{
	uint32_t nowners = before ? before->nrules : 0, next = 1;
	struct owner *owners = calloc((size_t)nowners + 1, sizeof(*owners));
	bool *used = calloc(GUARD_COUNTERS, sizeof(*used)), *taken = calloc((size_t)nowners + 1, 1);
	int code = owners && used && taken ? MARCHER_OK : no_memory(handle);

	for (uint32_t i = 1; !code && i < nowners; i++) {
		owners[i] = (struct owner){before->facts[i].identity, before->rules[i].counter};
		used[before->rules[i].counter] = true;
	}
	if (!code && nowners)
		qsort(owners, nowners, sizeof(*owners), owner_compare);
	for (uint32_t i = 1; !code && i < now->nrules; i++) {
		struct owner wanted = {now->facts[i].identity, 0};
		uint32_t low = 0, high = nowners;
		while (low < high) {
			uint32_t middle = low + (high - low) / 2;
			if (owner_compare(&owners[middle], &wanted) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		/* Two rules may be the same. */
		while (low < nowners && owners[low].identity == wanted.identity && taken[low])
			low++;
		if (low < nowners && owners[low].identity == wanted.identity) {
			taken[low] = true;
			now->rules[i].counter = owners[low].counter;
			continue;
		}
		code = give_new_counter(handle, used, &next);
		now->rules[i].counter = next;
	}
	free(owners);
	free(used);
	free(taken);
	return code;
}

static int put_record(struct marcher_packet *handle, const struct packet_guard *now, uint32_t rule,
                      const struct guard_record *numbers)
{
	struct guard_record record = *numbers;
	uint32_t counter = now->rules[rule].counter;

	memcpy(record.guard, now->facts[rule].guard, sizeof(record.guard));
	memcpy(record.device, now->facts[rule].device, sizeof(record.device));
	int error = packet_put(handle, MAP_GUARD_RECORDS, &counter, &record);
	return error ? failed(handle, "writing", MAP_GUARD_RECORDS, error) : MARCHER_OK;
}

static int put_records(struct marcher_packet *handle, const struct packet_guard *now)
{
	int code = MARCHER_OK;

	for (uint32_t i = 1; !code && i < now->nrules; i++)
		code = put_record(
		        handle, now, i,
		        &(struct guard_record){.identity = now->facts[i].identity, .position = now->facts[i].position});
	return code;
}

/* What is in force as a whole. fingerprint 0: between two; nobody may take it for one of them. */
static int put_whole(struct marcher_packet *handle, const struct packet_guard *now, uint64_t fingerprint)
{
	return put_record(
	        handle, now, 0,
	        &(struct guard_record){.identity = fingerprint, .position = now->nprefixes, .classes = now->nclasses});
}

/* Of rules that are gone; keep NULL: all. */
static int drop_records(struct marcher_packet *handle, const struct packet_guard *before,
                        const struct packet_guard *keep)
{
	bool *kept = calloc(GUARD_COUNTERS, sizeof(*kept));
	int error = kept ? 0 : -ENOMEM;

	for (uint32_t i = 0; !error && keep && i < keep->nrules; i++)
		kept[keep->rules[i].counter] = true;
	for (uint32_t i = 0; !error && before && i < before->nrules; i++)
		if (!kept[before->rules[i].counter])
			error = packet_drop(handle, MAP_GUARD_RECORDS, &before->rules[i].counter);
	free(kept);
	return error ? failed(handle, "deleting from", MAP_GUARD_RECORDS, error) : MARCHER_OK;
}

/* What is in force. */

static void take(struct marcher_packet *handle, struct packet_guard *now)
{
	pthread_mutex_lock(&handle->table_lock);
	packet_guard_free(handle->guard);
	handle->guard = now;
	pthread_mutex_unlock(&handle->table_lock);
}

static struct packet_guard *guard_from(const struct guard_tables *tables)
{
	struct packet_guard *now = calloc(1, sizeof(*now));

	if (!now)
		return NULL;
	*now = (struct packet_guard){.guard = tables->guard,
	                             .fingerprint = tables->fingerprint,
	                             .rules = calloc(tables->nrules, sizeof(*now->rules)),
	                             .facts = calloc(tables->nrules, sizeof(*now->facts)),
	                             .nrules = tables->nrules,
	                             .nprefixes = tables->nv4 + tables->nv6,
	                             .nclasses = tables->nclasses};
	if (!now->rules || !now->facts) {
		packet_guard_free(now);
		return NULL;
	}
	memcpy(now->rules, tables->rules, tables->nrules * sizeof(*now->rules));
	memcpy(now->facts, tables->facts, tables->nrules * sizeof(*now->facts));
	return now;
}

static int put_tables(struct marcher_packet *handle, const struct guard_tables *tables, const struct packet_guard *now)
{
	uint32_t place = now->guard.generation;
	int code = put_sources(handle, MAP_GUARD_SOURCES_V4, place, tables->v4, tables->nv4);

	if (!code)
		code = put_sources(handle, MAP_GUARD_SOURCES_V6, place, tables->v6, tables->nv6);
	if (!code)
		code = put_array(handle, MAP_GUARD_CLASSES, place, tables->classes, sizeof(*tables->classes),
		                 tables->nclasses);
	if (!code)
		code = put_array(handle, MAP_GUARD_SPANS, place, tables->spans, sizeof(*tables->spans), tables->nspans);
	return code ? code : put_array(handle, MAP_GUARD_RULES, place, now->rules, sizeof(*now->rules), now->nrules);
}

static int remove_guard(struct marcher_packet *handle)
{
	struct guard nothing = {.flags = 0};
	int error = packet_inner_drop(handle, MAP_GUARD, 0);
	int code = error ? failed(handle, "deleting from", MAP_GUARD, error) : MARCHER_OK;

	for (uint32_t place = 0; !code && place < GUARD_GENERATIONS; place++)
		code = drop_places(handle, place);
	if (!code)
		code = keep_debts(handle, &nothing, NULL);
	if (!code)
		code = drop_records(handle, handle->guard, NULL);
	if (!code)
		take(handle, NULL);
	return code;
}

static int replace_guard(struct marcher_packet *handle, const struct guard_tables *tables)
{
	const struct packet_guard *before = handle->guard;
	struct packet_guard *now = guard_from(tables);

	if (!now)
		return no_memory(handle);
	now->guard.generation = before ? !before->guard.generation : 0;
	guard_cookie_settings(&now->guard);
	find_devices(now->rules, now->facts, now->nrules);
	int code = give_counters(handle, before, now);
	if (!code)
		code = packet_own_follow(handle, now->guard.own);
	if (!code)
		code = keep_debts(handle, &now->guard, before ? &before->guard : NULL);
	if (!code)
		code = put_tables(handle, tables, now);
	if (!code)
		code = put_records(handle, now);
	if (!code)
		code = put_whole(handle, now, 0);
	if (!code)
		code = put_guard(handle, &now->guard);
	if (!code)
		code = put_whole(handle, now, now->fingerprint);
	if (!code)
		code = drop_places(handle, !now->guard.generation);
	if (!code)
		code = drop_records(handle, before, now);
	if (code)
		packet_guard_free(now);
	else
		take(handle, now);
	return code;
}

static int read_anew(struct marcher_packet *handle, int code)
{
	/* Half-way between two: what is in force is in the maps, and is made anew by the next apply. */
	if (code && !packet_guard_read(handle) && handle->guard)
		handle->guard->fingerprint = 0;
	return code;
}

int packet_guard_apply(struct marcher_packet *handle, const struct guard_tables *tables)
{
	if (!tables) {
		int code = handle->guard ? read_anew(handle, remove_guard(handle)) : MARCHER_OK;
		return code ? code : packet_own_follow(handle, NULL);
	}
	if (handle->guard && handle->guard->fingerprint == tables->fingerprint)
		return packet_guard_tend(handle);
	return read_anew(handle, replace_guard(handle, tables));
}

/* The host may have changed under tables that have not. */

static int renew_devices(struct marcher_packet *handle, struct packet_guard *guard)
{
	int fd = -1, error = 0;

	for (uint32_t i = 1; !error && i < guard->nrules; i++) {
		if (guard->rules[i].action != GUARD_TO_DEVICE)
			continue;
		uint32_t index = if_nametoindex(guard->facts[i].device);
		if (index == guard->rules[i].ifindex)
			continue;
		/* In place: one word of the element is another one. */
		struct guard_rule rule = guard->rules[i];
		rule.ifindex = index;
		if (fd < 0)
			fd = packet_inner_own(handle, MAP_GUARD_RULES, guard->guard.generation);
		if (fd < 0)
			error = fd;
		else if (bpf_map_update_elem(fd, &i, &rule, BPF_ANY))
			error = -errno;
		else
			guard->rules[i].ifindex = index;
	}
	if (fd >= 0)
		close(fd);
	return error ? failed(handle, "writing", MAP_GUARD_RULES, error) : MARCHER_OK;
}

/* What the configuration takes from the host: the filter of its addresses, and how its TCP is set. */
static int renew_settings(struct marcher_packet *handle, struct packet_guard *guard, const __u64 own[4])
{
	struct guard now = guard->guard;

	now.flags &= ~(GUARD_COOKIE_TIMESTAMPS | GUARD_COOKIE_SACK | GUARD_COOKIE_SCALE | GUARD_COOKIE_ECN);
	guard_cookie_settings(&now);
	memcpy(now.own, own, sizeof(now.own));
	if (!memcmp(&now, &guard->guard, sizeof(now)))
		return MARCHER_OK;
	int code = put_guard(handle, &now);
	if (!code)
		guard->guard = now;
	return code;
}

int packet_guard_tend(struct marcher_packet *handle)
{
	struct packet_guard *guard = handle->guard;
	__u64 own[4] = {0};
	int code = packet_own_follow(handle, own);

	if (code || !guard)
		return code;
	pthread_mutex_lock(&handle->table_lock);
	code = renew_devices(handle, guard);
	if (!code)
		code = renew_settings(handle, guard, own);
	pthread_mutex_unlock(&handle->table_lock);
	return code;
}

/* Read back. */

static int read_rules(struct marcher_packet *handle, struct packet_guard *guard)
{
	struct bpf_map_info info;
	struct guard_record record;
	int fd = packet_inner_own(handle, MAP_GUARD_RULES, guard->guard.generation);

	if (fd < 0 || packet_map_info(fd, &info) < 0 || info.max_entries > GUARD_RULES_MAX) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -EPROTO;
	}
	guard->nrules = info.max_entries;
	guard->rules = calloc(guard->nrules, sizeof(*guard->rules));
	guard->facts = calloc(guard->nrules, sizeof(*guard->facts));
	int error = guard->rules && guard->facts ? 0 : -ENOMEM;
	for (uint32_t i = 0; !error && i < guard->nrules; i++) {
		if (bpf_map_lookup_elem(fd, &i, &guard->rules[i]) || guard->rules[i].counter >= GUARD_COUNTERS) {
			error = -EPROTO;
			break;
		}
		if (bpf_map_lookup_elem(handle->maps[MAP_GUARD_RECORDS], &guard->rules[i].counter, &record))
			continue; /* of a death half-way: made anew, since the fingerprint is not there either */
		if (!i) {
			guard->fingerprint = record.identity;
			guard->nprefixes = record.position;
			guard->nclasses = record.classes;
			continue;
		}
		guard->facts[i].identity = record.identity;
		guard->facts[i].position = record.position;
		memcpy(guard->facts[i].guard, record.guard, sizeof(record.guard) - 1);
		memcpy(guard->facts[i].device, record.device, sizeof(record.device) - 1);
	}
	close(fd);
	return error;
}

int packet_guard_read(struct marcher_packet *handle)
{
	uint32_t zero = 0;
	int fd = packet_inner_own(handle, MAP_GUARD, 0), error = 0;
	struct packet_guard *guard = NULL;

	if (fd < 0 && fd != -ENOENT)
		return failed(handle, "reading", MAP_GUARD, fd);
	if (fd >= 0) {
		guard = calloc(1, sizeof(*guard));
		error = !guard ? -ENOMEM : bpf_map_lookup_elem(fd, &zero, &guard->guard) ? -errno : 0;
		close(fd);
		if (!error && guard->guard.generation >= GUARD_GENERATIONS)
			error = -EPROTO;
		if (!error)
			error = read_rules(handle, guard);
	}
	if (error) {
		packet_guard_free(guard);
		return failed(handle, "reading", MAP_GUARD, error);
	}
	take(handle, guard);
	return MARCHER_OK;
}
