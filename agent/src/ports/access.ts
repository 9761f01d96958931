// SPDX-License-Identifier: Apache-2.0
/**
 * Who may do what: the contract between what establishes who calls (sockets, certificates, bearer tokens), what decides
 * (domain/access) and what is told of it (the history, the audit log).
 */

export type Role = 'administrator' | 'owner' | 'viewer';

/** How it was established who calls. */
export type Via =
  /** Credentials of the process at the other end of the Unix socket. */
  | 'socket'
  /** The loopback listener, which asks for nothing. */
  | 'loopback'
  /** A client certificate of the mesh's CA. */
  | 'certificate'
  /** A user who has logged in. */
  | 'session'
  | 'api-key';

/** What a principal that is not for everything is for, by name. */
export interface Scope {
  readonly clusters: readonly string[];
  readonly services: readonly string[];
}

export interface Principal {
  /** As the history and the audit log show it: "root (uid 0)", "user:alice", "key:ci". */
  readonly name: string;
  readonly via: Via;
  readonly role: Role;
  readonly scope: Scope | 'all';
}

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
