/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY protocol v1 and v2 (HAProxy's doc/proxy-protocol.txt), both ways. Parsing is strict and touches no more than
 * length. */
#ifndef ENGINE_PROXY_PROTOCOL_H
#define ENGINE_PROXY_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#include "../addr.h"

#define PROXY_HEADER_MAX 536u /* the longest that is read: v2 with 520 bytes of addresses and TLVs */
#define PROXY_V1_MAX 107u

struct proxy_header {
	uint8_t version; /* 1 or 2 */
	bool local;      /* LOCAL or UNKNOWN: keep the connection's own addresses */
	struct addr source, destination;
};

/* Returns the header's length, 0 when more bytes are needed, or -1 when it is not a lawful header (error says why). */
int proxy_header_parse(const uint8_t *data, size_t length, struct proxy_header *header, const char **error);

/* Writes a header into out (at least PROXY_HEADER_MAX). Returns its length. Families that differ or are not IP are
 * written as UNKNOWN (v1) or LOCAL's neighbour AF_UNSPEC (v2). */
size_t proxy_header_write(uint8_t version, const struct addr *source, const struct addr *destination, uint8_t *out);

#endif
