// SPDX-License-Identifier: Apache-2.0

/** Histories cost a few kilobytes each: of all of 5,000 services they would be most of a console's memory. */
export const WATCHED_MAX = 500;

/** Names that somebody wants, as often as they are wanted. */
export class Watched {
  readonly #counts = new Map<string, number>();
  readonly #changed: (names: ReadonlySet<string>) => void;

  constructor(changed: (names: ReadonlySet<string>) => void) {
    this.#changed = changed;
  }

  /** Beyond WATCHED_MAX names are left out. Gives what takes them back. */
  add(names: Iterable<string>): () => void {
    const added: string[] = [];
    for (const name of new Set(names)) {
      const count = this.#counts.get(name) ?? 0;
      if (count === 0 && this.#counts.size >= WATCHED_MAX) continue;
      this.#counts.set(name, count + 1);
      added.push(name);
    }
    this.#tell();
    return () => {
      for (const name of added.splice(0)) {
        const count = (this.#counts.get(name) ?? 1) - 1;
        if (count > 0) this.#counts.set(name, count);
        else this.#counts.delete(name);
      }
      this.#tell();
    };
  }

  #tell(): void {
    this.#changed(new Set(this.#counts.keys()));
  }
}
