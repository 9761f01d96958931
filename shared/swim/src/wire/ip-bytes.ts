// SPDX-License-Identifier: Apache-2.0
/** Addresses as the wire has them, 4 or 16 bytes, and as text. An IPv4 address in 16 bytes, which Go makes, is IPv4. */
import { isIPv4, isIPv6 } from 'node:net';

/** undefined: neither 4 nor 16 bytes. IPv6 as RFC 5952 section 4 writes it. */
export function ipText(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length !== 16) return undefined;
  const mapped = bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
  if (mapped) return bytes.subarray(12).join('.');
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] ?? 0) * 256 + (bytes[i + 1] ?? 0));
  const { start, length } = longestZeros(groups);
  const hex = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  return length < 2 ? hex(0, 8) : `${hex(0, start)}::${hex(start + length, 8)}`;
}

/** The first of the longest runs. */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i <= groups.length; i++) {
    if (groups[i] === 0) continue;
    if (i - start > best.length) best = { start, length: i - start };
    start = i + 1;
  }
  return best;
}

/** Throws when it is no address (or one with a zone, which means nothing to another node): the caller's mistake. */
export function ipBytes(text: string): Uint8Array {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  if (!isIPv6(text) || text.includes('%')) {
    throw new RangeError(`"${text}" cannot be sent: expected an IPv4 or IPv6 address without a zone`);
  }
  // The last four bytes may stand as a dotted quad.
  const quad = /[^:]*\.[^:]*$/.exec(text)?.[0];
  const tail = quad === undefined ? [] : quad.split('.').map(Number);
  const hex = quad === undefined ? text : text.slice(0, -quad.length);
  const [before = '', after] = hex.split('::');
  const head = groupBytes(before);
  const rest = [...groupBytes(after ?? ''), ...tail];
  const out = new Uint8Array(16);
  out.set(head);
  out.set(rest, 16 - rest.length);
  return out.subarray(0, 10).every((byte) => byte === 0) && out[10] === 0xff && out[11] === 0xff ? out.slice(12) : out;
}

function groupBytes(text: string): number[] {
  return text
    .split(':')
    .filter((group) => group !== '')
    .flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]);
}
