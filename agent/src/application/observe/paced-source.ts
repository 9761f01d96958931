// SPDX-License-Identifier: Apache-2.0
/**
 * Something that is looked at when somebody wants to see it newer than it was seen last: once for all who ask, and not at
 * all while nobody does. What is much work is looked at seldom, so that it never takes more than a share of a core.
 */
import { Slices } from './slices.js';

/** A look that was 12 ms of work is not followed by another one within half a second. */
const REST_PER_WORK = 40;
/** Who asks once in an interval may ask so much early, and wants to see something new all the same. */
const JITTER_MS = 20;

export interface Pace {
  /** Monotonic. */
  readonly nowMs: () => number;
  /** Between two looks, whoever asks. Default 0. */
  readonly leastMs?: number;
  /** The pause after a look, by the work that it was. Default 40. */
  readonly rest?: number;
}

export class PacedSource {
  readonly #look: (slices: Slices) => Promise<void>;
  readonly #nowMs: () => number;
  readonly #leastMs: number;
  readonly #rest: number;
  #running: Promise<void> | undefined;
  #begunMs = Number.NEGATIVE_INFINITY;
  #workedMs = 0;

  constructor(look: (slices: Slices) => Promise<void>, { nowMs, leastMs = 0, rest = REST_PER_WORK }: Pace) {
    this.#look = look;
    this.#nowMs = nowMs;
    this.#leastMs = leastMs;
    this.#rest = rest;
  }

  /** Resolves when it was looked at within the last maxAgeMs, or is not to be yet. Fails as the look does. */
  fresh(maxAgeMs: number): Promise<void> {
    if (this.#running !== undefined) return this.#running;
    const pauseMs = Math.max(Math.max(maxAgeMs, this.#leastMs) - JITTER_MS, this.#workedMs * this.#rest);
    if (this.#nowMs() - this.#begunMs < pauseMs) return Promise.resolve();
    this.#begunMs = this.#nowMs();
    const slices = new Slices(this.#nowMs);
    this.#running = this.#look(slices).finally(() => {
      this.#workedMs = slices.workedMs;
      this.#running = undefined;
    });
    return this.#running;
  }
}
