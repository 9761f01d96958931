// SPDX-License-Identifier: Apache-2.0
/** A certificate as rules look at it; the adapter reads it from DER. */
import type { Validity } from './lifetime.js';

export interface CertificateFacts extends Validity {
  /** As canonicalSerial() writes it. */
  readonly serial: string;
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Of its own key, and of the key that signed it (RFC 5280, 4.2.1.1 and 4.2.1.2); lower-case hex, "" when absent. */
  readonly keyId: string;
  readonly issuerKeyId: string;
  /** Its names of kind URI. */
  readonly uris: readonly string[];
  /** It may sign certificates. */
  readonly isAuthority: boolean;
  /** It may sign certificates of other CAs, too: its path length is not 0. */
  readonly signsAuthorities: boolean;
  /** Object identifiers of the extended key usages. */
  readonly usages: readonly string[];
  /** Elliptic curve of its key as OpenSSL names it, such as secp384r1; "" for other kinds of key. */
  readonly curve: string;
}

export const USAGE = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

export const SERIAL_BYTES = 16;

/** Lower-case hex with no zeros in front: what writes serials differs in both. */
export function canonicalSerial(hex: string): string {
  return hex.toLowerCase().replace(/^0+(?=.)/, '');
}

/** random: SERIAL_BYTES from a secure source. One is added to zero: serials are positive (RFC 5280, 4.1.2.2). */
export function serialFrom(random: Uint8Array): string {
  if (random.length !== SERIAL_BYTES) throw new RangeError(`a serial is ${SERIAL_BYTES} bytes, not ${random.length}`);
  const serial = canonicalSerial(Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join(''));
  return serial === '0' ? '1' : serial;
}
