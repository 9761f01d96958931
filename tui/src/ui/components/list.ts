// SPDX-License-Identifier: Apache-2.0
/** A list as lines: its titles, then the rows that fit, and no others. */
import type { Row, Rows } from '../store/rows.js';
import type { ListPage } from '../store/ui-state.js';
import { place } from '../store/window.js';
import type { Theme } from '../theme/theme.js';
import { fit, widthOf } from '../theme/width.js';
import type { Column, Sight, View } from '../views/view.js';
import { type Fitted, fitColumns, GAP } from './columns.js';

/** Before each row: what is chosen, and what is marked. */
const GUTTER = 2;
const blanks = ' '.repeat(GAP);

export function listLines(
  view: View,
  page: ListPage,
  rows: Rows,
  sight: Sight,
  width: number,
  height: number,
): string[] {
  const fitted = fitColumns(view.columns, rows.widths, width - GUTTER);
  const lines = [titles(view, page, fitted, sight.theme, width)];
  const shape = `${width} ${fitted.map(({ index: column, width: cell }) => `${column}:${cell}`).join(' ')}`;
  const { index, offset } = place(page, rows.ids, height - 1, view.tail);
  for (let i = offset; i < Math.min(rows.rows.length, offset + height - 1); i++) {
    const row = rows.rows[i];
    if (row === undefined) break;
    const isMarked = page.marks.has(row.id);
    lines.push(
      i === index
        ? chosenLine(view, row, fitted, isMarked, sight.theme, width)
        : paintedOnce(row, `${isMarked ? '*' : ''}${shape}`, sight.theme, () =>
            rowLine(view, row, fitted, isMarked, sight.theme, width),
          ),
    );
  }
  return lines;
}

interface Painted {
  readonly shape: string;
  readonly theme: Theme;
  readonly line: string;
}

/** Of most rows nothing is another than in the frame before. */
const paintedRows = new WeakMap<Row, Painted>();

function paintedOnce(row: Row, shape: string, theme: Theme, paint: () => string): string {
  const before = paintedRows.get(row);
  if (before !== undefined && before.shape === shape && before.theme === theme) return before.line;
  const line = paint();
  paintedRows.set(row, { shape, theme, line });
  return line;
}

function titles(view: View, { sort }: ListPage, fitted: readonly Fitted[], theme: Theme, width: number): string {
  const cells = fitted.map(({ index, width: cell }) => {
    const column = view.columns[index] as Column<object>;
    const arrow =
      sort?.column === column.title ? (sort.descending ? theme.glyphs.descending : theme.glyphs.ascending) : '';
    return fit(`${column.title}${arrow}`, cell, column.align);
  });
  return theme.paint('head', fit(`${' '.repeat(GUTTER)}${cells.join(blanks)}`, width));
}

function rowLine(
  view: View,
  row: Row,
  fitted: readonly Fitted[],
  isMarked: boolean,
  theme: Theme,
  width: number,
): string {
  let line = isMarked ? theme.paint('marked', ' *') : '  ';
  let used = GUTTER;
  for (const [nth, { index, width: cell }] of fitted.entries()) {
    const column = view.columns[index] as Column<object>;
    const text = row.cells[index] ?? '';
    const shown = cellText(column, text, cell, theme);
    line += `${nth === 0 ? '' : blanks}${theme.paint(isMarked ? 'marked' : (column.tone?.(text, row.item) ?? 'normal'), shown)}`;
    used += cell + (nth === 0 ? 0 : GAP);
  }
  return line + ' '.repeat(Math.max(0, width - used));
}

/** In one tone: it is seen at a glance, and also without colours. */
function chosenLine(
  view: View,
  row: Row,
  fitted: readonly Fitted[],
  isMarked: boolean,
  theme: Theme,
  width: number,
): string {
  const cells = fitted.map(({ index, width: cell }) =>
    cellText(view.columns[index] as Column<object>, row.cells[index] ?? '', cell, theme),
  );
  const line = `>${isMarked ? '*' : ' '}${cells.join(blanks)}`;
  return theme.paint('chosen', line + ' '.repeat(Math.max(0, width - widthOf(line))));
}

function cellText({ align, keeps }: Column<object>, text: string, cell: number, theme: Theme): string {
  return keeps === 'end' ? text.slice(-cell) : fit(text, cell, align, theme.glyphs.ellipsis);
}
