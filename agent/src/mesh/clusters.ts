// SPDX-License-Identifier: Apache-2.0
/**
 * Clusters as operators ask for them. What is in one is nowhere but on its nodes, so whatever takes the last of these out
 * is refused unless it is forced: then it is gone.
 */
import { recordedObjects } from '../application/mesh/projection.js';
import { ACTION } from '../domain/audit/actions.js';
import { nodeNumber } from '../domain/identity/names.js';
import {
  assignment,
  CLUSTER_LIMITS,
  type ClusterRecord,
  clusterCreation,
  clusterDeletion,
  unassignment,
} from '../domain/mesh/cluster.js';
import type { NodeRecord } from '../domain/mesh/node-record.js';
import type { CellWrite, ReplicaStore } from '../domain/replication/contract.js';
import type { ClusterView } from '../ports/mesh.js';
import { ApplicationError, type Caller } from '../ports/use-cases.js';
import { tell } from './auditing.js';
import type { Part } from './part.js';

/** As many as a message can name. */
const NAMED_MAX = 5;

export function listClusters(part: Part): readonly ClusterView[] {
  const members = part.nodes.members;
  const alive = new Map((part.gossip?.members() ?? []).map(({ nodeId, state }) => [nodeId, state]));
  return part.clusters.list().map(({ name, createdMs, createdBy }) => {
    const nodes = part.clusters.nodesOf(name).map((nodeId) => {
      const state = nodeId === part.identity.nodeId ? 'self' : (alive.get(nodeId) ?? 'unknown');
      return { nodeId, name: members.get(nodeId)?.name ?? nodeId, state } as const;
    });
    return { name, createdMs, createdBy, nodes, objects: objectsIn(part, name)?.length };
  });
}

/** Throws ApplicationError "conflict", "refused". */
export function createCluster(part: Part, name: string, caller: Caller): void {
  const { clusters } = part;
  if (clusters.has(name)) throw new ApplicationError('conflict', `there is a cluster ${JSON.stringify(name)} already`);
  if (clusters.list().length >= CLUSTER_LIMITS.ofMesh) {
    throw new ApplicationError('refused', `the mesh has ${CLUSTER_LIMITS.ofMesh} clusters, which is the most`);
  }
  const writes = clusterCreation(name, Date.now(), caller.author);
  write(part, caller, ACTION.createCluster, `cluster ${name} created`, writes, [`Cluster/${name}`]);
}

/** Throws ApplicationError "not_found", "refused". */
export function deleteCluster(part: Part, name: string, force: boolean, caller: Caller): void {
  const { nodes } = clusterNamed(part, name);
  if (!force && nodes.size > 0) {
    const objects = objectsIn(part, name);
    const holders = part.clusters.nodesOf(name);
    if (objects === undefined && holders.length > 0) {
      const isIn = holders.includes(part.identity.nodeId);
      const names = holders.filter((id) => id !== part.identity.nodeId).map((id) => nameOf(part, id));
      const where = names.length === 0 ? 'wait until it has' : `ask at a node that has it (${shortened(names)})`;
      const why = isIn ? `still takes over cluster ${name}` : `is not in cluster ${name}`;
      const what = `this node ${why} and does not know what is there`;
      throw new ApplicationError('refused', `${what}: ${where}, or use --force`);
    }
    if (objects !== undefined && objects.length > 0) {
      const what = `cluster ${name} has ${textOf(objects)}`;
      throw new ApplicationError('refused', `${what}, which would be gone: remove these first, or use --force`);
    }
  }
  const writes = [clusterDeletion(name)];
  write(part, caller, ACTION.deleteCluster, `cluster ${name} deleted`, writes, [`Cluster/${name}`]);
}

/** node: id or name. begin: it waits for nobody. Throws ApplicationError "not_found", "refused". */
export function assignClusters(
  part: Part,
  node: string,
  { clusters, begin }: { readonly clusters: readonly string[]; readonly begin: boolean },
  caller: Caller,
): void {
  const record = nodeNamed(part, node);
  const records = [...new Set(clusters)].map((name) => clusterNamed(part, name));
  const writes = assignmentWrites(part, record.nodeId, records, begin, caller.author);
  if (writes.length === 0) return;
  const message = `node ${record.name} assigned to ${records.map(({ name }) => name).join(', ')}`;
  write(part, caller, ACTION.assignClusters, message, writes, objectsOf(record, records));
}

/**
 * For those that it is not in. Who is the first in a cluster begins it with nothing; everybody else takes over what is in it,
 * also when those who have it are down: that these are gone for good is an operator's to say, by begin.
 */
export function assignmentWrites(
  { clusters }: Pick<Part, 'clusters'>,
  nodeId: string,
  records: readonly ClusterRecord[],
  begin: boolean,
  assignedBy: string,
  assignedMs = Date.now(),
): CellWrite[] {
  const already = clusters.of(nodeNumber(nodeId));
  const missing = records.filter(({ name }) => begin || !already.includes(name));
  const count = new Set([...already, ...missing.map(({ name }) => name)]).size;
  if (count > CLUSTER_LIMITS.ofNode) {
    const what = `the node would be in ${count} clusters, and ${CLUSTER_LIMITS.ofNode} is the most`;
    throw new ApplicationError('refused', `${what}: marcher cluster unassign takes it out of some`);
  }
  return missing.map(({ name }) => {
    const others = clusters.nodesOf(name).filter((id) => id !== nodeId);
    return assignment(name, nodeId, { assignedMs, assignedBy, begins: begin || others.length === 0 });
  });
}

