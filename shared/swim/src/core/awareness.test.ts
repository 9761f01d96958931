// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { Awareness } from './awareness.js';

it('health stays from 0 to one below its limit, and scales time by one more than it', () => {
  const awareness = new Awareness(8);
  expect([awareness.apply(-1), awareness.score, awareness.scale(1000)]).toEqual([false, 0, 1000]);
  expect([awareness.apply(3), awareness.score, awareness.scale(1000)]).toEqual([true, 3, 4000]);
  expect([awareness.apply(100), awareness.score, awareness.scale(1000)]).toEqual([true, 7, 8000]);
  expect([awareness.apply(-1), awareness.score]).toEqual([true, 6]);
});

it('with a limit of 1 there is no health', () => {
  const awareness = new Awareness(1);
  expect([awareness.apply(5), awareness.scale(1000)]).toEqual([false, 1000]);
});
