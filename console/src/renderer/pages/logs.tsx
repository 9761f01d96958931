// SPDX-License-Identifier: Apache-2.0
/** The logs of all live nodes as one list, followed: connections, health, listeners, names. */
import { type FannedNode, systemAmbient } from '@marcher/client/fleet';
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { LogFeed, type LogLine } from '../agents/log-feed.js';
import { keyOfReached, reached } from '../agents/reached.js';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Dialog } from '../components/dialog.js';
import { Facts } from '../components/panel.js';
import { ServiceChoice } from '../components/service-choice.js';
import { useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { eventOf, LOG_LEVELS, type LogLevel, levelOf, outcomeOf, pathOf } from '../text/log-words.js';
import { clock, count, plural } from '../text/quantity.js';
import { said } from '../text/said.js';

interface Row {
  readonly line: LogLine;
  readonly node: string;
  readonly level: LogLevel;
  readonly event: string;
  readonly subject: string;
  readonly path: string;
  readonly outcome: string;
  /** What the filter looks at. */
  readonly text: string;
}

const DRAWN_EVERY_MS = 250;
const TONES: Readonly<Record<LogLevel, Tone>> = { info: 'plain', warning: 'warn', error: 'bad' };

const columns: readonly Column<Row>[] = [
  {
    key: 'time',
    title: 'Time',
    width: '118px',
    render: ({ line }) => <code>{time(line.atMs)}</code>,
    value: ({ line }) => line.atMs,
  },
  { key: 'node', title: 'Node', width: '110px', render: ({ node }) => said(node), value: ({ node }) => node },
  {
    key: 'event',
    title: 'Event',
    width: '100px',
    render: ({ event, level }) => <Badge tone={TONES[level]}>{event}</Badge>,
    value: ({ event }) => event,
  },
  {
    key: 'subject',
    title: 'Service / backend',
    width: 'minmax(110px, 1fr)',
    render: ({ subject }) => said(subject),
    value: ({ subject }) => subject,
  },
  { key: 'path', title: 'Client > upstream', width: 'minmax(0, 1.7fr)', render: ({ path }) => said(path) },
  {
    key: 'outcome',
    title: 'What',
    width: 'minmax(0, 1.8fr)',
    render: ({ outcome }) => said(outcome),
  },
];
const keyOf = ({ line }: Row): string => String(line.serial);

export default function Logs(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const state = useFleet();
  const [service, setService] = useState(route.name ?? '');
  const [level, setLevel] = useState<LogLevel>('info');
  const [held, setHeld] = useState<readonly LogLine[] | undefined>(undefined);
  const [shown, setShown] = useState<Row | undefined>(undefined);
  const nodes = reached(state, reach);
  const lines = useLogLines(nodes, service);
  const names = state.nodes;
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const known = useRef(new WeakMap<LogLine, Row>());
  const all = held ?? lines;
  const rows = useMemo(
    () =>
      all
        .map((line) => {
          const before = known.current.get(line);
          if (before !== undefined) return before;
          const row = rowOf(line, names.get(line.node)?.name ?? line.node);
          known.current.set(line, row);
          return row;
        })
        .filter((row) => LOG_LEVELS.indexOf(row.level) >= LOG_LEVELS.indexOf(level) && filter.matches(row.text)),
    [all, names, level, filter],
  );
  const behind = held === undefined ? 0 : (lines.at(-1)?.serial ?? 0) - (held.at(-1)?.serial ?? 0);
  return (
    <>
      <header className="page-head">
        <h1>Logs</h1>
        <span className="note">
          {plural(rows.length, 'line')} of {plural(nodes.length, 'live node')}
        </span>
        <ServiceChoice value={service} set={setService} />
        <label>
          Level{' '}
          <select value={level} onChange={({ target }) => setLevel(target.value as LogLevel)}>
            <option value="info">all</option>
            <option value="warning">warnings and errors</option>
            <option value="error">errors</option>
          </select>
        </label>
        <button
          type="button"
          aria-pressed={held !== undefined}
          onClick={() => setHeld(held === undefined ? lines : undefined)}
        >
          {held === undefined ? 'Hold' : `Follow (${count(behind)} new)`}
        </button>
      </header>
      <DataTable
        label="Log"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={setShown}
        order={{ key: 'time', descending: true }}
        empty={nodes.length === 0 ? 'No node is live.' : 'Nothing of that has happened yet.'}
      />
      <footer className="page-foot">
        <CommandLine command={`marcher logs${service === '' ? '' : ` ${service}`} --follow`} />
      </footer>
      {shown !== undefined && <LineDialog row={shown} onClose={() => setShown(undefined)} />}
    </>
  );
}

/** The oldest first; another array when there are others. */
function useLogLines(nodes: readonly FannedNode[], service: string): readonly LogLine[] {
  const [lines, setLines] = useState<readonly LogLine[]>([]);
  const key = keyOfReached(nodes);
  // biome-ignore lint/correctness/useExhaustiveDependencies: key says whether they are others
  useEffect(() => {
    const feed = new LogFeed({ ambient: systemAmbient(), service, nodes });
    feed.start();
    let drawn = 0;
    const timer = setInterval(() => {
      if (feed.serial === drawn) return;
      drawn = feed.serial;
      setLines(feed.lines());
    }, DRAWN_EVERY_MS);
    return () => {
      clearInterval(timer);
      feed.close();
    };
  }, [key, service]);
  return lines;
}

function rowOf(line: LogLine, node: string): Row {
  const { entry, note } = line;
  if (entry === undefined) {
    return {
      ...{ line, node, level: 'warning', event: 'log', subject: '', path: '', outcome: note },
      text: `${node} log ${note}`,
    };
  }
  const subject = [entry.service, entry.backend].filter((part) => part !== '').join('/');
  const [event, level, path, outcome] = [eventOf(entry), levelOf(entry), pathOf(entry), outcomeOf(entry)];
  return { line, node, level, event, subject, path, outcome, text: [node, event, subject, path, outcome].join(' ') };
}

/** "03:11:19.042", of the clock on the wall. */
function time(ms: number): string {
  return `${clock(ms).slice(11)}.${String(Math.floor(ms % 1_000)).padStart(3, '0')}`;
}

function LineDialog({ row, onClose }: { readonly row: Row; readonly onClose: () => void }): ReactNode {
  const { line, node, event, subject, path, outcome } = row;
  const { entry } = line;
  return (
    <Dialog title={`${event}, ${clock(line.atMs)}`} onClose={onClose}>
      <Facts
        facts={[
          ['Node', said(node)],
          ['Service / backend', said(subject || '–')],
          ['Way', said(path || '–')],
          ['Local', said(entry?.local || '–')],
          ['What', said(outcome || '–')],
          ['Retries', String(entry?.retries ?? 0)],
          ['Connection', entry === undefined || entry.connectionId === 0n ? '–' : String(entry.connectionId)],
        ]}
      />
      <footer className="dialog-foot">
        <button type="button" className="primary" onClick={onClose}>
          Close
        </button>
      </footer>
    </Dialog>
  );
}
