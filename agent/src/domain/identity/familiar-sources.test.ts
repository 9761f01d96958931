// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { FamiliarSources } from './familiar-sources.js';

test('a source is familiar for a while since it was last seen', () => {
  const familiar = new FamiliarSources({ most: 10, keptMs: 100 });
  expect(familiar.has('a', 0)).toBe(false);
  familiar.see('a', 0);
  familiar.see('a', 50);
  expect([familiar.has('a', 149), familiar.has('a', 150), familiar.has('b', 60)]).toEqual([true, false, false]);
});

test('there are only so many: the one that was longest not seen goes', () => {
  const familiar = new FamiliarSources({ most: 2, keptMs: 100 });
  for (const source of ['a', 'b', 'a', 'c']) familiar.see(source, 0);
  expect(['a', 'b', 'c'].map((source) => familiar.has(source, 0))).toEqual([true, false, true]);
});
