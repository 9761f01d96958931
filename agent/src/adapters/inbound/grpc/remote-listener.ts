// SPDX-License-Identifier: Apache-2.0
/**
 * The API for callers from elsewhere: HTTP/2 over TLS 1.3, and nothing for anybody who has not said who it is.
 *
 *   TCP --connections per source and time--> handshake --ALPN h2--> waiting to be known --a call by an operator--> known
 *
 * Bounded: connections per source and second; handshakes at once and HANDSHAKE_MS for each; connections that wait to be
 * known, and how long; known ones. Of handshakes and of those that wait the oldest makes room, so that who opens thousands
 * and says nothing keeps nobody out. Where an operator has come from of late there are places apart, so that neither do
 * those who come from thousands of addresses. What a connection may send before it is known is a window of 64 KiB.
 */
import { createServer as createHttp2Server, type Http2Server, type ServerHttp2Session } from 'node:http2';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { AttemptLimit, type AttemptRules } from '../../../domain/identity/attempt-limit.js';
import { type FamiliarRules, FamiliarSources } from '../../../domain/identity/familiar-sources.js';
import { sourceOf } from '../../../domain/identity/source.js';
import type { Authenticator } from '../../../ports/access.js';
import type { OperatorTls } from '../../outbound/identity/operator-tls.js';
import { Places } from '../../outbound/identity/places.js';
import { RefusalLog } from '../mesh/refusal-log.js';
import type { ApiLogger } from './api-log.js';
import type { ApiLimits, Handler } from './api-server.js';
import type { TcpAddress } from './loopback-listener.js';
import { type CallerRefusal, RemoteCaller } from './remote-caller.js';

export interface RemoteListenerOptions {
  /** IP literal; port 0: any free one. */
  readonly address: TcpAddress;
  readonly authenticator: Authenticator;
  readonly logger: ApiLogger;
  readonly limits?: Partial<RemoteLimits> | undefined;
  readonly nowMs?: () => number;
}

export interface RemoteLimits {
  readonly connects: AttemptRules;
  /** Of tokens that are wrong. */
  readonly failures: AttemptRules;
  readonly handshakesMax: number;
  readonly handshakesPerSourceMax: number;
  readonly handshakeMs: number;
  /** Not known yet. */
  readonly waitingMax: number;
  readonly waitingPerSourceMax: number;
  readonly waitingMs: number;
  readonly knownMax: number;
  readonly knownPerSourceMax: number;
  /** Addresses that operators have come from. */
  readonly familiar: FamiliarRules;
  /** Between two looks whether those with open streams would still be let in. */
  readonly reviewMs: number;
  /** The same where it is known that some would not be. */
  readonly reviewSoonMs: number;
}

export const REMOTE_LIMITS: RemoteLimits = {
  // A handshake costs this node some 2 ms: all of them at most a fifth of its thread.
  connects: { perSource: { burst: 100, everyMs: 50 }, total: { burst: 400, everyMs: 10 }, sourcesMax: 10_000 },
  failures: { perSource: { burst: 20, everyMs: 1_000 }, total: { burst: 400, everyMs: 20 }, sourcesMax: 10_000 },
  handshakesMax: 256,
  handshakesPerSourceMax: 32,
  handshakeMs: 10_000,
  waitingMax: 64,
  waitingPerSourceMax: 16,
  waitingMs: 30_000,
  knownMax: 256,
  knownPerSourceMax: 64,
  familiar: { most: 1_000, keptMs: 30 * 86_400_000 },
  reviewMs: 30_000,
  reviewSoonMs: 1_000,
};

