// SPDX-License-Identifier: Apache-2.0
/**
 * HTTP/2 for connections whose other end is known already: by their TLS certificate, or as strangers.
 *
 * Bounded per connection: streams, what they may have unread, headers, settings, resets, idle time. Floods of PING and
 * SETTINGS whose answers are not read are ended by nghttp2 (NGHTTP2_ERR_FLOODED), which Node leaves at its default.
 */
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';

export interface Http2DoorLimits {
  readonly streamsPerConnection: number;
  /** Of one stream, and of a whole connection: what was sent and not read yet. */
  readonly windowBytes: number;
  /** A connection on which nothing came for so long is closed. */
  readonly idleMs: number;
  readonly headerBytes: number;
  readonly headerPairs: number;
  /** Streams that are opened and reset (CVE-2023-44487): so many at once, and so many per second. */
  readonly resets: { readonly burst: number; readonly rate: number };
  /**
   * Streams that are opened within a second. Those that are reset by this side, as their headers are too many or break a
   * rule, are counted by nobody else (CVE-2025-8671).
   */
  readonly streamsPerSecond: number;
  readonly memoryMib: number;
}

export interface Http2DoorOptions<Caller> {
  readonly limits: Http2DoorLimits;
  readonly serve: (request: Http2ServerRequest, response: Http2ServerResponse, caller: Caller | undefined) => void;
  /** A connection that broke the rules of HTTP/2. */
  readonly failed: (caller: Caller, reason: string) => void;
}

const SETTINGS_ENTRIES = 16;
const INVALID_FRAMES = 10;
const REJECTED_STREAMS = 20;
const LOOK_MS = 1_000;
/** Node ends its side and waits for the other's end, which may never come. */
const LINGER_MS = 2_000;

export class Http2Door<Caller> {
  readonly #server: Http2Server;
  readonly #options: Http2DoorOptions<Caller>;
  readonly #callers = new WeakMap<ServerHttp2Session, Caller>();
  #arrived: ServerHttp2Session | undefined;

  constructor(options: Http2DoorOptions<Caller>) {
    this.#options = options;
    const { limits, serve } = options;
    this.#server = createServer({
      maxSessionMemory: limits.memoryMib,
      maxSettings: SETTINGS_ENTRIES,
      maxHeaderListPairs: limits.headerPairs,
      maxSessionInvalidFrames: INVALID_FRAMES,
      maxSessionRejectedStreams: REJECTED_STREAMS,
      streamResetBurst: limits.resets.burst,
      streamResetRate: limits.resets.rate,
      settings: {
        enablePush: false,
        maxConcurrentStreams: limits.streamsPerConnection,
        initialWindowSize: limits.windowBytes,
        maxHeaderListSize: limits.headerBytes,
      },
    });
    this.#server.on('session', (session) => {
      this.#arrived = session;
    });
    this.#server.on('sessionError', () => undefined);
    this.#server.on('request', (request, response) => {
      serve(request, response, this.#callers.get(request.stream.session as ServerHttp2Session));
    });
  }

  /** The session is over when it emits "close". */
  enter(socket: TLSSocket, caller: Caller): ServerHttp2Session {
    const { limits, failed } = this.#options;
    this.#arrived = undefined;
    // Node announces the session while it handles this event, and reads nothing before.
    this.#server.emit('connection', socket);
    const session = this.#arrived as ServerHttp2Session | undefined;
    if (session === undefined) throw new Error('a TLS connection by another protocol came to an HTTP/2 server');
    this.#callers.set(session, caller);
    session.on('error', (error) => failed(caller, error.message));
    if (!session.destroyed) session.setLocalWindowSize(limits.windowBytes);
    const everyMs = Math.min(LOOK_MS, limits.idleMs / 2);
    let read = -1;
    let quietMs = 0;
    let opened = 0;
    const look = setInterval(() => {
      // Not session.setTimeout(): PINGs do not count there.
      quietMs = socket.bytesRead === read ? quietMs + everyMs : 0;
      read = socket.bytesRead;
      const before = opened;
      // Streams of clients have odd numbers.
      opened = Math.ceil((session.state.lastProcStreamID ?? 0) / 2);
      if (opened - before > limits.streamsPerSecond) {
        failed(caller, `it opened ${opened - before} streams within ${everyMs} ms`);
        session.destroy();
      } else if (quietMs >= limits.idleMs) {
        session.destroy();
      }
    }, everyMs);
    look.unref();
    session.once('close', () => {
      clearInterval(look);
      const timer = setTimeout(() => socket.destroy(), LINGER_MS);
      timer.unref();
      socket.once('close', () => clearTimeout(timer));
    });
    return session;
  }
}
