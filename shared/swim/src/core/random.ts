// SPDX-License-Identifier: Apache-2.0
/** Randomness as a parameter: uniform in [0, 1). */
export type Random = () => number;

/** Uniform in [0, limit), or 0 when there is nothing to choose from. */
export function below(random: Random, limit: number): number {
  return limit <= 0 ? 0 : Math.floor(random() * limit);
}

/** Fisher and Yates, in place. */
export function shuffle<T>(items: T[], random: Random): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = below(random, last + 1);
    const kept = items[last] as T;
    items[last] = items[other] as T;
    items[other] = kept;
  }
}

/** Reproducible numbers from a 32-bit seed: sfc32 by Chris Doty-Humphrey (PractRand). Not for secrets. */
export function seededRandom(seed: number): Random {
  let a = 0x9e3779b9 | 0;
  let b = 0x243f6a88 | 0;
  let c = seed | 0;
  let counter = 1;
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 4_294_967_296;
  };
  // The first outputs still resemble the seed.
  for (let round = 0; round < 12; round++) next();
  return next;
}
