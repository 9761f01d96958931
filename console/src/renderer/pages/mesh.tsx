// SPDX-License-Identifier: Apache-2.0
/** Who is in the mesh as the entry agent sees it, whether all agree, and where they do not. */
import type { AgentCalls, FleetState, NodeView } from '@marcher/client/fleet';
import type { Cluster } from '@marcher/proto/marcher/v1/mesh_service_pb';
import { type ReactNode, useMemo } from 'react';
import { Badge, LinkBadge } from '../components/badge.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { navigate, useConsole, useFleet, useReach } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { clock, plural, timeMs } from '../text/quantity.js';
import { said } from '../text/said.js';
import { type Deeds, DoButton, useDeeds } from '../writes/deeds.js';
import { Administration, useAdministration } from './mesh-administration.js';
import { memberState } from './node-words.js';

const facts: readonly Column<NodeView>[] = [
  {
    key: 'name',
    title: 'Member',
    render: ({ key, name }) => (
      <a href={formatRoute({ page: 'proxies', name: key })} tabIndex={-1}>
        {said(name)}
      </a>
    ),
    value: ({ name }) => name,
  },
  {
    key: 'state',
    title: 'Gossip',
    width: '100px',
    render: ({ member }) => {
      if (member === undefined) return '–';
      const [tone, word] = memberState(member);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: ({ member }) => (member === undefined ? '' : memberState(member)[1]),
  },
  {
    key: 'link',
    title: 'Known here',
    width: '122px',
    render: ({ link }) => <LinkBadge link={link} />,
    value: ({ link }) => link.kind,
  },
  {
    key: 'behind',
    title: 'Behind',
    width: '80px',
    align: 'end',
    render: ({ member }) => (member?.behind === undefined ? '–' : String(member.behind)),
    value: ({ member }) => member?.behind ?? 0n,
  },
  {
    key: 'digest',
    title: 'Configuration',
    width: '150px',
    render: ({ status }) => (status === undefined ? '–' : <code>{status.configHash.slice(0, 12)}</code>),
    value: ({ status }) => status?.configHash ?? '',
  },
  {
    key: 'clusters',
    title: 'Clusters',
    render: ({ member }) => said(member?.clusters.join(', ') || '–'),
    value: ({ member }) => member?.clusters.join(',') ?? '',
  },
  {
    key: 'address',
    title: 'Address',
    render: ({ member }) => said(member?.address ?? '–'),
    value: ({ member }) => member?.address ?? '',
  },
  {
    key: 'certificate',
    title: 'Certificate until',
    width: '174px',
    render: ({ member }) => clock(timeMs(member?.certificateExpires)),
    value: ({ member }) => timeMs(member?.certificateExpires) ?? 0,
  },
];

function memberColumns(
  calls: AgentCalls,
  clusters: readonly Cluster[],
  begin: Deeds['begin'],
): readonly Column<NodeView>[] {
  return [
    ...facts,
    {
      key: 'remove',
      title: 'Take out',
      width: '104px',
      render: ({ key, name, member, isEntry }) =>
        member === undefined ? null : (
          <DoButton
            label={`Remove ${said(name)}`}
            not={
              isEntry ? 'You are connected to it: connect to another one, or use marcher mesh leave there' : undefined
            }
            onClick={() =>
              begin((actions) => ({
                title: '',
                make: () => actions.removeMember(calls, { nodeId: key, name }, clusters),
              }))
            }
          >
            Remove
          </DoButton>
        ),
    },
  ];
}

const keyOf = ({ key }: NodeView): string => key;
const open = ({ key }: NodeView): void => navigate({ page: 'proxies', name: key });

export default function Mesh(): ReactNode {
  const { route } = useConsole();
  const reach = useReach();
  const state = useFleet();
  const { mesh, nodes, coverage, configurations } = state;
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(() => [...nodes.values()].filter(({ name }) => filter.matches(name)), [nodes, filter]);
  const differing = useMemo(() => differences(state), [state]);
  const administration = useAdministration();
  const { begin, dialog } = useDeeds(administration.again);
  const clusters = administration.value?.clusters;
  const columns = useMemo(() => memberColumns(reach.entry, clusters ?? [], begin), [reach, clusters, begin]);
  return (
    <>
      <h1>Mesh</h1>
      <Panel title="Agreement">
        <Facts
          facts={[
            ['Mesh', mesh === undefined ? 'none: this node is alone' : said(mesh.name)],
            ['Id', <code key="id">{mesh?.id ?? '–'}</code>],
            [
              'Nodes',
              `${coverage.live} live, ${coverage.stale} stale, ${coverage.refused} refused, ${coverage.connecting} connecting`,
            ],
            [
              'Configuration',
              configurations <= 1 ? (
                <Badge key="same" tone="good">
                  the same on all live nodes
                </Badge>
              ) : (
                <Badge key="other" tone="warn">
                  {configurations} different ones
                </Badge>
              ),
            ],
          ]}
        />
        {differing.length > 0 && (
          <>
            <p>
              <a href="#/conflicts">Conflicts</a>: {plural(differing.length, 'object is', 'objects are')} not the same
              on all nodes:
            </p>
            <ul className="concerns">
              {differing.slice(0, 30).map(({ kind, name, nodes: others }) => (
                <li key={`${kind}/${name}`}>
                  <Badge tone="warn">{kind}</Badge> {said(name)}: other on{' '}
                  {said(others.join(', ') || 'nodes that lack it')}
                </li>
              ))}
            </ul>
          </>
        )}
      </Panel>
      <Panel title="Members">
        <DataTable
          label="Members"
          columns={columns}
          rows={rows}
          rowKey={keyOf}
          open={open}
          order={{ key: 'name', descending: false }}
          empty="No member matches the filter."
        />
      </Panel>
      {mesh !== undefined && <Administration {...administration} calls={reach.entry} begin={begin} />}
      {dialog}
    </>
  );
}

interface Difference {
  readonly kind: string;
  readonly name: string;
  readonly nodes: readonly string[];
}

function differences({ services, objects, nodes }: FleetState): readonly Difference[] {
  return [...services.values(), ...objects.values()]
    .filter(({ agreement }) => agreement === 'differs')
    .map(({ kind, name, nodes: on }) => ({
      kind,
      name,
      nodes: [...on].filter(([, { same }]) => !same).map(([node]) => nodes.get(node)?.name ?? node),
    }));
}
