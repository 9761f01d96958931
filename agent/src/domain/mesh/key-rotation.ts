// SPDX-License-Identifier: Apache-2.0
/**
 * How the key that gossip is sealed by is changed without a gap and without a centre. One replicated register says which
 * key is the target; each node says by itself which keys it has and by which it seals; and each decides alone:
 *
 *   lacks the target ──fetch──▶ has it ──all that are there have it──▶ seals by it ──all seal by it, a while──▶ only it
 *      installing                            using                       removing                               done
 *
 * Every key opens what comes in, so nobody is unheard at any step, whoever does what first. There is nothing to take up
 * again after a crash: what is to be done next is a function of what is known. Two that begin at once write one register,
 * where the later stands; the other's key becomes one of those that are removed.
 *
 * A node that is away is not waited for: it gets the target by the mesh port, by its certificate, when it comes back. One
 * that was removed gets none that was made since: targets name whom they are withheld from, so that also members that have
 * not heard of the removal yet refuse it.
 */
import { LIFETIME } from '../identity/lifetime.js';
import type { NodeRecord } from './node-record.js';

export interface KeyTarget {
  readonly keyId: string;
  /** Unix time. */
  readonly createdMs: number;
  /** Id of the node that made it. */
  readonly createdBy: string;
  /** Ids of nodes. */
  readonly withheldFrom: readonly string[];
}

/** What a node has, by ids of keys. */
export interface HeldKeys {
  readonly keyIds: readonly string[];
  readonly primary: string;
}

export interface RotationView {
  /** This node's id. */
  readonly self: string;
  /** undefined: the mesh has its first key. */
  readonly target: KeyTarget | undefined;
  readonly own: HeldKeys;
  /** Ids of members that are to be waited for. */
  readonly there: Iterable<string>;
  /** What others have said of themselves, by id. */
  readonly held: ReadonlyMap<string, HeldKeys>;
}

export type RotationStep =
  /** By this node, now. */
  | { readonly kind: 'fetch' | 'use'; readonly keyId: string }
  /** Once it has been so for a while: datagrams of others may be on their way. */
  | { readonly kind: 'remove'; readonly keyIds: readonly string[] }
  /** Until these have the target, or seal by it. */
  | { readonly kind: 'wait'; readonly until: 'installed' | 'used'; readonly nodes: readonly string[] }
  | { readonly kind: 'done' };

/** Many times what a node lets in and out in 30 days; what is more is older. */
export const WITHHELD_MAX = 1_024;

export function nextStep({ self, target, own, there, held }: RotationView): RotationStep {
  if (target === undefined || target.withheldFrom.includes(self)) return { kind: 'done' };
  const { keyId } = target;
  if (!own.keyIds.includes(keyId)) return { kind: 'fetch', keyId };
  const others = [...there].filter((id) => id !== self && !target.withheldFrom.includes(id)).sort();
  if (own.primary !== keyId) {
    const lacking = others.filter((id) => held.get(id)?.keyIds.includes(keyId) !== true);
    return lacking.length === 0 ? { kind: 'use', keyId } : { kind: 'wait', until: 'installed', nodes: lacking };
  }
  const older = own.keyIds.filter((id) => id !== keyId);
  const behind = others.filter((id) => held.get(id)?.primary !== keyId);
  if (behind.length > 0) return { kind: 'wait', until: 'used', nodes: behind };
  return older.length === 0 ? { kind: 'done' } : { kind: 'remove', keyIds: older };
}

export type RotationState = 'done' | 'installing' | 'using' | 'removing';

/** Of the mesh, as far as this node knows. */
export function stateOf(step: RotationStep): RotationState {
  switch (step.kind) {
    case 'fetch':
      return 'installing';
    case 'use':
      return 'using';
    case 'remove':
      return 'removing';
    case 'wait':
      return step.until === 'installed' ? 'installing' : 'using';
    case 'done':
      return 'done';
  }
}

/** Of two that are not known from one register; undefined is the oldest. */
export function isNewer(one: KeyTarget, other: KeyTarget | undefined): boolean {
  if (other === undefined) return true;
  if (one.createdMs !== other.createdMs) return one.createdMs > other.createdMs;
  return one.keyId > other.keyId;
}

/** A target that is newer than the one before, whatever the clocks say. */
export function newTarget(
  keyId: string,
  self: string,
  before: KeyTarget | undefined,
  records: Iterable<NodeRecord>,
  nowMs: number,
): KeyTarget {
  const createdMs = Math.max(nowMs, (before?.createdMs ?? 0) + 1);
  const withheldFrom = goneNodes(records, nowMs).map(({ nodeId }) => nodeId);
  return { keyId, createdMs, createdBy: self, withheldFrom: withheldFrom.sort() };
}

/**
 * Whether a node that is in the mesh no more may know the key that is in use, and this one is to make another: the one
 * with the least id of those that are there. Where nodes see others there, two may, which does no harm.
 */
export function isDue(
  { self, target, there }: Pick<RotationView, 'self' | 'target' | 'there'>,
  records: Iterable<NodeRecord>,
  nowMs: number,
): boolean {
  const withheld = new Set(target?.withheldFrom ?? []);
  const knows = goneNodes(records, nowMs).some(({ nodeId, keysKept }) => keysKept !== true && !withheld.has(nodeId));
  return knows && [...there].every((id) => id >= self);
}

/** Who has gone, and may still have a certificate that is not known as revoked everywhere. */
function goneNodes(records: Iterable<NodeRecord>, nowMs: number): readonly NodeRecord[] {
  return [...records]
    .filter(({ removedMs }) => removedMs !== 0n && nowMs - Number(removedMs) < LIFETIME.nodeMs)
    .sort((a, b) => Number(b.removedMs - a.removedMs) || (a.nodeId < b.nodeId ? -1 : 1))
    .slice(0, WITHHELD_MAX);
}
