// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { TrendPoint } from '../state/trend.js';
import { layOutTraffic } from './traffic-chart-layout.js';

const NOW_MS = 1_000_000;

function point(secondsAgo: number, received: number, sent = 0): TrendPoint {
  return { atMs: NOW_MS - secondsAgo * 1_000, received, sent, open: 0 };
}

test('the plot is as wide as a minute and as high as a round rate above the largest', () => {
  // 8 × 900 bytes are 7.2 kbit/s: up to 8 kbit/s, in steps of 2.
  const { times, rates, paths } = layOutTraffic(
    [point(60, 0), point(30, 900), point(0, 500, 1_000 / 8)],
    NOW_MS,
    600,
    100,
  );
  expect(times.map(({ x }) => x)).toEqual([0, 150, 300, 450, 600]);
  expect(rates.map(({ bits }) => bits)).toEqual([0, 2_000, 4_000, 6_000, 8_000]);
  expect(rates.map(({ y }) => y)).toEqual([100, 75, 50, 25, 0]);
  expect(paths.received.line).toBe('M0,100L300,10L600,50');
  expect(paths.received.area).toBe('M0,100L300,10L600,50L600,100L300,100L0,100Z');
  expect(paths.sent.line).toBe('M0,100L300,100L600,87.5');
});

test('of what was before the minute one point is left, from which the line comes into the plot, and it counts for the height', () => {
  const { rates, paths } = layOutTraffic([point(120, 9e9), point(90, 1_000), point(30, 0)], NOW_MS, 600, 100);
  expect(paths.received.line).toBe('M-300,0L300,100');
  expect(rates.at(-1)?.bits).toBe(8_000);
});

test('nothing known and nothing flowing have a plot of their own', () => {
  for (const points of [[], [point(10, 0), point(0, 0)]]) {
    const { rates, paths } = layOutTraffic(points, NOW_MS, 600, 100);
    expect(rates.at(0)).toEqual({ bits: 0, y: 100 });
    expect(rates.at(-1)).toEqual({ bits: 1, y: 0 });
    expect(paths.sent.line).toBe(points.length === 0 ? '' : 'M500,100L600,100');
  }
});
