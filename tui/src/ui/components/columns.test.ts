// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fitColumns, GAP } from './columns.js';

const columns = [{ rank: 0, min: 5 }, { rank: 1 }, { rank: 2 }, { rank: 2 }];
const indices = (room: number): number[] => fitColumns(columns, [20, 10, 10, 10], room).map(({ index }) => index);

test('all columns are there where there is room', () => {
  expect(fitColumns(columns, [20, 10, 10, 10], 100).map(({ width }) => width)).toEqual([20, 10, 10, 10]);
});

test('what may be cut is cut first, then columns of the highest rank go, the last one first', () => {
  expect(fitColumns(columns, [20, 10, 10, 10], 45).map(({ width }) => width)).toEqual([9, 10, 10, 10]);
  expect(indices(40)).toEqual([0, 1, 2]);
  expect(indices(20)).toEqual([0, 1]);
  expect(indices(8)).toEqual([0]);
});

test('columns of a high rank go before a name is cut', () => {
  const withExtra = [{ rank: 0, min: 5 }, { rank: 5, min: 5 }, { rank: 6 }];
  const widths = (room: number): number[] => fitColumns(withExtra, [20, 10, 10], room).map(({ width }) => width);
  expect(widths(20 + GAP + 5 + GAP + 10)).toEqual([20, 5, 10]);
  expect(widths(20 + GAP + 4 + GAP + 10)).toEqual([20, 10]);
  expect(widths(20 + GAP + 4)).toEqual([19, 5]);
});

test('columns never take more room than there is, as long as those that stay may be cut', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 5, max: 200 }),
      fc.array(fc.integer({ min: 0, max: 80 }), { minLength: 4, maxLength: 4 }),
      (room, natural) => {
        const fitted = fitColumns(columns, natural, room);
        expect(fitted.reduce((sum, { width }) => sum + width + GAP, -GAP)).toBeLessThanOrEqual(room);
      },
    ),
  );
});
