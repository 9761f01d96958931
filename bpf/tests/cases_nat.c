/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translation, packet by packet. What should come out is built from a description as what goes in is, with every
 * checksum computed anew from all that it covers: that the programs change them by differences shows nowhere.
 */
#include "cases_nat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expect.h"
#include "guard.h"
#include "lib/layout_names.h"

void nat_case_add(struct nat_case_list *list, const struct nat_case *c, const char *name, ...)
{
	if (list->count == list->space) {
		list->space = list->space ? list->space * 2 : 256;
		list->cases = realloc(list->cases, list->space * sizeof(*list->cases));
		if (!list->cases)
			abort();
	}
	struct nat_case *added = &list->cases[list->count++];
	*added = *c;
	va_list arguments;
	va_start(arguments, name);
	if (vasprintf(&added->name, name, arguments) < 0)
		abort();
	va_end(arguments);
}

static bool check_drops(const struct nat_case *c)
{
	bool good = true;
	for (int reason = 0; reason < DROP_REASONS; reason++) {
		uint64_t expected = c->outcome == NAT_DROPPED && reason == (int)c->reason,
		         actual = world_drops((enum drop_reason)reason);
		if (actual != expected) {
			fprintf(stderr, "%s: drops[%s] is %lu, expected %lu\n", c->name, drop_reason_names[reason],
			        (unsigned long)actual, (unsigned long)expected);
			good = false;
		}
	}
	return good;
}

static bool check_failures(const struct nat_case *c)
{
	uint64_t expected = c->outcome == NAT_DROPPED && c->reason == DROP_NO_ROUTE && !c->returned;
	uint64_t actual = world_failures(c->service, DROP_NO_ROUTE);
	if (actual == expected)
		return true;
	fprintf(stderr, "%s: the service has %lu failures, expected %lu\n", c->name, (unsigned long)actual,
	        (unsigned long)expected);
	return false;
}

static bool check_traffic(const struct nat_case *c, const struct traffic *before, uint64_t bytes)
{
	struct traffic now = world_service_traffic(c->service);
	uint64_t packets =
	        c->returned ? now.returned_packets - before->returned_packets : now.packets - before->packets;
	uint64_t counted = c->returned ? now.returned_bytes - before->returned_bytes : now.bytes - before->bytes;
	if (packets == (bytes ? 1 : 0) && counted == bytes)
		return true;
	fprintf(stderr, "%s: the service counts %lu packets, %lu bytes; expected %lu bytes\n", c->name,
	        (unsigned long)packets, (unsigned long)counted, (unsigned long)bytes);
	return false;
}

void nat_run_case(void **state)
{
	const struct nat_case *c = *state;
	struct frame in, expected;
	struct result result = {0};
	nat_reset();
	if (c->before.destination_port) {
		frame_build(&in, &c->before);
		nat_run(NAT_INGRESS, &in, 0, &result);
		assert_true(result.verdict == VERDICT_OUT || result.verdict == VERDICT_ON);
	}
	struct traffic before = {0};
	if (c->service)
		before = world_service_traffic(c->service);
	frame_build(&in, &c->in);
	guard_set(NULL);
	world_set_own(&in, c->own);
	nat_run(c->hook, &in, c->gso_size, &result);
	world_set_own(&in, false);
	uint32_t verdict = VERDICT_ON;
	expected = in;
	switch (c->outcome) {
	case NAT_DROPPED:
		verdict = VERDICT_DROP;
		break;
	case NAT_LEAVES:
		verdict = VERDICT_OUT;
		frame_build(&expected, &c->want);
		break;
	case NAT_GOES_ON:
		frame_build(&expected, &c->want);
		break;
	case NAT_TOLD:
		verdict = VERDICT_OUT;
		expect_too_big(&expected, &in, c->mtu);
		break;
	default:
		break;
	}
	bool good = check_drops(c);
	if (result.verdict != verdict) {
		fprintf(stderr, "%s: the verdict is %d, expected %d\n", c->name, (int)result.verdict, (int)verdict);
		good = false;
	} else if (verdict != VERDICT_DROP && (result.frame.length != expected.length ||
	                                       memcmp(result.frame.data, expected.data, expected.length))) {
		frame_report(c->name, &expected, &result.frame);
		good = false;
	}
	bool carried = c->outcome == NAT_LEAVES || c->outcome == NAT_GOES_ON;
	if (c->service)
		good &= check_failures(c);
	if (c->service)
		good &= check_traffic(c, &before, carried ? in.length : 0);
	assert_true(good);
}

