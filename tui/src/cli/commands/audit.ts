// SPDX-License-Identifier: Apache-2.0
/** Who has changed what on the node, and who was denied. */
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { AuditOutcome, type AuditRecord, AuditRecordSchema } from '@marcher/proto/marcher/v1/audit_service_pb';
import { usage } from '../failure.js';
import { clock, timeMs } from '../output/quantity.js';
import { writeMessages } from '../output/structured.js';
import type { Column } from '../output/table.js';
import { type Session, type TargetOptions, wholeNumber } from '../session.js';
import { writeTable } from './get.js';

interface ListOptions extends TargetOptions {
  readonly limit: string;
  readonly since?: string;
  readonly until?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly outcome?: 'done' | 'denied' | 'failed';
  readonly object?: string;
  readonly output: 'table' | 'json' | 'yaml';
}

const limitMax = 100_000;
/** Of one call. */
const pageMax = 1_000;
const outcomes = { done: AuditOutcome.DONE, denied: AuditOutcome.DENIED, failed: AuditOutcome.FAILED } as const;

export async function list(session: Session, options: ListOptions): Promise<undefined> {
  const limit = wholeNumber(options.limit, '--limit', 1, limitMax);
  const { actor = '', action = '', object = '', outcome, since, until } = options;
  const now = Date.now();
  const query = {
    ...{ actor, action, object, outcome: outcome === undefined ? AuditOutcome.UNSPECIFIED : outcomes[outcome] },
    ...(since === undefined ? {} : { since: timestampFromMs(pointInTime(since, '--since', now)) }),
    ...(until === undefined ? {} : { until: timestampFromMs(pointInTime(until, '--until', now)) }),
  };
  const agent = await session.agent(options);
  const records: AuditRecord[] = [];
  let before = 0n;
  do {
    const wanted = Math.min(limit - records.length, pageMax);
    const page = await agent.audit.listAuditRecords({ ...query, before, limit: wanted }, session.call(options));
    records.push(...page.records);
    before = page.next;
  } while (before !== 0n && records.length < limit);
  if (await writeMessages(session, options, AuditRecordSchema, records)) return;
  await writeTable(session, columns(session), records, 'audit records');
}

/** "30m", "7d": so long ago; else a time as ISO 8601 has it. */
function pointInTime(text: string, what: string, nowMs: number): number {
  const ago = /^(\d{1,6})([smhd])$/.exec(text);
  const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[ago?.[2] ?? ''];
  if (ago !== null && unitMs !== undefined) return Math.max(0, nowMs - Number(ago[1]) * unitMs);
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time) || time < 0) {
    throw usage(`${what} is "${text}": expected how long ago, such as 30m, 12h or 7d, or a time: 2026-11-22T08:00:00Z`);
  }
  return time;
}

function columns({ style }: Session): Column<AuditRecord>[] {
  return [
    { title: 'RECORD', value: ({ sequence }) => String(sequence), align: 'right' },
    { title: 'TIME', value: ({ time }) => clock(timeMs(time)) },
    {
      title: 'ACTOR',
      value: ({ actor, source }) => (source === '' || actor.includes(source) ? actor : `${actor} from ${source}`),
    },
    { title: 'VIA', value: ({ via }) => via || '-' },
    { title: 'ACTION', value: ({ action }) => action.slice(action.lastIndexOf('.') + 1) },
    {
      title: 'OUTCOME',
      value: ({ outcome }) => (AuditOutcome[outcome] ?? String(outcome)).toLowerCase(),
      paint: (text) => (text.startsWith('done') ? text : style.red(text)),
    },
    { title: 'VERSION', value: ({ version }) => (version === 0n ? '-' : String(version)), align: 'right' },
    { title: 'OBJECTS', value: objectsText },
    {
      title: 'MESSAGE',
      value: ({ message, repeated }) => (repeated === 0 ? message : `${message} (and ${repeated} more)`) || '-',
    },
  ];
}

const shownMax = 3;

function objectsText({ objects, moreObjects }: AuditRecord): string {
  const more = Math.max(0, objects.length - shownMax) + moreObjects;
  const shown = objects.slice(0, shownMax).join(', ') || '-';
  return more === 0 ? shown : `${shown} and ${more} more`;
}
