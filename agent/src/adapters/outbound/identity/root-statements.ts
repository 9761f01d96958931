// SPDX-License-Identifier: Apache-2.0
/** Signatures under what is said of roots (domain/identity/root-statement.ts), and roots as others send them. */
import { verify, webcrypto } from 'node:crypto';
import * as x509 from '@marcher/ca/x509';
import type { CertificateFacts } from '../../../domain/identity/certificate.js';
import { isIntermediate } from '../../../domain/identity/issuer.js';
import { type ChainRules, learnRoots } from '../../../domain/identity/root-chain.js';
import {
  ROOT_SIGNATURE_BYTES,
  type RootRecord,
  type RootSignature,
  type RootStatement,
  statementBytes,
} from '../../../domain/identity/root-statement.js';
import { firstRoot, type TrustedRoot, trustedRoots } from '../../../domain/identity/trust.js';
import { IdentityError } from '../../../ports/identity.js';
import { CERTIFICATE_MAX_BYTES, parseCertificate, readCertificate } from './certificate-facts.js';
import { meshNamedBy, meshOf } from './certificate-mesh.js';
import type { PinnedRoot } from './pinned-root.js';
import type { SigningRoot } from './revocation-list.js';

export async function signStatement(
  { certificate, signingKey }: SigningRoot,
  meshId: string,
  statement: RootStatement,
): Promise<RootSignature> {
  // What WebCrypto makes is in the form of IEEE P1363.
  const bytes = Uint8Array.from(statementBytes(meshId, statement));
  const signature = await webcrypto.subtle.sign(x509.SIGNATURE_ALGORITHM, signingKey, bytes);
  return { root: certificate.fingerprint, signature: new Uint8Array(signature) };
}

export function verifyStatement(
  { pem }: Pick<TrustedRoot, 'pem'>,
  meshId: string,
  statement: RootStatement,
  signature: Uint8Array,
): boolean {
  if (signature.length !== ROOT_SIGNATURE_BYTES) return false;
  const key = { key: parseCertificate(pem).publicKey, dsaEncoding: 'ieee-p1363' } as const;
  try {
    return verify('sha384', statementBytes(meshId, statement), key, signature);
  } catch {
    return false;
  }
}

/**
 * undefined: it is neither a root of that mesh, of the kind that a mesh has, nor an intermediate: of that, root-chain.ts asks who has
 * signed it.
 */
export function readRoot(
  meshId: string,
  der: Uint8Array,
): { readonly certificate: CertificateFacts; readonly pem: string } | undefined {
  if (der.length === 0 || der.length > CERTIFICATE_MAX_BYTES) return undefined;
  try {
    const parsed = parseCertificate(der);
    const pem = parsed.toString();
    const certificate = readCertificate(pem);
    if (certificate.curve !== x509.CURVE || certificate.keyId === '') return undefined;
    const mesh = isIntermediate(certificate) ? meshNamedBy(parsed) : meshOf(pem);
    return mesh?.id === meshId ? { certificate, pem } : undefined;
  } catch (error) {
    if (error instanceof IdentityError) return undefined;
    throw error;
  }
}

/** Whether it names that root as its issuer, and the root's key has signed it (PEM). */
export function hasSigned(by: Pick<TrustedRoot, 'pem'>, pem: string): boolean {
  const root = parseCertificate(by.pem);
  const certificate = parseCertificate(pem);
  return certificate.checkIssued(root) && certificate.verify(root.publicKey);
}

/** What a node knows that knew those, and has heard this. The same array: nothing more. */
export function learn(
  meshId: string,
  known: readonly TrustedRoot[],
  records: readonly RootRecord[],
  nowMs: number,
): readonly TrustedRoot[] {
  const rules: ChainRules = {
    read: (der) => readRoot(meshId, der),
    verify: (by, statement, signature) => verifyStatement(by, meshId, statement, signature),
    signed: hasSigned,
    meshId,
    nowMs,
  };
  return learnRoots(known, records, rules);
}

/** From one root that is known by its fingerprint alone, what follows from it. undefined: it is not among these. */
export function pinnedByChain(
  records: readonly RootRecord[],
  fingerprint: string,
  nowMs: number,
): PinnedRoot | undefined {
  for (const { certificate: der } of records) {
    try {
      if (readCertificate(der).fingerprint !== fingerprint) continue;
      const mesh = meshOf(parseCertificate(der).toString());
      const found = readRoot(mesh.id, der);
      if (found === undefined) return undefined;
      const known = learn(mesh.id, [firstRoot(found)], records, nowMs);
      const root = known.find(({ certificate }) => certificate.fingerprint === fingerprint);
      return root && { meshId: mesh.id, meshName: mesh.name, root, roots: trustedRoots(known, nowMs) };
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error;
    }
  }
  return undefined;
}
