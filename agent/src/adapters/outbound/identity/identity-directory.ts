// SPDX-License-Identifier: Apache-2.0
/**
 * The directory in which a node keeps what it is (mode 0700, files 0600):
 *
 *   node          private key and certificate with its root, PEM: one file, so that they always belong together
 *   roots         the trust bundle, JSON
 *   revocations   revocation lists, PEM
 *   gossip        keyring, JSON
 *   tokens        token-file.ts
 *   authority-*   authority-file.ts
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { CURVE } from '@marcher/ca/x509';
import { type GossipKeyring, keyringFault } from '../../../domain/identity/gossip-keyring.js';
import { KNOWN_ROOTS_MAX, type TrustedRoot } from '../../../domain/identity/trust.js';
import { IdentityError, type IdentityStore, type NodeCredentials } from '../../../ports/identity.js';
import { readCertificate } from './certificate-facts.js';
import { gossipKey } from './new-ids.js';
import { damaged, prepareDirectory, readRecord, writeRecord } from './record-file.js';

const CREDENTIALS_MAX_BYTES = 65_536;
const ROOTS_MAX_BYTES = 524_288;
const KEYRING_MAX_BYTES = 16_384;
const LISTS_MAX_BYTES = 8 * 1024 * 1024;
const PEM = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----\n?/g;

/** undefined: they belong together and are of the right kind. */
export function credentialsFault({ privateKeyPem, certificatePem }: NodeCredentials): string | undefined {
  try {
    const key = createPrivateKey(privateKeyPem);
    if (key.asymmetricKeyDetails?.namedCurve !== CURVE) return 'its key is not of curve P-384';
    return new X509Certificate(certificatePem).checkPrivateKey(key)
      ? undefined
      : 'its key is not that of its certificate';
  } catch {
    return 'its key or its certificate can not be read';
  }
}

export function openIdentityDirectory(directory: string): IdentityStore {
  prepareDirectory(directory);
  const at = (name: string): string => join(directory, name);
  return {
    loadCredentials() {
      const body = readRecord(at('node'), 'node', CREDENTIALS_MAX_BYTES);
      if (body === undefined) return undefined;
      const blocks = body.match(PEM) ?? [];
      const credentials = { privateKeyPem: blocks[0] ?? '', certificatePem: blocks.slice(1).join('') };
      const fault = credentialsFault(credentials);
      if (fault !== undefined) throw damaged(at('node'), fault);
      return credentials;
    },
    saveCredentials(credentials) {
      const fault = credentialsFault(credentials);
      if (fault !== undefined) throw new IdentityError('invalid', `the node's credentials are refused: ${fault}`);
      writeRecord(at('node'), 'node', credentials.privateKeyPem + credentials.certificatePem);
    },
    loadRoots() {
      const body = readRecord(at('roots'), 'roots', ROOTS_MAX_BYTES);
      return body === undefined ? undefined : parse(at('roots'), body, rootsOf);
    },
    saveRoots(roots) {
      const kept = roots.map(({ pem, signsFromMs, retiredAtMs }) => ({ pem, signsFromMs, retiredAtMs }));
      writeRecord(at('roots'), 'roots', `${JSON.stringify(kept, undefined, 2)}\n`);
    },
    loadRevocationLists() {
      const body = readRecord(at('revocations'), 'revocations', LISTS_MAX_BYTES);
      return body === undefined ? undefined : (body.match(PEM) ?? []);
    },
    saveRevocationLists(lists) {
      writeRecord(at('revocations'), 'revocations', lists.join(''));
    },
    loadKeyring() {
      const body = readRecord(at('gossip'), 'gossip', KEYRING_MAX_BYTES);
      return body === undefined ? undefined : parse(at('gossip'), body, keyringOf);
    },
    saveKeyring(keyring) {
      const fault = keyringFault(keyring);
      if (fault !== undefined) throw new IdentityError('invalid', `the gossip keyring is refused: ${fault}`);
      const keys = keyring.keys.map(({ key }) => Buffer.from(key).toString('base64'));
      writeRecord(at('gossip'), 'gossip', `${JSON.stringify({ primary: keyring.primary, keys })}\n`);
    },
  };
}

function rootsOf(value: unknown): readonly TrustedRoot[] | undefined {
  if (!Array.isArray(value) || value.length > KNOWN_ROOTS_MAX) return undefined;
  const roots: TrustedRoot[] = [];
  for (const entry of value as Partial<Record<keyof TrustedRoot, unknown>>[]) {
    const { pem, signsFromMs, retiredAtMs } = entry ?? {};
    if (typeof pem !== 'string') return undefined;
    if (signsFromMs !== undefined && !Number.isFinite(signsFromMs)) return undefined;
    if (retiredAtMs !== undefined && !Number.isFinite(retiredAtMs)) return undefined;
    roots.push({
      certificate: readCertificate(pem),
      pem,
      signsFromMs: signsFromMs as number | undefined,
      retiredAtMs: retiredAtMs as number | undefined,
    });
  }
  return roots;
}

function keyringOf(value: unknown): GossipKeyring | undefined {
  const { primary, keys } = (value ?? {}) as { readonly primary?: unknown; readonly keys?: unknown };
  if (typeof primary !== 'string' || !Array.isArray(keys)) return undefined;
  const keyring = { primary, keys: keys.map((key) => gossipKey(Buffer.from(String(key), 'base64'))) };
  return keyringFault(keyring) === undefined ? keyring : undefined;
}

/** What is in the text is shown in no message: a parser's would quote it. */
function parse<T>(path: string, body: string, read: (value: unknown) => T | undefined): T {
  let value: T | undefined;
  try {
    value = read(JSON.parse(body));
  } catch {
    value = undefined;
  }
  if (value === undefined) throw damaged(path, 'what is in it is not of the expected form');
  return value;
}
