// SPDX-License-Identifier: Apache-2.0
/**
 * What replication is made of, and its store port. Configuration is cells: last-writer-wins registers by (kind, id,
 * group), stamped by hybrid logical clocks. A transaction of one node is one frame; frames of an origin are numbered
 * without gaps and chained by hashes. Every node takes changes, all converge; nobody leads and nothing waits for a
 * quorum.
 *
 * The state of an object, of the cells ever written for it:
 * - Its existence is the cell of the group ''. Creating writes it, deleting makes it a tombstone, editing leaves it
 *   alone.
 * - An existence cell, live or tombstone, erases every group of its object with a smaller stamp: whoever creates or
 *   deletes does it to the whole object, and of two creations that did not know each other one is taken whole, never a
 *   mix.
 * - Of each group the cell with the greatest stamp is taken. An object is there if its existence is live.
 *
 * So, of an edit and a delete that did not know each other: the older edit is erased; the newer edit is kept, but
 * hidden, as the object is not there (a few groups of an object are no object). A later re-creation erases both. One
 * between the delete and the edit keeps the edit, which is newer than it. All of this is a maximum by stamp per cell
 * and then leaving out what is smaller than the existence: in any order, any grouping and any number of times the same.
 */
import type { Timestamp } from '@marcher/hlc';

/** 64 bits. */
export type NodeId = bigint;

/** Each cluster has a replica of its own; '' is the mesh's, which all nodes have. */
export type ClusterName = string;

/**
 * Who numbers frames. A node whose disk may have lost its newest frames must not use their numbers again: it takes a
 * new, greater incarnation.
 */
export interface Origin {
  readonly node: NodeId;
  /** Below 2^48: the Unix time in ms at which it was taken, or one more than the one before. */
  readonly incarnation: number;
}

/** An origin as a key of maps: 16 hexadecimal digits of the node, '.', 12 of the incarnation (origin.ts). */
export type OriginKey = string;

export interface Key {
  readonly kind: string;
  readonly id: string;
  /** '' is the object's existence. */
  readonly group: string;
}

export interface Cell extends Key {
  /** Of the frame. */
  readonly stamp: Timestamp;
  /** undefined: a tombstone. */
  readonly value: Uint8Array | undefined;
  /** With the sequence the cell's dot: the frame that wrote it. */
  readonly origin: OriginKey;
  readonly sequence: number;
  /** 48 bits of a hash over key, stamp and value, from when it was written: tells a value that was damaged since. */
  readonly mark: number;
}

/** What a frame writes. */
export interface CellWrite extends Key {
  /** undefined: a tombstone. */
  readonly value: Uint8Array | undefined;
}

/** One transaction of one origin. */
export interface Frame {
  readonly origin: OriginKey;
  readonly node: NodeId;
  /** From 1, without gaps. */
  readonly sequence: number;
  /** Whose replica it is for; '': the mesh's. */
  readonly cluster: ClusterName;
  readonly stamp: Timestamp;
  /** Hash of the body of the frame before; empty for the first. */
  readonly previous: Uint8Array;
  /** Who wrote, and why: for history and audit. */
  readonly author: string;
  readonly message: string;
  /** No key twice. */
  readonly writes: readonly CellWrite[];
  /** Of the body; what the next frame's `previous` holds and what the signature is made over. */
  readonly hash: Uint8Array;
  readonly signature: Uint8Array;
  /** As it was encoded by its origin: stored and passed on untouched, fields of later versions included. */
  readonly bytes: Uint8Array;
}

/** How far an origin's frames have come. */
export interface Head {
  readonly sequence: number;
  /** Of the frame with that sequence. */
  readonly hash: Uint8Array;
}

/**
 * What has been applied: of each origin all frames up to its head. Of a node with a floor, also everything of all its
 * incarnations below: they have been dropped, as every member had all of them.
 */
export interface VectorState {
  readonly heads: ReadonlyMap<OriginKey, Head>;
  readonly floors: ReadonlyMap<NodeId, number>;
}

/**
 * What can no longer be told from the cells, since tombstones were collected. A replica that has not seen all of `seen`
 * may hold objects that were deleted; a frame from up to `stamp` that comes only now may be older than a delete that is
 * forgotten.
 */
export interface Horizon {
  readonly stamp: Timestamp;
  /** The collected tombstones' dots: per origin the greatest sequence. */
  readonly seen: ReadonlyMap<OriginKey, number>;
}

/** Two different frames with one number were seen: this origin's frames are no longer taken from there on. */
export interface Fork {
  readonly origin: OriginKey;
  /** The first number that cannot be trusted. */
  readonly sequence: number;
  /** Hashes: of the one that is kept here, and of the other; empty: not known. */
  readonly kept: Uint8Array;
  readonly other: Uint8Array;
}

/** A replica's own state, kept with its cells. */
export interface ReplicaState extends VectorState {
  /** Under which this node writes; undefined: never has. */
  readonly self: Origin | undefined;
  /** The hybrid logical clock's last time. */
  readonly clock: Timestamp;
  /** False: must take a snapshot from a member before it may write or pass anything on. */
  readonly admitted: boolean;
  readonly horizon: Horizon;
  readonly forks: readonly Fork[];
}

