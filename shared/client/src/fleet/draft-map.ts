// SPDX-License-Identifier: Apache-2.0
/**
 * Maps of thousands of views, of which each publication has some others. Keys seldom change: maps that have the same ones share
 * them, so that the next map is a copy of an array, and two of them are compared without looking anything up. (A copy of a Map of
 * 10,000 entries takes some milliseconds and half a megabyte.)
 */

/** Never changes. In the order in which keys came. */
export class PublishedMap<K, V extends object> implements ReadonlyMap<K, V> {
  /** Where a key stands in keyList and cells. */
  readonly places: ReadonlyMap<K, number>;
  readonly keyList: readonly K[];
  readonly cells: readonly V[];

  constructor(places: ReadonlyMap<K, number>, keyList: readonly K[], cells: readonly V[]) {
    this.places = places;
    this.keyList = keyList;
    this.cells = cells;
  }

  get size(): number {
    return this.cells.length;
  }

  get(key: K): V | undefined {
    const place = this.places.get(key);
    return place === undefined ? undefined : this.cells[place];
  }

  has(key: K): boolean {
    return this.places.has(key);
  }

  forEach(run: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    this.cells.forEach((value, place) => {
      run(value, this.keyList[place] as K, this);
    });
  }

  keys(): MapIterator<K> {
    return this.keyList.values();
  }

  values(): MapIterator<V> {
    return this.cells.values();
  }

  *entries(): MapIterator<[K, V]> {
    const { keyList, cells } = this;
    for (let place = 0; place < cells.length; place++) yield [keyList[place] as K, cells[place] as V];
  }

  [Symbol.iterator](): MapIterator<[K, V]> {
    return this.entries();
  }
}

/** The values, in an array that is not to be changed: of a published map it is its own, and none is made. */
export function listOf<V>(map: ReadonlyMap<unknown, V>): readonly V[] {
  return map instanceof PublishedMap ? map.cells : [...map.values()];
}

const NOTHING = new PublishedMap<unknown, object>(new Map(), [], []);

/** The entries that are others than before, or new. */
export function* changedEntries<K, V extends object>(
  now: ReadonlyMap<K, V>,
  before: ReadonlyMap<K, V> = NOTHING as PublishedMap<never, never>,
): Iterable<readonly [K, V]> {
  if (now === before) return;
  if (now instanceof PublishedMap && before instanceof PublishedMap && now.places === before.places) {
    const { keyList, cells } = now as PublishedMap<K, V>;
    for (let place = 0; place < cells.length; place++) {
      const value = cells[place] as V;
      if (value !== before.cells[place]) yield [keyList[place] as K, value];
    }
    return;
  }
  for (const entry of now) if (before.get(entry[0]) !== entry[1]) yield entry;
}

/** The keys that are no more. */
export function goneKeys<K>(now: ReadonlyMap<K, object>, before?: ReadonlyMap<K, object>): readonly K[] {
  if (before === undefined || now === before) return [];
  if (now instanceof PublishedMap && before instanceof PublishedMap && now.places === before.places) return [];
  return [...before.keys()].filter((key) => !now.has(key));
}

/** What is set goes into a copy, which is made once per publication and only if needed; of the keys only where they change. */
export class DraftMap<K, V extends object> {
  #published = NOTHING as unknown as PublishedMap<K, V>;
  #places: ReadonlyMap<K, number> = this.#published.places;
  #keyList: readonly K[] = this.#published.keyList;
  /** undefined: of a key that was deleted. */
  #cells: readonly (V | undefined)[] = this.#published.cells;
  #hasHoles = false;

  get size(): number {
    return this.#places.size;
  }

  get(key: K): V | undefined {
    const place = this.#places.get(key);
    return place === undefined ? undefined : this.#cells[place];
  }

  /** Whether that changed anything. */
  set(key: K, value: V): boolean {
    const place = this.#places.get(key);
    if (place === undefined) {
      const { places, keyList, cells } = this.#openKeys();
      places.set(key, cells.length);
      keyList.push(key);
      cells.push(value);
      return true;
    }
    if (this.#cells[place] === value) return false;
    this.#openCells()[place] = value;
    return true;
  }

  delete(key: K): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    const { places, cells } = this.#openKeys();
    places.delete(key);
    cells[place] = undefined;
    this.#hasHoles = true;
    return true;
  }

  /** The same map as before where nothing has changed, as of what was set and set back. */
  publish(): PublishedMap<K, V> {
    const before = this.#published;
    if (this.#hasHoles) this.#close();
    if (this.#places !== before.places && isSameList(this.#keyList, before.keyList)) {
      this.#places = before.places;
      this.#keyList = before.keyList;
    }
    if (this.#places === before.places && isSameList(this.#cells, before.cells)) this.#cells = before.cells;
    if (this.#cells !== before.cells || this.#places !== before.places) {
      this.#published = new PublishedMap(this.#places, this.#keyList, this.#cells as readonly V[]);
    }
    return this.#published;
  }

  /** Publishes the entries of these keys, in this order. Keys that are not there are left out. */
  publishInOrder(keys: readonly K[]): PublishedMap<K, V> {
    const { places, keyList, cells } = this.#openKeys();
    const values = keys.map((key) => this.get(key));
    places.clear();
    keyList.length = 0;
    cells.length = 0;
    keys.forEach((key, at) => {
      const value = values[at];
      if (value !== undefined) this.set(key, value);
    });
    this.#hasHoles = false;
    return this.publish();
  }

  #openCells(): (V | undefined)[] {
    if (this.#cells === this.#published.cells) this.#cells = this.#cells.slice();
    return this.#cells as (V | undefined)[];
  }

  #openKeys(): { readonly places: Map<K, number>; readonly keyList: K[]; readonly cells: (V | undefined)[] } {
    if (this.#places === this.#published.places) {
      this.#places = new Map(this.#places);
      this.#keyList = this.#keyList.slice();
    }
    return { places: this.#places as Map<K, number>, keyList: this.#keyList as K[], cells: this.#openCells() };
  }

  /** Of what was deleted no place is left. */
  #close(): void {
    const places = new Map<K, number>();
    const keyList: K[] = [];
    const cells: V[] = [];
    this.#cells.forEach((value, place) => {
      if (value === undefined) return;
      const key = this.#keyList[place] as K;
      places.set(key, cells.length);
      keyList.push(key);
      cells.push(value);
    });
    [this.#places, this.#keyList, this.#cells, this.#hasHoles] = [places, keyList, cells, false];
  }
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (a[at] !== b[at]) return false;
  return true;
}
