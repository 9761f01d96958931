/* SPDX-License-Identifier: Apache-2.0 */
/* Which rule decides about a packet, and what comes of it. */
#include <netinet/in.h>

#include "cases.h"

#define OPEN_PORT 9

enum { DEFAULT, ALLOW, DENY, ALLOW_ELSE, DENY_ELSE, DEVICE, NEXT_HOP, MISSING_DEVICE };
#define RULES                                                                                 \
	{                                                                                     \
		[DEFAULT] = {.action = GUARD_ALLOW}, [ALLOW] = {.action = GUARD_ALLOW},       \
		[DENY] = {.action = GUARD_DENY}, [ALLOW_ELSE] = {.action = GUARD_ALLOW},      \
		[DENY_ELSE] = {.action = GUARD_DENY}, [DEVICE] = {.action = GUARD_TO_DEVICE}, \
		[NEXT_HOP] = {.action = GUARD_TO_NEXT_HOP}, [MISSING_DEVICE] = {              \
			.action = GUARD_TO_DEVICE                                             \
		}                                                                             \
	}

/* Class 1: TCP 80 and 1000 to 2000 denied, other TCP allowed by a rule, UDP 53 allowed, other UDP denied, the rest
 * allowed by another rule. Class 2, a longer prefix, denies all. Class 3 allows all. */
#define CLASSES                                                                                 \
	{                                                                                       \
		[0] = {.rule = {0, 0, 0}},                                                      \
		[1] = {.rule = {ALLOW, DENY, ALLOW_ELSE}, .spans = {0, 2}, .nspans = {2, 1}},   \
		[2] = {.rule = {DENY, DENY, DENY_ELSE}}, [3] = {.rule = {ALLOW, ALLOW, ALLOW}}, \
		[4] = {.rule = {DEVICE, NEXT_HOP, MISSING_DEVICE}},                             \
	}
#define SPANS                                                        \
	{                                                            \
		{80, 80, DENY}, {1000, 2000, DENY}, {53, 53, ALLOW}, \
	}
#define SOURCES                                                                                              \
	{                                                                                                    \
		{"203.0.0.0", 16, 1}, {"203.0.113.0", 24, 2}, {"203.0.113.8", 32, 3}, {"2001:db8::", 32, 1}, \
		        {"2001:db8:7::", 48, 2}, {"2001:db8:7::8", 128, 3}, {"198.18.0.0", 15, 4},           \
		        {"2001:2::", 48, 4},                                                                 \
	}

static const struct guard_setup rules = {.guard = {.flags = GUARD_RULES},
                                         .sources = SOURCES,
                                         .classes = CLASSES,
                                         .spans = SPANS,
                                         .rules = RULES,
                                         .device = NULL,
                                         .next_hop = "10.1.0.11"};
static const struct guard_setup to_device = {.guard = {.flags = GUARD_RULES},
                                             .sources = SOURCES,
                                             .classes = CLASSES,
                                             .rules = RULES,
                                             .device = "out0",
                                             .next_hop = "192.0.2.11"};
static const struct guard_setup to_vlan = {.guard = {.flags = GUARD_RULES},
                                           .sources = SOURCES,
                                           .classes = CLASSES,
                                           .rules = RULES,
                                           .next_hop = "fd00:3::11"};
static const struct guard_setup nowhere = {.guard = {.flags = GUARD_RULES},
                                           .sources = SOURCES,
                                           .classes = CLASSES,
                                           .rules = RULES,
                                           .next_hop = "10.2.0.11"}; /* behind a gateway */
static const struct guard_setup unknown = {.guard = {.flags = GUARD_RULES},
                                           .sources = SOURCES,
                                           .classes = CLASSES,
                                           .rules = RULES,
                                           .next_hop = "10.1.0.99"};
static const struct guard_setup closed = {
        .guard = {.flags = GUARD_RULES},
        .classes = {{.rule = {0, 0, 0}, .spans = {0, 1}, .nspans = {1, 1}}},
        .spans = {{OPEN_PORT, OPEN_PORT, ALLOW}, {53, 53, ALLOW}},
        .rules = {[DEFAULT] = {.action = GUARD_DENY}, [ALLOW] = {.action = GUARD_ALLOW}}};

