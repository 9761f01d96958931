// SPDX-License-Identifier: Apache-2.0
/**
 * The store port in memory: for tests, and for simulations that crash it. What has been committed outlives the replica
 * that used it, as a disk would; copyTo() makes a backup of it.
 */
import { ZERO } from '@marcher/hlc';
import type {
  Batch,
  Cell,
  CommitOptions,
  Frame,
  Head,
  Key,
  OriginKey,
  ReplicaState,
  ReplicaStore,
  SnapshotReader,
} from './contract.js';
import { ReplicaStoreError } from './contract.js';
import { bucketOf } from './digest.js';
import { MemoryTransactions } from './memory-transactions.js';
import { compareKeys, objectKey } from './object.js';

interface Log {
  /** Of the first frame. */
  first: number;
  frames: Uint8Array[];
}

export const NEW_STATE: ReplicaState = {
  self: undefined,
  clock: ZERO,
  admitted: false,
  heads: new Map(),
  floors: new Map(),
  horizon: { stamp: ZERO, seen: new Map() },
  forks: [],
};

/** About what a cell takes in a message. */
export function cellBytes({ kind, id, group, value }: Cell): number {
  return 64 + kind.length + id.length + group.length + (value?.length ?? 0);
}

export class MemoryStore implements ReplicaStore {
  /** By object, in buckets; where there is none, nothing has been in it. */
  readonly #buckets = new Map<number, Map<string, Map<string, Cell>>>();
  readonly #logs = new Map<OriginKey, Log>();
  #state: ReplicaState = NEW_STATE;
  #heads = new Map<OriginKey, Head>();
  /**
   * Called before the first step of a commit, between its steps and after the last; what it throws undoes the commit.
   */
  fault: (() => void) | undefined;
  readonly #transactions: MemoryTransactions;

  /** transactions: of the disk that it shares with others. Absent: it is on one of its own. */
  constructor(transactions = new MemoryTransactions()) {
    this.#transactions = transactions;
  }

  load(): ReplicaState {
    return { ...this.#state, heads: new Map(this.#heads) };
  }

  object(kind: string, id: string): readonly Cell[] {
    const groups = this.#buckets.get(bucketOf(kind, id))?.get(objectKey(kind, id));
    return groups === undefined ? [] : [...groups.values()];
  }

  bucket(bucket: number, after: Key | undefined, limit: number): readonly Cell[] {
    const objects = this.#buckets.get(bucket);
    return objects === undefined ? [] : this.#sorted([objects], after).slice(0, limit);
  }

  kind(kind: string, after: Key | undefined, limit: number): readonly Cell[] {
    return this.#sorted(this.#buckets.values(), after, kind).slice(0, limit);
  }

  /** All of them, in key order. */
  cells(): readonly Cell[] {
    return this.#sorted(this.#buckets.values(), undefined);
  }

  frames(origin: OriginKey, from: number, through: number, maxBytes: number): readonly Uint8Array[] {
    const log = this.#logs.get(origin);
    if (log === undefined || from < log.first) return [];
    const found: Uint8Array[] = [];
    let bytes = 0;
    for (let at = from - log.first; at <= through - log.first && at < log.frames.length; at++) {
      const frame = log.frames[at] as Uint8Array;
      bytes += frame.length;
      if (bytes > maxBytes && found.length > 0) break;
      found.push(frame);
    }
    return found;
  }

  firstFrame(origin: OriginKey): number | undefined {
    const log = this.#logs.get(origin);
    return log === undefined || log.frames.length === 0 ? undefined : log.first;
  }

  logSize(): { frames: number; bytes: number } {
    let frames = 0;
    let bytes = 0;
    for (const log of this.#logs.values()) {
      frames += log.frames.length;
      for (const frame of log.frames) bytes += frame.length;
    }
    return { frames, bytes };
  }

  commit(batch: Batch, alongside?: () => void, { durable }: CommitOptions = { durable: true }): void {
    this.#transactions.run(durable, (undo) => {
      const step = (apply: () => void, back: () => void): void => {
        this.fault?.();
        apply();
        undo(back);
      };
      for (const key of batch.remove) this.#set(key, undefined, step);
      for (const cell of batch.put) this.#set(cell, cell, step);
      for (const { origin, through } of batch.drop) this.#drop(origin, through, step);
      for (const frame of batch.append) this.#append(frame, step);
      const [state, heads] = [this.#state, this.#heads];
      step(
        () => {
          this.#state = { ...state, ...batch.state };
          this.#heads = new Map(heads);
          for (const origin of batch.forget) this.#heads.delete(origin);
          for (const [origin, head] of batch.heads) this.#heads.set(origin, head);
        },
        () => {
          this.#state = state;
          this.#heads = heads;
        },
      );
      alongside?.();
      this.fault?.();
    });
  }

