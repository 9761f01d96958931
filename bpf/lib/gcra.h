/* SPDX-License-Identifier: Dual BSD/GPL OR Apache-2.0 */
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
 * Arithmetic. Only 64 bits and no division: the engine, the control library and the programs in the kernel compile this
 * very header. Times are ticks of 1/256 ns; they wrap after 2.28 years, so they are compared by their signed
 * difference. The cost of one unit is in 2^-20 ns: at 10 Tbit/s a byte is 839 of these, so rounding it up makes 0.1 %
 * at most; costs are rounded up to ticks. A product stays below 2^64 for up to GCRA_UNITS_MAX bytes at rates from
 * GCRA_BITS_PER_SECOND_MIN on.
 *
 * Marks (RFC 3168). What would be dropped and says ECT may be taken beyond the burst and marked, by a quarter of the
 * burst on the same TAT (gcra_more). Of a bucket that several senders share that is not enough: a sender that does not
 * react to marks would hold it beyond the burst for good, where nothing without ECT conforms. So what is marked is
 * taken from a second bucket besides (gcra_marks), which fills up at a sixteenth of the rate: while few packets are
 * over the rate they are marked in place of being dropped, and when more are, all are dropped alike (as RFC 8033,
 * section 5.1, does above 10 %). To mark earlier than others are dropped would be unfair the other way round: senders
 * that react would yield all of it to those without ECT.
 *
 * A TAT further ahead than twice the tolerance and a second cannot come from this bucket's past, whatever has waited or
 * was marked: the clock went back, a long silence wrapped it, or the rate was another one. Then the bucket counts as
 * full.
 */
#ifndef BPF_GCRA_H
#define BPF_GCRA_H

#include <linux/types.h>
#include <stdbool.h>

#define GCRA_TICK_BITS 8u  /* ticks per ns */
#define GCRA_COST_BITS 12u /* of a unit's cost below one tick */
#define GCRA_UNITS_MAX (1u << 20)
#define GCRA_STALE (1000000000ull << GCRA_TICK_BITS)
#define GCRA_TOLERANCE_MAX (1ull << 60) /* 52 days */
#define GCRA_BITS_PER_SECOND_MIN 1000ull
#define GCRA_BITS_PER_SECOND_MAX 10000000000000ull
#define GCRA_MORE_SHIFT 2u  /* marked beyond the burst: a quarter of it */
#define GCRA_MARKS_SHIFT 4u /* marked in the long run: a sixteenth of the rate */

struct gcra_rate {
	__u64 unit_cost; /* 2^-20 ns; 0: no limit */
	__u64 tolerance; /* ticks */
};

static inline __u64 gcra_ticks(__u64 ns)
{
	return ns << GCRA_TICK_BITS;
}

/* Rounded up. */
static inline __u64 gcra_ns(__u64 ticks)
{
	return (ticks + (1u << GCRA_TICK_BITS) - 1) >> GCRA_TICK_BITS;
}

static inline __u64 gcra_cost(const struct gcra_rate *rate, __u64 units)
{
	return (units * rate->unit_cost + (1u << GCRA_COST_BITS) - 1) >> GCRA_COST_BITS;
}

/* How far the bucket is from full, in ticks. */
static inline __u64 gcra_ahead(__u64 tat, __u64 now, const struct gcra_rate *rate)
{
	__s64 ahead = (__s64)(tat - now);
	return ahead < 0 || (__u64)ahead > 2 * rate->tolerance + GCRA_STALE ? 0 : (__u64)ahead;
}

/* How far beyond the tolerance what is marked may go. */
static inline __u64 gcra_more(const struct gcra_rate *rate)
{
	return rate->tolerance >> GCRA_MORE_SHIFT;
}

/* The rate of what is marked. For up to 65,536 units at a time. */
static inline struct gcra_rate gcra_marks(const struct gcra_rate *rate)
{
	struct gcra_rate marks = {.unit_cost = rate->unit_cost << GCRA_MARKS_SHIFT,
	                          .tolerance = gcra_more(rate) << GCRA_MARKS_SHIFT};
	return marks;
}

/* Whether units conform now; *next is the TAT with them. */
static inline bool gcra_conforms(__u64 tat, __u64 now, const struct gcra_rate *rate, __u64 units, __u64 *next)
{
	__u64 ahead = gcra_ahead(tat, now, rate) + gcra_cost(rate, units);
	*next = now + ahead;
	return ahead <= rate->tolerance;
}

#endif
