// SPDX-License-Identifier: Apache-2.0
/**
 * A whole screen as lines, each exactly as wide as the terminal: one header, the list or text, one line for what is typed or
 * said, one for the keys. Pure: the same state makes the same lines, and lines that are the same are not written.
 */
import { type Binding, hintsFor, keyText, placeOf } from '../keys/table.js';
import type { Rows } from '../store/rows.js';
import {
  type Dialog,
  isOfThings,
  type ListPage,
  type Notice,
  type Prompt,
  pageOf,
  type TextPage,
  type UiState,
} from '../store/ui-state.js';
import { place } from '../store/window.js';
import { foldLine, type Line, paintLine, piece, textOf } from '../theme/line.js';
import type { Theme, Tone } from '../theme/theme.js';
import { cut, widthOf } from '../theme/width.js';
import { VIEWS } from '../views/index.js';
import { coverageText, nodeName } from '../views/shown.js';
import type { Sight, View } from '../views/view.js';
import { FORM_KEYS, formLines } from './form.js';
import { listLines } from './list.js';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

export type Body =
  | { readonly kind: 'list'; readonly view: View; readonly page: ListPage; readonly rows: Rows }
  | { readonly kind: 'text'; readonly page: TextPage; readonly lines: readonly Line[] };

export interface Picture {
  readonly ui: UiState;
  readonly sight: Sight;
  readonly target: string;
  readonly body: Body;
  /** What else is said in the header; instead: of what can't be unlocked. */
  readonly banner?: { readonly text: string; readonly instead: boolean };
  /** What Tab would make of the command that is typed. */
  readonly suggestions: readonly string[];
}

/** What it is made for. */
const FULL: Size = { columns: 80, rows: 24 };
/** Below this nothing can be read. */
const LEAST: Size = { columns: 40, rows: 10 };
/** Header, way, what is said, keys. */
const CHROME = 4;
/** Of what was said last, where it takes more than one. */
const NOTICE_LINES_MAX = 6;

/** What there is for the page, with one line for what is said: a notice that takes more has them from the page. */
export function pageSize({ notice }: UiState, theme: Theme, { columns, rows }: Size): Size {
  return {
    columns,
    rows: rows - (notice === undefined ? 0 : noticeLines(notice, theme, { columns, rows }).length - 1),
  };
}

/** Rows of a list, or lines of a text, that fit. */
export function roomFor(body: Body['kind'], { rows }: Size): number {
  return Math.max(1, rows - CHROME - (body === 'list' ? 1 : 0));
}

/** Lines of a question that fit. */
export function dialogRoom({ rows }: Size): number {
  return Math.max(1, rows - CHROME - 3);
}

/** How far a question can be scrolled. */
export function dialogEnd(dialog: Dialog, size: Size, theme: Theme): number {
  return Math.max(0, dialogTexts(dialog, size.columns, theme).length - dialogRoom(size));
}

export function frame(picture: Picture, size: Size): readonly string[] {
  const { columns, rows } = size;
  const { theme } = picture.sight;
  if (columns < LEAST.columns || rows < LEAST.rows) return tooSmall(size, theme);
  const { dialog, form } = picture.ui;
  const inner = pageSize(picture.ui, theme, size);
  const height = inner.rows - CHROME;
  const body =
    dialog !== undefined
      ? dialogLines(dialog, picture, inner)
      : form !== undefined
        ? formLines(form, theme, columns, height)
        : bodyLines(picture, inner);
  const blank = ' '.repeat(columns);
  return [
    paintLine(theme, header(picture, columns), columns),
    paintLine(theme, way(picture, size, inner), columns),
    ...body.slice(0, height),
    ...Array.from({ length: Math.max(0, height - body.length) }, () => blank),
    ...said(picture, size),
    paintLine(theme, hints(picture, columns), columns),
  ];
}

