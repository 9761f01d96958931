// SPDX-License-Identifier: Apache-2.0
/**
 * What happens when, in virtual time: a binary heap over two arrays, in order of time and, within one instant, of
 * adding.
 */
export class EventQueue<T> {
  readonly #keys: { readonly atMs: number; readonly order: number }[] = [];
  readonly #values: T[] = [];
  #order = 0;

  get size(): number {
    return this.#keys.length;
  }

  /** Infinity when there is nothing. */
  get nextMs(): number {
    return this.#keys[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  add(atMs: number, value: T): void {
    const key = { atMs, order: this.#order++ };
    let hole = this.#keys.length;
    this.#keys.push(key);
    this.#values.push(value);
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      if (!before(key, this.#keys[parent] as typeof key)) break;
      this.#move(parent, hole);
      hole = parent;
    }
    this.#keys[hole] = key;
    this.#values[hole] = value;
  }

  /** The first; only when size is not 0. */
  take(): T {
    const first = this.#values[0] as T;
    const key = this.#keys.pop() as { atMs: number; order: number };
    const value = this.#values.pop() as T;
    const size = this.#keys.length;
    if (size === 0) return first;
    let hole = 0;
    for (;;) {
      let child = 2 * hole + 1;
      if (child >= size) break;
      const right = child + 1;
      if (right < size && before(this.#keys[right] as typeof key, this.#keys[child] as typeof key)) child = right;
      if (!before(this.#keys[child] as typeof key, key)) break;
      this.#move(child, hole);
      hole = child;
    }
    this.#keys[hole] = key;
    this.#values[hole] = value;
    return first;
  }

  #move(from: number, to: number): void {
    this.#keys[to] = this.#keys[from] as { atMs: number; order: number };
    this.#values[to] = this.#values[from] as T;
  }
}

function before(one: { atMs: number; order: number }, other: { atMs: number; order: number }): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}
