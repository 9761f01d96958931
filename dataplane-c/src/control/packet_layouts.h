/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts of the maps that this build can migrate from: where what is needed of them lies.
 *
 * Of the maps four parts are read. A build says by layout_records since which layout each part has the form that it
 * has in its own, so that an older build, which cannot know a newer layout, still reads the parts that have not
 * changed.
 */
#ifndef CONTROL_PACKET_LAYOUTS_H
#define CONTROL_PACKET_LAYOUTS_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/lib/layout.h"

/* Raised to LAYOUT_VERSION by a change of that part, with a row for its form before in packet_layouts.c. */
#define LAYOUT_FLOWS_SINCE 2    /* flows, flow_settings */
#define LAYOUT_RECORDS_SINCE 2  /* service_records, backend_records, backends */
#define LAYOUT_COUNTERS_SINCE 2 /* service_counters, backend_counters */
#define LAYOUT_NAT_SINCE 2      /* struct nat_flow, by struct flow_key: the tables in nat_flows and nat_new */

enum packet_flows_form {
	FLOWS_BY_KEY,  /* LRU hash by struct flow_key */
	FLOWS_IN_SETS, /* array of struct flow_set, as here, by tags of struct flow_settings' secret */
};

struct packet_layout {
	int version;
	/* Sizes of values; a key is 4 bytes. The numbers behind are offsets. carried 0: there is none. */
	struct {
		size_t size, name, name_size, carried;
	} service_record;
	struct {
		size_t size, service, name, name_size, carried;
	} backend_record;
	struct {
		size_t size, address, generation, flags;
		uint32_t in_use;
	} backend;
	struct {
		enum packet_flows_form form;
		size_t size, backend, generation; /* FLOWS_BY_KEY */
	} flow;
	size_t nat_flow;          /* size, in this build's form; 0: there was no NAT */
	size_t traffic;           /* size: as many of the fields of struct traffic as there were */
	const char *const *drops; /* names in order; NULL: not known */
	uint32_t drops_count;
};

/* The row of this version; NULL: this build knows no such layout. */
const struct packet_layout *packet_layout_find(int version);

/* The form that this build has itself. */
const struct packet_layout *packet_layout_current(void);

/* Adds what a per-CPU array of that layout's counters holds; values are its elements, one per CPU. */
void packet_layout_add_traffic(const struct packet_layout *layout, const void *values, int cpus, struct traffic *total);

#endif
