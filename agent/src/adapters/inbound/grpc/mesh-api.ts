// SPDX-License-Identifier: Apache-2.0
/**
 * MeshService over the mesh's use cases. Bounds on what comes in; a join token's text goes into one answer and nowhere
 * else: no error of these calls has it, and the call log never says what was in an answer.
 */
import { createHash } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, type ConnectRouter } from '@connectrpc/connect';
import {
  type ClientCertificateSchema,
  type ClusterSchema,
  type JoinTokenSchema,
  KeyRotationState,
  type ListGossipKeysResponseSchema,
  type MemberSchema,
  MemberState,
  type MemberStatusSchema,
  type MeshLeafSchema,
  type MeshRootSchema,
  MeshRootState,
  type MeshSchema,
  MeshService,
  NodeRole,
} from '@marcher/proto/marcher/v1/mesh_service_pb';
import { userNameFault } from '../../../domain/identity/issue.js';
import { lifetimeFault, type NodeRole as RoleName, TOKEN } from '../../../domain/identity/join-token.js';
import { LIFETIME } from '../../../domain/identity/lifetime.js';
import { isMeshName } from '../../../domain/identity/names.js';
import { OVERLAP } from '../../../domain/identity/root-chain.js';
import { isClientSerial } from '../../../domain/mesh/client-certificate.js';
import { CLUSTER_LIMITS, isClusterName } from '../../../domain/mesh/cluster.js';
import type { SaidState } from '../../../domain/mesh/node-state.js';
import type {
  ClientCertificate,
  ClusterView,
  GossipKeysView,
  JoinTokenView,
  MeshLeafView,
  MeshMember,
  MeshRootView,
  MeshStatus,
  MeshUseCases,
  RootState,
  MemberState as StateName,
} from '../../../ports/mesh.js';
import { callerOf } from './config-api.js';
import { invalidArgument } from './errors.js';
import { offeredEndorsement, offeredIntermediate } from './offered-intermediate.js';

const TOKEN_ID = /^[0-9a-f]{16}$/;
const FINGERPRINT_START = /^[0-9a-f]{8,64}$/;
/** As long as the name of a host may be; ids are shorter. */
const nodeMaxCharacters = 253;

const DAY_MS = 86_400_000;
const CLIENT_DAYS_MAX = LIFETIME.clientMaxMs / DAY_MS;

const roles: Readonly<Record<RoleName, NodeRole>> = { member: NodeRole.MEMBER, authority: NodeRole.AUTHORITY };
const states: Readonly<Record<StateName, MemberState>> = {
  self: MemberState.SELF,
  alive: MemberState.ALIVE,
  suspect: MemberState.SUSPECT,
  dead: MemberState.DEAD,
  left: MemberState.LEFT,
  unknown: MemberState.UNKNOWN,
  departed: MemberState.DEPARTED,
};

const rotationStates: Readonly<Record<GossipKeysView['state'], KeyRotationState>> = {
  done: KeyRotationState.DONE,
  installing: KeyRotationState.INSTALLING,
  using: KeyRotationState.USING,
  removing: KeyRotationState.REMOVING,
};

const rootStates: Readonly<Record<RootState, MeshRootState>> = {
  introduced: MeshRootState.INTRODUCED,
  signs: MeshRootState.SIGNS,
  trusted: MeshRootState.TRUSTED,
  retired: MeshRootState.RETIRED,
  expired: MeshRootState.EXPIRED,
  offline: MeshRootState.OFFLINE,
};

