// SPDX-License-Identifier: Apache-2.0
/** Which mesh the certificate of a root or an intermediate is of. */
import type { X509Certificate } from 'node:crypto';
import type { Mesh } from '../../../domain/identity/issue.js';
import { parseMeshUri } from '../../../domain/identity/names.js';
import { IdentityError } from '../../../ports/identity.js';
import { factsOf, parseCertificate } from './certificate-facts.js';

/** A root certificate's mesh. Fails as IdentityError "invalid" when it is not the root of one. */
export function meshOf(pem: string): Mesh {
  const certificate = parseCertificate(pem);
  const mesh = meshNamedBy(certificate);
  if (mesh === undefined || !certificate.verify(certificate.publicKey)) {
    throw new IdentityError('invalid', 'it is not the root certificate of a mesh');
  }
  return mesh;
}

/** What the certificate of a root or an intermediate says; who has signed it is not asked. undefined: it is none of a mesh. */
export function meshNamedBy(certificate: X509Certificate): Mesh | undefined {
  const { uris, isAuthority } = factsOf(certificate);
  const id = parseMeshUri(uris[0] ?? '');
  const name = /^O=(.*)$/m.exec(certificate.subject)?.[1] ?? '';
  return isAuthority && id !== undefined ? { id, name } : undefined;
}
