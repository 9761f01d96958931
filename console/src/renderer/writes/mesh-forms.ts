// SPDX-License-Identifier: Apache-2.0
/** What is asked for before something is done to the mesh: clusters, tokens, roots. */
import type { NewToken } from '@marcher/client/actions';
import type { AgentCalls } from '@marcher/client/fleet';
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import type { Doing } from './deed-dialog.js';
import type { Actions } from './deeds.js';
import { OBJECT_NAME, wordsOf } from './fields.js';

const CLUSTERS_MAX = 16;

export function makingCluster(actions: Actions, calls: AgentCalls): Doing {
  return {
    title: 'New cluster',
    fields: [
      { kind: 'text', name: 'name', label: 'Name', pattern: OBJECT_NAME, max: 63, hint: 'a to z, 0 to 9 and -' },
    ],
    make: ({ name = '' }) => actions.createCluster(calls, name),
  };
}

interface Node {
  readonly nodeId: string;
  readonly name: string;
}

export function assigning(actions: Actions, calls: AgentCalls, cluster: Cluster, nodes: readonly Node[]): Doing {
  // Two nodes may have the same name: the id tells them apart.
  const words = nodes.map(({ name, nodeId }) => `${name} (${nodeId})`);
  return {
    title: `Add a node to cluster ${cluster.name}`,
    fields: [
      { kind: 'choice', name: 'node', label: 'Node', choices: words, initial: words[0] ?? '' },
      {
        kind: 'check',
        name: 'begin',
        label: 'It begins with nothing: nodes that have what was in the cluster will not come back',
      },
    ],
    make: ({ node, begin }) => {
      const chosen = nodes[words.indexOf(node ?? '')];
      if (chosen === undefined) throw new Error('choose a node');
      return actions.assignCluster(calls, cluster, chosen, begin === 'yes');
    },
  };
}

export function makingToken(actions: Actions, calls: AgentCalls): Doing {
  return {
    title: 'Token for a new node',
    note: 'It lets one machine in, once, and is shown once. The agent that is connected to redeems it.',
    fields: [
      { kind: 'number', name: 'minutes', label: 'Minutes that it is good for', from: 1, to: 10_080, initial: 60 },
      {
        ...{ kind: 'choice', name: 'role', label: 'As', choices: ['member', 'authority'], initial: 'member' },
        hint: "an authority may hold the CA's key, and sign",
      },
      {
        ...{ kind: 'text', name: 'clusters', label: 'Into clusters', optional: true, max: 1_200 },
        hint: 'names with spaces between them',
      },
    ],
    make: ({ minutes, role, clusters }) => {
      const into = wordsOf(clusters);
      if (into.length > CLUSTERS_MAX) throw new Error(`${into.length} clusters: at most ${CLUSTERS_MAX} are taken`);
      const as = role === 'authority' ? 'authority' : 'member';
      const token: NewToken = { minutes: Number(minutes), role: as, clusters: into };
      return actions.createJoinToken(calls, token);
    },
  };
}

export function rotatingCa(actions: Actions, calls: AgentCalls): Doing {
  return {
    title: 'New root of the CA',
    note: 'A root whose key is at no node is made by marcher mesh ca rotate --root-key-out.',
    fields: [
      {
        ...{ kind: 'number', name: 'hours', label: 'Hours that it is only trusted', from: 1, to: 720, initial: 24 },
        when: ({ now }) => now !== 'yes',
      },
      { kind: 'check', name: 'now', label: 'It signs as soon as all members that are there trust it' },
    ],
    make: ({ hours, now }) => actions.rotateCa(calls, now === 'yes' ? 'now' : Number(hours)),
  };
}
