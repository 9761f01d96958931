/* SPDX-License-Identifier: Apache-2.0 */
/* What the guard thinks of a packet by itself: its shape, its fragments, its addresses. */
#include <netinet/in.h>
#include <stdlib.h>

#include "cases.h"

#define OPEN_PORT 9 /* no VIP's: what the guard lets in goes to the stack */

static const struct guard_setup strict = {
        .guard = {.flags = GUARD_MALFORMED | GUARD_BAD_FRAGMENTS | GUARD_MARTIANS},
        .own = {"192.0.2.1", "2001:db8:1::1"},
};
static const struct guard_setup nothing = {.guard = {.flags = 0}};

static struct test_case plain(uint8_t version, uint8_t protocol)
{
	return (struct test_case){.in = {.version = version,
	                                 .protocol = protocol,
	                                 .destination = version == 6 ? "2001:db8:100::77" : "198.51.100.77",
	                                 .destination_port = OPEN_PORT,
	                                 .payload = 12},
	                          .guard = &strict};
}

/* Cases of another setup, which come last: it takes the kernel a while to replace one. */
static struct case_list unasked;

/* Dropped; and not dropped when the policy does not look. */
static void add_drop(struct case_list *list, struct test_case *c, enum drop_reason reason, const char *what)
{
	const char *ip = c->in.version == 6 ? "IPv6" : "IPv4";
	c->outcome = DROPPED;
	c->reason = reason;
	case_add(list, c, "guard: %s %s", ip, what);
	c->outcome = PASSES;
	c->guard = &nothing;
	case_add(&unasked, c, "guard: %s %s, when nobody asks", ip, what);
}

static void ordinary(struct case_list *list)
{
	static const uint8_t options[] = {0, 60, 43, EXTENSIONS_END}, esp[] = {50, EXTENSIONS_END};
	for (uint8_t version = 4; version <= 6; version += 2) {
		static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 47, 132};
		for (size_t i = 0; i < sizeof(protocols); i++) {
			struct test_case c = plain(version, protocols[i]);
			if (c.in.protocol == IPPROTO_ICMP && version == 6)
				c.in.protocol = IPPROTO_ICMPV6;
			for (uint8_t tags = 0; tags <= 2; tags++) {
				c.in.tags = tags;
				case_add(list, &c, "guard: IPv%d of protocol %d with %d tags passes", version,
				         c.in.protocol, tags);
			}
			c.in.tags = 0;
			c.in.padding = 6;
			case_add(list, &c, "guard: IPv%d of protocol %d with padding passes", version, c.in.protocol);
		}
		struct test_case c = plain(version, IPPROTO_TCP);
		c.in.destination = NULL;
		c.in.destination_port = SERVICE_PORT(SERVICE_IPIP);
		c.outcome = FORWARDED;
		c.forwarding = FORWARDING_IPIP;
		c.backend = BACKEND_V4;
		c.service = SERVICE_IPIP;
		case_add(list, &c, "guard: IPv%d to a VIP goes to its backend", version);
		c = plain(version, IPPROTO_UDP);
		c.in.group = true;
		case_add(list, &c, "guard: IPv%d to an Ethernet group passes", version);
	}
	struct test_case c = plain(4, IPPROTO_TCP);
	c.in.options = 10;
	case_add(list, &c, "guard: IPv4 with 40 bytes of options passes");
	c = plain(6, IPPROTO_TCP);
	c.in.extensions = options;
	case_add(list, &c, "guard: IPv6 TCP behind extension headers passes");
	c.in.extensions = esp;
	case_add(list, &c, "guard: IPv6 ESP passes");
	c = plain(4, IPPROTO_TCP);
	c.in.ethertype = 0x0806;
	case_add(list, &c, "guard: ARP passes");
	c.in.ethertype = 0x88cc;
	case_add(list, &c, "guard: LLDP passes");
}

