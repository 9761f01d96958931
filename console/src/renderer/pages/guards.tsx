// SPDX-License-Identifier: Apache-2.0
/** Guards: what they say of sources, and what their rules have decided about on the nodes. */
import type { FleetState, ObjectView } from '@marcher/client/fleet';
import {
  type Guard,
  GuardAction,
  type GuardRule,
  Protocol,
  type SourceLimits,
  SynCookiesMode,
} from '@marcher/proto/marcher/v1/model_pb';
import { type ReactNode, useMemo } from 'react';
import { Badge, type Tone } from '../components/badge.js';
import { CommandLine } from '../components/command-line.js';
import { type Column, DataTable } from '../components/data-table.js';
import { Facts, Panel } from '../components/panel.js';
import { navigate, useConsole, useFleet } from '../state/console.js';
import { parseFilter } from '../state/filter.js';
import { formatRoute } from '../state/routes.js';
import { firstUnmet } from '../state/service-words.js';
import { bitRate, count } from '../text/quantity.js';
import { said } from '../text/said.js';
import { DoButton } from '../writes/deeds.js';
import { useObjectWrites } from '../writes/object-writes.js';

const guardOf = ({ declared }: ObjectView): Guard | undefined =>
  declared?.object.case === 'guard' ? declared.object.value : undefined;
const sourcesOf = (guard: Guard | undefined): number =>
  (guard?.rules ?? []).reduce((sum, { sources }) => sum + sources.length, 0);
const defaultOf = (guard: Guard | undefined): string => (guard?.defaultAction === GuardAction.DENY ? 'deny' : 'allow');

function stateOf(view: ObjectView): readonly [Tone, string] {
  if (firstUnmet(view.nodes) !== undefined) return ['bad', 'not in force'];
  return view.agreement === 'differs' ? ['warn', 'differs'] : ['good', 'in force'];
}

