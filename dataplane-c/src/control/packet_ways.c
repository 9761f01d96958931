/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Services that the relay listens for as well are translated only where packets and answers are sure to pass tc: where
 * each backend is reached by an interface that tc is attached to, and the node forwards. And not to this node itself,
 * where NAT would show a backend the client's address, unlike the relay.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "packet.h"
#include "packet_vlan.h"

#define PATIENCE_S 1 /* an answer of the kernel's takes microseconds */
#define ANSWER_MAX 4096

typedef Marcher__Packet__V1__Service Service;

struct ways {
	const struct marcher_packet *handle;
	int fd;
	struct packet_vlan *vlans; /* NULL: not asked for yet */
	uint32_t nvlans;
	/* By whether of IPv4; there may be a hundred thousand backends, and files to read for each answer. */
	struct {
		bool asked;
		const char *still;
	} forwarding[2];
};

/* The interface that packets to this address leave by; 0: it is this node's. Or -errno. */
static int64_t way_to(const struct ways *ways, const ProtobufCBinaryData *address)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		struct rtattr attribute;
		uint8_t address[16];
	} request = {.header = {.nlmsg_len = (uint32_t)(offsetof(typeof(request), address) + address->len),
	                        .nlmsg_type = RTM_GETROUTE,
	                        .nlmsg_flags = NLM_F_REQUEST},
	             .route = {.rtm_family = address->len == 4 ? AF_INET : AF_INET6,
	                       .rtm_dst_len = (uint8_t)(8 * address->len)},
	             .attribute = {.rta_len = (uint16_t)RTA_LENGTH(address->len), .rta_type = RTA_DST}};
	_Alignas(struct nlmsghdr) char answer[ANSWER_MAX];

	memcpy(request.address, address->data, address->len);
	if (send(ways->fd, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	ssize_t length = recv(ways->fd, answer, sizeof(answer), 0);
	if (length < 0)
		return -errno;
	const struct nlmsghdr *message = (const struct nlmsghdr *)answer;
	if (!NLMSG_OK(message, (size_t)length))
		return -EPROTO;
	if (message->nlmsg_type == NLMSG_ERROR && message->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return ((const struct nlmsgerr *)NLMSG_DATA(message))->error;
	if (message->nlmsg_type != RTM_NEWROUTE || message->nlmsg_len < NLMSG_LENGTH(sizeof(struct rtmsg)))
		return -EPROTO;
	const struct rtmsg *route = NLMSG_DATA(message);
	if (route->rtm_type == RTN_LOCAL)
		return 0;
	int left = (int)RTM_PAYLOAD(message);
	for (const struct rtattr *at = RTM_RTA(route); RTA_OK(at, left); at = RTA_NEXT(at, left))
		if (at->rta_type == RTA_OIF && RTA_PAYLOAD(at) >= sizeof(uint32_t)) {
			uint32_t index;
			memcpy(&index, RTA_DATA(at), sizeof(index));
			return index;
		}
	return -ENETUNREACH;
}

static bool attached(const struct marcher_packet *handle, uint32_t index)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++)
		if (handle->interfaces[i].index == index && *handle->interfaces[i].tc.mode)
			return true;
	return false;
}

/* A VLAN device's frames pass the device below with their tag, which tc_ingress reads. */
static bool attached_below(struct ways *ways, uint32_t index)
{
	if (!ways->vlans && packet_vlans(&ways->vlans, &ways->nvlans))
		return false;
	for (uint32_t i = 0; i < ways->nvlans; i++)
		if (ways->vlans[i].index == index)
			return attached(ways->handle, ways->vlans[i].device.lower);
	return false;
}

/* The first of tc's interfaces for which the kernel tells the programs no routes; NULL: there is none. */
static const char *not_forwarding(const struct marcher_packet *handle, bool v4)
{
	for (uint32_t i = 0; i < handle->ninterfaces; i++) {
		const struct packet_interface *interface = &handle->interfaces[i];
		char path[64 + IF_NAMESIZE];

		if (!*interface->tc.mode)
			continue;
		snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/forwarding", v4 ? "ipv4" : "ipv6",
		         interface->name);
		FILE *file = fopen(path, "re");
		int value = file ? fgetc(file) : EOF;
		if (file)
			fclose(file);
		if (value == '0')
			return interface->name;
	}
	return NULL;
}

static const char *not_forwarding_once(struct ways *ways, bool v4)
{
	if (!ways->forwarding[v4].asked)
		ways->forwarding[v4].still = not_forwarding(ways->handle, v4);
	ways->forwarding[v4].asked = true;
	return ways->forwarding[v4].still;
}

