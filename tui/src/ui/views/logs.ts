// SPDX-License-Identifier: Apache-2.0
/** What happens on the live nodes, as it happens: connections, health, listeners, names. */
import type { NodeKey } from '@marcher/client/fleet';
import { type LogEntry, LogKind } from '@marcher/proto/marcher/v1/traffic_service_pb';
import { bytes, clock, microseconds, timeMs } from '../../cli/output/quantity.js';
import type { Line } from '../theme/line.js';
import { field, nodeName } from './shown.js';
import type { Sight, View } from './view.js';

export interface LogRow {
  /** In the order in which they came. */
  readonly serial: number;
  readonly node: NodeKey;
  readonly entry: LogEntry;
}

const names: Readonly<Partial<Record<LogKind, string>>> = {
  [LogKind.CONNECTION_OPENED]: 'opened',
  [LogKind.CONNECTION_CLOSED]: 'closed',
  [LogKind.HEALTH_CHANGED]: 'health',
  [LogKind.LISTENER_CHANGED]: 'listener',
  [LogKind.BACKEND_EJECTED]: 'ejected',
  [LogKind.DNS_CHANGED]: 'dns',
  [LogKind.ENGINE]: 'engine',
};
const usual = new Set(['', 'closed', 'healthy', 'bound']);

export const logs: View<LogRow> = {
  name: 'logs',
  aliases: ['log'],
  help: 'the log of all live nodes, followed',
  subject: 'other',
  feed: 'logs',
  tail: true,
  columns: [
    {
      title: 'TIME',
      rank: 0,
      value: ({ entry }) => clock(timeMs(entry.time), 'milliseconds').slice(11),
      tone: () => 'dim',
    },
    { title: 'NODE', rank: 2, max: 20, value: ({ node }, { state }) => nodeName(state, node) },
    { title: 'EVENT', rank: 0, value: ({ entry }) => names[entry.kind] ?? 'event' },
    {
      title: 'WHAT',
      rank: 0,
      min: 12,
      max: 60,
      value: ({ entry }) => [entry.service, entry.backend].filter(Boolean).join('/'),
    },
    { title: 'CLIENT', rank: 1, max: 80, min: 16, value: clientText },
    {
      ...{ title: 'REASON', rank: 1, max: 32, value: ({ entry }) => entry.reason },
      tone: (text) => (usual.has(text) ? undefined : 'warn'),
    },
    { title: 'MORE', rank: 3, min: 16, max: 120, value: moreText },
  ],
  items: ({ feed }) => feed.items as readonly LogRow[],
  id: ({ serial }) => String(serial),
  label: ({ entry }) => entry.service,
  scopeOf: ({ entry }) => (entry.service === '' ? {} : { service: entry.service }),
  none: () => 'Nothing has happened yet.',
  detail,
};

function clientText({ entry }: LogRow): string {
  if (entry.client === '') return '';
  return `${entry.transport === '' ? '' : `${entry.transport} `}${entry.client}${entry.upstream === '' ? '' : ` > ${entry.upstream}`}`;
}

function moreText({ entry }: LogRow): string {
  const closed =
    entry.kind === LogKind.CONNECTION_CLOSED
      ? `${microseconds(Number(entry.durationUs))} in=${bytes(entry.bytesReceived)} out=${bytes(entry.bytesSent)}`
      : '';
  return [closed, entry.message].filter((text) => text !== '').join('  ');
}

function detail({ node, entry }: LogRow, { state }: Sight): Line[] {
  return [
    field('Event', names[entry.kind] ?? 'event', 'strong'),
    field('Time', clock(timeMs(entry.time), 'milliseconds')),
    field('Node', nodeName(state, node)),
    field('Service', entry.service || '-'),
    field('Backend', entry.backend || '-'),
    field('Client', entry.client || '-'),
    field('Local', entry.local || '-'),
    field('Upstream', entry.upstream || '-'),
    field('Transport', entry.transport || '-'),
    field('Reason', entry.reason || '-'),
    field('Duration', microseconds(Number(entry.durationUs))),
    field('Connected in', entry.connectUs === 0n ? '-' : microseconds(Number(entry.connectUs))),
    field('Retries', String(entry.retries)),
    field('In', bytes(entry.bytesReceived)),
    field('Out', bytes(entry.bytesSent)),
    field('Connection', entry.connectionId === 0n ? '-' : String(entry.connectionId)),
    field('Message', entry.message || '-'),
  ];
}
