// SPDX-License-Identifier: Apache-2.0
import type { CertificateAuthority, NodeCredentials } from '../../../../ports/identity.js';
import { createNodeRequest } from '../node-request.js';

const DAY_MS = 86_400_000;

/** An operator's certificate. */
export async function testClient(
  authority: CertificateAuthority,
  user: string,
  nowMs: number,
  lifetimeMs = 90 * DAY_MS,
): Promise<NodeCredentials & { readonly serial: string }> {
  const { privateKeyPem, request } = await createNodeRequest();
  const { pem, certificate } = await authority.issueClient(request, { user, lifetimeMs }, nowMs);
  return { privateKeyPem, certificatePem: pem, serial: certificate.serial };
}
