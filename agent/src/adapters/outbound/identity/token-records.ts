// SPDX-License-Identifier: Apache-2.0
/** Join tokens in a file of the identity directory, or in memory for tests: both by one set of rules. */
import { join } from 'node:path';
import { NODE_ROLES, TOKEN, type TokenRecord, type TokenUse } from '../../../domain/identity/join-token.js';
import { CLUSTER_LIMITS, isClusterName } from '../../../domain/mesh/cluster.js';
import { IdentityError, type TokenStore } from '../../../ports/identity.js';
import { damaged, prepareDirectory, readRecord, writeRecord } from './record-file.js';

const FILE_MAX_BYTES = 1024 * 1024;
const CREATED_BY_MAX = 200;

export function createTokensInMemory(records: readonly TokenRecord[] = []): TokenStore {
  return tokenStore(new Map(records.map((record) => [record.id, record])), () => {});
}

/** One process uses the directory at a time: the lock of the state directory, in which it is, sees to that. */
export function openTokenFile(directory: string): TokenStore {
  prepareDirectory(directory);
  const path = join(directory, 'tokens');
  const body = readRecord(path, 'tokens', FILE_MAX_BYTES);
  return tokenStore(body === undefined ? new Map() : parse(path, body), (records) =>
    writeRecord(path, 'tokens', `${JSON.stringify([...records.values()], undefined, 2)}\n`),
  );
}

/** write() fails: nothing has changed, in memory either. */
function tokenStore(
  initial: ReadonlyMap<string, TokenRecord>,
  write: (records: ReadonlyMap<string, TokenRecord>) => void,
): TokenStore {
  let records = initial;
  const replace = (next: ReadonlyMap<string, TokenRecord>): void => {
    write(next);
    records = next;
  };
  return {
    add(record) {
      if (records.has(record.id)) throw new IdentityError('exists', `there is a join token ${record.id} already`);
      if (records.size >= TOKEN.countMax) {
        throw new IdentityError('limit', `there are ${records.size} join tokens, which is the most: remove some`);
      }
      const createdBy = record.createdBy.slice(0, CREATED_BY_MAX);
      replace(new Map([...records, [record.id, { ...record, createdBy }]]));
    },
    find: (id) => records.get(id),
    list: () => [...records.values()],
    use(id, use) {
      const record = records.get(id);
      if (record === undefined || record.used !== undefined) return false;
      replace(new Map([...records, [id, { ...record, used: use }]]));
      return true;
    },
    remove(ids) {
      const next = new Map([...records].filter(([id]) => !ids.includes(id)));
      const removed = records.size - next.size;
      if (removed > 0) replace(next);
      return removed;
    },
  };
}

function parse(path: string, body: string): ReadonlyMap<string, TokenRecord> {
  try {
    const value: unknown = JSON.parse(body);
    if (Array.isArray(value) && value.length <= TOKEN.countMax && value.every(isRecord)) {
      return new Map(value.map((record) => [record.id, record]));
    }
  } catch {
    // Said below, without quoting what is in it.
  }
  throw damaged(path, 'what is in it is not of the expected form');
}

function isRecord(value: unknown): value is TokenRecord {
  const record = (value ?? {}) as Partial<Record<keyof TokenRecord, unknown>>;
  return (
    isHex(record.id, 2 * TOKEN.idBytes) &&
    isHex(record.secretHash, 64) &&
    (NODE_ROLES as readonly unknown[]).includes(record.role) &&
    isTime(record.createdMs) &&
    isTime(record.expiresMs) &&
    typeof record.createdBy === 'string' &&
    (record.clusters === undefined || isNames(record.clusters)) &&
    (record.used === undefined || isUse(record.used))
  );
}

function isUse(value: unknown): value is TokenUse {
  const { atMs, nodeId } = (value ?? {}) as Partial<Record<keyof TokenUse, unknown>>;
  return isTime(atMs) && isHex(nodeId, 16);
}

function isNames(value: unknown): boolean {
  return Array.isArray(value) && value.length <= CLUSTER_LIMITS.ofNode && value.every(isClusterName);
}

/** What a Date can hold, since messages show it. */
function isTime(value: unknown): boolean {
  return typeof value === 'number' && Math.abs(value) <= 8.64e15;
}

function isHex(value: unknown, digits: number): boolean {
  return typeof value === 'string' && value.length === digits && /^[0-9a-f]+$/.test(value);
}
