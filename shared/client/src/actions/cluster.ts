// SPDX-License-Identifier: Apache-2.0
/** Clusters of the mesh, and which nodes hold them. */
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { AgentCalls } from '../fleet/contract.js';
import { commandLine } from './command.js';
import { byTyping, changedSince, type Deed, goneSince, plainly, within } from './deed.js';
import { whatGoes } from './membership.js';

export function createCluster(calls: AgentCalls, name: string): Deed {
  const title = `make cluster ${name}`;
  return {
    title,
    confirmation: plainly(title),
    consequences: ['No node is in it yet: what is put into it is served nowhere until one is.'],
    lasting: undefined,
    apply: async (signal) => {
      await calls.mesh.createCluster({ name }, within(signal));
      return { text: `Cluster ${name} is made.`, undo: deleteCluster(calls, { name, nodes: [], objects: 0n }) };
    },
    asCommand: (target = {}) => commandLine(target, ['cluster', 'create', name]),
  };
}

type Seen = Pick<Cluster, 'name' | 'nodes' | 'objects'>;

/** With what is in it, where there is something. */
export function deleteCluster(calls: AgentCalls, cluster: Seen): Deed {
  const { name, nodes, objects } = cluster;
  const title = `delete cluster ${name}`;
  const isEmpty = objects === 0n || (objects === undefined && nodes.length === 0);
  return {
    title,
    confirmation: byTyping(title, name),
    consequences: [
      whatGoes(cluster),
      ...(nodes.length === 0 ? [] : [`Its nodes stay in the mesh: ${nodes.map((node) => node.name).join(', ')}.`]),
    ],
    lasting:
      isEmpty && nodes.length === 0
        ? undefined
        : 'What was in it, and which nodes were, would have to be put in again.',
    apply: async (signal) => {
      await asSeen(calls, cluster, signal);
      await calls.mesh.deleteCluster({ name, force: !isEmpty }, within(signal));
      const undo = isEmpty && nodes.length === 0 ? { undo: createCluster(calls, name) } : {};
      return { text: `Cluster ${name} is deleted.`, ...undo };
    },
    asCommand: (target = {}) => commandLine(target, ['cluster', 'delete', name, '-y', ...(isEmpty ? [] : ['--force'])]),
  };
}

interface Node {
  readonly nodeId: string;
  readonly name: string;
}

/** begin: nodes that have what was in it will not come back. */
export function assignCluster(calls: AgentCalls, cluster: Seen, node: Node, begin = false): Deed {
  const title = `put ${node.name} into cluster ${cluster.name}`;
  return {
    title,
    confirmation: begin ? byTyping(title, node.name) : plainly(title),
    consequences: [
      begin
        ? 'It begins with nothing in it: what other nodes had there does not come back.'
        : 'It takes over what is in it, and serves it from then on.',
    ],
    lasting: undefined,
    apply: async (signal) => {
      await calls.mesh.assignClusters({ node: node.nodeId, clusters: [cluster.name], begin }, within(signal));
      const now = { ...cluster, nodes: [...cluster.nodes, { ...node, $typeName: 'marcher.v1.ClusterNode', state: 0 }] };
      return {
        text: `${node.name} is in cluster ${cluster.name}.`,
        undo: unassignCluster(calls, now as Seen, node),
      };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['cluster', 'assign', node.nodeId, cluster.name, ...(begin ? ['--begin'] : [])]),
  };
}

export function unassignCluster(calls: AgentCalls, cluster: Seen, node: Node): Deed {
  const title = `take ${node.name} out of cluster ${cluster.name}`;
  const isLast = cluster.nodes.length === 1 && cluster.nodes[0]?.nodeId === node.nodeId;
  const isLost = isLast && cluster.objects !== 0n;
  return {
    title,
    confirmation: byTyping(title, node.name),
    consequences: [
      'It stops serving what is in there, and forgets it.',
      ...(isLast ? [`It is the last node of it: ${whatGoes(cluster)}`] : []),
    ],
    lasting: isLost ? 'No other node has what was in it.' : undefined,
    apply: async (signal) => {
      const request = { node: node.nodeId, clusters: [cluster.name], force: isLast };
      await calls.mesh.unassignClusters(request, within(signal));
      const text = `${node.name} is out of cluster ${cluster.name}.`;
      return isLost ? { text } : { text, undo: assignCluster(calls, { ...cluster, nodes: [] }, node, isLast) };
    },
    asCommand: (target = {}) =>
      commandLine(target, ['cluster', 'unassign', node.nodeId, cluster.name, '-y', ...(isLast ? ['--force'] : [])]),
  };
}

async function asSeen(calls: AgentCalls, seen: Seen, signal: AbortSignal | undefined): Promise<void> {
  const { clusters } = await calls.mesh.listClusters({}, within(signal));
  const now = clusters.find(({ name }) => name === seen.name);
  if (now === undefined) throw goneSince(`cluster ${seen.name}`);
  const nodes = (of: Seen): string =>
    of.nodes
      .map(({ nodeId }) => nodeId)
      .sort()
      .join();
  // Of one without nodes nobody knows a number.
  if ((now.objects ?? 0n) !== (seen.objects ?? 0n) || nodes(now) !== nodes(seen))
    throw changedSince(`cluster ${seen.name}`);
}
