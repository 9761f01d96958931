// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import { runHistory } from './history.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');

/** To replay one that failed: SIM_SEED=its seed. */
const ONLY = process.env['SIM_SEED'];

test.each([
  ['3 nodes', 3, 1, 60],
  ['3 nodes, one of which deletes while it is away what another creates', 3, 10_003, 1],
  ['10 nodes', 10, 50_000, 4],
])(
  'after whatever histories, once everything heals, all is the same everywhere and nothing is lost: %s',
  (_, nodes, first, count) => {
    const seeds = ONLY === undefined ? Array.from({ length: count }, (__, i) => first + i) : [Number(ONLY)];
    for (const seed of seeds) {
      const { faults } = runHistory({ seed, nodes, hash });
      expect(faults, `seed ${seed}, ${nodes} nodes`).toEqual([]);
    }
  },
);

test('a hundred nodes', () => {
  expect(runHistory({ seed: 100, nodes: 100, hash, durationMs: 1000, writes: 10 }).faults).toEqual([]);
});

test('a history replays exactly from its seed', () => {
  expect(runHistory({ seed: 23, nodes: 3, hash })).toEqual(runHistory({ seed: 23, nodes: 3, hash }));
});
