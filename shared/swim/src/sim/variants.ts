// SPDX-License-Identifier: Apache-2.0
import type { Tuning } from '../core/tuning.js';

/** SWIM as it was: a fixed suspicion timeout, no local health, no word to the suspect. */
export function swimOnly(tuning: Tuning): Tuning {
  return { ...tuning, awarenessLimit: 1, suspicionMaxMultiplier: 1, buddy: false };
}

/** The parts of Lifeguard one by one, by the paper's names (arXiv 1707.00788, section IV). */
export function variants(tuning: Tuning): readonly (readonly [name: string, tuning: Tuning])[] {
  const none = swimOnly(tuning);
  const { awarenessLimit, suspicionMaxMultiplier, buddy } = tuning;
  return [
    ['SWIM', none],
    ['LHA-Probe', { ...none, awarenessLimit }],
    ['LHA-Suspicion', { ...none, suspicionMaxMultiplier }],
    ['Buddy System', { ...none, buddy }],
    ['Lifeguard', tuning],
  ];
}
