/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that are unusual, cut short, or lie. */
#include <netinet/in.h>

#include "cases.h"

#define TO_PORT SERVICE_PORT(SERVICE_IPIP)

static struct test_case plain(uint8_t version, uint8_t protocol)
{
	return (struct test_case){
	        .in = {.version = version, .protocol = protocol, .destination_port = TO_PORT, .payload = 10},
	        .outcome = FORWARDED,
	        .forwarding = FORWARDING_IPIP,
	        .backend = BACKEND_V4,
	        .service = SERVICE_IPIP};
}

static const char *name_of(uint8_t protocol)
{
	return protocol == IPPROTO_TCP ? "TCP" : "UDP";
}

/* The shortest frame that can be test-run is an Ethernet header. */
static void cut_everywhere(struct case_list *list)
{
	for (uint8_t tags = 0; tags <= 2; tags++) {
		for (int i = 0; i < 4; i++) {
			uint8_t version = i & 1 ? 6 : 4, protocol = i & 2 ? IPPROTO_UDP : IPPROTO_TCP;
			struct test_case c = plain(version, protocol);
			c.in.tags = tags;
			uint16_t ip = (uint16_t)(14 + 4 * tags), transport = (uint16_t)(ip + (version == 6 ? 40 : 20));
			uint16_t payload = (uint16_t)(transport + (protocol == IPPROTO_UDP ? 8 : 20));
			for (uint16_t cut = 14; cut < payload + c.in.payload; cut++) {
				/* With tags only where they differ: within the tags, and at each boundary. */
				if (tags && cut > ip && cut != transport - 1 && cut != transport &&
				    cut != payload - 1 && cut != payload)
					continue;
				c.in.cut = cut;
				c.outcome = cut < transport ? PASSES : DROPPED;
				c.reason = cut < payload ? DROP_TRUNCATED : DROP_BAD_LENGTH;
				case_add(list, &c, "IPv%d %s with %d tags, cut to %d bytes: %s", version,
				         name_of(protocol), tags, cut,
				         cut < transport ? "no destination, the stack's"
				         : cut < payload ? "a header is cut"
				                         : "shorter than it says");
			}
		}
	}
}

static void ipv4_headers(struct case_list *list)
{
	for (uint8_t options = 1; options <= 10; options++) {
		struct test_case c = plain(4, options & 1 ? IPPROTO_TCP : IPPROTO_UDP);
		c.in.options = options;
		case_add(list, &c, "IPv4 with %d bytes of options", options * 4);
		c.in.wrong_checksum = true;
		c.outcome = DROPPED;
		c.reason = DROP_BAD_CHECKSUM;
		case_add(list, &c, "IPv4 with %d bytes of options and a wrong checksum", options * 4);
		c.in.wrong_checksum = false;
		c.in.cut = (uint16_t)(34 + options * 4 - 1);
		c.reason = DROP_TRUNCATED;
		case_add(list, &c, "IPv4 with %d bytes of options, cut within", options * 4);
	}
	struct test_case c = plain(4, IPPROTO_TCP);
	c.outcome = DROPPED;
	c.reason = DROP_BAD_CHECKSUM;
	c.in.wrong_checksum = true;
	case_add(list, &c, "IPv4 with a wrong checksum");
	c.in.destination_port = 9;
	c.outcome = PASSES;
	case_add(list, &c, "IPv4 with a wrong checksum to no VIP is the stack's");

	c = plain(4, IPPROTO_TCP);
	c.outcome = DROPPED;
	c.reason = DROP_BAD_LENGTH;
	for (uint8_t words = 0; words < 5; words++) {
		c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x40u | words};
		case_add(list, &c, "IPv4 with a header of %d bytes", words * 4);
	}
	c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x54};
	c.outcome = PASSES;
	case_add(list, &c, "IP version 5 in an IPv4 frame is the stack's");
	static const uint16_t lengths[] = {0, 19, 20, 39, 51, 65535};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		c = plain(4, IPPROTO_TCP);
		c.outcome = DROPPED;
		c.reason = DROP_BAD_LENGTH;
		c.in.patches[0] = (struct patch){.at = 2, .width = 2, .value = lengths[i]};
		case_add(list, &c, "IPv4 TCP of 50 bytes that says %d", lengths[i]);
		c.own = true;
		case_add(list, &c, "IPv4 TCP of 50 bytes that says %d, to a VIP at this node's own address",
		         lengths[i]);
		c.own = false;
		c.in.destination = "198.51.100.77";
		c.outcome = PASSES;
		case_add(list, &c, "IPv4 TCP of 50 bytes that says %d, to no VIP", lengths[i]);
	}
	static const struct {
		uint16_t bits;
		const char *what;
	} fragments[] = {
	        {0x2000, "first"},    {0x2001, "middle"},          {0x0001, "last"},
	        {0x1fff, "farthest"}, {0x6000, "first, with DF,"},
	};
	for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
		for (int j = 0; j < 3; j++) {
			c = plain(4, (uint8_t[]){IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP}[j]);
			c.outcome = DROPPED;
			c.reason = DROP_FRAGMENT;
			c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = fragments[i].bits};
			case_add(list, &c, "IPv4 %s: the %s fragment to a VIP's address",
			         (const char *[]){"TCP", "UDP", "ICMP"}[j], fragments[i].what);
			c.own = true;
			c.outcome = PASSES;
			case_add(list, &c,
			         "IPv4 %s: the %s fragment to a VIP at this node's own address is the stack's",
			         (const char *[]){"TCP", "UDP", "ICMP"}[j], fragments[i].what);
			c.own = false;
			c.in.destination = "198.51.100.77";
			c.outcome = PASSES;
			case_add(list, &c, "IPv4 %s: the %s fragment to no VIP is the stack's",
			         (const char *[]){"TCP", "UDP", "ICMP"}[j], fragments[i].what);
		}
	}
	c = plain(4, IPPROTO_TCP);
	c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x8000};
	case_add(list, &c, "IPv4 with the reserved flag is no fragment");
}

