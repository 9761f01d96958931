// SPDX-License-Identifier: Apache-2.0
/**
 * Values by key, each with the revision in which it became what it is. A reader remembers one number, however much it has
 * been sent: what is newer than that is what it lacks. So a reader that is slow costs nothing, and gets what is newest.
 *
 *   begin() ── set(), keep() for all that there is ── end(): what was in neither is gone
 */

/** Names of what has gone are kept for readers that have not heard of it yet, but no more than so many. */
const GONE_MAX = 20_000;

interface Entry<Value> {
  value: Value;
  revision: number;
  /** Of the last pass that it was in. */
  pass: number;
}

export class RevisedTable<Value> {
  readonly #entries = new Map<string, Entry<Value>>();
  /** Oldest first. */
  readonly #gone = new Map<string, number>();
  readonly #same: (before: Value, now: Value) => boolean;
  readonly #goneMax: number;
  #revision = 0;
  #pass = 0;
  #forgotten = 0;

  constructor(same: (before: Value, now: Value) => boolean, goneMax = GONE_MAX) {
    this.#same = same;
    this.#goneMax = goneMax;
  }

  /** Grows with each change. 0: nothing was ever in it. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** False: what has gone since this revision is not known any more. */
  reaches(since: number): boolean {
    return since >= this.#forgotten;
  }

  get(key: string): Value | undefined {
    return this.#entries.get(key)?.value;
  }

  begin(): void {
    this.#pass++;
  }

  set(key: string, value: Value): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#gone.delete(key);
      this.#entries.set(key, { value, revision: ++this.#revision, pass: this.#pass });
      return;
    }
    entry.pass = this.#pass;
    if (this.#same(entry.value, value)) return;
    entry.value = value;
    entry.revision = ++this.#revision;
  }

  /** It is as it was; false: it was not there. */
  keep(key: string): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    entry.pass = this.#pass;
    return true;
  }

  delete(key: string): void {
    if (!this.#entries.delete(key)) return;
    this.#gone.set(key, ++this.#revision);
    if (this.#gone.size <= this.#goneMax) return;
    for (const [oldest, revision] of this.#gone) {
      this.#gone.delete(oldest);
      this.#forgotten = revision;
      break;
    }
  }

  /** A step for each entry, so that its caller can rest in between. */
  *end(): Iterable<void> {
    const pass = this.#pass;
    for (const [key, entry] of this.#entries) {
      if (entry.pass < pass) this.delete(key);
      yield;
    }
  }

  /** A step for each entry; what has not changed since is undefined. May be iterated while the table changes. */
  *changed(since: number): Iterable<Value | undefined> {
    for (const { value, revision } of this.#entries.values()) yield revision > since ? value : undefined;
  }

  *gone(since: number): Iterable<string> {
    for (const [key, revision] of this.#gone) if (revision > since) yield key;
  }
}
