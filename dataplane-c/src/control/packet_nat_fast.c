/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When packets of open translated flows are XDP's: a service is forwarded by NAT, nobody has asked for tc, and XDP is
 * native at the interface that a packet comes by and at the one that it leaves by, which can send what XDP hands over.
 * The program is loaded with the others; its slot is empty until then, so that who has no NAT pays nothing.
 *
 * Everything here may change at any time and in any order: whatever xdp_nat does not carry, tc does.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "packet.h"
#include "packet_ethtool.h"
#include "packet_netdev.h"

/* A device that may be among those of xdp_nat. */
struct candidate {
	uint32_t index;
	bool may;
	struct nat_device device;
};

static void refuse(struct packet_interface *interface, const char *reason)
{
	snprintf(interface->nat_reason, sizeof(interface->nat_reason), "%s", reason);
}

/* Its Ethernet address. False: it has none, or is another interface by now. */
static bool address_of(int fd, const struct packet_interface *interface, struct nat_device *device)
{
	struct ifreq request = {.ifr_name = ""};

	memcpy(request.ifr_name, interface->name, sizeof(request.ifr_name));
	if (ioctl(fd, SIOCGIFINDEX, &request) || (uint32_t)request.ifr_ifindex != interface->index ||
	    ioctl(fd, SIOCGIFHWADDR, &request) || request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
		return false;
	memcpy(device->address, request.ifr_hwaddr.sa_data, sizeof(device->address));
	return true;
}

/* Why the kernel would lose what XDP sends by it; NULL: it would not. told: features is what the kernel says. */
static const char *cannot_send(const struct packet_interface *interface, bool told, uint64_t features)
{
	char driver[32];

	if (told)
		return features & PACKET_NETDEV_SENDS
		               ? NULL
		               : "its driver cannot send what XDP hands over (veth: the other end "
		                 "needs GRO, ethtool -K END gro on, or an XDP program)";
	/* Any other that runs XDP natively sends, too. */
	packet_ethtool_driver(interface->name, driver, sizeof(driver));
	return strcmp(driver, "veth") ? NULL : "this kernel does not tell whether the other end of a veth takes frames";
}

static void judge(struct marcher_packet *handle, struct candidate *candidates)
{
	struct packet_netdev devices[PACKET_INTERFACES_MAX] = {{.index = 0}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		devices[i].index = candidates[i].index = handle->interfaces[i].index;
	bool told = !packet_netdev_features(devices, handle->ninterfaces);
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		struct packet_interface *interface = &handle->interfaces[i];
		const char *why = NULL;
		if (interface->link_fd < 0 || strcmp(interface->mode, "native") != 0)
			why = "XDP is not native there";
		else if (fd < 0 || !address_of(fd, interface, &candidates[i].device))
			why = "it has no Ethernet address";
		else
			why = cannot_send(interface, told, devices[i].features);
		candidates[i].may = !why;
		refuse(interface, why ? why : "");
	}
	if (fd >= 0)
		close(fd);
}

static int drop_others(struct marcher_packet *handle, const struct candidate *candidates, uint32_t count)
{
	uint32_t index, next, *previous = NULL;
	int map = handle->maps[MAP_NAT_DEVICES], error = 0;

	/* A key that goes while it is the one before begins the list anew: the loop ends when none is left to drop. */
	while (!error && !bpf_map_get_next_key(map, previous, &next)) {
		bool wanted = false;
		for (uint32_t i = 0; i < count; i++)
			wanted |= candidates[i].may && candidates[i].index == next;
		if (wanted) {
			index = next;
			previous = &index;
			continue;
		}
		error = packet_drop(handle, MAP_NAT_DEVICES, &next);
	}
	return error;
}

static int put_devices(struct marcher_packet *handle, const struct candidate *candidates, uint32_t count)
{
	int error = drop_others(handle, candidates, count);

	for (uint32_t i = 0; !error && i < count; i++) {
		struct nat_device before;
		if (!candidates[i].may)
			continue;
		if (!bpf_map_lookup_elem(handle->maps[MAP_NAT_DEVICES], &candidates[i].index, &before) &&
		    !memcmp(&before, &candidates[i].device, sizeof(before)))
			continue;
		error = packet_put(handle, MAP_NAT_DEVICES, &candidates[i].index, &candidates[i].device);
	}
	return error ? packet_fail_system(handle, -error, "writing the map nat_devices") : MARCHER_OK;
}

static int set_slot(struct marcher_packet *handle, bool filled)
{
	const uint32_t slot = XDP_SLOT_NAT;
	uint32_t id;
	bool is = !bpf_map_lookup_elem(handle->maps[MAP_XDP_SLOTS], &slot, &id);
	int error = 0;

	/* A program array changes slowly: the kernel rewrites those that call by it. Another build's program that was
	 * there has been replaced as the programs were opened. */
	if (filled && !is)
		error = packet_put(handle, MAP_XDP_SLOTS, &slot, &handle->nat_fast.program);
	else if (!filled && is)
		error = packet_drop(handle, MAP_XDP_SLOTS, &slot);
	return error ? packet_fail_system(handle, -error, "putting xdp_nat into its slot") : MARCHER_OK;
}

static int put_in_force(struct marcher_packet *handle)
{
	struct candidate candidates[PACKET_INTERFACES_MAX] = {{.index = 0}};
	const struct packet_nat_fast *fast = &handle->nat_fast;
	uint32_t count = handle->ninterfaces;
	bool any = false;

	if (fast->wanted && !fast->by_tc) {
		judge(handle, candidates);
	} else {
		for (uint32_t i = 0; i < count; i++)
			refuse(&handle->interfaces[i], fast->wanted ? "it is turned off" : "");
	}
	for (uint32_t i = 0; i < count; i++)
		any |= candidates[i].may;
	int code = put_devices(handle, candidates, count);
	return code ? code : set_slot(handle, any);
}

int packet_nat_fast_apply(struct marcher_packet *handle, const Marcher__Packet__V1__Table *table)
{
	struct packet_nat_fast *fast = &handle->nat_fast;

	pthread_mutex_lock(&handle->table_lock);
	fast->known = true;
	fast->by_tc = table->nat_by_tc;
	fast->wanted = false;
	for (size_t i = 0; i < table->n_services; i++)
		fast->wanted |= table->services[i]->forwarding == MARCHER__PACKET__V1__FORWARDING__FORWARDING_NAT;
	int code = put_in_force(handle);
	pthread_mutex_unlock(&handle->table_lock);
	return code;
}

int packet_nat_fast_tend(struct marcher_packet *handle)
{
	/* What was found pinned goes on until a table comes. */
	if (!handle->nat_fast.known || !handle->nat_fast.wanted)
		return MARCHER_OK;
	pthread_mutex_lock(&handle->table_lock);
	int code = put_in_force(handle);
	pthread_mutex_unlock(&handle->table_lock);
	return code;
}

const char *packet_nat_fast_kind(const struct marcher_packet *handle, const struct packet_interface *interface)
{
	const uint32_t slot = XDP_SLOT_NAT, zero = 0;
	struct nat_device device;
	uint32_t id;

	if (bpf_map_lookup_elem(handle->maps[MAP_NAT_FLOWS], &zero, &id))
		return "";
	if (!bpf_map_lookup_elem(handle->maps[MAP_XDP_SLOTS], &slot, &id) &&
	    !bpf_map_lookup_elem(handle->maps[MAP_NAT_DEVICES], &interface->index, &device))
		return "xdp";
	return *interface->tc.mode ? "tc" : "";
}
