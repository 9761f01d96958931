// SPDX-License-Identifier: Apache-2.0
/**
 * What has changed, in order: a reader that remembers how far it was looks at what came after alone. Fifty simulated agents that look
 * through thousands of things for each batch would take the machine that a console is measured on.
 */
const KEPT_MIN = 10_000;

export class ChangedKeys {
  #keys: string[] = [];
  /** So many came before those that are kept. */
  #dropped = 0;

  /** Where whoever knows everything is. */
  get end(): number {
    return this.#dropped + this.#keys.length;
  }

  add(key: string): void {
    this.#keys.push(key);
    if (this.#keys.length < 2 * KEPT_MIN) return;
    this.#keys = this.#keys.slice(KEPT_MIN);
    this.#dropped += KEPT_MIN;
  }

  /** Each once. undefined: it is too long ago. */
  since(place: number): ReadonlySet<string> | undefined {
    return place < this.#dropped ? undefined : new Set(this.#keys.slice(place - this.#dropped));
  }
}
