// SPDX-License-Identifier: Apache-2.0
/**
 * CA keys in the identity directory: a file per root, with its certificate and its sealed key. The text of a file may be
 * taken to another node as it is, which opens it with the same passphrase or key file.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Mesh } from '../../../domain/identity/issue.js';
import { type CertificateAuthority, IdentityError, type Protection } from '../../../ports/identity.js';
import { type CreatedAuthority, createAuthority, openAuthority } from './authority.js';
import { readCertificate } from './certificate-facts.js';
import { type Envelope, parseEnvelope, type ScryptCost, seal, unseal } from './envelope.js';
import { damaged, prepareDirectory, readPrivateFile, readRecord, writeRecord } from './record-file.js';

interface SealedAuthority {
  readonly certificate: string;
  /** PEM, of an intermediate: its offline root, whose key is not here. */
  readonly issuers?: string;
  readonly sealedKey: Envelope;
}

const KIND = 'authority';
const FILE_MAX_BYTES = 65_536;
const KEY_FILE_MAX_BYTES = 4_096;
const NAME = /^authority-([0-9a-f]{64})$/;

/** A new root for the mesh. cost: what scrypt takes, lowered in tests only. */
export async function createAuthorityFile(
  directory: string,
  mesh: Mesh,
  protection: Protection,
  nowMs: number,
  cost?: ScryptCost,
): Promise<CertificateAuthority> {
  prepareDirectory(directory);
  const created = await createAuthority(mesh, nowMs);
  const authority = await openAuthority(created);
  await write(directory, created, protection, cost);
  created.privateKey.fill(0);
  return authority;
}

/** An intermediate whose key was made here; that is wiped. Fails as IdentityError "invalid" when it is none, or of another key. */
export async function keepIntermediate(
  directory: string,
  made: CreatedAuthority & { readonly issuers: string },
  protection: Protection,
): Promise<CertificateAuthority> {
  prepareDirectory(directory);
  try {
    const authority = await openAuthority(made);
    await write(directory, made, protection, undefined);
    return authority;
  } finally {
    made.privateKey.fill(0);
  }
}

/** Fails as IdentityError: "missing", "damaged", "permissions", "wrong-passphrase", "wrong-key-file". */
export async function openAuthorityFile(
  directory: string,
  fingerprint: string,
  protection: Protection,
): Promise<CertificateAuthority> {
  const opened = await unsealFile(directory, fingerprint, protection);
  try {
    return await openAuthority(opened);
  } finally {
    opened.privateKey.fill(0);
  }
}

/** Fingerprints of the roots whose keys are there. */
export function listAuthorityFiles(directory: string): readonly string[] {
  try {
    return readdirSync(directory).flatMap((name) => NAME.exec(name)?.[1] ?? []);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new IdentityError('io', `the directory ${directory} can't be read: ${(error as Error).message}`);
  }
}

/** Another passphrase or key file. The old one is needed, and of no use for this file afterwards. */
export async function resealAuthorityFile(
  directory: string,
  fingerprint: string,
  before: Protection,
  after: Protection,
  cost?: ScryptCost,
): Promise<void> {
  const opened = await unsealFile(directory, fingerprint, before);
  await write(directory, opened, after, cost);
  opened.privateKey.fill(0);
}

/** What sealed keys are, for another node that is to sign as well: it keeps them by adoptAuthority(). */
export function exportAuthority(directory: string, fingerprint: string): string {
  const body = readRecord(pathOf(directory, fingerprint), KIND, FILE_MAX_BYTES);
  if (body === undefined) throw missing(fingerprint);
  return body;
}

/** Keeps what exportAuthority() gave elsewhere, once it could be opened. */
export async function adoptAuthority(
  directory: string,
  text: string,
  protection: Protection,
): Promise<CertificateAuthority> {
  const sealed = text.length <= FILE_MAX_BYTES ? parse(text) : undefined;
  if (sealed === undefined) throw new IdentityError('invalid', "it is not a CA's sealed key: export it again");
  prepareDirectory(directory);
  const { fingerprint } = readCertificate(sealed.certificate);
  const privateKey = await unseal(sealed.sealedKey, protection, fingerprint);
  try {
    const { certificate: pem, issuers = '' } = sealed;
    const authority = await openAuthority({ pem, privateKey, issuers });
    writeRecord(pathOf(directory, fingerprint), KIND, text);
    return authority;
  } finally {
    privateKey.fill(0);
  }
}

/** Keeps it sealed, for when there is what opens it; the fingerprint of its root. Fails as IdentityError "invalid". */
export function keepSealedAuthority(directory: string, text: string): string {
  const sealed = text.length <= FILE_MAX_BYTES ? parse(text) : undefined;
  if (sealed === undefined) throw new IdentityError('invalid', "it is not a CA's sealed key: export it again");
  prepareDirectory(directory);
  const { fingerprint } = readCertificate(sealed.certificate);
  writeRecord(pathOf(directory, fingerprint), KIND, text);
  return fingerprint;
}

/** A file with randomness that seals CA keys, such as one on a mounted secret. */
export function readKeyFile(path: string): Protection {
  const key = readPrivateFile(path, KEY_FILE_MAX_BYTES);
  if (key === undefined) throw new IdentityError('missing', `there is no key file ${path}`);
  return { kind: 'key-file', key };
}

async function unsealFile(directory: string, fingerprint: string, protection: Protection): Promise<CreatedAuthority> {
  const path = pathOf(directory, fingerprint);
  const body = readRecord(path, KIND, FILE_MAX_BYTES);
  if (body === undefined) throw missing(fingerprint);
  const sealed = parse(body);
  if (sealed === undefined) throw damaged(path, 'what is in it is not of the expected form');
  if (readCertificate(sealed.certificate).fingerprint !== fingerprint) {
    throw damaged(path, 'its certificate is another than its name says');
  }
  const { certificate: pem, issuers = '' } = sealed;
  return { pem, issuers, privateKey: await unseal(sealed.sealedKey, protection, fingerprint) };
}

async function write(
  directory: string,
  { pem: certificate, privateKey, issuers = '' }: CreatedAuthority,
  protection: Protection,
  cost: ScryptCost | undefined,
): Promise<void> {
  const { fingerprint } = readCertificate(certificate);
  const sealedKey = await seal(privateKey, protection, fingerprint, cost);
  const sealed: SealedAuthority = { certificate, ...(issuers === '' ? {} : { issuers }), sealedKey };
  writeRecord(pathOf(directory, fingerprint), KIND, `${JSON.stringify(sealed, undefined, 2)}\n`);
}

function parse(body: string): SealedAuthority | undefined {
  try {
    const { certificate, issuers, sealedKey } = JSON.parse(body) as Partial<Record<keyof SealedAuthority, unknown>>;
    const envelope = parseEnvelope(sealedKey);
    if (typeof certificate !== 'string' || envelope === undefined) return undefined;
    readCertificate(certificate);
    if (issuers === undefined) return { certificate, sealedKey: envelope };
    if (typeof issuers !== 'string') return undefined;
    readCertificate(issuers);
    return { certificate, issuers, sealedKey: envelope };
  } catch {
    return undefined;
  }
}

function pathOf(directory: string, fingerprint: string): string {
  const name = `authority-${fingerprint}`;
  if (!NAME.test(name)) throw new IdentityError('invalid', 'a root is named by the 64 hex digits of its fingerprint');
  return join(directory, name);
}

function missing(fingerprint: string): IdentityError {
  return new IdentityError('missing', `this node does not hold the key of root ${fingerprint.slice(0, 16)}`);
}
