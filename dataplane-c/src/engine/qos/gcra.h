/* SPDX-License-Identifier: Apache-2.0 */
/* What user space adds to the arithmetic that it shares with the programs in the kernel: what divides, or needs 128
 * bits. */
#ifndef ENGINE_GCRA_H
#define ENGINE_GCRA_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/lib/gcra.h"

/* The smallest burst of bytes that can be kept: a read takes up to 64 KiB, as packets do with offloads, and a thread on
 * a busy core may come back late: 20 ms. */
#define GCRA_BURST_BYTES_MIN (64u * 1024)
#define GCRA_BURST_PER_SECOND 50u

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

/* What a rate was made of, as near as it has it: units per second, and units of its burst. 0: no limit. */
static inline uint64_t gcra_units_per_second(const struct gcra_rate *rate)
{
	return rate->unit_cost ? (1000000000ull << (GCRA_TICK_BITS + GCRA_COST_BITS)) / rate->unit_cost : 0;
}

static inline uint64_t gcra_burst_units(const struct gcra_rate *rate)
{
	return rate->unit_cost ? (uint64_t)(((unsigned __int128)rate->tolerance << GCRA_COST_BITS) / rate->unit_cost)
	                       : 0;
}

/* Of bytes at a rate in bits, with the burst that can be kept. */
static inline uint64_t gcra_burst(uint64_t bits_per_second, uint64_t burst)
{
	uint64_t least = bits_per_second / 8 / GCRA_BURST_PER_SECOND;
	if (least < GCRA_BURST_BYTES_MIN)
		least = GCRA_BURST_BYTES_MIN;
	return burst > least ? burst : least;
}

#endif
