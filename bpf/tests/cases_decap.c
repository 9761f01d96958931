/* SPDX-License-Identifier: Apache-2.0 */
/* Encapsulated packets for this node. */
#include <netinet/in.h>
#include <stdio.h>

#include "cases.h"

/* To a VIP that is balanced here, too: decapsulated packets do not meet the balancer again. */
static const struct spec inner_v4 = {.destination_port = SERVICE_PORT(SERVICE_IPIP), .payload = 60};
static const struct spec inner_v6 = {
        .version = 6, .protocol = IPPROTO_UDP, .destination_port = SERVICE_PORT(SERVICE_IPIP), .payload = 61};

static struct test_case tunnel(bool outer_v6, bool inner_is_v6, bool gue)
{
	const struct spec *inner = inner_is_v6 ? &inner_v6 : &inner_v4;
	return (struct test_case){.in = {.version = outer_v6 ? 6 : 4,
	                                 .source = outer_v6 ? "fd00:1::99" : "10.1.0.99",
	                                 .destination = outer_v6 ? DECAP_V6 : DECAP_V4,
	                                 .protocol = gue ? IPPROTO_UDP : 0,
	                                 .destination_port = GUE_PORT,
	                                 .inner = inner},
	                          .outcome = STRIPPED,
	                          .want = inner};
}

static void well_formed(struct case_list *list)
{
	for (int i = 0; i < 8; i++) {
		bool outer_v6 = i & 1, inner_is_v6 = i & 2, gue = i & 4;
		struct test_case c = tunnel(outer_v6, inner_is_v6, gue);
		char what[40];
		snprintf(what, sizeof(what), "%sIPv%d in IPv%d", gue ? "GUE, " : "", inner_is_v6 ? 6 : 4,
		         outer_v6 ? 6 : 4);
		for (uint8_t tags = 0; tags <= 2; tags++) {
			c.in.tags = tags;
			case_add(list, &c, "%s is decapsulated with %d tags", what, tags);
		}
		c.in.tags = 0;
		c.in.padding = 7;
		case_add(list, &c, "%s is decapsulated, padded", what);
		c.in.padding = 0;
		c.in.destination = outer_v6 ? "fd00:1::77" : "10.1.0.77";
		c.outcome = PASSES;
		case_add(list, &c, "%s to another address is the stack's", what);
		c.in.destination = outer_v6 ? DECAP_V6 : DECAP_V4;
		c.in.group = true;
		case_add(list, &c, "%s to an Ethernet group is the stack's", what);
		c.in.group = false;
		uint16_t outer = (uint16_t)(14 + (outer_v6 ? 40 : 20) + (gue ? 8 : 0));
		uint16_t length = (uint16_t)(outer + (inner_is_v6 ? 40 + 69 : 20 + 80));
		for (uint16_t cut = (uint16_t)(outer - 8); cut < length; cut += 5) {
			c.in.cut = cut;
			c.outcome = cut < 14 + (outer_v6 ? 40 : 20) || gue ? PASSES : DROPPED;
			c.reason = DROP_BAD_LENGTH;
			case_add(list, &c, "%s cut to %d bytes", what, cut);
		}
		c.in.cut = 0;
		if (outer_v6) {
			/* The tunnel encapsulation limit of RFC 2473, which Linux's tunnels send. */
			static const uint8_t options[] = {60, EXTENSIONS_END};
			c.in.extensions = options;
			c.outcome = STRIPPED;
			case_add(list, &c, "%s behind destination options is decapsulated", what);
			static const uint8_t fragment[] = {44, EXTENSIONS_END};
			c.in.extensions = fragment;
			c.in.patches[0] = (struct patch){.at = 42, .width = 2, .value = 1};
			c.outcome = PASSES;
			case_add(list, &c, "%s in a fragment is the stack's", what);
			continue;
		}
		c.outcome = STRIPPED;
		c.in.options = 4;
		case_add(list, &c, "%s with outer options is decapsulated", what);
		c.in.options = 0;
		c.outcome = DROPPED;
		c.reason = DROP_BAD_CHECKSUM;
		c.in.wrong_checksum = true;
		case_add(list, &c, "%s with a wrong outer checksum", what);
		c.in.wrong_checksum = false;
		c.outcome = gue ? PASSES : DROPPED;
		c.reason = DROP_FRAGMENT;
		c.in.patches[0] = (struct patch){.at = 6, .width = 2, .value = 0x2000};
		case_add(list, &c, "%s in a first fragment", what);
		c.in.patches[0].value = 0x0010;
		case_add(list, &c, "%s in a later fragment", what);
		c.reason = DROP_BAD_LENGTH;
		c.in.patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x44};
		case_add(list, &c, "%s with an outer header of 16 bytes", what);
		c.in.patches[0] = (struct patch){.at = 2, .width = 2, .value = 19};
		case_add(list, &c, "%s with an outer length of 19", what);
		c.in.patches[0].value = 2000;
		case_add(list, &c, "%s with an outer length beyond the frame", what);
		c.in.destination = DECAP_NO_GUE;
		c.in.patches[0] = (struct patch){0};
		c.outcome = gue ? PASSES : STRIPPED;
		case_add(list, &c, "%s to an address without a GUE port", what);
	}
	struct test_case c = tunnel(false, false, true);
	c.outcome = PASSES;
	c.in.destination_port = GUE_PORT + 1;
	case_add(list, &c, "UDP to another port of a decapsulating address is the stack's");
	c.in.destination_port = GUE_PORT;
	c.in.inner = NULL;
	c.in.payload = 40;
	c.in.patches[0] = (struct patch){.at = 28, .width = 1, .value = 0x00};
	case_add(list, &c, "GUE variant 0 is the stack's");
	c.in.patches[0].value = 0x80;
	case_add(list, &c, "GUE variant 2 is the stack's");
	c.outcome = DROPPED;
	c.reason = DROP_BAD_VERSION;
	c.in.patches[0].value = 0x50;
	case_add(list, &c, "GUE of IP version 5");
	c.in.patches[0] = (struct patch){0};
	c.in.payload = 0;
	c.reason = DROP_TRUNCATED;
	case_add(list, &c, "GUE of nothing");
	c = tunnel(false, false, false);
	c.in.protocol = 47;
	c.outcome = PASSES;
	case_add(list, &c, "GRE to a decapsulating address is the stack's");
}

