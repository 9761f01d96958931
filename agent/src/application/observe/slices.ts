// SPDX-License-Identifier: Apache-2.0
/** Long work in pieces of some milliseconds: this thread serves others, too, and shares its core with the engine. */
import { setImmediate as nextTurn } from 'node:timers/promises';

const SLICE_MS = 4;

let last: Promise<void> = Promise.resolve();

/** All who work in slices have turns of their own: together they would be one long piece again. */
function turn(): Promise<void> {
  last = last.then(() => nextTurn());
  return last;
}

export class Slices {
  #begunMs = performance.now();
  #workedMs = 0;

  /** Without what others did meanwhile. */
  get workedMs(): number {
    return this.#workedMs + performance.now() - this.#begunMs;
  }

  /** Whether it is time for others. */
  get due(): boolean {
    return performance.now() - this.#begunMs >= SLICE_MS;
  }

  async rest(): Promise<void> {
    await this.away(turn());
  }

  /** Waits for what others do. */
  async away<T>(work: Promise<T>): Promise<T> {
    this.#workedMs = this.workedMs;
    try {
      return await work;
    } finally {
      this.#begunMs = performance.now();
    }
  }

  /** Calls step for each item. */
  async each<Item>(items: Iterable<Item>, step: (item: Item) => void): Promise<void> {
    for (const item of items) {
      step(item);
      if (this.due) await this.rest();
    }
  }
}
