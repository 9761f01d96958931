// SPDX-License-Identifier: Apache-2.0
/** Ids and keys from the system's randomness; what they look like, domain/identity says. */
import { createHash, randomBytes } from 'node:crypto';
import { GOSSIP_KEY_BYTES, type GossipKey } from '../../../domain/identity/gossip-keyring.js';
import { MESH_ID_BYTES, meshIdFrom, NODE_ID_BYTES, nodeIdFrom } from '../../../domain/identity/names.js';

export function newMeshId(): string {
  return meshIdFrom(randomBytes(MESH_ID_BYTES));
}

export function newNodeId(): string {
  for (;;) {
    const id = nodeIdFrom(randomBytes(NODE_ID_BYTES));
    if (id !== undefined) return id;
  }
}

/** To be handed to joiners with their certificate, over TLS. */
export function newGossipKey(): GossipKey {
  return gossipKey(randomBytes(GOSSIP_KEY_BYTES));
}

export function gossipKey(key: Uint8Array): GossipKey {
  return { id: createHash('sha256').update(key).digest('hex').slice(0, 16), key };
}
