// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the one message of a stream from pieces of any size. Holds at most what was announced and is allowed, and memory
 * only for what has come. Source: memberlist's net.go (handleConn, readStream, decryptRemoteState).
 *
 *   label ── (dialled side only) ──▶ type ──▶ body ─────────────▶ message
 *                                     ├─▶ sealed ──▶ type' ──▶ body'      length, then all of it, then in one piece
 *                                     └─▶ compressed ──▶ type' ──▶ body'  likewise; also inside what was sealed
 */
import { ByteQueue } from './byte-queue.js';
import { checkLabel, decompressed, joined, labelBytes, type WireSettings } from './envelope.js';
import type { StreamMessage } from './message.js';
import { ValueScanner } from './msgpack-scanner.js';
import { DECOMPRESSED_BYTES_MAX, STATE_BYTES_MAX, TYPE } from './protocol.js';
import { attempt, type Refusal, refuse } from './refusal.js';
import { open } from './sealing.js';
import { type BodyReader, bodyReader, type DroppedNodes, type Source } from './stream-body.js';

export interface StreamDecoderSettings extends WireSettings {
  /** The other side has dialled: a label header comes first, if there is a label. */
  readonly dialled: boolean;
}

export type StreamProgress =
  | { readonly status: 'more' }
  /** droppedNodes: of a push-pull, what was left out of it. */
  | { readonly status: 'message'; readonly message: StreamMessage; readonly droppedNodes: DroppedNodes }
  | { readonly status: 'refused'; readonly refusal: Refusal };

const MORE: StreamProgress = { status: 'more' };
const SEALED_LENGTH_BYTES = 4;

export class StreamDecoder {
  readonly #settings: StreamDecoderSettings;
  readonly #queue = new ByteQueue();
  #progress: StreamProgress = MORE;
  #seen = 0;
  #step: () => StreamMessage | undefined;
  #droppedNodes = 0;
  #dropReason: Refusal | undefined;

  constructor(settings: StreamDecoderSettings) {
    this.#settings = settings;
    this.#step = settings.dialled ? () => this.#label() : () => this.#type();
  }

  /** Bytes that it holds and has not used. */
  get buffered(): number {
    return this.#queue.length;
  }

  /** Once it has answered with a message or a refusal, it ignores what comes and answers the same. */
  push(chunk: Uint8Array): StreamProgress {
    if (this.#progress.status !== 'more') return this.#progress;
    this.#seen += chunk.length;
    this.#queue.push(chunk);
    return this.#settle(() => this.#step());
  }

  /** No more will come. */
  end(): StreamProgress {
    if (this.#progress.status !== 'more') return this.#progress;
    return this.#settle(() => {
      if (this.#seen === 0) return refuse('empty', 'the stream was closed before its first byte');
      return refuse('truncated', `the stream was closed after ${this.#seen} bytes, before its message was whole`);
    });
  }

  #settle(work: () => StreamMessage | undefined): StreamProgress {
    this.#progress = attempt<StreamProgress, StreamProgress>(
      () => {
        const message = work();
        if (message === undefined) return MORE;
        const count = this.#droppedNodes;
        const droppedNodes = this.#dropReason === undefined ? { count } : { count, reason: this.#dropReason };
        return { status: 'message', message, droppedNodes };
      },
      (refusal) => ({ status: 'refused', refusal }),
    );
    if (this.#progress.status !== 'more') this.#queue.clear();
    return this.#progress;
  }

  #next(step: () => StreamMessage | undefined): StreamMessage | undefined {
    this.#step = step;
    return step();
  }

  #label(): StreamMessage | undefined {
    const header = checkLabel(this.#queue.view(), this.#settings);
    if (header === undefined) return undefined;
    this.#queue.drop(header);
    return this.#next(() => this.#type());
  }

  #type(): StreamMessage | undefined {
    const type = this.#queue.view()[0];
    if (type === undefined) return undefined;
    const { keyring, verifyIncoming } = this.#settings;
    if (type === TYPE.encrypt) {
      if (keyring === undefined) {
        return refuse('no-keys', 'the stream is sealed and this node has no gossip keys: give it those of the mesh');
      }
      return this.#next(() => this.#sealed());
    }
    if (keyring !== undefined && verifyIncoming !== false) {
      return refuse('not-sealed', 'the stream is not sealed: the sender lacks the gossip keys, or does not seal yet');
    }
    if (type === TYPE.compress) {
      // The type, then one value; the bytes of it are the bound.
      const scanner = new ValueScanner('a compressed message', STATE_BYTES_MAX);
      return this.#next(() => this.#compressed(scanner));
    }
    this.#queue.drop(1);
    const reader = this.#reader(type);
    return this.#next(() => reader.read(this.#queue));
  }

  #sealed(): StreamMessage | undefined {
    const bytes = this.#queue.view();
    const headerEnd = 1 + SEALED_LENGTH_BYTES;
    if (bytes.length < headerEnd) return undefined;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
    if (length > STATE_BYTES_MAX) {
      refuse('too-large', `announces ${length} sealed bytes: at most ${STATE_BYTES_MAX} are allowed`);
    }
    if (bytes.length < headerEnd + length) return undefined;
    const { keyring } = this.#settings;
    if (keyring === undefined) return refuse('no-keys', 'the keys were taken away');
    const associated = joined(bytes.subarray(0, headerEnd), labelBytes(this.#settings));
    const plain = open(keyring, bytes.subarray(headerEnd, headerEnd + length), associated);
    this.#queue.clear();
    if (plain.length === 0) return refuse('empty', 'nothing inside a sealed message');
    return this.#whole(plain[0] === TYPE.compress ? decompressed(plain, DECOMPRESSED_BYTES_MAX) : plain);
  }

  #compressed(scanner: ValueScanner): StreamMessage | undefined {
    const bytes = this.#queue.view();
    const length = scanner.advance(bytes.subarray(1));
    if (length === undefined) return undefined;
    const plain = decompressed(bytes.subarray(0, 1 + length), DECOMPRESSED_BYTES_MAX);
    this.#queue.clear();
    return this.#whole(plain);
  }

  /** plain: type and body, to which nothing will be added. */
  #whole(plain: Uint8Array): StreamMessage {
    const reader = this.#reader(plain[0] ?? 0);
    let used = 1;
    const source: Source = {
      view: () => plain.subarray(used),
      drop: (count) => {
        used += count;
      },
    };
    const message = reader.read(source);
    return message ?? refuse('truncated', `what was sealed or compressed ends after ${plain.length} bytes, too early`);
  }

  #reader(type: number): BodyReader {
    return bodyReader(type, (reason) => {
      this.#droppedNodes++;
      this.#dropReason ??= reason;
    });
  }
}
