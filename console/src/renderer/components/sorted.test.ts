// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { sorted } from './sorted.js';

test('names with numbers are in the order of the numbers', () => {
  expect(sorted(['web-10', 'web-2', 'api'], (name) => name, false)).toEqual(['api', 'web-2', 'web-10']);
});

test('what is equal keeps its order, in both directions', () => {
  const rows = [
    { id: 1, rate: 5 },
    { id: 2, rate: 9 },
    { id: 3, rate: 5 },
  ];
  expect(sorted(rows, ({ rate }) => rate, true).map(({ id }) => id)).toEqual([2, 1, 3]);
  expect(sorted(rows, ({ rate }) => rate, false).map(({ id }) => id)).toEqual([1, 3, 2]);
});
