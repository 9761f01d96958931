/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spin lock for critical sections of some tens of instructions, shared by pinned workers. When its holder was
 * preempted, a waiter soon gives up its time slice instead of burning it.
 */
#ifndef ENGINE_SPIN_H
#define ENGINE_SPIN_H

#include <sched.h>
#include <stdatomic.h>

struct spin {
	atomic_uint taken;
};

static inline void spin_lock(struct spin *spin)
{
	for (unsigned spins = 0; atomic_exchange_explicit(&spin->taken, 1, memory_order_acquire); spins++) {
		while (atomic_load_explicit(&spin->taken, memory_order_relaxed)) {
			if (++spins > 200) {
				sched_yield();
				spins = 0;
			}
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
		}
	}
}

static inline void spin_unlock(struct spin *spin)
{
	atomic_store_explicit(&spin->taken, 0, memory_order_release);
}

#endif
