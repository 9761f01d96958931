// SPDX-License-Identifier: Apache-2.0
/** Who is connected now, through the relay of any live node. Asked for anew every few seconds. */
import { type MergedConnections, mergedConnections } from '@marcher/client/fleet';
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { keyOfReached, reached } from '../agents/reached.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Problem } from '../components/panel.js';
import { ServiceChoice } from '../components/service-choice.js';
import { useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { bytes, count, plural, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';

type Connected = MergedConnections['connections'][number];

interface Row extends Connected {
  readonly name: string;
  readonly ageMs: number;
}

const EVERY_MS = 2_000;
/** Of all nodes together, the newest. */
const LISTED_MAX = 2_000;

const columns: readonly Column<Row>[] = [
  {
    key: 'service',
    title: 'Service',
    render: ({ connection }) => (
      <a href={formatRoute({ page: 'services', name: connection.service })} tabIndex={-1}>
        {said(connection.service)}
      </a>
    ),
    value: ({ connection }) => connection.service,
  },
  { key: 'node', title: 'Node', width: '110px', render: ({ name }) => said(name), value: ({ name }) => name },
  {
    key: 'client',
    title: 'Client',
    width: 'minmax(150px, 1.2fr)',
    render: ({ connection }) => said(connection.client),
    value: ({ connection }) => connection.client,
  },
  {
    key: 'backend',
    title: 'Backend',
    render: ({ connection }) => <span title={said(connection.upstream)}>{said(connection.backend || '–')}</span>,
    value: ({ connection }) => connection.backend,
  },
  {
    key: 'transport',
    title: 'Proto',
    width: '64px',
    render: ({ connection }) => said(connection.transport),
    value: ({ connection }) => connection.transport,
  },
  {
    key: 'state',
    title: 'State',
    width: '110px',
    render: ({ connection }) => said(connection.state),
    value: ({ connection }) => connection.state,
  },
  {
    key: 'age',
    title: 'Open for',
    width: '100px',
    align: 'end',
    render: ({ ageMs }) => span(ageMs),
    value: ({ ageMs }) => ageMs,
  },
  {
    key: 'idle',
    title: 'Idle',
    width: '90px',
    align: 'end',
    render: ({ connection }) => span(Number(connection.idleMs)),
    value: ({ connection }) => connection.idleMs,
  },
  {
    key: 'received',
    title: 'From client',
    width: '118px',
    align: 'end',
    render: ({ connection }) => bytes(connection.bytesReceived),
    value: ({ connection }) => connection.bytesReceived,
  },
  {
    key: 'sent',
    title: 'To client',
    width: '104px',
    align: 'end',
    render: ({ connection }) => bytes(connection.bytesSent),
    value: ({ connection }) => connection.bytesSent,
  },
];
const keyOf = ({ node, connection }: Row): string => `${node}/${connection.id}`;

export default function Connections(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const state = useFleet();
  const [service, setService] = useState(route.name ?? '');
  const [node, setNode] = useState('');
  const nodes = reached(state, reach);
  const asked = nodes.filter(({ key }) => node === '' || key === node);
  const { found, atMs } = useConnections(asked, service, state.paused);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const names = useRef(state.nodes);
  names.current = state.nodes;
  const rows = useMemo(
    () =>
      (found?.connections ?? [])
        .map((each): Row => {
          const opened = timeMs(each.connection.opened) ?? atMs;
          return { ...each, name: names.current.get(each.node)?.name ?? each.node, ageMs: Math.max(0, atMs - opened) };
        })
        .filter(({ name, connection: { service: of, client, backend, upstream, state: at } }) =>
          filter.matches(`${of} ${name} ${client} ${backend} ${upstream} ${at}`),
        ),
    [found, atMs, filter],
  );
  const failed = [...(found?.failed ?? [])];
  const total = Number(found?.total ?? 0n);
  const listed = found?.connections.length ?? 0;
  return (
    <>
      <header className="page-head">
        <h1>Connections</h1>
        <span className="note">
          {total > listed ? `the newest ${listed} of ${count(total)}` : plural(total, 'connection')} through the relay
          of {plural(asked.length, 'live node')}
        </span>
        <ServiceChoice value={service} set={setService} />
        <label>
          Node{' '}
          <select value={node} onChange={({ target }) => setNode(target.value)}>
            <option value="">all that are live</option>
            {nodes.map(({ key }) => (
              <option key={key} value={key}>
                {said(state.nodes.get(key)?.name ?? key)}
              </option>
            ))}
          </select>
        </label>
      </header>
      {failed.length > 0 && (
        <Problem>
          Not known of{' '}
          {failed
            .slice(0, 5)
            .map(([key, reason]) => `${said(state.nodes.get(key)?.name ?? key)} (${said(reason)})`)
            .join(', ')}
          {failed.length > 5 && ` and ${failed.length - 5} more`}.
        </Problem>
      )}
      <DataTable
        label="Connections"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        order={{ key: 'age', descending: false }}
        empty={
          found === undefined
            ? 'Asking…'
            : filter.text === ''
              ? 'There are no open connections. Those that XDP and tc carry are in no list.'
              : 'No connection matches the filter.'
        }
      />
      <footer className="page-foot">
        <CommandLine command={`marcher connections${service === '' ? '' : ` ${service}`}`} />
      </footer>
    </>
  );
}

interface Found {
  readonly found: MergedConnections | undefined;
  /** When, Unix time. */
  readonly atMs: number;
}

function useConnections(
  nodes: readonly {
    readonly key: string;
    readonly calls: Parameters<typeof mergedConnections>[0]['nodes'][number]['calls'];
  }[],
  service: string,
  isPaused: boolean,
): Found {
  const [found, setFound] = useState<Found>({ found: undefined, atMs: 0 });
  const key = keyOfReached(nodes);
  // biome-ignore lint/correctness/useExhaustiveDependencies: key says whether they are others
  useEffect(() => {
    if (isPaused) return;
    const giveUp = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async (): Promise<void> => {
      const answer = await mergedConnections({ nodes, service, limit: LISTED_MAX, signal: giveUp.signal });
      if (giveUp.signal.aborted) return;
      setFound({ found: answer, atMs: Date.now() });
      timer = setTimeout(() => void ask(), EVERY_MS);
    };
    void ask();
    return () => {
      giveUp.abort();
      clearTimeout(timer);
    };
  }, [key, service, isPaused]);
  return found;
}
