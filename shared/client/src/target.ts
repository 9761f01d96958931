// SPDX-License-Identifier: Apache-2.0
/** Where an agent's API is: "unix:/run/marcher/marcher.sock", "127.0.0.1:7000", "[::1]:7000", "https://192.0.2.1:7443". */
export type Target =
  | { readonly kind: 'unix'; readonly path: string }
  /** From elsewhere: TLS, and credentials (credentials.ts). */
  | { readonly kind: 'tls'; readonly host: string; readonly port: number }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export const DEFAULT_TARGET = 'unix:/run/marcher/marcher.sock';

const HTTPS = 'https://';

/** Throws TypeError with what was expected. */
export function parseTarget(text: string): Target {
  if (text.startsWith('unix:')) {
    // grpc's naming allows unix:path and unix:///absolute/path
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw wrong(text);
    return { kind: 'unix', path };
  }
  if (text.startsWith('/') || text.startsWith('./')) return { kind: 'unix', path: text };
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
  return `${target.kind === 'tls' ? HTTPS : ''}${host}:${target.port}`;
}

function wrong(text: string): TypeError {
  const forms = 'expected unix:PATH or HOST:PORT on this machine, https://HOST:PORT elsewhere';
  return new TypeError(`"${text}" is not a target: ${forms}; such as ${DEFAULT_TARGET}`);
}