/* How a flow is translated. */
struct way {
	const char *what;
	uint8_t version;
	uint32_t backend;
	bool source_nat;
	bool local;
};

static const struct way ways[] = {
        {"DNAT", 4, BACKEND_V4, false, false},
        {"DNAT", 6, BACKEND_V6, false, false},
        {"SNAT", 4, BACKEND_V4, true, false},
        {"SNAT", 6, BACKEND_V6, true, false},
        {"DNAT by a gateway", 4, BACKEND_V4_GATEWAY, false, false},
        {"DNAT by a gateway", 6, BACKEND_V6_GATEWAY, false, false},
        {"SNAT by a gateway", 4, BACKEND_V4_GATEWAY, true, false},
        {"SNAT by a gateway", 6, BACKEND_V6_GATEWAY, true, false},
        {"DNAT back where it came from", 4, BACKEND_V4_IN, false, false},
        {"DNAT back where it came from", 6, BACKEND_V6_IN, false, false},
        {"SNAT to a VLAN device", 4, BACKEND_V4_VLAN, true, false},
        {"SNAT to a VLAN device", 6, BACKEND_V6_VLAN, true, false},
        {"DNAT to a backend that is not known yet", 4, BACKEND_NO_NEIGHBOUR, false, false},
        {"DNAT to a backend that is not known yet", 6, BACKEND_V6_NO_NEIGHBOUR, false, false},
        {"DNAT to this node", 4, BACKEND_LOCAL_V4, false, true},
        {"DNAT to this node", 6, BACKEND_LOCAL_V6, false, true},
        {"SNAT, which is none, to this node", 4, BACKEND_LOCAL_V4, true, true},
        {"SNAT, which is none, to this node", 6, BACKEND_LOCAL_V6, true, true},
};

static uint32_t service_of(const struct way *way)
{
	return (way->source_nat ? SERVICE_SOURCE_NATTED : SERVICE_NAT) + way->backend;
}

static uint16_t backend_port(const struct way *way)
{
	bool own = way->backend != BACKEND_V4_GATEWAY && way->backend != BACKEND_V6_GATEWAY;
	return own ? BACKEND_PORT : SERVICE_PORT(service_of(way));
}

static struct spec client_packet(const struct way *way, uint8_t protocol)
{
	return (struct spec){.version = way->version,
	                     .protocol = protocol,
	                     .destination_port = SERVICE_PORT(service_of(way)),
	                     .payload = 100};
}

/* By which backend's next hop XDP sends it; 0: tc does. */
static uint32_t fast_way(const struct way *way)
{
	bool unknown = way->backend == BACKEND_NO_NEIGHBOUR || way->backend == BACKEND_V6_NO_NEIGHBOUR;
	return way->local || unknown ? 0 : way->backend;
}

/* And clients are behind a gateway. */
static uint32_t fast_back(const struct way *way)
{
	return way->local ? 0 : way->version == 4 ? BACKEND_V4_GATEWAY : BACKEND_V6_GATEWAY;
}

/* What a client's packet of a new flow becomes. */
static struct spec to_backend(const struct way *way, const struct spec *in)
{
	struct spec out = *in;
	struct frame frame;
	frame_build(&frame, in);
	out.destination = world_backend(way->backend)->address;
	out.destination_port = backend_port(way);
	if (way->source_nat && !way->local) {
		out.source = world_backend(way->backend)->source;
		out.source_port = nat_expected_port(&frame, 0);
	}
	if (!way->local) {
		out.ttl = (in->ttl ? in->ttl : 61) - 1;
		out.tags = 0;
	}
	return out;
}

/* The backend's answer to what the client's packet has become, and what that becomes. */
static struct spec backend_packet(const struct way *way, const struct spec *client)
{
	struct spec there = to_backend(way, client), out = *client;
	out.source = there.destination;
	out.destination = there.source ? there.source : way->version == 4 ? CLIENT_V4 : CLIENT_V6;
	out.source_port = there.destination_port;
	out.destination_port = there.source_port ? there.source_port : 40000;
	return out;
}

