// SPDX-License-Identifier: Apache-2.0
/** Clusters of the mesh: which nodes hold and serve what. */
import type { FleetState, ObjectView, ServiceView } from '@marcher/client/fleet';
import { type Cluster, MemberState } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { nounOf } from '../../cli/commands/kind.js';
import { clock, timeMs } from '../../cli/output/quantity.js';
import { type Line, piece } from '../theme/line.js';
import { BLANK, bytesRate, field, heading, linkText, linkTone } from './shown.js';
import type { Sight, View } from './view.js';

/** Objects that are named in the detail of a cluster; the others are counted. */
const LISTED_MAX = 200;

export const clusters: View<Cluster> = {
  name: 'clusters',
  aliases: ['cluster', 'cl'],
  help: 'clusters: which nodes hold and serve what',
  subject: 'cluster',
  feed: 'clusters',
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ name }) => name },
    {
      ...{ title: 'NODES', key: 'O', rank: 0, align: 'right', order: ({ nodes }) => nodes.length },
      value: ({ nodes }) => `${nodes.filter(isThere).length}/${nodes.length}`,
      tone: (_text, { nodes }) =>
        nodes.length === 0 ? 'dim' : nodes.every(isThere) ? 'good' : nodes.some(isThere) ? 'warn' : 'bad',
    },
    {
      ...{ title: 'OBJECTS', key: 'B', rank: 1, align: 'right', order: ({ objects }) => objects ?? -1n },
      value: ({ objects }) => (objects === undefined ? '-' : String(objects)),
    },
    { title: 'MEMBERS', rank: 2, min: 16, max: 80, value: ({ nodes }) => nodes.map(nodeText).join(', ') || '-' },
    { title: 'CREATED', key: 'C', rank: 3, value: ({ created }) => clock(timeMs(created)) },
    { title: 'BY', key: 'Y', rank: 4, max: 32, value: ({ createdBy }) => createdBy || '-' },
  ],
  items: ({ feed }) => feed.items as readonly Cluster[],
  id: ({ name }) => name,
  label: ({ name }) => name,
  none: () => 'There are no clusters: every node holds and serves everything. n makes one.',
  detail,
};

function isThere({ state }: Cluster['nodes'][number]): boolean {
  return state === MemberState.SELF || state === MemberState.ALIVE;
}

/** "node1", "node2 (dead)" */
function nodeText(node: Cluster['nodes'][number]): string {
  return isThere(node) ? node.name : `${node.name} (${(MemberState[node.state] ?? '-').toLowerCase()})`;
}

function detail(cluster: Cluster, { state, nowMs }: Sight): Line[] {
  const held = [...inCluster(cluster.name, state)];
  return [
    field('Cluster', cluster.name, 'strong'),
    field('Made', `${clock(timeMs(cluster.created))} by ${cluster.createdBy || '-'}`),
    field(
      'Objects',
      cluster.objects === undefined ? 'not known: the node that is asked is not in it' : String(cluster.objects),
    ),
    BLANK,
    heading(`Nodes: ${cluster.nodes.length}`),
    ...cluster.nodes.map((node): Line => {
      const view = state.nodes.get(node.nodeId);
      return [
        node.name.padEnd(20),
        ' ',
        piece(isThere(node) ? 'good' : 'bad', (MemberState[node.state] ?? '-').toLowerCase().padEnd(10)),
        view === undefined ? '' : piece(linkTone(view.link), linkText(view.link, nowMs)),
      ];
    }),
    BLANK,
    heading(`In it, as far as it is known here: ${held.length}`),
    ...held
      .slice(0, LISTED_MAX)
      .map(
        (object): Line => [
          nounOf(object.kind).padEnd(16),
          object.name.padEnd(30),
          object.kind === 'Service'
            ? ` ${bytesRate(object.flow.bytesReceived)} in, ${bytesRate(object.flow.bytesSent)} out`
            : '',
        ],
      ),
    ...(held.length > LISTED_MAX ? [[piece('dim', `and ${held.length - LISTED_MAX} more`)] as Line] : []),
  ];
}

function* inCluster(name: string, { services, objects }: FleetState): Iterable<ServiceView | ObjectView> {
  for (const service of services.values()) if (service.declared?.cluster === name) yield service;
  for (const object of objects.values()) {
    const declared = object.declared?.object;
    if (declared?.value !== undefined && declared.value.cluster === name) yield object;
  }
}
