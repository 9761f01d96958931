/* SPDX-License-Identifier: Apache-2.0 */
/* A bucket (gcra.h) that any number of threads take from without a lock. */
#ifndef ENGINE_BUCKET_H
#define ENGINE_BUCKET_H

#include <stdatomic.h>

#include "gcra.h"

/* Takes up to want units (at most GCRA_UNITS_MAX), whole multiples of step unless all of want; fewer than least: none.
 * Returns how many. */
static inline uint64_t bucket_take_steps(_Atomic uint64_t *tat, uint64_t now, const struct gcra_rate *rate,
                                         uint64_t want, uint64_t least, uint64_t step)
{
	uint64_t before = atomic_load_explicit(tat, memory_order_relaxed);
	__u64 next;

	for (;;) {
		uint64_t units = want;
		if (!gcra_conforms(before, now, rate, units, &next)) {
			units = gcra_available(before, now, rate);
			if (units >= want) /* rounding */
				units = want - 1;
			units -= units % step;
			if (units < least || !units || !gcra_conforms(before, now, rate, units, &next))
				return 0;
		}
		if (atomic_compare_exchange_weak_explicit(tat, &before, next, memory_order_relaxed,
		                                          memory_order_relaxed))
			return units;
	}
}

static inline uint64_t bucket_take(_Atomic uint64_t *tat, uint64_t now, const struct gcra_rate *rate, uint64_t want,
                                   uint64_t least)
{
	return bucket_take_steps(tat, now, rate, want, least, 1);
}

/* Gives back units that were taken and not used. Rounded down, so that nothing is gained by it. */
static inline void bucket_give(_Atomic uint64_t *tat, const struct gcra_rate *rate, uint64_t units)
{
	if (units)
		atomic_fetch_sub_explicit(tat, units * rate->unit_cost >> GCRA_COST_BITS, memory_order_relaxed);
}

#endif
