// SPDX-License-Identifier: Apache-2.0
/** How a node's part in a mesh comes into being: from its identity and what is replicated. */
import { JoinTokens } from '../adapters/outbound/identity/join-tokens.js';
import { MeshTls } from '../adapters/outbound/identity/mesh-tls.js';
import { openTokenFile } from '../adapters/outbound/identity/token-records.js';
import { FrameVerifier, frameHash, openFrameSigner } from '../adapters/outbound/mesh/frame-keys.js';
import { Clusters } from '../application/mesh/clusters.js';
import { Nodes, recordWrites } from '../application/mesh/nodes.js';
import { Projection } from '../application/mesh/projection.js';
import { Replication } from '../application/mesh/replication.js';
import { CLUSTER_PACE } from '../application/mesh/shards.js';
import { ACTION } from '../domain/audit/actions.js';
import { nodeNumber } from '../domain/identity/names.js';
import type { ClusterName, ReplicaStore } from '../domain/replication/contract.js';
import { Replica } from '../domain/replication/replica.js';
import type { IdentityFiles, MeshIdentity } from '../mesh-identity.js';
import type { Told } from '../ports/audit.js';
import { openHeads, tell } from './auditing.js';
import { Certificates } from './certificates.js';
import { changed, keepKnown, verifyBy } from './changes.js';
import { openClients } from './operators.js';
import { isRemoved, ownRecord } from './own-record.js';
import type { MeshOptions, Part } from './part.js';
import { Timers } from './timers.js';

/** founds: it is the first of a mesh, and has nothing to take over from others. */
export function openPart(options: MeshOptions, files: IdentityFiles, identity: MeshIdentity, founds: boolean): Part {
  const { store, log, follow } = options;
  const { nodeId, mesh, roots, credentials, keyring, revocations, lists } = identity;
  const cells = store.openReplica();
  const nodes = new Nodes(cells);
  nodes.load();
  nodes.introduce(identity.known);
  // Its own record comes last when a mesh is made.
  const clusters = new Clusters(cells, (id) => nodes.members.has(id) || (id === nodeId && !nodes.known.has(id)));
  clusters.load();
  const signer = openFrameSigner(files.directory);
  const verifier = new FrameVerifier(mesh.id, (node, reason) => log.warn({ node, reason }, 'a node is not believed'));
  const environment = {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    random: () => Math.random(),
    hash: frameHash,
    sign: (hash: Uint8Array) => signer.sign(hash),
    verify: verifier.verify.bind(verifier),
  };
  const replica = new Replica({ node: nodeNumber(nodeId), store: cells, environment, founds });
  const stores = new Map<ClusterName, ReplicaStore>([['', cells]]);
  const replication = new Replication({
    replica,
    clusters: {
      directory: clusters,
      stored: () => store.replicatedClusters(),
      open: (cluster) => {
        const opened = store.openReplica(cluster);
        stores.set(cluster, opened);
        return new Replica({ node: nodeNumber(nodeId), store: opened, environment, settings: CLUSTER_PACE, cluster });
      },
      heldUnder: (cluster) => store.clusterHeldUnder(cluster),
      setHeldUnder: (cluster, under) => store.setClusterHeldUnder(cluster, under),
      drop: (cluster) => {
        stores.delete(cluster);
        store.dropReplica(cluster);
      },
    },
    nodesIn: (cluster) =>
      clusters
        .nodesOf(cluster)
        .map((id) => nodes.known.get(id)?.name ?? id)
        .sort(),
    projection: new Projection(stores, store),
    store,
    follow,
    onObjects: (kind, ids) => changed(part, kind, ids),
    monotonicMs: environment.monotonicMs,
    log,
  });
  const tls = new MeshTls({ meshId: mesh.id, credentials, roots, revocations }, Date.now);
  const tokens = new JoinTokens(openTokenFile(files.directory), nodeId);
  const clients = openClients({ identity, cells, nodes, replication }, () => part);
  const fixed = {
    options,
    files,
    timers: new Timers(),
    identity,
    cells,
    stores,
    nodes,
    clusters,
    replication,
    verifier,
    signer,
    tls,
  };
  const certificates = new Certificates(fixed, () => part);
  const opened = {
    ...fixed,
    clients,
    certificates,
    tokens,
    credentials,
    keyring,
    revocations,
    lists,
    renewFailure: '',
  };
  const part: Part = { ...opened, auditHeads: openHeads(options, opened) };
  verifyBy(part);
  if (isRemoved(part)) replication.exclude();
  replication.clustersChanged();
  return part;
}

/** The configuration becomes the mesh's; last of all this node is in it, so that it begins again when it was killed. */
export function beginMesh(part: Part, by: Told['by']): void {
  const { mesh, nodeId } = part.identity;
  const objects = [`Mesh/${mesh.id}`, `Node/${nodeId}`];
  part.replication.adopt(by.author);
  part.replication.write(by.author, 'the mesh was made', recordWrites(ownRecord(part), true), () =>
    tell(part, 'done', { action: ACTION.initMesh, by, objects, message: `mesh ${mesh.name}` }),
  );
  part.nodes.changed([part.identity.nodeId]);
  verifyBy(part);
  keepKnown(part);
}
