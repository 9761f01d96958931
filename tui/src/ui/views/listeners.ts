// SPDX-License-Identifier: Apache-2.0
/** Where clients come in: the listeners of all services. */
import { listOf, type ServiceView } from '@marcher/client/fleet';
import type { Listener } from '@marcher/proto/marcher/v1/model_pb';
import { portsText, protocolName } from '../../cli/commands/services.js';
import { services, stateText } from './services.js';
import type { View } from './view.js';

interface ListenerRow {
  readonly service: ServiceView;
  readonly listener: Listener;
  readonly index: number;
}

const known = new WeakMap<ServiceView, readonly ListenerRow[]>();

export const listeners: View<ListenerRow> = {
  name: 'listeners',
  aliases: ['listener', 'ls'],
  help: 'listeners of all services',
  subject: 'service',
  columns: [
    { title: 'SERVICE', key: 'S', rank: 0, min: 12, max: 63, value: ({ service }) => service.name },
    { title: 'PROTOCOL', key: 'P', rank: 1, value: ({ listener }) => protocolName(listener.protocol) },
    { title: 'ADDRESS', key: 'A', rank: 0, max: 48, value: ({ listener }) => listener.address || '*' },
    {
      ...{ title: 'PORTS', key: 'O', rank: 0, max: 32, value: ({ listener }) => portsText(listener) },
      order: ({ listener }) => listener.ports[0]?.first ?? 0,
    },
    { title: 'PROXY-FROM', rank: 3, max: 40, value: ({ listener }) => listener.acceptProxyFrom.join(',') || '-' },
    {
      title: 'MAX',
      key: 'M',
      rank: 4,
      align: 'right',
      value: ({ listener }) => String(listener.maxConnections ?? '-'),
    },
    {
      title: 'STATE',
      rank: 2,
      value: ({ service }) => stateText(service),
      tone: (text) => (text === 'ok' ? 'good' : 'bad'),
    },
  ],
  items: ({ state, scope }) =>
    listOf(state.services).flatMap((service) =>
      scope.node === undefined || service.nodes.has(scope.node) ? rowsOf(service) : [],
    ),
  id: ({ service, index }) => `${service.name}/${index}`,
  label: ({ service }) => service.name,
  scopeOf: ({ service }) => ({ service: service.name }),
  none: () => 'No service has a listener.',
  detail: ({ service }, sight) => services.detail?.(service, sight) ?? [],
};

function rowsOf(service: ServiceView): readonly ListenerRow[] {
  const before = known.get(service);
  if (before !== undefined) return before;
  const rows = (service.declared?.listeners ?? []).map((listener, index) => ({ service, listener, index }));
  known.set(service, rows);
  return rows;
}
