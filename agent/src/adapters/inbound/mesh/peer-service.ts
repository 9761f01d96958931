// SPDX-License-Identifier: Apache-2.0
/** Messages of other nodes' replicas, from their streams to this one's. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Code, ConnectError, type ConnectRouter, type ContextKey, createContextKey } from '@connectrpc/connect';
import { JoinService, PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { targetMessage } from '../../../application/mesh/gossip-keys.js';
import { rootMessage } from '../../../application/mesh/roots.js';
import type { Peer } from '../../../domain/identity/peer.js';
import type { Addressed, NodeId } from '../../../domain/replication/contract.js';
import { FRAME_LIMITS } from '../../../domain/replication/frame.js';
import { decodeMessage } from '../../../domain/replication/message-codec.js';
import { IdentityError } from '../../../ports/identity.js';
import type { Exchange, GiveAuthorityKey, GiveGossipKeys, Renew, TellRoots } from '../../../ports/mesh.js';
import { arrivalKey } from './grpc-door.js';

/** A peer's connection, as its calls see it. */
export interface PeerCaller {
  readonly peer: Peer;
  readonly node: NodeId;
  /** It has a stream to this node. */
  streaming: boolean;
  /** Its certificate is being made. */
  renewing: boolean;
}

export const peerCallerKey: ContextKey<PeerCaller | undefined> = createContextKey<PeerCaller | undefined>(undefined, {
  description: 'which node calls',
});

/**
 * The greatest message is one frame of the greatest size, or a vector and a horizon of 65,536 origins (context.ts:
 * originsMax) beside 1 MiB of cells: 4 MiB and 2 MiB.
 */
export const MESSAGE_MAX_BYTES: number = FRAME_LIMITS.bytes + 8 * 1024 * 1024;
const REQUEST_MAX_BYTES = 4_096;
/** Messages are taken for so long at a stretch; then others have their turn. */
const STRETCH_MS = 8;

export interface PeerServiceOptions {
  readonly receive: Exchange['receive'];
  readonly renew: Renew;
  readonly gossipKeys: GiveGossipKeys;
  readonly authorityKey: GiveAuthorityKey;
  readonly roots: TellRoots;
  /** A message that is none: of a later version, or broken. It is left aside. */
  readonly fault: (peer: Peer, fault: string) => void;
  /** receive has failed, which is this node's fault. Its stream ends. */
  readonly failed: (peer: Peer, error: unknown) => void;
}

export function routePeerService(router: ConnectRouter, options: PeerServiceOptions): void {
  const { receive, renew, gossipKeys, authorityKey, roots, fault, failed } = options;
  const take = ({ node, peer }: PeerCaller, message: Addressed): void => {
    try {
      receive(node, freed(message));
    } catch (error) {
      failed(peer, error);
      throw new ConnectError('a message could not be taken: the log of the node says why', Code.Internal);
    }
  };
  router.service(PeerService, {
    async replicate(requests, { values }) {
      const caller = values.get(peerCallerKey);
      if (caller === undefined) throw new ConnectError('the connection is of no node', Code.Internal);
      const arrival = values.get(arrivalKey);
      if (caller.streaming) {
        const what = 'this connection has a stream already: one is enough, in order';
        throw new ConnectError(what, Code.ResourceExhausted);
      }
      caller.streaming = true;
      let startedMs = performance.now();
      try {
        for await (const { messages } of requests) {
          arrival.chunks = 0;
          for (const bytes of messages) {
            const message = decodeMessage(bytes);
            if ('fault' in message) fault(caller.peer, message.fault);
            else take(caller, message);
            if (performance.now() - startedMs < STRETCH_MS) continue;
            await nextTurn();
            startedMs = performance.now();
          }
        }
      } finally {
        caller.streaming = false;
      }
      return {};
    },
    async renew({ certificateRequest }, { values }) {
      const caller = values.get(peerCallerKey);
      if (caller === undefined) throw new ConnectError('the connection is of no node', Code.Internal);
      if (caller.renewing) throw new ConnectError('it is being renewed already', Code.ResourceExhausted);
      if (certificateRequest.length > REQUEST_MAX_BYTES) {
        throw new ConnectError(`a certificate request has at most ${REQUEST_MAX_BYTES} bytes`, Code.InvalidArgument);
      }
      caller.renewing = true;
      try {
        return { certificatePem: await renew(caller.peer.nodeId, certificateRequest) };
      } catch (error) {
        if (error instanceof IdentityError) throw new ConnectError(error.message, Code.FailedPrecondition);
        failed(caller.peer, error);
        throw new ConnectError('the certificate could not be made: the log of the node says why', Code.Internal);
      } finally {
        caller.renewing = false;
      }
    },
    gossipKeys(_request, { values }) {
      const caller = values.get(peerCallerKey);
      if (caller === undefined) throw new ConnectError('the connection is of no node', Code.Internal);
      try {
        const { keys, primary, target } = gossipKeys(caller.peer.nodeId);
        const all = keys.map(({ key }) => Uint8Array.from(key));
        return { keys: all, primary, ...(target === undefined ? {} : { target: targetMessage(target) }) };
      } catch (error) {
        if (error instanceof IdentityError) throw new ConnectError(error.message, Code.FailedPrecondition);
        failed(caller.peer, error);
        throw new ConnectError('the keys could not be read: the log of the node says why', Code.Internal);
      }
    },
    authorityKey({ root }, { values }) {
      const caller = values.get(peerCallerKey);
      if (caller === undefined) throw new ConnectError('the connection is of no node', Code.Internal);
      try {
        return { sealedAuthority: authorityKey(caller.peer.nodeId, root) };
      } catch (error) {
        if (error instanceof IdentityError) throw new ConnectError(error.message, Code.FailedPrecondition);
        failed(caller.peer, error);
        throw new ConnectError('the key could not be read: the log of the node says why', Code.Internal);
      }
    },
  });
  // Nobody who is in asks for this, but who does is told.
  router.service(JoinService, {
    join() {
      const what = 'this node is in the mesh already, by the certificate that it presents: connect without one to join';
      throw new ConnectError(what, Code.FailedPrecondition);
    },
    roots: () => ({ roots: roots().map(rootMessage) }),
  });
}

/**
 * Frames may be kept for long, and are views of the whole request: a small one would hold on to all that came with it.
 */
function freed(message: Addressed): Addressed {
  if (message.type === 'push') return { ...message, frame: message.frame.slice() };
  if (message.type === 'frames') return { ...message, frames: message.frames.map((frame) => frame.slice()) };
  return message;
}
