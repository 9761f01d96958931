// SPDX-License-Identifier: Apache-2.0
import type { NodeId } from './contract.js';

/**
 * Whom a node keeps streams to: on the ring of all living nodes, those 1, 2, 4, 8 … places away in both directions.
 * Every node works out the same links from the same members; they are 2·log2(n) each, any node is reached in log2(n)
 * steps, and it takes that many failures at once to cut one off. What members disagree on heals with membership, and
 * until then by anti-entropy.
 */
export function neighbours(self: NodeId, alive: Iterable<NodeId>): NodeId[] {
  const nodes = new Set(alive);
  nodes.add(self);
  const ring = [...nodes].sort((a, b) => (a < b ? -1 : 1));
  const at = ring.indexOf(self);
  const found = new Set<NodeId>();
  for (let step = 1; step <= ring.length / 2; step *= 2) {
    found.add(ring[(at + step) % ring.length] as NodeId);
    found.add(ring[(at - step + ring.length) % ring.length] as NodeId);
  }
  found.delete(self);
  return [...found];
}
