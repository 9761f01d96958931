// SPDX-License-Identifier: Apache-2.0
/**
 * The called end of replica-wire.ts, without a socket: messages out of chunks that begin and end anywhere. One that lies
 * whole in a chunk is a view of it. One that comes in pieces is put together in room that grows with what has come:
 * what is announced costs nothing, and neither do many small pieces.
 */
import { LENGTH_BYTES } from '../../outbound/mesh/replica-wire.js';

const ROOM_BYTES = 1_024;
const NOTHING = new Uint8Array(0);

export class ReplicaReader {
  readonly #maxBytes: number;
  #chunk: Uint8Array = NOTHING;
  #at = 0;
  /** Of the length: bytes that have come, and what they say. */
  #lengthBytes = 0;
  #length = 0;
  /** Of a message that comes in pieces. */
  #room: Uint8Array = NOTHING;
  #filled = 0;
  #fault: string | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Why nothing more is read; undefined: nothing is wrong. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** To be called when next() has given all of the chunk before. */
  push(chunk: Uint8Array): void {
    // Not a Buffer, whose slice() would be no copy.
    this.#chunk = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
    this.#at = 0;
  }

  /** Of no bytes: a question. undefined: there is no more, or a fault. */
  next(): Uint8Array | undefined {
    const message = this.#fault === undefined && this.#readLength() ? this.#readMessage() : undefined;
    if (message === undefined) this.#chunk = NOTHING;
    else this.#lengthBytes = 0;
    return message;
  }

  /** Whether all of it has come. */
  #readLength(): boolean {
    if (this.#lengthBytes === 0) this.#length = 0;
    for (; this.#lengthBytes < LENGTH_BYTES; this.#lengthBytes++) {
      const byte = this.#chunk[this.#at];
      if (byte === undefined) return false;
      this.#at += 1;
      this.#length = this.#length * 256 + byte;
    }
    if (this.#length <= this.#maxBytes) return true;
    this.#fault = `a message of ${this.#length} bytes is announced, more than ${this.#maxBytes}: split it`;
    return false;
  }

  #readMessage(): Uint8Array | undefined {
    const missing = this.#length - this.#filled;
    const piece = this.#chunk.subarray(this.#at, this.#at + missing);
    this.#at += piece.length;
    if (piece.length === this.#length) return piece;
    this.#grow(this.#filled + piece.length);
    this.#room.set(piece, this.#filled);
    this.#filled += piece.length;
    if (piece.length < missing) return undefined;
    const whole = this.#room;
    this.#room = NOTHING;
    this.#filled = 0;
    return whole;
  }

  /** To twice as much each time, so that each byte is moved once on average; in the end it is the message's length. */
  #grow(bytes: number): void {
    if (bytes <= this.#room.length) return;
    const room = new Uint8Array(Math.min(this.#length, Math.max(bytes, 2 * this.#room.length, ROOM_BYTES)));
    room.set(this.#room.subarray(0, this.#filled));
    this.#room = room;
  }
}
