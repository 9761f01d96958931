// SPDX-License-Identifier: Apache-2.0
/** The disk of a node with replicas of clusters, which are one database: what is committed together is lost together. */
import type { HeldUnder } from '../../application/mesh/shards.js';
import {
  type Batch,
  type ClusterName,
  type CommitOptions,
  type Frame,
  ReplicaStoreError,
} from '../../domain/replication/contract.js';
import { MemoryStore } from '../../domain/replication/memory-store.js';
import { MemoryTransactions } from '../../domain/replication/memory-transactions.js';
import { Crash } from '../../domain/replication/sim/disk.js';
import type { Random } from '../../domain/replication/sim/random.js';

type OnFrame = (cluster: ClusterName, frame: Frame) => void;

const MESH: ClusterName = '';

export class MachineDisk {
  readonly #onFrame: OnFrame;
  readonly #transactions = new MemoryTransactions();
  readonly #stores = new Map<ClusterName, KeptStore>();
  #depth = 0;
  #appended: (readonly [ClusterName, Frame])[] = [];
  full = false;
  /** Steps until it is full, which may be in the middle of a transaction; undefined: nobody knows of any. */
  fillsAfter: number | undefined;
  /** Steps until the process crashes in the middle of a transaction; undefined: it does not. */
  crashAfter: number | undefined;
  /** The next transaction with frames is on disk, and the process does not live to know. */
  crashCommitted = false;
  crashedWithin = 0;

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
    this.#stores.set(MESH, new KeptStore(this, MESH, this.#transactions));
  }

  get mesh(): KeptStore {
    return this.#stores.get(MESH) as KeptStore;
  }

  /** Clusters of which something is kept. */
  stored(): ClusterName[] {
    return [...this.#stores.keys()].filter((cluster) => cluster !== MESH);
  }

  store(cluster: ClusterName): KeptStore | undefined {
    return this.#stores.get(cluster);
  }

  /** Of a cluster, made where there is none. */
  open(cluster: ClusterName): KeptStore {
    const known = this.#stores.get(cluster);
    if (known !== undefined) return known;
    const store = new KeptStore(this, cluster, this.#transactions);
    this.#transactions.run(true, (undo) => {
      this.step();
      this.#stores.set(cluster, store);
      undo(() => this.#stores.delete(cluster));
      this.step();
    });
    return store;
  }

  drop(cluster: ClusterName): void {
    const store = this.#stores.get(cluster);
    if (store === undefined) return;
    this.#transactions.run(true, (undo) => {
      this.step();
      this.#stores.delete(cluster);
      undo(() => this.#stores.set(cluster, store));
      this.step();
    });
  }

  /** Throws where it is time to. */
  step(): void {
    if (this.fillsAfter !== undefined && this.fillsAfter-- <= 0) {
      this.fillsAfter = undefined;
      this.full = true;
    }
    if (this.full) throw new ReplicaStoreError('full', 'no space left on the disk');
    if (this.crashAfter !== undefined && this.crashAfter-- === 0) {
      this.crashAfter = undefined;
      this.crashedWithin++;
      throw new Crash();
    }
  }

  /** A transaction, or a part of one: frames are told of when all of it is there. */
  within(cluster: ClusterName, frames: readonly Frame[], commit: () => void): void {
    this.#depth++;
    try {
      commit();
      this.#appended.push(...frames.map((frame) => [cluster, frame] as const));
    } catch (error) {
      this.#appended = [];
      throw error;
    } finally {
      this.#depth--;
    }
    if (this.#depth > 0) return;
    const appended = this.#appended;
    this.#appended = [];
    for (const [name, frame] of appended) this.#onFrame(name, frame);
    if (this.crashCommitted && appended.length > 0) {
      this.crashCommitted = false;
      throw new Crash();
    }
  }

  abandon(): void {
    this.crashAfter = undefined;
    this.crashCommitted = false;
  }

  /** The process has ended; power: so has the machine, which takes the newest of what was not durable: how many commits. */
  ends(power: Random | undefined): number {
    const before = this.#transactions.undurable;
    const kept = power === undefined ? before : power.below(before + 1);
    if (power !== undefined) this.#transactions.keepUndurable(kept);
    return before - kept;
  }

  backup(): MachineDisk {
    const copy = new MachineDisk(this.#onFrame);
    for (const [cluster, store] of this.#stores) {
      const copied = copy.open(cluster);
      store.copyTo(copied);
      if (store.heldUnder !== undefined) copied.setHeldUnder(store.heldUnder);
    }
    return copy;
  }
}

export class KeptStore extends MemoryStore {
  readonly #disk: MachineDisk;
  readonly #cluster: ClusterName;
  /** Commits that took over another's state, and may have given up what was not in it. */
  takeovers = 0;
  readonly #transactions: MemoryTransactions;
  #heldUnder: HeldUnder | undefined;

  constructor(disk: MachineDisk, cluster: ClusterName, transactions: MemoryTransactions) {
    super(transactions);
    this.#disk = disk;
    this.#cluster = cluster;
    this.fault = () => disk.step();
    this.#transactions = transactions;
  }

  /** Under which assignments its node has it. */
  get heldUnder(): HeldUnder | undefined {
    return this.#heldUnder;
  }

  setHeldUnder(under: HeldUnder): void {
    const before = this.#heldUnder;
    this.#transactions.run(true, (undo) => {
      this.#disk.step();
      this.#heldUnder = under;
      undo(() => {
        this.#heldUnder = before;
      });
    });
  }

  override commit(batch: Batch, alongside?: () => void, options?: CommitOptions): void {
    this.#disk.within(this.#cluster, batch.append, () => super.commit(batch, alongside, options));
    if (batch.state.admitted === true) this.takeovers++;
  }
}
