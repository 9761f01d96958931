// SPDX-License-Identifier: Apache-2.0
import type { ServiceView } from '@marcher/client/fleet';
import { type ReactNode, useMemo } from 'react';
import { Badge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { isProbed, serviceState, tiersText } from '../state/service-words.js';
import { listenersText } from '../text/listeners.js';
import { bitRate, count, plural } from '../text/quantity.js';
import { said } from '../text/said.js';
import { DoButton } from '../writes/deeds.js';
import { useObjectWrites } from '../writes/object-writes.js';

const columns: readonly Column<ServiceView>[] = [
  {
    key: 'name',
    title: 'Name',
    width: 'minmax(140px, 1.4fr)',
    render: ({ name }) => (
      <a href={formatRoute({ page: 'services', name })} tabIndex={-1}>
        {said(name)}
      </a>
    ),
    value: ({ name }) => name,
  },
  {
    key: 'state',
    title: 'State',
    width: '110px',
    render: (service) => {
      const [tone, word] = serviceState(service);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: (service) => serviceState(service)[1],
  },
  {
    key: 'listeners',
    title: 'Listeners',
    render: ({ declared }) => listenersText(declared?.listeners ?? []),
    value: ({ declared }) => listenersText(declared?.listeners ?? []),
  },
  { key: 'tier', title: 'Tier', width: '110px', render: tiersText, value: tiersText },
  {
    key: 'backends',
    title: 'Backends',
    width: '104px',
    align: 'end',
    render: (service) =>
      `${service.healthyBackends > 0 || isProbed(service) ? service.healthyBackends : '–'} / ${service.backends}`,
    value: ({ backends }) => backends,
  },
  {
    key: 'nodes',
    title: 'Nodes',
    width: '70px',
    align: 'end',
    render: ({ nodes }) => String(nodes.size),
    value: ({ nodes }) => nodes.size,
  },
  {
    key: 'open',
    title: 'Open',
    width: '80px',
    align: 'end',
    render: ({ flow }) => count(flow.open),
    value: ({ flow }) => flow.open,
  },
  {
    key: 'connections',
    title: 'New / s',
    width: '80px',
    align: 'end',
    render: ({ flow }) => count(flow.connections),
    value: ({ flow }) => flow.connections,
  },
  {
    key: 'received',
    title: 'From clients',
    width: '124px',
    align: 'end',
    render: ({ flow }) => bitRate(flow.bytesReceived),
    value: ({ flow }) => flow.bytesReceived,
  },
  {
    key: 'sent',
    title: 'To clients',
    width: '112px',
    align: 'end',
    render: ({ flow }) => bitRate(flow.bytesSent),
    value: ({ flow }) => flow.bytesSent,
  },
];
const keyOf = ({ name }: ServiceView): string => name;
const open = ({ name }: ServiceView): void => navigate({ page: 'services', name });

export default function Services(): ReactNode {
  const { route } = useConsole();
  const { services } = useFleet();
  const { make, dialog } = useObjectWrites();
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(
    () =>
      [...services.values()].filter(({ name, declared }) =>
        filter.matches(`${name} ${declared?.cluster ?? ''}`.trim()),
      ),
    [services, filter],
  );
  return (
    <>
      <header className="page-head">
        <h1>Services</h1>
        <span className="note">
          {rows.length === services.size
            ? plural(services.size, 'service')
            : `${rows.length} of ${services.size} services`}
        </span>
        <DoButton tone="primary" onClick={() => make('Service')}>
          New service
        </DoButton>
      </header>
      <DataTable
        label="Services"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={open}
        order={{ key: 'name', descending: false }}
        empty={services.size === 0 ? 'There is no service yet.' : 'No service matches the filter.'}
      />
      {dialog}
    </>
  );
}
