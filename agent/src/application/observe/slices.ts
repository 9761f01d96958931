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
  readonly #nowMs: () => number;
  #begunMs: number;
  #workedMs = 0;

  /** Of a monotonic clock. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#begunMs = nowMs();
  }

  /** Without what others did meanwhile. */
  get workedMs(): number {
    return this.#workedMs + this.#nowMs() - this.#begunMs;
  }

  /** Whether it is time for others. */
  get due(): boolean {
    return this.#nowMs() - this.#begunMs >= SLICE_MS;
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
      this.#begunMs = this.#nowMs();
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