function tooSmall({ columns, rows }: Size, theme: Theme): string[] {
  const small = `${columns}x${rows} is too small: `;
  const least = `${LEAST.columns}x${LEAST.rows} at least`;
  const texts = small.length + least.length <= columns || rows < 2 ? [small + least] : [small.trim(), least];
  return Array.from({ length: rows }, (_, i) => paintLine(theme, [texts[i] ?? ''], columns));
}

function header({ ui, sight, target, banner }: Picture, columns: number): Line {
  const { state, nowMs } = sight;
  const { coverage } = state;
  const whole = coverage.live === coverage.nodes;
  const left: Line = [
    piece('head', ' Marcher '),
    piece('strong', state.mesh?.name ?? 'one node'),
    piece('dim', `  ${target}`),
  ];
  const right: Line = [
    piece(whole ? 'good' : 'warn', coverageText(coverage, nowMs)),
    state.paused ? piece('marked', '  PAUSED') : '',
    banner === undefined ? '' : piece('marked', `  ${banner.text}${banner.instead ? ' ' : ''}`),
    banner?.instead === true ? '' : ui.unlocked ? piece('bad', '  UNLOCKED ') : piece('dim', '  read-only '),
  ];
  return apart(left, right, columns);
}

/** Left and right; where there is no room for both the right goes before the left. */
function apart(left: Line, right: Line, columns: number): Line {
  const rightWidth = widthOf(textOf(right));
  const room = columns - rightWidth;
  if (widthOf(textOf(left)) + 1 > room) {
    const short = left.slice(0, 2);
    const gap = room - widthOf(textOf(short));
    return gap < 1 ? right : [...short, ' '.repeat(gap), ...right];
  }
  return [...left, ' '.repeat(room - widthOf(textOf(left))), ...right];
}

/** "nodes › node1 › services of node1   /web  3 of 5000" */
function way({ ui, sight, body }: Picture, { columns, rows }: Size, inner: Size): Line {
  const { theme, state, feed } = sight;
  const crumb = ` ${theme.glyphs.crumb} `;
  const names = ui.pages.map((page) => {
    if (page.kind === 'text') return page.title;
    const { service, node } = page.scope;
    const of = [service, node === undefined ? undefined : nodeName(state, node)].filter((name) => name !== undefined);
    return of.length === 0 ? page.view : `${page.view} of ${of.join(' on ')}`;
  });
  const shown = names.length > 4 ? [theme.glyphs.ellipsis, ...names.slice(-3)] : names;
  const last = shown.pop() ?? '';
  const page = pageOf(ui);
  const left: Line = [
    ' ',
    piece('dim', shown.length === 0 ? '' : `${shown.join(crumb)}${crumb}`),
    piece('strong', last),
    page.filter === '' ? '' : piece('accent', `  /${page.filter}`),
  ];
  const small =
    columns < FULL.columns || rows < FULL.rows ? `${columns}x${rows}: made for ${FULL.columns}x${FULL.rows}  ` : '';
  return apart(left, [piece('dim', small), piece('dim', `${countText(body, feed.total, inner)} `)], columns);
}

function countText(body: Body, total: number | undefined, size: Size): string {
  if (body.kind === 'text') {
    const { lines, page } = body;
    const room = roomFor('text', size);
    if (lines.length <= room) return '';
    const from = Math.min(page.offset, lines.length - room);
    return `${from + 1}-${from + room} of ${lines.length}`;
  }
  const { rows, page, view } = body;
  const { index } = place(page, rows.ids, roomFor('list', size), view.tail);
  const of = rows.rows.length === rows.all ? '' : ` of ${rows.all}`;
  const more = total === undefined || total <= rows.all ? '' : `, ${total} in all`;
  const marks = page.marks.size === 0 ? '' : `${page.marks.size} marked  `;
  return `${marks}${rows.rows.length === 0 ? 0 : index + 1}/${rows.rows.length}${of}${more}`;
}

