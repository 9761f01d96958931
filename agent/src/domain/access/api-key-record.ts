// SPDX-License-Identifier: Apache-2.0
/** An API key as it is replicated (shared/proto/marcher/mesh/v1/access.proto), and as its owner has it. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ApiKeyRoleSchema, ApiKeySecretSchema } from '@marcher/proto/marcher/mesh/v1/access_pb';
import type { CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';
import { isAccessName, isApiKeyId, scopeFault } from './names.js';
import { ROLES, type Role, type Scope } from './principal.js';

export const API_KEY_KIND = 'ApiKey';

const DAY_MS = 86_400_000;

export const API_KEY = {
  idBytes: 8,
  secretBytes: 32,
  countMax: 1_000,
  lifetimeMs: 365 * DAY_MS,
  lifetimeMinMs: 3_600_000,
  lifetimeMaxMs: 3 * 365 * DAY_MS,
  overlapMs: DAY_MS,
  overlapMaxMs: 30 * DAY_MS,
} as const;

const GROUP = { role: '1', secret: '2' } as const;
const TEXT = /^mk_([0-9a-f]{16})_([0-9a-f]{64})$/;
const HASH_BYTES = 32;

export interface ApiKeyRecord {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  readonly createdMs: number;
  readonly createdBy: string;
  readonly expiresMs: number;
  /** SHA-256 of the secret. */
  readonly hash: Uint8Array;
  readonly rotatedMs: number;
  readonly previous: { readonly hash: Uint8Array; readonly untilMs: number } | undefined;
}

export function formatApiKey(id: string, secret: Uint8Array): string {
  return `mk_${id}_${Array.from(secret, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** undefined: it is none. */
export function parseApiKey(text: string): { readonly id: string; readonly secret: Uint8Array } | undefined {
  const [, id, hex] = TEXT.exec(text) ?? [];
  if (id === undefined || hex === undefined) return undefined;
  return { id, secret: Uint8Array.from({ length: 32 }, (_, at) => Number.parseInt(hex.slice(2 * at, 2 * at + 2), 16)) };
}

/** Whether it is meant to be one, so that it is not taken for something else. */
export function looksLikeApiKey(text: string): boolean {
  return text.startsWith('mk_');
}

/** What can be the hash of its secret now. */
export function hashesOf({ hash, previous, expiresMs }: ApiKeyRecord, nowMs: number): readonly Uint8Array[] {
  if (nowMs >= expiresMs) return [];
  return previous !== undefined && nowMs < previous.untilMs ? [hash, previous.hash] : [hash];
}

/** cells: values of the groups of an object that is there. undefined: it is none that this version can read. */
export function unpackApiKey(id: string, cells: ReadonlyMap<string, Uint8Array>): ApiKeyRecord | undefined {
  const [packedRole, packedSecret] = [cells.get(GROUP.role), cells.get(GROUP.secret)];
  if (packedRole === undefined || packedSecret === undefined || !isApiKeyId(id)) return undefined;
  try {
    const about = fromBinary(ApiKeyRoleSchema, packedRole);
    const secret = fromBinary(ApiKeySecretSchema, packedSecret);
    const role = ROLES.find((known) => known === about.role);
    const scope = { clusters: about.scope?.clusters ?? [], services: about.scope?.services ?? [] };
    if (role === undefined || scopeFault(role, scope) !== undefined || !isAccessName(about.name)) return undefined;
    if (secret.hash.length !== HASH_BYTES) return undefined;
    const { previousHash, previousUntilMs } = secret;
    return {
      id,
      name: about.name,
      role,
      scope,
      createdMs: Number(about.createdMs),
      createdBy: about.createdBy,
      expiresMs: Number(about.expiresMs),
      hash: secret.hash,
      rotatedMs: Number(secret.setMs),
      previous:
        previousHash.length === HASH_BYTES ? { hash: previousHash, untilMs: Number(previousUntilMs) } : undefined,
    };
  } catch {
    return undefined;
  }
}

export function apiKeyWrites(record: ApiKeyRecord): CellWrite[] {
  const { id, name, role, scope, createdMs, createdBy, expiresMs } = record;
  const lists = { clusters: [...scope.clusters], services: [...scope.services] };
  const times = { createdMs: BigInt(createdMs), expiresMs: BigInt(expiresMs) };
  const about = create(ApiKeyRoleSchema, { name, role, scope: lists, createdBy, ...times });
  const key = { kind: API_KEY_KIND, id };
  return [
    { ...key, group: EXISTENCE, value: new Uint8Array(0) },
    { ...key, group: GROUP.role, value: toBinary(ApiKeyRoleSchema, about) },
    apiKeySecretWrite(record),
  ];
}

/** Of a key that is there. */
export function apiKeySecretWrite({
  id,
  hash,
  rotatedMs,
  previous,
}: Pick<ApiKeyRecord, 'id' | 'hash' | 'rotatedMs' | 'previous'>): CellWrite {
  const secret = create(ApiKeySecretSchema, {
    hash: Uint8Array.from(hash),
    setMs: BigInt(rotatedMs),
    previousHash: Uint8Array.from(previous?.hash ?? []),
    previousUntilMs: BigInt(previous?.untilMs ?? 0),
  });
  return { kind: API_KEY_KIND, id, group: GROUP.secret, value: toBinary(ApiKeySecretSchema, secret) };
}

export function apiKeyRemovedWrite(id: string): CellWrite {
  return { kind: API_KEY_KIND, id, group: EXISTENCE, value: undefined };
}
