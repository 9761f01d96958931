// SPDX-License-Identifier: Apache-2.0
/** A few histories on what the agent itself uses; npm run sim runs thousands. */
import { expect, test } from 'vitest';
import { kindOf, runOf } from './histories.js';
import { Tally } from './tally.js';

test('the seed alone says what a history is made of, and most sizes and stores are among two thousand', () => {
  const kinds = Array.from({ length: 2000 }, (_, i) => kindOf(i + 1, {}));
  expect(kindOf(942, {})).toEqual(kindOf(942, {}));
  const count = (of: (kind: (typeof kinds)[number]) => boolean): number => kinds.filter(of).length;
  expect([3, 10, 100, 1000].map((size) => count(({ nodes }) => nodes === size) > 0)).toEqual([true, true, true, true]);
  expect(count(({ store }) => store === 'sqlite')).toBeGreaterThan(10);
  expect(count(({ configurations }) => configurations)).toBeGreaterThan(150);
  expect(count(({ clusters }) => clusters)).toBe(40);
  expect(kindOf(942, { clusters: true }).clusters).toBe(true);
  expect(kindOf(942, { nodes: 3, store: 'sqlite' })).toMatchObject({ nodes: 3, store: 'sqlite', faults: 'by-chance' });
});

test('after whatever histories all have the same bytes in force, in memory and on SQLite', () => {
  const tally = new Tally();
  for (let seed = 1; seed <= 5; seed++) {
    for (const store of seed <= 2 ? (['memory', 'sqlite'] as const) : (['memory'] as const)) {
      const kind = { ...kindOf(seed, { nodes: 3, store }), configurations: true };
      const result = runOf(seed, kind);
      expect(result.faults, `seed ${seed}, ${store}`).toEqual([]);
      tally.add(kind, result);
    }
  }
  for (let seed = 1; seed <= 3; seed++) {
    const kind = kindOf(seed, { clusters: true });
    const result = runOf(seed, kind);
    expect(result.faults, `seed ${seed}, clusters`).toEqual([]);
    expect(runOf(seed, kind), 'again').toEqual(result);
    tally.add(kind, result);
  }
  expect([tally.histories, tally.failed]).toEqual([10, 0]);
  const text = [...tally.lines()].join('\n');
  expect(text).toContain('3 nodes, SQLite: 2 histories, 0 failed');
  expect(text).toContain('configurations compared: 15');
  expect(text).toContain('5 nodes in clusters: 1 histories, 0 failed');
});