/** Everything of one commit, all or nothing. Removals come before what is put. */
export interface Batch {
  readonly remove: readonly Key[];
  readonly put: readonly Cell[];
  /** To the end of their origins' logs, in order. */
  readonly append: readonly Frame[];
  /** Frames up to and with this sequence leave the log. */
  readonly drop: readonly { readonly origin: OriginKey; readonly through: number }[];
  /** Only what changes: maps and lists replace the old ones. */
  readonly state: Partial<Omit<ReplicaState, 'heads'>>;
  /** Those that change; the others stay. */
  readonly heads: ReadonlyMap<OriginKey, Head>;
  /** Origins that leave the vector, before heads are set. */
  readonly forget: readonly OriginKey[];
}

export type StoreFault = 'full' | 'io' | 'corrupt';

/** A commit that has failed has changed nothing. */
export class ReplicaStoreError extends Error {
  readonly code: StoreFault;

  constructor(code: StoreFault, message: string) {
    super(message);
    this.name = 'ReplicaStoreError';
    this.code = code;
  }
}

/** Everything as of one read, however long it takes; must be closed. */
export interface SnapshotReader {
  readonly state: ReplicaState;
  /** In key order; about that many bytes, at least one cell; empty: no more. */
  next(maxBytes: number): Cell[];
  close(): void;
}

export interface CommitOptions {
  /**
   * True, as without options: on disk when commit() returns, and with it all that was committed before. False: outlives
   * the process, and not a failure of the machine, which may take it and whatever was committed after it; never
   * something in between, nor a part of a commit. To what was committed so, any durable commit that changes something
   * gives its place on the disk.
   */
  readonly durable: boolean;
}

/**
 * Where a replica is kept. Calls are synchronous; a commit that has returned is on disk (CommitOptions), one that throws
 * ReplicaStoreError has changed nothing. Key order is that of kind, id, group by code points (object.ts: compareKeys).
 */
export interface ReplicaStore {
  /** Read once, at the start. */
  load(): ReplicaState;
  /** All cells of an object, tombstones included. */
  object(kind: string, id: string): readonly Cell[];
  /** Cells of the objects of one bucket (digest.ts: bucketOf) after a key, in key order. */
  bucket(bucket: number, after: Key | undefined, limit: number): readonly Cell[];
  /** Cells of the objects of one kind after a key of that kind, in key order. */
  kind(kind: string, after: Key | undefined, limit: number): readonly Cell[];
  /**
   * Encoded frames of the log from a sequence on, up to and with another; as many as fit, but one at least. Empty where
   * the log does not hold the first of them (any more).
   */
  frames(origin: OriginKey, from: number, through: number, maxBytes: number): readonly Uint8Array[];
  /** The least sequence in the log; undefined: none is. */
  firstFrame(origin: OriginKey): number | undefined;
  /** Frames in the log, and their bytes. */
  logSize(): { readonly frames: number; readonly bytes: number };
  /** alongside: what else belongs into this transaction (an audit record); if it throws, nothing is changed. */
  commit(batch: Batch, alongside?: () => void, options?: CommitOptions): void;
  openSnapshot(): SnapshotReader;
}

/** SHA-256, or what the mesh has agreed on: 32 bytes. */
export type Hash = (bytes: Uint8Array) => Uint8Array;

/** What a replica takes from outside instead of reaching for it. */
export interface Environment {
  /** Unix time; may jump. */
  readonly wallMs: () => number;
  /** For intervals: never goes back. */
  readonly monotonicMs: () => number;
  /** [0, 1). */
  readonly random: () => number;
  readonly hash: Hash;
  readonly sign: (hash: Uint8Array) => Uint8Array;
  /** Whether the signature over that hash is that node's. */
  readonly verify: (node: NodeId, hash: Uint8Array, signature: Uint8Array) => boolean;
}

/** Frames of one origin from a sequence up to and with another. */
export interface Range {
  readonly origin: OriginKey;
  readonly from: number;
  readonly through: number;
}

/** What a node says of itself when it compares with another. */
export interface Summary extends VectorState {
  readonly type: 'summary';
  /** Whether the other is to answer with its own. */
  readonly answer: boolean;
  readonly admitted: boolean;
  readonly seen: ReadonlyMap<OriginKey, number>;
  readonly forks: readonly { readonly origin: OriginKey; readonly sequence: number }[];
  /** Over everything that is visible (digest.ts); equal vectors must have equal digests. */
  readonly digest: number;
  /** Cells in store: what a snapshot would cost. */
  readonly cells: number;
  /** This node's Unix time. */
  readonly wallMs: number;
  /** By chance, anew at each start of the sender. */
  readonly life: number;
  /** In an answer: of the summary that it answers to. */
  readonly echo: { readonly life: number; readonly wallMs: number } | undefined;
}

