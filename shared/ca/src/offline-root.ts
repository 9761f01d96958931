// SPDX-License-Identifier: Apache-2.0
/**
 * The root of a mesh whose key no node has. It is made and used on an operator's machine, and does four things: it signs an
 * intermediate for a node that signs, introduces the root after it, and revokes an intermediate.
 */
import { createHash, webcrypto } from 'node:crypto';
import { caCertificate, keyIdOf } from './certificate.js';
import { encodeInteger } from './der.js';
import * as x509 from './x509.js';

export interface MeshName {
  /** 32 hex digits. */
  readonly id: string;
  readonly name: string;
}

export interface OfflineRoot {
  readonly mesh: MeshName;
  /** DER. */
  readonly certificate: Uint8Array<ArrayBuffer>;
  /** PKCS #8, DER: for offline-root-file.ts to seal. */
  readonly privateKey: Uint8Array<ArrayBuffer>;
}

const DAY_MS = 86_400_000;
const ROOT_MS = 3_652 * DAY_MS;
export const INTERMEDIATE_DAYS = { default: 1_095, max: 1_825 } as const;
/** Certificates begin that much earlier: clocks of others may be late. */
const BACKDATE_MS = 300_000;
/** What a list promises as its next update: later ones are obeyed as well, and an intermediate that was revoked stays so. */
const LIST_MS = 3_652 * DAY_MS;
const CRL_NUMBER = '2.5.29.20';
/** RFC 5280, 5.3.1. */
const CA_COMPROMISE = 2;
const REQUEST_MAX_BYTES = 8_192;

export class OfflineRootError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'OfflineRootError';
  }
}

export async function createOfflineRoot(mesh: MeshName, nowMs: number): Promise<OfflineRoot> {
  const keys = await webcrypto.subtle.generateKey(x509.KEY_ALGORITHM, true, ['sign', 'verify']);
  const notBeforeMs = wholeSeconds(nowMs - BACKDATE_MS);
  const notAfterMs = wholeSeconds(nowMs + ROOT_MS);
  const names = { meshId: mesh.id, meshName: mesh.name };
  const subject = { ...names, publicKey: keys.publicKey, pathLength: 1, notBeforeMs, notAfterMs };
  const certificate = await caCertificate(subject, undefined, keys.privateKey);
  const privateKey = new Uint8Array(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { mesh, certificate: new Uint8Array(certificate.rawData), privateKey };
}

/**
 * DER, of an intermediate for the key of that request (PKCS #10, DER), of which nothing else is used. Fails as OfflineRootError when it
 * is none of P-384 that its own key has signed, or the root has expired.
 */
export async function signIntermediate(
  root: OfflineRoot,
  request: Uint8Array,
  days: number,
  nowMs: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const publicKey = await requestedKey(request);
  const parsed = new x509.X509Certificate(root.certificate);
  if (nowMs > parsed.notAfter.getTime()) {
    throw new OfflineRootError(`the root has expired on ${parsed.notAfter.toISOString()}: make another`);
  }
  const subject = {
    ...{ meshId: root.mesh.id, meshName: root.mesh.name, publicKey, pathLength: 0 },
    notBeforeMs: wholeSeconds(Math.max(nowMs - BACKDATE_MS, parsed.notBefore.getTime())),
    notAfterMs: wholeSeconds(Math.min(nowMs + days * DAY_MS, parsed.notAfter.getTime())),
  };
  const issuer = { name: parsed.subjectName, keyId: await rootKeyId(root) };
  const certificate = await caCertificate(subject, issuer, await signingKey(root));
  return new Uint8Array(certificate.rawData);
}

/** That it introduces another root, which may sign from then on: the text is that of the agent's domain/identity/root-statement.ts. */
export async function introduceRoot(
  root: OfflineRoot,
  certificate: Uint8Array,
  atMs: number,
): Promise<{ readonly root: string; readonly signature: Uint8Array<ArrayBuffer> }> {
  const other = fingerprintOf(certificate);
  const text = `marcher root statement 1\nintroduce\n${root.mesh.id}\n${other}\n${atMs}\n`;
  const bytes = new TextEncoder().encode(text);
  const signature = await webcrypto.subtle.sign(x509.SIGNATURE_ALGORITHM, await signingKey(root), bytes);
  return { root: fingerprintOf(root.certificate), signature: new Uint8Array(signature) };
}

/** PEM (RFC 5280, section 5): a list of one intermediate, by its serial (hex). */
export async function revokeIntermediate(root: OfflineRoot, serial: string, nowMs: number): Promise<string> {
  const parsed = new x509.X509Certificate(root.certificate);
  const thisUpdate = new Date(wholeSeconds(nowMs));
  const list = await x509.X509CrlGenerator.create({
    issuer: parsed.subjectName,
    thisUpdate,
    nextUpdate: new Date(thisUpdate.getTime() + LIST_MS),
    signingAlgorithm: x509.SIGNATURE_ALGORITHM,
    signingKey: await signingKey(root),
    extensions: [
      new x509.AuthorityKeyIdentifierExtension(await rootKeyId(root)),
      // As lists of nodes are numbered: the time, then 64 bits by which it takes the place of no other list.
      new x509.Extension(CRL_NUMBER, false, encodeInteger((BigInt(Math.floor(nowMs)) << 64n) | topicOf(serial))),
    ],
    entries: [
      {
        serialNumber: serial.length % 2 === 0 ? serial : `0${serial}`,
        revocationDate: thisUpdate,
        reason: CA_COMPROMISE,
      },
    ],
  });
  return `${x509.PemConverter.encode(list.rawData, 'X509 CRL')}\n`;
}

/** SHA-256 in hex. */
export function fingerprintOf(certificate: Uint8Array): string {
  return createHash('sha256').update(certificate).digest('hex');
}

function topicOf(serial: string): bigint {
  return createHash('sha256').update(serial).digest().readBigUInt64BE();
}

async function requestedKey(request: Uint8Array): Promise<webcrypto.CryptoKey> {
  if (request.length <= REQUEST_MAX_BYTES) {
    try {
      const parsed = new x509.Pkcs10CertificateRequest(Uint8Array.from(request));
      const { namedCurve } = parsed.publicKey.algorithm as { readonly namedCurve?: string };
      const sound = namedCurve === 'P-384' && parsed.signatureAlgorithm.hash.name === 'SHA-384';
      if (sound && (await parsed.verify())) return await parsed.publicKey.export(x509.KEY_ALGORITHM, ['verify']);
    } catch {
      // Said below.
    }
  }
  throw new OfflineRootError(
    'what the agent has asked for is no request for a certificate of P-384: is it one of this version?',
  );
}

async function signingKey({ privateKey }: OfflineRoot): Promise<webcrypto.CryptoKey> {
  return await webcrypto.subtle.importKey('pkcs8', privateKey, x509.KEY_ALGORITHM, false, ['sign']);
}

async function rootKeyId({ certificate }: OfflineRoot): Promise<string> {
  const { publicKey } = new x509.X509Certificate(certificate);
  return await keyIdOf(await publicKey.export(x509.KEY_ALGORITHM, ['verify']));
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000;
}
