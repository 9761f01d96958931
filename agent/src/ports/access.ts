// SPDX-License-Identifier: Apache-2.0
/**
 * Who may do what: the contract between what establishes who calls (sockets, certificates, bearer tokens), what decides
 * (domain/access) and what is told of it (the history, the audit log); and what users and keys need of the outside.
 */
import type { Principal, Role, Scope, SessionFacts } from '../domain/access/principal.js';
import type { CellWrite, ReplicaStore } from '../domain/replication/contract.js';
import type { Told } from './audit.js';
import type { Caller } from './use-cases.js';

export type { Principal, Role, Scope, Via } from '../domain/access/principal.js';

/** What a caller is told, without anything that helps to guess; retryAfterMs: it was slowed down. */
export interface NotAuthenticated {
  readonly reason: string;
  readonly retryAfterMs?: number;
}

/** For callers from elsewhere. Never throws for what a caller has sent. */
export interface Authenticator {
  /** token: what stood after "Bearer "; source: the caller's IP address. */
  bearer(token: string, source: string): Promise<Principal | NotAuthenticated>;
  /** user: the name in a client certificate that the mesh's CA signed and nobody revoked. */
  certificate(user: string): Principal | NotAuthenticated;
}

/** What users and keys need of the mesh that this node is in. */
export interface AccessMesh {
  readonly meshId: string;
  readonly meshName: string;
  readonly nodeId: string;
  readonly cells: ReplicaStore;
  /**
   * At all nodes, on disk here when it returns, and with it what the audit log is told: action is one of
   * domain/audit/actions.ts. Throws ApplicationError "unavailable", with nothing written.
   */
  write(by: Told['by'], action: string, message: string, writes: readonly CellWrite[]): void;
  readonly sessions: SessionTokens;
}

export interface SessionClaims extends SessionFacts {
  readonly user: string;
  readonly expiresMs: number;
}

/** Sessions as texts that every node of the mesh can verify, and none but nodes can make. */
export interface SessionTokens {
  sign(claims: SessionClaims, nowMs: number): Promise<string>;
  /** undefined: it is none of this mesh, or not any more; whatever it is given, it does not throw. */
  verify(token: string, nowMs: number): Promise<SessionClaims | undefined>;
}

/** Argon2id. At most a few at a time, since each takes memory; who comes when too many wait gets ApplicationError "unavailable". */
export interface PasswordHasher {
  /** A PHC string with a salt of its own. */
  hash(password: string): Promise<string>;
  /** undefined for hash: there is none to compare with, and it takes as long all the same. */
  verify(hash: string | undefined, password: string): Promise<boolean>;
  /** 32 bytes. */
  sealingKey(password: string, salt: Uint8Array): Promise<Uint8Array>;
}

/** RFC 6238: SHA-1, 30 s, six digits, which is what authenticators can do. */
export interface CodeGenerator {
  newSecret(): Uint8Array;
  /** For a person to type, and for a QR code. */
  show(secret: Uint8Array, account: string, issuer: string): { readonly base32: string; readonly uri: string };
  /** The step of the code; undefined: it is not one of now, a step ago or ahead. */
  stepOf(secret: Uint8Array, code: string, nowMs: number): number | undefined;
}

/** Randomness, hashes and sealing. */
export interface AccessSecrets {
  random(bytes: number): Uint8Array;
  /** SHA-256. */
  hash(bytes: Uint8Array): Uint8Array;
  /** In a time that says nothing about them. */
  equal(one: Uint8Array, other: Uint8Array): boolean;
  /** AES-256-GCM; context is bound to it. */
  seal(key: Uint8Array, plain: Uint8Array, context: string): Uint8Array;
  /** undefined: not by that key, or of another context. */
  open(key: Uint8Array, sealed: Uint8Array, context: string): Uint8Array | undefined;
}

export interface UserView {
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  readonly hasPassword: boolean;
  readonly hasSecondFactor: boolean;
  readonly recoveryCodesLeft: number;
  readonly createdMs: number;
  readonly createdBy: string;
}

export interface ApiKeyView {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  readonly createdMs: number;
  readonly createdBy: string;
  readonly expiresMs: number;
  readonly rotatedMs: number;
  /** Absent: the secret before is not valid. */
  readonly previousUntilMs?: number;
}

export interface SessionGrant {
  readonly token: string;
  readonly expiresMs: number;
  readonly sessionEndsMs: number;
}

export interface Credentials {
  readonly name: string;
  readonly password: string;
  /** Six digits, or a recovery code; may be empty. */
  readonly code: string;
}

/**
 * Users, sessions and keys as operators ask for them. That the caller may is for the API to have asked (authorize()).
 * Expected failures are ApplicationErrors: "refused" where this node is in no mesh.
 */
export interface AccessUseCases extends Authenticator {
  /** source: the caller's IP address, or "local". */
  login(credentials: Credentials, source: string): Promise<SessionGrant | NotAuthenticated>;
  renew(principal: Principal): Promise<SessionGrant | NotAuthenticated>;
  logout(principal: Principal): void;
  /** When renewing ends. */
  sessionEndsMs(session: SessionFacts): number;
  users(): readonly UserView[];
  createUser(request: { name: string; role: Role; scope: Scope; password: string }, caller: Caller): Promise<UserView>;
  setRole(request: { name: string; role: Role; scope: Scope }, caller: Caller): UserView;
  /** current: undefined: an administrator has not been asked for it. source: as of login. */
  setPassword(
    request: { name: string; password: string; current: string | undefined; resetSecondFactor: boolean },
    caller: Caller,
    source: string,
  ): Promise<void>;
  resetSecondFactor(name: string, caller: Caller): void;
  enrolTotp(request: { name: string; password: string }, source: string): Promise<{ secret: string; uri: string }>;
  /** Returns recovery codes. */
  confirmTotp(request: { name: string; code: string }, caller: Caller): readonly string[];
  createRecoveryCodes(
    request: { name: string; password: string },
    caller: Caller,
    source: string,
  ): Promise<readonly string[]>;
  removeUser(name: string, caller: Caller): void;
  revokeSessions(name: string, caller: Caller): void;
  keys(): readonly ApiKeyView[];
  createKey(
    request: { name: string; role: Role; scope: Scope; lifetimeMs: number },
    caller: Caller,
  ): { readonly text: string; readonly key: ApiKeyView };
  rotateKey(
    request: { id: string; overlapMs: number },
    caller: Caller,
  ): { readonly text: string; readonly key: ApiKeyView };
  revokeKey(id: string, caller: Caller): void;
}