static void no_route(struct packet_reasons *left, const Service *service, size_t backend, int64_t error)
{
	const ProtobufCBinaryData *address = &service->backends[backend]->address;
	char path[48], text[INET6_ADDRSTRLEN] = "";

	snprintf(path, sizeof(path), "backends[%zu]", backend);
	inet_ntop(address->len == 4 ? AF_INET : AF_INET6, address->data, text, sizeof(text));
	packet_reason(left, service->name, path, "there is no route to %s: %s", text, strerror((int)-error));
}

/* Whether the answers of all its backends come back through tc. Otherwise adds why not. Of those that nobody reaches
 * none do: they are no reason to break the connections to others. */
static bool comes_back(struct ways *ways, const Service *service, struct packet_reasons *left)
{
	size_t reached = 0, lost = 0;
	int64_t error = 0;

	for (size_t i = 0; i < service->n_backends; i++) {
		const ProtobufCBinaryData *address = &service->backends[i]->address;
		char path[48], text[INET6_ADDRSTRLEN] = "", name[IF_NAMESIZE] = "";

		if (address->len != 4 && address->len != 16)
			continue; /* packet_table_check says what is wrong with it */
		int64_t way = way_to(ways, address);
		if (way < 0) {
			/* As the relay, which tries another one. */
			service->backends[i]->usable = false;
			lost = error ? lost : i;
			error = error ? error : way;
			continue;
		}
		reached++;
		if (way > 0 && (attached(ways->handle, (uint32_t)way) || attached_below(ways, (uint32_t)way))) {
			const char *still = not_forwarding_once(ways, address->len == 4);
			if (!still)
				continue;
			packet_reason(left, service->name, "", "net.%s.conf.%s.forwarding is 0: sysctl -w %s=1",
			              address->len == 4 ? "ipv4" : "ipv6", still,
			              address->len == 4 ? "net.ipv4.ip_forward" : "net.ipv6.conf.all.forwarding");
			return false;
		}
		snprintf(path, sizeof(path), "backends[%zu]", i);
		inet_ntop(address->len == 4 ? AF_INET : AF_INET6, address->data, text, sizeof(text));
		if (!way)
			packet_reason(left, service->name, path,
			              "%s is this node itself, and would see the client's address", text);
		else
			packet_reason(left, service->name, path, "%s is reached by %s, which tc is not attached to",
			              text, if_indextoname((unsigned)way, name) ? name : "an interface");
		return false;
	}
	if (error && !reached)
		no_route(left, service, lost, error);
	return !error || reached;
}

/* VIPs that others may lie within. */
static bool has_wide(const Service *service)
{
	for (size_t i = 0; i < service->n_vips; i++)
		if (!service->vips[i]->port || service->vips[i]->prefix_length)
			return true;
	return false;
}

/* The relay listens for it: a wider VIP of those that stay is not to have its packets. */
static bool leave_to_the_stack(Marcher__Packet__V1__Table *table, Service *service)
{
	Marcher__Packet__V1__Vip **more = realloc(table->left, (table->n_left + service->n_vips + 1) * sizeof(*more));

	if (!more)
		return false;
	table->left = more;
	for (size_t i = 0; i < service->n_vips; i++)
		more[table->n_left++] = service->vips[i];
	service->n_vips = 0;
	return true;
}

int packet_ways_leave_out(const struct marcher_packet *handle, Marcher__Packet__V1__Table *table,
                          struct packet_reasons *left)
{
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	struct ways ways = {.handle = handle, .fd = -1};
	size_t kept = 0, gone = 0, any = 0;
	bool wide = false, memory = true;

	for (size_t i = 0; i < table->n_services; i++)
		any += table->services[i]->relayed_too;
	if (!any)
		return 0;
	Service **out = calloc(any, sizeof(*out));
	if (!out)
		return -ENOMEM;
	ways.fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (ways.fd < 0) {
		free(out);
		return -errno;
	}
	setsockopt(ways.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	for (size_t i = 0; i < table->n_services; i++) {
		Service *service = table->services[i];
		if (service->relayed_too && !comes_back(&ways, service, left)) {
			out[gone++] = service;
			continue;
		}
		table->services[kept++] = service;
		wide |= has_wide(service);
	}
	table->n_services = kept;
	for (size_t i = 0; i < gone; i++) {
		memory &= !wide || leave_to_the_stack(table, out[i]);
		marcher__packet__v1__service__free_unpacked(out[i], NULL);
	}
	free(out);
	close(ways.fd);
	free(ways.vlans);
	return left->no_memory || !memory ? -ENOMEM : 0;
}
