// SPDX-License-Identifier: Apache-2.0
/**
 * Finds where a msgpack value ends, without building anything of it: what a stream must know before it reads a value, and
 * what skips a field that this version does not know. Each byte is looked at once, however the value comes in pieces, and
 * a length that is more than allowed is refused as soon as it is announced.
 */
import { refuse } from './refusal.js';

/** memberlist's values are two deep. */
export const DEPTH_MAX = 16;

/** Bytes that follow the head: of its length field (lengthBytes), or of the value itself. */
type Kind = 'fixed' | 'blob' | 'array' | 'map';

const FIXED_BYTES: Readonly<Record<number, number>> = {
  192: 0,
  194: 0,
  195: 0,
  202: 4,
  203: 8,
  204: 1,
  205: 2,
  206: 4,
  207: 8,
  208: 1,
  209: 2,
  210: 4,
  211: 8,
  212: 2,
  213: 3,
  214: 5,
  215: 9,
  216: 17,
};

/** Head to kind, bytes of the length field, and bytes beside what the length says (the tag of an extension). */
const COUNTED: Readonly<Record<number, readonly [kind: Kind, lengthBytes: 1 | 2 | 4, beside: number]>> = {
  196: ['blob', 1, 0],
  197: ['blob', 2, 0],
  198: ['blob', 4, 0],
  199: ['blob', 1, 1],
  200: ['blob', 2, 1],
  201: ['blob', 4, 1],
  217: ['blob', 1, 0],
  218: ['blob', 2, 0],
  219: ['blob', 4, 0],
  220: ['array', 2, 0],
  221: ['array', 4, 0],
  222: ['map', 2, 0],
  223: ['map', 4, 0],
};

export class ValueScanner {
  readonly #bytesMax: number;
  readonly #what: string;
  /** From the start of the value to what has not been looked at; beyond what has come while inside a text. */
  #at = 0;
  /** Values still to come, of each open container; the first is the value itself. */
  readonly #open: number[] = [1];

  /** what: for messages, such as "a node state". */
  constructor(what: string, bytesMax: number) {
    this.#what = what;
    this.#bytesMax = bytesMax;
  }

  /** bytes: the value from its start on, as far as it has come. Answers its length, or undefined when there is more to come. */
  advance(bytes: Uint8Array): number | undefined {
    while (this.#open.length > 0) {
      const left = this.#open.length - 1;
      const remaining = this.#open[left] ?? 0;
      if (remaining === 0) {
        this.#open.pop();
        continue;
      }
      if (this.#at >= bytes.length) return undefined;
      const step = this.#head(bytes);
      if (step === undefined) return undefined;
      this.#open[left] = remaining - 1;
      this.#at += step.bytes;
      if (step.values > 0) {
        if (this.#open.length >= DEPTH_MAX) {
          refuse('too-deep', `${this.#what} is nested deeper than ${DEPTH_MAX} levels`);
        }
        this.#open.push(step.values);
      }
      // Every value is a byte at least.
      if (this.#at + step.values > this.#bytesMax) {
        refuse('too-large', `${this.#what} announces more than the ${this.#bytesMax} bytes that are allowed`);
      }
    }
    return this.#at <= bytes.length ? this.#at : undefined;
  }

  #head(bytes: Uint8Array): { bytes: number; values: number } | undefined {
    const head = bytes[this.#at] ?? 0;
    if (head <= 0x7f || head >= 0xe0) return { bytes: 1, values: 0 };
    if (head <= 0x8f) return { bytes: 1, values: (head & 0x0f) * 2 };
    if (head <= 0x9f) return { bytes: 1, values: head & 0x0f };
    if (head <= 0xbf) return { bytes: 1 + (head & 0x1f), values: 0 };
    const fixed = FIXED_BYTES[head];
    if (fixed !== undefined) return { bytes: 1 + fixed, values: 0 };
    const counted = COUNTED[head];
    if (counted === undefined) {
      return refuse('malformed', `${this.#what} has the byte 0x${head.toString(16)}, which msgpack does not use`);
    }
    const [kind, lengthBytes, beside] = counted;
    if (this.#at + 1 + lengthBytes > bytes.length) return undefined;
    let length = 0;
    for (let i = 1; i <= lengthBytes; i++) length = length * 256 + (bytes[this.#at + i] ?? 0);
    const header = 1 + lengthBytes + beside;
    if (kind === 'blob') return { bytes: header + length, values: 0 };
    return { bytes: header, values: kind === 'map' ? length * 2 : length };
  }
}
