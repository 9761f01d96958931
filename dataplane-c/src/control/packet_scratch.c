/* SPDX-License-Identifier: Apache-2.0 */
/* By netlink alone: the machine need not have iproute2, and /proc/sys may be read-only. Forwarding of IPv6 alone can
 * only be switched on there. */
#include "packet_scratch.h"

#include <arpa/inet.h>
#include <asm/byteorder.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "packet_netlink.h"

#define V4(last)                                                                                   \
	{                                                                                          \
		.word = { 0, 0, __constant_htonl(0xffff), __constant_htonl(0xc0000200u | (last)) } \
	} /* 192.0.2.0/24 */
#define V6(last)                                                                                                  \
	{                                                                                                         \
		.word = { __constant_htonl(0x20010db8), __constant_htonl(0x00010000), 0, __constant_htonl(last) } \
	} /* 2001:db8:1::/64 */

const struct address scratch_inside[SCRATCH_FAMILIES] = {V4(1), V6(1)};
const struct address scratch_backend[SCRATCH_FAMILIES] = {V4(2), V6(2)};
const struct address scratch_client[SCRATCH_FAMILIES] = {V4(9), V6(9)};

#define PATIENCE_S 1 /* an answer of the kernel's takes microseconds */

static int make_veth(int fd)
{
	struct netlink_request request;
	const struct ifinfomsg link = {.ifi_family = AF_UNSPEC}; /* one end cannot be up before there is the other */

	netlink_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link));
	netlink_attribute(&request, IFLA_IFNAME, "inside", sizeof("inside"));
	netlink_attribute(&request, IFLA_ADDRESS, SCRATCH_INSIDE_MAC, ETH_ALEN);
	struct rtattr *info = netlink_nest(&request, IFLA_LINKINFO);
	netlink_attribute(&request, IFLA_INFO_KIND, "veth", sizeof("veth"));
	struct rtattr *data = netlink_nest(&request, IFLA_INFO_DATA), *peer = netlink_nest(&request, VETH_INFO_PEER);
	netlink_append(&request, &link, sizeof(link));
	netlink_attribute(&request, IFLA_IFNAME, "wire", sizeof("wire"));
	netlink_attribute(&request, IFLA_ADDRESS, SCRATCH_WIRE_MAC, ETH_ALEN);
	netlink_unnest(&request, peer);
	netlink_unnest(&request, data);
	netlink_unnest(&request, info);
	return netlink_ask(fd, &request);
}

static int bring_up(int fd, uint32_t index)
{
	struct netlink_request request;
	const struct ifinfomsg up = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	netlink_begin(&request, RTM_NEWLINK, 0, &up, sizeof(up));
	return netlink_ask(fd, &request);
}

/* The address as netlink has it. */
static const void *bytes_of(enum scratch_family family, const struct address *address, size_t *size)
{
	*size = family == SCRATCH_V4 ? sizeof(address->word[3]) : sizeof(*address);
	return family == SCRATCH_V4 ? (const void *)&address->word[3] : (const void *)address;
}

static uint8_t af_of(enum scratch_family family)
{
	return family == SCRATCH_V4 ? AF_INET : AF_INET6;
}

static int add_address(int fd, uint32_t index, enum scratch_family family)
{
	struct netlink_request request;
	const struct ifaddrmsg message = {.ifa_family = af_of(family),
	                                  .ifa_prefixlen = family == SCRATCH_V4 ? 24 : 64,
	                                  .ifa_flags = IFA_F_NODAD,
	                                  .ifa_index = index};
	size_t size;
	const void *address = bytes_of(family, &scratch_inside[family], &size);

	netlink_begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof(message));
	netlink_attribute(&request, IFA_LOCAL, address, size);
	netlink_attribute(&request, IFA_ADDRESS, address, size);
	return netlink_ask(fd, &request);
}

