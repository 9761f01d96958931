// SPDX-License-Identifier: Apache-2.0
/** Guards, and what their rules have decided about on the nodes. */
import type { ObjectView } from '@marcher/client/fleet';
import { type Guard, GuardAction } from '@marcher/proto/marcher/v1/model_pb';
import { type Line, piece } from '../theme/line.js';
import { stateText } from './services.js';
import { BLANK, field, heading, nodeName } from './shown.js';
import type { Sight, View } from './view.js';

export const guards: View<ObjectView> = {
  name: 'guards',
  aliases: ['guard', 'gd'],
  help: 'guards: rules, and packets that they decided about',
  subject: 'object',
  columns: [
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ name }) => name },
    {
      title: 'DEFAULT',
      key: 'D',
      rank: 1,
      value: (view) => (guardOf(view)?.defaultAction === GuardAction.DENY ? 'deny' : 'allow'),
    },
    {
      title: 'RULES',
      key: 'R',
      rank: 1,
      align: 'right',
      value: (view) => String(guardOf(view)?.rules.length ?? 0),
      order: (view) => guardOf(view)?.rules.length ?? 0,
    },
    {
      title: 'SOURCES',
      key: 'S',
      rank: 2,
      align: 'right',
      value: (view) => String(sourcesOf(guardOf(view))),
      order: (view) => sourcesOf(guardOf(view)),
    },
    { title: 'STATE', rank: 1, value: (view) => stateText(view), tone: (text) => (text === 'ok' ? 'good' : 'bad') },
    { title: 'CLUSTER', key: 'K', rank: 3, value: (view) => guardOf(view)?.cluster || '-' },
  ],
  items: ({ state }) => [...state.objects.values()].filter(({ kind }) => kind === 'Guard'),
  id: ({ kind, name }) => `${kind}/${name}`,
  label: ({ name }) => name,
  none: () => 'Nothing is guarded: marcher guard deny PREFIX begins.',
  detail,
};

function guardOf({ declared }: ObjectView): Guard | undefined {
  return declared?.object.case === 'guard' ? declared.object.value : undefined;
}

function sourcesOf(guard: Guard | undefined): number {
  return (guard?.rules ?? []).reduce((sum, { sources }) => sum + sources.length, 0);
}

const RULES_MAX = 500;

function detail(view: ObjectView, { state }: Sight): Line[] {
  const guard = guardOf(view);
  const counted = new Map<number, { packets: bigint; problems: Set<string> }>();
  for (const { status } of state.nodes.values()) {
    for (const { guard: name, position, packets, problem } of status?.guard?.rules ?? []) {
      if (name !== view.name) continue;
      const sum = counted.get(position) ?? { packets: 0n, problems: new Set() };
      if (problem !== '') sum.problems.add(problem);
      counted.set(position, { ...sum, packets: sum.packets + packets });
    }
  }
  const rules = guard?.rules ?? [];
  return [
    field('Guard', view.name, 'strong'),
    field('Default', guard?.defaultAction === GuardAction.DENY ? 'deny' : 'allow'),
    field('Cluster', guard?.cluster || 'every node'),
    BLANK,
    heading('Rules, and packets on all nodes that they decided about'),
    ...rules.slice(0, RULES_MAX).map(({ action, sources, ports }, position): Line => {
      const { packets = 0n, problems = new Set<string>() } = counted.get(position) ?? {};
      const from =
        sources.length === 0
          ? 'every source'
          : `${sources.slice(0, 4).join(' ')}${sources.length > 4 ? ` and ${sources.length - 4} more` : ''}`;
      const to =
        ports.length === 0
          ? ''
          : ` to ${ports.map(({ first, last }) => (last > first ? `${first}-${last}` : first)).join(',')}`;
      return [
        String(packets).padStart(14),
        '  ',
        piece(action === GuardAction.DENY ? 'bad' : 'good', (GuardAction[action] ?? '?').toLowerCase().padEnd(9)),
        `${from}${to}`,
        piece('bad', problems.size === 0 ? '' : `  ${[...problems].join('; ')}`),
      ];
    }),
    BLANK,
    heading('On each node'),
    ...[...view.nodes].map(
      ([key, { generation, same, unmet }]): Line => [
        nodeName(state, key).padEnd(20),
        ` version ${generation}  `,
        same ? '' : piece('bad', 'differs from most nodes  '),
        piece('bad', unmet.map(({ reason, message }) => `${reason}: ${message}`).join('; ')),
      ],
    ),
  ];
}
