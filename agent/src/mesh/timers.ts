// SPDX-License-Identifier: Apache-2.0
/** Everything that waits in this node's part, so that all of it ends at once. */
export class Timers {
  readonly #waiting = new Set<NodeJS.Timeout>();
  #stopped = false;

  get stopped(): boolean {
    return this.#stopped;
  }

  /** Nothing happens any more once it was stopped. */
  after(ms: number, work: () => void): void {
    if (this.#stopped) return;
    const timer = setTimeout(() => {
      this.#waiting.delete(timer);
      if (!this.#stopped) work();
    }, ms);
    this.#waiting.add(timer);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#waiting) clearTimeout(timer);
    this.#waiting.clear();
  }
}
