// SPDX-License-Identifier: Apache-2.0
/** What a change of the configuration is as writes of cells: only registers that differ are written. */
import { changedRegisters, splitObject } from '../../domain/object-fields.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import { EXISTENCE } from '../../domain/replication/object.js';
import type { CommitChange } from '../../ports/config-store.js';

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
