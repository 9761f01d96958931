// SPDX-License-Identifier: Apache-2.0
/** How a node gets its next certificate from one that signs: it is known by the one that it has, and makes a new key. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { ConnectError, createClient } from '@connectrpc/connect';
import { PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { judgePeer } from '../../../domain/identity/peer.js';
import { NO_REVOCATIONS } from '../../../domain/identity/revocation.js';
import { type TrustedRoot, trustedRoots } from '../../../domain/identity/trust.js';
import { IdentityError, type NodeCredentials } from '../../../ports/identity.js';
import { CERTIFICATE_MAX_BYTES, factsOf, parseCertificate } from '../identity/certificate-facts.js';
import type { MeshTls } from '../identity/mesh-tls.js';
import { createNodeRequest } from '../identity/node-request.js';
import { type MeshTarget, textOf } from './mesh-dial.js';
import { openMeshSession } from './mesh-session.js';

export interface RenewOptions {
  readonly target: MeshTarget;
  /** Id of the node there. */
  readonly signer: string;
  readonly mesh: MeshTls;
  readonly timeoutMs: number;
}

/** Whose certificate it is to be. */
export interface Renewing {
  readonly meshId: string;
  readonly nodeId: string;
  readonly roots: readonly TrustedRoot[];
}

const ANSWER_MAX_BYTES = 4 * CERTIFICATE_MAX_BYTES;

/** Fails as IdentityError: "io" (nobody answers), "refused", "invalid" (what came back is of no use). */
export async function renewBy(options: RenewOptions, renewing: Renewing, nowMs: number): Promise<NodeCredentials> {
  const { privateKeyPem, request } = await createNodeRequest();
  const certificatePem = await ask(options, Buffer.from(request.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64'));
  const credentials = { privateKeyPem, certificatePem };
  const fault = faultOf(credentials, renewing, nowMs);
  if (fault === undefined) return credentials;
  throw new IdentityError('invalid', `the certificate that ${textOf(options.target)} has made is of no use: ${fault}`);
}

/** What is wrong with a certificate that this node is to show from now on; undefined: nothing. */
export function faultOf(
  { certificatePem, privateKeyPem }: NodeCredentials,
  { meshId, nodeId, roots }: Renewing,
  nowMs: number,
): string | undefined {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(certificatePem);
  } catch {
    return 'it can not be read';
  }
  const facts = factsOf(certificate);
  const trusted = trustedRoots(roots, nowMs);
  const root = trusted.find(({ certificate: { keyId } }) => keyId === facts.issuerKeyId);
  if (root === undefined || !certificate.verify(parseCertificate(root.pem).publicKey))
    return 'no trusted root signed it';
  if (!certificate.checkPrivateKey(createPrivateKey(privateKeyPem))) return 'it is of another key';
  const rules = {
    meshId,
    nodeId,
    rootKeyIds: [facts.issuerKeyId],
    revocations: NO_REVOCATIONS,
    role: 'server',
  } as const;
  const verdict = judgePeer({ certificate: facts, chainError: undefined }, rules, nowMs);
  return verdict.kind === 'refused' ? verdict.reason : undefined;
}

async function ask({ target, signer, mesh, timeoutMs }: RenewOptions, certificateRequest: Uint8Array): Promise<string> {
  try {
    const session = await openMeshSession(target, { tls: mesh.dialOptions(signer), timeoutMs });
    try {
      const node = createClient(PeerService, session.transport(ANSWER_MAX_BYTES));
      const request = { certificateRequest: Uint8Array.from(certificateRequest) };
      return (await node.renew(request, { timeoutMs })).certificatePem;
    } finally {
      session.http2.destroy();
      session.socket.destroySoon();
    }
  } catch (error) {
    const reason = error instanceof ConnectError ? error.rawMessage : (error as Error).message;
    const code = error instanceof ConnectError ? 'refused' : 'io';
    throw new IdentityError(code, `${textOf(target)} did not renew this node's certificate: ${reason.slice(0, 500)}`);
  }
}
