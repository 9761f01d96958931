/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VIPs that are prefixes. What they are, for TCP; UDP has the two networks at one port alone:
 *
 *   198.18.0.0/16, 2001:db8:200::/40     port 700: WIDE
 *   198.18.5.0/24, 2001:db8:205::/48     port 700: LONG; every port: EVERY
 *   198.18.6.0/24, 2001:db8:206::/48     every port: EVERY
 *   198.18.7.0/24, 2001:db8:207::/48     port 700: left to the stack
 *   198.18.5.9,    2001:db8:205::9       port 701: VIPs of their own, WHOLE
 *   198.19.0.0/16, 2001:db8:300::/40     every port of TCP and UDP: by NAT
 */
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cases.h"
#include "cases_nat.h"

#define WIDE SERVICE_OF(FORWARDING_IPIP, BACKEND_V4)
#define LONG SERVICE_OF(FORWARDING_GUE, BACKEND_V4_GATEWAY)
#define EVERY SERVICE_OF(FORWARDING_IPIP, BACKEND_V6)
#define WHOLE SERVICE_OF(FORWARDING_GUE, BACKEND_V6_GATEWAY)

static void put(const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(world_map(map), key, value, BPF_ANY)) {
		perror(map);
		abort();
	}
}

static void add(const char *text, uint32_t length, uint8_t protocol, uint16_t port, uint32_t service)
{
	uint32_t bits = VIP_PREFIX_BITS + length + (strchr(text, ':') ? 0 : 96);
	struct vip_prefix_key key = {
	        .length = bits, .port = htons(port), .protocol = protocol, .address = world_address(text)};
	struct vip_prefix prefix = {.vip.service = service, .length = bits};
	put("vip_prefixes", &key, &prefix);
	key.port = key.protocol = 0;
	prefix.vip.service = 1;
	put("vip_prefixes", &key, &prefix);
}

static void add_whole(const char *text, uint16_t port, uint32_t service)
{
	struct vip_key key = {.address = world_address(text), .port = htons(port), .protocol = IPPROTO_TCP};
	struct vip vip = {.service = service};
	uint32_t count = 1;
	put("vips", &key, &vip);
	put("vip_addresses", &key.address, &count);
}

void prefixes_use(bool used)
{
	static uint64_t changes;
	const struct vip_settings settings = {.prefixes = used, .changes = ++changes};
	const uint32_t zero = 0;
	put("vip_settings", &zero, &settings);
}

void prefixes_fill(void)
{
	add("198.18.0.0", 16, IPPROTO_TCP, 700, WIDE);
	add("198.18.0.0", 16, IPPROTO_UDP, 700, WIDE);
	add("198.18.5.0", 24, IPPROTO_TCP, 700, LONG);
	add("198.18.5.0", 24, IPPROTO_TCP, 0, EVERY);
	add("198.18.6.0", 24, IPPROTO_TCP, 0, EVERY);
	add("198.18.7.0", 24, IPPROTO_TCP, 700, VIP_LEFT);
	add_whole("198.18.5.9", 701, WHOLE);
	add("2001:db8:200::", 40, IPPROTO_TCP, 700, WIDE);
	add("2001:db8:200::", 40, IPPROTO_UDP, 700, WIDE);
	add("2001:db8:205::", 48, IPPROTO_TCP, 700, LONG);
	add("2001:db8:205::", 48, IPPROTO_TCP, 0, EVERY);
	add("2001:db8:206::", 48, IPPROTO_TCP, 0, EVERY);
	add("2001:db8:207::", 48, IPPROTO_TCP, 700, VIP_LEFT);
	add_whole("2001:db8:205::9", 701, WHOLE);
	for (int udp = 0; udp < 2; udp++) {
		add("198.19.0.0", 16, udp ? IPPROTO_UDP : IPPROTO_TCP, 0, SERVICE_NAT + BACKEND_V4);
		add("2001:db8:300::", 40, udp ? IPPROTO_UDP : IPPROTO_TCP, 0, SERVICE_NAT + BACKEND_V6);
	}
	prefixes_use(true);
}

