// SPDX-License-Identifier: Apache-2.0
/** Who has changed what, and who was denied: the newest records of each live node's log. */
import type { NodeKey } from '@marcher/client/fleet';
import { AuditOutcome, type AuditRecord } from '@marcher/proto/marcher/v1/audit_service_pb';
import { clock, timeMs } from '../../cli/output/quantity.js';
import type { Line } from '../theme/line.js';
import { field, nodeName } from './shown.js';
import type { Sight, View } from './view.js';

export interface AuditRow {
  readonly node: NodeKey;
  readonly record: AuditRecord;
}

const outcomeText = ({ outcome }: AuditRecord): string => (AuditOutcome[outcome] ?? String(outcome)).toLowerCase();

export const audit: View<AuditRow> = {
  name: 'audit',
  aliases: ['auditlog'],
  help: 'the audit logs of all live nodes',
  subject: 'other',
  feed: 'audit',
  columns: [
    { title: 'TIME', key: 'T', rank: 0, value: ({ record }) => clock(timeMs(record.time)) },
    { title: 'NODE', key: 'N', rank: 2, max: 24, value: ({ node }, { state }) => nodeName(state, node) },
    { title: 'ACTOR', key: 'A', rank: 0, min: 12, max: 40, value: ({ record }) => record.actor },
    { title: 'VIA', key: 'V', rank: 4, value: ({ record }) => record.via || '-' },
    {
      title: 'ACTION',
      key: 'C',
      rank: 0,
      min: 12,
      max: 48,
      value: ({ record: { action } }) => action.slice(action.lastIndexOf('.') + 1),
    },
    {
      title: 'OUTCOME',
      key: 'O',
      rank: 0,
      value: ({ record }) => outcomeText(record),
      tone: (text) => (text === 'done' ? undefined : 'bad'),
    },
    { title: 'OBJECTS', key: 'B', rank: 2, max: 48, min: 12, value: ({ record }) => objectsText(record) },
    { title: 'MESSAGE', key: 'M', rank: 3, min: 16, max: 120, value: ({ record }) => record.message || '-' },
  ],
  items: ({ feed }) => feed.items as readonly AuditRow[],
  id: ({ node, record }) => `${node}/${record.sequence}`,
  label: ({ record }) => `record ${record.sequence}`,
  none: () => 'Nothing has been recorded yet.',
  detail,
};

function objectsText({ objects, moreObjects }: AuditRecord): string {
  const shown = objects.slice(0, 3).join(', ') || '-';
  const more = Math.max(0, objects.length - 3) + moreObjects;
  return more === 0 ? shown : `${shown} and ${more} more`;
}

function detail({ node, record }: AuditRow, { state }: Sight): Line[] {
  return [
    field('Record', `${record.sequence} of ${nodeName(state, node)}`, 'strong'),
    field('Time', clock(timeMs(record.time), 'milliseconds')),
    field('Actor', record.actor),
    field('Via', record.via || '-'),
    field('From', record.source || 'the node itself'),
    field('Action', record.action),
    field('Outcome', outcomeText(record), record.outcome === AuditOutcome.DONE ? 'good' : 'bad'),
    field('Version', record.version === 0n ? '-' : String(record.version)),
    field('Message', record.message || '-'),
    field('Repeated', String(record.repeated)),
    ...record.objects.map((object, index) => field(index === 0 ? 'Objects' : '', object)),
    ...(record.moreObjects === 0 ? [] : [field('', `and ${record.moreObjects} more`)]),
  ];
}
