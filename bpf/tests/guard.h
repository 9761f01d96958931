/* SPDX-License-Identifier: Apache-2.0 */
/* A guard as its maps hold it, put in force by hand. */
#ifndef TESTS_GUARD_H
#define TESTS_GUARD_H

#include <stdint.h>

#include "lib/layout.h"

/* Lists end with what is zero; classes, spans and rules are those of the maps, whose index 0 is everybody's or the
 * default's. */
struct guard_setup {
	struct guard guard;
	struct {
		const char *address;
		uint8_t length;
		uint32_t class;
	} sources[8];
	struct guard_class classes[6];
	struct guard_span spans[GUARD_CLASS_SPANS_MAX + 2];
	struct guard_rule rules[12];
	const char *device;   /* of rules to a device */
	const char *next_hop; /* of rules to a host */
	const char *own[4];   /* addresses of this node */
};

/* NULL: nothing is guarded. What is in force already stays; counters and debts of sources are cleared. */
void guard_set(const struct guard_setup *setup);

struct traffic guard_traffic(uint32_t counter);
struct guard_cookies guard_cookies_seen(void);
struct guard_syns guard_syns_seen(void);

#endif
