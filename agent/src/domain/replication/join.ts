// SPDX-License-Identifier: Apache-2.0
/**
 * Whole states merge by their dots: what one replica no longer has, although it has seen the frame that wrote it, was
 * deleted there and its tombstone collected, so it goes from the other too; what it has not seen stays. (The rule of
 * optimised observed-remove sets: Bieniusa et al. 2012, "An optimized conflict-free replicated set".) A tombstone that
 * was collected has moved the horizon beyond what it beat; what is newer than the horizon and missing was lost, and
 * comes back.
 */
import { compare } from '@marcher/hlc';
import type {
  Cell,
  CellWrite,
  Frame,
  Head,
  Horizon,
  Key,
  Origin,
  OriginKey,
  ReplicaState,
  VectorState,
} from './contract.js';
import { FORKS_MAX, type Ledger, type ObjectName } from './ledger.js';
import { allObjects, cellKey, compareKeys, EXISTENCE, type Groups, isThere, Staging, visible } from './object.js';
import { covers, type ForkPoints, isForked, union } from './origin.js';

const PAGE = 2048;

/**
 * What comes with the last part of a snapshot. Its clock must have been received: what is written next comes after it.
 */
export type SnapshotEnd = VectorState & Pick<ReplicaState, 'clock' | 'horizon' | 'forks'>;

export function joinHorizons(a: Horizon, b: Horizon): Horizon {
  const seen = new Map(a.seen);
  for (const [origin, sequence] of b.seen) seen.set(origin, Math.max(sequence, seen.get(origin) ?? 0));
  return { stamp: compare(a.stamp, b.stamp) < 0 ? b.stamp : a.stamp, seen };
}

function joinForks(ledger: Ledger, others: ReplicaState['forks']): ReplicaState['forks'] {
  const forks = [...ledger.forks];
  for (const fork of others) {
    if (forks.length < FORKS_MAX && !isForked(forks, fork.origin, fork.sequence)) forks.push(fork);
  }
  return forks;
}

/**
 * Whoever has that vector and horizon, and no such key, has forgotten that it was deleted. From where an origin forked
 * on, its numbers say nothing, and the horizon alone decides.
 */
function wasForgotten(vector: VectorState, horizon: Horizon, forks: ForkPoints, cell: Cell): boolean {
  if (compare(cell.stamp, horizon.stamp) > 0) return false;
  return covers(vector, cell.origin, cell.sequence) || isForked(forks, cell.origin, cell.sequence);
}

function mergeAll(ledger: Ledger, staging: Staging, cells: readonly Cell[], end: SnapshotEnd, forks: ForkPoints): void {
  const keys = new Set(cells.map(cellKey));
  for (const groups of allObjects(ledger.store)) {
    for (const cell of groups.values()) {
      if (!keys.has(cellKey(cell)) && wasForgotten(end, end.horizon, forks, cell)) staging.remove(cell);
    }
  }
  mergeGiven(ledger, staging, cells, forks);
}

/** Gives how many were taken. */
function mergeGiven(ledger: Ledger, staging: Staging, cells: readonly Cell[], forks: ForkPoints): number {
  let taken = 0;
  // As they were here when they were given: one that the other's older state has removed is not forgotten here.
  const absent = new Set(cells.filter((cell) => !staging.has(cell)));
  for (const cell of cells) {
    if (absent.has(cell) && wasForgotten(ledger, ledger.horizon, forks, cell)) continue;
    // Damaged where it comes from: nothing is known of it but that it is there.
    if (ledger.mark(cell) !== cell.mark) continue;
    if (staging.merge(cell)) taken++;
  }
  return taken;
}

/** For a replica that was behind: what it has of its own and the giver has not seen stays, log and all. */
export function joinSnapshot(ledger: Ledger, cells: readonly Cell[], end: SnapshotEnd): readonly ObjectName[] {
  const staging = new Staging(ledger.store);
  const forks = joinForks(ledger, end.forks);
  mergeAll(ledger, staging, cells, end, forks);
  const { heads, floors } = union(ledger, end);
  const forget = [...ledger.heads.keys()].filter((origin) => !heads.has(origin));
  // Frames before a head that has jumped would leave a gap in the log.
  const drop = [...ledger.heads]
    .filter(([origin, { sequence }]) => heads.get(origin)?.sequence !== sequence)
    .map(([origin, { sequence }]) => ({ origin, through: sequence }));
  const horizon = joinHorizons(ledger.horizon, end.horizon);
  return ledger.commit(staging, { heads, forget, drop, state: { floors, horizon, forks, admitted: true } });
}

/** A frame of the new origin that follows the one before; throws if it cannot be made. */
export type Reissue = (writes: readonly CellWrite[], self: Origin, sequence: number, previous: Uint8Array) => Frame;

export interface Rejoined {
  readonly objects: readonly ObjectName[];
  readonly reissued: readonly Frame[];
  /** Edits of objects that were deleted meanwhile. */
  readonly lost: readonly Key[];
}

/**
 * For a replica that is new, or was away for longer than deletes are remembered. It takes over the giver's vector as it
 * is; what it has written and nobody has seen is written anew, by a new incarnation and with stamps of now: under its
 * old stamps, some nodes would take it for older than deletes that they have forgotten, and others not. Old edits of
 * what has been deleted meanwhile are given up, and named.
 */
