// SPDX-License-Identifier: Apache-2.0
/**
 * Whether nodes declare the same. Nodes that are fresh (live) have a say; a node that is not in an object's cluster does not
 * hold it, and so does not lack it either.
 */
import type { NodeKey, ObjectOnNode } from './contract.js';

export interface HeldObject extends ObjectOnNode {
  /** Of what it declares there, hex. */
  readonly digest: string;
}

/** Who is heard now, and what they hold. */
export class FreshNodes {
  readonly #clusters = new Map<NodeKey, readonly string[]>();
  readonly #entry: NodeKey | undefined;
  readonly #holders = new Map<string, ReadonlySet<NodeKey>>();

  constructor(nodes: Iterable<readonly [NodeKey, readonly string[]]>, entry: NodeKey | undefined) {
    for (const [key, clusters] of nodes) this.#clusters.set(key, clusters);
    this.#entry = entry;
  }

  get entry(): NodeKey | undefined {
    return this.#entry;
  }

  get size(): number {
    return this.#clusters.size;
  }

  has(node: NodeKey): boolean {
    return this.#clusters.has(node);
  }

  /** Those that hold a cluster; of '', every node. */
  holders(cluster: string): ReadonlySet<NodeKey> {
    const known = this.#holders.get(cluster);
    if (known !== undefined) return known;
    const holders = new Set<NodeKey>();
    for (const [key, clusters] of this.#clusters) if (cluster === '' || clusters.includes(cluster)) holders.add(key);
    this.#holders.set(cluster, holders);
    return holders;
  }
}

export interface Agreement {
  readonly agreement: 'same' | 'differs';
  /** What most have; of several that as many have, what the entry has, or else the least. undefined: nobody has it. */
  readonly digest: string | undefined;
}

/** cluster: undefined where it is not known, so that nobody is said to lack it. */
export function agreementOn(
  objects: ReadonlyMap<NodeKey, HeldObject>,
  fresh: FreshNodes,
  cluster: string | undefined,
): Agreement {
  let counted = 0;
  let only: string | undefined;
  let isOne = true;
  for (const [node, { digest }] of objects) {
    if (!fresh.has(node)) continue;
    counted++;
    only ??= digest;
    if (digest !== only) isOne = false;
  }
  const isLacked = cluster !== undefined && counted > 0 && isLackedBy(fresh.holders(cluster), objects);
  const agreement = isOne && !isLacked ? 'same' : 'differs';
  // Mostly so: nothing is to be counted then.
  if (isOne && only !== undefined) return { agreement, digest: only };
  const counts = new Map<string, number>();
  for (const [node, { digest }] of objects) {
    if (counted === 0 || fresh.has(node)) counts.set(digest, (counts.get(digest) ?? 0) + 1);
  }
  const { entry } = fresh;
  return { agreement, digest: commonest(counts, entry === undefined ? undefined : objects.get(entry)?.digest) };
}

function isLackedBy(holders: ReadonlySet<NodeKey>, objects: ReadonlyMap<NodeKey, unknown>): boolean {
  for (const node of holders) if (!objects.has(node)) return true;
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
