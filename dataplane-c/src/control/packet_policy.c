/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic policies in the packet tiers: from the table's to what the programs read (bpf/lib/layout.h).
 *
 * A policy is written before the service that says it has one; so a packet never asks for one that is not there. What
 * has been taken from a bucket stays taken when rates change: gcra.h judges it by the new ones.
 */
#include "packet_policy.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qos/gcra.h"

#define PRIORITIES 4u
#define DSCP_MAX 63u
#define DSCP_SHIFT 2
#define FLOWS_PER_SECOND_MAX 1000000000u
/* What is over a rate is lost here, and a TCP sender that has lost the end of what it sent is silent for 200 ms at
 * least (TCP_RTO_MIN of Linux). A bucket that is full before would waste the rest: the burst of services with TCP is
 * 250 ms. */
#define TCP_BURST_PER_SECOND 4u

/* By class, what the relay's sockets have as SO_PRIORITY: engine/qos/mark.c. */
static const uint32_t queue_priority[PRIORITIES] = {6, 4, 0, 2};

typedef Marcher__Packet__V1__Rate Rate;
typedef Marcher__Packet__V1__Policy Policy;
typedef Marcher__Packet__V1__Service Service;

struct place {
	struct packet_reasons *reasons;
	const char *service;
	size_t position;
	bool tcp; /* the service has a VIP of TCP */
};

static bool has_tcp(const Service *service)
{
	for (size_t i = 0; i < service->n_vips; i++)
		if (service->vips[i]->transport == MARCHER__PACKET__V1__TRANSPORT__TRANSPORT_TCP)
			return true;
	return false;
}

static void refuse(const struct place *at, const char *field, const char *text)
{
	char path[80];

	snprintf(path, sizeof(path), "services[%zu].policy%s%s", at->position, *field ? "." : "", field);
	packet_reason(at->reasons, at->service, path, "%s", text);
}

static void check_bytes(const struct place *at, const char *field, const Rate *rate, struct gcra_rate *out)
{
	char text[160];

	if (!rate)
		return;
	if (rate->per_second < GCRA_BITS_PER_SECOND_MIN || rate->per_second > GCRA_BITS_PER_SECOND_MAX) {
		snprintf(text, sizeof(text), "%" PRIu64 " bits per second; expected %llu to %llu", rate->per_second,
		         GCRA_BITS_PER_SECOND_MIN, GCRA_BITS_PER_SECOND_MAX);
		refuse(at, field, text);
		return;
	}
	uint64_t burst = gcra_burst(rate->per_second, rate->burst), tcp = rate->per_second / 8 / TCP_BURST_PER_SECOND;
	*out = gcra_rate(rate->per_second, 8, at->tcp && burst < tcp ? tcp : burst);
}

static void check_flows(const struct place *at, const Rate *rate, struct gcra_rate *out)
{
	char text[160];

	if (!rate)
		return;
	if (!rate->per_second || rate->per_second > FLOWS_PER_SECOND_MAX || !rate->burst) {
		snprintf(text, sizeof(text),
		         "%" PRIu64 " per second with a burst of %" PRIu64 "; expected 1 to %u, and a burst above 0",
		         rate->per_second, rate->burst, FLOWS_PER_SECOND_MAX);
		refuse(at, "flows", text);
		return;
	}
	*out = gcra_rate(rate->per_second, 1, rate->burst);
}

void packet_policy_check(struct packet_reasons *reasons, const char *name, size_t position, const Service *service,
                         struct packet_wanted_service *out)
{
	const struct place at = {reasons, name, position, has_tcp(service)};
	const Policy *policy = service->policy;
	struct policy *entry = &out->policy;

	memset(entry, 0, sizeof(*entry));
	if (!policy)
		return;
	out->entry.flags |= SERVICE_POLICY;
	if (policy->priority >= PRIORITIES)
		refuse(&at, "priority", "expected 0 to 3, P0 to P3");
	else
		entry->priority = queue_priority[policy->priority];
	check_bytes(&at, "ingress", policy->ingress, &entry->service[POLICY_INGRESS]);
	check_bytes(&at, "egress", policy->egress, &entry->service[POLICY_EGRESS]);
	check_bytes(&at, "flow_ingress", policy->flow_ingress, &entry->flow[POLICY_INGRESS]);
	check_bytes(&at, "flow_egress", policy->flow_egress, &entry->flow[POLICY_EGRESS]);
	check_flows(&at, policy->flows, &entry->connections);
	if (service->forwarding != MARCHER__PACKET__V1__FORWARDING__FORWARDING_NAT &&
	    (policy->egress || policy->flow_egress))
		refuse(&at, policy->egress ? "egress" : "flow_egress",
		       "only with NAT (4): with the others backends answer past this node");
	if (policy->dscp > DSCP_MAX)
		refuse(&at, "dscp", "expected 0 to 63");
	if (policy->set_dscp) {
		entry->flags |= POLICY_DSCP;
		entry->dscp = (uint8_t)(policy->dscp << DSCP_SHIFT);
	}
	if (policy->ecn_mark)
		entry->flags |= POLICY_ECN_MARK;
}

