// SPDX-License-Identifier: Apache-2.0
/**
 * Where configuration, its history and the node's own state are kept. Objects are packed messages (marcher.v1.Service and
 * those of the other kinds) here, so that the store knows nothing of their fields and nobody holds 10,000 of them decoded.
 * Services, which may be many, are read one by one; objects of the other kinds all at once.
 *
 * Calls are synchronous: they are short, and a commit that has returned is on disk.
 */
import type { Kind, ObjectKind } from '@marcher/model';

export interface StoredService {
  readonly name: string;
  readonly body: Uint8Array;
  /** Version in which it was last changed. */
  readonly generation: bigint;
}

export interface StoredObject extends StoredService {
  readonly kind: ObjectKind;
}

export interface NewRevision {
  readonly timeMs: number;
  readonly author: string;
  readonly origin: string;
  readonly message: string;
}

export interface StoredRevision extends NewRevision {
  readonly version: bigint;
  readonly created: number;
  readonly updated: number;
  readonly deleted: number;
}

/** What a commit changes. `before` is what the store has now; the caller has just read it. */
export interface CommitChange {
  readonly kind: Kind;
  readonly name: string;
  /** undefined: does not exist. */
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
}

/** Names of what changed. */
export interface Changed {
  readonly services: readonly string[];
  readonly objects: readonly { readonly kind: ObjectKind; readonly name: string }[];
}

export interface ProgrammedState {
  /** Generation of the last snapshot that the engine accepted, and the version that it was made from. */
  readonly generation: bigint;
  readonly version: bigint;
}

export type StoreErrorCode = 'full' | 'io' | 'busy' | 'corrupt' | 'failed';

export class StoreError extends Error {
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string) {
    super(message);
    this.name = 'StoreError';
    this.code = code;
  }
}

export interface ConfigCommitOptions {
  /**
   * True, as without options: on disk when commit() returns. False: when confirm() does. Until then a failure of the machine
   * may take the version, of which nobody was told yet, and with it the data plane that ran it.
   */
  readonly durable: boolean;
}

export interface ConfigStore {
  /** The newest version, 0n before the first. */
  readonly version: bigint;
  /** Version that was committed but that the data plane has not answered to yet; 0n: none. */
  readonly pendingVersion: bigint;

  /** Services. */
  get(name: string): StoredService | undefined;
  names(): Iterable<string>;
  /** By name, those after the given one; memory stays bounded however many there are. */
  scan(afterName?: string): Iterable<StoredService>;
  count(): number;
  /** Objects of the other kinds, by kind and name. */
  objects(kind?: ObjectKind): StoredObject[];
  object(kind: ObjectKind, name: string): StoredObject | undefined;
  /** SHA-256 over all names and bodies, hex. */
  hash(): string;

  /**
   * Everything of one version in one transaction, marked as pending until confirm(). Until confirm() or undo() all readers
   * of this store still see the version before. alongside: what else belongs into this transaction (an audit record);
   * when it throws, nothing is changed.
   */
  commit(
    revision: NewRevision,
    changes: readonly CommitChange[],
    alongside?: () => void,
    options?: ConfigCommitOptions,
  ): bigint;
  /**
   * A version that is in force at once, of what is stored elsewhere and can be had from there again: readers see it when
   * this returns, and a power failure may take it back.
   */
  follow(revision: NewRevision, changes: readonly CommitChange[]): bigint;
  /**
   * The data plane runs the pending version, which is on disk when this returns. within: runs write in a durable
   * transaction of its own on this store's file; when it throws, the version is pending as before.
   */
  confirm(within?: (write: () => void) => void): void;
  /** Takes the pending version back, as if it had never been; alongside: as with commit(). */
  undo(alongside?: () => void): void;

  revisions(query: { limit: number; beforeVersion: bigint }): StoredRevision[];
  /** Services after the others, which are few. */
  changesOf(version: bigint): CommitChange[];
  /** What changed after a version; undefined when history no longer reaches back that far. */
  changedSince(version: bigint): Changed | undefined;
  /** What commit() must be given to return to a version; undefined when history no longer reaches back that far. */
  stateAt(version: bigint): CommitChange[] | undefined;

  programmed(): ProgrammedState;
  setProgrammed(state: ProgrammedState): void;

  nodeDraining(): boolean;
  drainedBackends(): { service: string; backend: string }[];
  /** Both empty: the node. alongside: as with commit(). */
  setDrained(target: { service: string; backend: string }, drained: boolean, alongside?: () => void): void;

  close(): void;
}

/** What is configured now, for whoever only reads it. */
export type ConfigReader = Pick<ConfigStore, 'get' | 'names' | 'scan' | 'count' | 'objects' | 'object'>;
