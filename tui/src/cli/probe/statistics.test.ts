// SPDX-License-Identifier: Apache-2.0
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chiSquare } from './chi-square.js';
import { LatencyHistogram } from './latency-histogram.js';

describe('chi-square', () => {
  // Critical values as printed in every table of the distribution.
  test.each([
    [3.841, 1, 0.05],
    [6.635, 1, 0.01],
    [10.828, 1, 0.001],
    [16.919, 9, 0.05],
    [124.342, 100, 0.05],
  ])('%f at %i degrees of freedom has p = %f', (statistic, degrees, p) => {
    // Counts with exactly that statistic: one cell up, one down, the others as expected.
    const cells = degrees + 1;
    const expected = 1e6;
    const delta = Math.sqrt((statistic * expected) / 2);
    const observed = Array.from({ length: cells }, (_, i) => expected + (i === 0 ? delta : i === 1 ? -delta : 0));
    const verdict = chiSquare(
      observed,
      observed.map(() => 1),
    );
    expect(verdict.degrees).toBe(degrees);
    expect(verdict.p).toBeCloseTo(p, 4);
  });

  test('an answer from where none was expected has no chance', () => {
    expect(chiSquare([10, 1], [1, 0]).p).toBe(0);
    expect(chiSquare([10, 0], [1, 0]).p).toBe(1);
  });
});

describe('latency histogram', () => {
  test('quantiles are off by at most one in 64', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4_000_000_000 }), { minLength: 1, maxLength: 300 }), (values) => {
        const histogram = new LatencyHistogram();
        for (const value of values) histogram.add(value);
        const sorted = values.toSorted((a, b) => a - b);
        for (const share of [0.01, 0.5, 0.9, 0.99, 1]) {
          const exact = sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
          const shown = histogram.quantile(share);
          expect(shown).toBeGreaterThanOrEqual(exact);
          expect(shown).toBeLessThanOrEqual(exact + exact / 64 + 1);
        }
        expect(histogram.count).toBe(values.length);
      }),
      { numRuns: 200 },
    );
  });
});