/** Beside what the API allows elsewhere: headers, settings, frames that are wrong, streams that are opened and reset. */
const HTTP2 = {
  maxSettings: 16,
  maxHeaderListPairs: 64,
  maxSessionInvalidFrames: 10,
  maxSessionRejectedStreams: 20,
  streamResetBurst: 100,
  streamResetRate: 10,
} as const;
const HEADER_BYTES = 8 * 1024;
/** Goodbyes have so long to get out, and the other end to close its side. */
const LINGER_MS = 2_000;
const LISTEN_AGAIN_MS = 5_000;
const KNOWN_WINDOW_BYTES = 4 << 20;
/** Calls at a time of who has not said who it is: a console's many come once it has. */
const STRANGER_STREAMS = 128;

export type RemoteRefusal =
  | CallerRefusal
  | 'handshake'
  | 'protocol'
  | 'too-many-connects'
  | 'too-many-handshakes'
  | 'too-many-waiting'
  | 'too-many-known'
  | 'not-known-in-time';

interface Connection {
  readonly caller: RemoteCaller;
  readonly session: ServerHttp2Session;
  readonly socket: TLSSocket;
  readonly source: string;
}

export class RemoteListener {
  readonly #options: RemoteListenerOptions;
  readonly #limits: RemoteLimits;
  readonly #nowMs: () => number;
  readonly #log: RefusalLog<RemoteRefusal>;
  readonly #connects: AttemptLimit;
  readonly #failures: AttemptLimit;
  readonly #handshaking: Places;
  readonly #waiting: Places;
  /** Of where operators come from, these apart. */
  readonly #familiar: FamiliarSources;
  readonly #familiarConnects: AttemptLimit;
  readonly #familiarHandshaking: Places;
  readonly #familiarWaiting: Places;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Set<Connection>();
  readonly #callers = new WeakMap<ServerHttp2Session, RemoteCaller>();
  /** Known ones, by sourceOf(). */
  readonly #known = new Map<string, number>();
  #tls: OperatorTls | undefined;
  #http2: Http2Server | undefined;
  #apiLimits: ApiLimits | undefined;
  #listener: Server | undefined;
  #bound: TcpAddress | undefined;
  #review: NodeJS.Timeout | undefined;
  #reviewSoon: NodeJS.Timeout | undefined;
  #reviewedMs = 0;
  #again: NodeJS.Timeout | undefined;
  #fault: string | undefined;
  #stopped = false;
  #arrived: ServerHttp2Session | undefined;

  constructor(options: RemoteListenerOptions) {
    this.#options = options;
    this.#limits = { ...REMOTE_LIMITS, ...options.limits };
    this.#nowMs = options.nowMs ?? Date.now;
    const place = { audit: 'api-refused', message: 'refused a caller from elsewhere' };
    this.#log = new RefusalLog<RemoteRefusal>(options.logger, undefined, place);
    this.#connects = new AttemptLimit(this.#limits.connects);
    this.#failures = new AttemptLimit(this.#limits.failures);
    const { handshakesMax, handshakesPerSourceMax, waitingMax, waitingPerSourceMax } = this.#limits;
    this.#handshaking = new Places({ most: handshakesMax, mostPerSource: handshakesPerSourceMax });
    this.#waiting = new Places({ most: waitingMax, mostPerSource: waitingPerSourceMax });
    this.#familiar = new FamiliarSources(this.#limits.familiar);
    // Of one source as of any; of all of them together as often as these may.
    const { perSource } = this.#limits.connects;
    const total = { burst: 4 * perSource.burst, everyMs: perSource.everyMs / 4 };
    this.#familiarConnects = new AttemptLimit({ perSource, total, sourcesMax: this.#limits.familiar.most });
    this.#familiarHandshaking = new Places({ most: 2 * handshakesPerSourceMax, mostPerSource: handshakesPerSourceMax });
    this.#familiarWaiting = new Places({ most: 2 * waitingPerSourceMax, mostPerSource: waitingPerSourceMax });
  }

  /** Where it is bound; undefined: it is not (yet). */
  get address(): TcpAddress | undefined {
    return this.#bound;
  }

