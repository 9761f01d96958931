/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token bucket of every tier, as the generic cell rate algorithm (ITU-T I.371, Annex A, virtual scheduling): all
 * state of a bucket is one 64-bit word, its theoretical arrival time (TAT), so one compare-and-swap takes from it.
 *
 *   cost(n)   = n units at the rate, as time
 *   ahead     = TAT - now, or 0 when that is past: an idle bucket fills up and no further
 *   n conform   when ahead + cost(n) <= tolerance, and then TAT = now + ahead + cost(n)
 *
 * In any t seconds at most rate * t + burst units conform, with tolerance = cost(burst); and while there is always
 * something to take at least rate * t do.
 *
 * Arithmetic. Only 64 bits and no division where packets pass, so that BPF programs do the same. Times are ticks of
 * 1/256 ns; they wrap after 2.28 years, so they are compared by their signed difference. The cost of one unit is in
 * 2^-20 ns: at 10 Tbit/s a byte is 839 of these, so rounding it up makes 0.1 % at most; costs are rounded up to ticks.
 * A product stays below 2^64 for up to GCRA_UNITS_MAX bytes at rates from GCRA_BITS_PER_SECOND_MIN on.
 *
 * What takes beyond the burst on purpose (packets that are marked and not dropped) uses twice the tolerance on the same
 * TAT. A TAT further ahead than that and a second cannot come from this bucket's past: the clock went back, a long
 * silence wrapped it, or the rate was another one. Then the bucket counts as full.
 */
#ifndef ENGINE_GCRA_H
#define ENGINE_GCRA_H

#include <stdbool.h>
#include <stdint.h>

#define GCRA_TICK_BITS 8u  /* ticks per ns */
#define GCRA_COST_BITS 12u /* of a unit's cost below one tick */
#define GCRA_UNITS_MAX (1u << 20)
#define GCRA_STALE (1000000000ull << GCRA_TICK_BITS)
#define GCRA_TOLERANCE_MAX (1ull << 60) /* 52 days */
#define GCRA_BITS_PER_SECOND_MIN 1000ull
#define GCRA_BITS_PER_SECOND_MAX 10000000000000ull

struct gcra_rate {
	uint64_t unit_cost; /* 2^-20 ns; 0: no limit */
	uint64_t tolerance; /* ticks */
};

static inline uint64_t gcra_ticks(uint64_t ns)
{
	return ns << GCRA_TICK_BITS;
}

static inline uint64_t gcra_cost(const struct gcra_rate *rate, uint64_t units)
{
	return (units * rate->unit_cost + (1u << GCRA_COST_BITS) - 1) >> GCRA_COST_BITS;
}

/* How far the bucket is from full, in ticks. */
static inline uint64_t gcra_ahead(uint64_t tat, uint64_t now, const struct gcra_rate *rate)
{
	int64_t ahead = (int64_t)(tat - now);
	return ahead < 0 || (uint64_t)ahead > 2 * rate->tolerance + GCRA_STALE ? 0 : (uint64_t)ahead;
}

/* Whether units conform now; *next is the TAT with them. */
static inline bool gcra_conforms(uint64_t tat, uint64_t now, const struct gcra_rate *rate, uint64_t units,
                                 uint64_t *next)
{
	uint64_t ahead = gcra_ahead(tat, now, rate) + gcra_cost(rate, units);
	*next = now + ahead;
	return ahead <= rate->tolerance;
}

/* Units that conform now. Divides. */
static inline uint64_t gcra_available(uint64_t tat, uint64_t now, const struct gcra_rate *rate)
{
	uint64_t ahead = gcra_ahead(tat, now, rate);
	uint64_t room = ahead < rate->tolerance ? rate->tolerance - ahead : 0;
	if (room >> (64 - GCRA_COST_BITS))
		return room / rate->unit_cost << GCRA_COST_BITS;
	return (room << GCRA_COST_BITS) / rate->unit_cost;
}

/* Nanoseconds until so many units conform, if nobody takes any meanwhile. For units of at most the burst. */
static inline uint64_t gcra_wait_ns(uint64_t tat, uint64_t now, const struct gcra_rate *rate, uint64_t units)
{
	uint64_t ahead = gcra_ahead(tat, now, rate) + gcra_cost(rate, units);
	return ahead <= rate->tolerance ? 0 : ((ahead - rate->tolerance) >> GCRA_TICK_BITS) + 1;
}

/* A rate of per_second times scale, and its burst: scale 8 for bytes at a rate in bits, 1 for events. */
static inline struct gcra_rate gcra_rate(uint64_t per_second, uint64_t scale, uint64_t burst)
{
	unsigned __int128 second = (unsigned __int128)1000000000u * scale << (GCRA_TICK_BITS + GCRA_COST_BITS);
	unsigned __int128 tolerance;
	struct gcra_rate rate;

	rate.unit_cost = (uint64_t)((second + per_second - 1) / per_second);
	tolerance = ((unsigned __int128)rate.unit_cost * burst + (1u << GCRA_COST_BITS) - 1) >> GCRA_COST_BITS;
	rate.tolerance = tolerance < GCRA_TOLERANCE_MAX ? (uint64_t)tolerance : GCRA_TOLERANCE_MAX;
	return rate;
}

#endif
