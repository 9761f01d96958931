// SPDX-License-Identifier: Apache-2.0
/**
 * A replica's state over its store: frames in, cells merged, the vector kept. Every change is one commit; what is
 * cached here (vector, digests) follows only when it has returned.
 */
import { compare, HybridClock } from '@marcher/hlc';
import type {
  Batch,
  Cell,
  CellWrite,
  Fork,
  Frame,
  Hash,
  Head,
  Horizon,
  Key,
  NodeId,
  Origin,
  OriginKey,
  ReplicaState,
  ReplicaStore,
  VectorState,
} from './contract.js';
import { BUCKETS, Digests, markOf } from './digest.js';
import { objectDigest, objectsOf, Staging } from './object.js';
import { EMPTY_VECTOR } from './origin.js';

/** Each is a disk that was copied, or a signature that was made twice; all are looked through for each frame. */
export const FORKS_MAX = 1024;

export type ObjectName = Pick<Key, 'kind' | 'id'>;

export interface LedgerOptions {
  readonly store: ReplicaStore;
  readonly node: NodeId;
  readonly hash: Hash;
  readonly wallMs: () => number;
  readonly aheadMaxMs: number;
}

export interface Applied {
  readonly objects: readonly ObjectName[];
  /** Cells from before the horizon that are not merged, by frame. */
  readonly late: readonly { readonly frame: Frame; readonly keys: readonly Key[] }[];
}

export class Ledger implements VectorState {
  readonly store: ReplicaStore;
  readonly clock: HybridClock;
  readonly digests = new Digests();
  readonly #hash: Hash;
  /** Of the origins whose newest frames may not be on disk yet: how far they surely are; undefined: not known at all. */
  readonly #durable = new Map<OriginKey, Head | undefined>();
  /** What was read at the start may be the work of a process that was killed, and not on disk itself. */
  #inherited = true;
  /** Until the next commit: each comparison takes a copy. */
  #vector: VectorState | undefined;
  #state: ReplicaState;
  #heads: Map<OriginKey, Head>;
  #cells = 0;

