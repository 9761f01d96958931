/* SPDX-License-Identifier: Apache-2.0 */
/* Frames for tests, built from a description. Checksums are computed here from the RFCs, sharing nothing with the
 * programs under test. */
#ifndef TESTS_FRAME_H
#define TESTS_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX 3400

struct frame {
	uint8_t data[FRAME_MAX];
	size_t length;
};

#define CLIENT_V4 "203.0.113.7"
#define CLIENT_V6 "2001:db8:7::7"
#define VIP_V4 "198.51.100.1"
#define VIP_V6 "2001:db8:100::1"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_ACK 0x10

#define EXTENSIONS_END 255

/* A value put over what the description gave, at an offset from the IP header. */
struct patch {
	uint16_t at;
	uint8_t width; /* 1, 2 or 4 bytes, network order; 0: no patch */
	uint32_t value;
};

/* A zero field is what is usual. */
struct spec {
	/* Ethernet */
	uint8_t tags;          /* number of VLAN tags */
	uint16_t tag_protocol; /* of the first: 0x8100 */
	uint16_t ethertype;    /* that the header claims: the version's */
	bool group;            /* sent to a multicast Ethernet address */

	/* IP */
	uint8_t version; /* 4 */
	const char *source, *destination;
	uint8_t protocol; /* TCP */
	uint8_t traffic_class;
	uint8_t ttl;               /* 61 */
	bool may_fragment;         /* IPv4 */
	uint8_t options;           /* IPv4: 32-bit words of no-operation options */
	const uint8_t *extensions; /* IPv6: types of extension headers of 8 bytes each, ended by EXTENSIONS_END */
	uint8_t extension_length;  /* of each, in units of 8 bytes beyond the first */

	/* TCP, UDP */
	uint16_t source_port; /* 40000 */
	uint16_t destination_port;
	uint8_t flags; /* TCP: ACK */
	uint16_t mss;  /* TCP: the option, behind as many no-operations: multiples of 4 with it */
	uint8_t nops;
	uint32_t sequence, acknowledge; /* TCP: 0x01020304, 0x05060708 */
	bool no_checksum;               /* UDP: 0 */
	uint16_t payload;               /* bytes of it */

	/* ICMP: protocol is its */
	uint8_t icmp_type, icmp_code;
	uint32_t icmp_rest;       /* second word of the header */
	const struct spec *quote; /* payload: this packet, */
	uint16_t quote_length;    /* cut to so many bytes; 0: whole */

	/* Encapsulated: protocol IPIP, IPv6 or, with destination_port, UDP */
	const struct spec *inner;

	/* Afterwards */
	struct patch patches[3]; /* the IPv4 header's checksum is computed after these, */
	bool wrong_checksum;     /* and spoiled */
	uint16_t padding;        /* bytes behind the IP packet */
	uint16_t cut;            /* the frame ends after so many bytes; 0: where it ends */
};

void frame_build(struct frame *frame, const struct spec *spec);

/* Length of the Ethernet header with its tags. */
size_t frame_ethernet_length(const struct frame *frame);

/* Big-endian stores. */
void put16(uint8_t *at, uint16_t value);
void put32(uint8_t *at, uint32_t value);
uint16_t get16(const uint8_t *at);

/* 4 or 16 bytes. */
void put_address(uint8_t *at, const char *text);

/* RFC 1071 over bytes, from an initial sum. */
uint16_t reference_checksum(const uint8_t *bytes, size_t length, uint32_t sum);

/* Puts right the checksum of the IPv4 header. */
void checksum_ipv4_header(uint8_t *ip);

/* Of TCP, UDP or ICMP of version at transport, length bytes long, between the addresses of the IP header. */
uint16_t transport_checksum(const uint8_t *ip, uint8_t protocol, const uint8_t *transport, size_t length);

/* Where two frames first differ, and dumps of both, to stderr. */
void frame_report(const char *name, const struct frame *expected, const struct frame *actual);

#endif