static struct spec to_client(const struct way *way, const struct spec *client, const struct spec *in)
{
	struct spec out = *in;
	out.source = way->version == 4 ? VIP_V4 : VIP_V6;
	out.destination = client->source ? client->source : way->version == 4 ? CLIENT_V4 : CLIENT_V6;
	out.source_port = client->destination_port;
	out.destination_port = client->source_port ? client->source_port : 40000;
	if (!way->local) {
		out.ttl = (in->ttl ? in->ttl : 61) - 1;
		out.tags = 0;
	}
	return out;
}

struct form {
	const char *what;
	struct spec spec; /* fields that are not 0 are the packet's */
};

static const uint8_t one_header[] = {IPPROTO_DSTOPTS, EXTENSIONS_END};
static const uint8_t many_headers[] = {IPPROTO_HOPOPTS, IPPROTO_DSTOPTS, IPPROTO_ROUTING, IPPROTO_FRAGMENT,
                                       EXTENSIONS_END};

static const struct form forms[] = {
        {"", {0}},
        {" without payload", {.payload = 0xffff}},
        {" of one byte", {.payload = 1}},
        {" of 1400 bytes", {.payload = 1400}},
        {" with a VLAN tag", {.tags = 1}},
        {" with two VLAN tags", {.tags = 2}},
        {" with a service tag", {.tags = 1, .tag_protocol = 0x88a8}},
        {" with 4 bytes of options, or an extension header", {.options = 1, .extensions = one_header}},
        {" with 40 bytes of options, or four extension headers", {.options = 10, .extensions = many_headers}},
        {" with DSCP and ECN", {.traffic_class = 0xbb}},
        {" of TTL 2", {.ttl = 2}},
        {" of TTL 255", {.ttl = 255}},
        {" that may be fragmented", {.may_fragment = true}},
        {" padded", {.payload = 3, .padding = 11}},
        {" from port 1", {.source_port = 1}},
        {" from port 65535", {.source_port = 65535}},
        {" without a checksum", {.no_checksum = true}},
};

static void take_form(struct spec *to, const struct form *form)
{
	const struct spec *from = &form->spec;
	if (from->payload)
		to->payload = from->payload == 0xffff ? 0 : from->payload;
	to->tags = from->tags;
	to->tag_protocol = from->tag_protocol;
	to->options = to->version == 4 ? from->options : 0;
	to->extensions = to->version == 6 ? from->extensions : NULL;
	to->traffic_class = from->traffic_class;
	to->ttl = from->ttl;
	to->may_fragment = from->may_fragment;
	to->padding = from->padding;
	to->source_port = from->source_port;
	to->no_checksum = from->no_checksum;
}

static void both_directions(struct nat_case_list *list)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		const struct way *way = &ways[w];
		for (size_t p = 0; p < 2; p++) {
			for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
				const char *name = protocols[p] == IPPROTO_TCP ? "TCP" : "UDP";
				struct nat_case c = {.in = client_packet(way, protocols[p]),
				                     .outcome = way->local ? NAT_GOES_ON : NAT_LEAVES,
				                     .service = service_of(way),
				                     .fast = fast_way(way)};
				take_form(&c.in, &forms[f]);
				c.want = to_backend(way, &c.in);
				nat_case_add(list, &c, "IPv%d %s%s: %s", way->version, name, forms[f].what, way->what);
				/* The client's packet is a plain one; the answer has the form. */
				struct spec client = client_packet(way, protocols[p]);
				client.source_port = c.in.source_port;
				c.before = client;
				c.in = backend_packet(way, &client);
				uint16_t port = c.in.source_port;
				take_form(&c.in, &forms[f]);
				c.in.source_port = port;
				c.want = to_client(way, &client, &c.in);
				c.hook = way->local ? NAT_EGRESS : NAT_INGRESS;
				c.returned = true;
				c.fast = fast_back(way);
				nat_case_add(list, &c, "IPv%d %s%s: the answer to %s", way->version, name,
				             forms[f].what, way->what);
			}
		}
	}
}

/* Sums of ports through the places where ones' complement carries. */
static void checksums(struct nat_case_list *list)
{
	for (size_t w = 0; w < 4; w++) {
		for (uint32_t i = 0; i < 24; i++) {
			struct nat_case c = {.in = client_packet(&ways[w], i % 2 ? IPPROTO_TCP : IPPROTO_UDP),
			                     .outcome = NAT_LEAVES,
			                     .fast = ways[w].backend};
			c.in.source_port = (uint16_t)(40000 + i * 1009);
			c.in.payload = (uint16_t)(i * 3);
			c.in.sequence = 0xfffe0000 + i * 0x1111;
			c.want = to_backend(&ways[w], &c.in);
			nat_case_add(list, &c, "IPv%d %s: checksum %u", ways[w].version, ways[w].what, i);
		}
	}
}