export function rejoin(
  ledger: Ledger,
  cells: readonly Cell[],
  end: SnapshotEnd,
  self: Origin,
  reissue: Reissue,
  /** Bytes of values in one frame, about. */
  frameBytes: number,
): Rejoined {
  const staging = new Staging(ledger.store);
  const forks = joinForks(ledger, end.forks);
  mergeAll(ledger, staging, cells, end, forks);
  const { writes, lost } = unseen(ledger, staging, end);
  const reissued: Frame[] = [];
  let previous: Uint8Array = new Uint8Array(0);
  for (let at = 0; at < writes.length; ) {
    const from = at;
    let bytes = 0;
    // An object stays whole: its existence and its groups share one stamp.
    for (; at < writes.length && (at === from || bytes < frameBytes); at++) {
      for (const { value } of writes[at] ?? []) bytes += 64 + (value?.length ?? 0);
    }
    const frame = reissue(writes.slice(from, at).flat(), self, reissued.length + 1, previous);
    for (const write of frame.writes) {
      staging.merge(ledger.cell(frame, write));
    }
    reissued.push(frame);
    previous = frame.hash;
  }
  const heads = new Map<OriginKey, Head>(end.heads);
  const last = reissued[reissued.length - 1];
  if (last !== undefined) heads.set(last.origin, { sequence: last.sequence, hash: last.hash });
  const drop = [...ledger.heads].map(([origin, { sequence }]) => ({ origin, through: sequence }));
  const forget = [...ledger.heads.keys()].filter((origin) => !heads.has(origin));
  const { stamp, seen } = joinHorizons(ledger.horizon, end.horizon);
  const horizon = { stamp, seen: within({ heads, floors: end.floors }, seen) };
  const state = { self, floors: end.floors, horizon, forks, admitted: true };
  const objects = ledger.commit(staging, { heads, forget, drop, append: reissued, state });
  return { objects, reissued, lost };
}

/**
 * Of deletes that it had forgotten while it took itself for alone, those that the giver has not seen either are nobody's to
 * have seen: others would take this one for damaged, and themselves for stale, for ever. What was deleted by them is below
 * the horizon, and goes from the others by repair.
 */
function within(vector: VectorState, seen: Horizon['seen']): Horizon['seen'] {
  const kept = new Map<OriginKey, number>();
  for (const [origin, sequence] of seen) {
    const through = covers(vector, origin, sequence) ? sequence : (vector.heads.get(origin)?.sequence ?? 0);
    if (through > 0) kept.set(origin, through);
  }
  return kept;
}

/** By object, what must be written anew; what is neither that nor the giver's leaves the staging. */
function unseen(ledger: Ledger, staging: Staging, end: VectorState): { writes: CellWrite[][]; lost: Key[] } {
  const writes: CellWrite[][] = [];
  const lost: Key[] = [];
  const isNew = (cell: Cell): boolean => !covers(end, cell.origin, cell.sequence);
  const object = (name: ObjectName, groups: Groups): void => {
    const fresh = [...groups.values()].filter(isNew);
    if (fresh.length === 0) return;
    const existence = groups.get(EXISTENCE);
    const again: CellWrite[] = [];
    if (existence !== undefined && isNew(existence)) {
      // Its stamp of now erases all groups before it, so they come with it.
      if (isThere(groups)) {
        for (const { kind, id, group, value } of visible(groups)) again.push({ kind, id, group, value });
        // A delete too, even of what the giver does not have: another may.
      } else again.push({ ...name, group: EXISTENCE, value: undefined });
    } else if (isThere(groups)) {
      for (const { kind, id, group, value } of fresh) again.push({ kind, id, group, value });
    }
    const kept = new Set(again.map(({ group }) => group));
    for (const { kind, id, group } of fresh) {
      if (kept.has(group)) continue;
      if (existence === undefined || existence.value === undefined) {
        if (group !== EXISTENCE) lost.push({ kind, id, group });
      }
      staging.remove({ kind, id, group });
    }
    if (again.length > 0) writes.push(again);
  };
  for (const stored of allObjects(ledger.store)) {
    const [first] = stored.values();
    if (first === undefined) continue;
    const name = { kind: first.kind, id: first.id };
    object(name, staging.groups(name));
  }
  return { writes, lost };
}

export interface RangeOfCells {
  readonly bucket: number;
  readonly after: Key | undefined;
  /** undefined: to the bucket's end. */
  readonly through: Key | undefined;
  readonly cells: readonly Cell[];
  readonly vector: VectorState;
  readonly horizon: Horizon;
  readonly forks: ForkPoints;
}

/** How many cells changed. The sender's vector must be included in ours, so that no dot comes that we do not cover. */
export function joinRange(ledger: Ledger, range: RangeOfCells): { objects: readonly ObjectName[]; cells: number } {
  const staging = new Staging(ledger.store);
  const forks = [...ledger.forks, ...range.forks];
  const theirs = new Map(range.cells.map((cell) => [cellKey(cell), cell]));
  let changed = 0;
  let after = range.after;
  scan: for (;;) {
    const page = ledger.store.bucket(range.bucket, after, PAGE);
    for (const cell of page) {
      if (range.through !== undefined && compareKeys(cell, range.through) > 0) break scan;
      after = cell;
      const other = theirs.get(cellKey(cell));
      if (other === undefined) {
        if (!wasForgotten(range.vector, range.horizon, forks, cell)) continue;
        staging.remove(cell);
        changed++;
      } else if (ledger.mark(cell) !== cell.mark) {
        // Damaged here since it was written: whatever the other has of at least that time is better.
        if (compare(other.stamp, cell.stamp) < 0 || ledger.mark(other) !== other.mark) continue;
        staging.replace(other);
        changed++;
      }
    }
    if (page.length < PAGE) break;
  }
  changed += mergeGiven(ledger, staging, range.cells, forks);
  if (changed === 0) return { objects: [], cells: 0 };
  const horizon = joinHorizons(ledger.horizon, range.horizon);
  return { objects: ledger.commit(staging, { state: { horizon } }), cells: changed };
}
