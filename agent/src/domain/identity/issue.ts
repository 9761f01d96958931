// SPDX-License-Identifier: Apache-2.0
/**
 * What the CA puts into a certificate. Nothing of it is taken from the request but the public key: who asks says who
 * it is by a token or by its certificate, never by names that it wrote itself.
 */
import type { CertificateFacts } from './certificate.js';
import { LIFETIME, type Validity, validityAt, validityFrom } from './lifetime.js';
import { isMeshName, isNodeId, isUserName, nodeUri, userUri } from './names.js';
import { isRevoked, type Revocations } from './revocation.js';

export interface Mesh {
  readonly id: string;
  /** For people; two meshes may have the same. */
  readonly name: string;
}

export interface CertificateProfile {
  readonly organization: string;
  readonly commonName: string;
  readonly uri: string;
  readonly validity: Validity;
  /** What it is for: nodes are both, operators are clients only. */
  readonly roles: readonly ('server' | 'client')[];
}

export type IssueVerdict =
  | { readonly kind: 'profile'; readonly profile: CertificateProfile }
  | { readonly kind: 'refused'; readonly reason: string };

/** root: the one that signs. */
export function nodeProfile(
  mesh: Mesh,
  nodeId: string,
  root: CertificateFacts,
  revocations: Revocations,
  nowMs: number,
): IssueVerdict {
  if (!isNodeId(nodeId)) return refused(`a node id is 16 hex digits and not zero: the CA's side must choose another`);
  const fault = rootFault(root, nowMs);
  if (fault !== undefined) return refused(fault);
  if (isRevoked(revocations, { serial: '', nodeId })) {
    return refused(`node ${nodeId} was removed from mesh "${mesh.name}": it may join again, and gets another id`);
  }
  return {
    kind: 'profile',
    profile: {
      organization: mesh.name,
      commonName: nodeId,
      uri: nodeUri({ meshId: mesh.id, nodeId }),
      validity: validityFrom(nowMs, LIFETIME.nodeMs, root.notAfterMs),
      roles: ['server', 'client'],
    },
  };
}

/** Of an operator: with it nobody serves, and it names no node. */
export function clientProfile(
  mesh: Mesh,
  { user, lifetimeMs }: { readonly user: string; readonly lifetimeMs: number },
  root: CertificateFacts,
  nowMs: number,
): IssueVerdict {
  const fault = userNameFault(user) ?? clientLifetimeFault(lifetimeMs) ?? rootFault(root, nowMs);
  if (fault !== undefined) return refused(fault);
  return {
    kind: 'profile',
    profile: {
      organization: mesh.name,
      commonName: user,
      uri: userUri({ meshId: mesh.id, user }),
      validity: validityFrom(nowMs, lifetimeMs, root.notAfterMs),
      roles: ['client'],
    },
  };
}

/** undefined: nothing is wrong with it. */
export function userNameFault(user: string): string | undefined {
  if (isUserName(user)) return undefined;
  const shown = JSON.stringify(user.slice(0, 80));
  return `${shown} can't be named in a certificate: write 1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit`;
}

/** undefined: nothing is wrong with it. */
export function clientLifetimeFault(lifetimeMs: number): string | undefined {
  const { clientMinMs, clientMaxMs } = LIFETIME;
  if (Number.isInteger(lifetimeMs) && lifetimeMs >= clientMinMs && lifetimeMs <= clientMaxMs) return undefined;
  return `a client certificate lasts from an hour to 365 days, not ${lifetimeMs} ms`;
}

function rootFault(root: CertificateFacts, nowMs: number): string | undefined {
  const state = validityAt(root, nowMs);
  if (state === 'valid') return undefined;
  const what = state === 'expired' ? 'has expired' : 'is not valid yet';
  return `the root certificate ${what}: check this node's clock, or rotate the CA's key`;
}

/** undefined: nothing is wrong with it. */
export function meshNameFault(name: string): string | undefined {
  if (isMeshName(name)) return undefined;
  const shown = JSON.stringify(name.slice(0, 80));
  return `${shown} is not a mesh name: write 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit`;
}

function refused(reason: string): IssueVerdict {
  return { kind: 'refused', reason };
}
