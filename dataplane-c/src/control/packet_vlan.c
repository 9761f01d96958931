/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_vlan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define DATAGRAM_MAX 32768 /* the kernel's own limit for dumps */
#define PATIENCE_S 5       /* an answer of the kernel's takes microseconds */

int packet_vlan_compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(uint32_t));
}

/* An attribute's number when it has that size; false otherwise. */
static bool read_number(const struct rtattr *attribute, void *out, size_t size)
{
	if (RTA_PAYLOAD(attribute) != size)
		return false;
	memcpy(out, RTA_DATA(attribute), size);
	return true;
}

/* Calls take for each attribute of a block. */
static void each_attribute(const void *block, size_t length, void (*take)(const struct rtattr *, void *),
                           void *argument)
{
	const struct rtattr *at = block;

	/* RTA_OK compares as int: a block is never longer than a datagram. */
	for (int left = (int)length; RTA_OK(at, left); at = RTA_NEXT(at, left))
		take(at, argument);
}

struct link_facts {
	struct packet_vlan vlan;
	bool is_vlan, has_lower, elsewhere, has_id;
};

static void take_data(const struct rtattr *attribute, void *argument)
{
	struct link_facts *facts = argument;
	uint16_t id;

	if (attribute->rta_type == IFLA_VLAN_ID && read_number(attribute, &id, sizeof(id))) {
		facts->vlan.device.id = htons(id);
		facts->has_id = true;
	} else if (attribute->rta_type == IFLA_VLAN_PROTOCOL) {
		read_number(attribute, &facts->vlan.device.protocol, sizeof(facts->vlan.device.protocol));
	}
}

static void take_kind(const struct rtattr *attribute, void *argument)
{
	struct link_facts *facts = argument;

	if (attribute->rta_type == IFLA_INFO_KIND)
		facts->is_vlan = RTA_PAYLOAD(attribute) >= 4 && !memcmp(RTA_DATA(attribute), "vlan", 4) &&
		                 (RTA_PAYLOAD(attribute) == 4 || !((const char *)RTA_DATA(attribute))[4]);
	else if (attribute->rta_type == IFLA_INFO_DATA && facts->is_vlan) /* the kind comes first */
		each_attribute(RTA_DATA(attribute), RTA_PAYLOAD(attribute), take_data, facts);
}

static void take_link(const struct rtattr *attribute, void *argument)
{
	struct link_facts *facts = argument;

	switch (attribute->rta_type & NLA_TYPE_MASK) {
	case IFLA_LINK:
		facts->has_lower = read_number(attribute, &facts->vlan.device.lower, sizeof(facts->vlan.device.lower));
		break;
	case IFLA_LINK_NETNSID:
		facts->elsewhere = true; /* its lower device is in another namespace, out of reach */
		break;
	case IFLA_LINKINFO:
		each_attribute(RTA_DATA(attribute), RTA_PAYLOAD(attribute), take_kind, facts);
		break;
	default:
		break;
	}
}

static void add_link(const struct nlmsghdr *message, struct packet_vlan *list, uint32_t *count)
{
	const struct ifinfomsg *link = NLMSG_DATA(message);
	struct link_facts facts = {.vlan.device.protocol = htons(0x8100)};

	if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*link)) || link->ifi_index <= 0)
		return;
	each_attribute(IFLA_RTA(link), IFLA_PAYLOAD(message), take_link, &facts);
	if (!facts.is_vlan || !facts.has_id || !facts.has_lower || !facts.vlan.device.lower || facts.elsewhere ||
	    *count == VLAN_DEVICES_MAX)
		return;
	facts.vlan.index = (uint32_t)link->ifi_index;
	list[(*count)++] = facts.vlan;
}

int packet_vlan_parse(const void *datagram, size_t length, struct packet_vlan *list, uint32_t *count)
{
	const struct nlmsghdr *message = datagram;

	/* Signed: the step to the next one rounds up, and a last message that does not end so takes more than is left.
	 */
	for (int left = (int)length; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
		if (message->nlmsg_type == NLMSG_DONE)
			return 1;
		if (message->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR; /* devices came or went meanwhile */
		if (message->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *error = NLMSG_DATA(message);
			return message->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error < 0 ? error->error
			                                                                              : -EPROTO;
		}
		if (message->nlmsg_type == RTM_NEWLINK)
			add_link(message, list, count);
	}
	return 0;
}

static int ask(int fd, void *datagram, struct packet_vlan *list, uint32_t *count)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {.header = {.nlmsg_len = sizeof(request),
	                        .nlmsg_type = RTM_GETLINK,
	                        .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};

	*count = 0;
	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	for (;;) {
		ssize_t length = recv(fd, datagram, DATAGRAM_MAX, 0);
		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return length < 0 ? -errno : -EPROTO;
		int done = packet_vlan_parse(datagram, (size_t)length, list, count);
		if (done)
			return done < 0 ? done : 0;
	}
}

int packet_vlans(struct packet_vlan **out, uint32_t *count)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct packet_vlan *list = calloc(VLAN_DEVICES_MAX, sizeof(*list));
	void *datagram = malloc(DATAGRAM_MAX);
	int error = list && datagram ? -EINTR : -ENOMEM;

	/* A socket for each try: what is left of an interrupted answer goes with it. */
	for (int attempt = 0; attempt < 4 && error == -EINTR; attempt++) {
		int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
		if (fd < 0) {
			error = -errno;
			break;
		}
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		error = ask(fd, datagram, list, count);
		close(fd);
	}
	free(datagram);
	if (error) {
		free(list);
		return error;
	}
	qsort(list, *count, sizeof(*list), packet_vlan_compare);
	*out = list;
	return 0;
}
