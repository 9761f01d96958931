// SPDX-License-Identifier: Apache-2.0
/** Origins as keys of maps, and what a vector of their sequences says. */
import type { Fork, Head, NodeId, Origin, OriginKey, Range, VectorState } from './contract.js';

export const INCARNATION_MAX = 2 ** 48 - 1;

export function originKey({ node, incarnation }: Origin): OriginKey {
  return `${node.toString(16).padStart(16, '0')}.${incarnation.toString(16).padStart(12, '0')}`;
}

/** Of a key that originKey() has made. */
export function parseOrigin(key: OriginKey): Origin {
  return { node: BigInt(`0x${key.slice(0, 16)}`), incarnation: Number.parseInt(key.slice(17), 16) };
}

/** Of a node: the one to take next, greater than every known one. */
export function nextIncarnation(node: NodeId, known: Iterable<OriginKey>, floor: number, wallMs: number): number {
  let next = Math.max(1, floor, Math.min(Math.floor(wallMs) || 0, INCARNATION_MAX));
  for (const key of known) {
    const origin = parseOrigin(key);
    if (origin.node === node) next = Math.max(next, origin.incarnation + 1);
  }
  return next;
}

export const EMPTY_VECTOR: VectorState = { heads: new Map(), floors: new Map() };

function belowFloor({ floors }: VectorState, origin: OriginKey): boolean {
  if (floors.size === 0) return false;
  const { node, incarnation } = parseOrigin(origin);
  return incarnation < (floors.get(node) ?? 0);
}

export function covers(vector: VectorState, origin: OriginKey, sequence: number): boolean {
  const head = vector.heads.get(origin);
  if (head !== undefined && head.sequence >= sequence) return true;
  return belowFloor(vector, origin);
}

/** The greater head of each, and the greater floors; what lies below those is left out. */
export function union(a: VectorState, b: VectorState): { heads: Map<OriginKey, Head>; floors: Map<NodeId, number> } {
  const floors = new Map(a.floors);
  for (const [node, floor] of b.floors) floors.set(node, Math.max(floor, floors.get(node) ?? 0));
  const heads = new Map(a.heads);
  for (const [origin, head] of b.heads) {
    if (head.sequence > (heads.get(origin)?.sequence ?? 0)) heads.set(origin, head);
  }
  for (const origin of heads.keys()) if (belowFloor({ heads, floors }, origin)) heads.delete(origin);
  return { heads, floors };
}

export type ForkPoints = readonly Pick<Fork, 'origin' | 'sequence'>[];

export function isForked(forks: ForkPoints, origin: OriginKey, sequence: number): boolean {
  return forks.some((fork) => fork.origin === origin && sequence >= fork.sequence);
}

/**
 * What the second has that the first lacks; of an origin that forked, only what came before. Floors are not compared:
 * they are only set for what every member had.
 */
export function lacking(vector: VectorState, other: VectorState, forks: ForkPoints): Range[] {
  const ranges: Range[] = [];
  for (const [origin, { sequence }] of other.heads) {
    if (covers(vector, origin, sequence)) continue;
    let through = sequence;
    for (const fork of forks) if (fork.origin === origin) through = Math.min(through, fork.sequence - 1);
    const from = (vector.heads.get(origin)?.sequence ?? 0) + 1;
    if (from <= through) ranges.push({ origin, from, through });
  }
  return ranges;
}

/** Everything of the second is in the first. */
export function includes(vector: VectorState, other: VectorState, forks: ForkPoints): boolean {
  return lacking(vector, other, forks).length === 0;
}
