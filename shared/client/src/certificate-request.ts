// SPDX-License-Identifier: Apache-2.0
/**
 * A key, made where it stays, and the request (PKCS #10) by which a mesh's CA learns its public half. Who the certificate
 * is for is not in it: the agent says that. Apart from index.ts: few callers need the library, which takes its time to load.
 */
import { webcrypto } from 'node:crypto';
import './reflect-metadata.js';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';

export interface CertificateRequest {
  /** PKCS #8: for this machine's disk only. */
  readonly privateKeyPem: string;
  /** DER, to be sent. */
  readonly request: Uint8Array<ArrayBuffer>;
}

/** P-384 and SHA-384, which is all that a mesh's CA signs. */
export async function createCertificateRequest(): Promise<CertificateRequest> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, true, ['sign', 'verify']);
  const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-384' };
  const request = await Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const lines = key.match(/.{1,64}/g) ?? [];
  const privateKeyPem = ['-----BEGIN PRIVATE KEY-----', ...lines, '-----END PRIVATE KEY-----', ''].join('\n');
  return { privateKeyPem, request: new Uint8Array(request.rawData) };
}
