// SPDX-License-Identifier: Apache-2.0
/** Revocation lists as they are replicated: of each node that signs its newest, and what all of them say is revoked. */
import { LIFETIME } from '../../domain/identity/lifetime.js';
import { isRevoked, REVOCATION_REASON, type Revocations, revoke } from '../../domain/identity/revocation.js';
import type { NodeRecord } from '../../domain/mesh/node-record.js';
import type { Cell, CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { allObjects, EXISTENCE, visible } from '../../domain/replication/object.js';

/** The kind of the replicated object; its id is that of the node that signs. */
export const LIST_KIND = 'RevocationList';
const PEM_GROUP = '1';

export function listWrites(signer: string, pem: string): CellWrite[] {
  const key = { kind: LIST_KIND, id: signer };
  return [
    { ...key, group: EXISTENCE, value: new Uint8Array(0) },
    { ...key, group: PEM_GROUP, value: new TextEncoder().encode(pem) },
  ];
}

export function readLists(cells: ReplicaStore): string[] {
  const lists: string[] = [];
  for (const groups of allObjects(cells)) {
    if ((groups.values().next().value as Cell).kind !== LIST_KIND) continue;
    for (const { group, value } of visible(groups)) {
      if (group === PEM_GROUP && value !== undefined) lists.push(new TextDecoder().decode(value));
    }
  }
  return lists;
}

/** What has to be revoked, as nodes were removed; undefined: nothing more than there is. */
export function revokedSince(
  revocations: Revocations,
  records: Iterable<NodeRecord>,
  nowMs: number,
): Revocations | undefined {
  let wanted = revocations;
  for (const { nodeId, removedMs } of records) {
    if (removedMs === 0n || Number(removedMs) < nowMs - LIFETIME.nodeMs) continue;
    // Older ones have no certificate left that could be presented.
    if (isRevoked(wanted, { serial: '', nodeId })) continue;
    const verdict = revoke(wanted, { nodeId }, REVOCATION_REASON.cessationOfOperation, nowMs);
    if (verdict.kind === 'revoked') wanted = verdict.revocations;
  }
  return wanted === revocations ? undefined : wanted;
}
