// SPDX-License-Identifier: Apache-2.0
/**
 * Keys by which secrets of the mesh are sealed, as they are replicated (shared/proto/marcher/mesh/v1/secrets.proto): each is
 * sealed to nodes, one by one. Who was given one is never taken out of it, so a secret is sealed by a key all of whose
 * recipients are members; once one of them is removed, the next secret has another key.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  SecretsKeyRecordSchema,
  SecretsKeyShareSchema,
  SecretsRecipientSchema,
} from '@marcher/proto/marcher/mesh/v1/secrets_pb';
import { isNodeId, type NodeIdentity } from '../identity/names.js';
import type { CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';

export const SECRETS_RECIPIENT_KIND = 'SecretsRecipient';
export const SECRETS_KEY_KIND = 'SecretsKey';

export interface SecretsRecipient {
  /** X25519. */
  readonly publicKey: Uint8Array;
  readonly signature: Uint8Array;
}

export interface SecretsShare {
  readonly publicKey: Uint8Array;
  readonly sealed: Uint8Array;
}

export interface SecretsKey {
  readonly id: string;
  readonly createdMs: number;
  /** By node. */
  readonly shares: ReadonlyMap<string, SecretsShare>;
}

export const SECRETS_KEY_ID_BYTES = 8;
/** One that seals nothing any more is forgotten then: by now a node that was cut off has heard of the newer one. */
const KEPT_MS = 30 * 86_400_000;

const RECORD = '1';
const SHARE = 'for/';
const KEY_ID = /^[0-9a-f]{16}$/;
const PUBLIC_BYTES = 32;
const SIGNATURE_BYTES = 64;
/** Public key, nonce, key and tag. */
export const SHARE_BYTES = 32 + 12 + 32 + 16;

export function isSecretsKeyId(text: string): boolean {
  return KEY_ID.test(text);
}

/** What a node signs to say that this is its key. */
export function recipientBytes({ meshId, nodeId }: NodeIdentity, publicKey: Uint8Array): Uint8Array {
  const head = new TextEncoder().encode(`marcher secrets recipient 1 ${meshId}${nodeId}`);
  const bytes = new Uint8Array(head.length + publicKey.length);
  bytes.set(head);
  bytes.set(publicKey, head.length);
  return bytes;
}

/** values: of the groups of an object that is there. undefined: it is none; who wrote it may have been any node. */
export function unpackRecipient(values: ReadonlyMap<string, Uint8Array>): SecretsRecipient | undefined {
  try {
    const { publicKey, signature } = fromBinary(SecretsRecipientSchema, values.get(RECORD) ?? new Uint8Array(0));
    if (publicKey.length !== PUBLIC_BYTES || signature.length !== SIGNATURE_BYTES) return undefined;
    return { publicKey, signature };
  } catch {
    return undefined;
  }
}

export function recipientWrites(
  nodeId: string,
  { publicKey, signature }: SecretsRecipient,
  isNew: boolean,
): CellWrite[] {
  const key = { kind: SECRETS_RECIPIENT_KIND, id: nodeId };
  const init = { publicKey: Uint8Array.from(publicKey), signature: Uint8Array.from(signature) };
  const value = toBinary(SecretsRecipientSchema, create(SecretsRecipientSchema, init));
  const written = { ...key, group: RECORD, value };
  return isNew ? [{ ...key, group: EXISTENCE, value: new Uint8Array(0) }, written] : [written];
}

/** As unpackRecipient(). */
export function unpackSecretsKey(id: string, values: ReadonlyMap<string, Uint8Array>): SecretsKey | undefined {
  try {
    const record = values.get(RECORD);
    if (!isSecretsKeyId(id) || record === undefined) return undefined;
    const shares = new Map<string, SecretsShare>();
    for (const [group, value] of values) {
      const nodeId = group.startsWith(SHARE) ? group.slice(SHARE.length) : '';
      if (!isNodeId(nodeId)) continue;
      const { publicKey, sealed } = fromBinary(SecretsKeyShareSchema, value);
      // One that can't be read counts as given: it is nobody's to say that the node does not have the key.
      shares.set(nodeId, { publicKey, sealed });
    }
    return { id, createdMs: Number(fromBinary(SecretsKeyRecordSchema, record).createdMs), shares };
  } catch {
    return undefined;
  }
}

export function secretsKeyWrites({ id, createdMs, shares }: SecretsKey): CellWrite[] {
  const key = { kind: SECRETS_KEY_KIND, id };
  const record = create(SecretsKeyRecordSchema, { createdMs: BigInt(createdMs) });
  return [
    { ...key, group: EXISTENCE, value: new Uint8Array(0) },
    { ...key, group: RECORD, value: toBinary(SecretsKeyRecordSchema, record) },
    ...[...shares].map(([nodeId, share]) => shareWrite(id, nodeId, share)),
  ];
}

/** Of a key that is there. */
export function shareWrite(id: string, nodeId: string, { publicKey, sealed }: SecretsShare): CellWrite {
  const init = { publicKey: Uint8Array.from(publicKey), sealed: Uint8Array.from(sealed) };
  const value = toBinary(SecretsKeyShareSchema, create(SecretsKeyShareSchema, init));
  return { kind: SECRETS_KEY_KIND, id, group: `${SHARE}${nodeId}`, value };
}

export function secretsKeyRemoval(id: string): CellWrite {
  return { kind: SECRETS_KEY_KIND, id, group: EXISTENCE, value: undefined };
}

/** Whether nobody but members can read what it seals. */
export function isClosed({ shares }: SecretsKey, members: ReadonlySet<string>): boolean {
  return [...shares.keys()].every((nodeId) => members.has(nodeId));
}

/** The newest that seals for members alone; undefined: another is to be made. */
export function sealingKey(keys: Iterable<SecretsKey>, members: ReadonlySet<string>): SecretsKey | undefined {
  let newest: SecretsKey | undefined;
  for (const key of keys) {
    if (!isClosed(key, members)) continue;
    if (newest === undefined || isNewer(key, newest)) newest = key;
  }
  return newest;
}

/** Nodes that are to be given it, of those with a recipient's key: members that have none, or another than theirs now. */
export function lacking(
  { shares }: SecretsKey,
  members: ReadonlySet<string>,
  recipients: ReadonlyMap<string, SecretsRecipient>,
): string[] {
  return [...recipients].flatMap(([nodeId, { publicKey }]) => {
    if (!members.has(nodeId)) return [];
    const share = shares.get(nodeId);
    return share !== undefined && sameBytes(share.publicKey, publicKey) ? [] : [nodeId];
  });
}

/** Those that seal nothing, and won't. used: ids of keys that something is sealed by. */
export function forgettable(
  keys: Iterable<SecretsKey>,
  used: ReadonlySet<string>,
  members: ReadonlySet<string>,
  nowMs: number,
): string[] {
  const all = [...keys];
  const current = sealingKey(all, members);
  return all
    .filter((key) => key !== current && !used.has(key.id) && nowMs > key.createdMs + KEPT_MS)
    .map(({ id }) => id);
}

function isNewer(one: SecretsKey, other: SecretsKey): boolean {
  return one.createdMs === other.createdMs ? one.id > other.id : one.createdMs > other.createdMs;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}
