// SPDX-License-Identifier: Apache-2.0
/** Meshes for tests: real keys and certificates, at any time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { NO_REVOCATIONS } from '../../../../domain/identity/revocation.js';
import type { TrustedRoot } from '../../../../domain/identity/trust.js';
import type { CertificateAuthority, NodeCredentials } from '../../../../ports/identity.js';
import { createAuthority, openAuthority } from '../authority.js';
import type { ScryptCost } from '../envelope.js';
import { createNodeRequest } from '../node-request.js';

/** Of no use against anybody, and quick. */
export const LOW_COST: ScryptCost = { N: 16, r: 1, p: 1 };

export const NODE_A = '00000000000000a1';
export const NODE_B = '00000000000000b2';

/** digit: of which the mesh's id is made. */
export async function testAuthority(nowMs: number, digit = '1', name = 'test-mesh'): Promise<CertificateAuthority> {
  return openAuthority(await createAuthority({ id: digit.repeat(32), name }, nowMs));
}

export function rootOf({ certificate, pem }: CertificateAuthority): TrustedRoot {
  return { certificate, pem, signsFromMs: certificate.notBeforeMs, retiredAtMs: undefined };
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

export function testDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'marcher-identity-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
