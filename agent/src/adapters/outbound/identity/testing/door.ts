// SPDX-License-Identifier: Apache-2.0
/** A mesh listener on loopback that greets whom it lets in, and those who call it. */
import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { onTestFinished } from 'vitest';
import type { Peer } from '../../../../domain/identity/peer.js';
import type { NodeCredentials } from '../../../../ports/identity.js';
import { createMeshListener, type Hold, type MeshListenerLimits } from '../mesh-listener.js';
import { type MeshTls, PROTOCOL, refusalOf } from '../mesh-tls.js';

export interface Door {
  readonly port: number;
  readonly mesh: MeshTls;
  /** What the listener made of each connection, in turn. */
  readonly seen: (Peer | 'stranger' | string)[];
  readonly reasons: string[];
  readonly sockets: TLSSocket[];
  /** Of strangers. */
  readonly holds: Hold[];
  /** The next that it makes something of. */
  next(): Promise<Peer | string>;
}

export async function listening(one: Server): Promise<number> {
  onTestFinished(() => void one.close());
  one.listen(0, '127.0.0.1');
  await once(one, 'listening');
  return (one.address() as AddressInfo).port;
}

/** It greets whom it lets in. */
export async function openDoor(mesh: MeshTls, limits?: MeshListenerLimits): Promise<Door> {
  const seen: (Peer | string)[] = [];
  const reasons: string[] = [];
  const sockets: TLSSocket[] = [];
  const holds: Hold[] = [];
  const waiting: ((what: Peer | string) => void)[] = [];
  const note = (what: Peer | string): void => {
    seen.push(what);
    waiting.shift()?.(what);
  };
  const greet = (socket: TLSSocket, what: Peer | string): void => {
    sockets.push(socket);
    onTestFinished(() => void socket.destroy());
    socket.write('hello');
    note(what);
  };
  const listener = createMeshListener(
    mesh,
    ['h2'],
    {
      peer: greet,
      stranger: (socket, hold) => {
        holds.push(hold);
        greet(socket, 'stranger');
      },
      refused: (refusal, reason) => {
        reasons.push(reason);
        note(refusal);
      },
    },
    limits,
  );
  const port = await listening(listener);
  return { port, mesh, seen, reasons, sockets, holds, next: () => new Promise((resolve) => waiting.push(resolve)) };
}

/** What came of dialling: the greeting, or why there was none. */
export function dial(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], ...options });
    onTestFinished(() => void socket.destroy());
    socket.once('data', (data) => resolve(data.toString()));
    socket.once('error', (error) =>
      resolve(refusalOf(error) ?? (error as NodeJS.ErrnoException).code ?? error.message),
    );
    socket.once('close', () => resolve('closed'));
  });
}

/** As somebody dials who does not care whom it reaches, to see what the listener says. */
export function careless(credentials: NodeCredentials | undefined): ConnectionOptions {
  const { privateKeyPem: key, certificatePem: cert } = credentials ?? {};
  return { ...PROTOCOL, ...(key === undefined ? {} : { key, cert }), rejectUnauthorized: false };
}
