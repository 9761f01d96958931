// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf';
import { StatsResponseSchema } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { expect, test } from 'vitest';
import { countOf, HEAT_STEPS, heatBoundUs, heatOf, LatencyCourses, quantileUs, ROWS_MAX, SLOTS } from './latency.js';

const stats = (service: string, connectTimeUs: readonly number[]) =>
  create(StatsResponseSchema, { services: [{ service, counters: { connectTimeUs: connectTimeUs.map(BigInt) } }] });
const byService = (service: string): string => service;

test('a quantile lies in the bucket that has it, by share', () => {
  // 10 of [2, 4) µs, 10 of [8, 16).
  const histogram = [0, 10, 0, 10];
  expect(quantileUs(histogram, 0.25)).toBe(3);
  expect(quantileUs(histogram, 0.75)).toBe(12);
  expect(quantileUs(histogram, 1)).toBe(16);
  expect(quantileUs([4], 0.5)).toBe(1);
  expect(quantileUs([0, 0], 0.5)).toBeUndefined();
});

test('what agents count as totals is told by span, over all nodes', () => {
  const courses = new LatencyCourses(1_000);
  for (const node of ['a', 'b']) courses.take(node, stats('web', [100, 5]), 10_000, byService);
  courses.take('a', stats('web', [103, 5]), 11_000, byService);
  courses.take('b', stats('web', [101, 6]), 11_400, byService);
  const [row] = courses.rows(11_999);
  expect(row?.cells.at(-1)).toEqual([4, 1]);
  expect(row?.cells.at(-2)).toBeUndefined();
});

test('an engine that began anew counts from zero, and nothing is less than nothing', () => {
  const courses = new LatencyCourses(1_000);
  courses.take('a', stats('web', [100, 5]), 0, byService);
  courses.take('a', stats('web', [2, 1]), 1_000, byService);
  expect(courses.rows(1_000)[0]?.sum).toEqual([2, 1]);
});

test('what is older than the map is forgotten, and of many services the busiest are shown', () => {
  const courses = new LatencyCourses(1_000);
  for (let i = 0; i < ROWS_MAX + 5; i++) {
    const name = `s${String(i).padStart(3, '0')}`;
    courses.take('a', stats(name, [0]), 0, byService);
    courses.take('a', stats(name, [1 + i]), 1_000, byService);
  }
  const rows = courses.rows(1_000);
  expect(rows).toHaveLength(ROWS_MAX);
  expect(rows[0]?.key).toBe('s005');
  courses.take('a', stats('s010', [12]), SLOTS * 1_000 + 5_000, byService);
  const [later] = courses.rows(SLOTS * 1_000 + 5_000).filter(({ key }) => key === 's010');
  expect(countOf(later?.sum ?? [])).toBe(1);
});

test('each step of the scale ends where the next begins', () => {
  for (let step = 0; step < HEAT_STEPS - 1; step++) {
    const bound = heatBoundUs(step) ?? 0;
    expect([heatOf(bound), heatOf(bound + 1)]).toEqual([step, step + 1]);
  }
  expect(heatBoundUs(HEAT_STEPS - 1)).toBeUndefined();
});