/** mesh: absent where the agent has been given no address for it. */
export function routeMeshService(router: ConnectRouter, mesh: MeshUseCases | undefined): void {
  const { method } = MeshService;
  const present = (): MeshUseCases => {
    if (mesh !== undefined) return mesh;
    throw new ConnectError(
      'this agent was started without --mesh: start it with marcherd --mesh ADDRESS:7400, ' +
        'the address of this machine that other agents reach',
      Code.Unimplemented,
    );
  };
  router.rpc(method.getMesh, () => ({ mesh: meshMessage(present().status()) }));
  router.rpc(method.initMesh, async ({ name, intermediate }, context) => {
    const use = present();
    checkMesh(name);
    const status = await use.init(name, callerOf(context), offeredIntermediate(intermediate));
    return { mesh: meshMessage(status) };
  });
  router.rpc(method.requestMeshIntermediate, async ({ name }) => {
    const use = present();
    if (name !== '') checkMesh(name);
    const { meshId, meshName, request } = await use.requestIntermediate(name);
    return { meshId, meshName, certificateRequest: request };
  });
  router.rpc(method.createJoinToken, ({ role, lifetimeMs, clusters }, context) => {
    const use = present();
    const request = { role: roleOf(role), lifetimeMs: lifetimeMs || TOKEN.lifetimeMs, clusters };
    const fault = lifetimeFault(request.lifetimeMs);
    if (fault !== undefined) throw invalidArgument(`lifetime_ms is ${request.lifetimeMs}: ${fault}`);
    checkClusters(clusters, 0);
    const { text, address, token } = use.createToken(request, callerOf(context));
    return { token: text, address, details: tokenMessage(token) };
  });
  router.rpc(method.listJoinTokens, () => ({ tokens: present().tokens().map(tokenMessage) }));
  router.rpc(method.revokeJoinToken, ({ id }, context) => {
    const use = present();
    // What was given may be the token itself, by mistake: it is not repeated.
    if (!TOKEN_ID.test(id)) throw invalidArgument('id is not that of a join token: expected 16 hex digits, as listed');
    use.revokeToken(id, callerOf(context));
    return {};
  });
  router.rpc(method.listMembers, () => ({ members: present().members().map(memberMessage) }));
  router.rpc(method.removeMember, async ({ node, keepGossipKeys }, context) => {
    const use = present();
    checkNode(node);
    await use.remove(node, { keepKeys: keepGossipKeys }, callerOf(context));
    return {};
  });
  router.rpc(method.leaveMesh, async ({ force }, context) => await present().leave({ force }, callerOf(context)));
  router.rpc(method.rotateGossipKey, async (_request, context) => {
    return { keyId: await present().rotateKey(callerOf(context)) };
  });
  router.rpc(method.listGossipKeys, () => keysMessage(present().keys()));
  router.rpc(method.issueClientCertificate, async ({ user, certificateRequest: request, days }, context) => {
    const use = present();
    const fault = userNameFault(user);
    if (fault !== undefined) throw invalidArgument(`user: ${fault}`);
    if (days > CLIENT_DAYS_MAX) throw invalidArgument(`days is ${days}: expected 1 to ${CLIENT_DAYS_MAX}, or 0 for 90`);
    const lifetimeMs = days === 0 ? LIFETIME.clientMs : days * DAY_MS;
    const { pem, roots, details } = await use.issueCertificate({ user, request, lifetimeMs }, callerOf(context));
    return { certificate: pem, roots, details: certificateMessage(details) };
  });
  router.rpc(method.listClientCertificates, () => ({ certificates: present().certificates().map(certificateMessage) }));
  router.rpc(method.revokeClientCertificate, ({ serial }, context) => {
    const use = present();
    if (!isClientSerial(serial)) {
      throw invalidArgument(`serial is ${excerpt(serial)}: expected up to 32 hex digits, as listed`);
    }
    use.revokeCertificate(serial, callerOf(context));
    return {};
  });
  router.rpc(method.listRoots, () => ({ roots: present().roots() }));
  router.rpc(method.getMeshCa, () => {
    const { roots, waitingFor, hastened } = present().ca();
    return { roots: roots.map(rootMessage), waitingFor: [...waitingFor], hastened };
  });
  router.rpc(method.rotateMeshCa, async ({ overlapMs, now, ...offered }, context) => {
    const use = present();
    if (overlapMs > OVERLAP.maxMs) {
      throw invalidArgument(`overlap_ms is ${overlapMs}: expected at most ${OVERLAP.maxMs} (30 days), or 0 for a day`);
    }
    const intermediate = offeredIntermediate(offered.intermediate);
    const endorsement = offeredEndorsement(offered.endorsement);
    const request = {
      ...{ overlapMs: overlapMs || OVERLAP.defaultMs, now },
      ...(intermediate === undefined ? {} : { intermediate }),
      ...(endorsement === undefined ? {} : { endorsement }),
    };
    const { root, introduced } = await use.rotateCa(request, callerOf(context));
    return { root: rootMessage(root), introduced };
  });
  router.rpc(method.retireMeshRoot, async ({ fingerprint, force, revocationList }, context) => {
    const use = present();
    if (!FINGERPRINT_START.test(fingerprint)) {
      const expected = 'expected 8 to 64 hex digits, the beginning of a fingerprint as listed';
      throw invalidArgument(`fingerprint is ${excerpt(fingerprint)}: ${expected}`);
    }
    const { root, cutOff } = await use.retireRoot(fingerprint, { force, revocationList }, callerOf(context));
    return { root: rootMessage(root), cutOff: cutOff.map(leafMessage) };
  });
  router.rpc(method.listRevocations, ({ knownDigest }) => {
    const lists = [...present().revocationLists()].sort();
    const digest = digestOf(lists);
    if (Buffer.compare(digest, knownDigest) === 0) return { digest };
    return { digest, lists, intermediates: [...present().intermediates()] };
  });
  router.rpc(method.listClusters, () => ({ clusters: present().clusters().map(clusterMessage) }));
  router.rpc(method.createCluster, ({ name }, context) => {
    const use = present();
    checkCluster('name', name);
    use.createCluster(name, callerOf(context));
    return {};
  });
  router.rpc(method.deleteCluster, ({ name, force }, context) => {
    const use = present();
    checkCluster('name', name);
    use.deleteCluster(name, { force }, callerOf(context));
    return {};
  });
  router.rpc(method.assignClusters, ({ node, clusters, begin }, context) => {
    const use = present();
    checkNode(node);
    checkClusters(clusters, 1);
    use.assignClusters(node, { clusters, begin }, callerOf(context));
    return {};
  });
  router.rpc(method.unassignClusters, ({ node, clusters, force }, context) => {
    const use = present();
    checkNode(node);
    checkClusters(clusters, 1);
    use.unassignClusters(node, { clusters, force }, callerOf(context));
    return {};
  });
}

