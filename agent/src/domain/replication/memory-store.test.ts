// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { replicaStoreCompliance } from '../../adapters/outbound/sqlite/replica-store-compliance.js';
import type { Batch, Cell } from './contract.js';
import { MemoryStore } from './memory-store.js';

replicaStoreCompliance('in memory', () => {
  const store = new MemoryStore();
  return { store, reopen: () => store, dispose: () => {} };
});

test('a crash at any step of a commit leaves nothing of it', () => {
  const stamp = { ms: 1, counter: 0, node: 1n };
  const cell = (id: string): Cell => {
    return { kind: 'k', id, group: '', stamp, value: new Uint8Array(0), origin: 'o', sequence: 1, mark: 0 };
  };
  const none = { remove: [], put: [], append: [], drop: [], state: {}, heads: new Map(), forget: [] };
  let steps = 0;
  for (let crashAt = 0; ; crashAt++) {
    const store = new MemoryStore();
    store.commit({ ...none, put: [cell('a'), cell('b')] });
    steps = 0;
    store.fault = () => {
      if (steps++ === crashAt) throw new Error('crash');
    };
    const batch = { ...none, remove: [cell('a')], put: [cell('c')], state: { admitted: true } };
    try {
      store.commit(batch);
    } catch {
      expect(store.cells().map(({ id }) => id)).toEqual(['a', 'b']);
      expect(store.load().admitted).toBe(false);
      continue;
    }
    expect(store.cells().map(({ id }) => id)).toEqual(['b', 'c']);
    break;
  }
  expect(steps).toBe(4);
});

test('a power failure takes the newest of the commits that were not durable, and none that a durable one came after', () => {
  const stamp = { ms: 1, counter: 0, node: 1n };
  const put = (id: string): Batch => {
    const cell = { kind: 'k', id, group: '', stamp, value: undefined, origin: 'o', sequence: 1, mark: 0 };
    return { remove: [], put: [cell], append: [], drop: [], state: {}, heads: new Map(), forget: [] };
  };
  const relaxed = { durable: false };
  const after = (kept: number): string => {
    const store = new MemoryStore();
    store.commit(put('a'), undefined, relaxed);
    store.commit(put('b'));
    for (const id of ['c', 'd', 'e'])
      store.commit({ ...put(id), remove: [put('b').put[0] as Cell] }, undefined, relaxed);
    expect(store.undurable).toBe(3);
    store.keepUndurable(kept);
    expect(store.undurable).toBe(0);
    return store
      .cells()
      .map(({ id }) => id)
      .join('');
  };
  expect([0, 1, 2, 3].map(after)).toEqual(['ab', 'ac', 'acd', 'acde']);
});
