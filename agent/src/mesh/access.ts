// SPDX-License-Identifier: Apache-2.0
/** What users and keys have of a mesh: its state, its audit log, and its nodes' keys for sessions. */
import { createSessionTokens } from '../adapters/outbound/access/session-tokens.js';
import { nodeNumber } from '../domain/identity/names.js';
import type { AccessMesh } from '../ports/access.js';
import { tell } from './auditing.js';
import type { Part } from './part.js';

export function accessOf(part: Part): AccessMesh {
  const { identity, cells, nodes, replication, signer, verifier } = part;
  const { mesh, nodeId } = identity;
  return {
    meshId: mesh.id,
    meshName: mesh.name,
    nodeId,
    cells,
    write(by, action, message, writes) {
      const objects = [...new Set(writes.map(({ kind, id }) => `${kind}/${id}`))];
      replication.write(by.author, message, writes, () => tell(part, 'done', { action, by, objects, message }));
    },
    sessions: createSessionTokens({
      meshId: mesh.id,
      nodeId,
      key: signer.key,
      // Not of those that were removed: nobody knows what they go on to sign.
      keyOf: (id) => (nodes.members.has(id) ? verifier.keyOf(nodeNumber(id)) : undefined),
    }),
  };
}
