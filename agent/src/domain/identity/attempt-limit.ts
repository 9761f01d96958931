// SPDX-License-Identifier: Apache-2.0
/**
 * How often somebody may try, per source and in all: GCRA (ITU-T I.371), one time per source, by which the next attempt
 * would be on schedule. Bounded: when there are too many sources, those that have been quiet for long enough to have
 * their whole burst again are forgotten, and if there is none, new sources wait.
 */
export interface AttemptRate {
  /** Attempts at once. */
  readonly burst: number;
  /** Then one per that time. */
  readonly everyMs: number;
}

export interface AttemptRules {
  readonly perSource: AttemptRate;
  readonly total: AttemptRate;
  readonly sourcesMax: number;
}

export type Admission = { readonly admitted: true } | { readonly admitted: false; readonly retryAfterMs: number };

/** Of joining: a rack of machines behind one address comes in at once, guessing does not. */
export const JOIN_ATTEMPTS: AttemptRules = {
  perSource: { burst: 50, everyMs: 1_000 },
  total: { burst: 200, everyMs: 50 },
  sourcesMax: 10_000,
};

export class AttemptLimit {
  readonly #rules: AttemptRules;
  readonly #sources = new Map<string, number>();
  #total = Number.NEGATIVE_INFINITY;

  constructor(rules: AttemptRules) {
    this.#rules = rules;
  }

  /** source: such as an IPv4 address, or the /64 of an IPv6 address. An attempt that is refused costs nothing. */
  admit(source: string, nowMs: number): Admission {
    const { perSource, total, sourcesMax } = this.#rules;
    const mine = wait(this.#sources.get(source), perSource, nowMs);
    const all = wait(this.#total, total, nowMs);
    const retryAfterMs = Math.max(mine, all);
    if (retryAfterMs > 0) return { admitted: false, retryAfterMs };
    if (!this.#sources.has(source) && this.#sources.size >= sourcesMax && !this.#forget(nowMs)) {
      return { admitted: false, retryAfterMs: perSource.everyMs };
    }
    this.#sources.set(source, next(this.#sources.get(source), perSource, nowMs));
    this.#total = next(this.#total, total, nowMs);
    return { admitted: true };
  }

  /** How long the next attempt would have to wait; 0: it would be admitted. For those who count failures only. */
  waitMs(source: string, nowMs: number): number {
    const { perSource, total } = this.#rules;
    return Math.max(wait(this.#sources.get(source), perSource, nowMs), wait(this.#total, total, nowMs));
  }

  /** Whether there is room now. */
  #forget(nowMs: number): boolean {
    for (const [source, atMs] of this.#sources) {
      if (atMs <= nowMs) this.#sources.delete(source);
    }
    return this.#sources.size < this.#rules.sourcesMax;
  }
}

function wait(atMs: number | undefined, rate: AttemptRate, nowMs: number): number {
  return Math.max(0, scheduled(atMs, rate, nowMs) - nowMs - (rate.burst - 1) * rate.everyMs);
}

function next(atMs: number | undefined, rate: AttemptRate, nowMs: number): number {
  return scheduled(atMs, rate, nowMs) + rate.everyMs;
}

/** Further ahead than a whole burst it can't be but by a clock that was set back, which shuts nobody out. */
function scheduled(atMs: number | undefined, { burst, everyMs }: AttemptRate, nowMs: number): number {
  if (atMs === undefined || atMs > nowMs + burst * everyMs) return nowMs;
  return Math.max(nowMs, atMs);
}
