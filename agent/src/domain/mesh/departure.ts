// SPDX-License-Identifier: Apache-2.0
/** Nodes that go by themselves: when they may, and how long they are shown. */
import type { NodeRecord } from './node-record.js';

export interface Leaving {
  /** This node's id. */
  readonly self: string;
  /** All that are in the mesh, by id. */
  readonly members: ReadonlyMap<string, NodeRecord>;
  /** Whether this node holds the key of the mesh's CA. */
  readonly signs: boolean;
  /** Other members that answer. */
  readonly alive: number;
  /** Whether this node has taken over the mesh's state, without which it can say nothing. */
  readonly admitted: boolean;
}

export type LeavingVerdict =
  | { readonly kind: 'leaves' }
  /** refused: the mesh would lose what it needs; unheard: nobody would know. */
  | { readonly kind: 'refused' | 'unheard'; readonly reason: string };

const SHOWN_MS = 7 * 86_400_000;

export function mayLeave({ self, members, signs, alive, admitted }: Leaving): LeavingVerdict {
  const others = [...members.values()].filter(({ nodeId }) => nodeId !== self);
  if (others.length === 0 || !members.has(self)) return { kind: 'leaves' };
  if (signs && !others.some(({ role }) => role === 'authority')) {
    const what = "this node is the only one that holds the key of the mesh's CA: nobody could join the others any more";
    const fix = 'let another hold it first (marcher mesh token --role authority), or leave with --force';
    return { kind: 'refused', reason: `${what}, and their certificates would expire; ${fix}` };
  }
  const fix = 'leave with --force, and remove it at another member then';
  if (!admitted) {
    return {
      kind: 'unheard',
      reason: `this node has not taken over the mesh's state yet: wait until it has, or ${fix}`,
    };
  }
  if (alive > 0) return { kind: 'leaves' };
  const count =
    others.length === 1 ? 'the other member does not answer' : `none of the ${others.length} others answers`;
  return { kind: 'unheard', reason: `${count}, so that nobody would be told: try again, or ${fix}` };
}

/** Those that left within a week, unless another has taken their name since. */
export function departedNodes(records: Iterable<NodeRecord>, nowMs: number): readonly NodeRecord[] {
  const all = [...records];
  const taken = new Set(all.filter(({ removedMs }) => removedMs === 0n).map(({ name }) => name));
  return all.filter(({ left, removedMs, name }) => {
    return left === true && removedMs !== 0n && nowMs - Number(removedMs) < SHOWN_MS && !taken.has(name);
  });
}