struct question {
	const char *source;
	uint8_t protocol;
	uint16_t port;
	uint32_t rule; /* that decides */
};

static void which_rule(struct case_list *list)
{
	static const struct question table[] = {
	        {"192.0.2.77", IPPROTO_TCP, 80, DEFAULT},    {"203.0.1.1", IPPROTO_TCP, 79, ALLOW},
	        {"203.0.1.1", IPPROTO_TCP, 80, DENY},        {"203.0.1.1", IPPROTO_TCP, 81, ALLOW},
	        {"203.0.1.1", IPPROTO_TCP, 999, ALLOW},      {"203.0.1.1", IPPROTO_TCP, 1000, DENY},
	        {"203.0.1.1", IPPROTO_TCP, 1500, DENY},      {"203.0.1.1", IPPROTO_TCP, 2000, DENY},
	        {"203.0.1.1", IPPROTO_TCP, 2001, ALLOW},     {"203.0.1.1", IPPROTO_TCP, 65535, ALLOW},
	        {"203.0.1.1", IPPROTO_UDP, 53, ALLOW},       {"203.0.1.1", IPPROTO_UDP, 80, DENY},
	        {"203.0.1.1", IPPROTO_ICMP, 0, ALLOW_ELSE},  {"203.0.1.1", 47, 0, ALLOW_ELSE},
	        {"203.0.112.255", IPPROTO_UDP, 54, DENY},    {"203.0.113.7", IPPROTO_TCP, 53, DENY},
	        {"203.0.113.7", IPPROTO_ICMP, 0, DENY_ELSE}, {"203.0.113.8", IPPROTO_TCP, 80, ALLOW},
	        {"203.0.113.9", IPPROTO_TCP, 80, DENY},      {"203.1.0.1", IPPROTO_TCP, 80, DEFAULT},
	        {"2001:db8:1::7", IPPROTO_TCP, 80, DENY},    {"2001:db8:1::7", IPPROTO_TCP, 443, ALLOW},
	        {"2001:db8:1::7", IPPROTO_UDP, 53, ALLOW},   {"2001:db8:1::7", IPPROTO_ICMPV6, 0, ALLOW_ELSE},
	        {"2001:db8:7::9", IPPROTO_UDP, 53, DENY},    {"2001:db8:7::8", IPPROTO_UDP, 53, ALLOW},
	        {"2001:db9::1", IPPROTO_UDP, 53, DEFAULT},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		bool v6 = false;
		for (const char *at = table[i].source; *at; at++)
			v6 |= *at == ':';
		bool denied = table[i].rule == DENY || table[i].rule == DENY_ELSE;
		struct test_case c = {.in = {.version = v6 ? 6 : 4,
		                             .source = table[i].source,
		                             .destination = v6 ? "2001:db8:100::77" : "198.51.100.77",
		                             .protocol = table[i].protocol,
		                             .destination_port = table[i].port,
		                             .payload = 10},
		                      .guard = &rules,
		                      .counter = table[i].rule,
		                      .outcome = denied ? DROPPED : PASSES,
		                      .reason = DROP_GUARD_RULE};
		case_add(list, &c, "guard: from %s, protocol %d, port %d: rule %u", table[i].source, table[i].protocol,
		         table[i].port, table[i].rule);
		c.in.tags = 1;
		case_add(list, &c, "guard: from %s, protocol %d, port %d, in a VLAN: rule %u", table[i].source,
		         table[i].protocol, table[i].port, table[i].rule);
	}
	struct test_case c = {.in = {.source = "203.0.1.1",
	                             .protocol = IPPROTO_UDP,
	                             .destination_port = 53,
	                             .payload = 16,
	                             .destination = "198.51.100.77",
	                             .patches = {{.at = 6, .width = 2, .value = 0x0010}}},
	                      .guard = &rules,
	                      .counter = DENY,
	                      .outcome = DROPPED,
	                      .reason = DROP_GUARD_RULE};
	case_add(list, &c, "guard: a later fragment has no port: the rule of its protocol");
	c.in.patches[0].value = 0x2000;
	c.counter = ALLOW;
	c.outcome = PASSES;
	case_add(list, &c, "guard: a first fragment has one");
}

