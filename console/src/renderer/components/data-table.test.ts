// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { leastWidthPx } from './data-table.js';

test('a column has its width at least, or as much as its share is worth', () => {
  expect(['120px', 'minmax(140px, 1.4fr)', 'minmax(0, 2fr)', undefined].map(leastWidthPx)).toEqual([
    120, 140, 208, 120,
  ]);
});
