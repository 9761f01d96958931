// SPDX-License-Identifier: Apache-2.0
import type { NodeId } from '../contract.js';

/** Which ways messages do not get through: directed, and as many at once as there are. */
export class Cuts {
  readonly #cuts = new Set<Cut>();

  /** What leads from that side to the others is lost; bothWays: and what leads back. Whoever calls the result ends it. */
  partition(side: ReadonlySet<NodeId>, bothWays: boolean): () => void {
    return this.#add({ side, bothWays, lasting: false });
  }

  /** From and to all others, until it ends; heal() does not. */
  away(node: NodeId): () => void {
    return this.#add({ side: new Set([node]), bothWays: true, lasting: true });
  }

  /** All partitions end. */
  heal(): void {
    for (const cut of this.#cuts) if (!cut.lasting) this.#cuts.delete(cut);
  }

  between(from: NodeId, to: NodeId): boolean {
    for (const { side, bothWays } of this.#cuts) {
      const out = side.has(from);
      if (out !== side.has(to) && (out || bothWays)) return true;
    }
    return false;
  }

  #add(cut: Cut): () => void {
    this.#cuts.add(cut);
    return () => this.#cuts.delete(cut);
  }
}

interface Cut {
  readonly side: ReadonlySet<NodeId>;
  readonly bothWays: boolean;
  readonly lasting: boolean;
}
