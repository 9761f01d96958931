/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard has done, read out of its counters. */
#include "packet_guard.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef Marcher__Packet__V1__GuardStatus GuardStatus;
typedef Marcher__Packet__V1__GuardRuleTraffic GuardRuleTraffic;
typedef Marcher__Packet__V1__SynCookieStatus SynCookieStatus;
typedef Marcher__Packet__V1__Traffic Traffic;

#define PROBLEM_MAX 96

struct guard_status {
	GuardStatus message;
	SynCookieStatus cookies;
	GuardRuleTraffic *rules;
	GuardRuleTraffic **pointers;
	Traffic *traffic;
	struct guard_rule_facts *facts; /* a copy: the message outlives the lock */
	char (*problems)[PROBLEM_MAX];
	const char *limits[GUARD_COOKIE_LIMITS_MAX];
};

void packet_guard_status_free(struct guard_status *status)
{
	if (!status)
		return;
	free(status->rules);
	free(status->pointers);
	free(status->traffic);
	free(status->facts);
	free(status->problems);
	free(status);
}

GuardStatus *packet_guard_status_message(struct guard_status *status)
{
	return &status->message;
}

static bool read_traffic(const struct marcher_packet *handle, uint32_t counter, int cpus, struct traffic *values,
                         Traffic *out)
{
	if (bpf_map_lookup_elem(handle->maps[MAP_GUARD_COUNTERS], &counter, values))
		return false;
	marcher__packet__v1__traffic__init(out);
	for (int cpu = 0; cpu < cpus; cpu++) {
		out->packets += values[cpu].packets;
		out->bytes += values[cpu].bytes;
	}
	return true;
}

static bool read_cookies(const struct marcher_packet *handle, int cpus, struct guard_status *status)
{
	struct guard_cookies *values = calloc((size_t)cpus, sizeof(*values));
	struct guard_syns syns;
	struct timespec now;
	uint32_t zero = 0;
	bool good = values && !bpf_map_lookup_elem(handle->maps[MAP_GUARD_COOKIES], &zero, values) &&
	            !bpf_map_lookup_elem(handle->maps[MAP_GUARD_SYNS], &zero, &syns);

	marcher__packet__v1__syn_cookie_status__init(&status->cookies);
	for (int cpu = 0; good && cpu < cpus; cpu++) {
		status->cookies.sent += values[cpu].sent;
		status->cookies.left += values[cpu].left;
		status->cookies.valid += values[cpu].valid;
	}
	free(values);
	if (!good)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	uint64_t now_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	status->cookies.active = handle->guard->guard.flags & GUARD_COOKIES_ALWAYS || now_ns < syns.active_until_ns;
	/* Of a window that nobody has closed since, it says nothing about now. */
	status->cookies.syns_per_second = now_ns - syns.since_ns < 1000000000 ? syns.per_second : 0;
	status->cookies.n_limits = guard_cookie_limits(&handle->guard->guard, status->limits);
	status->cookies.limits = (char **)status->limits;
	status->message.syn_cookies = &status->cookies;
	return true;
}

static bool add_rules(const struct marcher_packet *handle, int cpus, struct guard_status *status)
{
	const struct packet_guard *guard = handle->guard;
	struct traffic *values = calloc((size_t)cpus, sizeof(*values));
	bool good = values && read_traffic(handle, 0, cpus, values, &status->traffic[0]);

	status->message.default_traffic = &status->traffic[0];
	status->message.rules = status->pointers;
	for (uint32_t i = 1; good && i < guard->nrules; i++) {
		GuardRuleTraffic *rule = status->pointers[status->message.n_rules++] = &status->rules[i];
		marcher__packet__v1__guard_rule_traffic__init(rule);
		rule->guard = status->facts[i].guard;
		rule->position = status->facts[i].position;
		rule->traffic = &status->traffic[i];
		rule->problem = status->problems[i];
		if (guard->rules[i].action == GUARD_TO_DEVICE && !guard->rules[i].ifindex)
			snprintf(status->problems[i], PROBLEM_MAX, "there is no device %s: its packets are dropped",
			         status->facts[i].device);
		good = read_traffic(handle, guard->rules[i].counter, cpus, values, rule->traffic);
	}
	free(values);
	return good;
}

struct guard_status *packet_guard_status(struct marcher_packet *handle, int cpus)
{
	const struct packet_guard *guard = handle->guard;
	struct guard_status *status;

	errno = 0;
	if (!guard)
		return NULL;
	status = calloc(1, sizeof(*status));
	if (!status)
		return NULL;
	marcher__packet__v1__guard_status__init(&status->message);
	status->rules = calloc(guard->nrules, sizeof(*status->rules));
	status->pointers = calloc(guard->nrules, sizeof(GuardRuleTraffic *));
	status->traffic = calloc(guard->nrules, sizeof(*status->traffic));
	status->facts = calloc(guard->nrules, sizeof(*status->facts));
	status->problems = calloc(guard->nrules, sizeof(*status->problems));
	status->message.prefixes = guard->nprefixes;
	status->message.classes = guard->nclasses;
	bool good = status->rules && status->pointers && status->traffic && status->facts && status->problems;
	if (good)
		memcpy(status->facts, guard->facts, guard->nrules * sizeof(*status->facts));
	good = good && add_rules(handle, cpus, status) &&
	       (!(guard->guard.flags & GUARD_COOKIES) || read_cookies(handle, cpus, status));
	if (!good) {
		int error = errno ? errno : ENOMEM;
		packet_guard_status_free(status);
		errno = error;
		return NULL;
	}
	return status;
}
