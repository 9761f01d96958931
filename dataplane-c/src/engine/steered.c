/* SPDX-License-Identifier: Apache-2.0 */
#include "steered.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define NOBODY_PORT 9 /* discard, of loopback: never sends */

static void set_on(int fd, int level, int name)
{
	const int on = 1;

	setsockopt(fd, level, name, &on, sizeof(on));
}

uint8_t steered_whole(const struct addr *addr)
{
	return addr->family == AF_INET ? 32 : addr->family == AF_INET6 ? 128 : 0;
}

static void loopback(int family, uint16_t port, struct sockaddr_storage *sa, socklen_t *length)
{
	struct addr addr = {.family = (uint16_t)family, .port = port};

	if (family == AF_INET6) {
		addr.ip[15] = 1;
	} else {
		addr.ip[0] = 127;
		addr.ip[3] = 1;
	}
	*length = addr_to_sockaddr(&addr, false, sa);
}

/* A socket bound to the address for a moment. */
static int try_bind(const struct addr *addr, bool v6_only, bool tcp)
{
	int family = addr->family == AF_INET ? AF_INET : AF_INET6, type = tcp ? SOCK_STREAM : SOCK_DGRAM;
	struct sockaddr_storage sa;
	struct addr to = *addr;
	const int off = v6_only;

	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	if (fd < 0 && errno == EAFNOSUPPORT && addr->family == AF_UNSPEC) {
		family = AF_INET;
		fd = socket(family, type | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		return -errno;
	to.family = (uint16_t)family;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (tcp)
		set_on(fd, SOL_SOCKET, SO_REUSEADDR);
	socklen_t length = addr_to_sockaddr(&to, false, &sa);
	int error = bind(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;
	if (error == EADDRINUSE) {
		/* One of our own, such as that of a listener that closes, lets others of ours in. */
		set_on(fd, SOL_SOCKET, SO_REUSEPORT);
		error = bind(fd, (struct sockaddr *)&sa, length) < 0 ? errno : 0;
	}
	close(fd);
	return -error;
}

struct route_question {
	struct nlmsghdr header;
	struct rtmsg route;
	struct rtattr attribute;
	uint8_t address[16];
};

/* Does the node take in packets for the address? Its routes say: IPv6 lets nobody bind to what no interface has. 0,
 * -EADDRNOTAVAIL, or -errno. */
static int check_local(const struct addr *addr)
{
	const size_t bytes = addr->family == AF_INET ? 4 : 16;
	struct route_question question = {
	        .header = {.nlmsg_len = (uint32_t)(offsetof(struct route_question, address) + bytes),
	                   .nlmsg_type = RTM_GETROUTE,
	                   .nlmsg_flags = NLM_F_REQUEST},
	        .route = {.rtm_family = (uint8_t)addr->family, .rtm_dst_len = (uint8_t)(bytes * 8)},
	        .attribute = {.rta_len = (uint16_t)RTA_LENGTH(bytes), .rta_type = RTA_DST},
	};
	_Alignas(struct nlmsghdr) uint8_t answer[4096] = {0};
	const struct nlmsghdr *header = (const struct nlmsghdr *)answer;

	memcpy(question.address, addr->ip, bytes);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	ssize_t n = send(fd, &question, question.header.nlmsg_len, 0);
	if (n >= 0)
		n = recv(fd, answer, sizeof(answer), 0);
	int error = n < 0 ? -errno : 0;
	close(fd);
	if (error)
		return error;
	/* An error: no route at all. */
	if ((size_t)n < NLMSG_LENGTH(sizeof(struct rtmsg)) || header->nlmsg_type != RTM_NEWROUTE)
		return -EADDRNOTAVAIL;
	const struct rtmsg *route = NLMSG_DATA(header);
	return route->rtm_type == RTN_LOCAL ? 0 : -EADDRNOTAVAIL;
}

/* The last address of the prefix. */
static struct addr last_of(const struct listener *listener)
{
	struct addr last = listener->addr;

	for (unsigned bit = listener->prefix_length; bit < steered_whole(&last); bit++)
		last.ip[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	return last;
}

int steered_check(const struct listener *listener, bool tcp)
{
	struct addr addr = listener->addr;
	int error = 0;

	if (listener->prefix_length < steered_whole(&addr)) {
		/* Which goes before whoever listens on all addresses: no port is in the way. Of IPv4 the first and the
		 * last address may be an interface's broadcasts. */
		struct addr last = last_of(listener);
		size_t low = addr.family == AF_INET ? 3 : 15;
		if (listener->prefix_length + 2 <= steered_whole(&addr)) {
			addr.ip[low] |= 1;
			last.ip[low] &= 0xfe;
		}
		error = check_local(&addr);
		return error ? error : check_local(&last);
	}
	for (uint32_t port = listener->addr.port; !error && port <= listener->port_last; port++) {
		addr.port = (uint16_t)port;
		error = try_bind(&addr, addr.family == AF_INET6, tcp);
	}
	return error;
}

int steered_bind(int fd, int family, bool dual_stack, int first)
{
	struct sockaddr_storage sa;
	socklen_t length = sizeof(sa);

	if (first >= 0) {
		if (getsockname(first, (struct sockaddr *)&sa, &length) < 0)
			return -errno;
	} else if (dual_stack && family == AF_INET6) {
		/* Bound to a loopback address it would be IPv6's alone. */
		struct addr any = {.family = AF_INET6};
		length = addr_to_sockaddr(&any, false, &sa);
	} else {
		loopback(family, 0, &sa, &length);
	}
	/* A namespace may have no loopback address: none is needed. */
	if (family == AF_INET6)
		set_on(fd, IPPROTO_IPV6, IPV6_FREEBIND);
	else
		set_on(fd, IPPROTO_IP, IP_FREEBIND);
	return bind(fd, (struct sockaddr *)&sa, length) < 0 ? -errno : 0;
}

bool steered_has(const struct listener *listener, const struct addr *local)
{
	struct prefix prefix = {.family = (uint8_t)listener->addr.family, .length = listener->prefix_length};

	if (local->port < listener->addr.port || local->port > __atomic_load_n(&listener->port_last, __ATOMIC_RELAXED))
		return false;
	if (listener->addr.family == AF_UNSPEC)
		return true;
	memcpy(prefix.ip, listener->addr.ip, sizeof(prefix.ip));
	return prefix_contains(&prefix, local);
}

int steered_reply_socket(const struct sockaddr_storage *local, socklen_t length)
{
	struct sockaddr_storage nobody;
	socklen_t nobody_length;
	struct addr addr;

	addr_from_sockaddr(&addr, local);
	int fd = socket(local->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	set_on(fd, SOL_SOCKET, SO_REUSEPORT); /* with those of other sessions */
	/* To bind to what no interface has; the routes say that it is the node's. */
	if (local->ss_family == AF_INET6)
		set_on(fd, IPPROTO_IPV6, IPV6_FREEBIND);
	else
		set_on(fd, IPPROTO_IP, IP_FREEBIND);
	int error = bind(fd, (const struct sockaddr *)local, length) < 0 ? errno : 0;
	loopback(addr.family, NOBODY_PORT, &nobody, &nobody_length);
	if (local->ss_family == AF_INET6 && addr.family == AF_INET) {
		addr_from_sockaddr(&addr, &nobody);
		nobody_length = addr_to_sockaddr(&addr, true, &nobody);
	}
	/* What comes for it is the listener's; this one is passed over, for it waits for another peer. */
	if (!error && connect(fd, (struct sockaddr *)&nobody, nobody_length) < 0)
		error = errno;
	if (error) {
		close(fd);
		return -error;
	}
	return fd;
}
