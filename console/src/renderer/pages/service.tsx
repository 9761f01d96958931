// SPDX-License-Identifier: Apache-2.0
/** One service: what it declares, how each node carries it, and its backends as each node finds them. */
import type { BackendView, FleetState, NodeView, ServiceView } from '@marcher/client/fleet';
import { Health } from '@marcher/proto/marcher/v1/node_service_pb';
import { type ReactNode, useEffect, useMemo, useState } from 'react';
import { Badge, LinkBadge, type Tone } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { useFleet } from '../state/console.js';
import { formatRoute } from '../state/routes.js';
import { serviceState, tiersText } from '../state/service-words.js';
import { listenersText } from '../text/listeners.js';
import { bitRate, count } from '../text/quantity.js';
import { said } from '../text/said.js';
import { DrainButton } from '../writes/drain.js';
import { useObjectWrites } from '../writes/object-writes.js';

export default function Service({ name }: { readonly name: string }): ReactNode {
  const { services } = useFleet();
  const { buttons, dialog } = useObjectWrites();
  const service = services.get(name);
  return (
    <>
      {service === undefined ? (
        <>
          <Crumb name={name} />
          <p>
            There is no service of this name on the nodes that have answered. <a href="#/services">All services</a>
          </p>
        </>
      ) : (
        <ServiceThere service={service} buttons={buttons(service)} />
      )}
      {/* Here, so that what was deleted can be taken back from the dialog. */}
      {dialog}
    </>
  );
}

function ServiceThere({ service, buttons }: { readonly service: ServiceView; readonly buttons: ReactNode }): ReactNode {
  const state = useFleet();
  const [node, setNode] = useState<string>('');
  const [tone, word] = serviceState(service);
  const { name, declared, flow } = service;
  return (
    <>
      <header className="page-head">
        <Crumb name={name} />
        <Badge tone={tone}>{word}</Badge>
        {buttons}
        <span className="links">
          <a href={formatRoute({ page: 'connections', name })}>Connections</a>
          <a href={formatRoute({ page: 'logs', name })}>Logs</a>
          <a href={formatRoute({ page: 'latency', name })}>Latency</a>
        </span>
      </header>
      <Panel title="Declared">
        <Facts
          facts={[
            ['Listeners', listenersText(declared?.listeners ?? []) || '–'],
            ['Cluster', said(declared?.cluster || 'every node')],
            ['Traffic policy', policyLink(declared?.trafficPolicy ?? '')],
            ['Tier', tiersText(service)],
            ['Open connections', count(flow.open)],
            ['From clients', bitRate(flow.bytesReceived)],
            ['To clients', bitRate(flow.bytesSent)],
            ['Failures / s', count(flow.failures)],
          ]}
        />
        {declared !== undefined && <Declared service={service} />}
      </Panel>
      <OnNodes state={state} service={service} chosen={node} choose={setNode} />
      <Backends state={state} service={service} node={node} />
    </>
  );
}

function Crumb({ name }: { readonly name: string }): ReactNode {
  return (
    <h1>
      <a href="#/services">Services</a> / {said(name)}
    </h1>
  );
}

function policyLink(name: string): ReactNode {
  return name === '' ? 'none' : <a href={formatRoute({ page: 'shaping', name })}>{said(name)}</a>;
}

function Declared({ service: { declared } }: { readonly service: ServiceView }): ReactNode {
  const [text, setText] = useState<string | undefined>(undefined);
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    if (!isOpen || declared === undefined) return;
    void import('../writes/file-form.js').then(({ offeredText }) =>
      setText(offeredText({ kind: 'Service', declared })),
    );
  }, [isOpen, declared]);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>As YAML</summary>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls */}
      <pre tabIndex={0}>{text === undefined ? '…' : said(text)}</pre>
    </details>
  );
}

interface OnNode {
  readonly view: NodeView;
  readonly service: ServiceView;
}

