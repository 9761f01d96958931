// SPDX-License-Identifier: Apache-2.0
/**
 * Where somebody who may call has come from of late, so that strangers from ever so many other places, who use up what
 * there is for all, do not keep that one out. Bounded: the one that was longest not heard of goes first.
 */
export interface FamiliarRules {
  readonly most: number;
  readonly keptMs: number;
}

export class FamiliarSources {
  readonly #rules: FamiliarRules;
  /** By sourceOf(), when it was last seen; the one seen last is last. */
  readonly #seen = new Map<string, number>();

  constructor(rules: FamiliarRules) {
    this.#rules = rules;
  }

  see(source: string, nowMs: number): void {
    this.#seen.delete(source);
    this.#seen.set(source, nowMs);
    if (this.#seen.size <= this.#rules.most) return;
    const [oldest] = this.#seen.keys();
    if (oldest !== undefined) this.#seen.delete(oldest);
  }

  has(source: string, nowMs: number): boolean {
    const seenMs = this.#seen.get(source);
    return seenMs !== undefined && nowMs - seenMs < this.#rules.keptMs;
  }
}