static void default_deny(struct case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct test_case c = {.in = {.version = version, .protocol = IPPROTO_TCP, .destination_port = 81},
		                      .guard = &closed,
		                      .outcome = DROPPED,
		                      .reason = DROP_GUARD_DEFAULT};
		case_add(list, &c, "guard: IPv%d that no rule lets in", version);
		c.in.destination_port = OPEN_PORT;
		c.outcome = PASSES;
		c.counter = ALLOW;
		case_add(list, &c, "guard: IPv%d to the one port that is open", version);
	}
	for (uint8_t type = 132; type <= 138; type++) {
		bool discovery = type >= 133 && type <= 137;
		struct test_case c = {.in = {.version = 6, .protocol = IPPROTO_ICMPV6, .icmp_type = type, .ttl = 255},
		                      .guard = &closed,
		                      .outcome = discovery ? PASSES : DROPPED,
		                      .reason = DROP_GUARD_DEFAULT};
		case_add(list, &c, "guard: ICMPv6 of type %d and the default", type);
		c.in.group = true;
		c.in.destination = "ff02::1";
		case_add(list, &c, "guard: ICMPv6 of type %d to a group and the default", type);
		c.in.group = false;
		c.in.destination = NULL;
		c.in.ttl = 254;
		c.outcome = DROPPED;
		case_add(list, &c, "guard: ICMPv6 of type %d from another link", type);
	}
	struct test_case c = {.in = {.ethertype = 0x0806}, .guard = &closed};
	case_add(list, &c, "guard: ARP passes the default");
}

static void redirects(struct case_list *list)
{
	static const struct {
		const char *source;
		uint8_t version;
	} from[] = {{"198.19.255.1", 4}, {"2001:2::1", 6}};
	for (int i = 0; i < 2; i++) {
		struct test_case c = {.in = {.version = from[i].version,
		                             .source = from[i].source,
		                             .destination_port = 80,
		                             .payload = 10},
		                      .guard = &to_device,
		                      .counter = DEVICE,
		                      .outcome = REDIRECTED};
		for (uint8_t tags = 0; tags <= 2; tags++) {
			c.in.tags = tags;
			case_add(list, &c, "guard: IPv%d TCP with %d tags to a device", c.in.version, tags);
		}
		c.in.tags = 0;
		c.guard = &rules;
		c.outcome = DROPPED;
		c.reason = DROP_GUARD_REDIRECT;
		case_add(list, &c, "guard: IPv%d TCP to a device that is not there", c.in.version);
		c.in.protocol = IPPROTO_UDP;
		c.counter = NEXT_HOP;
		c.outcome = REROUTED;
		c.backend = BACKEND_V4;
		for (uint8_t tags = 0; tags <= 2; tags++) {
			c.in.tags = tags;
			case_add(list, &c, "guard: IPv%d UDP with %d tags to a host by another device", c.in.version,
			         tags);
		}
		c.in.tags = 0;
		c.guard = &to_device;
		c.backend = BACKEND_V4_IN;
		case_add(list, &c, "guard: IPv%d UDP to a host by the device it came from", c.in.version);
		c.guard = &to_vlan;
		c.backend = BACKEND_V6_VLAN;
		case_add(list, &c, "guard: IPv%d UDP to a host in a VLAN", c.in.version);
		c.guard = &nowhere;
		c.backend = 0;
		c.outcome = DROPPED;
		c.reason = DROP_GUARD_REDIRECT;
		case_add(list, &c, "guard: IPv%d UDP to a host that is not on a link of ours", c.in.version);
		c.guard = &unknown;
		c.reason = DROP_GUARD_REDIRECT;
		case_add(list, &c, "guard: IPv%d UDP to a host whose Ethernet address nobody knows", c.in.version);
		c.guard = &rules;
		c.in.ttl = 1;
		c.reason = DROP_TTL;
		case_add(list, &c, "guard: IPv%d UDP to a host with its last hop", c.in.version);
	}
}

