// SPDX-License-Identifier: Apache-2.0
/** An offline root as a file: its certificate, and its key sealed by a passphrase. JSON, so that it can be printed, too. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { EnvelopeError, parseEnvelope, type ScryptCost, seal, unseal } from './envelope.js';
import { fingerprintOf, type OfflineRoot, OfflineRootError } from './offline-root.js';

const KIND = 'marcher offline root 1';
const MESH_URI = /^URI:spiffe:\/\/([0-9a-f]{32})$/;
export const ROOT_FILE_MAX_BYTES = 65_536;

/** cost: what scrypt takes, lowered in tests only. */
export async function sealOfflineRoot(root: OfflineRoot, passphrase: string, cost?: ScryptCost): Promise<string> {
  const about = fingerprintOf(root.certificate);
  const sealedKey = await seal(root.privateKey, { kind: 'passphrase', passphrase }, about, cost);
  const certificate = new X509Certificate(root.certificate).toString();
  return `${JSON.stringify({ kind: KIND, certificate, sealedKey }, undefined, 2)}\n`;
}

/** Fails as OfflineRootError, with what is wrong and without what is in it. */
export async function openOfflineRoot(text: string, passphrase: string): Promise<OfflineRoot> {
  const parsed = parse(text);
  if (parsed === undefined) {
    throw new OfflineRootError("it is not the file of a mesh's root key: give what --root-key-out has written");
  }
  const { certificate, envelope } = parsed;
  const der = new Uint8Array(certificate.raw);
  const [, id = ''] = MESH_URI.exec(certificate.subjectAltName ?? '') ?? [];
  const name = /^O=(.*)$/m.exec(certificate.subject)?.[1] ?? '';
  if (!certificate.ca || id === '') throw new OfflineRootError('its certificate is not the root of a mesh');
  try {
    const privateKey = Uint8Array.from(await unseal(envelope, { kind: 'passphrase', passphrase }, fingerprintOf(der)));
    const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
    if (!certificate.checkPrivateKey(key)) throw new OfflineRootError('its key is not that of its certificate');
    return { mesh: { id, name }, certificate: der, privateKey };
  } catch (error) {
    throw error instanceof EnvelopeError ? new OfflineRootError(error.message) : error;
  }
}

function parse(text: string) {
  if (text.length > ROOT_FILE_MAX_BYTES) return undefined;
  try {
    const { kind, certificate, sealedKey } = JSON.parse(text) as Record<string, unknown>;
    const envelope = parseEnvelope(sealedKey);
    if (kind !== KIND || typeof certificate !== 'string' || envelope === undefined) return undefined;
    return { certificate: new X509Certificate(certificate), envelope };
  } catch {
    return undefined;
  }
}
