// SPDX-License-Identifier: Apache-2.0
/** This node's part in the mesh and its audit log: what is told there, and the heads that the mesh keeps of it. */
import { frameHash } from '../adapters/outbound/mesh/frame-keys.js';
import { AUDIT_HEAD_MS, AuditHeads } from '../application/audit/heads.js';
import { nodeNumber } from '../domain/identity/names.js';
import type { Told } from '../ports/audit.js';
import type { MeshOptions, Part } from './part.js';

/** undefined: nothing is audited. */
export function openHeads(
  { audit, nodeName, log: logger }: MeshOptions,
  { identity, cells, nodes, replication, verifier, signer }: Omit<Part, 'auditHeads'>,
): AuditHeads | undefined {
  if (audit === undefined) return undefined;
  return new AuditHeads({
    ...{ nodeId: identity.nodeId, log: audit.log, cells, hash: frameHash, logger, nowMs: Date.now },
    sign: (hash) => signer.sign(hash),
    verify: (node, hash, signature) => verifier.verify(nodeNumber(node), hash, signature),
    keyOf: (node) => nodes.known.get(node)?.frameKey,
    members: () => nodes.members.keys(),
    write: (writes) => replication.write(nodeName, 'how far its audit log has come', writes),
  });
}

/** Takes what others have signed while this node was away, and then says now and then how far its own log has come. */
export function keepHeads(part: Part): void {
  part.auditHeads?.changed(part.nodes.members.keys());
  publishHead(part);
}

function publishHead(part: Part): void {
  if (part.timers.stopped || part.auditHeads === undefined) return;
  part.auditHeads.publish();
  part.timers.after(AUDIT_HEAD_MS, () => publishHead(part));
}

/** In the transaction that is open, if one is. Throws StoreError: what it tells of may not be done then. */
export function tell({ options }: Part, outcome: 'done' | 'failed', told: Told): void {
  options.audit?.trail.record(outcome, told);
}
