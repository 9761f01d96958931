// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ipBytes, ipText } from './ip-bytes.js';
import { bytes } from './testing/byte-notation.js';

describe('addresses', () => {
  // RFC 5952 section 4: lower case, no leading zeros, the first of the longest runs of zeros shortened, never one alone.
  test.each([
    ['192.0.2.1', 'c0 00 02 01'],
    ['::', '00'.repeat(16)],
    ['::1', `${'00'.repeat(15)} 01`],
    ['1::', `00 01 ${'00'.repeat(14)}`],
    ['2001:db8::1', '20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01'],
    ['2001:db8:0:1:1:1:1:1', '20 01 0d b8 00 00 00 01 00 01 00 01 00 01 00 01'],
    ['2001:0:0:1::1', '20 01 00 00 00 00 00 01 00 00 00 00 00 00 00 01'],
    ['2001:db8::1:0:0:1', '20 01 0d b8 00 00 00 00 00 01 00 00 00 00 00 01'],
  ])('%s', (text, hex) => {
    expect(ipText(bytes(hex))).toBe(text);
    expect(ipBytes(text)).toEqual(bytes(hex));
  });

  test('are read in every form of RFC 4291', () => {
    expect(ipBytes('2001:DB8:0:0:0:0:0:1')).toEqual(ipBytes('2001:db8::1'));
    expect(ipBytes('64:ff9b::192.0.2.1')).toEqual(ipBytes('64:ff9b::c000:201'));
    expect(ipBytes('::192.0.2.1')).toEqual(ipBytes('::c000:201'));
  });

  test('of IPv4 within IPv6 are IPv4', () => {
    expect(ipBytes('::ffff:192.0.2.1')).toEqual(bytes('c0 00 02 01'));
    expect(ipText(bytes(`${'00'.repeat(10)} ff ff c0 00 02 01`))).toBe('192.0.2.1');
  });

  test('come back as they were', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(0xffff), (random, zeros) => {
        const address = random.map((byte, i) => ((zeros >> i) & 1 ? 0 : byte));
        expect(ipBytes(ipText(address) ?? '')).toEqual(address);
      }),
    );
  });

  test('that are none are refused', () => {
    for (const length of [0, 1, 3, 5, 15, 17]) expect(ipText(new Uint8Array(length))).toBeUndefined();
    for (const text of ['', 'localhost', '1.2.3', '1.2.3.04', '::1%lo', '1::2::3', '[::1]']) {
      expect(() => ipBytes(text)).toThrow(RangeError);
    }
  });
});