static bool has_flow_rate(const struct policy *policy)
{
	return policy->flow[POLICY_INGRESS].unit_cost || policy->flow[POLICY_EGRESS].unit_cost;
}

int packet_policy_flows(struct marcher_packet *handle, const struct packet_wanted *wanted, bool gone)
{
	LIBBPF_OPTS(bpf_map_create_opts, options);
	const uint32_t zero = 0;
	uint32_t id;
	bool needed = false;

	for (uint32_t i = 0; !needed && i < wanted->nservices; i++)
		needed = has_flow_rate(&wanted->services[i].policy);
	bool there = !bpf_map_lookup_elem(handle->maps[MAP_POLICY_FLOWS], &zero, &id);
	if (there == needed || needed == gone)
		return MARCHER_OK;
	if (gone) {
		int error = packet_drop(handle, MAP_POLICY_FLOWS, &zero);
		return error ? packet_fail_system(handle, -error, "deleting from the map policy_flows") : MARCHER_OK;
	}
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "policy_flow", sizeof(uint64_t), sizeof(struct policy_flow),
	                        POLICY_FLOWS_MAX, &options);
	if (fd < 0)
		return packet_fail_system(handle, errno, "creating the table of flows that have rates");
	int error = packet_put(handle, MAP_POLICY_FLOWS, &zero, &fd);
	close(fd);
	return error ? packet_fail_system(handle, -error, "writing the map policy_flows") : MARCHER_OK;
}

int packet_policy_begin(struct marcher_packet *handle, uint32_t service, const void *zero)
{
	const struct policy_buckets full = {0};
	const struct policy none = {0};
	/* What packet_policy_put takes it to have. */
	int error = packet_put(handle, MAP_POLICIES, &service, &none);

	if (!error)
		error = packet_put(handle, MAP_POLICY_BUCKETS, &service, &full);
	if (!error)
		error = packet_put(handle, MAP_POLICY_COUNTERS, &service, zero);
	return error ? packet_fail_system(handle, -error, "writing the maps of traffic policies") : MARCHER_OK;
}

int packet_policy_put(struct marcher_packet *handle, const struct packet_wanted_service *wanted,
                      struct packet_service *service)
{
	/* Without the flag nobody looks at it. */
	if (!(wanted->entry.flags & SERVICE_POLICY) ||
	    !memcmp(&service->policy, &wanted->policy, sizeof(wanted->policy)))
		return MARCHER_OK;
	int error = packet_put(handle, MAP_POLICIES, &wanted->index, &wanted->policy);
	if (error)
		return packet_fail_system(handle, -error, "writing the map policies");
	service->policy = wanted->policy;
	return MARCHER_OK;
}

int packet_policy_status(const struct marcher_packet *handle, uint32_t service, int cpus,
                         struct packet_policy_status *out)
{
	struct policy_count *values = calloc((size_t)cpus, sizeof(*values));
	int error = values ? 0 : -ENOMEM;

	marcher__packet__v1__policy_traffic__init(&out->message);
	for (int i = 0; i < POLICY_DIRECTIONS; i++)
		marcher__packet__v1__over_rate__init(&out->over[i]);
	out->message.ingress = &out->over[POLICY_INGRESS];
	out->message.egress = &out->over[POLICY_EGRESS];
	if (!error && bpf_map_lookup_elem(handle->maps[MAP_POLICY_COUNTERS], &service, values))
		error = -errno;
	for (int cpu = 0; !error && cpu < cpus; cpu++) {
		for (int i = 0; i < POLICY_DIRECTIONS; i++) {
			out->over[i].dropped += values[cpu].dropped[i];
			out->over[i].dropped_bytes += values[cpu].dropped_bytes[i];
			out->over[i].marked += values[cpu].marked[i];
		}
		out->message.refused += values[cpu].refused;
	}
	free(values);
	return error;
}
