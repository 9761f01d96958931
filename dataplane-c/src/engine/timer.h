/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hierarchical timer wheel (Varghese and Lauck, 1987): 1 ms ticks, arm and disarm in O(1). One per thread, no locks.
 * Connections do not re-arm at each byte: they note the time of their last activity, and the handler re-arms for what
 * is left.
 */
#ifndef ENGINE_TIMER_H
#define ENGINE_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct timer_wheel;
struct timer;

typedef void (*timer_handler)(struct timer *timer, uint64_t now_ms);

/* Embedded in its owner; all zero is a disarmed timer. */
struct timer {
	struct timer *next, **pprev;
	uint64_t expires_ms;
	timer_handler handler;
};

struct timer_wheel *timer_wheel_new(uint64_t now_ms); /* NULL when out of memory */
void timer_wheel_free(struct timer_wheel *wheel);

/* Arms or re-arms; expires_ms is on the wheel's clock; the past means the next turn. */
void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ms, timer_handler handler);
void timer_disarm(struct timer_wheel *wheel, struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
	return timer->pprev != 0;
}

/* Runs what has expired. Handlers may arm and disarm any timer. Returns how many ran. */
unsigned timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms);

/* Milliseconds until the next timer can expire, or -1 when none is armed; never later than the true time. */
int timer_wheel_next(const struct timer_wheel *wheel, uint64_t now_ms);

#endif
