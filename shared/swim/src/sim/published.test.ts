// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { BY_CONCURRENT, CONCURRENT, FALSE_POSITIVES } from './published.js';

it.each(Object.entries(BY_CONCURRENT))('figure 2 of the paper adds up to its table IV: %s', (name, points) => {
  const { about } = FALSE_POSITIVES[name as keyof typeof FALSE_POSITIVES];
  const read = points.reduce((all, one) => all + one, 0);
  expect(points).toHaveLength(CONCURRENT.length);
  expect(Math.abs(read / about - 1)).toBeLessThan(0.01);
});