/** Between two replicas. Nothing relies on order or delivery; the same message twice does no harm. */
export type Message =
  | Summary
  /** A new frame, down the tree. */
  | { readonly type: 'push'; readonly frame: Uint8Array }
  /** Instead of a push, to a lazy peer: all up to that sequence is here. */
  | { readonly type: 'have'; readonly heads: readonly { readonly origin: OriginKey; readonly sequence: number }[] }
  /** Send me these, and from now on every new frame of these origins. */
  | { readonly type: 'graft'; readonly ranges: readonly Range[] }
  /** I get this origin's frames from another: from now on only say what is there. */
  | { readonly type: 'prune'; readonly origin: OriginKey }
  | { readonly type: 'request'; readonly id: number; readonly ranges: readonly Range[] }
  /** compacted: of these origins the log no longer reaches back to what was asked for. */
  | {
      readonly type: 'frames';
      readonly id: number;
      readonly frames: readonly Uint8Array[];
      readonly compacted: readonly OriginKey[];
    }
  /** part: from 0; the one before has arrived. */
  | { readonly type: 'snapshot-request'; readonly id: number; readonly part: number }
  | {
      readonly type: 'snapshot';
      readonly id: number;
      readonly part: number;
      readonly cells: readonly Cell[];
      /** With the last part. */
      readonly end: (VectorState & Pick<ReplicaState, 'clock' | 'horizon' | 'forks'>) | undefined;
    }
  /** Try again later: too much is asked at once, or the session is gone. */
  | { readonly type: 'busy'; readonly id: number }
  /** 256 digests; the sender's vector and ours were equal. */
  | { readonly type: 'digests'; readonly buckets: readonly number[] }
  /** All cells of a bucket within (after, through], as of that vector. through undefined: to its end. */
  | {
      readonly type: 'repair';
      readonly answer: boolean;
      readonly bucket: number;
      readonly after: Key | undefined;
      readonly through: Key | undefined;
      readonly cells: readonly Cell[];
      readonly vector: VectorState;
      readonly horizon: Horizon;
      readonly forks: readonly { readonly origin: OriginKey; readonly sequence: number }[];
    }
  /** You hold what may have been deleted (or are no member): take a snapshot before you send frames. */
  | {
      readonly type: 'stale';
      readonly reason: 'removed' | 'behind-horizon';
      readonly seen: ReadonlyMap<OriginKey, number>;
    };

/**
 * A message as it travels: of the mesh's replica where it names no cluster. assigned: the stamp of the assignment by which
 * its sender is in that cluster, as it has heard: who knows of another one takes nothing of it.
 */
export type Addressed = Message & { readonly cluster?: ClusterName; readonly assigned?: Timestamp };

/** What an operator, the audit or the rest of the agent should know. */
export type ReplicaEvent =
  /** The objects of these keys may look different now. */
  | {
      readonly type: 'changed';
      readonly objects: readonly { readonly kind: string; readonly id: string }[];
      /** Of the frames that did it; empty: a snapshot or a repair. */
      readonly writers: readonly { readonly author: string; readonly node: NodeId }[];
    }
  | {
      readonly type: 'quarantined' | 'released';
      readonly origin: OriginKey;
      readonly sequence: number;
      readonly aheadMs: number;
    }
  | { readonly type: 'forked'; readonly fork: Fork; readonly from: NodeId }
  /**
   * Cells from before the horizon, and of objects that are not here: their delete is forgotten, so they are left out.
   */
  | { readonly type: 'late'; readonly origin: OriginKey; readonly sequence: number; readonly keys: readonly Key[] }
  /** Edits of a replica that was away too long, of objects that were deleted meanwhile. */
  | { readonly type: 'edits-lost'; readonly keys: readonly Key[] }
  | { readonly type: 'damaged'; readonly keys: readonly Key[] }
  | { readonly type: 'repaired'; readonly from: NodeId; readonly bucket: number; readonly cells: number }
  /** This node now writes under a new incarnation. */
  | { readonly type: 'incarnation'; readonly before: Origin | undefined; readonly now: Origin; readonly reason: string }
  | { readonly type: 'snapshot'; readonly from: NodeId; readonly cells: number; readonly reissued: number }
  /** This node has to take a snapshot before it may write. */
  | { readonly type: 'stale'; readonly from: NodeId; readonly reason: string }
  /**
   * A snapshot that is from this machine's future is not taken: what is written after it would be stamped before it.
   */
  | { readonly type: 'clock-off'; readonly from: NodeId; readonly aheadMs: number }
  | { readonly type: 'refused'; readonly from: NodeId; readonly reason: string }
  | { readonly type: 'storage'; readonly code: StoreFault; readonly reason: string }
  | { readonly type: 'overflow'; readonly peer: NodeId; readonly bytes: number };

export type WriteRefusal = 'not-admitted' | 'clock-off' | 'too-large' | 'invalid' | 'storage';

export type WriteResult =
  | { readonly ok: true; readonly origin: OriginKey; readonly sequence: number; readonly stamp: Timestamp }
  | { readonly ok: false; readonly code: WriteRefusal; readonly reason: string };

/** A member: anyone whose acknowledgement tombstones wait for, whether it answers or not. */
export interface Member {
  readonly node: NodeId;
  readonly alive: boolean;
}
