// SPDX-License-Identifier: Apache-2.0
/** What is wrong with this node's part in the mesh, for its status. */
import type { NodeCondition } from '../application/node.js';
import { LIMITS } from '../domain/defaults.js';
import { hasLeft, isRemoved } from './own-record.js';
import type { Part } from './part.js';

/** More say nothing more. */
const FINDINGS_MAX = 5;

/** joinFailure: why it is not in the mesh that it is to join; empty: it is, or it is to join none. */
export function meshConditions(part: Part | undefined, joinFailure: string): NodeCondition[] {
  const found: NodeCondition[] = [];
  const add = (type: string, reason: string, message: string): void => {
    found.push({ type, status: false, reason, message });
  };
  if (joinFailure !== '') add('MeshJoined', 'JoinFailed', joinFailure);
  if (part === undefined) return found;
  if (!part.replication.admitted) {
    add('MeshStateTaken', 'NotAdmitted', "this node has not taken over the mesh's state yet, and takes no changes");
  }
  for (const { name, admitted } of part.replication.held) {
    if (admitted) continue;
    const others = part.clusters.nodesOf(name).filter((id) => id !== part.identity.nodeId);
    const names = others.slice(0, FINDINGS_MAX).map((id) => part.nodes.members.get(id)?.name ?? id);
    const from = names.length === 0 ? 'a node of it, and there is none' : names.join(', ');
    const fix = 'where these will not come back: marcher cluster assign NODE CLUSTER --begin';
    add(
      'ClusterStateTaken',
      'NotAdmitted',
      `cluster ${name}: what is in it is not taken over yet from ${from}; ${fix}`,
    );
  }
  const { trouble } = part.replication;
  if (trouble !== undefined) {
    const fix = 'tried again every second; what was in force before serves';
    add('MeshChangesTaken', trouble.reason, `changes that were made on other nodes: ${trouble.message}; ${fix}`);
  }
  if (isRemoved(part) && !hasLeft(part)) {
    const fix = 'to come back, take it out (marcher mesh leave), and join again with another token';
    add('MeshMember', 'Removed', `this node was removed from mesh "${part.identity.mesh.name}": ${fix}`);
  }
  if (part.renewFailure !== '') add('MeshCertificate', 'NotRenewed', part.renewFailure);
  found.push(...(part.ca?.conditions() ?? []));
  const { exclusions } = part.replication;
  if (exclusions.length > 0) {
    const shown = exclusions.slice(0, 3).map(({ kind, name, message }) => `${kind} ${name}: ${message}`);
    const more = exclusions.length > 3 ? `; and ${exclusions.length - 3} more` : '';
    add('ConfigurationMerged', 'LeftOut', `${shown.join('; ')}${more}`);
  }
  const alone = part.loads?.leftOut ?? [];
  if (alone.length > 0) {
    const some = alone.slice(0, FINDINGS_MAX).join(', ');
    const limits = `${LIMITS.meshLoadServices} services and ${LIMITS.meshLoadBackendsPerNode} backends of them`;
    const message = `${alone.length} services with loadOf: mesh, ${some}, go by this node's connections alone: of one node ${limits} count, first by name`;
    add('LoadShared', 'TooMany', message);
  }
  for (const { node, sequence, message } of part.auditHeads?.findings().slice(0, FINDINGS_MAX) ?? []) {
    const fix = 'marcher audit verify there; docs/mesh.md says what it may be';
    add('AuditIntact', 'Contradicted', `the audit log of node ${node}, record ${sequence}: ${message}: ${fix}`);
  }
  found.push(...part.certificates.conditions());
  if (part.identity.authorityFault !== '') add('MeshAuthority', 'NotOpened', part.identity.authorityFault);
  return found;
}