const columns: readonly Column<ObjectView>[] = [
  {
    key: 'name',
    title: 'Guard',
    render: ({ name }) => (
      <a href={formatRoute({ page: 'guards', name })} tabIndex={-1}>
        {said(name)}
      </a>
    ),
    value: ({ name }) => name,
  },
  {
    key: 'state',
    title: 'State',
    width: '130px',
    render: (view) => {
      const [tone, word] = stateOf(view);
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: (view) => stateOf(view)[1],
  },
  {
    key: 'default',
    title: 'Without a rule',
    width: '146px',
    render: (view) => defaultOf(guardOf(view)),
    value: (view) => defaultOf(guardOf(view)),
  },
  {
    key: 'rules',
    title: 'Rules',
    width: '80px',
    align: 'end',
    render: (view) => String(guardOf(view)?.rules.length ?? 0),
    value: (view) => guardOf(view)?.rules.length ?? 0,
  },
  {
    key: 'sources',
    title: 'Sources',
    width: '90px',
    align: 'end',
    render: (view) => count(sourcesOf(guardOf(view))),
    value: (view) => sourcesOf(guardOf(view)),
  },
  { key: 'limits', title: 'Of each source', render: (view) => limitsText(guardOf(view)?.sourceLimits) },
  {
    key: 'cluster',
    title: 'Cluster',
    width: '130px',
    render: (view) => said(guardOf(view)?.cluster || 'every node'),
    value: (view) => guardOf(view)?.cluster ?? '',
  },
];
const keyOf = ({ name }: ObjectView): string => name;
const open = ({ name }: ObjectView): void => navigate({ page: 'guards', name });

export default function Guards(): ReactNode {
  const { route } = useConsole();
  const state = useFleet();
  const { make, buttons, dialog } = useObjectWrites();
  const filter = useMemo(() => parseFilter(route.filter), [route.filter]);
  const rows = useMemo(
    () =>
      [...state.objects.values()].filter(
        (view) => view.kind === 'Guard' && filter.matches(`${view.name} ${guardOf(view)?.cluster ?? ''}`.trim()),
      ),
    [state.objects, filter],
  );
  const chosen = route.name === undefined ? undefined : state.objects.get(`Guard/${route.name}`);
  return (
    <>
      <header className="page-head">
        <h1>Guards</h1>
        <span className="note">of packets, before anything else looks at them; all guards are one</span>
        <DoButton tone="primary" onClick={() => make('Guard')}>
          New guard
        </DoButton>
      </header>
      <DataTable
        label="Guards"
        columns={columns}
        rows={rows}
        rowKey={keyOf}
        open={open}
        order={{ key: 'name', descending: false }}
        empty={filter.text === '' ? 'Nothing is guarded.' : 'No guard matches the filter.'}
      />
      {chosen !== undefined && <Chosen view={chosen} state={state} buttons={buttons(chosen)} />}
      <SynCookies state={state} />
      <footer className="page-foot">
        <CommandLine command="marcher guard list" />
      </footer>
      {dialog}
    </>
  );
}

interface RuleRow {
  readonly position: number;
  readonly rule: GuardRule;
  readonly packets: bigint;
  readonly problems: readonly string[];
}

const ACTIONS: Readonly<Record<number, readonly [Tone, string]>> = {
  [GuardAction.ALLOW]: ['good', 'allow'],
  [GuardAction.DENY]: ['bad', 'deny'],
  [GuardAction.REDIRECT]: ['info', 'redirect'],
};

const ruleColumns: readonly Column<RuleRow>[] = [
  {
    key: 'position',
    title: 'No.',
    width: '60px',
    align: 'end',
    render: ({ position }) => String(position),
    value: ({ position }) => position,
  },
  {
    key: 'action',
    title: 'Action',
    width: '100px',
    render: ({ rule }) => {
      const [tone, word] = ACTIONS[rule.action] ?? ['plain', 'unknown'];
      return <Badge tone={tone}>{word}</Badge>;
    },
    value: ({ rule }) => rule.action,
  },
  {
    key: 'sources',
    title: 'Sources',
    width: 'minmax(200px, 2.4fr)',
    render: ({ rule: { sources } }) => (
      <span title={said(sources.slice(0, 50).join(' '))}>
        {sources.length === 0 ? 'every source' : said(sources.slice(0, 50).join(' '))}
      </span>
    ),
  },
  { key: 'to', title: 'To', width: '160px', render: ({ rule }) => said(toText(rule)) },
  {
    key: 'packets',
    title: 'Packets',
    width: '100px',
    align: 'end',
    render: ({ packets }) => count(packets),
    value: ({ packets }) => packets,
  },
  { key: 'problem', title: 'Problem', render: ({ problems }) => said(problems.join('; ') || '–') },
];

function Chosen({
  view,
  state,
  buttons,
}: {
  readonly view: ObjectView;
  readonly state: FleetState;
  readonly buttons: ReactNode;
}): ReactNode {
  const guard = guardOf(view);
  const rows = useMemo(() => ruleRows(view, state.nodes), [view, state.nodes]);
  const unmet = firstUnmet(view.nodes);
  return (
    <Panel title={`Guard ${said(view.name)}`} side={buttons}>
      <Facts
        facts={[
          ['Without a rule', defaultOf(guard)],
          ['Of each source', limitsText(guard?.sourceLimits)],
          ['SYN cookies', synText(guard)],
          ['Drops', dropsText(guard)],
          ['Cluster', said(guard?.cluster || 'every node')],
          ['In force', unmet === undefined ? 'yes' : said(`${unmet.reason}: ${unmet.message}`)],
        ]}
      />
      <DataTable
        label="Rules"
        columns={ruleColumns}
        rows={rows}
        rowKey={({ position }) => String(position)}
        order={{ key: 'position', descending: false }}
        empty="It has no rules."
      />
      <p className="note">Packets: those that a rule has decided about, on all nodes that are live.</p>
    </Panel>
  );
}

export function ruleRows(view: ObjectView, nodes: FleetState['nodes']): readonly RuleRow[] {
  const counted = new Map<number, { packets: bigint; problems: Set<string> }>();
  for (const { name: node, status, link } of nodes.values()) {
    if (link.kind !== 'live') continue;
    for (const { guard, position, packets, problem } of status?.guard?.rules ?? []) {
      if (guard !== view.name) continue;
      const sum = counted.get(position) ?? { packets: 0n, problems: new Set() };
      sum.packets += packets;
      if (problem !== '') sum.problems.add(`${node}: ${problem}`);
      counted.set(position, sum);
    }
  }
  return (guardOf(view)?.rules ?? []).map((rule, position) => {
    const { packets = 0n, problems = new Set<string>() } = counted.get(position) ?? {};
    return { position, rule, packets, problems: [...problems] };
  });
}

function SynCookies({ state: { nodes } }: { readonly state: FleetState }): ReactNode {
  const with_ = [...nodes.values()].flatMap(({ name, status }) => {
    const cookies = status?.guard?.synCookies;
    return cookies === undefined ? [] : [{ name, cookies }];
  });
  if (with_.length === 0) return null;
  return (
    <Panel title="SYN cookies">
      <Facts
        facts={with_
          .slice(0, 60)
          .map(({ name, cookies: { active, synsPerSecond, sent, valid, limits } }) => [
            said(name),
            said(
              `${active ? 'answering' : 'watching'}, ${count(synsPerSecond)} SYN/s, ${count(sent)} sent, ${count(valid)} valid${limits.length > 0 ? `; ${limits.join('; ')}` : ''}`,
            ),
          ])}
      />
    </Panel>
  );
}

function limitsText(limits: SourceLimits | undefined): string {
  const { packetsPerSecond, bytesPerSecond, connectionsPerSecond } = limits ?? {};
  const parts = [
    ...(packetsPerSecond === undefined ? [] : [`${count(packetsPerSecond)} packets/s`]),
    ...(bytesPerSecond === undefined ? [] : [bitRate(Number(bytesPerSecond))]),
    ...(connectionsPerSecond === undefined ? [] : [`${count(connectionsPerSecond)} connections/s`]),
  ];
  return parts.length === 0 ? 'no limit' : `at most ${parts.join(', ')}`;
}

function synText(guard: Guard | undefined): string {
  const { mode = SynCookiesMode.UNSPECIFIED, onPerSecond = 10_000n } = guard?.synCookies ?? {};
  if (guard?.synCookies === undefined) return 'not set here';
  if (mode === SynCookiesMode.OFF) return 'off';
  return mode === SynCookiesMode.ALWAYS ? 'always' : `from ${count(onPerSecond)} SYN/s on`;
}

function dropsText(guard: Guard | undefined): string {
  const { dropMalformed = true, dropBadFragments = true, dropMartians = true } = guard ?? {};
  const dropped = [
    ...(dropMalformed ? ['malformed'] : []),
    ...(dropBadFragments ? ['bad fragments'] : []),
    ...(dropMartians ? ['martians'] : []),
  ];
  return dropped.join(', ') || 'nothing by itself';
}

function toText({ protocol, ports, unlimited, redirectDevice, redirectAddress }: GuardRule): string {
  const name = protocol === Protocol.TCP ? 'tcp' : protocol === Protocol.UDP ? 'udp' : '';
  const numbers = ports.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`)).join(',');
  const where = [redirectDevice, redirectAddress].filter((each) => each !== '').join(' ');
  const parts = [name, numbers, ...(unlimited ? ['unlimited'] : []), ...(where === '' ? [] : [`→ ${where}`])].filter(
    (each) => each !== '',
  );
  return parts.length === 0 ? 'everything' : parts.join(' ');
}
