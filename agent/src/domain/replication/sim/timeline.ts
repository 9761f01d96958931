// SPDX-License-Identifier: Apache-2.0

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Virtual time: what is due first runs first, and of the same time what was asked for first. */
export class Timeline {
  readonly #heap: Entry[] = [];
  #order = 0;
  nowMs = 0;

  at(ms: number, run: () => void): void {
    const heap = this.#heap;
    const entry = { at: Math.max(ms, this.nowMs), order: this.#order++, run };
    let place = heap.push(entry) - 1;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!before(entry, heap[parent] as Entry)) break;
      heap[place] = heap[parent] as Entry;
      place = parent;
    }
    heap[place] = entry;
  }

  after(ms: number, run: () => void): void {
    this.at(this.nowMs + ms, run);
  }

  runUntil(ms: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= ms; next = this.#heap[0]) {
      this.#pop();
      this.nowMs = next.at;
      next.run();
    }
    this.nowMs = ms;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      if (!before(heap[child] as Entry, last)) break;
      heap[place] = heap[child] as Entry;
      place = child;
    }
    heap[place] = last;
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
