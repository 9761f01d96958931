// SPDX-License-Identifier: Apache-2.0
/**
 * gRPC over HTTP/2 for connections whose other end is known already: by their TLS certificate, or as strangers. A door
 * leads to the calls that it was made with and to nothing else.
 *
 * Bounded per connection: streams, what they may have unread, headers, settings, resets, idle time. Floods of PING and
 * SETTINGS whose answers are not read are ended by nghttp2 (NGHTTP2_ERR_FLOODED), which Node leaves at its default.
 */
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  constants as http2,
  type ServerHttp2Session,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ContextKey,
  createConnectRouter,
  createContextValues,
} from '@connectrpc/connect';
import { universalRequestFromNodeRequest, universalResponseToNodeResponse } from '@connectrpc/connect-node';
import { MessageGauge, type MessageLimits } from './message-gauge.js';

export interface DoorLimits extends MessageLimits {
  readonly streamsPerConnection: number;
  /** Of one stream, and of a whole connection: what was sent and not read yet. */
  readonly windowBytes: number;
  /**
   * Chunks that a request may come in; the largest is some 50 TCP segments. Connect goes through all that it has for each
   * that comes: one in crumbs would cost the square of their number.
   */
  readonly chunksMax: number;
  /** A connection on which nothing came for so long is closed. */
  readonly idleMs: number;
}

export interface DoorOptions<Caller> {
  readonly limits: DoorLimits;
  /** Which calls there are. */
  readonly routes: (router: ConnectRouter) => void;
  /** By which a call's caller is found in its context. */
  readonly callerKey: ContextKey<Caller>;
  /** A connection that broke the rules of HTTP/2, or a call that was cut off. */
  readonly failed: (caller: Caller, reason: string) => void;
}

const HEADER_BYTES = 8 * 1024;
const HEADER_PAIRS = 32;
const SETTINGS_ENTRIES = 16;
const INVALID_FRAMES = 10;
const REJECTED_STREAMS = 20;
const LOOK_MS = 1_000;
/**
 * Others open a few in the whole life of a connection. Those that are reset by this side, as their headers are too many or
 * break a rule, are counted by nobody else (CVE-2025-8671).
 */
const STREAMS_PER_LOOK = 100;
/** Streams that are opened and reset (CVE-2023-44487): so many at once, and so many per second. */
const RESETS = { burst: 100, rate: 10 } as const;
/** An answer that came before its request was whole gets so long until the stream is cut. */
const LINGER_MS = 2_000;

export class GrpcDoor<Caller> {
  readonly #server: Http2Server;
  readonly #options: DoorOptions<Caller>;
  readonly #callers = new WeakMap<ServerHttp2Session, Caller>();
  #arrived: ServerHttp2Session | undefined;

  constructor(options: DoorOptions<Caller>) {
    this.#options = options;
    const { limits, routes } = options;
    const router = createConnectRouter({
      grpcWeb: false,
      connect: false,
      // What is small when it comes could be large when it is unpacked.
      acceptCompression: [],
      readMaxBytes: limits.messageMaxBytes,
    });
    routes(router);
    const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
    this.#server = createServer({
      maxSessionMemory: 8 + Math.ceil(limits.windowBytes / (1 << 20)),
      maxSettings: SETTINGS_ENTRIES,
      maxHeaderListPairs: HEADER_PAIRS,
      maxSessionInvalidFrames: INVALID_FRAMES,
      maxSessionRejectedStreams: REJECTED_STREAMS,
      streamResetBurst: RESETS.burst,
      streamResetRate: RESETS.rate,
      settings: {
        enablePush: false,
        maxConcurrentStreams: limits.streamsPerConnection,
        initialWindowSize: limits.windowBytes,
        maxHeaderListSize: HEADER_BYTES,
      },
    });
    this.#server.on('session', (session) => {
      this.#arrived = session;
    });
    this.#server.on('sessionError', () => undefined);
    this.#server.on('request', (request, response) => {
      const caller = this.#callers.get(request.stream.session as ServerHttp2Session);
      const handler = handlers.get(request.url);
      if (handler === undefined || caller === undefined) {
        // gRPC clients read this as UNIMPLEMENTED.
        response.writeHead(404);
        response.end();
        return;
      }
      this.#answer(handler, request, response, caller);
    });
  }

  /** The session is over when it emits "close". */
  enter(socket: TLSSocket, caller: Caller): ServerHttp2Session {
    const { limits, failed } = this.#options;
    this.#arrived = undefined;
    // Node announces the session while it handles this event, and reads nothing before.
    this.#server.emit('connection', socket);
    const session = this.#arrived as ServerHttp2Session | undefined;
    if (session === undefined) throw new Error('a TLS connection without ALPN h2 came to an HTTP/2 server');
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
      if (opened - before > STREAMS_PER_LOOK) {
        failed(caller, `it opened ${opened - before} streams within ${everyMs} ms`);
        session.destroy();
      } else if (quietMs >= limits.idleMs) {
        session.destroy();
      }
    }, everyMs);
    look.unref();
    session.once('close', () => {
      clearInterval(look);
      // Node ends its side and waits for the other's end, which may never come.
      const timer = setTimeout(() => socket.destroy(), LINGER_MS);
      timer.unref();
      socket.once('close', () => clearTimeout(timer));
    });
    return session;
  }

  #answer(
    handler: ConnectRouter['handlers'][number],
    request: Http2ServerRequest,
    response: Http2ServerResponse,
    caller: Caller,
  ): void {
    const { callerKey, failed, limits } = this.#options;
    // Nothing here depends on it, and it need not be a URL's.
    request.headers[':authority'] = 'localhost';
    Promise.resolve()
      .then(() => {
        const context = createContextValues().set(callerKey, caller);
        const call = universalRequestFromNodeRequest(request, response, undefined, context);
        return handler({ ...call, body: bounded(request, limits, (reason) => failed(caller, reason)) });
      })
      .then((answer) => {
        response.once('finish', () => {
          // Resetting at once could take the answer with it: the rest is read and dropped, for a while.
          request.resume();
          const timer = setTimeout(() => request.stream.close(http2.NGHTTP2_NO_ERROR), LINGER_MS);
          request.stream.once('close', () => clearTimeout(timer));
        });
        return universalResponseToNodeResponse(answer, response);
      })
      .catch((reason: unknown) => {
        // The caller has gone, or sent what is not HTTP in our sense. Failures of RPCs were answered before.
        if (!response.headersSent && !response.destroyed) {
          failed(caller, ConnectError.from(reason).message);
          response.writeHead(400);
          response.end();
        }
      });
  }
}

function bounded(
  request: Http2ServerRequest,
  limits: DoorLimits,
  failed: (reason: string) => void,
): AsyncIterable<Uint8Array> {
  const { chunksMax } = limits;
  const gauge = new MessageGauge(limits);
  let came = 0;
  const end = (reason: string): never => {
    failed(reason);
    throw new ConnectError(reason, Code.ResourceExhausted);
  };
  const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Uint8Array>;
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        came += 1;
        if (came > chunksMax) return end(`a request came in more than ${chunksMax} pieces: send larger ones`);
        const chunk = await chunks.next();
        const fault = chunk.done === true ? undefined : gauge.push(chunk.value);
        return fault === undefined ? chunk : end(fault);
      },
      return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
    }),
  };
}