static void ip_shapes(struct case_list *list)
{
	struct test_case c = plain(4, IPPROTO_TCP);
	c.in.wrong_checksum = true;
	add_drop(list, &c, DROP_BAD_CHECKSUM, "with a wrong checksum");
	c = plain(4, IPPROTO_TCP);
	c.in.options = 3;
	c.in.wrong_checksum = true;
	add_drop(list, &c, DROP_BAD_CHECKSUM, "with options and a wrong checksum");
	static const uint16_t lengths[] = {0, 19, 53, 65535};
	for (size_t i = 0; i < 4; i++) {
		c = plain(4, IPPROTO_TCP);
		c.in.patches[0] = (struct patch){.at = 2, .width = 2, .value = lengths[i]};
		add_drop(list, &c, DROP_BAD_LENGTH, "with a length that lies");
	}
	for (uint32_t words = 0; words < 5; words++) {
		c = plain(4, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x40 | words};
		add_drop(list, &c, DROP_BAD_LENGTH, "with a header that is too short");
	}
	c = plain(4, IPPROTO_TCP);
	c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x65};
	add_drop(list, &c, DROP_BAD_VERSION, "of version 6");
	c = plain(6, IPPROTO_TCP);
	c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x40};
	add_drop(list, &c, DROP_BAD_VERSION, "of version 4");
	static const uint16_t payloads[] = {33, 65535};
	for (size_t i = 0; i < 2; i++) {
		c = plain(6, IPPROTO_TCP);
		c.in.patches[0] = (struct patch){.at = 4, .width = 2, .value = payloads[i]};
		add_drop(list, &c, DROP_BAD_LENGTH, "with a length that lies");
	}
	for (uint8_t version = 4; version <= 6; version += 2) {
		uint16_t ip = version == 6 ? 40 : 20;
		static const uint16_t cuts[] = {1, 7, 19};
		for (size_t i = 0; i < 3; i++) {
			c = plain(version, IPPROTO_TCP);
			c.in.cut = (uint16_t)(14 + cuts[i]);
			add_drop(list, &c, DROP_TRUNCATED, "cut within its header");
			c = plain(version, IPPROTO_UDP);
			c.in.cut = (uint16_t)(14 + ip + cuts[i]);
			add_drop(list, &c, DROP_BAD_LENGTH, "cut behind its header");
		}
		c = plain(version, IPPROTO_TCP);
		c.in.source = c.in.destination = version == 6 ? "2001:db8:100::1" : "198.51.100.1";
		add_drop(list, &c, DROP_LAND, "from where it goes to");
	}
	static const uint8_t chain[] = {60, EXTENSIONS_END};
	c = plain(6, IPPROTO_TCP);
	c.in.extensions = chain;
	c.in.patches[0] = (struct patch){.at = 41, .width = 1, .value = 200};
	add_drop(list, &c, DROP_BAD_LENGTH, "with an extension header that reaches beyond its end");
}

/* Every combination of FIN, SYN, RST, PSH, ACK and URG: possible are those of RFC 9293's state machine. */
static bool flags_occur(uint8_t flags)
{
	bool fin = flags & 1, syn = flags & 2, rst = flags & 4, ack = flags & 16, urg = flags & 32;
	if (syn)
		return !fin && !rst && !(ack && urg);
	if (rst)
		return !fin && !urg;
	return ack;
}

static void transport_shapes(struct case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		uint16_t transport = version == 6 ? 40 : 20;
		for (int flags = 0; flags < 64; flags++) {
			struct test_case c = plain(version, IPPROTO_TCP);
			c.in.patches[0] = (struct patch){.at = transport + 13, .width = 1, .value = (uint8_t)flags};
			c.outcome = flags_occur((uint8_t)flags) ? PASSES : DROPPED;
			c.reason = DROP_TCP_FLAGS;
			case_add(list, &c, "guard: IPv%d TCP with flags 0x%02x %s", version, flags,
			         c.outcome == PASSES ? "passes" : "cannot be");
		}
		struct test_case c = plain(version, IPPROTO_TCP);
		c.in.patches[0] = (struct patch){.at = transport + 13, .width = 1, .value = 0xc2};
		case_add(list, &c, "guard: IPv%d TCP: a SYN that offers ECN passes", version);
		static const uint8_t words[] = {0, 4, 9, 15};
		for (size_t i = 0; i < 4; i++) {
			c = plain(version, IPPROTO_TCP);
			c.in.patches[0] =
			        (struct patch){.at = transport + 12, .width = 1, .value = (uint32_t)words[i] << 4};
			add_drop(list, &c, DROP_BAD_LENGTH, "TCP with a header of an impossible length");
		}
		for (uint16_t port = 0; port < 4; port += 2) {
			c = plain(version, IPPROTO_TCP);
			c.in.patches[0] = (struct patch){.at = transport + port, .width = 2, .value = 0};
			add_drop(list, &c, DROP_PORT_ZERO, port ? "TCP to port 0" : "TCP from port 0");
		}
		c = plain(version, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = transport + 2, .width = 2, .value = 0};
		add_drop(list, &c, DROP_PORT_ZERO, "UDP to port 0");
		c = plain(version, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = transport, .width = 2, .value = 0};
		case_add(list, &c, "guard: IPv%d UDP from port 0, which wants no answer, passes", version);
		static const uint16_t lengths[] = {0, 7, 21, 65535};
		for (size_t i = 0; i < 4; i++) {
			c = plain(version, IPPROTO_UDP);
			c.in.patches[0] = (struct patch){.at = transport + 4, .width = 2, .value = lengths[i]};
			add_drop(list, &c, DROP_BAD_LENGTH, "UDP with a length that lies");
		}
		c = plain(version, version == 6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		c.in.patches[0] =
		        (struct patch){.at = version == 6 ? 4 : 2, .width = 2, .value = version == 6 ? 7 : 27};
		add_drop(list, &c, DROP_BAD_LENGTH, "ICMP of seven bytes");
	}
}

