// SPDX-License-Identifier: Apache-2.0
/** How long backends took to be connected to: of each service, or of one at each node, by time. */
import type { FannedNode } from '@marcher/client/fleet';
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react';
import { keyOfReached, reached } from '../agents/reached.js';
import { Heatmap } from '../charts/heatmap.js';
import { countOf, LatencyCourses, type LatencyRow, quantileUs } from '../charts/latency.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Panel } from '../components/panel.js';
import { ServiceChoice } from '../components/service-choice.js';
import { navigate, useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { count, microseconds, span } from '../text/quantity.js';
import { said } from '../text/said.js';

const QUANTILES = [
  ['half', 0.5],
  ['95 %', 0.95],
  ['99 %', 0.99],
] as const;
/** Of the map, and of a column of it. */
const SPANS = [
  ['3 minutes', 2_000],
  ['15 minutes', 10_000],
] as const;
/** Counters that are asked for at once: each is some hundred bytes, from each node. */
const ASKED_MAX = 20_000;

interface Row extends LatencyRow {
  readonly name: string;
}

const columnsOf = (first: string): readonly Column<Row>[] => [
  { key: 'name', title: first, render: ({ name }) => said(name), value: ({ name }) => name },
  {
    key: 'count',
    title: 'Connects',
    width: '110px',
    align: 'end',
    render: ({ sum }) => count(countOf(sum)),
    value: ({ sum }) => countOf(sum),
  },
  ...QUANTILES.map(
    ([word, quantile]): Column<Row> => ({
      key: word,
      title: `${word} within`,
      width: '130px',
      align: 'end',
      render: ({ sum }) => usText(quantileUs(sum, quantile)),
      value: ({ sum }) => quantileUs(sum, quantile) ?? 0,
    }),
  ),
  {
    key: 'most',
    title: 'Slowest within',
    width: '140px',
    align: 'end',
    render: ({ sum }) => usText(quantileUs(sum, 1)),
    value: ({ sum }) => quantileUs(sum, 1) ?? 0,
  },
];
const usText = (us: number | undefined): string => (us === undefined ? '–' : microseconds(us));

export default function Latency(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const state = useFleet();
  const [quantile, setQuantile] = useState<number>(0.95);
  const [slotMs, setSlotMs] = useState<number>(SPANS[0][1]);
  const service = route.name ?? '';
  const nodes = reached(state, reach);
  const isTooMuch = service === '' && nodes.length * state.services.size > ASKED_MAX;
  const rows = useLatency(isTooMuch ? [] : nodes, service, slotMs, state.paused);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const names = state.nodes;
  const shown = useMemo(
    () =>
      rows
        .map((row): Row => ({ ...row, name: service === '' ? row.key : (names.get(row.key)?.name ?? row.key) }))
        .filter(({ name }) => filter.matches(name))
        .sort((a, b) => (a.name < b.name ? -1 : 1)),
    [rows, names, service, filter],
  );
  const columns = useMemo(() => columnsOf(service === '' ? 'Service' : 'Node'), [service]);
  const word = QUANTILES.find(([, each]) => each === quantile)?.[0] ?? '';
  const what = `${word} of connects to backends within, by ${service === '' ? 'service' : 'node'} and time`;
  return (
    <>
      <header className="page-head">
        <h1>Latency</h1>
        <span className="note">of connects to backends, by the relay of {nodes.length} live nodes</span>
        <ServiceChoice
          key={service}
          value={service}
          set={(name) => navigate({ page: 'latency', filter: route.filter, ...(name === '' ? {} : { name }) })}
        />
        <label>
          Shown{' '}
          <select value={quantile} onChange={({ target }) => setQuantile(Number(target.value))}>
            {QUANTILES.map(([each, value]) => (
              <option key={each} value={value}>
                {each} within
              </option>
            ))}
          </select>
        </label>
        <label>
          Of the last{' '}
          <select value={slotMs} onChange={({ target }) => setSlotMs(Number(target.value))}>
            {SPANS.map(([each, value]) => (
              <option key={each} value={value}>
                {each}
              </option>
            ))}
          </select>
        </label>
      </header>
      {isTooMuch ? (
        <p>
          {nodes.length} nodes have {state.services.size} services, which is too much to be asked for at once: choose a
          service.
        </p>
      ) : (
        <>
          <Panel
            title={what.charAt(0).toUpperCase() + what.slice(1)}
            side={<span className="note">← older, now →</span>}
          >
            {shown.length === 0 ? (
              <p className="note">
                Nothing was connected to since this page was opened. A column takes {span(slotMs)}.
              </p>
            ) : (
              <Heatmap
                rows={shown}
                quantile={quantile}
                label={`Heatmap: ${what}. The table below has the figures.`}
                nameOf={(key) => (service === '' ? key : (names.get(key)?.name ?? key))}
              />
            )}
          </Panel>
          <DataTable
            label="Latency"
            columns={columns}
            rows={shown}
            rowKey={({ key }) => key}
            {...(service === '' ? { open: ({ key }: Row) => navigate({ page: 'latency', name: key }) } : {})}
            order={{ key: 'count', descending: true }}
            empty="Nothing was connected to since this page was opened."
          />
        </>
      )}
      <p className="note">
        Agents count connects in steps of a factor of two, from 1 µs up; how long answers take is not measured. XDP and
        tc pass packets on and connect to nothing.
      </p>
      <footer className="page-foot">
        <CommandLine command={`marcher stats${service === '' ? '' : ` ${service}`} --watch`} />
      </footer>
    </>
  );
}

/** Begins with nothing: agents keep totals, and no past. */
function useLatency(
  nodes: readonly FannedNode[],
  service: string,
  slotMs: number,
  isPaused: boolean,
): readonly LatencyRow[] {
  const [rows, setRows] = useState<readonly LatencyRow[]>([]);
  const paused = useRef(isPaused);
  paused.current = isPaused;
  const key = keyOfReached(nodes);
  const courses = useMemo(() => ({ of: `${service} ${slotMs}`, kept: new LatencyCourses(slotMs) }), [service, slotMs]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: key says whether the nodes are others
  useEffect(() => {
    const giveUp = new AbortController();
    setRows([]);
    const rowOf = (node: string) => (each: string) => (service === '' ? each : node);
    const follow = async ({ key: node, calls }: FannedNode): Promise<void> => {
      while (!giveUp.signal.aborted) {
        try {
          for await (const stats of calls.traffic.stats({ service, intervalMs: slotMs }, { signal: giveUp.signal })) {
            if (giveUp.signal.aborted) return;
            courses.kept.take(node, stats, Date.now(), rowOf(node));
          }
        } catch {
          // That a node does not answer is said by the banner. Totals go on where they were.
        }
        await new Promise((resolve) => setTimeout(resolve, slotMs));
      }
    };
    for (const node of nodes) void follow(node);
    const timer = setInterval(() => {
      if (!paused.current) setRows(courses.kept.rows(Date.now()).filter(({ sum }) => countOf(sum) > 0));
    }, 1_000);
    return () => {
      giveUp.abort();
      clearInterval(timer);
    };
  }, [key, courses]);
  return rows;
}
