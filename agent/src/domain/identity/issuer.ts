// SPDX-License-Identifier: Apache-2.0
/**
 * Who of a mesh's CA signs what. Of all that a node calls a root there are three kinds, and a certificate says which it is:
 *
 *   root           signs itself and certificates of nodes, operators and services (path length 0); nodes hold its key
 *   offline root   signs itself and intermediates (path length 1), and nothing else; no node holds its key
 *   intermediate   is signed by an offline root, and signs what a root signs (path length 0); nodes hold its key
 *
 * An intermediate takes over from another, or from a root, as roots do from each other (trust.ts, root-chain.ts). What it can't do
 * is to introduce a root, nor to retire its own: whoever has stolen its key has what it signs, until that is retired.
 */
import type { CertificateFacts } from './certificate.js';
import { validityAt } from './lifetime.js';
import { parseMeshUri } from './names.js';
import type { TrustedRoot } from './trust.js';

type Kind = Pick<CertificateFacts, 'keyId' | 'issuerKeyId'>;

export function isIntermediate({ keyId, issuerKeyId }: Kind): boolean {
  return issuerKeyId !== '' && issuerKeyId !== keyId;
}

export function isOffline(certificate: Kind & Pick<CertificateFacts, 'signsAuthorities'>): boolean {
  return certificate.signsAuthorities && !isIntermediate(certificate);
}

/** The offline root that an intermediate names as its own; undefined: it is not known. */
export function parentOf(roots: readonly TrustedRoot[], { issuerKeyId }: Kind): TrustedRoot | undefined {
  return roots.find(({ certificate }) => isOffline(certificate) && certificate.keyId === issuerKeyId);
}

/** At the end of its chain: of an intermediate its offline root, of a root itself. undefined: that is not known. */
export function anchorOf(roots: readonly TrustedRoot[], root: TrustedRoot): TrustedRoot | undefined {
  return isIntermediate(root.certificate) ? parentOf(roots, root.certificate) : root;
}

/**
 * Why a certificate is not an intermediate of that offline root, as a node takes one; undefined: it is. Whether the root's key
 * has signed it is for the caller to ask.
 */
export function intermediateFault(
  certificate: CertificateFacts,
  meshId: string,
  parent: CertificateFacts,
  nowMs: number,
): string | undefined {
  const { keyId, issuerKeyId, uris, isAuthority, signsAuthorities, notAfterMs } = certificate;
  if (!isIntermediate(certificate) || issuerKeyId !== parent.keyId || keyId === '' || !isOffline(parent)) {
    return 'it is not one of that root';
  }
  if (!isAuthority) return "it is not a CA's certificate";
  if (signsAuthorities) return 'its path length is not 0: it could sign other CAs';
  if (uris.length !== 1 || parseMeshUri(uris[0] ?? '') !== meshId) return `it is not of mesh ${meshId}`;
  if (notAfterMs > parent.notAfterMs) return 'it lasts longer than its root';
  return validityAt(certificate, nowMs) === 'expired' ? 'it has expired' : undefined;
}
