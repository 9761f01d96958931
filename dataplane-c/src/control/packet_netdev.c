/* SPDX-License-Identifier: Apache-2.0 */
#include "packet_netdev.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "packet_netlink.h"

#define PATIENCE_S 1

/* <linux/netdev.h>, which older headers lack. */
#define NETDEV_FAMILY "netdev"
#define NETDEV_CMD_DEV_GET 1
#define NETDEV_A_DEV_IFINDEX 1
#define NETDEV_A_DEV_XDP_FEATURES 3

struct family {
	char name[GENL_NAMSIZ];
	uint16_t id;
};

static void take_family_attribute(const struct rtattr *attribute, void *argument)
{
	struct family *family = argument;

	if (attribute->rta_type == CTRL_ATTR_FAMILY_NAME && RTA_PAYLOAD(attribute) <= sizeof(family->name))
		memcpy(family->name, RTA_DATA(attribute), RTA_PAYLOAD(attribute));
	else if (attribute->rta_type == CTRL_ATTR_FAMILY_ID && RTA_PAYLOAD(attribute) == sizeof(family->id))
		memcpy(&family->id, RTA_DATA(attribute), sizeof(family->id));
}

static void attributes_of(const struct nlmsghdr *message, void (*take)(const struct rtattr *, void *), void *argument)
{
	if (message->nlmsg_len >= NLMSG_LENGTH(GENL_HDRLEN))
		netlink_attributes((const char *)NLMSG_DATA(message) + GENL_HDRLEN,
		                   message->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN), take, argument);
}

static void take_family(const struct nlmsghdr *message, void *argument)
{
	struct family one = {.name = ""};

	attributes_of(message, take_family_attribute, &one);
	one.name[sizeof(one.name) - 1] = '\0';
	if (!strcmp(one.name, NETDEV_FAMILY))
		*(struct family *)argument = one;
}

static void take_device_attribute(const struct rtattr *attribute, void *argument)
{
	struct packet_netdev *device = argument;

	if (attribute->rta_type == NETDEV_A_DEV_IFINDEX && RTA_PAYLOAD(attribute) == sizeof(device->index))
		memcpy(&device->index, RTA_DATA(attribute), sizeof(device->index));
	else if (attribute->rta_type == NETDEV_A_DEV_XDP_FEATURES && RTA_PAYLOAD(attribute) == sizeof(device->features))
		memcpy(&device->features, RTA_DATA(attribute), sizeof(device->features));
}

struct wanted {
	struct packet_netdev *devices;
	uint32_t count;
};

static void take_device(const struct nlmsghdr *message, void *argument)
{
	const struct wanted *wanted = argument;
	struct packet_netdev one = {.index = 0};

	attributes_of(message, take_device_attribute, &one);
	for (uint32_t i = 0; i < wanted->count; i++)
		if (wanted->devices[i].index == one.index)
			wanted->devices[i].features = one.features;
}

static int dump(int fd, uint16_t type, uint8_t command, void (*take)(const struct nlmsghdr *, void *), void *argument)
{
	const struct genlmsghdr body = {.cmd = command, .version = 1};
	struct netlink_request request;

	netlink_begin(&request, type, 0, &body, sizeof(body));
	return netlink_dump(fd, &request, take, argument);
}

int packet_netdev_features(struct packet_netdev *devices, uint32_t count)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	struct wanted wanted = {devices, count};
	struct family family = {.id = 0};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	int error = dump(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, take_family, &family);
	if (!error)
		error = family.id ? dump(fd, family.id, NETDEV_CMD_DEV_GET, take_device, &wanted) : -EOPNOTSUPP;
	close(fd);
	return error;
}