function bodyLines(picture: Picture, size: Size): string[] {
  const { sight, body } = picture;
  const { theme, feed } = sight;
  const { columns } = size;
  if (body.kind === 'text') {
    const room = roomFor('text', size);
    const from = Math.max(0, Math.min(body.page.offset, body.lines.length - room));
    return body.lines.slice(from, from + room).map((line) => paintLine(theme, [' ', ...line], columns));
  }
  const lines = listLines(body.view, body.page, body.rows, sight, columns, size.rows - CHROME);
  if (body.rows.rows.length > 0) return lines;
  const why =
    body.rows.all > 0
      ? `No row fits /${body.page.filter}: Esc shows all.`
      : feed.status === 'loading'
        ? 'Asking ...'
        : feed.status === 'failed'
          ? 'Nobody could be asked:'
          : body.view.none(sight);
  const problems = body.rows.all > 0 ? [] : feed.problems;
  return [
    ...lines,
    paintLine(theme, ['  ', piece('dim', why)], columns),
    ...problems
      .slice(0, 20)
      .flatMap((problem) => foldLine(theme, ['  ', piece('bad', problem)], columns))
      .map((line) => paintLine(theme, line, columns)),
  ];
}

/** What is typed, what was said last, or what is wrong with what is shown. */
function said(picture: Picture, size: Size): readonly string[] {
  const { ui, sight, body, suggestions } = picture;
  const { theme, feed } = sight;
  const { columns } = size;
  if (ui.prompt !== undefined) return [promptLine(ui.prompt, suggestions, theme, columns)];
  if (ui.notice !== undefined)
    return noticeLines(ui.notice, theme, size).map((line) => paintLine(theme, line, columns));
  if (body.kind === 'list' && body.rows.faulty !== undefined)
    return [paintLine(theme, [' ', piece('warn', `the filter is not used: ${body.rows.faulty}`)], columns)];
  // Where there are no rows they stand in their place.
  const [first, ...others] = body.kind === 'list' && body.rows.all > 0 ? feed.problems : [];
  const more = others.length === 0 ? '' : `; and ${others.length} more`;
  return [paintLine(theme, first === undefined ? [''] : [' ', piece('warn', `${first}${more}`)], columns)];
}

function noticeLines({ tone, text }: Notice, theme: Theme, { columns, rows }: Size): readonly Line[] {
  const most = Math.max(1, Math.min(NOTICE_LINES_MAX, Math.floor((rows - CHROME) / 2)));
  return foldLine(theme, [' ', piece(tone, text)], columns).slice(0, most);
}

function promptLine(
  { mode, text, cursor }: Prompt,
  suggestions: readonly string[],
  theme: Theme,
  columns: number,
): string {
  const sign = mode === 'command' ? ':' : '/';
  // What is before the cursor is seen, however long it is.
  const room = columns - 4;
  const head = text.slice(0, cursor);
  const before = widthOf(head) > room ? `${theme.glyphs.ellipsis}${head.slice(-(room - 1))}` : head;
  const at = [...text.slice(cursor)][0] ?? ' ';
  const [first] = suggestions;
  const isHint = mode === 'command' && cursor === text.length && first?.startsWith(text) === true;
  const rest = isHint ? first.slice(text.length) : text.slice(cursor + at.length);
  const others = mode === 'command' ? suggestions.slice(1, 8).join('  ') : '';
  const under = isHint && rest !== '' ? ([...rest][0] ?? ' ') : at;
  const behind = isHint ? [...rest].slice(1).join('') : rest;
  return paintLine(
    theme,
    [
      piece('accent', ` ${sign}`),
      before,
      piece('chosen', under),
      isHint ? piece('dim', behind) : behind,
      piece('dim', others === '' ? '' : `   ${others}`),
    ],
    columns,
  );
}

