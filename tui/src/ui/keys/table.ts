// SPDX-License-Identifier: Apache-2.0
/**
 * Every key of the console, what it does and where: the one table that keys are looked up in, and that "?", the line at the
 * bottom and docs/terminal.md are made from or held against.
 */
import type { Motion } from '../store/reducer.js';
import { isOfThings, type Page } from '../store/ui-state.js';

export type Action =
  | { readonly do: 'move'; readonly motion: Motion }
  | {
      readonly do:
        | 'command'
        | 'filter'
        | 'help'
        | 'back'
        | 'leave'
        | 'quit'
        | 'suspend'
        | 'pause'
        | 'retry'
        | 'redraw'
        | 'earlier'
        | 'later'
        | 'detail'
        | 'yaml'
        | 'explain'
        | 'tree'
        | 'edit'
        | 'drain'
        | 'undrain'
        | 'new'
        | 'copy'
        | 'delete'
        | 'actions'
        | 'mark'
        | 'backends'
        | 'services'
        | 'connections'
        | 'logs';
    };

/** thing: in lists, for the chosen row, and where one is read about. */
export type Where = 'everywhere' | 'list' | 'thing';

/** Where a key was pressed. */
export type Place = 'list' | 'detail' | 'text';

export interface Binding {
  readonly keys: readonly string[];
  readonly where: Where;
  readonly action: Action;
  readonly help: string;
  /** In the line at the bottom, in so few letters. */
  readonly hint?: string;
  /** What it is for; absent: everything. */
  readonly subjects?: readonly Subject[];
}

/** What a row is of. */
export type Subject =
  | 'node'
  | 'service'
  | 'backend'
  | 'object'
  | 'certificate'
  | 'user'
  | 'key'
  | 'cluster'
  | 'version'
  | 'other';

const move = (motion: Motion, keys: readonly string[], help: string): Binding => ({
  ...{ keys, where: 'everywhere', action: { do: 'move', motion }, help },
});

