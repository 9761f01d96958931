// SPDX-License-Identifier: Apache-2.0
import { COUNTER_MAX, compare, MS_MAX, NODE_MAX, type Timestamp } from './timestamp.js';

export interface HybridClockOptions {
  /** 64 bits, and this node's alone. */
  readonly node: bigint;
  /** The machine's Unix time in ms. It may jump either way; time given out does not. */
  readonly wallMs: () => number;
  /** How far ahead of the machine's time another node's may be. */
  readonly aheadMaxMs: number;
  /** The last time that was given out or seen before a restart. */
  readonly last?: Timestamp;
}

/** A remote time that is refused has not moved the clock. */
export type Received = { readonly accepted: true } | { readonly accepted: false; readonly aheadMs: number };

/**
 * Gives out times that only grow, and are greater than every time received. A clock that went back, or more than 65,536
 * times in a millisecond, make it run ahead of the machine's time: aheadMs() tells how far.
 */
export class HybridClock {
  readonly #options: HybridClockOptions;
  #last: Timestamp;

  constructor(options: HybridClockOptions) {
    if (options.node < 0n || options.node > NODE_MAX) {
      throw new RangeError(`node of a clock: ${options.node}, not 0 to ${NODE_MAX}`);
    }
    this.#options = options;
    this.#last = options.last ?? { ms: 0, counter: 0, node: options.node };
  }

  /** The greatest time given out or received: what must be kept over a restart. */
  get last(): Timestamp {
    return this.#last;
  }

  /** Greater than all before. Throws RangeError once 48 bits of ms are used up (the year 10889). */
  tick(): Timestamp {
    const { node } = this.#options;
    const wall = this.#wall();
    const { ms, counter } = this.#last;
    if (wall > ms) this.#last = { ms: wall, counter: 0, node };
    else if (counter < COUNTER_MAX) this.#last = { ms, counter: counter + 1, node };
    else if (ms < MS_MAX) this.#last = { ms: ms + 1, counter: 0, node };
    else throw new RangeError(`a clock's time is used up at ${MS_MAX} ms: set this machine's clock right`);
    return this.#last;
  }

  /** Another node's time: what is given out from now on is greater. */
  receive(remote: Timestamp): Received {
    const aheadMs = remote.ms - this.#wall();
    if (aheadMs > this.#options.aheadMaxMs) return { accepted: false, aheadMs };
    if (compare(remote, this.#last) > 0) this.#last = remote;
    return { accepted: true };
  }

  /** By how much the clock's time is before the machine's; 0 where it is not. */
  aheadMs(): number {
    return Math.max(0, this.#last.ms - this.#wall());
  }

  #wall(): number {
    const ms = Math.floor(this.#options.wallMs());
    // Not a number is no time either.
    return ms > 0 ? Math.min(ms, MS_MAX) : 0;
  }
}
