/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an interface's driver could not send for XDP. The programs never learn of it, and drivers have no common
 * counter: each names its own among the statistics of ethtool, such as rx_queue_0_xdp_tx_errors (veth), rx0_xdp_tx_err
 * (mlx5) or tx_queue_0_xdp_tx_drops (virtio). So all are added whose name says that it is XDP, sending, and a failure.
 */
#include "packet_ethtool.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATISTICS_MAX 65536u

bool packet_ethtool_is_send_error(const char *name)
{
	const char *xdp = strstr(name, "xdp");

	return xdp && (strstr(xdp, "tx") || strstr(xdp, "xmit") || !strncmp(name, "tx", 2)) &&
	       (strstr(xdp, "err") || strstr(xdp, "drop") || strstr(xdp, "full"));
}

static bool ask(int fd, const char *interface, void *request)
{
	struct ifreq ifr = {.ifr_data = request};

	strncpy(ifr.ifr_name, interface, sizeof(ifr.ifr_name) - 1);
	return !ioctl(fd, SIOCETHTOOL, &ifr);
}

void packet_ethtool_driver(const char *interface, char *out, size_t size)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*out = '\0';
	if (fd < 0)
		return;
	if (ask(fd, interface, &info))
		snprintf(out, size, "%.*s", (int)sizeof(info.driver), info.driver);
	close(fd);
}

static uint32_t count_of(int fd, const char *interface)
{
	struct {
		struct ethtool_sset_info info;
		uint32_t count;
	} request = {.info = {.cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ull << ETH_SS_STATS}};

	if (!ask(fd, interface, &request) || !request.info.sset_mask || request.count > STATISTICS_MAX)
		return 0;
	return request.count;
}

static uint64_t add_up(int fd, const char *interface, uint32_t count, struct ethtool_gstrings *names,
                       struct ethtool_stats *values)
{
	uint64_t sum = 0;

	*names = (struct ethtool_gstrings){.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_STATS, .len = count};
	*values = (struct ethtool_stats){.cmd = ETHTOOL_GSTATS, .n_stats = count};
	/* The driver may have got more queues in between: the number that it tells now is the one. */
	if (!ask(fd, interface, names) || names->len != count || !ask(fd, interface, values) ||
	    values->n_stats != count)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		char name[ETH_GSTRING_LEN + 1] = "";
		memcpy(name, names->data + (size_t)i * ETH_GSTRING_LEN, ETH_GSTRING_LEN);
		if (packet_ethtool_is_send_error(name))
			sum += values->data[i];
	}
	return sum;
}

uint64_t packet_ethtool_send_errors(const char *interface)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint32_t count = fd < 0 ? 0 : count_of(fd, interface);
	/* Twice: a driver that has more queues by now writes as many as it has. */
	size_t room = (size_t)count * 2 + 64;
	struct ethtool_gstrings *names = count ? calloc(1, sizeof(*names) + room * ETH_GSTRING_LEN) : NULL;
	struct ethtool_stats *values = count ? calloc(1, sizeof(*values) + room * sizeof(uint64_t)) : NULL;
	uint64_t sum = names && values ? add_up(fd, interface, count, names, values) : 0;

	free(names);
	free(values);
	if (fd >= 0)
		close(fd);
	return sum;
}