/* Every other port: as many as struct guard has itself, one more, and as many as a class may have. */
static const uint16_t span_counts[] = {GUARD_NEAR_SPANS, GUARD_NEAR_SPANS + 1, GUARD_CLASS_SPANS_MAX};
static struct guard_setup spanned[sizeof(span_counts) / sizeof(span_counts[0])];

static void ports_among_spans(struct case_list *list, uint16_t count, struct guard_setup *setup)
{
	*setup = (struct guard_setup){
	        .guard = {.flags = GUARD_RULES},
	        .classes = {{.rule = {ALLOW, ALLOW, ALLOW}, .spans = {1, 1}, .nspans = {count, count}}},
	        .rules = RULES};
	for (uint16_t i = 0; i < count; i++)
		setup->spans[i + 1] = (struct guard_span){(uint16_t)(100 + 2 * i), (uint16_t)(100 + 2 * i), DENY};
	for (uint16_t port = 98; port < 102 + 2 * count; port++) {
		/* At both ends, and some in between. */
		if (port > 103 && port < 96 + 2 * count && port % 100 > 1)
			continue;
		bool denied = port >= 100 && port < 100 + 2 * count && port % 2 == 0;
		struct test_case c = {.in = {.destination_port = port},
		                      .guard = setup,
		                      .counter = denied ? DENY : ALLOW,
		                      .outcome = denied ? DROPPED : PASSES,
		                      .reason = DROP_GUARD_RULE};
		case_add(list, &c, "guard: port %d among %d spans", port, count);
		c.in.protocol = IPPROTO_UDP;
		c.in.payload = 10;
		case_add(list, &c, "guard: UDP port %d among %d spans", port, count);
	}
}

/* Of TCP and UDP, each its own. */
static const struct guard_setup by_protocol = {
        .guard = {.flags = GUARD_RULES},
        .classes = {{.rule = {ALLOW, ALLOW_ELSE}, .spans = {0, 2}, .nspans = {2, 1}}},
        .spans = SPANS,
        .rules = RULES};

static void ports_by_protocol(struct case_list *list)
{
	static const struct question table[] = {
	        {NULL, IPPROTO_TCP, 79, ALLOW},        {NULL, IPPROTO_TCP, 80, DENY},
	        {NULL, IPPROTO_TCP, 81, ALLOW},        {NULL, IPPROTO_TCP, 999, ALLOW},
	        {NULL, IPPROTO_TCP, 1000, DENY},       {NULL, IPPROTO_TCP, 2000, DENY},
	        {NULL, IPPROTO_TCP, 2001, ALLOW},      {NULL, IPPROTO_TCP, 53, ALLOW},
	        {NULL, IPPROTO_UDP, 53, ALLOW},        {NULL, IPPROTO_UDP, 52, ALLOW_ELSE},
	        {NULL, IPPROTO_UDP, 1500, ALLOW_ELSE},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		for (uint8_t version = 4; version <= 6; version += 2) {
			bool denied = table[i].rule == DENY;
			struct test_case c = {.in = {.version = version,
			                             .protocol = table[i].protocol,
			                             .destination_port = table[i].port,
			                             .destination = version == 6 ? "2001:db8:100::77" : "198.51.100.77",
			                             .payload = 10},
			                      .guard = &by_protocol,
			                      .counter = table[i].rule,
			                      .outcome = denied ? DROPPED : PASSES,
			                      .reason = DROP_GUARD_RULE};
			case_add(list, &c, "guard: IPv%d from anybody, protocol %d, port %d: rule %u", version,
			         table[i].protocol, table[i].port, table[i].rule);
		}
}

void cases_guard_rules(struct case_list *list)
{
	which_rule(list);
	default_deny(list);
	redirects(list);
	for (size_t i = 0; i < sizeof(span_counts) / sizeof(span_counts[0]); i++)
		ports_among_spans(list, span_counts[i], &spanned[i]);
	ports_by_protocol(list);
}
