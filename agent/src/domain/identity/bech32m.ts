// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes as text that people paste: Bech32m (BIP-350), a prefix, "1", five bits per character out of 32 that are not
 * easily confused, and a checksum of 30 bits. All upper case is read too, mixed case is not.
 *
 * Texts may be longer here than BIP-173's 90 characters. Beyond these the checksum finds any damage but one in 2^30, and
 * no longer any four wrong characters for certain.
 */
const ALPHABET = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l';
const CONSTANT = 0x2bc830a3;
const GENERATOR = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3] as const;
const CHECKSUM_CHARACTERS = 6;

export type Bech32mFault = 'prefix' | 'characters' | 'checksum' | 'padding';

export function encodeBech32m(prefix: string, bytes: Uint8Array): string {
  const data = regroup(bytes, 8, 5, true) ?? [];
  const sum = polymod([...expand(prefix), ...data, 0, 0, 0, 0, 0, 0]) ^ CONSTANT;
  const checksum = Array.from({ length: CHECKSUM_CHARACTERS }, (_, at) => (sum >>> (5 * (5 - at))) & 31);
  return `${prefix}1${[...data, ...checksum].map((value) => ALPHABET[value]).join('')}`;
}

export function decodeBech32m(prefix: string, text: string): Uint8Array | Bech32mFault {
  const lower = text.toLowerCase();
  if (!lower.startsWith(`${prefix}1`)) return 'prefix';
  if (text !== lower && text !== text.toUpperCase()) return 'characters';
  const values = Array.from(lower.slice(prefix.length + 1), (character) => ALPHABET.indexOf(character));
  if (values.length < CHECKSUM_CHARACTERS || values.includes(-1)) return 'characters';
  if (polymod([...expand(prefix), ...values]) !== CONSTANT) return 'checksum';
  const bytes = regroup(values.slice(0, -CHECKSUM_CHARACTERS), 5, 8, false);
  return bytes === undefined ? 'padding' : Uint8Array.from(bytes);
}

function expand(prefix: string): number[] {
  const codes = Array.from(prefix, (character) => character.charCodeAt(0));
  return [...codes.map((code) => code >> 5), 0, ...codes.map((code) => code & 31)];
}

function polymod(values: readonly number[]): number {
  let sum = 1;
  for (const value of values) {
    const top = sum >>> 25;
    sum = ((sum & 0x1ffffff) << 5) ^ value;
    GENERATOR.forEach((generator, bit) => {
      if ((top >>> bit) & 1) sum ^= generator;
    });
  }
  return sum >>> 0;
}

/** undefined: what is left over is no padding. */
function regroup(values: Iterable<number>, from: number, to: number, pad: boolean): number[] | undefined {
  const out: number[] = [];
  let held = 0;
  let bits = 0;
  for (const value of values) {
    held = ((held << from) | value) & 0xfff;
    bits += from;
    while (bits >= to) {
      bits -= to;
      out.push((held >>> bits) & ((1 << to) - 1));
    }
  }
  const rest = held & ((1 << bits) - 1);
  if (pad) return bits > 0 ? [...out, (rest << (to - bits)) & ((1 << to) - 1)] : out;
  return bits >= from || rest !== 0 ? undefined : out;
}
