// SPDX-License-Identifier: Apache-2.0
/**
 * Enrolling an authenticator: a secret is shown, and counts once a code of it was. Until then it is in this node's memory
 * only. It is sealed by the user's password: what is on disk, or in a backup, gives no codes.
 */
import { normalizePassword } from '../../domain/access/password.js';
import { formatRecoveryCode, parseRecoveryCode, RECOVERY, recoveryClaim } from '../../domain/access/recovery-code.js';
import {
  codeUsedWrite,
  recoveryWrites,
  type SecondFactor,
  secondFactorWrite,
  type UserRecord,
} from '../../domain/access/user-record.js';
import { ACTION } from '../../domain/audit/actions.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import type { AccessSecrets, CodeGenerator, PasswordHasher } from '../../ports/access.js';
import { ApplicationError, type Caller } from '../../ports/use-cases.js';
import { type PasswordCheck, sealContext } from './password-check.js';
import { type MeshOf, meshOrThrow, userOrThrow } from './records.js';
import { denied } from './sessions.js';

const PENDING_MS = 10 * 60_000;
const PENDING_MAX = 100;
const TRIES_MAX = 5;
const SALT_BYTES = 16;

interface Pending {
  readonly secret: Uint8Array;
  readonly factor: SecondFactor;
  /** What it is sealed by is still the user's password if this is still its hash. */
  readonly passwordHash: string | undefined;
  readonly untilMs: number;
  tries: number;
}

export interface SecondFactorsParts {
  readonly meshOf: MeshOf;
  readonly passwords: PasswordCheck;
  readonly hasher: PasswordHasher;
  readonly codes: CodeGenerator;
  readonly secrets: AccessSecrets;
  readonly nowMs: () => number;
}

export class SecondFactors {
  readonly #parts: SecondFactorsParts;
  /** By user, the oldest first. */
  readonly #pending = new Map<string, Pending>();

  constructor(parts: SecondFactorsParts) {
    this.#parts = parts;
  }

  async enrol(
    { name, password }: { name: string; password: string },
    source: string,
  ): Promise<{ secret: string; uri: string }> {
    const { meshOf, passwords, hasher, codes, secrets, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    if (userOrThrow(mesh, name).passwordHash === undefined) {
      throw new ApplicationError('refused', `user ${name} has no password, which a second factor would add to`);
    }
    const checked = await passwords.check(mesh, { name, password, code: undefined }, source);
    if ('reason' in checked) throw denied(checked);
    const secret = codes.newSecret();
    const salt = secrets.random(SALT_BYTES);
    const key = await hasher.sealingKey(normalizePassword(password), salt);
    const sealedSecret = secrets.seal(key, secret, sealContext(name));
    const { passwordHash } = checked.user;
    this.#pending.delete(name);
    this.#pending.set(name, {
      secret,
      factor: { sealedSecret, salt },
      passwordHash,
      untilMs: nowMs() + PENDING_MS,
      tries: 0,
    });
    const oldest = this.#pending.size > PENDING_MAX ? this.#pending.keys().next().value : undefined;
    if (oldest !== undefined) this.#pending.delete(oldest);
    const { base32, uri } = codes.show(secret, name, `Marcher ${mesh.meshName}`);
    return { secret: base32, uri };
  }

  /** Returns recovery codes, which are kept nowhere. */
  confirm({ name, code }: { name: string; code: string }, caller: Caller): readonly string[] {
    const { meshOf, codes, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    const user = userOrThrow(mesh, name);
    const pending = this.#pending.get(name);
    if (pending === undefined || pending.untilMs < nowMs() || pending.passwordHash !== user.passwordHash) {
      this.#pending.delete(name);
      throw new ApplicationError(
        'conflict',
        `nothing is being enrolled for ${name} at this node (any more): begin anew`,
      );
    }
    const step = codes.stepOf(pending.secret, code.trim(), nowMs());
    if (step === undefined) {
      if (++pending.tries >= TRIES_MAX) this.#pending.delete(name);
      const fix = "expected the six digits that the authenticator shows now; are this machine's and its clock right?";
      throw new ApplicationError('refused', `the code is wrong: ${fix}`);
    }
    const fresh = this.#newCodes(user);
    const writes = [secondFactorWrite(name, pending.factor, nowMs()), codeUsedWrite(name, step), ...fresh.writes];
    mesh.write(caller, ACTION.confirmTotp, `user ${name} has a second factor`, writes);
    this.#pending.delete(name);
    return fresh.texts;
  }

  async renewRecoveryCodes(
    { name, password }: { name: string; password: string },
    caller: Caller,
    source: string,
  ): Promise<readonly string[]> {
    const { meshOf, passwords } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    if (userOrThrow(mesh, name).secondFactor === undefined) {
      throw new ApplicationError('refused', `user ${name} has no second factor that recovery codes could stand for`);
    }
    const checked = await passwords.check(mesh, { name, password, code: undefined }, source);
    if ('reason' in checked) throw denied(checked);
    const { texts, writes } = this.#newCodes(checked.user);
    mesh.write(caller, ACTION.createRecoveryCodes, `user ${name} has other recovery codes`, writes);
    return texts;
  }

  #newCodes(user: UserRecord): { readonly texts: readonly string[]; readonly writes: readonly CellWrite[] } {
    const { secrets, nowMs } = this.#parts;
    const texts = Array.from({ length: RECOVERY.count }, () => formatRecoveryCode(secrets.random(RECOVERY.bytes)));
    const hashes = texts.map((text) => secrets.hash(recoveryClaim(user.name, parseRecoveryCode(text) ?? '')));
    return { texts, writes: recoveryWrites(user, hashes, nowMs()) };
  }
}
