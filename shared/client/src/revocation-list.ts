// SPDX-License-Identifier: Apache-2.0
/** Reads and verifies revocation lists. Apart from the others: only a new list takes the library, and that its time to load. */
import type { X509Certificate } from 'node:crypto';
import './reflect-metadata.js';
import { AuthorityKeyIdentifierExtension, X509Certificate as Parsed, X509Crl } from '@peculiar/x509';
import { fingerprintOf } from './pinned-root.js';
import { plainSerial, type SignedList } from './revocations.js';
import { isIntermediateOf } from './server-identity.js';

const CRL_NUMBER = '2.5.29.20';
/** 10,000 entries, as an agent reads them. */
const LIST_MAX_CHARACTERS = 1_000_000;
const NODES_MAX = 120_000;
/** A number from the far future would end all others'. */
const AHEAD_MAX_MS = 600_000;
/** DER: an INTEGER of at most 20 octets, that is not negative. */
const NUMBER = /^02(0[1-9a-f]|1[0-4])([0-7][0-9a-f](?:[0-9a-f]{2}){0,19})$/;
const SIGNER_DIGITS = 16;

/** undefined: no such list that one of the roots has signed, or an intermediate that one of them has signed. */
export async function readList(
  pem: string,
  roots: readonly X509Certificate[],
  nowMs: number,
  intermediates: readonly X509Certificate[] = [],
): Promise<SignedList | undefined> {
  if (pem.length > LIST_MAX_CHARACTERS) return undefined;
  try {
    const list = new X509Crl(pem, { berOptions: { maxNodes: NODES_MAX } });
    const signedMs = list.thisUpdate.getTime();
    if (signedMs > nowMs + AHEAD_MAX_MS) return undefined;
    const issuer = list.getExtension(AuthorityKeyIdentifierExtension)?.keyId?.toLowerCase();
    const below = intermediates.flatMap((by) => {
      const root = roots.find((each) => isIntermediateOf(by, each));
      return root === undefined ? [] : [{ by, root }];
    });
    for (const { by, root } of [...roots.map((root) => ({ by: root, root })), ...below]) {
      const parsed = new Parsed(by.raw);
      if (issuer === undefined || issuer !== keyIdOf(parsed)) continue;
      if (!(await list.verify({ publicKey: parsed.publicKey }))) continue;
      const der = Buffer.from(list.getExtension(CRL_NUMBER)?.value ?? new ArrayBuffer(0)).toString('hex');
      const [, length = '', number = ''] = NUMBER.exec(der) ?? [];
      if (number.length === 0 || number.length !== 2 * Number.parseInt(length, 16)) return undefined;
      const serials = list.entries.map(({ serialNumber }) => plainSerial(serialNumber));
      return { root: fingerprintOf(root), signer: number.slice(-SIGNER_DIGITS), number, signedMs, pem, serials };
    }
  } catch {
    // No list, or none of these roots': it says nothing.
  }
  return undefined;
}

function keyIdOf(certificate: Parsed): string | undefined {
  const extension = certificate.getExtension('2.5.29.14') as { readonly keyId?: string } | null;
  return extension?.keyId?.toLowerCase();
}
