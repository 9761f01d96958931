// SPDX-License-Identifier: Apache-2.0
/** The little DER (X.690) that the X.509 library leaves to its user: two extensions. */
const TAG = { integer: 0x02, sequence: 0x30, permittedSubtrees: 0xa0, uriName: 0x86 } as const;

/** NameConstraints (RFC 5280, 4.2.1.10) by which URI names are of that host only. */
export function permittedUriHost(host: string): Uint8Array<ArrayBuffer> {
  const base = element(TAG.uriName, new TextEncoder().encode(host));
  return element(TAG.sequence, element(TAG.permittedSubtrees, element(TAG.sequence, base)));
}

export function encodeInteger(value: bigint): Uint8Array<ArrayBuffer> {
  const digits = value.toString(16);
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex');
  // A first bit that is set would make it negative.
  return element(TAG.integer, (bytes[0] ?? 0) > 0x7f ? Uint8Array.of(0, ...bytes) : bytes);
}

/** undefined: it is not a non-negative integer of at most maxBytes. */
export function decodeInteger(der: Uint8Array, maxBytes: number): bigint | undefined {
  const length = der[1] ?? 0;
  const [first = 0x80] = der.subarray(2);
  if (der[0] !== TAG.integer || length > maxBytes + 1 || der.length !== length + 2 || first > 0x7f) return undefined;
  return BigInt(`0x${Buffer.from(der.subarray(2)).toString('hex')}`);
}

function element(tag: number, content: Uint8Array): Uint8Array<ArrayBuffer> {
  if (content.length > 0x7f) throw new RangeError(`${content.length} bytes: longer elements are not needed here`);
  return Uint8Array.of(tag, content.length, ...content);
}
