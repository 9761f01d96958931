// SPDX-License-Identifier: Apache-2.0
/**
 * LZW as Go's compress/lzw has it with least significant bits first and literals of 8 bits (that of GIF, without its
 * blocks), byte for byte: no package on npm writes this order. Codes are 9 to 12 bits wide, 256 clears the table, 257 ends;
 * a clear code comes first, and again when 4,095 codes are in use.
 */
import { refuse } from './refusal.js';

const CLEAR = 256;
const END = 257;
const WIDTH_MIN = 9;
const WIDTH_MAX = 12;
const CODES = 1 << WIDTH_MAX;
const CODE_LAST = CODES - 1;

/** Four times as many places as codes. */
const TABLE_BITS = 14;
const TABLE_SIZE = 1 << TABLE_BITS;
const TABLE_MASK = TABLE_SIZE - 1;
const ROUNDS_MAX = 0xfff;

/**
 * From a code and the byte after it to the code for both: 12 bits of round, 12 of code, 8 of byte. A new round empties the
 * table without touching it, as most of what is compressed is a datagram.
 */
const keys = new Uint32Array(TABLE_SIZE);
const values = new Uint16Array(TABLE_SIZE);
let round = 0;

function emptyTable(): void {
  if (round === ROUNDS_MAX) {
    keys.fill(0);
    round = 0;
  }
  round++;
}

export function compressLzw(input: Uint8Array): Uint8Array<ArrayBuffer> {
  // At most 12 bits for a byte, and a clear code for thousands of them.
  const out = new Uint8Array(Math.ceil(input.length * 1.5) + (input.length >> 10) + 8);
  let length = 0;
  let bits = 0;
  let pending = 0;
  let width = WIDTH_MIN;
  /** The code that the next entry gets is one more. */
  let last = END;
  const emit = (code: number): void => {
    bits |= code << pending;
    pending += width;
    while (pending >= 8) {
      out[length++] = bits & 0xff;
      bits >>>= 8;
      pending -= 8;
    }
  };
  /** Answers false when the codes ran out and all begins again. */
  const advance = (): boolean => {
    last++;
    if (last === 1 << width) width++;
    if (last !== CODE_LAST) return true;
    emit(CLEAR);
    width = WIDTH_MIN;
    last = END;
    emptyTable();
    return false;
  };

  emptyTable();
  emit(CLEAR);
  let code: number | undefined = input[0];
  if (code !== undefined) {
    for (let i = 1; i < input.length; i++) {
      const byte = input[i] ?? 0;
      const key: number = ((round << 20) | (code << 8) | byte) >>> 0;
      let place = Math.imul(key, 0x9e37_79b1) >>> (32 - TABLE_BITS);
      let found = keys[place] ?? 0;
      while (found >>> 20 === round && found !== key) {
        place = (place + 1) & TABLE_MASK;
        found = keys[place] ?? 0;
      }
      if (found === key) {
        code = values[place] ?? 0;
        continue;
      }
      emit(code);
      code = byte;
      if (!advance()) continue;
      keys[place] = key;
      values[place] = last;
    }
    emit(code);
    advance();
  }
  emit(END);
  if (pending > 0) out[length++] = bits & 0xff;
  return out.slice(0, length);
}

/** Of each code: the code of all its bytes but the last, the last, the first, and how many. */
const prefix = new Uint16Array(CODES);
const suffix = new Uint8Array(CODES);
const first = new Uint8Array(CODES);
const sizes = new Uint16Array(CODES);
for (let i = 0; i < CLEAR; i++) {
  suffix[i] = i;
  first[i] = i;
  sizes[i] = 1;
}

/**
 * Refuses what is not LZW, what ends without the end code, and, before it takes the memory, what would be more than
 * bytesMax. Bytes after the end code are ignored, as Go does.
 */
export function decompressLzw(input: Uint8Array, bytesMax: number): Uint8Array<ArrayBuffer> {
  let out = new Uint8Array(Math.min(bytesMax, input.length * 4 + 64));
  let length = 0;
  let at = 0;
  let bits = 0;
  let pending = 0;
  let width = WIDTH_MIN;
  /** The code that the next byte completes. */
  let next = END;
  /** The code before, or -1 where there is none to continue. */
  let previous = -1;
  for (;;) {
    while (pending < width) {
      if (at === input.length) refuse('bad-compression', 'the LZW data ends without its end code');
      bits |= (input[at++] ?? 0) << pending;
      pending += 8;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    pending -= width;
    if (code === END) return out.subarray(0, length);
    if (code === CLEAR) {
      width = WIDTH_MIN;
      next = END;
      previous = -1;
      continue;
    }
    if (code > next) refuse('bad-compression', `the LZW code ${code} stands before what it is made of`);
    if (previous !== -1) {
      // Completed by the first byte of this code, which may be the one that is being completed.
      prefix[next] = previous;
      first[next] = first[previous] ?? 0;
      sizes[next] = (sizes[previous] ?? 0) + 1;
      suffix[next] = first[code] ?? 0;
    }
    const size = sizes[code] ?? 0;
    if (length + size > bytesMax) {
      refuse('decompression-bomb', `decompresses to more than the ${bytesMax} bytes that are allowed`);
    }
    if (length + size > out.length) {
      const grown = new Uint8Array(Math.min(bytesMax, Math.max(length + size, out.length * 2)));
      grown.set(out.subarray(0, length));
      out = grown;
    }
    let rest = code;
    for (let i = length + size - 1; i > length; i--) {
      out[i] = suffix[rest] ?? 0;
      rest = prefix[rest] ?? 0;
    }
    out[length] = rest & 0xff;
    length += size;
    previous = code;
    if (next < CODE_LAST) {
      next++;
      if (next === 1 << width) width++;
    } else {
      // The table is full and stays as it is until a clear code.
      previous = -1;
    }
  }
}
