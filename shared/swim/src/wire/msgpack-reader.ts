// SPDX-License-Identifier: Apache-2.0
/**
 * Reads msgpack into fields of known types: everything that any go-msgpack writes for them, old specification or new.
 * nil is the zero of its field, as in Go. Whatever else stands there is refused.
 */
import { isUtf8 } from 'node:buffer';
import { ValueScanner } from './msgpack-scanner.js';
import { refuse } from './refusal.js';

const NO_BYTES = new Uint8Array(0);
/** No field that memberlist has ever had is longer; others are skipped unread. */
const KEY_BYTES_MAX = 32;

export class MsgpackReader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** what: for messages, such as "a ping". */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  #take(count: number): number {
    const start = this.#at;
    if (start + count > this.#bytes.length) {
      refuse('truncated', `${this.#what} ends after ${this.#bytes.length} bytes, in the middle of a value`);
    }
    this.#at = start + count;
    return start;
  }

  #number(count: number): number {
    const start = this.#take(count);
    let value = 0;
    for (let i = start; i < start + count; i++) value = value * 256 + (this.#bytes[i] ?? 0);
    return value;
  }

  #wrong(field: string, expected: string, head: number): never {
    return refuse('malformed', `${this.#what}: ${field} begins with 0x${head.toString(16)}: expected ${expected}`);
  }

  /** Number of fields. */
  map(): number {
    const head = this.#number(1);
    if (head >= 0x80 && head <= 0x8f) return head & 0x0f;
    if (head === 0xde) return this.#number(2);
    if (head === 0xdf) return this.#number(4);
    return this.#wrong('the value', 'a map of fields', head);
  }

  /** Name of the next field; of one that is longer than any known, or not ASCII, something that is none. */
  key(): string {
    const blob = this.#blob('the name of a field');
    return blob.length > KEY_BYTES_MAX ? '' : Buffer.from(blob.buffer, blob.byteOffset, blob.length).toString('latin1');
  }

  skip(): void {
    const length = new ValueScanner(this.#what, this.#bytes.length).advance(this.#bytes.subarray(this.#at));
    this.#take(length ?? Number.POSITIVE_INFINITY);
  }

  uint(field: string, max: number): number {
    const head = this.#number(1);
    const value = this.#integer(head, field);
    if (value < 0 || value > max) {
      refuse('malformed', `${this.#what}: ${field} is ${value}: expected a whole number from 0 to ${max}`);
    }
    return value;
  }

  /** Exact up to 2^53, and more than any field's largest beyond. */
  #integer(head: number, field: string): number {
    if (head <= 0x7f) return head;
    if (head >= 0xe0) return head - 0x100;
    switch (head) {
      case 0xc0:
        return 0;
      case 0xcc:
        return this.#number(1);
      case 0xcd:
        return this.#number(2);
      case 0xce:
        return this.#number(4);
      case 0xcf:
        return this.#number(8);
      case 0xd0:
        return this.#signed(1);
      case 0xd1:
        return this.#signed(2);
      case 0xd2:
        return this.#signed(4);
      case 0xd3:
        // In halves: the sum of -1 would round to 2^64.
        return this.#signed(4) * 2 ** 32 + this.#number(4);
      default:
        return this.#wrong(field, 'a whole number', head);
    }
  }

  #signed(count: number): number {
    const value = this.#number(count);
    return value >= 2 ** (count * 8 - 1) ? value - 2 ** (count * 8) : value;
  }

  bool(field: string): boolean {
    const head = this.#number(1);
    if (head === 0xc3 || head === 1) return true;
    if (head === 0xc2 || head === 0 || head === 0xc0) return false;
    return this.#wrong(field, 'true or false', head);
  }

  text(field: string): string {
    const blob = this.#blob(field);
    if (blob.length === 0) return '';
    if (!isUtf8(blob)) refuse('bad-name', `${this.#what}: ${field} is not UTF-8`);
    return Buffer.from(blob.buffer, blob.byteOffset, blob.length).toString('utf8');
  }

  /** In memory of its own (slice of a Buffer is not): what is kept of a datagram must not keep the datagram. */
  bytes(field: string): Uint8Array {
    const blob = this.#blob(field);
    return blob.length === 0 ? NO_BYTES : new Uint8Array(blob);
  }

  /** A view. */
  view(field: string): Uint8Array {
    return this.#blob(field);
  }

  #blob(field: string): Uint8Array {
    const head = this.#number(1);
    let length: number;
    if (head >= 0xa0 && head <= 0xbf) length = head & 0x1f;
    else if (head === 0xc0) return NO_BYTES;
    else if (head === 0xc4 || head === 0xd9) length = this.#number(1);
    else if (head === 0xc5 || head === 0xda) length = this.#number(2);
    else if (head === 0xc6 || head === 0xdb) length = this.#number(4);
    else if (head >= 0x90 && head <= 0x9f) return this.#listed(field, head & 0x0f);
    else if (head === 0xdc) return this.#listed(field, this.#number(2));
    else if (head === 0xdd) return this.#listed(field, this.#number(4));
    else return this.#wrong(field, 'a text or bytes', head);
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Bytes as a list of numbers, which go-msgpack reads too. */
  #listed(field: string, length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) this.#take(length);
    const out = new Uint8Array(length);
    for (let i = 0; i < length; i++) out[i] = this.uint(field, 0xff);
    return out;
  }
}
