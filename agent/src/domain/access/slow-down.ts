// SPDX-License-Identifier: Apache-2.0
/**
 * Guessing gets slower: the first failures are free, then each doubles the time until the next attempt. An attempt
 * is charged when it begins and given back when it succeeds, so that many at once are not many free ones. Bounded: what
 * has been quiet for long is forgotten first, then what has failed longest ago.
 */
export interface SlowDownRules {
  readonly free: number;
  /** Of the first wait. */
  readonly firstMs: number;
  readonly mostMs: number;
  /** Without an attempt for so long, everything is as in the beginning. */
  readonly forgetMs: number;
  readonly keysMax: number;
}

/** About 100 guesses a day and node, also of somebody who waits for being forgotten: of a password that is long enough, none. */
export const ACCOUNT_RULES: SlowDownRules = {
  free: 5,
  firstMs: 1_000,
  mostMs: 15 * 60_000,
  forgetMs: 86_400_000,
  keysMax: 10_000,
};

/** An office behind one address mistypes more often than one person. */
export const SOURCE_RULES: SlowDownRules = { ...ACCOUNT_RULES, free: 20 };

interface Tries {
  readonly count: number;
  readonly lastMs: number;
}

export class SlowDown {
  readonly #rules: SlowDownRules;
  /** The one that was charged longest ago first. */
  readonly #tries = new Map<string, Tries>();

  constructor(rules: SlowDownRules) {
    this.#rules = rules;
  }

  /** How long until that one may try; 0: now. */
  waitMs(key: string, nowMs: number): number {
    const tries = this.#current(key, nowMs);
    if (tries === undefined) return 0;
    const { free, firstMs, mostMs } = this.#rules;
    if (tries.count < free) return 0;
    const wait = Math.min(firstMs * 2 ** Math.min(tries.count - free, 40), mostMs);
    return Math.max(0, tries.lastMs + wait - nowMs);
  }

  charge(key: string, nowMs: number): void {
    const count = (this.#current(key, nowMs)?.count ?? 0) + 1;
    this.#tries.delete(key);
    this.#tries.set(key, { count, lastMs: nowMs });
    const oldest = this.#tries.size > this.#rules.keysMax ? this.#tries.keys().next().value : undefined;
    if (oldest !== undefined) this.#tries.delete(oldest);
  }

  /** The attempt was a good one: it counts no more, those before do. */
  giveBack(key: string): void {
    const tries = this.#tries.get(key);
    if (tries === undefined) return;
    if (tries.count <= 1) this.#tries.delete(key);
    else this.#tries.set(key, { ...tries, count: tries.count - 1 });
  }

  forget(key: string): void {
    this.#tries.delete(key);
  }

  #current(key: string, nowMs: number): Tries | undefined {
    const tries = this.#tries.get(key);
    if (tries === undefined) return undefined;
    const quietMs = nowMs - tries.lastMs;
    // A clock that was set back shuts nobody out.
    return quietMs >= 0 && quietMs < this.#rules.forgetMs ? tries : undefined;
  }
}
