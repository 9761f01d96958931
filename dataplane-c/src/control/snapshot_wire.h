/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Just enough of a packed marcher.engine.v1.Snapshot to keep a journal of them: the head, and merging deltas into a
 * complete snapshot by service name. Works on the wire form (protobuf encoding: varint keys, length-delimited fields),
 * so 10,000 services need no 100,000 small allocations in the agent, and fields unknown to this build survive.
 */
#ifndef CONTROL_SNAPSHOT_WIRE_H
#define CONTROL_SNAPSHOT_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct snapshot_head {
	uint64_t generation;
	uint64_t base_generation; /* 0: complete */
};

struct bytes {
	const uint8_t *data;
	size_t length;
};

/* Walks all top-level fields. Returns 0, or -EBADMSG when the bytes are no well-formed Snapshot. */
int snapshot_head_read(const uint8_t *data, size_t length, struct snapshot_head *head);

/* Merges frames[0] (complete) and the deltas after it, oldest first, into one complete snapshot with the last one's
 * generation. Returns 0 and a malloc'd buffer, -EBADMSG or -ENOMEM. */
int snapshot_merge(const struct bytes *frames, size_t count, uint8_t **merged, size_t *length);

#endif
