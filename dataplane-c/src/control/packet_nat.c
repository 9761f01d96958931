/* SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "packet_inner.h"

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

#define FLOW_BYTES 370u         /* two entries, with what the kernel keeps for each, and their share of nat_new */
#define MEMORY_SHARE 64u        /* of this host's, at most */
#define FLOWS_LEAST (64u << 10) /* by default */
#define FLOWS_MOST (1u << 20)

uint32_t packet_nat_flows_default(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t room = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / MEMORY_SHARE / FLOW_BYTES : 0;
	uint32_t flows = FLOWS_LEAST;

	while (flows < FLOWS_MOST && (uint64_t)flows * 2 <= room)
		flows *= 2;
	return flows;
}

int packet_nat_table(int outer, const char *pin)
{
	struct bpf_map_info info;

	if (packet_map_info(outer, &info))
		return -errno;
	if (info.type == BPF_MAP_TYPE_ARRAY_OF_MAPS)
		return packet_inner_open(outer, 0, pin);
	int same = fcntl(outer, F_DUPFD_CLOEXEC, 0);
	return same < 0 ? -errno : same;
}

static int make_table(struct marcher_packet *handle, enum packet_map outer, uint32_t entries)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, packet_map_names[outer], sizeof(struct flow_key),
	                        sizeof(struct nat_flow), entries, NULL);

	if (fd < 0)
		return packet_fail_system(handle, errno,
		                          "making the table %s with room for %u flows (fewer: marcherd --nat-flows)",
		                          packet_map_names[outer], entries / 2);
	int error = packet_inner_put(handle, outer, 0, fd);
	close(fd);
	return error ? packet_fail_system(handle, -error, "writing the map %s", packet_map_names[outer]) : MARCHER_OK;
}

static int drop_table(struct marcher_packet *handle, enum packet_map outer)
{
	int error = packet_inner_drop(handle, outer, 0);

	return error ? packet_fail_system(handle, -error, "deleting from the map %s", packet_map_names[outer])
	             : MARCHER_OK;
}

int packet_nat_tables(struct marcher_packet *handle, bool wanted)
{
	static const enum packet_map tables[] = {MAP_NAT_FLOWS, MAP_NAT_NEW};
	uint32_t flows = handle->nat_flows * 2, fresh = flows / NAT_NEW_SHARE + 1;
	uint32_t entries[] = {flows, fresh < NAT_NEW_MAX ? fresh : NAT_NEW_MAX}, zero = 0, id;
	int code = MARCHER_OK;

	for (size_t i = 0; !code && i < sizeof(tables) / sizeof(tables[0]); i++) {
		bool there = !bpf_map_lookup_elem(handle->maps[tables[i]], &zero, &id);
		if (wanted && !there)
			code = make_table(handle, tables[i], entries[i]);
		else if (!wanted && there)
			code = drop_table(handle, tables[i]);
	}
	return code;
}