static void refusals(struct nat_case_list *list)
{
	for (size_t w = 0; w < 4; w++) {
		const struct way *way = &ways[w];
		const uint8_t version = way->version;
		const uint16_t ip = version == 4 ? 34 : 54;
		struct nat_case c = {.in = client_packet(way, IPPROTO_TCP), .outcome = NAT_DROPPED};
		const struct spec plain = c.in;
		c.in.ttl = 1;
		c.reason = DROP_TTL;
		nat_case_add(list, &c, "IPv%d %s: TTL 1", version, way->what);
		c.in = plain;
		if (version == 4) {
			c.in.wrong_checksum = true;
			c.reason = DROP_BAD_CHECKSUM;
			c.fast = NAT_NOT_FAST;
			nat_case_add(list, &c, "IPv4 %s: a wrong header checksum", way->what);
			c.fast = 0;
			c.in = plain;
			c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
			c.reason = DROP_FRAGMENT;
			nat_case_add(list, &c, "IPv4 %s: a first fragment", way->what);
			c.in.patches[0].value = 0x0010;
			nat_case_add(list, &c, "IPv4 %s: a later fragment", way->what);
			c.own = true;
			c.outcome = NAT_PASSES;
			nat_case_add(list, &c, "IPv4 %s: a later fragment to this node's own address goes on",
			             way->what);
			c.in.patches[0].value = 0x2000;
			nat_case_add(list, &c, "IPv4 %s: a first fragment to this node's own address goes on",
			             way->what);
			c.own = false;
			c.outcome = NAT_DROPPED;
			c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x44};
			c.reason = DROP_BAD_LENGTH;
			nat_case_add(list, &c, "IPv4 %s: a header of 16 bytes", way->what);
			c.own = true;
			nat_case_add(list, &c, "IPv4 %s: a header of 16 bytes, to this node's own address", way->what);
			c.own = false;
		}
		if (version == 6) {
			static const uint8_t fragment[] = {44, EXTENSIONS_END};
			c.in.extensions = fragment;
			c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = 0x0009};
			c.reason = DROP_FRAGMENT;
			nat_case_add(list, &c, "IPv6 %s: a fragment", way->what);
			c.own = true;
			c.outcome = NAT_PASSES;
			nat_case_add(list, &c, "IPv6 %s: a fragment to this node's own address goes on", way->what);
			c.own = false;
			c.outcome = NAT_DROPPED;
		}
		c.in = plain;
		for (uint16_t cut = ip; cut < ip + 20; cut += 3) {
			c.in.cut = cut;
			c.reason = DROP_TRUNCATED;
			nat_case_add(list, &c, "IPv%d %s: cut to %d bytes", version, way->what, cut);
		}
		c.in.cut = ip + 20 + 50;
		c.reason = DROP_BAD_LENGTH;
		nat_case_add(list, &c, "IPv%d %s: shorter than it says", version, way->what);
		c.in = plain;
		c.in.patches[0] = (struct patch){.at = (uint16_t)(ip - 14 + 12), .width = 1, .value = 0x40};
		nat_case_add(list, &c, "IPv%d %s: a TCP header of 16 bytes", version, way->what);
		c.in.patches[0].value = 0xf0;
		c.in.payload = 10;
		nat_case_add(list, &c, "IPv%d %s: a TCP header longer than the packet", version, way->what);
		c.in = client_packet(way, IPPROTO_UDP);
		c.in.patches[0] = (struct patch){.at = (uint16_t)(ip - 14 + 4), .width = 2, .value = 7};
		nat_case_add(list, &c, "IPv%d %s: a UDP length below its header's", version, way->what);
		c.in.patches[0].value = 1000;
		nat_case_add(list, &c, "IPv%d %s: a UDP length beyond the packet", version, way->what);
	}
	static const struct {
		uint8_t version;
		uint32_t backend;
		enum drop_reason reason;
		const char *what;
	} nowhere[] = {
	        {4, BACKEND_NO_ROUTE, DROP_NO_ROUTE, "no route to the backend"},
	        {6, BACKEND_V6_NO_ROUTE, DROP_NO_ROUTE, "no route to the backend"},
	        {4, BACKEND_UNREACHABLE, DROP_NO_ROUTE, "an unreachable route"},
	        {4, BACKEND_BLACKHOLE, DROP_NO_ROUTE, "a blackhole route"},
	        {4, BACKEND_UNUSED, DROP_NO_BACKEND, "a backend that is not in use"},
	        {6, BACKEND_V4, DROP_NO_BACKEND, "a backend of the other family"},
	        {4, BACKEND_V6, DROP_NO_BACKEND, "a backend of the other family"},
	};
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		struct nat_case c = {.in = {.version = nowhere[i].version,
		                            .destination_port = SERVICE_PORT(SERVICE_NAT + nowhere[i].backend)},
		                     .outcome = NAT_DROPPED,
		                     .service = SERVICE_NAT + nowhere[i].backend,
		                     .reason = nowhere[i].reason};
		nat_case_add(list, &c, "IPv%d: %s", nowhere[i].version, nowhere[i].what);
	}
}

