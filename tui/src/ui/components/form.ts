// SPDX-License-Identifier: Apache-2.0
/** A form as lines: a field in each, what is expected of the one that is typed in, and what is wrong. */
import { type Form, type FormField, fieldOf } from '../store/form.js';
import { foldLine, type Line, paintLine, piece } from '../theme/line.js';
import type { Theme } from '../theme/theme.js';
import { widthOf } from '../theme/width.js';

/** Title, rule, hint. */
const OTHER_LINES = 3;

/** height: lines that there are for it. */
export function formLines(form: Form, theme: Theme, columns: number, height: number): string[] {
  const problem = foldLine(theme, [' ', piece('bad', form.problem)], columns).slice(
    0,
    Math.max(1, Math.floor(height / 3)),
  );
  const room = Math.max(1, height - OTHER_LINES - problem.length);
  const from = Math.max(0, Math.min(form.at - Math.floor(room / 2), form.fields.length - room));
  const width = Math.max(...form.fields.map(({ label }) => widthOf(label)));
  const current = fieldOf(form);
  const lines: Line[] = [
    [piece('head', ` ${form.title}`)],
    [piece('dim', theme.glyphs.rule.repeat(columns))],
    ...form.fields
      .slice(from, from + room)
      .map((field, i) => fieldLine(field, from + i === form.at, width, theme, columns)),
    [piece('dim', ` ${current.helps[current.text] ?? current.hint}`)],
    ...problem,
  ];
  return lines.map((line) => paintLine(theme, line, columns));
}

export const FORM_KEYS: readonly (readonly [string, string])[] = [
  ['Enter', 'next'],
  ['Ctrl-s', 'go on'],
  ['Up/Down', 'field'],
  ['Left/Right', 'choose'],
  ['Esc', 'do nothing'],
];

function fieldLine(field: FormField, isCurrent: boolean, width: number, theme: Theme, columns: number): Line {
  const label = field.label + ' '.repeat(width - widthOf(field.label));
  const head = [piece(isCurrent ? 'accent' : 'dim', `${isCurrent ? '>' : ' '} ${label}  `)];
  if (field.kind === 'choice') {
    return [
      ...head,
      ...field.choices.flatMap(
        (choice): Line => [
          choice === field.text ? piece(isCurrent ? 'chosen' : 'strong', `[${choice}]`) : piece('dim', ` ${choice} `),
          ' ',
        ],
      ),
    ];
  }
  const shown = field.kind === 'secret' ? theme.glyphs.hidden.repeat([...field.text].length) : field.text;
  if (!isCurrent) return [...head, shown];
  const cursor = field.kind === 'secret' ? [...field.text.slice(0, field.cursor)].length : field.cursor;
  // What is before the cursor is seen, however long it is.
  const room = Math.max(4, columns - width - 6);
  const before = shown.slice(0, cursor);
  const seen = widthOf(before) > room ? `${theme.glyphs.ellipsis}${before.slice(-(room - 1))}` : before;
  const under = [...shown.slice(cursor)][0] ?? ' ';
  return [...head, seen, piece('chosen', under), shown.slice(cursor + under.length)];
}
