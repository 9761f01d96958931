// SPDX-License-Identifier: Apache-2.0
/**
 * The rows of a list: cells made, filtered and sorted. With 5,000 services and ten states a second most things are as they
 * were a moment before: a thing that is the same object has the same cells, and a list of which nothing has changed is the
 * same list.
 */
import { widthOf } from '../theme/width.js';
import type { Column, Sight, View } from '../views/view.js';
import { parseFilter, select } from './filter.js';
import type { ListPage } from './ui-state.js';

export interface Row {
  readonly id: string;
  readonly item: object;
  /** Plain, in the order of the view's columns. */
  readonly cells: readonly string[];
  readonly widths: readonly number[];
  /** What filters see. */
  readonly text: string;
}

export interface Rows {
  readonly rows: readonly Row[];
  readonly ids: readonly string[];
  /** Before the filter. */
  readonly all: number;
  /** What is wrong with the filter. */
  readonly faulty: string | undefined;
  /** Of the widest cell of each column, its title included. */
  readonly widths: readonly number[];
}

interface Made {
  readonly row: Row;
  readonly when: string;
}

/** Titles need a cell more: for the arrow of what is sorted. */
const ARROW = 1;

/** What a list was made of: most of it stands where it stood, and is found there without being looked up. */
interface Listed {
  readonly view: View;
  readonly when: string;
  readonly items: readonly object[];
  readonly all: readonly Row[];
  readonly rows: Rows;
}

export class RowStore {
  /** By view, and there by thing. */
  private readonly made = new Map<string, WeakMap<object, Made>>();
  private last: { readonly key: readonly unknown[]; readonly rows: Rows } | undefined;
  private listed: Listed | undefined;

  rowsOf(view: View, page: ListPage, sight: Sight): Rows {
    const now = view.timed === true ? sight.nowMs : 0;
    const key = [view, sight.state, sight.feed, page.filter, page.sort, page.scope, now];
    if (this.last !== undefined && key.every((part, i) => part === this.last?.key[i])) return this.last.rows;
    const state = view.composed === true ? sight.state.revision : 0;
    const rows = this.make(view, page, sight, `${page.scope.node ?? ''} ${now} ${state}`);
    this.last = { key, rows };
    return rows;
  }

  private make(view: View, page: ListPage, sight: Sight, when: string): Rows {
    const filter = parseFilter(page.filter);
    const items = view.items(sight);
    const before = this.listed?.view === view ? this.listed : undefined;
    const same = before?.when === when ? before : undefined;
    const all = items.map((item, at) => {
      const row = same?.items[at] === item ? same.all[at] : undefined;
      return row ?? this.rowOf(view, item, sight, when);
    });
    const selected = select(filter, all, ({ text }) => text);
    const rows = page.sort === undefined ? selected : sorted(selected, view, page.sort, sight);
    const made: Rows = {
      rows,
      ids: rows.map(({ id }) => id),
      all: all.length,
      faulty: filter.kind === 'faulty' ? filter.reason : undefined,
      widths: widthsAfter(view, rows, before?.rows),
    };
    this.listed = { view, when, items, all, rows: made };
    return made;
  }

  private rowOf(view: View, item: object, sight: Sight, when: string): Row {
    let ofView = this.made.get(view.name);
    if (ofView === undefined) {
      ofView = new WeakMap();
      this.made.set(view.name, ofView);
    }
    const before = ofView.get(item);
    if (before !== undefined && before.when === when) return before.row;
    const cells = view.columns.map((column) => sight.theme.plain(column.value(item, sight)));
    const row = { id: view.id(item), item, cells, widths: cells.map(widthOf), text: cells.join(' ') };
    ofView.set(item, { row, when });
    return row;
  }
}

/** Of the columns that are named: how wide each is by its widest cell. */
function widest(view: View, rows: readonly Row[], columns: Iterable<number>): readonly number[] {
  const widths = view.columns.map(({ title }) => title.length + ARROW);
  for (const column of columns) {
    let width = widths[column] ?? 0;
    for (const row of rows) width = Math.max(width, row.widths[column] ?? 0);
    widths[column] = width;
  }
  return widths;
}

/**
 * As wide as before, or as what is wider now. Columns of text that rows have made narrower are looked through; figures change
 * several times a second, and what once had the room keeps it: else all that stands beside them would jump with each state,
 * and a column that has just room would come and go.
 */
function widthsAfter(view: View, rows: readonly Row[], before: Rows | undefined): readonly number[] {
  if (before === undefined) return widest(view, rows, view.columns.keys());
  const isFigure = (column: number): boolean => view.columns[column]?.align === 'right';
  if (before.rows.length !== rows.length) {
    const anew = widest(view, rows, view.columns.keys());
    return anew.map((width, i) => (isFigure(i) ? Math.max(width, before.widths[i] ?? 0) : width));
  }
  const widths = [...before.widths];
  const narrowed = new Set<number>();
  for (let at = 0; at < rows.length; at++) {
    const [row, other] = [rows[at], before.rows[at]];
    if (row === undefined || other === undefined || other === row) continue;
    for (let i = 0; i < widths.length; i++) {
      const [was, is] = [other.widths[i] ?? 0, row.widths[i] ?? 0];
      if (is < was && was === before.widths[i] && !isFigure(i)) narrowed.add(i);
      if (is > (widths[i] ?? 0)) widths[i] = is;
    }
  }
  if (narrowed.size === 0) return widths;
  const anew = widest(view, rows, narrowed);
  return widths.map((width, i) => (narrowed.has(i) ? (anew[i] ?? width) : width));
}

function sorted(
  rows: readonly Row[],
  view: View,
  { column: title, descending }: NonNullable<ListPage['sort']>,
  sight: Sight,
): readonly Row[] {
  const at = view.columns.findIndex((column) => column.title === title);
  const column: Column<object> | undefined = view.columns[at];
  if (column === undefined) return rows;
  const { order } = column;
  // Taken once each: comparing asks for each of them a dozen times.
  const keyed = rows.map((row) => ({ row, key: order === undefined ? (row.cells[at] ?? '') : order(row.item, sight) }));
  const sign = descending ? -1 : 1;
  keyed.sort((one, other) => (one.key < other.key ? -sign : one.key > other.key ? sign : 0));
  return keyed.map(({ row }) => row);
}
