// SPDX-License-Identifier: Apache-2.0
/** A certificate that an operator brings: of no mesh's CA, for host names. */
import { createPrivateKey, webcrypto } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as x509 from '@marcher/ca/x509';
import type { NodeCredentials } from '../../../../ports/identity.js';

const HOUR_MS = 3_600_000;

/** Self-signed, so that it is its own CA. uri: what else it claims to be. */
export async function ownCertificate(
  host: string,
  untilMs = Date.now() + HOUR_MS,
  uri?: string,
): Promise<NodeCredentials> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [host] }],
    notBefore: new Date(untilMs - 2 * HOUR_MS),
    notAfter: new Date(untilMs),
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        uri === undefined ? [{ type: 'dns', value: host }] : [{ type: x509.URL, value: uri }],
      ),
    ],
  });
  const key = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const privateKeyPem = createPrivateKey({ key, format: 'der', type: 'pkcs8' }).export({
    format: 'pem',
    type: 'pkcs8',
  });
  return { privateKeyPem: privateKeyPem.toString(), certificatePem: `${certificate.toString('pem')}\n` };
}

/** As "api.crt" and "api.key" in the directory. */
export function writeCertificate(directory: string, { certificatePem, privateKeyPem }: NodeCredentials) {
  const paths = { certificate: join(directory, 'api.crt'), key: join(directory, 'api.key') };
  writeFileSync(paths.certificate, certificatePem);
  writeFileSync(paths.key, privateKeyPem, { mode: 0o600 });
  return paths;
}