static int add_neighbour(int fd, uint32_t index, enum scratch_family family, const struct address *of)
{
	struct netlink_request request;
	const struct ndmsg message = {
	        .ndm_family = af_of(family), .ndm_ifindex = (int)index, .ndm_state = NUD_PERMANENT};
	size_t size;
	const void *address = bytes_of(family, of, &size);

	netlink_begin(&request, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &message, sizeof(message));
	netlink_attribute(&request, NDA_DST, address, size);
	netlink_attribute(&request, NDA_LLADDR, SCRATCH_WIRE_MAC, ETH_ALEN);
	return netlink_ask(fd, &request);
}

/* In the family, and neighbours on the wire. */
static int settle(int fd, uint32_t index, enum scratch_family family)
{
	int error = add_address(fd, index, family);

	if (!error)
		error = add_neighbour(fd, index, family, &scratch_backend[family]);
	return error ? error : add_neighbour(fd, index, family, &scratch_client[family]);
}

static int set_forwarding(int fd, uint32_t index)
{
	struct netlink_request request;
	const struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};
	const uint32_t on = 1;

	netlink_begin(&request, RTM_SETLINK, 0, &link, sizeof(link));
	struct rtattr *families = netlink_nest(&request, IFLA_AF_SPEC), *inet = netlink_nest(&request, AF_INET);
	struct rtattr *configuration = netlink_nest(&request, IFLA_INET_CONF);
	netlink_attribute(&request, IPV4_DEVCONF_FORWARDING, &on, sizeof(on));
	netlink_unnest(&request, configuration);
	netlink_unnest(&request, inet);
	netlink_unnest(&request, families);
	return netlink_ask(fd, &request);
}

static int set_forwarding_v6(void)
{
	/* Of the namespace of the thread that opens it. */
	int fd = open("/proc/sys/net/ipv6/conf/inside/forwarding", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int error = write(fd, "1", 1) == 1 ? 0 : -errno;
	close(fd);
	return error;
}

/* Sees every frame that comes in by the interface, and none that goes out. */
static int open_packets(uint32_t index)
{
	const int on = 1;
	struct sockaddr_ll address = {
	        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = (int)index};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int furnish(struct packet_scratch *scratch, int fd, const char **what)
{
	*what = "making a veth pair";
	int error = make_veth(fd);
	if (error)
		return error;
	scratch->inside = if_nametoindex("inside");
	scratch->wire = if_nametoindex("wire");
	error = bring_up(fd, scratch->inside);
	if (!error)
		error = bring_up(fd, scratch->wire);
	if (error)
		return error;
	*what = "giving it an address, a neighbour and forwarding";
	error = settle(fd, scratch->inside, SCRATCH_V4);
	if (!error)
		error = set_forwarding(fd, scratch->inside);
	if (error)
		return error;
	scratch->v6_error = -settle(fd, scratch->inside, SCRATCH_V6);
	if (!scratch->v6_error)
		scratch->v6_error = -set_forwarding_v6();
	*what = "opening packet sockets";
	scratch->inside_fd = open_packets(scratch->inside);
	scratch->wire_fd = scratch->inside_fd < 0 ? -1 : open_packets(scratch->wire);
	if (scratch->inside_fd < 0)
		return scratch->inside_fd;
	return scratch->wire_fd < 0 ? scratch->wire_fd : 0;
}

int packet_scratch_enter(struct packet_scratch *scratch, const char **what)
{
	*scratch = (struct packet_scratch){.inside_fd = -1, .wire_fd = -1};
	*what = "making a network namespace";
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	int fd = netlink_open(PATIENCE_S);
	if (fd < 0)
		return fd;
	int error = furnish(scratch, fd, what);
	close(fd);
	return error;
}

void packet_scratch_close(struct packet_scratch *scratch)
{
	if (scratch->inside_fd >= 0)
		close(scratch->inside_fd);
	if (scratch->wire_fd >= 0)
		close(scratch->wire_fd);
	scratch->inside_fd = scratch->wire_fd = -1;
}
