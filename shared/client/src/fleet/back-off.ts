// SPDX-License-Identifier: Apache-2.0
/**
 * How long to wait before the next attempt: full jitter (M. Brooker, "Exponential Backoff And Jitter"), so that the consoles of a
 * mesh that comes back do not all ask at once.
 */
const FIRST_MS = 500;
const LAST_MS = 30_000;
/** Whoever was refused is seldom let in a moment later. */
export const REFUSED_MS = 60_000;

/** attempt: how many have failed before this one, from 0. chance: 0 to 1. */
export function backOffMs(attempt: number, chance: number): number {
  return Math.round(chance * Math.min(LAST_MS, FIRST_MS * 2 ** Math.min(attempt, 16)));
}
