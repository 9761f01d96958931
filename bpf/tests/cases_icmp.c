/* SPDX-License-Identifier: Apache-2.0 */
/* Echo, and errors about what backends sent in a VIP's name. */
#include <netinet/in.h>

#include "cases.h"

static void echo(struct case_list *list)
{
	static const uint16_t payloads[] = {0, 1, 56, 1400};
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct test_case c = {.in = {.version = version,
		                             .protocol = version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		                             .icmp_type = version == 4 ? 8 : 128,
		                             .icmp_rest = 0x12340001},
		                      .outcome = ECHOED};
		for (uint8_t tags = 0; tags <= 2; tags++) {
			for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
				c.in.tags = tags;
				c.in.payload = payloads[i];
				case_add(list, &c, "IPv%d echo of %d bytes with %d tags is answered", version,
				         payloads[i], tags);
			}
		}
		c.in.tags = 0;
		/* Sums of the identifier through the places where ones' complement carries. */
		for (uint32_t rest = 0xf7fefffe; rest < 0xf7ff0002; rest++) {
			c.in.icmp_rest = rest;
			case_add(list, &c, "IPv%d echo %08x is answered with a right checksum", version, rest);
		}
		c.in.icmp_rest = 0;
		c.in.ttl = 1;
		c.in.traffic_class = 0x2e;
		c.in.padding = 18;
		case_add(list, &c, "IPv%d echo of TTL 1, padded, with a DSCP", version);
		c.in.ttl = c.in.traffic_class = c.in.padding = 0;
		static const uint8_t options[] = {60, EXTENSIONS_END};
		c.in.options = 3;
		c.in.extensions = options;
		c.outcome = PASSES;
		case_add(list, &c, "IPv%d echo with options is the stack's", version);
		c.in.options = 0;
		c.in.extensions = NULL;
		c.in.destination = version == 4 ? "198.51.100.77" : "2001:db8:100::77";
		case_add(list, &c, "IPv%d echo to no VIP is the stack's", version);
		c.in.destination = NULL;
		static const char *const nobody[2][3] = {{"0.0.0.0", "127.0.0.1", "224.0.0.1"},
		                                         {"::", "::1", "ff02::1"}};
		for (int i = 0; i < 3; i++) {
			c.in.source = nobody[version == 6][i];
			case_add(list, &c, "echo from %s is not answered", c.in.source);
		}
		c.in.source = NULL;
		c.in.icmp_type = version == 4 ? 0 : 129;
		case_add(list, &c, "IPv%d echo reply is the stack's", version);
		c.in.icmp_type = version == 4 ? 5 : 137;
		case_add(list, &c, "IPv%d redirect is the stack's", version);
		c.in.icmp_type = version == 4 ? 13 : 135;
		case_add(list, &c, "IPv%d timestamp or neighbour solicitation is the stack's", version);
		c.in.icmp_type = version == 4 ? 8 : 128;
		c.outcome = DROPPED;
		uint16_t ip = version == 4 ? 34 : 54;
		for (uint16_t cut = ip; cut < ip + 8; cut++) {
			c.in.cut = cut;
			c.reason = DROP_TRUNCATED;
			case_add(list, &c, "IPv%d echo cut to %d bytes", version, cut);
		}
		c.in.payload = 50;
		c.in.cut = ip + 8 + 20;
		c.reason = DROP_BAD_LENGTH;
		case_add(list, &c, "IPv%d echo shorter than it says", version);
		c.in.cut = 0;
		if (version == 4) {
			c.in.wrong_checksum = true;
			c.reason = DROP_BAD_CHECKSUM;
			case_add(list, &c, "IPv4 echo with a wrong header checksum");
			c.in.wrong_checksum = false;
		}
		c.in.patches[0] =
		        (struct patch){.at = version == 4 ? 2 : 4, .width = 2, .value = version == 4 ? 27 : 7};
		c.reason = DROP_BAD_LENGTH;
		case_add(list, &c, "IPv%d echo that says it is shorter than its header", version);
	}
	struct test_case c = {.in = {.protocol = IPPROTO_ICMPV6, .icmp_type = 128}};
	case_add(list, &c, "ICMPv6 in IPv4 is the stack's");
	c = (struct test_case){.in = {.version = 6, .protocol = IPPROTO_ICMP, .icmp_type = 8}};
	case_add(list, &c, "ICMP in IPv6 is the stack's");
}

