// SPDX-License-Identifier: Apache-2.0
/** Where a test sends its traffic, resolved once, and what it sends. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { ExitCode } from '../exit-code.js';
import { Failure, usage } from '../failure.js';

export interface ProtocolOptions {
  readonly udp?: boolean;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
}

export interface Endpoint {
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
  /** "127.0.0.1:5001", "[::1]:5001" */
  readonly text: string;
  readonly transport: 'tcp' | 'udp';
}

export async function resolveEndpoint(text: string, options: ProtocolOptions): Promise<Endpoint> {
  if (options.ipv4 === true && options.ipv6 === true) throw usage('--ipv4 and --ipv6 exclude each other');
  const match = /^(?:\[([^\]\s]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw usage(`"${text}" is not HOST:PORT: expected such as 127.0.0.1:5001 or [::1]:5001`);
  }
  const wanted = options.ipv4 === true ? 4 : options.ipv6 === true ? 6 : 0;
  const literal = isIP(host);
  if (literal !== 0 && wanted !== 0 && literal !== wanted) throw usage(`${host} is not an IPv${wanted} address`);
  let found: { address: string; family: number };
  try {
    found = await lookup(host, { family: wanted });
  } catch (error) {
    const which = wanted === 0 ? '' : ` to an IPv${wanted} address`;
    throw new Failure(ExitCode.unreachable, `"${host}" does not resolve${which}: ${(error as Error).message}`);
  }
  const family = found.family === 6 ? 6 : 4;
  const shown = family === 6 ? `[${found.address}]:${port}` : `${found.address}:${port}`;
  return { address: found.address, family, port, text: shown, transport: options.udp === true ? 'udp' : 'tcp' };
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '0': '\0', '\\': '\\' };

/** \n, \r, \t, \0, \\ and \xHH; everything else stands for itself in UTF-8. */
export function parsePayload(text: string): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (const match of text.matchAll(/\\(?:x([0-9a-fA-F]{2})|([nrt0\\]))/g)) {
    parts.push(Buffer.from(text.slice(from, match.index)));
    parts.push(
      match[1] === undefined
        ? Buffer.from(escapes[match[2] ?? ''] ?? '')
        : Buffer.from([Number.parseInt(match[1], 16)]),
    );
    from = match.index + match[0].length;
  }
  parts.push(Buffer.from(text.slice(from)));
  return Buffer.concat(parts);
}

/** "refused", "reset", "timeout" ...: what the system said, in a word. */
export function errorWord(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ECONNREFUSED':
      return 'refused';
    case 'ECONNRESET':
    case 'EPIPE':
      return 'reset';
    case 'ETIMEDOUT':
      return 'timeout';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return 'unreachable';
    case 'EADDRNOTAVAIL':
      return 'no-local-port';
    case 'EMFILE':
    case 'ENFILE':
      return 'too-many-files';
    default:
      return code ?? message;
  }
}
