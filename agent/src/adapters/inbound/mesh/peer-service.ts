// SPDX-License-Identifier: Apache-2.0
/** What other nodes of the mesh call. Messages of their replicas come another way (replica-stream.ts). */
import { Code, ConnectError, type ConnectRouter, type ContextKey, createContextKey } from '@connectrpc/connect';
import { JoinService, PeerService } from '@marcher/proto/marcher/mesh/v1/peer_pb';
import { targetMessage } from '../../../application/mesh/gossip-keys.js';
import { rootMessage } from '../../../application/mesh/roots.js';
import type { Peer } from '../../../domain/identity/peer.js';
import { IdentityError } from '../../../ports/identity.js';
import type { GiveAuthorityKey, GiveGossipKeys, Renew, TellRoots } from '../../../ports/mesh.js';

/** A peer's connection, as its calls see it. */
export interface PeerCaller {
  readonly peer: Peer;
  /** Its certificate is being made. */
  renewing: boolean;
}

export const peerCallerKey: ContextKey<PeerCaller | undefined> = createContextKey<PeerCaller | undefined>(undefined, {
  description: 'which node calls',
});

const CERTIFICATE_REQUEST_MAX_BYTES = 4_096;

export interface PeerServiceOptions {
  readonly renew: Renew;
  readonly gossipKeys: GiveGossipKeys;
  readonly authorityKey: GiveAuthorityKey;
  readonly roots: TellRoots;
  /** An answer could not be made, which is this node's fault. */
  readonly failed: (peer: Peer, error: unknown) => void;
}

export function routePeerService(router: ConnectRouter, options: PeerServiceOptions): void {
  const { renew, gossipKeys, authorityKey, roots, failed } = options;
  router.service(PeerService, {
    async renew({ certificateRequest }, { values }) {
      const caller = values.get(peerCallerKey);
      if (caller === undefined) throw new ConnectError('the connection is of no node', Code.Internal);
      if (caller.renewing) throw new ConnectError('it is being renewed already', Code.ResourceExhausted);
      if (certificateRequest.length > CERTIFICATE_REQUEST_MAX_BYTES) {
        throw new ConnectError(
          `a certificate request has at most ${CERTIFICATE_REQUEST_MAX_BYTES} bytes`,
          Code.InvalidArgument,
        );
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
