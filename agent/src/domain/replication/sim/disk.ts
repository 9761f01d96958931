// SPDX-License-Identifier: Apache-2.0
import type { Batch, Cell, CommitOptions, Frame, ReplicaStore } from '../contract.js';
import { ReplicaStoreError } from '../contract.js';
import { MemoryStore } from '../memory-store.js';
import type { Random } from './random.js';

/** The process is gone, wherever it was. */
export class Crash extends Error {}

/** A store that remembers what was committed when the process that used it is gone, and fails as it is told to. */
export interface Disk extends ReplicaStore {
  full: boolean;
  /** Steps of commits until the process crashes in the middle of one; undefined: it does not. */
  crashAfter: number | undefined;
  /** The next commit with frames is on disk, and the process does not live to know. */
  crashCommitted: boolean;
  /** Crashes in the middle of a commit, so far. */
  readonly crashedWithin: number;
  /** Commits that took over another's state, and may have given up what was not in it. */
  readonly takeovers: number;
  /** In key order. */
  cells(): readonly Cell[];
  /** Crashes that it was told of do not come. */
  abandon(): void;
  /**
   * The process that used it has ended. power: so has the machine, which takes some of the commits that were not durable,
   * the newest; gives how many.
   */
  ends(power: Random | undefined): number;
  /** Everything as it was in a copy. */
  backup(): Disk;
  /** Not used any more. */
  dispose(): void;
}

export type OnFrame = (frame: Frame) => void;

export class MemoryDisk extends MemoryStore implements Disk {
  readonly #onFrame: OnFrame;
  full = false;
  crashAfter: number | undefined;
  crashCommitted = false;
  crashedWithin = 0;
  takeovers = 0;

  constructor(onFrame: OnFrame) {
    super();
    this.#onFrame = onFrame;
    this.fault = () => {
      if (this.full) throw new ReplicaStoreError('full', 'no space left on the disk');
      if (this.crashAfter !== undefined && this.crashAfter-- === 0) {
        this.crashAfter = undefined;
        this.crashedWithin++;
        throw new Crash();
      }
    };
  }

  override commit(batch: Batch, alongside?: () => void, options?: CommitOptions): void {
    super.commit(batch, alongside, options);
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
    if (power === undefined) return 0;
    const before = this.undurable;
    const kept = power.below(before + 1);
    this.keepUndurable(kept);
    return before - kept;
  }

  backup(): Disk {
    const disk = new MemoryDisk(this.#onFrame);
    this.copyTo(disk);
    return disk;
  }

  dispose(): void {}
}
