// SPDX-License-Identifier: Apache-2.0
/** Backends as the nodes find them: which may differ from node to node, as each probes by itself. */
import { type BackendView, listOf } from '@marcher/client/fleet';
import { type BackendStatus, Health } from '@marcher/proto/marcher/v1/node_service_pb';
import { type Line, piece } from '../theme/line.js';
import { BLANK, field, heading, nodeName } from './shown.js';
import type { Sight, View } from './view.js';

export const backends: View<BackendView> = {
  name: 'backends',
  aliases: ['backend', 'be'],
  help: 'backends: health on the nodes, drains, load',
  subject: 'backend',
  columns: [
    { title: 'SERVICE', key: 'S', rank: 0, min: 10, max: 63, value: ({ service }) => service },
    { title: 'BACKEND', key: 'B', rank: 0, min: 10, max: 48, value: ({ backend }) => backend },
    {
      ...{ title: 'HEALTH', key: 'H', rank: 0 },
      value: healthText,
      tone: (_text, { health, draining }) =>
        health === 'unhealthy' ? 'bad' : health === 'healthy' && draining === 'no' ? 'good' : 'warn',
    },
    {
      ...{ title: 'OPEN', key: 'O', rank: 1, align: 'right' },
      value: ({ connections }) => String(connections),
      order: ({ connections }) => connections,
    },
    {
      ...{ title: 'WEIGHT', key: 'W', rank: 2, align: 'right', value: (backend) => weightText(backend) },
      order: (backend) => Number(weightText(backend)) || 0,
    },
    {
      title: 'NODES',
      key: 'N',
      rank: 3,
      align: 'right',
      value: ({ nodes }) => String(nodes.size),
      order: ({ nodes }) => nodes.size,
    },
    { title: 'ADDRESSES', key: 'A', rank: 4, max: 48, value: addressesText },
    { title: 'REASON', key: 'R', rank: 5, max: 60, value: reasonText, tone: () => 'warn' },
  ],
  items: ({ state, scope }) => {
    const { service, node } = scope;
    const all = listOf(state.backends);
    if (service === undefined && node === undefined) return all;
    return all.filter(
      (backend) =>
        (service === undefined || backend.service === service) && (node === undefined || backend.nodes.has(node)),
    );
  },
  id: ({ key }) => key,
  label: ({ key }) => key,
  scopeOf: ({ service }) => ({ service }),
  none: ({ scope }) =>
    scope.service === undefined
      ? 'No backends are known yet.'
      : `Service ${scope.service} has no backends that a node knows.`,
  detail,
};

function healthText({ health, draining }: BackendView): string {
  const drained = draining === 'no' ? '' : draining === 'yes' ? 'draining, ' : 'draining on some, ';
  return `${drained}${health}`;
}

function weightText({ nodes }: BackendView): string {
  const weights = new Set([...nodes.values()].map(({ weight }) => weight));
  return weights.size === 1 ? String([...weights][0]) : weights.size === 0 ? '-' : 'differs';
}

function addressesText({ nodes }: BackendView): string {
  const all = new Set<string>();
  for (const { endpoints } of nodes.values()) for (const { address } of endpoints) all.add(address);
  return [...all].join(' ') || '-';
}

function reasonText({ nodes }: BackendView): string {
  for (const { endpoints } of nodes.values()) {
    const wrong = endpoints.find(({ health, ejected }) => ejected || health === Health.UNHEALTHY);
    if (wrong !== undefined) return wrong.reason || (wrong.ejected ? 'ejected' : 'unhealthy');
  }
  return '';
}

function detail(backend: BackendView, { state }: Sight): Line[] {
  return [
    field('Backend', backend.backend, 'strong'),
    field('Service', backend.service),
    field(
      'Health',
      healthText(backend),
      backend.health === 'healthy' ? 'good' : backend.health === 'unhealthy' ? 'bad' : 'warn',
    ),
    field('Open', `${backend.connections} over all live nodes`),
    BLANK,
    heading('On each node'),
    ...[...backend.nodes].flatMap(([key, status]) => onNode(nodeName(state, key), status)),
  ];
}

function onNode(name: string, status: BackendStatus): Line[] {
  const elsewhere = status.elsewhere === undefined ? '' : `, ${status.elsewhere} elsewhere`;
  const what = `weight ${status.weight}, ${status.connections} open${elsewhere}`;
  return [
    [name.padEnd(20), ' ', status.draining ? piece('warn', 'draining  ') : '', what],
    ...status.endpoints.map(({ address, health, reason, ejected, connections }): Line => {
      const text = ejected ? 'ejected' : (Health[health] ?? 'unknown').toLowerCase();
      const tone = text === 'healthy' ? 'good' : text === 'unknown' ? 'dim' : 'bad';
      return [
        ' '.repeat(21),
        address.padEnd(28),
        ' ',
        piece(tone, text),
        `  ${connections} open`,
        piece('warn', reason === '' ? '' : `  ${reason}`),
      ];
    }),
    ...(status.endpoints.length === 0
      ? [[' '.repeat(21), piece('warn', 'its name has not been resolved')] as Line]
      : []),
  ];
}
