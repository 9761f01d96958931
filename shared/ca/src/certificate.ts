// SPDX-License-Identifier: Apache-2.0
/**
 * Certificates of a mesh's CA (RFC 5280): P-384, for signing certificates and lists alone. By its name constraints a CA names nodes and
 * users of its own mesh only.
 */
import { getRandomValues, webcrypto } from 'node:crypto';
import { permittedUriHost } from './der.js';
import * as x509 from './x509.js';

export interface CaSubject {
  readonly meshId: string;
  readonly meshName: string;
  readonly publicKey: webcrypto.CryptoKey;
  /** How many CAs may come below it: 0 of one that signs leaves. */
  readonly pathLength: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface CaIssuer {
  readonly name: x509.Name;
  readonly keyId: string;
}

const NAME_CONSTRAINTS = '2.5.29.30';
const SERIAL_BYTES = 16;

/** issuer: undefined: it signs itself. signingKey: the issuer's. */
export async function caCertificate(
  { meshId, meshName, publicKey, pathLength, notBeforeMs, notAfterMs }: CaSubject,
  issuer: CaIssuer | undefined,
  signingKey: webcrypto.CryptoKey,
): Promise<x509.X509Certificate> {
  const keyId = await keyIdOf(publicKey);
  const what = issuer === undefined ? 'CA' : 'issuing CA';
  // Two of one mesh are told apart by name as well: verifiers look for issuers by it first.
  const subject = new x509.Name([{ O: [meshName] }, { CN: [`Marcher mesh ${what} ${keyId.slice(0, 16)}`] }]);
  return await x509.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject,
    issuer: issuer?.name ?? subject,
    notBefore: new Date(notBeforeMs),
    notAfter: new Date(notAfterMs),
    publicKey,
    signingKey,
    signingAlgorithm: x509.SIGNATURE_ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, pathLength, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      new x509.SubjectKeyIdentifierExtension(keyId),
      ...(issuer === undefined ? [] : [new x509.AuthorityKeyIdentifierExtension(issuer.keyId)]),
      new x509.SubjectAlternativeNameExtension([{ type: x509.URL, value: `spiffe://${meshId}` }]),
      new x509.Extension(NAME_CONSTRAINTS, true, permittedUriHost(meshId)),
    ],
  });
}

/** The leftmost 160 bits of the SHA-256 of the public key (RFC 7093, method 1), in hex. */
export async function keyIdOf(publicKey: webcrypto.CryptoKey): Promise<string> {
  const point = await webcrypto.subtle.exportKey('raw', publicKey);
  const digest = await webcrypto.subtle.digest('SHA-256', point);
  return Buffer.from(digest, 0, 20).toString('hex');
}

/** Positive (RFC 5280, 4.1.2.2): the first bit is clear, and the one after it set. */
function newSerial(): string {
  const bytes = getRandomValues(new Uint8Array(SERIAL_BYTES));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}
