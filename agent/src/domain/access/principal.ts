// SPDX-License-Identifier: Apache-2.0
/** Who calls, as it was established, and what somebody like that is for. */

export type Role = 'administrator' | 'owner' | 'viewer';

export const ROLES: readonly Role[] = ['administrator', 'owner', 'viewer'];

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

/** What a principal that is not for everything is for. */
export interface Scope {
  /** Services and traffic policies of these clusters. */
  readonly clusters: readonly string[];
  /** By name. */
  readonly services: readonly string[];
}

/** One login, whose tokens follow each other. Times are Unix times. */
export interface SessionFacts {
  /** 32 hex digits. */
  readonly id: string;
  /** When it began: revoked is what began before a time. */
  readonly startedMs: number;
}

export interface Principal {
  /** As the history and the audit log show it: "root (uid 0)", "user:alice", "key:ci". */
  readonly name: string;
  readonly via: Via;
  readonly role: Role;
  readonly scope: Scope | 'all';
  /** Of via "session". */
  readonly session?: SessionFacts;
}

const USER = 'user:';

export function userPrincipalName(user: string): string {
  return `${USER}${user}`;
}

/** undefined: it is no user of the mesh, whatever name the system gives it. */
export function userOf({ name, via }: Principal): string | undefined {
  return (via === 'session' || via === 'certificate') && name.startsWith(USER) ? name.slice(USER.length) : undefined;
}

/** Of whoever the machine itself has let in. */
export function localAdministrator(name: string, via: 'socket' | 'loopback'): Principal {
  return { name, via, role: 'administrator', scope: 'all' };
}
