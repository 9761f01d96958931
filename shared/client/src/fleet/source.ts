// SPDX-License-Identifier: Apache-2.0
import type { FleetState } from './contract.js';

export type StateListener = (state: FleetState) => void;

/** Where a console has its states from: a mesh, or a recording. Both functions may be passed on by themselves. */
export interface FleetSource {
  readonly state: FleetState;
  /** Gives what ends it. */
  readonly subscribe: (listener: StateListener) => () => void;
  /** Of these services a history is kept from now on, until that is ended by what it gives. */
  readonly watch: (services: Iterable<string>) => () => void;
}

export class Listeners {
  readonly #listeners = new Set<{ readonly listener: StateListener }>();

  add(listener: StateListener): () => void {
    const one = { listener };
    this.#listeners.add(one);
    return () => void this.#listeners.delete(one);
  }

  tell(state: FleetState): void {
    for (const { listener } of [...this.#listeners]) listener(state);
  }

  clear(): void {
    this.#listeners.clear();
  }
}
