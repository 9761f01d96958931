// SPDX-License-Identifier: Apache-2.0
/**
 * What others have measured of Lifeguard, to stand beside what is simulated here. The paper: arXiv 1707.00788, version 2,
 * from pictures of its tables and figures in a review (Thuyen PV, 2020); its members are Consul agents, α its multiplier of
 * the suspicion timeout and β that of the greatest one. Names are those of variants.ts.
 */

/** Each figure by the variant that it is of, in the paper's order. */
type ByVariant<T> = Readonly<Record<'SWIM' | 'LHA-Probe' | 'LHA-Suspicion' | 'Buddy System' | 'Lifeguard', T>>;

/** Table IV, α 5, β 6: deaths told of members that were well, and of these by members that were well (there FP, FP-). */
export const FALSE_POSITIVES: ByVariant<{ readonly about: number; readonly atHealthy: number }> = {
  SWIM: { about: 339_002, atHealthy: 1326 },
  'LHA-Probe': { about: 229_574, atHealthy: 436 },
  'LHA-Suspicion': { about: 10_174, atHealthy: 89 },
  'Buddy System': { about: 318_935, atHealthy: 591 },
  Lifeguard: { about: 5193, atHealthy: 25 },
};

/** Table VI: messages in millions, and GiB. */
export const LOAD: ByVariant<{ readonly messages: number; readonly bytes: number }> = {
  SWIM: { messages: 435.33, bytes: 149.15 },
  'LHA-Probe': { messages: 428.62, bytes: 134.28 },
  'LHA-Suspicion': { messages: 484.55, bytes: 158.87 },
  'Buddy System': { messages: 435.62, bytes: 147.67 },
  Lifeguard: { messages: 481.42, bytes: 146.13 },
};

/** Figure 2: members that are blocked at once. */
export const CONCURRENT = [1, 4, 8, 12, 16, 20, 24, 28, 32] as const;

/**
 * Figure 2: false positives at each of CONCURRENT, read off its picture to three digits. Its axis is logarithmic: the sums
 * are within 1 % of table IV's.
 */
export const BY_CONCURRENT: ByVariant<readonly number[]> = {
  SWIM: [949, 5960, 11_300, 23_100, 34_500, 45_500, 59_100, 76_500, 81_600],
  'LHA-Probe': [518, 3210, 7230, 15_200, 22_000, 36_200, 41_800, 50_000, 53_100],
  'LHA-Suspicion': [50, 313, 144, 582, 1340, 1120, 1770, 2880, 1990],
  'Buddy System': [1000, 6490, 8550, 20_200, 34_800, 46_400, 58_000, 69_900, 71_000],
  Lifeguard: [19, 139, 112, 227, 574, 756, 852, 1340, 1200],
};

/**
 * Figure 1: of 100 machines with one core so many are out of processor time. Heights of its bars, to three digits; one
 * that is not drawn is 0.
 */
export const DISTRESSED = [1, 2, 4, 8, 16, 32] as const;
export const BY_DISTRESSED = {
  SWIM: { about: [11, 40, 363, 953, 1770, 3310], atHealthy: [0, 0, 216, 326, 363, 612] },
  Lifeguard: { about: [0, 0, 0, 0, 95, 1270], atHealthy: [0, 0, 0, 0, 0, 59] },
} as const;

/**
 * HashiCorp's announcement, "Making Gossip More Robust with Lifeguard": percent of SWIM with α 5, heights of its bars. It
 * does not say which false positives; the median is that of the time until all know. α became memberlist's 4 in
 * consequence.
 */
export const WITH_ALPHA_4 = { name: 'Lifeguard, α 4', falsePositives: 4.5, knownToAll: 84.3 } as const;
