// SPDX-License-Identifier: Apache-2.0
/**
 * Who is on the other end of a connection, and whether it may use the API.
 *
 * Unix socket: the kernel says who connected (SO_PEERCRED). Allowed are root, the agent's own user and members of the
 * group `marcher`; the file's mode (0660) is only the first fence, since a socket may be passed on or its mode changed.
 * Whoever is refused still gets an answer (PERMISSION_DENIED and what to do) rather than a closed connection.
 *
 * Loopback TCP: nothing is known about the peer but its address, so every local user is let in, and may change the node
 * as root may. That is why this listener exists only when it is asked for (--api) and binds loopback addresses only.
 *
 * From elsewhere, over TLS: whom a client certificate or a bearer token names, call by call (remote-caller.ts).
 *
 * Through another node of the mesh: whom that node names, as far as such calls go (../mesh/relay-door.ts).
 */
import { readFileSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Code } from '@connectrpc/connect';
import { localAdministrator, type Principal } from '../../../domain/access/principal.js';
import type { Via } from '../../../ports/access.js';

/** What somebody from elsewhere can show. */
export const CREDENTIALS =
  'a client certificate (--cert-file, --key-file), a bearer token (--token-file) or a session (marcher login)';

/** Credentials of the process that connected. `member`: belongs to the group that may administer the node. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly member: boolean;
}

/** Reads the credentials of a connected Unix socket; throws when the kernel does not tell. */
export type PeerCredentialsPort = (fd: number) => PeerCredentials;

/** "tls": somebody from elsewhere who has not said who it is. */
export type PeerVia = Via | 'tls';

export type Peer = AllowedPeer | RefusedPeer;

export interface AllowedPeer {
  readonly allowed: true;
  readonly author: string;
  readonly via: PeerVia;
  /** IP address; empty: this machine. */
  readonly source: string;
  /** undefined: it has not said who it is, and may call what anyone may. */
  readonly principal: Principal | undefined;
  /** Id of the node that has passed its call on. Absent: it calls this one itself. */
  readonly relayedBy?: string;
}

export interface RefusedPeer {
  readonly allowed: false;
  readonly author: string;
  readonly via: PeerVia;
  readonly source: string;
  readonly principal?: undefined;
  readonly relayedBy?: string;
  readonly reason: string;
  /** Absent: PERMISSION_DENIED. */
  readonly code?: Code;
}

const LOCAL = { via: 'socket', source: '' } as const;
const UNKNOWN = { author: 'unknown', ...LOCAL } as const;

/** File descriptor of a Node socket, or undefined where Node does not show it (closed meanwhile, or changed inside). */
export function fileDescriptor(socket: Socket): number | undefined {
  const handle: unknown = (socket as unknown as { _handle?: unknown })._handle;
  if (typeof handle !== 'object' || handle === null || !('fd' in handle)) return undefined;
  const { fd } = handle;
  return typeof fd === 'number' && Number.isInteger(fd) && fd >= 0 ? fd : undefined;
}

export function identifyUnixPeer(
  socket: Socket,
  options: {
    readonly credentials: PeerCredentialsPort;
    readonly ownUid: number;
    readonly group: string;
    readonly userName: (uid: number) => string | undefined;
  },
): Peer {
  const fd = fileDescriptor(socket);
  if (fd === undefined) {
    return {
      allowed: false,
      ...UNKNOWN,
      reason: 'the connection has no file descriptor to ask the kernel about',
    };
  }
  let peer: PeerCredentials;
  try {
    peer = options.credentials(fd);
  } catch (error) {
    return {
      allowed: false,
      ...UNKNOWN,
      reason: `the kernel did not tell who connected: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
  const name = options.userName(peer.uid);
  const author = name === undefined ? `uid ${peer.uid}` : `${name} (uid ${peer.uid})`;
  if (peer.uid === 0 || peer.uid === options.ownUid || peer.member) {
    return { allowed: true, author, ...LOCAL, principal: localAdministrator(author, 'socket') };
  }
  return {
    allowed: false,
    author,
    ...LOCAL,
    reason:
      `${author} may not use this node's socket: expected root, the agent's own user or a member of group ` +
      `"${options.group}"; an administrator can run: usermod -aG ${options.group} ${name ?? '<user>'}`,
  };
}

export function identifyTcpPeer(socket: Socket): Peer {
  const address = socket.remoteAddress ?? 'unknown';
  const host = address.includes(':') ? `[${address}]` : address;
  const author = `tcp:${host}:${socket.remotePort ?? 0}`;
  return { allowed: true, author, via: 'loopback', source: address, principal: localAdministrator(author, 'loopback') };
}

const passwdPath = '/etc/passwd';
const passwdMaxBytes = 1 << 20;

/** Names of local users from /etc/passwd, read again when it changes. Users of a directory service go by their number. */
export function createUserNames(path: string = passwdPath): (uid: number) => string | undefined {
  let readAt = -1;
  let names = new Map<number, string>();
  return (uid) => {
    try {
      const { mtimeMs, size } = statSync(path);
      if (mtimeMs !== readAt && size <= passwdMaxBytes) {
        const fresh = new Map<number, string>();
        for (const line of readFileSync(path, 'utf8').split('\n')) {
          const [name, , number] = line.split(':');
          if (name && number && /^\d+$/.test(number) && !fresh.has(Number(number))) fresh.set(Number(number), name);
        }
        names = fresh;
        readAt = mtimeMs;
      }
    } catch {
      // No such file: numbers say enough.
    }
    return names.get(uid);
  };
}
