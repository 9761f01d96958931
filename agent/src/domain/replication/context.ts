// SPDX-License-Identifier: Apache-2.0
/** What the parts of a replica share: its state, the world outside, limits, and where messages and events go. */
import type { ClusterName, Environment, Message, NodeId, ReplicaEvent } from './contract.js';
import { FRAME_LIMITS, type FrameLimits } from './frame.js';
import type { HoldingLimits } from './holding.js';
import type { Ledger } from './ledger.js';
import type { TreeTimes } from './tree.js';
import type { Retention } from './upkeep.js';

export interface ReplicaSettings extends TreeTimes {
  /** Between two comparisons with another member, a quarter more or less. */
  readonly roundMs: number;
  /** News for lazy peers wait about that long for more, and for word that they have them: half of it more or less. */
  readonly newsMs: number;
  /** An answer that takes longer is given up. */
  readonly answerMs: number;
  /** Of one answer. */
  readonly answerBytes: number;
  /** Members that frames are pulled from at once. */
  readonly pullsMax: number;
  /** Members that a snapshot is given to at once. */
  readonly snapshotsMax: number;
  /** A snapshot that is larger is given up. */
  readonly snapshotBytesMax: number;
  /** What waits for one peer. */
  readonly outboxBytes: number;
  readonly holding: HoldingLimits;
  readonly frame: FrameLimits;
  /** In the vector; frames of more are refused. */
  readonly originsMax: number;
  /** A stamp that is further ahead of this machine's time waits until it is not. */
  readonly aheadMaxMs: number;
  /** Off most peers' clocks by more, this node refuses to write. */
  readonly clockOffMaxMs: number;
  readonly retention: Retention;
  /** No tombstone is collected before that age. */
  readonly tombstoneMinMs: number;
  /** Between two looks for damage and tombstones, and how many of the 256 buckets are looked through at once. */
  readonly upkeepMs: number;
  readonly upkeepBuckets: number;
  /** After a commit that failed. */
  readonly storageRetryMs: number;
  /** The longest pause after failures of a peer; it begins with a round. */
  readonly backoffMaxMs: number;
}

const MIB = 1024 * 1024;

export const SETTINGS: ReplicaSettings = {
  roundMs: 1000,
  newsMs: 250,
  graftAfterMs: 150,
  graftAgainMs: 1000,
  answerMs: 10_000,
  answerBytes: MIB,
  pullsMax: 2,
  snapshotsMax: 4,
  snapshotBytesMax: 512 * MIB,
  outboxBytes: 32 * MIB,
  holding: { frames: 65_536, bytes: 64 * MIB },
  frame: FRAME_LIMITS,
  originsMax: 65_536,
  aheadMaxMs: 5000,
  clockOffMaxMs: 2000,
  retention: { frames: 200_000, bytes: 256 * MIB },
  tombstoneMinMs: 3_600_000,
  upkeepMs: 1000,
  upkeepBuckets: 1,
  storageRetryMs: 1000,
  backoffMaxMs: 60_000,
};

export interface Context {
  /** Whose replica it is; '': the mesh's. */
  readonly cluster: ClusterName;
  readonly ledger: Ledger;
  readonly environment: Environment;
  readonly settings: ReplicaSettings;
  readonly send: (node: NodeId, message: Message) => void;
  readonly emit: (event: ReplicaEvent) => void;
}
