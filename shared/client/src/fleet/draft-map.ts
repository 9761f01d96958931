// SPDX-License-Identifier: Apache-2.0
const NOTHING: unknown = new Map();

/** A map whose published form never changes: what is set goes into a copy, which is made once per publication and only if needed. */
export class DraftMap<K, V> {
  #published = NOTHING as ReadonlyMap<K, V>;
  #draft: Map<K, V> | undefined;

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
    this.#open().set(key, value);
    return true;
  }

  delete(key: K): boolean {
    return this.now.has(key) && this.#open().delete(key);
  }

  /** The same map as before where nothing has changed. */
  publish(): ReadonlyMap<K, V> {
    // What was set and set back is no news.
    if (this.#draft !== undefined && isSameMap(this.#draft, this.#published)) this.#draft = undefined;
    if (this.#draft !== undefined) {
      this.#published = this.#draft.size === 0 ? (NOTHING as ReadonlyMap<K, V>) : this.#draft;
      this.#draft = undefined;
    }
    return this.#published;
  }

  #open(): Map<K, V> {
    this.#draft ??= new Map(this.#published);
    return this.#draft;
  }
}

function isSameMap<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value || !b.has(key)) return false;
  return true;
}
