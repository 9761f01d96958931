// SPDX-License-Identifier: Apache-2.0
/**
 * The agent's API: gRPC, gRPC-Web (binary and text) and Connect on one HTTP/2 server per listener (h2c; from elsewhere
 * over TLS).
 *
 * connection -> peer identified -> HTTP/2 session (bounded in number, streams and idle time) -> call gate (may this
 * peer do that, is there room) -> message (bounded in size, and in the time it may take to arrive) -> use case.
 */
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { Socket } from 'node:net';
import {
  Code,
  ConnectError,
  type ConnectRouter,
  type ConnectRouterOptions,
  createConnectRouter,
  createContextValues,
} from '@connectrpc/connect';
import {
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from '@connectrpc/connect-node';
import { Health } from '@marcher/proto/grpc/health/v1/health_pb';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { AuditService } from '@marcher/proto/marcher/v1/audit_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { ObserveService } from '@marcher/proto/marcher/v1/observe_service_pb';
import { TrafficService } from '@marcher/proto/marcher/v1/traffic_service_pb';
import type { Relay } from '../../../ports/relay.js';
import type { UseCases } from '../../../ports/use-cases.js';
import { routeAccessService } from './access-api.js';
import type { ApiLogger } from './api-log.js';
import { deniedCalls, routeAuditService } from './audit-api.js';
import { createCallGate, notPassedOnKey, peerKey } from './call-gate.js';
import { createCallLog } from './call-log.js';
import { routeCertificateService } from './certificates-api.js';
import { routeConfigService, routePackedChanges } from './config-api.js';
import { handleWithText } from './grpc-web-text.js';
import { routeHealthService } from './health-api.js';
import { listenOnLoopback, type TcpAddress } from './loopback-listener.js';
import { routeMeshService } from './mesh-api.js';
import { routeNodeService } from './node-api.js';
import { routeObserveService } from './observe-api.js';
import { NODE_HEADER, passOn } from './passing-on.js';
import { createUserNames, identifyTcpPeer, identifyUnixPeer, type Peer, type PeerCredentialsPort } from './peer.js';
import { routeReflectionServices } from './reflection-api.js';
import { isKnown, RemoteCaller, UNKNOWN_CALL_BYTES } from './remote-caller.js';
import type { RemoteListener } from './remote-listener.js';
import { routeTrafficService } from './traffic-api.js';
import { type BoundSocket, listenOnUnixSocket } from './unix-socket.js';

export interface ApiServerOptions {
  readonly useCases: UseCases;
  readonly peerCredentials: PeerCredentialsPort;
  readonly logger: ApiLogger;
  /** Unix socket for local administrators; absent: none. */
  readonly socketPath?: string | undefined;
  /** Group that may use the socket beside root and the agent's user. Default "marcher". */
  readonly socketGroup?: string | undefined;
  /** For callers from elsewhere, over TLS. Absent: none. */
  readonly remote?: RemoteListener | undefined;
  /** By what calls about other members reach them. Absent: there are none. */
  readonly relay?: Relay | undefined;
  /** Loopback listener without authentication: whoever reaches it may do everything. Absent: none. */
  readonly tcp?: TcpAddress | undefined;
  readonly limits?: Partial<ApiLimits> | undefined;
}

export interface ApiLimits {
  /** Largest Plan or Apply message. */
  readonly changeMaxBytes: number;
  /** Largest message of every other call. */
  readonly messageMaxBytes: number;
  readonly changesInFlight: number;
  readonly openStreams: number;
  readonly connections: number;
  /** A console has one for each node of its mesh, and once more while it follows their logs. */
  readonly streamsPerConnection: number;
  /** Time in which a request must have arrived whole. */
  readonly requestMs: number;
  /** A connection without a stream or a frame for so long is closed. */
  readonly idleMs: number;
  /** Time that calls in progress have to finish when the server stops. */
  readonly stopMs: number;
}

const defaultLimits: ApiLimits = {
  changeMaxBytes: 64 << 20,
  messageMaxBytes: 1 << 20,
  changesInFlight: 8,
  openStreams: 256,
  connections: 256,
  streamsPerConnection: 2_048,
  requestMs: 60_000,
  idleMs: 600_000,
  stopMs: 5_000,
};

/** A refused peer gets its answer and no more time than that takes. */
const refusedPeerMs = 5_000;
/** Time that a peer has to close its side of a connection that has ended. */
const lingerMs = 2_000;
/** One refused peer per second is logged, the others are counted. */
const refusalLogMs = 1_000;

export interface ApiServer {
  /** Binds the listeners; throws with the reason when one can't be. */
  start(): Promise<void>;
  /** Ends streams with UNAVAILABLE, lets other calls finish for a while, and removes the socket. */
  stop(): Promise<void>;
  /** For calls that come another way, such as those that other members pass on. */
  readonly handle: Handler;
  /** Where the loopback listener is bound, once started. */
  readonly tcpAddress: TcpAddress | undefined;
}

export function createApiServer(options: ApiServerOptions): ApiServer {
  const { logger } = options;
  const limits: ApiLimits = { ...defaultLimits, ...options.limits };
  const group = options.socketGroup ?? 'marcher';
  const shutdown = new AbortController();
  const handle = createHandler(options, limits, shutdown.signal);
  const userName = createUserNames();
  const sessions = new Set<ServerHttp2Session>();
  const sockets = new Set<Socket>();
  const peers = new WeakMap<ServerHttp2Session, Peer>();
  let bound: BoundSocket | undefined;
  let tcpAddress: TcpAddress | undefined;
  const servers: Http2Server[] = [];
  const logRefusal = createRefusalLog(logger);

  const createListener = (identify: (socket: Socket) => Peer): Http2Server => {
    const server = createServer({
      // Enough memory for streamsPerConnection small messages and one large one; beyond it streams are refused.
      maxSessionMemory: 64 + Math.ceil(limits.changeMaxBytes / (1 << 20)),
      settings: { maxConcurrentStreams: limits.streamsPerConnection, initialWindowSize: 1 << 20 },
    });
    server.maxConnections = limits.connections;
    // Node announces the session of a connection while it handles that connection's event, before it reads from it.
    // Peers are identified first, in a listener that runs before Node's own.
    let arriving: { peer: Peer; socket: Socket } | undefined;
    server.prependListener('connection', (socket: Socket) => {
      const peer = identify(socket);
      arriving = { peer, socket };
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      if (!peer.allowed) logRefusal(peer);
    });
    server.on('session', (session) => {
      if (arriving === undefined) {
        session.destroy();
        return;
      }
      const { peer, socket } = arriving;
      arriving = undefined;
      peers.set(session, peer);
      sessions.add(session);
      session.once('close', () => {
        sessions.delete(session);
        // Node ends its side and waits for the other's end, which may never come.
        const timer = setTimeout(() => socket.destroy(), lingerMs);
        socket.once('close', () => clearTimeout(timer));
      });
      session.on('error', (error) => logger.debug({ caller: peer.author, error: error.message }, 'connection failed'));
      if (peer.allowed) {
        session.setLocalWindowSize(4 << 20);
        session.setTimeout(limits.idleMs, () => session.close());
      } else {
        setTimeout(() => session.destroy(), refusedPeerMs).unref();
      }
    });
    server.on('sessionError', () => undefined);
    server.on('request', (request, response) =>
      handle(request, response, peers.get(request.stream.session as ServerHttp2Session)),
    );
    servers.push(server);
    return server;
  };

  return {
    handle,
    get tcpAddress() {
      return tcpAddress;
    },
    async start() {
      try {
        if (options.socketPath !== undefined) {
          const ownUid = process.getuid?.() ?? -1;
          const credentials = options.peerCredentials;
          const server = createListener((socket) => identifyUnixPeer(socket, { credentials, ownUid, group, userName }));
          bound = await listenOnUnixSocket(server, options.socketPath, group);
          logger.info({ socket: bound.path }, 'API listens on a Unix socket');
        }
        if (options.tcp !== undefined) {
          const server = createListener(identifyTcpPeer);
          tcpAddress = await listenOnLoopback(server, options.tcp, 'the API');
          logger.info({ ...tcpAddress }, 'API listens on loopback: every local user may change this node');
        }
        await options.remote?.start(handle, limits);
      } catch (error) {
        await this.stop();
        throw error;
      }
      for (const server of servers) {
        server.on('error', (error) => logger.error({ error: error.message }, 'API listener failed'));
      }
    },
    async stop() {
      bound?.release();
      bound = undefined;
      shutdown.abort(new ConnectError('the agent is stopping: try again when it is back', Code.Unavailable));
      const closed = servers
        .filter((server) => server.listening)
        .map((server): Promise<unknown> | undefined => new Promise((resolve) => server.close(resolve)));
      for (const session of sessions) session.close();
      closed.push(options.remote?.stop(limits.stopMs));
      const deadline = setTimeout(() => {
        for (const session of sessions) session.destroy();
        for (const socket of sockets) socket.destroy();
      }, limits.stopMs);
      await Promise.all(closed);
      clearTimeout(deadline);
      servers.length = 0;
    },
  };
}

/** caller: undefined where the connection was not identified, which is answered as if there were nothing here. */
export type Handler = (
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  caller: Peer | RemoteCaller | undefined,
) => void;

function createHandler(
  { useCases, logger, relay }: ApiServerOptions,
  limits: ApiLimits,
  shutdownSignal: AbortSignal,
): Handler {
  const options: ConnectRouterOptions = {
    acceptCompression: [compressionGzip],
    readMaxBytes: limits.messageMaxBytes,
    shutdownSignal,
    requestGate: createCallGate(limits, deniedCalls(useCases.audit)),
    interceptors: [createCallLog(logger)],
  };
  const router: ConnectRouter = createConnectRouter(options);
  const services = [
    ConfigService,
    NodeService,
    TrafficService,
    ObserveService,
    MeshService,
    AuditService,
    AccessService,
    CertificateService,
  ];
  routeConfigService(router, useCases.config, limits);
  routeNodeService(router, useCases.node);
  routeTrafficService(router, useCases.traffic);
  routeObserveService(router, useCases.observe);
  routeMeshService(router, useCases.mesh);
  routeAuditService(router, useCases.audit);
  routeCertificateService(router, useCases.certificates);
  routeAccessService(router, useCases.access, deniedCalls(useCases.audit));
  routeHealthService(
    router,
    useCases.node,
    services.map((service) => service.typeName),
  );
  routeReflectionServices(router, [...services, Health]);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
  const packedRouter = createConnectRouter(options);
  routePackedChanges(packedRouter, useCases.config, limits);
  const packedHandlers = new Map(packedRouter.handlers.map((handler) => [handler.requestPath, handler]));

  return (request, response, caller) => {
    const path = request.url.split('?', 1)[0] ?? '';
    // application/json, application/grpc+json and the like; a GET of Connect's has no type and no changes.
    const json = /json/i.test(request.headers['content-type'] ?? '');
    const handler = (json ? undefined : packedHandlers.get(path)) ?? handlers.get(path);
    if (handler === undefined || caller === undefined) {
      // gRPC clients read this as UNIMPLEMENTED.
      response.writeHead(404);
      response.end();
      return;
    }
    if (handler.method.methodKind !== 'bidi_streaming') limitArrival(request, limits.requestMs);
    // Nothing here depends on it, and what clients of Unix sockets send as authority (a path) is not always a URL's.
    request.headers[':authority'] = 'localhost';
    const { authorization, [NODE_HEADER]: node } = request.headers;
    const remote = caller instanceof RemoteCaller ? caller : undefined;
    // Nobody further on has a use for these. What resets the call meanwhile is seen after it.
    request.on('error', () => undefined);
    delete request.headers.authorization;
    delete request.headers[NODE_HEADER];
    Promise.resolve(caller instanceof RemoteCaller ? caller.identify(authorization) : caller)
      .then(async (peer) => {
        if (request.stream.destroyed) throw new ConnectError('the caller has gone', Code.Canceled);
        const nobodys = remote !== undefined && !isKnown(peer);
        const room = !nobodys || remote.admitsUnknown((over) => request.stream.once('close', over));
        const context = createContextValues().set(peerKey, room ? peer : tooManyUnknown);
        const call = universalRequestFromNodeRequest(request, response, undefined, context);
        const held = handler.method.methodKind === 'unary' ? undefined : remote?.hold(authorization, call.signal);
        const arriving = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>;
        const body = nobodys ? atMost(arriving, UNKNOWN_CALL_BYTES, OF_UNKNOWN) : arriving;
        const signal = held ?? call.signal;
        if (node !== undefined) {
          const { typeName } = handler.service;
          const passed = await passOn(relay, logger, {
            ...{ node, request, response, peer: room ? peer : tooManyUnknown },
            method: `${typeName}/${handler.method.name}`,
            unary: handler.method.methodKind === 'unary',
            body: atMost(arriving, PASSED_TEXT_FACTOR * limits.messageMaxBytes, 'of calls that are passed on'),
            signal: AbortSignal.any([signal, shutdownSignal]),
          });
          if (passed === 'answered') return undefined;
          if (request.stream.destroyed) throw new ConnectError('the caller has gone', Code.Canceled);
          if (passed !== 'own') context.set(notPassedOnKey, passed);
        }
        return handleWithText(handler, { ...call, body, signal });
      })
      .then((answer) => {
        if (answer === undefined) return undefined;
        // A message refused by its size is still being sent. Resetting the stream then can take the answer with it, so
        // the rest is read and dropped, for as long as a request may take to arrive.
        response.once('finish', () => request.resume());
        return universalResponseToNodeResponse(answer, response);
      })
      .catch((reason: unknown) => {
        // The client has gone, or sent what is not HTTP in our sense. RPC failures were answered and logged before.
        const error = ConnectError.from(reason);
        logger.debug({ path, caller: caller.author, error: error.message }, 'call was cut off');
        if (!response.headersSent && !response.destroyed) {
          response.writeHead(400);
          response.end();
        }
      });
  };
}

/** A message of the largest size as gRPC-Web's text, and what is around it. The other node counts the message itself. */
const PASSED_TEXT_FACTOR = 2;

const tooManyUnknown: Peer = {
  allowed: false,
  author: 'unknown',
  via: 'tls',
  source: '',
  reason: 'too many calls of this connection, which has not said who it is, are open: try again when they are over',
  code: Code.ResourceExhausted,
};

const OF_UNKNOWN = 'of callers who have not said who they are';

/** of: in which calls. */
async function* atMost(chunks: AsyncIterable<Uint8Array>, most: number, of: string): AsyncIterable<Uint8Array> {
  let bytes = 0;
  for await (const chunk of chunks) {
    bytes += chunk.length;
    if (bytes > most) {
      throw new ConnectError(
        `this message is larger than the ${most} bytes that are read ${of}`,
        Code.ResourceExhausted,
      );
    }
    yield chunk;
  }
}

function limitArrival(request: Http2ServerRequest, ms: number): void {
  const timer = setTimeout(() => request.stream.close(0x8 /* CANCEL */), ms);
  timer.unref();
  const arrived = (): void => clearTimeout(timer);
  request.once('end', arrived);
  request.once('close', arrived);
}

function createRefusalLog(logger: ApiLogger): (peer: Peer & { allowed: false }) => void {
  let last = Number.NEGATIVE_INFINITY;
  let unlogged = 0;
  return (peer) => {
    const now = performance.now();
    if (now - last < refusalLogMs) {
      unlogged++;
      return;
    }
    logger.warn({ audit: 'api-refused', caller: peer.author, reason: peer.reason, unlogged }, 'refused a local peer');
    last = now;
    unlogged = 0;
  };
}
