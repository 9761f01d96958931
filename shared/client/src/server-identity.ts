// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the other end of a TLS connection is the agent that was meant. TLS has verified that one of the given CAs signed
 * its certificate for a server. Then one of two names counts:
 *
 * - A node's certificate has no host name. It names mesh and node (spiffe://MESH/node/NODE), and a root of that very mesh
 *   must have signed it, or an intermediate of that mesh that this root has signed: no other CA's word is taken for such a name. Any node of the mesh will do, or the one asked for.
 * - Any other certificate, which an operator has given the agent, must name the host, as everywhere.
 *
 * A node that was removed from its mesh is refused where a list that says so was heard before (revocations.ts). Else it is not
 * seen here: its certificate ends at most 30 days after it was made.
 */
import { X509Certificate } from 'node:crypto';
import { checkServerIdentity, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls';

import { isRevokedNode, type KnownRevocations } from './revocations.js';

const NODE_NAME = /^URI:spiffe:\/\/([0-9a-f]{32})\/node\/([0-9a-f]{16})$/;
const MESH_NAME = /^URI:spiffe:\/\/([0-9a-f]{32})$/;
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
const NOT_MEANT = 'MARCHER_ANOTHER_SERVER';

/** What OpenSSL says, in the names that Node.js gives it. */
const UNTRUSTED: Readonly<Record<string, string>> = {
  UNABLE_TO_GET_ISSUER_CERT: 'unknown',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'unknown',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'unknown',
  SELF_SIGNED_CERT_IN_CHAIN: 'unknown',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'unknown',
  CERT_SIGNATURE_FAILURE: 'unknown',
  CERT_UNTRUSTED: 'unknown',
  CERT_HAS_EXPIRED: 'expired',
  CERT_NOT_YET_VALID: 'early',
  INVALID_PURPOSE: 'purpose',
  INVALID_CA: 'purpose',
  ERR_TLS_CERT_ALTNAME_INVALID: 'name',
  ERR_TLS_CERT_ALTNAME_FORMAT: 'name',
};

const SENTENCES: Readonly<Record<string, string>> = {
  unknown:
    'its certificate was not signed by a CA that this program was given: name the root of its mesh by --ca-file ' +
    '(there: marcher mesh certificate roots), or check the address',
  expired: 'its certificate has expired: renew it there (marcher mesh members shows nodes), and compare the clocks',
  early: 'its certificate is not valid yet: compare the clocks',
  purpose: 'its certificate is not one for servers: check the address',
};

export function serverIdentityCheck(
  target: string,
  ca: string | undefined,
  nodeId: string | undefined,
  revocations: readonly KnownRevocations[] = [],
): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (_host, peer) => {
    const leaf = new X509Certificate(peer.raw);
    const [, mesh, node] = NODE_NAME.exec(leaf.subjectAltName ?? '') ?? [];
    const chain = mesh === undefined ? undefined : chainOf(leaf, peer, rootsOf(mesh, ca));
    if (node !== undefined && chain !== undefined) {
      const serials = chain.map(({ serialNumber }) => serialNumber);
      if (isRevokedNode(revocations, serials, node)) {
        return another(`node ${node} was removed from its mesh, or its certificate revoked: ask another node`);
      }
      if (nodeId === undefined || nodeId === node) return undefined;
      return another(`node ${node} answers, not ${nodeId}: check the address and --node-id`);
    }
    if (nodeId !== undefined) return another(`no node of a mesh answers, and --node-id asks for ${nodeId}`);
    return checkServerIdentity(target, peer);
  };
}

/** A sentence without its subject, when the other end is not whom it has to be; undefined: something else is wrong. */
export function untrustedServer(reason: unknown): string | undefined {
  for (let at: unknown = reason, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    const { code = '' } = at as NodeJS.ErrnoException;
    if (code === NOT_MEANT) return at.message;
    const kind = UNTRUSTED[code];
    if (kind === 'name') return `its certificate is for another name (${at.message}): use a name that it has`;
    if (kind !== undefined) return SENTENCES[kind];
  }
  return undefined;
}

function rootsOf(mesh: string, ca: string | undefined): X509Certificate[] {
  return meshRoots(ca).filter((root) => MESH_NAME.exec(root.subjectAltName ?? '')?.[1] === mesh);
}

/** Those in the PEM that are roots of meshes. */
export function meshRoots(ca: string | undefined): X509Certificate[] {
  return (ca?.match(PEM) ?? [])
    .map((pem) => new X509Certificate(pem))
    .filter((root) => root.ca && MESH_NAME.test(root.subjectAltName ?? ''));
}

/** A leaf, and the intermediate that has signed it where none of the roots has. undefined: it is of none of these roots. */
function chainOf(
  leaf: X509Certificate,
  peer: PeerCertificate | DetailedPeerCertificate,
  roots: readonly X509Certificate[],
): X509Certificate[] | undefined {
  if (roots.some((root) => signed(leaf, root))) return [leaf];
  if (!('issuerCertificate' in peer) || peer.issuerCertificate === undefined) return undefined;
  const between = new X509Certificate(peer.issuerCertificate.raw);
  const found = signed(leaf, between) && roots.some((root) => isIntermediateOf(between, root));
  return found ? [leaf, between] : undefined;
}

/** Both are of one mesh, whose root has signed what is between. */
export function isIntermediateOf(between: X509Certificate, root: X509Certificate): boolean {
  return between.ca && between.subjectAltName === root.subjectAltName && signed(between, root);
}

function signed(leaf: X509Certificate, root: X509Certificate): boolean {
  return leaf.checkIssued(root) && leaf.verify(root.publicKey);
}

function another(message: string): Error {
  return Object.assign(new Error(message), { code: NOT_MEANT });
}
