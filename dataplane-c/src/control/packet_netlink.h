/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the kernel by rtnetlink, one at a time: the machine need not have iproute2. */
#ifndef CONTROL_PACKET_NETLINK_H
#define CONTROL_PACKET_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <stdint.h>

#define NETLINK_REQUEST_MAX 512

struct netlink_request {
	struct nlmsghdr *header;
	_Alignas(8) char bytes[NETLINK_REQUEST_MAX];
};

/* A request of a type, with its body; flags besides those that every request has. */
void netlink_begin(struct netlink_request *request, uint16_t type, uint16_t flags, const void *body, size_t size);
void netlink_append(struct netlink_request *request, const void *data, size_t size);
void netlink_attribute(struct netlink_request *request, uint16_t type, const void *data, size_t size);
struct rtattr *netlink_nest(struct netlink_request *request, uint16_t type);
void netlink_unnest(const struct netlink_request *request, struct rtattr *attribute);

/* A socket in the thread's network namespace, which waits for an answer so many seconds. Or -errno. */
int netlink_open(unsigned patience_s);

/* Sends what changes something. 0, or what the kernel says against it: -errno. */
int netlink_ask(int fd, struct netlink_request *request);

/* Sends what asks for a list: take gets each message of it. 0, or -errno; -EINTR: it changed meanwhile, and what take
 * has got may not be all. */
int netlink_dump(int fd, struct netlink_request *request, void (*take)(const struct nlmsghdr *message, void *argument),
                 void *argument);

/* Calls take for each attribute of a block. */
void netlink_attributes(const void *block, size_t length, void (*take)(const struct rtattr *attribute, void *argument),
                        void *argument);

#endif
