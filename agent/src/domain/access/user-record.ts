// SPDX-License-Identifier: Apache-2.0
/** A user as it is replicated (shared/proto/marcher/mesh/v1/access.proto): its groups, read together and written apart. */

import type { Message } from '@bufbuild/protobuf';
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import {
  UserCodeUsedSchema,
  UserPasswordSchema,
  UserRecoveryCodesSchema,
  UserRoleSchema,
  UserSecondFactorSchema,
  UserSessionEndedSchema,
  UserSessionsEndSchema,
} from '@marcher/proto/marcher/mesh/v1/access_pb';
import type { CellWrite } from '../replication/contract.js';
import { EXISTENCE } from '../replication/object.js';
import { isAccessName, scopeFault } from './names.js';
import { ROLES, type Role, type Scope } from './principal.js';
import { RECOVERY } from './recovery-code.js';

export const USER_KIND = 'User';
export const USERS_MAX = 1_000;

const GROUP = { role: '1', password: '2', secondFactor: '3', sessionsEnd: '4', codeUsed: '5', recovery: '6' } as const;
const USED = 'used/';
const ENDED = 'ended/';
const HASH_BYTES = 32;

export interface SecondFactor {
  readonly sealedSecret: Uint8Array;
  readonly salt: Uint8Array;
}

export interface UserRecord {
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  readonly createdMs: number;
  readonly createdBy: string;
  /** A PHC string; undefined: none. */
  readonly passwordHash: string | undefined;
  readonly secondFactor: SecondFactor | undefined;
  readonly sessionsBeforeMs: number;
  /** The newest step whose code was used. */
  readonly usedStep: number;
  readonly recoveryHashes: readonly Uint8Array[];
  /** Names (recoveryMark()) of those that were used. */
  readonly usedRecovery: ReadonlySet<string>;
  /** When they would have ended, by id. */
  readonly endedSessions: ReadonlyMap<string, number>;
}

/** cells: values of the groups of an object that is there. undefined: it is none that this version can read. */
export function unpackUser(name: string, cells: ReadonlyMap<string, Uint8Array>): UserRecord | undefined {
  try {
    const about = read(UserRoleSchema, cells.get(GROUP.role));
    const role = ROLES.find((known) => known === about?.role);
    if (about === undefined || role === undefined || !isAccessName(name)) return undefined;
    const scope = { clusters: about.scope?.clusters ?? [], services: about.scope?.services ?? [] };
    if (scopeFault(role, scope) !== undefined) return undefined;
    const secondFactor = read(UserSecondFactorSchema, cells.get(GROUP.secondFactor));
    const recovery = read(UserRecoveryCodesSchema, cells.get(GROUP.recovery))?.hashes ?? [];
    const named = (prefix: string) => [...cells].filter(([group]) => group.startsWith(prefix));
    const ended = named(ENDED).map(([group, value]) => {
      return [group.slice(ENDED.length), Number(fromBinary(UserSessionEndedSchema, value).expiresMs)] as const;
    });
    return {
      name,
      role,
      scope,
      createdMs: Number(about.createdMs),
      createdBy: about.createdBy,
      passwordHash: read(UserPasswordSchema, cells.get(GROUP.password))?.hash || undefined,
      secondFactor: secondFactor && { sealedSecret: secondFactor.sealedSecret, salt: secondFactor.salt },
      sessionsBeforeMs: Number(read(UserSessionsEndSchema, cells.get(GROUP.sessionsEnd))?.beforeMs ?? 0n),
      usedStep: Number(read(UserCodeUsedSchema, cells.get(GROUP.codeUsed))?.step ?? 0n),
      recoveryHashes: recovery.slice(0, RECOVERY.count).filter(({ length }) => length === HASH_BYTES),
      usedRecovery: new Set(named(USED).map(([group]) => group.slice(USED.length))),
      endedSessions: new Map(ended),
    };
  } catch {
    // Whoever wrote it may have been any node: what is no message is no user.
    return undefined;
  }
}

function read<T extends Message>(schema: GenMessage<T>, value: Uint8Array | undefined): T | undefined {
  return value === undefined ? undefined : fromBinary(schema, value);
}

