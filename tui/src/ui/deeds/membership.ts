// SPDX-License-Identifier: Apache-2.0
/** The mesh itself: who is let in, who goes, which clusters a node is in, the key of gossip. */
import {
  assignCluster,
  createCluster,
  createJoinToken,
  deleteCluster,
  removeMember,
  rotateGossipKey,
  unassignCluster,
} from '@marcher/client/actions';
import type { NodeView } from '@marcher/client/fleet';
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Values } from '../store/form.js';
import { type Deed, type DeedContext, Faulty, nameOf, numberOf, planOf, wordsOf } from './deed.js';

const READ_MS = 10_000;
/** A week. */
const TOKEN_MINUTES_MAX = 10_080;

const node = (items: readonly object[]): NodeView => items[0] as NodeView;

/** As it is now, so that a mistake is told before something is done. */
async function clusterOf(values: Values, { calls }: DeedContext): Promise<Cluster> {
  const { clusters } = await calls.mesh.listClusters({}, { timeoutMs: READ_MS });
  const name = (values['cluster'] ?? '').trim();
  const found = clusters.find((each) => each.name === name);
  if (found !== undefined) return found;
  const known = clusters.map((each) => each.name).join(', ');
  throw new Faulty(
    `there is no cluster "${name}"${known === '' ? ', nor any other: :clusters, then :new' : `: ${known}`}`,
  );
}

export const membershipDeeds: readonly Deed[] = [
  {
    ...{ command: 'token', subject: 'node', isOfNone: true, help: 'let a machine join the mesh, once' },
    form: () => ({
      title: 'Make a token that lets one machine join, once',
      fields: [
        {
          kind: 'text',
          name: 'minutes',
          label: 'minutes',
          value: '60',
          hint: `how long it is good: 1 to ${TOKEN_MINUTES_MAX}`,
        },
        {
          ...{ kind: 'choice', name: 'role', label: 'role', choices: ['member', 'authority'] },
          hint: "authority: may hold the CA's key, and sign",
        },
        { kind: 'text', name: 'clusters', label: 'clusters', hint: 'that the node is to be in; or nothing' },
      ],
    }),
    plan: (_items, values, { calls, target }) => {
      const minutes = numberOf(values['minutes'], 'minutes', 1, TOKEN_MINUTES_MAX);
      const role = values['role'] === 'authority' ? 'authority' : 'member';
      return planOf(createJoinToken(calls, { minutes, role, clusters: wordsOf(values['clusters']) }), target);
    },
  },
  {
    ...{ command: 'delete', subject: 'node', help: 'remove it from the mesh' },
    plan: async (items, _values, { calls, target }) => {
      const { key: nodeId, name, isEntry, member } = node(items);
      if (member === undefined) throw new Faulty(`${name} is in no mesh`);
      if (isEntry)
        throw new Faulty(
          `${name} is the node that is asked here, and a node does not remove itself: marcher mesh leave`,
        );
      const { clusters } = await calls.mesh.listClusters({}, { timeoutMs: READ_MS });
      return planOf(removeMember(calls, { nodeId, name }, clusters), target);
    },
  },
  {
    ...{ command: 'rotate', subject: 'node', isOfNone: true, help: 'give gossip of the whole mesh another key' },
    plan: (_items, _values, { calls, target }) => planOf(rotateGossipKey(calls), target),
  },
  {
    ...{ command: 'assign', subject: 'node', help: 'put it into a cluster' },
    form: (items) => ({
      title: `Put ${node(items).name} into a cluster`,
      fields: [
        { kind: 'text', name: 'cluster', label: 'cluster', hint: 'the node takes over what is in it, and serves it' },
      ],
    }),
    plan: async (items, values, context) => {
      const { key: nodeId, name, member } = node(items);
      const cluster = await clusterOf(values, context);
      if (member?.clusters.includes(cluster.name) === true) throw new Faulty(`${name} is in ${cluster.name} already`);
      return planOf(assignCluster(context.calls, cluster, { nodeId, name }), context.target);
    },
  },
  {
    ...{ command: 'unassign', subject: 'node', help: 'take it out of a cluster' },
    form: (items) => {
      const { name, member } = node(items);
      const choices = member?.clusters ?? [];
      const hint = 'the node serves what is in it no more, and forgets it';
      return {
        title: `Take ${name} out of a cluster`,
        fields: [{ kind: 'choice', name: 'cluster', label: 'cluster', choices, hint }],
      };
    },
    plan: async (items, values, context) => {
      const { key: nodeId, name, member } = node(items);
      if (member === undefined || member.clusters.length === 0) throw new Faulty(`${name} is in no cluster`);
      return planOf(unassignCluster(context.calls, await clusterOf(values, context), { nodeId, name }), context.target);
    },
  },
  {
    ...{ command: 'new', subject: 'cluster', isOfNone: true, help: 'make a cluster, without nodes' },
    form: () => ({
      title: 'Make a cluster',
      fields: [{ kind: 'text', name: 'name', label: 'name', hint: '1 to 63 of a-z, 0-9 and -' }],
    }),
    plan: (_items, values, { calls, target }) => planOf(createCluster(calls, nameOf(values)), target),
  },
  {
    ...{ command: 'delete', subject: 'cluster', help: 'delete it; its nodes stay in the mesh' },
    plan: (items, _values, { calls, target }) => planOf(deleteCluster(calls, items[0] as Cluster), target),
  },
];
