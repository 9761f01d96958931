// SPDX-License-Identifier: Apache-2.0
/**
 * Listening on loopback TCP. Any local user reaches it and nobody is authenticated, so other addresses are refused
 * here and not merely discouraged.
 */
import { type AddressInfo, BlockList, isIP, type Server } from 'node:net';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

export interface TcpAddress {
  /** IPv4 or IPv6 literal, or "localhost". */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

export async function listenOnLoopback(server: Server, { host, port }: TcpAddress, what: string): Promise<TcpAddress> {
  const literal = host === 'localhost' ? '127.0.0.1' : host;
  const family = isIP(literal);
  if (family === 0 || !loopback.check(literal, family === 6 ? 'ipv6' : 'ipv4')) {
    throw new Error(
      `${what} can't listen on "${host}": expected a loopback address (127.0.0.1, [::1] or localhost), because its ` +
        'callers are not authenticated; to reach it from elsewhere, forward the Unix socket by SSH',
    );
  }
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`${what} can't listen on ${host}:${port}: another process has the port; choose another`)
          : new Error(`${what} can't listen on ${host}:${port}: ${error.message}`),
      );
    });
    server.listen({ host: literal, port }, resolve);
  });
  server.removeAllListeners('error');
  const bound = server.address() as AddressInfo;
  return { host: bound.address, port: bound.port };
}
