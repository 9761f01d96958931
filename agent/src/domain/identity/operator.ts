// SPDX-License-Identifier: Apache-2.0
/**
 * Whose client certificate that is, or why it is not one of an operator. Like peer.ts, for people: OpenSSL has verified the
 * chain and that the other end has the key. A node's certificate is signed by the same root and is good for clients, too;
 * it names a node, and is refused here as an operator's is refused there.
 */
import { USAGE } from './certificate.js';
import { validityAt } from './lifetime.js';
import { parseNodeUri, parseUserUri, trustDomain, type UserIdentity } from './names.js';
import { isPurpose, type PresentedCertificate, TIME_ERRORS } from './peer.js';
import type { Revocations } from './revocation.js';

export interface Operator extends UserIdentity {
  readonly serial: string;
  readonly expiresAtMs: number;
}

export type OperatorRefusal =
  | 'other-mesh'
  | 'wrong-ca'
  | 'not-yet-valid'
  | 'expired'
  | 'revoked'
  | 'a-node' // of this mesh: they speak at the mesh port
  | 'unsuitable';

/** reason: for whoever has presented it, and who has proved to have its key. */
export type OperatorVerdict =
  | { readonly kind: 'operator'; readonly operator: Operator }
  | { readonly kind: 'refused'; readonly refusal: OperatorRefusal; readonly reason: string };

export interface OperatorRules {
  readonly meshId: string;
  /** Key ids of the roots that are trusted now. */
  readonly rootKeyIds: readonly string[];
  readonly revocations: Revocations;
}

const ANOTHER = 'have another issued: marcher mesh certificate issue';

export function judgeOperator(
  { certificate, chainError }: PresentedCertificate,
  { meshId, rootKeyIds, revocations }: OperatorRules,
  nowMs: number,
): OperatorVerdict {
  const [uri = ''] = certificate.uris;
  const domain = trustDomain(uri);
  if (domain !== undefined && domain !== meshId) {
    return refused('other-mesh', `your certificate is of mesh ${domain}, this is mesh ${meshId}: check the address`);
  }
  const timeError = chainError === undefined ? undefined : TIME_ERRORS[chainError];
  const sound = chainError === undefined || timeError !== undefined;
  if (!rootKeyIds.includes(certificate.issuerKeyId) || (!sound && !isPurpose(chainError))) {
    return refused('wrong-ca', `your certificate was not signed by a root that this mesh trusts: ${ANOTHER}`);
  }
  if (!sound) return refused('unsuitable', `your certificate is not one for clients: ${ANOTHER}`);
  if (parseNodeUri(uri) !== undefined) {
    return refused('a-node', `a node's certificate is no operator's: ${ANOTHER}`);
  }
  const identity = certificate.uris.length === 1 ? parseUserUri(uri) : undefined;
  if (identity === undefined || certificate.isAuthority || !certificate.usages.includes(USAGE.clientAuth)) {
    return refused('unsuitable', `your certificate names no user of this mesh: ${ANOTHER}`);
  }
  const state = validityAt(certificate, nowMs);
  const late = state === 'valid' ? timeError : state;
  if (late === 'not-yet-valid') {
    const from = new Date(certificate.notBeforeMs).toISOString();
    return refused('not-yet-valid', `your certificate is valid from ${from}: compare the clocks`);
  }
  if (late === 'expired') {
    const until = new Date(certificate.notAfterMs).toISOString();
    return refused('expired', `your certificate was valid until ${until}: ${ANOTHER}`);
  }
  const { serial, notAfterMs } = certificate;
  if (revocations.has(serial)) return refused('revoked', `your certificate ${serial} was revoked: ${ANOTHER}`);
  return { kind: 'operator', operator: { ...identity, serial, expiresAtMs: notAfterMs } };
}

function refused(refusal: OperatorRefusal, reason: string): OperatorVerdict {
  return { kind: 'refused', refusal, reason };
}
