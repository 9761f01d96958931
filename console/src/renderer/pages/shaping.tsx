// SPDX-License-Identifier: Apache-2.0
/** Traffic policies: what each allows, and which services name it. */
import type { ObjectView, ServiceView } from '@marcher/client/fleet';
import { type Bandwidth, Ecn, Priority, type TrafficPolicy } from '@marcher/proto/marcher/v1/model_pb';
import { type ReactNode, useMemo } from 'react';
import { Badge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { bitRate, count } from '../text/quantity.js';
import { said } from '../text/said.js';
import { DoButton } from '../writes/deeds.js';
import { useObjectWrites } from '../writes/object-writes.js';

interface Row {
  readonly view: ObjectView;
  readonly policy: TrafficPolicy | undefined;
  readonly services: readonly ServiceView[];
}

const PRIORITIES: Readonly<Record<number, string>> = {
  [Priority.P0]: 'P0',
  [Priority.P1]: 'P1',
  [Priority.P2]: 'P2',
  [Priority.P3]: 'P3',
};
const priorityOf = (policy: TrafficPolicy | undefined): string => PRIORITIES[policy?.priority ?? 0] ?? 'P2 (default)';
/** The policy says bits, figures of flows are bytes. */
const rateText = (bandwidth: Bandwidth | undefined): string =>
  bandwidth === undefined ? '–' : bitRate(Number(bandwidth.rate) / 8);
const rateOf = (bandwidth: Bandwidth | undefined): bigint => bandwidth?.rate ?? 0n;
const sum = (services: readonly ServiceView[], of: 'bytesReceived' | 'bytesSent'): number =>
  services.reduce((total, { flow }) => total + flow[of], 0);

const columns: readonly Column<Row>[] = [
  {
    key: 'name',
    title: 'Policy',
    render: ({ view }) => (
      <a href={formatRoute({ page: 'shaping', name: view.name })} tabIndex={-1}>
        {said(view.name)}
      </a>
    ),
    value: ({ view }) => view.name,
  },
  {
    key: 'priority',
    title: 'Priority',
    width: '120px',
    render: ({ policy }) => priorityOf(policy),
    value: ({ policy }) => priorityOf(policy),
  },
  {
    key: 'ingress',
    title: 'Ingress at most',
    width: '130px',
    align: 'end',
    render: ({ policy }) => rateText(policy?.ingress),
    value: ({ policy }) => rateOf(policy?.ingress),
  },
  {
    key: 'in',
    title: 'Now',
    width: '110px',
    align: 'end',
    render: ({ services }) => bitRate(sum(services, 'bytesReceived')),
    value: ({ services }) => sum(services, 'bytesReceived'),
  },
  {
    key: 'egress',
    title: 'Egress at most',
    width: '130px',
    align: 'end',
    render: ({ policy }) => rateText(policy?.egress),
    value: ({ policy }) => rateOf(policy?.egress),
  },
  {
    key: 'out',
    title: 'Now',
    width: '110px',
    align: 'end',
    render: ({ services }) => bitRate(sum(services, 'bytesSent')),
    value: ({ services }) => sum(services, 'bytesSent'),
  },
  {
    key: 'services',
    title: 'Services',
    width: '90px',
    align: 'end',
    render: ({ services }) => String(services.length),
    value: ({ services }) => services.length,
  },
  {
    key: 'agreement',
    title: 'Nodes',
    width: '100px',
    render: ({ view }) => <Badge tone={view.agreement === 'same' ? 'good' : 'warn'}>{view.agreement}</Badge>,
    value: ({ view }) => view.agreement,
  },
];
const keyOf = ({ view }: Row): string => view.name;
const open = ({ view }: Row): void => navigate({ page: 'shaping', name: view.name });

export default function Shaping(): ReactNode {
  const { route } = useConsole();
  const { objects, services } = useFleet();
  const { make, buttons, dialog } = useObjectWrites();
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(() => {
    const by = new Map<string, ServiceView[]>();
    for (const service of services.values()) {
      const name = service.declared?.trafficPolicy ?? '';
      if (name !== '') by.set(name, [...(by.get(name) ?? []), service]);
    }
    return [...objects.values()]
      .filter(({ kind, name }) => kind === 'TrafficPolicy' && filter.matches(name))
      .map((view): Row => {
        const { declared } = view;
        const policy = declared?.object.case === 'trafficPolicy' ? declared.object.value : undefined;
        return { view, policy, services: by.get(view.name) ?? [] };
      });
  }, [objects, services, filter]);
  const chosen = rows.find(({ view }) => view.name === route.name);
  return (
    <>
      <header className="page-head">
        <h1>Traffic Shaping</h1>
        <DoButton tone="primary" onClick={() => make('TrafficPolicy')}>
          New policy
        </DoButton>
      </header>
      <DataTable
        label="Traffic policies"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={open}
        order={{ key: 'name', descending: false }}
        empty={filter.text === '' ? 'There is no traffic policy yet.' : 'No traffic policy matches the filter.'}
      />
      {chosen !== undefined && (
        <Panel title={`Policy ${said(chosen.view.name)}`} side={buttons(chosen.view)}>
          <PolicyFacts row={chosen} />
        </Panel>
      )}
      {dialog}
    </>
  );
}

function PolicyFacts({ row: { policy, services } }: { readonly row: Row }): ReactNode {
  const connections = policy?.connections;
  return (
    <Facts
      facts={[
        ['Priority', priorityOf(policy)],
        ['Of each connection', `in ${rateText(policy?.connectionIngress)}, out ${rateText(policy?.connectionEgress)}`],
        ['New connections', connections === undefined ? 'no limit' : `${count(connections.perSecond)} / s`],
        ['DSCP', policy?.dscp === undefined ? 'as it came' : String(policy.dscp)],
        ['ECN', policy?.ecn === Ecn.MARK ? 'mark what is over the rate' : 'as it came'],
        ['Cluster', said(policy?.cluster || 'every node')],
        [
          'Services',
          services.length === 0
            ? 'none names it'
            : services.slice(0, 20).map(({ name }, i) => (
                <span key={name}>
                  {i > 0 && ', '}
                  <a href={formatRoute({ page: 'services', name })}>{said(name)}</a>
                </span>
              )),
        ],
      ]}
    />
  );
}
