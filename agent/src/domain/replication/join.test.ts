// SPDX-License-Identifier: Apache-2.0
import { hash as digest } from 'node:crypto';
import { ZERO } from '@marcher/hlc';
import { expect, test } from 'vitest';
import { rejoin } from './join.js';
import { Ledger } from './ledger.js';
import { MemoryStore } from './memory-store.js';
import { originKey } from './origin.js';

test('who joins again has forgotten no deletes that it has not seen any more', () => {
  const [own, known, other] = [1n, 2n, 3n].map((node) => originKey({ node, incarnation: 1 })) as [
    string,
    string,
    string,
  ];
  const store = new MemoryStore();
  const head = (sequence: number) => ({ sequence, hash: new Uint8Array(32) });
  const nothing = { remove: [], put: [], append: [], drop: [], forget: [] };
  const horizon = {
    stamp: { ms: 50, counter: 0, node: 1n },
    seen: new Map([
      [own, 7],
      [known, 5],
      [other, 2],
    ]),
  };
  const heads = new Map([
    [own, head(7)],
    [known, head(5)],
    [other, head(2)],
  ]);
  store.commit({ ...nothing, heads, state: { horizon, admitted: false } });
  const ledger = new Ledger({
    ...{ store, node: 1n, wallMs: () => 100, aheadMaxMs: 1_000 },
    hash: (bytes) => digest('sha256', bytes, 'buffer'),
  });
  const end = {
    heads: new Map([
      [known, head(3)],
      [other, head(9)],
    ]),
    ...{ floors: new Map(), clock: ZERO, horizon: { stamp: ZERO, seen: new Map() }, forks: [] },
  };
  const never = (): never => {
    throw new Error('there is nothing to write anew');
  };
  rejoin(ledger, [], end, { node: 1n, incarnation: 2 }, never, 1_000);
  expect(store.load().horizon).toEqual({
    stamp: horizon.stamp,
    seen: new Map([
      [known, 3],
      [other, 2],
    ]),
  });
});
