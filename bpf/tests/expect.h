/* SPDX-License-Identifier: Apache-2.0 */
/* What should come out, worked out from what went in by the text of the RFCs. */
#ifndef TESTS_EXPECT_H
#define TESTS_EXPECT_H

#include "frame.h"
#include "lib/layout.h"

/* The hash of a packet's flow; by its source address alone. */
uint64_t expect_hash(const struct frame *in);
uint64_t expect_source_hash(const struct frame *in);

/* The slot of a ring that a hash falls into. */
uint32_t expect_slot(uint64_t hash, uint32_t slots);

/* The frame that goes to a backend (enum backend_index); hash is the flow's, for encapsulation_* fields. */
void expect_forwarded(struct frame *out, const struct frame *in, enum forwarding forwarding, uint32_t backend,
                      uint64_t hash);

/* The answer to an echo request. */
void expect_echo_reply(struct frame *out, const struct frame *in);

/* What tells the sender that mtu fits. */
void expect_too_big(struct frame *out, const struct frame *in, uint32_t mtu);

#endif
