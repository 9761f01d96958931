// SPDX-License-Identifier: Apache-2.0
import { lazy, type ReactNode, Suspense, useMemo } from 'react';
import { TrafficMap } from '../charts/traffic-map.js';
import { layOut } from '../charts/traffic-map-layout.js';
import { Badge } from '../components/badge.js';
import { Panel } from '../components/panel.js';
import { Sparkline } from '../components/sparkline.js';
import { concerns } from '../state/attention.js';
import { useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { bitRate, count } from '../text/quantity.js';
import { said } from '../text/said.js';

const TrafficChart = lazy(() => import('../charts/traffic-chart.js'));

export function Dashboard(): ReactNode {
  const { route, trend } = useConsole();
  const state = useFleet();
  const { coverage, flow, history, services, backends } = state;
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const map = useMemo(() => layOut(state, (name) => filter.matches(name)), [state, filter]);
  const found = useMemo(() => concerns(state).filter(({ what }) => filter.matches(what)), [state, filter]);
  const unhealthy = useMemo(
    () => [...backends.values()].filter(({ health }) => health === 'unhealthy' || health === 'mixed').length,
    [backends],
  );
  return (
    <>
      <h1>Dashboard</h1>
      <ul className="tiles" aria-label="Totals">
        <Tile title="Nodes live" figure={`${coverage.live} / ${coverage.nodes}`} />
        <Tile title="Services" figure={String(services.size)} />
        <Tile title="Backends failing" figure={`${unhealthy} / ${backends.size}`} />
        <Tile title="Open" figure={count(flow.open)} values={history.map(({ open }) => open)} />
        <Tile title="New / s" figure={count(flow.connections)} values={history.map(({ connections }) => connections)} />
        <Tile
          title="From clients"
          figure={bitRate(flow.bytesReceived)}
          values={history.map((each) => each.bytesReceived)}
        />
        <Tile title="To clients" figure={bitRate(flow.bytesSent)} values={history.map(({ bytesSent }) => bytesSent)} />
        <Tile title="Failures / s" figure={count(flow.failures)} values={history.map(({ failures }) => failures)} />
      </ul>
      <div className="columns">
        <Panel title="Traffic of the last minute">
          <Suspense fallback={<div className="chart-place" />}>
            <TrafficChart points={trend.points()} nowMs={state.atMs} />
          </Suspense>
        </Panel>
        <Panel title="Needs attention" side={<Badge tone={found.length > 0 ? 'warn' : 'good'}>{found.length}</Badge>}>
          {found.length === 0 ? (
            <p className="note">Nothing, on the nodes that have answered.</p>
          ) : (
            // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
            <ul className="concerns" tabIndex={0}>
              {found.map(({ tone, what, why, page, name }) => (
                <li key={`${what} ${why}`}>
                  <Badge tone={tone}>{tone === 'bad' ? 'failing' : 'degraded'}</Badge>
                  <a href={formatRoute({ page, name })}>{said(what)}</a> <span>{said(why)}</span>
                </li>
              ))}
            </ul>
          )}
        </Panel>
      </div>
      <Panel title="Traffic map" side={<span className="note">services → nodes → backends</span>}>
        {map.boxes.length === 0 ? <p className="note">Nothing is there yet.</p> : <TrafficMap layout={map} />}
      </Panel>
    </>
  );
}

interface TileProps {
  readonly title: string;
  readonly figure: string;
  readonly values?: readonly number[];
}

function Tile({ title, figure, values }: TileProps): ReactNode {
  return (
    <li className="tile">
      <span className="tile-title">{title}</span>
      <span className="tile-figure">{figure}</span>
      {values !== undefined && values.length > 1 && <Sparkline values={values} label={`${title}, lately`} />}
    </li>
  );
}