static const struct {
	const char *v4, *v6;
	uint8_t protocol;
	uint16_t port;
	uint32_t service; /* 0: the packet passes */
	const char *what;
} choices[] = {
        {"198.18.0.0", "2001:db8:200::", IPPROTO_TCP, 700, WIDE, "the first address of a prefix"},
        {"198.18.255.255", "2001:db8:2ff:ffff:ffff:ffff:ffff:ffff", IPPROTO_TCP, 700, WIDE, "the last address"},
        {"198.18.4.1", "2001:db8:204::1", IPPROTO_UDP, 700, WIDE, "UDP"},
        {"198.17.255.255", "2001:db8:1ff:ffff:ffff:ffff:ffff:ffff", IPPROTO_TCP, 700, 0, "what is before it"},
        {"198.18.4.1", "2001:db8:204::1", IPPROTO_TCP, 701, 0, "a port that it has not"},
        {"198.18.4.1", "2001:db8:204::1", IPPROTO_UDP, 701, 0, "a port of UDP that it has not"},
        {"198.18.5.1", "2001:db8:205::1", IPPROTO_TCP, 700, LONG, "the longer prefix"},
        {"198.18.5.1", "2001:db8:205::1", IPPROTO_UDP, 700, WIDE, "UDP, which the longer prefix has not"},
        {"198.18.5.1", "2001:db8:205::1", IPPROTO_TCP, 443, EVERY, "every port of the longer prefix"},
        {"198.18.6.1", "2001:db8:206::1", IPPROTO_TCP, 700, EVERY, "every port before the port of a shorter prefix"},
        {"198.18.7.1", "2001:db8:207::1", IPPROTO_TCP, 700, 0, "a longer prefix that is left to the stack"},
        {"198.18.7.1", "2001:db8:207::1", IPPROTO_UDP, 700, WIDE, "UDP of a prefix whose TCP is left"},
        {"198.18.5.9", "2001:db8:205::9", IPPROTO_TCP, 701, WHOLE, "a whole address"},
        {"198.18.5.9", "2001:db8:205::9", IPPROTO_TCP, 700, LONG, "a port that a whole address has not"},
        {"198.19.1.1", "2001:db8:300::1", IPPROTO_TCP, 80, 0, "what NAT carries, in XDP"},
};

static struct test_case to_service(uint32_t service)
{
	static const struct {
		uint32_t service, backend;
		enum forwarding forwarding;
	} ways[] = {{WIDE, BACKEND_V4, FORWARDING_IPIP},
	            {LONG, BACKEND_V4_GATEWAY, FORWARDING_GUE},
	            {EVERY, BACKEND_V6, FORWARDING_IPIP},
	            {WHOLE, BACKEND_V6_GATEWAY, FORWARDING_GUE}};
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (ways[i].service == service)
			return (struct test_case){.outcome = FORWARDED,
			                          .forwarding = ways[i].forwarding,
			                          .backend = ways[i].backend,
			                          .service = service};
	return (struct test_case){.outcome = PASSES};
}

static void flows(struct case_list *list)
{
	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
		for (uint8_t version = 4; version <= 6; version += 2) {
			struct test_case c = to_service(choices[i].service);
			c.in = (struct spec){.version = version,
			                     .destination = version == 4 ? choices[i].v4 : choices[i].v6,
			                     .protocol = choices[i].protocol,
			                     .destination_port = choices[i].port,
			                     .payload = 100};
			case_add(list, &c, "prefixes: IPv%d, %s", version, choices[i].what);
		}
	}
}

