// SPDX-License-Identifier: Apache-2.0
/** "?": made of the tables of keys, views and commands. */
import { COMMANDS } from '../commands/table.js';
import { BINDINGS, keyText } from '../keys/table.js';
import { type Line, piece } from '../theme/line.js';
import { VIEW_NAMES, VIEWS } from '../views/index.js';

const KEYS_WIDTH = 18;

export function helpLines(): readonly Line[] {
  return [
    [piece('head', 'Keys')],
    ...BINDINGS.map(
      ({ keys, help }): Line => [piece('accent', keys.map(keyText).join(', ').padEnd(KEYS_WIDTH)), ' ', help],
    ),
    [piece('accent', 'Shift-LETTER'.padEnd(KEYS_WIDTH)), ' sort by a column, below; again: the other way round'],
    [''],
    [piece('head', 'Views')],
    ...VIEW_NAMES.map(
      ({ name, aliases, help }): Line => [
        piece('accent', `:${[name, ...aliases].join(', ')}`.padEnd(KEYS_WIDTH * 2)),
        ' ',
        help,
      ],
    ),
    [piece('dim', 'A word behind it is a filter: :services ^web')],
    [''],
    [piece('head', 'Commands')],
    ...COMMANDS.map(
      ({ name, aliases, argument, help }): Line => [
        piece(
          'accent',
          `:${[name, ...aliases].join(', ')}${argument === '' ? '' : ` ${argument}`}`.padEnd(KEYS_WIDTH * 2),
        ),
        ' ',
        help,
      ],
    ),
    [''],
    [piece('head', 'Columns to sort by')],
    ...[...VIEWS.values()].map(
      ({ name, columns }): Line => [
        piece('accent', name.padEnd(KEYS_WIDTH)),
        ' ',
        columns.flatMap(({ key, title }) => (key === undefined ? [] : [`${key} ${title}`])).join(', ') ||
          ':sort COLUMN',
      ],
    ),
  ];
}
