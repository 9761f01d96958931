// SPDX-License-Identifier: Apache-2.0
/** What follows here from changes of what is replicated beside the configuration. */
import { AUDIT_HEAD_KIND } from '../application/audit/heads.js';
import { LIST_KIND } from '../application/mesh/revocations.js';
import { API_KEY_KIND } from '../domain/access/api-key-record.js';
import { USER_KIND } from '../domain/access/user-record.js';
import { CLIENT_CERTIFICATE_KIND } from '../domain/mesh/client-certificate.js';
import { CLUSTER_KIND } from '../domain/mesh/cluster.js';
import { NODE_KIND } from '../domain/mesh/node-record.js';
import { REVOKED_CERTIFICATE_KIND } from '../domain/mesh/service-certificate.js';
import { sayWhoCame } from './clusters.js';
import { membersChanged } from './membership.js';
import { isRemoved } from './own-record.js';
import type { Part } from './part.js';
import { keepRelays } from './relaying.js';
import { listsChanged, revokeWanted, updateTls } from './revoking.js';

/** A node that is removed is told of it, if it is there, before it is cut off. */
const FAREWELL_MS = 2_000;

/** Objects of that kind look different now. */
export function changed(part: Part, kind: string, ids: readonly string[]): void {
  if (kind === LIST_KIND) void listsChanged(part);
  if (kind === CLIENT_CERTIFICATE_KIND) {
    part.clients.changed(ids);
    updateTls(part);
    void revokeWanted(part);
  }
  if (kind === NODE_KIND) nodesChanged(part, ids);
  if (kind === USER_KIND || kind === API_KEY_KIND) part.options.onAccess?.();
  part.certificates.changed(kind, ids);
  if (kind === REVOKED_CERTIFICATE_KIND) {
    updateTls(part);
    void revokeWanted(part);
  }
  if (kind === CLUSTER_KIND) {
    sayWhoCame(part, () => part.clusters.changed(ids));
    part.replication.clustersChanged();
  }
  // Heads may come before the record of their node, by which they are verified.
  if (kind === AUDIT_HEAD_KIND || kind === NODE_KIND) part.auditHeads?.changed(ids);
  part.keys?.changed(kind, ids);
  part.ca?.changed(kind);
  part.loads?.changed(kind, ids);
}

function nodesChanged(part: Part, ids: readonly string[]): void {
  const { nodes, replication, timers } = part;
  nodes.changed(ids);
  verifyBy(part);
  keepKnown(part);
  if (isRemoved(part)) replication.exclude();
  // It may be told that it was removed; for anybody's calls it is too late at once.
  keepRelays(part);
  const goes = ids.some((id) => nodes.known.has(id) && !nodes.members.has(id));
  part.keys?.look();
  // Whoever is not in the mesh any more is in no cluster either, from now on.
  replication.clustersChanged();
  const follow = (): void => {
    membersChanged(part);
    void revokeWanted(part);
  };
  if (goes) timers.after(FAREWELL_MS, follow);
  else follow();
}

/** Asked when the replicated state is lost: this node goes on without, if it can't be written. */
export function keepKnown({ files, nodes, options }: Part): void {
  try {
    files.saveKnown(nodes.known.values());
  } catch (error) {
    options.log.warn({ reason: String(error) }, 'the list of nodes could not be written');
  }
}

/** Also by roots that were retired: a frame may be older than that. Who may send one, TLS decides. */
export function verifyBy({ verifier, nodes, identity }: Part): void {
  verifier.update(nodes.known.values(), identity.roots);
}
