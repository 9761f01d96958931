// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';

/** The first of two that follow each other, both free on loopback: the mesh's port, and gossip's. */
export async function freePortPair(): Promise<number> {
  const taken = (port: number): Promise<number | undefined> =>
    new Promise((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(undefined));
      server.listen(port, '127.0.0.1', () => {
        const { port: got } = server.address() as { port: number };
        server.close(() => resolve(got));
      });
    });
  for (;;) {
    const port = await taken(0);
    if (port !== undefined && port < 65_535 && (await taken(port + 1)) !== undefined) return port;
  }
}
