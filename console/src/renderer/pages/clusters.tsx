// SPDX-License-Identifier: Apache-2.0
/** Clusters of the mesh: which nodes hold each, and what is in it. */
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ReactNode, useCallback, useMemo } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { Badge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { useAnswer } from '../state/answer.js';
import { useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { memberTone } from './node-words.js';

const columns: readonly Column<Cluster>[] = [
  { key: 'name', title: 'Cluster', render: ({ name }) => said(name), value: ({ name }) => name },
  {
    key: 'nodes',
    title: 'Nodes',
    width: 'minmax(0, 3fr)',
    render: ({ nodes }) =>
      nodes.length === 0
        ? 'none: what is in it is served nowhere'
        : nodes.map(({ nodeId, name, state }) => (
            <Badge key={nodeId} tone={memberTone(state)}>
              {said(name)}
            </Badge>
          )),
    value: ({ nodes }) => nodes.length,
  },
  {
    key: 'objects',
    title: 'Objects',
    width: '90px',
    align: 'end',
    render: ({ objects }) =>
      objects === undefined ? <span title="The agent that is connected to is not in it">–</span> : String(objects),
    value: ({ objects }) => objects ?? 0n,
  },
  {
    key: 'created',
    title: 'Made',
    width: '170px',
    render: ({ created }) => clock(timeMs(created)),
    value: ({ created }) => timeMs(created) ?? 0,
  },
  { key: 'by', title: 'By', render: ({ createdBy }) => said(createdBy), value: ({ createdBy }) => createdBy },
];
const keyOf = ({ name }: Cluster): string => name;

export function Clusters(): ReactNode {
  const { reach, route } = useConsole();
  const { mesh } = useFleet();
  const ask = useCallback(
    async (signal: AbortSignal) => (await reach.entry.mesh.listClusters({}, { signal, timeoutMs: 20_000 })).clusters,
    [reach],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(() => (value ?? []).filter(({ name }) => filter.matches(name)), [value, filter]);
  return (
    <>
      <AskedHead title="Clusters" note="what has no cluster is held by every node" error={error} again={again} />
      <DataTable
        label="Clusters"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        order={{ key: 'name', descending: false }}
        empty={
          isLoading
            ? 'Asking…'
            : mesh === undefined
              ? 'This node is in no mesh.'
              : 'There is no cluster: every node holds everything.'
        }
      />
    </>
  );
}
