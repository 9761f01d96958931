// SPDX-License-Identifier: Apache-2.0
/**
 * What the CA puts into a certificate. Nothing of it is taken from the request but the public key: who asks says who
 * it is by a token or by its certificate, never by names that it wrote itself.
 */
import type { CertificateFacts } from './certificate.js';
import { LIFETIME, type Validity, validityAt, validityFrom } from './lifetime.js';
import { isCertificateName, isMeshName, isNodeId, isUserName, nodeUri, serviceUri, userUri } from './names.js';
import { isRevoked, type Revocations } from './revocation.js';
import type { ServiceNames } from './service-names.js';

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
  readonly roles: readonly CertificateRole[];
  /** Of a service; absent: it is called by no name. */
  readonly names?: ServiceNames;
}

export type CertificateRole = 'server' | 'client';

export interface ServiceSubject {
  /** Of the certificate. */
  readonly name: string;
  /** As readServiceNames() gives them. */
  readonly names: ServiceNames;
  readonly roles: readonly CertificateRole[];
  readonly lifetimeMs: number;
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

/** Of a service. It names no node and no user: nobody is let in by it. */
export function serviceProfile(
  mesh: Mesh,
  { name, names, roles, lifetimeMs }: ServiceSubject,
  root: CertificateFacts,
  nowMs: number,
): IssueVerdict {
  const fault = certificateNameFault(name) ?? serviceLifetimeFault(lifetimeMs) ?? rootFault(root, nowMs);
  if (fault !== undefined) return refused(fault);
  if (names.dns.length + names.addresses.length === 0) return refused('it has no name that clients call it by');
  return {
    kind: 'profile',
    profile: {
      organization: mesh.name,
      commonName: name,
      uri: serviceUri({ meshId: mesh.id, name }),
      validity: validityFrom(nowMs, lifetimeMs, root.notAfterMs),
      roles,
      names,
    },
  };
}

/** undefined: nothing is wrong with it. */
export function certificateNameFault(name: string): string | undefined {
  if (isCertificateName(name)) return undefined;
  const shown = JSON.stringify(name.slice(0, 80));
  return `${shown} is not a name of a certificate: write 1 to 63 of a-z, 0-9 and "-", beginning and ending with a letter or digit`;
}

/** undefined: nothing is wrong with it. */
export function serviceLifetimeFault(lifetimeMs: number): string | undefined {
  const { serviceMinMs, serviceMaxMs } = LIFETIME;
  if (Number.isInteger(lifetimeMs) && lifetimeMs >= serviceMinMs && lifetimeMs <= serviceMaxMs) return undefined;
  return `a service's certificate lasts from 1 to 365 days, not ${lifetimeMs} ms`;
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
