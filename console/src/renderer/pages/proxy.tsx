// SPDX-License-Identifier: Apache-2.0
/** One node: how it is, what its tiers carry and why not more, its interfaces, and taking it out of service. */
import type { NodeView } from '@marcher/client/fleet';
import type {
  StatusResponse,
  TierAvailability,
  TierTraffic,
  XdpInterface,
} from '@marcher/proto/marcher/v1/node_service_pb';
import { type ReactNode, useMemo } from 'react';
import { Badge, LinkBadge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel, Problem } from '../components/panel.js';
import { useConsole, useFleet } from '../state/console.js';
import { bitRate, bytes, count, plural, span, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { DrainButton } from '../writes/drain.js';
import { nodeState } from './node-words.js';

export default function ProxyPage({ nodeKey }: { readonly nodeKey: string }): ReactNode {
  const { fleet } = useConsole();
  const { nodes, atMs } = useFleet();
  const node = nodes.get(nodeKey);
  if (node === undefined) {
    return (
      <>
        <h1>
          <a href="#/proxies">Proxies</a> / {said(nodeKey)}
        </h1>
        <p>
          No node of this mesh is known by that. <a href="#/proxies">All proxies</a>
        </p>
      </>
    );
  }
  const { link, status, flow, heardMs } = node;
  const [tone, word] = nodeState(node);
  return (
    <>
      <header className="page-head">
        <h1>
          <a href="#/proxies">Proxies</a> / {said(node.name)}
        </h1>
        <LinkBadge link={link} />
        <Badge tone={tone}>{word}</Badge>
        {link.kind !== 'live' && (
          <button type="button" onClick={() => fleet.retry(node.key)}>
            Try now
          </button>
        )}
        {status !== undefined && <DrainButton node={node} backend={undefined} isDrained={status.draining} />}
      </header>
      {'reason' in link && (
        <Problem>
          {said(link.reason)}.{' '}
          {heardMs === undefined ? 'Nothing has been heard of it.' : `Shown as it was ${span(atMs - heardMs)} ago.`}
        </Problem>
      )}
      {status !== undefined && (
        <>
          <Panel title="Status">
            <Facts
              facts={[
                ['Id', <code key="id">{node.key}</code>],
                ['Agent', `${said(status.version)}, up ${span(atMs - (timeMs(status.started) ?? atMs))}`],
                ['Engine', engineText(status, atMs)],
                ['Region', said([status.region, status.country].filter((each) => each !== '').join(' ') || '–')],
                ['Configuration', `version ${status.configVersion}`],
                ['Digest', <code key="hash">{status.configHash.slice(0, 16)}</code>],
                [
                  'Services',
                  `${status.services}, ${plural(status.backends, 'backend')}, ${plural(status.listeners, 'listener')}`,
                ],
                ['Memory', `agent ${bytes(status.memoryBytes)}, engine ${bytes(status.engine?.memoryBytes ?? 0n)}`],
                ['Open connections', count(flow?.open ?? 0)],
                ['From clients', bitRate(flow?.bytesReceived ?? 0)],
                ['To clients', bitRate(flow?.bytesSent ?? 0)],
                ['Failures / s', count(flow?.failures ?? 0)],
              ]}
            />
            {status.conditions.length > 0 && (
              <ul className="concerns">
                {status.conditions.map(({ type, status: met, reason, message }) => (
                  <li key={type}>
                    <Badge tone={met ? 'good' : status.ready ? 'warn' : 'bad'}>{said(type)}</Badge>{' '}
                    {said(message || reason)}
                  </li>
                ))}
              </ul>
            )}
          </Panel>
          <Tiers node={node} status={status} />
          <Interfaces status={status} />
          <Drops status={status} />
        </>
      )}
    </>
  );
}

function engineText({ engine }: StatusResponse, atMs: number): string {
  if (engine === undefined || !engine.running) return said(`not running. ${engine?.lastError ?? ''}`);
  const up = span(atMs - (timeMs(engine.started) ?? atMs));
  return said(`${engine.version}, ${engine.workers} workers, up ${up}, ${engine.restarts} restarts`);
}

interface Tier {
  readonly availability: TierAvailability;
  readonly traffic: TierTraffic | undefined;
}

const tierColumns: readonly Column<Tier>[] = [
  { key: 'tier', title: 'Tier', width: '90px', render: ({ availability }) => said(availability.tier) },
  {
    key: 'available',
    title: 'Available',
    width: '100px',
    render: ({ availability }) => (
      <Badge tone={availability.available ? 'good' : 'plain'}>{availability.available ? 'yes' : 'no'}</Badge>
    ),
  },
  { key: 'why', title: 'Why', width: 'minmax(0, 3fr)', render: ({ availability }) => said(availability.reason) },
  {
    key: 'services',
    title: 'Services',
    width: '90px',
    align: 'end',
    render: ({ traffic }) => String(traffic?.services ?? 0),
  },
  {
    key: 'packets',
    title: 'Packets',
    width: '100px',
    align: 'end',
    render: ({ traffic }) => count(traffic?.packets ?? 0n),
  },
  {
    key: 'bytes',
    title: 'From clients',
    width: '124px',
    align: 'end',
    render: ({ traffic }) => bytes(traffic?.bytes ?? 0n),
  },
  {
    key: 'back',
    title: 'To clients',
    width: '112px',
    align: 'end',
    render: ({ traffic }) => bytes(traffic?.bytesReturned ?? 0n),
  },
];

function Tiers({ node, status }: { readonly node: NodeView; readonly status: StatusResponse }): ReactNode {
  const rows = useMemo(
    () =>
      node.availability.map(
        (availability): Tier => ({
          availability,
          traffic: status.traffic.find(({ tier }) => tier === availability.tier),
        }),
      ),
    [node.availability, status],
  );
  return (
    <Panel title="Tiers">
      <DataTable
        label="Tiers"
        columns={tierColumns}
        rows={rows}
        rowKey={({ availability }) => availability.tier}
        empty="It has not said which it has."
      />
    </Panel>
  );
}

const interfaceColumns: readonly Column<XdpInterface>[] = [
  { key: 'name', title: 'Interface', width: '120px', render: ({ name }) => said(name) },
  {
    key: 'xdp',
    title: 'XDP',
    render: ({ mode, reason }) => said([mode || 'not attached', reason].filter(Boolean).join(': ')),
  },
  {
    key: 'tc',
    title: 'tc',
    render: ({ tc, tcReason }) => said([tc || 'not attached', tcReason].filter(Boolean).join(': ')),
  },
  {
    key: 'shaping',
    title: 'Shaping',
    render: ({ shaping, shapingReason }) => said([shaping || '–', shapingReason].filter(Boolean).join(': ')),
  },
];

function Interfaces({ status: { xdpInterfaces } }: { readonly status: StatusResponse }): ReactNode {
  if (xdpInterfaces.length === 0) return null;
  return (
    <Panel title="Interfaces of the packet tiers">
      <DataTable
        label="Interfaces"
        columns={interfaceColumns}
        rows={xdpInterfaces}
        rowKey={({ name }) => name}
        empty=""
      />
    </Panel>
  );
}

function Drops({ status: { xdpDrops } }: { readonly status: StatusResponse }): ReactNode {
  const dropped = xdpDrops.filter(({ packets }) => packets > 0n);
  if (dropped.length === 0) return null;
  return (
    <Panel title="Packets dropped by XDP and tc">
      <Facts facts={dropped.map(({ reason, packets }) => [said(reason), count(packets)] as const)} />
    </Panel>
  );
}
