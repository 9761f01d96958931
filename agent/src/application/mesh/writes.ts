// SPDX-License-Identifier: Apache-2.0
/**
 * What a change of the configuration is as writes of cells, in the replica of each object's cluster: only registers that
 * differ are written.
 */
import { changedRegisters, splitObject } from '../../domain/object-fields.js';
import type { CellWrite, ClusterName } from '../../domain/replication/contract.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import type { CommitChange } from '../../ports/config-store.js';
import { clusterOf } from '../cluster-of.js';

/** An object that changes its cluster is deleted in one and created in the other. */
export function writesByCluster(changes: Iterable<CommitChange>): Map<ClusterName, CellWrite[]> {
  const parts = new Map<ClusterName, CommitChange[]>();
  const add = (cluster: ClusterName, change: CommitChange): void => {
    const part = parts.get(cluster);
    if (part === undefined) parts.set(cluster, [change]);
    else part.push(change);
  };
  for (const change of changes) {
    const { kind, before, after } = change;
    const [from, to] = [before && clusterOf(kind, before), after && clusterOf(kind, after)];
    if (from === undefined || to === undefined || from === to) add(to ?? from ?? '', change);
    else {
      add(from, { ...change, after: undefined });
      add(to, { ...change, before: undefined });
    }
  }
  return new Map([...parts].map(([cluster, part]) => [cluster, writesOf(part)]));
}

/** That the objects are of, before or after; '': of none. */
export function clustersOf(changes: Iterable<CommitChange>): Set<ClusterName> {
  const clusters = new Set<ClusterName>();
  for (const { kind, before, after } of changes) {
    for (const body of [before, after]) if (body !== undefined) clusters.add(clusterOf(kind, body));
  }
  return clusters;
}

export function writesOf(changes: readonly CommitChange[]): CellWrite[] {
  return changes.flatMap(({ kind, name: id, before, after }): CellWrite[] => {
    if (after === undefined) return [{ kind, id, group: EXISTENCE, value: undefined }];
    const registers = splitObject(kind, after);
    // Created: all of it, so that it is taken whole or not at all.
    const written = before === undefined ? registers : changedRegisters(splitObject(kind, before), registers);
    return [...written].map(([group, value]) => ({ kind, id, group, value }));
  });
}

/** About what they take in a frame. */
export function bytesOf(writes: readonly CellWrite[]): number {
  return writes.reduce(
    (sum, { kind, id, group, value }) => sum + kind.length + 3 * (id.length + group.length) + (value?.length ?? 0) + 24,
    0,
  );
}
