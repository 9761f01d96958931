/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PORT_FIRST 1024u /* below are services' own */
#define PORT_LAST 65535u
#define LOCAL_FIRST_DEFAULT 32768u
#define LOCAL_LAST_DEFAULT 60999u

/* net.ipv4.ip_local_port_range of this network namespace, which IPv6 has, too; the kernel's default when it can't be
 * read. */
static void local_ports(unsigned *first, unsigned *last)
{
	FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

	if (!file || fscanf(file, "%u %u", first, last) != 2 || *first > *last || *last > PORT_LAST) {
		*first = LOCAL_FIRST_DEFAULT;
		*last = LOCAL_LAST_DEFAULT;
	}
	if (file)
		fclose(file);
}

static void set_range(struct nat_settings *settings, int range, unsigned first, unsigned last)
{
	if (first < PORT_FIRST)
		first = PORT_FIRST;
	/* An empty one. */
	if (first > last) {
		first = 1;
		last = 0;
	}
	settings->first[range] = (uint16_t)first;
	settings->last[range] = (uint16_t)last;
}

/* What is to be decapsulated, and by tc too where an interface has no XDP program. */
static uint32_t decap_flags(const struct marcher_packet *handle)
{
	uint32_t flags = NAT_SETTING_DECAP;

	if (!handle->state.ndecapsulated)
		return 0;
	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		if (handle->interfaces[i].link_fd < 0)
			flags |= NAT_SETTING_TC_DECAP;
	return flags;
}

int packet_nat_settings(struct marcher_packet *handle)
{
	const struct packet_state *state = &handle->state;
	struct nat_settings settings = {.flags = decap_flags(handle)}, before;
	uint32_t zero = 0;
	unsigned first, last;

	local_ports(&first, &last);
	set_range(&settings, 0, PORT_FIRST, first ? first - 1 : 0);
	set_range(&settings, 1, last + 1, PORT_LAST);
	for (uint32_t i = 0; i < BACKENDS_MAX; i++) {
		const struct packet_backend *backend = state->backends[i];
		if (backend && backend->entry.flags & BACKEND_LOCAL && backend->service < SERVICES_MAX &&
		    state->services[backend->service])
			settings.flags |= NAT_SETTING_LOCAL;
	}
	if (bpf_map_lookup_elem(handle->maps[MAP_NAT_SETTINGS], &zero, &before))
		return packet_fail_system(handle, errno, "reading the map nat_settings");
	if (!memcmp(&settings, &before, sizeof(settings)))
		return MARCHER_OK;
	int error = packet_put(handle, MAP_NAT_SETTINGS, &zero, &settings);
	return error ? packet_fail_system(handle, -error, "writing the map nat_settings") : MARCHER_OK;
}