  /** Why it is not there although it should be; undefined: it is, or it waits for use(). */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** Since the start. */
  get refusals(): ReadonlyMap<RemoteRefusal, number> {
    return this.#log.counts;
  }

  /** Connections, by how far they are. */
  get counts(): { readonly open: number; readonly http2: number; readonly known: number } {
    const known = [...this.#known.values()].reduce((sum, count) => sum + count, 0);
    return { open: this.#sockets.size, http2: this.#connections.size, known };
  }

  /** Now this node can show a certificate. Listens, when it was started; what comes later by tls.update() counts, too. */
  use(tls: OperatorTls): void {
    this.#tls = tls;
    if (this.#http2 !== undefined) void this.#listenInTurn();
  }

  /** Fails with a sentence for the operator when it can't listen; without a certificate it listens later. */
  async start(handle: Handler, limits: ApiLimits): Promise<void> {
    this.#apiLimits = limits;
    this.#http2 = this.#createHttp2(handle, limits);
    this.#review = setInterval(() => void this.#reviewAll(), this.#limits.reviewMs);
    this.#review.unref();
    if (this.#tls !== undefined) await this.#listen(this.#tls);
  }

  /** To be called after each OperatorTls.update(): whose certificate would be refused now is cut off. */
  judgeAgain(): void {
    for (const { caller, session } of this.#connections) {
      const fault = caller.fault();
      if (fault === undefined) continue;
      this.#log.note(fault.refusal, { reason: fault.reason, from: caller.author });
      void caller.review().finally(() => session.close());
    }
  }

  /** Users or keys have changed: streams of who would not be let in any more end within a second. */
  reviewSoon(): void {
    if (this.#stopped || this.#reviewSoon !== undefined) return;
    const waitMs = Math.max(0, this.#reviewedMs + this.#limits.reviewSoonMs - this.#nowMs());
    this.#reviewSoon = setTimeout(
      () => {
        this.#reviewSoon = undefined;
        void this.#reviewAll();
      },
      Math.min(waitMs, this.#limits.reviewSoonMs),
    );
    this.#reviewSoon.unref();
  }

  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#review);
    clearTimeout(this.#reviewSoon);
    clearTimeout(this.#again);
    const closed = new Promise<void>((resolve) => {
      if (this.#listener?.listening === true) this.#listener.close(() => resolve());
      else resolve();
    });
    for (const { session } of this.#connections) session.close();
    for (const socket of this.#sockets) if (!this.#hasSession(socket)) socket.destroy();
    const timer = setTimeout(() => {
      for (const { session } of this.#connections) session.destroy();
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await closed;
    clearTimeout(timer);
    this.#log.close();
  }

  // Listening.

  async #listenInTurn(): Promise<void> {
    if (this.#stopped || this.#tls === undefined || this.#listener !== undefined) return;
    try {
      await this.#listen(this.#tls);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#fault)
        this.#options.logger.error({ reason }, 'the API is not there for callers from elsewhere');
      this.#fault = reason;
      this.#again = setTimeout(() => void this.#listenInTurn(), LISTEN_AGAIN_MS);
      this.#again.unref();
    }
  }

  async #listen(tls: OperatorTls): Promise<void> {
    const { address, logger } = this.#options;
    const listener = this.#createListener(tls);
    this.#listener = listener;
    try {
      await new Promise<void>((resolve, reject) => {
        listener.once('error', (error: NodeJS.ErrnoException) => reject(new Error(sentence(error, address))));
        listener.listen({ host: address.host, port: address.port }, resolve);
      });
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
    listener.removeAllListeners('error');
    listener.on('error', (error) => logger.error({ error: error.message }, 'API listener failed'));
    const bound = listener.address() as AddressInfo;
    this.#bound = { host: bound.address, port: bound.port };
    this.#fault = undefined;
    logger.info({ ...this.#bound }, 'API listens for operators elsewhere, over TLS');
  }

  #createListener(mesh: OperatorTls): Server {
    /** By whom() it is, of those in their handshake: what ends that. */
    const handshakes = new Map<string, () => void>();
    const tls = createTlsServer({
      ...mesh.context,
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: this.#limits.handshakeMs,
      ALPNProtocols: ['h2'],
    });
    tls.on('tlsClientError', (error, socket) => {
      // OpenSSL's errors have their reason apart; the message is one of its source lines.
      const { reason = error.message } = error as Error & { readonly reason?: string };
      this.#refuse(socket, 'handshake', `the TLS handshake failed: ${reason}`);
    });
    tls.on('secureConnection', (socket) => {
      // The HTTP/2 session has handlers of its own; until then a reset must not end the process.
      socket.on('error', () => {});
      handshakes.get(whom(socket))?.();
      if (socket.alpnProtocol === 'h2') this.#entered(socket, mesh);
      else this.#refuse(socket, 'protocol', 'it does not offer HTTP/2 by ALPN');
    });
    const listener = createServer({ noDelay: true }, (socket) => {
      const key = sourceOf(plainAddress(socket.remoteAddress ?? ''));
      const familiar = this.#familiar.has(key, this.#nowMs());
      const connects = familiar ? this.#familiarConnects : this.#connects;
      if (this.#stopped || !connects.admit(key, this.#nowMs()).admitted) {
        this.#refuse(socket, 'too-many-connects', 'too many connections in a short time');
        return;
      }
      this.#sockets.add(socket);
      const places = familiar ? this.#familiarHandshaking : this.#handshaking;
      const leave = places.enter(key, () => {
        const reason = 'it was slow, and too many connections are in their TLS handshake';
        this.#refuse(socket, 'too-many-handshakes', reason);
      });
      const id = whom(socket);
      const done = (): void => {
        leave();
        handshakes.delete(id);
      };
      handshakes.set(id, done);
      socket.once('close', () => {
        done();
        this.#sockets.delete(socket);
      });
      tls.emit('connection', socket);
    });
    const { handshakesMax, handshakesPerSourceMax, waitingMax, waitingPerSourceMax, knownMax } = this.#limits;
    listener.maxConnections =
      handshakesMax + waitingMax + knownMax + 2 * (handshakesPerSourceMax + waitingPerSourceMax) + 64;
    listener.once('close', mesh.attach(tls));
    return listener;
  }

  #createHttp2(handle: Handler, limits: ApiLimits): Http2Server {
    const server = createHttp2Server({
      ...HTTP2,
      maxSessionMemory: 64 + Math.ceil(limits.changeMaxBytes / (1 << 20)),
      settings: {
        enablePush: false,
        maxConcurrentStreams: Math.min(STRANGER_STREAMS, limits.streamsPerConnection),
        initialWindowSize: 1 << 20,
        maxHeaderListSize: HEADER_BYTES,
      },
    });
    server.on('session', (session) => {
      this.#arrived = session;
    });
    server.on('sessionError', () => undefined);
    server.on('request', (request, response) => {
      handle(request, response, this.#callers.get(request.stream.session as ServerHttp2Session));
    });
    return server;
  }

  // One connection.

  #entered(socket: TLSSocket, tls: OperatorTls): void {
    const { authenticator, logger } = this.#options;
    const source = plainAddress(socket.remoteAddress ?? '');
    const caller = new RemoteCaller({
      source,
      shown: tls.shownBy(socket),
      judge: (presented) => tls.judge(presented),
      authenticator,
      failures: this.#failures,
      nowMs: this.#nowMs,
      refused: (refusal, reason) => this.#log.note(refusal, { reason, from: source }),
      failed: (error) => logger.error({ error: stack(error) }, 'a caller could not be identified'),
    });
    this.#arrived = undefined;
    // Node announces the session while it handles this event, and reads nothing before.
    this.#http2?.emit('connection', socket);
    const session = this.#arrived as ServerHttp2Session | undefined;
    if (session === undefined) {
      socket.destroy();
      return;
    }
    const connection: Connection = { caller, session, socket, source };
    this.#connections.add(connection);
    this.#callers.set(session, caller);
    const leave = this.#waitToBeKnown(connection);
    let counted = false;
    caller.onAuthenticated = () => {
      leave();
      this.#familiar.see(sourceOf(source), this.#nowMs());
      counted = this.#countKnown(connection);
    };
    session.on('error', (error) => logger.debug({ caller: caller.author, error: error.message }, 'connection failed'));
    session.once('close', () => {
      leave();
      this.#connections.delete(connection);
      if (counted) this.#uncountKnown(connection);
      // Node ends its side and waits for the other's end, which may never come.
      const timer = setTimeout(() => socket.destroy(), LINGER_MS);
      timer.unref();
      socket.once('close', () => clearTimeout(timer));
    });
  }

  #waitToBeKnown(connection: Connection): () => void {
    const end = (refusal: RemoteRefusal, reason: string): void => {
      this.#log.note(refusal, { reason, from: connection.source });
      connection.session.destroy();
    };
    const key = sourceOf(connection.source);
    const places = this.#familiar.has(key, this.#nowMs()) ? this.#familiarWaiting : this.#waiting;
    const left = places.enter(key, () => {
      end('too-many-waiting', 'too many connections have not said who they are: the oldest is closed');
    });
    const { waitingMs } = this.#limits;
    const timer = setTimeout(() => {
      end('not-known-in-time', `no call by an operator within ${waitingMs} ms`);
    }, waitingMs);
    return () => {
      left();
      clearTimeout(timer);
    };
  }

  /** Whether there was room. */
  #countKnown({ session, source }: Connection): boolean {
    const { knownMax, knownPerSourceMax } = this.#limits;
    const key = sourceOf(source);
    const mine = this.#known.get(key) ?? 0;
    if (session.destroyed) return false;
    if (this.counts.known >= knownMax || mine >= knownPerSourceMax) {
      const reason = `${knownMax} connections of operators are open, or ${knownPerSourceMax} of one address: no more are taken`;
      this.#log.note('too-many-known', { reason, from: source });
      session.destroy();
      return false;
    }
    this.#known.set(key, mine + 1);
    session.setLocalWindowSize(KNOWN_WINDOW_BYTES);
    const maxConcurrentStreams = this.#apiLimits?.streamsPerConnection;
    if (maxConcurrentStreams !== undefined) session.settings({ maxConcurrentStreams });
    session.setTimeout(this.#apiLimits?.idleMs ?? 0, () => session.close());
    return true;
  }

  #uncountKnown({ source }: Connection): void {
    const key = sourceOf(source);
    const left = (this.#known.get(key) ?? 1) - 1;
    if (left === 0) this.#known.delete(key);
    else this.#known.set(key, left);
  }

  async #reviewAll(): Promise<void> {
    this.#reviewedMs = this.#nowMs();
    this.judgeAgain();
    for (const { caller } of [...this.#connections]) await caller.review();
  }

  #hasSession(socket: Socket): boolean {
    const id = whom(socket);
    return [...this.#connections].some((connection) => whom(connection.socket) === id);
  }

  #refuse(socket: Socket, refusal: RemoteRefusal, reason: string): void {
    this.#log.note(refusal, { reason, from: plainAddress(socket.remoteAddress ?? '') });
    socket.destroy();
  }
}

/** An IPv4 address also where it came to a socket for both. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

/** One connection's other end: the only thing that a TLS socket and the socket below it have in common. */
function whom({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function sentence(error: NodeJS.ErrnoException, { host, port }: TcpAddress): string {
  const where = `the API can't listen on ${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (error.code === 'EADDRINUSE') return `${where}: another process has the port; choose another`;
  if (error.code === 'EADDRNOTAVAIL') return `${where}: the address is none of this machine's`;
  return `${where}: ${error.message}`;
}

function stack(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
