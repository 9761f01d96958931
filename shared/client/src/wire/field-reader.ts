// SPDX-License-Identifier: Apache-2.0
/** Fields of a protobuf message, one after the other, without descriptors. For the few messages that come by the thousand. */

/** The bytes are not what is read here: whoever asked decodes them by the descriptor, which says what is wrong. */
export class Unreadable extends Error {}

/** 7 bits each: what fits a number exactly. */
const EXACT_BYTES = 7;
const VARINT_BYTES_MAX = 10;

/** Each bigint is an object of its own, but for these. */
const SMALL: readonly bigint[] = Array.from({ length: 0x80 }, (_, value) => BigInt(value));

export class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #texts: TextCache;
  #at: number;
  #end: number;

  constructor(bytes: Uint8Array, texts: TextCache) {
    this.#bytes = bytes;
    this.#texts = texts;
    this.#at = 0;
    this.#end = bytes.length;
  }

  get at(): number {
    return this.#at;
  }

  /** To where it has been before. */
  back(at: number): void {
    this.#at = at;
  }

  /** Of the message that is being read. */
  get end(): number {
    return this.#end;
  }

  get hasMore(): boolean {
    return this.#at < this.#end;
  }

  /** Field number and wire type as they are on the wire: number << 3 | type. */
  tag(): number {
    const first = this.#bytes[this.#at] as number;
    // Numbers below 16.
    if (first < 0x80) {
      this.#at++;
      return first;
    }
    return this.size();
  }

  /** A varint below 2^49: lengths and small numbers. Unreadable: it is larger. */
  size(): number {
    const bytes = this.#bytes;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < EXACT_BYTES; i++) {
      if (this.#at >= this.#end) throw new Unreadable();
      const byte = bytes[this.#at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
    throw new Unreadable();
  }

  /** A varint of one byte, which most of them are. undefined: it is longer, and not read yet. */
  small(): number | undefined {
    const byte = this.#bytes[this.#at];
    if (byte === undefined || byte >= 0x80 || this.#at >= this.#end) return undefined;
    this.#at++;
    return byte;
  }

  /** uint64 */
  whole(): bigint {
    const small = this.small();
    if (small !== undefined) return SMALL[small] as bigint;
    const from = this.#at;
    let at = from;
    while (at < this.#end && at < from + EXACT_BYTES) {
      if ((this.#bytes[at++] as number) < 0x80) return BigInt(this.size());
    }
    let value = 0n;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      if (this.#at >= this.#end) throw new Unreadable();
      const byte = this.#bytes[this.#at++] as number;
      value |= BigInt(byte & 0x7f) << BigInt(7 * i);
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Unreadable();
  }

  text(): string {
    const length = this.#length();
    const from = this.#at;
    this.#at += length;
    return this.#texts.read(this.#bytes, from, this.#at);
  }

  bytes(): Uint8Array {
    const length = this.#length();
    const from = this.#at;
    this.#at += length;
    return this.#bytes.slice(from, this.#at);
  }

  /** Over a field that has a length. */
  pass(): void {
    const length = this.#length();
    this.#at += length;
  }

  /** Into the message of this field. Gives where the one around it ends, for leave(). */
  enter(): number {
    const length = this.#length();
    const around = this.#end;
    this.#end = this.#at + length;
    return around;
  }

  leave(around: number): void {
    if (this.#at !== this.#end) throw new Unreadable();
    this.#end = around;
  }

  #length(): number {
    const length = this.size();
    if (length > this.#end - this.#at) throw new Unreadable();
    return length;
  }
}

const SLOTS = 1 << 15;
const TEXT_MAX = 256;

/**
 * The same text for the same bytes: names are said again and again, and a text that has been a key once is found faster. Of a
 * fixed size: a text takes the place of another one.
 */
export class TextCache {
  readonly #texts: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined);
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });

  read(bytes: Uint8Array, from: number, to: number): string {
    const length = to - from;
    if (length === 0) return '';
    if (length > TEXT_MAX) return this.#decode(bytes, from, to);
    // FNV-1a, and whether it is ASCII.
    let hash = 0x811c9dc5;
    let all = 0;
    for (let at = from; at < to; at++) {
      const byte = bytes[at] as number;
      all |= byte;
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
    if (all >= 0x80) return this.#decode(bytes, from, to);
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    const known = this.#texts[slot];
    if (known !== undefined && known.length === length && isText(known, bytes, from)) return known;
    const text = this.#decode(bytes, from, to);
    this.#texts[slot] = text;
    return text;
  }

  #decode(bytes: Uint8Array, from: number, to: number): string {
    try {
      return this.#decoder.decode(bytes.subarray(from, to));
    } catch {
      throw new Unreadable();
    }
  }
}

function isText(text: string, bytes: Uint8Array, from: number): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[from + i]) return false;
  return true;
}
