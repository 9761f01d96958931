// SPDX-License-Identifier: Apache-2.0
/**
 * Whether somebody has a user's password (and code). Every attempt is charged to the account and to its source before
 * anything is looked at, and takes as long whether there is such a user, password or second factor or not.
 */
import { isAccessName } from '../../domain/access/names.js';
import { isPasswordText, normalizePassword } from '../../domain/access/password.js';
import { parseRecoveryCode, recoveryClaim } from '../../domain/access/recovery-code.js';
import { ACCOUNT_RULES, SlowDown, type SlowDownRules, SOURCE_RULES } from '../../domain/access/slow-down.js';
import { codeUsedWrite, recoveryMark, recoveryUsedWrite, type UserRecord } from '../../domain/access/user-record.js';
import { sourceOf } from '../../domain/identity/source.js';
import type { CellWrite } from '../../domain/replication/contract.js';
import type { AccessMesh, AccessSecrets, CodeGenerator, NotAuthenticated, PasswordHasher } from '../../ports/access.js';
import { findUser } from './records.js';

export interface PasswordCheckParts {
  readonly hasher: PasswordHasher;
  readonly codes: CodeGenerator;
  readonly secrets: AccessSecrets;
  readonly nowMs: () => number;
  readonly rules?: { readonly account: SlowDownRules; readonly source: SlowDownRules };
}

export interface Checked {
  readonly user: UserRecord;
  /** Of the second factor, opened. */
  readonly codeSecret: Uint8Array | undefined;
  /** To be written before anything is granted: the code that was given is used up. */
  readonly uses: readonly CellWrite[];
}

const NO_SALT = new Uint8Array(16);
const CODE_MAX_CHARACTERS = 64;
/** A source from which a user came in lately is not kept out by what others try elsewhere. */
const TRUSTED_MS = 30 * 86_400_000;
const TRUSTED_MAX = 10_000;

const WRONG: NotAuthenticated = { reason: 'the name, the password or the code is wrong' };

export class PasswordCheck {
  readonly #parts: PasswordCheckParts;
  readonly #accounts: SlowDown;
  /** Names that no user has: apart, so that many of them do not make the users' forgotten. */
  readonly #strangers: SlowDown;
  readonly #sources: SlowDown;
  /** When a user last came from a source. */
  readonly #trusted = new Map<string, number>();

  constructor(parts: PasswordCheckParts) {
    this.#parts = parts;
    const { account, source } = parts.rules ?? { account: ACCOUNT_RULES, source: SOURCE_RULES };
    this.#accounts = new SlowDown(account);
    this.#strangers = new SlowDown(account);
    this.#sources = new SlowDown(source);
  }

  /** code: undefined: the password alone is asked for, of somebody who is in already. */
  async check(
    mesh: AccessMesh,
    { name, password, code }: { readonly name: string; readonly password: string; readonly code: string | undefined },
    source: string,
  ): Promise<Checked | NotAuthenticated> {
    const { hasher, nowMs } = this.#parts;
    // What can be nobody's name, password or code costs nothing, and is told like all else.
    if (!isAccessName(name) || !isPasswordText(password) || (code?.length ?? 0) > CODE_MAX_CHARACTERS) return WRONG;
    const from = sourceOf(source);
    const before = findUser(mesh, name);
    const account = before === undefined ? this.#strangers : this.#accounts;
    const atMs = nowMs();
    const trusted = atMs - (this.#trusted.get(`${name} ${from}`) ?? Number.NEGATIVE_INFINITY) < TRUSTED_MS;
    const waitMs = Math.max(trusted ? 0 : account.waitMs(name, atMs), this.#sources.waitMs(from, atMs));
    if (waitMs > 0) {
      const reason = `too many attempts: try again in ${Math.ceil(waitMs / 1_000)} s`;
      return { reason, retryAfterMs: waitMs };
    }
    account.charge(name, atMs);
    this.#sources.charge(from, atMs);
    let right: boolean;
    let sealingKey: Uint8Array;
    try {
      const normalized = normalizePassword(password);
      right = await hasher.verify(before?.passwordHash, normalized);
      sealingKey = await hasher.sealingKey(normalized, before?.secondFactor?.salt ?? NO_SALT);
    } catch (error) {
      // There was no room to look at it: that was no attempt.
      account.giveBack(name);
      this.#sources.giveBack(from);
      throw error;
    }
    // What was written meanwhile counts: another password, or the same code used by another call.
    const user = findUser(mesh, name);
    if (!right || user === undefined || user.passwordHash !== before?.passwordHash) return WRONG;
    const checked = this.#withCode(user, sealingKey, code);
    if (checked === undefined) return WRONG;
    account.forget(name);
    this.#sources.giveBack(from);
    this.#trust(`${name} ${from}`);
    return checked;
  }

  #withCode(user: UserRecord, sealingKey: Uint8Array, code: string | undefined): Checked | undefined {
    const { codes, secrets, nowMs } = this.#parts;
    const { secondFactor, name } = user;
    if (secondFactor === undefined) return { user, codeSecret: undefined, uses: [] };
    const codeSecret = secrets.open(sealingKey, secondFactor.sealedSecret, sealContext(name));
    if (code === undefined) return { user, codeSecret, uses: [] };
    const recovery = parseRecoveryCode(code);
    if (recovery !== undefined) {
      const hash = secrets.hash(recoveryClaim(name, recovery));
      const known = user.recoveryHashes.some((other) => secrets.equal(other, hash));
      if (!known || user.usedRecovery.has(recoveryMark(hash))) return undefined;
      return { user, codeSecret, uses: [recoveryUsedWrite(name, hash)] };
    }
    // On two sides of a partition the password and the factor may have been set apart: then it opens by neither.
    const step = codeSecret && codes.stepOf(codeSecret, code, nowMs());
    if (step === undefined || step <= user.usedStep) return undefined;
    return { user, codeSecret, uses: [codeUsedWrite(name, step)] };
  }

  #trust(key: string): void {
    this.#trusted.delete(key);
    this.#trusted.set(key, this.#parts.nowMs());
    const oldest = this.#trusted.size > TRUSTED_MAX ? this.#trusted.keys().next().value : undefined;
    if (oldest !== undefined) this.#trusted.delete(oldest);
  }
}

/** What a sealed secret is bound to. */
export function sealContext(user: string): string {
  return `marcher second factor 1 ${user}`;
}
