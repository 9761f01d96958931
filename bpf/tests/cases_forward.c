/* SPDX-License-Identifier: Apache-2.0 */
/* Forwarding modes, next hops, MTU. */
#include <netinet/in.h>

#include "cases.h"

static const char *const modes[] = {[FORWARDING_IPIP] = "IPIP", [FORWARDING_GUE] = "GUE", [FORWARDING_L2] = "L2"};
static const char *const backends[] = {
        [BACKEND_V4] = "an IPv4 backend on the link",
        [BACKEND_V6] = "an IPv6 backend on the link",
        [BACKEND_V4_GATEWAY] = "an IPv4 backend behind a gateway",
        [BACKEND_V6_GATEWAY] = "an IPv6 backend behind a gateway",
        [BACKEND_V4_IN] = "an IPv4 backend on the link it came by",
        [BACKEND_V6_IN] = "an IPv6 backend on the link it came by",
        [BACKEND_V4_VLAN] = "an IPv4 backend in a VLAN",
        [BACKEND_V6_VLAN] = "an IPv6 backend in a VLAN",
};

/* A case to one backend by one mode. */
static struct test_case to(enum forwarding forwarding, uint32_t backend, uint8_t version, uint8_t protocol)
{
	uint32_t service = (uint32_t)SERVICE_OF(forwarding, backend);
	return (struct test_case){.in = {.version = version,
	                                 .protocol = protocol,
	                                 .destination_port = SERVICE_PORT(service),
	                                 .payload = 100},
	                          .outcome = FORWARDED,
	                          .forwarding = forwarding,
	                          .backend = backend,
	                          .service = service};
}

static void every_mode(struct case_list *list)
{
	for (int mode = FORWARDING_IPIP; mode <= FORWARDING_L2; mode++) {
		for (uint32_t backend = BACKEND_V4; backend <= BACKEND_V6_VLAN; backend++) {
			for (int i = 0; i < 4; i++) {
				bool udp = i & 1, v6 = i & 2;
				struct test_case c = to(mode, backend, v6 ? 6 : 4, udp ? IPPROTO_UDP : IPPROTO_TCP);
				/* A gateway would route what only has another Ethernet address back to the VIP. */
				if (mode == FORWARDING_L2 &&
				    (backend == BACKEND_V4_GATEWAY || backend == BACKEND_V6_GATEWAY)) {
					c.outcome = DROPPED;
					c.reason = DROP_NO_ROUTE;
				}
				case_add(list, &c, "%s: %s over IPv%d to %s", modes[mode], udp ? "UDP" : "TCP",
				         v6 ? 6 : 4, backends[backend]);
			}
		}
	}
}

static void tagged(struct case_list *list)
{
	for (int mode = FORWARDING_IPIP; mode <= FORWARDING_L2; mode++) {
		for (uint8_t tags = 1; tags <= 2; tags++) {
			for (uint8_t version = 4; version <= 6; version += 2) {
				struct test_case c = to(mode, BACKEND_V4, version, IPPROTO_TCP);
				c.in.tags = tags;
				case_add(list, &c, "%s: IPv%d with %d VLAN tags leaves without", modes[mode], version,
				         tags);
				c = to(mode, BACKEND_V6_VLAN, version, IPPROTO_UDP);
				c.in.tags = tags;
				c.in.tag_protocol = 0x88a8;
				case_add(list, &c, "%s: IPv%d with %d VLAN tags leaves with that of the route",
				         modes[mode], version, tags);
			}
		}
	}
}

static void header_fields(struct case_list *list)
{
	for (int mode = FORWARDING_IPIP; mode <= FORWARDING_L2; mode++) {
		for (int i = 0; i < 4; i++) {
			uint8_t version = i & 1 ? 6 : 4;
			struct test_case c = to(mode, i & 2 ? BACKEND_V6 : BACKEND_V4, version, IPPROTO_TCP);
			const char *outer = i & 2 ? "IPv6" : "IPv4";
			for (uint8_t ecn = 0; ecn < 4; ecn++) {
				c.in.traffic_class = (uint8_t)(46 << 2 | ecn);
				case_add(list, &c, "%s: DSCP 46 and ECN %d of IPv%d are kept, %s backend", modes[mode],
				         ecn, version, outer);
			}
			c.in.traffic_class = 0;
			c.in.padding = 6;
			case_add(list, &c, "%s: IPv%d padded by Ethernet, %s backend", modes[mode], version, outer);
			c.in.padding = 0;
			c.in.payload = 0;
			case_add(list, &c, "%s: IPv%d without payload, %s backend", modes[mode], version, outer);
			c.in.payload = 100;
			c.in.ttl = 1;
			if (mode == FORWARDING_L2) {
				c.outcome = DROPPED;
				c.reason = DROP_TTL;
				case_add(list, &c, "L2: IPv%d of TTL 1 ends, %s backend", version, outer);
			} else {
				case_add(list, &c, "%s: IPv%d of TTL 1 is not routed but received, %s backend",
				         modes[mode], version, outer);
			}
		}
	}
	struct test_case c = to(FORWARDING_IPIP, BACKEND_V4, 4, IPPROTO_TCP);
	c.in.may_fragment = true;
	case_add(list, &c, "IPIP: an outer header has DF though the inner has not");
	/* 0xffff and 0 are one number to the checksum's arithmetic, but not to its users. */
	for (uint32_t id = 0; id < 4; id++) {
		c = to(FORWARDING_L2, BACKEND_V4, 4, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = 4, .width = 2, .value = id * 0x5555};
		case_add(list, &c, "L2: the checksum follows the TTL, id %u", id * 0x5555);
	}
}

