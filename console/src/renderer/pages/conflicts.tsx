// SPDX-License-Identifier: Apache-2.0
/** Objects that are not in force as they are declared, or not the same on all nodes: of two edits at once one has lost, or waits. */
import type { FleetState, ObjectView, ServiceView } from '@marcher/client/fleet';
import { type ReactNode, useMemo } from 'react';
import { Badge } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute, type Page } from '../state/routes.js';
import { plural } from '../text/quantity.js';
import { said } from '../text/said.js';

/** One thing that is wrong with an object, and where. */
export interface Conflict {
  readonly object: ServiceView | ObjectView;
  readonly reason: string;
  readonly message: string;
  /** Names. */
  readonly nodes: readonly string[];
}

const PAGE_OF: Readonly<Record<Conflict['object']['kind'], Page>> = {
  Service: 'services',
  Guard: 'guards',
  TrafficPolicy: 'shaping',
};

const columns: readonly Column<Conflict>[] = [
  {
    key: 'kind',
    title: 'Kind',
    width: '120px',
    render: ({ object }) => object.kind,
    value: ({ object }) => object.kind,
  },
  {
    key: 'name',
    title: 'Object',
    render: ({ object: { kind, name } }) => (
      <a href={formatRoute({ page: PAGE_OF[kind], name })} tabIndex={-1}>
        {said(name)}
      </a>
    ),
    value: ({ object }) => object.name,
  },
  {
    key: 'reason',
    title: 'Reason',
    width: '180px',
    render: ({ reason }) => <Badge tone={reason === 'Differs' ? 'warn' : 'bad'}>{said(reason)}</Badge>,
    value: ({ reason }) => reason,
  },
  {
    key: 'nodes',
    title: 'On',
    width: 'minmax(110px, 1fr)',
    render: ({ nodes }) => said(nodes.join(', ')),
    value: ({ nodes }) => nodes.length,
  },
  {
    key: 'message',
    title: 'What',
    width: 'minmax(0, 2.6fr)',
    render: ({ message }) => said(message),
  },
];
const keyOf = ({ object, reason }: Conflict): string => `${object.kind}/${object.name}/${reason}`;
const open = ({ object: { kind, name } }: Conflict): void => navigate({ page: PAGE_OF[kind], name });

export default function Conflicts(): ReactNode {
  const { route } = useConsole();
  const state = useFleet();
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const found = useMemo(() => conflictsOf(state), [state]);
  const rows = useMemo(
    () =>
      found.filter(({ object, reason, message, nodes }) =>
        filter.matches(`${object.kind} ${object.name} ${reason} ${message} ${nodes.join(' ')}`),
      ),
    [found, filter],
  );
  return (
    <>
      <header className="page-head">
        <h1>Conflicts</h1>
        <span className="note">
          {plural(found.length, 'object is', 'objects are')} not as declared, or not the same
        </span>
      </header>
      <p className="note">
        Of two edits of one object that were made at two nodes at the same time, the later one stands, by the clocks of
        the mesh; the history of the node where the other was made still has that. Of two objects that claim the same,
        the older one is in force, and the other is listed here.
      </p>
      <DataTable
        label="Conflicts"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={open}
        order={{ key: 'name', descending: false }}
        empty={
          state.configurations > 1
            ? `Every object is in force, but live nodes have ${state.configurations} different configurations: changes are on their way.`
            : 'Every object is in force, and the same on all nodes that are live.'
        }
      />
      <footer className="page-foot">
        <CommandLine command="marcher get services -o wide" />
      </footer>
    </>
  );
}

export function conflictsOf({
  services,
  objects,
  nodes,
}: Pick<FleetState, 'services' | 'objects' | 'nodes'>): Conflict[] {
  return [...services.values(), ...objects.values()].flatMap((object) => {
    const found = new Map<string, Omit<Conflict, 'nodes'> & { nodes: string[] }>();
    const add = (key: string, reason: string, message: string): void => {
      const conflict = found.get(reason) ?? { object, reason, message, nodes: [] };
      conflict.nodes.push(nodes.get(key)?.name ?? key);
      found.set(reason, conflict);
    };
    for (const [key, { same, unmet }] of object.nodes) {
      for (const { type, reason, message } of unmet) add(key, reason || `Not${type}`, message);
      if (!same) add(key, 'Differs', 'declares something else here than on most nodes');
    }
    if (object.agreement === 'differs' && !found.has('Differs')) {
      const lacking = 'nodes that are to hold it lack it';
      found.set('Differs', { object, reason: 'Differs', message: lacking, nodes: ['those that lack it'] });
    }
    return [...found.values()];
  });
}
