// SPDX-License-Identifier: Apache-2.0
import type { NodeView } from '@marcher/client/fleet';
import { type ReactNode, useMemo } from 'react';
import { Badge, LinkBadge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Sparkline } from '../components/sparkline.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { bitRate, count, plural } from '../text/quantity.js';
import { said } from '../text/said.js';
import { nodeState } from './node-words.js';

const columns: readonly Column<NodeView>[] = [
  {
    key: 'name',
    title: 'Name',
    render: ({ key, name, isEntry }) => (
      <>
        <a href={formatRoute({ page: 'proxies', name: key })} tabIndex={-1}>
          {said(name)}
        </a>
        {isEntry && <span className="note"> (this connection)</span>}
      </>
    ),
    value: ({ name }) => name,
  },
  {
    key: 'link',
    title: 'Known',
    width: '110px',
    render: ({ link }) => <LinkBadge link={link} />,
    value: ({ link }) => link.kind,
  },
  {
    key: 'state',
    title: 'State',
    width: '110px',
    render: (node) => {
      const [tone, word] = nodeState(node);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: (node) => nodeState(node)[1],
  },
  {
    key: 'region',
    title: 'Region',
    width: '90px',
    render: ({ status }) => said([status?.region, status?.country].filter(Boolean).join(' ') || '–'),
    value: ({ status }) => status?.region ?? '',
  },
  {
    key: 'tiers',
    title: 'Tiers available',
    render: ({ availability }) =>
      availability
        .filter(({ available }) => available)
        .map(({ tier }) => tier)
        .join(', ') || '–',
  },
  {
    key: 'version',
    title: 'Agent',
    width: '90px',
    render: ({ status }) => said(status?.version ?? '–'),
    value: ({ status }) => status?.version ?? '',
  },
  {
    key: 'open',
    title: 'Open',
    width: '80px',
    align: 'end',
    render: ({ flow }) => (flow === undefined ? '–' : count(flow.open)),
    value: ({ flow }) => flow?.open ?? 0,
  },
  {
    key: 'received',
    title: 'From clients',
    width: '124px',
    align: 'end',
    render: ({ flow }) => (flow === undefined ? '–' : bitRate(flow.bytesReceived)),
    value: ({ flow }) => flow?.bytesReceived ?? 0,
  },
  {
    key: 'sent',
    title: 'To clients',
    width: '112px',
    align: 'end',
    render: ({ flow }) => (flow === undefined ? '–' : bitRate(flow.bytesSent)),
    value: ({ flow }) => flow?.bytesSent ?? 0,
  },
  {
    key: 'lately',
    title: 'Lately',
    width: '120px',
    render: ({ name, history }) => (
      <Sparkline
        values={history.map((each) => each.bytesReceived + each.bytesSent)}
        label={`Traffic of ${said(name)}`}
      />
    ),
  },
];
const keyOf = ({ key }: NodeView): string => key;
const open = ({ key }: NodeView): void => navigate({ page: 'proxies', name: key });

export default function Proxies(): ReactNode {
  const { route } = useConsole();
  const { nodes } = useFleet();
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(() => [...nodes.values()].filter(({ name }) => filter.matches(name)), [nodes, filter]);
  return (
    <>
      <header className="page-head">
        <h1>Proxies</h1>
        <span className="note">{plural(nodes.size, 'node')}</span>
      </header>
      <DataTable
        label="Proxies"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={open}
        order={{ key: 'name', descending: false }}
        empty={nodes.size === 0 ? 'No node has answered yet.' : 'No node matches the filter.'}
      />
    </>
  );
}
