// SPDX-License-Identifier: Apache-2.0
/**
 * Dialling another node's mesh port: TLS, and the protocol that ALPN names. A connection stands when the other end has
 * said something: a node that refuses this one's certificate closes the connection before, since in TLS 1.3 a client's
 * handshake is over before the server has seen who it is.
 */
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';

export interface MeshTarget {
  /** IP address or name. */
  readonly host: string;
  readonly port: number;
}

export interface DialOptions {
  /** MeshTls.dialOptions() or joinOptions(). */
  readonly tls: ConnectionOptions;
  readonly timeoutMs: number;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** What a protocol begins with. */
export interface Dialled<Connection> {
  /** Still connecting. */
  readonly socket: TLSSocket;
  /** The other end has spoken. */
  stands(connection: Connection): void;
  /** Of no effect once it stands. */
  failed(error: Error): void;
}

export function textOf({ host, port }: MeshTarget): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The other end closed the connection before it said anything, as one does that refuses this one's certificate. */
export class UnheardError extends Error {
  constructor() {
    super('it closed the connection before it said anything: its log says why');
    this.name = 'UnheardError';
  }
}

/** Fails with the error of TLS (mesh-tls.ts: refusalOf), with an UnheardError or with that of the socket. */
export function dialMesh<Connection>(
  target: MeshTarget,
  protocol: string,
  { tls, timeoutMs, signal }: DialOptions,
  begin: (dialled: Dialled<Connection>) => void,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new Error('given up'));
      return;
    }
    const socket = connect({ ...tls, ...target, ALPNProtocols: [protocol] });
    socket.setNoDelay(true);
    const settle = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.off('close', onClose);
    };
    let standing = false;
    const failed = (error: Error): void => {
      if (standing) return;
      settle();
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => failed(new Error('given up'));
    const onClose = (): void => failed(new UnheardError());
    const timer = setTimeout(() => failed(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    // Stays: an error that nobody listens to would end the process. Whoever uses the connection learns by "close".
    socket.on('error', failed);
    socket.once('close', onClose);
    begin({
      socket,
      failed,
      stands(connection) {
        standing = true;
        settle();
        resolve(connection);
      },
    });
  });
}
