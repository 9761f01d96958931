// SPDX-License-Identifier: Apache-2.0
/** Objects of one kind, without reading those of others. */
import type { Cell, Key, ReplicaStore } from './contract.js';
import { type Groups, visible } from './object.js';

const PAGE = 256;

/** In the order of their ids, each with its cells as they are stored, also those that were deleted. */
export function* objectsOfKind(
  store: ReplicaStore,
  kind: string,
): Iterable<{ readonly id: string; readonly groups: Groups }> {
  let after: Key | undefined;
  let groups = new Map<string, Cell>();
  for (;;) {
    const page = store.kind(kind, after, PAGE);
    for (const cell of page) {
      if (after !== undefined && after.id !== cell.id) {
        yield { id: after.id, groups };
        groups = new Map();
      }
      groups.set(cell.group, cell);
      after = cell;
    }
    if (page.length < PAGE) break;
  }
  if (after !== undefined) yield { id: after.id, groups };
}

/** What an object consists of, by group; undefined: it is not there. */
export function valuesOf(groups: Groups): ReadonlyMap<string, Uint8Array> | undefined {
  const values = new Map<string, Uint8Array>();
  for (const { group, value } of visible(groups)) if (value !== undefined) values.set(group, value);
  return values.size === 0 ? undefined : values;
}