function checkMesh(name: string): void {
  if (isMeshName(name)) return;
  throw invalidArgument(
    `name is ${excerpt(name)}: expected 1 to 63 of a-z, 0-9 and "-", the first and the last of them not "-"`,
  );
}

function checkNode(node: string): void {
  if (node !== '' && node.length <= nodeMaxCharacters) return;
  throw invalidArgument(`node has ${node.length} characters: expected the id or the name of a member`);
}

function checkCluster(field: string, name: string): void {
  if (isClusterName(name)) return;
  const expected = 'expected 1 to 63 of a-z, 0-9 and "-", the first and the last of them not "-"';
  throw invalidArgument(`${field} is ${excerpt(name)}: ${expected}`);
}

/** More than a node can be in are not looked at. */
function checkClusters(names: readonly string[], least: number): void {
  const { ofNode: most } = CLUSTER_LIMITS;
  if (names.length < least || names.length > most) {
    throw invalidArgument(`clusters has ${names.length} names: expected ${least} to ${most}`);
  }
  for (const [i, name] of names.entries()) checkCluster(`clusters[${i}]`, name);
}

/** With their lengths, so that no two sets have one. */
function digestOf(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(`${text.length}:`).update(text);
  return new Uint8Array(hash.digest());
}

function roleOf(role: NodeRole): RoleName {
  switch (role) {
    case NodeRole.UNSPECIFIED:
    case NodeRole.MEMBER:
      return 'member';
    case NodeRole.AUTHORITY:
      return 'authority';
    default:
      throw invalidArgument(`role is ${role}, which this agent does not know: expected a member or an authority`);
  }
}

function meshMessage(status: MeshStatus): MessageInitShape<typeof MeshSchema> {
  const { meshId, meshName, nodeId, admitted, configHash, signs } = status;
  const clusters = status.clusters.map(({ name, admitted, digest }) => ({ name, admitted, digest }));
  return { meshId, meshName, nodeId, admitted, configHash, signs, clusters };
}

function tokenMessage(token: JoinTokenView): MessageInitShape<typeof JoinTokenSchema> {
  const { id, role, createdMs, expiresMs, createdBy, usedBy = '', clusters } = token;
  const times = { created: timestampFromMs(createdMs), expires: timestampFromMs(expiresMs) };
  return { id, role: roles[role], ...times, createdBy, usedBy, clusters: [...clusters] };
}

