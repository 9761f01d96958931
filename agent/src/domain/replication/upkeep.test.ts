// SPDX-License-Identifier: Apache-2.0
import { hash as sha } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Cell, VectorState } from './contract.js';
import { bucketOf } from './digest.js';
import { encodeFrame } from './frame.js';
import { joinSnapshot } from './join.js';
import { Ledger } from './ledger.js';
import { MemoryStore } from './memory-store.js';
import { EXISTENCE } from './object.js';
import { originKey } from './origin.js';
import { collect, compact, settle } from './upkeep.js';

const hash = (bytes: Uint8Array): Uint8Array => sha('sha256', bytes, 'buffer');
const BUCKET = bucketOf('k', 'a');
const ORIGINS = [2n, 3n].map((node) => ({ node, incarnation: 1 }));

function ledgerOf(): {
  ledger: Ledger;
  store: MemoryStore;
  write: (by: 0 | 1, ms: number, group: string, value: string | undefined) => void;
} {
  const store = new MemoryStore();
  const ledger = new Ledger({ store, node: 1n, hash, wallMs: () => 1000, aheadMaxMs: 100 });
  const write = (by: 0 | 1, ms: number, group: string, value: string | undefined): void => {
    const origin = ORIGINS[by] ?? { node: 0n, incarnation: 0 };
    const head = ledger.heads.get(originKey(origin));
    const writes = [
      { kind: 'k', id: 'a', group, value: value === undefined ? undefined : new TextEncoder().encode(value) },
    ];
    const [sequence, previous] = [(head?.sequence ?? 0) + 1, head?.hash ?? new Uint8Array(0)];
    const stamp = { ms, counter: 0, node: origin.node };
    const frame = encodeFrame({ origin, sequence, stamp, previous, author: '', message: '', writes }, hash, (h) => h);
    if ('fault' in frame) throw new Error(frame.fault);
    ledger.apply([frame]);
  };
  return { ledger, store, write };
}

function vector(...sequences: number[]): VectorState {
  const heads = sequences.map(
    (sequence, i) =>
      [originKey(ORIGINS[i] ?? { node: 0n, incarnation: 0 }), { sequence, hash: new Uint8Array(0) }] as const,
  );
  return { heads: new Map(heads.filter(([, { sequence }]) => sequence > 0)), floors: new Map() };
}

function collected(ledger: Ledger, acknowledged: readonly (VectorState | undefined)[], minAgeMs = 0): number {
  return collect(ledger, BUCKET, acknowledged, 1000, minAgeMs);
}

test('a tombstone goes when all have it, it is old enough, and nothing that they have is missing here', () => {
  const { ledger, store, write } = ledgerOf();
  write(0, 10, EXISTENCE, '');
  write(0, 20, EXISTENCE, undefined);
  expect(collected(ledger, [vector(2), undefined])).toBe(0);
  expect(collected(ledger, [vector(2), vector(1)])).toBe(0);
  expect(collected(ledger, [vector(2)], 990)).toBe(0);
  // What that other origin has written may be older than the tombstone.
  expect(collected(ledger, [vector(2), vector(2, 1)])).toBe(0);
  expect(collected(ledger, [vector(2), vector(2)], 900)).toBe(1);
  expect(store.cells()).toEqual([]);
  expect(ledger.horizon).toEqual({
    stamp: { ms: 20, counter: 0, node: 2n },
    seen: new Map([[originKey({ node: 2n, incarnation: 1 }), 2]]),
  });
});

test('what a tombstone hides goes with it, and not after it', () => {
  const { ledger, store, write } = ledgerOf();
  write(0, 10, EXISTENCE, undefined);
  write(1, 20, 'x', 'edited meanwhile');
  expect(collected(ledger, [vector(1, 0)])).toBe(0);
  expect(store.cells()).toHaveLength(2);
  expect(collected(ledger, [vector(1, 1)])).toBe(2);
  expect([store.cells(), ledger.cells]).toEqual([[], 0]);
});

