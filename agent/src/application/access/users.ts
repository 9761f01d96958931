// SPDX-License-Identifier: Apache-2.0
/** Users: who there is, what each may do, and passwords. */
import { isAccessName, NAME_EXPECTED, scopeFault } from '../../domain/access/names.js';
import { normalizePassword, passwordFault } from '../../domain/access/password.js';
import type { Role, Scope } from '../../domain/access/principal.js';
import { endOfAll } from '../../domain/access/session.js';
import {
  createdWrite,
  noSecondFactorWrites,
  passwordWrite,
  recoveryCodesLeft,
  removedWrite,
  roleWrite,
  secondFactorWrite,
  sessionsEndWrites,
  USERS_MAX,
  type UserRecord,
} from '../../domain/access/user-record.js';
import { ACTION } from '../../domain/audit/actions.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import type { AccessMesh, AccessSecrets, PasswordHasher, UserView } from '../../ports/access.js';
import { ApplicationError, type Caller } from '../../ports/use-cases.js';
import { type PasswordCheck, sealContext } from './password-check.js';
import { allUsers, findUser, type MeshOf, meshOrThrow, userOrThrow } from './records.js';
import { denied } from './sessions.js';

const SALT_BYTES = 16;

export interface UsersParts {
  readonly meshOf: MeshOf;
  readonly passwords: PasswordCheck;
  readonly hasher: PasswordHasher;
  readonly secrets: AccessSecrets;
  readonly nowMs: () => number;
}

export class Users {
  readonly #parts: UsersParts;

  constructor(parts: UsersParts) {
    this.#parts = parts;
  }