/** First 8 bytes of the code's hash, in hex. */
export function recoveryMark(hash: Uint8Array): string {
  return Array.from(hash.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function recoveryCodesLeft({ recoveryHashes, usedRecovery }: UserRecord): number {
  return recoveryHashes.filter((hash) => !usedRecovery.has(recoveryMark(hash))).length;
}

// What calls write. Each is for one user; several are put together in one transaction.

function cell<T extends Message>(
  user: string,
  group: string,
  schema: GenMessage<T>,
  init: MessageInitShape<GenMessage<T>>,
): CellWrite {
  return { kind: USER_KIND, id: user, group, value: toBinary(schema, create(schema, init)) };
}

function gone(user: string, group: string): CellWrite {
  return { kind: USER_KIND, id: user, group, value: undefined };
}

export function createdWrite(user: string): CellWrite {
  return { kind: USER_KIND, id: user, group: EXISTENCE, value: new Uint8Array(0) };
}

export function removedWrite(user: string): CellWrite {
  return gone(user, EXISTENCE);
}

export function roleWrite(
  user: string,
  about: Pick<UserRecord, 'role' | 'scope' | 'createdMs' | 'createdBy'>,
): CellWrite {
  const { role, scope, createdMs, createdBy } = about;
  const lists = { clusters: [...scope.clusters], services: [...scope.services] };
  return cell(user, GROUP.role, UserRoleSchema, { role, scope: lists, createdMs: BigInt(createdMs), createdBy });
}

export function passwordWrite(user: string, hash: string, nowMs: number): CellWrite {
  return cell(user, GROUP.password, UserPasswordSchema, { hash, setMs: BigInt(nowMs) });
}

export function secondFactorWrite(user: string, { sealedSecret, salt }: SecondFactor, nowMs: number): CellWrite {
  return cell(user, GROUP.secondFactor, UserSecondFactorSchema, { sealedSecret, salt, setMs: BigInt(nowMs) });
}

/** With its recovery codes. */
export function noSecondFactorWrites(user: UserRecord): CellWrite[] {
  return [gone(user.name, GROUP.secondFactor), gone(user.name, GROUP.recovery), ...forgetUsed(user)];
}

export function recoveryWrites(user: UserRecord, hashes: readonly Uint8Array[], nowMs: number): CellWrite[] {
  const written = cell(user.name, GROUP.recovery, UserRecoveryCodesSchema, {
    hashes: hashes.map((hash) => Uint8Array.from(hash)),
    setMs: BigInt(nowMs),
  });
  return [written, ...forgetUsed(user)];
}

function forgetUsed({ name, usedRecovery }: UserRecord): CellWrite[] {
  return [...usedRecovery].map((mark) => gone(name, `${USED}${mark}`));
}

export function recoveryUsedWrite(user: string, hash: Uint8Array): CellWrite {
  return { kind: USER_KIND, id: user, group: `${USED}${recoveryMark(hash)}`, value: new Uint8Array(0) };
}

export function codeUsedWrite(user: string, step: number): CellWrite {
  return cell(user, GROUP.codeUsed, UserCodeUsedSchema, { step: BigInt(step) });
}

export function sessionsEndWrites({ name, endedSessions }: UserRecord, beforeMs: number): CellWrite[] {
  const written = cell(name, GROUP.sessionsEnd, UserSessionsEndSchema, { beforeMs: BigInt(beforeMs) });
  return [written, ...[...endedSessions.keys()].map((id) => gone(name, `${ENDED}${id}`))];
}

/** And those that have ended by themselves are forgotten. */
export function sessionEndedWrites(user: UserRecord, id: string, expiresMs: number, nowMs: number): CellWrite[] {
  const over = [...user.endedSessions].filter(([other, atMs]) => other !== id && atMs < nowMs);
  return [
    cell(user.name, `${ENDED}${id}`, UserSessionEndedSchema, { expiresMs: BigInt(expiresMs) }),
    ...over.map(([other]) => gone(user.name, `${ENDED}${other}`)),
  ];
}
