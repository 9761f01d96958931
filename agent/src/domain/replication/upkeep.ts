// SPDX-License-Identifier: Apache-2.0
/**
 * What a replica forgets, and when that is safe.
 *
 * A tombstone goes once every known member has acknowledged a vector with its dot, and all that those vectors hold is
 * here too. Then nothing older than it can come from a member: after its acknowledgement a member only writes greater
 * stamps, as its clock has received the tombstone's; and what it wrote before, or held of others, is in its
 * acknowledged vector and so has been merged here.
 */
import { compare } from '@marcher/hlc';
import type { Cell, Key, NodeId, OriginKey, VectorState } from './contract.js';
import { xor48 } from './digest.js';
import type { Ledger } from './ledger.js';
import { isThere, objectDigest, objectsOf, Staging } from './object.js';
import { covers, includes, isForked, originKey, parseOrigin } from './origin.js';

/** Of every known member but this node, its last; undefined among them: not heard from since the start. */
export type Acknowledged = readonly (VectorState | undefined)[];

function everyone(acknowledged: Acknowledged): acknowledged is readonly VectorState[] {
  return !acknowledged.includes(undefined);
}

/**
 * Of one bucket: tombstones that all have and what they hide, and groups whose existence never came. minAgeMs: how old
 * they must be in any case, for members that this node has not heard of yet. Gives the number of cells.
 */
export function collect(
  ledger: Ledger,
  bucket: number,
  acknowledged: Acknowledged,
  wallMs: number,
  minAgeMs: number,
): number {
  if (!everyone(acknowledged)) return 0;
  const isStable = ({ origin, sequence, stamp }: Cell): boolean =>
    stamp.ms <= wallMs - minAgeMs &&
    !isForked(ledger.forks, origin, sequence) &&
    acknowledged.every((vector) => covers(vector, origin, sequence));
  const gone: Cell[] = [];
  for (const groups of objectsOf(ledger.store, bucket)) {
    const there = isThere(groups);
    const dead = [...groups.values()].filter(({ value }) => !there || value === undefined);
    // The tombstone hides what is newer than it, and so goes last.
    if (there) gone.push(...dead.filter(isStable));
    else if (dead.every(isStable)) gone.push(...dead);
  }
  // Of many members this takes long, and most often there is nothing to collect.
  if (gone.length === 0 || !acknowledged.every((vector) => includes(ledger, vector, ledger.forks))) return 0;
  const staging = new Staging(ledger.store);
  const seen = new Map(ledger.horizon.seen);
  let { stamp } = ledger.horizon;
  for (const cell of gone) {
    staging.remove(cell);
    if (compare(cell.stamp, stamp) > 0) stamp = cell.stamp;
    seen.set(cell.origin, Math.max(cell.sequence, seen.get(cell.origin) ?? 0));
  }
  ledger.commit(staging, { state: { horizon: { stamp, seen } } });
  return gone.length;
}

/**
 * Reads a bucket again; what differs from when it was written is named, and the digest then says what is really there.
 */
export function scrub(ledger: Ledger, bucket: number): Key[] {
  const damaged: Key[] = [];
  let digest = 0;
  for (const groups of objectsOf(ledger.store, bucket)) {
    for (const [group, cell] of groups) {
      const mark = ledger.mark(cell);
      if (mark === cell.mark) continue;
      damaged.push({ kind: cell.kind, id: cell.id, group });
      groups.set(group, { ...cell, mark });
    }
    digest = xor48(digest, objectDigest(groups));
  }
  ledger.digests.change(bucket, xor48(digest, ledger.digests.of(bucket)));
  return damaged;
}

export interface Retention {
  /** Frames in the log that not everyone has: beyond, the oldest go, and whoever lacks them takes a snapshot. */
  readonly frames: number;
  readonly bytes: number;
}

/** Frames leave the log once everyone has them, or when there are too many. */
export function compact(ledger: Ledger, acknowledged: Acknowledged, retention: Retention): void {
  const all = everyone(acknowledged);
  const drop = new Map<OriginKey, number>();
  const logs: { origin: OriginKey; first: number; last: number }[] = [];
  for (const [origin, { sequence }] of ledger.heads) {
    const first = ledger.store.firstFrame(origin);
    if (first === undefined) continue;
    let through = all ? sequence : 0;
    for (const vector of acknowledged) {
      if (through < first) break;
      if (vector !== undefined && covers(vector, origin, sequence)) continue;
      through = Math.min(through, vector?.heads.get(origin)?.sequence ?? 0);
    }
    if (through >= first) drop.set(origin, through);
    if (through < sequence) logs.push({ origin, first: Math.max(first, through + 1), last: sequence });
  }
  const size = ledger.store.logSize();
  const kept = logs.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  const average = size.frames === 0 ? 0 : size.bytes / size.frames;
  const most = Math.min(retention.frames, average === 0 ? retention.frames : Math.floor(retention.bytes / average));
  if (kept > most) {
    // Of each as much as of the others, so that no origin's burst costs another its log.
    for (const { origin, first, last } of logs) {
      const count = Math.ceil(((last - first + 1) * (kept - most)) / kept);
      drop.set(origin, first + count - 1);
    }
  }
  if (drop.size === 0) return;
  ledger.commit(new Staging(ledger.store), { drop: Array.from(drop, ([origin, through]) => ({ origin, through })) });
}

/**
 * Incarnations that ended, and that everyone has all of, leave the vector: it would grow with every restored disk. How much
 * there is of one its own node says, once it writes under a later: before, it may have frames that nobody else has heard
 * of, and a node that is no member any more may have some for ever. vectorOf: what a member has acknowledged last.
 */
export function settle(
  ledger: Ledger,
  acknowledged: Acknowledged,
  vectorOf: (node: NodeId) => VectorState | undefined,
): void {
  if (!everyone(acknowledged)) return;
  const byNode = new Map<NodeId, OriginKey[]>();
  for (const origin of ledger.heads.keys()) {
    const { node } = parseOrigin(origin);
    const list = byNode.get(node) ?? [];
    list.push(origin);
    byNode.set(node, list);
  }
  const self = ledger.self === undefined ? undefined : originKey(ledger.self);
  const hasEnded = (node: NodeId, next: OriginKey): boolean => {
    const own = node === ledger.self?.node ? ledger : vectorOf(node);
    return own !== undefined && covers(own, next, 1);
  };
  const floors = new Map(ledger.floors);
  const forget: OriginKey[] = [];
  for (const [node, origins] of byNode) {
    // Keys sort as incarnations do; the last one may still be written under.
    for (const [at, origin] of origins.sort().slice(0, -1).entries()) {
      const sequence = ledger.sequence(origin);
      const known = acknowledged.every((vector) => {
        const head = vector.heads.get(origin);
        return head === undefined ? covers(vector, origin, sequence) : head.sequence === sequence;
      });
      const settled =
        known &&
        origin !== self &&
        hasEnded(node, origins[at + 1] as OriginKey) &&
        ledger.store.firstFrame(origin) === undefined &&
        !ledger.forks.some((fork) => fork.origin === origin);
      if (!settled) break;
      floors.set(node, parseOrigin(origin).incarnation + 1);
      forget.push(origin);
    }
  }
  if (forget.length === 0) return;
  const seen = new Map([...ledger.horizon.seen].filter(([origin]) => !forget.includes(origin)));
  ledger.commit(new Staging(ledger.store), { forget, state: { floors, horizon: { ...ledger.horizon, seen } } });
}
