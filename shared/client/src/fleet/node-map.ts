// SPDX-License-Identifier: Apache-2.0
/**
 * What nodes say of one thing, by node. Of 5,000 services and 10,000 backends there are 25,000 of these maps, 50 entries each, of which
 * thousands are another one with each state: so they are arrays, whose places are the nodes' numbers. A copy of one is a copy of 50
 * words; of a Map it is fifty times a hash table's insertion.
 */
import type { NodeKey } from './contract.js';

/** Numbers of nodes: a node keeps its number, and no other gets it. */
export class NodeSlots {
  readonly keys: NodeKey[] = [];
  readonly #slots = new Map<NodeKey, number>();
  /** As many cells as there are nodes. */
  readonly #blank: undefined[] = [];

  get size(): number {
    return this.keys.length;
  }

  /** undefined: it has none yet. */
  find(key: NodeKey): number | undefined {
    return this.#slots.get(key);
  }

  of(key: NodeKey): number {
    const known = this.#slots.get(key);
    if (known !== undefined) return known;
    this.#slots.set(key, this.keys.length);
    this.#blank.push(undefined);
    return this.keys.push(key) - 1;
  }

  /** These cells with a place for each node: an array that grows by each of fifty nodes is made anew again and again. */
  wide<V>(cells: readonly (V | undefined)[]): (V | undefined)[] {
    if (cells.length >= this.#blank.length) return cells.slice();
    const wide: (V | undefined)[] = this.#blank.slice();
    for (let slot = 0; slot < cells.length; slot++) wide[slot] = cells[slot];
    return wide;
  }
}

type Cells<V> = (V | undefined)[];

/** Never changes, once it was published. */
export class NodeMap<V> implements ReadonlyMap<NodeKey, V> {
  readonly slots: NodeSlots;
  /** By slot. May be shorter than there are nodes, where the last ones are not in it. */
  readonly cells: readonly (V | undefined)[];
  readonly size: number;

  constructor(slots: NodeSlots, cells: readonly (V | undefined)[], size: number) {
    this.slots = slots;
    this.cells = cells;
    this.size = size;
  }

  get(key: NodeKey): V | undefined {
    const slot = this.slots.find(key);
    return slot === undefined ? undefined : this.cells[slot];
  }

  has(key: NodeKey): boolean {
    return this.get(key) !== undefined;
  }

  forEach(run: (value: V, key: NodeKey, map: ReadonlyMap<NodeKey, V>) => void): void {
    for (const [key, value] of this) run(value, key, this);
  }

  *keys(): MapIterator<NodeKey> {
    const { cells, slots } = this;
    for (let slot = 0; slot < cells.length; slot++) if (cells[slot] !== undefined) yield slots.keys[slot] as NodeKey;
  }

  /** Asked of thousands of maps with each state: where all nodes are in it, it is the array that is gone through. */
  values(): MapIterator<V> {
    return this.size === this.cells.length ? (this.cells as readonly V[]).values() : this.#present();
  }

  *#present(): MapIterator<V> {
    for (const value of this.cells) if (value !== undefined) yield value;
  }

  *entries(): MapIterator<[NodeKey, V]> {
    const { cells, slots } = this;
    for (let slot = 0; slot < cells.length; slot++) {
      const value = cells[slot];
      if (value !== undefined) yield [slots.keys[slot] as NodeKey, value];
    }
  }

  [Symbol.iterator](): MapIterator<[NodeKey, V]> {
    return this.entries();
  }
}

/**
 * The first value that is such. Nodes that say the same in the same words have one value, which is looked at once: of thousands of maps
 * this is asked with each state.
 */
export function findValue<V>(map: ReadonlyMap<NodeKey, V>, isSuch: (value: V) => boolean): V | undefined {
  let last: V | undefined;
  for (const value of map instanceof NodeMap ? (map.cells as readonly (V | undefined)[]) : map.values()) {
    if (value === undefined || value === last) continue;
    if (isSuch(value)) return value;
    last = value;
  }
  return undefined;
}

/** A NodeMap that is being made: what is set goes into a copy, which is made once per publication and only if needed. */
export class NodeDraft<V> {
  #slots: NodeSlots;
  #published: NodeMap<V>;
  #draft: Cells<V> | undefined;
  #size = 0;

  constructor(slots: NodeSlots) {
    this.#slots = slots;
    this.#published = emptyMap(slots);
  }

  get size(): number {
    return this.#size;
  }

  /** By slot, with what was set since the last publication. */
  get cells(): readonly (V | undefined)[] {
    return this.#draft ?? this.#published.cells;
  }

  get(key: NodeKey): V | undefined {
    const slot = this.#slots.find(key);
    return slot === undefined ? undefined : this.cells[slot];
  }

  /** Whether that changed anything. */
  set(key: NodeKey, value: V): boolean {
    return this.put(this.#slots.of(key), value);
  }

  put(slot: number, value: V): boolean {
    const before = this.cells[slot];
    if (before === value) return false;
    const cells = this.#open();
    // An array without holes is a faster one.
    while (cells.length < slot) cells.push(undefined);
    cells[slot] = value;
    if (before === undefined) this.#size++;
    return true;
  }

  delete(key: NodeKey): boolean {
    const slot = this.#slots.find(key);
    if (slot === undefined || this.cells[slot] === undefined) return false;
    this.#open()[slot] = undefined;
    this.#size--;
    return true;
  }

  /** The same map as before where nothing has changed, as of what was set and set back. */
  publish(): NodeMap<V> {
    const draft = this.#draft;
    if (draft === undefined) return this.#published;
    this.#draft = undefined;
    if (this.#published.slots !== this.#slots || !isSameCells(draft, this.#published.cells)) {
      this.#published = this.#size === 0 ? emptyMap(this.#slots) : new NodeMap(this.#slots, draft, this.#size);
    }
    return this.#published;
  }

  /** Nodes have other numbers from now on. */
  renumber(slots: NodeSlots): void {
    const { keys } = this.#slots;
    const cells: Cells<V> = [];
    this.cells.forEach((value, slot) => {
      if (value === undefined) return;
      const next = slots.of(keys[slot] as NodeKey);
      while (cells.length < next) cells.push(undefined);
      cells[next] = value;
    });
    this.#slots = slots;
    this.#draft = cells;
  }

  #open(): Cells<V> {
    this.#draft ??= this.#slots.wide(this.#published.cells);
    return this.#draft;
  }
}

const empty = new WeakMap<NodeSlots, NodeMap<unknown>>();

/** One for all: most services have no traffic at most nodes. */
function emptyMap<V>(slots: NodeSlots): NodeMap<V> {
  let map = empty.get(slots);
  if (map === undefined) {
    map = new NodeMap<unknown>(slots, [], 0);
    empty.set(slots, map);
  }
  return map as NodeMap<V>;
}

function isSameCells(a: readonly unknown[], b: readonly unknown[]): boolean {
  const length = Math.max(a.length, b.length);
  for (let slot = 0; slot < length; slot++) if (a[slot] !== b[slot]) return false;
  return true;
}
