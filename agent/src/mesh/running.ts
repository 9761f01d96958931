// SPDX-License-Identifier: Apache-2.0
/** The mesh port, the links to others and gossip: opened together, or none of them. */
import { X509Certificate } from 'node:crypto';
import { createMeshServer } from '../adapters/inbound/mesh/mesh-server.js';
import { checkNodeRequest } from '../adapters/outbound/identity/node-request.js';
import { MeshGossip } from '../adapters/outbound/mesh/gossip.js';
import { hostPortText } from '../adapters/outbound/mesh/host-port.js';
import { createPeerLinks } from '../adapters/outbound/mesh/peer-links.js';
import { auditedAdmission } from '../application/audit/admission.js';
import { admission } from '../application/mesh/admission.js';
import { recordWrites } from '../application/mesh/nodes.js';
import { ACTION } from '../domain/audit/actions.js';
import { orderedKeys } from '../domain/identity/gossip-keyring.js';
import { nodeNumber } from '../domain/identity/names.js';
import { addressOf, gossipOf } from './addresses.js';
import { keepHeads, tell } from './auditing.js';
import { SharedLoads } from './backend-loads.js';
import { MeshCa } from './ca.js';
import { bundleOf } from './ca-desk.js';
import { assignmentWrites } from './clusters.js';
import { GossipKeys } from './keys.js';
import { membersChanged, seek } from './membership.js';
import { sayOwn } from './own-record.js';
import { sayState } from './own-state.js';
import type { Part } from './part.js';
import { openRelays, relayedTo } from './relaying.js';
import { renewFor, renewInTime } from './renewing.js';
import { listsChanged, updateTls } from './revoking.js';

const LEAVE_MS = 1_000;

/** Fails with everything closed again, so that it can be tried again. */
export async function run(part: Part): Promise<void> {
  try {
    await listen(part);
  } catch (error) {
    await close(part);
    delete part.keys;
    delete part.ca;
    delete part.loads;
    delete part.gossip;
    delete part.links;
    delete part.relays;
    delete part.server;
    throw error;
  }
  membersChanged(part);
  await listsChanged(part);
  updateTls(part);
  seek(part);
  sayOwn(part);
  sayState(part);
  part.keys?.start();
  part.ca?.start();
  part.loads?.start();
  renewInTime(part);
  keepHeads(part);
  part.certificates.start();
}

/** Says good-bye: to the others it is down as soon as they are told. */
export async function end(part: Part): Promise<void> {
  part.timers.stop();
  // While there is somebody who hears it.
  part.auditHeads?.publish();
  await part.replication.stop();
  await part.gossip?.leave(LEAVE_MS);
  await close(part);
}

async function close({ gossip, links, relays, server }: Part): Promise<void> {
  relays?.close();
  await Promise.all([gossip?.close(), links?.close(), server?.close()]);
}

async function listen(part: Part): Promise<void> {
  const { settings, log, stateDir, gossipTuning: tuning } = part.options;
  const { identity, replication, tls } = part;
  const { host, port } = settings.address;
  const keys = new GossipKeys(part);
  part.keys = keys;
  const ca = new MeshCa(part);
  part.ca = ca;
  if (part.options.loads !== undefined) part.loads = new SharedLoads(part, part.options.loads());
  const server = createMeshServer({
    mesh: tls,
    receive: (from, message) => replication.receive(from, message),
    renew: (nodeId, request) => renewFor(part, nodeId, request),
    gossipKeys: (nodeId) => keys.give(nodeId),
    authorityKey: (nodeId, root) => ca.give(nodeId, root),
    roots: () => ca.records(),
    admit: admissionOf(part),
    relayed: relayedTo(part),
    logger: log,
  });
  part.server = server;
  await server.listen(host, port);
  part.links = createPeerLinks({
    mesh: tls,
    self: nodeNumber(identity.nodeId),
    addressOf: (node) => addressOf(part, node),
    exchange: replication,
    distrusted: (node) => ca.distrusted(node),
    logger: log,
  });
  part.relays = openRelays(part);
  part.gossip = await MeshGossip.open(
    {
      meshId: identity.mesh.id,
      nodeId: identity.nodeId,
      bind: hostPortText(gossipOf(settings.address)),
      keyring: part.keyring,
      stateDirectory: stateDir,
      ...(tuning && { tuning }),
    },
    {
      onMembers: () => {
        membersChanged(part);
        keys.look();
        ca.look();
      },
      onEvent: ({ kind, about, count, detail }) => log.info({ kind, about, count, detail }, 'gossip'),
      onDied: (error, againInMs) =>
        log.error({ reason: error.message, againInMs }, 'gossip has stopped; it is started again'),
    },
  );
  replication.start(part.links);
}

function admissionOf(part: Part) {
  const { identity, files, tokens, nodes, replication } = part;
  const { audit } = part.options;
  const admit = admission({
    authority: () => identity.authority,
    attempt: (token, source, nowMs) => tokens.attempt(token, source, nowMs),
    redeem: (token, nowMs) => tokens.redeem(token, nowMs),
    checkRequest: (request) => checkNodeRequest(request),
    revocations: () => part.revocations,
    nodes: () => nodes.members,
    add: (record, author, names) => {
      const by = { author, via: 'join-token', source: author.replace(/^join:/, '') };
      // Those that were deleted since the token was made are none.
      const clusters = names.flatMap((name) => part.clusters.get(name) ?? []);
      const assignments = assignmentWrites(part, record.nodeId, clusters, false, author);
      const writes = [...recordWrites(record, true), ...assignments];
      replication.write(author, `node ${record.name} joined`, writes, () =>
        tell(part, 'done', {
          action: ACTION.join,
          by,
          objects: [`Node/${record.nodeId}`, ...clusters.map(({ name }) => `Cluster/${name}`)],
          message: `node ${record.name}`,
        }),
      );
    },
    shared: () => ({
      roots: bundleOf(identity.roots, Date.now()),
      revocationLists: part.lists,
      gossipKeys: orderedKeys(part.keyring),
      nodes: [...nodes.known.values()],
    }),
    sealedAuthority: () => files.sealedAuthority(identity.authority?.certificate.fingerprint ?? ''),
    derOf: (pem) => new Uint8Array(new X509Certificate(pem).raw),
    nowMs: Date.now,
    log: part.options.log,
  });
  return auditedAdmission(admit, audit?.trail);
}
