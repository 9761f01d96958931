// SPDX-License-Identifier: Apache-2.0
/** A port of this machine's loopback that leads into a network namespace: for programs that have to be outside, such as a browser's. */
import { existsSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type Scope, until } from './scope.js';

const RELAY = path.join(import.meta.dirname, 'relay-main.js');

export class Doorway {
  readonly port: number;
  readonly #server: net.Server;
  readonly #open: Set<net.Socket>;

  private constructor(server: net.Server, open: Set<net.Socket>) {
    this.port = (server.address() as net.AddressInfo).port;
    this.#server = server;
    this.#open = open;
  }

  static async open(scope: Scope, netns: string, name: string, host: string, port: number): Promise<Doorway> {
    const socket = path.join(scope.dir, `door-${name}.sock`);
    scope.spawn([process.execPath, RELAY, socket, host, String(port)], { netns, log: `door-${name}.log` });
    await until('the way into the namespace', () => existsSync(socket));
    const open = new Set<net.Socket>();
    const server = net.createServer((from) => {
      const to = net.connect(socket);
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const) {
        open.add(one);
        one.on('error', () => undefined);
        one.on('close', () => {
          open.delete(one);
          other.destroy();
        });
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Doorway(server, open);
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
  }
}