static void others(struct case_list *list)
{
	static const uint8_t fragment[] = {44, EXTENSIONS_END};
	static struct spec sent[2];
	for (uint8_t version = 4; version <= 6; version += 2) {
		bool v6 = version == 6;
		struct test_case echo = {.in = {.version = version,
		                                .destination = v6 ? "2001:db8:204::1" : "198.18.4.1",
		                                .protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
		                                .icmp_type = v6 ? 128 : 8,
		                                .icmp_rest = 7,
		                                .payload = 56},
		                         .outcome = ECHOED};
		case_add(list, &echo, "prefixes: IPv%d echo is answered", version);
		struct test_case c = echo;
		c.in.destination = v6 ? "2001:db8:1ff::1" : "198.17.255.255";
		c.outcome = PASSES;
		case_add(list, &c, "prefixes: IPv%d echo beside them is the stack's", version);
		c = (struct test_case){
		        .in = {.version = version,
		               .destination = echo.in.destination,
		               .destination_port = 9,
		               .extensions = fragment,
		               .patches = {{.at = v6 ? 42 : 6, .width = 2, .value = v6 ? 0x0009 : 0x2001}}},
		        .outcome = DROPPED,
		        .reason = DROP_FRAGMENT};
		case_add(list, &c, "prefixes: IPv%d fragments are dropped, whatever the port", version);
		c.in.destination = v6 ? "2001:db8:1ff::1" : "198.17.255.255";
		c.outcome = PASSES;
		case_add(list, &c, "prefixes: IPv%d fragments beside them pass", version);
		c = (struct test_case){.in = {.version = version,
		                              .destination = echo.in.destination,
		                              .destination_port = 700,
		                              .cut = v6 ? 60 : 40},
		                       .outcome = DROPPED,
		                       .reason = DROP_TRUNCATED};
		case_add(list, &c, "prefixes: IPv%d truncated", version);
		sent[v6] = (struct spec){.version = version,
		                         .source = v6 ? "2001:db8:205::1" : "198.18.5.1",
		                         .destination = v6 ? CLIENT_V6 : CLIENT_V4,
		                         .source_port = 700,
		                         .destination_port = 40000,
		                         .payload = 400};
		static struct spec came[2];
		came[v6] = (struct spec){
		        .version = version, .destination = sent[v6].source, .destination_port = sent[v6].source_port};
		c = to_service(LONG);
		c.flow = &came[v6];
		c.in = (struct spec){.version = version,
		                     .source = v6 ? "2001:db8:99::1" : "203.0.113.99",
		                     .destination = sent[v6].source,
		                     .protocol = echo.in.protocol,
		                     .icmp_type = v6 ? 2 : 3,
		                     .icmp_code = v6 ? 0 : 4,
		                     .icmp_rest = 1300,
		                     .quote = &sent[v6]};
		case_add(list, &c, "prefixes: an ICMPv%d error goes to the backend of the flow that it is about",
		         version);
	}
}

void cases_prefix(struct case_list *list)
{
	flows(list);
	others(list);
}

void cases_nat_prefix(struct nat_case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		bool v6 = version == 6;
		struct nat_case c = {.in = {.version = version,
		                            .protocol = IPPROTO_UDP,
		                            .destination = v6 ? "2001:db8:3ff::7" : "198.19.7.7",
		                            .destination_port = 12345,
		                            .payload = 64},
		                     .outcome = NAT_LEAVES,
		                     .fast = v6 ? BACKEND_V6 : BACKEND_V4};
		c.want = c.in;
		c.want.destination = world_backend(v6 ? BACKEND_V6 : BACKEND_V4)->address;
		c.want.destination_port = BACKEND_PORT;
		c.want.ttl = 60;
		nat_case_add(list, &c, "prefixes: IPv%d, by NAT to the backend", version);
		struct spec client = c.in, answer = c.want;
		answer.source = c.want.destination;
		answer.source_port = BACKEND_PORT;
		answer.destination = v6 ? CLIENT_V6 : CLIENT_V4;
		answer.destination_port = 40000;
		answer.ttl = 0;
		c.before = client;
		c.in = answer;
		c.want = answer;
		c.want.source = client.destination;
		c.want.source_port = client.destination_port;
		c.want.ttl = 60;
		c.fast = v6 ? BACKEND_V6_GATEWAY : BACKEND_V4_GATEWAY;
		nat_case_add(list, &c, "prefixes: IPv%d, answers come from the address that was asked", version);
		c = (struct nat_case){.in = client};
		c.in.destination = v6 ? "2001:db8:400::7" : "198.20.7.7";
		nat_case_add(list, &c, "prefixes: IPv%d, beside them goes on", version);
		c = (struct nat_case){.in = client, .outcome = NAT_DROPPED, .reason = DROP_TRUNCATED};
		c.in.cut = v6 ? 60 : 40;
		nat_case_add(list, &c, "prefixes: IPv%d, truncated", version);
	}
}