/** Throws ApplicationError "not_found", "refused". */
export function unassignClusters(
  part: Part,
  node: string,
  { clusters, force }: { readonly clusters: readonly string[]; readonly force: boolean },
  caller: Caller,
): void {
  const record = nodeNamed(part, node);
  const records = [...new Set(clusters)].map((name) => clusterNamed(part, name));
  for (const { name, nodes } of records) {
    if (!nodes.has(record.nodeId)) {
      throw new ApplicationError('not_found', `node ${record.name} is not in cluster ${name}`);
    }
    const others = part.clusters.nodesOf(name).filter((id) => id !== record.nodeId);
    const objects = objectsIn(part, name);
    if (force || objects?.length === 0) continue;
    if (others.length > 0) {
      const self = record.nodeId === part.identity.nodeId;
      if (!self || part.replication.isHeldBy(name, others.map(nodeNumber)) !== false) continue;
      const waiting = `no other node of cluster ${name} is known to have taken over ${textOf(objects ?? [])} yet`;
      const fix = 'wait until marcher mesh status says so there, or use --force, and it may be gone';
      throw new ApplicationError('refused', `${waiting}: ${fix}`);
    }
    const what = objects === undefined ? 'what is in it' : textOf(objects);
    const reason = `node ${record.name} is the last one of cluster ${name}: ${what} would be gone`;
    throw new ApplicationError('refused', `${reason}; assign another node first, or use --force`);
  }
  const writes = records.map(({ name }) => unassignment(name, record.nodeId));
  const message = `node ${record.name} taken out of ${records.map(({ name }) => name).join(', ')}`;
  write(part, caller, ACTION.unassignClusters, message, writes, objectsOf(record, records));
}

/** Any node of the mesh can write itself into a cluster: nobody comes into one of this node's without a line in its log. */
export function sayWhoCame(part: Part, change: () => void): void {
  const { clusters, identity, nodes, options } = part;
  const before = new Map(clusters.list().map(({ name }) => [name, new Set(clusters.nodesOf(name))]));
  change();
  for (const cluster of clusters.of(nodeNumber(identity.nodeId))) {
    for (const node of clusters.nodesOf(cluster)) {
      if (before.get(cluster)?.has(node) === true) continue;
      const { assignedBy } = clusters.get(cluster)?.nodes.get(node) ?? { assignedBy: '' };
      const name = nodes.members.get(node)?.name ?? '';
      options.log.info({ cluster, node, name, assignedBy }, 'a node is in a cluster of this one');
    }
  }
}

/** Of a node that goes out of the mesh. */
export function unassignAll({ clusters }: Part, nodeId: string): CellWrite[] {
  const records = clusters.list().filter(({ nodes }) => nodes.has(nodeId));
  return records.map(({ name }) => unassignment(name, nodeId));
}

/** Throws ApplicationError "not_found". */
export function clusterNamed({ clusters }: Pick<Part, 'clusters'>, name: string): ClusterRecord {
  const record = clusters.get(name);
  if (record !== undefined) return record;
  const shown = JSON.stringify(name.slice(0, 80));
  throw new ApplicationError('not_found', `there is no cluster ${shown}: see marcher cluster list`);
}

function nodeNamed({ nodes }: Part, node: string): NodeRecord {
  const record = nodes.find(node);
  if (record !== undefined) return record;
  const shown = JSON.stringify(node.slice(0, 80));
  throw new ApplicationError('not_found', `there is no node ${shown}: see marcher mesh members`);
}

function nameOf({ nodes }: Part, nodeId: string): string {
  return nodes.members.get(nodeId)?.name ?? nodeId;
}

/** Of 10,000 services that takes a while: it is read again when something has changed. */
const read = new WeakMap<ReplicaStore, { readonly digest: string; readonly objects: readonly string[] }>();

/** "Service/web"; undefined: not known here. */
function objectsIn({ stores, replication }: Part, cluster: string): readonly string[] | undefined {
  const cells = stores.get(cluster);
  const held = replication.held.find(({ name }) => name === cluster);
  if (cells === undefined || held?.admitted !== true) return undefined;
  const { digest } = held;
  const before = read.get(cells);
  if (before?.digest === digest) return before.objects;
  const objects = recordedObjects(cells);
  read.set(cells, { digest, objects });
  return objects;
}

function shortened(names: readonly string[]): string {
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : '';
  return `${names.slice(0, NAMED_MAX).join(', ')}${more}`;
}

function textOf(objects: readonly string[]): string {
  return `${objects.length} ${objects.length === 1 ? 'object' : 'objects'} (${shortened(objects)})`;
}

function objectsOf({ nodeId }: NodeRecord, records: readonly ClusterRecord[]): string[] {
  return [`Node/${nodeId}`, ...records.map(({ name }) => `Cluster/${name}`)];
}

function write(
  part: Part,
  by: Caller,
  action: string,
  message: string,
  writes: readonly CellWrite[],
  objects: readonly string[],
): void {
  part.replication.write(by.author, message, writes, () => tell(part, 'done', { action, by, objects, message }));
  part.options.log.info({ objects, author: by.author }, message);
}
