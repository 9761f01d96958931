// SPDX-License-Identifier: Apache-2.0
/** What this node says of itself to all others, and what they have made of it. */
import { X509Certificate } from 'node:crypto';
import { hostPortText } from '../adapters/outbound/mesh/host-port.js';
import { recordWrites } from '../application/mesh/nodes.js';
import type { NodeRecord } from '../domain/mesh/node-record.js';
import { gossipOf } from './addresses.js';
import type { Part } from './part.js';

const AGAIN_MS = 5_000;

export function ownRecord({ identity, credentials, signer, nodes, options }: Part): NodeRecord {
  const { nodeId, keys } = identity;
  const { address } = options.settings;
  const [leaf = ''] = credentials.certificatePem.split(/(?<=-----END CERTIFICATE-----\n)/);
  const current = new Uint8Array(new X509Certificate(leaf).raw);
  const before = nodes.known.get(nodeId)?.certificates ?? [];
  return {
    nodeId,
    name: options.nodeName,
    meshAddress: hostPortText(address),
    gossipAddress: hostPortText(gossipOf(address)),
    certificates: [current, ...before.filter((other) => Buffer.compare(other, current) !== 0)].slice(0, 3),
    frameKey: signer.publicKey,
    frameKeySignature: signer.claim(credentials.privateKeyPem),
    role: keys.size === 0 ? 'member' : 'authority',
    removedMs: 0n,
  };
}

/** What the others know of this node is what it is now; tried until it is. */
export function sayOwn(part: Part): void {
  if (part.timers.stopped) return;
  const { nodeId } = part.identity;
  const known = part.nodes.members.get(nodeId);
  const own = ownRecord(part);
  const same =
    known !== undefined &&
    known.name === own.name &&
    known.meshAddress === own.meshAddress &&
    known.gossipAddress === own.gossipAddress &&
    known.role === own.role &&
    sameBytes(known.certificates[0], own.certificates[0]);
  if (known === undefined || same) {
    if (!same) part.timers.after(AGAIN_MS, () => sayOwn(part));
    return;
  }
  try {
    part.replication.write(own.name, `node ${own.name} says what has changed of it`, recordWrites(own, false));
  } catch (error) {
    part.options.log.debug({ reason: String(error) }, "this node's record is written later");
    part.timers.after(AGAIN_MS, () => sayOwn(part));
  }
}

/** Of this node's own record: no change of it is taken any more. */
export function isRemoved({ identity, nodes }: Part): boolean {
  return (nodes.known.get(identity.nodeId)?.removedMs ?? 0n) !== 0n;
}

/** It has said so itself: what is left to do is to go. */
export function hasLeft({ identity, nodes }: Part): boolean {
  const own = nodes.known.get(identity.nodeId);
  return own !== undefined && own.removedMs !== 0n && own.left === true;
}

function sameBytes(one: Uint8Array | undefined, other: Uint8Array | undefined): boolean {
  return one !== undefined && other !== undefined && Buffer.compare(one, other) === 0;
}
