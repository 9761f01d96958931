// SPDX-License-Identifier: Apache-2.0
/**
 * What every call passes before a byte of its message is read: may this peer do that, and is there room for it.
 */
import { Code, ConnectError, createContextKey, type HandlerContext } from '@connectrpc/connect';
import { AccessService } from '@marcher/proto/marcher/v1/access_service_pb';
import { CertificateService } from '@marcher/proto/marcher/v1/certificate_service_pb';
import { ConfigService } from '@marcher/proto/marcher/v1/config_service_pb';
import { MeshService } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { NodeService } from '@marcher/proto/marcher/v1/node_service_pb';
import { authorize } from '../../../domain/access/authorize.js';
import { isRelayable } from '../../../domain/access/relayed.js';
import { CREDENTIALS, type Peer } from './peer.js';

export const peerKey = createContextKey<Peer>(
  { allowed: false, author: 'unknown', via: 'socket', source: '', reason: 'the connection was not identified' },
  { description: 'who calls' },
);

/** Why a call about another node was not passed on to it; undefined: it is a call about this one. */
export const notPassedOnKey = createContextKey<ConnectError | undefined>(undefined, {
  description: 'why the call was not passed on',
});

/** Calls that change something; logged even when all is well. */
export const changingMethods: ReadonlySet<string> = new Set(
  [
    ConfigService.method.apply,
    ConfigService.method.revert,
    NodeService.method.drain,
    NodeService.method.undrain,
    MeshService.method.initMesh,
    MeshService.method.createJoinToken,
    MeshService.method.revokeJoinToken,
    MeshService.method.removeMember,
    ...AccessService.methods.filter(({ name }) => !/^(?:List|WhoAmI|Renew)/.test(name)),
    MeshService.method.leaveMesh,
    MeshService.method.rotateGossipKey,
    MeshService.method.rotateMeshCa,
    MeshService.method.retireMeshRoot,
    MeshService.method.issueClientCertificate,
    MeshService.method.revokeClientCertificate,
    // ExportPrivateKey, too: who has had a key is to be found.
    ...CertificateService.methods.filter(({ name }) => !/^(?:List|Get)/.test(name)),
  ].map((method) => `${method.parent.typeName}/${method.name}`),
);

/** Calls whose message may be as large as a whole configuration. */
const largeMethods: ReadonlySet<string> = new Set(
  [ConfigService.method.plan, ConfigService.method.apply].map((method) => `${method.parent.typeName}/${method.name}`),
);

export interface GateLimits {
  /** Plan and Apply calls at a time: each may hold one message of the largest size. */
  readonly changesInFlight: number;
  /** Calls at a time that stay open (watches, logs, reflection); so many besides that other nodes have passed on. */
  readonly openStreams: number;
}

/** denied: told of each call that its caller may not make. */
export function createCallGate(
  limits: GateLimits,
  denied: (context: HandlerContext, reason: string) => void = () => undefined,
): (context: HandlerContext) => void {
  let changes = 0;
  // Other nodes take nobody's place who calls this one, and the reverse.
  const streams = { own: 0, relayed: 0 };
  return (context) => {
    const peer = context.values.get(peerKey);
    const method = `${context.service.typeName}/${context.method.name}`;
    const notPassedOn = context.values.get(notPassedOnKey);
    if (!peer.allowed) {
      const { reason, code = Code.PermissionDenied } = peer;
      // A token that has ended keeps nobody from what needs none, such as another login.
      if (code === Code.Unauthenticated && notPassedOn === undefined && authorize(undefined, method).allowed) return;
      denied(context, reason);
      throw new ConnectError(reason, code);
    }
    if (peer.relayedBy !== undefined && !isRelayable(method)) {
      const reason = `${method} is not for calls that another node passes on: call this node itself`;
      denied(context, reason);
      throw new ConnectError(reason, Code.PermissionDenied);
    }
    const verdict = authorize(peer.principal, method);
    if (!verdict.allowed) {
      const { unauthenticated } = verdict;
      const reason = unauthenticated ? `say who you are: by ${CREDENTIALS}` : verdict.reason;
      denied(context, reason);
      throw new ConnectError(reason, unauthenticated ? Code.Unauthenticated : Code.PermissionDenied);
    }
    if (notPassedOn !== undefined) throw notPassedOn;
    if (largeMethods.has(method)) {
      if (changes >= limits.changesInFlight) throw full(`${limits.changesInFlight} Plan and Apply calls`);
      changes++;
      context.signal.addEventListener('abort', () => changes--, { once: true });
    } else if (context.method.methodKind !== 'unary') {
      const kind = peer.relayedBy === undefined ? 'own' : 'relayed';
      if (streams[kind] >= limits.openStreams) throw full(`${limits.openStreams} open streams`);
      streams[kind]++;
      context.signal.addEventListener('abort', () => streams[kind]--, { once: true });
    }
  };
}

function full(what: string): ConnectError {
  return new ConnectError(
    `the agent serves at most ${what} at a time and has as many: close some or try again later`,
    Code.ResourceExhausted,
  );
}
