// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Cell } from '../../../domain/replication/contract.js';
import { ObjectCache } from './object-cache.js';

const cellOf = (id: string, group: string, value: Uint8Array | undefined, sequence = 1): Cell => ({
  ...{ kind: 'Service', id, group, value, sequence, mark: 0 },
  ...{ origin: 'o', stamp: { ms: 1, counter: 0, node: 1n } },
});
const fail = (): never => {
  throw new Error('it was read');
};

test('an object is as it was committed, whatever was read before', () => {
  const id = fc.constantFrom('a', 'b', 'c');
  const group = fc.constantFrom('', '1', '2');
  const put = fc.record({ type: fc.constant('put' as const), id, group, size: fc.constantFrom(0, 10, 9000) });
  const remove = fc.record({ type: fc.constant('remove' as const), id, group });
  const read = fc.record({ type: fc.constant('read' as const), id });
  const step = fc.oneof(put, remove, read);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const cache = new ObjectCache();
      const disk = new Map<string, Map<string, Cell>>();
      for (const [at, one] of steps.entries()) {
        const groups = disk.get(one.id) ?? new Map<string, Cell>();
        disk.set(one.id, groups);
        if (one.type === 'put') {
          const cell = cellOf(one.id, one.group, new Uint8Array(one.size), at);
          groups.set(one.group, cell);
          cache.committed({ put: [cell], remove: [] });
        } else if (one.type === 'remove') {
          groups.delete(one.group);
          cache.committed({ put: [], remove: [{ kind: 'Service', id: one.id, group: one.group }] });
        } else {
          const found = cache.get('Service', one.id, () => [...groups.values()]);
          expect(new Map(found.map((cell) => [cell.group, cell]))).toEqual(groups);
        }
      }
    }),
  );
});

test('keeps small objects, so many, and no frame that they came in', () => {
  const cache = new ObjectCache();
  cache.get('Service', 'large', () => [cellOf('large', '', new Uint8Array(9000))]);
  expect(() => cache.get('Service', 'large', fail)).toThrow('it was read');
  for (let i = 0; i < 1024; i++) cache.get('Service', `s${i}`, () => []);
  cache.get('Service', 's0', fail);
  cache.get('Service', 'one more', () => []);
  expect(cache.get('Service', 's0', fail)).toEqual([]);
  expect(() => cache.get('Service', 's1', fail)).toThrow('it was read');
  const frame = new Uint8Array(1_000_000);
  cache.committed({ put: [cellOf('s0', '', frame.subarray(0, 10))], remove: [] });
  expect(cache.get('Service', 's0', fail)[0]?.value?.buffer.byteLength).toBe(10);
});
