// SPDX-License-Identifier: Apache-2.0
/** Revocations as signed lists (RFC 5280, section 5), one per root: what is in them, domain/identity/revocation.ts says. */
import type { webcrypto } from 'node:crypto';
import { decodeInteger, encodeInteger } from '@marcher/ca/der';
import * as x509 from '@marcher/ca/x509';
import { type CertificateFacts, canonicalSerial } from '../../../domain/identity/certificate.js';
import { LIFETIME, wholeSeconds } from '../../../domain/identity/lifetime.js';
import { prune, type Revocation, type Revocations, unite } from '../../../domain/identity/revocation.js';
import type { TrustedRoot } from '../../../domain/identity/trust.js';
import { IdentityError, type RevocationList } from '../../../ports/identity.js';

export interface SigningRoot {
  readonly certificate: CertificateFacts;
  readonly issuer: x509.Name;
  readonly signingKey: webcrypto.CryptoKey;
}

/** RFC 7468, section 8. */
const PEM_LABEL = 'X509 CRL';
const CRL_NUMBER = '2.5.29.20';
const CRL_NUMBER_BYTES = 20;
/** 10,000 entries, five times what one node adds. */
const LIST_MAX_CHARACTERS = 1_000_000;
const NODES_MAX = 120_000;
/** From a node whose clock is ahead: what it revoked counts, but a number from the far future would end all others'. */
const AHEAD_MAX_MS = 600_000;

export async function signRevocations(
  { certificate, issuer, signingKey }: SigningRoot,
  revocations: Revocations,
  number: bigint,
  nowMs: number,
): Promise<RevocationList> {
  const kept = prune(revocations, nowMs);
  const thisUpdateMs = wholeSeconds(nowMs);
  const nextUpdateMs = thisUpdateMs + LIFETIME.crlMs;
  const list = await x509.X509CrlGenerator.create({
    issuer,
    thisUpdate: new Date(thisUpdateMs),
    nextUpdate: new Date(nextUpdateMs),
    signingAlgorithm: x509.SIGNATURE_ALGORITHM,
    signingKey,
    extensions: [
      new x509.AuthorityKeyIdentifierExtension(certificate.keyId),
      new x509.Extension(CRL_NUMBER, false, encodeInteger(number)),
    ],
    entries: [...kept.values()].map(({ serial, revokedAtMs, reason }) => ({
      serialNumber: serial.length % 2 === 0 ? serial : `0${serial}`,
      revocationDate: new Date(revokedAtMs),
      // RFC 5280, 5.3.1: unspecified is said by leaving it out.
      ...(reason === 0 ? {} : { reason }),
    })),
  });
  // The library's own label is "CRL", which OpenSSL and the rest of the world do not know.
  const pem = `${x509.PemConverter.encode(list.rawData, PEM_LABEL)}\n`;
  return { pem, issuerKeyId: certificate.keyId, number, thisUpdateMs, nextUpdateMs, revocations: kept };
}

/** A list that one of the roots signed. What is not such a list fails as IdentityError "invalid". */
export async function readRevocations(
  pem: string,
  roots: readonly TrustedRoot[],
  nowMs: number,
): Promise<RevocationList> {
  if (pem.length > LIST_MAX_CHARACTERS) throw invalid(`it is larger than ${LIST_MAX_CHARACTERS} characters`);
  try {
    const list = new x509.X509Crl(pem, { berOptions: { maxNodes: NODES_MAX } });
    const issuerKeyId = list.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId?.toLowerCase() ?? '';
    const root = roots.find(({ certificate }) => certificate.keyId === issuerKeyId);
    if (root === undefined) throw invalid('no root that this mesh trusts has signed it');
    const publicKey = new x509.X509Certificate(root.pem).publicKey;
    if (!(await list.verify({ publicKey }))) throw invalid('its signature is not that of its root');
    const number = decodeInteger(new Uint8Array(list.getExtension(CRL_NUMBER)?.value ?? []), CRL_NUMBER_BYTES);
    const nextUpdateMs = list.nextUpdate?.getTime();
    if (number === undefined || nextUpdateMs === undefined) throw invalid('it has no number or no next update');
    const thisUpdateMs = list.thisUpdate.getTime();
    if (thisUpdateMs > nowMs + AHEAD_MAX_MS) {
      throw invalid(`it is dated ${list.thisUpdate.toISOString()}, which is ahead: compare the nodes' clocks`);
    }
    return { pem, issuerKeyId, number, thisUpdateMs, nextUpdateMs, revocations: entriesOf(list) };
  } catch (error) {
    if (error instanceof IdentityError) throw error;
    throw invalid('expected a list in PEM, as RFC 5280 has it');
  }
}

/** Key id of the root that a list says has signed it; undefined: it can't be read. */
export function listIssuer(pem: string): string | undefined {
  if (pem.length > LIST_MAX_CHARACTERS) return undefined;
  try {
    const list = new x509.X509Crl(pem, { berOptions: { maxNodes: NODES_MAX } });
    return list.getExtension(x509.AuthorityKeyIdentifierExtension)?.keyId?.toLowerCase();
  } catch {
    return undefined;
  }
}

/** What any of the lists revokes, and which lists can't be used, with the reason. */
export async function uniteLists(
  lists: readonly string[],
  roots: readonly TrustedRoot[],
  nowMs: number,
): Promise<{ readonly revocations: Revocations; readonly refused: readonly string[] }> {
  const sets: Revocations[] = [];
  const refused: string[] = [];
  for (const pem of lists) {
    try {
      sets.push((await readRevocations(pem, roots, nowMs)).revocations);
    } catch (error) {
      refused.push(error instanceof Error ? error.message : String(error));
    }
  }
  return { revocations: unite(sets), refused };
}

function entriesOf(list: x509.X509Crl): Revocations {
  const entries = new Map<string, Revocation>();
  for (const { serialNumber, revocationDate, reason } of list.entries) {
    const serial = canonicalSerial(serialNumber);
    entries.set(serial, { serial, revokedAtMs: revocationDate.getTime(), reason: reason ?? 0 });
  }
  return entries;
}

function invalid(reason: string): IdentityError {
  return new IdentityError('invalid', `the revocation list is refused: ${reason}`);
}
