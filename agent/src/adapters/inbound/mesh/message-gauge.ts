// SPDX-License-Identifier: Apache-2.0
/**
 * Measures each message of a gRPC stream as its bytes come, so that one that announces too much is refused before room is
 * made for it, and one of millions of empty fields before it is unfolded to a hundred times its size. It looks at lengths
 * alone: what is no message is for who decodes it.
 *
 *   prefix (5 bytes: flags, length) ─▶ tag ─▶ value ─▶ tag ─▶ ... ─▶ prefix
 */
const PREFIX_BYTES = 5;
/** The wire types of https://protobuf.dev/programming-guides/encoding. */
const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

type Part = 'prefix' | 'tag' | 'length' | 'varint' | 'skip';

export interface MessageLimits {
  readonly messageMaxBytes: number;
  /** Of one message; not of those within it. */
  readonly fieldsMax: number;
}

export class MessageGauge {
  readonly #limits: MessageLimits;
  #part: Part = 'prefix';
  /** Of the prefix: bytes that have come. */
  #prefix = 0;
  /** Of the message, and of a value that is skipped: bytes that are still to come. */
  #left = 0;
  #skip = 0;
  #number = 0;
  #shift = 0;
  #count = 0;

  constructor(limits: MessageLimits) {
    this.#limits = limits;
  }

  /** What is wrong; undefined: nothing. After that it is of no more use. */
  push(chunk: Uint8Array): string | undefined {
    const { messageMaxBytes, fieldsMax } = this.#limits;
    for (let at = 0; at < chunk.length; ) {
      if (this.#part === 'skip') {
        const step = Math.min(this.#skip, this.#left, chunk.length - at);
        at += step;
        this.#skip -= step;
        this.#left -= step;
        if (this.#skip === 0) this.#part = 'tag';
      } else {
        this.#byte(chunk[at] as number);
        at += 1;
        if (this.#count > fieldsMax) return `a message has more than ${fieldsMax} fields: split it`;
        if (this.#left > messageMaxBytes) {
          return `a message of ${this.#left} bytes is announced, more than ${messageMaxBytes}: split it`;
        }
      }
      if (this.#left === 0 && this.#part !== 'prefix') this.#begin();
    }
    return undefined;
  }

  /** Between two messages. */
  #begin(): void {
    this.#part = 'prefix';
    this.#prefix = 0;
    this.#number = 0;
    this.#shift = 0;
    this.#skip = 0;
  }

  #byte(byte: number): void {
    if (this.#part === 'prefix') {
      this.#prefix += 1;
      // The first is flags.
      this.#left = this.#prefix === 1 ? 0 : this.#left * 256 + byte;
      if (this.#prefix < PREFIX_BYTES) return;
      this.#count = 0;
      if (this.#left === 0) this.#begin();
      else this.#part = 'tag';
      return;
    }
    this.#left -= 1;
    // Numbers here are of 32 bits; what is longer is none, and where it leads does not matter.
    if (this.#shift < 32) this.#number += (byte & 0x7f) * 2 ** this.#shift;
    this.#shift += 7;
    if (byte >= 0x80) return;
    const number = this.#number;
    this.#number = 0;
    this.#shift = 0;
    if (this.#part === 'tag') this.#tagged(number % 8);
    else if (this.#part === 'length') this.#value(number);
    else this.#part = 'tag';
  }

  #tagged(wireType: number): void {
    this.#count += 1;
    if (wireType === VARINT) this.#part = 'varint';
    else if (wireType === LENGTH_DELIMITED) this.#part = 'length';
    else if (wireType === FIXED64) this.#value(8);
    else if (wireType === FIXED32) this.#value(4);
    // Groups have no value of their own; what is none of these ends the call when it is decoded.
    else this.#part = 'tag';
  }

  #value(bytes: number): void {
    this.#skip = bytes;
    this.#part = bytes === 0 ? 'tag' : 'skip';
  }
}