const nodeColumns: readonly Column<OnNode>[] = [
  {
    key: 'name',
    title: 'Node',
    render: ({ view }) => (
      <a href={formatRoute({ page: 'proxies', name: view.key })} tabIndex={-1}>
        {said(view.name)}
      </a>
    ),
    value: ({ view }) => view.name,
  },
  { key: 'link', title: 'Known', width: '110px', render: ({ view }) => <LinkBadge link={view.link} /> },
  {
    key: 'tier',
    title: 'Tier',
    width: '80px',
    render: ({ view, service }) => service.tiers.get(view.key)?.tier ?? '–',
    value: ({ view, service }) => service.tiers.get(view.key)?.tier ?? '',
  },
  {
    key: 'why',
    title: 'Why',
    width: 'minmax(160px, 2fr)',
    render: ({ view, service }) => said(service.tiers.get(view.key)?.reasons.join('; ') ?? ''),
  },
  {
    key: 'state',
    title: 'State',
    width: 'minmax(120px, 1.5fr)',
    render: ({ view, service }) => {
      const on = service.nodes.get(view.key);
      if (on === undefined) return <Badge tone="plain">not there</Badge>;
      const [unmet] = on.unmet;
      if (unmet !== undefined) return <span title={said(unmet.message)}>{said(`${unmet.type}: ${unmet.reason}`)}</span>;
      return on.same ? <Badge tone="good">same</Badge> : <Badge tone="warn">differs</Badge>;
    },
  },
  {
    key: 'open',
    title: 'Open',
    width: '70px',
    align: 'end',
    render: ({ view, service }) => count(service.flows.get(view.key)?.open ?? 0),
    value: ({ view, service }) => service.flows.get(view.key)?.open ?? 0,
  },
  {
    key: 'received',
    title: 'From clients',
    width: '124px',
    align: 'end',
    render: ({ view, service }) => bitRate(service.flows.get(view.key)?.bytesReceived ?? 0),
    value: ({ view, service }) => service.flows.get(view.key)?.bytesReceived ?? 0,
  },
  {
    key: 'sent',
    title: 'To clients',
    width: '112px',
    align: 'end',
    render: ({ view, service }) => bitRate(service.flows.get(view.key)?.bytesSent ?? 0),
    value: ({ view, service }) => service.flows.get(view.key)?.bytesSent ?? 0,
  },
];

interface OnNodesProps {
  readonly state: FleetState;
  readonly service: ServiceView;
  readonly chosen: string;
  readonly choose: (node: string) => void;
}

function OnNodes({ state, service, chosen, choose }: OnNodesProps): ReactNode {
  const rows = useMemo(
    () => [...state.nodes.values()].map((view): OnNode => ({ view, service })),
    [state.nodes, service],
  );
  const faster = [...new Set([...service.tiers.values()].flatMap(({ fasterIf }) => fasterIf))];
  return (
    <Panel
      title="On each node"
      side={
        <label>
          Backends as seen by{' '}
          <select value={chosen} onChange={(event) => choose(event.target.value)}>
            <option value="">all live nodes</option>
            {rows.map(({ view }) => (
              <option key={view.key} value={view.key}>
                {said(view.name)}
              </option>
            ))}
          </select>
        </label>
      }
    >
      <DataTable
        label="On each node"
        columns={nodeColumns}
        rows={rows}
        rowKey={({ view }) => view.key}
        empty="No node has answered."
      />
      {faster.length > 0 && <p className="note">Faster if: {said(faster.join('; '))}</p>}
    </Panel>
  );
}

const HEALTH: Readonly<Record<BackendView['health'], Tone>> = {
  healthy: 'good',
  unhealthy: 'bad',
  mixed: 'warn',
  unknown: 'plain',
};
const NODE_HEALTH: Readonly<Record<number, BackendView['health']>> = {
  [Health.HEALTHY]: 'healthy',
  [Health.UNHEALTHY]: 'unhealthy',
};

