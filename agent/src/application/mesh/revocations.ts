// SPDX-License-Identifier: Apache-2.0
/** Revocation lists as they are replicated: of each node that signs its newest of each root, and what all of them say is revoked. */
import { LIFETIME } from '../../domain/identity/lifetime.js';
import { isRevoked, REVOCATION_REASON, type Revocations, revoke } from '../../domain/identity/revocation.js';
import type { NodeRecord } from '../../domain/mesh/node-record.js';
import type { CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { objectsOfKind, valuesOf } from '../../domain/replication/kind.js';
import { EXISTENCE } from '../../domain/replication/object.js';

/** The kind of the replicated object; its id is listId(), in earlier versions that of the node that signs. */
export const LIST_KIND = 'RevocationList';
const PEM_GROUP = '1';
const FINGERPRINT_DIGITS = 16;

/** Each node that signs has one for each root whose key it holds. */
export function listId(nodeId: string, fingerprint: string): string {
  return `${nodeId}.${fingerprint.slice(0, FINGERPRINT_DIGITS)}`;
}

export function listWrites(id: string, pem: string): CellWrite[] {
  const key = { kind: LIST_KIND, id };
  return [
    { ...key, group: EXISTENCE, value: new Uint8Array(0) },
    { ...key, group: PEM_GROUP, value: new TextEncoder().encode(pem) },
  ];
}

/** Nobody takes a list of a root that was retired. */
export function listRemoval(id: string): CellWrite {
  return { kind: LIST_KIND, id, group: EXISTENCE, value: undefined };
}

/** PEM, by id. */
export function readLists(cells: ReplicaStore): ReadonlyMap<string, string> {
  const lists = new Map<string, string>();
  for (const { id, groups } of objectsOfKind(cells, LIST_KIND)) {
    const value = valuesOf(groups)?.get(PEM_GROUP);
    if (value !== undefined) lists.set(id, new TextDecoder().decode(value));
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
