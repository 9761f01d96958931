// SPDX-License-Identifier: Apache-2.0
const NOTHING: unknown = new Map();

/** A map whose published form never changes: what is set goes into a copy, which is made once per publication and only if needed. */
export class DraftMap<K, V> {
  #published = NOTHING as ReadonlyMap<K, V>;
  #draft: Map<K, V> | undefined;
  /** What was set or deleted since the last publication. */
  readonly #touched = new Set<K>();

  get size(): number {
    return this.now.size;
  }

  /** With what was set since the last publication. */
  get now(): ReadonlyMap<K, V> {
    return this.#draft ?? this.#published;
  }

  get(key: K): V | undefined {
    return this.now.get(key);
  }

  /** Whether that changed anything. */
  set(key: K, value: V): boolean {
    if (this.now.get(key) === value && (value !== undefined || this.now.has(key))) return false;
    this.#open(key).set(key, value);
    return true;
  }

  delete(key: K): boolean {
    return this.now.has(key) && this.#open(key).delete(key);
  }

  /** The same map as before where nothing has changed. */
  publish(): ReadonlyMap<K, V> {
    // What was set and set back is no news.
    if (this.#draft !== undefined && this.#isAsBefore(this.#draft)) this.#draft = undefined;
    this.#touched.clear();
    if (this.#draft !== undefined) {
      this.#published = this.#draft.size === 0 ? (NOTHING as ReadonlyMap<K, V>) : this.#draft;
      this.#draft = undefined;
    }
    return this.#published;
  }

  /** In place of what was published, as one with the same entries in another order. */
  become(published: ReadonlyMap<K, V>): void {
    this.#published = published;
  }

  #isAsBefore(draft: ReadonlyMap<K, V>): boolean {
    const published = this.#published;
    if (draft.size !== published.size) return false;
    for (const key of this.#touched) {
      if (draft.get(key) !== published.get(key) || draft.has(key) !== published.has(key)) return false;
    }
    return true;
  }

  #open(key: K): Map<K, V> {
    this.#touched.add(key);
    this.#draft ??= new Map(this.#published);
    return this.#draft;
  }
}
