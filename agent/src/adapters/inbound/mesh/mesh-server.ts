// SPDX-License-Identifier: Apache-2.0
/**
 * The mesh port: where other nodes' messages and calls come in, and where strangers join.
 *
 *   mesh-listener.ts: TLS, judged --peer, ALPN marcher-replica/1--> messages of its replica   (replica-stream.ts)
 *                                 --peer, ALPN h2--> PeerService, and nothing else   (peer-service.ts)
 *                                 --peer, ALPN marcher-relay/1--> calls of the API that it passes on   (relay-door.ts)
 *                                 --stranger, ALPN h2--> JoinService, and nothing else   (join-service.ts)
 *                                 --others--> closed, and said in the log   (refusal-log.ts)
 *
 * Who is let in is not let in for ever: open connections are judged again when the owner says so, and when their
 * certificates expire.
 */
import type { ServerHttp2Session } from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { nodeNumber } from '../../../domain/identity/names.js';
import type { Peer } from '../../../domain/identity/peer.js';
import type { NodeId } from '../../../domain/replication/contract.js';
import { IdentityError } from '../../../ports/identity.js';
import type { Admit, Exchange, GiveAuthorityKey, GiveGossipKeys, Renew, TellRoots } from '../../../ports/mesh.js';
import { createMeshListener, LISTENER_LIMITS, type MeshListenerLimits } from '../../outbound/identity/mesh-listener.js';
import type { MeshTls } from '../../outbound/identity/mesh-tls.js';
import { RELAY_PROTOCOL } from '../../outbound/mesh/relay-wire.js';
import { REPLICA_PROTOCOL } from '../../outbound/mesh/replica-wire.js';
import { type DoorLimits, GrpcDoor } from './grpc-door.js';
import { REQUEST_MAX_BYTES, routeJoinService, type Stranger, strangerKey } from './join-service.js';
import { type PeerCaller, peerCallerKey, routePeerService } from './peer-service.js';
import { type MeshLogger, type MeshRefusal, RefusalLog } from './refusal-log.js';
import { RelayDoor, type RelayDoorOptions } from './relay-door.js';
import { takeReplicaMessages } from './replica-stream.js';

export interface MeshServerOptions {
  readonly mesh: MeshTls;
  readonly receive: Exchange['receive'];
  /** Absent: this node signs for nobody. */
  readonly renew?: Renew | undefined;
  /** Absent: it gives them to nobody. */
  readonly gossipKeys?: GiveGossipKeys | undefined;
  /** Absent: to nobody. */
  readonly authorityKey?: GiveAuthorityKey | undefined;
  /** Absent: none. */
  readonly roots?: TellRoots | undefined;
  /** Absent: nobody joins by this node. */
  readonly admit?: Admit | undefined;
  /** Absent: calls that other nodes pass on are not taken. */
  readonly relayed?: Pick<RelayDoorOptions, 'answer' | 'memberName' | 'limits'> | undefined;
  readonly logger: MeshLogger;
  readonly limits?: Partial<MeshServerLimits> | undefined;
  readonly listener?: MeshListenerLimits | undefined;
}

export interface MeshServerLimits {
  /** Of one node; one more takes the place of the oldest, which is dead as likely as not. */
  readonly connectionsPerPeer: number;
  /** Other nodes ask every few seconds whether this one is there (peer-link.ts). */
  readonly idleMs: number;
  /** Between two looks for certificates that have expired. */
  readonly expiryMs: number;
  readonly joinsMax: number;
  /** See grpc-door.ts: DoorLimits. */
  readonly chunksMax: number;
}

const LIMITS: MeshServerLimits = {
  connectionsPerPeer: 2,
  idleMs: 30_000,
  expiryMs: 60_000,
  joinsMax: 8,
  chunksMax: 1_024,
};
const HTTP2 = 'h2';
/** Of one connection: calls at once, and one that is answered that they are too many. */
const PEER_STREAMS = 4;
const STRANGER_STREAMS = 2;
/** A request to join has seven, and more of later versions; those of nodes have one. */
const FIELDS_MAX = 64;

export interface MeshServer {
  /** Fails with a sentence for the operator. port 0: any. */
  listen(host: string, port: number): Promise<{ readonly host: string; readonly port: number }>;
  /** To be called after each MeshTls.update(), and when a root is retired: who would be refused now is closed. */
  judgeAgain(): void;
  /**
   * Who is in the mesh, now. Connections of those that were, and are not any more, are closed. One that was never among
   * them may have joined a moment ago elsewhere, and stays.
   */
  keep(nodes: ReadonlySet<NodeId>): void;
  /** Calls are passed on by these alone: connections for that of all others are closed at once. */
  keepRelays(nodes: ReadonlySet<NodeId>): void;
  close(): Promise<void>;
  /** Nodes that are connected to this one, but for calls that they pass on. */
  readonly peers: number;
  /** Nodes that pass calls on to this one. */
  readonly relays: number;
  /** Since the start, for metrics. */
  readonly refusals: ReadonlyMap<MeshRefusal, number>;
}

