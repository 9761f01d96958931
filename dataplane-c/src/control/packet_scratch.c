/* SPDX-License-Identifier: Apache-2.0 */
/* By netlink alone: the machine need not have iproute2, and /proc/sys may be read-only. */
#include "packet_scratch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REQUEST_MAX 512
#define PATIENCE_S 1 /* an answer of the kernel's takes microseconds */

struct request {
	struct nlmsghdr *header;
	_Alignas(8) char bytes[REQUEST_MAX];
};

static void *append(struct request *request, const void *data, size_t size)
{
	char *at = request->bytes + NLMSG_ALIGN(request->header->nlmsg_len);

	/* Each request below is far smaller. */
	if (data)
		memcpy(at, data, size);
	request->header->nlmsg_len = (uint32_t)(at - request->bytes + (long)size);
	return at;
}

static void begin(struct request *request, uint16_t type, uint16_t flags, const void *body, size_t size)
{
	memset(request->bytes, 0, sizeof(request->bytes));
	request->header = (struct nlmsghdr *)request->bytes;
	*request->header = (struct nlmsghdr){.nlmsg_len = NLMSG_LENGTH(0),
	                                     .nlmsg_type = type,
	                                     .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)};
	append(request, body, size);
}

static void attribute(struct request *request, uint16_t type, const void *data, size_t size)
{
	struct rtattr header = {.rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(size)};

	append(request, &header, sizeof(header));
	append(request, data, size);
}

static struct rtattr *nest(struct request *request, uint16_t type)
{
	struct rtattr header = {.rta_type = type};

	return append(request, &header, sizeof(header));
}

static void unnest(const struct request *request, struct rtattr *attribute)
{
	attribute->rta_len = (uint16_t)(request->bytes + request->header->nlmsg_len - (char *)attribute);
}

static int ask(int fd, const struct request *request)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[REQUEST_MAX];
	} answer;

	if (send(fd, request->bytes, request->header->nlmsg_len, 0) < 0)
		return -errno;
	ssize_t length = recv(fd, &answer, sizeof(answer), 0);
	if (length < 0)
		return -errno;
	if ((size_t)length < NLMSG_LENGTH(sizeof(answer.error)) || answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

static int make_veth(int fd)
{
	struct request request;
	const struct ifinfomsg link = {.ifi_family = AF_UNSPEC}; /* one end cannot be up before there is the other */

	begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link));
	attribute(&request, IFLA_IFNAME, "inside", sizeof("inside"));
	attribute(&request, IFLA_ADDRESS, SCRATCH_INSIDE_MAC, ETH_ALEN);
	struct rtattr *info = nest(&request, IFLA_LINKINFO);
	attribute(&request, IFLA_INFO_KIND, "veth", sizeof("veth"));
	struct rtattr *data = nest(&request, IFLA_INFO_DATA), *peer = nest(&request, VETH_INFO_PEER);
	append(&request, &link, sizeof(link));
	attribute(&request, IFLA_IFNAME, "wire", sizeof("wire"));
	attribute(&request, IFLA_ADDRESS, SCRATCH_WIRE_MAC, ETH_ALEN);
	unnest(&request, peer);
	unnest(&request, data);
	unnest(&request, info);
	return ask(fd, &request);
}

static int bring_up(int fd, uint32_t index)
{
	struct request request;
	const struct ifinfomsg up = {.ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};

	begin(&request, RTM_NEWLINK, 0, &up, sizeof(up));
	return ask(fd, &request);
}

static int add_address(int fd, uint32_t index)
{
	struct request request;
	const struct ifaddrmsg message = {.ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = index};
	const uint32_t address = htonl(SCRATCH_INSIDE);

	begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &message, sizeof(message));
	attribute(&request, IFA_LOCAL, &address, sizeof(address));
	attribute(&request, IFA_ADDRESS, &address, sizeof(address));
	return ask(fd, &request);
}

static int add_neighbour(int fd, uint32_t index)
{
	struct request request;
	const struct ndmsg message = {.ndm_family = AF_INET, .ndm_ifindex = (int)index, .ndm_state = NUD_PERMANENT};
	const uint32_t address = htonl(SCRATCH_BACKEND);

	begin(&request, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &message, sizeof(message));
	attribute(&request, NDA_DST, &address, sizeof(address));
	attribute(&request, NDA_LLADDR, SCRATCH_WIRE_MAC, ETH_ALEN);
	return ask(fd, &request);
}

static int set_forwarding(int fd, uint32_t index)
{
	struct request request;
	const struct ifinfomsg link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index};
	const uint32_t on = 1;

	begin(&request, RTM_SETLINK, 0, &link, sizeof(link));
	struct rtattr *families = nest(&request, IFLA_AF_SPEC), *inet = nest(&request, AF_INET);
	struct rtattr *configuration = nest(&request, IFLA_INET_CONF);
	attribute(&request, IPV4_DEVCONF_FORWARDING, &on, sizeof(on));
	unnest(&request, configuration);
	unnest(&request, inet);
	unnest(&request, families);
	return ask(fd, &request);
}

/* Sees every frame that comes in by the interface, and none that goes out. */
static int open_packets(uint32_t index)
{
	const int on = 1;
	struct sockaddr_ll address = {
	        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)index};
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
	error = add_address(fd, scratch->inside);
	if (!error)
		error = add_neighbour(fd, scratch->inside);
	if (!error)
		error = set_forwarding(fd, scratch->inside);
	if (error)
		return error;
	*what = "opening packet sockets";
	scratch->inside_fd = open_packets(scratch->inside);
	scratch->wire_fd = scratch->inside_fd < 0 ? -1 : open_packets(scratch->wire);
	if (scratch->inside_fd < 0)
		return scratch->inside_fd;
	return scratch->wire_fd < 0 ? scratch->wire_fd : 0;
}

int packet_scratch_enter(struct packet_scratch *scratch, const char **what)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};

	*scratch = (struct packet_scratch){.inside_fd = -1, .wire_fd = -1};
	*what = "making a network namespace";
	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
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