static void fragments(struct case_list *list)
{
	static const struct {
		uint8_t protocol;
		uint16_t place; /* in units of eight bytes */
		bool more;
		uint16_t payload; /* behind the transport header that the test writes */
		int reason;
		const char *what;
	} table[] = {
	        {IPPROTO_UDP, 0, true, 1472, DROP_NONE, "UDP: a first fragment"},
	        {IPPROTO_UDP, 185, true, 1472, DROP_NONE, "UDP: a middle fragment"},
	        {IPPROTO_UDP, 370, false, 3, DROP_NONE, "UDP: a last fragment"},
	        {IPPROTO_UDP, 1, true, 1472, DROP_NONE, "UDP: a fragment right behind the header"},
	        {IPPROTO_TCP, 0, true, 4, DROP_NONE, "TCP: a first fragment with the whole header"},
	        {IPPROTO_TCP, 3, false, 4, DROP_NONE, "TCP: a fragment behind the header"},
	        {IPPROTO_TCP, 1, true, 4, DROP_FRAGMENT_OVERLAP, "TCP: a fragment over the flags"},
	        {IPPROTO_TCP, 2, false, 4, DROP_FRAGMENT_OVERLAP, "TCP: a fragment over the checksum"},
	        {IPPROTO_UDP, 185, true, 5, DROP_FRAGMENT_LENGTH, "UDP: a middle fragment of 13 bytes"},
	        {IPPROTO_UDP, 0x1fff, false, 1000, DROP_FRAGMENT_LENGTH, "UDP: a fragment beyond 64 KiB"},
	};
	static const uint8_t extension[] = {44, EXTENSIONS_END};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (uint8_t version = 4; version <= 6; version += 2) {
			struct test_case c = plain(version, table[i].protocol);
			c.in.payload = table[i].payload;
			uint16_t bits = (uint16_t)(table[i].place | (table[i].more ? 0x2000 : 0));
			c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = bits};
			if (version == 6) {
				bits = (uint16_t)(table[i].place << 3 | table[i].more);
				c.in.extensions = extension;
				c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = bits};
			}
			if (table[i].reason)
				add_drop(list, &c, (enum drop_reason)table[i].reason, table[i].what);
			else
				case_add(list, &c, "guard: IPv%d %s passes", version, table[i].what);
		}
	}
	static const struct {
		uint8_t protocol;
		uint16_t length; /* of the fragment: a multiple of eight */
	} tiny[] = {{IPPROTO_TCP, 8}, {IPPROTO_TCP, 16}};
	for (size_t i = 0; i < 2; i++) {
		struct test_case c = plain(4, tiny[i].protocol);
		c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
		c.in.patches[1] = (struct patch){.at = 2, .width = 2, .value = 20u + tiny[i].length};
		add_drop(list, &c, DROP_FRAGMENT_TINY, "TCP: a first fragment without the whole header");
		c = plain(6, tiny[i].protocol);
		c.in.extensions = extension;
		c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = 1};
		c.in.patches[1] = (struct patch){.at = 4, .width = 2, .value = 8u + tiny[i].length};
		add_drop(list, &c, DROP_FRAGMENT_TINY, "TCP: a first fragment without the whole header");
	}
	struct test_case c = plain(4, IPPROTO_TCP);
	c.in.payload = 4;
	c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
	c.in.patches[1] = (struct patch){.at = 32, .width = 1, .value = 15u << 4};
	add_drop(list, &c, DROP_FRAGMENT_TINY, "TCP: a first fragment without all of its options");
	c = plain(4, IPPROTO_UDP);
	c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
	c.in.patches[1] = (struct patch){.at = 2, .width = 2, .value = 20};
	c.in.patches[2] = (struct patch){.at = 8, .width = 1, .value = 64};
	add_drop(list, &c, DROP_FRAGMENT_LENGTH, "UDP: a first fragment of nothing");
	c = plain(6, IPPROTO_TCP);
	c.in.extensions = extension;
	case_add(list, &c, "guard: IPv6: an atomic fragment is whole");
	c = plain(4, IPPROTO_UDP);
	c.in.payload = 16;
	c.in.destination = NULL;
	c.in.destination_port = SERVICE_PORT(SERVICE_IPIP);
	c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
	c.outcome = DROPPED;
	c.reason = DROP_FRAGMENT;
	case_add(list, &c, "guard: IPv4: a good fragment to a VIP ends at xdp_lb");
}