static void ipv6_headers(struct case_list *list)
{
	static const struct {
		uint8_t types[9];
		const char *what;
		bool passes;
	} chains[] = {
	        {{0, EXTENSIONS_END}, "hop-by-hop options", false},
	        {{60, EXTENSIONS_END}, "destination options", false},
	        {{43, EXTENSIONS_END}, "a routing header that has been followed", false},
	        {{44, EXTENSIONS_END}, "an atomic fragment's header", false},
	        {{0, 43, 44, 60, EXTENSIONS_END}, "four kinds of headers", false},
	        {{60, 60, 60, 60, 60, EXTENSIONS_END}, "five headers", false},
	        {{0, 60, 43, 60, 44, 60, EXTENSIONS_END}, "six headers", false},
	        {{0, 60, 43, 60, 44, 60, 60, EXTENSIONS_END}, "seven headers", true},
	        {{51, EXTENSIONS_END}, "an authentication header", true},
	        {{50, EXTENSIONS_END}, "ESP", true},
	        {{135, EXTENSIONS_END}, "a mobility header", true},
	        {{59, EXTENSIONS_END}, "no next header", true},
	};
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++) {
		for (int j = 0; j < 2; j++) {
			struct test_case c = plain(6, j ? IPPROTO_UDP : IPPROTO_TCP);
			c.in.extensions = chains[i].types;
			if (chains[i].passes)
				c.outcome = PASSES;
			case_add(list, &c, "IPv6 %s behind %s", name_of(c.in.protocol), chains[i].what);
		}
	}
	static const uint8_t options[] = {60, EXTENSIONS_END}, two[] = {0, 60, EXTENSIONS_END};
	static const uint8_t routing[] = {43, EXTENSIONS_END}, fragment[] = {44, EXTENSIONS_END};
	static const uint8_t options_fragment[] = {60, 44, EXTENSIONS_END};
	struct test_case c = plain(6, IPPROTO_TCP);
	c.in.extensions = two;
	c.in.extension_length = 20;
	case_add(list, &c, "IPv6 behind two headers of 168 bytes");
	c.in.extension_length = 31;
	case_add(list, &c, "IPv6 behind two headers of 256 bytes");
	for (uint16_t cut = 54; cut < 54 + 16 + 20; cut += 4) {
		c.in.extension_length = 0;
		c.in.cut = cut;
		c.outcome = DROPPED;
		c.reason = DROP_TRUNCATED;
		case_add(list, &c, "IPv6 behind two headers, cut to %d bytes", cut);
		c.own = true;
		case_add(list, &c, "IPv6 behind two headers, cut to %d bytes, to a VIP at this node's own address",
		         cut);
		c.own = false;
	}
	c = plain(6, IPPROTO_TCP);
	c.outcome = DROPPED;
	c.reason = DROP_TRUNCATED;
	c.in.extensions = options;
	c.in.patches[0] = (struct patch){.at = 41, .width = 1, .value = 255};
	case_add(list, &c, "IPv6 with an options header that goes beyond the frame");
	c = plain(6, IPPROTO_TCP);
	c.outcome = PASSES;
	c.in.extensions = routing;
	c.in.patches[0] = (struct patch){.at = 43, .width = 1, .value = 1};
	case_add(list, &c, "IPv6 with a routing header of one segment left is the stack's");
	static const struct {
		uint16_t bits;
		const char *what;
	} fragments[] = {{0x0001, "first"}, {0x0009, "middle"}, {0x0008, "last"}, {0xfff8, "farthest"}};
	for (size_t i = 0; i < sizeof(fragments) / sizeof(fragments[0]); i++) {
		c = plain(6, i & 1 ? IPPROTO_UDP : IPPROTO_TCP);
		c.outcome = DROPPED;
		c.reason = DROP_FRAGMENT;
		c.in.extensions = fragment;
		c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = fragments[i].bits};
		case_add(list, &c, "IPv6: the %s fragment to a VIP's address", fragments[i].what);
		c.in.extensions = options_fragment;
		c.in.patches[0].at = 50;
		case_add(list, &c, "IPv6: the %s fragment to a VIP's address, behind options", fragments[i].what);
		c.own = true;
		c.outcome = PASSES;
		case_add(list, &c, "IPv6: the %s fragment to a VIP at this node's own address is the stack's",
		         fragments[i].what);
		c.own = false;
		c.in.destination = "2001:db8:100::77";
		c.outcome = PASSES;
		case_add(list, &c, "IPv6: the %s fragment to no VIP is the stack's", fragments[i].what);
	}
	c = plain(6, IPPROTO_TCP);
	c.in.extensions = fragment;
	c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = 0x0006};
	case_add(list, &c, "IPv6: reserved bits do not make a fragment of an atomic one");
	static const uint16_t lengths[] = {0, 19, 31, 65535};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		c = plain(6, IPPROTO_TCP);
		c.outcome = DROPPED;
		c.reason = DROP_BAD_LENGTH;
		c.in.patches[0] = (struct patch){.at = 4, .width = 2, .value = lengths[i]};
		case_add(list, &c, "IPv6 with a payload of 30 bytes that says %d", lengths[i]);
		c.in.destination = "2001:db8:100::77";
		c.outcome = PASSES;
		case_add(list, &c, "IPv6 with a payload of 30 bytes that says %d, to no VIP", lengths[i]);
	}
	c = plain(6, IPPROTO_TCP);
	c.outcome = PASSES;
	c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x70};
	case_add(list, &c, "IP version 7 in an IPv6 frame is the stack's");
}

