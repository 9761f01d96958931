// SPDX-License-Identifier: Apache-2.0
/**
 * gRPC over HTTP/2 (http2-door.ts) for connections whose other end is known already. A door leads to the calls that it was
 * made with and to nothing else.
 */
import {
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
import { Http2Door, type Http2DoorLimits } from './http2-door.js';
import { MessageGauge, type MessageLimits } from './message-gauge.js';

export interface DoorLimits
  extends MessageLimits,
    Pick<Http2DoorLimits, 'streamsPerConnection' | 'windowBytes' | 'idleMs'> {
  /**
   * Chunks that a request may come in; the largest is some 50 TCP segments. Connect goes through all that it has for each
   * that comes: one in crumbs would cost the square of their number.
   */
  readonly chunksMax: number;
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

/** Nodes open a few streams in the whole life of a connection, and reset none. */
const FEW = {
  headerBytes: 8 * 1024,
  headerPairs: 32,
  streamsPerSecond: 100,
  resets: { burst: 100, rate: 10 },
} as const;
/** An answer that came before its request was whole gets so long until the stream is cut. */
const LINGER_MS = 2_000;

export class GrpcDoor<Caller> {
  readonly #door: Http2Door<Caller>;
  readonly #options: DoorOptions<Caller>;

  constructor(options: DoorOptions<Caller>) {
    this.#options = options;
    const { limits, routes, failed } = options;
    const router = createConnectRouter({
      grpcWeb: false,
      connect: false,
      // What is small when it comes could be large when it is unpacked.
      acceptCompression: [],
      readMaxBytes: limits.messageMaxBytes,
    });
    routes(router);
    const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
    const { streamsPerConnection, windowBytes, idleMs } = limits;
    const memoryMib = 8 + Math.ceil(windowBytes / (1 << 20));
    this.#door = new Http2Door<Caller>({
      limits: { ...FEW, streamsPerConnection, windowBytes, idleMs, memoryMib },
      failed,
      serve: (request, response, caller) => {
        const handler = handlers.get(request.url);
        if (handler === undefined || caller === undefined) {
          // gRPC clients read this as UNIMPLEMENTED.
          response.writeHead(404);
          response.end();
          return;
        }
        this.#answer(handler, request, response, caller);
      },
    });
  }

  /** The session is over when it emits "close". */
  enter(socket: TLSSocket, caller: Caller): ServerHttp2Session {
    return this.#door.enter(socket, caller);
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