static void martians(struct case_list *list)
{
	static const struct {
		const char *source, *destination;
		int reason;
	} table[] = {
	        {"0.1.2.3", NULL, DROP_MARTIAN},
	        {"127.0.0.1", NULL, DROP_MARTIAN},
	        {"127.255.0.1", NULL, DROP_MARTIAN},
	        {"224.0.0.1", NULL, DROP_MARTIAN},
	        {"239.255.255.255", NULL, DROP_MARTIAN},
	        {"240.0.0.1", NULL, DROP_MARTIAN},
	        {"255.255.255.255", NULL, DROP_MARTIAN},
	        {"0.0.0.0", NULL, DROP_MARTIAN},
	        {"0.0.0.0", "255.255.255.255", DROP_NONE},
	        {"0.0.0.0", "224.0.0.22", DROP_NONE},
	        {NULL, "255.255.255.255", DROP_NONE},
	        {NULL, "224.0.0.251", DROP_NONE},
	        {NULL, "127.0.0.1", DROP_MARTIAN},
	        {NULL, "0.0.0.1", DROP_MARTIAN},
	        {"192.0.2.1", NULL, DROP_SPOOFED},
	        {"192.0.2.2", NULL, DROP_NONE},
	        {"1.0.0.1", NULL, DROP_NONE},
	        {"126.255.255.255", NULL, DROP_NONE},
	        {"128.0.0.1", NULL, DROP_NONE},
	        {"223.255.255.255", NULL, DROP_NONE},
	        {"10.0.0.1", NULL, DROP_NONE},
	        {"169.254.1.1", NULL, DROP_NONE},
	        {"::1", NULL, DROP_MARTIAN},
	        {"::", NULL, DROP_MARTIAN},
	        {"::", "ff02::1:ff00:1", DROP_NONE},
	        {"::192.0.2.9", NULL, DROP_MARTIAN},
	        {"::ffff:192.0.2.9", NULL, DROP_MARTIAN},
	        {"ff02::1", NULL, DROP_MARTIAN},
	        {NULL, "ff02::fb", DROP_NONE},
	        {NULL, "::1", DROP_MARTIAN},
	        {NULL, "::ffff:192.0.2.9", DROP_MARTIAN},
	        {"2001:db8:1::1", NULL, DROP_SPOOFED},
	        {"2001:db8:1::2", NULL, DROP_NONE},
	        {"fe80::1", NULL, DROP_NONE},
	        {"::fffe:192.0.2.9", NULL, DROP_NONE},
	        {"0:0:1::1", NULL, DROP_NONE},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *any = table[i].source ? table[i].source : table[i].destination;
		uint8_t version = 4;
		for (const char *at = any; *at; at++)
			version = *at == ':' ? 6 : version;
		struct test_case c = plain(version, IPPROTO_UDP);
		c.in.source = table[i].source;
		c.in.destination = table[i].destination;
		c.outcome = table[i].reason ? DROPPED : PASSES;
		c.reason = (enum drop_reason)table[i].reason;
		case_add(list, &c, "guard: from %s to %s %s", c.in.source ? c.in.source : "a client",
		         c.in.destination ? c.in.destination : "a host", table[i].reason ? "is dropped" : "passes");
		if (!table[i].reason)
			continue;
		c.guard = &nothing;
		c.outcome = PASSES;
		case_add(&unasked, &c, "guard: from %s to %s, when nobody asks", c.in.source ? c.in.source : "a client",
		         c.in.destination ? c.in.destination : "a host");
	}
}

void cases_guard(struct case_list *list)
{
	ordinary(list);
	ip_shapes(list);
	transport_shapes(list);
	fragments(list);
	martians(list);
	for (size_t i = 0; i < unasked.count; i++) {
		case_add(list, &unasked.cases[i], "%s", unasked.cases[i].name);
		free(unasked.cases[i].name);
	}
	free(unasked.cases);
}