static void transport_headers(struct case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		uint16_t transport = version == 6 ? 40 : 20;
		for (uint8_t words = 0; words < 16; words++) {
			if (words == 5 || words == 6 || words == 7)
				continue;
			struct test_case c = plain(version, IPPROTO_TCP);
			c.in.patches[0] =
			        (struct patch){.at = transport + 12, .width = 1, .value = (uint8_t)(words << 4)};
			c.outcome = DROPPED;
			c.reason = DROP_BAD_LENGTH;
			case_add(list, &c, "IPv%d: a TCP header of %d bytes in 30", version, words * 4);
		}
		static const uint16_t lengths[] = {0, 7, 19, 65535};
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			struct test_case c = plain(version, IPPROTO_UDP);
			c.in.patches[0] = (struct patch){.at = transport + 4, .width = 2, .value = lengths[i]};
			c.outcome = DROPPED;
			c.reason = DROP_BAD_LENGTH;
			case_add(list, &c, "IPv%d: a UDP datagram of 18 bytes that says %d", version, lengths[i]);
		}
		struct test_case c = plain(version, IPPROTO_TCP);
		c.in.patches[0] = (struct patch){.at = transport + 12, .width = 1, .value = 7 << 4};
		case_add(list, &c, "IPv%d: a TCP header with options", version);
		c = plain(version, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = transport + 4, .width = 2, .value = 8};
		case_add(list, &c, "IPv%d: a UDP datagram shorter than its packet", version);
	}
}

static void ethernet(struct case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct test_case c = plain(version, IPPROTO_TCP);
		c.in.tags = 1;
		c.in.tag_protocol = 0x88a8;
		case_add(list, &c, "IPv%d behind an 802.1ad tag", version);
		c = plain(version, IPPROTO_TCP);
		c.outcome = PASSES;
		c.in.tags = 3;
		case_add(list, &c, "IPv%d behind three tags is the stack's", version);
		c = plain(version, IPPROTO_TCP);
		c.outcome = PASSES;
		c.in.group = true;
		case_add(list, &c, "IPv%d to an Ethernet group is the stack's", version);
		c = plain(version, IPPROTO_TCP);
		c.outcome = PASSES;
		c.in.ethertype = version == 4 ? 0x86dd : 0x0800;
		case_add(list, &c, "IPv%d under the other version's ethertype is the stack's", version);
		c.in.ethertype = 0x0806;
		case_add(list, &c, "IPv%d under ARP's ethertype is the stack's", version);
		c.in.ethertype = 0x0026;
		case_add(list, &c, "IPv%d under an IEEE 802.3 length is the stack's", version);
	}
}

void cases_parse(struct case_list *list)
{
	cut_everywhere(list);
	ipv4_headers(list);
	ipv6_headers(list);
	transport_headers(list);
	ethernet(list);
}
