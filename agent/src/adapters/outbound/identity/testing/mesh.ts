// SPDX-License-Identifier: Apache-2.0
/** Meshes for tests: real keys and certificates, at any time. */
import { NO_REVOCATIONS } from '../../../../domain/identity/revocation.js';
import { firstRoot, type TrustedRoot } from '../../../../domain/identity/trust.js';
import type { CertificateAuthority, NodeCredentials } from '../../../../ports/identity.js';
import { createAuthority, openAuthority } from '../authority.js';
import { readCertificate } from '../certificate-facts.js';
import type { ScryptCost } from '../envelope.js';
import { createNodeRequest } from '../node-request.js';

/** Of no use against anybody, and quick. */
export const LOW_COST: ScryptCost = { N: 16, r: 1, p: 1 };

/** digit: of which the mesh's id is made. */
export async function testAuthority(nowMs: number, digit = '1', name = 'test-mesh'): Promise<CertificateAuthority> {
  return openAuthority(await createAuthority({ id: digit.repeat(32), name }, nowMs));
}

export function rootOf({ certificate, pem }: CertificateAuthority): TrustedRoot {
  return { certificate, pem, signsFromMs: certificate.notBeforeMs, retiredAtMs: undefined };
}

/** With the root of an intermediate. */
export function rootsOf(authority: CertificateAuthority): readonly TrustedRoot[] {
  const { issuers: pem } = authority;
  return [rootOf(authority), ...(pem === '' ? [] : [firstRoot({ certificate: readCertificate(pem), pem })])];
}

export async function testNode(
  authority: CertificateAuthority,
  nodeId: string,
  nowMs: number,
): Promise<NodeCredentials & { readonly serial: string }> {
  const { privateKeyPem, request } = await createNodeRequest();
  const { pem, certificate } = await authority.issueNode(request, nodeId, NO_REVOCATIONS, nowMs);
  return { privateKeyPem, certificatePem: pem, serial: certificate.serial };
}
