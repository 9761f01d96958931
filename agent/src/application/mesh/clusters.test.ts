// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { nodeIdOf } from '../../domain/identity/names.js';
import { assignment, CLUSTER_KIND, clusterCreation, unassignment } from '../../domain/mesh/cluster.js';
import type { Cell, CellWrite } from '../../domain/replication/contract.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { Clusters } from './clusters.js';

const ORIGIN = '0000000000000001.000000000001';

function opened() {
  const store = new MemoryStore();
  const removed = new Set<string>();
  const clusters = new Clusters(store, (nodeId) => !removed.has(nodeId));
  let ms = 0;
  const write = (...writes: CellWrite[]): void => {
    ms += 1;
    const put = writes.map((one): Cell => {
      return { ...one, stamp: { ms, counter: 0, node: 1n }, origin: ORIGIN, sequence: ms, mark: 0 };
    });
    store.commit({ remove: [], put, append: [], drop: [], state: {}, heads: new Map(), forget: [] });
    clusters.changed(new Set(writes.map(({ id }) => id)));
  };
  return { store, clusters, removed, write };
}

const into = (name: string, node: bigint, assignedMs: number, begins = false): CellWrite =>
  assignment(name, nodeIdOf(node), { assignedMs, assignedBy: 'ada', begins });

test('who is in what is as it was written, and as it is read again', () => {
  const { store, clusters, removed, write } = opened();
  write(...clusterCreation('eu', 1, 'ada'), into('eu', 1n, 1, true));
  write(...clusterCreation('us', 2, 'ada'), into('us', 1n, 2), into('us', 2n, 2));
  const again = new Clusters(store, () => true);
  again.load();
  for (const known of [clusters, again]) {
    expect(known.list().map(({ name }) => name)).toEqual(['eu', 'us']);
    expect([known.of(1n), known.of(2n), known.of(3n)]).toEqual([['eu', 'us'], ['us'], []]);
    expect(known.assignmentOf('eu', 1n)).toMatchObject({ begins: true });
    expect(known.assignmentOf('eu', 2n)).toBeUndefined();
  }
  removed.add(nodeIdOf(1n));
  expect([clusters.of(1n), clusters.nodesOf('us'), clusters.assignmentOf('us', 1n)]).toEqual([
    [],
    [nodeIdOf(2n)],
    undefined,
  ]);
  write(unassignment('us', nodeIdOf(2n)));
  expect([clusters.of(2n), clusters.has('us')]).toEqual([[], true]);
  write({ kind: CLUSTER_KIND, id: 'us', group: '', value: undefined });
  expect(clusters.has('us')).toBe(false);
});

test('more than there can be put none out that is in use', () => {
  const { clusters, write } = opened();
  for (let i = 0; i < 70; i++) write(...clusterCreation(`z${i}`, 1_000 + i, 'ada'), into(`z${i}`, 1n, 2_000 + i));
  write(...clusterCreation('a', 5_000, 'ada'), into('a', 1n, 5_000));
  expect([clusters.list().length, clusters.has('z63'), clusters.has('z64'), clusters.has('a')]).toEqual([
    64,
    true,
    false,
    false,
  ]);
  expect(clusters.of(1n)).toEqual(Array.from({ length: 16 }, (_, i) => `z${i}`).sort());
});
