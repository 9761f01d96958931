// SPDX-License-Identifier: Apache-2.0
/** Open connections through the relay, of all live nodes. */
import type { NodeKey } from '@marcher/client/fleet';
import type { Connection } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { age, bytes, clock, timeMs } from '../../cli/output/quantity.js';
import type { Line } from '../theme/line.js';
import { field, nodeName } from './shown.js';
import type { Sight, View } from './view.js';

export interface ConnectionRow {
  readonly node: NodeKey;
  readonly connection: Connection;
}

export const connections: View<ConnectionRow> = {
  name: 'connections',
  aliases: ['connection', 'conn'],
  help: 'open connections',
  subject: 'other',
  feed: 'connections',
  timed: true,
  columns: [
    { title: 'SERVICE', key: 'S', rank: 0, max: 40, min: 8, value: ({ connection }) => connection.service },
    { title: 'CLIENT', key: 'C', rank: 0, max: 48, value: ({ connection }) => connection.client },
    { title: 'BACKEND', key: 'B', rank: 1, max: 40, min: 8, value: ({ connection }) => connection.backend || '-' },
    { title: 'NODE', key: 'N', rank: 2, max: 24, value: ({ node }, { state }) => nodeName(state, node) },
    { title: 'PROTO', key: 'P', rank: 4, value: ({ connection }) => connection.transport },
    {
      ...{ title: 'AGE', key: 'A', rank: 2, align: 'right' },
      value: ({ connection }, { nowMs }) => age(nowMs - (timeMs(connection.opened) ?? nowMs)),
      order: ({ connection }) => -(timeMs(connection.opened) ?? 0),
    },
    {
      ...{
        title: 'IDLE',
        key: 'L',
        rank: 3,
        align: 'right',
        value: ({ connection }) => age(Number(connection.idleMs)),
      },
      order: ({ connection }) => connection.idleMs,
    },
    {
      title: 'IN',
      key: 'I',
      rank: 2,
      align: 'right',
      value: ({ connection }) => bytes(connection.bytesReceived),
      order: ({ connection }) => connection.bytesReceived,
    },
    {
      title: 'OUT',
      key: 'O',
      rank: 2,
      align: 'right',
      value: ({ connection }) => bytes(connection.bytesSent),
      order: ({ connection }) => connection.bytesSent,
    },
    { title: 'STATE', key: 'T', rank: 3, value: ({ connection }) => connection.state },
  ],
  items: ({ feed }) => feed.items as readonly ConnectionRow[],
  id: ({ node, connection }) => `${node}/${connection.id}`,
  label: ({ connection }) => connection.client,
  scopeOf: ({ connection }) => ({ service: connection.service }),
  none: ({ scope }) => `There are no open connections${scope.service === undefined ? '' : ` of ${scope.service}`}.`,
  detail,
};

function detail({ node, connection }: ConnectionRow, { state }: Sight): Line[] {
  return [
    field('Connection', String(connection.id), 'strong'),
    field('Node', `${nodeName(state, node)}, worker ${connection.worker}`),
    field('Service', connection.service),
    field('Backend', connection.backend || '-'),
    field('Client', connection.client),
    field('Local', connection.local || '-'),
    field('Upstream', connection.upstream || '-'),
    field('Transport', connection.transport),
    field('Opened', clock(timeMs(connection.opened), 'milliseconds')),
    field('Idle', age(Number(connection.idleMs))),
    field('In', bytes(connection.bytesReceived)),
    field('Out', bytes(connection.bytesSent)),
    field('State', connection.state),
  ];
}
