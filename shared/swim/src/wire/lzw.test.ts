// SPDX-License-Identifier: Apache-2.0
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compressLzw, decompressLzw } from './lzw.js';
import { attempt } from './refusal.js';
import { bytes, lzwOf, zeros } from './testing/byte-notation.js';

function refused(input: Uint8Array, bytesMax = 1_000): string {
  return attempt(
    () => `not refused: ${decompressLzw(input, bytesMax)}`,
    (refusal) => refusal.reason,
  );
}

/** High bytes of a linear congruential generator: the same in the Go program that made the sums below. */
function noise(length: number, seed: number, mask: number): Uint8Array {
  let state = seed;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 24) & mask;
  });
}

describe('LZW', () => {
  // Codes of 9 bits, the least significant bit of the first code first: 256 (clear), the content, 257 (end).
  test.each([
    ['nothing: 256 257', '00 03 02', ''],
    ['one byte: 256 8 257', '00 11 04 04', '08'],
    ['a code that completes itself: 256 97 258 97 257', '00 c3 08 0c 13 10', '"aaaa"'],
  ])('%s', (_, packed, plain) => {
    expect(compressLzw(bytes(plain))).toEqual(bytes(packed));
    expect(decompressLzw(bytes(packed), 10)).toEqual(bytes(plain));
  });

  // CRC-32 of what Go 1.26's compress/lzw wrote; the table fills up within 3,838 codes.
  test.each([
    [3_838, 7, 0xff, 5_270, 0xf404_8b52],
    [3_839, 7, 0xff, 5_272, 0x6ca1_0bca],
    [3_840, 7, 0xff, 5_273, 0xa2f1_18aa],
    [60_000, 1, 0x3f, 62_688, 0x50fb_79e9],
  ])('of %i bytes that compress badly is what Go writes', (length, seed, mask, packedLength, sum) => {
    const plain = noise(length, seed, mask);
    const packed = compressLzw(plain);
    expect([packed.length, crc32(packed)]).toEqual([packedLength, sum]);
    expect(decompressLzw(packed, length)).toEqual(plain);
  });

  // No two bytes twice in a row, so that each byte is a code: around the first that is wider, and the last of a table,
  // after which the end stands behind a clear code.
  test.each([
    [255, 290, 0x0561_773e],
    [3_837, 5_407, 0x66cf_26c2],
    [3_838, 5_410, 0x2fbe_d6ca],
    [3_839, 5_411, 0xf85f_c8df],
  ])('of %i codes is what Go writes', (length, packedLength, sum) => {
    let byte = 0;
    const plain = Uint8Array.from({ length }, (_, i) => {
      const now = byte & 255;
      byte += 1 + 2 * Math.floor(i / 256);
      return now;
    });
    const packed = compressLzw(plain);
    expect([packed.length, crc32(packed)]).toEqual([packedLength, sum]);
    expect(decompressLzw(packed, length)).toEqual(plain);
  });

  test('keeps a full table as it is until a clear code comes', () => {
    const full = zeros();
    const longest = full.length;
    const plain = decompressLzw(lzwOf([...full, 1, 4_095, 2, 4_095, 257]), 10_000_000);
    const tail = plain.subarray(plain.length - 2 * longest - 2);
    expect([tail[0], tail[longest + 1]]).toEqual([1, 2]);
    expect(tail.reduce((sum, byte) => sum + byte)).toBe(3);
  });

  test('is undone by decompression, table after table', () => {
    const content = fc.oneof(
      fc.uint8Array({ maxLength: 5_000 }),
      fc.array(fc.constantFrom(0, 0, 0, 1), { maxLength: 20_000 }).map((list) => Uint8Array.from(list)),
    );
    fc.assert(
      fc.property(content, (plain) => {
        expect(Buffer.compare(decompressLzw(compressLzw(plain), plain.length), plain)).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test('is the same when the rounds of its table have been used up', () => {
    for (let i = 0; i < 9_000; i++) {
      const plain = noise(20, i, 0x03);
      expect(Buffer.compare(decompressLzw(compressLzw(plain), 20), plain)).toBe(0);
    }
  });

  test('that is none is refused', () => {
    expect(refused(bytes('00 c3 b0 0c 08'))).toBe('bad-compression'); // 256 97 300 257
    expect(refused(bytes('00 05 06 04'))).toBe('bad-compression'); // 256 258: a code before the first
    expect(refused(bytes(''))).toBe('bad-compression');
    const whole = bytes('00 c3 08 0c 13 10');
    for (let end = 0; end < whole.length; end++) expect(refused(whole.subarray(0, end))).toBe('bad-compression');
  });

  test('ignores what stands after its end, and may begin without a clear code, as in Go', () => {
    expect(decompressLzw(bytes('00 11 04 04 ff ff'), 1)).toEqual(bytes('08'));
    expect(decompressLzw(bytes('08 02 02'), 1)).toEqual(bytes('08')); // 8 257
  });

  test('is refused at the first byte over the bound', () => {
    const packed = compressLzw(new Uint8Array(1_000));
    expect(decompressLzw(packed, 1_000)).toHaveLength(1_000);
    expect(refused(packed, 999)).toBe('decompression-bomb');
  });

  test('by anybody never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (input) => {
        refused(input, 5_000);
      }),
      { numRuns: 500 },
    );
  });
});
