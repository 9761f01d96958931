// SPDX-License-Identifier: Apache-2.0
/**
 * Who is at the other end of a TLS connection, or why it is not let in. OpenSSL has verified the chain, and its verdict
 * always counts; what it does not know is judged here: the mesh, the node, what was revoked, and roots that were retired
 * since. That is also why connections that are open are judged again when any of these changes.
 */
import { type CertificateFacts, USAGE } from './certificate.js';
import { validityAt } from './lifetime.js';
import { type NodeIdentity, parseNodeUri, trustDomain } from './names.js';
import { isRevoked, type Revocations } from './revocation.js';

export interface Peer extends NodeIdentity {
  readonly serial: string;
  readonly expiresAtMs: number;
}

export type PeerRefusal =
  | 'no-certificate' // it may only join
  | 'other-mesh'
  | 'wrong-ca'
  | 'no-node-id'
  | 'not-yet-valid'
  | 'expired'
  | 'revoked'
  | 'other-node' // another than was called
  | 'unsuitable'; // a CA's certificate, or not one for clients or servers

export type PeerVerdict =
  | { readonly kind: 'peer'; readonly peer: Peer }
  | { readonly kind: 'refused'; readonly refusal: PeerRefusal; readonly reason: string };

export interface PeerRules {
  readonly meshId: string;
  /** Key ids of the roots that are trusted now. */
  readonly rootKeyIds: readonly string[];
  /** Of those that were: when they were retired (Unix time), by key id. */
  readonly retired?: ReadonlyMap<string, number>;
  readonly revocations: Revocations;
  /** undefined: any node of the mesh. */
  readonly nodeId?: string | undefined;
  /** In which role it is at the other end. */
  readonly role: 'client' | 'server';
}

/** What was presented, and OpenSSL's code of what is wrong with its chain; undefined: nothing. */
export interface PresentedCertificate {
  readonly certificate: CertificateFacts;
  readonly chainError: string | undefined;
}

/** Codes of OpenSSL by which a chain is sound but for its time, in the names that Node gives them. */
export const TIME_ERRORS: Readonly<Record<string, 'expired' | 'not-yet-valid'>> = {
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'not-yet-valid',
};

const CHAIN_ERRORS: ReadonlySet<string> = new Set([
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'CERT_CHAIN_TOO_LONG',
]);

export function judgePeer(presented: PresentedCertificate | undefined, rules: PeerRules, nowMs: number): PeerVerdict {
  if (presented === undefined) {
    return refused('no-certificate', 'it presented no certificate: join the mesh with a token first');
  }
  const { certificate, chainError } = presented;
  const [uri] = certificate.uris;
  const domain = uri === undefined ? undefined : trustDomain(uri);
  if (domain !== undefined && domain !== rules.meshId) {
    const reason = `its certificate is of mesh ${domain}, this is mesh ${rules.meshId}: check the address, or join this mesh`;
    return refused('other-mesh', reason);
  }
  const timeError = chainError === undefined ? undefined : TIME_ERRORS[chainError];
  const known = rules.rootKeyIds.includes(certificate.issuerKeyId);
  if (!known || (chainError !== undefined && timeError === undefined && !isPurpose(chainError))) {
    const retiredAtMs = known ? undefined : rules.retired?.get(certificate.issuerKeyId);
    if (retiredAtMs !== undefined) return refused('wrong-ca', retiredReason(retiredAtMs));
    const why = chainError === undefined ? '' : ` (${chainError})`;
    const fix = 'it must join again, or this node has not heard of a new root yet';
    return refused('wrong-ca', `its certificate was not signed by a root that this mesh trusts${why}: ${fix}`);
  }
  if (chainError !== undefined && timeError === undefined) {
    return refused('unsuitable', `its certificate is not one for a ${rules.role} (${chainError})`);
  }
  const identity = certificate.uris.length === 1 && uri !== undefined ? parseNodeUri(uri) : undefined;
  if (identity === undefined) {
    return refused(
      'no-node-id',
      'its certificate names no node: nodes take part with the certificate that they joined by',
    );
  }
  const usage = rules.role === 'client' ? USAGE.clientAuth : USAGE.serverAuth;
  if (certificate.isAuthority || !certificate.usages.includes(usage)) {
    return refused('unsuitable', `its certificate is not one for a ${rules.role}`);
  }
  const state = validityAt(certificate, nowMs);
  if (state !== 'valid' || timeError !== undefined)
    return outOfTime(certificate, state === 'valid' ? timeError : state);
  const { meshId, nodeId } = identity;
  const { serial, notAfterMs } = certificate;
  if (isRevoked(rules.revocations, { serial, nodeId })) {
    return refused(
      'revoked',
      `node ${nodeId} or its certificate ${serial} was revoked: it may join again with a new token`,
    );
  }
  if (rules.nodeId !== undefined && rules.nodeId !== nodeId) {
    const reason = `node ${nodeId} answers where ${rules.nodeId} was expected: has it moved to another address?`;
    return refused('other-node', reason);
  }
  return { kind: 'peer', peer: { meshId, nodeId, serial, expiresAtMs: notAfterMs } };
}

/** A node that has renewed its certificate may still have connections by the one before: it only connects again. */
function retiredReason(retiredAtMs: number): string {
  const what = `its certificate was signed by a root that the mesh retired at ${new Date(retiredAtMs).toISOString()}`;
  return `${what}: unless it connects again with another, it has to join again (marcher mesh leave there, then a new token)`;
}

/** Of a connection that OpenSSL ended before anything could be judged, by its code; undefined: it is none of these. */
export function refusalOfCode(code: string): PeerRefusal | undefined {
  const time = TIME_ERRORS[code];
  if (time !== undefined) return time;
  if (isPurpose(code)) return 'unsuitable';
  return CHAIN_ERRORS.has(code) ? 'wrong-ca' : undefined;
}

function outOfTime(certificate: CertificateFacts, state: 'expired' | 'not-yet-valid' | undefined): PeerVerdict {
  if (state === 'not-yet-valid') {
    const from = new Date(certificate.notBeforeMs).toISOString();
    return refused('not-yet-valid', `its certificate is valid from ${from}: compare the clocks of both nodes`);
  }
  const until = new Date(certificate.notAfterMs).toISOString();
  return refused('expired', `its certificate was valid until ${until}: compare the clocks, or let it join again`);
}

/** Name constraints, key usage and the like: signed by a root of the mesh, for something else. */
export function isPurpose(code: string): boolean {
  return code === 'INVALID_PURPOSE' || code === 'UNSPECIFIED' || code === 'INVALID_CA';
}

function refused(refusal: PeerRefusal, reason: string): PeerVerdict {
  return { kind: 'refused', refusal, reason };
}