interface BackendRow {
  readonly backend: BackendView;
  readonly address: string;
  readonly health: BackendView['health'];
  readonly connections: number;
  readonly draining: BackendView['draining'];
  readonly reasons: string;
  /** On which it is drained. undefined: on none alone. */
  readonly node: NodeView | undefined;
}

const backendColumns: readonly Column<BackendRow>[] = [
  {
    key: 'backend',
    title: 'Backend',
    render: ({ backend }) => said(backend.backend),
    value: ({ backend }) => backend.backend,
  },
  { key: 'address', title: 'Address', render: ({ address }) => said(address), value: ({ address }) => address },
  {
    key: 'health',
    title: 'Health',
    width: '110px',
    render: ({ health }) => <Badge tone={HEALTH[health]}>{health}</Badge>,
    value: ({ health }) => health,
  },
  { key: 'why', title: 'Why', width: 'minmax(0, 1.6fr)', render: ({ reasons }) => said(reasons) },
  {
    key: 'draining',
    title: 'Drained',
    width: '90px',
    render: ({ draining }) => (draining === 'no' ? 'no' : <Badge tone="warn">{draining}</Badge>),
    value: ({ draining }) => draining,
  },
  {
    key: 'connections',
    title: 'Open',
    width: '80px',
    align: 'end',
    render: ({ connections }) => count(connections),
    value: ({ connections }) => connections,
  },
  {
    key: 'drain',
    title: 'There',
    width: '110px',
    render: ({ backend, node, draining }) =>
      node === undefined ? null : (
        <DrainButton
          node={node}
          backend={{ service: backend.service, backend: backend.backend }}
          isDrained={draining === 'yes'}
        />
      ),
  },
];

function Backends({
  state,
  service,
  node,
}: {
  readonly state: FleetState;
  readonly service: ServiceView;
  readonly node: string;
}): ReactNode {
  const rows = useMemo(() => {
    const addresses = new Map(service.declared?.backends.map((each) => [each.name || each.address, each.address]));
    const view = node === '' ? undefined : state.nodes.get(node);
    return [...state.backends.values()]
      .filter((backend) => backend.service === service.name)
      .map(
        (backend): BackendRow => ({
          backend,
          address: addresses.get(backend.backend) ?? '',
          ...(view === undefined ? overAll(backend) : atNode(backend, view)),
          node: view,
        }),
      );
  }, [state.backends, state.nodes, service, node]);
  return (
    <Panel
      title="Backends"
      side={node === '' ? <span className="note">choose a node to drain one there</span> : undefined}
    >
      <DataTable
        label="Backends"
        columns={backendColumns}
        rows={rows}
        rowKey={({ backend }) => backend.key}
        order={{ key: 'backend', descending: false }}
        empty="No node has said anything of backends."
      />
    </Panel>
  );
}

type Seen = Omit<BackendRow, 'backend' | 'address' | 'node'>;

function overAll({ health, connections, draining, nodes }: BackendView): Seen {
  const all = [...nodes.values()]
    .flatMap(({ endpoints }) => endpoints.map(({ reason }) => reason))
    .filter((each) => each !== '');
  return { health, connections, draining, reasons: [...new Set(all)].slice(0, 3).join('; ') };
}

function atNode({ nodes }: BackendView, { key }: NodeView): Seen {
  const status = nodes.get(key);
  if (status === undefined) return { health: 'unknown', connections: 0, draining: 'no', reasons: 'not there' };
  const healths = [...new Set(status.endpoints.map(({ health }) => NODE_HEALTH[health] ?? 'unknown'))];
  return {
    health: healths.length > 1 ? 'mixed' : (healths[0] ?? 'unknown'),
    connections: Number(status.connections),
    draining: status.draining ? 'yes' : 'no',
    reasons: status.endpoints.map(({ address, reason }) => `${address} ${reason}`.trim()).join('; '),
  };
}
