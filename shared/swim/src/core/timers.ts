// SPDX-License-Identifier: Apache-2.0
/**
 * What a node means to do later. A heap that knows where each timer stands, so that cancelling one removes it: somebody
 * who makes this node suspect and clear a member over and over leaves nothing behind.
 */
export interface Timer {
  readonly atMs: number;
}

/** What a timer belongs to that sends by itself, and does one thing after another; the others only keep time. */
export type Activity = 'probe' | 'gossip';

interface Entry extends Timer {
  readonly order: number;
  readonly run: () => void;
  index: number;
}

export class Timers {
  readonly #heap: Entry[] = [];
  #order = 0;

  /** When the next timer is due; Infinity when there is none. */
  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** activity: nothing to these timers; a simulation's own can make an activity wait. */
  at(atMs: number, run: () => void, _activity?: Activity): Timer {
    const entry: Entry = { atMs, order: this.#order++, run, index: this.#heap.length };
    this.#heap.push(entry);
    this.#up(entry);
    return entry;
  }

  /** Of a timer that has run, or was cancelled before: nothing happens. */
  cancel(timer: Timer | undefined): void {
    const entry = timer as Entry | undefined;
    if (entry && this.#heap[entry.index] === entry) this.#remove(entry);
  }

  /** Runs what is due, in order of time and, within one instant, of setting. */
  runDue(nowMs: number): void {
    for (let first = this.#heap[0]; first && first.atMs <= nowMs; first = this.#heap[0]) {
      this.#remove(first);
      first.run();
    }
  }

  #remove(entry: Entry): void {
    const last = this.#heap.pop() as Entry;
    const hole = entry.index;
    entry.index = -1;
    if (last === entry) return;
    this.#place(last, hole);
    this.#up(last);
    this.#down(last);
  }

  #place(entry: Entry, index: number): void {
    this.#heap[index] = entry;
    entry.index = index;
  }

  #up(entry: Entry): void {
    while (entry.index > 0) {
      const parent = this.#heap[(entry.index - 1) >> 1] as Entry;
      if (!before(entry, parent)) return;
      this.#swap(entry, parent);
    }
  }

  #down(entry: Entry): void {
    for (;;) {
      const left = this.#heap[2 * entry.index + 1];
      const right = this.#heap[2 * entry.index + 2];
      const child = left && right && before(right, left) ? right : left;
      if (!child || !before(child, entry)) return;
      this.#swap(entry, child);
    }
  }

  #swap(one: Entry, other: Entry): void {
    const index = one.index;
    this.#place(one, other.index);
    this.#place(other, index);
  }
}

function before(one: Entry, other: Entry): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);
}
