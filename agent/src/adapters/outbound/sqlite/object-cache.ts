// SPDX-License-Identifier: Apache-2.0
/**
 * Cells of the objects that were touched last: one that has changed is read to be merged, to be projected, and often soon
 * again. Small objects only, so that the whole of it is bounded.
 */
import type { Batch, Cell } from '../../../domain/replication/contract.js';
import { objectKey } from '../../../domain/replication/object.js';

const OBJECTS = 1024;
const OBJECT_BYTES = 2 * 1024;
const CELL_BYTES = 128;

export class ObjectCache {
  /** The one that was touched last comes last. */
  readonly #objects = new Map<string, readonly Cell[]>();

  get(kind: string, id: string, read: () => readonly Cell[]): readonly Cell[] {
    const key = objectKey(kind, id);
    const cells = this.#objects.get(key) ?? read();
    this.#keep(key, cells);
    return cells;
  }

  /** It was committed. */
  committed({ remove, put }: Pick<Batch, 'remove' | 'put'>): void {
    const changed = new Map<string, Map<string, Cell>>();
    const groupsOf = (kind: string, id: string): Map<string, Cell> | undefined => {
      const key = objectKey(kind, id);
      const cells = this.#objects.get(key);
      if (cells === undefined) return undefined;
      const groups = changed.get(key) ?? new Map(cells.map((cell) => [cell.group, cell]));
      changed.set(key, groups);
      return groups;
    };
    for (const { kind, id, group } of remove) groupsOf(kind, id)?.delete(group);
    for (const cell of put) {
      // A copy: it may be a view of a frame of megabytes.
      const { kind, id, group, value } = cell;
      groupsOf(kind, id)?.set(group, value === undefined ? cell : { ...cell, value: value.slice() });
    }
    for (const [key, groups] of changed) this.#keep(key, [...groups.values()]);
  }

  #keep(key: string, cells: readonly Cell[]): void {
    this.#objects.delete(key);
    let bytes = 0;
    for (const { value } of cells) bytes += CELL_BYTES + (value?.length ?? 0);
    if (bytes > OBJECT_BYTES) return;
    this.#objects.set(key, cells);
    if (this.#objects.size > OBJECTS) this.#objects.delete(this.#objects.keys().next().value as string);
  }
}
