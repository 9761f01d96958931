// SPDX-License-Identifier: Apache-2.0
/**
 * One HTTP/2 connection to an agent, made when first needed and made again when it has ended.
 *
 * Connect's own session manager takes its listener for errors away while a failed session may still report another one
 * (a peer that does not speak HTTP/2 does), which ends the process. Here each session keeps its listener.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { connect as connectSocket, isIP, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { Credentials } from './credentials.js';
import { PacedStream } from './paced-stream.js';
import { serverIdentityCheck } from './server-identity.js';
import type { SshTarget, Target } from './target.js';
import type { Tunnels } from './tunnels.js';

/** A peer that vanished without a word is noticed while a watch waits. */
const pingIntervalMs = 20_000;
const pingTimeoutMs = 10_000;

interface Opened {
  readonly session: ClientHttp2Session;
  readonly ready: Promise<void>;
}

export class Connection {
  readonly authority = 'http://localhost';
  private readonly target: Target;
  private readonly connectTimeoutMs: number;
  private readonly credentials: Credentials;
  private tunnels: Tunnels | undefined;
  private current: Opened | undefined;
  /** By SSH it takes a while, and a person's answer, before there is a stream. */
  private opening: { readonly opened: Promise<Opened>; readonly abort: AbortController } | undefined;

  constructor(target: Target, connectTimeoutMs: number, credentials: Credentials = {}, tunnels?: Tunnels) {
    this.target = target;
    this.connectTimeoutMs = connectTimeoutMs;
    this.credentials = credentials;
    this.tunnels = tunnels;
  }

  async request(
    method: string,
    path: string,
    headers: OutgoingHttpHeaders,
    options: object,
  ): Promise<ClientHttp2Stream> {
    const { session, ready } = await this.opened();
    await ready;
    const { token: source } = this.credentials;
    // A token goes to whom a certificate has named, and into no plain connection.
    const token = this.target.kind !== 'tls' ? undefined : typeof source === 'function' ? await source() : source;
    const bearer = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return session.request({ ...headers, ...bearer, ':method': method, ':path': path }, options);
  }

  /** Part of the interface; here pings go by the clock. */
  notifyResponseByteRead(): void {}

  close(): void {
    this.current?.session.destroy(undefined, constants.NGHTTP2_CANCEL);
    this.current = undefined;
    this.opening?.abort.abort(new Error('closed here'));
    this.opening = undefined;
  }

  private async opened(): Promise<Opened> {
    const { current, target, connectTimeoutMs, credentials } = this;
    if (current !== undefined && !current.session.closed && !current.session.destroyed) return current;
    if (target.kind === 'ssh') return await this.openedThrough(target);
    this.current = open(this.authority, connectTimeoutMs, () => openSocket(target, connectTimeoutMs, credentials));
    return this.current;
  }

  /** Once for all who ask meanwhile. */
  private async openedThrough(target: SshTarget): Promise<Opened> {
    if (this.opening !== undefined) return await this.opening.opened;
    const abort = new AbortController();
    const opened = this.throughTunnel(target, abort.signal);
    const opening = { opened, abort };
    this.opening = opening;
    try {
      return await opened;
    } finally {
      if (this.opening === opening) this.opening = undefined;
    }
  }

  private async throughTunnel(target: SshTarget, signal: AbortSignal): Promise<Opened> {
    if (this.tunnels === undefined) {
      const { SshTunnels } = await import('./ssh/index.js');
      // Of this connection alone: they end with its last stream.
      this.tunnels = new SshTunnels({ timeoutMs: this.connectTimeoutMs, idleMs: 0 });
    }
    const stream = await this.tunnels.open(target, signal);
    if (signal.aborted) stream.destroy();
    signal.throwIfAborted();
    this.current = open(this.authority, this.connectTimeoutMs, () => new PacedStream(stream));
    return this.current;
  }
}

function open(authority: string, connectTimeoutMs: number, createConnection: () => Duplex): Opened {
  const session = connect(authority, {
    createConnection,
    settings: { initialWindowSize: 1 << 20 },
    // MiB. With more than this waiting to be sent, Node refuses the headers of an answer that comes early.
    maxSessionMemory: 512,
  });
  const ready = new Promise<void>((resolve, reject) => {
    // The peer's settings are the first sign that it speaks HTTP/2.
    session.once('remoteSettings', () => {
      clearTimeout(timer);
      resolve();
    });
    session.on('error', reject);
    session.once('close', () =>
      reject(Object.assign(new Error('the connection was closed'), { code: 'ERR_HTTP2_ERROR' })),
    );
    const timer = setTimeout(
      () => session.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })),
      connectTimeoutMs,
    );
    session.once('close', () => clearTimeout(timer));
  });
  // Who asks awaits it; a session that fails when nobody asks is no one's concern.
  ready.catch(() => undefined);
  keepAlive(session);
  return { session, ready };
}

function openSocket(target: Exclude<Target, SshTarget>, connectTimeoutMs: number, credentials: Credentials): Socket {
  const socket =
    target.kind === 'tls'
      ? openTls(target, credentials)
      : target.kind === 'unix'
        ? connectSocket({ path: target.path })
        : connectSocket({ host: target.host, port: target.port, noDelay: true });
  const timer = setTimeout(
    () => socket.destroy(Object.assign(new Error('connect timed out'), { code: 'ETIMEDOUT' })),
    connectTimeoutMs,
  );
  socket.once(target.kind === 'tls' ? 'secureConnect' : 'connect', () => clearTimeout(timer));
  socket.once('close', () => clearTimeout(timer));
  return socket;
}

/** There is no way to have the other end's certificate not verified. */
function openTls({ host, port }: Target & { kind: 'tls' }, credentials: Credentials): TLSSocket {
  const { ca, certificate, privateKey, nodeId, revocations } = credentials;
  return connectTls({
    host,
    port,
    minVersion: 'TLSv1.3',
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
    checkServerIdentity: serverIdentityCheck(host, ca, nodeId, revocations),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate, key: privateKey }),
  });
}

function keepAlive(session: ClientHttp2Session): void {
  const interval = setInterval(() => {
    if (session.closed || session.destroyed || session.connecting) return;
    const timer = setTimeout(
      () => session.destroy(Object.assign(new Error('no answer to a ping'), { code: 'ETIMEDOUT' })),
      pingTimeoutMs,
    );
    timer.unref();
    session.ping(() => clearTimeout(timer));
  }, pingIntervalMs);
  interval.unref();
  session.once('close', () => clearInterval(interval));
}
