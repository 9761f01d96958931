// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBech32m, encodeBech32m } from './bech32m.js';

describe('Bech32m', () => {
  it.each([
    // BIP-350's valid strings whose data is whole bytes.
    ['A1LQFN3A', 'a', ''],
    ['a1lqfn3a', 'a', ''],
    ['?1v759aa', '?', ''],
    ['abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx', 'abcdef', 'ffbbcdeb38bdab49ca307b9ac5a928398a418820'],
  ])('reads %s of BIP-350', (text, prefix, hex) => {
    expect(decodeBech32m(prefix, text)).toEqual(Uint8Array.from(Buffer.from(hex, 'hex')));
  });

  it('writes the empty string as BIP-350 does', () => {
    expect(encodeBech32m('a', new Uint8Array(0))).toBe('a1lqfn3a');
  });

  it.each([
    ['b1lqfn3a', 'prefix'],
    ['a1lqfn3A', 'characters'],
    ['a1lqfnba', 'characters'],
    ['a1lqfn', 'characters'],
    ['a1lqfn3q', 'checksum'],
    // Bech32 of BIP-173, with the older constant.
    ['a12uel5l', 'checksum'],
  ])('refuses %s: %s', (text, fault) => {
    expect(decodeBech32m('a', text)).toBe(fault);
  });

  it('refuses bits left over that are not zero', () => {
    // Two characters hold ten bits, of which two are padding; these are "1" here, under a checksum that is right.
    const found = ['q', 'p', 'z', 'r'].map((last) => decodeBech32m('x', `x1q${last}${checksum('x', `q${last}`)}`));
    expect(found).toEqual([Uint8Array.of(0), 'padding', 'padding', 'padding']);
  });

  it('gives back any bytes, in either case', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), (bytes) => {
        const text = encodeBech32m('marcher', bytes);
        expect(decodeBech32m('marcher', text)).toEqual(bytes);
        expect(decodeBech32m('marcher', text.toUpperCase())).toEqual(bytes);
      }),
      { numRuns: 50 },
    );
  });

  it('finds any one character that is wrong', () => {
    const text = encodeBech32m('m', Uint8Array.of(1, 2, 3, 4, 5));
    for (let at = 2; at < text.length; at++) {
      const other = text[at] === 'q' ? 'p' : 'q';
      expect(decodeBech32m('m', text.slice(0, at) + other + text.slice(at + 1))).toBe('checksum');
    }
  });
});

/** As BIP-173's reference implementation reckons it, for data that the encoder never writes. */
function checksum(prefix: string, body: string): string {
  const alphabet = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
  const generator = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
  const data = Array.from(body, (character) => alphabet.indexOf(character));
  const code = prefix.charCodeAt(0);
  let sum = 1;
  for (const value of [code >> 5, 0, code & 31, ...data, 0, 0, 0, 0, 0, 0]) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    for (let bit = 0; bit < 5; bit++) if ((top >>> bit) & 1) sum ^= generator[bit] ?? 0;
  }
  sum ^= 0x2bc830a3;
  return Array.from({ length: 6 }, (_, at) => alphabet[(sum >>> (5 * (5 - at))) & 31]).join('');
}