static void passes(struct nat_case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct nat_case c = {.in = {.version = version, .destination_port = 9}};
		nat_case_add(list, &c, "IPv%d to a port of a VIP that is no service's goes on", version);
		c.in.destination_port = SERVICE_PORT(SERVICE_IPIP);
		nat_case_add(list, &c, "IPv%d to a service of XDP's goes on", version);
		c.in.destination_port = SERVICE_PORT(SERVICE_NAT + (version == 4 ? BACKEND_V4 : BACKEND_V6));
		c.in.group = true;
		nat_case_add(list, &c, "IPv%d to a group goes on", version);
		c.in.group = false;
		c.in.destination = version == 4 ? "198.51.100.77" : "2001:db8:100::77";
		nat_case_add(list, &c, "IPv%d to no VIP goes on", version);
		c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = version == 4 ? 0x2000 : 0x2c3d};
		nat_case_add(list, &c, "IPv%d, not to a VIP: fragments and the like go on", version);
		c.in.patches[0].width = 0;
		c.in.destination = NULL;
		c.in.protocol = version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
		c.in.icmp_type = version == 4 ? 8 : 128;
		nat_case_add(list, &c, "IPv%d echo goes on: XDP has answered it, or the stack does", version);
		c.in.protocol = 132;
		nat_case_add(list, &c, "IPv%d SCTP goes on", version);
		/* An answer without a flow. */
		c.in = (struct spec){.version = version,
		                     .source = world_backend(version == 4 ? BACKEND_V4 : BACKEND_V6)->address,
		                     .source_port = BACKEND_PORT,
		                     .destination_port = 40000,
		                     .destination = version == 4 ? CLIENT_V4 : CLIENT_V6};
		nat_case_add(list, &c, "IPv%d from a backend, of no flow, goes on", version);
		c.hook = NAT_EGRESS;
		nat_case_add(list, &c, "IPv%d out of this node, of no flow, goes on", version);
	}
}

static void sizes(struct nat_case_list *list)
{
	for (uint8_t version = 4; version <= 6; version += 2) {
		struct way small = {"", version, version == 4 ? BACKEND_V4_SMALL : BACKEND_V6_SMALL, false, false};
		const uint16_t headers = version == 4 ? 40 : 60;
		for (int source_nat = 0; source_nat < 2; source_nat++) {
			small.source_nat = source_nat;
			const char *what = source_nat ? "SNAT" : "DNAT";
			struct nat_case c = {.in = client_packet(&small, IPPROTO_TCP), .outcome = NAT_LEAVES};
			c.in.payload = 1400 - headers;
			c.want = to_backend(&small, &c.in);
			c.fast = small.backend;
			nat_case_add(list, &c, "IPv%d %s: what just fits leaves", version, what);
			c.fast = 0;
			c.in.payload++;
			c.outcome = NAT_TOLD;
			c.mtu = 1400;
			nat_case_add(list, &c, "IPv%d %s: the sender of what does not fit is told", version, what);
			c.in.protocol = IPPROTO_UDP;
			c.in.payload = 1400;
			nat_case_add(list, &c, "IPv%d UDP %s: the sender of what does not fit is told", version, what);
			c.in.no_checksum = true;
			nat_case_add(list, &c, "IPv%d UDP without a checksum %s: the sender is told", version, what);
			c.in.source = version == 4 ? "127.0.0.1" : "::1";
			c.outcome = NAT_PASSES;
			nat_case_add(list, &c, "IPv%d %s: what loopback sent is the stack's to drop", version, what);
			/* Many segments in one buffer: each fits, or none does. */
			c.in = client_packet(&small, IPPROTO_TCP);
			c.in.payload = 3000;
			c.gso_size = 1400 - headers;
			c.outcome = NAT_LEAVES;
			c.want = to_backend(&small, &c.in);
			nat_case_add(list, &c, "IPv%d %s: segments that just fit leave in one", version, what);
			c.gso_size++;
			c.outcome = NAT_TOLD;
			nat_case_add(list, &c, "IPv%d %s: segments that do not fit are told of", version, what);
		}
		/* The answer does not fit to the client. */
		const struct way *way = &ways[version == 4 ? 2 : 3];
		struct nat_case c = {.before = client_packet(way, IPPROTO_TCP), .outcome = NAT_TOLD, .mtu = 1400};
		c.before.source = version == 4 ? "203.0.114.9" : "2001:db8:8::9";
		c.in = backend_packet(way, &c.before);
		c.in.payload = 1400;
		nat_case_add(list, &c, "IPv%d: the backend is told what its answer has to fit into", version);
	}
}

