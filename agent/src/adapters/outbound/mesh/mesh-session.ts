// SPDX-License-Identifier: Apache-2.0
/**
 * A dialled connection to another node's mesh port: TLS, then HTTP/2, then Connect's transport on it. It stands when the
 * other end's SETTINGS have come: a node that refuses this one's certificate closes the connection before, since in TLS
 * 1.3 a client's handshake is over before the server has seen who it is.
 */
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import type { Transport } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';

export interface MeshTarget {
  /** IP address or name. */
  readonly host: string;
  readonly port: number;
}

export interface MeshSession {
  readonly http2: ClientHttp2Session;
  readonly socket: TLSSocket;
  /** What it was dialled by must not matter to calls: they go here, and nowhere else when this is closed. */
  transport(answerMaxBytes: number): Transport;
}

export interface DialOptions {
  /** MeshTls.dialOptions() or joinOptions(). */
  readonly tls: ConnectionOptions;
  readonly timeoutMs: number;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** Who it is, the certificate says: this only fills the fields where HTTP wants one. */
const AUTHORITY = 'https://mesh.invalid';
/** What is being sent counts: while it is more, Node resets streams whose answer comes. Twice the largest message. */
const MEMORY_MIB = 64;
const HEADER_BYTES = 8 * 1024;
const HEADER_PAIRS = 32;
const SETTINGS_ENTRIES = 16;

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
export function openMeshSession(target: MeshTarget, { tls, timeoutMs, signal }: DialOptions): Promise<MeshSession> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new Error('given up'));
      return;
    }
    const socket = connectTls({ ...tls, ...target, ALPNProtocols: ['h2'] });
    socket.setNoDelay(true);
    // The session tells of it; once that is over nobody needs to know.
    socket.on('error', () => {});
    const http2 = connectHttp2(AUTHORITY, {
      createConnection: () => socket,
      maxSessionMemory: MEMORY_MIB,
      maxSettings: SETTINGS_ENTRIES,
      maxHeaderListPairs: HEADER_PAIRS,
      maxReservedRemoteStreams: 0,
      settings: { enablePush: false, maxHeaderListSize: HEADER_BYTES },
    });
    const end = (error: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      http2.destroy();
      socket.destroy();
      reject(error);
    };
    const onAbort = (): void => end(new Error('given up'));
    const onClose = (): void => end(new UnheardError());
    const timer = setTimeout(() => end(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    // Also once it stands: whoever uses it learns by "close" that it is over, and its calls have failed.
    http2.on('error', end);
    http2.once('close', onClose);
    http2.once('remoteSettings', () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      http2.off('close', onClose);
      resolve({ http2, socket, transport: (answerMaxBytes) => transportOn(http2, answerMaxBytes) });
    });
  });
}

function transportOn(http2: ClientHttp2Session, readMaxBytes: number): Transport {
  return createGrpcTransport({
    baseUrl: AUTHORITY,
    readMaxBytes,
    acceptCompression: [],
    sessionManager: {
      authority: AUTHORITY,
      request: async (method, path, headers, options) =>
        http2.request({ ...headers, ':method': method, ':path': path }, options),
      notifyResponseByteRead: () => {},
    },
  });
}

/**
 * Notices a connection that is dead, within three times everyMs: a PING is sent each time, and must be answered within
 * two; anything else that comes meanwhile will do, as a PING waits behind what is being sent. In times, not in ms, so
 * that a machine that was stopped finds nothing wrong when it goes on.
 */
export function watchSession({ http2, socket }: MeshSession, everyMs: number, dead: () => void): void {
  let read = socket.bytesRead;
  let asked = false;
  let missed = 0;
  const timer = setInterval(() => {
    // It says so by "close" only later, and refuses to be asked.
    if (http2.destroyed) {
      clearInterval(timer);
      return;
    }
    if (socket.bytesRead !== read) missed = 0;
    else if (asked) missed += 1;
    read = socket.bytesRead;
    if (missed >= 2) {
      dead();
    } else if (!asked) {
      asked = http2.ping(() => {
        asked = false;
        missed = 0;
      });
    }
  }, everyMs);
  timer.unref();
  http2.once('close', () => clearInterval(timer));
  if (http2.destroyed) clearInterval(timer);
}