  list(): readonly UserView[] {
    return allUsers(meshOrThrow(this.#parts.meshOf)).map(viewOf);
  }

  async create(
    { name, role, scope, password }: { name: string; role: Role; scope: Scope; password: string },
    caller: Caller,
  ): Promise<UserView> {
    const { meshOf, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    if (!isAccessName(name)) throw new ApplicationError('invalid', `that is no name of a user: ${NAME_EXPECTED}`);
    checkScope(role, scope);
    checkFree(mesh, name);
    const hash = password === '' ? undefined : await this.#hash(name, password);
    // Another call may have been quicker.
    checkFree(mesh, name);
    if (allUsers(mesh).length >= USERS_MAX) {
      throw new ApplicationError('refused', `there are ${USERS_MAX} users, which is the most: remove some`);
    }
    const createdMs = nowMs();
    const about = { role, scope, createdMs, createdBy: caller.author };
    const writes = [createdWrite(name), roleWrite(name, about)];
    if (hash !== undefined) writes.push(passwordWrite(name, hash, createdMs));
    // Sessions of one who had the name before are not its.
    writes.push(...sessionsEndWrites({ ...nobody(name), ...about }, createdMs));
    mesh.write(caller, ACTION.createUser, `user ${name} created`, writes);
    return viewOf(userOrThrow(mesh, name));
  }

  setRole({ name, role, scope }: { name: string; role: Role; scope: Scope }, caller: Caller): UserView {
    const mesh = meshOrThrow(this.#parts.meshOf);
    checkScope(role, scope);
    const { createdMs, createdBy } = userOrThrow(mesh, name);
    mesh.write(caller, ACTION.setRole, `user ${name} is ${role}`, [
      roleWrite(name, { role, scope, createdMs, createdBy }),
    ]);
    return viewOf(userOrThrow(mesh, name));
  }

  async setPassword(
    request: { name: string; password: string; current: string | undefined; resetSecondFactor: boolean },
    caller: Caller,
    source: string,
  ): Promise<void> {
    const { meshOf, passwords, nowMs } = this.#parts;
    const { name, password, current, resetSecondFactor } = request;
    const mesh = meshOrThrow(meshOf);
    const before = userOrThrow(mesh, name);
    let codeSecret: Uint8Array | undefined;
    if (current !== undefined) {
      const checked = await passwords.check(mesh, { name, password: current, code: undefined }, source);
      if ('reason' in checked) throw denied(checked);
      codeSecret = checked.codeSecret;
    }
    const drops = before.secondFactor !== undefined && (resetSecondFactor || codeSecret === undefined);
    if (drops && !resetSecondFactor) {
      const why = `the second factor of ${name} is sealed by the password before, which was not given`;
      const fix = 'let the user change it, or take the second factor away, too (--reset-totp)';
      throw new ApplicationError('refused', `${why}: ${fix}`);
    }
    const hash = await this.#hash(name, password);
    const resealed = drops || codeSecret === undefined ? [] : [await this.#seal(name, password, codeSecret)];
    const user = userOrThrow(mesh, name);
    if (user.passwordHash !== before.passwordHash || !sameFactor(user, before)) {
      throw new ApplicationError(
        'conflict',
        `the password or the second factor of ${name} was changed meanwhile: try again`,
      );
    }
    const writes: CellWrite[] = [
      passwordWrite(name, hash, nowMs()),
      ...(drops ? noSecondFactorWrites(user) : resealed),
      ...sessionsEndWrites(user, endOfAll(user, nowMs())),
    ];
    mesh.write(caller, ACTION.setPassword, `user ${name} has another password`, writes);
  }

  resetSecondFactor(name: string, caller: Caller): void {
    const mesh = meshOrThrow(this.#parts.meshOf);
    const user = userOrThrow(mesh, name);
    if (user.secondFactor === undefined && user.recoveryHashes.length === 0) {
      throw new ApplicationError('conflict', `user ${name} has no second factor`);
    }
    mesh.write(
      caller,
      ACTION.resetSecondFactor,
      `user ${name} has no second factor any more`,
      noSecondFactorWrites(user),
    );
  }

  remove(name: string, caller: Caller): void {
    const mesh = meshOrThrow(this.#parts.meshOf);
    userOrThrow(mesh, name);
    mesh.write(caller, ACTION.removeUser, `user ${name} removed`, [removedWrite(name)]);
  }

  revokeSessions(name: string, caller: Caller): void {
    const mesh = meshOrThrow(this.#parts.meshOf);
    const user = userOrThrow(mesh, name);
    const writes = sessionsEndWrites(user, endOfAll(user, this.#parts.nowMs()));
    mesh.write(caller, ACTION.revokeSessions, `sessions of user ${name} were ended`, writes);
  }

  async #hash(name: string, password: string): Promise<string> {
    const normalized = normalizePassword(password);
    const fault = passwordFault(normalized, name);
    if (fault !== undefined) throw new ApplicationError('invalid', fault);
    return await this.#parts.hasher.hash(normalized);
  }

  async #seal(name: string, password: string, codeSecret: Uint8Array): Promise<CellWrite> {
    const { hasher, secrets, nowMs } = this.#parts;
    const salt = secrets.random(SALT_BYTES);
    const key = await hasher.sealingKey(normalizePassword(password), salt);
    const sealedSecret = secrets.seal(key, codeSecret, sealContext(name));
    return secondFactorWrite(name, { sealedSecret, salt }, nowMs());
  }
}

function checkScope(role: Role, scope: Scope): void {
  const fault = scopeFault(role, scope);
  if (fault !== undefined) throw new ApplicationError('invalid', fault);
}

function checkFree(mesh: AccessMesh, name: string): void {
  if (findUser(mesh, name) !== undefined) throw new ApplicationError('conflict', `there is a user ${name} already`);
}

function sameFactor({ secondFactor: one }: UserRecord, { secondFactor: other }: UserRecord): boolean {
  if (one === undefined || other === undefined) return one === other;
  return Buffer.compare(one.salt, other.salt) === 0;
}

/** Of whom there is nothing to be forgotten. */
function nobody(name: string): UserRecord {
  return {
    name,
    role: 'viewer',
    scope: { clusters: [], services: [] },
    createdMs: 0,
    createdBy: '',
    passwordHash: undefined,
    secondFactor: undefined,
    sessionsBeforeMs: 0,
    usedStep: 0,
    recoveryHashes: [],
    usedRecovery: new Set(),
    endedSessions: new Map(),
  };
}

function viewOf(user: UserRecord): UserView {
  const { name, role, scope, createdMs, createdBy, passwordHash, secondFactor } = user;
  return {
    name,
    role,
    scope,
    createdMs,
    createdBy,
    hasPassword: passwordHash !== undefined,
    hasSecondFactor: secondFactor !== undefined,
    recoveryCodesLeft: recoveryCodesLeft(user),
  };
}
