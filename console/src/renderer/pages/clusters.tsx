// SPDX-License-Identifier: Apache-2.0
/** Clusters of the mesh: which nodes hold each, and what is in it. */
import type { AgentCalls } from '@marcher/client/fleet';
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ReactNode, useCallback, useMemo } from 'react';
import { AskedHead } from '../components/asked-head.js';
import { Badge } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Panel } from '../components/panel.js';
import { useAnswer } from '../state/answer.js';
import { navigate, useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { clock, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { type Deeds, DoButton, useDeeds } from '../writes/deeds.js';
import { assigning, makingCluster } from '../writes/mesh-forms.js';
import { memberTone } from './node-words.js';

const columns: readonly Column<Cluster>[] = [
  { key: 'name', title: 'Cluster', render: ({ name }) => said(name), value: ({ name }) => name },
  {
    key: 'nodes',
    title: 'Nodes',
    width: 'minmax(200px, 3fr)',
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

export default function Clusters(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const { mesh } = useFleet();
  const calls = reach.entry;
  const ask = useCallback(
    async (signal: AbortSignal) => (await calls.mesh.listClusters({}, { signal, timeoutMs: 20_000 })).clusters,
    [calls],
  );
  const { value, error, isLoading, again } = useAnswer(ask);
  const { begin, dialog } = useDeeds(again);
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(
    () =>
      (value ?? []).filter(({ name, nodes }) => filter.matches(`${name} ${nodes.map((node) => node.name).join(' ')}`)),
    [value, filter],
  );
  const chosen = value?.find(({ name }) => name === route.name);
  const not = mesh === undefined ? 'Clusters are of a mesh, and this node is in none' : undefined;
  return (
    <>
      <AskedHead title="Clusters" note="what has no cluster is held by every node" error={error} again={again}>
        <DoButton not={not} tone="primary" onClick={() => begin((actions) => makingCluster(actions, calls))}>
          New cluster
        </DoButton>
      </AskedHead>
      <DataTable
        label="Clusters"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={({ name }) => navigate({ page: 'clusters', name, filter: route.filter })}
        order={{ key: 'name', descending: false }}
        empty={
          isLoading
            ? 'Asking…'
            : mesh === undefined
              ? 'This node is in no mesh.'
              : 'There is no cluster: every node holds everything.'
        }
      />
      {chosen !== undefined && <Chosen cluster={chosen} calls={calls} begin={begin} />}
      <footer className="page-foot">
        <CommandLine command="marcher cluster list" />
      </footer>
      {dialog}
    </>
  );
}

interface ChosenProps {
  readonly cluster: Cluster;
  readonly calls: AgentCalls;
  readonly begin: Deeds['begin'];
}

function Chosen({ cluster, calls, begin }: ChosenProps): ReactNode {
  const { nodes } = useFleet();
  const others = [...nodes.values()]
    .filter(({ key, member }) => member !== undefined && !cluster.nodes.some(({ nodeId }) => nodeId === key))
    .map(({ key, name }) => ({ nodeId: key, name }));
  return (
    <Panel
      title={`Cluster ${said(cluster.name)}`}
      side={
        <span className="buttons">
          <DoButton
            not={others.length === 0 ? 'Every member is in it' : undefined}
            onClick={() => begin((actions) => assigning(actions, calls, cluster, others))}
          >
            Add a node
          </DoButton>
          <DoButton
            tone="danger"
            onClick={() => begin((actions) => ({ title: '', make: () => actions.deleteCluster(calls, cluster) }))}
          >
            Delete
          </DoButton>
        </span>
      }
    >
      {cluster.nodes.length === 0 ? (
        <p>No node is in it: what is in it is served nowhere.</p>
      ) : (
        <ul className="concerns">
          {cluster.nodes.map((node) => (
            <li key={node.nodeId}>
              <Badge tone={memberTone(node.state)}>{said(node.name)}</Badge>{' '}
              <DoButton
                label={`Take out ${said(node.name)}`}
                onClick={() =>
                  begin((actions) => ({ title: '', make: () => actions.unassignCluster(calls, cluster, node) }))
                }
              >
                Take out
              </DoButton>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
