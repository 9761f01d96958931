// SPDX-License-Identifier: Apache-2.0
/**
 * What goes into the core and what comes out of it. The core has no clock, socket or randomness: whoever runs it calls
 * its inputs with the present time, carries out the effects in order, and calls again at nextMs at the latest. Times
 * are milliseconds of one monotonic clock with any beginning.
 */
import type { Address, Message, NodeState, StreamMessage, Versions } from '../wire/message.js';
import type { Random } from './random.js';
import type { Timers } from './timers.js';
import type { Limits, Tuning } from './tuning.js';

/**
 * Incarnations are 32 bits on the wire. Of the last one no member could clear itself, so that messages with it are
 * ignored.
 */
export const INCARNATION_MAX = 0xffff_fffe;

/** memberlist's protocol, least, most and spoken. */
export const PROTOCOL_VERSIONS: readonly [number, number, number] = [1, 5, 5];

export interface Options {
  /** Unique in the cluster. */
  readonly name: string;
  /** Where others reach this node, by datagram and stream. */
  readonly address: Address;
  readonly meta?: Uint8Array;
  /** What the user's messages are; checked against every member's. Absent: 0, 0, 0. */
  readonly delegateVersions?: Versions['delegate'];
  /**
   * One more than this node has ever used, as event `incarnation` told: members then believe its new life without a
   * detour. Absent: 1.
   */
  readonly incarnation?: number;
  readonly tuning: Tuning;
  readonly limits?: Partial<Limits>;
  /** Bytes in a datagram for messages, a checksum and compound's overhead: 1400 less what label and encryption take. */
  readonly datagramBytes: number;
  /** Bytes of one encoded message, without compound's overhead. */
  readonly sizeOf: (message: Message) => number;
  readonly random: Random;
  /** Where this node keeps what it means to do later, and nobody else. Absent: its own. */
  readonly timers?: Timers;
  readonly hooks?: Hooks;
}

/** Questions that are answered at once, in the core's own thread. Each may be absent; none may throw. */
export interface Hooks {
  /** Why this member is not accepted; undefined: it is. Asked for each alive message. */
  readonly refuse?: (node: NodeState) => string | undefined;
  /** Why these must not be merged with this cluster; asked of a join, on both sides. */
  readonly refuseMerge?: (nodes: readonly NodeState[]) => string | undefined;
  /** User messages to ride along, in bytes bytes with overheadBytes for each. */
  readonly gossip?: (bytes: number, overheadBytes: number) => readonly Uint8Array[];
  /** The user's part of a state exchange. */
  readonly localState?: (join: boolean) => Uint8Array;
  /** Rides on acks to direct pings. */
  readonly ackPayload?: () => Uint8Array;
}

export type Effect =
  | SendDatagram
  | OpenStream
  | ReplyOnStream
  | CloseStream
  | { readonly type: 'event'; readonly event: SwimEvent };

export interface SendDatagram {
  readonly type: 'datagram';
  readonly to: Address;
  /** At most 255, and no more than datagramBytes with compound's overhead. */
  readonly messages: readonly Message[];
  /** The receiver understands a checksum (protocol version 5). */
  readonly crc: boolean;
}

/**
 * Open a stream, send the request, read one reply unless none is expected; then streamDone or streamFailed with this
 * id.
 */
export interface OpenStream {
  readonly type: 'open-stream';
  readonly id: number;
  readonly to: Address;
  readonly request: StreamMessage;
  readonly expectReply: boolean;
  readonly deadlineMs: number;
}

/** Answer the stream that came in under this id, and close it. */
export interface ReplyOnStream {
  readonly type: 'reply';
  readonly stream: number;
  readonly message: StreamMessage;
}

/** Close the stream that came in under this id; there is no answer. */
export interface CloseStream {
  readonly type: 'close';
  readonly stream: number;
}

export interface JoinFailure {
  readonly address: Address;
  readonly reason: string;
}

export type SwimEvent =
  /** A member is there that was not, or was gone. */
  | { readonly type: 'join'; readonly node: NodeState }
  /** Metadata of a member that was there has changed. */
  | { readonly type: 'update'; readonly node: NodeState }
  | { readonly type: 'suspect'; readonly node: NodeState; readonly from: string }
  /** A suspect that is none any more. */
  | { readonly type: 'refuted'; readonly node: NodeState }
  /** from: who says so, this node's name when its own suspicion has timed out. */
  | { readonly type: 'dead'; readonly node: NodeState; readonly from: string }
  | { readonly type: 'left'; readonly node: NodeState }
  /** One that has died or left is no longer kept; only what it was called is left of it. */
  | { readonly type: 'forgotten'; readonly name: string }
  /** Two nodes use one name; the first stays. At most once in ten seconds for each name. */
  | { readonly type: 'conflict'; readonly existing: NodeState; readonly other: NodeState }
  /**
   * Something from outside was not accepted; about: a member's name or an address. At most once in ten seconds for
   * each.
   */
  | { readonly type: 'refused'; readonly about: string; readonly reason: string }
  /** A user message has come, by gossip, datagram or stream. */
  | { readonly type: 'user'; readonly body: Uint8Array; readonly from: Address | undefined }
  /** The user's part of somebody's state. */
  | { readonly type: 'remote-state'; readonly state: Uint8Array; readonly join: boolean }
  /** A direct ping was answered. */
  | { readonly type: 'round-trip'; readonly name: string; readonly ms: number; readonly payload: Uint8Array }
  /** Streams reach the member, datagrams do not: look at the network's filters. */
  | { readonly type: 'stream-only'; readonly name: string }
  /** To be remembered: see Options. */
  | { readonly type: 'incarnation'; readonly incarnation: number }
  | { readonly type: 'health'; readonly score: number }
  /** What became of join(). Failures: at most 100. */
  | {
      readonly type: 'joined';
      readonly id: number;
      readonly reached: number;
      readonly failures: readonly JoinFailure[];
    }
  /** leave() is done; announced: as often as it should be. */
  | { readonly type: 'departed'; readonly announced: boolean }
  /** What became of updateMeta(): announced as often as it should be, or replaced by a newer one. */
  | { readonly type: 'updated'; readonly id: number }
  /** What became of sendReliable(). */
  | { readonly type: 'delivered'; readonly id: number; readonly error: string | undefined };
