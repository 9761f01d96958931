// SPDX-License-Identifier: Apache-2.0
/**
 * What the CA puts into a certificate. Nothing of it is taken from the request but the public key: who asks says who
 * it is by a token or by its certificate, never by names that it wrote itself.
 */
import type { CertificateFacts } from './certificate.js';
import { LIFETIME, type Validity, validityAt, validityFrom } from './lifetime.js';
import { isMeshName, isNodeId, nodeUri } from './names.js';
import { isRevoked, type Revocations } from './revocation.js';

export interface Mesh {
  readonly id: string;
  /** For people; two meshes may have the same. */
  readonly name: string;
}

export interface NodeProfile {
  readonly organization: string;
  readonly commonName: string;
  readonly uri: string;
  readonly validity: Validity;
}

export type IssueVerdict =
  | { readonly kind: 'profile'; readonly profile: NodeProfile }
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
  const state = validityAt(root, nowMs);
  if (state !== 'valid') {
    const what = state === 'expired' ? 'has expired' : 'is not valid yet';
    return refused(`the root certificate ${what}: check this node's clock, or rotate the CA's key`);
  }
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
    },
  };
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
