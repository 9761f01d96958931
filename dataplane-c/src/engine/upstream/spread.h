/* SPDX-License-Identifier: Apache-2.0 */
/* Random moments for the main thread's timers, so that what began together does not stay in step. */
#ifndef ENGINE_SPREAD_H
#define ENGINE_SPREAD_H

#include <sys/random.h>

#include "../engine.h"

/* 0 to limit - 1 (0 when limit is 0). xorshift64 on the engine's state: not for secrets. Main thread. */
static inline uint64_t spread_below(struct engine *engine, uint64_t limit)
{
	while (engine->random == 0) {
		if (getrandom(&engine->random, sizeof(engine->random), GRND_NONBLOCK) < 0)
			engine->random = engine->now_ms + 1;
	}
	uint64_t x = engine->random;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	engine->random = x;
	return limit ? x % limit : 0;
}

#endif