export const BINDINGS: readonly Binding[] = [
  move('down', ['j', 'down'], 'one down'),
  move('up', ['k', 'up'], 'one up'),
  move('top', ['g', 'home'], 'to the top'),
  move('bottom', ['G', 'end'], 'to the end; logs are followed from there'),
  move('half-down', ['ctrl-d'], 'half a page down'),
  move('half-up', ['ctrl-u'], 'half a page up'),
  move('page-down', ['pgdn', 'ctrl-f'], 'a page down'),
  move('page-up', ['pgup', 'ctrl-b'], 'a page up'),
  { keys: ['enter'], where: 'list', action: { do: 'detail' }, help: 'all about it', hint: 'detail' },
  {
    ...{ keys: ['a'], where: 'thing', action: { do: 'actions' }, help: 'all that can be done here' },
    ...{
      hint: 'actions',
      subjects: ['service', 'object', 'backend', 'node', 'certificate', 'user', 'key', 'cluster', 'version'],
    },
  },
  {
    ...{ keys: ['y'], where: 'thing', action: { do: 'yaml' }, help: 'as YAML, as apply takes it', hint: 'yaml' },
    subjects: ['service', 'object', 'backend'],
  },
  {
    ...{ keys: ['x'], where: 'thing', action: { do: 'explain' }, help: 'which tier carries it on each node, and why' },
    ...{ hint: 'explain', subjects: ['service', 'backend'] },
  },
  {
    ...{ keys: ['x'], where: 'list', action: { do: 'detail' }, help: 'of a node: all about it, and what carries what' },
    ...{ hint: 'explain', subjects: ['node'] },
  },
  {
    ...{ keys: ['t'], where: 'thing', action: { do: 'tree' }, help: 'its listeners, nodes and backends as a tree' },
    ...{ hint: 'tree', subjects: ['service', 'backend'] },
  },
  {
    ...{ keys: ['b'], where: 'thing', action: { do: 'backends' }, help: 'its backends', hint: 'backends' },
    subjects: ['service', 'node'],
  },
  {
    ...{ keys: ['s'], where: 'thing', action: { do: 'services' }, help: 'its services', hint: 'services' },
    subjects: ['node'],
  },
  {
    ...{ keys: ['c'], where: 'thing', action: { do: 'connections' }, help: 'its connections', hint: 'connections' },
    subjects: ['service', 'node', 'backend'],
  },
  {
    ...{ keys: ['l'], where: 'thing', action: { do: 'logs' }, help: 'its log', hint: 'logs' },
    subjects: ['service', 'node', 'backend'],
  },
  {
    ...{ keys: ['e'], where: 'thing', action: { do: 'edit' }, help: 'edit it in $EDITOR, see the plan, apply it' },
    ...{ hint: 'edit', subjects: ['service', 'object', 'backend'] },
  },
  {
    ...{
      keys: ['d'],
      where: 'thing',
      action: { do: 'drain' },
      help: 'no new connections for it, or for what is marked',
    },
    ...{ hint: 'drain', subjects: ['node', 'backend'] },
  },
  {
    ...{ keys: ['u'], where: 'thing', action: { do: 'undrain' }, help: 'new connections again', hint: 'undrain' },
    subjects: ['node', 'backend'],
  },
  {
    ...{
      keys: ['r'],
      where: 'thing',
      action: { do: 'retry' },
      help: 'ask a node that is stale again, now',
      hint: 'retry',
    },
    subjects: ['node'],
  },
  {
    ...{ keys: ['n'], where: 'list', action: { do: 'new' }, help: 'one more of what is listed', hint: 'new' },
    subjects: ['service', 'object', 'certificate', 'user', 'key', 'cluster'],
  },
  {
    ...{ keys: ['o'], where: 'thing', action: { do: 'copy' }, help: 'another one like it, in $EDITOR' },
    subjects: ['service', 'object'],
  },
  {
    ...{ keys: ['ctrl-k'], where: 'thing', action: { do: 'delete' }, help: 'delete it, or what is marked' },
    ...{ hint: 'delete', subjects: ['service', 'object', 'certificate', 'user', 'key', 'cluster', 'node'] },
  },
  { keys: ['space'], where: 'list', action: { do: 'mark' }, help: 'mark it, or not any more' },
  { keys: [':'], where: 'everywhere', action: { do: 'command' }, help: 'a command', hint: 'command' },
  {
    keys: ['/'],
    where: 'everywhere',
    action: { do: 'filter' },
    help: 'only rows that fit: REGEX, !REGEX, -f LETTERS',
    hint: 'filter',
  },
  {
    keys: ['p'],
    where: 'everywhere',
    action: { do: 'pause' },
    help: 'hold the picture, and let it go on',
    hint: 'pause',
  },
  { keys: ['['], where: 'everywhere', action: { do: 'earlier' }, help: 'in a recording: 10 s back' },
  { keys: [']'], where: 'everywhere', action: { do: 'later' }, help: 'in a recording: 10 s on' },
  { keys: ['?'], where: 'everywhere', action: { do: 'help' }, help: 'this', hint: 'help' },
  {
    keys: ['esc'],
    where: 'everywhere',
    action: { do: 'back' },
    help: 'filter off, marks off, then back',
    hint: 'back',
  },
  { keys: ['q'], where: 'everywhere', action: { do: 'leave' }, help: 'back; on the first page the end' },
  { keys: ['ctrl-l'], where: 'everywhere', action: { do: 'redraw' }, help: 'draw the screen anew' },
  { keys: ['ctrl-z'], where: 'everywhere', action: { do: 'suspend' }, help: 'to the shell; fg comes back' },
  { keys: ['ctrl-c'], where: 'everywhere', action: { do: 'quit' }, help: 'the end' },
];

export function bindingOf(chord: string, place: Place, subject: Subject): Binding | undefined {
  return BINDINGS.find((binding) => binding.keys.includes(chord) && isFor(binding, place) && isAbout(binding, subject));
}

/** Those that are shown at the bottom, the most particular first. */
export function hintsFor(place: Place, subject: Subject): readonly Binding[] {
  return BINDINGS.filter((binding) => binding.hint !== undefined && isFor(binding, place) && isAbout(binding, subject));
}

export function placeOf(page: Page): Place {
  return page.kind === 'list' ? 'list' : isOfThings(page) ? 'detail' : 'text';
}

function isFor({ where }: Binding, place: Place): boolean {
  return where === 'everywhere' || (where === 'list' ? place === 'list' : place !== 'text');
}

function isAbout({ subjects }: Binding, subject: Subject): boolean {
  return subjects === undefined || subjects.includes(subject);
}

/** "ctrl-d" -> "Ctrl-d" */
export function keyText(key: string): string {
  const special: Readonly<Record<string, string>> = {
    ...{ up: 'Up', down: 'Down', home: 'Home', end: 'End', pgdn: 'PgDn', pgup: 'PgUp' },
    ...{ enter: 'Enter', esc: 'Esc', space: 'Space' },
  };
  return special[key] ?? key.replace(/^ctrl-/, 'Ctrl-');
}
