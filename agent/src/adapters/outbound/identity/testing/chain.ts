// SPDX-License-Identifier: Apache-2.0
/** Certificates and chains as other CAs make them, good ones and odd ones. */
import { webcrypto } from 'node:crypto';
import * as x509 from '@marcher/ca/x509';

const DAY_MS = 86_400_000;

export interface TestCertificate {
  readonly pem: string;
  /** PKCS #8, PEM. */
  readonly keyPem: string;
  readonly keys: webcrypto.CryptoKeyPair;
  readonly subject: string;
  readonly algorithm: Algorithm;
}

type Algorithm = webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams | { readonly name: 'Ed25519' };

const rsa = (modulusLength: number): Algorithm => {
  return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength, publicExponent: Uint8Array.of(1, 0, 1) };
};

export const ALGORITHM = {
  p256: { name: 'ECDSA', namedCurve: 'P-256' },
  p384: { name: 'ECDSA', namedCurve: 'P-384' },
  p521: { name: 'ECDSA', namedCurve: 'P-521' },
  rsa1024: rsa(1_024),
  rsa2048: rsa(2_048),
  ed25519: { name: 'Ed25519' },
} as const satisfies Record<string, Algorithm>;

export interface TestCertificateOptions {
  readonly subject: string;
  /** Absent: it signs itself. */
  readonly issuer?: TestCertificate;
  readonly algorithm?: Algorithm;
  readonly names?: readonly string[];
  readonly isAuthority?: boolean;
  readonly usages?: readonly string[];
  readonly fromMs?: number;
  readonly untilMs?: number;
  readonly hash?: string;
}

export async function testCertificate(options: TestCertificateOptions): Promise<TestCertificate> {
  const { subject, issuer, algorithm = ALGORITHM.p256, names = [], isAuthority = false, usages } = options;
  const { fromMs = Date.now() - DAY_MS, untilMs = Date.now() + 90 * DAY_MS, hash = 'SHA-256' } = options;
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
  const { name } = issuer?.algorithm ?? algorithm;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: [{ CN: [subject] }],
    issuer: [{ CN: [issuer?.subject ?? subject] }],
    notBefore: new Date(fromMs),
    notAfter: new Date(untilMs),
    publicKey: keys.publicKey,
    signingKey: (issuer?.keys ?? keys).privateKey,
    signingAlgorithm: name === 'ECDSA' ? { name, hash } : { name },
    extensions: [
      new x509.BasicConstraintsExtension(isAuthority, undefined, true),
      ...(usages === undefined ? [] : [new x509.ExtendedKeyUsageExtension([...usages])]),
      ...(names.length === 0
        ? []
        : [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: x509.DNS, value })))]),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  const keyPem = `-----BEGIN PRIVATE KEY-----\n${(key.match(/.{1,64}/g) ?? []).join('\n')}\n-----END PRIVATE KEY-----\n`;
  return { pem: `${certificate.toString('pem')}\n`, keyPem, keys, subject, algorithm };
}

/** Its root, an intermediate, and what that has signed. */
export async function testChain(options: Partial<TestCertificateOptions> = {}) {
  const root = await testCertificate({ subject: 'Test Root', isAuthority: true });
  const middle = await testCertificate({ subject: 'Test CA', issuer: root, isAuthority: true });
  const names = ['shop.example.org', '*.shop.example.org'];
  const usages = [x509.ExtendedKeyUsage.serverAuth];
  const leaf = await testCertificate({ subject: 'shop', issuer: middle, names, usages, ...options });
  return { root, middle, leaf };
}