static void segments(struct nat_case_list *list)
{
	static const uint16_t announced[] = {536, 1340, 1360, 1361, 1440, 1460, 8960, 65535};
	for (uint8_t version = 4; version <= 6; version += 2) {
		const struct way small = {"", version, version == 4 ? BACKEND_V4_SMALL : BACKEND_V6_SMALL, false,
		                          false};
		const uint16_t most = version == 4 ? 1360 : 1340;
		for (size_t i = 0; i < sizeof(announced) / sizeof(announced[0]); i++) {
			for (uint8_t nops = 0; nops < 4; nops++) {
				struct nat_case c = {.in = client_packet(&small, IPPROTO_TCP), .outcome = NAT_LEAVES};
				c.in.flags = TCP_SYN;
				c.in.payload = 0;
				c.in.mss = announced[i];
				c.in.nops = nops;
				c.want = to_backend(&small, &c.in);
				c.want.mss = announced[i] < most ? announced[i] : most;
				nat_case_add(list, &c, "IPv%d SYN of MSS %d behind %d bytes on a way of MTU 1400",
				             version, announced[i], nops);
				/* The backend's own, which the client's way there limits. */
				c.before = c.in;
				c.in = backend_packet(&small, &c.before);
				c.in.flags = TCP_SYN | TCP_ACK;
				c.want = to_client(&small, &c.before, &c.in);
				c.want.mss = announced[i] < most ? announced[i] : most;
				nat_case_add(list, &c, "IPv%d SYN and ACK of MSS %d behind %d bytes", version,
				             announced[i], nops);
			}
		}
	}
}

void cases_nat_forward(struct nat_case_list *list)
{
	both_directions(list);
	checksums(list);
	refusals(list);
	passes(list);
	sizes(list);
	segments(list);
}

struct kind {
	uint8_t type, code;
	const char *what;
};

static const struct kind kinds_v4[] = {{3, 4, "fragmentation needed"},
                                       {3, 3, "port unreachable"},
                                       {11, 0, "time exceeded"},
                                       {12, 0, "parameter problem"}};
static const struct kind kinds_v6[] = {
        {2, 0, "packet too big"}, {1, 4, "port unreachable"}, {3, 0, "time exceeded"}, {4, 1, "parameter problem"}};

/* Descriptions that cases point to; they live until the process ends. */
struct kept_spec {
	struct kept_spec *next;
	struct spec spec;
};
static struct kept_spec *kept_specs;

static const struct spec *kept(const struct spec *spec)
{
	struct kept_spec *copy = malloc(sizeof(*copy));
	if (!copy)
		abort();
	*copy = (struct kept_spec){kept_specs, *spec};
	kept_specs = copy;
	return &copy->spec;
}

static const char *own(const char *address, uint8_t version, bool source)
{
	if (address)
		return address;
	if (source)
		return version == 4 ? CLIENT_V4 : CLIENT_V6;
	return version == 4 ? VIP_V4 : VIP_V6;
}

/* As it looks from the flow's other side: nothing of a TTL, which the quoted packet lost somewhere. */
static struct spec quoted(struct spec packet)
{
	packet.ttl = 61;
	packet.tags = 0;
	return packet;
}