export function memberMessage(member: MeshMember): MessageInitShape<typeof MemberSchema> {
  const { nodeId, name, state, address, certificateExpiresMs, behind, said, clusters } = member;
  return {
    nodeId,
    name,
    state: states[state],
    address,
    certificateExpires: timestampFromMs(certificateExpiresMs),
    ...(behind === undefined ? {} : { behind: BigInt(behind) }),
    ...(said === undefined ? {} : { status: statusMessage(said) }),
    clusters: [...clusters],
  };
}

function statusMessage({
  saidMs,
  version,
  health,
  tiers,
  load,
}: SaidState): MessageInitShape<typeof MemberStatusSchema> {
  return {
    said: timestampFromMs(saidMs),
    version: version?.agent ?? '',
    engineVersion: version?.engine ?? '',
    ready: health?.ready ?? false,
    draining: health?.draining ?? false,
    unmet: health?.unmet ?? [],
    unhealthy: (health?.unhealthy ?? []).map(({ service, backend }) => ({ service, backend })),
    unhealthyCount: health?.unhealthyCount ?? 0,
    tiers: (tiers?.tiers ?? []).map(({ tier, services }) => ({ tier, services })),
    connections: load?.connections ?? 0n,
    services: (load?.services ?? []).map(({ service, connections }) => ({ service, connections })),
  };
}

function keysMessage(view: GossipKeysView): MessageInitShape<typeof ListGossipKeysResponseSchema> {
  const { state, target, begunMs, begunBy, waitingFor, keys } = view;
  return {
    state: rotationStates[state],
    target,
    ...(begunMs === undefined ? {} : { begun: timestampFromMs(begunMs) }),
    begunBy,
    waitingFor: [...waitingFor],
    keys: keys.map(({ id, primary, heldBy, primaryOf }) => {
      return { keyId: id, primary, heldBy: [...heldBy], primaryOf: [...primaryOf] };
    }),
  };
}

function certificateMessage(certificate: ClientCertificate): MessageInitShape<typeof ClientCertificateSchema> {
  const { serial, user, issuedMs, expiresMs, issuedBy, revokedMs } = certificate;
  const times = { created: timestampFromMs(issuedMs), expires: timestampFromMs(expiresMs) };
  return {
    serial,
    user,
    ...times,
    issuedBy,
    ...(revokedMs === undefined ? {} : { revoked: timestampFromMs(revokedMs) }),
  };
}

function clusterMessage(cluster: ClusterView): MessageInitShape<typeof ClusterSchema> {
  const { name, createdMs, createdBy, nodes, objects } = cluster;
  return {
    name,
    created: timestampFromMs(createdMs),
    createdBy,
    nodes: nodes.map((node) => ({ nodeId: node.nodeId, name: node.name, state: states[node.state] })),
    ...(objects === undefined ? {} : { objects: BigInt(objects) }),
  };
}

function rootMessage(root: MeshRootView): MessageInitShape<typeof MeshRootSchema> {
  const { fingerprint, issuer, serial, state, createdMs, expiresMs, plannedMs, signsFromMs, retiredMs } = root;
  return {
    ...{ fingerprint, issuer, serial },
    state: rootStates[state],
    created: timestampFromMs(createdMs),
    expires: timestampFromMs(expiresMs),
    ...(plannedMs === undefined ? {} : { planned: timestampFromMs(plannedMs) }),
    ...(signsFromMs === undefined ? {} : { signsFrom: timestampFromMs(signsFromMs) }),
    ...(retiredMs === undefined ? {} : { retired: timestampFromMs(retiredMs) }),
    trustedBy: [...root.trustedBy],
    keyHeldBy: [...root.keyHeldBy],
    leaves: root.leaves.map(leafMessage),
  };
}

function leafMessage({ kind, name, serial, expiresMs }: MeshLeafView): MessageInitShape<typeof MeshLeafSchema> {
  const field = { member: 'member', client: 'user', service: 'certificate' }[kind];
  return { [field]: name, serial, expires: timestampFromMs(expiresMs) };
}

function excerpt(text: string): string {
  return JSON.stringify(text.length <= 80 ? text : `${text.slice(0, 79)}…`);
}
