// SPDX-License-Identifier: Apache-2.0
import type { Random } from './random.js';

/**
 * by-chance: each kind of fault with a probability. Every kind at least once, in two halves, as what the second half does
 * may lose frames that were acknowledged, and so hides it if the first half does: all-kept is loss, duplication,
 * reordering, partitions of one and both ways, pauses, skewed, drifting and set clocks, crashes before, within and after
 * commits, failures of power, a mass restart and full disks; all-given-up is these, disks restored from a backup, and a
 * node away until it was forgotten.
 */
export type Faults = 'by-chance' | 'all-kept' | 'all-given-up';

/** What may go wrong in a history. */
export interface Plan {
  /** Each kind that is planned comes at least once. */
  readonly certain: boolean;
  readonly lossy: boolean;
  readonly crashes: boolean;
  /** Some crashes are of machines. */
  readonly power: boolean;
  /** Everyone crashes at once. */
  readonly massRestart: boolean;
  readonly skew: boolean;
  readonly fullDisks: boolean;
  readonly restores: boolean;
  readonly absence: boolean;
}

export function planOf(faults: Faults, random: Random): Plan {
  const likely = {
    lossy: random.chance(0.7),
    crashes: random.chance(0.5),
    skew: random.chance(0.5),
    fullDisks: random.chance(0.3),
    restores: random.chance(0.2),
    absence: random.chance(0.25),
    power: random.chance(0.6),
    massRestart: random.chance(0.15),
  };
  if (faults === 'by-chance') return { ...likely, certain: false };
  const givesUp = faults === 'all-given-up';
  const all = { lossy: true, crashes: true, skew: true, fullDisks: true, power: true, massRestart: true };
  return { ...all, restores: givesUp, absence: givesUp, certain: true };
}