static void lying(struct case_list *list)
{
	static const uint16_t lengths_v4[] = {0, 19, 101, 65535}, lengths_v6[] = {70, 100, 65535};
	static struct spec inners[32];
	size_t used = 0;
	for (int gue = 0; gue < 2; gue++) {
		struct test_case c = tunnel(false, false, gue);
		c.outcome = DROPPED;
		c.reason = DROP_BAD_LENGTH;
		for (size_t i = 0; i < 4; i++) {
			struct spec *inner = &inners[used++];
			*inner = inner_v4;
			inner->patches[0] = (struct patch){.at = 2, .width = 2, .value = lengths_v4[i]};
			c.in.inner = inner;
			case_add(list, &c, "%s: an inner IPv4 packet of 100 bytes that says %d", gue ? "GUE" : "IPIP",
			         lengths_v4[i]);
		}
		struct spec *inner = &inners[used++];
		*inner = inner_v4;
		inner->patches[0] = (struct patch){.at = 0, .width = 1, .value = 0x44};
		c.in.inner = inner;
		case_add(list, &c, "%s: an inner header of 16 bytes", gue ? "GUE" : "IPIP");
		for (size_t i = 0; i < 3; i++) {
			inner = &inners[used++];
			*inner = inner_v6;
			inner->patches[0] = (struct patch){.at = 4, .width = 2, .value = lengths_v6[i]};
			c.in.inner = inner;
			case_add(list, &c, "%s: an inner IPv6 payload of 69 bytes that says %d", gue ? "GUE" : "IPIP",
			         lengths_v6[i]);
		}
	}
	struct test_case c = tunnel(false, false, false);
	c.in.protocol = IPPROTO_IPV6;
	c.outcome = DROPPED;
	c.reason = DROP_BAD_VERSION;
	case_add(list, &c, "IPv4 that is announced as IPv6");
	c = tunnel(true, true, false);
	c.in.protocol = IPPROTO_IPIP;
	c.outcome = DROPPED;
	c.reason = DROP_BAD_VERSION;
	case_add(list, &c, "IPv6 that is announced as IPv4");
	static const uint16_t udp_lengths[] = {0, 7, 109, 65535};
	for (size_t i = 0; i < 4; i++) {
		c = tunnel(false, false, true);
		c.outcome = DROPPED;
		c.reason = DROP_BAD_LENGTH;
		c.in.patches[0] = (struct patch){.at = 24, .width = 2, .value = udp_lengths[i]};
		case_add(list, &c, "GUE: a datagram of 108 bytes that says %d", udp_lengths[i]);
	}
}

/* RFC 6040, figure 4; rows inner, columns outer: not-ECT, ECT(1), ECT(0), CE in order of their values. -1: dropped. */
static const int left[4][4] = {
        {0, 0, 0, -1},
        {1, 1, 1, 3},
        {2, 1, 2, 3},
        {3, 3, 3, 3},
};

static void congestion(struct case_list *list)
{
	static struct spec inners[2][4], wants[2][4];
	for (int v6 = 0; v6 < 2; v6++) {
		for (int value = 0; value < 4; value++) {
			inners[v6][value] = wants[v6][value] = v6 ? inner_v6 : inner_v4;
			inners[v6][value].traffic_class = wants[v6][value].traffic_class = (uint8_t)(10 << 2 | value);
		}
	}
	for (int i = 0; i < 4; i++) {
		bool outer_v6 = i & 1, inner_is_v6 = i & 2;
		for (int inner = 0; inner < 4; inner++) {
			for (int outer = 0; outer < 4; outer++) {
				struct test_case c = tunnel(outer_v6, inner_is_v6, false);
				c.in.traffic_class = (uint8_t)(46 << 2 | outer);
				c.in.inner = &inners[inner_is_v6][inner];
				if (left[inner][outer] < 0) {
					c.outcome = DROPPED;
					c.reason = DROP_CONGESTION;
				} else {
					c.want = &wants[inner_is_v6][left[inner][outer]];
				}
				case_add(list, &c, "ECN %d of IPv%d in %d of IPv%d", inner, inner_is_v6 ? 6 : 4, outer,
				         outer_v6 ? 6 : 4);
			}
		}
	}
}

void cases_decap(struct case_list *list)
{
	well_formed(list);
	lying(list);
	congestion(list);
}
