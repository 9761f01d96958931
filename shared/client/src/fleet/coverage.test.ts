// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { Coverage } from './contract.js';
import { ageText, coverageText } from './coverage.js';

const none: Coverage = { nodes: 50, live: 50, stale: 0, refused: 0, connecting: 0, oldestMs: undefined };

test.each<[Partial<Coverage>, string]>([
  [{}, '50 nodes'],
  [{ nodes: 1, live: 1 }, '1 node'],
  [{ live: 47, stale: 3, oldestMs: 88_000 }, '47 of 50 nodes; 3 stale for 12 s'],
  [{ live: 47, stale: 3 }, '47 of 50 nodes; 3 stale'],
  [{ live: 47, stale: 1, refused: 2, oldestMs: 88_000 }, '47 of 50 nodes; 1 stale, 2 refused'],
  [{ live: 0, connecting: 50 }, '0 of 50 nodes; 50 connecting'],
  [{ nodes: 1, live: 0, stale: 1 }, '0 of 1 node; 1 stale'],
])('%o', (counts, text) => {
  expect(coverageText({ ...none, ...counts }, 100_000)).toBe(text);
});

test.each([
  [-5, '0 s'],
  [59_999, '59 s'],
  [60_000, '1 min'],
  [3_600_000, '1 h'],
  [90_000_000, '1 d'],
])('%i ms are %s', (ms, text) => {
  expect(ageText(ms)).toBe(text);
});
