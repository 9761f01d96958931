// SPDX-License-Identifier: Apache-2.0
/** How cells of one object merge (contract.ts says why so): a maximum per group, and existence erases what is older. */
import { compare } from '@marcher/hlc';
import type { Cell, CellWrite, Key, ReplicaStore } from './contract.js';
import { BUCKETS, bucketOf, xor48 } from './digest.js';

/** The group that is an object's existence. */
export const EXISTENCE = '';

/** By groups. */
export type Groups = ReadonlyMap<string, Cell>;

/** By code points, which is the order of UTF-8's bytes too, and so a database's own. */
export function compareText(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates stand for what is greater than all else. */
function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}

/** The order of keys: kind, id, group. */
export function compareKeys(a: Key, b: Key): number {
  return compareText(a.kind, b.kind) || compareText(a.id, b.id) || compareText(a.group, b.group);
}

/** Unambiguous whatever the parts hold. */
export function objectKey(kind: string, id: string): string {
  return `${kind.length}:${kind}${id}`;
}

export function cellKey({ kind, id, group }: Key): string {
  return `${kind.length}:${kind}${id.length}:${id}${group}`;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/**
 * Whether the first of two cells of one key is taken. Stamps differ unless an origin forked or two nodes have one id;
 * then a tombstone wins, the greater bytes, and at last the greater dot, so that all take the same.
 */
export function beats(a: Cell, b: Cell): boolean {
  const byStamp = compare(a.stamp, b.stamp);
  if (byStamp !== 0) return byStamp > 0;
  if (a.value === undefined || b.value === undefined) {
    if (a.value !== b.value) return a.value === undefined;
  } else {
    const byBytes = compareBytes(a.value, b.value);
    if (byBytes !== 0) return byBytes > 0;
  }
  if (a.origin !== b.origin) return a.origin > b.origin;
  return a.sequence > b.sequence;
}

/** Into the groups of its object; false: it has changed nothing. */
export function mergeCell(groups: Map<string, Cell>, cell: Cell): boolean {
  const there = groups.get(cell.group);
  if (there !== undefined && !beats(cell, there)) return false;
  if (cell.group !== EXISTENCE) {
    const existence = groups.get(EXISTENCE);
    if (existence !== undefined && compare(cell.stamp, existence.stamp) < 0) return false;
  } else {
    for (const [group, { stamp }] of groups) if (compare(stamp, cell.stamp) < 0) groups.delete(group);
  }
  groups.set(cell.group, cell);
  return true;
}

export function isThere(groups: Groups): boolean {
  return groups.get(EXISTENCE)?.value !== undefined;
}

/** What the object consists of, its existence included; nothing where it does not exist. */
export function* visible(groups: Groups): Iterable<Cell> {
  if (!isThere(groups)) return;
  for (const cell of groups.values()) if (cell.value !== undefined) yield cell;
}

export function objectDigest(groups: Groups): number {
  let digest = 0;
  for (const { mark } of visible(groups)) digest = xor48(digest, mark);
  return digest;
}

/** Cells read at once. */
const PAGE = 2048;

/** Objects of a bucket, each with its cells as they are stored. */
export function* objectsOf(store: ReplicaStore, bucket: number): Iterable<Map<string, Cell>> {
  let after: Key | undefined;
  let groups = new Map<string, Cell>();
  for (;;) {
    const page = store.bucket(bucket, after, PAGE);
    for (const cell of page) {
      if (after !== undefined && (after.kind !== cell.kind || after.id !== cell.id)) {
        yield groups;
        groups = new Map();
      }
      groups.set(cell.group, cell);
      after = cell;
    }
    if (page.length < PAGE) break;
  }
  if (groups.size > 0) yield groups;
}

/** All objects, a bucket after the other. */
export function* allObjects(store: ReplicaStore): Iterable<Map<string, Cell>> {
  for (let bucket = 0; bucket < BUCKETS; bucket++) yield* objectsOf(store, bucket);
}

interface StagedObject {
  readonly kind: string;
  readonly id: string;
  readonly before: Groups;
  readonly after: Map<string, Cell>;
}

export interface Staged {
  readonly put: readonly Cell[];
  readonly remove: readonly Key[];
  /** Of what is put, cells of keys that had none. */
  readonly added: number;
  /** Objects that look different. */
  readonly objects: readonly { readonly kind: string; readonly id: string }[];
  /** What to change the buckets' digests by. */
  readonly digests: readonly { readonly bucket: number; readonly by: number }[];
}

/** Objects as they will be after the next commit. */
export class Staging {
  readonly #store: ReplicaStore;
  readonly #objects = new Map<string, StagedObject>();

  constructor(store: ReplicaStore) {
    this.#store = store;
  }

  groups({ kind, id }: Pick<Key, 'kind' | 'id'>): Groups {
    return this.#object(kind, id).after;
  }

  merge(cell: Cell): boolean {
    return mergeCell(this.#object(cell.kind, cell.id).after, cell);
  }

  /** Instead of what is there, whichever is greater: for a value that was damaged. */
  replace(cell: Cell): void {
    this.#object(cell.kind, cell.id).after.set(cell.group, cell);
  }

  remove({ kind, id, group }: Key): void {
    this.#object(kind, id).after.delete(group);
  }

  has({ kind, id, group }: CellWrite): boolean {
    return this.#object(kind, id).after.has(group);
  }

  finish(): Staged {
    const put: Cell[] = [];
    const remove: Key[] = [];
    const objects: { kind: string; id: string }[] = [];
    const digests: { bucket: number; by: number }[] = [];
    let added = 0;
    for (const { kind, id, before, after } of this.#objects.values()) {
      let differs = false;
      for (const [group, cell] of after) {
        if (before.get(group) === cell) continue;
        put.push(cell);
        if (!before.has(group)) added++;
        differs = true;
      }
      for (const group of before.keys()) {
        if (after.has(group)) continue;
        remove.push({ kind, id, group });
        differs = true;
      }
      if (!differs) continue;
      const by = xor48(objectDigest(before), objectDigest(after));
      // Marks hold stamps, so what looks the same but was written anew counts as different.
      if (by === 0) continue;
      digests.push({ bucket: bucketOf(kind, id), by });
      objects.push({ kind, id });
    }
    return { put, remove, added, objects, digests };
  }

  #object(kind: string, id: string): StagedObject {
    const key = objectKey(kind, id);
    let staged = this.#objects.get(key);
    if (staged === undefined) {
      const before = new Map(this.#store.object(kind, id).map((cell) => [cell.group, cell]));
      staged = { kind, id, before, after: new Map(before) };
      this.#objects.set(key, staged);
    }
    return staged;
  }
}
