// SPDX-License-Identifier: Apache-2.0
/**
 * One suspicion, and when it becomes a death: late while this node is the only one to suspect, soon when others confirm
 * it. Timeout after C confirmations of K wanted: max(min, floor(max − (max − min) · log(C + 1) / log(K + 1))), counted
 * from the beginning (Lifeguard, arXiv 1707.00788, IV.B; memberlist, suspicion.go).
 */
export interface SuspicionBounds {
  /**
   * Confirmations that bring the timeout down to minMs; below 1: none are expected, and minMs holds from the beginning.
   */
  readonly wanted: number;
  readonly minMs: number;
  readonly maxMs: number;
}

export class Suspicion {
  readonly #bounds: SuspicionBounds;
  readonly #startMs: number;
  /** Who has spoken; at most wanted + 1 names. */
  readonly #from: Set<string>;

  /** from: the first accuser, whose word is no confirmation when gossip brings it back. */
  constructor(from: string, bounds: SuspicionBounds, nowMs: number) {
    this.#bounds = bounds;
    this.#startMs = nowMs;
    this.#from = new Set([from]);
  }

  get confirmations(): number {
    return this.#from.size - 1;
  }

  /** Returns whether that is news: another member, and still wanted. */
  confirm(from: string): boolean {
    if (this.confirmations >= this.#bounds.wanted || this.#from.has(from)) return false;
    this.#from.add(from);
    return true;
  }

  /** May lie in the past after a confirmation: the member is dead at once. */
  get deadlineMs(): number {
    const { wanted, minMs, maxMs } = this.#bounds;
    if (wanted < 1) return this.#startMs + minMs;
    const share = Math.log(this.confirmations + 1) / Math.log(wanted + 1);
    return this.#startMs + Math.max(minMs, Math.floor(maxMs - share * (maxMs - minMs)));
  }
}
