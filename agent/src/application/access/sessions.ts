// SPDX-License-Identifier: Apache-2.0
/** Logging in and out, and who a bearer token or a client certificate is: always by what the records say now. */
import { hashesOf, looksLikeApiKey, parseApiKey } from '../../domain/access/api-key-record.js';
import { type Principal, type Role, type Scope, userOf, userPrincipalName } from '../../domain/access/principal.js';
import { endOfAll, isLive, SESSION, sessionEndsMs, sessionStart, tokenExpiresMs } from '../../domain/access/session.js';
import { sessionEndedWrites, sessionsEndWrites } from '../../domain/access/user-record.js';
import { ACTION } from '../../domain/audit/actions.js';
import type {
  AccessMesh,
  AccessSecrets,
  Authenticator,
  Credentials,
  NotAuthenticated,
  SessionClaims,
  SessionGrant,
} from '../../ports/access.js';
import { ApplicationError } from '../../ports/use-cases.js';
import type { PasswordCheck } from './password-check.js';
import { findKey, findUser, type MeshOf, meshOrThrow } from './records.js';

const TOKEN_MAX_CHARACTERS = 4_096;
const SESSION_ID_BYTES = 16;
/** Compared with when there is no such key. */
const NO_HASH = new Uint8Array(32);

const NO_MESH: NotAuthenticated = { reason: 'this node is in no mesh, and knows no users or keys' };
const NO_TOKEN: NotAuthenticated = { reason: 'the token is not valid (any more): log in again, or use another key' };

export interface SessionsParts {
  readonly meshOf: MeshOf;
  readonly passwords: PasswordCheck;
  readonly secrets: AccessSecrets;
  readonly nowMs: () => number;
}

export class Sessions implements Authenticator {
  readonly #parts: SessionsParts;

  constructor(parts: SessionsParts) {
    this.#parts = parts;
  }

  async login(credentials: Credentials, source: string): Promise<SessionGrant | NotAuthenticated> {
    const { meshOf, passwords, secrets, nowMs } = this.#parts;
    const mesh = meshOrThrow(meshOf);
    const checked = await passwords.check(mesh, credentials, source);
    if ('reason' in checked) return checked;
    const { user, uses } = checked;
    // Before anything is granted: a code that could not be marked as used would be good twice.
    if (uses.length > 0) {
      const by = { author: userPrincipalName(user.name), via: 'session', source };
      mesh.write(by, ACTION.login, `a code of user ${user.name} was used`, uses);
    }
    const id = Buffer.from(secrets.random(SESSION_ID_BYTES)).toString('hex');
    return this.#grant(mesh, { user: user.name, id, startedMs: sessionStart(user, nowMs()) });
  }

  async renew(principal: Principal): Promise<SessionGrant | NotAuthenticated> {
    const mesh = meshOrThrow(this.#parts.meshOf);
    const name = userOf(principal);
    const { session } = principal;
    const user = name === undefined ? undefined : findUser(mesh, name);
    // Since the call began it may have been revoked.
    if (user === undefined || session === undefined || !isLive(session, user, this.#parts.nowMs())) return NO_TOKEN;
    return this.#grant(mesh, { user: user.name, ...session });
  }

  logout(principal: Principal): void {
    const mesh = meshOrThrow(this.#parts.meshOf);
    const name = userOf(principal);
    const { session } = principal;
    const user = name === undefined ? undefined : findUser(mesh, name);
    if (user === undefined || session === undefined) return;
    const nowMs = this.#parts.nowMs();
    const writes = sessionEndedWrites(user, session.id, sessionEndsMs(session), nowMs);
    const tooMany = user.endedSessions.size >= SESSION.endedMax;
    const written = tooMany ? sessionsEndWrites(user, endOfAll(user, nowMs)) : writes;
    const by = { author: principal.name, via: principal.via };
    mesh.write(by, ACTION.logout, `user ${user.name} logged out`, written);
  }

  async bearer(token: string, _source: string): Promise<Principal | NotAuthenticated> {
    const { meshOf, nowMs } = this.#parts;
    const mesh = meshOf();
    if (mesh === undefined) return NO_MESH;
    if (token.length > TOKEN_MAX_CHARACTERS) return NO_TOKEN;
    if (looksLikeApiKey(token)) return this.#byKey(mesh, token);
    const claims = await mesh.sessions.verify(token, nowMs());
    const user = claims && findUser(mesh, claims.user);
    if (claims === undefined || user === undefined || !isLive(claims, user, nowMs())) return NO_TOKEN;
    const session = { id: claims.id, startedMs: claims.startedMs };
    return { ...principalOf(userPrincipalName(user.name), user), via: 'session', session };
  }

  certificate(name: string): Principal | NotAuthenticated {
    const mesh = this.#parts.meshOf();
    if (mesh === undefined) return NO_MESH;
    const user = findUser(mesh, name);
    if (user !== undefined) return { ...principalOf(userPrincipalName(user.name), user), via: 'certificate' };
    return { reason: `there is no user ${JSON.stringify(name.slice(0, 80))}, whom the client certificate names` };
  }

  #byKey(mesh: AccessMesh, token: string): Principal | NotAuthenticated {
    const { secrets, nowMs } = this.#parts;
    const parsed = parseApiKey(token);
    if (parsed === undefined) return NO_TOKEN;
    const key = findKey(mesh, parsed.id);
    const hash = secrets.hash(parsed.secret);
    const candidates = key === undefined ? [] : hashesOf(key, nowMs());
    // All are compared, and one if there is none.
    const equal = (candidates.length === 0 ? [NO_HASH] : candidates).map((other) => secrets.equal(other, hash));
    if (key === undefined || candidates.length === 0 || !equal.includes(true)) return NO_TOKEN;
    return { ...principalOf(`key:${key.name}`, key), via: 'api-key' };
  }

  async #grant(mesh: AccessMesh, session: Omit<SessionClaims, 'expiresMs'>): Promise<SessionGrant> {
    const nowMs = this.#parts.nowMs();
    const expiresMs = tokenExpiresMs(session, nowMs);
    const token = await mesh.sessions.sign({ ...session, expiresMs }, nowMs);
    return { token, expiresMs, sessionEndsMs: sessionEndsMs(session) };
  }
}

function principalOf(
  name: string,
  { role, scope }: { readonly role: Role; readonly scope: Scope },
): Pick<Principal, 'name' | 'role' | 'scope'> {
  return { name, role, scope: role === 'owner' ? scope : 'all' };
}

/** The wrong current password of somebody who is in already, and the like. */
export function denied({ reason, retryAfterMs }: NotAuthenticated): ApplicationError {
  return new ApplicationError(retryAfterMs === undefined ? 'denied' : 'slowed', reason);
}
