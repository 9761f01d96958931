// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { replicaStoreCompliance } from '../../adapters/outbound/sqlite/replica-store-compliance.js';
import type { Cell } from './contract.js';
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
