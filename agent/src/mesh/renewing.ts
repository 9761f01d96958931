// SPDX-License-Identifier: Apache-2.0
/** Certificates before they expire: this node's, and, where it signs, those of others. */
import { readCertificate } from '../adapters/outbound/identity/certificate-facts.js';
import { createNodeRequest } from '../adapters/outbound/identity/node-request.js';
import { parseHostPort } from '../adapters/outbound/mesh/host-port.js';
import { renewBy } from '../adapters/outbound/mesh/renew-client.js';
import { recordWrites } from '../application/mesh/nodes.js';
import { renewalOf } from '../domain/identity/trust.js';
import { IdentityError, type NodeCredentials } from '../ports/identity.js';
import { ownRecord } from './own-record.js';
import type { Part } from './part.js';
import { updateTls } from './revoking.js';

/** A timer can't wait for weeks, and another root may begin to sign. */
const LOOK_MS = 3_600_000;
const RETRY_MS = 60_000;
const ASK_MS = 10_000;

/** Which look is the last, and whether a certificate is being made. */
const looks = new WeakMap<Part, { count: number; busy: boolean }>();

/** To be called again when another root signs: what waited before waits no more. */
export function renewInTime(part: Part): void {
  const { identity, timers, options } = part;
  const look = looks.get(part) ?? { count: 0, busy: false };
  looks.set(part, look);
  if (look.busy) return;
  const count = ++look.count;
  const again = (): void => {
    if (look.count === count) renewInTime(part);
  };
  const { atMs, why } = renewalOf(readCertificate(part.credentials.certificatePem), identity.roots, Date.now());
  const waitMs = atMs - Date.now();
  if (waitMs > 0) {
    timers.after(Math.min(waitMs, LOOK_MS), again);
    return;
  }
  look.busy = true;
  const done = (): void => {
    look.busy = false;
    // Also after a success: who signs may not have heard of the newest root, and do so by the one before.
    timers.after(RETRY_MS, again);
  };
  void renew(part).then(
    () => {
      part.renewFailure = '';
      options.log.info({ why }, "this node's certificate was renewed");
      done();
    },
    (error: unknown) => {
      part.renewFailure = error instanceof Error ? error.message : String(error);
      options.log.warn({ reason: part.renewFailure }, "this node's certificate could not be renewed yet");
      done();
    },
  );
}

/** A new key and certificate for this node, at once. Fails as IdentityError, and then the old one stays in force. */
export async function renew(part: Part): Promise<void> {
  const credentials = await nextCredentials(part);
  part.files.saveCredentials(credentials);
  part.credentials = credentials;
  updateTls(part);
  const writes = recordWrites(ownRecord(part), false);
  part.replication.write(part.options.nodeName, 'its certificate was renewed', writes);
}

async function nextCredentials(part: Part): Promise<NodeCredentials> {
  const { identity, nodes, gossip, tls, revocations } = part;
  const renewing = { meshId: identity.mesh.id, nodeId: identity.nodeId, roots: identity.roots };
  if (identity.authority !== undefined) {
    const { privateKeyPem, request } = await createNodeRequest();
    const { pem } = await identity.authority.issueNode(request, identity.nodeId, revocations, Date.now());
    return { privateKeyPem, certificatePem: pem };
  }
  const alive = new Set(gossip?.members().flatMap(({ nodeId, state }) => (state === 'alive' ? [nodeId] : [])));
  let last = new IdentityError('io', 'no node that signs is alive: start one that holds the key of the CA');
  for (const { nodeId, role, meshAddress } of nodes.members.values()) {
    const target = parseHostPort(meshAddress);
    if (role !== 'authority' || !alive.has(nodeId) || target === undefined) continue;
    try {
      return await renewBy({ target, signer: nodeId, mesh: tls, timeoutMs: ASK_MS }, renewing, Date.now());
    } catch (error) {
      if (!(error instanceof IdentityError)) throw error;
      last = error;
    }
  }
  throw last;
}

/** For another node, which is known by the certificate that it has. */
export async function renewFor(part: Part, nodeId: string, request: Uint8Array): Promise<string> {
  const { identity, nodes, revocations } = part;
  if (identity.authority === undefined) {
    throw new IdentityError('refused', "this node does not hold the key of the mesh's CA");
  }
  if (!nodes.members.has(nodeId)) throw new IdentityError('refused', `node ${nodeId} is not in the mesh (any more)`);
  const { pem } = await identity.authority.issueNode(request, nodeId, revocations, Date.now());
  part.options.log.info({ node: nodeId }, "a node's certificate was renewed");
  return pem;
}
