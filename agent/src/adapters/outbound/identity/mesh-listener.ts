// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh's door: a TLS server whose connections are judged before anything is read from them. Nodes of the mesh go one
 * way, strangers (who present no certificate, and may only join) another, and all others are closed with a reason said.
 *
 *   TCP --places.ts--> TLS handshake --MeshTls.judge--> peer | stranger | refused
 *
 * Bounded: handshakes and strangers at once, in all and per source, and how long each may take, whatever it says
 * meanwhile; connections.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Peer, PeerRefusal } from '../../../domain/identity/peer.js';
import { sourceOf } from '../../../domain/identity/source.js';
import type { MeshTls } from './mesh-tls.js';
import { Places } from './places.js';

export interface MeshListenerHandlers {
  /** A node of the mesh. */
  peer(socket: TLSSocket, peer: Peer): void;
  /**
   * Absent: nobody joins here. While what hold() gives has not been called, it is not ended for the sake of another
   * stranger: to be called around what must not be left half done, and is bounded itself.
   */
  readonly stranger?: ((socket: TLSSocket, hold: Hold) => void) | undefined;
  /** It has been closed. For counters, and for a log that bounds itself: there may be any number of these. */
  refused(refusal: ListenerRefusal, reason: string, remoteAddress: string): void;
}

export type Hold = () => () => void;

export type ListenerRefusal =
  | PeerRefusal
  | 'handshake' // it failed; also said of those that were ended, after the reason below
  | 'too-many-handshakes'
  | 'too-many-connections'
  | 'too-many-strangers';

export interface MeshListenerLimits {
  readonly connectionsMax: number;
  readonly handshakesMax: number;
  readonly handshakesPerSourceMax: number;
  readonly handshakeMs: number;
  readonly strangersMax: number;
  readonly strangersPerSourceMax: number;
  readonly strangerMs: number;
}

export const LISTENER_LIMITS: MeshListenerLimits = {
  connectionsMax: 4_096,
  handshakesMax: 1_024,
  handshakesPerSourceMax: 64,
  handshakeMs: 10_000,
  strangersMax: 64,
  strangersPerSourceMax: 32,
  strangerMs: 30_000,
};

/**
 * Not listening yet. protocols: what ALPN offers, such as ['h2']; a socket goes to an HTTP/2 server of node:http2 by
 * server.emit('connection', socket).
 */
export function createMeshListener(
  mesh: MeshTls,
  protocols: readonly string[],
  handlers: MeshListenerHandlers,
  limits: MeshListenerLimits = LISTENER_LIMITS,
): Server {
  const shaking = new Places({ most: limits.handshakesMax, mostPerSource: limits.handshakesPerSourceMax });
  const strangers = new Places({ most: limits.strangersMax, mostPerSource: limits.strangersPerSourceMax });
  /** By whom() it is, of those in their handshake: what ends that. */
  const handshakes = new Map<string, () => void>();

  const tls = createTlsServer({
    ...mesh.context,
    requestCert: true,
    rejectUnauthorized: false,
    // From the beginning: bytes that come do not make it longer.
    handshakeTimeout: limits.handshakeMs,
    ALPNProtocols: [...protocols],
  });
  tls.on('tlsClientError', (error, socket) => {
    // OpenSSL's errors have their reason apart; the message is one of its source lines.
    const { reason = error.message } = error as Error & { readonly reason?: string };
    handlers.refused('handshake', `the TLS handshake failed: ${reason}`, socket.remoteAddress ?? '');
    socket.destroy();
  });
  tls.on('secureConnection', (socket) => {
    // Whoever gets the socket has handlers of its own; until then a reset must not end the process.
    socket.on('error', () => {});
    handshakes.get(whom(socket))?.();
    const verdict = mesh.judge(socket, 'client');
    if (verdict.kind === 'peer') handlers.peer(socket, verdict.peer);
    else if (verdict.refusal === 'no-certificate' && handlers.stranger !== undefined) admit(socket, handlers.stranger);
    else refuse(socket, verdict.refusal, verdict.reason);
  });

  const server = createServer({ noDelay: true }, (socket) => {
    const leave = shaking.enter(socket.remoteAddress ?? '', () => {
      refuse(socket, 'too-many-handshakes', 'it was slow, and too many connections are in their TLS handshake');
    });
    const key = whom(socket);
    const done = (): void => {
      leave();
      handshakes.delete(key);
    };
    handshakes.set(key, done);
    socket.once('close', done);
    tls.emit('connection', socket);
  });
  server.maxConnections = limits.connectionsMax;
  server.on('drop', (dropped) => {
    const reason = `${limits.connectionsMax} connections are open: no more are taken`;
    handlers.refused('too-many-connections', reason, dropped?.remoteAddress ?? '');
  });
  server.once('close', mesh.attach(tls));
  return server;

  function admit(socket: TLSSocket, stranger: (socket: TLSSocket, hold: Hold) => void): void {
    const source = sourceOf(socket.remoteAddress ?? '');
    const enter = (): (() => void) =>
      strangers.enter(source, () => {
        refuse(socket, 'too-many-strangers', 'it was slow, and too many others want to join: try again');
      });
    let leave = enter();
    const timer = setTimeout(() => socket.destroy(), limits.strangerMs);
    socket.once('close', () => {
      leave();
      clearTimeout(timer);
    });
    let held = 0;
    stranger(socket, () => {
      held += 1;
      leave();
      return () => {
        held -= 1;
        if (held === 0 && !socket.destroyed) leave = enter();
      };
    });
  }

  function refuse(socket: Socket, refusal: ListenerRefusal, reason: string): void {
    handlers.refused(refusal, reason, socket.remoteAddress ?? '');
    socket.destroy();
  }
}

/** One connection's other end: the only thing that a TLS socket and the socket below it have in common. */
function whom({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
