// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Cuts } from './cuts.js';

const side = new Set([1n, 2n]);

test('a partition loses what leads across it, of one way or of both, until it ends', () => {
  const cuts = new Cuts();
  const end = cuts.partition(side, false);
  expect([cuts.between(1n, 3n), cuts.between(3n, 1n), cuts.between(1n, 2n)]).toEqual([true, false, false]);
  cuts.partition(side, true);
  expect([cuts.between(1n, 3n), cuts.between(3n, 1n), cuts.between(3n, 4n)]).toEqual([true, true, false]);
  end();
  expect(cuts.between(1n, 3n)).toBe(true);
  cuts.heal();
  expect(cuts.between(1n, 3n)).toBe(false);
});

test('a node that is away is reached by nobody, and comes back only by itself', () => {
  const cuts = new Cuts();
  const back = cuts.away(2n);
  cuts.heal();
  expect([cuts.between(2n, 1n), cuts.between(1n, 2n), cuts.between(1n, 3n)]).toEqual([true, true, false]);
  back();
  expect(cuts.between(1n, 2n)).toBe(false);
});
