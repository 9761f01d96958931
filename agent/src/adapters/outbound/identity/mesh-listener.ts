// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh's door: a TLS server whose connections are judged before anything is read from them. Nodes of the mesh go one
 * way, strangers (who present no certificate, and may only join) another, and all others are closed with a reason said.
 *
 * Bounded: connections in handshake end after HANDSHAKE_MS, no more than connectionsMax are open at once, and of these no
 * more than strangersMax are strangers', each for strangerMs at most.
 */
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { Peer, PeerRefusal } from '../../../domain/identity/peer.js';
import type { MeshTls } from './mesh-tls.js';

export interface MeshListenerHandlers {
  /** A node of the mesh. */
  peer(socket: TLSSocket, peer: Peer): void;
  /** Absent: nobody joins here. */
  readonly stranger?: ((socket: TLSSocket) => void) | undefined;
  /** It has been closed. For the log and for counters: there may be any number of these. */
  refused(refusal: ListenerRefusal, reason: string, remoteAddress: string): void;
}

export type ListenerRefusal = PeerRefusal | 'handshake' | 'too-many-strangers';

export interface MeshListenerLimits {
  readonly connectionsMax: number;
  readonly strangersMax: number;
  readonly strangerMs: number;
}

export const LISTENER_LIMITS: MeshListenerLimits = { connectionsMax: 4_096, strangersMax: 64, strangerMs: 30_000 };
const HANDSHAKE_MS = 10_000;

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
  let strangers = 0;
  const server = createServer({
    ...mesh.context,
    requestCert: true,
    rejectUnauthorized: false,
    handshakeTimeout: HANDSHAKE_MS,
    ALPNProtocols: [...protocols],
  });
  server.maxConnections = limits.connectionsMax;
  mesh.attach(server);
  server.on('tlsClientError', (error, socket) => {
    // OpenSSL's errors have their reason apart; the message is one of its source lines.
    const { reason = error.message } = error as Error & { readonly reason?: string };
    handlers.refused('handshake', `the TLS handshake failed: ${reason}`, socket.remoteAddress ?? '');
    socket.destroy();
  });
  server.on('secureConnection', (socket) => {
    // Whoever gets the socket has handlers of its own; until then a reset must not end the process.
    socket.on('error', () => {});
    const verdict = mesh.judge(socket, 'client');
    if (verdict.kind === 'peer') {
      handlers.peer(socket, verdict.peer);
      return;
    }
    const address = socket.remoteAddress ?? '';
    if (verdict.refusal !== 'no-certificate' || handlers.stranger === undefined) {
      handlers.refused(verdict.refusal, verdict.reason, address);
      socket.destroy();
      return;
    }
    if (strangers >= limits.strangersMax) {
      handlers.refused('too-many-strangers', `${strangers} others are joining: try again later`, address);
      socket.destroy();
      return;
    }
    strangers += 1;
    const timer = setTimeout(() => socket.destroy(), limits.strangerMs);
    socket.once('close', () => {
      strangers -= 1;
      clearTimeout(timer);
    });
    handlers.stranger(socket);
  });
  return server;
}