  /** Commits that a power failure may take. */
  get undurable(): number {
    return this.#transactions.undurable;
  }

  /** The machine fails: of the commits since the last durable one only so many are kept, from the first on. */
  keepUndurable(kept: number): void {
    this.#transactions.keepUndurable(kept);
  }

  openSnapshot(): SnapshotReader {
    const cells = this.#sorted(this.#buckets.values(), undefined);
    let at = 0;
    return {
      state: this.load(),
      next: (maxBytes) => {
        const start = at;
        for (let bytes = 0; at < cells.length; at++) {
          bytes += cellBytes(cells[at] as Cell);
          if (bytes > maxBytes && at > start) break;
        }
        return cells.slice(start, at);
      },
      close: () => {
        at = cells.length;
      },
    };
  }

  /** What is committed now, into an empty one. */
  copyTo(copy: MemoryStore): void {
    for (const [bucket, objects] of this.#buckets) {
      copy.#buckets.set(bucket, new Map(Array.from(objects, ([key, groups]) => [key, new Map(groups)])));
    }
    for (const [origin, { first, frames }] of this.#logs) copy.#logs.set(origin, { first, frames: [...frames] });
    copy.#state = this.#state;
    copy.#heads = new Map(this.#heads);
  }

  #bucketOf(kind: string, id: string): Map<string, Map<string, Cell>> {
    const bucket = bucketOf(kind, id);
    const objects = this.#buckets.get(bucket) ?? new Map<string, Map<string, Cell>>();
    this.#buckets.set(bucket, objects);
    return objects;
  }

  #sorted(buckets: Iterable<Map<string, Map<string, Cell>>>, after: Key | undefined, kind?: string): Cell[] {
    const cells: Cell[] = [];
    for (const objects of buckets) {
      for (const groups of objects.values()) {
        for (const cell of groups.values()) {
          if (kind !== undefined && cell.kind !== kind) break;
          if (after === undefined || compareKeys(cell, after) > 0) cells.push(cell);
        }
      }
    }
    return cells.sort(compareKeys);
  }

  #set(key: Key, cell: Cell | undefined, step: (apply: () => void, back: () => void) => void): void {
    const object = objectKey(key.kind, key.id);
    const objects = this.#bucketOf(key.kind, key.id);
    const write = (value: Cell | undefined): void => {
      const groups = objects.get(object) ?? new Map<string, Cell>();
      if (value === undefined) groups.delete(key.group);
      else groups.set(key.group, value);
      if (groups.size === 0) objects.delete(object);
      else objects.set(object, groups);
    };
    const before = objects.get(object)?.get(key.group);
    step(
      () => write(cell),
      () => write(before),
    );
  }

  #drop(origin: OriginKey, through: number, step: (apply: () => void, back: () => void) => void): void {
    const log = this.#logs.get(origin);
    if (log === undefined) return;
    const count = Math.min(log.frames.length, Math.max(0, through - log.first + 1));
    if (count === 0) return;
    step(
      () =>
        count === log.frames.length
          ? this.#logs.delete(origin)
          : this.#logs.set(origin, { first: log.first + count, frames: log.frames.slice(count) }),
      () => this.#logs.set(origin, log),
    );
  }

  #append({ origin, sequence, bytes }: Frame, step: (apply: () => void, back: () => void) => void): void {
    step(
      () => {
        const log = this.#logs.get(origin) ?? { first: sequence, frames: [] };
        if (log.first + log.frames.length !== sequence) {
          throw new ReplicaStoreError('corrupt', `frame ${sequence} of ${origin} does not follow the log's last`);
        }
        log.frames.push(bytes);
        this.#logs.set(origin, log);
      },
      () => {
        const log = this.#logs.get(origin);
        log?.frames.pop();
        if (log?.frames.length === 0) this.#logs.delete(origin);
      },
    );
  }
}
