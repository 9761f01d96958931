// SPDX-License-Identifier: Apache-2.0

type Undo = () => void;

/** Transactions of what is on one disk in memory: one within another is part of it; what is not durable can be lost. */
export class MemoryTransactions {
  /** What takes back what the transaction that is open has done so far. */
  #open: Undo[] | undefined;
  #openDurable = false;
  /** The same of each transaction since the last durable one. */
  readonly #undurable: Undo[][] = [];

  /** Undoes all that act has said undo for, if it throws. A transaction is durable if anything within it is. */
  run(durable: boolean, act: (undo: (back: Undo) => void) => void): void {
    const outer = this.#open;
    const open = outer ?? [];
    const from = open.length;
    this.#open = open;
    this.#openDurable = outer === undefined ? durable : this.#openDurable || durable;
    try {
      act((back) => void open.push(back));
    } catch (error) {
      takeBack(open.splice(from));
      throw error;
    } finally {
      this.#open = outer;
    }
    if (outer !== undefined) return;
    if (this.#openDurable) this.#undurable.length = 0;
    else this.#undurable.push(open);
  }

  get undurable(): number {
    return this.#undurable.length;
  }

  keepUndurable(kept: number): void {
    while (this.#undurable.length > kept) takeBack(this.#undurable.pop() ?? []);
    this.#undurable.length = 0;
  }
}

function takeBack(undo: readonly Undo[]): void {
  for (let i = undo.length - 1; i >= 0; i--) undo[i]?.();
}
