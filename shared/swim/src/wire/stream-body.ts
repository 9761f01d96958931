// SPDX-License-Identifier: Apache-2.0
/**
 * The message inside a stream, read as it comes: nothing is kept but what one value, and the user's state, take. Source:
 * memberlist's net.go (readRemoteState, readUserMsg).
 */
import { PUSH_PULL_HEADER, USER_HEADER } from './go-struct.js';
import type { NodeState, StreamMessage } from './message.js';
import { decodeAck, decodeError, decodePing, readNodeState } from './message-codec.js';
import { MsgpackReader } from './msgpack-reader.js';
import { ValueScanner } from './msgpack-scanner.js';
import {
  isType,
  STATE_BYTES_MAX,
  STATE_NODES_MAX,
  STREAM_VALUE_BYTES_MAX,
  TYPE,
  USER_MESSAGE_BYTES_MAX,
} from './protocol.js';
import { Fault, type Refusal, refuse } from './refusal.js';

/** A node state whose form is right and whose content is not may come from an honest member that was told it. */
const CONTENT_REASONS = new Set<string>(['bad-name', 'bad-address', 'bad-state', 'bad-versions', 'meta-too-long']);

/** Where bytes come from: a stream, or what it had sealed or compressed. */
export interface Source {
  /** All that have come and are not used; a view, valid until more come. */
  view(): Uint8Array;
  drop(count: number): void;
}

/** Answers undefined as long as more must come. Throws Fault. */
export interface BodyReader {
  read(source: Source): StreamMessage | undefined;
}

export interface DroppedNodes {
  readonly count: number;
  /** Why the first was. */
  readonly reason?: Refusal;
}

function value<T>(what: string, read: (value: Uint8Array) => T): (source: Source) => T | undefined {
  const scanner = new ValueScanner(what, STREAM_VALUE_BYTES_MAX);
  return (source) => {
    const bytes = source.view();
    const length = scanner.advance(bytes);
    if (length === undefined) return undefined;
    const result = read(bytes.subarray(0, length));
    source.drop(length);
    return result;
  };
}

/** type: the first byte, which has been used. */
export function bodyReader(type: number, dropped: (reason: Refusal) => void): BodyReader {
  switch (type) {
    case TYPE.pushPull:
      return new PushPullReader(dropped);
    case TYPE.user:
      return new UserReader();
    case TYPE.ping:
      return { read: value('a ping', decodePing) };
    case TYPE.ack:
      return { read: value('an ack', decodeAck) };
    case TYPE.error:
      return { read: value('an error', decodeError) };
    default:
      if (isType(type)) {
        return refuse('unexpected-type', `a message of type ${type}, which does not belong there in a stream`);
      }
      return refuse('unknown-type', `a message of type ${type}, which is not known; is this another protocol?`);
  }
}

function tail(source: Source, length: number): Uint8Array | undefined {
  const bytes = source.view();
  if (bytes.length < length) return undefined;
  const result = new Uint8Array(bytes.subarray(0, length));
  source.drop(length);
  return result;
}

class UserReader implements BodyReader {
  readonly #readHeader = value('the header of a user message', (bytes) => {
    const { UserMsgLen } = USER_HEADER.read(new MsgpackReader(bytes, 'the header of a user message'));
    if (UserMsgLen > USER_MESSAGE_BYTES_MAX) {
      refuse('too-large', `a user message of ${UserMsgLen} bytes: at most ${USER_MESSAGE_BYTES_MAX} are allowed`);
    }
    return UserMsgLen;
  });
  #length: number | undefined;

  read(source: Source): StreamMessage | undefined {
    this.#length ??= this.#readHeader(source);
    if (this.#length === undefined) return undefined;
    const body = tail(source, this.#length);
    return body && { type: 'user', body };
  }
}

class PushPullReader implements BodyReader {
  readonly #dropped: (reason: Refusal) => void;
  readonly #readHeader = value('the header of a push-pull', (bytes) => {
    const header = PUSH_PULL_HEADER.read(new MsgpackReader(bytes, 'the header of a push-pull'));
    if (header.Nodes > STATE_NODES_MAX) {
      refuse('too-many-nodes', `a push-pull of ${header.Nodes} nodes: at most ${STATE_NODES_MAX} are allowed`);
    }
    if (header.UserStateLen > STATE_BYTES_MAX) {
      refuse('too-large', `user state of ${header.UserStateLen} bytes: at most ${STATE_BYTES_MAX} are allowed`);
    }
    return header;
  });
  #header: { readonly Nodes: number; readonly UserStateLen: number; readonly Join: boolean } | undefined;
  #nodesLeft = 0;
  #nodesBytes = 0;
  #scanner: ValueScanner | undefined;
  readonly #nodes: NodeState[] = [];

  constructor(dropped: (reason: Refusal) => void) {
    this.#dropped = dropped;
  }

  read(source: Source): StreamMessage | undefined {
    if (this.#header === undefined) {
      this.#header = this.#readHeader(source);
      if (this.#header === undefined) return undefined;
      this.#nodesLeft = this.#header.Nodes;
    }
    if (!this.#readNodes(source)) return undefined;
    const user = tail(source, this.#header.UserStateLen);
    return user && { type: 'push-pull', nodes: this.#nodes, user, join: this.#header.Join };
  }

  /** Answers whether they have all come. */
  #readNodes(source: Source): boolean {
    const bytes = source.view();
    let used = 0;
    while (this.#nodesLeft > 0) {
      this.#scanner ??= new ValueScanner('a node state', STREAM_VALUE_BYTES_MAX);
      const length = this.#scanner.advance(bytes.subarray(used));
      if (length === undefined) break;
      this.#scanner = undefined;
      this.#nodesBytes += length;
      if (this.#nodesBytes > STATE_BYTES_MAX) {
        refuse('too-large', `node states of more than the ${STATE_BYTES_MAX} bytes that are allowed`);
      }
      this.#readNode(bytes.subarray(used, used + length));
      used += length;
      this.#nodesLeft--;
    }
    source.drop(used);
    return this.#nodesLeft === 0;
  }

  #readNode(bytes: Uint8Array): void {
    try {
      this.#nodes.push(readNodeState(new MsgpackReader(bytes, 'a node state')));
    } catch (thrown) {
      if (!(thrown instanceof Fault) || !CONTENT_REASONS.has(thrown.reason)) throw thrown;
      this.#dropped({ reason: thrown.reason, detail: thrown.detail });
    }
  }
}