static void vips(struct case_list *list)
{
	struct test_case c = to(FORWARDING_IPIP, BACKEND_V4, 4, IPPROTO_TCP);
	c.service = SERVICE_IPIP;
	c.in.destination = ANY_PORT_VIP_V4;
	c.in.destination_port = 12345;
	case_add(list, &c, "a VIP of every port takes any, IPv4");
	c.in.destination_port = 0;
	case_add(list, &c, "a VIP of every port takes port 0");
	c.in.protocol = IPPROTO_UDP;
	c.in.destination_port = 12345;
	c.outcome = PASSES;
	case_add(list, &c, "a VIP of every TCP port takes no UDP");
	c.outcome = FORWARDED;
	c.in.protocol = IPPROTO_TCP;
	c.in.version = 6;
	c.in.destination = ANY_PORT_VIP_V6;
	case_add(list, &c, "a VIP of every port takes any, IPv6");

	c = to(FORWARDING_IPIP, BACKEND_V6, 4, IPPROTO_TCP);
	c.in.destination = ANY_PORT_VIP_V4;
	case_add(list, &c, "a VIP of the very port comes before one of every port");

	c = (struct test_case){.in = {.destination_port = 999}};
	case_add(list, &c, "another port of a VIP's address is the stack's, IPv4");
	c.in.version = 6;
	case_add(list, &c, "another port of a VIP's address is the stack's, IPv6");
	c = (struct test_case){.in = {.destination = "198.51.100.77", .destination_port = 1001}};
	case_add(list, &c, "another address is the stack's, IPv4");
	c = (struct test_case){.in = {.version = 6, .destination = "2001:db8:100::77", .destination_port = 1001}};
	case_add(list, &c, "another address is the stack's, IPv6");
	c = (struct test_case){.in = {.version = 6,
	                              .destination = "::ffff:198.51.100.1",
	                              .destination_port = SERVICE_PORT(SERVICE_IPIP)}};
	case_add(list, &c, "an IPv6 packet to an IPv4-mapped address is not taken for IPv4");
	c = (struct test_case){.in = {.protocol = 132, .payload = 40}};
	case_add(list, &c, "SCTP to a VIP's address is the stack's");
	c.in.protocol = 47;
	case_add(list, &c, "GRE to a VIP's address is the stack's");
}

static void no_way(struct case_list *list)
{
	static const struct {
		uint32_t backend;
		enum drop_reason reason;
		const char *what;
	} ways[] = {
	        {BACKEND_NO_ROUTE, DROP_NO_ROUTE, "no route"},
	        {BACKEND_V6_NO_ROUTE, DROP_NO_ROUTE, "no IPv6 route"},
	        {BACKEND_UNREACHABLE, DROP_NO_ROUTE, "an unreachable route"},
	        {BACKEND_BLACKHOLE, DROP_NO_ROUTE, "a blackhole route"},
	        {BACKEND_NO_NEIGHBOUR, DROP_NO_NEIGHBOUR, "no neighbour"},
	        {BACKEND_V6_NO_NEIGHBOUR, DROP_NO_NEIGHBOUR, "no IPv6 neighbour"},
	        {BACKEND_UNUSED, DROP_NO_BACKEND, "a ring of a backend that is not in use"},
	};
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (int mode = FORWARDING_IPIP; mode <= FORWARDING_L2; mode++) {
			struct test_case c = to(mode, ways[i].backend, 4, IPPROTO_TCP);
			c.outcome = DROPPED;
			c.reason = ways[i].reason;
			case_add(list, &c, "%s: dropped for %s", modes[mode], ways[i].what);
		}
	}
	for (int mode = FORWARDING_IPIP; mode <= FORWARDING_L2; mode++) {
		struct test_case c = to(mode, BACKEND_LOCAL_V4, 4, IPPROTO_TCP);
		c.outcome = KEPT;
		case_add(list, &c, "%s: a backend of this node is the stack, IPv4", modes[mode]);
		c = to(mode, BACKEND_LOCAL_V6, 6, IPPROTO_UDP);
		c.outcome = KEPT;
		case_add(list, &c, "%s: a backend of this node is the stack, IPv6", modes[mode]);
	}
	static const struct {
		uint32_t service;
		const char *what;
	} services[] = {
	        {SERVICE_EMPTY, "no ring"},
	        {SERVICE_ZERO, "a ring of no backends"},
	        {SERVICE_LYING, "a ring that claims more slots than any has"},
	        {SERVICE_NO_SLOTS, "a ring that claims no slots"},
	        {SERVICE_FREE, "a service that is not there"},
	};
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		struct test_case c = {.in = {.destination_port = SERVICE_PORT(services[i].service)},
		                      .outcome = DROPPED,
		                      .reason = DROP_NO_BACKEND};
		case_add(list, &c, "dropped for %s, IPv4", services[i].what);
		c.in.version = 6;
		case_add(list, &c, "dropped for %s, IPv6", services[i].what);
	}
}

