/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_layouts.h"

#include <string.h>

#include "bpf/lib/layout_names.h"
#include "packet.h"
#include "packet_layout_v1.h"

static const char *const v1_drops[] = V1_DROPS;

_Static_assert(sizeof(struct v1_flow_key) == sizeof(struct flow_key), "flow keys are copied as they are");
_Static_assert(sizeof(struct v1_address) == sizeof(struct address), "addresses are copied as they are");
_Static_assert(sizeof(struct v1_traffic) == offsetof(struct traffic, returned_packets), "counters grow at their end");

/* Reasons are only ever added at the end. */
#define V2_DROP_REASONS (DROP_BAD_COOKIE + 1)

/* clang-format off */
#define OF_OWN_FORM(number, reasons) \
	{ \
		.version = (number), \
		.service_record = {sizeof(struct service_record), offsetof(struct service_record, name), \
		                   sizeof(((struct service_record *)0)->name), offsetof(struct service_record, carried)}, \
		.backend_record = {sizeof(struct backend_record), offsetof(struct backend_record, service), \
		                   offsetof(struct backend_record, name), sizeof(((struct backend_record *)0)->name), \
		                   offsetof(struct backend_record, carried)}, \
		.backend = {sizeof(struct backend), offsetof(struct backend, address), \
		            offsetof(struct backend, generation), offsetof(struct backend, flags), BACKEND_IN_USE}, \
		.flow = {.form = FLOWS_IN_SETS}, \
		.nat_flow = sizeof(struct nat_flow), \
		.traffic = sizeof(struct traffic), \
		.drops = drop_reason_names, \
		.drops_count = (reasons), \
	}
/* clang-format on */

/* Other sizes are another form: then version 2 needs rows of its own, as version 1 has. */
_Static_assert(sizeof(struct service_record) == 168 && sizeof(struct backend_record) == 296 &&
                       sizeof(struct backend) == 44 && sizeof(struct traffic) == 32 && sizeof(struct nat_flow) == 60 &&
                       offsetof(struct nat_flow, expected) == 56,
               "the form of version 2 is this one's");

static const struct packet_layout layouts[] = {
        {
                .version = 1,
                .service_record = {sizeof(struct v1_service_record), offsetof(struct v1_service_record, name),
                                   sizeof(((struct v1_service_record *)0)->name), 0},
                .backend_record = {sizeof(struct v1_backend_record), offsetof(struct v1_backend_record, service),
                                   offsetof(struct v1_backend_record, name),
                                   sizeof(((struct v1_backend_record *)0)->name), 0},
                .backend = {sizeof(struct v1_backend), offsetof(struct v1_backend, address),
                            offsetof(struct v1_backend, generation), offsetof(struct v1_backend, flags),
                            V1_BACKEND_IN_USE},
                .flow = {FLOWS_BY_KEY, sizeof(struct v1_flow), offsetof(struct v1_flow, backend),
                         offsetof(struct v1_flow, generation)},
                .traffic = sizeof(struct v1_traffic),
                .drops = v1_drops,
                .drops_count = sizeof(v1_drops) / sizeof(v1_drops[0]),
        },
        OF_OWN_FORM(2, V2_DROP_REASONS),
        OF_OWN_FORM(LAYOUT_VERSION, DROP_REASONS),
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))

void packet_layout_add_traffic(const struct packet_layout *layout, const void *values, int cpus, struct traffic *total)
{
	for (int cpu = 0; cpu < cpus; cpu++) {
		struct traffic one = {0};
		memcpy(&one, (const uint8_t *)values + (size_t)cpu * layout->traffic, layout->traffic);
		total->packets += one.packets;
		total->bytes += one.bytes;
		total->returned_packets += one.returned_packets;
		total->returned_bytes += one.returned_bytes;
	}
}

const struct packet_layout *packet_layout_find(int version)
{
	for (size_t i = 0; i < LAYOUTS; i++)
		if (layouts[i].version == version)
			return &layouts[i];
	return NULL;
}

const struct packet_layout *packet_layout_current(void)
{
	return &layouts[LAYOUTS - 1];
}