test('a snapshot that was read before the delete, and comes after it was forgotten, brings nothing back', () => {
  const { ledger, store, write } = ledgerOf();
  write(0, 10, EXISTENCE, '');
  const before: readonly Cell[] = store.cells();
  const end = { ...ledger.vector(), clock: ledger.clock.last, horizon: ledger.horizon, forks: [] };
  write(0, 20, EXISTENCE, undefined);
  expect(collected(ledger, [vector(2)])).toBe(1);
  joinSnapshot(ledger, before, end);
  expect(store.cells()).toEqual([]);
  expect([ledger.sequence(originKey({ node: 2n, incarnation: 1 })), ledger.digests.root]).toEqual([2, 0]);
});

test('frames leave the log when all have them, and the oldest of each origin when there are too many', () => {
  const { ledger, store, write } = ledgerOf();
  for (let i = 1; i <= 10; i++) write(0, i, 'x', `${i}`);
  for (let i = 1; i <= 5; i++) write(1, i, 'y', `${i}`);
  const first = (): (number | undefined)[] => ORIGINS.map((origin) => store.firstFrame(originKey(origin)));
  compact(ledger, [undefined], { frames: 100, bytes: 1e9 });
  expect(first()).toEqual([1, 1]);
  compact(ledger, [vector(3, 2), vector(9, 4)], { frames: 100, bytes: 1e9 });
  expect(first()).toEqual([4, 3]);
  compact(ledger, [undefined], { frames: 5, bytes: 1e9 });
  expect(first()).toEqual([8, 5]);
  compact(ledger, [], { frames: 5, bytes: 1e9 });
  expect([...first(), store.logSize().frames]).toEqual([undefined, undefined, 0]);
});

test('an incarnation leaves the vector once its node writes under a later one, has said so, and all have the same of it', () => {
  const store = new MemoryStore();
  const ledger = new Ledger({ store, node: 1n, hash, wallMs: () => 1000, aheadMaxMs: 100 });
  const [before, after] = [1, 2].map((incarnation) => ({ node: 2n, incarnation }));
  const apply = (origin: { node: bigint; incarnation: number } | undefined, ms: number): void => {
    if (origin === undefined) return;
    const writes = [{ kind: 'k', id: 'a', group: EXISTENCE, value: new Uint8Array(0) }];
    const stamp = { ms, counter: 0, node: 2n };
    const frame = {
      origin,
      sequence: 1,
      cluster: '',
      stamp,
      previous: new Uint8Array(0),
      author: '',
      message: '',
      writes,
    };
    const encoded = encodeFrame(frame, hash, (digest) => digest);
    if ('fault' in encoded) throw new Error(encoded.fault);
    ledger.apply([encoded]);
  };
  apply(before, 10);
  apply(after, 20);
  const [old, now] = [before, after].map((origin) => originKey(origin ?? { node: 0n, incarnation: 0 })) as [
    string,
    string,
  ];
  const has = (...of: [string, number][]): VectorState => {
    return {
      heads: new Map(of.map(([key, sequence]) => [key, { sequence, hash: new Uint8Array(0) }])),
      floors: new Map(),
    };
  };
  const all = has([old, 1], [now, 1]);
  compact(ledger, [all, all], { frames: 1000, bytes: 1000 });
  const floors = (of2: VectorState | undefined, of3 = all): unknown => {
    const vectorOf = (node: bigint): VectorState | undefined => (node === 2n ? of2 : of3);
    settle(ledger, of2 === undefined ? [of3] : [of2, of3], vectorOf);
    return [...ledger.floors];
  };
  // It has written more of it since then, perhaps.
  expect(floors(has([old, 1]))).toEqual([]);
  // It is no member, and nobody knows.
  expect(floors(undefined)).toEqual([]);
  expect(floors(has([old, 2], [now, 1]))).toEqual([]);
  expect(floors(all, has([now, 1]))).toEqual([]);
  expect(floors(all)).toEqual([[2n, 2]]);
  expect([...ledger.heads.keys()]).toEqual([now]);
});
