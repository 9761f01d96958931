// SPDX-License-Identifier: Apache-2.0
/** Objects of one kind, without reading those of others: within a bucket cells are in the order of their kinds. */
import type { Cell, Key, ReplicaStore } from './contract.js';
import { BUCKETS } from './digest.js';
import { type Groups, visible } from './object.js';

const PAGE = 64;

/** Each with its cells as they are stored, also those that were deleted. */
export function* objectsOfKind(
  store: ReplicaStore,
  kind: string,
): Iterable<{ readonly id: string; readonly groups: Groups }> {
  for (let bucket = 0; bucket < BUCKETS; bucket++) yield* within(store, bucket, kind);
}

function* within(store: ReplicaStore, bucket: number, kind: string) {
  let after: Key = { kind, id: '', group: '' };
  let id = '';
  let groups = new Map<string, Cell>();
  for (;;) {
    const page = store.bucket(bucket, after, PAGE);
    for (const cell of page) {
      if (cell.kind !== kind) break;
      if (cell.id !== id && groups.size > 0) {
        yield { id, groups };
        groups = new Map();
      }
      id = cell.id;
      groups.set(cell.group, cell);
      after = cell;
    }
    if (page.length < PAGE || page.at(-1)?.kind !== kind) break;
  }
  if (groups.size > 0) yield { id, groups };
}

/** What an object consists of, by group; undefined: it is not there. */
export function valuesOf(groups: Groups): ReadonlyMap<string, Uint8Array> | undefined {
  const values = new Map<string, Uint8Array>();
  for (const { group, value } of visible(groups)) if (value !== undefined) values.set(group, value);
  return values.size === 0 ? undefined : values;
}