struct kind {
	uint8_t type, code;
	const char *what;
	bool passes;
};

static const struct kind kinds_v4[] = {
        {3, 4, "fragmentation needed", false}, {3, 1, "host unreachable", false},   {3, 3, "port unreachable", false},
        {11, 0, "time exceeded", false},       {12, 0, "parameter problem", false}, {4, 0, "source quench", true},
};
static const struct kind kinds_v6[] = {
        {2, 0, "packet too big", false},    {1, 0, "unreachable", false},      {3, 0, "time exceeded", false},
        {4, 1, "parameter problem", false}, {100, 0, "a private error", true},
};

static void errors(struct case_list *list)
{
	static const struct {
		enum forwarding mode;
		uint32_t backend;
	} ways[] = {{FORWARDING_IPIP, BACKEND_V4}, {FORWARDING_GUE, BACKEND_V6}, {FORWARDING_L2, BACKEND_V4_IN}};
	/* What the backend sent, and the client's packets of the same flow, which the hash is of. */
	static struct spec sent[2][3][2], came[2][3][2];
	for (int v6 = 0; v6 < 2; v6++) {
		for (int way = 0; way < 3; way++) {
			for (int udp = 0; udp < 2; udp++) {
				uint32_t service = (uint32_t)SERVICE_OF(ways[way].mode, ways[way].backend);
				struct spec *s = &sent[v6][way][udp], *f = &came[v6][way][udp];
				*s = (struct spec){.version = v6 ? 6 : 4,
				                   .source = v6 ? VIP_V6 : VIP_V4,
				                   .destination = v6 ? CLIENT_V6 : CLIENT_V4,
				                   .protocol = udp ? IPPROTO_UDP : IPPROTO_TCP,
				                   .source_port = SERVICE_PORT(service),
				                   .destination_port = 40000,
				                   .payload = 400};
				*f = (struct spec){.version = s->version,
				                   .protocol = s->protocol,
				                   .destination_port = SERVICE_PORT(service)};
				const struct kind *kinds = v6 ? kinds_v6 : kinds_v4;
				size_t count = v6 ? sizeof(kinds_v6) / sizeof(kinds_v6[0])
				                  : sizeof(kinds_v4) / sizeof(kinds_v4[0]);
				for (size_t i = 0; i < count; i++) {
					struct test_case c = {.in = {.version = s->version,
					                             .source = v6 ? "2001:db8:99::1" : "203.0.113.99",
					                             .protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
					                             .icmp_type = kinds[i].type,
					                             .icmp_code = kinds[i].code,
					                             .icmp_rest = 1300,
					                             .quote = s},
					                      .outcome = kinds[i].passes ? PASSES : FORWARDED,
					                      .forwarding = ways[way].mode,
					                      .backend = ways[way].backend,
					                      .service = service,
					                      .flow = f};
					case_add(list, &c, "IPv%d %s about %s goes to the backend, way %d", s->version,
					         kinds[i].what, udp ? "UDP" : "TCP", way);
				}
			}
		}
	}
	for (int v6 = 0; v6 < 2; v6++) {
		uint16_t header = v6 ? 40 : 20;
		uint32_t service = SERVICE_OF(FORWARDING_IPIP, BACKEND_V4);
		struct test_case good = {.in = {.version = v6 ? 6 : 4,
		                                .source = v6 ? "2001:db8:99::1" : "203.0.113.99",
		                                .protocol = v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP,
		                                .icmp_type = v6 ? 2 : 3,
		                                .icmp_code = v6 ? 0 : 4,
		                                .quote = &sent[v6][0][0]},
		                         .outcome = FORWARDED,
		                         .forwarding = FORWARDING_IPIP,
		                         .backend = BACKEND_V4,
		                         .service = service,
		                         .flow = &came[v6][0][0]};
		struct test_case c = good;
		c.in.quote_length = header + 8;
		case_add(list, &c, "IPv%d error quoting 8 bytes of the segment", v6 ? 6 : 4);
		c.in.tags = 2;
		case_add(list, &c, "IPv%d error behind two tags", v6 ? 6 : 4);
		c.in.tags = 0;
		c.outcome = PASSES;
		for (uint16_t length = 0; length < header + 4; length += length == 0 ? 1 : 3) {
			c.in.quote_length = length ? length : 1;
			case_add(list, &c, "IPv%d error quoting %d bytes says nothing", v6 ? 6 : 4, c.in.quote_length);
		}
		c = good;
		c.outcome = PASSES;
		static struct spec other[2];
		other[v6] = *good.in.quote;
		other[v6].source = v6 ? "2001:db8:100::2" : "198.51.100.2";
		c.in.quote = &other[v6];
		case_add(list, &c, "IPv%d error about a packet of another address than its destination", v6 ? 6 : 4);
		static struct spec port[2];
		port[v6] = *good.in.quote;
		port[v6].source_port = 999;
		c.in.quote = &port[v6];
		case_add(list, &c, "IPv%d error about a port that is no VIP", v6 ? 6 : 4);
		static struct spec sctp[2];
		sctp[v6] = *good.in.quote;
		sctp[v6].protocol = 132;
		c.in.quote = &sctp[v6];
		case_add(list, &c, "IPv%d error about SCTP", v6 ? 6 : 4);
		static struct spec version[2];
		version[v6] = *good.in.quote;
		version[v6].patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x55};
		c.in.quote = &version[v6];
		case_add(list, &c, "IPv%d error quoting IP version 5", v6 ? 6 : 4);
		static struct spec fragment[2];
		static const uint8_t fragment_header[] = {44, EXTENSIONS_END};
		fragment[v6] = *good.in.quote;
		fragment[v6].extensions = fragment_header;
		fragment[v6].patches[0] = (struct patch){.at = v6 ? 42 : 6, .width = 2, .value = v6 ? 0x0010 : 0x0010};
		c.in.quote = &fragment[v6];
		case_add(list, &c, "IPv%d error about a later fragment", v6 ? 6 : 4);
		if (!v6) {
			static struct spec words, any, options;
			words = *good.in.quote;
			words.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x44};
			c.in.quote = &words;
			case_add(list, &c, "IPv4 error quoting a header of 16 bytes");
			/* What would be taken for ports is one of a VIP of every port. */
			any = words;
			any.source = c.in.destination = ANY_PORT_VIP_V4;
			c.in.quote = &any;
			case_add(list, &c, "IPv4 error quoting a header of 16 bytes, to a VIP of every port");
			c = good;
			options = *good.in.quote;
			options.options = 10;
			c.in.quote = &options;
			case_add(list, &c, "IPv4 error quoting a header with options");
			c = good;
			c.in.options = 7;
			case_add(list, &c, "IPv4 error with options");
			c.in.wrong_checksum = true;
			c.outcome = DROPPED;
			c.reason = DROP_BAD_CHECKSUM;
			case_add(list, &c, "IPv4 error with a wrong header checksum");
		} else {
			static struct spec extended;
			static const uint8_t options[] = {0, 60, EXTENSIONS_END};
			c = good;
			extended = *good.in.quote;
			extended.extensions = options;
			c.in.quote = &extended;
			case_add(list, &c, "IPv6 error quoting extension headers");
			c = good;
			c.in.extensions = options;
			case_add(list, &c, "IPv6 error behind extension headers");
		}
		c = good;
		c.in.cut = 200;
		c.outcome = DROPPED;
		c.reason = DROP_BAD_LENGTH;
		case_add(list, &c, "IPv%d error shorter than it says", v6 ? 6 : 4);
		static struct spec big[2];
		big[v6] = *good.in.quote;
		big[v6].payload = 1600;
		c = good;
		c.in.quote = &big[v6];
		c.outcome = DROPPED;
		c.reason = DROP_TOO_BIG;
		case_add(list, &c, "IPv%d error too big for the route is answered by none", v6 ? 6 : 4);
	}
}

void cases_icmp(struct case_list *list)
{
	echo(list);
	errors(list);
}
