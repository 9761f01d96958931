// SPDX-License-Identifier: Apache-2.0
/** What is replicated of the keys of gossip: which is the target, and who says to have which. Never a key. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type GossipKeyTarget,
  GossipKeyTargetSchema,
  type HeldGossipKeys,
  HeldGossipKeysSchema,
} from '@marcher/proto/marcher/mesh/v1/gossip_keys_pb';
import { GOSSIP_KEYS_MAX } from '../../domain/identity/gossip-keyring.js';
import { isNodeId, nodeNumber } from '../../domain/identity/names.js';
import { type HeldKeys, type KeyTarget, WITHHELD_MAX } from '../../domain/mesh/key-rotation.js';
import type { Cell, CellWrite, ReplicaStore } from '../../domain/replication/contract.js';
import { EXISTENCE, visible } from '../../domain/replication/object.js';
import { parseOrigin } from '../../domain/replication/origin.js';

export const TARGET_KIND = 'GossipKey';
/** Its id is that of the node which says what it has. */
export const HELD_KIND = 'GossipKeys';
const TARGET_ID = 'target';
const GROUP = '1';
const KEY_ID = /^[0-9a-f]{16}$/;
/** A node that is in use says no more than that; what was written may be anybody's. */
const HELD_MAX = 2 * GOSSIP_KEYS_MAX;

export function targetWrites(target: KeyTarget): CellWrite[] {
  return writesOf(TARGET_KIND, TARGET_ID, toBinary(GossipKeyTargetSchema, targetMessage(target)));
}

export function heldWrites(nodeId: string, { keyIds, primary }: HeldKeys): CellWrite[] {
  const held = create(HeldGossipKeysSchema, { keyIds: [...keyIds], primary });
  return writesOf(HELD_KIND, nodeId, toBinary(HeldGossipKeysSchema, held));
}

/** A node that has gone has none. */
export function heldRemoval(nodeId: string): CellWrite {
  return { kind: HELD_KIND, id: nodeId, group: EXISTENCE, value: undefined };
}

/** undefined: the mesh has its first key, or what was written is none. */
export function readTarget(cells: Pick<ReplicaStore, 'object'>): KeyTarget | undefined {
  const bytes = cellOf(cells, TARGET_KIND, TARGET_ID)?.value;
  if (bytes === undefined) return undefined;
  try {
    return targetOf(fromBinary(GossipKeyTargetSchema, bytes));
  } catch {
    return undefined;
  }
}

/** What others say in its place counts for nothing. undefined: it has not said, or nothing that a node says. */
export function readHeld(cells: Pick<ReplicaStore, 'object'>, nodeId: string): HeldKeys | undefined {
  const cell = cellOf(cells, HELD_KIND, nodeId);
  const own = cell !== undefined && parseOrigin(cell.origin).node === nodeNumber(nodeId);
  const bytes = own ? cell.value : undefined;
  if (bytes === undefined) return undefined;
  try {
    return heldOf(fromBinary(HeldGossipKeysSchema, bytes));
  } catch {
    return undefined;
  }
}

export function targetMessage({ keyId, createdMs, createdBy, withheldFrom }: KeyTarget): GossipKeyTarget {
  const createdAt = BigInt(createdMs);
  return create(GossipKeyTargetSchema, { keyId, createdMs: createdAt, createdBy, withheldFrom: [...withheldFrom] });
}

/** Also of what another node sends. undefined: it is none. */
export function targetOf({ keyId, createdMs, createdBy, withheldFrom }: GossipKeyTarget): KeyTarget | undefined {
  if (!KEY_ID.test(keyId) || !isNodeId(createdBy) || createdMs > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  if (withheldFrom.length > WITHHELD_MAX || !withheldFrom.every(isNodeId)) return undefined;
  return { keyId, createdMs: Number(createdMs), createdBy, withheldFrom };
}

function heldOf({ keyIds, primary }: HeldGossipKeys): HeldKeys | undefined {
  if (keyIds.length > HELD_MAX || ![primary, ...keyIds].every((id) => KEY_ID.test(id))) return undefined;
  return { keyIds, primary };
}

function writesOf(kind: string, id: string, value: Uint8Array): CellWrite[] {
  return [
    { kind, id, group: EXISTENCE, value: new Uint8Array(0) },
    { kind, id, group: GROUP, value },
  ];
}

function cellOf(cells: Pick<ReplicaStore, 'object'>, kind: string, id: string): Cell | undefined {
  const groups = visible(new Map(cells.object(kind, id).map((cell) => [cell.group, cell])));
  return [...groups].find(({ group }) => group === GROUP);
}
