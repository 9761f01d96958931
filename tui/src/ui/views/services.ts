// SPDX-License-Identifier: Apache-2.0
/** The services of the mesh: what carries them, how their backends are, what moves. */
import { type FleetState, findValue, listOf, type ObjectOnNode, type ServiceView } from '@marcher/client/fleet';
import {
  algorithmText,
  forwardingText,
  healthCheckText,
  labelsText,
  listenersText,
  loadText,
  policyText,
} from '../../cli/commands/services.js';
import { type Line, piece } from '../theme/line.js';
import type { Tone } from '../theme/theme.js';
import {
  BLANK,
  field,
  flowColumns,
  heading,
  madeOnce,
  nodeName,
  nodesText,
  trafficLines,
  trendColumn,
} from './shown.js';
import type { Sight, View } from './view.js';

export const services: View<ServiceView> = {
  name: 'services',
  aliases: ['service', 'svc'],
  help: 'services: tier, backends, load, agreement',
  subject: 'service',
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ name }) => name },
    { title: 'LISTENERS', key: 'L', rank: 5, min: 12, max: 32, value: ({ declared }) => listenersText(declared) },
    { title: 'TIER', key: 'T', rank: 1, max: 24, value: tiersText },
    {
      ...{ title: 'BACKENDS', key: 'B', rank: 0, align: 'right' },
      value: ({ healthyBackends, backends }) => `${healthyBackends}/${backends}`,
      // Those that have lost most come first or last together.
      order: ({ healthyBackends, backends }) => (backends === 0 ? -1 : healthyBackends / backends),
      tone: (_text, service) => healthTone(service),
    },
    ...flowColumns<ServiceView>((service, { scope }) =>
      scope.node === undefined ? service.flow : service.flows.get(scope.node),
    ),
    {
      ...{ title: 'STATE', key: 'S', rank: 1, max: 28, value: (service) => stateText(service) },
      tone: (text) => (text === 'ok' ? 'good' : 'bad'),
    },
    trendColumn(({ history }) => history),
    { title: 'POLICY', key: 'P', rank: 9, value: ({ declared }) => declared?.trafficPolicy || '-' },
    { title: 'CLUSTER', key: 'K', rank: 9, value: ({ declared }) => declared?.cluster || '-' },
    { title: 'ALGORITHM', rank: 10, value: ({ declared }) => algorithmText(declared) },
  ],
  items: ({ state, scope }) => {
    const { node } = scope;
    const all = listOf(state.services);
    return node === undefined ? all : all.filter((service) => service.nodes.has(node));
  },
  id: ({ name }) => name,
  label: ({ name }) => name,
  scopeOf: ({ name }) => ({ service: name }),
  none: () => 'No services are configured: marcher apply -f FILE makes some.',
  detail,
};

/** "xdp", or where nodes differ "xdp 2, relay 1", the most first. */
function tiersText({ tiers }: ServiceView, { scope }: Sight): string {
  return scope.node === undefined ? tiersOf(tiers) : (tiers.get(scope.node)?.tier ?? '-');
}

const tiersOf = madeOnce((tiers: ServiceView['tiers']): string => {
  const counts = new Map<string, number>();
  for (const { tier } of tiers.values()) counts.set(tier, (counts.get(tier) ?? 0) + 1);
  const [first, ...others] = [...counts].sort(([, one], [, other]) => other - one);
  if (first === undefined) return '-';
  return others.length === 0 ? first[0] : [first, ...others].map(([tier, count]) => `${tier} ${count}`).join(', ');
});

export function healthTone({ healthyBackends, mixedBackends, backends }: ServiceView): Tone {
  if (healthyBackends === backends) return mixedBackends === 0 ? 'good' : 'warn';
  return healthyBackends === 0 ? 'bad' : 'warn';
}

/** "2 of 3 healthy", and where nodes do not agree of how many. */
export function healthText({ healthyBackends, mixedBackends, backends }: ServiceView): string {
  const healthy = `${healthyBackends} of ${backends} healthy`;
  return mixedBackends === 0 ? healthy : `${healthy}, ${mixedBackends} to some nodes only`;
}

/** "ok", the reason of the first condition that is not met somewhere, or "differs". */
export function stateText({
  nodes,
  agreement,
}: {
  nodes: ReadonlyMap<string, ObjectOnNode>;
  agreement: string;
}): string {
  return unmetOf(nodes) || (agreement === 'differs' ? 'differs' : 'ok');
}

const unmetOf = madeOnce((nodes: ReadonlyMap<string, ObjectOnNode>): string => {
  const first = findValue(nodes, ({ unmet }) => unmet.length > 0)?.unmet[0];
  return first === undefined ? '' : first.reason || `Not${first.type}`;
});

function detail(service: ServiceView, sight: Sight): Line[] {
  const { state } = sight;
  const { declared, flow, history } = service;
  const labels = declared === undefined ? '-' : labelsText(declared.labels);
  return [
    field('Service', service.name, 'strong'),
    ...(declared === undefined
      ? [field('Declared', 'no node has said it yet', 'warn')]
      : [
          field('Listens on', listenersText(declared)),
          field('Balance', `${algorithmText(declared)}${loadText(declared)}`),
          field('Health check', `${healthCheckText(declared)}${forwardingText(declared)}${policyText(declared)}`),
          field('Cluster', declared.cluster || 'every node'),
          field('Labels', labels),
        ]),
    field('Backends', healthText(service), healthTone(service)),
    BLANK,
    heading('Traffic'),
    ...trafficLines(flow, history, sight),
    BLANK,
    heading('On each node'),
    ...onNodes(service, state),
    BLANK,
    heading('Backends'),
    ...(declared?.backends ?? []).slice(0, BACKENDS_MAX).map((backend): Line => {
      const name = backend.name || backend.address;
      const view = state.backends.get(`${service.name}/${name}`);
      return [
        name.padEnd(24),
        ' ',
        piece(
          view?.health === 'healthy' ? 'good' : view?.health === 'unhealthy' ? 'bad' : 'warn',
          (view?.health ?? 'unknown').padEnd(10),
        ),
        ` weight ${backend.weight ?? 1}, ${view?.connections ?? 0} open, ${backend.address}`,
      ];
    }),
  ];
}

const BACKENDS_MAX = 200;

function onNodes(service: ServiceView, state: FleetState): Line[] {
  const lines: Line[] = [];
  for (const [key, on] of service.nodes) {
    const tier = service.tiers.get(key)?.tier ?? '-';
    lines.push([
      nodeName(state, key).padEnd(20),
      ' ',
      piece('strong', tier.padEnd(7)),
      `version ${on.generation}  `,
      on.same ? '' : piece('bad', 'differs from most nodes  '),
      piece('dim', `${service.flows.get(key)?.open ?? 0} open`),
    ]);
    for (const { type, reason, message } of on.unmet) {
      lines.push([' '.repeat(21), piece('bad', `${reason || type}${message === '' ? '' : `: ${message}`}`)]);
    }
  }
  const held = new Set(service.nodes.keys());
  const lacking = [...state.nodes.values()].filter(({ key, link }) => link.kind === 'live' && !held.has(key));
  // Of a cluster the others need not have it.
  if (lacking.length > 0 && service.declared?.cluster === '') {
    lines.push([
      piece(
        'bad',
        `not on ${nodesText(
          state,
          lacking.map(({ key }) => key),
        )}`,
      ),
    ]);
  }
  return lines;
}
