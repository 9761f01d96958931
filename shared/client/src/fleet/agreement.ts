// SPDX-License-Identifier: Apache-2.0
/**
 * Whether nodes declare the same. Nodes that are fresh (live) have a say; a node that is not in an object's cluster does not
 * hold it, and so does not lack it either.
 */
import type { NodeKey, ObjectOnNode } from './contract.js';
import type { NodeSlots } from './node-map.js';

export interface HeldObject extends ObjectOnNode {
  /** Of what it declares there, hex. */
  readonly digest: string;
}

/** Who is heard now, and what they hold. */
export class FreshNodes {
  readonly #clusters = new Map<NodeKey, readonly string[]>();
  readonly #slots: NodeSlots;
  /** By slot, 1: it is heard. */
  readonly #marks: Uint8Array;
  readonly #entry: NodeKey | undefined;
  readonly #holders = new Map<string, readonly number[]>();

  constructor(slots: NodeSlots, nodes: Iterable<readonly [NodeKey, readonly string[]]>, entry: NodeKey | undefined) {
    this.#slots = slots;
    for (const [key, clusters] of nodes) {
      this.#clusters.set(key, clusters);
      slots.of(key);
    }
    this.#marks = new Uint8Array(slots.size);
    for (const key of this.#clusters.keys()) this.#marks[slots.of(key)] = 1;
    this.#entry = entry;
  }

  get entry(): NodeKey | undefined {
    return this.#entry;
  }

  /** undefined: it has said nothing yet. */
  get entrySlot(): number | undefined {
    return this.#entry === undefined ? undefined : this.#slots.find(this.#entry);
  }

  get size(): number {
    return this.#clusters.size;
  }

  has(node: NodeKey): boolean {
    return this.#clusters.has(node);
  }

  hasSlot(slot: number): boolean {
    return this.#marks[slot] === 1;
  }

  /** The same nodes, by other numbers. */
  renumbered(slots: NodeSlots): FreshNodes {
    return new FreshNodes(slots, this.#clusters, this.#entry);
  }

  /** Slots of those that hold a cluster; of '', of every node. */
  holders(cluster: string): readonly number[] {
    const known = this.#holders.get(cluster);
    if (known !== undefined) return known;
    const holders: number[] = [];
    for (const [key, clusters] of this.#clusters) {
      if (cluster === '' || clusters.includes(cluster)) holders.push(this.#slots.of(key));
    }
    this.#holders.set(cluster, holders);
    return holders;
  }
}

export interface Agreement {
  readonly agreement: 'same' | 'differs';
  /** What most have; of several that as many have, what the entry has, or else the least. undefined: nobody has it. */
  readonly digest: string | undefined;
}

/** objects: by slot. cluster: undefined where it is not known, so that nobody is said to lack it. */
export function agreementOn(
  objects: readonly (HeldObject | undefined)[],
  fresh: FreshNodes,
  cluster: string | undefined,
): Agreement {
  let counted = 0;
  let only: string | undefined;
  let isOne = true;
  for (let slot = 0; slot < objects.length; slot++) {
    const held = objects[slot];
    if (held === undefined || !fresh.hasSlot(slot)) continue;
    counted++;
    only ??= held.digest;
    if (held.digest !== only) isOne = false;
  }
  const isLacked = cluster !== undefined && counted > 0 && isLackedBy(fresh.holders(cluster), objects);
  const agreement = isOne && !isLacked ? 'same' : 'differs';
  // Mostly so: nothing is to be counted then.
  if (isOne && only !== undefined) return { agreement, digest: only };
  const counts = new Map<string, number>();
  let entrys: string | undefined;
  for (const [slot, held] of objects.entries()) {
    if (held === undefined) continue;
    if (slot === fresh.entrySlot) entrys = held.digest;
    if (counted === 0 || fresh.hasSlot(slot)) counts.set(held.digest, (counts.get(held.digest) ?? 0) + 1);
  }
  return { agreement, digest: commonest(counts, entrys) };
}

function isLackedBy(holders: readonly number[], objects: readonly unknown[]): boolean {
  for (const slot of holders) if (objects[slot] === undefined) return true;
  return false;
}

function commonest(counts: ReadonlyMap<string, number>, entrys: string | undefined): string | undefined {
  let best: string | undefined;
  let most = 0;
  for (const [digest, count] of counts) {
    const isBetter =
      count > most ||
      (count === most &&
        digest !== best &&
        (digest === entrys || (best !== entrys && best !== undefined && digest < best)));
    if (isBetter) {
      best = digest;
      most = count;
    }
  }
  return best;
}