static void error_about(struct nat_case_list *list, const struct way *way, uint8_t protocol, const struct kind *kind,
                        uint16_t quote_length)
{
	const uint8_t version = way->version;
	const struct spec client = client_packet(way, protocol);
	const struct spec there = quoted(to_backend(way, &client)), answer = quoted(backend_packet(way, &client));
	const struct spec back = quoted(to_client(way, &client, &answer));
	const char *router = version == 4 ? "192.0.2.99" : "2001:db8:1::99";
	const char *transport = protocol == IPPROTO_TCP ? "TCP" : "UDP";
	struct nat_case c = {.before = client, .service = service_of(way)};
	c.in = (struct spec){.version = version,
	                     .protocol = version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
	                     .icmp_type = kind->type,
	                     .icmp_code = kind->code,
	                     .icmp_rest = 1400,
	                     .quote_length = quote_length};
	/* By a router behind us, of what went to the backend. */
	for (int by_end = 0; by_end < 2; by_end++) {
		c.in.source = by_end ? there.destination : router;
		c.in.destination = own(there.source, version, true);
		c.in.quote = kept(&there);
		c.want = c.in;
		c.want.source = by_end ? own(NULL, version, false) : router;
		c.want.destination = own(client.source, version, true);
		c.want.quote = kept(&client);
		c.want.ttl = way->local ? 0 : 60;
		c.outcome = way->local ? NAT_GOES_ON : NAT_LEAVES;
		c.hook = way->local ? NAT_EGRESS : NAT_INGRESS;
		c.returned = true;
		nat_case_add(list, &c, "IPv%d %s, %s%s: what %s says of a packet to it, quoting %d bytes", version,
		             transport, kind->what, way->what[0] ? "" : "", by_end ? "a backend" : "a router",
		             quote_length);
		/* By a router before us, or by the client, of what the backend answered. */
		c.in.source = by_end ? back.destination : router;
		c.in.destination = back.source;
		c.in.quote = kept(&back);
		c.want = c.in;
		c.want.source = by_end ? answer.destination : router;
		c.want.destination = answer.source;
		c.want.quote = kept(&answer);
		c.want.ttl = way->local ? 0 : 60;
		c.hook = NAT_INGRESS;
		c.returned = false;
		nat_case_add(list, &c, "IPv%d %s, %s: what %s says of an answer, quoting %d bytes, %s", version,
		             transport, kind->what, by_end ? "a client" : "a router", quote_length, way->what);
	}
}

void cases_nat_errors(struct nat_case_list *list)
{
	static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
	static const uint16_t lengths[] = {0, 8, 20};
	for (size_t w = 0; w < sizeof(ways) / sizeof(ways[0]); w++) {
		const struct kind *kinds = ways[w].version == 4 ? kinds_v4 : kinds_v6;
		if (ways[w].backend == BACKEND_NO_NEIGHBOUR || ways[w].backend == BACKEND_V6_NO_NEIGHBOUR)
			continue;
		for (size_t k = 0; k < 4; k++)
			for (size_t p = 0; p < 2; p++)
				for (size_t l = 0; l < 3; l++)
					error_about(list, &ways[w], protocols[p], &kinds[k],
					            lengths[l]
					                    ? (uint16_t)(lengths[l] + (ways[w].version == 4 ? 20 : 40))
					                    : 0);
	}
	/* Of no flow, or made up. */
	for (uint8_t version = 4; version <= 6; version += 2) {
		const struct way *way = &ways[version == 4 ? 0 : 1];
		const struct spec client = client_packet(way, IPPROTO_TCP);
		struct spec there = to_backend(way, &client);
		struct nat_case c = {.in = {.version = version,
		                            .protocol = version == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		                            .icmp_type = version == 4 ? 3 : 1,
		                            .destination = own(NULL, version, true)}};
		c.in.quote = kept(&there);
		nat_case_add(list, &c, "IPv%d: an error about a packet of no flow goes on", version);
		c.before = client;
		c.in.destination = version == 4 ? "203.0.113.8" : "2001:db8:7::8";
		nat_case_add(list, &c, "IPv%d: an error to one who did not send what it quotes goes on", version);
		c.in.destination = own(NULL, version, true);
		c.in.quote_length = (version == 4 ? 20 : 40) + 3;
		nat_case_add(list, &c, "IPv%d: an error that quotes too little goes on", version);
	}
}
