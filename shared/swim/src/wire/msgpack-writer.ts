// SPDX-License-Identifier: Apache-2.0
/**
 * msgpack as go-msgpack writes it with the handle that memberlist uses: the specification from before 2013, where texts
 * and bytes are both "raw" and have no 8-bit length. Source: hashicorp/go-msgpack v2.1.5, codec/msgpack.go.
 *
 *   raw    a0|n (n < 32), da n16, db n32      map  80|n (n < 16), de n16
 *   uint   00-7f, cc u8, cd u16, ce u32       int  00-7f, d1 i16, d2 i32: above 127 not as unsigned, as Go has it
 *   nil    c0                                 bool c2, c3
 */

const NO_BYTES = new Uint8Array(0);

function whole(value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new RangeError(`${value} cannot be sent: expected a whole number from 0 to ${max}`);
}

export class MsgpackWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What was written, in memory of its own. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  /** As they are, without a header. */
  plain(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #headed(head: number, width: 1 | 2 | 4, value: number): void {
    this.#reserve(1 + width);
    this.#bytes[this.#length] = head;
    if (width === 1) this.#view.setUint8(this.#length + 1, value);
    else if (width === 2) this.#view.setUint16(this.#length + 1, value);
    else this.#view.setUint32(this.#length + 1, value);
    this.#length += 1 + width;
  }

  map(fields: number): void {
    if (fields < 16) this.byte(0x80 | fields);
    else this.#headed(0xde, 2, whole(fields, 0xffff));
  }

  /** A Go uint of any width: max is what the field holds. */
  uint(value: number, max: number): void {
    whole(value, max);
    if (value <= 0x7f) this.byte(value);
    else if (value <= 0xff) this.#headed(0xcc, 1, value);
    else if (value <= 0xffff) this.#headed(0xcd, 2, value);
    else this.#headed(0xce, 4, value);
  }

  /** A Go int that is not negative and below 2^31. */
  int(value: number): void {
    whole(value, 0x7fff_ffff);
    if (value <= 0x7f) this.byte(value);
    else if (value <= 0x7fff) this.#headed(0xd1, 2, value);
    else this.#headed(0xd2, 4, value);
  }

  bool(value: boolean): void {
    this.byte(value ? 0xc3 : 0xc2);
  }

  raw(bytes: Uint8Array): void {
    const { length } = bytes;
    if (length < 32) this.byte(0xa0 | length);
    else if (length <= 0xffff) this.#headed(0xda, 2, length);
    else this.#headed(0xdb, 4, length);
    this.plain(bytes);
  }

  /** Go's nil slice, which is what memberlist has where there is nothing. */
  rawOrNil(bytes: Uint8Array): void {
    if (bytes.length === 0) this.byte(0xc0);
    else this.raw(bytes);
  }

  text(text: string): void {
    this.raw(text === '' ? NO_BYTES : Buffer.from(text, 'utf8'));
  }
}
