// SPDX-License-Identifier: Apache-2.0
/** Time and chance that a test drives by hand. */
import type { Ambient } from '../fleet/contract.js';

/** mulberry32: small, and the same everywhere. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class SimulatedClock implements Ambient {
  readonly random: () => number;
  #nowMs: number;
  #order = 0;
  /** Sorted: the next one is the last. */
  readonly #timers: Timer[] = [];

  /** startMs: Unix time. */
  constructor(seed = 1, startMs = Date.UTC(2026, 10, 22, 12)) {
    this.random = seededRandom(seed);
    this.#nowMs = startMs;
  }

  readonly nowMs = (): number => this.#nowMs;

  readonly after = (ms: number, run: () => void): (() => void) => {
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, run };
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = this.#timers[middle] as Timer;
      if (other.atMs > timer.atMs || (other.atMs === timer.atMs && other.order > timer.order)) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  };

  /** Lets that much time pass: what is due runs in its order, and what it sets in motion comes to rest before time goes on. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    await settled();
    for (;;) {
      const next = this.#timers.at(-1);
      if (next === undefined || next.atMs > untilMs) break;
      this.#nowMs = next.atMs;
      while (this.#timers.at(-1)?.atMs === next.atMs) this.#timers.pop()?.run();
      await settled();
    }
    this.#nowMs = untilMs;
  }
}

/** When promises have nothing to do any more, as far as messages in memory go: each takes a few turns. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await nextTurn();
}

const TURNS = 3;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    const immediate = (globalThis as { setImmediate?: (run: () => void) => void }).setImmediate;
    if (immediate === undefined) setTimeout(resolve, 0);
    else immediate(() => resolve());
  });
}