function hints({ ui, body }: Picture, columns: number): Line {
  if (ui.dialog !== undefined) return dialogHints(ui.dialog);
  if (ui.form !== undefined) return keyHints(FORM_KEYS);
  if (ui.prompt !== undefined) {
    return ui.prompt.mode === 'command'
      ? keyHints([
          ['Enter', 'run'],
          ['Tab', 'complete'],
          ['Up', 'earlier'],
          ['Esc', 'leave'],
        ])
      : keyHints([
          ['Enter', 'keep'],
          ['Esc', 'as before'],
          ['!', 'all others'],
          ['-f', 'fuzzy'],
        ]);
  }
  const { page } = body;
  const view = isOfThings(page) ? VIEWS.get(page.view) : undefined;
  const here = page.kind === 'text' ? page.text : '';
  const bindings = hintsFor(placeOf(page), view?.subject ?? 'other').filter(({ action }) => action.do !== here);
  const own = bindings.filter(({ where }) => where !== 'everywhere');
  const others = bindings.filter(({ where }) => where === 'everywhere');
  const line = (all: readonly Binding[]): Line =>
    keyHints(all.map(({ keys, hint }) => [keyText(keys[0] ?? ''), hint ?? '']));
  // Those of the row go on as far as there is room; how to find the others is always there.
  const help = line(others.filter(({ action }) => action.do === 'help'));
  const room = columns - widthOf(textOf(help));
  const shown: Binding[] = [];
  for (const binding of [...own, ...others.filter(({ action }) => action.do !== 'help')]) {
    if (widthOf(textOf(line([...shown, binding]))) <= room) shown.push(binding);
  }
  return [...line(shown), ...help.slice(1)];
}

function keyHints(all: readonly (readonly [string, string])[]): Line {
  return [' ', ...all.flatMap(([key, help]): Line => [piece('accent', key), piece('dim', ` ${help}  `)])];
}

function dialogHints({ word, stays, others, lines, commands }: Dialog): Line {
  const more = others.map(({ key, help }): readonly [string, string] => [key, help]);
  const scroll: readonly (readonly [string, string])[] =
    lines.length + commands.length > 5 ? [['Up/Down', 'scroll']] : [];
  return word === undefined
    ? keyHints([['y', 'yes'], ['n', 'no'], ...more, ...scroll])
    : keyHints(stays ? scroll : [['Enter', 'do it'], ['Esc', 'do nothing'], ...scroll]);
}

function dialogLines(dialog: Dialog, { sight }: Picture, size: Size): string[] {
  const { theme } = sight;
  const { columns } = size;
  const room = dialogRoom(size);
  const texts = dialogTexts(dialog, columns, theme);
  const from = Math.max(0, Math.min(dialog.offset, texts.length - room));
  const question: Line =
    dialog.word === undefined
      ? [piece('strong', ' y or n? ')]
      : [piece('strong', ` Type ${dialog.word} and Enter: `), dialog.typed, piece('chosen', ' ')];
  return [
    paintLine(theme, [piece('head', ` ${dialog.title}`)], columns),
    paintLine(theme, [piece('dim', theme.glyphs.rule.repeat(columns))], columns),
    ...texts.slice(from, from + room).map((line) => paintLine(theme, line, columns)),
    paintLine(theme, question, columns),
  ];
}

/** Nothing of what is decided about is cut off: lines that are too long go on in the next. */
function dialogTexts({ lines, commands }: Dialog, columns: number, theme: Theme): Line[] {
  // A command is broken anywhere, so that its rows put together are the command.
  const rowsOf = (text: string): string[] => {
    const rows: string[] = [];
    let rest = theme.plain(text);
    do {
      const row = cut(rest, columns) || rest.slice(0, 1);
      rows.push(row);
      rest = rest.slice(row.length);
    } while (rest !== '');
    return rows;
  };
  return [
    ...lines.flatMap((line) => foldLine(theme, [' ', piece(toneOf(line), line)], columns)),
    ...(commands.length === 0 ? [] : [[''], [piece('dim', ' The same as a command:')]]),
    ...commands.flatMap((line) => rowsOf(line).map((row): Line => [row])),
  ];
}

/** Of a diff, by its sign. */
function toneOf(line: string): Tone {
  const sign = line.trimStart()[0];
  return sign === '+' ? 'good' : sign === '-' ? 'bad' : sign === '~' ? 'warn' : 'normal';
}
