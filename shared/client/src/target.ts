// SPDX-License-Identifier: Apache-2.0
/** Where an agent's API is: "unix:/run/marcher/marcher.sock", "127.0.0.1:7000", "[::1]:7000". */
export type Target =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export const DEFAULT_TARGET = 'unix:/run/marcher/marcher.sock';

/** Throws TypeError with what was expected. */
export function parseTarget(text: string): Target {
  if (text.startsWith('unix:')) {
    // grpc's naming allows unix:path and unix:///absolute/path
    const path = text.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw wrong(text);
    return { kind: 'unix', path };
  }
  if (text.startsWith('/') || text.startsWith('./')) return { kind: 'unix', path: text };
  const { host, port } = parseHostPort(text) ?? {};
  if (host === undefined || port === undefined) throw wrong(text);
  return { kind: 'tcp', host, port };
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
  return target.host.includes(':') ? `[${target.host}]:${target.port}` : `${target.host}:${target.port}`;
}

function wrong(text: string): TypeError {
  return new TypeError(`"${text}" is not a target: expected unix:PATH or HOST:PORT, such as ${DEFAULT_TARGET}`);
}
