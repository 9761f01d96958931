// SPDX-License-Identifier: Apache-2.0
/**
 * Where an agent's API is: "unix:/run/marcher/marcher.sock", "127.0.0.1:7000", "[::1]:7000", "https://192.0.2.1:7443",
 * "ssh://alice@node1.example.org".
 */
export type Target =
  | { readonly kind: 'unix'; readonly path: string }
  /** From elsewhere: TLS, and credentials (credentials.ts). */
  | { readonly kind: 'tls'; readonly host: string; readonly port: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | SshTarget;

/** From elsewhere: to the agent's Unix socket by SSH (ssh/), as whoever logs in there. */
export interface SshTarget {
  readonly kind: 'ssh';
  /** Absent: what ~/.ssh/config says, else the user's own name and 22. */
  readonly user?: string;
  readonly port?: number;
  /** A name, an address, or an alias of ~/.ssh/config. */
  readonly host: string;
  /** Of the socket, there. */
  readonly path: string;
}

const DEFAULT_SOCKET = '/run/marcher/marcher.sock';
export const DEFAULT_TARGET = `unix:${DEFAULT_SOCKET}`;

const HTTPS = 'https://';
const SSH = 'ssh://';
/** What fits into the address of a Unix socket, without the zero at its end. */
const SOCKET_MAX_BYTES = 107;

/** Throws TypeError with what was expected. */
export function parseTarget(text: string): Target {
  if (text.startsWith('unix:')) {
    // grpc's naming allows unix:path and unix:///absolute/path
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw wrong(text);
    return { kind: 'unix', path };
  }
  if (text.startsWith('/') || text.startsWith('./')) return { kind: 'unix', path: text };
  if (text.startsWith(SSH)) return parseSsh(text);
  const secure = text.startsWith(HTTPS);
  const { host, port } = parseHostPort(secure ? text.slice(HTTPS.length).replace(/\/$/, '') : text) ?? {};
  if (host === undefined || port === undefined) throw wrong(text);
  return { kind: secure ? 'tls' : 'tcp', host, port };
}

/** "host:port" or "[v6]:port"; undefined when it is neither. */
export function parseHostPort(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65535)) return undefined;
  return { host, port };
}

export function formatTarget(target: Target): string {
  if (target.kind === 'unix') return `unix:${target.path}`;
  const host = target.host.includes(':') ? `[${target.host}]` : target.host;
  if (target.kind === 'ssh') return formatSsh(target, host);
  return `${target.kind === 'tls' ? HTTPS : ''}${host}:${target.port}`;
}

/** ssh://[user@]host[:port][/path]: user and path may be percent-encoded (RFC 3986). The last "@" counts, as in OpenSSH. */
function parseSsh(text: string): SshTarget {
  const rest = text.slice(SSH.length);
  const slash = rest.indexOf('/');
  const authority = slash === -1 ? rest : rest.slice(0, slash);
  const at = authority.lastIndexOf('@');
  const login = at === -1 ? undefined : authority.slice(0, at);
  // The text is not repeated: it has a secret in it.
  if (login?.includes(':')) throw new TypeError('a target has no password in it: leave it out, and it is asked for');
  const user = login === undefined ? undefined : decoded(login);
  const match = /^(?:\[([0-9a-fA-F:.]+(?:%\w+)?)\]|([^-:[\]\s][^:[\]\s]*))(?::(\d{1,5}))?$/.exec(
    authority.slice(at + 1),
  );
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  const path = slash === -1 || slash === rest.length - 1 ? DEFAULT_SOCKET : decoded(rest.slice(slash));
  if (
    host === undefined ||
    host.length > 253 ||
    (port !== undefined && !(port >= 1 && port <= 65535)) ||
    (login !== undefined && !/^[^\s:/\p{Cc}]{1,64}$/u.test(user ?? '')) ||
    path === undefined ||
    /\p{Cc}/u.test(path) ||
    new TextEncoder().encode(path).length > SOCKET_MAX_BYTES
  ) {
    throw wrong(text);
  }
  return { kind: 'ssh', ...(user === undefined ? {} : { user }), ...(port === undefined ? {} : { port }), host, path };
}

function formatSsh({ user, port, path }: SshTarget, host: string): string {
  const login = user === undefined ? '' : `${encodeURIComponent(user)}@`;
  const socket = path === DEFAULT_SOCKET ? '' : path.split('/').map(encodeURIComponent).join('/');
  return `${SSH}${login}${host}${port === undefined ? '' : `:${port}`}${socket}`;
}

/** undefined: a "%" that encodes nothing. */
function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function wrong(text: string): TypeError {
  const forms =
    'expected unix:PATH or HOST:PORT on this machine, https://HOST:PORT or ssh://[USER@]HOST[:PORT][/SOCKET] elsewhere';
  return new TypeError(`"${text}" is not a target: ${forms}; such as ${DEFAULT_TARGET}`);
}
