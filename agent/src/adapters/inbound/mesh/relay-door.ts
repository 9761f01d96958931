// SPDX-License-Identifier: Apache-2.0
/**
 * Where other members pass calls on to this node (decision 27): HTTP/2 by a protocol of its own (relay-wire.ts), and on each
 * stream a call of the API, which is answered as if it had come to the API itself, for the caller that the member names.
 *
 *   member (TLS certificate, judged by mesh-listener.ts) --RELAYED_HEADER--> caller --call gate--> API
 *
 * A member can name whom it likes: what is passed on is bounded by isRelayable(), and each caller's name ends with the
 * member's own ("user:alice via node-a"). Nothing that identifies a caller at the API is looked at here.
 */
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import { Code } from '@connectrpc/connect';
import { decodeRelayed, relayedAuthor } from '../../../domain/access/relayed.js';
import { RELAY_STREAMS, RELAY_WINDOW_BYTES, RELAYED_HEADER } from '../../outbound/mesh/relay-wire.js';
import type { Peer } from '../grpc/peer.js';
import { Http2Door, type Http2DoorLimits } from './http2-door.js';

export interface RelayDoorOptions {
  /** The API's (api-server.ts: Handler). */
  readonly answer: (request: Http2ServerRequest, response: Http2ServerResponse, caller: Peer | undefined) => void;
  /** By what members are known in logs; undefined: it is none (yet, or any more). Asked with each call. */
  readonly memberName: (nodeId: string) => string | undefined;
  /** A connection that broke the rules of HTTP/2, and calls whose caller can't be read. */
  readonly failed: (nodeId: string, reason: string) => void;
  readonly limits?: Partial<Http2DoorLimits> | undefined;
}

const LIMITS: Http2DoorLimits = {
  streamsPerConnection: RELAY_STREAMS,
  windowBytes: RELAY_WINDOW_BYTES,
  // The other end asks every 5 s whether this node is there (relay-links.ts).
  idleMs: 30_000,
  // RELAYED_MAX_CHARACTERS and what else a call has.
  headerBytes: 48 * 1024,
  headerPairs: 48,
  // Consoles come and go with all that they watch.
  resets: { burst: 1_000, rate: 100 },
  streamsPerSecond: 500,
  memoryMib: 64,
};

export interface RelayingMember {
  readonly nodeId: string;
  /** Its IP address. */
  readonly source: string;
}

export class RelayDoor {
  readonly #door: Http2Door<RelayingMember>;

  constructor({ answer, memberName, failed, limits }: RelayDoorOptions) {
    this.#door = new Http2Door<RelayingMember>({
      limits: { ...LIMITS, ...limits },
      failed: ({ nodeId }, reason) => failed(nodeId, reason),
      serve: (request, response, member) => {
        const said = request.headers[RELAYED_HEADER];
        delete request.headers[RELAYED_HEADER];
        delete request.headers.authorization;
        const caller = member && callerOf(member, memberName(member.nodeId), said);
        if (member !== undefined && caller?.allowed === false) failed(member.nodeId, caller.reason);
        answer(request, response, caller);
      },
    });
  }

  /** The session is over when it emits "close". */
  enter(socket: TLSSocket, member: RelayingMember): ServerHttp2Session {
    return this.#door.enter(socket, member);
  }
}

function callerOf(
  { nodeId, source: memberSource }: RelayingMember,
  name: string | undefined,
  said: string | string[] | undefined,
): Peer {
  const refused = (reason: string, code: Code): Peer => {
    const author = `node:${name ?? nodeId}`;
    return { allowed: false, author, via: 'tls', source: memberSource, relayedBy: nodeId, reason, code };
  };
  if (name === undefined) {
    const reason = `this node does not know node ${nodeId} as a member: it takes no calls that it passes on`;
    return refused(reason, Code.Unavailable);
  }
  if (typeof said !== 'string') return refused(`node ${name} does not say who calls`, Code.InvalidArgument);
  const told = decodeRelayed(said);
  if ('fault' in told) {
    return refused(`what node ${name} says of who calls can't be read: ${told.fault}`, Code.InvalidArgument);
  }
  const { principal, source } = told;
  return {
    allowed: true,
    author: relayedAuthor(principal, name),
    via: principal.via,
    // Whoever was at the member's own socket has come from there.
    source: source || memberSource,
    principal,
    relayedBy: nodeId,
  };
}