/* Payload that makes an IP packet of length. */
static uint16_t payload_for(const struct spec *in, uint16_t length)
{
	return (uint16_t)(length - (in->version == 6 ? 40 : 20) - (in->protocol == IPPROTO_UDP ? 8 : 20));
}

static void mtu(struct case_list *list)
{
	static const struct {
		enum forwarding mode;
		uint32_t backend;
		uint16_t fits;
	} ways[] = {
	        {FORWARDING_IPIP, BACKEND_V4_SMALL, 1380}, {FORWARDING_IPIP, BACKEND_V6_SMALL, 1360},
	        {FORWARDING_GUE, BACKEND_V4_SMALL, 1372},  {FORWARDING_GUE, BACKEND_V6_SMALL, 1352},
	        {FORWARDING_IPIP, BACKEND_V4, 1480},       {FORWARDING_IPIP, BACKEND_V6, 1460},
	        {FORWARDING_GUE, BACKEND_V4_IN, 1472},     {FORWARDING_GUE, BACKEND_V6_IN, 1452},
	        {FORWARDING_L2, BACKEND_V4, 1500},         {FORWARDING_L2, BACKEND_V6_IN, 1500},
	};
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (uint8_t version = 4; version <= 6; version += 2) {
			struct test_case c =
			        to(ways[i].mode, ways[i].backend, version, i & 1 ? IPPROTO_UDP : IPPROTO_TCP);
			c.in.payload = payload_for(&c.in, ways[i].fits);
			case_add(list, &c, "%s: IPv%d of %d bytes fits, backend %u", modes[ways[i].mode], version,
			         ways[i].fits, ways[i].backend);
			c.in.payload++;
			c.outcome = TOLD;
			c.mtu = ways[i].fits;
			case_add(list, &c, "%s: IPv%d of %d bytes does not fit, backend %u", modes[ways[i].mode],
			         version, ways[i].fits + 1, ways[i].backend);
			c.in.tags = 1 + (i & 1);
			case_add(list, &c, "%s: IPv%d of %d bytes does not fit, VLAN tags: %d, backend %u",
			         modes[ways[i].mode], version, ways[i].fits + 1, c.in.tags, ways[i].backend);
		}
	}
	struct test_case c = to(FORWARDING_IPIP, BACKEND_V4, 4, IPPROTO_TCP);
	c.in.payload = 1700;
	c.in.may_fragment = true;
	c.outcome = TOLD;
	c.mtu = 1480;
	case_add(list, &c, "too big: the sender is told though it allowed fragments");
	c.in.may_fragment = false;
	c.in.options = 5;
	case_add(list, &c, "too big: with IPv4 options");
	c.in.options = 0;
	c.in.traffic_class = 46 << 2;
	case_add(list, &c, "too big: the answer has a DSCP of its own");
	c.in.traffic_class = 0;
	c.outcome = DROPPED;
	c.reason = DROP_TOO_BIG;
	static const char *const nobody[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"};
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
		c.in.source = nobody[i];
		case_add(list, &c, "too big: no answer to %s", nobody[i]);
	}
	c.in.version = 6;
	static const char *const nobody6[] = {"::", "::1", "ff02::1"};
	for (size_t i = 0; i < sizeof(nobody6) / sizeof(nobody6[0]); i++) {
		c.in.source = nobody6[i];
		case_add(list, &c, "too big: no answer to %s", nobody6[i]);
	}
}

void cases_forward(struct case_list *list)
{
	every_mode(list);
	tagged(list);
	header_fields(list);
	vips(list);
	no_way(list);
	mtu(list);
}