const signsForNobody: Renew = () => {
  return Promise.reject(new IdentityError('refused', "this node does not hold the key of the mesh's CA"));
};

const givesToNobody: GiveGossipKeys = () => {
  throw new IdentityError('refused', 'this node gives the keys of gossip to nobody');
};

const givesNoKey: GiveAuthorityKey = () => {
  throw new IdentityError('refused', 'this node gives the key of the CA to nobody');
};

interface Connection {
  readonly peer: Peer;
  readonly socket: TLSSocket;
  /** What carries it: it is over when this emits "close". */
  readonly carrier: ServerHttp2Session | TLSSocket;
}

export function createMeshServer({
  mesh,
  receive,
  renew = signsForNobody,
  gossipKeys = givesToNobody,
  authorityKey = givesNoKey,
  roots = () => [],
  admit,
  relayed,
  logger,
  ...options
}: MeshServerOptions): MeshServer {
  const limits = { ...LIMITS, ...options.limits };
  const log = new RefusalLog(logger);
  /** By node, oldest first. */
  const peers = new Map<NodeId, Set<Connection>>();
  /** Apart, so that a console that comes takes no replica's place. One of each node. */
  const relays = new Map<NodeId, Set<Connection>>();
  const sockets = new Set<Socket>();
  let members: ReadonlySet<NodeId> = new Set();
  let expiry: NodeJS.Timeout | undefined;

  const doorLimits = (streamsPerConnection: number): DoorLimits => ({
    messageMaxBytes: REQUEST_MAX_BYTES,
    streamsPerConnection,
    windowBytes: REQUEST_MAX_BYTES,
    chunksMax: limits.chunksMax,
    fieldsMax: FIELDS_MAX,
    idleMs: limits.idleMs,
  });
  const peerDoor = new GrpcDoor<PeerCaller | undefined>({
    limits: doorLimits(PEER_STREAMS),
    callerKey: peerCallerKey,
    routes: (router) => {
      routePeerService(router, {
        renew,
        gossipKeys,
        authorityKey,
        roots,
        failed: (peer, error) => logger.error({ peer: peer.nodeId, error: stack(error) }, 'a call was not answered'),
      });
    },
    failed: (caller, reason) => log.note('protocol', { reason, from: caller?.peer.nodeId ?? '' }),
  });
  const strangerDoor =
    admit === undefined
      ? undefined
      : new GrpcDoor<Stranger>({
          limits: doorLimits(STRANGER_STREAMS),
          callerKey: strangerKey,
          routes: (router) => {
            routeJoinService(router, {
              admit,
              roots,
              joinsMax: limits.joinsMax,
              refused: (from, reason) => log.note('join', { reason, from }),
              failed: (from, error) => logger.error({ from, error: stack(error) }, 'could not take in a node'),
            });
          },
          failed: ({ source }, reason) => log.note('protocol', { reason, from: source }),
        });

  const relayDoor =
    relayed && new RelayDoor({ ...relayed, failed: (nodeId, reason) => log.note('relayed', { reason, from: nodeId }) });

  const listener = createMeshListener(
    mesh,
    [HTTP2, REPLICA_PROTOCOL, ...(relayDoor === undefined ? [] : [RELAY_PROTOCOL])],
    {
      peer: connected,
      ...(strangerDoor === undefined
        ? {}
        : {
            stranger(socket, hold) {
              const source = sourceOf(socket);
              if (socket.alpnProtocol === HTTP2) strangerDoor.enter(socket, { source, hold });
              else if (socket.alpnProtocol === REPLICA_PROTOCOL || socket.alpnProtocol === RELAY_PROTOCOL)
                turnAway(socket, 'no-certificate', STRANGE, source);
              else turnAway(socket, 'protocol', NO_PROTOCOL, source);
            },
          }),
      refused: (refusal, reason, remoteAddress) => log.note(refusal, { reason, from: plain(remoteAddress) }),
    },
    options.listener ?? LISTENER_LIMITS,
  );
  listener.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });

  function turnAway(socket: TLSSocket, refusal: MeshRefusal, reason: string, from: string): void {
    log.note(refusal, { reason, from });
    socket.destroy();
  }

  function connected(socket: TLSSocket, peer: Peer): void {
    const node = nodeNumber(peer.nodeId);
    if (socket.alpnProtocol === HTTP2) {
      const carrier = peerDoor.enter(socket, { peer, renewing: false });
      enter(peers, limits.connectionsPerPeer, node, { peer, socket, carrier });
    } else if (relayDoor !== undefined && socket.alpnProtocol === RELAY_PROTOCOL) {
      const carrier = relayDoor.enter(socket, { nodeId: peer.nodeId, source: sourceOf(socket) });
      enter(relays, RELAYS_PER_PEER, node, { peer, socket, carrier });
    } else if (socket.alpnProtocol === REPLICA_PROTOCOL) {
      const from = peer.nodeId;
      takeReplicaMessages(socket, {
        idleMs: limits.idleMs,
        receive: (message) => receive(node, message),
        fault: (reason) => log.note('message', { reason, from }),
        broken: (reason) => log.note('protocol', { reason, from }),
        failed: (error) => logger.error({ peer: from, error: stack(error) }, 'a message was not taken'),
      });
      enter(peers, limits.connectionsPerPeer, node, { peer, socket, carrier: socket });
    } else {
      turnAway(socket, 'protocol', NO_PROTOCOL, peer.nodeId);
    }
  }

  function enter(all: Map<NodeId, Set<Connection>>, most: number, node: NodeId, connection: Connection): void {
    const mine = all.get(node) ?? new Set();
    all.set(node, mine);
    mine.add(connection);
    connection.carrier.once('close', () => {
      mine.delete(connection);
      if (mine.size === 0 && all.get(node) === mine) all.delete(node);
    });
    if (mine.size > most) {
      const [oldest] = mine;
      if (oldest !== undefined) cut(oldest, 'replaced', `it has ${mine.size} connections: the oldest is closed`);
    }
  }

  function cut({ peer, carrier, socket }: Connection, refusal: MeshRefusal, reason: string): void {
    log.note(refusal, { reason, from: peer.nodeId });
    carrier.destroy();
    socket.destroy();
  }

  function all(): Connection[] {
    return [...peers.values(), ...relays.values()].flatMap((connections) => [...connections]);
  }

  function judge(connection: Connection): void {
    const verdict = mesh.judge(connection.socket, 'client');
    if (verdict.kind === 'refused') cut(connection, verdict.refusal, verdict.reason);
  }

  return {
    get peers() {
      return peers.size;
    },
    get relays() {
      return relays.size;
    },
    get refusals() {
      return log.counts;
    },
    async listen(host, port) {
      await new Promise<void>((resolve, reject) => {
        listener.once('error', (error: NodeJS.ErrnoException) => reject(new Error(sentence(error, host, port))));
        listener.listen({ host, port }, resolve);
      });
      listener.removeAllListeners('error');
      listener.on('error', (error) => logger.error({ error: error.message }, 'the mesh port failed'));
      expiry = setInterval(() => {
        const now = Date.now();
        for (const connection of all()) if (connection.peer.expiresAtMs <= now) judge(connection);
      }, limits.expiryMs);
      expiry.unref();
      const { address, port: bound } = listener.address() as AddressInfo;
      return { host: address, port: bound };
    },
    judgeAgain() {
      for (const connection of all()) judge(connection);
    },
    keep(nodes) {
      for (const node of members) {
        if (nodes.has(node)) continue;
        for (const connection of [...(peers.get(node) ?? []), ...(relays.get(node) ?? [])])
          cut(connection, 'removed', 'the node was removed from the mesh');
      }
      members = new Set(nodes);
    },
    keepRelays(nodes) {
      for (const [node, connections] of relays) {
        if (nodes.has(node)) continue;
        for (const connection of connections) cut(connection, 'removed', 'the node is not in the mesh any more');
      }
    },
    async close() {
      clearInterval(expiry);
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
      // The other ends see that the connection is over, and dial again when there is somebody.
      for (const { carrier } of all()) carrier.destroy();
      for (const socket of sockets) socket.destroySoon();
      const timer = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, CLOSE_MS);
      await closed;
      clearTimeout(timer);
      log.close();
    },
  };
}

const NO_PROTOCOL = 'it offers no protocol of the mesh by ALPN: is it another program?';
const STRANGE =
  'only nodes of the mesh replicate and pass calls on: join with a token, then connect with the certificate';
/** The other end dials again when its connection is dead, and this one does not know yet. */
const RELAYS_PER_PEER = 1;
/** Time that goodbyes have to get out. */
const CLOSE_MS = 500;

/** An IPv4 address also where it came to a socket for both. */
function sourceOf(socket: TLSSocket): string {
  return plain(socket.remoteAddress ?? '');
}

function plain(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

function sentence(error: NodeJS.ErrnoException, host: string, port: number): string {
  const where = `the mesh port can't listen on ${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (error.code === 'EADDRINUSE') return `${where}: another process has the port; choose another`;
  if (error.code === 'EADDRNOTAVAIL') return `${where}: the address is none of this machine's`;
  return `${where}: ${error.message}`;
}

function stack(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
