// SPDX-License-Identifier: Apache-2.0
/**
 * An intermediate of this node: its key is made here, and an operator brings the certificate, signed by a root whose key no node has
 * (@marcher/ca/offline-root).
 */
import { createPrivateKey } from 'node:crypto';
import { PemConverter } from '@marcher/ca/x509';
import type { CertificateFacts } from '../../../domain/identity/certificate.js';
import type { Mesh } from '../../../domain/identity/issue.js';
import { intermediateFault, isOffline } from '../../../domain/identity/issuer.js';
import { validityAt } from '../../../domain/identity/lifetime.js';
import { IdentityError } from '../../../ports/identity.js';
import type { OfferedIntermediate } from '../../../ports/mesh.js';
import { meshOf } from './certificate-mesh.js';
import { createNodeRequest } from './node-request.js';
import { hasSigned, readRoot } from './root-statements.js';

export interface IntermediateRequest {
  readonly mesh: Mesh;
  /** PKCS #8, DER. */
  readonly privateKey: Uint8Array;
  /** PKCS #10, DER, to be sent. */
  readonly request: Uint8Array<ArrayBuffer>;
}

interface Read {
  readonly certificate: CertificateFacts;
  readonly pem: string;
}

export async function createIntermediateRequest(mesh: Mesh): Promise<IntermediateRequest> {
  const { privateKeyPem, request } = await createNodeRequest();
  const privateKey = new Uint8Array(createPrivateKey(privateKeyPem).export({ format: 'der', type: 'pkcs8' }));
  const [der = new ArrayBuffer(0)] = PemConverter.decode(request);
  return { mesh, privateKey, request: new Uint8Array(der) };
}

/** Both, as a node of that mesh takes them. Fails as IdentityError "invalid". Whose key the intermediate's is, is not asked. */
export function readOffered(
  mesh: Mesh,
  offered: OfferedIntermediate,
  nowMs: number,
): { readonly root: Read; readonly intermediate: Read } {
  const root = readRoot(mesh.id, offered.root);
  if (root === undefined || !isOffline(root.certificate)) {
    throw invalid(`the root is not one of mesh ${mesh.id} that signs intermediates (P-384, path length 1)`);
  }
  if (meshOf(root.pem).name !== mesh.name) throw invalid(`the root is not of a mesh named "${mesh.name}"`);
  if (validityAt(root.certificate, nowMs) !== 'valid') throw invalid('the root is not valid now: compare the clocks');
  const intermediate = readRoot(mesh.id, offered.certificate);
  if (intermediate === undefined) throw invalid(`it is not a certificate of mesh ${mesh.id} with a key of P-384`);
  const fault = intermediateFault(intermediate.certificate, mesh.id, root.certificate, nowMs);
  if (fault !== undefined) throw invalid(fault);
  if (validityAt(intermediate.certificate, nowMs) !== 'valid') throw invalid('it is not valid yet: compare the clocks');
  if (!hasSigned(root, intermediate.pem)) throw invalid('the root has not signed it');
  return { root, intermediate };
}

function invalid(reason: string): IdentityError {
  return new IdentityError('invalid', `the intermediate is refused: ${reason}`);
}