  constructor({ store, node, hash, wallMs, aheadMaxMs }: LedgerOptions) {
    this.store = store;
    this.#hash = hash;
    this.#state = store.load();
    this.#heads = new Map(this.#state.heads);
    this.clock = new HybridClock({ node, wallMs, aheadMaxMs, last: this.#state.clock });
  }

  get heads(): ReadonlyMap<OriginKey, Head> {
    return this.#heads;
  }

  get floors(): ReadonlyMap<NodeId, number> {
    return this.#state.floors;
  }

  get self(): Origin | undefined {
    return this.#state.self;
  }

  get admitted(): boolean {
    return this.#state.admitted;
  }

  get horizon(): Horizon {
    return this.#state.horizon;
  }

  get forks(): readonly Fork[] {
    return this.#state.forks;
  }

  /** Cells in store, tombstones included. */
  get cells(): number {
    return this.#cells;
  }

  sequence(origin: OriginKey): number {
    return this.#heads.get(origin)?.sequence ?? 0;
  }

  /** Reads everything once, for digests of what is really there; gives what was damaged since it was written. */
  verify(): Key[] {
    const damaged: Key[] = [];
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      for (const groups of objectsOf(this.store, bucket)) {
        for (const [group, cell] of groups) {
          const mark = this.mark(cell);
          this.#cells++;
          if (mark === cell.mark) continue;
          damaged.push({ kind: cell.kind, id: cell.id, group });
          groups.set(group, { ...cell, mark });
        }
        this.digests.change(bucket, objectDigest(groups));
      }
    }
    return damaged;
  }

  mark(cell: Omit<Cell, 'mark'>): number {
    return markOf(cell, this.#hash);
  }

  /**
   * Frames that follow the heads, in order, in one commit. durable false: they are others', who have them on disk, and
   * need not be on this one before sync(). Throws ReplicaStoreError, with nothing changed.
   */
  apply(frames: readonly Frame[], alongside?: () => void, durable = true): Applied {
    const staging = new Staging(this.store);
    const heads = new Map<OriginKey, Head>();
    const late: { frame: Frame; keys: Key[] }[] = [];
    for (const frame of frames) {
      const before = heads.get(frame.origin)?.sequence ?? this.sequence(frame.origin);
      if (frame.sequence !== before + 1)
        throw new RangeError(`frame ${frame.sequence} after ${before} of ${frame.origin}`);
      const old = compare(frame.stamp, this.horizon.stamp) <= 0;
      // As it was before the frame: what its own re-creation of the object erases was not forgotten here.
      const absent = new Set(old ? frame.writes.filter((write) => !staging.has(write)) : []);
      const keys: Key[] = [];
      for (const write of frame.writes) {
        if (absent.has(write)) keys.push({ kind: write.kind, id: write.id, group: write.group });
        else staging.merge(this.cell(frame, write));
      }
      if (keys.length > 0) late.push({ frame, keys });
      heads.set(frame.origin, { sequence: frame.sequence, hash: frame.hash });
    }
    const before = Array.from(heads.keys(), (origin) => [origin, this.#heads.get(origin)] as const);
    const objects = this.commit(staging, { append: frames, heads }, alongside, durable);
    if (!durable) for (const [origin, head] of before) if (!this.#durable.has(origin)) this.#durable.set(origin, head);
    return { objects, late };
  }

  /** What the staging holds and what else is in the batch; gives the objects that look different. */
  commit(staging: Staging, batch: Partial<Batch>, alongside?: () => void, durable = true): readonly ObjectName[] {
    const { put, remove, added, objects, digests } = staging.finish();
    const state = { ...batch.state, clock: this.clock.last };
    const whole = { drop: [], append: [], forget: [], heads: new Map(), ...batch, put, remove, state };
    this.store.commit(whole, alongside, { durable });
    if (durable) {
      this.#durable.clear();
      this.#inherited = false;
    }
    this.#state = { ...this.#state, ...state };
    this.#vector = undefined;
    for (const origin of whole.forget) this.#heads.delete(origin);
    for (const [origin, head] of whole.heads) this.#heads.set(origin, head);
    for (const { bucket, by } of digests) this.digests.change(bucket, by);
    this.#cells += added - remove.length;
    return objects;
  }

  /** From now on this node writes under that origin. */
  setSelf(self: Origin): void {
    this.commit(new Staging(this.store), { state: { self } });
  }

  setAdmitted(admitted: boolean): void {
    if (admitted !== this.admitted) this.commit(new Staging(this.store), { state: { admitted } });
  }

  /** In one commit; gives those that were not known, from that number or a smaller one on, and for which there is room. */
  addForks(forks: readonly Fork[]): readonly Fork[] {
    const known = new Map(this.forks.map((fork) => [fork.origin, fork]));
    const added = new Map<OriginKey, Fork>();
    for (const fork of forks) {
      const before = added.get(fork.origin) ?? known.get(fork.origin);
      if (before === undefined ? known.size + added.size >= FORKS_MAX : before.sequence <= fork.sequence) continue;
      added.set(fork.origin, fork);
    }
    if (added.size === 0) return [];
    const state = { forks: [...this.forks.filter(({ origin }) => !added.has(origin)), ...added.values()] };
    this.commit(new Staging(this.store), { state });
    return [...added.values()];
  }

  /** As of now, whatever comes later. */
  vector(): VectorState {
    this.#vector ??= { heads: new Map(this.#heads), floors: this.floors };
    return this.#vector;
  }

  /** False: a failure of the machine may take frames that are applied. */
  get isDurable(): boolean {
    return !this.#inherited && this.#durable.size === 0;
  }

  /** From now on everything is on disk. Throws ReplicaStoreError. */
  sync(): void {
    if (!this.isDurable) this.commit(new Staging(this.store), {});
  }

  /** What surely outlives a failure of the machine. */
  durableVector(): VectorState {
    if (this.isDurable) return this.vector();
    if (this.#inherited) return EMPTY_VECTOR;
    const heads = new Map(this.#heads);
    for (const [origin, head] of this.#durable) {
      if (head === undefined) heads.delete(origin);
      else heads.set(origin, head);
    }
    return { heads, floors: this.floors };
  }

  /** What a frame's write becomes. */
  cell({ stamp, origin, sequence }: Frame, { kind, id, group, value }: CellWrite): Cell {
    const cell = { kind, id, group, stamp, value, origin, sequence };
    return { ...cell, mark: this.mark(cell) };
  }
}
