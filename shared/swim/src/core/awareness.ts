// SPDX-License-Identifier: Apache-2.0
/**
 * How well this node itself keeps up: Lifeguard's local health multiplier (arXiv 1707.00788, IV.A). 0 is healthy. A
 * failed probe, a missing nack and a refutation raise it, a probe that succeeds lowers it; while it is up, this node
 * gives others more time.
 */
export class Awareness {
  readonly #limit: number;
  #score = 0;

  /** limit: the score stays below it, so 1 turns health off. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get score(): number {
    return this.#score;
  }

  /** Returns whether the score has changed. */
  apply(delta: number): boolean {
    const was = this.#score;
    this.#score = Math.min(this.#limit - 1, Math.max(0, was + delta));
    return this.#score !== was;
  }

  scale(ms: number): number {
    return ms * (this.#score + 1);
  }
}
