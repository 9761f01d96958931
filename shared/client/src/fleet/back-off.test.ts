// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { backOffMs } from './back-off.js';

test('the longest wait doubles up to half a minute, the shortest is none', () => {
  expect([0, 1, 2, 5, 6, 7, 1_000].map((attempt) => backOffMs(attempt, 1))).toEqual([
    500, 1_000, 2_000, 16_000, 30_000, 30_000, 30_000,
  ]);
  expect(backOffMs(9, 0)).toBe(0);
});
