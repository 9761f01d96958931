// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import type { CellWrite, Frame } from './contract.js';
import { encodeFrame } from './frame.js';
import { Ledger } from './ledger.js';
import { MemoryStore } from './memory-store.js';
import { EXISTENCE, Staging } from './object.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');

function ledgerOf(store: MemoryStore): Ledger {
  const ledger = new Ledger({ store, node: 1n, hash, wallMs: () => 1000, aheadMaxMs: 100 });
  expect(ledger.verify()).toEqual([]);
  return ledger;
}

function frame(ledger: Ledger, ms: number, ...writes: [id: string, group: string, value: string | undefined][]): Frame {
  const cells: CellWrite[] = writes.map(([id, group, value]) => {
    return { kind: 'k', id, group, value: value === undefined ? undefined : new TextEncoder().encode(value) };
  });
  const [head] = ledger.heads.values();
  const sequence = (head?.sequence ?? 0) + 1;
  const stamp = { ms, counter: 0, node: 2n };
  const previous = head?.hash ?? new Uint8Array(0);
  const origin = { node: 2n, incarnation: 1 };
  const result = encodeFrame(
    { origin, sequence, stamp, previous, author: '', message: '', writes: cells },
    hash,
    (h) => h,
  );
  if ('fault' in result) throw new Error(result.fault);
  return result;
}

test('a frame is whole: cells, vector, log and digest together, and the same when read again', () => {
  const store = new MemoryStore();
  const ledger = ledgerOf(store);
  const { objects } = ledger.apply([frame(ledger, 1, ['a', EXISTENCE, ''], ['a', 'x', '1'], ['b', EXISTENCE, ''])]);
  expect(objects).toEqual([
    { kind: 'k', id: 'a' },
    { kind: 'k', id: 'b' },
  ]);
  ledger.apply([frame(ledger, 2, ['b', EXISTENCE, undefined], ['a', 'x', '2'])]);
  const again = ledgerOf(store);
  expect([again.digests.root, again.cells, [...again.heads]]).toEqual([
    ledger.digests.root,
    ledger.cells,
    [...ledger.heads],
  ]);
  expect(ledger.digests.root).not.toBe(0);
  ledger.apply([frame(ledger, 3, ['a', EXISTENCE, undefined])]);
  // Nothing is visible; tombstones do not count.
  expect([ledger.digests.root, ledger.cells]).toEqual([0, 2]);
});

test('frames that do not follow are no work of the ledger', () => {
  const ledger = ledgerOf(new MemoryStore());
  const first = frame(ledger, 1, ['a', EXISTENCE, '']);
  ledger.apply([first]);
  expect(() => ledger.apply([first])).toThrow('after 1');
});

test('a commit that fails has changed nothing, in the store or in what is remembered of it', () => {
  const store = new MemoryStore();
  const ledger = ledgerOf(store);
  ledger.apply([frame(ledger, 1, ['a', EXISTENCE, ''])]);
  const before = [ledger.digests.root, ledger.cells, ledger.heads.size, [...ledger.heads.values()][0]?.sequence];
  const next = frame(ledger, 2, ['b', EXISTENCE, '']);
  let steps = 2;
  store.fault = () => {
    if (steps-- === 0) throw new Error('disk');
  };
  expect(() => ledger.apply([next])).toThrow('disk');
  store.fault = undefined;
  expect([ledger.digests.root, ledger.cells, ledger.heads.size, [...ledger.heads.values()][0]?.sequence]).toEqual(
    before,
  );
  expect(store.logSize().frames).toBe(1);
  ledger.apply([next]);
  expect(ledgerOf(store).digests.root).toBe(ledger.digests.root);
});

test('of a frame from before the horizon only what is still known is merged; the rest is named', () => {
  const store = new MemoryStore();
  const ledger = ledgerOf(store);
  ledger.apply([frame(ledger, 10, ['a', EXISTENCE, ''], ['a', 'x', '1'])]);
  ledger.commit(new Staging(store), {
    state: { horizon: { stamp: { ms: 50, counter: 0, node: 9n }, seen: new Map() } },
  });
  const { late } = ledger.apply([frame(ledger, 40, ['a', 'x', '2'], ['a', 'y', '2'], ['b', EXISTENCE, ''])]);
  expect(late.map(({ keys }) => keys.map(({ id, group }) => `${id}/${group}`))).toEqual([['a/y', 'b/']]);
  expect(store.object('k', 'a').find(({ group }) => group === 'x')?.sequence).toBe(2);
  expect(store.object('k', 'b')).toEqual([]);
  expect(ledger.apply([frame(ledger, 60, ['b', EXISTENCE, ''])]).late).toEqual([]);
});

test('a frame from before the horizon that makes an object anew keeps what it writes over older groups', () => {
  const store = new MemoryStore();
  const ledger = ledgerOf(store);
  ledger.apply([frame(ledger, 10, ['a', EXISTENCE, ''], ['a', 'x', '1'])]);
  ledger.commit(new Staging(store), {
    state: { horizon: { stamp: { ms: 50, counter: 0, node: 9n }, seen: new Map() } },
  });
  // The re-creation erases x of before, which is not the same as having forgotten it.
  const { late } = ledger.apply([frame(ledger, 40, ['a', EXISTENCE, '2'], ['a', 'x', '2'], ['a', 'y', '2'])]);
  expect(late.map(({ keys }) => keys.map(({ group }) => group))).toEqual([['y']]);
  expect(store.object('k', 'a').map(({ group, sequence }) => [group, sequence])).toEqual([
    [EXISTENCE, 2],
    ['x', 2],
  ]);
});
