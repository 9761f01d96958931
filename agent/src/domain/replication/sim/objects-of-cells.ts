// SPDX-License-Identifier: Apache-2.0
/** Cells of a replica as objects, and those as text, to compare replicas with each other and with what must be in them. */
import type { Cell } from '../contract.js';
import { objectKey, visible } from '../object.js';

export type ObjectsByKey = ReadonlyMap<string, ReadonlyMap<string, Cell>>;

export function objectsOfCells(cells: readonly Cell[]): ObjectsByKey {
  const objects = new Map<string, Map<string, Cell>>();
  for (const cell of cells) {
    const key = objectKey(cell.kind, cell.id);
    const groups = objects.get(key) ?? new Map<string, Cell>();
    objects.set(key, groups);
    groups.set(cell.group, cell);
  }
  return objects;
}

/** What is visible, a line for each cell. */
export function printed(objects: ObjectsByKey): string {
  const lines: string[] = [];
  for (const groups of objects.values()) {
    for (const { kind, id, group, stamp, value } of visible(groups)) {
      const content = Buffer.from(value ?? []).toString('base64');
      lines.push(`${kind}/${id}/${group} ${stamp.ms}.${stamp.counter}.${stamp.node} ${content}`);
    }
  }
  return lines.sort().join('\n');
}
