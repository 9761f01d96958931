/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wheel has LEVELS rings of 64 slots; a slot of level n spans 64^n ms. A timer stands at the level of the highest
 * group of 6 bits in which its expiry differs from the present tick, so a slot's beginning is always ahead of the
 * present, all slots of a lower level are due before any of a higher one, and the earliest is found by two bit scans.
 * A slot of a higher level is dealt out to lower levels when the present reaches its beginning.
 */
#include "timer.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>

#define SLOT_BITS 6u
#define SLOTS (1u << SLOT_BITS)
#define LEVELS 11u /* all of 64 bits: no expiry is too far */

struct timer_wheel {
	uint64_t now; /* every timer at or before it has run, those in due excepted */
	uint64_t occupied[LEVELS];
	struct timer *due; /* armed for the past: the next advance runs them */
	struct timer *slots[LEVELS][SLOTS];
};

struct timer_wheel *timer_wheel_new(uint64_t now_ms)
{
	struct timer_wheel *wheel = calloc(1, sizeof(*wheel));

	if (wheel)
		wheel->now = now_ms;
	return wheel;
}

void timer_wheel_free(struct timer_wheel *wheel)
{
	free(wheel);
}

static void link_timer(struct timer **head, struct timer *timer)
{
	timer->next = *head;
	if (timer->next)
		timer->next->pprev = &timer->next;
	timer->pprev = head;
	*head = timer;
}

static void unlink_timer(struct timer *timer)
{
	*timer->pprev = timer->next;
	if (timer->next)
		timer->next->pprev = timer->pprev;
	timer->next = NULL;
	timer->pprev = NULL;
}

static void place(struct timer_wheel *wheel, struct timer *timer)
{
	uint64_t at = timer->expires_ms;

	if (at <= wheel->now) {
		link_timer(&wheel->due, timer);
		return;
	}
	unsigned level = (63u - (unsigned)__builtin_clzll(at ^ wheel->now)) / SLOT_BITS;
	unsigned slot = (unsigned)(at >> (SLOT_BITS * level)) & (SLOTS - 1);
	link_timer(&wheel->slots[level][slot], timer);
	wheel->occupied[level] |= 1ull << slot;
}

void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t expires_ms, timer_handler handler)
{
	timer_disarm(wheel, timer);
	timer->expires_ms = expires_ms;
	timer->handler = handler;
	place(wheel, timer);
}

void timer_disarm(struct timer_wheel *wheel, struct timer *timer)
{
	struct timer **head = timer->pprev;

	if (!head)
		return;
	unlink_timer(timer);
	struct timer **first = &wheel->slots[0][0];
	if (!*head && head >= first && head < first + LEVELS * SLOTS) {
		size_t index = (size_t)(head - first);
		wheel->occupied[index / SLOTS] &= ~(1ull << (index % SLOTS));
	}
}

/* The beginning of the first occupied slot; false when there is none. */
static bool first_slot(const struct timer_wheel *wheel, unsigned *level, unsigned *slot, uint64_t *begins)
{
	for (unsigned l = 0; l < LEVELS; l++) {
		if (!wheel->occupied[l])
			continue;
		*level = l;
		*slot = (unsigned)__builtin_ctzll(wheel->occupied[l]);
		uint64_t above = l + 1 < LEVELS ? wheel->now >> (SLOT_BITS * (l + 1)) << (SLOT_BITS * (l + 1)) : 0;
		*begins = above | (uint64_t)*slot << (SLOT_BITS * l);
		return true;
	}
	return false;
}

/* Moves a list away from its head so that handlers can arm timers there while it is worked off. */
static void take_list(struct timer **from, struct timer **to)
{
	*to = *from;
	*from = NULL;
	if (*to)
		(*to)->pprev = to;
}

static unsigned run_list(struct timer_wheel *wheel, struct timer **list, uint64_t now_ms)
{
	unsigned ran = 0;

	while (*list) {
		struct timer *timer = *list;
		unlink_timer(timer);
		if (timer->expires_ms > now_ms) {
			place(wheel, timer);
			continue;
		}
		ran++;
		timer->handler(timer, now_ms);
	}
	return ran;
}

unsigned timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms)
{
	unsigned ran = 0, level, slot;
	uint64_t begins;
	struct timer *list;

	take_list(&wheel->due, &list);
	ran += run_list(wheel, &list, now_ms);
	while (first_slot(wheel, &level, &slot, &begins) && begins <= now_ms) {
		wheel->now = begins;
		take_list(&wheel->slots[level][slot], &list);
		wheel->occupied[level] &= ~(1ull << slot);
		ran += run_list(wheel, &list, now_ms);
	}
	if (now_ms > wheel->now)
		wheel->now = now_ms;
	return ran;
}

int timer_wheel_next(const struct timer_wheel *wheel, uint64_t now_ms)
{
	unsigned level, slot;
	uint64_t begins;

	if (wheel->due)
		return 0;
	if (!first_slot(wheel, &level, &slot, &begins))
		return -1;
	if (begins <= now_ms)
		return 0;
	return begins - now_ms > INT_MAX ? INT_MAX : (int)(begins - now_ms);
}
