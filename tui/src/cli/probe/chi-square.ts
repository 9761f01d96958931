// SPDX-License-Identifier: Apache-2.0
/**
 * Pearson's chi-square test: how likely counts so far from the expected shares (or farther) would be by chance.
 * The tail probability is Q(k/2, x/2), the regularised upper incomplete gamma function, by its series for small x and
 * Lentz's continued fraction otherwise (Numerical Recipes, 3rd ed., 6.2).
 */
export interface Verdict {
  readonly statistic: number;
  readonly degrees: number;
  /** Probability of being at least so far off by chance. */
  readonly p: number;
}

export function chiSquare(observed: readonly number[], shares: readonly number[]): Verdict {
  const total = observed.reduce((sum, count) => sum + count, 0);
  const whole = shares.reduce((sum, share) => sum + share, 0);
  let statistic = 0;
  let cells = 0;
  for (const [i, count] of observed.entries()) {
    const expected = (total * (shares[i] ?? 0)) / whole;
    if (expected === 0) {
      // Nothing was expected there: any count at all is impossible by chance.
      if (count > 0) return { statistic: Number.POSITIVE_INFINITY, degrees: observed.length - 1, p: 0 };
      continue;
    }
    statistic += (count - expected) ** 2 / expected;
    cells++;
  }
  const degrees = Math.max(0, cells - 1);
  return { statistic, degrees, p: degrees === 0 ? 1 : upperGamma(degrees / 2, statistic / 2) };
}

function upperGamma(a: number, x: number): number {
  if (x <= 0) return 1;
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = 1; n < 10_000 && Math.abs(term) > Math.abs(sum) * 1e-14; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return Math.max(0, 1 - sum * scale);
  }
  const tiny = 1e-300;
  let b = x + 1 - a;
  let c = 1 / tiny;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < 10_000; n++) {
    const an = -n * (n - a);
    b += 2;
    d = 1 / nonZero(an * d + b, tiny);
    c = nonZero(b + an / c, tiny);
    const delta = d * c;
    h *= delta;
    if (Math.abs(delta - 1) < 1e-14) break;
  }
  return Math.min(1, h * scale);
}

function nonZero(value: number, tiny: number): number {
  return Math.abs(value) < tiny ? tiny : value;
}

/** Lanczos' approximation (g = 7, 9 terms). */
function logGamma(z: number): number {
  const coefficients = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  if (z < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * z)) - logGamma(1 - z);
  const shifted = z - 1;
  let sum = coefficients[0] ?? 0;
  for (let i = 1; i < coefficients.length; i++) sum += (coefficients[i] ?? 0) / (shifted + i);
  const t = shifted + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(t) - t + Math.log(sum);
}
