// SPDX-License-Identifier: Apache-2.0
/**
 * The database of a node as the agent opens it, on a disk that fails. What a crash leaves is a copy of the files at that
 * moment, opened anew: in the middle of a transaction, whole, or, where the machine has failed, with a write-ahead log
 * that ends anywhere after the last byte that was synced.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SqliteConfigStore } from '../adapters/outbound/sqlite/sqlite-config-store.js';
import {
  type Batch,
  type Cell,
  type CommitOptions,
  type Key,
  type OriginKey,
  type ReplicaState,
  type ReplicaStore,
  ReplicaStoreError,
  type SnapshotReader,
} from '../domain/replication/contract.js';
import { Crash, type Disk, type OnFrame } from '../domain/replication/sim/disk.js';
import type { Random } from '../domain/replication/sim/random.js';

/** In memory where there is such a directory: what is simulated is not how fast a disk is. */
const MEMORY = '/dev/shm';
const WAL = '-wal';

export class SqliteDisk implements Disk {
  readonly #onFrame: OnFrame;
  readonly #directory: string;
  #copies = 0;
  #path: string;
  #config: SqliteConfigStore;
  #replica: ReplicaStore;
  /** Bytes of the write-ahead log: those that are surely on the disk, and after each commit that need not be. */
  #synced: number;
  #relaxed: number[] = [];
  full = false;
  crashAfter: number | undefined;
  crashCommitted = false;
  crashedWithin = 0;
  takeovers = 0;

  /** from: of which disk it is a copy. */
  constructor(onFrame: OnFrame, from?: string) {
    this.#onFrame = onFrame;
    this.#directory = mkdtempSync(join(existsSync(MEMORY) ? MEMORY : tmpdir(), 'marcher-sim-'));
    this.#path = join(this.#directory, '0.db');
    if (from !== undefined) copyDatabase(from, this.#path);
    this.#config = new SqliteConfigStore(this.#path);
    this.#replica = this.#config.openReplica();
    this.#synced = this.#logBytes();
  }

  /** The configuration in the same file. */
  get config(): SqliteConfigStore {
    return this.#config;
  }

  load(): ReplicaState {
    return this.#replica.load();
  }

  object(kind: string, id: string): readonly Cell[] {
    return this.#replica.object(kind, id);
  }

  bucket(bucket: number, after: Key | undefined, limit: number): readonly Cell[] {
    return this.#replica.bucket(bucket, after, limit);
  }

  kind(kind: string, after: Key | undefined, limit: number): readonly Cell[] {
    return this.#replica.kind(kind, after, limit);
  }

  frames(origin: OriginKey, from: number, through: number, maxBytes: number): readonly Uint8Array[] {
    return this.#replica.frames(origin, from, through, maxBytes);
  }

  firstFrame(origin: OriginKey): number | undefined {
    return this.#replica.firstFrame(origin);
  }

  logSize(): { frames: number; bytes: number } {
    return this.#replica.logSize();
  }

  openSnapshot(): SnapshotReader {
    return this.#replica.openSnapshot();
  }

  cells(): readonly Cell[] {
    const snapshot = this.openSnapshot();
    const cells: Cell[] = [];
    for (let page = snapshot.next(1e6); page.length > 0; page = snapshot.next(1e6)) cells.push(...page);
    snapshot.close();
    return cells;
  }

  commit(batch: Batch, alongside?: () => void, options: CommitOptions = { durable: true }): void {
    if (this.full) throw new ReplicaStoreError('full', 'no space left on the disk');
    const before = this.#logBytes();
    const crashes = this.#crashesIn(batch);
    // Every other one as the log is written, where that is of a machine that fails.
    if (crashes && this.#copies % 2 === 0) this.#crashWithin(batch, alongside, options);
    this.#replica.commit(batch, alongside, options);
    const after = this.#logBytes();
    if (crashes) this.#tear(before, after);
    // A log that began anew says nothing of where its end is: then nothing is lost of it.
    if (options.durable || after <= before) {
      this.#synced = after;
      this.#relaxed = [];
    } else this.#relaxed.push(after);
    if (batch.state.admitted === true) this.takeovers++;
    for (const frame of batch.append) this.#onFrame(frame);
    if (this.crashCommitted && batch.append.length > 0) {
      this.crashCommitted = false;
      throw new Crash();
    }
  }

  abandon(): void {
    this.crashAfter = undefined;
    this.crashCommitted = false;
  }

  ends(power: Random | undefined): number {
    const end = this.#logBytes();
    const cut = power === undefined ? end : this.#synced + power.below(end - this.#synced + 1);
    const lost = this.#relaxed.filter((bytes) => bytes > cut).length;
    this.#reopen(cut);
    return lost;
  }

  backup(): Disk {
    return new SqliteDisk(this.#onFrame, this.#path);
  }

  dispose(): void {
    this.#config.close();
    rmSync(this.#directory, { recursive: true });
  }

  /** Steps are counted as in memory: one for each thing that is written, and the commit. */
  #crashesIn({ remove, put, drop, append }: Batch): boolean {
    if (this.crashAfter === undefined) return false;
    const steps = remove.length + put.length + drop.length + append.length + 2;
    this.crashAfter -= steps;
    return this.crashAfter < 0;
  }

  /** All is written, and nothing committed. */
  #crashWithin(batch: Batch, alongside: (() => void) | undefined, options: CommitOptions): never {
    this.crashAfter = undefined;
    this.crashedWithin++;
    this.#replica.commit(
      batch,
      () => {
        alongside?.();
        throw new Crash();
      },
      options,
    );
    throw new Error('a transaction that threw was committed');
  }

  /** The commit has not returned, and its log has not been written to the end. */
  #tear(before: number, after: number): void {
    this.crashAfter = undefined;
    if (after <= before) return;
    this.crashedWithin++;
    this.#reopen(before + Math.floor((after - before) / 2));
    throw new Crash();
  }

  #logBytes(): number {
    try {
      return statSync(this.#path + WAL).size;
    } catch {
      return 0;
    }
  }

  #reopen(logBytes: number): void {
    const path = join(this.#directory, `${++this.#copies}.db`);
    copyDatabase(this.#path, path, logBytes);
    this.#config.close();
    for (const suffix of ['', WAL, '-shm']) rmSync(this.#path + suffix, { force: true });
    this.#path = path;
    this.#config = new SqliteConfigStore(path);
    this.#replica = this.#config.openReplica();
    this.#synced = this.#logBytes();
    this.#relaxed = [];
  }
}

function copyDatabase(from: string, to: string, logBytes?: number): void {
  copyFileSync(from, to);
  if (!existsSync(from + WAL)) return;
  copyFileSync(from + WAL, to + WAL);
  if (logBytes !== undefined) truncateSync(to + WAL, logBytes);
}
