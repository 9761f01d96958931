// SPDX-License-Identifier: Apache-2.0
/** Objects that are not in force as they are declared, or that are not the same on all nodes. */
import { listOf, type NodeKey, type ObjectView, type ServiceView } from '@marcher/client/fleet';
import { nounOf } from '../../cli/commands/kind.js';
import { type Line, piece } from '../theme/line.js';
import { field, heading, nodesText } from './shown.js';
import type { Sight, View } from './view.js';

type Any = ServiceView | ObjectView;

/** One thing that is wrong with an object, and where. */
interface Conflict {
  readonly object: Any;
  readonly reason: string;
  readonly message: string;
  readonly nodes: readonly NodeKey[];
}

/** An object that has not changed has the same conflicts. */
const known = new WeakMap<Any, readonly Conflict[]>();

export const conflicts: View<Conflict> = {
  name: 'conflicts',
  aliases: ['conflict', 'problems'],
  help: 'objects that are not in force, or differ between nodes',
  subject: 'other',
  columns: [
    { title: 'KIND', key: 'K', rank: 1, value: ({ object }) => nounOf(object.kind) },
    { title: 'NAME', key: 'N', rank: 0, min: 12, max: 63, value: ({ object }) => object.name },
    { title: 'REASON', key: 'R', rank: 0, value: ({ reason }) => reason, tone: () => 'bad' },
    { title: 'NODES', key: 'O', rank: 1, max: 32, value: ({ nodes }, { state }) => nodesText(state, nodes) },
    { title: 'MESSAGE', key: 'M', rank: 2, min: 20, max: 120, value: ({ message }) => message },
  ],
  items: ({ state }) => [...listOf(state.services), ...listOf(state.objects)].flatMap((object) => conflictsOf(object)),
  id: ({ object, reason }) => `${object.kind}/${object.name}/${reason}`,
  label: ({ object }) => object.name,
  none: ({ state }) =>
    state.configurations > 1
      ? `Every object is in force, but live nodes have ${state.configurations} different configurations: changes are on their way.`
      : 'Every object is in force, and the same on all nodes that are live.',
  detail,
};

function conflictsOf(object: Any): readonly Conflict[] {
  const before = known.get(object);
  if (before !== undefined) return before;
  const found = new Map<string, Conflict & { nodes: NodeKey[] }>();
  const add = (key: NodeKey, reason: string, message: string): void => {
    const conflict = found.get(reason) ?? { object, reason, message, nodes: [] };
    conflict.nodes.push(key);
    found.set(reason, conflict);
  };
  for (const [key, { same, unmet }] of object.nodes) {
    for (const { type, reason, message } of unmet) add(key, reason || `Not${type}`, message);
    if (!same) add(key, 'Differs', 'declares something else here than on most nodes');
  }
  if (object.agreement === 'differs' && !found.has('Differs')) {
    found.set('Differs', {
      object,
      reason: 'Differs',
      message: 'some nodes that should have it lack it',
      nodes: [...object.nodes.keys()],
    });
  }
  const all = [...found.values()];
  known.set(object, all);
  return all;
}

function detail({ object, reason, message }: Conflict, { state }: Sight): Line[] {
  return [
    field('Object', `${nounOf(object.kind)} ${object.name}`, 'strong'),
    field('Reason', reason, 'bad'),
    field('', message),
    [''],
    heading('On each node'),
    ...[...object.nodes].map(
      ([key, { generation, same, unmet }]): Line => [
        nodesText(state, [key]).padEnd(20),
        ` version ${generation}  `,
        same ? piece('good', 'as most') : piece('bad', 'differs'),
        unmet.length === 0 ? '' : piece('bad', `  ${unmet.map((each) => each.reason || each.type).join(', ')}`),
      ],
    ),
  ];
}
